//! What rules say is done here: handshakes wait, lines are closed, bans begin and are kept. A thread of its own reads the stream.
//!
//! ```text
//! events ─► rules ─► observe, dry, exempt: told
//!                 ├► slow: the address's next handshakes wait, in places that others have before them
//!                 ├► close: the lines of the device, subject or address end as `hook-refused`, with a sentence
//!                 └► ban: the same, and kept; refused before TLS, or before anything is judged; the owner's command hears of it
//! ```

use std::{
    net::IpAddr,
    sync::{Mutex, MutexGuard, PoisonError, Weak},
    thread,
    time::{Duration, Instant},
};

use duologue::CloseCode;
use ipnet::IpNet;

use super::{
    Duologue, Shared,
    beside::PassedOn,
    directory::{Name, Session},
    notices,
};
use crate::{
    front::proxied::TrustedProxies,
    state::{
        records::now,
        store::{StoreError, StoredBan},
    },
    watch::{
        bans::{Ban, Banned},
        command::{BanCommand, Told},
        events::{Event, Kind},
        rules::{Engine, Match, Measure, Rule, Seen},
        settings::WatchSettings,
        stream::{Read, Reader, Watch},
        ways::{Way, Ways},
    },
};

/// Events that the rules may be behind, some 200 bytes each.
const ROOM: usize = 16_384;
/// How long an address is slowed, in seconds.
const SLOWED_SECS: u64 = 10 * 60;
/// How long each of its handshakes waits meanwhile.
const SLOW: Duration = Duration::from_secs(2);
/// How often it is looked what has come on each line, and of what in that time so much is a flood: counted frames, channels,
/// datagrams.
const LOOK: Duration = Duration::from_secs(5);
const FLOODS: [(u32, Kind); 3] =
    [(20_000, Kind::MessageFlood), (1_000, Kind::ChannelFlood), (2_000, Kind::DatagramFlood)];
/// A flood is told so often for each look, if it is that many times as much.
const TOLD_MAX: u32 = 10;
/// How often what has ended is forgotten.
const SWEEP: Duration = Duration::from_secs(60);
/// What a person reads whose line was closed.
const CLOSED: &str = "Too much went wrong on this line. Try again later.";

/// The rules, and what they act on.
#[derive(Debug)]
pub(super) struct Measures {
    engine: Mutex<Engine>,
    ways: Mutex<Ways>,
    /// Of the owner's, which speak for others.
    proxies: Mutex<Vec<IpNet>>,
    command: Mutex<Option<BanCommand>>,
    is_running: std::sync::Once,
}

impl Default for Measures {
    fn default() -> Self {
        Self {
            engine: Mutex::new(Engine::new(WatchSettings::default().all_rules(), Vec::new())),
            ways: Mutex::default(),
            proxies: Mutex::default(),
            command: Mutex::default(),
            is_running: std::sync::Once::new(),
        }
    }
}

impl Measures {
    fn engine(&self) -> MutexGuard<'_, Engine> {
        self.engine.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn command(&self) -> MutexGuard<'_, Option<BanCommand>> {
        self.command.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Duologue {
    /// Sets by which rules the watch stops whom; from now on, also while lines are open. Without it the
    /// shipped rules are in force.
    pub fn set_watch(&self, settings: &WatchSettings) {
        let measures = &self.shared.measures;
        let proxies = measures.proxies.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let exempt = settings.exempt.iter().copied().chain(proxies).collect();
        measures.engine().set(settings.all_rules(), exempt);
    }

    /// Tells the watch which proxies speak for others: no measure falls on them. To be called before [`Self::set_watch`].
    pub fn trust(&self, proxies: &TrustedProxies) {
        *self.shared.measures.proxies.lock().unwrap_or_else(PoisonError::into_inner) = proxies.networks().to_vec();
    }

    /// Has a program hear of bans: it and its arguments, run without a shell, with the ban's own words behind them.
    pub fn tell_of_bans(&self, words: &[String]) {
        *self.shared.measures.command() = BanCommand::of(words, self.watch());
    }

    /// From now on rules are asked, and what has happened to the state is told: to be called before anybody comes, and after whoever
    /// is to hear of it.
    pub(super) fn start_measures(&self) {
        self.shared.measures.is_running.call_once(|| {
            let watch = self.watch();
            notices::tell(&self.shared.state, watch);
            match self.shared.state.store().bans() {
                Ok(kept) => watch.bans().load(kept.into_iter().filter_map(read)),
                Err(error) => {
                    watch.tell(Event::of(Kind::BanNotKept).note(format!("the bans could not be read: {error}")));
                }
            }
            let (reader, shared) = (watch.subscribe(ROOM), std::sync::Arc::downgrade(&self.shared));
            let work = move || act(&reader, &shared);
            if let Err(error) = thread::Builder::new().name("watch-rules".to_owned()).spawn(work) {
                watch.tell(Event::without_thread("no rule is asked", error));
            }
        });
    }

    /// The rules, and what each has seen.
    pub(crate) fn rules_seen(&self) -> Vec<(Rule, Seen)> {
        self.shared.measures.engine().seen().map(|(rule, seen)| (rule.clone(), seen)).collect()
    }

    /// From which networks lines are altered.
    pub(crate) fn ways(&self) -> Vec<Way> {
        self.shared.measures.ways.lock().unwrap_or_else(PoisonError::into_inner).list()
    }

    /// The owner bans, and who is there goes.
    ///
    /// # Errors
    /// If it could not be kept; it is in force all the same.
    pub(crate) fn add_ban(&self, whom: Banned, secs: u64) -> Result<Ban, StoreError> {
        let ban = self.watch().bans().add(whom, secs, now());
        self.shared.has_banned(&ban);
        self.shared.has_begun(&ban)?;
        Ok(ban)
    }

    /// The owner lifts a ban. None if there is none.
    ///
    /// # Errors
    /// If that could not be kept: after a start it would be there again.
    pub(crate) fn lift_ban(&self, whom: &Banned) -> Result<Option<Ban>, StoreError> {
        let lifted = self.watch().bans().lift(whom);
        if let Some(ban) = &lifted {
            if let Some(command) = &*self.shared.measures.command() {
                self.shared.heard(command.tell(Told::Lift, ban));
            }
            self.shared.pass_on(&PassedOn::Lifted(whom.to_string()));
            self.shared.state.store().change_bans(&[], &[whom.to_string()])?;
        }
        Ok(lifted)
    }

    /// Whether an address may not even ask.
    pub(super) fn is_banned(&self, address: IpAddr) -> bool {
        self.watch().bans().of_address(address, now()).is_some()
    }

    /// Whether the next handshake of an address is to wait, and how long.
    pub(super) fn slows(&self, address: IpAddr) -> Option<Duration> {
        self.watch().bans().is_slowed(address, now()).then_some(SLOW)
    }
}

impl Shared {
    fn watch(&self) -> &Watch {
        &self.gate.watch
    }

    fn carry_out(&self, matched: Match) {
        let Match { rule, whom, measure, dry, exempt, count } = matched;
        let about = |event: Event| match &whom {
            Some(Banned::Address(address)) => event.address(*address),
            Some(Banned::Device(device)) => event.device(*device),
            Some(Banned::Subject(subject)) => event.subject(Some(subject)),
            None => event,
        };
        let why = if dry {
            " dry=true"
        } else if exempt {
            " exempt=true"
        } else {
            ""
        };
        let note = format!("rule={rule} count={count} measure={}{why}", measure.word());
        let tell = |kind| self.watch().tell(about(Event::of(kind).code(measure.word()).note(&note)));
        let Some(whom) = whom.clone().filter(|_| !dry && !exempt) else { return tell(Kind::RuleMatched) };
        match (measure, whom) {
            (Measure::Slow, Banned::Address(address)) => {
                self.watch().bans().slow(address, now() + SLOWED_SECS);
                tell(Kind::Slowed);
            }
            (Measure::Close, whom) => {
                self.close_all(&whom);
                tell(Kind::Closed);
            }
            (Measure::Ban(secs), whom) => {
                let ban = self.watch().bans().ban(whom, &rule, secs, now());
                let note = format!(
                    "rule={rule} count={count} secs={} until={}",
                    ban.until.saturating_sub(ban.since),
                    ban.until
                );
                self.watch().tell(about(Event::of(Kind::Banned).note(note)));
                self.has_banned(&ban);
                if let Err(error) = self.has_begun(&ban) {
                    self.watch().tell(about(Event::of(Kind::BanNotKept).note(error.to_string())));
                }
            }
            (Measure::Observe | Measure::Slow, _) => tell(Kind::RuleMatched),
        }
    }

    /// A ban is kept, and another server of this state hears of it: where that has the store, it keeps it.
    fn has_begun(&self, ban: &Ban) -> Result<(), StoreError> {
        let written = written(ban);
        self.pass_on(&PassedOn::Banned { whom: written.whom.clone(), ban: written.clone() });
        match self.state.store().is_handed_over() {
            true => Ok(()),
            false => self.state.store().change_bans(&[written], &[]),
        }
    }

    /// Who is there goes, and whoever wants to know it hears of it.
    fn has_banned(&self, ban: &Ban) {
        self.close_all(&ban.whom);
        if let Some(command) = &*self.measures.command() {
            self.heard(command.tell(Told::Ban, ban));
        }
    }

    fn heard(&self, heard: bool) {
        if !heard {
            self.watch().tell(Event::of(Kind::BanCommandFailed).note("too many bans wait for it"));
        }
    }

    fn look_for_floods(&self) {
        self.directory.for_each(|Session { line, seat, .. }| {
            let came = line.command(|line, _| line.came_since());
            for (count, (flood, kind)) in came.into_iter().zip(FLOODS) {
                for _ in 0..(count / flood).min(TOLD_MAX) {
                    let event = Event::of(kind).device(seat.device()).address(seat.address());
                    self.watch().tell(event.subject(seat.subject()));
                }
            }
        });
    }

    pub(super) fn close_all(&self, whom: &Banned) {
        let sessions = match whom {
            Banned::Device(device) => self.directory.sessions_of(*device),
            Banned::Subject(subject) => self.directory.sessions_named(Name::Subject(subject)),
            Banned::Address(address) => self.directory.sessions_named(Name::Network(*address)),
        };
        let (code, words) = BANNED;
        sessions.iter().for_each(|session| self.directory.end(session, code, words));
    }
}

/// What a banned device hears, and who is there when a rule closes.
pub(super) const BANNED: (CloseCode, &str) = (CloseCode::HookRefused, CLOSED);

fn act(reader: &Reader, shared: &Weak<Shared>) {
    let (mut swept, mut looked) = (Instant::now(), Instant::now());
    loop {
        let read = reader.next_within(LOOK.saturating_sub(looked.elapsed()));
        let Some(shared) = shared.upgrade() else { return };
        match read {
            Read::Event(event) => {
                shared.measures.ways.lock().unwrap_or_else(PoisonError::into_inner).handle(&event);
                let matches = shared.measures.engine().handle(&event);
                matches.into_iter().for_each(|matched| shared.carry_out(matched));
            }
            Read::Nothing => {}
            Read::End => return,
        }
        if looked.elapsed() >= LOOK {
            looked = Instant::now();
            shared.look_for_floods();
        }
        if swept.elapsed() >= SWEEP {
            swept = Instant::now();
            let over: Vec<_> = shared.watch().bans().sweep(now()).iter().map(ToString::to_string).collect();
            if !over.is_empty()
                && let Err(error) = shared.state.store().change_bans(&[], &over)
            {
                shared.watch().tell(Event::of(Kind::BanNotKept).note(format!("what has ended stays written: {error}")));
            }
        }
    }
}

fn written(ban: &Ban) -> StoredBan {
    let Ban { whom, since, until, repeats, by } = ban;
    StoredBan { whom: whom.to_string(), since: *since, until: *until, repeats: *repeats, by: by.to_string() }
}

pub(super) fn read(stored: StoredBan) -> Option<Ban> {
    let StoredBan { whom, since, until, repeats, by } = stored;
    Some(Ban { whom: whom.parse().ok()?, since, until, repeats, by: by.into() })
}
