//! Brings lines of the audit log to an address of the owner's, by POST: as `fetch` asks, with its bounds and nothing followed.
//!
//! The body is `{"lines":[…]}`, each line as it stands in the log. Any 200 or 204 means that they have all arrived; anything else, that
//! they are sent again.

use std::{io, sync::Arc, time::Duration};

use rustls::RootCertStore;
use tokio::runtime::Runtime;
use url::Url;

use super::fetch::{self, Bounds, Whom};
use crate::watch::audit::outbox::Courier;

/// What an answer may cost; nobody reads it.
const BOUNDS: Bounds = Bounds { len_max: 64 * 1_024, time: Duration::from_secs(10) };

/// Posts lines to one address.
pub(crate) struct Poster {
    host: String,
    whom: Whom,
    roots: Arc<RootCertStore>,
    /// Of the thread that posts.
    runtime: Runtime,
}

impl Poster {
    pub(crate) fn new(url: Url, roots: Arc<RootCertStore>) -> io::Result<Self> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        // Its path may be what keeps others out.
        let host = url.host_str().unwrap_or_default().to_owned();
        Ok(Self { host, whom: Whom::Url(url), roots, runtime })
    }
}

impl Courier for Poster {
    fn name(&self) -> String {
        format!("the webhook at {}", self.host)
    }

    fn deliver(&mut self, lines: &[Arc<str>]) -> Result<(), String> {
        let body = format!("{{\"lines\":[{}]}}", lines.join(","));
        let posted = fetch::post(&self.whom, &self.roots, body.into_bytes(), BOUNDS);
        self.runtime.block_on(posted).map(drop).map_err(|error| error.to_string())
    }
}
