//! `owner`: what the owner sees and does, over the line. Nothing opens it but a rule that names it (docs/POLICY.md).
//!
//! ```text
//! page                                                          server
//!   {"ask":"look","after":0,"find":""} ─►
//!                     ◄─ {"sessions":[…],"bans":[…],"events":[…],"next":17,…}      as often as somebody looks
//!   {"ask":"revoke","device":"…"} ─►
//!                     ◄─ {"done":"stored"}   or {"refused":"step-up-needed"}
//! ```
//!
//! Where passkeys are taken, whoever does something has shown to be there in the last five minutes; to look it takes what the rule
//! asks for. What is done is an event of the owner's, with the device by which it was done. Nothing is sent that was not asked for:
//! a page that nobody looks at costs nothing.

pub(crate) mod told;

use std::{
    sync::atomic::{AtomicUsize, Ordering},
    time::{Duration, Instant},
};

use duologue::{DeviceId, SessionId};
use serde::{Deserialize, Serialize};

use crate::{
    door::gate::now,
    services::{
        passkeys::is_just_present,
        service::{Call, Service, ServiceError},
    },
    state::store::{Revocation, StoreError},
    watch::{
        bans::Banned,
        events::{Event, Kind},
    },
};
use told::{AuditShown, BanInfo, EventList, SessionInfo};

/// Its label.
pub const LABEL: &str = crate::door::policy::patterns::OWNER;

/// The longest message of a client, in bytes.
const MESSAGE_LEN_MAX: usize = 1_024;
/// Sessions, bans and events in one answer: as many as a person reads.
const SESSIONS_MAX: usize = 200;
const BANS_MAX: usize = 200;
const EVENTS_MAX: usize = 200;
/// How often the audit log is asked.
const AUDIT_LOOK: Duration = Duration::from_secs(10);
/// How many may look at a time: each look goes through all sessions.
const CHANNELS_MAX: usize = 16;

/// The service.
#[derive(Debug, Default)]
pub struct Owner {
    channels: AtomicUsize,
}

/// What a page asks for.
#[derive(Debug, Deserialize)]
#[serde(tag = "ask", rename_all = "kebab-case", deny_unknown_fields)]
enum Ask {
    /// What there is, and the events behind this number.
    Look {
        #[serde(default)]
        after: u64,
        #[serde(default)]
        find: String,
    },
    /// A ban is to end.
    Lift { what: String, which: String },
    /// A device is to be revoked.
    Revoke { device: String },
    /// A session is to end; its device may come again.
    End { session: String },
}

/// What it is answered.
#[derive(Debug, Serialize)]
#[serde(untagged)]
enum Told {
    Seen(Box<Seen>),
    Done { done: &'static str },
    Refused { refused: &'static str },
}

#[derive(Debug, Serialize)]
struct Seen {
    /// Seconds since 1970, by the server's clock.
    now: u64,
    /// The caller's own session.
    own: String,
    /// Whether something is done only by whoever has just shown to be there.
    steps_up: bool,
    sessions: Vec<SessionInfo>,
    /// How many there are.
    all: usize,
    bans: Vec<BanInfo>,
    all_bans: usize,
    /// Events that some reader was too slow for, since the start.
    lost: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    audit: Option<AuditShown>,
    #[serde(flatten)]
    events: EventList,
}

impl Service for Owner {
    fn needs_state(&self) -> bool {
        true
    }

    async fn serve(&self, call: Call) -> Result<(), ServiceError> {
        let _place = Place::of(&self.channels).ok_or("as many as may look are looking")?;
        let mut audit = Audit::default();
        while let Some(message) = call.channel.recv().await? {
            if message.len() > MESSAGE_LEN_MAX {
                return Err("a message of the owner's has 1,024 bytes at most".into());
            }
            let told = answer(&call, serde_json::from_slice(&message)?, &mut audit).await?;
            call.channel.send(serde_json::to_vec(&told)?).await?;
        }
        Ok(())
    }
}

/// One of those who look.
struct Place<'a>(&'a AtomicUsize);

impl<'a> Place<'a> {
    fn of(all: &'a AtomicUsize) -> Option<Self> {
        let more = |count: usize| (count < CHANNELS_MAX).then_some(count + 1);
        all.fetch_update(Ordering::Relaxed, Ordering::Relaxed, more).ok().map(|_| Self(all))
    }
}

impl Drop for Place<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

/// The audit log as it was when it was asked last: what is asked has it signed, which takes the disk.
#[derive(Default)]
struct Audit(Option<(Instant, Option<AuditShown>)>);

impl Audit {
    async fn shown(&mut self, call: &Call) -> Option<AuditShown> {
        if let Some((at, shown)) = &self.0
            && at.elapsed() < AUDIT_LOOK
        {
            return shown.clone();
        }
        let shown = call.others.owned().audit().await;
        self.0 = Some((Instant::now(), shown.clone()));
        shown
    }
}

async fn answer(call: &Call, ask: Ask, audit: &mut Audit) -> Result<Told, ServiceError> {
    if !matches!(ask, Ask::Look { .. }) && steps_up(call) && !is_just_present(&call.right.seat.standing(now())) {
        return Ok(Told::Refused { refused: "step-up-needed" });
    }
    Ok(match ask {
        Ask::Look { after, find } => Told::Seen(Box::new(look(call, after, find, audit).await?)),
        Ask::Lift { what, which } => lift(call, &what, &which).await?,
        Ask::Revoke { device } => revoke(call, &device).await?,
        Ask::End { session } => end(call, &session),
    })
}

/// Whether passkeys are taken here: then it is by them that somebody shows to be the owner.
fn steps_up(call: &Call) -> bool {
    call.right.seat.presence(|_| ()).is_some()
}

async fn look(call: &Call, after: u64, find: String, audit: &mut Audit) -> Result<Seen, ServiceError> {
    let others = call.others.clone();
    let (sessions, all) = call.blocking(move || others.owned().sessions(&find, SESSIONS_MAX)).await?;
    let watch = &call.right.gate().watch;
    let bans = watch.bans().list(now());
    let all_bans = bans.len();
    Ok(Seen {
        now: now(),
        own: call.device().to_string(),
        steps_up: steps_up(call),
        sessions,
        all,
        bans: bans.iter().take(BANS_MAX).map(BanInfo::from).collect(),
        all_bans,
        lost: watch.lost().iter().map(|(_, count)| count).sum(),
        audit: audit.shown(call).await,
        events: watch.since(after, EVENTS_MAX).into(),
    })
}

async fn lift(call: &Call, what: &str, which: &str) -> Result<Told, ServiceError> {
    let Ok(whom) = format!("{what} {which}").parse::<Banned>() else {
        return Ok(Told::Refused { refused: "bad-whom" });
    };
    let (others, lifted) = (call.others.clone(), whom.clone());
    match call.blocking(move || others.owned().lift(&lifted)).await? {
        Ok(None) => return Ok(Told::Refused { refused: "unknown-ban" }),
        // It is lifted, and would be there again after a start.
        Ok(Some(_)) | Err(StoreError::Full) => {}
        Err(error) => return Err(error.into()),
    }
    tell(call, Event::of(Kind::BanLifted), &format!("{}={:?}", whom.what(), whom.which()));
    Ok(Told::Done { done: "lifted" })
}

async fn revoke(call: &Call, device: &str) -> Result<Told, ServiceError> {
    let Ok(device) = device.parse::<DeviceId>() else { return Ok(Told::Refused { refused: "no-device-id" }) };
    // Whoever throws out himself can take nothing back.
    if device == call.device() {
        return Ok(Told::Refused { refused: "own-device" });
    }
    let others = call.others.clone();
    let done = match call.blocking(move || others.owned().revoke(device)).await? {
        Revocation::Unknown => return Ok(Told::Refused { refused: "unknown-device" }),
        Revocation::OfGuest => "ended",
        Revocation::Stored => "stored",
        Revocation::Journalled(_) => "journal",
        Revocation::NotOnDisk(_) => "memory",
    };
    tell(call, Event::of(Kind::OwnerRevoked).device(device), &format!("whom=\"the device {device}\" kept={done}"));
    Ok(Told::Done { done })
}

fn end(call: &Call, session: &str) -> Told {
    match session.parse::<SessionId>() {
        Ok(id) if call.others.owned().end(id) => {
            tell(call, Event::of(Kind::OwnerEnded), &format!("session={id}"));
            Told::Done { done: "ended" }
        }
        Ok(_) => Told::Refused { refused: "unknown-session" },
        Err(_) => Told::Refused { refused: "no-session-id" },
    }
}

/// What the owner has done, and by which device; and as whom, where that is known.
fn tell(call: &Call, event: Event, what: &str) {
    let subject = call.identity().subject.map(|subject| format!(" subject={:?}", subject.as_str())).unwrap_or_default();
    let by = format!("{what} by=device {}{subject}, over the line", call.device());
    call.tell(event.address(call.right.seat.address()).note(by));
}
