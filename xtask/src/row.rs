//! The rooms of `web/js/` and `web/page/`, which are delivered as one row of files.
//!
//! ```text
//! web/js/worker/held.js   import … from "../core.js"     ─┬─►   held.js   import … from "./core.js"
//! web/js/link.js          import("./worker/remote.js")   ─┘     link.js   import("./remote.js")
//! ```
//!
//! Addresses of scripts outlive a build: a shared worker is known by its own, apps name `worker.js` beside the library,
//! and a page that stays open asks for what it loads later. So a file may change its room, and keep its address.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use anyhow::{Context as _, Result, bail, ensure};

use crate::wasm::files_in;

/// Copies the files of a folder and of its rooms side by side into another; what scripts import follows.
///
/// # Errors
///
/// When two files have one name, a room has rooms, or a script imports what is in no room of the folder.
pub(crate) fn copy_flat(from: &Path, to: &Path) -> Result<()> {
    fs::create_dir_all(to).context("cannot write under target/")?;
    let mut rooms = BTreeMap::new();
    for file in files_in(from)? {
        let path = file.strip_prefix(from).expect("a file of this folder");
        let name = path.file_name().and_then(|name| name.to_str()).context("a file's name is not UTF-8")?.to_owned();
        let room = path.parent().and_then(Path::to_str).context("a folder's name is not UTF-8")?.to_owned();
        ensure!(!room.contains('/'), "{}: a room has no rooms", file.display());
        let other = rooms.insert(name.clone(), room);
        ensure!(other.is_none(), "{} has two files called {name}: they are delivered side by side", from.display());
    }
    for (name, room) in &rooms {
        let (file, copy) = (from.join(room).join(name), to.join(name));
        if Path::new(name).extension().is_some_and(|kind| kind == "js") {
            let text = fs::read_to_string(&file).with_context(|| format!("cannot read {}", file.display()))?;
            let text = flat(&text, room, &rooms).with_context(|| format!("in {}", file.display()))?;
            fs::write(copy, text).context("cannot write under target/")?;
        } else {
            fs::copy(&file, copy).with_context(|| format!("cannot copy {}", file.display()))?;
        }
    }
    Ok(())
}

/// A script of a room (empty: the folder itself) with each `"./…"` and `"../…"` in it as it is once all are side by side.
fn flat(text: &str, room: &str, rooms: &BTreeMap<String, String>) -> Result<String> {
    let mut out = String::new();
    for (count, part) in text.split('"').enumerate() {
        if count > 0 {
            out.push('"');
        }
        match part.ends_with(".js").then(|| part.split('/').collect::<Vec<_>>()).as_deref() {
            // Beside it, or made by a build and not among the sources: the module's bindings.
            Some([".", name]) if rooms.get(*name).is_none_or(|other| other == room) => out += part,
            Some([".", other, name]) if room.is_empty() && rooms.get(*name).is_some_and(|at| at == other) => {
                out += &format!("./{name}");
            }
            Some(["..", name]) if !room.is_empty() && rooms.get(*name).is_none_or(String::is_empty) => {
                out += &format!("./{name}");
            }
            Some(["..", other, name]) if !room.is_empty() && rooms.get(*name).is_some_and(|at| at == other) => {
                out += &format!("./{name}");
            }
            // Beside the page's folder is the library.
            Some(["..", "..", name]) if !room.is_empty() => out += &format!("../{name}"),
            Some(["..", _]) if room.is_empty() => out += part,
            Some(["." | "..", ..]) => bail!("{part:?} is in no room of this folder"),
            _ => out += part,
        }
    }
    Ok(out)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::flat;

    #[test]
    fn what_a_script_imports_follows_it_out_of_its_room() {
        let rooms =
            [("link.js", ""), ("core.js", ""), ("held.js", "worker"), ("wire.js", "worker"), ("kept.js", "keys")];
        let rooms = rooms.map(|(name, room)| (name.to_owned(), room.to_owned()));
        let rooms = BTreeMap::from(rooms);
        for (room, text, delivered) in [
            ("", "from \"./core.js\"; import(\"./worker/wire.js\")", "from \"./core.js\"; import(\"./wire.js\")"),
            (
                "",
                "from \"./duologue_core.js\" // \"made\" by a build",
                "from \"./duologue_core.js\" // \"made\" by a build",
            ),
            ("", "from \"../library.js\"", "from \"../library.js\""),
            ("worker", "from \"../core.js\"; from \"./held.js\"", "from \"./core.js\"; from \"./held.js\""),
            ("worker", "from \"../keys/kept.js\"", "from \"./kept.js\""),
            ("worker", "from \"../../library.js\"", "from \"../library.js\""),
            ("worker", "new URL(\"./wire.js\", import.meta.url)", "new URL(\"./wire.js\", import.meta.url)"),
            (
                "worker",
                "\"a/b.js\" \"https://elsewhere.example/x.js\"",
                "\"a/b.js\" \"https://elsewhere.example/x.js\"",
            ),
        ] {
            assert_eq!(flat(text, room, &rooms).expect(text), delivered);
        }
    }

    #[test]
    fn a_script_that_looks_into_the_wrong_room_is_not_delivered() {
        let rooms =
            BTreeMap::from([("core.js".to_owned(), String::new()), ("held.js".to_owned(), "worker".to_owned())]);
        for (room, text) in [
            ("", "from \"./held.js\""),
            ("", "from \"./keys/held.js\""),
            ("worker", "from \"./core.js\""),
            ("worker", "from \"../held.js\""),
            ("worker", "from \"../keys/held.js\""),
        ] {
            assert!(flat(text, room, &rooms).is_err(), "{text} in {room:?}");
        }
    }
}
