//! `cargo xtask npm`: the package `duologue`, as `npm publish` would send it: `target/npm/duologue-VERSION.tgz`.
//!
//! ```text
//! web/js + bindings + one platform file ─ esbuild ─► duologue.js and those it loads when wanted   the module beside them
//!   (of web/npm/)                                    inline.js, inline.cjs                        the module as text within
//!                                                    workerd.js                                   the module by an import
//! testing/ ─ cargo, wasm-bindgen, wasm-opt ─ esbuild ► testing.js, testing.cjs                   the server's end of tests
//! web/npm/, declarations, licences ────────────────► target/npm/package ─ npm pack ─► the tarball
//! ```
//!
//! Scripts are bundled, not minified: whoever uses them does that, and may want to read them before.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context as _, Result, ensure};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use crate::process::{self, cargo, command, root, step, target};
use crate::row::copy_flat;
use crate::wasm::{self, CORE_JS, CORE_WASM, SNAPSHOTS_JS, SNAPSHOTS_WASM, copy_tree};
use crate::{integrity, tools};

/// Where wasm-bindgen's script looks if nobody tells it: bundlers would find that too.
const DEFAULT_PATH: &str = "module_or_path = new URL('duologue_snapshots_bg.wasm', import.meta.url);";
/// What a bundle exports besides is said there.
const FACE: &str = "face.js";
/// Entry points, and whether they have a twin for `require`.
const ENTRIES: [(&str, bool); 5] =
    [("inline", true), ("node", true), ("react", true), ("testing", true), ("worker", false)];
/// The module of the server's end, and where its script would look for it.
const TESTING_WASM: &str = "duologue_testing_bg.wasm";
const TESTING_DEFAULT_PATH: &str = "module_or_path = new URL('duologue_testing_bg.wasm', import.meta.url);";
const VERSION: &str = env!("CARGO_PKG_VERSION");

/// Builds the package and prints where it is.
///
/// # Errors
///
/// As [`build`].
pub(crate) fn verb() -> Result<ExitCode> {
    println!("{}", build()?.display());
    Ok(ExitCode::SUCCESS)
}

/// Builds the package; the tarball.
///
/// # Errors
///
/// When node or npm is missing, or a build fails.
pub(crate) fn build() -> Result<PathBuf> {
    ensure!(tools::has_node(), "the package needs node and npm on PATH");
    wasm::build(false, &mut std::io::stderr())?;
    let esbuild = tools::esbuild().context("the package needs esbuild, which could not be installed")?;
    step("building the server's end for tests", testing_core)?;
    step("assembling target/npm/package", || assemble(&esbuild))?;
    let mut pack = command("npm");
    pack.args(["pack", "--silent", "--pack-destination"]).arg(target("npm")).arg(target("npm/package"));
    process::run(&mut pack)?;
    Ok(tarball())
}

/// Where [`build`] leaves the package.
pub(crate) fn tarball() -> PathBuf {
    target("npm").join(format!("duologue-{VERSION}.tgz"))
}

/// The core's server side as wasm with its script, in `target/npm/testing`.
fn testing_core() -> Result<()> {
    let out = target("npm/testing");
    let build = ["build", "--profile", "release-wasm", "--target", "wasm32-unknown-unknown", "-p", "duologue-testing"];
    process::run(&mut cargo(build))?;
    let mut bindings = command(tools::bin().join("wasm-bindgen"));
    bindings.args(["--target", "web", "--no-typescript", "--out-dir"]).arg(&out);
    process::run(bindings.arg(target("wasm32-unknown-unknown/release-wasm/duologue_testing.wasm")))?;
    if let Some(script) = tools::wasm_opt() {
        let module = out.join(TESTING_WASM);
        let small = module.with_extension("opt");
        let mut optimise = command("node");
        optimise.arg(script).arg("-O2").args(wasm::FEATURES).arg(&module).arg("-o").arg(&small);
        process::run(&mut optimise)?;
        fs::rename(small, module).context("cannot replace the module by the optimised one")?;
    }
    Ok(())
}

/// Both forms of the entry for tests, and the module as text, which they share.
fn assemble_testing(esbuild: &Path, dist: &Path) -> Result<()> {
    let folder = parts("testing", "platform-inline.js")?;
    for name in ["testing.js", "testing-socket.js", "testing-http.js", "testing-passkeys.js"] {
        copy(&root().join("web/npm").join(name), &folder.join(name))?;
    }
    let script =
        fs::read_to_string(target("npm/testing/duologue_testing.js")).context("wasm-bindgen left no script")?;
    let script = replaced(&script, TESTING_DEFAULT_PATH, "throw new Error('the module is missing');")?;
    fs::write(folder.join("duologue_testing.js"), script).context("cannot write under target/")?;
    for (format, name) in [("esm", "testing.js"), ("cjs", "testing.cjs")] {
        let out = [format!("--format={format}"), outfile(dist, name), "--external:./testing_core.cjs".to_owned()];
        bundle(esbuild, &folder, &["testing.js"], &out)?;
    }
    let module = fs::read(target("npm/testing").join(TESTING_WASM)).context("wasm-bindgen left no module")?;
    let text = format!("module.exports = \"{}\";\n", STANDARD.encode(module));
    fs::write(dist.join("testing_core.cjs"), text).context("cannot write under target/")
}

fn assemble(esbuild: &Path) -> Result<()> {
    let (package, sources) = (target("npm/package"), root().join("web/npm"));
    let dist = package.join("dist");
    for folder in [&package, &target("npm/parts")] {
        if folder.is_dir() {
            fs::remove_dir_all(folder).with_context(|| format!("cannot empty {}", folder.display()))?;
        }
    }
    fs::create_dir_all(&dist).context("cannot write under target/")?;

    let beside = parts("beside", "platform-beside.js")?;
    let names = [
        "debug.js",
        "duologue.js",
        "fetch.js",
        "generate.js",
        "grace.js",
        "kept.js",
        "keys.js",
        "probe.js",
        "remote.js",
        "passkeys.js",
        "renew.js",
        "path.js",
        "snapshot.js",
        "token.js",
        "ways.js",
        "why.js",
        "worker.js",
    ];
    let out = ["--format=esm".to_owned(), format!("--outdir={}", dist.display())];
    let apart = [
        "debug", "duologue", "fetch", "generate", "grace", "kept", "keys", "passkeys", "path", "probe", "renew",
        "snapshot", "token", "ways", "why",
    ]
    .map(|name| format!("--external:./{name}.js"));
    bundle(esbuild, &beside, &names, &[out.as_slice(), &apart].concat())?;
    let inline = parts("inline", "platform-inline.js")?;
    for (format, name) in [("esm", "inline.js"), ("cjs", "inline.cjs")] {
        let out = [format!("--format={format}"), outfile(&dist, name), "--loader:.wasm=base64".to_owned()];
        bundle(esbuild, &inline, &["duologue.js"], &out)?;
    }
    let workerd = parts("workerd", "platform-workerd.js")?;
    let out = ["--format=esm".to_owned(), outfile(&dist, "workerd.js"), "--external:*.wasm".to_owned()];
    bundle(esbuild, &workerd, &["duologue.js"], &out)?;
    for name in ["node", "react"] {
        for (format, kind) in [("esm", "js"), ("cjs", "cjs")] {
            let out = [format!("--format={format}"), outfile(&dist, &format!("{name}.{kind}"))];
            let out = [out.as_slice(), &["--packages=external".to_owned()]].concat();
            bundle(esbuild, &sources, &[&format!("{name}.js")], &out)?;
        }
    }
    assemble_testing(esbuild, &dist)?;
    for name in ["duologue", "platform", "node", "react", "testing"] {
        let from = if matches!(name, "duologue" | "platform") { root().join("web/js") } else { sources.clone() };
        declare(&from, &dist, name)?;
    }
    copy(&sources.join("worker.d.ts"), &dist.join("worker.d.ts"))?;
    for (name, is_required) in ENTRIES {
        fs::create_dir(package.join(name)).context("cannot write under target/")?;
        fs::write(package.join(name).join("package.json"), without_exports(name, is_required))
            .context("cannot write under target/")?;
    }
    copy(&target("web-pkg").join(SNAPSHOTS_WASM), &dist.join(CORE_WASM))?;
    copy(&sources.join("README.md"), &package.join("README.md"))?;
    for licence in ["LICENSE-MIT", "LICENSE-APACHE"] {
        copy(&root().join(licence), &package.join(licence))?;
    }
    let manifest = fs::read_to_string(sources.join("package.json")).context("cannot read web/npm/package.json")?;
    let manifest = replaced(&manifest, "\"version\": \"0.0.0\"", &format!("\"version\": \"{VERSION}\""))?;
    fs::write(package.join("package.json"), manifest).context("cannot write package.json")?;
    integrity::write(&package, &wasm::files_in(&package)?)
}

/// The declarations of a script, and of its twin, which must name the other's twins.
fn declare(from: &Path, dist: &Path, name: &str) -> Result<()> {
    let text =
        fs::read_to_string(from.join(format!("{name}.d.ts"))).with_context(|| format!("cannot read {name}.d.ts"))?;
    let twin = text.replace(".js\";\n", ".cjs\";\n");
    for (kind, text) in [("d.ts", text), ("d.cts", twin)] {
        fs::write(dist.join(format!("{name}.{kind}")), text).context("cannot write under target/")?;
    }
    Ok(())
}

/// For what resolves by folders and does not read `exports`: Parcel as it comes, and `moduleResolution: node`.
fn without_exports(name: &str, is_required: bool) -> String {
    let types = if name == "inline" { "duologue" } else { name };
    let main = if is_required { format!("{name}.cjs") } else { format!("{name}.js") };
    let fields = [("main", main), ("module", format!("{name}.js")), ("types", format!("{types}.d.ts"))];
    let fields = fields.map(|(field, file)| format!("  \"{field}\": \"../dist/{file}\""));
    let effects = if is_required { "false" } else { "true" };
    format!("{{\n  \"type\": \"module\",\n  \"sideEffects\": {effects},\n{}\n}}\n", fields.join(",\n"))
}

/// A folder with all that is bundled for one kind of surroundings, `platform` in the place of that of the server's own page.
fn parts(name: &str, platform: &str) -> Result<PathBuf> {
    let folder = target("npm/parts").join(name);
    copy_flat(&root().join("web/js"), &folder)?;
    fs::rename(folder.join("duologue.js"), folder.join("library.js")).context("cannot write under target/")?;
    copy(&root().join("web/npm").join(FACE), &folder.join("duologue.js"))?;
    // The package has one module, the one with all.
    let bindings = fs::read_to_string(target("web-pkg").join(SNAPSHOTS_JS)).context("wasm-pack left no script")?;
    let bindings = replaced(&bindings, DEFAULT_PATH, "throw new Error('the module is missing');")?;
    fs::write(folder.join(CORE_JS), bindings).context("cannot write under target/")?;
    copy(&target("web-pkg").join(SNAPSHOTS_WASM), &folder.join(CORE_WASM))?;
    let snippets = target("web-pkg/snippets");
    if snippets.is_dir() {
        copy_tree(&snippets, &folder.join("snippets"))?;
    }
    copy(&root().join("web/npm").join(platform), &folder.join("platform.js"))?;
    copy(&root().join("web/npm/copying.js"), &folder.join("copying.js"))?;
    let platform = fs::read_to_string(folder.join("platform.js")).context("cannot read the platform's script")?;
    fs::write(folder.join("platform.js"), wasm::with_build(&platform, &folder)?)
        .context("cannot write under target/")?;
    Ok(folder)
}

fn bundle(esbuild: &Path, folder: &Path, entries: &[&str], out: &[String]) -> Result<()> {
    let mut bundle = command("node");
    // What is loaded on demand stays a file of its own.
    bundle.arg(esbuild).args(["--bundle", "--external:./remote.js", "--target=es2022", "--charset=utf8"]);
    process::run(bundle.args(["--log-level=warning"]).args(entries).args(out).current_dir(folder))
}

fn outfile(folder: &Path, name: &str) -> String {
    format!("--outfile={}", folder.join(name).display())
}

/// The text with `what`, which must be there once, replaced.
fn replaced(text: &str, what: &str, by: &str) -> Result<String> {
    ensure!(text.matches(what).count() == 1, "{what:?} is not there once: has wasm-bindgen changed?");
    Ok(text.replace(what, by))
}

fn copy(from: &Path, to: &Path) -> Result<()> {
    fs::copy(from, to).map(drop).with_context(|| format!("cannot copy {}", from.display()))
}
