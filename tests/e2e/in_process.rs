//! A server in this process, over real TLS, with services of the test's own.

use std::time::Duration;

use axum::Router;
use duologue_server::{Duologue, Policy, State, development, page, services};
use serde_json::Value;
use tempfile::TempDir;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

use crate::{
    browser::{Browser, Profile},
    tls::Trust,
};

pub(crate) struct InProcess {
    _directory: TempDir,
    state: State,
    address: String,
    pub(crate) trust: Trust,
    stop: CancellationToken,
}

impl Drop for InProcess {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

impl InProcess {
    /// One with the page, `echo` and what `with` adds.
    pub(crate) async fn start(with: impl FnOnce(Duologue) -> Duologue) -> Self {
        let directory = TempDir::with_prefix("duologue-state-").unwrap();
        let state = State::open(directory.path()).unwrap();
        let tls = development(state.directory()).unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = format!("https://localhost:{}", listener.local_addr().unwrap().port());
        let duologue = with(Duologue::new(state.clone(), Policy::loopback()).service("echo", services::echo));
        let app = Router::new().route("/line", duologue.route()).merge(page(true));
        let stop = CancellationToken::new();
        tokio::spawn(duologue_server::serve(listener, Some(tls), app, stop.clone()));
        let trust = Trust::in_development(directory.path());
        Self { _directory: directory, state, address, trust, stop }
    }

    /// A link for one more device.
    pub(crate) fn invite(&self) -> String {
        self.state.new_invite(Duration::from_secs(600)).unwrap().to_link(&self.address)
    }

    /// One of its files.
    pub(crate) fn file(&self, path: &str) -> String {
        format!("{}{path}", self.address)
    }

    /// A browser with two lines: `onThread`, on the page's, and `inWorker`.
    pub(crate) async fn two_lines(&self) -> Browser {
        let browser = Browser::start(&Profile::trusting(self.trust.clone())).await;
        browser.open(&self.invite()).await;
        browser.wait_for_state("open").await;
        let open = "
            const { connect } = await import('/duologue.js');
            globalThis.onThread = connect();
            globalThis.inWorker = connect({ worker: true });
            await Promise.all([onThread.ready, inWorker.ready]);";
        browser.run(open, Value::Null).await;
        browser
    }
}
