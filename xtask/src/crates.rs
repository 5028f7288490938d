//! `cargo xtask package`: the crates that are published, and whether each can be built from its `.crate` alone.
//!
//! ```text
//! target/web ─┐
//! server/page ┴─ cargo package ─► target/package/NAME-VERSION.crate ─ tar ─► a folder elsewhere
//!                                    README, licences, keywords; the page, file by file ◄──┤
//!                                    cargo fetch, then --offline each, with nothing on PATH ◄──┤
//!                                    an app of somebody else's (tests/packaging/rust), built and run ◄┘
//! ```
//!
//! What a crate embeds is in it, reached by links within the repository (`server/page`), which cargo follows. The `.crate`s are
//! unpacked where no file of this workspace is near, and built without node or any other tool than cargo's own.

use std::collections::BTreeSet;
use std::env;
use std::ffi::OsString;
use std::fs;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, Stdio};

use anyhow::{Context as _, Result, ensure};
use serde_json::Value;

use crate::process::{self, cargo, command, root, step, target};
use crate::wasm;

/// What is published, each after those that it needs.
const CRATES: [&str; 5] = ["duologue-aead", "duologue", "duologue-native", "duologue-client", "duologue-server"];
const SERVER: &str = "duologue-server";
const VERSION: &str = env!("CARGO_PKG_VERSION");
/// The most that crates.io takes, in bytes.
const CRATE_LEN_MAX: u64 = 10 * 1024 * 1024;
/// What every crate must say of itself: crates.io takes five keywords and five categories at most.
const LISTED_MAX: usize = 5;

/// How far the packages are tried.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Trial {
    /// Each is compiled as far as its types go, with what the workspace has compiled before.
    Types,
    /// Each is built as `cargo install` does it, from nothing; the program and the app are run.
    Whole,
}

/// Makes and tries the packages, and prints where they are.
///
/// # Errors
///
/// As [`build`].
pub(crate) fn verb(quick: bool) -> Result<ExitCode> {
    for package in build(if quick { Trial::Types } else { Trial::Whole })? {
        println!("{}", package.display());
    }
    Ok(ExitCode::SUCCESS)
}

/// Makes the packages and tries them; the `.crate` files.
///
/// # Errors
///
/// When one cannot be made, lacks something, or cannot be built.
pub(crate) fn build(trial: Trial) -> Result<Vec<PathBuf>> {
    wasm::build(false, &mut std::io::stderr())?;
    let packages = step("packing the crates", pack)?;
    // Not below this workspace, of whose settings and files nothing may be needed.
    let elsewhere = env::temp_dir().join(format!("duologue packages {}", std::process::id()));
    let _ = fs::remove_dir_all(&elsewhere);
    step("unpacking the crates elsewhere", || unpack(&packages, &elsewhere))?;
    inspect(&elsewhere)?;
    let tried = step("building each crate from its package", || try_out(&elsewhere, trial));
    fs::remove_dir_all(&elsewhere).with_context(|| format!("cannot remove {}", elsewhere.display()))?;
    tried.map(|()| packages)
}

fn pack() -> Result<Vec<PathBuf>> {
    // What cannot be published does not stay from an earlier time.
    let _ = fs::remove_dir_all(target("package"));
    // Before it is committed, too; and the page never is.
    let mut pack = cargo(["package", "--quiet", "--no-verify", "--allow-dirty"]);
    process::run(pack.args(CRATES.iter().flat_map(|name| ["--package", name])))?;
    let packages = CRATES.map(|name| target("package").join(format!("{name}-{VERSION}.crate")));
    for package in &packages {
        let len = fs::metadata(package).with_context(|| format!("cargo left no {}", package.display()))?.len();
        ensure!(len <= CRATE_LEN_MAX, "{} has {len} bytes, and crates.io takes {CRATE_LEN_MAX}", package.display());
    }
    Ok(packages.to_vec())
}

/// Unpacks into a folder each, makes these a workspace in the place of crates.io, and puts the app beside them.
fn unpack(packages: &[PathBuf], elsewhere: &Path) -> Result<()> {
    let app = elsewhere.join("app/src");
    fs::create_dir_all(&app).context("cannot make a folder for temporary files")?;
    for package in packages {
        process::run(command("tar").arg("-xzf").arg(package).arg("-C").arg(elsewhere))?;
    }
    let members = CRATES.map(|name| format!("\"{name}-{VERSION}\"")).join(", ");
    let patches = CRATES.map(|name| format!("{name} = {{ path = \"{name}-{VERSION}\" }}\n")).concat();
    // The workspace's own profiles, so that what it has compiled can be used again.
    let own = fs::read_to_string(root().join("Cargo.toml")).context("cannot read Cargo.toml")?;
    let profiles = own.find("[profile.dev]").map(|at| &own[at..]).context("Cargo.toml has no profiles")?;
    let workspace = format!(
        "[workspace]\nresolver = \"3\"\nmembers = [{members}, \"app\"]\n\n[patch.crates-io]\n{patches}\n{profiles}"
    );
    let manifest = format!(
        "[package]\nname = \"app\"\nversion = \"0.0.0\"\nedition = \"2024\"\n\n[dependencies]\n\
         duologue-client = \"{VERSION}\"\nduologue-server = \"{VERSION}\"\n\
         serde = {{ version = \"1\", features = [\"derive\"] }}\n\
         tokio = {{ version = \"1\", features = [\"macros\", \"net\", \"rt-multi-thread\"] }}\n"
    );
    fs::write(elsewhere.join("Cargo.toml"), workspace)?;
    fs::write(elsewhere.join("app/Cargo.toml"), manifest)?;
    fs::copy(root().join("tests/packaging/rust/main.rs"), app.join("main.rs"))?;
    // The same versions as here; what is not needed is left out of it.
    fs::copy(root().join("Cargo.lock"), elsewhere.join("Cargo.lock"))?;
    Ok(())
}

/// What a package must have, whether or not it can be built.
fn inspect(elsewhere: &Path) -> Result<()> {
    let mut ask = command("cargo");
    ask.args(["metadata", "--no-deps", "--format-version=1"]).current_dir(elsewhere);
    let account = process::output(&mut ask).context("`cargo metadata` failed on the packages")?;
    let account: Value = serde_json::from_str(&account).context("`cargo metadata` speaks another language")?;
    let packages = account["packages"].as_array().context("`cargo metadata` names no packages")?;
    for name in CRATES {
        let package = packages.iter().find(|package| package["name"] == name);
        let package = package.with_context(|| format!("{name} is not among the packages"))?;
        let folder = elsewhere.join(format!("{name}-{VERSION}"));
        let complaints = complaints(package, &folder);
        ensure!(complaints.is_empty(), "{name}: {}", complaints.join("; "));
    }
    let (made, packed) = (names_in(&target("web"))?, names_in(&elsewhere.join(format!("{SERVER}-{VERSION}/page")))?);
    ensure!(
        made.contains(Path::new("index.html")) && made == packed,
        "{SERVER}: the page in it is not that of target/web"
    );
    for name in &made {
        let packed = fs::read(elsewhere.join(format!("{SERVER}-{VERSION}/page")).join(name))?;
        ensure!(
            fs::read(target("web").join(name))? == packed,
            "{SERVER}: its {} is not that of target/web",
            name.display()
        );
    }
    Ok(())
}

/// What a package does not say of itself.
fn complaints(package: &Value, folder: &Path) -> Vec<String> {
    let mut found = Vec::new();
    for field in ["description", "license", "repository", "rust_version"] {
        if package[field].as_str().is_none_or(str::is_empty) {
            found.push(format!("it has no {field}"));
        }
    }
    for field in ["keywords", "categories"] {
        if !(1..=LISTED_MAX).contains(&package[field].as_array().map_or(0, Vec::len)) {
            found.push(format!("it should have 1 to {LISTED_MAX} {field}"));
        }
    }
    for file in ["README.md", "LICENSE-MIT", "LICENSE-APACHE"] {
        if fs::metadata(folder.join(file)).map_or(0, |file| file.len()) < 200 {
            found.push(format!("it has no {file}"));
        }
    }
    if package["readme"] != "README.md" {
        found.push("its README is not named".to_owned());
    }
    found
}

/// All files below a folder, by their paths from there.
fn names_in(folder: &Path) -> Result<BTreeSet<PathBuf>> {
    let files = wasm::files_in(folder)?;
    Ok(files.iter().map(|file| file.strip_prefix(folder).expect("a file of this folder").to_owned()).collect())
}

fn try_out(elsewhere: &Path, trial: Trial) -> Result<()> {
    let built = target("package/built");
    let path = without_tools(elsewhere)?;
    let cargo_there = |arguments: &[&str]| -> Command {
        let mut cargo = command("cargo");
        cargo.current_dir(elsewhere).args(arguments).env("PATH", &path);
        if trial == Trial::Whole {
            cargo.env("CARGO_TARGET_DIR", &built);
        }
        cargo
    };
    process::run(&mut cargo_there(&["fetch", "--quiet"]))?;
    let (verb, flags): (_, &[&str]) = match trial {
        Trial::Types => ("check", &[]),
        Trial::Whole => ("build", &["--release"]),
    };
    for name in CRATES.into_iter().chain(["app"]) {
        process::run(cargo_there(&[verb, "--quiet", "--offline", "--package", name]).args(flags))
            .with_context(|| format!("{name} cannot be built from its package"))?;
    }
    if trial == Trial::Whole {
        let app = process::output(command(built.join("release/app")).arg(elsewhere.join("state")));
        ensure!(app.is_some_and(|said| said.contains("all of it works")), "the app fails");
        // What it embeds is in it: its sources go, and it still has its words and its page.
        fs::remove_dir_all(elsewhere.join(format!("{SERVER}-{VERSION}")))?;
        let program = built.join("release/duologue");
        let mut show = command(&program);
        show.args(["keys", "show", "--state"]).arg(elsewhere.join("served"));
        ensure!(process::output(&mut show).is_some_and(|said| said.contains("mots")), "the program has no words");
        serves_its_page(&program, &elsewhere.join("served"))?;
    }
    Ok(())
}

/// A PATH on which the tools that make the page end with an error.
fn without_tools(elsewhere: &Path) -> Result<OsString> {
    use std::os::unix::fs::PermissionsExt as _;
    let folder = elsewhere.join("no tools");
    fs::create_dir_all(&folder)?;
    for tool in ["node", "npm", "npx", "esbuild", "wasm-pack", "wasm-bindgen", "wasm-opt", "git"] {
        let file = folder.join(tool);
        fs::write(&file, format!("#!/bin/sh\necho 'a package needs {tool}' >&2\nexit 1\n"))?;
        fs::set_permissions(&file, fs::Permissions::from_mode(0o755))?;
    }
    let others = env::var_os("PATH").unwrap_or_default();
    env::join_paths(std::iter::once(folder).chain(env::split_paths(&others)))
        .context("a folder on PATH cannot be joined")
}

/// Starts the program as behind a proxy, and compares what it delivers.
fn serves_its_page(program: &Path, state: &Path) -> Result<()> {
    let mut serve = command(program);
    serve.args(["serve", "--behind-proxy", "--listen", "127.0.0.1:0", "--url", "https://localhost", "--state"]);
    let mut server = serve.arg(state).stdout(Stdio::piped()).spawn().context("the program does not start")?;
    let compared = (|| {
        let mut line = String::new();
        BufReader::new(server.stdout.take().context("its stdout is piped")?).read_line(&mut line)?;
        let address = line.trim().strip_prefix("listening ").with_context(|| format!("it says {line:?}"))?;
        for name in ["", "duologue_core_bg.wasm", "page/page.js", "page/words-fr.txt"] {
            let mut stream = TcpStream::connect(address)?;
            write!(stream, "GET /{name} HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n")?;
            let mut answer = Vec::new();
            stream.read_to_end(&mut answer)?;
            let file = fs::read(target("web").join(if name.is_empty() { "index.html" } else { name }))?;
            ensure!(answer.starts_with(b"HTTP/1.1 200") && answer.ends_with(&file), "it does not deliver /{name}");
        }
        Ok(())
    })();
    server.kill().context("the program cannot be ended")?;
    server.wait()?;
    compared
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::complaints;
    use crate::process::target;

    #[test]
    fn a_package_that_says_too_little_of_itself_is_refused() {
        let folder = target("tmp/package");
        std::fs::create_dir_all(&folder).expect("a folder");
        for file in ["README.md", "LICENSE-MIT", "LICENSE-APACHE"] {
            std::fs::write(folder.join(file), "words ".repeat(50)).expect("a file");
        }
        let whole = json!({
            "description": "a crate", "license": "MIT", "repository": "https://example.org", "rust_version": "1.95",
            "keywords": ["one"], "categories": ["cryptography"], "readme": "README.md",
        });
        assert_eq!(complaints(&whole, &folder), Vec::<String>::new());
        for (field, value) in [
            ("description", json!("")),
            ("license", json!(null)),
            ("keywords", json!([])),
            ("keywords", json!(["a", "b", "c", "d", "e", "f"])),
            ("categories", json!(null)),
            ("readme", json!(null)),
        ] {
            let mut less = whole.clone();
            less[field] = value;
            assert_eq!(complaints(&less, &folder).len(), 1, "{field}");
        }
        std::fs::write(folder.join("README.md"), "too short").expect("a file");
        assert_eq!(complaints(&whole, &folder), ["it has no README.md"]);
        std::fs::remove_dir_all(&folder).expect("removed");
    }
}
