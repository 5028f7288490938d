//! What is here and what happens now: the sessions, and the last events; or those that come, as they come, as server-sent events
//! (HTML, section 9.2).

use std::{collections::VecDeque, convert::Infallible, sync::Arc, time::Duration};

use axum::{
    Extension, Router,
    extract::{RawQuery, State as Extracted},
    http::{HeaderMap, StatusCode, header},
    response::{
        IntoResponse, Response,
        sse::{self, KeepAlive, Sse},
    },
    routing::get,
};
use futures_util::stream::{self, Stream};
use tokio::sync::OwnedSemaphorePermit;

use super::{Answer, By, Failure, Lasts, Target, access::may, blocking, by_whom, json, running};
pub use crate::services::owner::told::{EventInfo, EventList, SessionInfo, SessionList};
use crate::{
    door::programs::{Access, Role},
    services::others::Owned,
    watch::stream::{Read, Reader, Watch},
};

/// Sessions and events in one answer.
const SESSIONS_MAX: usize = 1_000;
const EVENTS_MAX: usize = 1_024;
/// Who is told events as they come, at a time: a quarter of the socket's connections.
pub(super) const STREAMS_MAX: usize = 16;
pub(super) const EVENT_STREAM: &str = "text/event-stream";
/// What a client that was cut off says: the id of the last event that it has.
pub(super) const LAST_EVENT_ID: &str = "last-event-id";

pub(super) fn routes() -> Router<Arc<Target>> {
    Router::new().route("/sessions", get(sessions)).route("/events", get(events))
}

async fn sessions(Extracted(target): Extracted<Arc<Target>>) -> Answer<Response> {
    let duologue = running(&target)?;
    let (sessions, all) = blocking(move || duologue.sessions("", SESSIONS_MAX)).await?;
    Ok(json(StatusCode::OK, &SessionList { sessions, all }))
}

async fn events(
    Extracted(target): Extracted<Arc<Target>>,
    lasts: Option<Extension<Lasts>>,
    by: Option<Extension<By>>,
    RawQuery(query): RawQuery,
    headers: HeaderMap,
) -> Answer<Response> {
    let duologue = running(&target)?;
    let bad = |word, message| Failure::new(StatusCode::BAD_REQUEST, word, message);
    let after = match query.as_deref() {
        None | Some("") => None,
        Some(query) => {
            let number = query.strip_prefix("after=").and_then(|number| number.parse().ok());
            let message = "the query is after= alone, with a number: /events?after=17, of the last answer's `next`";
            Some(number.ok_or_else(|| bad("bad-query", message))?)
        }
    };
    let accepts = headers.get(header::ACCEPT).and_then(|accept| accept.to_str().ok()).unwrap_or_default();
    if !accepts
        .split(',')
        .any(|kind| kind.split(';').next().is_some_and(|kind| kind.trim().eq_ignore_ascii_case(EVENT_STREAM)))
    {
        let since = duologue.watch().since(after.unwrap_or(0), EVENTS_MAX);
        return Ok(json(StatusCode::OK, &EventList::from(since)));
    }
    // Of another run, whose numbers are other ones: everything that is kept.
    let last = headers.get(LAST_EVENT_ID).map(|last| {
        let number = last.to_str().ok().and_then(|last| last.strip_prefix(&*target.run)?.strip_prefix('-'));
        number.and_then(|number| number.parse().ok()).unwrap_or(0)
    });
    let place = Arc::clone(&target.streams).try_acquire_owned().map_err(|_| Failure::busy())?;
    if let Some(Extension(lasts)) = lasts {
        lasts.set();
    }
    let watch = duologue.watch().clone();
    // Heard before it is asked what there is: nothing falls between.
    let reader = watch.subscribe(EVENTS_MAX);
    let after = last.or(after).unwrap_or_else(|| watch.since(0, 0).next);
    let run = Arc::clone(&target.run);
    let (access, by) = (target.access.clone(), by_whom(by));
    let live = Live { watch, reader, run, after, waiting: VecDeque::new(), access, by, _place: place };
    Ok(Sse::new(live.told()).keep_alive(KeepAlive::default()).into_response())
}

/// Whoever is told events as they come.
struct Live {
    watch: Watch,
    /// Wakes; what it reads is in the row of the last events, with numbers.
    reader: Reader,
    run: Arc<str>,
    after: u64,
    waiting: VecDeque<sse::Event>,
    access: Access,
    by: By,
    _place: OwnedSemaphorePermit,
}

impl Live {
    fn told(self) -> impl Stream<Item = Result<sse::Event, Infallible>> {
        stream::unfold(self, |mut live| async move { Some((Ok(live.next().await?), live)) })
    }

    async fn next(&mut self) -> Option<sse::Event> {
        let mut changes = self.access.changes();
        loop {
            if !may(&self.access, &self.by, Role::Watch) {
                return None;
            }
            if let Some(event) = self.waiting.pop_front() {
                return Some(event);
            }
            let EventList { events, next, missed } = EventList::from(self.watch.since(self.after, EVENTS_MAX));
            if missed > 0 {
                let data = format!("{{\"missed\":{missed}}}");
                self.waiting.push_back(sse::Event::default().event("missed").data(data));
            }
            self.waiting.extend(events.iter().map(|event| told(&self.run, event)));
            self.after = next;
            if self.waiting.is_empty() {
                tokio::select! {
                    event = self.reader.next() => {
                        event?;
                    }
                    _ = changes.changed() => continue,
                }
                // The others are there too by now.
                for _ in 0..EVENTS_MAX {
                    if !matches!(self.reader.next_within(Duration::ZERO), Read::Event(_)) {
                        break;
                    }
                }
            }
        }
    }
}

fn told(run: &str, event: &EventInfo) -> sse::Event {
    let data = serde_json::to_string(event).expect("texts and numbers are JSON");
    sse::Event::default().id(format!("{run}-{}", event.number)).event(&event.event).data(data)
}
