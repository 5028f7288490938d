//! How anything is revoked, and how that is answered: a device, an account, a group, a token.

use std::sync::Arc;

use axum::{Extension, http::StatusCode, response::Response};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{
    Answer, By, Failure, Target, blocking, by_whom, json,
    passkeys::{self, PasskeyInfo},
};
use crate::state::{
    store::{Passkey, Revocation},
    whom::Whom,
};
use crate::watch::events::{Event, Kind};

/// How somebody is to be revoked.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Revoke {
    /// With the devices that were let in by those that are out, and those whom these have, and so on.
    #[serde(default)]
    pub with_descendants: bool,
    /// With the passkeys that were registered on those devices, whosever they are.
    #[serde(default)]
    pub with_passkeys: bool,
}

/// Somebody was revoked, and is refused from now on.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Revoked {
    /// Where that is kept.
    pub kept: Kept,
    /// The devices that went with it: of an account or a group those that are bound to it; with descendants, also those that
    /// these had let in, and they in turn.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub with_it: Vec<String>,
    /// Devices that those had let in, and that may connect still.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub left: Vec<String>,
    /// The passkeys that were registered on those devices. They stay their people's: whoever registered one there may have been
    /// somebody else.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub passkeys: Vec<PasskeyOf>,
    /// The same, where they were to go: they are gone.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub passkeys_removed: Vec<PasskeyOf>,
    /// The passkeys were to go, or to be told, and the store could not do it; why.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub passkeys_unknown: Option<String>,
    /// What is not where it should be yet, and why.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub message: Option<String>,
}

/// A passkey, and whose it is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct PasskeyOf {
    /// Whose.
    pub subject: String,
    /// Which.
    #[serde(flatten)]
    pub passkey: PasskeyInfo,
}

impl PasskeyOf {
    fn of(passkey: &Passkey) -> Self {
        Self { subject: passkey.subject.clone(), passkey: passkeys::info(passkey) }
    }
}

/// How far a revocation has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Kept {
    /// In the store.
    Stored,
    /// On disk, in the journal: it outlives the server, and goes into the store by itself.
    Journal,
    /// Nowhere: it was a guest, of whom nothing is kept.
    Nothing,
    /// In the server's memory alone: if it stops before the disk can be written again, who was revoked is back.
    Memory,
}

/// Revokes, and says what became of it. `what` is for people: "the device …".
pub(super) async fn answer_revocation(
    target: Arc<Target>,
    by: Option<Extension<By>>,
    whom: Whom,
    Revoke { with_descendants, with_passkeys }: Revoke,
    what: String,
) -> Answer<Response> {
    let watch = target.watch();
    let whom = if with_descendants { whom.with_descendants() } else { whom };
    let has_server = target.running.is_some();
    let work = move || {
        let store = target.state.store();
        store.is_here()?;
        store.may_refuse(whom)?;
        let (out, revocation) = match &target.running {
            Some(duologue) => duologue.revoke_all(whom),
            None => (store.refuse(whom).unwrap_or_default(), store.revoke(whom)),
        };
        let left = store.left_by(&out);
        // Who was revoked is out by now, whatever the disk does.
        let devices: Vec<_> = out.iter().copied().chain(whom.one_device()).collect();
        let passkeys = match (with_passkeys, &target.running) {
            (false, _) => store.passkeys_on(&devices),
            (true, Some(duologue)) => duologue.remove_passkeys_on(&devices),
            (true, None) => store.remove_passkeys_on(&devices),
        };
        Ok::<_, Failure>((out, left, revocation, passkeys))
    };
    let (mut out, left, revocation, passkeys) = blocking(work).await??;
    let (kept, message) = match revocation {
        Revocation::Unknown => {
            let message = format!("{what} is not enrolled here: `duologue devices list` shows those that are");
            return Err(Failure::new(StatusCode::NOT_FOUND, "unknown-device", &message));
        }
        Revocation::OfGuest => {
            let message = "nobody had let it in: its lines are over, and it may come again as guests may".to_owned();
            (Kept::Nothing, Some(message))
        }
        Revocation::Stored => (Kept::Stored, None),
        Revocation::Journalled(why) => {
            (Kept::Journal, Some(format!("on disk in the journal; the store follows by itself ({why})")))
        }
        // There is no memory that outlives the verb.
        Revocation::NotOnDisk(why) if !has_server => {
            let message = format!("{what} was NOT revoked, nothing could be written: {why}");
            return Err(Failure::new(StatusCode::SERVICE_UNAVAILABLE, "not-on-disk", &message));
        }
        Revocation::NotOnDisk(why) => {
            let message =
                format!("in force until this server stops, NOT on disk: {why}; it is tried again until it is");
            (Kept::Memory, Some(message))
        }
    };
    out.retain(|device| whom.one_device() != Some(*device));
    for device in &out {
        watch.tell(Event::of(Kind::RevokedWith).device(*device).note(&what));
    }
    let by = by_whom(by);
    watch.tell(Event::of(Kind::OwnerRevoked).note(format!("whom={what:?} kept={kept:?} by={by}")));
    let ids = |devices: Vec<duologue::DeviceId>| devices.iter().map(ToString::to_string).collect();
    let (passkeys, passkeys_unknown) = match passkeys {
        Ok(passkeys) => (passkeys.iter().map(PasskeyOf::of).collect(), None),
        Err(error) => (Vec::new(), Some(error.to_string())),
    };
    let (passkeys, passkeys_removed) = if with_passkeys { (Vec::new(), passkeys) } else { (passkeys, Vec::new()) };
    for PasskeyOf { subject, passkey } in &passkeys_removed {
        let note = format!("passkey={:?} by={by}", passkey.id);
        watch.tell(Event::of(Kind::OwnerRemovedPasskey).subject(Some(subject)).note(note));
    }
    let (with_it, left) = (ids(out), ids(left));
    Ok(json(StatusCode::OK, &Revoked { kept, with_it, left, passkeys, passkeys_removed, passkeys_unknown, message }))
}
