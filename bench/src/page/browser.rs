//! Chromium, started plainly: no WebDriver and no developer tools, which slow WebSockets down two to five times.
//!
//! Certificates are trusted by the hash of their key, so that the browser still does real TLS.

use std::{path::Path, process::Stdio};

use anyhow::Context as _;
use base64::{Engine as _, prelude::BASE64_STANDARD};
use rcgen::{KeyPair, PublicKeyData as _};
use tokio::process::{Child, Command};

const FLAGS: [&str; 10] = [
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-dev-shm-usage",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--disable-extensions",
];

/// A running browser with one page.
pub(super) struct Browser(Child);

impl Browser {
    pub(super) fn start(program: &Path, profile: &Path, spki_pin: &str, url: &str) -> anyhow::Result<Self> {
        let mut command = Command::new(program);
        command.args(FLAGS).arg(format!("--user-data-dir={}", profile.display()));
        command.arg(format!("--ignore-certificate-errors-spki-list={spki_pin}")).arg(url);
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).kill_on_drop(true);
        let child = command.spawn().with_context(|| format!("cannot start {}", program.display()))?;
        Ok(Self(child))
    }

    pub(super) async fn end(mut self) -> anyhow::Result<()> {
        self.0.kill().await.context("cannot end Chromium")
    }
}

/// What Chromium calls the key of a certificate.
pub(super) fn spki_pin(key: &Path) -> anyhow::Result<String> {
    let pem = std::fs::read_to_string(key).with_context(|| format!("cannot read {}", key.display()))?;
    let key = KeyPair::from_pem(&pem).context("no private key in PEM")?;
    let hash = ring::digest::digest(&ring::digest::SHA256, &key.subject_public_key_info());
    Ok(BASE64_STANDARD.encode(hash))
}
