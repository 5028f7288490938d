//! The verdict on a device that has proved its key, and its session.
//!
//! ```text
//! AUTH ─► origin, host ─► invite: enrolled ─► in the store? ─► what is shown of the person ─► session ─► looked at again ─► Admitted
//!                                                └── no: by what is shown, or as a guest (`stranger.rs`)
//! ```

use std::{net::IpAddr, sync::Arc, sync::atomic::Ordering};

use duologue::{
    AuthRequest, CloseCode, ConnectionNo, Credential, DeviceId, FreshReason, Grant, InviteId, Outcome, Rejected,
    SessionId, Wanted,
};
use duologue_native::{Line, Proved, part};

use super::{
    Duologue, ServerEndpoint, Socket,
    directory::{GUESTS_FULL, Session},
    guests::NoPlace,
    hooked::Turned,
    measures, person, seen,
};
use crate::state::records::now;
use crate::watch::bans::network;
use crate::watch::events::{Event, Kind};
use crate::{
    door::{
        error::DoorError, evidence::Transport, hook::Upgrade, passkeys::presence::Presence, path, seat::Seat,
        standing::Standing, tickets::Tickets,
    },
    state::store::{Device, DeviceStatus},
    watch::{log, text},
};

/// A connection that carries its device's line.
pub(super) struct Admitted {
    pub(super) line: Line,
    pub(super) id: SessionId,
    pub(super) no: ConnectionNo,
    pub(super) endpoint: ServerEndpoint,
    pub(super) socket: Socket,
    /// Its session was there before.
    pub(super) goes_on: bool,
    /// It is told as its address's doing, where nobody has let it in.
    pub(super) told: Option<Box<log::Stranger>>,
}

/// Why somebody is turned away, and in which words.
#[derive(Clone, Copy, Debug)]
pub(super) struct TurnedAway {
    pub(super) code: CloseCode,
    pub(super) reason: &'static str,
}

impl From<CloseCode> for TurnedAway {
    fn from(code: CloseCode) -> Self {
        Self { code, reason: "" }
    }
}

impl TurnedAway {
    pub(super) const fn saying(code: CloseCode, reason: &'static str) -> Self {
        Self { code, reason }
    }
}

impl From<NoPlace> for TurnedAway {
    fn from(NoPlace: NoPlace) -> Self {
        Self { code: CloseCode::GoingAway, reason: GUESTS_FULL }
    }
}

impl Duologue {
    /// The verdict on a device that has proved its key; and its line, with this connection to carry it.
    pub(super) async fn admit(
        &self,
        mut proved: Proved<Socket>,
        mut transport: Transport,
        upgrade: Upgrade,
    ) -> Option<Box<Admitted>> {
        transport.settle(&proved.request.claims);
        let at = transport.address;
        if let Err(TurnedAway { code, reason }) = self.name_device(&mut proved.request, at).await {
            proved.refuse_saying(code, reason).await;
            return None;
        }
        let device = proved.request.device_id;
        // By the address it came from: of keys that nobody knows a stranger makes as many as he likes.
        let by_invite = matches!(proved.request.credential, Credential::Invite(_));
        let refused = |code: CloseCode| {
            self.tell(Event::of(seen::refusal(code, by_invite)).device(device).address(at).code(code.word()));
        };
        let banned = |subject: Option<&str>| self.watch().bans().of_device(device, subject, now()).is_some();
        if banned(None) {
            let (code, words) = measures::BANNED;
            refused(code);
            proved.refuse_saying(code, words).await;
            return None;
        }
        self.follow_standing();
        let is_stranger = self.shared.state.store().status(device).is_none();
        let told = is_stranger.then(|| Box::new(log::stranger(&device, transport.address)));
        let judging = self.shared.under_way.begin(device);
        let judged = self.judge(&proved.request, &transport).await;
        let signs_out = self.hear_sign_out(&proved.request);
        // Nobody else's tokens are looked at: that costs more than to say no.
        let shown = match judged {
            Ok(()) | Err(CloseCode::NotEnrolled) => {
                self.shown(&proved.request, &transport, upgrade, judged.is_ok(), judging.since()).await
            }
            Err(_) => Ok(person::Shown::default()),
        };
        let mut shown = match shown {
            Ok(shown) => shown,
            Err(Turned { code, words }) => {
                refused(code);
                proved.refuse_saying(code, &words).await;
                return None;
            }
        };
        // Without having been let in.
        let may_come_so = is_stranger && (shown.proves() || self.may_come_as_guest(&proved.request, &transport));
        let may_come = |judged| match judged {
            Err(CloseCode::NotEnrolled) if may_come_so => Ok(()),
            judged => judged,
        };
        // Of what he has shown he is told why it lets him in no more than nothing does.
        let because = shown.refused.filter(|_| shown.number.is_some()).map_or("", DoorError::word);
        let found = may_come(judged).map_err(|code| match code {
            code if transport.refusal().is_some_and(|(of_it, _)| of_it == code) => {
                TurnedAway { code, reason: transport.refusal().map_or("", |(_, words)| words) }
            }
            CloseCode::NotEnrolled => TurnedAway { code, reason: because },
            code => code.into(),
        });
        let found = found.and_then(|()| self.seat(&proved.request, &transport, &mut shown, &judging));
        drop(judging);
        let (Session { id, line, seat }, outcome) = match found {
            Ok(found) => found,
            Err(TurnedAway { code, reason }) => {
                refused(code);
                proved.refuse_saying(code, reason).await;
                return None;
            }
        };
        // Into the directory first, then looked at again: a revocation, a binding or a drain in between finds the line, or is
        // found here.
        let verdict = match self.shared.draining.load(Ordering::Relaxed) || self.is_denied(at) {
            true => Err(CloseCode::GoingAway),
            false => may_come(self.status(device)),
        };
        // It may have been banned meanwhile, or whose it is.
        let verdict = match banned(seat.subject().as_ref().map(AsRef::as_ref)) {
            true => Err(measures::BANNED.0),
            false => verdict,
        };
        let verdict = verdict.and_then(|()| match seat.has_now(self.has(device)) {
            true => Ok(()),
            false => Err(CloseCode::GoingAway),
        });
        let verdict = verdict.map_err(TurnedAway::from).and_then(|()| self.takes_proof(&seat));
        if let Err(TurnedAway { code, reason }) = verdict {
            refused(code);
            self.shared.directory.leave(device, id);
            line.close(code, reason);
            proved.refuse_saying(code, reason).await;
            return None;
        }
        let Proved { connection, request, socket, .. } = proved;
        let used = match request.credential {
            Credential::Ticket(id) if request.credential_proved && !signs_out => {
                match self.shared.tickets.is_of(id, device) {
                    true => Some(id),
                    // It is judged by its key alone, as everybody who shows none.
                    false => {
                        self.tell(Event::of(Kind::TicketOfAnother).device(device).address(at));
                        None
                    }
                }
            }
            _ => None,
        };
        let received = match (outcome, request.wanted) {
            (Outcome::Resumed { .. }, Wanted::Resume(resume)) => Some(resume.received),
            // It has heard nothing of this session yet.
            (Outcome::Resumed { .. }, Wanted::Born(_)) => Some(0),
            _ => None,
        };
        // Who has not been let in leaves nothing: keys that cost nothing would push out the tickets of devices.
        let ticket = if seat.is_stranger() { Tickets::none() } else { self.shared.tickets.issue(device, used) };
        self.write_tickets_soon();
        let rewritten = path::news(&transport, transport.differs);
        if matches!(outcome, Outcome::Resumed { .. }) {
            // What its channels may do over this connection, they ask anew.
            let before = seat.address();
            if network(before) != network(at) {
                self.tell(Event::of(Kind::NetworkChanged).device(device).address(at));
            }
            seat.moved(transport);
            self.shared.gate.has_changed(device);
        }
        let services = self.services.told(&self.shared.gate, &seat);
        let standing = person::told_first(&seat, &shown);
        let keys = self.shared.state.keys().now().told(request.server_key);
        let grant = Grant { session_id: id, outcome, standing, keys, ticket, services };
        let attached = line.command(|line, now| line.attach(now, connection, received, grant));
        let no = match attached {
            Ok(no) => no,
            Err(rejected) => {
                let Rejected { error, connection } = *rejected;
                // It ended meanwhile, or this connection broke the rules at once. A client that dials again is told which.
                self.tell(Event::of(Kind::AttachFailed).device(device).note(error.to_string()));
                let (closed, parked) = line.command(|line, _| (line.closed().is_some(), line.is_parked()));
                if closed {
                    self.shared.directory.leave(device, id);
                } else if parked {
                    self.parks(device, id);
                }
                part(connection, socket).await;
                return None;
            }
        };
        // Another key may have taken its place since: who did that has seen this connection, or it is seen here.
        if self.is_old(&request.device) {
            line.command(duologue::Line::dismiss);
        }
        if matches!(outcome, Outcome::Resumed { .. }) {
            self.shared.directory.goes_on(id, &line);
            self.shared.kept.iter().for_each(|kept| kept.goes_on(id));
        }
        self.shared.directory.share_files(id, &seat);
        self.lets_in(&seat);
        self.note_seen(&seat);
        if self.is_elsewhere_too(device, at) {
            self.tell(Event::of(Kind::TwoNetworks).device(device).subject(seat.subject()).address(at));
        }
        let begun = |kind| {
            Event::of(kind).device(device).subject(seat.subject()).address(at).note(text::name(&request.claims.name))
        };
        match outcome {
            Outcome::Resumed { .. } => self.tell(begun(Kind::LineResumed)),
            fresh => {
                let open = begun(Kind::LineOpen).by(self.evidence(&seat, &request, used.is_some()));
                self.tell(if let Outcome::Fresh(reason) = fresh { open.code(reason.word()) } else { open });
            }
        }
        let rewritten = seat.differs(rewritten);
        if !rewritten.is_empty() {
            self.tell(begun(Kind::PathRewritten).note(rewritten.to_string()));
        }
        let key = self.key_hashes(&request.device);
        let endpoint = ServerEndpoint { own: self.clone(), seat, key, claims: Box::new((request.claims, id)) };
        // The directory keeps the line open; whoever runs it must not.
        let line = line.unguarded();
        let told = told.filter(|_| endpoint.seat.is_stranger());
        Some(Box::new(Admitted { line, id, no, endpoint, socket, goes_on: received.is_some(), told }))
    }

    /// The session that a device wants to go on with, if it is its own and still there; else a new one.
    ///
    /// # Errors
    /// If it is a guest's, and there is no place for one more.
    pub(super) fn find_session(
        &self,
        request: &AuthRequest,
        transport: &Transport,
        proved: Option<&Standing>,
    ) -> Result<(Session, Outcome), NoPlace> {
        let directory = &self.shared.directory;
        let resumed = Outcome::Resumed { received: 0 };
        let seat = Arc::new(Seat::new(request.device_id, transport.clone(), self.has(request.device_id)));
        // Who has shown who he is takes no guest's place. That it may be another's is told by whoever proves it again.
        let _ = proved.map(|standing| seat.prove(standing.clone()));
        let core = duologue::Line::server(directory.account(&seat));
        let (core, outcome) = match request.wanted {
            Wanted::Born(birth) if request.attempt == 1 => (core.born(birth), Outcome::New),
            // An AUTH before this one may have begun a session that is gone, with what followed it. This one must never be
            // taken for that, should its answer be lost too: what the client sends again would be heard twice.
            Wanted::Born(birth) => match directory.born(request.device_id, birth) {
                Some(session) => return Ok((session, resumed)),
                None => (core, Outcome::New),
            },
            Wanted::Resume(resume) => match directory.resume(request.device_id, resume.session_id) {
                Ok(session) if session.line.command(|line, _| line.can_resume(&resume)) => {
                    return Ok((session, resumed));
                }
                // A copy of an earlier state: the session lives on for its own client.
                Ok(_) => (core, Outcome::Fresh(FreshReason::Unknown)),
                Err(reason) => (core, Outcome::Fresh(reason)),
            },
        };
        // A guest's leaves nothing.
        let kept = self.shared.kept.as_ref().filter(|_| !seat.is_stranger());
        let id = directory.new_session_id(kept.is_some());
        if self.shared.passkeys.is_some() {
            seat.takes_passkeys(Presence::new(id, request.handshake_hash));
        }
        let session = Session { id, line: Line::new(core), seat };
        kept.iter().for_each(|kept| kept.keep(&session));
        Ok(match directory.enter(session.clone())? {
            Some(session) => {
                kept.iter().for_each(|kept| kept.let_go(id));
                (session, resumed)
            }
            None => (session, outcome),
        })
    }

    async fn judge(&self, request: &AuthRequest, transport: &Transport) -> Result<(), CloseCode> {
        let policy = self.shared.gate.policy();
        policy.judge(transport, &request.claims)?;
        if let Some((code, _)) = transport.refusal().filter(|_| policy.rules.is_as_sent()) {
            return Err(code);
        }
        match request.credential {
            Credential::Invite(invite) if request.credential_proved => {
                self.enrol(invite, request, transport.address).await
            }
            _ => self.status(request.device_id),
        }
    }

    /// Whether a device has a line of another network at this moment.
    fn is_elsewhere_too(&self, device: DeviceId, here: IpAddr) -> bool {
        let is_elsewhere = |session: &Session| {
            network(session.seat.address()) != network(here)
                && session.line.command(|line, _| !line.is_parked() && line.closed().is_none())
        };
        !here.is_unspecified() && self.shared.directory.sessions_of(device).iter().any(is_elsewhere)
    }

    /// A device is here now, which is kept of those that were let in.
    pub(super) fn note_seen(&self, seat: &Seat) {
        if !seat.is_stranger() {
            self.shared.state.store().note_seen(seat.device());
        }
    }

    /// Whether a device may connect, as the store has it now.
    fn status(&self, id: DeviceId) -> Result<(), CloseCode> {
        match self.shared.state.store().status(id) {
            Some(DeviceStatus::Enrolled) => Ok(()),
            Some(DeviceStatus::Revoked) => Err(CloseCode::DeviceRevoked),
            None => Err(CloseCode::NotEnrolled),
        }
    }

    async fn enrol(&self, invite: InviteId, request: &AuthRequest, address: IpAddr) -> Result<(), CloseCode> {
        let device = Device::new(&request.device, &text::name(&request.claims.name));
        let store = Arc::clone(self.shared.state.store());
        let share = self.shared.work.of(request.device_id);
        let (id, name, was_known) = (request.device_id, device.name.clone(), store.status(request.device_id).is_some());
        match share.run(move || store.enrol(invite, &device)).await {
            Ok(Ok(verdict)) => {
                if verdict.is_ok() && !was_known {
                    self.tell(Event::of(Kind::DeviceEnrolled).device(id).address(address).note(&name));
                    // What it has open as a stranger is a device's from now on.
                    self.look_again(id);
                    if let Some(subject) = &self.has(id).standing().subject {
                        self.shared.tell_of_new(subject, id);
                    }
                }
                verdict
            }
            Ok(Err(error)) => {
                self.tell(Event::of(Kind::EnrolmentFailed).device(id).address(address).note(error.to_string()));
                Err(CloseCode::Internal)
            }
            Err(_) => Err(CloseCode::Internal),
        }
    }
}
