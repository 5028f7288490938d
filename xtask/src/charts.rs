//! Bar charts as SVG: one row a bar, readable on light and dark ground, and by screen readers.
//!
//! ```text
//! title, unit
//! group        Duologue      ████████████████ 1,234
//!              a peer        ██ 56
//! ```

use std::fmt::Write as _;

/// One picture.
pub(crate) struct Chart<'a> {
    pub(crate) title: &'a str,
    pub(crate) unit: &'a str,
    /// Each with its bars: a name and a value.
    pub(crate) groups: Vec<(String, Vec<(String, f64)>)>,
    /// What others say of themselves, measured elsewhere: it has hollow bars.
    pub(crate) published: &'a [(&'a str, f64)],
}

const PUBLISHED: &str = "As they publish it, at most";

const WIDTH: u32 = 720;
const NAMES_WIDTH: u32 = 190;
/// Behind the longest bar there is room for its number.
const BAR_WIDTH_MAX: f64 = 420.0;
const ROW: u32 = 22;

impl Chart<'_> {
    pub(crate) fn to_svg(&self) -> String {
        let published: Vec<_> = self.published.iter().map(|(name, value)| ((*name).to_owned(), *value)).collect();
        let published = (!published.is_empty()).then(|| (PUBLISHED.to_owned(), published));
        let groups = || self.groups.iter().chain(&published);
        let most = groups().flat_map(|(_, bars)| bars).map(|(_, value)| *value).fold(f64::MIN_POSITIVE, f64::max);
        let (mut body, mut y) = (String::new(), 34);
        for (group, bars) in groups() {
            y += ROW + 6;
            let _ = writeln!(body, r#"<text class="group" x="0" y="{}">{}</text>"#, y - 8, escaped(group));
            for (name, value) in bars {
                let class = match (group.as_str(), name.as_str()) {
                    (PUBLISHED, _) => "theirs",
                    (_, "Duologue") => "ours",
                    _ => "peer",
                };
                let len = value / most * BAR_WIDTH_MAX;
                let _ = writeln!(
                    body,
                    r#"<text x="{}" y="{}" text-anchor="end">{}</text><rect class="{class}" x="{NAMES_WIDTH}" y="{y}" width="{len:.1}" height="16" rx="2"/><text x="{:.1}" y="{}">{}</text>"#,
                    NAMES_WIDTH - 8,
                    y + 13,
                    escaped(name),
                    f64::from(NAMES_WIDTH) + len + 6.0,
                    y + 13,
                    thousands(*value),
                );
                y += ROW;
            }
        }
        let told = groups().map(|(group, bars)| {
            let bars: Vec<_> = bars.iter().map(|(name, value)| format!("{name} {}", thousands(*value))).collect();
            format!("{group}: {}.", bars.join(", "))
        });
        format!(
            r#"<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" width="{WIDTH}" height="{height}" role="img" aria-labelledby="title desc">
<title id="title">{title}, {unit}</title>
<desc id="desc">{told}</desc>
<style>
text {{ font: 13px system-ui, sans-serif; fill: #1f2328 }}
.title {{ font-size: 15px; font-weight: 600 }}
.group {{ font-weight: 600 }}
.ours {{ fill: #0969da }}
.peer {{ fill: #8c959f }}
.theirs {{ fill: none; stroke: #8c959f; stroke-dasharray: 4 2 }}
@media (prefers-color-scheme: dark) {{ text {{ fill: #e6edf3 }} .ours {{ fill: #58a6ff }} .peer {{ fill: #6e7681 }} }}
</style>
<text class="title" x="0" y="18">{title}, {unit}</text>
{body}</svg>
"#,
            height = y + 8,
            title = escaped(self.title),
            unit = escaped(self.unit),
            told = escaped(&told.collect::<Vec<_>>().join(" ")),
        )
    }
}

/// A number as people read it: three digits that count, and commas.
pub(crate) fn thousands(value: f64) -> String {
    if value < 100.0 {
        let digits = if value < 10.0 { 2 } else { 1 };
        return format!("{value:.digits$}");
    }
    let digits = format!("{value:.0}");
    let mut text = String::new();
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}

#[cfg(test)]
mod tests {
    use super::{Chart, thousands};

    #[test]
    fn numbers_are_for_people() {
        assert_eq!([0.5, 12.34, 999.6, 1_234_567.0].map(thousands), ["0.50", "12.3", "1,000", "1,234,567"]);
    }

    #[test]
    fn the_longest_bar_is_that_of_the_most() {
        let groups = vec![("<a>".to_owned(), vec![("Duologue".to_owned(), 4.0), ("peer".to_owned(), 2.0)])];
        let svg = Chart { title: "t", unit: "u", groups, published: &[("another", 1.0)] }.to_svg();
        assert!(svg.contains(r#"width="420.0""#) && svg.contains(r#"width="210.0""#) && svg.contains("&lt;a&gt;"));
        assert!(svg.contains(r#"class="theirs""#) && svg.contains("As they publish it, at most: another 1.00."));
    }
}
