//! Accounts and groups: whose devices there are, who is in which group, and whose names are refused.

use std::sync::Arc;

use axum::{
    Extension, Router,
    extract::State as Extracted,
    http::StatusCode,
    response::Response,
    routing::{get, post},
};
use duologue::DeviceId;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{
    Answer, By, DeviceInfo, Failure, Named, PasskeyInfo, Said, Target, blocking, by_whom, devices, json, passkeys,
    revocations::{Revoke, answer_revocation},
};
use crate::watch::events::{Event, Kind};
use crate::{
    door::standing::{Group, InvalidName, Subject},
    state::{
        store::{Account, AccountError, Names},
        whom::Whom,
    },
};

/// All accounts.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct AccountList {
    /// By name.
    pub accounts: Vec<AccountInfo>,
}

/// An account.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct AccountInfo {
    /// The owner's name for a person.
    pub subject: Subject,
    /// The groups that it is in.
    pub groups: Vec<Group>,
    /// Seconds since 1970.
    pub since: u64,
    /// The same; none while it is in force.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub revoked_at: Option<u64>,
    /// Its devices that may connect.
    pub devices: usize,
    /// Their lines that are open now.
    pub lines: usize,
}

/// An account, with its devices.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct AccountShown {
    /// The account.
    pub account: AccountInfo,
    /// Its devices, revoked ones among them, the oldest first.
    pub devices: Vec<DeviceInfo>,
    /// Its passkeys, the oldest first.
    #[serde(default)]
    pub passkeys: Vec<PasskeyInfo>,
}

/// Which groups a subject is to be put into, and taken out of.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ChangeGroups {
    /// These.
    #[serde(default)]
    pub add: Vec<Group>,
    /// These not any more.
    #[serde(default)]
    pub remove: Vec<Group>,
}

/// The groups that a subject is in.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct InGroups {
    /// By name.
    pub groups: Vec<Group>,
}

/// A name lets its people in again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Restored {
    /// True.
    pub restored: bool,
}

pub(super) fn routes() -> Router<Arc<Target>> {
    Router::new()
        .route("/accounts", get(list))
        .route("/accounts/{subject}", get(show))
        .route("/accounts/{subject}/groups", post(change_groups))
        .route("/accounts/{subject}/revoke", post(revoke_subject))
        .route("/accounts/{subject}/restore", post(restore_subject))
        .route("/groups/{group}/revoke", post(revoke_group))
        .route("/groups/{group}/restore", post(restore_group))
        .route("/tokens/{id}/revoke", post(revoke_token))
        .route("/tokens/{id}/restore", post(restore_token))
}

fn groups_of(names: &Names) -> Vec<Group> {
    // They were read when they were stored.
    names.iter().filter_map(|name| Group::new(name).ok()).collect()
}

fn told(target: &Target, account: &Account) -> Option<AccountInfo> {
    let store = target.state.store();
    let is_in = |device: &&DeviceId| store.status(**device) == Some(crate::state::store::DeviceStatus::Enrolled);
    let lines = target.running.as_ref().map(|duologue| duologue.directory().counts()).unwrap_or_default();
    Some(AccountInfo {
        subject: Subject::new(&account.subject).ok()?,
        groups: groups_of(&account.groups),
        since: account.since,
        revoked_at: account.revoked_at,
        devices: account.devices.iter().filter(is_in).count(),
        lines: account.devices.iter().filter_map(|device| lines.get(device)).sum(),
    })
}

async fn list(Extracted(target): Extracted<Arc<Target>>) -> Answer<Response> {
    let work = move || target.state.store().accounts().iter().filter_map(|account| told(&target, account)).collect();
    Ok(json(StatusCode::OK, &AccountList { accounts: blocking(work).await? }))
}

async fn show(Extracted(target): Extracted<Arc<Target>>, Named(name): Named) -> Answer<Response> {
    let subject = read_subject(&name)?;
    let work = move || {
        let accounts = target.state.store().accounts();
        let unknown = || AccountError::UnknownSubject(name.clone());
        let account = accounts.iter().find(|account| *account.subject == *subject.as_str()).ok_or_else(unknown)?;
        let its = |device: &crate::state::store::Device| account.devices.contains(&DeviceId(device.id));
        let devices = devices::told(&target, its)?;
        let passkeys = passkeys::told(&target, &subject)?;
        Ok::<_, Failure>(AccountShown { account: told(&target, account).ok_or_else(unknown)?, devices, passkeys })
    };
    Ok(json(StatusCode::OK, &blocking(work).await??))
}

async fn change_groups(
    Extracted(target): Extracted<Arc<Target>>,
    by: Option<Extension<By>>,
    Named(name): Named,
    Said(ChangeGroups { add, remove }): Said<ChangeGroups>,
) -> Answer<Response> {
    let watch = target.watch();
    let subject = read_subject(&name)?;
    let texts = |groups: Vec<Group>| groups.iter().map(ToString::to_string).collect::<Vec<_>>();
    let (add, remove) = (texts(add), texts(remove));
    let log = format!("+{add:?} -{remove:?}");
    let work = move || match &target.running {
        Some(duologue) => duologue.change_groups(&subject, &add, &remove),
        None => target.state.store().change_groups(subject.as_str(), &add, &remove),
    };
    let groups = groups_of(&blocking(work).await???);
    let note = format!("groups={log:?} by={}", by_whom(by));
    watch.tell(Event::of(Kind::GroupsChanged).subject(Some(&name)).note(note));
    Ok(json(StatusCode::OK, &InGroups { groups }))
}

pub(super) fn read_subject(name: &str) -> Answer<Subject> {
    Subject::new(name).map_err(bad_name)
}

fn read_group(name: &str) -> Answer<Group> {
    Group::new(name).map_err(bad_name)
}

/// The id of a token is its issuer's text, of bounded length.
fn read_token(id: &str) -> Answer<Whom> {
    const TOKEN_ID_LEN_MAX: usize = 256;
    if id.len() > TOKEN_ID_LEN_MAX {
        let message = format!("a token's id (jti) has {TOKEN_ID_LEN_MAX} bytes at most");
        return Err(Failure::new(StatusCode::BAD_REQUEST, "no-token-id", &message));
    }
    Ok(Whom::token(id))
}

fn bad_name(error: InvalidName) -> Failure {
    Failure::new(StatusCode::BAD_REQUEST, "bad-name", &error.to_string())
}

async fn revoke_subject(
    Extracted(target): Extracted<Arc<Target>>,
    by: Option<Extension<By>>,
    Named(name): Named,
    Said(said): Said<Revoke>,
) -> Answer<Response> {
    let subject = read_subject(&name)?;
    answer_revocation(target, by, Whom::subject(subject.as_str()), said, format!("the account {name:?}")).await
}

async fn revoke_group(
    Extracted(target): Extracted<Arc<Target>>,
    by: Option<Extension<By>>,
    Named(name): Named,
    Said(said): Said<Revoke>,
) -> Answer<Response> {
    let group = read_group(&name)?;
    answer_revocation(target, by, Whom::group(group.as_str()), said, format!("the group {name:?}")).await
}

async fn revoke_token(
    Extracted(target): Extracted<Arc<Target>>,
    by: Option<Extension<By>>,
    Named(id): Named,
) -> Answer<Response> {
    answer_revocation(target, by, read_token(&id)?, Revoke::default(), format!("the token {id:?}")).await
}

async fn restore(target: Arc<Target>, by: Option<Extension<By>>, whom: Whom, what: String) -> Answer<Response> {
    let watch = target.watch();
    blocking(move || target.state.store().restore(whom)).await???;
    watch.tell(Event::of(Kind::OwnerRestored).note(format!("whom={what:?} by={}", by_whom(by))));
    Ok(json(StatusCode::OK, &Restored { restored: true }))
}

async fn restore_subject(
    Extracted(target): Extracted<Arc<Target>>,
    by: Option<Extension<By>>,
    Named(name): Named,
) -> Answer<Response> {
    let whom = Whom::subject(read_subject(&name)?.as_str());
    restore(target, by, whom, format!("the account {name:?}")).await
}

async fn restore_group(
    Extracted(target): Extracted<Arc<Target>>,
    by: Option<Extension<By>>,
    Named(name): Named,
) -> Answer<Response> {
    let whom = Whom::group(read_group(&name)?.as_str());
    restore(target, by, whom, format!("the group {name:?}")).await
}

async fn restore_token(
    Extracted(target): Extracted<Arc<Target>>,
    by: Option<Extension<By>>,
    Named(id): Named,
) -> Answer<Response> {
    restore(target, by, read_token(&id)?, format!("the token {id:?}")).await
}
