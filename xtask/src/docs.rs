//! `cargo xtask docs`: the reference of both interfaces in one place, `target/docs/index.html`.
//!
//! ```text
//! shared, native, client, server ─ rustdoc ──────────────────────────────────────────────► target/docs/rust/
//! web/js/*.d.ts, web/npm/*.d.ts ── together in target/docs/declarations ─ typedoc (npm) ─► target/docs/javascript/
//! ```
//!
//! What one of them links to and is not there is an error. The packaging matrix makes the part that is JavaScript's too.

use std::fs;
use std::path::Path;
use std::process::ExitCode;

use anyhow::{Context as _, Result, ensure};
use serde_json::json;

use crate::process::{self, cargo, command, root, step, target};
use crate::tools;
use crate::wasm::copy_tree;

/// The crates that others use, and what for.
const CRATES: [(&str, &str, &str); 4] = [
    ("duologue-server", "duologue_server", "a line in an axum app of your own"),
    ("duologue-client", "duologue_client", "a native client"),
    ("duologue-native", "duologue_native", "lines, channels and streams over tokio, which both of them re-export"),
    ("duologue", "duologue", "the protocol core, without I/O"),
];
/// The entries of the npm package, and where each is declared.
const ENTRIES: [(&str, &str); 4] =
    [("duologue", "web/js"), ("react", "web/npm"), ("node", "web/npm"), ("testing", "web/npm")];
const OUT: &str = "docs/javascript";
/// All that libraries have. The others are the binary's, and take long to build.
pub(crate) const FEATURES: [&str; 2] = ["--features", "duologue-server/growth,duologue-server/typescript"];

/// Makes both references and prints where they are.
///
/// # Errors
///
/// When one of the tools is missing, or finds something wrong.
pub(crate) fn verb() -> Result<ExitCode> {
    let packages = CRATES.iter().flat_map(|(package, ..)| ["-p", package]);
    let mut rust = cargo(["doc", "--no-deps", "--lib"]);
    rust.args(FEATURES);
    step("the reference of the crates (rustdoc)", || {
        process::run(rust.args(packages).env("RUSTDOCFLAGS", "-D warnings"))?;
        replace(&target("docs/rust"))?;
        copy_tree(&target("doc"), &target("docs/rust"))
    })?;
    step("the reference of the npm package (typedoc)", javascript)?;
    let index = target("docs/index.html");
    fs::write(&index, page()).with_context(|| format!("cannot write {}", index.display()))?;
    println!("{}", index.display());
    Ok(ExitCode::SUCCESS)
}

/// The reference of the npm package, from its declarations alone.
///
/// # Errors
///
/// When typedoc cannot be installed, or finds something wrong.
pub(crate) fn javascript() -> Result<()> {
    ensure!(tools::has_node(), "the reference of the npm package needs node and npm on PATH");
    let typedoc = tools::typedoc().context("typedoc could not be installed")?;
    let folder = target("docs/declarations");
    replace(&folder)?;
    for (name, from) in ENTRIES.iter().chain(&[("platform", "web/js")]) {
        let file = format!("{name}.d.ts");
        fs::copy(root().join(from).join(&file), folder.join(&file)).with_context(|| format!("cannot copy {file}"))?;
    }
    let options = json!({
        "compilerOptions": {
            "strict": true, "noEmit": true, "target": "es2022", "module": "esnext", "moduleResolution": "bundler",
            "lib": ["es2024", "dom", "dom.asynciterable"], "types": [], "paths": { "duologue": ["./duologue.d.ts"] },
        },
        "include": ["*.d.ts"],
        "typedocOptions": {
            "name": "duologue", "readme": root().join("web/npm/README.md"), "out": target(OUT),
            "entryPoints": ENTRIES.iter().map(|(name, _)| format!("./{name}.d.ts")).collect::<Vec<_>>(),
            "disableSources": true, "githubPages": false, "treatWarningsAsErrors": true,
            // What the platform calls by its own names is the platform's.
            "validation": { "notExported": false },
            "highlightLanguages": ["javascript", "typescript", "jsx", "json", "bash", "html", "css"],
        },
    });
    fs::write(folder.join("tsconfig.json"), options.to_string()).context("cannot write under target/")?;
    let mut run = command("node");
    process::run(run.arg(typedoc).args(["--tsconfig", "tsconfig.json", "--logLevel", "Warn"]).current_dir(folder))
}

/// An empty folder in the place of what was there.
fn replace(folder: &Path) -> Result<()> {
    if folder.is_dir() {
        fs::remove_dir_all(folder).with_context(|| format!("cannot empty {}", folder.display()))?;
    }
    fs::create_dir_all(folder).with_context(|| format!("cannot make {}", folder.display()))
}

fn page() -> String {
    let crates = CRATES.iter().map(|(name, folder, what)| item(&format!("rust/{folder}/index.html"), name, what));
    let entries = [
        ("duologue", "connect, links, channels, streams"),
        ("react", "hooks"),
        ("node", "an identity in a file"),
        ("testing", "a server in memory"),
    ];
    let entries = entries.map(|(name, what)| item(&format!("javascript/modules/{name}.html"), name, what));
    format!(
        "<!doctype html>\n<html lang=\"en\">\n<meta charset=\"utf-8\">\n<meta name=\"viewport\" content=\"width=device-width\">\n\
         <title>Duologue: reference</title>\n<style>body {{ font: 1rem/1.5 system-ui; max-width: 40rem; margin: 2rem auto; \
         padding: 0 1rem }}</style>\n<h1>Duologue {}</h1>\n<h2>JavaScript</h2>\n<ul>\n{}</ul>\n<h2>Rust</h2>\n<ul>\n{}</ul>\n",
        env!("CARGO_PKG_VERSION"),
        entries.concat(),
        crates.collect::<String>(),
    )
}

fn item(link: &str, name: &str, what: &str) -> String {
    format!("<li><a href=\"{link}\"><code>{name}</code></a>: {what}</li>\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_index_names_each_crate_and_each_entry() {
        let page = page();
        for (name, folder, _) in CRATES {
            assert!(page.contains(&format!("rust/{folder}/index.html")) && page.contains(name), "{name}");
        }
        for (name, _) in ENTRIES {
            assert!(page.contains(&format!("javascript/modules/{name}.html")), "{name}");
        }
    }
}
