//! The simulated world: a client, a server, sockets between them, and one time for all.
//!
//! ```text
//! step()   the next moment at which anything is due ─► one thing happens ─► both drivers run until idle ─► check()
//! ```

use core::time::Duration;

use alloc::{
    collections::{BTreeMap, BTreeSet},
    string::String,
    vec::Vec,
};

use ed25519_dalek::SigningKey;

use super::{
    End, Uid,
    chance::Chance,
    earlier,
    hostile::Hostile,
    ledger::{Ledger, Reader},
    link::{Item, Path, Side, Socket},
    plan::Plan,
    server::Server,
};
use crate::{
    close::{CloseCode, FreshReason},
    error::ConnectionError,
    handshake::evidence::Standing,
    ids::ChannelId,
    line::{ConnectionNo, Line, LineState},
    session::Session,
    time::Instant,
};

/// Steps at one moment after which a world counts as caught in a loop.
const STEPS_AT_ONCE_MAX: u32 = 20_000;

/// What is to happen at a certain time.
#[derive(Debug)]
pub(super) enum Todo {
    /// An application does something.
    Act(End),
    /// A slow reader reads.
    Read(Uid, ChannelId),
    Fault,
    Cut(usize),
    /// An end is told that its socket is no more.
    Notice(usize, End),
    Sign(usize, ConnectionNo, Vec<u8>),
    /// The client's driver closes a socket that it has no use for.
    HangUp(usize),
    /// The upgrade request came to nothing.
    Unreachable(usize),
    DrainEnds(Instant),
    /// The client is loaded again.
    Reload,
}

#[derive(Debug)]
pub(super) struct World {
    pub(super) now: Instant,
    pub(super) chance: Chance,
    /// What channels are of what kind, and what is thrown away.
    pub(super) whims: Chance,
    pub(super) plan: Plan,
    pub(super) device: SigningKey,
    pub(super) client: Line,
    pub(super) client_uid: Uid,
    /// How many lines the client has had before this one, and whether this one was open.
    pub(super) lines: usize,
    pub(super) ever_open: bool,
    /// Messages that servers have got of it.
    pub(super) got_of_client: u64,
    /// How often the line was open.
    pub(super) opened: u64,
    pub(super) server: Server,
    pub(super) sockets: BTreeMap<usize, Socket>,
    pub(super) last_socket: usize,
    pub(super) hostile: Hostile,
    agenda: BTreeMap<(Instant, u64), Todo>,
    last_todo: u64,
    pub(super) ledger: Ledger,
    /// The device sleeps.
    pub(super) frozen_until: Option<Instant>,
    /// Where the server has heard that the client does not run, when, and how much was on its way to there.
    pub(super) frozen: Option<(usize, Instant, usize)>,
    /// Sockets whose link was cut.
    pub(super) cuts: BTreeSet<usize>,
    /// Nothing goes wrong any more, and applications bring to an end what they have begun.
    pub(super) healed: bool,
    pub(super) actions_left: u64,
    /// How every channel that a peer opens is read, where that is not left to chance.
    pub(super) reads: Option<Reader>,
    /// The applications keep channels that are over.
    pub(super) keeps: bool,
    /// What the client's application was told of its line.
    pub(super) states: Vec<LineState>,
    /// Why its last session could not be resumed.
    pub(super) fresh: Option<FreshReason>,
    /// Evidence that the client's line was given, in the order of its numbers.
    pub(super) shown: Vec<Vec<u8>>,
    /// Nobody is at the client's end; and what was shown there counts no more, with nothing newer since.
    pub(super) away: bool,
    pub(super) withdrawn: bool,
    /// Whom the server takes its person for, by whatever evidence.
    pub(super) person: &'static str,
    /// What the client was told last.
    pub(super) told: Standing,
    /// Sessions whose TAKEN waits, and since when.
    pub(super) waits_since: BTreeMap<Uid, Instant>,
    /// What the client's application had taken, by channel, when it closed its open line.
    pub(super) taken_at_close: Vec<(ChannelId, u64)>,
    /// Lines that have ended, by their sessions, and why.
    pub(super) ended: Vec<(Uid, ConnectionError)>,
    steps_at_once: u32,
    steps: u64,
}

impl World {
    pub(super) fn new(mut chance: Chance, plan: Plan) -> Self {
        earlier::impatient(plan.impatient);
        let mut ledger = Ledger::default();
        let server = Server::new();
        let device = SigningKey::from_bytes(&[2; 32]);
        let client = Self::client_line(&server, &device, &plan, &mut chance);
        let client_uid = ledger.begin(End::Client);
        let mut world = Self {
            now: Instant::from_micros(1_000_000),
            device,
            client,
            client_uid,
            lines: 0,
            ever_open: false,
            got_of_client: 0,
            opened: 0,
            server,
            sockets: BTreeMap::new(),
            last_socket: 0,
            hostile: Hostile::new(plan.hostile),
            agenda: BTreeMap::new(),
            last_todo: 0,
            ledger,
            frozen_until: None,
            frozen: None,
            cuts: BTreeSet::new(),
            healed: false,
            actions_left: plan.actions,
            reads: None,
            keeps: false,
            states: Vec::new(),
            fresh: None,
            shown: Vec::new(),
            away: false,
            withdrawn: false,
            person: "ann",
            told: Standing::default(),
            waits_since: BTreeMap::new(),
            taken_at_close: Vec::new(),
            ended: Vec::new(),
            steps_at_once: 0,
            steps: 0,
            whims: Chance::new(!chance.clone().next()),
            chance,
            plan,
        };
        if world.actions_left > 0 {
            world.plan_in(Duration::ZERO, Todo::Act(End::Client));
            world.plan_in(Duration::ZERO, Todo::Act(End::Server));
        }
        if world.plan.fault_every_micros > 0 {
            let first = world.chance.micros(world.plan.fault_every_micros * 2);
            world.plan_in(first, Todo::Fault);
        }
        let span = world.plan.actions * world.plan.action_every_micros;
        for _ in 0..world.plan.reloads {
            let wait = world.whims.micros(span.max(1));
            world.plan_in(wait, Todo::Reload);
        }
        world.drive();
        world
    }

    pub(super) fn plan_in(&mut self, wait: Duration, todo: Todo) {
        self.last_todo += 1;
        self.agenda.insert((self.now + wait, self.last_todo), todo);
    }

    pub(super) fn session(&mut self, uid: Uid) -> Option<&mut Session> {
        session_of(&mut self.client, self.client_uid, &mut self.server, uid)
    }

    /// When anything is due next.
    fn next_moment(&mut self) -> Option<Instant> {
        let mut next = self.agenda.first_key_value().map(|((at, _), _)| *at);
        let mut at = |moment: Option<Instant>| next = next.into_iter().chain(moment).min();
        at(self.server.next_timeout());
        let frozen = self.frozen_until;
        let awake = |moment: Option<Instant>| moment.map(|moment| frozen.map_or(moment, |until| moment.max(until)));
        at(awake(self.client.poll_timeout()));
        at(frozen);
        // One that is past is of a driver that has no use for the room any more.
        let now = self.now;
        let later = |moment: Option<Instant>| moment.filter(|moment| *moment > now);
        for socket in self.sockets.values() {
            at(socket.up.arrival());
            at(awake(socket.down.arrival()));
            at(awake(later(socket.up.blocked)));
            at(later(socket.down.blocked));
        }
        next
    }

    /// Goes on to the next moment. False if nothing will ever happen again.
    pub(super) fn step(&mut self) -> bool {
        let Some(at) = self.next_moment() else { return false };
        if at > self.now {
            self.steps_at_once = 0;
            self.now = at;
        }
        self.steps_at_once += 1;
        self.steps += 1;
        assert!(self.steps_at_once < STEPS_AT_ONCE_MAX, "the world is caught in a loop");
        if self.frozen_until.is_some_and(|until| until <= self.now) {
            self.frozen_until = None;
            trace!(self.now, "client: wakes");
            self.client.wake(self.now);
        }
        if let Some(entry) = self.agenda.first_entry().filter(|entry| entry.key().0 <= self.now) {
            let todo = entry.remove();
            self.act_on(todo);
        } else if !self.deliver() {
            if self.frozen_until.is_none() {
                self.client.handle_timeout(self.now);
                let timeout = self.client.poll_timeout();
                assert!(timeout.is_none_or(|at| at > self.now), "a timeout in the past is not consumed");
            }
            self.server_timeouts();
        }
        self.drive();
        self.check(self.steps.is_multiple_of(16));
        true
    }

    /// Runs until nothing happens before `until`, and then it is that time.
    pub(super) fn run_until(&mut self, until: Instant) {
        while self.next_moment().is_some_and(|at| at <= until) {
            self.step();
        }
        self.now = self.now.max(until);
    }

    pub(super) fn run_for(&mut self, time: Duration) {
        self.run_until(self.now + time);
    }

    /// Delivers one message that is due.
    fn deliver(&mut self) -> bool {
        let (now, awake) = (self.now, self.frozen_until.is_none());
        let due = |way: &super::link::Way| way.arrival().is_some_and(|at| at <= now);
        let found = self.sockets.iter().find_map(|(sid, socket)| match socket {
            socket if due(&socket.up) => Some((*sid, End::Server)),
            socket if awake && due(&socket.down) => Some((*sid, End::Client)),
            _ => None,
        });
        let Some((sid, to)) = found else { return false };
        let item = self.sockets.get_mut(&sid).and_then(|socket| socket.to(to).pop());
        let Some(item) = item else { return false };
        if let Item::Message(message) = &item {
            trace!(now, "{to:?}: gets {} bytes on socket {sid}", message.len());
        } else {
            trace!(now, "{to:?}: gets {} on socket {sid}", item.word());
        }
        match to {
            End::Client => self.client_takes(sid, item),
            End::Server => {
                self.got_of_client += 1;
                self.server_takes(sid, item);
            }
        }
        true
    }

    fn act_on(&mut self, todo: Todo) {
        let wait = self.frozen_until.map(|until| until - self.now);
        match (todo, wait) {
            (
                todo @ (Todo::Act(End::Client)
                | Todo::Notice(_, End::Client)
                | Todo::Sign(..)
                | Todo::HangUp(_)
                | Todo::Reload
                | Todo::Unreachable(_)),
                Some(wait),
            ) => {
                self.plan_in(wait, todo);
            }
            (Todo::Act(end), _) => self.act(end),
            (Todo::Read(uid, id), _) => self.read_slowly(uid, id),
            (Todo::Fault, _) => self.befall(),
            (Todo::Cut(sid), _) if !self.healed => self.cut(sid, None),
            (Todo::Cut(_), _) => {}
            (Todo::Notice(sid, End::Client), _) => self.client_lost(sid),
            (Todo::Notice(sid, End::Server), _) => self.server_lost(sid),
            (Todo::Sign(line, no, message), _) if line == self.lines => self.sign(no, &message),
            (Todo::Sign(..), _) => {}
            (Todo::HangUp(sid), _) => self.client_lost(sid),
            (Todo::Unreachable(sid), _) => self.unreachable(sid),
            (Todo::DrainEnds(until), _) => self.end_drain(until),
            (Todo::Reload, _) if !self.healed => self.reload(),
            (Todo::Reload, _) => {}
        }
    }

    /// Both drivers, until neither has anything to do.
    pub(super) fn drive(&mut self) {
        let mut rounds = 0;
        while (self.frozen_until.is_none() && self.drive_client()) | self.drive_server() {
            rounds += 1;
            assert!(rounds < 1_000, "a driver is caught in a loop");
        }
        self.sockets.retain(|_, socket| {
            // A client that hung up before the server heard of it leaves nobody at the other end either.
            let unheard = socket.server == Side::Opening && socket.up.is_dead() && socket.up.arrival().is_none();
            socket.client != Side::Gone || (socket.server != Side::Gone && !unheard)
        });
    }

    pub(super) fn send(&mut self, sid: usize, from: End, item: Item) {
        if let Some(socket) = self.sockets.get_mut(&sid) {
            let path = socket.path;
            socket.to(from.other()).send(self.now, item, &path, &mut self.chance);
        }
    }

    /// The link of a socket is no more. Each end is told in its own time, or has to find out; `told` is told at once.
    pub(super) fn cut(&mut self, sid: usize, told: Option<End>) {
        let Some(socket) = self.sockets.get_mut(&sid) else { return };
        if socket.up.is_dead() && socket.down.is_dead() {
            return;
        }
        trace!(self.now, "socket {sid} is cut");
        self.cuts.insert(sid);
        socket.up.cut(&mut self.chance);
        socket.down.cut(&mut self.chance);
        let delay = socket.path.delay;
        for end in [End::Client, End::Server] {
            if told == Some(end) {
                continue;
            }
            let wait = match self.chance.below(5) {
                // Half open: its own patience must find out.
                0 => continue,
                1 => self.chance.micros(10_000_000),
                _ => delay + self.chance.micros(50_000),
            };
            self.plan_in(wait, Todo::Notice(sid, end));
        }
    }

    /// A connection, or a line, has refused what it was given. True stories have no such thing but a CLOSE.
    pub(super) fn judge(&mut self, end: End, established: bool, error: &ConnectionError) {
        trace!(self.now, "{end:?}: refuses what came: {error:?}");
        let fine = match error {
            // A CLOSE, or the AUTH of a connection that a newer one has overtaken.
            ConnectionError::PeerClosed(_) | ConnectionError::LocallyClosed(CloseCode::Replaced) => true,
            _ if self.hostile.tampered == 0 => false,
            ConnectionError::Altered => true,
            _ => !established,
        };
        assert!(fine, "{end:?}: {error:?}");
    }

    pub(super) fn describe(&mut self) -> String {
        let state = self.client.state();
        let mut text = std::format!("client {state:?}, frozen {:?}", self.frozen_until);
        for uid in [Some(self.client_uid), self.ledger.at(self.client_uid).peer].into_iter().flatten() {
            text += &std::format!("\n{}", self.ledger.describe(uid));
            if let Some(session) = self.session(uid) {
                text += &std::format!("\n  {:?}\n  {:?}", session.counts(), session.credits());
            }
        }
        text
    }

    pub(super) fn path(&mut self) -> Path {
        Path {
            delay: Duration::from_micros(self.plan.delay_micros),
            jitter_micros: self.plan.jitter_micros,
            bandwidth: self.plan.bandwidth,
        }
    }
}

/// The session of that number, as long as its line is here.
pub(super) fn session_of<'a>(
    client: &'a mut Line,
    client_uid: Uid,
    server: &'a mut Server,
    uid: Uid,
) -> Option<&'a mut Session> {
    if uid == client_uid { Some(client.session()) } else { server.line_of(uid).map(Line::session) }
}
