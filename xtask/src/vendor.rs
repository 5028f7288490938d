//! Libraries of others in `vendor/`, each with a patch: without it they are what their authors have published, byte by byte.
//!
//! ```text
//! vendor/NAME ─ git apply --reverse NAME.patch ─► a copy elsewhere ─ SHA-256 of each file ─► NAME.sha256
//! ```
//!
//! The list was made of a `.crate` whose checksum was the registry's; `vendor/README.md` says how. What the patch adds is ours
//! to review, and everything else is not.

use std::collections::BTreeMap;
use std::env;
use std::fs;
use std::path::Path;

use anyhow::{Context as _, Result, ensure};
use sha2::{Digest as _, Sha256};

use crate::process::{self, command, root};
use crate::wasm::copy_tree;

const CRATES: [&str; 1] = ["chacha20"];

/// Holds all of them to their lists.
///
/// # Errors
///
/// When a patch is not what a crate has been changed by.
pub(crate) fn check() -> Result<()> {
    let vendor = root().join("vendor");
    CRATES.iter().try_for_each(|name| holds(&vendor.join(name), name).with_context(|| format!("vendor/{name}")))
}

/// Holds a crate in some folder to the list and the patch of this name.
fn holds(sources: &Path, name: &str) -> Result<()> {
    let vendor = root().join("vendor");
    // Not below this repository, whose files git would look at.
    let copy = env::temp_dir().join(format!("duologue vendor {name} {}", std::process::id()));
    let _ = fs::remove_dir_all(&copy);
    copy_tree(sources, &copy)?;
    let patch = vendor.join(format!("{name}.patch"));
    let undone = process::run(command("git").args(["apply", "--reverse"]).arg(&patch).current_dir(&copy));
    let found = undone.and_then(|()| hashes(&copy));
    fs::remove_dir_all(&copy).with_context(|| format!("cannot remove {}", copy.display()))?;
    let found = found?;
    let list = fs::read_to_string(vendor.join(format!("{name}.sha256"))).context("there is no list")?;
    let published: BTreeMap<_, _> =
        list.lines().filter_map(|line| line.split_once("  ").map(|(hash, file)| (file.into(), hash.into()))).collect();
    let differs = |file: &&String| published.get(*file) != found.get(*file);
    let differing: Vec<_> = published.keys().chain(found.keys()).filter(differs).cloned().collect();
    ensure!(
        !published.is_empty() && differing.is_empty(),
        "without the patch these are not as published: {differing:?}"
    );
    Ok(())
}

/// Each file by its path, with its SHA-256 in hexadecimal.
fn hashes(folder: &Path) -> Result<BTreeMap<String, String>> {
    let mut found = BTreeMap::new();
    let mut folders = vec![folder.to_owned()];
    while let Some(next) = folders.pop() {
        for entry in fs::read_dir(&next).with_context(|| format!("cannot read {}", next.display()))? {
            let path = entry?.path();
            if path.is_dir() {
                folders.push(path);
                continue;
            }
            let hash = Sha256::digest(fs::read(&path).with_context(|| format!("cannot read {}", path.display()))?);
            let name = path.strip_prefix(folder).expect("a file of this folder").display().to_string();
            found.insert(name, hash.iter().map(|byte| format!("{byte:02x}")).collect());
        }
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::{check, holds};
    use crate::process::{root, target};
    use crate::wasm::copy_tree;

    #[test]
    fn without_its_patch_a_library_is_what_was_published_and_any_other_change_is_found() {
        check().expect("vendor/ is in order");
        let folder = target("tmp/vendor");
        let _ = std::fs::remove_dir_all(&folder);
        copy_tree(&root().join("vendor/chacha20"), &folder).expect("a copy");
        holds(&folder, "chacha20").expect("a copy is as good");
        let file = folder.join("src/backends/soft.rs");
        let text = std::fs::read_to_string(&file).expect("a file");
        std::fs::write(&file, text.replace("quarter_round(0, 4, 8, 12", "quarter_round(0, 4, 8, 13")).expect("written");
        let told = holds(&folder, "chacha20").expect_err("it differs");
        assert!(told.to_string().contains("src/backends/soft.rs"), "{told:#}");
        std::fs::write(&file, text).expect("written");
        std::fs::write(folder.join("src/more.rs"), "// more").expect("written");
        assert!(holds(&folder, "chacha20").is_err(), "a file too many");
        std::fs::remove_dir_all(&folder).expect("removed");
    }
}
