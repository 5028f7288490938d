//! What is here and what happens now: the sessions, and the last events.

use std::sync::Arc;

use axum::{
    Router,
    extract::{RawQuery, State as Extracted},
    http::StatusCode,
    response::Response,
    routing::get,
};

use super::{Answer, Failure, Target, blocking, json, running};
use crate::services::others::Owned;
pub use crate::services::owner::told::{EventInfo, EventList, SessionInfo, SessionList};

/// Sessions and events in one answer.
const SESSIONS_MAX: usize = 1_000;
const EVENTS_MAX: usize = 1_024;

pub(super) fn routes() -> Router<Arc<Target>> {
    Router::new().route("/sessions", get(sessions)).route("/events", get(events))
}

async fn sessions(Extracted(target): Extracted<Arc<Target>>) -> Answer<Response> {
    let duologue = running(&target)?;
    let (sessions, all) = blocking(move || duologue.sessions("", SESSIONS_MAX)).await?;
    Ok(json(StatusCode::OK, &SessionList { sessions, all }))
}

async fn events(Extracted(target): Extracted<Arc<Target>>, RawQuery(query): RawQuery) -> Answer<Response> {
    let duologue = running(&target)?;
    let after = match query.as_deref() {
        None | Some("") => Some(0),
        Some(query) => query.strip_prefix("after=").and_then(|number| number.parse().ok()),
    };
    let Some(after) = after else {
        let message = "after what is a number: /events?after=17, of the last answer's `next`";
        return Err(Failure::new(StatusCode::BAD_REQUEST, "bad-query", message));
    };
    Ok(json(StatusCode::OK, &EventList::from(duologue.watch().since(after, EVENTS_MAX))))
}
