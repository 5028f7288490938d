//! A word to a device, or to those of one person, and what became of it.
//!
//! ```text
//! POST ─► once.rs: said before, by this caller under this key?  ─► a channel of its own to the newest line ─► taken · not here · unknown
//! ```
//!
//! The body is the message. Each is on a channel of its own, which ends with it, so that two that are under way at the same time may
//! arrive in either order; whoever wants them in order waits for the answer.

use std::{collections::HashMap, fmt, sync::Arc, time::Duration};

use axum::{
    Extension, Router,
    extract::{DefaultBodyLimit, FromRequest, Request, State as Extracted},
    http::{HeaderMap, StatusCode},
    response::Response,
    routing::post,
};
use duologue::{ChannelError, Delivery, DeviceId, ResetCode, limits};
use duologue_native::{Channel, Line, LineError};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use tokio::{
    sync::Semaphore,
    time::{Instant, timeout, timeout_at},
};
use url::form_urlencoded;

use super::{
    Answer, By, Failure, Named, Target,
    asked::Bytes,
    by_whom,
    devices::read_id,
    json,
    once::{Once, hash, key_of},
    running,
};
use crate::{
    door::{gate::now, policy::patterns::LabelPattern, standing::Subject},
    lines::Duologue,
    state::store::AccountError,
};

/// Longest message in bytes: those under way are 16 MiB at most.
pub const MESSAGE_LEN_MAX: usize = 1_024 * 1_024;
/// Messages under way at a time, whoever still waits for their answers: a quarter of the socket's connections, so that the owner's
/// verbs find a place whatever waits to be taken.
const UNDER_WAY_MAX: usize = 16;
/// How long a message waits to be taken, unless told; and at most, since a connection lasts a minute here.
pub(super) const DEADLINE_MS: u64 = 10_000;
pub(super) const DEADLINE_MS_MAX: u64 = 50_000;
/// Devices of one subject that are told of in one answer.
const DEVICES_MAX: usize = 64;

/// What is known of a message, in the words that a page's `delivery` has.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
pub enum Delivered {
    /// It was not sent: nobody was there, or nobody who had room for it.
    #[serde(rename = "not here")]
    NotHere,
    /// It has left, and no word came that it was taken: not in time, or the other end has let go of the channel. It may be read later
    /// all the same. Always so of a datagram.
    #[serde(rename = "unknown")]
    Unknown,
    /// The application at the other end has taken it.
    #[serde(rename = "taken")]
    Taken,
}

/// As in JSON.
impl fmt::Display for Delivered {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.serialize(f)
    }
}

/// What became of it at one device.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct DeliveredTo {
    /// The device, base64url.
    pub device: String,
    /// What is known of it there.
    pub delivery: Delivered,
}

/// What became of a message.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Deliveries {
    /// The best of them: `taken` where one has taken it, `not here` where nobody was there.
    pub delivery: Delivered,
    /// Each device that it was said to, in that order.
    pub devices: Vec<DeliveredTo>,
}

/// What a server that sends messages keeps of them.
#[derive(Debug)]
pub(super) struct Messages {
    once: Once<Deliveries>,
    under_way: Semaphore,
}

impl Default for Messages {
    fn default() -> Self {
        Self { once: Once::default(), under_way: Semaphore::new(UNDER_WAY_MAX) }
    }
}

pub(super) fn routes() -> Router<Arc<Target>> {
    Router::new()
        .route("/devices/{id}/messages", post(to_device))
        .route("/subjects/{subject}/messages", post(to_subject))
        .layer(DefaultBodyLimit::max(MESSAGE_LEN_MAX))
}

/// How it is to be said: the query.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct How {
    label: String,
    deadline: Duration,
    is_datagram: bool,
    /// To all devices of the subject, one after the other.
    to_each: bool,
}

impl How {
    fn read(query: Option<&str>, is_to_subject: bool) -> Answer<Self> {
        let bad = |message: &str| Failure::new(StatusCode::BAD_REQUEST, "bad-query", message);
        let mut said = HashMap::new();
        for (name, value) in form_urlencoded::parse(query.unwrap_or_default().as_bytes()) {
            let is_known = matches!(&*name, "label" | "deadline_ms" | "datagram") || (is_to_subject && name == "to");
            if !is_known || said.contains_key(&name) {
                let to = if is_to_subject { ", to" } else { "" };
                return Err(bad(&format!(
                    "the query has {name:?}; it may have label, deadline_ms, datagram{to}, each once"
                )));
            }
            said.insert(name, value);
        }
        let word = |name: &str, no: &str, yes: &str| match said.get(name).map(|value| &**value) {
            None => Ok(false),
            Some(value) if value == no || value == yes => Ok(value == yes),
            Some(_) => Err(bad(&format!("{name} is {no} or {yes}"))),
        };
        let label = said.get("label").ok_or_else(|| bad("the query says no label of the channel: ?label=news"))?;
        // What does not show, and what was no UTF-8, is no label.
        let is_label = LabelPattern::new(label).is_ok_and(|label| label.one().is_some()) && !label.contains('\u{fffd}');
        if !is_label {
            return Err(bad("a channel's label has 1 to 64 bytes of printable text, and no * at its end: ?label=news"));
        }
        let deadline_ms = match said.get("deadline_ms") {
            None => DEADLINE_MS,
            Some(number) => {
                let number = number.parse().ok().filter(|number| (1..=DEADLINE_MS_MAX).contains(number));
                let message = format!("deadline_ms is a number of milliseconds, 1 to {DEADLINE_MS_MAX}");
                number.ok_or_else(|| bad(&message))?
            }
        };
        Ok(Self {
            label: label.clone().into_owned(),
            deadline: Duration::from_millis(deadline_ms),
            is_datagram: word("datagram", "false", "true")?,
            to_each: word("to", "newest", "each")?,
        })
    }
}

/// Whom a message is for.
#[derive(Clone, Debug, Hash)]
enum Whom {
    Device([u8; 32]),
    Subject(String),
}

/// What is to be said, and by whom; how, the path's handler reads.
struct Asked {
    by: By,
    query: Option<String>,
    headers: HeaderMap,
    message: Vec<u8>,
}

impl FromRequest<Arc<Target>> for Asked {
    type Rejection = Failure;

    async fn from_request(request: Request, target: &Arc<Target>) -> Result<Self, Failure> {
        let by = by_whom(request.extensions().get().cloned().map(Extension));
        let (query, headers) = (request.uri().query().map(str::to_owned), request.headers().clone());
        let Bytes(message) = Bytes::<MESSAGE_LEN_MAX>::from_request(request, target).await?;
        Ok(Self { by, query, headers, message })
    }
}

async fn to_device(Extracted(target): Extracted<Arc<Target>>, Named(id): Named, asked: Asked) -> Answer<Response> {
    let how = How::read(asked.query.as_deref(), false)?;
    let device = read_id(&id)?;
    let duologue = running(&target)?;
    if target.state.store().status(device).is_none() && duologue.directory().sessions_of(device).is_empty() {
        return Err(AccountError::UnknownDevice(device).into());
    }
    asked.answer(target, duologue, Whom::Device(device.0), how).await
}

async fn to_subject(
    Extracted(target): Extracted<Arc<Target>>,
    Named(subject): Named,
    asked: Asked,
) -> Answer<Response> {
    let how = How::read(asked.query.as_deref(), true)?;
    let subject = Subject::new(&subject)
        .map_err(|error| Failure::new(StatusCode::BAD_REQUEST, "bad-subject", &error.to_string()))?;
    let duologue = running(&target)?;
    asked.answer(target, duologue, Whom::Subject(subject.to_string()), how).await
}

impl Asked {
    async fn answer(self, target: Arc<Target>, duologue: Duologue, whom: Whom, how: How) -> Answer<Response> {
        let Self { by, headers, message, .. } = self;
        if how.is_datagram && message.len() > limits::DATAGRAM_LEN_MAX {
            return Err(too_long("a datagram", limits::DATAGRAM_LEN_MAX));
        }
        let key = key_of(&headers, by.caller(), &format!("{whom:?}"))?;
        let asked = hash(&(&how, &message));
        let messages = Arc::clone(&target);
        let work = async move {
            let Ok(_place) = messages.messages.under_way.try_acquire() else { return Err(Failure::busy()) };
            say(&duologue, whom, &how, message).await
        };
        let deliveries = match key {
            // Where nobody was, nothing was done: somebody may be there by now.
            Some(key) => target.messages.once.of(key, asked, |told| told.delivery != Delivered::NotHere, work).await?,
            None => work.await?,
        };
        Ok(json(StatusCode::OK, &deliveries))
    }
}

async fn say(duologue: &Duologue, whom: Whom, how: &How, message: Vec<u8>) -> Answer<Deliveries> {
    let directory = duologue.directory();
    let mut lines = match whom {
        Whom::Device(device) => {
            let device = DeviceId(device);
            directory.newest(device).map(|line| (device, line)).into_iter().collect()
        }
        Whom::Subject(subject) => directory.lines_of(&subject, now()),
    };
    lines.truncate(if how.to_each { DEVICES_MAX } else { 1 });
    let deadline = how.deadline / u32::try_from(lines.len().max(1)).unwrap_or(u32::MAX);
    let mut devices = Vec::with_capacity(lines.len());
    for (device, line) in lines {
        let delivery = match say_to(&line, how, deadline, message.clone()).await {
            // It was said already: that is not to be forgotten for one who has no room.
            Err(_) if devices.iter().any(|to: &DeliveredTo| to.delivery != Delivered::NotHere) => Delivered::NotHere,
            delivery => delivery?,
        };
        devices.push(DeliveredTo { device: device.to_string(), delivery });
    }
    let delivery = devices.iter().map(|to| to.delivery).max().unwrap_or(Delivered::NotHere);
    Ok(Deliveries { delivery, devices })
}

async fn say_to(line: &Line, how: &How, deadline: Duration, message: Vec<u8>) -> Answer<Delivered> {
    let end = Instant::now() + deadline;
    let channel = match line.channel(&how.label) {
        Err(LineError::Connection(_) | LineError::Channel(ChannelError::NotHere)) => return Ok(Delivered::NotHere),
        Err(error) => return Err(Failure::new(StatusCode::SERVICE_UNAVAILABLE, "no-channel", &error.to_string())),
        Ok(channel) => channel,
    };
    if how.is_datagram {
        return Ok(match channel.send_datagram(message, deadline, None) {
            Ok(()) => {
                keep_for(channel, deadline);
                Delivered::Unknown
            }
            Err(_) => Delivered::NotHere,
        });
    }
    let sent = match timeout_at(end, channel.send(message)).await {
        Ok(Ok(sent)) => sent,
        Ok(Err(LineError::Channel(ChannelError::MessageTooLong { max, .. }))) => {
            return Err(too_long("a message to that device", max));
        }
        Ok(Err(_)) | Err(_) => return Ok(Delivered::NotHere),
    };
    channel.finish();
    let taken = match timeout_at(end, sent.taken()).await {
        Ok(taken) => taken,
        Err(_) => {
            channel.reset(ResetCode::Deadline);
            sent.taken().await
        }
    };
    Ok(match taken {
        Ok(()) => Delivered::Taken,
        Err(LineError::NotTaken(Delivery::NotSent)) => Delivered::NotHere,
        Err(_) => Delivered::Unknown,
    })
}

/// A datagram waits in its channel until it leaves.
fn keep_for(channel: Channel, deadline: Duration) {
    channel.finish();
    tokio::spawn(async move {
        let _ = timeout(deadline, channel.broken()).await;
        drop(channel);
    });
}

fn too_long(what: &str, max: usize) -> Failure {
    let message = format!("the body is longer than the {max} bytes that {what} may have");
    Failure::new(StatusCode::PAYLOAD_TOO_LARGE, "message-too-long", &message)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_query_is_read_or_told_what_is_wrong_with_it() {
        let read = |query, is_to_subject| How::read(Some(query), is_to_subject);
        let how = read("label=a+b&deadline_ms=200&datagram=true", false).expect("in order");
        assert_eq!((&*how.label, how.deadline, how.is_datagram), ("a b", Duration::from_millis(200), true));
        assert!(read("label=a&to=each", true).expect("in order").to_each);
        for (query, is_to_subject, said) in [
            ("", false, "no label"),
            ("label=", false, "1 to 64 bytes"),
            (&*format!("label={}", "a".repeat(65)), false, "1 to 64 bytes"),
            ("label=a&deadline_ms=5s", false, "milliseconds"),
            ("label=a&deadline_ms=0", false, "1 to 50000"),
            ("label=a&deadline_ms=50001", false, "1 to 50000"),
            ("label=a&datagram=yes", false, "false or true"),
            ("label=a&to=each", false, "it may have label"),
            ("label=a&to=all", true, "newest or each"),
            ("lable=a", true, "datagram, to"),
            ("label=a&label=b", false, "each once"),
            ("label=a%00b", false, "printable"),
            ("label=%FF", false, "printable"),
            ("label=a*", false, "no *"),
        ] {
            let refused = How::read(Some(query), is_to_subject).expect_err(query).refused;
            assert!(refused.error == "bad-query" && refused.message.contains(said), "{query}: {}", refused.message);
        }
    }
}
