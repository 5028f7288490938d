//! What somebody shows of himself, behind AUTH or on the open line, and what becomes of the session by it: as the real server does it
//! (`server/src/lines/person.rs`), but that a function of the test says what a token is worth.

use duologue::{
    AuthRequest, CloseCode, Connection, Evidence, EvidenceKind, FreshReason, Grant, Instant, Outcome, Wanted,
};
use js_sys::Uint8Array;
use wasm_bindgen::prelude::*;

use crate::{
    instant,
    seat::{EXPIRED, Ending, OtherSubject, Proved, SIGNED_OUT, Verdict},
    server::{Inner, Server, Socket},
    sessions::Held,
};

/// A connection whose AUTH shows something that is being judged.
pub(crate) struct Judged {
    pub(crate) connection: Box<Connection>,
    request: AuthRequest,
    /// What has come behind AUTH.
    pub(crate) waiting: Vec<Vec<u8>>,
}

impl Judged {
    /// The token, and the key of the device that brings it.
    pub(crate) fn details(&self) -> [JsValue; 3] {
        let token = self.request.evidence.last().map_or(&[][..], Evidence::data);
        let key = &self.request.device;
        [text(token), (key.algorithm() as u8).into(), Uint8Array::from(key.spki()).into()]
    }
}

impl Held {
    /// The same of what is shown on its line, with the number.
    pub(crate) fn details(&self, evidence: &Evidence) -> [JsValue; 4] {
        let spki = Uint8Array::from(self.key.spki()).into();
        [text(evidence.data()), evidence.number.into(), (self.key.algorithm() as u8).into(), spki]
    }

    fn tell(&mut self, refused: &str, wants: bool, now: Instant) {
        self.has_moved = true;
        self.line.tell(&self.seat.told(refused, wants, now));
    }
}

fn text(bytes: &[u8]) -> JsValue {
    String::from_utf8_lossy(bytes).as_ref().into()
}

/// As JavaScript says it: a word, or else whose it is, at which level, and for how many seconds.
fn verdict(refused: Option<String>, subject: String, level: u8, secs: Option<f64>, now: f64) -> Verdict {
    match refused {
        Some(word) => Err(word),
        None => Ok(Proved { subject, level, ends: secs.map(|secs| instant(now + secs * 1_000.0)) }),
    }
}

#[wasm_bindgen]
impl Server {
    /// What the token of a socket's AUTH is worth: a word why it is not taken, or whose it is, at which level, for how many seconds.
    ///
    /// # Errors
    /// If the platform gives no random bytes.
    pub fn judged(
        &self,
        socket: u32,
        refused: Option<String>,
        subject: String,
        level: u8,
        secs: Option<f64>,
        now: f64,
    ) -> Result<(), JsValue> {
        let inner = &mut *self.0.borrow_mut();
        let Some(Socket::Judging(_)) = inner.sockets.get(&socket) else { return Ok(()) };
        let Some(Socket::Judging(judged)) = inner.sockets.remove(&socket) else { return Ok(()) };
        let Judged { connection, request, waiting } = *judged;
        inner.sockets.insert(socket, Socket::Greeting(connection));
        inner.admit(socket, &request, Some(verdict(refused, subject, level, secs, now)), instant(now))?;
        for message in waiting {
            inner.handle(socket, &message, instant(now));
        }
        inner.wake();
        Ok(())
    }

    /// The same of what was shown on a session's line, by its number there.
    #[expect(clippy::too_many_arguments, reason = "JavaScript has no other way to say it")]
    pub fn stand(
        &self,
        no: u32,
        number: u32,
        refused: Option<String>,
        subject: String,
        level: u8,
        secs: Option<f64>,
        now: f64,
    ) {
        let inner = &mut *self.0.borrow_mut();
        let Some(held) = inner.sessions.get(no) else { return };
        held.seat.judged_by(number);
        held.prove(verdict(refused, subject, level, secs, now), instant(now));
        inner.wake();
    }

    /// Somebody has signed out on a session's line, by evidence of this number.
    #[wasm_bindgen(js_name = signedOut)]
    pub fn signed_out(&self, no: u32, number: u32, now: f64) {
        let inner = &mut *self.0.borrow_mut();
        if let Some(held) = inner.sessions.get(no) {
            held.seat.judged_by(number);
        }
        inner.sign_out_all(no, instant(now));
        inner.wake();
    }

    /// The owner's backend names whose a session is.
    pub fn vouch(&self, no: u32, subject: String, level: u8, secs: Option<f64>, now: f64) {
        let inner = &mut *self.0.borrow_mut();
        let Some(held) = inner.sessions.get(no) else { return };
        held.prove(verdict(None, subject, level, secs, now), instant(now));
        inner.wake();
    }

    /// Somebody has shown to be there by a passkey, or is so no more. False if nobody knows who that is.
    pub fn present(&self, no: u32, is: bool, now: f64) -> bool {
        let inner = &mut *self.0.borrow_mut();
        let Some(held) = inner.sessions.get(no) else { return false };
        let is_so = held.seat.present(is);
        held.tell("", false, instant(now));
        inner.wake();
        is_so
    }

    /// The owner's backend says that somebody is signed out.
    #[wasm_bindgen(js_name = signOut)]
    pub fn sign_out(&self, no: u32, now: f64) {
        let inner = &mut *self.0.borrow_mut();
        inner.fall(no, SIGNED_OUT, instant(now));
        inner.wake();
    }
}

impl Held {
    fn prove(&mut self, verdict: Verdict, now: Instant) {
        match verdict.map(|proved| self.seat.prove(proved, now)) {
            Ok(Ok(())) => self.tell("", false, now),
            Ok(Err(OtherSubject)) => self.line.close(now, CloseCode::SubjectChanged, ""),
            Err(word) => self.tell(&word, false, now),
        }
    }
}

impl Inner {
    /// A message for a connection that carries a line by now, or greets still.
    fn handle(&mut self, socket: u32, message: &[u8], now: Instant) {
        match self.sockets.get_mut(&socket) {
            Some(Socket::Greeting(connection)) => drop(connection.handle_message(now, &mut message.to_vec())),
            Some(Socket::Carrying(session, no)) => {
                if let Some(held) = self.sessions.get(*session) {
                    let _ = held.line.handle_message(now, *no, &mut message.to_vec());
                }
            }
            Some(Socket::Judging(_) | Socket::Leaving(_)) | None => {}
        }
    }

    /// An AUTH has verified: what it shows of its person is judged first, if it shows a token.
    pub(crate) fn receive_auth(&mut self, socket: u32, request: AuthRequest, now: Instant) -> Result<(), JsValue> {
        match request.evidence.last().map(|evidence| evidence.kind) {
            Some(EvidenceKind::Token) => {
                let Some(Socket::Greeting(connection)) = self.sockets.remove(&socket) else { return Ok(()) };
                let judged = Judged { connection, request, waiting: Vec::new() };
                self.sockets.insert(socket, Socket::Judging(Box::new(judged)));
                self.to_judge.push_back(socket);
                Ok(())
            }
            Some(EvidenceKind::SignOut) => {
                if let Some(no) = self.sessions.resumed(&request)
                    && self.is_news(no, &request)
                {
                    self.sign_out_all(no, now);
                }
                self.admit(socket, &request, Some(Err(SIGNED_OUT.to_owned())), now)
            }
            _ => self.admit(socket, &request, None, now),
        }
    }

    fn is_news(&mut self, no: u32, request: &AuthRequest) -> bool {
        let Some(held) = self.sessions.get(no) else { return false };
        request.evidence.last().is_some_and(|evidence| held.line.is_newer(evidence))
    }

    pub(crate) fn admit(
        &mut self,
        socket: u32,
        request: &AuthRequest,
        shown: Option<Verdict>,
        now: Instant,
    ) -> Result<(), JsValue> {
        let judged = match self.sessions.judge(request) {
            // By its person's token alone, for as long as that is good.
            Err(CloseCode::NotEnrolled) if matches!(shown, Some(Ok(_))) => Ok(()),
            judged => judged,
        };
        let verdict = self.refusal.map_or(judged, Err);
        let Some(Socket::Greeting(mut connection)) = self.sockets.remove(&socket) else { return Ok(()) };
        if let Err(code) = verdict {
            connection.refuse(now, code);
            self.sockets.insert(socket, Socket::Leaving(connection));
            return Ok(());
        }
        let (mut no, mut outcome) = self.sessions.find(request)?;
        let proved = shown.as_ref().and_then(|verdict| verdict.as_ref().ok());
        // In a session that goes on, what is not newer was judged before.
        if let Some(proved) =
            proved.filter(|_| !matches!(outcome, Outcome::Resumed { .. }) || self.is_news(no, request))
        {
            let taken = self.sessions.get(no).map(|held| held.seat.prove(proved.clone(), now));
            if matches!(taken, Some(Err(OtherSubject))) {
                // Another's: nothing of it is carried over.
                self.sessions.expire(no, FreshReason::Subject);
                (no, outcome) = self.sessions.find(request)?;
                let taken = self.sessions.get(no).map(|held| held.seat.prove(proved.clone(), now));
                debug_assert!(matches!(taken, Some(Ok(()))), "a new session is nobody's");
            }
        }
        let received = match (outcome, request.wanted) {
            (Outcome::Resumed { .. }, Wanted::Resume(resume)) => Some(resume.received),
            // It has heard nothing of this session yet.
            (Outcome::Resumed { .. }, Wanted::Born(_)) => Some(0),
            _ => None,
        };
        let (services, ticket) = (self.services.clone(), self.sessions.ticket()?);
        let Some(held) = self.sessions.get(no) else { return Ok(()) };
        held.has_moved = true;
        if let Some(evidence) = request.evidence.last() {
            held.seat.judged_by(evidence.number);
        }
        let refused = shown.and_then(Result::err).unwrap_or_default();
        let standing = held.seat.told(&refused, false, now);
        let grant = Grant { session_id: held.id, outcome, standing, keys: None, ticket, services };
        let place = match held.line.attach(now, *connection, received, grant) {
            Ok(carrier) => Socket::Carrying(no, carrier),
            Err(rejected) => Socket::Leaving(Box::new(rejected.connection)),
        };
        self.sockets.insert(socket, place);
        Ok(())
    }

    /// Whoever signs out is out in all sessions of the device that are the same person's.
    fn sign_out_all(&mut self, no: u32, now: Instant) {
        let Some(held) = self.sessions.get(no) else { return };
        let (device, subject) = (held.device, held.seat.subject().cloned());
        let own = self.sessions.iter_mut();
        let own = own.filter(|(_, held)| held.device == device && held.seat.subject() == subject.as_ref());
        let own: Vec<_> = own.map(|(no, _)| no).collect();
        self.sessions.forget_tickets();
        own.into_iter().for_each(|no| self.fall(no, SIGNED_OUT, now));
    }

    /// What was proved is over: its client is told, and put out if it was here by that alone.
    fn fall(&mut self, no: u32, why: &str, now: Instant) {
        let Some(device) = self.sessions.get(no).map(|held| held.device) else { return };
        let may_stay = self.sessions.is_enrolled(device);
        let Some(held) = self.sessions.get(no) else { return };
        held.seat.sign_out();
        if may_stay {
            held.tell(why, false, now);
        } else {
            held.line.close(now, CloseCode::NotEnrolled, why);
        }
    }

    pub(crate) fn look_for_ends(&mut self, now: Instant) {
        let ends = self.sessions.iter_mut().filter_map(|(no, held)| held.seat.look(now).map(|ending| (no, ending)));
        for (no, ending) in ends.collect::<Vec<_>>() {
            match ending {
                Ending::Soon => {
                    if let Some(held) = self.sessions.get(no) {
                        held.tell("", true, now);
                    }
                }
                Ending::Now => self.fall(no, EXPIRED, now),
            }
        }
    }
}
