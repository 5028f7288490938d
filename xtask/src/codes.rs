//! `cargo xtask codes`: the words that `DuologueError.code` and `CloseInfo.code` can be, as a type and as a table.
//!
//! ```text
//! shared/src/{close,error}.rs, web/src/ ── what the core says ──────┐
//! server/src/services/http.rs ── what `fetch` is told ──────────────┼─► ErrorCode in web/js/duologue.d.ts, written here
//! web/js/, web/npm/ ── what JavaScript says itself ─────────────────┘   the table in web/npm/README.md, held to it
//! server/src/door/error.rs ── what is said of a proof ──────────────────► DoorCode, and a table of its own
//! ```
//!
//! A word is found where it is said, so that none has to be told here: adding one costs its row in the table, which says what
//! somebody can do about it. Found are, of literals that look like such a word:
//!
//! - in Rust those of the `codes!` registries, those in functions named `word`, and those given to a function as
//!   its `code`;
//! - in JavaScript those given to a function whose first parameter is called `code`, those before a sentence in a call, and
//!   those that a `code` is set to.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;
use std::process::ExitCode;

use anyhow::{Context as _, Result, bail, ensure};

use crate::process::root;
use crate::wasm::files_in;

const DECLARATIONS: &str = "web/js/duologue.d.ts";
const TABLE: &str = "web/npm/README.md";
const COMMAND: &str = "cargo xtask codes";

/// Where what the door says has its words.
const DOOR: &str = "server/src/door/error.rs";

/// A type of words that is written, and its table.
struct Union {
    /// The declaration, with all up to the semicolon.
    declaration: &'static str,
    /// Around the table.
    marks: [&'static str; 2],
    /// Each word says what it means, as the table does.
    says_meanings: bool,
}

const ERRORS: Union = Union {
    declaration: "export type ErrorCode =",
    marks: ["<!-- codes: ", "<!-- end of codes -->"],
    says_meanings: false,
};
const DOORS: Union = Union {
    declaration: "export type DoorCode =",
    marks: ["<!-- door codes: ", "<!-- end of door codes -->"],
    says_meanings: true,
};

/// Words of the core that its drivers answer themselves, or that are told to servers alone.
const NEVER_SEEN: [&str; 2] = ["blocked", "not-here"];

/// Writes the type.
///
/// # Errors
///
/// When the table lacks a row, or has one too many.
pub(crate) fn verb() -> Result<ExitCode> {
    for (union, codes) in [(ERRORS, found()?), (DOORS, door()?)] {
        let path = root().join(DECLARATIONS);
        let text = read(&path)?;
        let table = read(&root().join(TABLE))?;
        let next = declared(&text, &union, &codes, &table)?;
        if next != text {
            fs::write(&path, next).with_context(|| format!("cannot write {DECLARATIONS}"))?;
            println!("{DECLARATIONS}: {} codes", codes.len());
        }
        check_table(&table, &union, &codes)?;
    }
    Ok(ExitCode::SUCCESS)
}

/// Every word of the door.
fn door() -> Result<BTreeMap<String, String>> {
    let text = read(&root().join(DOOR))?;
    let text = text.split("#[cfg(test)]\nmod ").next().unwrap_or_default();
    Ok(in_rust(text).into_iter().map(|word| (word, DOOR.to_owned())).collect())
}

/// Every word, and the file that says it.
fn found() -> Result<BTreeMap<String, String>> {
    let mut codes = BTreeMap::new();
    let rust = ["shared/src/close.rs", "shared/src/error.rs", "server/src/services/http.rs"].map(str::to_owned);
    for name in rust.into_iter().chain(files("web/src", ".rs")?) {
        let text = read(&root().join(&name))?;
        // Tests quote what they like.
        let text = text.split("#[cfg(test)]\nmod ").next().unwrap_or_default();
        for word in in_rust(text) {
            codes.entry(word).or_insert_with(|| name.clone());
        }
    }
    for name in files("web/js", ".js")?.into_iter().chain(files("web/npm", ".js")?) {
        for word in in_javascript(&read(&root().join(&name))?) {
            codes.entry(word).or_insert_with(|| name.clone());
        }
    }
    for word in NEVER_SEEN {
        ensure!(codes.remove(word).is_some(), "{word:?} is said nowhere any more: remove it from NEVER_SEEN");
    }
    Ok(codes)
}

fn in_rust(text: &str) -> BTreeSet<String> {
    let mut words = BTreeSet::new();
    // `Normal = 0, "normal", "The line was closed.";`
    for line in text.lines().map(str::trim).filter(|line| line.ends_with("\";") && line.contains(" = ")) {
        words.extend(literals(line.split_inclusive("\", ").next().unwrap_or_default()));
    }
    for (at, _) in text.match_indices("fn word(") {
        words.extend(literals(body(&text[at..])));
    }
    for function in takers(text, |parameters| {
        let mut parameters = parameters.split(',').map(str::trim);
        let first = parameters.find(|parameter| !parameter.ends_with("self") && !parameter.starts_with("this:"));
        first.is_some_and(|parameter| parameter.starts_with("code: &"))
    }) {
        for argument in first_arguments(text, &function) {
            words.extend(literals(argument));
        }
    }
    words
}

fn in_javascript(text: &str) -> BTreeSet<String> {
    let code = |line: &&str| !["*", "//", "/**"].iter().any(|mark| line.trim_start().starts_with(mark));
    let text: String = text.lines().filter(code).flat_map(|line| [line, "\n"]).collect();
    let mut words = BTreeSet::new();
    let mut functions = takers(&text, |parameters| {
        let first = parameters.split([',', '=']).next().unwrap_or_default();
        first.trim() == "code"
    });
    // Elsewhere it is imported.
    functions.insert("DuologueError".to_owned());
    for function in functions {
        for argument in first_arguments(&text, &function) {
            words.extend(literals(argument));
        }
    }
    for (at, _) in text.match_indices("(\"") {
        let argument = until(&text[at + 1..], ",)");
        let next = text[at + 1 + argument.len()..].trim_start_matches([',', ' ', '\n']);
        let mut chars = next.chars();
        let is_sentence = matches!(chars.next(), Some('"' | '`')) && chars.next().is_some_and(char::is_uppercase);
        if is_sentence {
            words.extend(literals(argument));
        }
    }
    for (at, name) in text.match_indices("code") {
        let rest = &text[at + name.len()..];
        let own = !text[..at].ends_with(|char: char| char.is_alphanumeric() || char == '_');
        let value = [": ", " = ", " ??= "].iter().find_map(|sign| rest.strip_prefix(sign));
        if let Some(value) = value.filter(|_| own) {
            words.extend(literals(until(value, ",;})")));
        }
    }
    words
}

/// The names of the functions whose parameters are such: declared, methods, and arrows with a name.
fn takers(text: &str, are_such: impl Fn(&str) -> bool) -> BTreeSet<String> {
    let mut names = BTreeSet::new();
    for (at, _) in text.match_indices('(') {
        let parameters = until(&text[at + 1..], ")");
        if !are_such(parameters) {
            continue;
        }
        let rest = text[at + 1 + parameters.len()..].trim_start_matches(')').trim_start();
        let before = text[..at].trim_end();
        let before = before.strip_suffix("async").unwrap_or(before).trim_end();
        let is_arrow = rest.starts_with("=>");
        let before = if is_arrow { before.trim_end_matches(['=', ':', ' ']) } else { before };
        let is_function = is_arrow || rest.starts_with(['{', ';']) || rest.starts_with("->");
        let name = identifier_before(before);
        if is_function && !name.is_empty() && !["if", "for", "while", "switch", "catch"].contains(&name) {
            let class = || text[..at].rsplit("class ").next().and_then(|rest| rest.split([' ', '{']).next());
            names.insert(if name == "constructor" { class().unwrap_or_default() } else { name }.to_owned());
        }
    }
    names.remove("");
    names
}

/// The first argument of each call.
fn first_arguments<'a>(text: &'a str, function: &str) -> Vec<&'a str> {
    let call = format!("{function}(");
    let calls = text.match_indices(&call).filter(|(at, _)| !text[..*at].ends_with(is_of_identifier));
    calls.map(|(at, _)| until(&text[at + call.len()..], ",)")).collect()
}

fn identifier_before(text: &str) -> &str {
    let start = text.trim_end_matches(is_of_identifier).len();
    text[start..].trim_start_matches('#')
}

fn is_of_identifier(char: char) -> bool {
    char.is_alphanumeric() || char == '_' || char == '$'
}

/// The text up to one of these, outside of literals and of brackets that open in it.
fn until<'a>(text: &'a str, ends: &str) -> &'a str {
    let (mut depth, mut literal, mut escaped) = (0_usize, None, false);
    for (at, char) in text.char_indices() {
        match literal {
            Some(_) if escaped => escaped = false,
            Some(_) if char == '\\' => escaped = true,
            Some(quote) if char == quote => literal = None,
            Some(_) => {}
            None if depth == 0 && ends.contains(char) => return &text[..at],
            None if matches!(char, '"' | '`') => literal = Some(char),
            None if "([{".contains(char) => depth += 1,
            None if ")]}".contains(char) => depth = depth.saturating_sub(1),
            None => {}
        }
    }
    text
}

/// The body of the function that begins here.
fn body(text: &str) -> &str {
    let open = text.find('{').map_or(text.len(), |at| at + 1);
    until(&text[open..], "}")
}

/// The literals that look like a code, but for those that something is compared with.
fn literals(text: &str) -> Vec<String> {
    let mut found = Vec::new();
    let mut pieces = text.split('"');
    let mut before = pieces.next().unwrap_or_default();
    while let (Some(literal), Some(after)) = (pieces.next(), pieces.next()) {
        let is_compared = before.trim_end().ends_with("==");
        let parts = literal.split('-');
        if !is_compared
            && parts.into_iter().all(|part| part.len() > 1 && part.bytes().all(|byte| byte.is_ascii_lowercase()))
        {
            found.push(literal.to_owned());
        }
        before = after;
    }
    found
}

/// The declarations with the type as it should be.
fn declared(text: &str, union: &Union, codes: &BTreeMap<String, String>, table: &str) -> Result<String> {
    let Union { declaration, says_meanings, .. } = *union;
    ensure!(text.matches(declaration).count() == 1, "{DECLARATIONS} has not one {declaration:?}");
    let at = text.find(declaration).unwrap_or_default() + declaration.len();
    let end = text[at..].find("\";").context("the type has no end")? + at + 1;
    let meaning = |code: &str| {
        let row = table.lines().find_map(|line| line.strip_prefix(&format!("| `{code}` | ")));
        let said = row.filter(|_| says_meanings).and_then(|row| row.split(" | ").next());
        said.map_or_else(String::new, |said| format!("\n  /** {said}. */"))
    };
    let words: String = codes.keys().map(|code| format!("{}\n  | \"{code}\"", meaning(code))).collect();
    Ok(format!("{}{words}{}", &text[..at], &text[end..]))
}

/// That each code has one row, whose cells say something.
fn check_table(text: &str, union: &Union, codes: &BTreeMap<String, String>) -> Result<()> {
    let marks = union.marks;
    let [start, end] = marks.map(|mark| text.find(mark));
    let (Some(start), Some(end)) = (start, end) else { bail!("{TABLE} has no table between {marks:?}") };
    let mut rows = BTreeSet::new();
    for line in text[start..end].lines().filter(|line| line.starts_with("| `")) {
        let cells = line.trim_matches('|').split('|').map(str::trim).collect::<Vec<_>>();
        let &[code, what, remedy] = cells.as_slice() else { bail!("{TABLE}: three cells in each row: {line}") };
        let code = code.trim_matches('`');
        ensure!(
            !what.is_empty() && !remedy.is_empty(),
            "{TABLE}: say of `{code}` what it means, and what to do about it"
        );
        ensure!(rows.insert(code), "{TABLE}: `{code}` has two rows");
        ensure!(codes.contains_key(code), "{TABLE}: nothing says `{code}`: remove its row");
    }
    for (code, file) in codes {
        ensure!(
            rows.contains(&**code),
            "{TABLE}: `{code}`, which {file} says, has no row: add one, then run `{COMMAND}`"
        );
    }
    Ok(())
}

/// The files of a folder, not of those in it, by their names from the root.
/// The files of a folder and of its rooms.
fn files(folder: &str, end: &str) -> Result<Vec<String>> {
    let names = files_in(&root().join(folder))?.into_iter().map(|file| {
        let name = file.strip_prefix(root()).expect("a file of this workspace");
        name.to_str().map(str::to_owned).context("a file's name is not UTF-8")
    });
    Ok(names.collect::<Result<Vec<_>>>()?.into_iter().filter(|name| name.ends_with(end)).collect())
}

fn read(path: &Path) -> Result<String> {
    fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_type_and_the_table_have_every_code_that_is_said() {
        let (codes, door) = (found().expect("the sources are here"), door().expect("it is here"));
        let text = read(&root().join(DECLARATIONS)).expect("it is here");
        for (union, codes) in [(&ERRORS, &codes), (&DOORS, &door)] {
            let table = read(&root().join(TABLE)).expect("it is here");
            let declared = declared(&text, union, codes, &table).expect("it has the type");
            let what = union.declaration;
            assert!(text == declared, "{what} in {DECLARATIONS} is not what the sources say: run `{COMMAND}`");
            check_table(&table, union, codes).expect("the table is as the sources");
        }
        for code in ["token-expired", "token-audience", "token-of-another-device"] {
            assert!(door.contains_key(code) && !codes.contains_key(code), "{code}");
        }
        for code in
            ["normal", "session-altered", "not-your-server", "bad-invite", "no-store", "bad-identity", "bad-response"]
        {
            assert!(codes.contains_key(code), "{code}");
        }
    }

    #[test]
    fn a_code_is_found_wherever_rust_says_it() {
        let text = "
            Normal = 0, \"normal\", \"The line was closed.\";
            fn word(&self) -> &str { match self { A => \"first-word\", B => other.word(), _ => \"rest\" } }
            fn error(code: &str, message: &str) -> Error { Error::new(code) }
            fn new() { error(\"bad-key\", \"not-this\"); other(\"nor-this\"); }
            fn on_closed(this: &Options, code: &str, reason: &str);
            fn end() { self.on_closed(if first { \"one-end\" } else { \"other-end\" }, \"\") }
        ";
        let words = in_rust(text).into_iter().collect::<Vec<_>>();
        assert_eq!(words, ["bad-key", "first-word", "normal", "one-end", "other-end", "rest"]);
    }

    #[test]
    fn a_code_is_found_wherever_javascript_says_it() {
        for (text, expected) in [
            ("throw new DuologueError(\n  \"no-wasm\",\n  `There is none: ${why}`,\n);", "no-wasm"),
            ("throw new DuologueError(first ? \"one-cause\" : \"other-cause\", message)", "one-cause other-cause"),
            ("const bad = (code, message) => x;\nthrow bad(\"bad-thing\", error.message)", "bad-thing"),
            ("const late = async (code) => x;\nlate(\"too-late\")", "too-late"),
            ("class A { #finish(code, reason) {\n } b() { this.#finish(\"no-signature\", reason) } }", "no-signature"),
            ("class Lost extends Error { constructor(code) { } }\nthrow new Lost(\"lost-it\")", "lost-it"),
            ("listen({ onEnd: (code) => x });\nonEnd(\"the-end\")", "the-end"),
            ("reject(anything(\"by-sentence\", \"It went wrong.\"))", "by-sentence"),
            ("Object.assign(new Error(message), { code: \"assigned\" })", "assigned"),
            ("const code = typeof error?.code === \"string\" ? error.code : \"internal\";", "internal"),
            ("error.code ??= \"late-code\";", "late-code"),
            ("// new DuologueError(\"in-comment\", \"x\")\n * bad(\"in-comment\", \"X\")", ""),
            ("addEventListener(\"close\", done); open(\"a\", \"b\"); if (error.code === \"compared\") x();", ""),
        ] {
            assert_eq!(in_javascript(text).into_iter().collect::<Vec<_>>().join(" "), expected, "{text}");
        }
    }

    #[test]
    fn a_row_too_few_or_too_many_is_named_and_so_is_the_command() {
        let codes = BTreeMap::from([("some-code".to_owned(), "web/js/x.js".to_owned())]);
        let table = |rows: &str| format!("{}x -->\n{rows}{}\n", ERRORS.marks[0], ERRORS.marks[1]);
        check_table(&table("| `some-code` | what | remedy |\n"), &ERRORS, &codes).expect("it is as it should be");
        for (rows, said) in [
            ("", "`some-code`, which web/js/x.js says, has no row: add one, then run `cargo xtask codes`"),
            ("| `some-code` | what | |\n", "what to do"),
            ("| `some-code` | what | remedy |\n| `other-code` | what | remedy |\n", "nothing says `other-code`"),
            ("| `some-code` | what | remedy |\n| `some-code` | what | remedy |\n", "two rows"),
        ] {
            let error = check_table(&table(rows), &ERRORS, &codes).expect_err(said).to_string();
            assert!(error.contains(said), "{error}");
        }
    }
}
