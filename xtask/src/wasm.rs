//! `cargo xtask wasm`: the page and its WebAssembly core, ready to be served, in `target/web/`.
//!
//! ```text
//! web/ ─ wasm-pack ─► target/web-pkg/ ─ wasm-opt ─┐
//! index.html, web/js/, web/page/ ── esbuild ──────┴─► target/web/ ─ brotli ─► a .br beside each file
//! ```
//!
//! Nothing is built when the inputs are those of the last time. The module may import nothing from "env": that would
//! be a C symbol or a clock of `std` that crept in, and the page could not start. What the page loads is measured
//! against [`BOUND`].

use std::env;
use std::fs;
use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context as _, Result, ensure};

use crate::imports::imports;
use crate::process::{self, command, root, step, target};
use crate::tools;

/// The most that JavaScript and wasm of the page may weigh, in bytes, compressed by brotli.
const BOUND: usize = 99_000;
/// What they should weigh.
pub(crate) const GOAL: usize = 80_000;

pub(crate) const CORE_JS: &str = "duologue_core.js";
pub(crate) const CORE_WASM: &str = "duologue_core_bg.wasm";
/// The scripts that others are bundled into.
const BUNDLES: [&str; 5] = ["duologue.js", "kept.js", "page/page.js", "remote.js", "worker.js"];
/// Those that a page loads only when it asks for a worker, or keeps its key elsewhere: they are not part of what every page weighs.
const LAZY: [&str; 3] = ["kept.js", "remote.js", "worker.js"];

/// What the result depends on; a folder stands for all files in it. This file is one: it says how they are put together.
const INPUTS: [&str; 8] = [
    "web",
    "shared",
    "index.html",
    "Cargo.toml",
    "Cargo.lock",
    ".cargo/config.toml",
    "rust-toolchain.toml",
    "xtask/src/wasm.rs",
];

/// The features that the compiler and wasm-bindgen already use; wasm-opt must be told not to avoid them.
const WASM_OPT_FLAGS: [&str; 8] = [
    "-O3",
    "--enable-simd",
    "--enable-bulk-memory",
    "--enable-nontrapping-float-to-int",
    "--enable-sign-ext",
    "--enable-mutable-globals",
    "--enable-reference-types",
    "--enable-multivalue",
];

/// Bytes that the page loads, compressed by brotli.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Sizes {
    /// The WebAssembly module.
    pub(crate) module: usize,
    /// With the library's scripts.
    pub(crate) library: usize,
    /// And with the page's.
    pub(crate) all: usize,
}

/// Builds the page and prints its sizes.
///
/// # Errors
///
/// When a tool is missing, a build fails, or the page is over [`BOUND`].
pub(crate) fn verb(dev: bool) -> Result<ExitCode> {
    build(dev, &mut std::io::stdout())?;
    Ok(ExitCode::SUCCESS)
}

/// Brings `target/web/` up to date and writes the sizes to `report`.
///
/// # Errors
///
/// As [`verb`].
pub(crate) fn build(dev: bool, report: &mut dyn Write) -> Result<Sizes> {
    let stamp_file = target("web.stamp");
    let stamp = stamp(dev)?;
    let fresh = fs::read_to_string(&stamp_file).is_ok_and(|last| last == stamp) && target("web").is_dir();
    if !fresh {
        tools::ensure_wasm()?;
        step("building the core as wasm", || wasm_pack(dev))?;
        if let Some(script) = (!dev).then(tools::wasm_opt).flatten() {
            step("optimising the core (wasm-opt)", || wasm_opt(&script))?;
        }
        check_imports()?;
        step("assembling target/web", || assemble(dev))?;
        fs::write(&stamp_file, stamp).context("cannot write target/web.stamp")?;
    }
    let page = measure(report)?;
    // Without node nothing is made small.
    ensure!(dev || page.all <= BOUND || !tools::has_node(), "the page weighs {} bytes, its bound is {BOUND}", page.all);
    Ok(page)
}

/// What the page weighs, built as it is delivered; none where a tool is missing that makes it small.
///
/// # Errors
///
/// As [`verb`].
pub(crate) fn sizes(report: &mut dyn Write) -> Result<Option<Sizes>> {
    if !tools::has_node() {
        eprintln!("xtask: skipped: the page's size (it needs node and npm on PATH)");
        return Ok(None);
    }
    build(false, report).map(Some)
}

/// A hash of all inputs, by name and content.
fn stamp(dev: bool) -> Result<String> {
    let mut hasher = DefaultHasher::new();
    (dev, tools::has_node()).hash(&mut hasher);
    for input in INPUTS {
        let input = root().join(input);
        ensure!(input.exists(), "{} is missing", input.display());
        for file in files_in(&input)? {
            file.hash(&mut hasher);
            fs::read(&file).with_context(|| format!("cannot read {}", file.display()))?.hash(&mut hasher);
        }
    }
    Ok(format!("{:016x}\n", hasher.finish()))
}

fn wasm_pack(dev: bool) -> Result<()> {
    let profile: &[&str] = if dev { &["--dev"] } else { &["--profile", "release-wasm"] };
    // With `no-install`, wasm-pack takes the wasm-bindgen on PATH; `no-opt` because wasm-opt is our matter (tools.rs).
    let flags =
        ["--target", "web", "--mode", "no-install", "--no-opt", "--no-pack", "--no-typescript", "--no-gitignore"];
    let mut path = vec![tools::bin()];
    path.extend(env::split_paths(&env::var_os("PATH").unwrap_or_default()));
    let mut build = command(tools::bin().join("wasm-pack"));
    build.env("PATH", env::join_paths(path).context("a folder on PATH cannot be joined")?);
    build.args(["build", "web", "--out-name", "duologue_core", "--out-dir"]).arg(target("web-pkg"));
    // Without its feature `std`: see web/src/lean.rs.
    process::run(build.args(flags).args(profile).args(["--", "--no-default-features"]))
}

fn wasm_opt(script: &Path) -> Result<()> {
    let wasm = target("web-pkg").join(CORE_WASM);
    let small = wasm.with_extension("opt");
    process::run(command("node").arg(script).args(WASM_OPT_FLAGS).arg(&wasm).arg("-o").arg(&small))?;
    fs::rename(&small, &wasm).context("cannot replace the module by the optimised one")
}

fn check_imports() -> Result<()> {
    let module = fs::read(target("web-pkg").join(CORE_WASM)).context("wasm-pack left no module")?;
    let imports = imports(&module).context("cannot read the module's imports")?;
    let foreign = imports.iter().filter(|(module, _)| module == "env").map(|(_, name)| name.as_str());
    let foreign = foreign.collect::<Vec<_>>().join(", ");
    ensure!(foreign.is_empty(), "the module imports from \"env\": {foreign}; find the dependency that needs it");
    Ok(())
}

fn assemble(dev: bool) -> Result<()> {
    let web = target("web");
    if web.is_dir() {
        fs::remove_dir_all(&web).context("cannot empty target/web")?;
    }
    fs::create_dir_all(&web).context("cannot write under target/")?;
    let copy = |from: PathBuf, to: &str| {
        fs::copy(&from, web.join(to)).map(drop).with_context(|| format!("cannot copy {}", from.display()))
    };
    copy(root().join("index.html"), "index.html")?;
    copy_tree(&root().join("web/js"), &web)?;
    for name in [CORE_JS, CORE_WASM] {
        copy(target("web-pkg").join(name), name)?;
    }
    copy_tree(&root().join("web/page"), &web.join("page"))?;
    // wasm-bindgen writes the JavaScript that Rust code carries inline here.
    let snippets = target("web-pkg/snippets");
    if snippets.is_dir() {
        copy_tree(&snippets, &web.join("snippets"))?;
    }
    if let Some(script) = (!dev).then(tools::esbuild).flatten() {
        step("bundling the scripts (esbuild)", || bundle(&script, &web))?;
    }
    for file in files_in(&web)?.iter().filter(|file| is_compressible(file)) {
        compress(file, dev).with_context(|| format!("cannot compress {}", file.display()))?;
    }
    Ok(())
}

/// The library as one script, the page as another and each end of a worker as one, because brotli packs one file better
/// than many. What they are made of goes, and so do its lines in index.html; the page imports the library as everybody does.
fn bundle(script: &Path, web: &Path) -> Result<()> {
    let parts = files_in(web)?.into_iter().filter(|file| file.extension().is_some_and(|kind| kind == "js"));
    let parts = parts.filter(|file| !BUNDLES.iter().any(|bundle| file.ends_with(bundle))).collect::<Vec<_>>();
    let flags = [
        "--bundle",
        "--external:*/duologue.js",
        "--external:*/kept.js",
        "--external:*/remote.js",
        "--minify",
        "--format=esm",
        "--target=es2022",
        "--charset=utf8",
    ];
    let mut esbuild = command("node");
    esbuild.arg(script).args(flags).args(["--log-level=warning", "--allow-overwrite", "--outbase=.", "--outdir=."]);
    process::run(esbuild.args(BUNDLES).current_dir(web))?;
    for part in parts {
        fs::remove_file(part).context("cannot remove a script that is bundled")?;
    }
    let index = web.join("index.html");
    let is_there = |line: &&str| {
        let path =
            line.trim().strip_prefix("<link rel=\"modulepreload\" href=\"/").and_then(|rest| rest.split('"').next());
        path.is_none_or(|path| web.join(path).is_file())
    };
    let html = fs::read_to_string(&index)?.split_inclusive('\n').filter(is_there).collect::<String>();
    fs::write(index, html).context("cannot write index.html")
}

pub(crate) fn copy_tree(from: &Path, to: &Path) -> Result<()> {
    for file in files_in(from)? {
        let copy = to.join(file.strip_prefix(from).expect("a file of this folder"));
        fs::create_dir_all(copy.parent().expect("a file lies in a folder")).context("cannot write under target/")?;
        fs::copy(&file, &copy).with_context(|| format!("cannot copy {}", file.display()))?;
    }
    Ok(())
}

/// All files in a folder, sorted; without hidden ones, tests and what package managers put there. For a file, itself.
fn files_in(path: &Path) -> Result<Vec<PathBuf>> {
    if path.is_file() {
        return Ok(vec![path.to_owned()]);
    }
    let mut files = Vec::new();
    for entry in fs::read_dir(path).with_context(|| format!("cannot read the folder {}", path.display()))? {
        let entry = entry?;
        let name = entry.file_name();
        let text = name.to_string_lossy();
        if !(text.starts_with('.') || text.contains(".test.") || text == "node_modules" || text == "target") {
            files.extend(files_in(&entry.path())?);
        }
    }
    files.sort();
    Ok(files)
}

fn is_compressible(file: &Path) -> bool {
    let kinds = ["html", "css", "js", "mjs", "ts", "json", "map", "svg", "txt", "wasm", "webmanifest"];
    file.extension().is_some_and(|kind| kinds.iter().any(|known| kind == *known))
}

fn compressed(file: &Path) -> PathBuf {
    let mut name = file.as_os_str().to_owned();
    name.push(".br");
    name.into()
}

fn compress(file: &Path, dev: bool) -> Result<()> {
    // The best quality is worth its seconds once, not in every development build.
    let params = brotli::enc::BrotliEncoderParams { quality: if dev { 5 } else { 11 }, ..Default::default() };
    let mut packed = Vec::new();
    brotli::BrotliCompress(&mut fs::read(file)?.as_slice(), &mut packed, &params)?;
    Ok(fs::write(compressed(file), packed)?)
}

/// The bytes of a file, compressed as those of the page are.
///
/// # Errors
///
/// When it cannot be read, or its copy not be written beside it.
pub(crate) fn brotli_len(file: &Path) -> Result<usize> {
    compress(file, false)?;
    Ok(fs::read(compressed(file))?.len())
}

/// Writes the table of sizes; returns the compressed ones of JavaScript and wasm.
fn measure(report: &mut dyn Write) -> Result<Sizes> {
    let web = target("web");
    let mut page = Sizes::default();
    writeln!(report, "{:<32} {:>9} {:>9}", "target/web", "raw", "brotli")?;
    for file in files_in(&web)?.iter().filter(|file| is_compressible(file)) {
        let size = |path: &Path| fs::read(path).map(|bytes| bytes.len());
        let (raw, packed) = (size(file)?, size(&compressed(file))?);
        let is_script = file.extension().is_some_and(|kind| kind == "js" || kind == "wasm");
        if is_script && !LAZY.iter().any(|lazy| file.ends_with(lazy)) {
            page.all += packed;
            page.library += if file.starts_with(web.join("page")) { 0 } else { packed };
        }
        if file.ends_with(CORE_WASM) {
            page.module = packed;
        }
        let name = file.strip_prefix(&web).expect("a file of this folder").display().to_string();
        writeln!(report, "{name:<32} {raw:>9} {packed:>9}")?;
    }
    writeln!(report, "page: JS + wasm {} kB brotli (bound {}, goal {})", kilo(page.all), BOUND / 1000, GOAL / 1000)?;
    Ok(page)
}

/// Bytes as thousands with one decimal, rounded up.
fn kilo(bytes: usize) -> String {
    let tenths = bytes.div_ceil(100);
    format!("{}.{}", tenths / 10, tenths % 10)
}

#[cfg(test)]
mod tests {
    use super::{BOUND, kilo};

    #[test]
    fn a_byte_over_the_bound_is_seen() {
        assert_eq!(kilo(BOUND), format!("{}.0", BOUND / 1_000));
        assert_eq!(kilo(BOUND + 1), format!("{}.1", BOUND / 1_000));
        assert_eq!(kilo(64_250), "64.3");
    }
}
