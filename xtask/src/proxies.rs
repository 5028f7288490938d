//! `cargo xtask test --proxies`: which proxies there are, where they come from, and what was seen with them.
//!
//! ```text
//! apt, npm ─► the proxy ─► tests/e2e/proxies/cases.rs ─► target/proxies/*.json ─► docs/PROXIES.md between its marks
//! ```
//!
//! A proxy that cannot be had is left out by name. Where `CI=true` some are run, and nothing is written.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, bail, ensure};
use serde::Deserialize;

use crate::process::{command, output, root, target, which};
use crate::tools;

const BEGIN: &str = "<!-- from here on written by `cargo xtask test --proxies` -->";
const END: &str = "<!-- to here -->";

/// A proxy, by whatever it is called.
#[derive(Debug)]
pub(crate) struct Proxy {
    /// In messages; of npm packages, the folder too that they are put into.
    pub(crate) name: &'static str,
    source: Source,
    /// The modules of its tests, and what the report calls them.
    cases: &'static [(&'static str, &'static str)],
    /// Whether it is run with `--full` and where `CI=true`.
    pub(crate) is_for_build_machines: bool,
}

#[derive(Debug)]
enum Source {
    /// Programs, and the packages that have them.
    Apt(&'static [&'static str], &'static [&'static str]),
    /// npm packages, the newest that run with Node.js 20. The first is the proxy.
    Npm(&'static [(&'static str, &'static str)]),
}

const fn apt(
    name: &'static str,
    programs: &'static [&'static str],
    packages: &'static [&'static str],
    cases: &'static [(&'static str, &'static str)],
) -> Proxy {
    Proxy { name, source: Source::Apt(programs, packages), cases, is_for_build_machines: false }
}

const fn npm(
    packages: &'static [(&'static str, &'static str)],
    cases: &'static [(&'static str, &'static str)],
) -> Proxy {
    Proxy { name: packages[0].0, source: Source::Npm(packages), cases, is_for_build_machines: false }
}

impl Proxy {
    const fn on_build_machines(self) -> Self {
        Self { is_for_build_machines: true, ..self }
    }
}

/// In the order of docs/PROXIES.md.
pub(crate) const ALL: &[Proxy] = &[
    apt("nginx", &["nginx"], &["nginx"], &[("nginx", "nginx")]).on_build_machines(),
    apt("haproxy", &["haproxy"], &["haproxy"], &[("haproxy", "HAProxy")]),
    apt(
        "apache2",
        &["apache2"],
        &["apache2"],
        &[
            ("apache", "Apache httpd"),
            ("apache_wstunnel", "Apache httpd, `proxy_wstunnel`"),
            ("apache_h2websockets", "Apache httpd, `H2WebSockets on`"),
        ],
    )
    .on_build_machines(),
    apt("caddy", &["caddy"], &["caddy"], &[("caddy", "Caddy")]),
    apt("lighttpd", &["lighttpd"], &["lighttpd", "lighttpd-mod-openssl"], &[("lighttpd", "lighttpd")]),
    apt("varnish", &["varnishd", "hitch"], &["varnish", "hitch"], &[("varnish", "Varnish behind hitch")]),
    apt("squid", &["squid"], &["squid"], &[("squid", "Squid")]),
    apt("trafficserver", &["traffic_server"], &["trafficserver"], &[("trafficserver", "Traffic Server")]),
    apt("h2o", &["h2o"], &["h2o"], &[("h2o", "h2o")]),
    apt("nghttpx", &["nghttpx"], &["nghttp2-proxy"], &[("nghttpx", "nghttpx")]),
    npm(&[("vite", "8.4.0")], &[("vite", "Vite")]),
    npm(
        &[("webpack-dev-server", "5.2.7"), ("webpack", "5.113.0"), ("webpack-cli", "7.3.1")],
        &[
            ("webpack_dev_server", "webpack-dev-server"),
            ("webpack_dev_server_all_hosts", "webpack-dev-server, `allowedHosts: \"all\"`"),
        ],
    ),
    npm(&[("http-proxy", "1.18.1")], &[("http_proxy", "http-proxy")]),
    npm(&[("http-proxy-3", "1.23.3")], &[("http_proxy_3", "http-proxy-3")]),
    npm(
        &[("http-proxy-middleware", "3.0.11"), ("express", "5.3.0")],
        &[("http_proxy_middleware", "http-proxy-middleware")],
    ),
    npm(
        &[("@fastify/http-proxy", "11.6.3"), ("fastify", "5.12.8")],
        &[
            ("fastify", "@fastify/http-proxy, `websocket: true` alone"),
            ("fastify_with_origin", "@fastify/http-proxy, with two more options"),
        ],
    )
    .on_build_machines(),
    apt("mitmproxy", &["mitmdump"], &["mitmproxy"], &[("mitmproxy", "mitmproxy")]),
];

impl Proxy {
    /// Whether a test is one of its own.
    pub(crate) fn has(&self, test: &str) -> bool {
        case_of(test).is_some_and(|case| self.cases.iter().any(|(own, _)| *own == case))
    }

    /// Finds it, after trying to install it.
    ///
    /// # Errors
    ///
    /// Why it cannot be had.
    pub(crate) fn ensure(&self) -> Result<()> {
        match self.source {
            Source::Apt(programs, packages) => {
                // A module without a program of its own is known by its package.
                let is_there = || programs.iter().all(|program| find(program).is_some()) && has_modules(self.name);
                if !is_there() {
                    tools::apt_install_servers(self.name, packages);
                    ensure!(is_there(), "not installed");
                }
            }
            Source::Npm(packages) => {
                if !tools::has_node() {
                    bail!("no node");
                }
                tools::npm_packages(&npm_folder(self.name), packages)?;
            }
        }
        Ok(())
    }
}

/// lighttpd's TLS is a package of its own, and a part of the program elsewhere.
fn has_modules(name: &str) -> bool {
    let debian = Path::new("/usr/lib/lighttpd");
    name != "lighttpd" || !debian.is_dir() || debian.join("mod_openssl.so").is_file()
}

/// A server's program, which a person's PATH does not always lead to.
pub(crate) fn find(program: &str) -> Option<PathBuf> {
    let elsewhere = ["/usr/sbin", "/usr/local/sbin"].map(|folder| Path::new(folder).join(program));
    which(program).or_else(|| elsewhere.into_iter().find(|file| file.is_file()))
}

/// As the tests look for it.
fn npm_folder(package: &str) -> String {
    format!("proxy-{}", package.trim_start_matches('@').replace('/', "-"))
}

/// `nginx` of `proxies::cases::nginx::native`.
fn case_of(test: &str) -> Option<&str> {
    test.rsplit("::").nth(1)
}

/// Removes what a test measured at another time.
pub(crate) fn forget(test: &str) {
    let (Some(case), Some(name)) = (case_of(test), test.rsplit("::").next()) else { return };
    let client = if name.starts_with("browser_") { "chromium" } else { "native" };
    let kind = if name.contains("thirty") { "-dials" } else { "" };
    let _ = fs::remove_file(target(&format!("proxies/{case}-{client}{kind}.json")));
}

/// What one client has measured, as `tests/e2e/proxies/report.rs` writes it; times in milliseconds.
#[derive(Debug, Deserialize)]
struct Measured {
    version: String,
    open: u64,
    echo: u64,
    noticed: u64,
    back: u64,
}

#[derive(Debug, Deserialize)]
struct Dials {
    count: u64,
    median: u64,
    most: u64,
}

/// Writes what was measured into docs/PROXIES.md.
///
/// # Errors
///
/// When a file cannot be read or written.
pub(crate) fn write_report() -> Result<()> {
    let file = root().join("docs/PROXIES.md");
    let text = fs::read_to_string(&file).context("cannot read docs/PROXIES.md")?;
    let said = |program: &str, flag: &str| output(command(program).arg(flag));
    let browser = tools::chromium().and_then(|chromium| output(command(chromium).arg("--version")));
    let what = [
        output(command("date").args(["-u", "+%F"])),
        browser.as_deref().and_then(|said| said.split(" built").next()).map(|said| said.trim().to_owned()),
        said("node", "--version").map(|version| format!("Node.js {}", version.trim_start_matches('v'))),
    ];
    let what = what.into_iter().flatten().collect::<Vec<_>>().join(", ");
    let mut files = BTreeMap::new();
    for entry in fs::read_dir(target("proxies")).into_iter().flatten().flatten() {
        if let Ok(json) = fs::read_to_string(entry.path()) {
            files.insert(entry.file_name().to_string_lossy().into_owned(), json);
        }
    }
    let missing = |proxy: &Proxy| proxy.ensure().is_err();
    let report = format!("{what}.\n\n{}", tables(&files, missing)?);
    fs::write(&file, between(&text, BEGIN, END, &report)?).context("cannot write docs/PROXIES.md")
}

/// The text with something else between two marks.
///
/// # Errors
///
/// When a mark is missing.
pub(crate) fn between(text: &str, begin: &str, end: &str, what: &str) -> Result<String> {
    let (before, rest) = text.split_once(begin).with_context(|| format!("the mark {begin} is missing"))?;
    let (_, after) = rest.split_once(end).with_context(|| format!("the mark {end} is missing behind {begin}"))?;
    Ok(format!("{before}{begin}\n\n{what}\n{end}{after}"))
}

fn tables(files: &BTreeMap<String, String>, missing: impl Fn(&Proxy) -> bool) -> Result<String> {
    let mut rows = String::from(
        "| proxy | version | native client, ms: open · 3 MB · `resuming` · `open` again | Chromium, the same |\n\
         |---|---|---|---|\n",
    );
    let mut dials =
        String::from("| new lines, one after the other | client | median, ms | slowest, ms |\n|---|---|---:|---:|\n");
    for proxy in ALL {
        let is_missing = missing(proxy);
        for (case, title) in proxy.cases {
            let measured = |client: &str| -> Result<Option<Measured>> {
                let json = files.get(&format!("{case}-{client}.json"));
                json.map(|json| serde_json::from_str(json).with_context(|| format!("{case}, {client}"))).transpose()
            };
            let (native, chromium) = (measured("native")?, measured("chromium")?);
            let version = native.as_ref().or(chromium.as_ref()).map_or("", |measured| &*measured.version);
            let cell = |measured: &Option<Measured>| match measured {
                Some(Measured { open, echo, noticed, back, .. }) => format!("{open} · {echo} · {noticed} · {back}"),
                None if is_missing => "not installed".to_owned(),
                None => "**failed**".to_owned(),
            };
            let native_cell = match *case == "webpack_dev_server" && chromium.is_some() && native.is_none() {
                true => "refused with 403, as it should be".to_owned(),
                false => cell(&native),
            };
            let _ = writeln!(rows, "| {title} | {version} | {native_cell} | {} |", cell(&chromium));
            for client in ["native", "chromium"] {
                let Some(json) = files.get(&format!("{case}-{client}-dials.json")) else { continue };
                let Dials { count, median, most } = serde_json::from_str(json).with_context(|| (*case).to_owned())?;
                let client = if client == "native" { "native" } else { "Chromium" };
                let _ = writeln!(dials, "| {title}: {count} of {count} within 3 s | {client} | {median} | {most} |");
            }
        }
    }
    Ok(format!("{rows}\n{dials}"))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::{ALL, between, case_of, tables};

    #[test]
    fn a_test_belongs_to_the_proxy_of_its_module() {
        assert_eq!(case_of("proxies::cases::http_proxy_3::native"), Some("http_proxy_3"));
        let owners =
            |test: &str| ALL.iter().filter(|proxy| proxy.has(test)).map(|proxy| proxy.name).collect::<Vec<_>>();
        assert_eq!(owners("proxies::cases::http_proxy_3::native"), ["http-proxy-3"]);
        assert_eq!(owners("proxies::cases::thirty::apache_h2websockets::browser_x"), ["apache2"]);
        assert!(owners("proxies::cases::other::native").is_empty());
    }

    #[test]
    fn what_was_not_measured_has_failed_unless_it_is_not_there() {
        let json = r#"{"version":"1.2","open":1,"echo":2,"noticed":3,"back":4}"#;
        let files = BTreeMap::from([("nginx-native.json".to_owned(), json.to_owned())]);
        let shown = tables(&files, |proxy| proxy.name == "haproxy").expect("the file is right");
        assert!(shown.contains("| nginx | 1.2 | 1 · 2 · 3 · 4 | **failed** |"), "{shown}");
        assert!(shown.contains("| HAProxy |  | not installed | not installed |"), "{shown}");
    }

    #[test]
    fn only_what_is_between_the_marks_is_written() {
        assert_eq!(between("a<b>old</b>c", "<b>", "</b>", "new").expect("both are there"), "a<b>\n\nnew\n</b>c");
        assert!(between("a</b>c", "<b>", "</b>", "new").is_err());
    }
}
