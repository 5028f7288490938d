//! What is delivered, file by file, as Subresource Integrity writes it: `integrity.json` beside the page and in the npm
//! package.
//!
//! ```text
//! {"files": {"duologue.js": "sha384-…", …}, "tools": {"rustc": "rustc 1.…", …}}     sorted: the same build, the same text
//! ```
//!
//! The page's service worker keeps what it lists, and index.html carries the hashes of what it names. [`reproduce`]
//! builds the page a second time, from a copy of the sources in another folder, and compares both lists.

use std::collections::{BTreeMap, BTreeSet};
use std::env;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, ensure};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha384};

use crate::process::{self, ROOT, command, root, step, target};
use crate::tools;

/// The list's name.
pub(crate) const LIST: &str = "integrity.json";

/// All files of one folder and what made them.
#[derive(Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Integrity {
    /// A path from that folder, with `/`, and `sha384-…`.
    files: BTreeMap<String, String>,
    /// A program and its version.
    tools: BTreeMap<String, String>,
}

/// The hash of some bytes, as `integrity="…"` takes it.
pub(crate) fn hash(bytes: &[u8]) -> String {
    format!("sha384-{}", STANDARD.encode(Sha384::digest(bytes)))
}

/// Writes [`LIST`] into a folder: of these files in it, whole paths.
///
/// # Errors
///
/// When one cannot be read, or the list not be written.
pub(crate) fn write(folder: &Path, files: &[PathBuf]) -> Result<()> {
    let tools = tools::versions()?.into_iter().map(|(name, version)| (name.to_owned(), version)).collect();
    let mut list = Integrity { tools, ..Integrity::default() };
    for file in files {
        let bytes = fs::read(file).with_context(|| format!("cannot read {}", file.display()))?;
        list.files.insert(name_in(folder, file), hash(&bytes));
    }
    let text = serde_json::to_string_pretty(&list)? + "\n";
    fs::write(folder.join(LIST), text).with_context(|| format!("cannot write {LIST}"))
}

fn name_in(folder: &Path, file: &Path) -> String {
    let name = file.strip_prefix(folder).expect("a file of this folder");
    name.iter().map(|part| part.to_string_lossy()).collect::<Vec<_>>().join("/")
}

/// The line of index.html that names a script or style sheet of this folder, with its hash; any other line as it is.
///
/// # Errors
///
/// When the file cannot be read.
pub(crate) fn with_hash(line: &str, folder: &Path) -> Result<String> {
    const STARTS: [&str; 3] =
        ["<link rel=\"stylesheet\" href=\"", "<link rel=\"modulepreload\" href=\"", "<script type=\"module\" src=\""];
    let Some(rest) = STARTS.iter().find_map(|start| line.trim_start().strip_prefix(start)) else {
        return Ok(line.to_owned());
    };
    let (name, after) = rest.split_once('"').context("index.html has an open quote")?;
    let bytes = fs::read(folder.join(name)).with_context(|| format!("index.html names {name}"))?;
    let before = line.strip_suffix(after).unwrap_or(line);
    Ok(format!("{before} integrity=\"{}\"{after}", hash(&bytes)))
}

/// Builds the page again from a copy of all sources elsewhere, with nothing compiled before; prints the hashes.
///
/// # Errors
///
/// When git is missing, the build fails, or a file differs from that in `target/web`.
pub(crate) fn reproduce() -> Result<()> {
    // Not below this workspace: cargo would join the settings of both.
    let copy = env::temp_dir().join(format!("duologue elsewhere {}", std::process::id()));
    copy_sources(&copy)?;
    step("building the page again, elsewhere", || {
        let mut again = command(env::current_exe().context("xtask does not find itself")?);
        process::run(again.arg("wasm").env(ROOT, &copy))
    })?;
    let (first, second) = (read(&target("web"))?, read(&copy.join("target/web"))?);
    let mut differing = Vec::new();
    for name in first.files.keys().chain(second.files.keys()).collect::<BTreeSet<_>>() {
        let (here, there) = (first.files.get(name), second.files.get(name));
        println!("{name}\n  here      {}\n  elsewhere {}", text(here), text(there));
        if here != there {
            differing.push(name.as_str());
        }
    }
    ensure!(differing.is_empty(), "these differ from those in {}: {}", copy.display(), differing.join(", "));
    ensure!(first == second, "built twice, by different tools");
    println!("built twice, in two folders: {} files, no difference", first.files.len());
    fs::remove_dir_all(&copy).with_context(|| format!("cannot remove {}", copy.display()))
}

/// All files that git tracks or would track, in another folder.
///
/// # Errors
///
/// When git is missing, or one cannot be copied.
pub(crate) fn copy_sources(to: &Path) -> Result<()> {
    let mut list = command("git");
    list.args(["ls-files", "--cached", "--others", "--exclude-standard", "-z"]);
    let sources = process::output(&mut list).context("the sources are listed by git, which failed")?;
    for name in sources.split('\0').filter(|name| !name.is_empty()) {
        let (from, to) = (root().join(name), to.join(name));
        fs::create_dir_all(to.parent().expect("a file lies in a folder"))
            .context("cannot make a folder for temporary files")?;
        match fs::symlink_metadata(&from) {
            Ok(it) if it.is_symlink() => std::os::unix::fs::symlink(fs::read_link(&from)?, &to),
            Ok(_) => fs::copy(&from, &to).map(drop),
            // Deleted, and not yet committed.
            Err(_) => Ok(()),
        }
        .with_context(|| format!("cannot copy {name}"))?;
    }
    Ok(())
}

fn text(hash: Option<&String>) -> &str {
    hash.map_or("missing", String::as_str)
}

fn read(folder: &Path) -> Result<Integrity> {
    let text = fs::read(folder.join(LIST)).with_context(|| format!("{} has no {LIST}", folder.display()))?;
    serde_json::from_slice(&text).with_context(|| format!("{LIST} is of another form"))
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::{LIST, hash, read, with_hash, write};
    use crate::process::target;

    #[test]
    fn a_list_has_the_hash_of_each_file_and_is_the_same_each_time() {
        // `printf abc | openssl dgst -sha384 -binary | base64`
        let abc = "sha384-ywB1P0WjXou1oD1pmsZQBycsMqsO3tFjGotgWkP/W+2AhgcroefMI1i67KE0yCWn";
        assert_eq!(hash(b"abc"), abc);
        let folder = target("tmp/integrity");
        let _ = fs::remove_dir_all(&folder);
        fs::create_dir_all(folder.join("page")).expect("a folder");
        let files = ["z.js", "page/a.js"].map(|name| folder.join(name));
        for file in &files {
            fs::write(file, "abc").expect("a file");
        }
        write(&folder, &files).expect("a list");
        let text = fs::read_to_string(folder.join(LIST)).expect("a list");
        let list = read(&folder).expect("well formed");
        assert_eq!(list.files.keys().collect::<Vec<_>>(), ["page/a.js", "z.js"]);
        assert!(list.files.values().all(|hash| hash == abc), "{list:?}");
        assert!(list.tools["rustc"].starts_with("rustc 1."), "{list:?}");
        write(&folder, &[files[1].clone(), files[0].clone()]).expect("a list");
        assert_eq!(fs::read_to_string(folder.join(LIST)).expect("a list"), text);

        let line = "    <script type=\"module\" src=\"page/a.js\"></script>\n";
        let expected = format!("    <script type=\"module\" src=\"page/a.js\" integrity=\"{abc}\"></script>\n");
        assert_eq!(with_hash(line, &folder).expect("the file is there"), expected);
        assert_eq!(
            with_hash("<link rel=\"icon\" href=\"z.js\">", &folder).expect("no hash"),
            "<link rel=\"icon\" href=\"z.js\">"
        );
        assert!(
            with_hash("<link rel=\"modulepreload\" href=\"gone.js\">", &folder).is_err(),
            "a file that is not there"
        );
        fs::remove_dir_all(&folder).expect("removed");
    }
}
