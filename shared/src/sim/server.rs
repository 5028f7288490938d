//! The server of the simulated world: it accepts, decides, keeps sessions and remembers for a while those that are over.

use alloc::{collections::BTreeMap, sync::Arc, vec::Vec};

use super::{
    End, Uid,
    driver::{pass, transmit},
    link::{Item, Side},
    world::World,
};
use crate::{
    budget::Budget,
    close::{CloseCode, FreshReason},
    connection::{AuthRequest, Connection, Event, ServerConfig, ServerIdentity},
    crypto::{Randomness, Secret},
    error::ConnectionError,
    handshake::{
        auth::{Grant, Outcome, Services, Ticket, Wanted},
        evidence::Standing,
        hello::Credential,
        upgrade,
    },
    ids::{SessionId, TicketId},
    line::{ConnectionNo, Line, LineEvent},
};

/// What all sessions of the simulated server may hold beyond their first windows.
pub(super) const BUDGET_LEN: usize = 64 * 1_024 * 1_024;

#[derive(Debug)]
pub(super) struct ServerLine {
    pub(super) line: Line,
    pub(super) uid: Uid,
    pub(super) session_id: SessionId,
    /// As the client is told it.
    pub(super) standing: Standing,
}

#[derive(Debug)]
pub(super) struct Server {
    config: ServerConfig,
    /// Which process this is.
    pub(super) boot: u32,
    pub(super) budget: Budget,
    pub(super) lines: BTreeMap<u32, ServerLine>,
    last_key: u32,
    /// Of all processes: what one of them has granted may arrive when the next is there.
    uids: BTreeMap<SessionId, Uid>,
    tombstones: BTreeMap<SessionId, FreshReason>,
    tickets: BTreeMap<TicketId, Secret>,
    accepted: BTreeMap<usize, Connection>,
    pub(super) carried: BTreeMap<usize, (u32, ConnectionNo)>,
}

impl Server {
    pub(super) fn new() -> Self {
        let identity = ServerIdentity::new(Secret::new([1; 32]));
        Self {
            config: ServerConfig { identity: Arc::new(identity), next: None },
            boot: 1,
            budget: Budget::new(BUDGET_LEN),
            lines: BTreeMap::new(),
            last_key: 0,
            uids: BTreeMap::new(),
            tombstones: BTreeMap::new(),
            tickets: BTreeMap::new(),
            accepted: BTreeMap::new(),
            carried: BTreeMap::new(),
        }
    }

    pub(super) fn config(&self) -> &ServerConfig {
        &self.config
    }

    pub(super) fn line_of(&mut self, uid: Uid) -> Option<&mut Line> {
        self.lines.values_mut().find(|line| line.uid == uid).map(|line| &mut line.line)
    }

    pub(super) fn uid_of(&self, session_id: SessionId) -> Option<Uid> {
        self.uids.get(&session_id).copied()
    }

    pub(super) fn next_timeout(&self) -> Option<crate::time::Instant> {
        let accepted = self.accepted.values().filter_map(Connection::poll_timeout);
        accepted.chain(self.lines.values().filter_map(|line| line.line.poll_timeout())).min()
    }

    /// Nothing of a process outlives it.
    pub(super) fn forget(&mut self) -> BTreeMap<u32, ServerLine> {
        self.accepted.clear();
        self.carried.clear();
        self.tombstones.clear();
        core::mem::take(&mut self.lines)
    }

    fn grant(&mut self, session_id: SessionId, outcome: Outcome, standing: Standing, randomness: [u8; 16]) -> Grant {
        let id = TicketId(randomness);
        let secret = Secret::new(crate::crypto::sha256(&randomness));
        self.tickets.insert(id, secret.clone());
        while self.tickets.len() > 4 {
            self.tickets.pop_first();
        }
        let ticket = Ticket { id, secret, lifetime_secs: 60 };
        Grant { session_id, outcome, standing, keys: None, ticket, services: Services::UNTOLD }
    }
}

impl World {
    pub(super) fn server_timeouts(&mut self) {
        let now = self.now;
        for connection in self.server.accepted.values_mut() {
            connection.handle_timeout(now);
            assert!(connection.poll_timeout().is_none_or(|at| at > now), "a timeout in the past is not consumed");
        }
        for line in self.server.lines.values_mut() {
            line.line.handle_timeout(now);
            assert!(line.line.poll_timeout().is_none_or(|at| at > now), "a timeout in the past is not consumed");
        }
    }

    pub(super) fn server_takes(&mut self, sid: usize, item: Item) {
        let now = self.now;
        match item {
            Item::Request(mut m1) => {
                let randomness = Randomness::new(self.chance.array());
                let mut connection = Connection::accept(self.server.config.clone(), randomness, now);
                let with = !m1.is_empty();
                let selected = if with { upgrade::WITH_M1 } else { upgrade::WITHOUT_M1 };
                if with && let Err(error) = connection.handle_message(now, &mut m1) {
                    self.judge(End::Server, false, &error);
                }
                self.server.accepted.insert(sid, connection);
                if let Some(socket) = self.sockets.get_mut(&sid) {
                    socket.server = Side::Open;
                }
                self.send(sid, End::Server, Item::Upgraded(selected));
            }
            Item::Message(mut message) => {
                if let Some(connection) = self.server.accepted.get_mut(&sid) {
                    if let Err(error) = connection.handle_message(now, &mut message) {
                        self.judge(End::Server, false, &error);
                    }
                } else if let Some((key, no)) = self.server.carried.get(&sid).copied()
                    && let Some(line) = self.server.lines.get_mut(&key)
                {
                    let discarded = line.line.is_done(no);
                    let result = line.line.handle_message(now, no, &mut message);
                    assert!(!discarded || result.is_ok(), "what came on a replaced connection was read: {result:?}");
                    if let Err(error) = result {
                        self.judge(End::Server, true, &error);
                    }
                }
            }
            Item::Text => {
                if let Some(connection) = self.server.accepted.get_mut(&sid) {
                    let _ = connection.handle_text(now);
                } else if let Some((key, no)) = self.server.carried.get(&sid).copied()
                    && let Some(line) = self.server.lines.get_mut(&key)
                {
                    line.line.handle_text(now, no);
                }
            }
            Item::Close => self.server_lost(sid),
            Item::Upgraded(_) => {}
        }
    }

    /// The server's end of a socket is over.
    pub(super) fn server_lost(&mut self, sid: usize) {
        let Some(socket) = self.sockets.get_mut(&sid) else { return };
        if socket.server == Side::Gone {
            return;
        }
        trace!(self.now, "server: socket {sid} is gone");
        socket.close(self.now, End::Server, &mut self.chance);
        self.server.accepted.remove(&sid);
        if let Some((key, no)) = self.server.carried.remove(&sid)
            && let Some(line) = self.server.lines.get_mut(&key)
        {
            line.line.handle_lost(self.now, no);
        }
    }

    /// The server's run loop. True if anything happened.
    pub(super) fn drive_server(&mut self) -> bool {
        let mut busy = false;
        for sid in self.server.accepted.keys().copied().collect::<Vec<_>>() {
            busy |= self.drive_accepted(sid);
        }
        for key in self.server.lines.keys().copied().collect::<Vec<_>>() {
            while let Some(event) = self.server.lines.get_mut(&key).and_then(|line| line.line.poll_event()) {
                busy = true;
                let uid = self.server.lines[&key].uid;
                match event {
                    LineEvent::Evidence(evidence) => self.evidence_came(key, &evidence),
                    LineEvent::Away => self.nobody_is_there(key),
                    LineEvent::ChannelOpened(id) => self.channel_opened(uid, id),
                    LineEvent::ChannelChanged(id) => self.channel_changed(uid, id),
                    LineEvent::StateChanged(state) => trace!(self.now, "server: {uid:?} is {}", state.word()),
                    LineEvent::Closed(error) => self.server_line_closed(key, &error),
                    other => panic!("a server is not asked {other:?}"),
                }
            }
        }
        for (sid, (key, no)) in self.server.carried.clone() {
            busy |= self.transmit_server(sid, key, no);
        }
        self.server.lines.values_mut().for_each(|line| line.line.settle_account());
        let done = |line: &ServerLine, carried: &BTreeMap<usize, (u32, ConnectionNo)>, key: u32| {
            line.line.closed().is_some() && !carried.values().any(|(other, _)| *other == key)
        };
        let carried = &self.server.carried;
        self.server.lines.retain(|key, line| !done(line, carried, *key));
        busy
    }

    fn drive_accepted(&mut self, sid: usize) -> bool {
        let mut busy = false;
        while let Some(event) = self.server.accepted.get_mut(&sid).and_then(Connection::poll_event) {
            busy = true;
            match event {
                Event::SecretWanted(credential) => {
                    let secret = match credential {
                        Credential::Ticket(id) => self.server.tickets.get(&id).cloned(),
                        _ => None,
                    };
                    let connection = self.server.accepted.get_mut(&sid).expect("it has just spoken");
                    if let Err(error) = connection.provide_secret(self.now, secret.as_ref()) {
                        self.judge(End::Server, false, &error);
                    }
                }
                Event::AuthReceived(request) => {
                    let connection = self.server.accepted.remove(&sid).expect("it has just spoken");
                    self.decide(sid, connection, &request);
                }
                Event::Closed(error) => trace!(self.now, "server: socket {sid} came to nothing: {error}"),
                other => panic!("a server is not asked {other:?}"),
            }
        }
        let Some(connection) = self.server.accepted.get_mut(&sid) else { return busy };
        let mut out = Vec::new();
        while connection.poll_transmit(self.now, &mut out) {
            busy = true;
            let path = self.sockets[&sid].path;
            let socket = self.sockets.get_mut(&sid).expect("it is there as long as its connection");
            pass(socket, End::Server, self.now, core::mem::take(&mut out), &path, &mut self.hostile, &mut self.chance);
        }
        assert!(!connection.wants_transmit());
        if connection.is_closed() {
            self.server_lost(sid);
        }
        busy
    }

    /// A device has proved itself.
    fn decide(&mut self, sid: usize, connection: Connection, request: &AuthRequest) {
        let now = self.now;
        let client = self.sockets[&sid].uid.expect("AUTH spoke for a session");
        let is_meant = |line: &mut ServerLine| match request.wanted {
            Wanted::Resume(resume) => line.session_id == resume.session_id,
            Wanted::Born(birth) => line.line.session().birth() == Some(birth),
        };
        let mut lines = self.server.lines.iter_mut().filter(|(_, line)| line.line.closed().is_none());
        let known = lines.find_map(|(key, line)| {
            let goes_on = match request.wanted {
                Wanted::Resume(resume) => line.line.can_resume(&resume),
                Wanted::Born(_) => true,
            };
            (is_meant(line) && goes_on).then_some(*key)
        });
        let (key, received, outcome) = match (known, request.wanted) {
            (Some(key), Wanted::Resume(resume)) => (key, Some(resume.received), Outcome::New),
            (Some(key), Wanted::Born(_)) => (key, Some(0), Outcome::New),
            (_, wanted) => {
                let key = self.server.last_key + 1;
                self.server.last_key = key;
                let [a, b, c, d] = self.server.boot.to_be_bytes();
                let [e, f, g, h] = key.to_be_bytes();
                let session_id = SessionId([a, b, c, d, e, f, g, h, 0, 0, 0, 0, 0, 0, 0, 0]);
                let uid = self.ledger.begin(End::Server);
                self.server.uids.insert(session_id, uid);
                let mut line = Line::server(self.server.budget.clone());
                let outcome = match wanted {
                    Wanted::Born(birth) => {
                        if request.attempt == 1 {
                            line = line.born(birth);
                            // What follows the first AUTH is heard before the client knows of it.
                            self.ledger.pair_anew(client, uid);
                        }
                        Outcome::New
                    }
                    Wanted::Resume(resume) if !resume.session_id.0.starts_with(&[a, b, c, d]) => {
                        Outcome::Fresh(FreshReason::Restarted)
                    }
                    Wanted::Resume(resume) => {
                        let reason = self.server.tombstones.get(&resume.session_id).copied();
                        Outcome::Fresh(reason.unwrap_or(FreshReason::Unknown))
                    }
                };
                let standing = Standing::of_level(1);
                self.server.lines.insert(key, ServerLine { line, uid, session_id, standing });
                (key, None, outcome)
            }
        };
        let (uid, session_id) = (self.server.lines[&key].uid, self.server.lines[&key].session_id);
        trace!(now, "server: AUTH on socket {sid}: {outcome:?} {received:?} for {uid:?}");
        let standing = self.standing_with(key, &request.evidence);
        let grant = self.server.grant(session_id, outcome, standing.clone(), self.chance.array());
        let held = self.server.lines.get_mut(&key).expect("it is there");
        match held.line.attach(now, connection, received, grant) {
            Ok(no) => {
                held.standing = standing;
                self.server.carried.insert(sid, (key, no));
            }
            Err(rejected) => {
                self.judge(End::Server, true, &rejected.error);
                // Its last word, then its end.
                self.server.accepted.insert(sid, rejected.connection);
            }
        }
    }

    fn transmit_server(&mut self, sid: usize, key: u32, no: ConnectionNo) -> bool {
        let (Some(line), Some(socket)) = (self.server.lines.get_mut(&key), self.sockets.get_mut(&sid)) else {
            return false;
        };
        let wrote = transmit(&mut line.line, no, socket, End::Server, self.now, &mut self.hostile, &mut self.chance);
        if line.line.is_done(no) && !line.line.wants_transmit(no) {
            self.server_lost(sid);
            return true;
        }
        wrote
    }

    fn server_line_closed(&mut self, key: u32, error: &ConnectionError) {
        let line = self.server.lines.get_mut(&key).expect("it has just spoken");
        let uid = line.uid;
        trace!(self.now, "server: {uid:?} is over: {error}");
        let reason = match error {
            ConnectionError::SessionEnded(reason) => *reason,
            _ => FreshReason::Unknown,
        };
        let expected = match error {
            ConnectionError::SessionEnded(_) | ConnectionError::LocallyClosed(_) => true,
            ConnectionError::PeerClosed(close) => close.code == CloseCode::Normal,
            ConnectionError::Altered => self.hostile.tampered >= 3,
            _ => false,
        };
        assert!(expected, "server: {uid:?} ended by {error:?}");
        self.server.tombstones.insert(line.session_id, reason);
        self.ended.push((uid, error.clone()));
        self.check_over(uid);
        let taken = core::mem::take(&mut self.taken_at_close);
        if matches!(error, ConnectionError::PeerClosed(_)) {
            self.ledger.check_told(uid, &taken);
        }
    }
}
