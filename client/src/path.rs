//! The path report of a line: what this client knows of the connection outside the seal, beside what the server saw of it.
//!
//! ```text
//! Dialler: a socket is open ─► Noted (address, TLS, certificate, form) ─► Client::path ─► {known} ─► the service `path`
//!                                                                                    ◄─ {seen} ─► compare
//! ```

use std::sync::{Arc, Mutex, PoisonError};

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use duologue::{Claims, ConnectionNo};
use duologue_native::{
    Line, LineError,
    path::{Differences, Known, PATH_LABEL, Seen, Tls, compare},
};
use rustls::{CommonState, ProtocolVersion, server::ParsedCertificate};
use thiserror::Error;

/// Connections of a line that are remembered: one carries it, one may be on its way.
const CONNECTIONS_MAX: usize = 4;

/// What both ends know of the connection that carries a line, and in what they differ.
#[derive(Clone, Debug)]
pub struct Path {
    /// What this client knows.
    pub known: Known,
    /// What the server saw.
    pub seen: Seen,
    /// What somebody between them has rewritten. Nothing of it was read: the line is sealed within.
    pub differs: Differences,
}

/// Why there is no report.
#[derive(Debug, Error)]
pub enum PathError {
    /// The line was opened by another client, or has ended.
    #[error("this client has opened no such line, or it has ended: ask the client that opened it, while it is open")]
    NotOurs,
    /// The server tells nothing of it.
    #[error("the server tells nothing of the path: {0}")]
    Line(#[from] LineError),
    /// What it tells cannot be read.
    #[error("what the server tells of the path cannot be read: {0}")]
    Unreadable(#[from] serde_json::Error),
}

/// The connections of a client's lines.
#[derive(Debug, Default)]
pub(crate) struct Paths(Mutex<Vec<Way>>);

#[derive(Debug)]
struct Way {
    line: Line,
    claims: Claims,
    known: Vec<(ConnectionNo, Known)>,
}

/// One line's place among them, until that has ended.
#[derive(Debug)]
pub(crate) struct Noted {
    paths: Arc<Paths>,
    line: Line,
}

impl Paths {
    /// A line begins.
    pub(crate) fn begin(self: &Arc<Self>, line: &Line, claims: Claims) -> Noted {
        // One that does not keep the line open.
        let line = line.unguarded();
        self.with(|ways| ways.push(Way { line: line.clone(), claims, known: Vec::new() }));
        Noted { paths: Arc::clone(self), line }
    }

    /// A connection of it is open.
    pub(crate) fn opened(&self, line: &Line, no: ConnectionNo, known: Known) {
        self.with(|ways| {
            let Some(way) = ways.iter_mut().find(|way| way.line.is(line)) else { return };
            if way.known.len() >= CONNECTIONS_MAX {
                way.known.remove(0);
            }
            way.known.push((no, known));
        });
    }

    /// It has come to nothing: the one before may still carry the line.
    pub(crate) fn failed(&self, line: &Line, no: ConnectionNo) {
        self.with(|ways| {
            if let Some(way) = ways.iter_mut().find(|way| way.line.is(line)) {
                way.known.retain(|(other, _)| *other != no);
            }
        });
    }

    /// Asks the server, and compares.
    pub(crate) async fn ask(&self, line: &Line) -> Result<Path, PathError> {
        let found = self.with(|ways| {
            let way = ways.iter().find(|way| way.line.is(line))?;
            Some((way.claims.clone(), way.known.last().map(|(_, known)| known.clone()).unwrap_or_default()))
        });
        let (claims, known) = found.ok_or(PathError::NotOurs)?;
        let told = line.request(PATH_LABEL, serde_json::to_vec(&known)?).await?;
        let seen: Seen = serde_json::from_slice(&told)?;
        let differs = compare(&claims, &known, &seen);
        Ok(Path { known, seen, differs })
    }

    fn with<T>(&self, work: impl FnOnce(&mut Vec<Way>) -> T) -> T {
        work(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl Drop for Noted {
    fn drop(&mut self) {
        self.paths.with(|ways| ways.retain(|way| !way.line.is(&self.line)));
    }
}

/// What TLS tells of itself.
pub(crate) fn of_tls(tls: &CommonState) -> (Option<Tls>, Option<String>) {
    let version = match tls.protocol_version() {
        Some(ProtocolVersion::TLSv1_3) => Tls::V13,
        Some(ProtocolVersion::TLSv1_2) => Tls::V12,
        _ => Tls::Some,
    };
    let first = tls.peer_certificates().and_then(<[_]>::first);
    let parsed = first.and_then(|first| ParsedCertificate::try_from(first).ok());
    let hash = parsed.map(|parsed| {
        let spki = parsed.subject_public_key_info();
        URL_SAFE_NO_PAD.encode(ring::digest::digest(&ring::digest::SHA256, spki.as_ref()))
    });
    (Some(version), hash)
}
