//! `cargo xtask wasm`: the page and its WebAssembly core, ready to be served, in `target/web/`.
//!
//! ```text
//! web/ ─ wasm-pack, linked again ─► target/web-pkg/ ─ wasm-opt ─┐
//! index.html, web/js/, web/page/ ── esbuild ────────────────────┴─► target/web/ ─ brotli ─► a .br beside each file
//! ```
//!
//! Nothing is built when the inputs are those of the last time. The module may import nothing from "env": that would
//! be a C symbol or a clock of `std` that crept in, and the page could not start. What the page loads is measured
//! against [`BOUND`].

use std::env;
use std::fs;
use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::io::{ErrorKind, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context as _, Result, ensure};

use crate::compress::{compress, compressed, is_compressible};
use crate::imports::imports;
use crate::process::{self, command, root, step, target};
use crate::row::copy_flat;
use crate::{integrity, shrink, tools};

/// The most that JavaScript and wasm which the page loads at its start may weigh, in bytes, compressed by brotli.
const BOUND: usize = 84_700;
/// What they should weigh.
pub(crate) const GOAL: usize = 80_000;

pub(crate) const CORE_JS: &str = "duologue_core.js";
pub(crate) const CORE_WASM: &str = "duologue_core_bg.wasm";
/// The same with what a page leaves to the next one, for lines on the page's own thread, and for the npm package.
pub(crate) const SNAPSHOTS_JS: &str = "duologue_snapshots.js";
pub(crate) const SNAPSHOTS_WASM: &str = "duologue_snapshots_bg.wasm";
/// The modules by their names, and the features of `web/` with which each is built.
const MODULES: [(&str, &str); 2] = [("duologue_core", ""), ("duologue_snapshots", "snapshots")];
/// The script that the library's others are bundled into: that of the page, with both ends of its worker.
const LIBRARY: &str = "duologue.js";
/// What it exports besides: the work of a worker.
const SERVE: &str = "export * from \"./duologue.js\"; export { serve } from \"./served.js\";";
/// How link.js loads the script for workers, where not every page needs it.
const ON_DEMAND: &str = "await import(\"./remote.js\")";
/// The worker's script.
const WORKER: (&str, &str) = ("worker.js", "import{serve}from\"./duologue.js\";serve();\n");
/// Where the library's scripts have the hash with which each module is fetched,
const PLATFORM: &str = "platform.js";
const KEEPING: &str = "keeping.js";
/// and what stands there until it is known.
const NO_HASH: &str = "const INTEGRITY = \"\";";
/// Where it has the hash of all that it is made of, and what stands there until it is known.
pub(crate) const BUILD: &str = "export const BUILD = \"\";";
/// The script that the page's others are bundled into, but for those that it imports when they are wanted.
const PAGE: &str = "page/page.js";
/// The page's words, a script for each language, of which a page loads one at its start. esbuild puts a hash behind.
const WORDS: [&str; 2] = ["page/text-en", "page/text-fr"];
/// Scripts apart: what the library loads when it is wanted; the service worker; the line's worker in development.
const APART: [&str; 17] = [
    "debug.js",
    "fetch.js",
    "generate.js",
    "grace.js",
    KEEPING,
    "kept.js",
    "keys.js",
    "probe.js",
    "passkeys.js",
    "renew.js",
    "path.js",
    "snapshot.js",
    "token.js",
    "ways.js",
    "why.js",
    "page/offline.js",
    "page/breakable.js",
];

/// What the result depends on; a folder stands for all files in it. This file is one: it says how they are put together.
const INPUTS: [&str; 13] = [
    "web",
    "shared",
    "vendor",
    "index.html",
    "Cargo.toml",
    "Cargo.lock",
    ".cargo/config.toml",
    "rust-toolchain.toml",
    "xtask/src/wasm.rs",
    "xtask/src/row.rs",
    "xtask/src/compress.rs",
    "xtask/src/shrink.rs",
    "xtask/src/integrity.rs",
];

/// The features that the compiler and wasm-bindgen already use; wasm-opt must be told not to avoid them.
pub(crate) const FEATURES: [&str; 7] = [
    "--enable-simd",
    "--enable-bulk-memory",
    "--enable-nontrapping-float-to-int",
    "--enable-sign-ext",
    "--enable-mutable-globals",
    "--enable-reference-types",
    "--enable-multivalue",
];
const WASM_OPT_FLAGS: [&str; 6] = [
    // The loops that count are straight lines by now, and as fast as with -O3.
    "-Oz",
    // No object of Rust's lies in the first KiB, where the stack ends: an address and a small offset are one operand.
    "--low-memory-unused",
    // Those of one kind side by side: brotli makes 0.8 % less of them.
    "--reorder-functions-by-name",
    "--strip-producers",
    "--strip-target-features",
    // Says what it has called them; `shrink::rename` tells the bindings.
    "--minify-imports-and-exports-and-modules",
];

/// Bytes that the page loads at its start, compressed by brotli.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Sizes {
    /// The WebAssembly module.
    pub(crate) module: usize,
    /// With the library's scripts.
    pub(crate) library: usize,
    /// And with the page's.
    pub(crate) all: usize,
}

/// Builds the page and prints its sizes; or, where it is to be checked, the hashes of two builds.
///
/// # Errors
///
/// When a tool is missing, a build fails, the page is over [`BOUND`], or a second build is another one.
pub(crate) fn verb(dev: bool, check_reproducible: bool) -> Result<ExitCode> {
    build(dev, &mut std::io::stdout())?;
    if check_reproducible {
        integrity::reproduce()?;
    }
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
        for (name, features) in MODULES {
            step(&format!("building {name} as wasm"), || wasm_pack(dev, name, features))?;
            if !dev {
                step("linking it again", || link_again(name))?;
            }
            if let Some(script) = (!dev).then(tools::wasm_opt).flatten() {
                step("optimising it (wasm-opt)", || wasm_opt(&script, name))?;
            }
            check_imports(name)?;
        }
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

fn wasm_pack(dev: bool, name: &str, features: &str) -> Result<()> {
    // Both modules have one name until they are linked again: cargo takes the other's for this one's, unless it is gone.
    let profile = if dev { "debug" } else { "release-wasm" };
    match fs::remove_file(target("wasm32-unknown-unknown").join(profile).join("deps/duologue_web.wasm")) {
        Err(error) if error.kind() != ErrorKind::NotFound => return Err(error).context("cannot remove a module"),
        _ => {}
    }
    let profile: &[&str] = if dev { &["--dev"] } else { &["--profile", "release-wasm"] };
    // With `no-install`, wasm-pack takes the wasm-bindgen on PATH; `no-opt` because wasm-opt is our matter (tools.rs).
    let flags =
        ["--target", "web", "--mode", "no-install", "--no-opt", "--no-pack", "--no-typescript", "--no-gitignore"];
    let mut path = vec![tools::bin()];
    path.extend(env::split_paths(&env::var_os("PATH").unwrap_or_default()));
    let mut build = command(tools::bin().join("wasm-pack"));
    build.env("PATH", env::join_paths(path).context("a folder on PATH cannot be joined")?);
    build.args(["build", "web", "--out-name", name, "--out-dir"]).arg(target("web-pkg"));
    // Without its feature `std`: see web/src/lean.rs.
    build.args(flags).args(profile).args(["--", "--no-default-features", "--features", features]);
    process::run(if dev { &mut build } else { build.args(["--config", shrink::BITCODE_WANTED]) })
}

/// Takes what wasm-pack has compiled through the linker once more, and puts the bindings of that in their place.
fn link_again(name: &str) -> Result<()> {
    let compiled = target("wasm32-unknown-unknown/release-wasm");
    let linked = target(&format!("{name}.wasm"));
    shrink::link_again(&compiled.join("duologue_web.wasm"), &compiled.join("deps/duologue_web.bc"), &linked)?;
    let mut bindings = command(tools::bin().join("wasm-bindgen"));
    bindings.args(["--target", "web", "--no-typescript", "--out-dir"]).arg(target("web-pkg"));
    process::run(bindings.arg(linked))
}

fn wasm_opt(script: &Path, name: &str) -> Result<()> {
    let wasm = module_of(name);
    let small = wasm.with_extension("opt");
    let mut optimise = command("node");
    optimise.arg(script).args(WASM_OPT_FLAGS).args(FEATURES).arg(&wasm).arg("-o").arg(&small);
    let names = process::output(&mut optimise).context("wasm-opt failed")?;
    fs::rename(&small, &wasm).context("cannot replace the module by the optimised one")?;
    let js = target("web-pkg").join(format!("{name}.js"));
    let trimmed = shrink::trim(&fs::read_to_string(&js)?)?;
    let renamed = shrink::rename(&trimmed, &names).context("cannot shorten the module's names")?;
    fs::write(js, renamed).context("cannot write the module's bindings")
}

fn module_of(name: &str) -> PathBuf {
    target("web-pkg").join(format!("{name}_bg.wasm"))
}

fn check_imports(name: &str) -> Result<()> {
    let module = fs::read(module_of(name)).context("wasm-pack left no module")?;
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
    copy_flat(&root().join("web/js"), &web)?;
    for name in [CORE_JS, CORE_WASM, SNAPSHOTS_JS, SNAPSHOTS_WASM] {
        copy(target("web-pkg").join(name), name)?;
    }
    for (script, module) in [(KEEPING, SNAPSHOTS_WASM), (PLATFORM, CORE_WASM)] {
        let text = fs::read_to_string(web.join(script)).with_context(|| format!("cannot read {script}"))?;
        ensure!(text.matches(NO_HASH).count() == 1, "{script} has not one {NO_HASH:?}");
        let hash = integrity::hash(&fs::read(web.join(module)).context("cannot read the module")?);
        let text = text.replace(NO_HASH, &format!("const INTEGRITY = \"{hash}\";"));
        fs::write(web.join(script), text).context("cannot write under target/")?;
    }
    let platform = fs::read_to_string(web.join(PLATFORM)).context("cannot read platform.js")?;
    fs::write(web.join(PLATFORM), with_build(&platform, &web)?).context("cannot write under target/")?;
    copy_flat(&root().join("web/page"), &web.join("page"))?;
    // wasm-bindgen writes the JavaScript that Rust code carries inline here.
    let snippets = target("web-pkg/snippets");
    if snippets.is_dir() {
        copy_tree(&snippets, &web.join("snippets"))?;
    }
    if let Some(script) = (!dev).then(tools::esbuild).flatten() {
        step("bundling the scripts (esbuild)", || bundle(&script, &web))?;
        if let Some(script) = tools::terser() {
            step("making them small (terser)", || minify(&script, &web))?;
        }
    }
    let index = web.join("index.html");
    let html = fs::read_to_string(&index).context("cannot read index.html")?;
    let html = html.split_inclusive('\n').map(|line| integrity::with_hash(line, &web)).collect::<Result<String>>()?;
    fs::write(index, html).context("cannot write index.html")?;
    integrity::write(&web, &files_in(&web)?)?;
    let files = files_in(&web)?.into_iter().filter(|file| is_compressible(file)).collect::<Vec<_>>();
    step("compressing (brotli)", || compress(&files, dev))
}

/// The platform's script with the hash of all files of a folder.
pub(crate) fn with_build(platform: &str, folder: &Path) -> Result<String> {
    ensure!(platform.matches(BUILD).count() == 1, "the platform's script has not one {BUILD:?}");
    let mut all = Vec::new();
    for file in files_in(folder)? {
        all.extend(fs::read(&file).with_context(|| format!("cannot read {}", file.display()))?);
    }
    let hash = integrity::hash(&all);
    Ok(platform.replace(BUILD, &format!("export const BUILD = \"-{}\";", &hash[7..15])))
}

/// The library as one script, the page as another, because brotli packs one file better than many. What the page imports
/// when it is wanted becomes a script of its own, and what it shares with the page one more. What they are made of goes,
/// and so do its lines in index.html; the page imports the library as everybody does, and so does the worker.
fn bundle(script: &Path, web: &Path) -> Result<()> {
    let is_bundle = |file: &Path| [PAGE, LIBRARY, WORKER.0].iter().chain(&APART).any(|bundle| file.ends_with(bundle));
    let parts = files_in(web)?.into_iter().filter(|file| file.extension().is_some_and(|kind| kind == "js"));
    let parts = parts.filter(|file| !is_bundle(file)).collect::<Vec<_>>();
    let esbuild = || {
        let mut esbuild = command("node");
        esbuild.arg(script).args(["--bundle", "--minify", "--format=esm", "--target=es2022", "--charset=utf8"]);
        let of_library = APART.iter().filter(|script| !script.contains('/'));
        esbuild.args(of_library.map(|script| format!("--external:*/{script}")));
        esbuild.args(["--log-level=warning", "--allow-overwrite"]);
        esbuild.args(["--outbase=.", "--outdir=."]).current_dir(web);
        esbuild
    };
    fs::write(web.join("library.js"), SERVE).context("cannot write under target/")?;
    // Every page needs it at its start, and esbuild wraps all that is behind an `import()` in functions.
    let link = fs::read_to_string(web.join("link.js")).context("cannot read link.js")?;
    ensure!(link.contains(ON_DEMAND), "link.js has no {ON_DEMAND:?} any more: say here what has taken its place");
    let link = format!("import * as remoteModule from \"./remote.js\";\n{}", link.replace(ON_DEMAND, "remoteModule"));
    fs::write(web.join("link.js"), link).context("cannot write under target/")?;
    process::run(esbuild().arg(format!("{}=library.js", LIBRARY.trim_end_matches(".js"))))?;
    fs::remove_file(web.join("library.js")).context("cannot remove a script that is bundled")?;
    fs::write(web.join(WORKER.0), WORKER.1).context("cannot write under target/")?;
    let users = || {
        let mut esbuild = esbuild();
        esbuild.args(["--external:*/duologue.js", "--external:*/worker.js"]);
        esbuild
    };
    process::run(users().args(APART))?;
    let account = target("web-pkg/page.json");
    let mut page = users();
    page.args(["--splitting", "--chunk-names=page/[name]-[hash]"]).arg(format!("--metafile={}", account.display()));
    process::run(page.arg(PAGE))?;
    for part in parts {
        fs::remove_file(part).context("cannot remove a script that is bundled")?;
    }
    let account = serde_json::from_slice(&fs::read(&account).context("esbuild left no account of its output")?)?;
    let index = web.join("index.html");
    let mut html = String::new();
    for line in fs::read_to_string(&index)?.split_inclusive('\n') {
        match named_script(line) {
            Some(PAGE) => {
                for chunk in imported(&account, PAGE) {
                    html += &format!("    <link rel=\"modulepreload\" href=\"{chunk}\">\n");
                }
                html += line;
            }
            Some(path) if !web.join(path).is_file() => {}
            _ => html += line,
        }
    }
    fs::write(index, html).context("cannot write index.html")
}

/// Each script once more, by a minifier that has more patience.
fn minify(script: &Path, web: &Path) -> Result<()> {
    for file in files_in(web)?.iter().filter(|file| file.extension().is_some_and(|kind| kind == "js")) {
        let mut terser = command("node");
        terser.arg(script).arg(file).args([
            "--module",
            "--ecma",
            "2022",
            "--compress",
            "passes=3,unsafe_arrows=true",
            "--mangle",
            "-o",
        ]);
        process::run(terser.arg(file))?;
    }
    Ok(())
}

/// The script that a line of index.html names, as every page loads it at its start.
fn named_script(line: &str) -> Option<&str> {
    let line = line.trim();
    let link = line.strip_prefix("<link rel=\"modulepreload\" href=\"");
    link.or_else(|| line.strip_prefix("<script type=\"module\" src=\""))?.split('"').next()
}

/// What an output of esbuild imports before it can run, directly and through others.
fn imported(account: &serde_json::Value, output: &str) -> Vec<String> {
    let mut found = vec![output.to_owned()];
    let mut next = 0;
    while let Some(output) = found.get(next) {
        next += 1;
        let imports = account["outputs"][output]["imports"].as_array().into_iter().flatten();
        let own = imports.filter(|import| import["kind"] == "import-statement" && import["external"] != true);
        for path in own.filter_map(|import| import["path"].as_str()).map(str::to_owned).collect::<Vec<_>>() {
            if !found.contains(&path) {
                found.push(path);
            }
        }
    }
    found.split_off(1)
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
pub(crate) fn files_in(path: &Path) -> Result<Vec<PathBuf>> {
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

/// Writes the table of sizes; returns the compressed ones of the JavaScript and wasm that is loaded at the start.
fn measure(report: &mut dyn Write) -> Result<Sizes> {
    let web = target("web");
    let index = fs::read_to_string(web.join("index.html")).context("cannot read index.html")?;
    let named = index.lines().filter_map(named_script).collect::<Vec<_>>();
    let (mut page, mut later) = (Sizes::default(), 0);
    let mut words = Vec::new();
    writeln!(report, "{:<32} {:>9} {:>9}  loaded", "target/web", "raw", "brotli")?;
    for file in files_in(&web)?.iter().filter(|file| is_compressible(file)) {
        let size = |path: &Path| fs::read(path).map(|bytes| bytes.len());
        let (raw, packed) = (size(file)?, size(&compressed(file))?);
        let name = file.strip_prefix(&web).expect("a file of this folder").display().to_string();
        let is_module = name == CORE_WASM;
        let is_script = name.ends_with(".wasm") || name.ends_with(".js");
        let is_named = is_module || named.contains(&name.as_str());
        if is_module {
            page.module = packed;
        }
        if is_script && is_named {
            page.all += packed;
            page.library += if name.starts_with("page/") { 0 } else { packed };
        } else if is_script && is_words(&name) {
            words.push(packed);
        } else if is_script {
            later += packed;
        }
        let when = match is_script && !is_named {
            true if is_words(&name) => "one language",
            true => "on demand",
            false => "",
        };
        writeln!(report, "{}", format!("{name:<32} {raw:>9} {packed:>9}  {when}").trim_end())?;
    }
    ensure!(words.len() == WORDS.len(), "the page has {} scripts of words, not one for each language", words.len());
    // The heavier language; the other is loaded when its button is pressed.
    let heavier = words.iter().max().copied().unwrap_or_default();
    page.all += heavier;
    later += words.iter().sum::<usize>() - heavier;
    let (all, bound, goal) = (kilo(page.all), BOUND / 1000, GOAL / 1000);
    writeln!(
        report,
        "page: JS + wasm {all} kB brotli at the start (bound {bound}, goal {goal}), {} kB on demand",
        kilo(later)
    )?;
    Ok(page)
}

/// Whether a script holds the words of one language, all that the page needs at its start.
fn is_words(name: &str) -> bool {
    WORDS.iter().any(|words| name.strip_prefix(words).is_some_and(|rest| rest.starts_with(['-', '.'])))
}

/// Bytes as thousands with one decimal, rounded up.
fn kilo(bytes: usize) -> String {
    let tenths = bytes.div_ceil(100);
    format!("{}.{}", tenths / 10, tenths % 10)
}

#[cfg(test)]
mod tests {
    use super::{BOUND, imported, is_words, kilo, named_script};

    #[test]
    fn what_a_page_loads_at_its_start_is_told_from_what_it_may_load() {
        let account = serde_json::json!({ "outputs": {
            "page/page.js": { "imports": [
                { "path": "page/chunk-A.js", "kind": "import-statement" },
                { "path": "page/files-B.js", "kind": "dynamic-import" },
                { "path": "../duologue.js", "kind": "dynamic-import", "external": true },
            ] },
            "page/chunk-A.js": { "imports": [
                { "path": "page/chunk-C.js", "kind": "import-statement" },
                { "path": "page/chunk-A.js", "kind": "import-statement" },
            ] },
        } });
        assert_eq!(imported(&account, "page/page.js"), ["page/chunk-A.js", "page/chunk-C.js"]);
        assert_eq!(named_script("    <link rel=\"modulepreload\" href=\"channel.js\">\n"), Some("channel.js"));
        assert_eq!(named_script("<script type=\"module\" src=\"page/page.js\"></script>"), Some("page/page.js"));
        assert_eq!(named_script("<link rel=\"stylesheet\" href=\"page/page.css\">"), None);
    }

    #[test]
    fn the_words_of_a_language_are_known_with_and_without_esbuilds_hash() {
        assert!(is_words("page/text-fr-5S5HCECT.js") && is_words("page/text-en.js"));
        assert!(!is_words("page/text-files.js") && !is_words("page/text.js"));
    }

    #[test]
    fn a_byte_over_the_bound_is_seen() {
        let tenths = |bytes: usize| format!("{}.{}", bytes / 1_000, bytes % 1_000 / 100);
        assert_eq!(kilo(BOUND), tenths(BOUND));
        assert_eq!(kilo(BOUND + 1), tenths(BOUND + 100));
        assert_eq!(kilo(64_250), "64.3");
    }
}
