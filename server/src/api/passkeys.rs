//! Passkeys of an account: what there is, and how the owner removes one that was lost.

use std::sync::Arc;

use axum::{Extension, Router, extract::State as Extracted, http::StatusCode, response::Response, routing::post};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{Answer, By, Failure, Named, Said, Target, accounts::read_subject, blocking, by_whom, json};
use crate::watch::events::{Event, Kind};
use crate::{
    door::standing::Subject,
    state::store::{Passkey, StoreError},
};

/// A passkey.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct PasskeyInfo {
    /// By which it is removed: 16 hexadecimal digits.
    pub id: String,
    /// What its person calls it.
    pub name: String,
    /// The device on which it was registered.
    pub device: String,
    /// Seconds since 1970.
    pub made_at: u64,
    /// The same; none if it was never used.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub used_at: Option<u64>,
    /// Whether its person has it on other devices too, by whoever makes the authenticator.
    pub backed_up: bool,
}

/// Which passkeys of an account are to go.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct RemovePasskeys {
    /// This one; none: all of them.
    #[serde(default)]
    pub id: Option<String>,
}

/// Which are gone.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct RemovedPasskeys {
    /// The oldest first.
    pub removed: Vec<PasskeyInfo>,
}

pub(super) fn routes() -> Router<Arc<Target>> {
    Router::new().route("/accounts/{subject}/passkeys/remove", post(remove))
}

/// Those of a subject.
pub(super) fn told(target: &Target, subject: &Subject) -> Result<Vec<PasskeyInfo>, StoreError> {
    Ok(target.state.store().passkeys_of(subject.as_str())?.iter().map(info).collect())
}

pub(super) fn info(passkey: &Passkey) -> PasskeyInfo {
    PasskeyInfo {
        id: passkey.short_id(),
        name: passkey.name.clone(),
        device: passkey.device().to_string(),
        made_at: passkey.made_at,
        used_at: passkey.used_at,
        backed_up: passkey.is_backed_up,
    }
}

async fn remove(
    Extracted(target): Extracted<Arc<Target>>,
    by: Option<Extension<By>>,
    Named(name): Named,
    Said(RemovePasskeys { id }): Said<RemovePasskeys>,
) -> Answer<Response> {
    let watch = target.watch();
    let subject = read_subject(&name)?;
    let asked = id.clone();
    let work = move || {
        let is_it = |passkey: &Passkey| asked.as_ref().is_none_or(|id| passkey.short_id() == *id);
        match &target.running {
            Some(duologue) => duologue.remove_passkeys(&subject, is_it),
            None => target.state.store().remove_passkeys(subject.as_str(), is_it),
        }
    };
    let removed: Vec<_> = blocking(work).await??.iter().map(info).collect();
    if removed.is_empty() {
        let message = format!("{name:?} has no such passkey: `duologue accounts passkeys list` shows them");
        return Err(Failure::new(StatusCode::NOT_FOUND, "unknown-passkey", &message));
    }
    let by = by_whom(by);
    for passkey in &removed {
        let note = format!("passkey={:?} by={by}", passkey.id);
        watch.tell(Event::of(Kind::OwnerRemovedPasskey).subject(Some(&name)).note(note));
    }
    Ok(json(StatusCode::OK, &RemovedPasskeys { removed }))
}
