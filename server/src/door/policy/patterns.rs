//! What a rule says of labels and of paths, and how a path is read.
//!
//! ```text
//! label  pay          this one            app/*   all that begin with app/       *    all but owner
//! path   /login       this one            /api/*  /api and all below it          /*   all
//! ```
//!
//! What *opens* is compared as it is written, byte for byte: another case or another escape is another path, and stays closed.
//! What is *kept out* (`except`) is compared as a backend may read it, however that is: with every escape decoded, again and
//! again, without the case of letters, forms of Unicode, empty segments, parameters behind `;` and dots at the end. A path that
//! can be read in more ways than that, such as one with `..` under two layers of escapes, is opened by no list of paths.

use std::fmt;

use duologue::limits::LABEL_LEN_MAX;
use icu_normalizer::ComposingNormalizerBorrowed;
use thiserror::Error;

use crate::watch::text;

/// Layers of escapes that are taken off a path. Backends take off one, and some by mistake two.
const LAYERS_MAX: usize = 4;
/// The longest path in a rule, in bytes.
const PATH_BYTES_MAX: usize = 1_024;

/// What is no pattern, and what to write.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
pub enum InvalidPattern {
    /// A label that no channel can have.
    #[error("\"{}\" is no label: it has 1 to {LABEL_LEN_MAX} bytes of printable text, and a * at its end only", text::shown(.0))]
    Label(String),
    /// Something else than a path.
    #[error("\"{}\" is no path: write it as /login, or /api/* for all below /api, percent-encoded and without ? and #", text::shown(.0))]
    Path(String),
    /// A path that a request can never have, or that can be read in several ways.
    #[error("\"{}\" can be read in several ways: write it without dot segments, and what is escaped once", text::shown(.0))]
    Unclear(String),
}

/// The label of what the owner sees and does. Who opens everything has not said that it is to be opened: only its own name does.
pub(crate) const OWNER: &str = "owner";

/// Labels of channels: one, or all that begin so.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LabelPattern {
    start: Box<str>,
    is_whole: bool,
}

impl LabelPattern {
    /// Reads `pay`, `app/*` or `*`.
    ///
    /// # Errors
    /// If no label can be like it.
    pub fn new(pattern: &str) -> Result<Self, InvalidPattern> {
        let wrong = || InvalidPattern::Label(pattern.to_owned());
        let (start, is_whole) = pattern.strip_suffix('*').map_or((pattern, true), |start| (start, false));
        let is_text = !start.contains('*') && text::shown(start) == start;
        if !is_text || start.len() > LABEL_LEN_MAX || (is_whole && start.is_empty()) {
            return Err(wrong());
        }
        Ok(Self { start: start.into(), is_whole })
    }

    pub(super) fn fits(&self, label: &str) -> bool {
        if self.is_whole { *self.start == *label } else { label != OWNER && label.starts_with(&*self.start) }
    }

    /// The one label; none if it is the start of several.
    pub(crate) fn one(&self) -> Option<&str> {
        self.is_whole.then_some(&self.start)
    }
}

impl fmt::Display for LabelPattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}{}", self.start, if self.is_whole { "" } else { "*" })
    }
}

/// Paths of requests: one, or one and all below it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PathPattern {
    /// Without `/*` at its end.
    written: Box<str>,
    /// As a backend may read it.
    read: Box<str>,
    is_whole: bool,
}

impl PathPattern {
    /// Reads `/login`, `/api/*` or `/*`.
    ///
    /// # Errors
    /// If no path can be like it, or it can be read in several ways.
    pub fn new(pattern: &str) -> Result<Self, InvalidPattern> {
        let (written, is_whole) = pattern.strip_suffix("/*").map_or((pattern, true), |base| (base, false));
        let is_path = (written.is_empty() && !is_whole) || written.starts_with('/');
        let is_clean = written.bytes().all(|byte| byte.is_ascii_graphic() && !b"?#*\\".contains(&byte));
        if !is_path || !is_clean || written.len() > PATH_BYTES_MAX {
            return Err(InvalidPattern::Path(pattern.to_owned()));
        }
        let read = read(written).ok_or_else(|| InvalidPattern::Unclear(pattern.to_owned()))?;
        Ok(Self { written: written.into(), read: read.into(), is_whole })
    }

    /// Whether it opens a path, as that is written.
    pub(crate) fn opens(&self, path: &Path<'_>) -> bool {
        path.read.is_some() && is_below(&self.written, self.is_whole, path.written)
    }

    /// Whether a path may lead there, however it is read.
    pub(super) fn keeps_out(&self, path: &Path<'_>) -> bool {
        path.read.as_deref().is_none_or(|read| is_below(&self.read, self.is_whole, read))
    }
}

impl fmt::Display for PathPattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}{}", self.written, if self.is_whole { "" } else { "/*" })
    }
}

fn is_below(base: &str, is_whole: bool, path: &str) -> bool {
    path.strip_prefix(base).is_some_and(|rest| rest.is_empty() || (!is_whole && rest.starts_with('/')))
}

/// The path of a request, as it is written and as a backend may read it.
#[derive(Clone, Debug)]
pub(crate) struct Path<'a> {
    written: &'a str,
    read: Option<String>,
}

impl<'a> Path<'a> {
    /// Of a path without its query.
    pub(crate) fn new(written: &'a str) -> Self {
        Self { written, read: read(written) }
    }
}

/// A path as whoever reads it most freely does: empty where it has no segments. None if it cannot be told what it leads to.
fn read(path: &str) -> Option<String> {
    let mut bytes = path.as_bytes().to_vec();
    let mut layers = 0;
    while let Some(decoded) = decoded(&bytes) {
        layers += 1;
        if layers > LAYERS_MAX {
            return None;
        }
        bytes = decoded;
    }
    let text = String::from_utf8(bytes).ok()?;
    // Upper case first: the long s, say, has no lower case of its own.
    let normalizer = ComposingNormalizerBorrowed::new_nfkc();
    let text = normalizer.normalize(&text).to_uppercase().to_lowercase();
    let text = normalizer.normalize(&text);
    if text.chars().any(text::is_hiding) {
        return None;
    }
    let mut read = String::with_capacity(text.len());
    for segment in text.split(['/', '\\']) {
        let name = segment.split(';').next().unwrap_or_default();
        let trimmed = name.trim_end_matches(['.', ' ']);
        match trimmed {
            // One of dots alone leads upwards, or nobody knows where.
            "" if !name.is_empty() => return None,
            "" => {}
            name => {
                read.push('/');
                read.push_str(name);
            }
        }
    }
    Some(read)
}

/// With one layer of escapes taken off; none if there is none.
fn decoded(bytes: &[u8]) -> Option<Vec<u8>> {
    let digit = |at: usize| bytes.get(at).and_then(|&byte| char::from(byte).to_digit(16));
    let mut decoded = Vec::with_capacity(bytes.len());
    let (mut at, mut found) = (0, false);
    while let Some(&byte) = bytes.get(at) {
        let escape = (byte == b'%').then(|| Some((digit(at + 1)?, digit(at + 2)?))).flatten();
        let (byte, len) = match escape {
            Some((high, low)) => (u8::try_from(high * 16 + low).unwrap_or_default(), 3),
            None => (byte, 1),
        };
        found |= len == 3;
        decoded.push(byte);
        at += len;
    }
    found.then_some(decoded)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn label(pattern: &str) -> LabelPattern {
        LabelPattern::new(pattern).unwrap_or_else(|error| panic!("{error}"))
    }

    fn path(pattern: &str) -> PathPattern {
        PathPattern::new(pattern).unwrap_or_else(|error| panic!("{error}"))
    }

    #[test]
    fn a_label_is_compared_byte_for_byte() {
        let long = "a".repeat(64);
        for (pattern, fits, differs) in [
            ("pay", vec!["pay"], vec!["Pay", "PAY", "pay ", "pay\0", "pa", "payx", "ｐａｙ", "p\u{200d}ay", ""]),
            ("caf\u{e9}", vec!["caf\u{e9}"], vec!["cafe\u{301}", "CAF\u{c9}"]),
            ("app/*", vec!["app/", "app/a", "app/\0"], vec!["app", "App/a", "apps/a"]),
            ("*", vec!["pay", "\0", "ｐ"], vec![]),
            (&long, vec![long.as_str()], vec![&long[..63]]),
        ] {
            assert!(fits.iter().all(|it| label(pattern).fits(it)), "{pattern}");
            assert_eq!(differs.iter().find(|it| label(pattern).fits(it)), None, "{pattern}");
        }
        for bad in ["", "a*b", "**", "*a", "a\0", "a\u{202e}", &"a".repeat(65)] {
            LabelPattern::new(bad).expect_err(bad);
        }
    }

    #[test]
    fn what_opens_is_compared_as_it_is_written() {
        let opens = |pattern: &str, asked: &str| path(pattern).opens(&Path::new(asked));
        for (pattern, asked) in [
            ("/login", "/login"),
            ("/api/*", "/api"),
            ("/api/*", "/api/"),
            ("/api/*", "/api/a//b;c=d"),
            ("/*", "/"),
            ("/*", "//a"),
            ("/caf%C3%A9/*", "/caf%C3%A9/a"),
            ("/api/*", "/api/100%25.txt"),
        ] {
            assert!(opens(pattern, asked), "{pattern} {asked}");
        }
        for (pattern, asked) in [
            ("/login", "/Login"),
            ("/login", "/login/"),
            ("/login", "//login"),
            ("/login", "/logi%6e"),
            ("/login", "/login;a"),
            ("/login", "/login."),
            ("/api/*", "/apis"),
            ("/api/*", "/API/a"),
            ("/api/*", "/%61pi/a"),
            // They begin so, and a backend that decodes twice leaves.
            ("/api/*", "/api/%252e%252e/admin"),
            ("/api/*", "/api/%25252e%25252e%25252fadmin"),
            ("/api/*", "/api/%ef%bc%8e%ef%bc%8e/admin"),
            ("/api/*", "/api/%e2%80%a5/admin"),
            ("/api/*", "/api/.../admin"),
            ("/api/*", "/api/%c0%ae%c0%ae/admin"),
            ("/api/*", "/api/a%00"),
            ("/api/*", "/api/%25252525252e"),
        ] {
            assert!(!opens(pattern, asked), "{pattern} {asked}");
        }
    }

    #[test]
    fn what_is_kept_out_is_kept_out_however_it_is_spelt() {
        let keeps_out = |asked: &str| path("/admin/*").keeps_out(&Path::new(asked));
        for asked in [
            "/admin",
            "/admin/",
            "/admin/a",
            "/Admin",
            "/ADMIN/a",
            "//admin",
            "/admin//a",
            "/%61dmin",
            "/%2561dmin",
            "/admi%6E/a",
            "/admin;a=b/c",
            "/;a/admin",
            "/admin%2fa",
            "/admin%5ca",
            "/admin./a",
            "/admin%20/a",
            "/%EF%BD%81dmin",
            "/adm%C4%B1n/../%61dmin",
            "/a%252f..%252fadmin",
            "/x%00",
        ] {
            assert!(keeps_out(asked), "{asked}");
        }
        for asked in ["/", "/adminis", "/a/admin", "/administrator", "/?admin", "/caf%C3%A9"] {
            assert!(!keeps_out(asked), "{asked}");
        }
        // The long s is an s to whoever compares in upper case, and the Kelvin sign a k in lower case.
        assert!(path("/users/*").keeps_out(&Path::new("/u%C5%BFers")));
        assert!(path("/kiosk").keeps_out(&Path::new("/%E2%84%AAiosk/")));
        assert!(path("/*").keeps_out(&Path::new("/anything")));
    }

    #[test]
    fn what_no_request_can_have_is_no_pattern() {
        for bad in
            ["", "a", "*", "/a*", "/a?b", "/a#b", "/a b", "/é", "/a\\b", "/*/b", &format!("/{}", "a".repeat(1_024))]
        {
            assert!(matches!(PathPattern::new(bad), Err(InvalidPattern::Path(_))), "{bad}");
        }
        for bad in ["/..", "/a/../b", "/./a", "/%2e%2e/*", "/a%00"] {
            assert!(matches!(PathPattern::new(bad), Err(InvalidPattern::Unclear(_))), "{bad}");
        }
        assert_eq!(path("/api/*").to_string(), "/api/*");
    }

    #[test]
    fn no_bytes_make_the_reader_panic() {
        let letters = ["%", "%2", "%2e", "%25", "/", ";", ".", "a", "é", "\u{1f4a5}", "\0", "\\"];
        let mut random = fastrand::Rng::with_seed(7);
        for _ in 0..5_000 {
            let asked: String = (0..random.usize(0..12)).map(|_| letters[random.usize(0..letters.len())]).collect();
            let _ = (PathPattern::new(&asked), Path::new(&asked), LabelPattern::new(&asked));
        }
    }
}
