//! Names from strangers, made safe for every file system and for a terminal's listing.

use crate::watch::text;

/// The longest name in bytes. File systems allow 255; this leaves room for what other programs append.
const NAME_BYTES_MAX: usize = 200;

/// The longest extension in bytes, with its dot. What is longer is no extension and may be cut.
const EXTENSION_BYTES_MAX: usize = 20;

/// The file name in `name`, harmless: no path, no hidden file, nothing that Windows forbids or that steers a terminal.
pub(super) fn safe(name: &str) -> String {
    let last = name.rsplit(['/', '\\']).find(|part| !part.is_empty()).unwrap_or_default();
    let clean = visible(last);
    // What begins with a hyphen is an option to `rm *`.
    let trimmed = clean.trim_start_matches(|char| char == '-' || is_edge(char)).trim_end_matches(is_edge);
    let prefix = if is_reserved(trimmed) { "_" } else { "" };
    let (stem, extension) = split(trimmed);
    let name = join(&format!("{prefix}{stem}"), "", extension);
    if name.is_empty() { "file".to_owned() } else { name }
}

/// Whether somebody tries by a name to reach another place: a step upwards, or a path from the root. A browser gives the last
/// part of a path alone.
pub(super) fn leads_elsewhere(name: &str) -> bool {
    let is_drive = name.as_bytes().get(1) == Some(&b':') && name.starts_with(|char: char| char.is_ascii_alphabetic());
    let mut parts = name.split(['/', '\\']);
    name.starts_with(['/', '\\']) || is_drive || name.contains('\0') || parts.any(|part| part == "..")
}

/// The `number`th choice for a safe name: `a.txt`, `a (2).txt`, `a (3).txt`.
pub(super) fn numbered(name: &str, number: u32) -> String {
    let (stem, extension) = split(name);
    let number = if number < 2 { String::new() } else { format!(" ({number})") };
    join(stem, &number, extension)
}

/// Cuts the stem so that the whole stays within the bound.
fn join(stem: &str, number: &str, extension: &str) -> String {
    let room = NAME_BYTES_MAX.saturating_sub(number.len() + extension.len());
    let stem = stem.get(..stem.floor_char_boundary(room)).unwrap_or_default().trim_end_matches(is_edge);
    format!("{stem}{number}{extension}")
}

fn split(name: &str) -> (&str, &str) {
    let dot = name.rfind('.').filter(|&dot| dot > 0 && name.len() - dot <= EXTENSION_BYTES_MAX);
    name.split_at_checked(dot.unwrap_or(name.len())).unwrap_or((name, ""))
}

fn is_harmful(char: char) -> bool {
    // Those that turn the direction of writing make `gpj.exe` look like `exe.jpg`.
    text::is_hiding(char) || matches!(char, '<' | '>' | ':' | '"' | '|' | '?' | '*')
}

/// Without what shows nothing, such as the joiners in emoji, which must not make two names look alike; and with one space where
/// there are many, which would push an extension out of sight.
fn visible(name: &str) -> String {
    let mut visible = String::new();
    for char in text::few_marks(name).filter(|char| !text::is_invisible(*char)) {
        match visible.chars().next_back() {
            Some(last) if last.is_whitespace() && char.is_whitespace() => {}
            _ => visible.push(if is_harmful(char) { '_' } else { char }),
        }
    }
    visible
}

/// Windows drops dots and spaces at the end; a dot at the beginning hides a file elsewhere.
fn is_edge(char: char) -> bool {
    char == '.' || char.is_whitespace()
}

/// Devices on Windows, in every directory and with every extension.
fn is_reserved(name: &str) -> bool {
    let stem = name.split('.').next().unwrap_or_default().trim_end().to_uppercase();
    match stem.strip_prefix("COM").or_else(|| stem.strip_prefix("LPT")) {
        Some(port) => matches!(port, "0" | "1" | "2" | "3" | "4" | "5" | "6" | "7" | "8" | "9" | "¹" | "²" | "³"),
        None => matches!(&*stem, "CON" | "PRN" | "AUX" | "NUL" | "CONIN$" | "CONOUT$"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_only_a_name() {
        for (name, expected) in [
            ("photo.jpg", "photo.jpg"),
            ("déjà vu – 写真.jpg", "déjà vu – 写真.jpg"),
            ("archive.tar.gz", "archive.tar.gz"),
            ("", "file"),
            (".", "file"),
            ("..", "file"),
            ("/", "file"),
            (" . . ", "file"),
            ("../../etc/passwd", "passwd"),
            ("..\\..\\Windows\\win.ini", "win.ini"),
            ("/absolute/a.txt", "a.txt"),
            ("folder/", "folder"),
            ("a/..", "file"),
            ("C:\\a.txt", "a.txt"),
            ("C:a.txt", "C_a.txt"),
            (".partial", "partial"),
            ("..hidden", "hidden"),
            (".bashrc. ", "bashrc"),
            ("\u{3000}wide\u{a0}", "wide"),
            ("a\0b.txt", "a_b.txt"),
            ("a\nb\u{1b}[2J.txt", "a_b_[2J.txt"),
            ("photo\u{202e}gpj.exe", "photo_gpj.exe"),
            ("<>:\"|?*", "_______"),
            ("CON", "_CON"),
            ("nul.txt", "_nul.txt"),
            ("Com1 .tar.gz", "_Com1 .tar.gz"),
            ("lpt³", "_lpt³"),
            ("console.log", "console.log"),
            ("COM10", "COM10"),
            ("-rf", "rf"),
            ("--", "file"),
            ("a/-", "file"),
            ("-.-x-.txt", "x-.txt"),
            ("\u{200b}-rf", "rf"),
            (" \u{feff}--help", "help"),
            ("in\u{ad}vo\u{200d}ice.pdf", "invoice.pdf"),
            ("a.pdf          \u{a0} .exe", "a.pdf.exe"),
            ("\u{e000}\u{2800}.txt", "__.txt"),
            ("❤\u{fe0f}.jpg", "❤.jpg"),
            ("e\u{335}\u{335}\u{335}\u{335}\u{335}", "e\u{335}\u{335}\u{335}"),
        ] {
            assert_eq!(safe(name), expected, "{name:?}");
            assert_eq!(safe(expected), expected, "what is safe stays as it is");
        }
    }

    #[test]
    fn a_name_that_leads_elsewhere_is_seen_and_one_that_a_browser_gives_is_not() {
        for trick in
            ["../a", "a/../../b", "/etc/passwd", "\\\\server\\share", "C:\\a", "c:a", "a\\..\\b", "..", "a\0.txt"]
        {
            assert!(leads_elsewhere(trick), "{trick:?}");
        }
        for plain in ["a.txt", "a..b", "...", "a/b", "12:30.txt", "\u{e9}:a", "", "-rf", ".bashrc", "a\\b"] {
            assert!(!leads_elsewhere(plain), "{plain:?}");
        }
    }

    #[test]
    fn a_long_name_keeps_its_extension_and_whole_characters() {
        let name = safe(&format!("{}.jpeg", "ä".repeat(200)));
        assert_eq!(name, format!("{}.jpeg", "ä".repeat(97)));
        assert_eq!(numbered(&name, 10_000), format!("{} (10000).jpeg", "ä".repeat(93)));
        assert_eq!(safe(&format!("a.{}", "b".repeat(300))), format!("a.{}", "b".repeat(198)));
        assert_eq!(safe(&format!("{}. .x", "a".repeat(197))), format!("{}.x", "a".repeat(197)));
    }

    #[test]
    fn a_number_stands_before_the_extension() {
        assert_eq!(numbered("photo.jpg", 1), "photo.jpg");
        assert_eq!(numbered("photo.jpg", 2), "photo (2).jpg");
        assert_eq!(numbered("README", 3), "README (3)");
    }

    #[test]
    fn no_mixture_of_tricks_gets_through() {
        let parts = [
            "", ".", "..", "/", "\\", " ", "\0", "\u{7f}", "CON", "nul", "a", "é", ":", "\u{202e}", "\u{2028}", "-",
            "\u{200d}",
        ];
        for first in parts {
            for second in parts {
                for third in parts {
                    let name = safe(&format!("{first}{second}{third}"));
                    assert!(!name.is_empty() && !name.starts_with(is_edge) && !name.ends_with(is_edge), "{name:?}");
                    assert!(!name.contains(|char| matches!(char, '/' | '\\') || is_harmful(char)), "{name:?}");
                    assert!(!is_reserved(&name) && !name.starts_with('-'), "{name:?}");
                    assert_eq!(safe(&name), name);
                }
            }
        }
    }
}
