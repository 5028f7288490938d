//! `cargo xtask tidy`: formatting, lints, docs, and the text of the files themselves.
//!
//! Every check runs, even when one before it failed. What a compiler or a linter can check is left to it; the text
//! check holds the rest: nothing of the machine it was written on, nothing left to do, links that lead somewhere, and
//! no panic in the core; `rooms.rs` holds the server's rooms to the arrows between them, `vendor.rs` what is others' to what they have published. With `--fix`, rustfmt repairs the formatting; the rest is for a person.

use std::fs;
use std::path::Path;
use std::process::{Command, ExitCode};

use anyhow::{Context as _, Result, bail};

use crate::deny;
use crate::docs;
use crate::process::{self, cargo, command, root, step, target};
use crate::rooms;
use crate::tools;
use crate::vendor;

/// Ends with failure when a check failed.
///
/// # Errors
///
/// None of its own: what fails is named.
pub(crate) fn verb(fix: bool) -> Result<ExitCode> {
    let failed = check(fix);
    if failed.is_empty() {
        println!("tidy");
        return Ok(ExitCode::SUCCESS);
    }
    println!("not tidy: {}", failed.join(", "));
    Ok(ExitCode::FAILURE)
}

/// Runs every check; the names of those that failed.
pub(crate) fn check(fix: bool) -> Vec<&'static str> {
    let mut failed = Vec::new();
    let mut check = |name: &'static str, work: &mut dyn FnMut() -> Result<()>| {
        if let Err(error) = step(name, work) {
            eprintln!("xtask: {name}: {error:#}");
            failed.push(name);
        }
    };
    check("text", &mut text);
    check("rooms", &mut rooms::check);
    check("vendor", &mut vendor::check);
    if tools::has_component("fmt", "rustfmt") {
        check("formatting", &mut || process::run(cargo(["fmt", "--all"]).args((!fix).then_some("--check"))));
    }
    // The server carries these files; before the first `cargo xtask wasm` it must find an empty folder.
    let _ = fs::create_dir_all(target("web"));
    if tools::has_component("clippy", "clippy") {
        check("lints", &mut || clippy(&["--workspace", "--exclude", "duologue-web"]));
        check("lints of the wasm crate", &mut || {
            tools::ensure_wasm_target()?;
            clippy(&["-p", "duologue-web", "--target", "wasm32-unknown-unknown"])
        });
    }
    // Libraries only: the binary `duologue` and the library `duologue` would write the same pages.
    check("docs", &mut || {
        process::run(cargo(["doc", "--no-deps", "--lib"]).args(docs::FEATURES).env("RUSTDOCFLAGS", "-D warnings"))
    });
    check("dependencies", &mut deny::check);
    failed
}

fn clippy(what: &[&str]) -> Result<()> {
    let mut clippy: Command = cargo(["clippy", "--quiet"]);
    process::run(clippy.args(what).args(["--all-targets", "--", "-D", "warnings"]))
}

/// Checks every file that git tracks or would track.
fn text() -> Result<()> {
    let list = process::output(command("git").args(["ls-files", "-z", "--cached", "--others", "--exclude-standard"]));
    let list = list.context("`git ls-files` failed: the text check needs git and a clone")?;
    let mut found = Vec::new();
    for name in list.split_terminator('\0') {
        // A file that is not UTF-8 is no text; one that is listed but gone has been deleted and not yet committed.
        if let Ok(text) = fs::read_to_string(root().join(name)) {
            found.extend(text_of(name, &text));
        }
    }
    for complaint in &found {
        eprintln!("{complaint}");
    }
    if !found.is_empty() {
        bail!("{} complaints", found.len());
    }
    Ok(())
}

fn text_of(name: &str, text: &str) -> Vec<String> {
    let mut found = Vec::new();
    // Others' files stay as they are published: `vendor.rs` holds them to that.
    if name.starts_with("vendor/chacha20/") || name.ends_with(".patch") {
        return found;
    }
    let mut complain = |number: usize, what: String| found.push(format!("{name}:{number}: {what}"));
    for (number, line) in numbered(text) {
        if let Some(path) = machine_path(line) {
            complain(number, format!("a path of one machine ({path})"));
        }
        if let Some(word) = unfinished(line) {
            complain(number, format!("something left to do ({word})"));
        }
    }
    if !text.is_empty() && !text.ends_with('\n') {
        complain(text.lines().count(), "no newline at the end".to_owned());
    }
    let is_test = name.ends_with("tests.rs")
        || name.starts_with("shared/src/sim/")
        || name.ends_with("/audit.rs")
        || name.ends_with("/withholding.rs");
    if name.starts_with("shared/src/") && name.ends_with(".rs") && !is_test {
        for (number, line) in outside_tests(text) {
            for word in [".unwrap()", concat!("pan", "ic!(")] {
                if line.contains(word) && !line.trim_start().starts_with("//") {
                    complain(number, format!("{word} in the core: return an error, or `expect` why it holds"));
                }
            }
        }
    }
    if name.ends_with(".md") {
        let folder = root().join(name);
        let folder = folder.parent().unwrap_or(root());
        for (number, link) in links(text) {
            if !folder.join(link).exists() {
                complain(number, format!("a link to {link}, which does not exist"));
            }
        }
    }
    found
}

fn numbered(text: &str) -> impl Iterator<Item = (usize, &str)> {
    (1..).zip(text.lines())
}

/// The start of an absolute path as one machine has it. Written in halves, or this file would complain of itself.
fn machine_path(line: &str) -> Option<&'static str> {
    let starts = [concat!("/wo", "rk/"), concat!("/ro", "ot/"), concat!("/ho", "me/")];
    starts.into_iter().find(|start| {
        // Within a longer path or an address it is just a folder of that name.
        let within = |c: char| c.is_alphanumeric() || "._-~}>*".contains(c);
        line.match_indices(start).any(|(at, _)| !line[..at].ends_with(within))
    })
}

fn unfinished(line: &str) -> Option<&'static str> {
    let marks = [concat!("TO", "DO"), concat!("FIX", "ME"), concat!("XX", "X")];
    marks.into_iter().find(|mark| {
        line.match_indices(mark).any(|(at, _)| {
            let (before, after) = (&line[..at], &line[at + mark.len()..]);
            !before.ends_with(char::is_alphanumeric) && !after.starts_with(char::is_alphanumeric)
        })
    })
}

/// The lines of Rust code that are not under `#[cfg(test)]`, by the indentation that rustfmt gives.
pub(crate) fn outside_tests(text: &str) -> impl Iterator<Item = (usize, &str)> {
    // While in a test item: its indentation, and whether its body has begun.
    let mut test: Option<(&str, bool)> = None;
    numbered(text).filter(move |(_, line)| {
        let code = line.trim_start();
        let indent = line.strip_suffix(code).unwrap_or_default();
        match test {
            None if code.starts_with("#[cfg(test)]") => test = Some((indent, false)),
            None => return true,
            Some((_, false)) if code.starts_with("#[") || code.starts_with("//") => {}
            Some((_, false)) if code.ends_with(';') || code.ends_with('}') => test = None,
            Some((begin, false)) => test = Some((begin, true)),
            Some((begin, true)) if indent == begin && code.starts_with(['}', ')']) => test = None,
            Some(_) => {}
        }
        false
    })
}

/// The files that a Markdown text links to, relative to it. Links in code, to other sites and within the page are none.
fn links(text: &str) -> impl Iterator<Item = (usize, &str)> {
    let mut fenced = false;
    let lines = numbered(text).filter(move |(_, line)| {
        let fence = line.trim_start().starts_with("```");
        fenced ^= fence;
        !fenced && !fence
    });
    lines.flat_map(|(number, line)| {
        let prose = line.split('`').step_by(2);
        // Inline code in the words of a link leaves `](target)` whole in a later piece.
        let targets = prose.flat_map(|piece| piece.split("](").skip(1));
        let targets = targets.filter_map(|rest| rest.split([')', ' ', '#']).next());
        targets.filter(|link| is_local(link)).map(move |link| (number, link))
    })
}

fn is_local(link: &str) -> bool {
    !link.is_empty() && !link.contains("://") && !link.starts_with("mailto:") && Path::new(link).is_relative()
}

#[cfg(test)]
mod tests {
    use super::{links, machine_path, outside_tests, text_of, unfinished};

    #[test]
    fn a_path_of_one_machine_is_seen() {
        assert!(machine_path(concat!("open /ho", "me/ada/x")).is_some());
        assert!(machine_path(concat!("`/ro", "ot/x`")).is_some());
        assert!(machine_path(concat!("https://example.org/ho", "me/")).is_none());
        assert!(machine_path(concat!("target/wo", "rk/x")).is_none());
    }

    #[test]
    fn marks_of_unfinished_work_are_whole_words() {
        assert!(unfinished(concat!("// TO", "DO: later")).is_some());
        assert!(unfinished(concat!("aXX", "XXb")).is_none());
        assert!(unfinished("nothing to do").is_none());
    }

    #[test]
    fn test_items_are_left_out() {
        let text =
            "a\n#[cfg(test)]\nuse x;\nb\n#[cfg(test)]\n#[path = \"y\"]\nmod tests {\n    fn c() {\n    }\n}\nd\n";
        let lines = outside_tests(text).map(|(_, line)| line).collect::<Vec<_>>();
        assert_eq!(lines, ["a", "b", "d"]);
    }

    #[test]
    fn the_core_may_not_panic() {
        let complaints =
            text_of("shared/src/x.rs", "a.unwrap();\n// .unwrap()\n#[cfg(test)]\nmod tests {\n    b.unwrap();\n}\n");
        assert_eq!(complaints.len(), 1);
        assert!(text_of("xtask/src/x.rs", "a.unwrap();\n").is_empty());
    }

    #[test]
    fn a_last_line_needs_its_end() {
        assert_eq!(text_of("x", "a\nb"), ["x:2: no newline at the end"]);
        assert!(text_of("x", "").is_empty());
    }

    #[test]
    fn links_to_files_are_found() {
        let text = "[a](docs/A.md#part) [`b`](B.md) [c](https://c.example) [d](#d) `[e](E.md)`\n```\n[f](F.md)\n```\n";
        assert_eq!(links(text).collect::<Vec<_>>(), [(1, "docs/A.md"), (1, "B.md")]);
    }
}
