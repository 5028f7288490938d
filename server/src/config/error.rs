//! What is wrong in a configuration file: where, what, and what may have been meant.

use std::{fmt, ops::Range};

use crate::watch::text;

/// Errors that are told at a time.
pub(super) const ERRORS_MAX: usize = 20;

/// One of them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConfigError {
    /// From 1.
    pub line: usize,
    /// In characters, from 1.
    pub column: usize,
    /// What is wrong, and what to write instead.
    pub message: String,
}

/// All that is wrong in one file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConfigErrors {
    file: String,
    errors: Vec<ConfigError>,
    whole: Option<String>,
}

/// What is wrong, and which bytes of the text it is about.
pub(super) struct Wrong {
    pub(super) span: Range<usize>,
    pub(super) message: String,
}

impl Wrong {
    pub(super) fn new(span: Range<usize>, message: impl Into<String>) -> Self {
        Self { span, message: message.into() }
    }
}

impl ConfigErrors {
    pub(super) fn whole(file: &str, why: String) -> Self {
        Self { file: file.to_owned(), errors: Vec::new(), whole: Some(why) }
    }

    pub(super) fn new(file: &str, text: &str, mut wrong: Vec<Wrong>) -> Self {
        wrong.sort_by_key(|wrong| wrong.span.start);
        let place = |wrong: Wrong| {
            let before = text.get(..wrong.span.start).unwrap_or(text);
            let line_start = before.rfind('\n').map_or(0, |at| at + 1);
            let column = before.get(line_start..).unwrap_or_default().chars().count() + 1;
            ConfigError { line: before.matches('\n').count() + 1, column, message: wrong.message }
        };
        Self { file: file.to_owned(), errors: wrong.into_iter().take(ERRORS_MAX).map(place).collect(), whole: None }
    }

    /// In their order; none if the file could not be read at all.
    #[must_use]
    pub fn errors(&self) -> &[ConfigError] {
        &self.errors
    }
}

impl fmt::Display for ConfigErrors {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let file = text::shown(&self.file);
        if let Some(why) = &self.whole {
            return write!(f, "{file} {why}");
        }
        for (at, ConfigError { line, column, message }) in self.errors.iter().enumerate() {
            let before = if at == 0 { "" } else { "\n" };
            write!(f, "{before}{file}:{line}:{column}: {message}")?;
        }
        Ok(())
    }
}

impl std::error::Error for ConfigErrors {}

/// The word that was meant by a mistyped one, if one is near: one letter of three may be wrong, left out, too much or in its
/// neighbour's place.
pub(super) fn alike<'a>(given: &str, words: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    let given = given.to_lowercase();
    let bound = given.chars().count().max(3) / 3;
    let (distance, word) = words.map(|word| (strsim::osa_distance(&given, word), word)).min()?;
    (distance <= bound).then_some(word)
}

/// The same as the end of a sentence, in these quotes; nothing where no word is near.
pub(super) fn did_you_mean<'a>(given: &str, words: impl Iterator<Item = &'a str>, quote: char) -> String {
    alike(given, words).map_or(String::new(), |word| format!(": did you mean {quote}{word}{quote}?"))
}
