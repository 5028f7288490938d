//! A text as tables, with all that is wrong in it: serde stops at the first mistake, so each is taken out, and what is left is read again.
//!
//! ```text
//! text ─► tree ─► tables ─┬─► in order
//!           ▲             └─► unknown, mistyped: the key gets the name that was meant
//!           │                 of another kind: it is taken out
//!           └──────────────────────┘
//! ```

use std::ops::Range;

use serde::de::DeserializeOwned;
use toml::{
    Spanned,
    de::{DeArray, DeTable, DeValue},
};

use super::error::{ERRORS_MAX, Wrong, alike, did_you_mean};

/// What a text says, as far as it can be read; and what is wrong in it. None with something wrong only.
pub(super) fn read<T: DeserializeOwned>(text: &str) -> (Option<T>, Vec<Wrong>) {
    let (mut root, broken) = DeTable::parse_recoverable(text);
    if !broken.is_empty() {
        return (None, of_broken_lines(text, &broken));
    }
    let (mut wrong, mut told) = (Vec::new(), Vec::new());
    loop {
        let error = match T::deserialize(toml::Deserializer::from(root.clone())) {
            Ok(tables) => return (Some(tables), wrong),
            Err(error) => error,
        };
        let (span, said) = (error.span().unwrap_or(0..0), Said::of(error.message()));
        let took_out = mend(root.get_mut(), &span, said.meant.as_deref());
        // Who was told of the key does not want to hear that it is missing.
        if !said.missing.is_some_and(|key| told.contains(&key)) {
            wrong.push(Wrong::new(span, said.message));
        }
        told.extend(said.meant);
        match took_out {
            Some(key) if wrong.len() < ERRORS_MAX => told.extend(key),
            _ => return (None, wrong),
        }
    }
}

/// Where a key stands in a text, by the tables that it is in: `server.listen`.
pub(super) fn place(text: &str, path: &str) -> Option<Range<usize>> {
    let root = DeTable::parse(text).ok()?;
    let (mut table, mut found) = (root.get_ref(), None);
    for name in path.split('.') {
        let (key, value) = table.get_key_value(name)?;
        found = Some(key.span());
        match value.get_ref() {
            DeValue::Table(next) => table = next,
            _ => break,
        }
    }
    found
}

/// One mistake of each line: what follows from it stands there too.
fn of_broken_lines(text: &str, broken: &[toml::de::Error]) -> Vec<Wrong> {
    let mut lines = Vec::new();
    let mut wrong = Vec::new();
    for error in broken {
        let span = error.span().unwrap_or(0..0);
        let line = text.get(..span.start).unwrap_or(text).matches('\n').count();
        if !lines.contains(&line) {
            lines.push(line);
            wrong.push(Wrong::new(span, error.message()));
        }
    }
    wrong
}

/// What serde has to say.
struct Said {
    message: String,
    /// The word that was meant by a mistyped key.
    meant: Option<String>,
    /// The key that is not there.
    missing: Option<String>,
}

impl Said {
    fn of(message: &str) -> Self {
        let mut words = message.split('`').skip(1).step_by(2);
        let given = words.next().unwrap_or_default();
        if message.starts_with("unknown field") {
            let meant = alike(given, words.clone()).map(str::to_owned);
            return Self { message: format!("{message}{}", did_you_mean(given, words, '`')), meant, missing: None };
        }
        let missing = message.starts_with("missing field").then(|| given.to_owned());
        let hint = if message.starts_with("unknown variant") { did_you_mean(given, words, '"') } else { String::new() };
        Self { message: format!("{message}{hint}"), meant: None, missing }
    }
}

/// Gives the key at this place the name that was meant, or takes out what stands there; and tells which key that was, if it was one.
/// None where nothing stands there.
fn mend(table: &mut DeTable<'_>, span: &Range<usize>, meant: Option<&str>) -> Option<Option<String>> {
    let key = table.iter().find(|(key, value)| key.span() == *span || value.span() == *span);
    if let Some(key) = key.map(|(key, _)| key.clone()) {
        let name = key.get_ref().to_string();
        let value = table.remove(&key)?;
        if let Some(meant) = meant.filter(|meant| key.span() == *span && !table.contains_key(*meant)) {
            table.insert(Spanned::new(span.clone(), meant.to_owned().into()), value);
        }
        return Some(Some(name));
    }
    table.iter_mut().find_map(|(_, value)| mend_value(value, span, meant))
}

fn mend_value(value: &mut Spanned<DeValue<'_>>, span: &Range<usize>, meant: Option<&str>) -> Option<Option<String>> {
    match value.get_mut() {
        DeValue::Table(table) => mend(table, span, meant),
        DeValue::Array(array) if array.iter().any(|entry| entry.span() == *span) => {
            let all = std::mem::replace(array, DeArray::new());
            *array = all.into_iter().filter(|entry| entry.span() != *span).collect();
            Some(None)
        }
        DeValue::Array(array) => array.iter_mut().find_map(|entry| mend_value(entry, span, meant)),
        _ => None,
    }
}
