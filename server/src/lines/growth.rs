//! What the server does for one line, on the real structures, beside so many devices and sessions that are here: for `cargo xtask
//! bench growth` (feature `growth`), which says what is counted of it.

use std::{
    hint::black_box,
    net::{IpAddr, Ipv4Addr},
    path::Path,
    sync::Arc,
    time::{Duration, Instant},
};

use duologue::{DeviceId, FreshReason, Invite, SessionId, Ticket};
use duologue_native::Line;
use tokio::runtime::Runtime;

use super::{
    Duologue,
    directory::{Directory, Name, Session, growth::memory_for},
};
use crate::{
    door::{
        evidence::Transport,
        holder::Holder,
        lobby::{Lobby, Place, Worth},
        policy::{
            Policy,
            limits::{Limits, Permit},
        },
        seat::Seat,
        seen::Seen,
        work::Share,
    },
    state::{
        State, StateError, random,
        records::now,
        store::{Device, DeviceStatus},
        whom::Whom,
    },
    watch::bans::{BANS_MAX, Banned},
};

/// As many as the listener lets wait.
const STRANGERS_MAX: u32 = 4_096;

/// Does something once.
type Work = fn(&mut Grown, u32, Counted<'_>);

/// Runs what is counted.
type Counted<'a> = &'a mut dyn FnMut(&mut dyn FnMut());

/// What is done for one line, by name. The last one takes the place of sessions that are here.
const WORKS: [(&str, Work); 16] = [
    ("connection: is it banned, denied, too much", connects),
    ("lobby: a place, worth more, given back", lobby),
    ("M1: was it here before", m1),
    ("session: enters", enters),
    ("session: leaves", leaves),
    ("session: parks", parks),
    ("session: resumes", resumes),
    ("ticket: proved, and another issued", ticket),
    ("seat, holder, account, share, meter", looked_up),
    ("sessions of a device, a subject, a network", named),
    ("invite: made by the owner", invite),
    ("invite: made by a device", pairing),
    ("device: enrols", enrols),
    ("device: revoked", revoked),
    ("address: banned, and the ban lifted", banned),
    ("session: parks, and another is evicted", evicts),
];

/// A server with so many devices, each with a session that waits for a connection, a ticket, a meter and a share.
#[derive(Debug)]
pub struct Grown {
    own: Duologue,
    count: u32,
    /// Entered and never run: what the server does each second is done when it is counted, and only then.
    runtime: Runtime,
    ids: Vec<SessionId>,
    tickets: Vec<Ticket>,
    lobby: Arc<Lobby>,
    _places: Vec<Place>,
    seen: Seen,
    held: Vec<(Share, Option<Permit>)>,
    next: u32,
}

impl Grown {
    /// The names of what is done.
    pub fn works() -> impl Iterator<Item = &'static str> {
        WORKS.iter().map(|(name, _)| *name)
    }

    /// Makes a state directory with so many devices.
    ///
    /// # Errors
    /// If it cannot be written.
    pub fn fill(directory: &Path, count: u32) -> Result<(), StateError> {
        let state = State::open(directory)?;
        state.store().fill(count, |number| device(number).0).expect("a store that was just made");
        Ok(())
    }

    /// A server of such a directory, with a session of each device.
    ///
    /// # Errors
    /// If it cannot be read.
    ///
    /// # Panics
    /// If there is no memory for it.
    pub fn new(directory: &Path, count: u32) -> Result<Self, StateError> {
        let own = Duologue::new(State::open(directory)?, Policy::loopback()).memory(memory_for(count));
        let runtime = tokio::runtime::Builder::new_current_thread().build().expect("a runtime without a driver");
        let lobby = Arc::new(Lobby::new(STRANGERS_MAX as usize + 1, 16));
        let mut grown = Self {
            own,
            count,
            runtime,
            ids: Vec::new(),
            tickets: Vec::new(),
            lobby,
            _places: Vec::new(),
            seen: Seen::default(),
            held: Vec::new(),
            next: count,
        };
        for number in 0..count {
            let session = grown.enter(device(number), address(number));
            grown.park(&session);
            grown.ids.push(session.id);
            let ticket = grown.own.shared.tickets.issue(device(number), None);
            grown.tickets.push(ticket);
            if number < STRANGERS_MAX {
                grown._places.extend(grown.lobby.enter(Some(address(number)), Worth::Begun));
            }
            grown.seen.remember(grown.seen.print(&number.to_be_bytes()), Instant::now());
            let held = grown.holds(device(number));
            grown.held.push(held);
        }
        let bans = u32::try_from(BANS_MAX).expect("it fits") - 1_024;
        for number in 0..count.min(bans) {
            let of_elsewhere = Banned::address(Ipv4Addr::from(0xc000_0000 + number).into());
            grown.own.watch().bans().ban(of_elsewhere, "rule", 3_600, now());
        }
        Ok(grown)
    }

    /// Does something once, for or beside the device of a number.
    ///
    /// # Panics
    /// If there is no such work, or it does not do what it should.
    pub fn work(&mut self, name: &str, number: u32, counted: Counted<'_>) {
        let (_, work) = WORKS.iter().find(|(known, _)| *known == name).expect("a work of this name");
        work(self, number % self.count, counted);
    }

    fn directory(&self) -> &Directory {
        &self.own.shared.directory
    }

    fn enter(&self, device: DeviceId, address: IpAddr) -> Session {
        let _runtime = self.runtime.enter();
        let transport = Transport { address, ..Transport::default() };
        let seat = Arc::new(Seat::new(device, transport, self.own.has(device)));
        let line = Line::new(duologue::Line::server(self.directory().account(&seat)));
        let session = Session { id: self.directory().new_session_id(false), line, seat };
        assert!(matches!(self.directory().enter(session.clone()), Ok(None)), "one more of its own");
        session
    }

    fn park(&self, session: &Session) {
        let _runtime = self.runtime.enter();
        self.directory().park(session.seat.device(), session.id);
    }

    fn holds(&self, device: DeviceId) -> (Share, Option<Permit>) {
        let limits = Limits { channels: std::num::NonZeroU32::new(16), ..Limits::default() };
        let (gate, holder) = (&self.own.shared.gate, Holder::Device(device));
        (self.own.shared.work.of(device), gate.meters.enter(&"rule".into(), limits, None, &holder).expect("a place"))
    }

    /// One that nobody knows so far.
    fn newcomer(&mut self) -> u32 {
        self.next += 1;
        self.next
    }

    fn let_in(&self, number: u32, invite: &Invite) {
        let device = Device {
            id: device(number).0,
            algorithm: "Ed25519".to_owned(),
            spki: vec![0; 44],
            name: "newcomer".to_owned(),
            enrolled_at: now(),
            status: DeviceStatus::Enrolled,
        };
        let enrolled = self.own.shared.state.store().enrol(invite.id(), &device).expect("the store works");
        assert_eq!(enrolled, Ok(()), "a good invite");
    }
}

/// Ids as hashes are: anywhere.
fn device(number: u32) -> DeviceId {
    let mut mixed = u64::from(number).wrapping_add(1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    let mut id = [0x5a; 32];
    id[..8].copy_from_slice(&(mixed ^ (mixed >> 31)).to_be_bytes());
    id[8..12].copy_from_slice(&number.to_be_bytes());
    DeviceId(id)
}

fn address(number: u32) -> IpAddr {
    Ipv4Addr::from(0x0a00_0000 + number).into()
}

fn connects(grown: &mut Grown, number: u32, counted: Counted<'_>) {
    let (gate, bans) = (&grown.own.shared.gate, grown.own.watch().bans());
    counted(&mut || {
        let at = address(number);
        black_box((bans.of_address(at, now()), bans.of_device(device(number), Some("somebody"), now())));
        black_box((
            gate.firewall.admits(Some(at)).is_ok(),
            gate.firewall.proves(&Holder::Device(device(number))).is_ok(),
        ));
        black_box(grown.own.shared.state.store().status(device(number)));
    });
}

fn lobby(grown: &mut Grown, number: u32, counted: Counted<'_>) {
    counted(&mut || {
        let place = grown.lobby.enter(Some(address(number)), Worth::Begun).expect("a place");
        place.is_worth(Worth::Kept);
    });
}

fn m1(grown: &mut Grown, _: u32, counted: Counted<'_>) {
    let print = grown.seen.print(&random::<32>());
    counted(&mut || {
        black_box(grown.seen.remember(print, Instant::now()));
    });
}

fn enters(grown: &mut Grown, number: u32, counted: Counted<'_>) {
    let mut entered = None;
    counted(&mut || entered = Some(grown.enter(device(number), address(number))));
    grown.directory().leave(device(number), entered.expect("it was counted").id);
}

fn leaves(grown: &mut Grown, number: u32, counted: Counted<'_>) {
    let session = grown.enter(device(number), address(number));
    counted(&mut || grown.directory().leave(device(number), session.id));
}

fn parks(grown: &mut Grown, number: u32, counted: Counted<'_>) {
    let id = grown.ids[number as usize];
    let session = grown.directory().resume(device(number), id).expect("it is here");
    grown.directory().has_a_connection(id);
    counted(&mut || grown.park(&session));
}

fn resumes(grown: &mut Grown, number: u32, counted: Counted<'_>) {
    let (device, id) = (device(number), grown.ids[number as usize]);
    let mut session = None;
    counted(&mut || {
        session = Some(grown.directory().resume(device, id).expect("it is here"));
        grown.directory().has_a_connection(id);
    });
    grown.park(&session.expect("it was counted"));
}

fn ticket(grown: &mut Grown, number: u32, counted: Counted<'_>) {
    let used = grown.tickets[number as usize].id;
    let mut issued = None;
    counted(&mut || {
        let tickets = &grown.own.shared.tickets;
        black_box((tickets.secret(used), tickets.is_of(used, device(number))));
        issued = Some(tickets.issue(device(number), Some(used)));
    });
    grown.tickets[number as usize] = issued.expect("it was counted");
    // As every two seconds.
    drop(grown.own.shared.tickets.take_changes());
}

fn looked_up(grown: &mut Grown, number: u32, counted: Counted<'_>) {
    counted(&mut || {
        let seat = grown.directory().seat(device(number)).expect("it is here");
        black_box((seat.holder(), seat.standing(now()), seat.subject()));
        black_box(grown.directory().account(&seat));
        black_box(grown.own.has(device(number)));
        drop(grown.holds(device(number)));
    });
}

fn named(grown: &mut Grown, number: u32, counted: Counted<'_>) {
    let subject = format!("person-{}", number / 2);
    counted(&mut || {
        let directory = grown.directory();
        black_box(directory.sessions_of(device(number)));
        assert!(!black_box(directory.sessions_named(Name::Subject(&subject))).is_empty());
        assert!(!black_box(directory.sessions_named(Name::Network(address(number)))).is_empty());
        black_box(grown.own.shared.state.store().devices_of(Whom::subject(&subject)));
    });
}

fn invite(grown: &mut Grown, _: u32, counted: Counted<'_>) {
    counted(&mut || drop(grown.own.shared.state.new_invite(Duration::from_secs(60)).expect("the store works")));
}

fn pairing(grown: &mut Grown, _: u32, counted: Counted<'_>) {
    // Of one that has made none.
    let number = grown.newcomer();
    let own = grown.own.shared.state.new_invite(Duration::from_secs(60)).expect("the store works");
    grown.let_in(number, &own);
    counted(&mut || {
        let made = grown.own.shared.state.new_invite_of(device(number), Duration::from_secs(60), 3);
        assert!(made.expect("the store works").is_some(), "it has made none");
    });
}

fn enrols(grown: &mut Grown, _: u32, counted: Counted<'_>) {
    let (number, invite) = (grown.newcomer(), grown.own.shared.state.new_invite(Duration::from_secs(60)));
    let invite = invite.expect("the store works");
    counted(&mut || grown.let_in(number, &invite));
}

fn revoked(grown: &mut Grown, _: u32, counted: Counted<'_>) {
    let number = grown.newcomer();
    let invite = grown.own.shared.state.new_invite(Duration::from_secs(60)).expect("the store works");
    grown.let_in(number, &invite);
    let session = grown.enter(device(number), address(number));
    let _ticket = grown.own.shared.tickets.issue(device(number), None);
    counted(&mut || drop(grown.own.revoke(device(number))));
    assert_eq!(grown.directory().resume(device(number), session.id).err(), Some(FreshReason::Unknown), "it is out");
}

fn banned(grown: &mut Grown, number: u32, counted: Counted<'_>) {
    let session = grown.enter(device(number), Ipv4Addr::new(198, 51, 100, 1).into());
    let whom = Banned::address(Ipv4Addr::new(198, 51, 100, 1).into());
    counted(&mut || {
        grown.own.add_ban(whom.clone(), 60).expect("the store works");
        grown.own.lift_ban(&whom).expect("the store works");
    });
    assert_eq!(grown.directory().resume(device(number), session.id).err(), Some(FreshReason::Unknown), "it is out");
}

fn evicts(grown: &mut Grown, _: u32, counted: Counted<'_>) {
    let number = grown.newcomer();
    let session = grown.enter(device(number), address(number));
    counted(&mut || grown.park(&session));
}
