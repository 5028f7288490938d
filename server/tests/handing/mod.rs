//! A server with TLS that is handed over, and whoever connects meanwhile.
#![allow(dead_code, reason = "each test file has its own use for it")]

use std::{
    io::{Read, Write},
    net::TcpStream,
    process::Command,
    sync::Arc,
    time::{Duration, Instant},
};

use duologue_client::{Client, DeviceId, Keyring, Line, Target};
use duologue_server::rustls::{
    ClientConfig, ClientConnection, RootCertStore, StreamOwned,
    crypto::ring,
    pki_types::{CertificateDer, ServerName, pem::PemObject},
    version,
};

use crate::{
    running::{certificate, free_port, start},
    site::{Server, Site},
};

/// A server by its configuration, at `https://localhost:PORT`.
pub(crate) struct Handed {
    pub(crate) site: Site,
    pub(crate) port: u16,
    /// The process that was started here; those that have taken its place are nobody's children.
    pub(crate) first: Server,
    serving: u32,
}

impl Drop for Handed {
    fn drop(&mut self) {
        if self.serving != self.first.process.id() {
            kill("TERM", self.serving);
        }
    }
}

impl Handed {
    /// With more lines of `[server]`, and more tables.
    pub(crate) fn start(server: &str, tables: &str) -> Self {
        let port = free_port();
        Self::start_at(port, &config(port, server, tables))
    }

    /// By this configuration, which listens there.
    pub(crate) fn start_at(port: u16, config: &str) -> Self {
        let site = Site::new("");
        certificate(&site, "own", &["localhost"]);
        site.configure(config);
        let file = site.config();
        let first = start(&site, &["serve", "--config", file.to_str().expect("text")], &[]);
        Self { serving: first.process.id(), site, port, first }
    }

    pub(crate) fn configure(&self, server: &str, tables: &str) {
        self.site.configure(&config(self.port, server, tables));
    }

    /// The process that serves, after one more hand-over.
    pub(crate) fn hand_over(&mut self) -> u32 {
        let said = self.site.verb(&["hand-over"]);
        let pid = said.strip_prefix("handed over: process ").and_then(|rest| rest.strip_suffix(" serves"));
        self.serving = pid.and_then(|pid| pid.parse().ok()).unwrap_or_else(|| panic!("{said}"));
        self.serving
    }

    /// Kills the process that was started here, as the system does without memory, and starts another in its place.
    pub(crate) fn kill_and_start(&mut self) {
        self.first.process.kill().expect("it runs");
        self.first.process.wait().expect("it ends");
        self.start_again();
    }

    /// Starts another in the place of one that has ended.
    pub(crate) fn start_again(&mut self) {
        let file = self.site.config();
        self.first = start(&self.site, &["serve", "--config", file.to_str().expect("text")], &[]);
        self.serving = self.first.process.id();
    }

    /// The process that serves.
    pub(crate) const fn serving(&self) -> u32 {
        self.serving
    }

    /// A device that the owner lets in.
    pub(crate) async fn line(&self) -> (DeviceId, Line) {
        let keyring = Keyring::in_memory();
        let id = DeviceId::of_spki(keyring.device().spki());
        let target = Target::parse(self.site.verb(&["invite", "new"]).trim()).expect("a link");
        let client = Client::new(keyring).trusting(self.site.directory.path().join("own.pem"));
        (id, client.connect(&target).await.expect("the invite is good"))
    }

    /// What its clients trust.
    pub(crate) fn trust(&self, protocols: &[&[u8]]) -> Arc<ClientConfig> {
        let mut roots = RootCertStore::empty();
        let own = self.site.directory.path().join("own.pem");
        roots.add(CertificateDer::from_pem_file(own).expect("it is there")).expect("a certificate");
        let builder = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()));
        let builder = builder.with_protocol_versions(&[&version::TLS13]).expect("it has TLS 1.3");
        let mut config = builder.with_root_certificates(roots).with_no_client_auth();
        config.alpn_protocols = protocols.iter().map(|protocol| protocol.to_vec()).collect();
        Arc::new(config)
    }

    /// Asks for the page on a connection of its own, and gives the status.
    pub(crate) fn get(&self, trust: &Arc<ClientConfig>) -> std::io::Result<String> {
        get(self.port, trust)
    }
}

pub(crate) fn config(port: u16, server: &str, tables: &str) -> String {
    format!(
        "[server]\nurl = \"https://localhost:{port}\"\nlisten = \"127.0.0.1:{port}\"\nstate = \"state\"\n{server}\n\
         [[tls.certificate]]\ncert = \"own.pem\"\nkey = \"own.key\"\n{tables}\n"
    )
}

/// The first line of the answer.
pub(crate) fn get(port: u16, trust: &Arc<ClientConfig>) -> std::io::Result<String> {
    let tcp = TcpStream::connect(("127.0.0.1", port))?;
    tcp.set_read_timeout(Some(Duration::from_secs(20)))?;
    let name = ServerName::try_from("localhost").expect("a name");
    let client = ClientConnection::new(Arc::clone(trust), name).map_err(std::io::Error::other)?;
    let mut tls = StreamOwned::new(client, tcp);
    write!(tls, "GET / HTTP/1.1\r\nhost: localhost:{port}\r\nconnection: close\r\n\r\n")?;
    let mut answer = String::new();
    tls.read_to_string(&mut answer)?;
    Ok(answer.lines().next().unwrap_or_default().to_owned())
}

pub(crate) fn kill(signal: &str, pid: u32) {
    // It may have ended.
    let _ = Command::new("kill").args([&format!("-{signal}"), &pid.to_string()]).status();
}

/// Until it is so.
pub(crate) async fn until(what: &str, mut is_so: impl FnMut() -> bool) -> Duration {
    let begun = Instant::now();
    while !is_so() {
        assert!(begun.elapsed() < Duration::from_secs(30), "{what}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    begun.elapsed()
}
