//! Firefox, by geckodriver: `GECKODRIVER`, else the one on PATH; and NSS's `certutil`.
//!
//! The server's certificate is put into the profile as one to be trusted, so that the browser does real TLS: name, dates and
//! signature are verified as anywhere.

use std::process::Stdio;

use serde_json::{Value, json};
use tokio::process::Command;

use super::{Driver, Profile};
use crate::{
    server::{Lines, SERVED_NAME},
    tls::pem,
    within,
};

pub(super) async fn driver(profile: &Profile) -> Driver {
    furnish(profile).await;
    let program = std::env::var_os("GECKODRIVER").unwrap_or_else(|| "geckodriver".into());
    let mut command = Command::new(&program);
    command
        .args(["--port=0", "--websocket-port=0"])
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .kill_on_drop(true);
    let mut child = command.spawn().unwrap_or_else(|error| panic!("cannot start {}: {error}", program.display()));
    let listening = Lines::of(child.stdout.take().unwrap()).with("Listening on ").await;
    let port = listening.rsplit(':').next().and_then(|port| port.parse().ok());
    Driver { child, port: port.unwrap_or_else(|| panic!("no port in {listening:?}")), _screen: None }
}

/// Makes the profile, once; one that trusts nobody is the browser's to make.
async fn furnish(profile: &Profile) {
    let Some(trust) = &profile.trust else { return };
    let directory = profile.directory.path();
    let certificate = directory.join("trusted.pem");
    if certificate.exists() {
        return;
    }
    std::fs::write(&certificate, pem(&trust.root)).unwrap();
    let database = format!("sql:{}", directory.display());
    let add = ["-A", "-n", "trusted", "-t", "C,,", "-i", certificate.to_str().unwrap()];
    for arguments in [&["-N", "--empty-password"][..], &add] {
        let mut command = Command::new("certutil");
        command.args(arguments).args(["-d", &database]).stdin(Stdio::null()).kill_on_drop(true);
        let output = within(30, "certutil", command.output()).await.expect("NSS's certutil is there");
        assert!(output.status.success(), "certutil {arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
    }
}

pub(super) fn capabilities(profile: &Profile) -> Value {
    let mut preferences = json!({ "intl.accept_languages": profile.language });
    if let Some(port) = profile.served_at {
        preferences["network.dns.localDomains"] = json!(SERVED_NAME);
        preferences["network.socket.forcePort"] = json!(format!("443={port}"));
    }
    json!({
        "browserName": "firefox",
        "webSocketUrl": true,
        "moz:firefoxOptions": {
            "args": ["-headless", "-width", "1280", "-height", "900", "-profile", profile.directory.path()],
            "prefs": preferences,
        },
    })
}
