//! Invites: made, listed, withdrawn.

use std::{sync::Arc, time::Duration};

use axum::{
    Extension, Router,
    extract::State as Extracted,
    http::StatusCode,
    response::Response,
    routing::{get, post},
};
use duologue::{InviteId, limits::LABEL_LEN_MAX};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{Answer, By, Failure, Named, Said, Target, blocking, by_whom, json};
use crate::watch::events::{Event, Kind};
use crate::{
    door::standing::{Group, Subject},
    state::store::{AccountError, GROUPS_MAX, InviteRecord, Terms, Withdrawal},
    watch::text,
};

/// Labels that an invite may be for.
const OPENS_MAX: usize = 32;

/// What is asked for with an invite.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct NewInvite {
    /// For how long it is good.
    pub expires_secs: u64,
    /// Under which address; none for the server's own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub url: Option<String>,
    /// Whose the device is to be.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub subject: Option<Subject>,
    /// Groups that this subject is put into when the invite is used.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub groups: Vec<Group>,
    /// The labels that the device may open; any, if none are told.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub opens: Option<Vec<String>>,
    /// A name for the device.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
}

/// An invite.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Invited {
    /// The link, which lets one device in: a secret.
    pub link: String,
    /// Its id, which is none.
    pub id: String,
}

/// All invites that are kept: a month beyond their end.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct InviteList {
    /// The oldest first.
    pub invites: Vec<InviteInfo>,
}

/// An invite, without its secret; times in seconds since 1970.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct InviteInfo {
    /// Its id, 32 hexadecimal digits.
    pub id: String,
    /// What became of it.
    pub status: InviteStatus,
    /// When it was made; none for one of before that was kept.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub made_at: Option<u64>,
    /// The device that asked for it; none if that was the owner.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub made_by: Option<String>,
    /// When it ends.
    pub expires_at: u64,
    /// The device that came in by it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub used_by: Option<String>,
    /// When.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub used_at: Option<u64>,
    /// Whose the device is to be.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub subject: Option<String>,
    /// Groups that this subject is put into.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub groups: Vec<String>,
    /// The labels that the device may open.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub opens: Option<Vec<String>>,
    /// The device's name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
}

/// What became of an invite.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum InviteStatus {
    /// A device may come in by it.
    Open,
    /// One has.
    Used,
    /// Too late.
    Expired,
    /// Its owner has withdrawn it.
    Withdrawn,
    /// Who made it, or for whom it was made, is revoked.
    Revoked,
}

/// An invite lets nobody in any more.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Withdrawn {
    /// True.
    pub withdrawn: bool,
}

pub(super) fn routes() -> Router<Arc<Target>> {
    Router::new().route("/invites", get(list).post(new)).route("/invites/{id}/withdraw", post(withdraw))
}

/// The terms of an invite, as far as they can be told without the store.
fn read_terms(asked: &NewInvite) -> Answer<Terms> {
    let bad = |message: &str| Failure::new(StatusCode::BAD_REQUEST, "bad-terms", message);
    if asked.subject.is_none() && !asked.groups.is_empty() {
        return Err(bad("a group is of a subject: say for whom the invite is (--for)"));
    }
    if asked.groups.len() > GROUPS_MAX {
        return Err(AccountError::TooManyGroups.into());
    }
    if let Some(opens) = &asked.opens {
        if opens.is_empty() || opens.len() > OPENS_MAX {
            return Err(bad(&format!("an invite is for 1 to {OPENS_MAX} labels: leave them out if it is for all")));
        }
        for label in opens {
            if label.is_empty() || label.len() > LABEL_LEN_MAX || text::shown(label) != *label {
                let label = text::shown(label);
                let message = format!("{label:?} is no label: that is 1 to {LABEL_LEN_MAX} bytes of printable text");
                return Err(bad(&message));
            }
        }
    }
    if let Some(name) = &asked.name
        && (name.is_empty() || text::name(name) != *name)
    {
        return Err(bad("a device's name is printable text of 64 characters at most, which no option looks like"));
    }
    Ok(Terms {
        subject: asked.subject.as_ref().map(ToString::to_string),
        groups: asked.groups.iter().map(ToString::to_string).collect(),
        opens: asked.opens.clone(),
        name: asked.name.clone(),
    })
}

async fn new(
    Extracted(target): Extracted<Arc<Target>>,
    by: Option<Extension<By>>,
    Said(asked): Said<NewInvite>,
) -> Answer<Response> {
    let watch = target.watch();
    let terms = read_terms(&asked)?;
    let NewInvite { expires_secs, url, subject, .. } = asked;
    let work = move || {
        let store = target.state.store();
        let address = match url {
            Some(url) => url,
            None => store.address()?.ok_or_else(|| {
                let message = "this server was never started, so that its address is not known: add --url";
                Failure::new(StatusCode::CONFLICT, "no-address", message)
            })?,
        };
        if let Some(subject) = &terms.subject {
            store.may_enter(subject, &terms.groups)?;
        }
        let invite = target.state.new_invite_for(&terms, Duration::from_secs(expires_secs))?;
        Ok::<_, Failure>(Invited { link: invite.to_link(&address), id: written(invite.id()) })
    };
    let invited = blocking(work).await??;
    let subject = subject.map(|subject| subject.to_string());
    let note = format!("id={:?} expires_secs={expires_secs} by={}", invited.id, by_whom(by));
    watch.tell(Event::of(Kind::InviteMade).subject(subject).note(note));
    Ok(json(StatusCode::CREATED, &invited))
}

async fn list(Extracted(target): Extracted<Arc<Target>>) -> Answer<Response> {
    let invites = blocking(move || target.state.store().invites()).await??;
    Ok(json(StatusCode::OK, &InviteList { invites: invites.into_iter().map(told).collect() }))
}

fn told(invite: InviteRecord) -> InviteInfo {
    let status = match &invite {
        InviteRecord { used_by: Some(_), .. } => InviteStatus::Used,
        InviteRecord { withdrawn_at: Some(_), .. } => InviteStatus::Withdrawn,
        InviteRecord { is_good: true, .. } => InviteStatus::Open,
        InviteRecord { has_ended: true, .. } => InviteStatus::Expired,
        InviteRecord { .. } => InviteStatus::Revoked,
    };
    let Terms { subject, groups, opens, name } = invite.terms;
    InviteInfo {
        id: written(invite.id),
        status,
        made_at: invite.made_at,
        made_by: invite.made_by.map(|device| device.to_string()),
        expires_at: invite.expires_at,
        used_by: invite.used_by.map(|device| device.to_string()),
        used_at: invite.used_at,
        subject,
        groups,
        opens,
        name,
    }
}

async fn withdraw(
    Extracted(target): Extracted<Arc<Target>>,
    by: Option<Extension<By>>,
    Named(id): Named,
) -> Answer<Response> {
    let watch = target.watch();
    let invite = read_id(&id).ok_or_else(|| {
        let message = format!("{id:?} is no invite's id: `duologue invite list` shows them");
        Failure::new(StatusCode::BAD_REQUEST, "no-invite-id", &message)
    })?;
    match blocking(move || target.state.store().withdraw_invite(invite)).await?? {
        Withdrawal::Done => {}
        Withdrawal::Unknown => {
            let message = format!("no invite {id} is known here: `duologue invite list` shows them");
            return Err(Failure::new(StatusCode::NOT_FOUND, "unknown-invite", &message));
        }
        Withdrawal::UsedBy(device) => {
            let message = format!("a device has come in by it: `duologue devices revoke {device}` removes that");
            return Err(Failure::new(StatusCode::CONFLICT, "invite-used", &message));
        }
    }
    watch.tell(Event::of(Kind::InviteWithdrawn).note(format!("id={id:?} by={}", by_whom(by))));
    Ok(json(StatusCode::OK, &Withdrawn { withdrawn: true }))
}

fn written(id: InviteId) -> String {
    id.0.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn read_id(text: &str) -> Option<InviteId> {
    let digits = text.len() == 32 && text.bytes().all(|byte| byte.is_ascii_hexdigit());
    let number = u128::from_str_radix(text, 16).ok().filter(|_| digits)?;
    Some(InviteId(number.to_be_bytes()))
}
