//! Copies: a state directory in one file, made while its server runs, and a state directory made of one.

use std::{io::BufRead, path::Path, sync::Arc};

use axum::{
    Extension, Router,
    body::Body,
    extract::State as Extracted,
    http::{StatusCode, header},
    response::{IntoResponse, Response},
    routing::get,
};

use super::{Answer, By, Failure, Target, audit::head, blocking, by_whom};
use crate::{
    door::{
        policy::patterns::LabelPattern,
        standing::{Group, Subject},
    },
    state::{
        State,
        backup::{self, BackupError, BackupInfo},
        store::Name,
    },
    watch::{
        bans::Banned,
        events::{Event, Kind},
    },
};

pub(super) fn routes() -> Router<Arc<Target>> {
    Router::new().route("/backup", get(backup)).route("/export", get(export))
}

async fn backup(Extracted(target): Extracted<Arc<Target>>, by: Option<Extension<By>>) -> Answer<Response> {
    // A server without an audit log has no head.
    let head = head(&target).await.ok().map(|state| state.head);
    copied(&target, "backup", by, move |state| state.backup(head)).await
}

async fn export(Extracted(target): Extracted<Arc<Target>>, by: Option<Extension<By>>) -> Answer<Response> {
    copied(&target, "export", by, State::export).await
}

async fn copied(
    target: &Target,
    what: &str,
    by: Option<Extension<By>>,
    copy: impl FnOnce(&State) -> Result<Vec<u8>, BackupError> + Send + 'static,
) -> Answer<Response> {
    let state = target.state.clone();
    let copy = blocking(move || copy(&state)).await?.map_err(|error| match error {
        BackupError::Store(error) => error.into(),
        error => Failure::new(StatusCode::SERVICE_UNAVAILABLE, "no-copy", &error.to_string()),
    })?;
    // Whoever has it can pose as this server, or come in by what it has.
    target.watch().tell(Event::of(Kind::BackupMade).note(format!("what={what} by=\"{}\"", by_whom(by))));
    let head = [(header::CONTENT_TYPE, "application/jsonl"), (header::CACHE_CONTROL, "no-store")];
    Ok((StatusCode::OK, head, Body::from(copy)).into_response())
}

/// What a text in a copy may be: as where it is said first.
fn judge(what: Name, text: &str) -> Result<(), String> {
    match what {
        Name::Subject => Subject::new(text).map(drop).map_err(|error| error.to_string()),
        Name::Group => Group::new(text).map(drop).map_err(|error| error.to_string()),
        Name::Label => LabelPattern::new(text).map(drop).map_err(|error| error.to_string()),
        Name::Banned => text.parse::<Banned>().map(drop).map_err(|error| error.to_string()),
    }
}

/// Judges a backup, and writes nothing.
///
/// # Errors
/// What is wrong with it.
pub fn check_backup(from: impl BufRead) -> Result<BackupInfo, BackupError> {
    backup::check(from, judge)
}

/// Makes a state directory of a backup, in an empty directory, or one that is missing. With `old`, the directory that it takes the
/// place of, what that one's journal knows as revoked is revoked again.
///
/// # Errors
/// What is wrong with the backup or the directory; then nothing is made.
pub fn restore_backup(from: impl BufRead, directory: &Path, old: Option<&Path>) -> Result<BackupInfo, BackupError> {
    backup::restore(from, directory, old, judge)
}

/// Makes a state directory of an export. A server's key that lies there stays, else one is made.
///
/// # Errors
/// What is wrong with the export or the directory; then nothing is made.
pub fn import_export(from: impl BufRead, directory: &Path) -> Result<BackupInfo, BackupError> {
    backup::import(from, directory, judge)
}
