//! What an issuer looks for to see whose a name is: over TLS (tls-alpn-01, RFC 8737) at the server's own port, or over HTTP in clear
//! (http-01, RFC 8555), where everybody else is sent on to https.

use std::{
    collections::HashMap,
    sync::{Arc, PoisonError, RwLock},
};

use axum::{
    Router,
    extract::{Path, Request},
    http::{StatusCode, header},
    response::{IntoResponse, Response},
    routing::get,
};
use duologue_client::tls_provider;
use rcgen::{CertificateParams, CustomExtension, KeyPair};
use rustls::{
    pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer},
    sign::CertifiedKey,
};

/// What such a connection speaks, and nothing else.
pub(crate) const ACME_TLS: &[u8] = b"acme-tls/1";

/// What is looked for now. Clones are the same.
#[derive(Clone, Debug, Default)]
pub struct Challenges(Arc<RwLock<Inner>>);

#[derive(Debug, Default)]
struct Inner {
    certificates: HashMap<String, Arc<CertifiedKey>>,
    tokens: HashMap<String, String>,
}

impl Challenges {
    /// A certificate that says so for a name.
    pub(super) fn show(&self, name: &str, digest: &[u8]) -> Result<(), String> {
        let made = certificate(name, digest)?;
        self.write().certificates.insert(name.to_ascii_lowercase(), made);
        Ok(())
    }

    /// A text that says so behind a token.
    pub(super) fn tell(&self, token: &str, text: &str) {
        self.write().tokens.insert(token.to_owned(), text.to_owned());
    }

    pub(super) fn clear(&self) {
        *self.write() = Inner::default();
    }

    pub(crate) fn certificate(&self, name: &str) -> Option<Arc<CertifiedKey>> {
        self.0.read().unwrap_or_else(PoisonError::into_inner).certificates.get(&name.to_ascii_lowercase()).cloned()
    }

    fn token(&self, token: &str) -> Option<String> {
        self.0.read().unwrap_or_else(PoisonError::into_inner).tokens.get(token).cloned()
    }

    fn write(&self) -> std::sync::RwLockWriteGuard<'_, Inner> {
        self.0.write().unwrap_or_else(PoisonError::into_inner)
    }

    /// What port 80 answers: issuers, and with a redirect to this origin everybody else.
    pub fn router(&self, origin: &str) -> Router {
        let (own, origin) = (self.clone(), origin.trim_end_matches('/').to_owned());
        let answer = async move |Path(token): Path<String>| match own.token(&token) {
            Some(text) => ([(header::CONTENT_TYPE, "application/octet-stream")], text).into_response(),
            None => StatusCode::NOT_FOUND.into_response(),
        };
        let redirect = async move |request: Request| redirected(&origin, &request);
        Router::new().route("/.well-known/acme-challenge/{token}", get(answer)).fallback(redirect)
    }
}

/// Always to the server's own address, whatever host was asked for.
fn redirected(origin: &str, request: &Request) -> Response {
    let target = request.uri().path_and_query().map_or("/", |target| target.as_str());
    // Whatever begins otherwise would be part of the host.
    let target = if target.starts_with('/') { target } else { "/" };
    (StatusCode::PERMANENT_REDIRECT, [(header::LOCATION, format!("{origin}{target}"))]).into_response()
}

fn certificate(name: &str, digest: &[u8]) -> Result<Arc<CertifiedKey>, String> {
    let said = |error: rcgen::Error| error.to_string();
    let mut parameters = CertificateParams::new(vec![name.to_owned()]).map_err(said)?;
    parameters.custom_extensions = vec![CustomExtension::new_acme_identifier(digest)];
    let key = KeyPair::generate().map_err(said)?;
    let made = parameters.self_signed(&key).map_err(said)?;
    let chain = vec![CertificateDer::from(made.der().to_vec())];
    let private = PrivateKeyDer::from(PrivatePkcs8KeyDer::from(key.serialize_der()));
    // Not looked at by webpki, which knows nothing of the extension, and it is a critical one.
    let key = tls_provider().key_provider.load_private_key(private).map_err(|error| error.to_string())?;
    Ok(Arc::new(CertifiedKey::new(chain, key)))
}

#[cfg(test)]
mod tests {
    use axum::body::Body;

    use super::*;

    #[test]
    fn an_issuer_is_shown_what_it_looks_for_and_only_while_it_does() {
        let challenges = Challenges::default();
        challenges.show("line.example", &[7; 32]).expect("it is made");
        let shown = challenges.certificate("LINE.example").expect("it is there");
        assert!(shown.cert[0].windows(34).any(|part| part[..2] == [0x04, 0x20] && part[2..] == [7; 32]), "RFC 8737, 3");
        assert!(challenges.certificate("two.example").is_none());
        challenges.clear();
        assert!(challenges.certificate("line.example").is_none());
    }

    #[test]
    fn whoever_asks_in_clear_is_sent_to_the_servers_own_address_and_nowhere_else() {
        for (asked, location) in [
            ("/", "https://line.example/"),
            ("/a?b=c", "https://line.example/a?b=c"),
            ("//evil.example/", "https://line.example//evil.example/"),
            ("http://evil.example/a", "https://line.example/a"),
        ] {
            let request =
                Request::builder().uri(asked).header("host", "evil.example").body(Body::empty()).expect("one");
            let response = redirected("https://line.example", &request);
            assert_eq!(response.status(), 308);
            assert_eq!(response.headers()["location"], location, "{asked}");
        }
    }
}
