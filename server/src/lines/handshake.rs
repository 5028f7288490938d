//! What becomes of a stranger between the upgrade request and the verdict.
//!
//! ```text
//! M1 ─┬─ seen before ──────────────────────────────────► refused, and nothing computed for it
//!     ├─ pressure, and it can be made anew ────────────► freshness is asked (PROTOCOL.md, "Freshness")
//!     ├─ pressure, and it cannot ──────────────────────► waits for its turn
//!     └─ read ─► a known ticket or a good invite ──────► its own lane ──┐
//!             └► else ─────────────────────────────────► the strangers' ─┴─► M2, and its place is kept
//! ```

use std::{future::Future, net::IpAddr, sync::Arc, time::Instant};

use axum::http::Extensions;
use duologue::{Credential, M1Head, OfferedCredential, Secret};
use duologue_native::{Doorkeeper, Entrance, Found};
use tokio::{runtime::Handle, sync::oneshot};

use crate::{
    door::{
        evidence::Transport,
        lanes::{Lanes, Pass},
        lobby::{HANDSHAKES_MAX, HANDSHAKES_OF_AN_ADDRESS_MAX, Lobby, Place, Worth},
        pressure::Pressure,
        seen::{Print, Remembered, Seen},
    },
    front::{
        http::{Arrival, Http2Stream, Outer},
        strangers,
    },
    state::{keys::KeySet, store::StoreError},
};

use super::{Duologue, Socket, peer_address};
use crate::watch::events::{Event, Kind};

/// What a server knows of strangers in all.
#[derive(Debug)]
pub(super) struct Strangers {
    lobby: Arc<Lobby>,
    pressure: Pressure,
    seen: Seen,
    lanes: Lanes,
}

impl Default for Strangers {
    fn default() -> Self {
        let lobby = Arc::new(Lobby::new(HANDSHAKES_MAX, HANDSHAKES_OF_AN_ADDRESS_MAX));
        Self { lobby, pressure: Pressure::default(), seen: Seen::default(), lanes: Lanes::default() }
    }
}

impl Strangers {
    /// As if there were pressure from now on.
    pub(super) const fn are_pressed(&mut self) {
        self.pressure.stays();
    }

    /// Handshakes that no verdict is out on.
    pub(super) fn under_way(&self) -> usize {
        self.lobby.len()
    }

    /// What becomes of an M1 for one of our keys, before anything is computed for it.
    fn judge(&self, m1: &[u8], keys: &KeySet, strangers: &Handle) -> Judged {
        let (busy, threads) = strangers::busy(strangers);
        let now = Instant::now();
        let pressed = self.pressure.note(now, busy, threads);
        let print = self.seen.print(m1);
        match M1Head::read(m1) {
            Some(head) if keys.has(head.server_key_id) => match head.shows_freshness {
                _ if self.seen.has(print, now) => Judged::Garbage,
                true if pressed => Judged::AskFreshness,
                _ => Judged::Take { print, slowly: pressed, is_late: false },
            },
            // The core says what is wrong with it, and computes nothing for that.
            head => Judged::Take { print, slowly: false, is_late: head.is_some_and(|it| keys.had(it.server_key_id)) },
        }
    }
}

enum Judged {
    Take {
        print: Print,
        slowly: bool,
        /// It is for a key that was this server's.
        is_late: bool,
    },
    AskFreshness,
    Garbage,
}

/// What the transport knows of a stranger.
pub(super) struct Stranger {
    /// Of the connection; none where the app has a listener of its own.
    arrival: Option<Arrival>,
    pub(super) address: IpAddr,
    bounded_as: Option<IpAddr>,
    /// Where it is served.
    pub(super) strangers: Handle,
    /// Where it is served when it has become a line.
    pub(super) home: Handle,
}

impl Stranger {
    /// From a request's extensions, out of which it takes the connection's place.
    pub(super) fn of(extensions: &mut Extensions) -> Self {
        let address = peer_address(extensions);
        match extensions.remove::<Arrival>() {
            Some(arrival) => {
                let (strangers, home) = (arrival.strangers.clone(), arrival.home.clone());
                Self { address, bounded_as: arrival.client.bounded_as(), arrival: Some(arrival), strangers, home }
            }
            None => {
                // A proxy may speak from loopback for everybody.
                let bounded_as = Some(address).filter(|it| !it.is_loopback() && !it.is_unspecified());
                Self { arrival: None, address, bounded_as, strangers: Handle::current(), home: Handle::current() }
            }
        }
    }
}

impl Stranger {
    /// With what the listener knows of his connection.
    pub(super) fn transport(&self, transport: Transport) -> Transport {
        let (address, outer) = (self.address, self.arrival.as_ref().map(|arrival| arrival.outer));
        let Some(Outer { tls, address_from, own_proxy }) = outer else { return Transport { address, ..transport } };
        Transport { address, address_from, own_proxy, tls: Some(tls), ..transport }
    }

    /// The stream of a WebSocket over HTTP/2, when it opens.
    pub(super) fn extended(&self) -> Option<oneshot::Receiver<Http2Stream>> {
        self.arrival.as_ref()?.extended.as_ref()?.take()
    }

    /// On whom it counts what he begins; none where nobody knows, or he may be many.
    pub(super) const fn bounded_as(&self) -> Option<IpAddr> {
        self.bounded_as
    }
}

/// The M1 of an upgrade request, and what becomes of it.
pub(super) enum Offer {
    /// The request is refused.
    Refused,
    /// It is asked for later, or asked for anew.
    Later { asks: bool },
    /// It is read as soon as its socket is open.
    Now { m1: Vec<u8>, slowly: bool, print: Print, is_late: bool },
}

impl Duologue {
    /// What becomes of what an upgrade request offers.
    pub(super) fn look_at_offer(&self, m1: Option<Vec<u8>>, stranger: &Stranger) -> Offer {
        let Some(m1) = m1 else { return Offer::Later { asks: false } };
        let keys = self.shared.state.keys().now();
        match self.shared.strangers.judge(&m1, &keys, &stranger.strangers) {
            Judged::Garbage => Offer::Refused,
            Judged::AskFreshness => Offer::Later { asks: true },
            Judged::Take { print, slowly, is_late } => Offer::Now { m1, slowly, print, is_late },
        }
    }
}

/// Keeps one stranger until the verdict on him is out.
pub(super) struct Porter {
    duologue: Duologue,
    place: Place,
    arrival: Option<Arrival>,
    address: IpAddr,
    strangers: Handle,
    /// Of the M1 that is about to be read, unless it is over a nonce of ours.
    print: Option<Print>,
    /// That is for a key that was this server's.
    is_late: bool,
    pass: Option<Pass>,
}

impl Porter {
    /// None if every place in the lobby is kept.
    pub(super) fn of(duologue: Duologue, stranger: Stranger) -> Option<Self> {
        let lobby = &duologue.shared.strangers.lobby;
        let place = lobby.enter(stranger.bounded_as, Worth::Asking)?;
        let Stranger { arrival, strangers, address, .. } = stranger;
        Some(Self { duologue, place, arrival, address, strangers, print: None, is_late: false, pass: None })
    }

    /// The M1 of the upgrade request is read next.
    pub(super) async fn takes(&mut self, print: Print, slowly: bool, is_late: bool) {
        (self.print, self.is_late) = (Some(print), is_late);
        if slowly {
            self.duologue.shared.strangers.lanes.slow().await;
        }
    }

    /// Whether it came for a key that was this server's.
    pub(super) const fn is_late(&self) -> bool {
        self.is_late
    }

    /// Of an address that is slowed, a handshake waits before anything is done for it; in a place that goes first to others.
    pub(super) async fn waits_if_slowed(&self) {
        if let Some(wait) = self.duologue.slows(self.address) {
            self.is_worth(Worth::Garbage);
            tokio::time::sleep(wait).await;
            self.is_worth(Worth::Asking);
        }
    }

    /// What it has sent was here before.
    fn was_here(&self) {
        self.is_worth(Worth::Garbage);
        self.duologue.tell(Event::of(Kind::HandshakeReplayed).address(self.address).code("replayed"));
    }

    fn is_worth(&self, worth: Worth) {
        self.place.is_worth(worth);
        if let Some(place) = self.arrival.as_ref().and_then(|arrival| arrival.place.as_ref()) {
            place.is_worth(worth);
        }
    }

    /// Waits until this stranger's place has gone to another. Cloned, so that it can be waited for beside the handshake.
    pub(super) fn crowded_out(&self) -> impl Future<Output = ()> + Send + 'static {
        let own = self.place.crowded_out_token();
        let arrived = self.arrival.as_ref().and_then(|arrival| arrival.place.as_ref());
        let arrived = arrived.map(|place| place.crowded_out_token());
        async move {
            match arrived {
                None => own.cancelled().await,
                Some(arrived) => tokio::select! {
                    () = own.cancelled() => {}
                    () = arrived.cancelled() => {}
                },
            }
        }
    }

    /// Whether the server knows what is shown, and would take it now; and its secret, if it knows that at all.
    async fn look_up(&self, credential: Credential) -> (bool, Option<Secret>) {
        let shared = &self.duologue.shared;
        match credential {
            Credential::None => (false, None),
            Credential::Ticket(id) => {
                let secret = shared.tickets.secret(id);
                (secret.is_some(), secret)
            }
            Credential::Invite(id) => {
                let store = Arc::clone(shared.state.store());
                let look = move || {
                    let secret = store.invite_secret(id)?;
                    Ok::<_, StoreError>((secret.is_some() && store.is_invite_good(id)?, secret))
                };
                match shared.work.of_strangers().run(look).await {
                    Ok(Ok(found)) => found,
                    Ok(Err(error)) => {
                        shared.gate.watch.tell(Event::of(Kind::InviteLookupFailed).note(error.to_string()));
                        (false, None)
                    }
                    Err(_) => (false, None),
                }
            }
        }
    }
}

impl Doorkeeper<Socket> for Porter {
    async fn look_at(&mut self, m1: &[u8]) -> Entrance {
        let keys = self.duologue.shared.state.keys().now();
        match self.duologue.shared.strangers.judge(m1, &keys, &self.strangers) {
            Judged::Garbage => {
                self.was_here();
                Entrance::Refuse
            }
            Judged::AskFreshness => Entrance::AskFreshness,
            Judged::Take { print, slowly, is_late } => {
                self.takes(print, slowly, is_late).await;
                Entrance::Take
            }
        }
    }

    async fn find(&mut self, credential: OfferedCredential) -> Found {
        let strangers = &self.duologue.shared.strangers;
        if let Some(print) = self.print.take() {
            match strangers.seen.remember(print, Instant::now()) {
                Remembered::New => {}
                // Two that came at the same time, or more than can be told apart.
                Remembered::Again => {
                    self.was_here();
                    return Found::Refused;
                }
                Remembered::Full => {
                    self.is_worth(Worth::Garbage);
                    return Found::Refused;
                }
            }
        }
        self.is_worth(Worth::Made);
        let (known, secret) = self.look_up(credential).await;
        if secret.is_none() && matches!(credential, Credential::Invite(_)) {
            self.duologue.tell(Event::of(Kind::InviteUnknown).address(self.address));
        }
        let own = known.then(|| strangers.lanes.own(credential)).flatten();
        let pass = match own {
            Some(pass) => pass,
            None => strangers.lanes.stranger().await,
        };
        self.pass = Some(pass);
        self.is_worth(Worth::Kept);
        Found::Secret(secret)
    }

    fn push(&mut self, socket: &mut Socket) {
        socket.queue_ping();
    }
}

#[cfg(test)]
mod tests {
    use std::{net::Ipv4Addr, time::Duration};

    use duologue::{DeviceId, DeviceKey, InviteId, SignatureAlgorithm, TicketId};

    use super::*;
    use crate::{
        door::policy::Policy,
        state::{State, store::Device},
    };

    fn porter(duologue: &Duologue) -> Porter {
        let handle = Handle::current();
        let address = Ipv4Addr::new(192, 0, 2, 1).into();
        let stranger = Stranger { arrival: None, address, bounded_as: None, strangers: handle.clone(), home: handle };
        Porter::of(duologue.clone(), stranger).expect("there is a place")
    }

    /// Tickets were once in memory only: after a restart, when everybody comes back, nobody had a lane.
    #[tokio::test]
    async fn a_known_ticket_and_an_unused_unexpired_invite_have_a_lane_also_after_a_restart_and_nothing_else_has() {
        let directory = tempfile::tempdir().expect("a temporary directory");
        let state = State::open(directory.path()).expect("a new state");
        let (before, device) = (Duologue::new(state.clone(), Policy::loopback()), DeviceId([1; 32]));
        let tickets = &before.shared.tickets;
        let (ticket, gone) = (tickets.issue(device, None), tickets.issue(DeviceId([2; 32]), None));
        before.write_tickets().await;
        tickets.forget(DeviceId([2; 32]));
        before.drain().await;

        let after = Duologue::new(state.clone(), Policy::loopback());
        let porter = porter(&after);
        let [good, used] = [(); 2].map(|()| state.new_invite(Duration::from_secs(600)).expect("an invite"));
        let expired = state.new_invite(Duration::ZERO).expect("an invite");
        let spki = [SignatureAlgorithm::Ed25519.spki_prefix(), &[7; 32]].concat();
        let device = Device::new(&DeviceKey::new(SignatureAlgorithm::Ed25519, spki).expect("an SPKI"), "test");
        state.store().enrol(used.id(), &device).expect("the store works").expect("enrolled");
        for (shown, has_a_lane, secret) in [
            (Credential::Ticket(ticket.id), true, Some(ticket.secret)),
            (Credential::Ticket(gone.id), false, None),
            (Credential::Ticket(TicketId([9; 16])), false, None),
            (Credential::Invite(good.id()), true, Some(good.psk())),
            (Credential::Invite(used.id()), false, Some(used.psk())),
            (Credential::Invite(expired.id()), false, Some(expired.psk())),
            (Credential::Invite(InviteId([9; 16])), false, None),
            (Credential::None, false, None),
        ] {
            assert_eq!(porter.look_up(shown).await, (has_a_lane, secret), "{shown:?}");
        }
    }
}
