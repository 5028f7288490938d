//! Text of strangers: what of it may be shown, and what may be part of a name.
//!
//! Terminals, logs and lists of files show text in a line of ours. What steers a terminal, turns the direction of writing,
//! takes no room or draws over its neighbours would make one name look like another, or a line say what it does not.

use icu_properties::{
    CodePointMapData, CodePointSetData,
    props::{BidiControl, DefaultIgnorableCodePoint, GeneralCategory},
};

/// The longest name that is shown, in characters.
const NAME_CHARS_MAX: usize = 64;

/// Marks above or below one letter that are shown. Languages need two, some three.
const MARKS_MAX: usize = 3;

/// Looks like a space, and is none.
const BRAILLE_BLANK: char = '\u{2800}';

/// Whether a character hides or turns text: it controls, formats, is not shown at all, or means nothing that can be known.
pub(crate) fn is_hiding(char: char) -> bool {
    let category = CodePointMapData::<GeneralCategory>::new().get(char);
    let is_unreadable = matches!(
        category,
        GeneralCategory::Control
            | GeneralCategory::Format
            | GeneralCategory::Surrogate
            | GeneralCategory::PrivateUse
            | GeneralCategory::Unassigned
            | GeneralCategory::LineSeparator
            | GeneralCategory::ParagraphSeparator
    );
    is_unreadable || char == BRAILLE_BLANK || is_invisible(char)
}

/// Whether a character shows nothing by itself and does nothing to its neighbours' order: selectors of variants, joiners, fillers.
pub(crate) fn is_invisible(char: char) -> bool {
    let turns = CodePointSetData::new::<BidiControl>().contains(char);
    !turns && CodePointSetData::new::<DefaultIgnorableCodePoint>().contains(char)
}

fn is_mark(char: char) -> bool {
    let category = CodePointMapData::<GeneralCategory>::new().get(char);
    matches!(category, GeneralCategory::NonspacingMark | GeneralCategory::EnclosingMark)
}

/// A text's characters, without the marks of a letter beyond what languages have.
pub(crate) fn few_marks(text: &str) -> impl Iterator<Item = char> {
    let mut marks = 0;
    text.chars().filter(move |char| {
        marks = if is_mark(*char) { marks + 1 } else { 0 };
        marks <= MARKS_MAX
    })
}

/// Text of a stranger as one line may show it: what hides or turns is seen as the character that stands for what cannot be shown,
/// and no letter has more marks than languages have.
#[must_use]
pub fn shown(text: &str) -> String {
    let seen = |char| if is_hiding(char) { char::REPLACEMENT_CHARACTER } else { char };
    few_marks(text).map(seen).collect()
}

/// The same, no longer than so many characters.
pub(crate) fn shown_within(text: &str, chars_max: usize) -> String {
    shown(&text.chars().take(chars_max).collect::<String>())
}

/// The name of a device or the like, for a column of a list: short, on one line, never what a program takes for an option.
#[must_use]
pub fn name(text: &str) -> String {
    let shown = shown(text);
    let name = shown.trim_start_matches(|char: char| char == '-' || char.is_whitespace()).trim_end();
    match name.char_indices().nth(NAME_CHARS_MAX) {
        Some((end, _)) => format!("{}…", name.get(..end).unwrap_or_default().trim_end()),
        None => name.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_hides_or_turns_text_is_seen() {
        for hidden in [
            '\0',
            '\u{7}',
            '\u{1b}',
            '\u{7f}',
            '\u{9b}',
            '\u{ad}',
            '\u{34f}',
            '\u{61c}',
            '\u{115f}',
            '\u{180e}',
            '\u{200b}',
            '\u{200d}',
            '\u{200e}',
            '\u{200f}',
            '\u{2028}',
            '\u{2029}',
            '\u{202a}',
            '\u{202e}',
            '\u{2060}',
            '\u{2066}',
            '\u{2069}',
            '\u{2800}',
            '\u{3164}',
            '\u{e000}',
            '\u{fe0f}',
            '\u{feff}',
            '\u{ffa0}',
            '\u{fff9}',
            '\u{fffe}',
            '\u{1d173}',
            '\u{e0001}',
            '\u{e0061}',
            '\u{e0100}',
            '\u{10ffff}',
        ] {
            assert_eq!(shown(&format!("a{hidden}b")), "a\u{fffd}b", "{:x}", u32::from(hidden));
        }
        for plain in
            ["déjà vu – 写真", "Zoé's iPhone 📱", "سلام", "ภาษาไทย", "हिन्दी", "e\u{301}\u{323}", "a\u{a0}b\u{3000}c"]
        {
            assert_eq!(shown(plain), plain);
        }
        // Marks without an end would be drawn over the lines above and below.
        assert_eq!(shown(&format!("a{}b", "\u{335}".repeat(100))), format!("a{}b", "\u{335}".repeat(3)));
    }

    #[test]
    fn a_name_is_no_option_and_has_an_end() {
        for (said, expected) in [
            ("Ada's phone", "Ada's phone"),
            ("-rf", "rf"),
            (" -- --state x ", "state x"),
            ("", ""),
            ("---", ""),
            ("\u{202e}enohp", "\u{fffd}enohp"),
            ("a\nenrolled  b", "a\u{fffd}enrolled  b"),
        ] {
            assert_eq!(name(said), expected, "{said:?}");
        }
        assert_eq!(name(&"ä".repeat(100)), format!("{}…", "ä".repeat(64)));
    }
}
