//! `path`: what the server saw of the connection outside the seal, told inside it; and what its client knows of the same.
//! docs/PROTOCOL.md, section 15, has the messages.
//!
//! ```text
//! client                                              server
//!   {"form":"m1-in-request","tls":"1.3",…} ─►         compares, and tells the owner what is new, once a session
//!                                          ◄─ {"host":"…","headers":["via"],…}       the client compares as well
//! ```
//!
//! What a client says here refuses nobody and raises nothing: it may say anything, and so may whoever ends TLS on the way.

use std::fmt;

use duologue_native::path::{Known, compare};

use crate::{
    door::path::{news, seen},
    services::service::{Call, Service, ServiceError},
    watch::events::Kind,
};

/// The longest message of a client, in bytes.
const MESSAGE_LEN_MAX: usize = 2_048;
/// What answers are filled to: on the wire all are alike.
const FILLED: usize = 2_048;

/// What the certificate has in it that was shown to a client who has opened this host and knows that of his own:
/// SHA-256 of its `SubjectPublicKeyInfo`, as base64url, where the server shows one.
type ShownTo = Box<dyn Fn(&str, Option<&str>) -> Option<String> + Send + Sync>;

/// The service.
pub(crate) struct PathReport {
    certificate: ShownTo,
}

impl fmt::Debug for PathReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("PathReport")
    }
}

impl PathReport {
    pub(crate) fn new(certificate: impl Fn(&str, Option<&str>) -> Option<String> + Send + Sync + 'static) -> Self {
        Self { certificate: Box::new(certificate) }
    }
}

impl Service for PathReport {
    async fn serve(&self, call: Call) -> Result<(), ServiceError> {
        while let Some(message) = call.channel.recv().await? {
            if message.len() > MESSAGE_LEN_MAX {
                return Err("what a client knows of its path has 2,048 bytes at most".into());
            }
            let known: Known = serde_json::from_slice(&message)?;
            // Of the connection that carries the session now.
            let transport = call.right.seat.transport();
            let certificate = (self.certificate)(&call.claims.host, known.certificate.as_deref());
            let seen = seen(&transport, &call.claims, certificate.as_deref());
            // Judged in AUTH by the whole of Host and Origin, of which only the beginning is told.
            let found = compare(&call.claims, &known, &seen).and(transport.differs);
            let news = call.right.seat.differs(news(&transport, found));
            if !news.is_empty() {
                call.tell(call.event(Kind::PathRewritten).note(news.to_string()));
            }
            let mut told = serde_json::to_vec(&seen)?;
            told.resize(told.len().max(FILLED), b' ');
            call.channel.send(told).await?;
        }
        Ok(())
    }
}
