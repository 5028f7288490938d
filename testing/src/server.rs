//! The way in: sockets, the handshake, the verdict; and what JavaScript is told.

use std::{
    cell::RefCell,
    collections::{BTreeMap, VecDeque},
    fmt,
    rc::Rc,
    sync::Arc,
};

use duologue::{
    CloseCode, Connection, ConnectionError, ConnectionNo, Event, EvidenceKind, FreshReason, Invite, LineEvent,
    LineState, Randomness, Secret, ServerConfig, ServerIdentity, Services,
    crypto::RANDOMNESS_LEN,
    upgrade::{self, Offered},
};
use js_sys::Array;
use wasm_bindgen::prelude::*;

use crate::{instant, person::Judged, random, session::Session, sessions::Sessions};

/// A socket of JavaScript's, by its number.
pub(crate) enum Socket {
    /// Nobody has proved anything yet.
    Greeting(Box<Connection>),
    /// What it shows of its person is being judged; what comes meanwhile waits.
    Judging(Box<Judged>),
    /// It carries the line of this session.
    Carrying(u32, ConnectionNo),
    /// It has a last word to say.
    Leaving(Box<Connection>),
}

pub(crate) struct Inner {
    config: ServerConfig,
    pub(crate) sessions: Sessions,
    pub(crate) sockets: BTreeMap<u32, Socket>,
    /// What AUTH_OK says that there is.
    pub(crate) services: Services,
    /// What whoever comes is told instead of being let in.
    pub(crate) refusal: Option<CloseCode>,
    /// Of which sockets it is to be told that there is something to judge.
    pub(crate) to_judge: VecDeque<u32>,
    /// Called when [`Server::poll`], [`Server::transmit`] and [`Server::timeout`] have something new to say.
    due: js_sys::Function,
}

impl Inner {
    pub(crate) fn wake(&self) {
        // It only makes a microtask, which cannot fail.
        let _ = self.due.call0(&JsValue::NULL);
    }
}

/// A server in memory. Its sessions are told by [`Self::poll`] and commanded through [`Self::session`].
#[wasm_bindgen]
pub struct Server(pub(crate) Rc<RefCell<Inner>>);

#[wasm_bindgen]
impl Server {
    /// A server with a key of its own. `due` is called when there is something to poll or to transmit.
    ///
    /// # Errors
    /// If the platform gives no random bytes.
    #[wasm_bindgen(constructor)]
    pub fn new(due: js_sys::Function) -> Result<Self, JsValue> {
        let identity = Arc::new(ServerIdentity::new(Secret::new(random()?)));
        let (config, sessions) = (ServerConfig { identity, next: None }, Sessions::new()?);
        let inner = Inner {
            config,
            sessions,
            sockets: BTreeMap::new(),
            services: Services::UNTOLD,
            refusal: None,
            to_judge: VecDeque::new(),
            due,
        };
        Ok(Self(Rc::new(RefCell::new(inner))))
    }

    /// A link with a new invite, for one device.
    ///
    /// # Errors
    /// If the platform gives no random bytes.
    pub fn invite(&self, address: &str) -> Result<String, JsValue> {
        let mut inner = self.0.borrow_mut();
        let invite = Invite::new(random()?, inner.config.identity.public());
        inner.sessions.invite(&invite);
        Ok(invite.to_link(address))
    }

    /// A client opens a socket and offers these subprotocols, with commas; the one that is selected, none if none is ours.
    ///
    /// # Errors
    /// If the platform gives no random bytes.
    pub fn accept(&self, socket: u32, offered: &str, now: f64) -> Result<Option<String>, JsValue> {
        let (selected, m1) = match upgrade::read_offer(offered) {
            Offered::Nothing => return Ok(None),
            Offered::Bare => (upgrade::WITHOUT_M1, None),
            Offered::M1(m1) => (upgrade::WITH_M1, Some(m1)),
        };
        let randomness = Randomness::new(random::<RANDOMNESS_LEN>()?);
        let mut inner = self.0.borrow_mut();
        let connection = Connection::accept(inner.config.clone(), randomness, instant(now));
        inner.sockets.insert(socket, Socket::Greeting(Box::new(connection)));
        drop(inner);
        if let Some(m1) = m1 {
            self.receive(socket, &m1, now)?;
        }
        Ok(Some(selected.to_owned()))
    }

    /// A binary message has come.
    ///
    /// # Errors
    /// If the platform gives no random bytes.
    pub fn receive(&self, socket: u32, message: &[u8], now: f64) -> Result<(), JsValue> {
        let inner = &mut *self.0.borrow_mut();
        let now = instant(now);
        match inner.sockets.get_mut(&socket) {
            // An error ends the connection, which is seen below.
            Some(Socket::Greeting(connection)) => drop(connection.handle_message(now, &mut message.to_vec())),
            Some(Socket::Judging(judged)) => judged.waiting.push(message.to_vec()),
            Some(Socket::Carrying(session, no)) => {
                if let Some(held) = inner.sessions.get(*session) {
                    let _ = held.line.handle_message(now, *no, &mut message.to_vec());
                }
            }
            Some(Socket::Leaving(_)) | None => {}
        }
        inner.greet(socket, now)?;
        inner.wake();
        Ok(())
    }

    /// A text message has come.
    pub fn text(&self, socket: u32, now: f64) {
        let inner = &mut *self.0.borrow_mut();
        match inner.sockets.get_mut(&socket) {
            Some(Socket::Greeting(connection)) => drop(connection.handle_text(instant(now))),
            Some(Socket::Judging(judged)) => drop(judged.connection.handle_text(instant(now))),
            Some(Socket::Carrying(session, no)) => {
                if let Some(held) = inner.sessions.get(*session) {
                    held.line.handle_text(instant(now), *no);
                }
            }
            Some(Socket::Leaving(_)) | None => {}
        }
        inner.wake();
    }

    /// A socket has ended.
    pub fn lost(&self, socket: u32, now: f64) {
        let inner = &mut *self.0.borrow_mut();
        if let Some(Socket::Carrying(session, no)) = inner.sockets.remove(&socket)
            && let Some(held) = inner.sessions.get(session)
        {
            held.line.handle_lost(instant(now), no);
        }
        inner.wake();
    }

    /// The next message for a socket.
    #[must_use]
    pub fn transmit(&self, socket: u32, now: f64) -> Option<Vec<u8>> {
        let inner = &mut *self.0.borrow_mut();
        let mut message = Vec::new();
        let is_one = match inner.sockets.get_mut(&socket)? {
            Socket::Greeting(connection) | Socket::Leaving(connection) => {
                connection.poll_transmit(instant(now), &mut message)
            }
            Socket::Judging(_) => false,
            Socket::Carrying(session, no) => {
                inner.sessions.get(*session)?.line.poll_transmit(instant(now), *no, &mut message)
            }
        };
        is_one.then_some(message)
    }

    /// True if the socket is to be closed once nothing more is transmitted on it.
    #[wasm_bindgen(js_name = isDone)]
    #[must_use]
    pub fn is_done(&self, socket: u32) -> bool {
        let inner = &mut *self.0.borrow_mut();
        match inner.sockets.get(&socket) {
            Some(Socket::Greeting(_) | Socket::Judging(_)) => false,
            Some(Socket::Carrying(session, no)) => {
                inner.sessions.get(*session).is_none_or(|held| held.line.is_done(*no))
            }
            Some(Socket::Leaving(_)) | None => true,
        }
    }

    /// When [`Self::elapsed`] is to be called.
    #[must_use]
    pub fn timeout(&self) -> Option<f64> {
        let inner = &mut *self.0.borrow_mut();
        let greeting = inner.sockets.values().filter_map(|socket| match socket {
            Socket::Greeting(connection) => connection.poll_timeout(),
            _ => None,
        });
        let lines = inner.sessions.iter_mut().flat_map(|(_, held)| [held.line.poll_timeout(), held.seat.timeout()]);
        #[expect(clippy::cast_precision_loss, reason = "microseconds of a test's life fit 2^53")]
        greeting.chain(lines.flatten()).min().map(|at| at.as_micros() as f64 / 1_000.0)
    }

    /// Time has passed.
    ///
    /// # Errors
    /// If the platform gives no random bytes.
    pub fn elapsed(&self, now: f64) -> Result<(), JsValue> {
        let inner = &mut *self.0.borrow_mut();
        let now = instant(now);
        for (_, held) in inner.sessions.iter_mut() {
            held.line.handle_timeout(now);
        }
        inner.look_for_ends(now);
        let greeting = inner.sockets.iter_mut().filter_map(|(socket, state)| match state {
            Socket::Greeting(connection) => {
                connection.handle_timeout(now);
                Some(*socket)
            }
            _ => None,
        });
        for socket in greeting.collect::<Vec<_>>() {
            inner.greet(socket, now)?;
        }
        Ok(())
    }

    /// What is new, one thing a call; undefined if nothing is:
    /// `["session", no, device, name]`, `["standing", no, level, subject]`, `["judge", socket, token, algorithm, spki]`,
    /// `["evidence", no, token, number, algorithm, spki]`, `["signed-out", no, number]`, `["state", no, word]`, `["channel", no, id, label, isStream]`, `["changed", no, id]`,
    /// `["closed", no, code, reason]`.
    #[must_use]
    pub fn poll(&self) -> Option<Array> {
        let inner = &mut *self.0.borrow_mut();
        if let Some(socket) = inner.to_judge.pop_front()
            && let Some(Socket::Judging(judged)) = inner.sockets.get(&socket)
        {
            return Some(news("judge", socket, judged.details()));
        }
        for (no, held) in inner.sessions.iter_mut() {
            if std::mem::take(&mut held.is_new) {
                return Some(news("session", no, [held.device.to_string().into(), held.name.as_str().into()]));
            }
            if std::mem::take(&mut held.has_moved) {
                return Some(news("standing", no, [held.seat.level().into(), held.seat.who().into()]));
            }
            // The client's own events do not come to a server.
            while let Some(event) = held.line.poll_event() {
                return Some(match event {
                    LineEvent::ChannelOpened(id) => {
                        let channel = held.line.channel(id);
                        let (label, is_stream) = (channel.label(), channel.is_stream());
                        news("channel", no, [id.0.into(), label.into(), is_stream.into()])
                    }
                    LineEvent::ChannelChanged(_) if held.line.closed().is_some() => continue,
                    LineEvent::ChannelChanged(id) => news("changed", no, [id.0.into()]),
                    LineEvent::StateChanged(LineState::Closed) => continue,
                    LineEvent::StateChanged(state) => news("state", no, [state.word().into()]),
                    LineEvent::Evidence(evidence) if evidence.kind == EvidenceKind::SignOut => {
                        news("signed-out", no, [evidence.number.into()])
                    }
                    LineEvent::Evidence(evidence) => news("evidence", no, held.details(&evidence)),
                    LineEvent::Closed(cause) => {
                        news("closed", no, [cause.word().into(), sentence(&cause).as_str().into()])
                    }
                    _ => continue,
                });
            }
        }
        None
    }

    /// The commands of a session.
    #[must_use]
    pub fn session(&self, no: u32) -> Session {
        Session::new(Rc::clone(&self.0), no)
    }

    /// The labels that whoever comes is told of.
    pub fn serve(&self, labels: Vec<String>) {
        self.0.borrow_mut().services = Services::told(labels.iter().map(String::as_str));
    }

    /// From now on whoever comes is told this code, such as `origin-refused`, instead of being let in; none lets them in again.
    ///
    /// # Errors
    /// If there is no such code.
    pub fn refuse(&self, code: Option<String>) -> Result<(), JsValue> {
        let named = |word: &String| CloseCode::ALL.iter().copied().find(|code| code.word() == word);
        self.0.borrow_mut().refusal = match &code {
            None => None,
            Some(word) => Some(named(word).ok_or_else(|| refused("A server refuses nobody with that code."))?),
        };
        Ok(())
    }

    /// Ends all sessions, which their clients learn when they come back: `session-restarted`, or another of those reasons.
    /// With `session-restarted` the server is a new one, and knows nothing of them.
    ///
    /// # Errors
    /// If there is no such reason, or the platform gives no random bytes.
    pub fn forget(&self, reason: &str) -> Result<(), JsValue> {
        use FreshReason::{Altered, Evicted, Expired, Restarted, Subject, Unknown};
        let reason =
            [Expired, Unknown, Evicted, Restarted, Altered, Subject].into_iter().find(|known| known.word() == reason);
        let reason = reason.ok_or_else(|| refused("A server ends no session for that reason."))?;
        let inner = &mut *self.0.borrow_mut();
        if reason == Restarted {
            inner.sessions.restart()?;
            inner.sockets.clear();
        } else {
            let all = inner.sessions.iter_mut().map(|(no, _)| no).collect::<Vec<_>>();
            all.into_iter().for_each(|no| inner.sessions.expire(no, reason));
        }
        inner.wake();
        Ok(())
    }

    /// Ends a session on purpose, or, where `revoke`, removes its device for good.
    pub fn close(&self, no: u32, revoke: bool, reason: &str, now: f64) {
        let inner = &mut *self.0.borrow_mut();
        let code = if revoke { CloseCode::DeviceRevoked } else { CloseCode::Normal };
        if revoke {
            inner.sessions.revoke(no);
        }
        if let Some(held) = inner.sessions.get(no) {
            held.line.close(instant(now), code, reason);
        }
        inner.wake();
    }

    /// JavaScript is done with a session that is closed, once its last record has left.
    pub fn release(&self, no: u32) {
        self.0.borrow_mut().sessions.remove(no);
    }
}

impl Inner {
    /// Answers what a connection asks before it carries anything.
    pub(crate) fn greet(&mut self, socket: u32, now: duologue::Instant) -> Result<(), JsValue> {
        loop {
            let Some(Socket::Greeting(connection)) = self.sockets.get_mut(&socket) else { return Ok(()) };
            match connection.poll_event() {
                Some(Event::SecretWanted(credential)) => {
                    let secret = self.sessions.secret(credential);
                    // An error closes the connection, which is the next event.
                    let _ = connection.provide_secret(now, secret.as_ref());
                }
                Some(Event::AuthReceived(request)) => return self.receive_auth(socket, *request, now),
                Some(Event::Closed(_)) => {
                    self.leave(socket);
                    return Ok(());
                }
                Some(_) => {}
                None => return Ok(()),
            }
        }
    }

    fn leave(&mut self, socket: u32) {
        if let Some(Socket::Greeting(connection)) = self.sockets.remove(&socket) {
            self.sockets.insert(socket, Socket::Leaving(connection));
        }
    }
}

pub(crate) fn news(what: &str, no: u32, details: impl IntoIterator<Item = JsValue>) -> Array {
    [what.into(), no.into()].into_iter().chain(details).collect()
}

fn refused(sentence: &str) -> JsValue {
    js_sys::RangeError::new(sentence).into()
}

fn sentence(cause: &ConnectionError) -> String {
    match cause {
        ConnectionError::PeerClosed(close) => close.to_string(),
        ConnectionError::LocallyClosed(code) => code.to_string(),
        other => other.to_string(),
    }
}

impl fmt::Debug for Server {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Server")
    }
}
