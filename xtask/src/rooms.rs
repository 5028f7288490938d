//! The rooms of the server's sources, and what each may name: arrows run downwards only.
//!
//! ```text
//! the crate's root (lib, main, verbs, control), api
//!   config
//!     lines
//!       front, services       front names of the door only what stands before it
//!         door
//!           watch ─► state      watch names of the state only how secrets are written
//! ```
//!
//! A path is followed where it stands: in a `use`, also in its braces, or in the middle of an expression, from `crate` or from
//! `super`. Tests are left out, and so are comments and texts. What a macro makes is not seen.
//!
//! What happens is an event, which log, rules, audit log and the owner's page read alike: no room writes into the log itself, but
//! for DEBUG and TRACE.

use std::fs;
use std::path::Path;

use anyhow::{Context as _, Result, bail};

use crate::process::root;
use crate::tidy::outside_tests;

/// A room: its folder, what else it may name, and of which rooms only some parts.
struct Room {
    name: &'static str,
    /// Rooms, or `room::part`.
    may_name: &'static [&'static str],
}

const ROOMS: [Room; 8] = [
    Room { name: "api", may_name: &["config", "lines", "front", "services", "door", "watch", "state"] },
    Room { name: "config", may_name: &["lines", "front", "services", "door", "watch", "state"] },
    Room { name: "lines", may_name: &["front", "services", "door", "watch", "state"] },
    // `origin` only reads what an origin is: it decides nothing.
    Room { name: "front", may_name: &["door::firewall", "door::lobby", "door::origin", "watch", "state"] },
    Room { name: "services", may_name: &["door", "watch", "state"] },
    Room { name: "door", may_name: &["watch", "state"] },
    // Keys of its own are secrets, and written as all are.
    Room { name: "watch", may_name: &["state::StateError", "state::random", "state::write_private"] },
    Room { name: "state", may_name: &[] },
];

/// Who writes the log of events, and says what keeps it from being written.
const LOG: [&str; 3] = ["watch/lines.rs", "watch/log.rs", "watch/stream.rs"];

/// Where the rooms are.
const SOURCES: &str = "server/src";

/// Holds every file of every room to the table.
///
/// # Errors
///
/// If a file names what its room may not, or there are no rooms any more.
pub(crate) fn check() -> Result<()> {
    let mut complaints = Vec::new();
    let mut seen = 0;
    for room in &ROOMS {
        let folder = root().join(SOURCES).join(room.name);
        if folder.is_dir() {
            seen += 1;
            look_into(&folder, &mut complaints)?;
        }
    }
    for complaint in &complaints {
        eprintln!("{complaint}");
    }
    if seen == 0 {
        bail!("{SOURCES} has none of the rooms that this check knows: it looks in the wrong place");
    }
    if !complaints.is_empty() {
        bail!("the rooms are not in order in {} places", complaints.len());
    }
    Ok(())
}

fn look_into(folder: &Path, complaints: &mut Vec<String>) -> Result<()> {
    let entries = fs::read_dir(folder).with_context(|| format!("{} cannot be read", folder.display()))?;
    let mut paths = entries.map(|entry| Ok(entry?.path())).collect::<std::io::Result<Vec<_>>>()?;
    paths.sort();
    for path in paths {
        if path.is_dir() {
            look_into(&path, complaints)?;
        } else if path.extension().is_some_and(|end| end == "rs") && path.file_name().is_none_or(|it| it != "tests.rs")
        {
            let text = fs::read_to_string(&path).with_context(|| format!("{} cannot be read", path.display()))?;
            let name = path.strip_prefix(root()).unwrap_or(&path).to_string_lossy().into_owned();
            complaints.extend(complaints_of(&name, &text));
        }
    }
    Ok(())
}

/// What is wrong in one file, a sentence each.
fn complaints_of(name: &str, text: &str) -> Vec<String> {
    let module = module_of(name);
    let Some(room) = ROOMS.iter().find(|room| module.first().is_some_and(|first| first == room.name)) else {
        return Vec::new();
    };
    let wrong = paths(text).into_iter().filter_map(|(line, path)| {
        let path = resolve(&module, path)?;
        (!may_name(room, &path)).then(|| {
            let may = match room.may_name {
                [] => "no other room".to_owned(),
                rooms => rooms.join(", "),
            };
            let is_room = path.first().is_some_and(|first| ROOMS.iter().any(|room| room.name == first));
            let what =
                if is_room { path.join("::") } else { format!("crate::{}", path.first().map_or("*", String::as_str)) };
            format!(
                "{name}:{line}: the room `{}` names `{what}`; it may name {may}, because arrows run downwards only",
                room.name
            )
        })
    });
    let mut wrong: Vec<_> = wrong.collect();
    if !LOG.iter().any(|log| name.strip_prefix(SOURCES).is_some_and(|within| within.trim_start_matches('/') == *log)) {
        let logs = tokens(text);
        let lines = logs.windows(3).filter_map(|three| match three {
            [(line, first), (_, second), (_, third)] if first == "tracing" && second == "::" => {
                ["info", "warn", "error", "event", "{"].contains(&third.as_str()).then_some(line)
            }
            _ => None,
        });
        wrong.extend(lines.map(|line| {
            format!("{name}:{line}: what happens is told as an event (`Watch::tell`), which the log reads too: a line in the log alone is no event")
        }));
    }
    wrong
}

fn may_name(room: &Room, path: &[String]) -> bool {
    let Some(first) = path.first() else { return false };
    first == room.name
        || room.may_name.iter().any(|allowed| match allowed.split_once("::") {
            None => allowed == first,
            Some((other, part)) => other == first && path.get(1).is_some_and(|second| second == part),
        })
}

/// The module that a file is: `server/src/lines/mod.rs` is `lines`, `server/src/lines/drain.rs` is `lines`, `drain`.
fn module_of(name: &str) -> Vec<String> {
    let within = name.strip_prefix(SOURCES).unwrap_or(name).trim_start_matches('/');
    let within = within.strip_suffix(".rs").unwrap_or(within);
    let mut module: Vec<String> = within.split('/').map(str::to_owned).collect();
    if module.last().is_some_and(|last| last == "mod") {
        module.pop();
    }
    module
}

/// A path from the crate's root; none if it begins neither there nor above.
fn resolve(module: &[String], path: Vec<String>) -> Option<Vec<String>> {
    let mut path = path.into_iter().peekable();
    match path.peek().map(String::as_str)? {
        "crate" => {
            path.next();
            Some(path.collect())
        }
        "super" => {
            let mut at = module.to_vec();
            while path.next_if(|step| step == "super").is_some() {
                at.pop()?;
            }
            Some(at.into_iter().chain(path).collect())
        }
        _ => None,
    }
}

/// Every path of a text that begins at `crate` or `super`, with its line; one for each leaf of its braces.
fn paths(text: &str) -> Vec<(usize, Vec<String>)> {
    let tokens = tokens(text);
    let mut found = Vec::new();
    let mut at = 0;
    while at < tokens.len() {
        let (line, token) = &tokens[at];
        let begins = matches!(token.as_str(), "crate" | "super")
            && tokens.get(at + 1).is_some_and(|(_, next)| next == "::")
            && (at == 0 || tokens[at - 1].1 != "::");
        if begins {
            let mut leaves = Vec::new();
            at = tree(&tokens, at, &[], &mut leaves);
            found.extend(leaves.into_iter().map(|path| (*line, path)));
        } else {
            at += 1;
        }
    }
    found
}

/// Reads a path and what its braces add to it; gives where it ends. Of a path in an expression, generic arguments end it.
fn tree(tokens: &[(usize, String)], mut at: usize, before: &[String], leaves: &mut Vec<Vec<String>>) -> usize {
    let mut path = before.to_vec();
    while let Some((_, token)) = tokens.get(at) {
        match token.as_str() {
            "{" => {
                at += 1;
                while let Some((_, token)) = tokens.get(at) {
                    match token.as_str() {
                        "}" => return at + 1,
                        "," => at += 1,
                        _ => {
                            let end = tree(tokens, at, &path, leaves);
                            at = end.max(at + 1);
                        }
                    }
                }
                return at;
            }
            "*" => at += 1,
            name if name.starts_with(|first: char| first.is_alphabetic() || first == '_') => {
                path.push(name.to_owned());
                at += 1;
            }
            _ => break,
        }
        if tokens.get(at).is_some_and(|(_, next)| next == "::") {
            at += 1;
        } else {
            break;
        }
    }
    // `a as b`: the new name is no part of a path.
    if tokens.get(at).is_some_and(|(_, next)| next == "as") {
        at += 2;
    }
    if path.len() > before.len() || !before.is_empty() {
        leaves.push(path);
    }
    at
}

/// Names and marks of a text outside tests, without comments and texts.
fn tokens(text: &str) -> Vec<(usize, String)> {
    let mut tokens = Vec::new();
    for (number, line) in outside_tests(text) {
        let mut rest = line;
        while let Some(first) = rest.chars().next() {
            if rest.starts_with("//") {
                break;
            }
            let len = if rest.starts_with("'\"'") {
                3
            } else if first == '"' {
                string_len(rest)
            } else if rest.starts_with("::") {
                tokens.push((number, "::".to_owned()));
                2
            } else if first.is_alphanumeric() || first == '_' {
                let len = rest.find(|c: char| !c.is_alphanumeric() && c != '_').unwrap_or(rest.len());
                tokens.push((number, rest[..len].to_owned()));
                len
            } else {
                if !first.is_whitespace() {
                    tokens.push((number, first.to_string()));
                }
                first.len_utf8()
            };
            rest = rest.get(len..).unwrap_or_default();
        }
    }
    tokens
}

/// The length of a text that begins here, with its quotes; to the end of the line if it ends later.
fn string_len(text: &str) -> usize {
    let mut escaped = false;
    let end = text.char_indices().skip(1).find(|(_, c)| {
        let ends = *c == '"' && !escaped;
        escaped = *c == '\\' && !escaped;
        ends
    });
    end.map_or(text.len(), |(at, _)| at + 1)
}

#[cfg(test)]
mod tests {
    use super::{check, complaints_of};

    #[test]
    fn what_runs_downwards_is_right() {
        let text = "use crate::{\n    door::{lobby::Lobby, policy::Policy},\n    front::http::Peer,\n};\nuse super::drain;\n\
                    // crate::verbs is named in a comment only\nfn f() { let x = crate::state::store::now(); g(\"crate::api\"); }\n\
                    #[cfg(test)]\nmod tests {\n    use crate::control::ask;\n}\n";
        assert_eq!(complaints_of("server/src/lines/directory.rs", text), Vec::<String>::new());
        let text = "use crate::door::{lobby::Lobby, origin::{self, Owner as Whose}};\n";
        assert_eq!(complaints_of("server/src/front/http.rs", text), Vec::<String>::new());
        assert!(complaints_of("server/src/verbs/mod.rs", "use crate::anything::at_all;\n").is_empty(), "no room");
    }

    #[test]
    fn an_arrow_that_runs_upwards_is_named_with_its_line_its_room_and_what_it_may_name() {
        let told = complaints_of("server/src/state/store.rs", "use std::fs;\nuse crate::lines::Duologue;\n");
        let [told] = told.as_slice() else { panic!("{told:?}") };
        assert_eq!(
            told,
            "server/src/state/store.rs:2: the room `state` names `lines::Duologue`; it may name no other room, because arrows \
             run downwards only"
        );
        for (file, text, named) in [
            ("server/src/door/policy.rs", "use crate::services::service::Call;\n", "services::service::Call"),
            (
                "server/src/door/policy.rs",
                "use crate::{\n    door::origin,\n    services::service::Call,\n};\n",
                "services::service::Call",
            ),
            ("server/src/front/well_known.rs", "use crate::door::policy::Policy;\n", "door::policy::Policy"),
            ("server/src/front/well_known.rs", "use crate::door::{lobby, policy::Policy};\n", "door::policy::Policy"),
            ("server/src/front/well_known.rs", "use crate::door;\n", "door"),
            ("server/src/door/lobby.rs", "fn f() { crate::lines::drain(); }\n", "lines::drain"),
            ("server/src/door/lobby.rs", "fn f() { super::super::lines::drain(); }\n", "lines::drain"),
            ("server/src/door/mod.rs", "use super::lines;\n", "lines"),
            ("server/src/services/drop/quota.rs", "use super::super::super::lines as other;\n", "lines"),
            ("server/src/services/json.rs", "use crate::Duologue;\n", "crate::Duologue"),
            ("server/src/services/json.rs", "use crate::*;\n", "crate::*"),
            ("server/src/lines/mod.rs", "use crate::control::listen;\n", "crate::control"),
        ] {
            let told = complaints_of(file, text);
            assert!(told.len() == 1 && told[0].contains(&format!("names `{named}`")), "{text}: {told:?}");
        }
    }

    #[test]
    fn what_happens_is_an_event_and_no_line_in_the_log_alone() {
        for text in [
            "fn f() { tracing::warn!(%error, \"it failed\"); }\n",
            "use tracing::{debug, error};\n",
            "use tracing::info;\n",
        ] {
            for (file, is_wrong) in [
                ("server/src/state/room.rs", true),
                ("server/src/watch/audit/book.rs", true),
                ("server/src/watch/lines.rs", false),
                ("server/src/verbs/mod.rs", false),
            ] {
                let told = complaints_of(file, text);
                assert_eq!(told.iter().any(|told| told.contains("told as an event")), is_wrong, "{file}: {text}");
            }
        }
        let quiet = "use tracing::Level;\nfn f() { tracing::debug!(\"for who looks for something\"); }\n\
                     #[cfg(test)]\nmod tests {\n    fn f() { tracing::warn!(\"a test\"); }\n}\n";
        assert_eq!(complaints_of("server/src/door/gate.rs", quiet), Vec::<String>::new());
    }

    #[test]
    fn the_servers_rooms_are_in_order() {
        check().expect("arrows run downwards only");
    }
}
