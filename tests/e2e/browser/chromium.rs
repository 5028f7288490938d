//! Chromium, by chromedriver: `CHROMEDRIVER`, else the one on PATH.
//!
//! It trusts a certificate by the hash of its key, if it is told one, resolves a name to a port of this machine, and tells what its console says.
//! What it does beyond WebDriver, by the DevTools, is its own: see `devtools` in `mod.rs`.

use std::process::Stdio;

use serde_json::{Value, json};
use tokio::process::Command;

use super::{Driver, Profile};
use crate::server::{Lines, SERVED_NAME};

/// Starts chromedriver on a port of its choice. It takes one that is free for IPv6 and gives up if IPv4 has another use for
/// it: then it is started again.
pub(super) async fn driver(profile: &Profile) -> Driver {
    let program = std::env::var_os("CHROMEDRIVER").unwrap_or_else(|| "chromedriver".into());
    for _ in 0..10 {
        let mut command = Command::new(&program);
        // Debian's launcher takes the language from the environment.
        command.arg("--port=0").env("LANGUAGE", profile.language).stdin(Stdio::null()).kill_on_drop(true);
        let driver = command.stdout(Stdio::piped()).stderr(Stdio::null()).spawn();
        let mut driver = driver.unwrap_or_else(|error| panic!("cannot start {}: {error}", program.display()));
        let lines = Lines::of(driver.stdout.take().unwrap());
        if let Some(started) = lines.find("started successfully on port ").await {
            let port = started.trim_end_matches('.').rsplit(' ').next().and_then(|port| port.parse().ok());
            let port = port.unwrap_or_else(|| panic!("no port in {started:?}"));
            return Driver { child: driver, port, _screen: None };
        }
    }
    panic!("{} found no free port in ten attempts", program.display());
}

pub(super) fn capabilities(profile: &Profile) -> Value {
    let mut arguments = vec![
        "--headless".to_owned(),
        "--no-sandbox".to_owned(),
        "--disable-gpu".to_owned(),
        "--disable-dev-shm-usage".to_owned(),
        "--disable-quic".to_owned(),
        "--no-first-run".to_owned(),
        "--disable-background-networking".to_owned(),
        "--disable-component-update".to_owned(),
        "--disable-sync".to_owned(),
        // As on a telephone, and so that pictures have the width that was asked for.
        "--hide-scrollbars".to_owned(),
        "--window-size=1280,900".to_owned(),
        format!("--lang={}", profile.language),
        format!("--user-data-dir={}", profile.directory.path().display()),
    ];
    let trusted: Vec<&str> =
        profile.trust.iter().map(|trust| &trust.spki_pin).chain(&profile.also).map(String::as_str).collect();
    if !trusted.is_empty() {
        arguments.push(format!("--ignore-certificate-errors-spki-list={}", trusted.join(",")));
    }
    arguments.extend(profile.arguments.iter().cloned());
    if let Some(port) = profile.served_at {
        arguments.push(format!("--host-resolver-rules=MAP {SERVED_NAME} 127.0.0.1:{port}"));
    }
    json!({
        "browserName": "chrome",
        "goog:chromeOptions": { "args": arguments, "prefs": { "intl.accept_languages": profile.language } },
        "goog:loggingPrefs": { "browser": "ALL" },
    })
}
