//! The server's keys: what its owner does with them. The owner's private key never comes here, only what it has signed.

use std::{path::Path, sync::Arc};

use axum::{Extension, Router, extract::State as Extracted, http::StatusCode, response::Response, routing::post};
use base64::{Engine, prelude::BASE64_URL_SAFE_NO_PAD};
use duologue::{KeyStatement, OwnerKey, ServerKey};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{Answer, By, Failure, Said, Target, blocking, by_whom, json};
use crate::{
    state::{
        StateError,
        keys::{KeySet, Keys, KeysError},
        keys_at_rest,
        records::now,
    },
    watch::events::{Event, Kind},
};

/// What is known of a server's keys.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct KeysInfo {
    /// The one that links name: the next one, if there is one.
    pub key: String,
    /// Its short form, to be compared.
    pub fingerprint: String,
    /// Its number; none without an owner's key.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub number: Option<u32>,
    /// The owner's public key, if there is one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub owner: Option<String>,
    /// The one before it, while both are good.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub older: Option<String>,
    /// When that ends by itself, in seconds since 1970.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub retire_at: Option<u64>,
    /// Those that there were.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub past: Vec<String>,
}

/// Of a key that its owner has signed: the owner's key, number, key and signature.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct SignedKey {
    /// The owner's public key.
    pub owner: String,
    /// Which of the server's keys.
    pub number: u32,
    /// That key.
    pub key: String,
    /// The owner's, 64 bytes as base64url.
    pub signature: String,
    /// When the one before it ends by itself; none: when its owner says so.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub retire_after_secs: Option<u64>,
}

/// The next key, before it is signed.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
pub struct NextKey {
    /// Which of the server's keys.
    pub number: u32,
    /// That key.
    pub key: String,
}

impl From<&KeySet> for KeysInfo {
    fn from(set: &KeySet) -> Self {
        let newest = set.newest().public();
        let older = set.next.as_ref().map(|_| set.identity.public().to_string());
        let signed = set.newest_signed();
        Self {
            key: newest.to_string(),
            fingerprint: newest.fingerprint(),
            number: signed.map(|signed| signed.number),
            owner: signed.map(|signed| signed.owner.to_string()),
            older,
            retire_at: set.next_signed.as_ref().and_then(|(_, retire_at)| *retire_at),
            past: set.past.iter().map(ToString::to_string).collect(),
        }
    }
}

impl SignedKey {
    fn statement(&self) -> Result<KeyStatement, Failure> {
        let parsed = || -> Option<KeyStatement> {
            let (owner, key): (OwnerKey, ServerKey) = (self.owner.parse().ok()?, self.key.parse().ok()?);
            let signature = BASE64_URL_SAFE_NO_PAD.decode(&self.signature).ok()?.try_into().ok()?;
            Some(KeyStatement { owner, number: self.number, key, signature })
        };
        parsed().ok_or_else(|| {
            let message = "that is no signed key: each is base64url";
            Failure::new(StatusCode::BAD_REQUEST, "bad-key", message)
        })
    }
}

impl From<KeysError> for Failure {
    fn from(error: KeysError) -> Self {
        let (status, word) = match &error {
            KeysError::HasOwner => (StatusCode::CONFLICT, "has-owner"),
            KeysError::NoOwner => (StatusCode::CONFLICT, "no-owner"),
            KeysError::NotSigned(_) => (StatusCode::BAD_REQUEST, "not-signed"),
            KeysError::AnotherKey => (StatusCode::CONFLICT, "another-key"),
            KeysError::UnderWay(_) => (StatusCode::CONFLICT, "under-way"),
            KeysError::NoNext => (StatusCode::CONFLICT, "no-next"),
            KeysError::HandedOver => (StatusCode::SERVICE_UNAVAILABLE, "handed-over"),
            KeysError::State(_) => (StatusCode::SERVICE_UNAVAILABLE, "state"),
        };
        Self::new(status, word, &error.to_string())
    }
}

pub(super) fn routes() -> Router<Arc<Target>> {
    Router::new()
        .route("/keys/init", post(init))
        .route("/keys/prepare", post(prepare))
        .route("/keys/rotate", post(rotate))
        .route("/keys/retire", post(retire))
}

async fn changed(
    target: &Target,
    what: &str,
    by: Option<Extension<By>>,
    change: impl FnOnce(&Keys) -> Result<Arc<KeySet>, KeysError> + Send + 'static,
) -> Answer<Response> {
    let keys = Arc::clone(target.state.keys());
    let set = blocking(move || change(&keys)).await??;
    let key = set.newest().public();
    target.watch().tell(Event::of(Kind::KeysChanged).note(format!("what={what} key={key} by=\"{}\"", by_whom(by))));
    Ok(json(StatusCode::OK, &KeysInfo::from(&*set)))
}

async fn init(
    Extracted(target): Extracted<Arc<Target>>,
    by: Option<Extension<By>>,
    Said(signed): Said<SignedKey>,
) -> Answer<Response> {
    let statement = signed.statement()?;
    changed(&target, "init", by, move |keys| keys.begin(statement)).await
}

async fn prepare(Extracted(target): Extracted<Arc<Target>>) -> Answer<Response> {
    let keys = Arc::clone(target.state.keys());
    let (number, key) = blocking(move || keys.prepare()).await??;
    Ok(json(StatusCode::OK, &NextKey { number, key: key.to_string() }))
}

async fn rotate(
    Extracted(target): Extracted<Arc<Target>>,
    by: Option<Extension<By>>,
    Said(signed): Said<SignedKey>,
) -> Answer<Response> {
    let statement = signed.statement()?;
    let retire_at = signed.retire_after_secs.map(|secs| now().saturating_add(secs));
    changed(&target, "rotate", by, move |keys| keys.rotate(statement, retire_at)).await
}

async fn retire(Extracted(target): Extracted<Arc<Target>>, by: Option<Extension<By>>) -> Answer<Response> {
    changed(&target, "retire", by, Keys::retire).await
}

/// The keys of a state directory, whether its server runs or not.
///
/// # Errors
/// If there are none, or they cannot be read.
pub fn server_keys(directory: impl AsRef<Path>) -> Result<KeysInfo, StateError> {
    Ok(KeysInfo::from(&*keys_at_rest(directory.as_ref())?.now()))
}
