//! Spans of time and sizes as people write them, in flags and in the configuration.

/// A span such as `90s`, `30m`, `24h`, `7d` or `1w`, in seconds.
///
/// # Errors
/// What to write.
pub fn parse_span(text: &str) -> Result<u64, String> {
    let expected = || format!("\"{text}\" is no span of time: write it as 90s, 30m, 24h, 7d or 2w");
    let (number, unit) = text.split_at_checked(text.len().saturating_sub(1)).ok_or_else(expected)?;
    let secs = match unit {
        "s" => 1,
        "m" => 60,
        "h" => 3_600,
        "d" => 86_400,
        "w" => 7 * 86_400,
        _ => return Err(expected()),
    };
    number.parse::<u64>().ok().and_then(|number| number.checked_mul(secs)).ok_or_else(expected)
}

/// A size such as `500KB`, `20M`, `10GB` or `1GiB`, in bytes: powers of ten, or of two with an `i`.
///
/// # Errors
/// What to write.
pub fn parse_size(text: &str) -> Result<u64, String> {
    let expected = || format!("\"{text}\" is no size: write it as 500KB, 20MB, 10GB or 1GiB");
    let (number, unit) = text.split_at(text.find(|char: char| !char.is_ascii_digit()).ok_or_else(expected)?);
    let unit = unit.to_ascii_uppercase();
    let (unit, step): (_, u64) = match unit.strip_suffix('B').unwrap_or(&unit) {
        unit if unit.ends_with('I') => (&unit[..unit.len() - 1], 1_024),
        unit => (unit, 1_000),
    };
    let power = match unit {
        "K" => 1,
        "M" => 2,
        "G" => 3,
        "T" => 4,
        _ => return Err(expected()),
    };
    let bytes = step.pow(power);
    number.parse::<u64>().ok().and_then(|number| number.checked_mul(bytes)).ok_or_else(expected)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_read_as_people_write_them() {
        assert_eq!(parse_size("20MB"), Ok(20_000_000));
        for ten in ["10GB", "10G", "10g", "10gb", "10000MB"] {
            assert_eq!(parse_size(ten), Ok(10_000_000_000), "{ten}");
        }
        assert_eq!((parse_size("10GiB"), parse_size("2Ti")), (Ok(10 << 30), Ok(2 << 40)));
        for bad in [
            "",
            "MB",
            "20",
            "20B",
            "20I",
            "20iB",
            "20 MB",
            "-1MB",
            "20PB",
            "99999999999999999999GB",
            "9999999999TB",
            "é",
            "20é",
        ] {
            assert!(parse_size(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn spans_are_read_as_people_write_them() {
        assert_eq!(parse_span("90s"), Ok(90));
        assert_eq!(parse_span("24h"), Ok(86_400));
        assert_eq!(parse_span("2w"), Ok(14 * 86_400));
        for bad in ["", "h", "24", "24 h", "-1h", "1y", "99999999999999999999d", "é"] {
            assert!(parse_span(bad).is_err(), "{bad}");
        }
    }
}
