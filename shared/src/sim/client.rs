//! The client's driver in the simulated world: it dials, signs, sends, and hangs up.

use core::time::Duration;

use alloc::{string::ToString, vec::Vec};

use ed25519_dalek::{Signer, SigningKey};

use super::{
    End, Uid,
    chance::Chance,
    driver::transmit,
    link::{Item, Side, Socket, Way},
    plan::Plan,
    server::Server,
    world::{Todo, World},
};
use crate::{
    channel::Delivery,
    close::{CloseCode, FreshReason},
    connection::{ClientConfig, Offer},
    crypto::{Randomness, SignatureAlgorithm},
    error::ConnectionError,
    handshake::{
        auth::{Claims, DeviceKey, Grant, Outcome},
        upgrade::{self, Offered},
    },
    line::{ConnectionNo, Line, LineEvent, LineState},
};

impl World {
    pub(super) fn client_line(server: &Server, device: &SigningKey, plan: &Plan, chance: &mut Chance) -> Line {
        let line = Line::client(Self::client_config(server, device), chance.next());
        if plan.first_try_waits { line.with_first_try_that_waits() } else { line }
    }

    pub(super) fn client_config(server: &Server, device: &SigningKey) -> ClientConfig {
        let spki = [SignatureAlgorithm::Ed25519.spki_prefix(), device.verifying_key().as_bytes()].concat();
        ClientConfig {
            server_key: server.config().identity.public(),
            offer: Offer::Nothing,
            enrolled: true,
            device: DeviceKey::new(SignatureAlgorithm::Ed25519, spki).expect("an Ed25519 SPKI"),
            claims: Claims {
                origin: "https://localhost".to_string(),
                host: "localhost".to_string(),
                name: "sim".to_string(),
            },
        }
    }

    /// The client's run loop. True if anything happened.
    pub(super) fn drive_client(&mut self) -> bool {
        let mut busy = false;
        while let Some(event) = self.client.poll_event() {
            busy = true;
            self.client_event(event);
        }
        for sid in self.sockets.keys().copied().collect::<Vec<_>>() {
            busy |= self.transmit_client(sid);
        }
        if self.client.closed().is_some() && !busy {
            self.begin_another_line();
            return true;
        }
        busy
    }

    fn client_event(&mut self, event: LineEvent) {
        let now = self.now;
        match event {
            LineEvent::DialWanted => self.dial(),
            LineEvent::SignatureWanted(no, message) => {
                if self.chance.one_in(self.plan.slow_signature) {
                    let wait = self.chance.micros(9_000_000);
                    self.plan_in(wait, Todo::Sign(self.lines, no, message));
                } else {
                    self.sign(no, &message);
                }
            }
            LineEvent::Opened(grant) => self.client_opened(&grant),
            LineEvent::SessionEnded(reason, mut session) => {
                self.fresh = Some(reason);
                let uid = self.client_uid;
                trace!(now, "client: {uid:?} is over");
                self.client_uid = self.ledger.begin(End::Client);
                self.begin_again(uid);
                self.check_session_over(&mut session, uid);
                let id = self.client.session().id().expect("it has just begun");
                if let Some(server) = self.server.uid_of(id) {
                    self.ledger.pair(self.client_uid, server);
                }
            }
            LineEvent::ConnectionFailed { no, error, wait } => {
                trace!(now, "client: {no:?} has failed: {error:?}; waits {wait:?}");
            }
            LineEvent::Altered(altered) => {
                trace!(now, "client: {altered:?}");
                assert!(self.hostile.tampered > 0, "nobody has altered anything");
            }
            LineEvent::Standing(told) => self.standing_told(told.standing()),
            LineEvent::Evidence(_) | LineEvent::Away => panic!("a client is asked nothing of persons"),
            LineEvent::StateChanged(state) => {
                trace!(now, "client: is {}", state.word());
                self.states.push(state);
            }
            LineEvent::ChannelOpened(id) => self.channel_opened(self.client_uid, id),
            LineEvent::ChannelChanged(id) => self.channel_changed(self.client_uid, id),
            LineEvent::Closed(error) => self.client_closed(&error),
        }
    }

    fn dial(&mut self) {
        assert!(!self.away, "nobody is here who could sign");
        let randomness = Randomness::new(self.chance.array());
        let Ok(dialled) = self.client.dial(self.now, randomness) else { return };
        let sid = self.last_socket + 1;
        self.last_socket = sid;
        let path = self.path();
        let lingers = if self.chance.one_in(2) { self.chance.micros(500_000) } else { Duration::ZERO };
        let mut socket = Socket {
            no: dialled.no,
            line: self.lines,
            path,
            up: Way::default(),
            down: Way::default(),
            client: Side::Opening,
            server: Side::Opening,
            withheld: false,
            lingers,
            hanging_up: false,
            uid: None,
        };
        trace!(self.now, "client: dials with socket {sid}");
        if self.chance.one_in(self.plan.unreachable) {
            let wait = self.chance.micros(5_000_000);
            self.plan_in(wait, Todo::Unreachable(sid));
        } else {
            let offered = upgrade::read_offer(&dialled.offer.join(", "));
            let m1 = match offered {
                // Some proxies strip it.
                Offered::M1(m1) if !self.chance.one_in(4) => m1,
                Offered::M1(_) | Offered::Bare => Vec::new(),
                Offered::Nothing => panic!("nothing was offered"),
            };
            socket.withheld = !m1.is_empty() && self.chance.one_in(self.plan.withheld);
            socket.up.send(self.now, Item::Request(m1), &path, &mut self.chance);
            if self.chance.one_in(self.plan.early_cut) {
                let wait = path.delay * 7 + Duration::from_micros(path.jitter_micros * 3);
                let wait = self.chance.micros(u64::try_from(wait.as_micros()).expect("short"));
                self.plan_in(wait, Todo::Cut(sid));
            }
        }
        self.sockets.insert(sid, socket);
    }

    pub(super) fn unreachable(&mut self, sid: usize) {
        if let Some(socket) = self.sockets.remove(&sid)
            && socket.line == self.lines
        {
            trace!(self.now, "client: socket {sid} cannot be opened");
            self.client.handle_unreachable(self.now, socket.no);
        }
    }

    pub(super) fn sign(&mut self, no: ConnectionNo, message: &[u8]) {
        let signature = self.device.sign(message).to_bytes();
        self.client.provide_signature(self.now, no, signature);
        let line = self.lines;
        if let Some(socket) = self.sockets.values_mut().find(|socket| socket.line == line && socket.no == no) {
            socket.uid = Some(self.client_uid);
        }
    }

    fn client_opened(&mut self, grant: &Grant) {
        trace!(self.now, "client: let in: {:?}", grant.outcome);
        self.ever_open = true;
        self.opened += 1;
        assert_eq!(self.client.session().id(), Some(grant.session_id));
        self.standing_told(grant.standing.clone());
        match grant.outcome {
            // An earlier AUTH may have begun a session, perhaps at a process that is gone.
            Outcome::New | Outcome::Resumed { .. } => {
                if let Some(server) = self.server.uid_of(grant.session_id) {
                    self.ledger.pair_anew(self.client_uid, server);
                }
            }
            Outcome::Fresh(FreshReason::Unknown) => {}
            Outcome::Fresh(reason) => {
                let [a, b, c, d, ..] = grant.session_id.0;
                let anew = u32::from_be_bytes([a, b, c, d]) > 1;
                assert!(reason != FreshReason::Restarted || anew);
            }
        }
    }

    pub(super) fn client_takes(&mut self, sid: usize, item: Item) {
        let now = self.now;
        let Some(socket) = self.sockets.get_mut(&sid) else { return };
        let (no, ours) = (socket.no, socket.line == self.lines);
        match item {
            Item::Upgraded(selected) => {
                socket.client = Side::Open;
                if ours {
                    self.client.handle_upgrade(now, no, selected);
                }
            }
            Item::Message(mut message) if ours => {
                let discarded = self.client.is_done(no);
                let result = self.client.handle_message(now, no, &mut message);
                assert!(!discarded || result.is_ok(), "what came on a replaced connection was read: {result:?}");
                if let Err(error) = result {
                    let established = self.ever_open && !matches!(error, ConnectionError::NotYourServer);
                    self.judge(End::Client, established, &error);
                }
            }
            Item::Text if ours => self.client.handle_text(now, no),
            Item::Close => self.client_lost(sid),
            _ => {}
        }
    }

    /// The client's end of a socket is over.
    pub(super) fn client_lost(&mut self, sid: usize) {
        let Some(socket) = self.sockets.get_mut(&sid) else { return };
        if socket.client == Side::Gone {
            return;
        }
        trace!(self.now, "client: socket {sid} is gone");
        socket.close(self.now, End::Client, &mut self.chance);
        let (no, ours) = (socket.no, socket.line == self.lines);
        if ours {
            self.client.handle_lost(self.now, no);
        }
    }

    fn transmit_client(&mut self, sid: usize) -> bool {
        let Some(socket) = self.sockets.get_mut(&sid).filter(|socket| socket.line == self.lines) else { return false };
        let no = socket.no;
        let mut wrote = false;
        if socket.client == Side::Open {
            let (hostile, chance) = (&mut self.hostile, &mut self.chance);
            wrote = transmit(&mut self.client, no, socket, End::Client, self.now, hostile, chance);
        }
        let done = self.client.is_done(no) && (socket.client == Side::Opening || !self.client.wants_transmit(no));
        if done && socket.client != Side::Gone && !socket.hanging_up {
            socket.hanging_up = true;
            let wait = socket.lingers;
            self.plan_in(wait, Todo::HangUp(sid));
        }
        wrote
    }

    fn client_closed(&mut self, error: &ConnectionError) {
        trace!(self.now, "client: the line is over: {error:?}");
        let expected = match error {
            ConnectionError::LocallyClosed(_) => true,
            ConnectionError::PeerClosed(close) if close.code == CloseCode::Normal => true,
            ConnectionError::PeerClosed(close) if close.code == CloseCode::Altered => self.hostile.tampered >= 3,
            ConnectionError::Altered | ConnectionError::NotYourServer if self.hostile.tampered >= 3 => true,
            // The first connection has only one try, and that in two forms.
            ConnectionError::Lost
            | ConnectionError::Unanswered
            | ConnectionError::Unreachable
            | ConnectionError::TimedOut => !self.ever_open && !self.plan.first_try_waits,
            _ => false,
        };
        let first = !self.ever_open && self.hostile.tampered > 0;
        let refused =
            matches!(error, ConnectionError::PeerClosed(close) if !self.ever_open && close.code == CloseCode::Timeout);
        assert!(expected || first || refused, "client: the line ended by {error:?}");
        assert_eq!(self.client.state(), LineState::Closed);
        self.ended.push((self.client_uid, error.clone()));
        self.check_over(self.client_uid);
    }

    /// The channels of which nothing had left go on in the session that took the place of `before`.
    fn begin_again(&mut self, before: Uid) {
        let session = self.client.session();
        let log = &mut self.ledger.sessions[before.0].channels;
        let moved: Vec<_> = log.keys().copied().filter(|id| session.has_channel(*id)).collect();
        for id in moved {
            let log = self.ledger.sessions[before.0].channels.remove(&id).expect("it was there");
            let settled = log.sent.iter().take(log.settled).any(|sent| sent.delivery != Delivery::NotSent);
            assert!(log.opened_here && log.got == 0 && log.taken == 0 && !settled, "{id:?} had begun: {log:?}");
            self.ledger.sessions[self.client_uid.0].channels.insert(id, log);
        }
    }

    /// The application opens another line, since the last one is closed.
    fn begin_another_line(&mut self) {
        assert_eq!(self.client.poll_timeout(), None, "a closed line wants to be woken");
        let ours: Vec<_> =
            self.sockets.iter().filter(|(_, socket)| socket.line == self.lines).map(|(sid, _)| *sid).collect();
        for sid in ours {
            self.client_lost(sid);
        }
        assert!(self.client.poll_event().is_none(), "a closed line has more to tell");
        self.lines += 1;
        self.shown.clear();
        (self.away, self.withdrawn) = (false, false);
        self.ever_open = false;
        self.client = Self::client_line(&self.server, &self.device, &self.plan, &mut self.chance);
        self.client_uid = self.ledger.begin(End::Client);
    }
}
