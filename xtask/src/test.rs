//! `cargo xtask test`: all rings of tests, one after the other, and their sum.
//!
//! ```text
//! 1. tools and page                 the end-to-end tests serve the page as it is shipped
//! 2. debug build                    all that is tested natively, and the server that 6 to 11 start
//! 3. native                         unit tests beside the code, simulation in shared/src/sim; the vendored cipher's own
//!                                   tests, as wasm in Node
//! 4. the core as wasm               the same tests, in Chromium, or in Node where there is none
//! 5. the page's words               in Node: every text in both languages
//! 6. end to end                     real server, native client, real browser (tests named `browser_…`)
//! 7. proxies, with `--full`         three of those that `--proxies` runs
//! 8. a busy machine                 what would disturb the tests of 6
//! 9. further engines, with `--full` the tests of the browser in Firefox and in WebKitGTK; on a build machine less what
//!    the page says and shows
//! 10. packaging, likewise           the npm package in the projects of tests/packaging
//! 11. examples, likewise            the app with a login, by the commands of its README
//! 12. the crates, likewise          made, and checked as far as their types go, each from its package alone
//! ```
//!
//! Every group runs even when one before it failed. A group that cannot be built, or runs no test at all, counts as one
//! failure. Up to three native or end-to-end tests that fail are run once more, alone (`unsteady.rs`). Output is shown as it comes; at
//! the end come the tests that passed only then, the minutes of each group, and the last line, which is exactly
//! `N passed, N failed, N skipped`. Skipped are tests marked `ignore` and those left out for want of a browser or of what it
//! can do, not those that `--filter` leaves out.
//!
//! Tests with two forms (`tests/forms.json`) are run in the small one here, whatever the environment says: the whole ones
//! are `--long`'s (`long.rs`), and so are Autobahn's cases (`autobahn.rs`).

use std::fs;
use std::io;
use std::process::{Command, ExitCode, Stdio};
use std::time::Instant;

use anyhow::Result;

use crate::engines::{Engine, NOT_ON_BUILD_MACHINES};
use crate::harness::Outcome;
use crate::process::{self, cargo, root, step, target};
use crate::proxies::{self, Proxy};
use crate::tally::{Counts, Tally};
use crate::{autobahn, crates, debug, dist, examples, harness, packaging, tools, unsteady, wasm};

/// The name of a test that needs a browser contains this.
const BROWSER_TESTS: &str = "browser_";
/// The name of one that needs axe too contains this.
const AXE_TESTS: &str = "browser_axe_";
/// The name of one that needs a real issuer of tokens contains this.
const ISSUER_TESTS: &str = "issuer_";
/// The name of one that needs python3 with PyPI's cryptography contains this.
const PYTHON_TESTS: &str = "python_";
/// How the name of a test begins that is run apart from the other end-to-end tests: before a real proxy, on a busy machine.
const PROXY_TESTS: &str = "proxies::cases::";
const BUSY_TESTS: &str = "busy::";
/// Likewise, on an example with what it needs of npm.
const EXAMPLE_TESTS: &str = "examples::";
/// Likewise, on what `cargo xtask dist` has made.
const INSTALLED_TESTS: &str = "installed::";
/// The name of one whose whole form is run in every engine begins with this.
const IN_EVERY_ENGINE: &str = "cipher::";
/// The name of one that is a unit test of the server's begins with this.
const OF_THE_SERVER: &str = "door::";
/// The name of one that needs nginx too ends with this.
const NGINX_TESTS: &str = "behind_nginx";
/// Says in which form tests with two forms are run.
pub(crate) const LONG: &str = "DUOLOGUE_LONG";
/// For one test binary; the default of 20 seconds is too short for the simulation without optimisation.
const WASM_TEST_TIMEOUT_SECS: &str = "600";

/// Runs all tests.
///
/// # Errors
///
/// None of its own: what fails is counted.
pub(crate) fn verb(filter: Option<&str>, full: bool) -> Result<ExitCode> {
    Ok(all(filter, full).finish())
}

/// Runs the end-to-end tests of the browser in one of the further engines.
///
/// # Errors
///
/// None of its own: what fails is counted.
pub(crate) fn engine_verb(filter: Option<&str>, engine: Engine) -> Result<ExitCode> {
    let mut run = Run::new(filter);
    run.prepare_end_to_end();
    run.engine(engine);
    Ok(run.tally.finish())
}

/// Runs the end-to-end tests before every proxy that can be had, and writes what they measured into docs/PROXIES.md unless
/// a filter leaves some out.
///
/// # Errors
///
/// When that cannot be written; what fails is counted.
pub(crate) fn proxies_verb(filter: Option<&str>) -> Result<ExitCode> {
    let mut run = Run::new(filter);
    run.prepare_end_to_end();
    run.proxies(proxies::ALL);
    if filter.is_none() {
        proxies::write_report()?;
    }
    Ok(run.tally.finish())
}

/// Runs all groups and adds them up.
pub(crate) fn all(filter: Option<&str>, full: bool) -> Tally {
    let chromedriver = tools::chromedriver();
    let full = full || on_build_machine();
    let mut run = Run::new(filter);

    run.prepare("page", || wasm::build(false, &mut io::stderr()).map(drop));

    if full && !tools::has_pebble() {
        run.skip("native", "certificates of an issuer", "no pebble");
    }
    run.native();

    if filter.is_none() {
        if tools::has_node() {
            run.prepare("the cipher's own tests, as wasm", tests_of_the_cipher);
        } else {
            run.skip("native", "vendor/chacha20/tests", "no node");
        }
    }

    // `--tests`: libraries and integration tests, without the examples in docs; those ran natively.
    let wasm = [
        "test",
        "--no-fail-fast",
        "-p",
        "duologue",
        "-p",
        "duologue-web",
        "--tests",
        "--target",
        "wasm32-unknown-unknown",
    ];
    let mut wasm = cargo(wasm);
    wasm.env("CARGO_TARGET_WASM32_UNKNOWN_UNKNOWN_RUNNER", tools::bin().join("wasm-bindgen-test-runner"));
    wasm.env("WASM_BINDGEN_TEST_TIMEOUT", WASM_TEST_TIMEOUT_SECS);
    if let Some(driver) = &chromedriver {
        wasm.env("CHROMEDRIVER", driver).env("WASM_BINDGEN_USE_BROWSER", "1");
    } else {
        eprintln!("xtask: without a browser the core's wasm tests run in Node");
        wasm.env_remove("WASM_BINDGEN_USE_BROWSER");
    }
    run.group("core as wasm", wasm, &[]);

    // A filter names Rust tests.
    if filter.is_none() {
        if tools::has_node() {
            let mut words = process::command("node");
            words.args(["--test", "--test-reporter=tap", "web/page/words/text.test.mjs"]);
            run.stream("page's words", &mut words);
        } else {
            run.skip("page's words", "web/page/words/text.test.mjs", "no node");
        }
    }

    let apart = ["--skip", PROXY_TESTS, "--skip", BUSY_TESTS, "--skip", EXAMPLE_TESTS, "--skip", INSTALLED_TESTS];
    let tests = Run::list(debug::end_to_end(), filter);
    let left_out = |kind| tests_in(&tests, kind).filter(|name| !is_apart(name)).collect::<Vec<_>>();
    let mut command = debug::end_to_end();
    let mut skipped = apart.to_vec();
    let mut skip = |kind, why| {
        run.skip_all("end to end", &left_out(kind), why);
        skipped.extend(["--skip", kind]);
    };
    match &chromedriver {
        Some(driver) => _ = command.env("CHROMEDRIVER", driver),
        None => skip(BROWSER_TESTS, "no browser"),
    }
    if chromedriver.is_some() && !tools::has_axe() {
        skip(AXE_TESTS, "no axe");
    }
    if !tools::has_issuer() {
        skip(ISSUER_TESTS, "no issuer of tokens");
    }
    if !tools::has_cryptography() {
        skip(PYTHON_TESTS, "no python3 with cryptography");
    }
    run.end_to_end(command, &skipped);
    if full {
        run.proxies(proxies::ALL.iter().filter(|proxy| proxy.is_for_build_machines));
    }
    run.busy();

    if full {
        for engine in Engine::ALL {
            run.engine(engine);
        }
        run.packaging();
        run.examples();
        run.prepare("the crates, from their packages", || crates::build(crates::Trial::Types).map(drop));
    }
    run.tally
}

/// Where everything is run that does not take too long.
pub(crate) fn on_build_machine() -> bool {
    std::env::var_os("CI").is_some_and(|value| value == "true")
}

/// Those that chacha20 is published with, on the backend that `vendor/` adds.
fn tests_of_the_cipher() -> Result<()> {
    let mut tests = cargo(["test", "--quiet", "--locked", "--all-features", "--tests"]);
    tests.args(["--manifest-path", "vendor/chacha20/Cargo.toml", "--target", "wasm32-unknown-unknown"]);
    // Seen from the crate's folder.
    tests.env("CARGO_TARGET_WASM32_UNKNOWN_UNKNOWN_RUNNER", "node ../../tests/cipher/libtest.mjs");
    process::run(tests.env("CARGO_TARGET_DIR", target("cipher/own")))
}

/// A run of some groups.
pub(crate) struct Run<'a> {
    filter: Option<&'a str>,
    /// In their whole form, those that have two.
    is_long: bool,
    pub(crate) tally: Tally,
}

impl<'a> Run<'a> {
    pub(crate) fn new(filter: Option<&'a str>) -> Self {
        Self { filter, is_long: false, tally: Tally::default() }
    }

    /// A run of whole forms.
    pub(crate) fn long(filter: Option<&'a str>) -> Self {
        Self { is_long: true, ..Self::new(filter) }
    }

    /// What every end-to-end test needs.
    pub(crate) fn prepare_end_to_end(&mut self) {
        self.prepare("page", || wasm::build(false, &mut io::stderr()).map(drop));
        self.prepare("debug build", debug::build_end_to_end);
    }

    /// A step without tests of its own; its failure counts as one.
    pub(crate) fn prepare(&mut self, name: &str, work: impl FnOnce() -> Result<()>) {
        let started = Instant::now();
        let counts = match step(name, work) {
            Ok(()) => Counts::default(),
            Err(error) => {
                eprintln!("xtask: failed: {name}: {error:#}");
                Counts::FAILURE
            }
        };
        self.tally.add(name, counts, started.elapsed());
    }

    fn fail(&mut self, group: &str, why: &str) {
        eprintln!("xtask: failed: {why}");
        self.tally.add(group, Counts::FAILURE, Default::default());
    }

    fn skip(&mut self, group: &str, test: &str, why: &str) {
        eprintln!("xtask: skipped: {test} ({why})");
        self.tally.add(group, Counts { skipped: 1, ..Counts::default() }, Default::default());
    }

    fn skip_all(&mut self, group: &str, tests: &[&str], why: &str) {
        for test in tests {
            self.skip(group, test, why);
        }
    }

    /// All native tests, program beside program.
    fn native(&mut self) {
        let mut programs = Vec::new();
        self.prepare("debug build", || {
            programs = debug::build()?;
            Ok(())
        });
        if programs.is_empty() {
            return; // which is told
        }
        let commands = || {
            programs.iter().map(|program| {
                let mut command = program.command();
                command.env_remove(LONG);
                command.args(self.filter);
                (program.source.clone(), command)
            })
        };
        let (started, mut counts) = (Instant::now(), Counts::default());
        let mut unsteady = Vec::new();
        match step("tests: native", || harness::beside(commands().collect())) {
            Ok(mut outcomes) => {
                let few = outcomes.iter().map(|outcome| outcome.counts.failed).sum::<usize>() <= unsteady::FAILURES_MAX;
                for (outcome, (name, command)) in
                    outcomes.iter_mut().zip(commands()).filter(|(outcome, _)| few && !outcome.succeeded)
                {
                    unsteady.extend(retry(&name, &command, outcome));
                }
                for Outcome { counts: of_one, succeeded, .. } in outcomes {
                    counts += of_one;
                    // Nothing failed by count: a test ended the whole process.
                    counts.failed += usize::from(!succeeded && of_one.failed == 0);
                }
            }
            Err(error) => {
                eprintln!("xtask: failed: native: {error:#}");
                counts = Counts::FAILURE;
            }
        }
        unsteady.into_iter().for_each(|test| self.tally.unsteady(test));
        self.tally.add("native", counts, started.elapsed());
        self.group("native", debug::of_docs(), &[]);
    }

    /// One `cargo test`.
    fn group(&mut self, name: &str, mut command: Command, harness: &[&str]) {
        command.arg("--").args(self.filter).args(harness);
        self.stream(name, &mut command);
    }

    /// The end-to-end tests beside each other.
    fn end_to_end(&mut self, mut command: Command, harness: &[&str]) {
        command.arg("--").args(self.filter).args(harness);
        self.stream_end_to_end("end to end", &mut command);
    }

    /// The end-to-end tests of the browser in one more engine.
    fn engine(&mut self, engine: Engine) {
        let group = format!("end to end, {}", engine.name());
        let all = Self::list(debug::end_to_end(), None);
        let mut names: Vec<&str> = tests_in(&all, BROWSER_TESTS).filter(|name| !is_apart(name)).collect();
        let Some((variable, tool)) = engine.environment() else {
            names.retain(|name| self.is_wanted(name));
            return self.skip_all(&group, &names, &format!("no {}", engine.name()));
        };
        for (left_out, why) in engine.left_out() {
            match names.iter().position(|name| *name == left_out) {
                Some(at) => _ = names.swap_remove(at),
                None => self.fail(&group, &format!("there is no {left_out} to leave out")),
            }
            if self.is_wanted(left_out) {
                self.skip(&group, left_out, &format!("{}: {why}", engine.name()));
            }
        }
        names.retain(|name| self.is_wanted(name));
        let needs_issuer = |name: &&str| name.contains(ISSUER_TESTS);
        if names.iter().any(needs_issuer) && !tools::has_issuer() {
            let without: Vec<_> = names.extract_if(.., |name| needs_issuer(name)).collect();
            self.skip_all(&group, &without, "no issuer of tokens");
        }
        if on_build_machine() {
            let not_here = |name: &&str| NOT_ON_BUILD_MACHINES.iter().any(|file| name.starts_with(file));
            let left_out: Vec<_> = names.extract_if(.., |name| not_here(name)).collect();
            self.skip_all(
                &group,
                &left_out,
                "what the page says and shows, or the server does, by `cargo xtask test --engine`",
            );
        }
        let mut command = debug::end_to_end();
        command.env("DUOLOGUE_ENGINE", engine.name()).env(variable, tool);
        self.exactly(&group, command, &[], &names);
    }

    /// The end-to-end tests before some proxies, which are installed if they can be.
    pub(crate) fn proxies(&mut self, proxies: impl IntoIterator<Item = &'static Proxy>) {
        let group = "end to end, proxies";
        let all = Self::list(debug::end_to_end(), None);
        let chromedriver = tools::chromedriver();
        let mut names = Vec::new();
        for proxy in proxies {
            let mut of_it: Vec<&str> = tests_in(&all, PROXY_TESTS).filter(|name| proxy.has(name)).collect();
            if of_it.is_empty() {
                self.fail(group, &format!("{} has no tests", proxy.name));
            }
            of_it.retain(|name| self.is_wanted(name));
            if of_it.is_empty() {
                continue;
            }
            if let Err(why) = proxy.ensure() {
                self.skip_all(group, &of_it, &format!("{}: {why}", proxy.name));
                continue;
            }
            if chromedriver.is_none() {
                let with_browser = of_it.extract_if(.., |name| name.contains(BROWSER_TESTS)).collect::<Vec<_>>();
                self.skip_all(group, &with_browser, "no browser");
            }
            of_it.iter().for_each(|name| proxies::forget(name));
            names.append(&mut of_it);
        }
        let mut command = debug::end_to_end();
        command.envs(chromedriver.map(|driver| ("CHROMEDRIVER", driver)));
        // One after the other: what is measured is written down.
        self.exactly(group, command, &["--ignored", "--test-threads=1"], &names);
    }

    /// Autobahn's cases against the server's WebSocket, and what they saw into docs/AUTOBAHN.md.
    ///
    /// # Errors
    ///
    /// When that cannot be written; what fails is counted.
    pub(crate) fn autobahn(&mut self) -> Result<()> {
        match autobahn::prepare() {
            Ok(mut command) => {
                self.stream("Autobahn", &mut command);
                autobahn::write_report()
            }
            Err(why) => {
                self.skip("Autobahn", autobahn::TEST, &format!("{why:#}"));
                Ok(())
            }
        }
    }

    /// A server that is built with what is seen of it from outside, in a folder of its own: its flags are others.
    pub(crate) fn seeing(&mut self) {
        let group = "traces and tokio-console";
        let Some(packages) = tools::opentelemetry_proto() else {
            return self.skip(group, "seeing", "no python3 with opentelemetry-proto");
        };
        let features = ["--features", "otlp,tokio-console"];
        let mut command = cargo(["test", "-p", "duologue-server", "--test", "seeing"]);
        command.args(features).env("CARGO_TARGET_DIR", target("seeing")).env("RUSTFLAGS", "--cfg tokio_unstable");
        self.stream(group, command.env("PYTHONPATH", packages));
    }

    /// What the OpenAPI document of the local API says, asked of a real server.
    pub(crate) fn schemathesis(&mut self) {
        let group = "the local API by schemathesis";
        let Some(packages) = tools::schemathesis() else {
            return self.skip(group, "schemathesis", "no python3 with schemathesis");
        };
        let mut command = cargo(["test", "-p", "duologue-server", "--test", "api"]);
        command.args(["--", "--ignored", "--show-output", "schemathesis"]);
        self.stream(group, command.env("PYTHONPATH", packages));
    }

    /// The end-to-end tests that take the whole machine.
    fn busy(&mut self) {
        let all = Self::list(debug::end_to_end(), None);
        let names: Vec<&str> = tests_in(&all, BUSY_TESTS).filter(|name| self.is_wanted(name)).collect();
        self.busy_tests("end to end, a busy machine", &names);
    }

    /// Some of them, one after the other.
    fn busy_tests(&mut self, group: &str, names: &[&str]) {
        let chromedriver = tools::chromedriver();
        let mut names = names.to_vec();
        if chromedriver.is_none() {
            let with_browser = names.extract_if(.., |name| name.contains(BROWSER_TESTS)).collect::<Vec<_>>();
            self.skip_all(group, &with_browser, "no browser");
        }
        if proxies::find("nginx").is_none() {
            let with_nginx = names.extract_if(.., |name| name.ends_with(NGINX_TESTS)).collect::<Vec<_>>();
            self.skip_all(group, &with_nginx, "no nginx");
        }
        let mut command = debug::end_to_end();
        command.envs(chromedriver.map(|driver| ("CHROMEDRIVER", driver)));
        self.exactly(group, command, &["--include-ignored", "--test-threads=1"], &names);
    }

    /// Builds a server's test that has a whole form, so that its time is not that of a compiler.
    pub(crate) fn prepare_whole_form(&mut self, test: &str) {
        if let Some(target) = in_the_server(test) {
            let mut build = of_the_server(&target);
            self.prepare(&format!("release build, {}", target.join(" ")), || process::run(build.arg("--no-run")));
        }
    }

    /// One test in its whole form, alone on the machine, with what it prints.
    pub(crate) fn whole_form(&mut self, test: &str) {
        let group = format!("whole form, {test}");
        match in_the_server(test) {
            Some(target) => {
                let mut command = of_the_server(&target);
                self.stream(&group, command.args(["--", "--show-output", "--exact", test]));
            }
            None => self.busy_tests(&group, &[test]),
        }
        if test.starts_with(IN_EVERY_ENGINE) {
            for engine in Engine::ALL {
                let Some((variable, tool)) = engine.environment() else {
                    self.skip(&group, test, &format!("no {}", engine.name()));
                    continue;
                };
                let mut command = debug::end_to_end();
                command.env("DUOLOGUE_ENGINE", engine.name()).env(variable, tool);
                self.exactly(&group, command, &[], &[test]);
            }
        }
    }

    pub(crate) fn is_wanted(&self, name: &str) -> bool {
        self.filter.is_none_or(|filter| name.contains(filter))
    }

    /// Some tests by their whole names.
    fn exactly(&mut self, group: &str, mut command: Command, harness: &[&str], names: &[&str]) {
        // Without a name all would be run.
        if !names.is_empty() {
            command.arg("--").args(harness).arg("--exact").args(names);
            self.stream_end_to_end(group, &mut command);
        }
    }

    /// The npm package in its matrix.
    fn packaging(&mut self) {
        match packaging::command(self.filter) {
            Ok(Some(mut command)) => self.stream("packaging", &mut command),
            Ok(None) => self.skip("packaging", "packaging", "no node"),
            Err(error) => self.fail("packaging", &format!("packaging: {error:#}")),
        }
    }

    /// The end-to-end tests of the app with a login. Before that nothing is built for those that a filter leaves out.
    fn examples(&mut self) {
        let group = "end to end, examples";
        let all = Self::list(debug::end_to_end(), None);
        let mut names: Vec<&str> = tests_in(&all, EXAMPLE_TESTS).filter(|name| self.is_wanted(name)).collect();
        if names.is_empty() {
            return;
        }
        let Some(chromedriver) = tools::chromedriver() else { return self.skip_all(group, &names, "no browser") };
        if !tools::has_node() {
            return self.skip_all(group, &names, "no node");
        }
        if !tools::has_axe() {
            let for_everybody: Vec<_> = names.extract_if(.., |name| name.contains(AXE_TESTS)).collect();
            self.skip_all(group, &for_everybody, "no axe");
        }
        if let Err(error) = examples::prepare() {
            return self.fail(group, &format!("{group}: {error:#}"));
        }
        let mut command = debug::end_to_end();
        command.env("CHROMEDRIVER", chromedriver);
        self.exactly(group, command, &["--test-threads=1"], &names);
    }

    /// What is made for operators, tried as they try it. A test's name begins with the program that it needs.
    pub(crate) fn installed(&mut self) {
        let group = "end to end, installed";
        let all = Self::list(debug::end_to_end(), None);
        let mut names: Vec<&str> = tests_in(&all, INSTALLED_TESTS).collect();
        let chromedriver = tools::chromedriver();
        if chromedriver.is_none() {
            let with_browser: Vec<_> = names.extract_if(.., |name| name.contains(BROWSER_TESTS)).collect();
            self.skip_all(group, &with_browser, "no browser");
        }
        for (program, has) in dist::trial_tools() {
            let prefix = format!("{INSTALLED_TESTS}{program}_");
            if !has {
                let without: Vec<_> = names.extract_if(.., |name| name.starts_with(&prefix)).collect();
                self.skip_all(group, &without, &format!("no {program}"));
            }
        }
        let mut command = debug::end_to_end();
        command.env("DUOLOGUE_DIST", target("dist")).envs(chromedriver.map(|driver| ("CHROMEDRIVER", driver)));
        self.exactly(group, command, &["--ignored", "--test-threads=1"], &names);
    }

    /// Runs a command and counts its tests.
    fn stream(&mut self, name: &str, command: &mut Command) {
        self.count(name, command, false);
    }

    /// Runs end-to-end tests and counts them. A few that fail get a second try, except in their whole forms, which measure.
    fn stream_end_to_end(&mut self, name: &str, command: &mut Command) {
        self.count(name, command, !self.is_long);
    }

    fn count(&mut self, name: &str, command: &mut Command, may_retry: bool) {
        if self.is_long {
            command.env(LONG, "1");
        } else {
            command.env_remove(LONG);
        }
        let started = Instant::now();
        let outcome = step(&format!("tests: {name}"), || harness::stream(command)).map(|mut outcome| {
            if may_retry {
                retry(name, command, &mut outcome).into_iter().for_each(|test| self.tally.unsteady(test));
            }
            outcome
        });
        let counts = match outcome {
            Ok(Outcome { counts, succeeded: true, .. })
                if counts == Counts::default() && (self.filter.is_none() || self.is_long) =>
            {
                eprintln!("xtask: failed: {name}: no test ran");
                Counts::FAILURE
            }
            Ok(Outcome { counts, succeeded: true, .. }) => counts,
            Ok(Outcome { counts, succeeded: false, .. }) => {
                eprintln!("xtask: failed: {name} ({counts})");
                // Nothing failed by count: it could not be built, or a test ended the whole process.
                Counts { failed: counts.failed.max(1), ..counts }
            }
            Err(error) => {
                eprintln!("xtask: failed: {name}: {error:#}");
                Counts::FAILURE
            }
        };
        self.tally.add(name, counts, started.elapsed());
    }

    /// What `--list` says of the tests whose name contains the filter.
    fn list(mut tests: Command, filter: Option<&str>) -> String {
        tests.arg("--").args(filter).arg("--list").stderr(Stdio::inherit());
        process::output(&mut tests).unwrap_or_default()
    }
}

/// Where the server's package has a test with two forms: among its unit tests, or in a file of its own. None if it is end to end.
pub(crate) fn in_the_server(test: &str) -> Option<Vec<String>> {
    if test.starts_with(OF_THE_SERVER) {
        return Some(vec!["--lib".to_owned()]);
    }
    let function = format!("fn {test}(");
    let entries = fs::read_dir(root().join("server/tests")).into_iter().flatten().flatten();
    let mut files = entries.map(|entry| entry.path()).filter(|path| path.extension().is_some_and(|it| it == "rs"));
    let file = files.find(|path| fs::read_to_string(path).is_ok_and(|text| text.contains(&function)))?;
    Some(vec!["--test".to_owned(), file.file_stem()?.to_string_lossy().into_owned()])
}

/// Whatever is counted in millions takes an hour without optimisation.
fn of_the_server(target: &[String]) -> Command {
    let mut command = cargo(["test", "--release", "-p", "duologue-server"]);
    command.args(target);
    command
}

/// A second try, alone, for a few tests that failed; the names of those that have passed now.
fn retry(name: &str, command: &Command, first: &mut Outcome) -> Vec<String> {
    let Some(failures) = unsteady::worth_a_second_try(first) else { return Vec::new() };
    let mut again = unsteady::alone(command, failures);
    match step(&format!("tests: {name}, once more, alone"), || harness::stream(&mut again)) {
        Ok(second) => {
            let passed = unsteady::settle(first, &second);
            passed.iter().for_each(|test| eprintln!("xtask: {}", unsteady::line(test)));
            passed
        }
        Err(error) => {
            eprintln!("xtask: no second try: {error:#}");
            Vec::new()
        }
    }
}

fn is_apart(name: &str) -> bool {
    [PROXY_TESTS, BUSY_TESTS, EXAMPLE_TESTS, INSTALLED_TESTS].iter().any(|kind| name.starts_with(kind))
}

/// The tests of a kind in the output of `--list`.
fn tests_in<'a>(list: &'a str, kind: &'a str) -> impl Iterator<Item = &'a str> {
    list.lines().filter_map(|line| line.strip_suffix(": test")).filter(move |name| name.contains(kind))
}

#[cfg(test)]
mod tests {
    use super::{AXE_TESTS, BROWSER_TESTS, is_apart, tests_in};

    #[test]
    fn only_browser_tests_are_listed() {
        let list = "native_echo: test\nbrowser_echo: test\npage::browser_axe_open: test\n\n3 tests, 0 benchmarks\n";
        assert_eq!(tests_in(list, BROWSER_TESTS).collect::<Vec<_>>(), ["browser_echo", "page::browser_axe_open"]);
        assert_eq!(tests_in(list, AXE_TESTS).collect::<Vec<_>>(), ["page::browser_axe_open"]);
    }

    #[test]
    fn proxies_and_a_busy_machine_are_apart() {
        assert!(is_apart("proxies::cases::nginx::native") && is_apart("busy::browser_x"));
        assert!(is_apart("examples::browser_x") && !is_apart("page::examples::x"));
        assert!(!is_apart("proxies::page::every_configuration") && !is_apart("page::browser_busy::x"));
    }
}
