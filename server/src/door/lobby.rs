//! The lobby: connections that have not proved themselves. Bounded in all and for each address; where it is full, the one that
//! is worth least makes room, never one because it has waited for long.
//!
//! ```text
//! Garbage   what nobody can come in by: an M1 that was seen before, or that no client makes
//! Begun     accepted, and TLS is not through
//! Idle      between two requests, or before the first
//! Asking    a request is being answered; or a WebSocket is open, and M1 is still to come
//! Made      a valid M1 was read
//! Kept      M2 is paid for, or a ticket or invite was shown that this server knows: until the verdict is out
//! ```
//!
//! Begun, Idle and Asking are worth the same: any of them costs nothing to be. Of these three the one goes that most are, so that
//! however many stop at one of them, the others stay open to who passes through. Then the address goes first that has most; of
//! its connections the oldest. A newcomer never takes a place that is kept: where all are, there is none for it.
//!
//! An address of IPv6 is a /64, which one subscriber has. One that speaks for many, or that is not known, has no bound of its
//! own. The listener has a lobby of all its connections, and a line one of its handshakes.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    net::IpAddr,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use tokio_util::sync::CancellationToken;

use crate::watch::bans::network;

/// Handshakes of a server's lines, in all and of one address.
pub(crate) const HANDSHAKES_MAX: usize = 512;
pub(crate) const HANDSHAKES_OF_AN_ADDRESS_MAX: usize = 16;

/// What a connection is worth. The least goes first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Worth {
    Garbage,
    Begun,
    Idle,
    Asking,
    Made,
    Kept,
}

#[derive(Debug)]
pub(crate) struct Lobby {
    inner: Mutex<Inner>,
    of_an_address_max: usize,
}

#[derive(Debug, Default)]
struct Inner {
    next: u64,
    max: usize,
    waiting: HashMap<u64, Waiting>,
    /// Those who are worth the same and of one address; the oldest first.
    alike: BTreeMap<(Worth, Option<IpAddr>), BTreeSet<u64>>,
    /// How many they are, so that the most are found.
    crowds: BTreeSet<(Worth, usize, Option<IpAddr>)>,
    of_worth: BTreeMap<Worth, usize>,
    of_an_address: HashMap<IpAddr, usize>,
}

#[derive(Debug)]
struct Waiting {
    worth: Worth,
    address: Option<IpAddr>,
    crowded_out: CancellationToken,
}

/// What costs nothing to be.
const FREE: [Worth; 3] = [Worth::Begun, Worth::Idle, Worth::Asking];

/// A place in the lobby; given back when it is dropped: the connection has proved itself or ended.
#[derive(Debug)]
pub(crate) struct Place {
    lobby: Arc<Lobby>,
    number: u64,
    /// Cancelled when the place goes to another connection.
    crowded_out: CancellationToken,
}

impl Lobby {
    pub(crate) fn new(max: usize, of_an_address_max: usize) -> Self {
        Self { inner: Mutex::new(Inner { max, ..Inner::default() }), of_an_address_max }
    }

    /// A place for a connection from an address; none of its own bound where that is not known, or speaks for many. No place
    /// at all where every one is kept.
    pub(crate) fn enter(self: &Arc<Self>, address: Option<IpAddr>, worth: Worth) -> Option<Place> {
        let address = address.map(network);
        let mut inner = self.lock();
        let of_address = address.and_then(|address| inner.of_an_address.get(&address)).copied().unwrap_or_default();
        if of_address >= self.of_an_address_max {
            inner.make_room_of(address)?;
        } else if inner.waiting.len() >= inner.max {
            inner.make_room()?;
        }
        inner.next += 1;
        let (number, crowded_out) = (inner.next, CancellationToken::new());
        inner.insert(number, Waiting { worth, address, crowded_out: crowded_out.clone() });
        Some(Place { lobby: Arc::clone(self), number, crowded_out })
    }

    /// How many there may be from now on. Who is here beyond that goes as newcomers come.
    pub(crate) fn set_max(&self, max: usize) {
        self.lock().max = max;
    }

    pub(crate) fn len(&self) -> usize {
        self.lock().waiting.len()
    }

    /// Those of whom something is awaited: all but the idle.
    pub(crate) fn busy(&self) -> usize {
        let inner = self.lock();
        inner.waiting.len() - inner.of_worth.get(&Worth::Idle).copied().unwrap_or_default()
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Inner {
    /// Removes the one that is worth least; none if all are kept.
    fn make_room(&mut self) -> Option<()> {
        let worth = least(|worth| self.of_worth.get(&worth).copied().unwrap_or_default())?;
        let all = (worth, 0, None)..=(worth, usize::MAX, Some(IpAddr::from([u8::MAX; 16])));
        let (_, _, address) = *self.crowds.range(all).next_back()?;
        self.crowd_out(worth, address)
    }

    /// The same among those of one address.
    fn make_room_of(&mut self, address: Option<IpAddr>) -> Option<()> {
        let worth = least(|worth| self.alike.get(&(worth, address)).map_or(0, BTreeSet::len))?;
        self.crowd_out(worth, address)
    }

    fn crowd_out(&mut self, worth: Worth, address: Option<IpAddr>) -> Option<()> {
        let oldest = *self.alike.get(&(worth, address))?.first()?;
        self.remove(oldest)?.crowded_out.cancel();
        Some(())
    }

    fn insert(&mut self, number: u64, waiting: Waiting) {
        let Waiting { worth, address, .. } = waiting;
        if let Some(address) = address {
            *self.of_an_address.entry(address).or_default() += 1;
        }
        *self.of_worth.entry(worth).or_default() += 1;
        self.change(worth, address, |alike| {
            alike.insert(number);
        });
        self.waiting.insert(number, waiting);
    }

    fn remove(&mut self, number: u64) -> Option<Waiting> {
        let waiting = self.waiting.remove(&number)?;
        let Waiting { worth, address, .. } = waiting;
        if let Some(address) = address
            && let Some(count) = self.of_an_address.get_mut(&address)
        {
            *count -= 1;
            if *count == 0 {
                self.of_an_address.remove(&address);
            }
        }
        if let Some(count) = self.of_worth.get_mut(&worth) {
            *count -= 1;
        }
        self.change(worth, address, |alike| {
            alike.remove(&number);
        });
        Some(waiting)
    }

    fn change(&mut self, worth: Worth, address: Option<IpAddr>, change: impl FnOnce(&mut BTreeSet<u64>)) {
        // Of those whom nobody knows, nobody knows how many they are: all of them are one.
        let rank = |len: usize| if address.is_none() { usize::MAX } else { len };
        let alike = self.alike.entry((worth, address)).or_default();
        self.crowds.remove(&(worth, rank(alike.len()), address));
        change(alike);
        if alike.is_empty() {
            self.alike.remove(&(worth, address));
        } else {
            self.crowds.insert((worth, rank(alike.len()), address));
        }
    }
}

/// The worth of who goes first, where there are so many of each.
fn least(count: impl Fn(Worth) -> usize) -> Option<Worth> {
    let is_any = |worth: &Worth| count(*worth) > 0;
    // The last of those that are equally many would be chosen: who has come least far is to be.
    let free = FREE.into_iter().filter(is_any).rev().max_by_key(|worth| count(*worth));
    Some(Worth::Garbage).filter(is_any).or(free).or(Some(Worth::Made).filter(is_any))
}

impl Place {
    /// What the connection is worth from now on. One that was crowded out already stays so.
    pub(crate) fn is_worth(&self, worth: Worth) {
        let mut inner = self.lobby.lock();
        if let Some(waiting) = inner.remove(self.number) {
            inner.insert(self.number, Waiting { worth, ..waiting });
        }
    }

    /// Whose the connection is turns out only now, behind a proxy. False if that address has all of its places, and they are
    /// kept.
    pub(crate) fn is_of(&self, address: Option<IpAddr>) -> bool {
        let mut inner = self.lobby.lock();
        let address = address.map(network);
        if inner.waiting.get(&self.number).is_none_or(|waiting| waiting.address == address) {
            return true;
        }
        let of_address = address.and_then(|address| inner.of_an_address.get(&address)).copied().unwrap_or_default();
        if of_address >= self.lobby.of_an_address_max && inner.make_room_of(address).is_none() {
            return false;
        }
        if let Some(waiting) = inner.remove(self.number) {
            inner.insert(self.number, Waiting { address, ..waiting });
        }
        true
    }

    /// Waits until the place has gone to another connection.
    pub(crate) async fn crowded_out(&self) {
        self.crowded_out.cancelled().await;
    }

    /// What tells the same to somebody who does not hold the place.
    pub(crate) fn crowded_out_token(&self) -> CancellationToken {
        self.crowded_out.clone()
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.lobby.lock().remove(self.number);
    }
}

#[cfg(test)]
mod tests {
    use std::net::Ipv6Addr;

    use super::*;

    fn lobby(max: usize, of_an_address: usize) -> Arc<Lobby> {
        Arc::new(Lobby::new(max, of_an_address))
    }

    fn from(last: u8) -> Option<IpAddr> {
        Some([192, 0, 2, last].into())
    }

    fn is_out(place: &Place) -> bool {
        place.crowded_out.is_cancelled()
    }

    #[track_caller]
    fn enter(lobby: &Arc<Lobby>, address: Option<IpAddr>, worth: Worth) -> Place {
        lobby.enter(address, worth).expect("there is a place")
    }

    #[test]
    fn an_address_crowds_out_itself_first() {
        let lobby = lobby(512, 16);
        let other = enter(&lobby, from(200), Worth::Begun);
        let flood: Vec<_> = (0..17).map(|_| enter(&lobby, from(1), Worth::Begun)).collect();
        assert!(is_out(&flood[0]) && !flood[1..].iter().any(is_out) && !is_out(&other));
    }

    #[test]
    fn a_v6_subscriber_is_one_address_whichever_it_uses() {
        let lobby = lobby(512, 16);
        let of = |last: u16| Some(Ipv6Addr::new(0x2001, 0xdb8, 0, 7, last, 1, 2, last).into());
        let flood: Vec<_> = (0..17).map(|last| enter(&lobby, of(last), Worth::Asking)).collect();
        assert!(is_out(&flood[0]));
        let next_door = Some(Ipv6Addr::new(0x2001, 0xdb8, 0, 8, 0, 0, 0, 1).into());
        let _next = enter(&lobby, next_door, Worth::Begun);
        assert!(!flood[1..].iter().any(is_out));
    }

    /// Evicted by age, a good one that takes long goes before a flood that came after it.
    #[test]
    fn a_flood_of_newcomers_crowds_out_itself_and_nobody_who_waits_for_long() {
        let lobby = lobby(10, 16);
        let patient = enter(&lobby, from(1), Worth::Made);
        let asking = enter(&lobby, from(2), Worth::Asking);
        let flood: Vec<_> = (0..1_000).map(|_| enter(&lobby, None, Worth::Begun)).collect();
        assert!(!is_out(&patient) && !is_out(&asking));
        assert_eq!(flood.iter().filter(|place| !is_out(place)).count(), 8);
    }

    #[test]
    fn garbage_goes_first_then_what_has_come_least_far() {
        let lobby = lobby(5, 16);
        let all = [Worth::Kept, Worth::Made, Worth::Asking, Worth::Idle, Worth::Garbage]
            .map(|worth| enter(&lobby, None, worth));
        let mut came = Vec::new();
        for gone in [4, 3, 2, 1] {
            assert!(!is_out(&all[gone]));
            came.push(enter(&lobby, from(9), Worth::Kept));
            assert!(is_out(&all[gone]), "{gone}");
        }
        assert!(!is_out(&all[0]));
        assert!(lobby.enter(from(9), Worth::Kept).is_none(), "a kept place is nobody else's");
        came.pop();
        assert!(lobby.enter(from(9), Worth::Begun).is_some(), "a place that was left is free");
    }

    #[test]
    fn an_address_whose_places_are_all_kept_gets_no_more_and_takes_nobody_elses() {
        let lobby = lobby(512, 16);
        let kept: Vec<_> = (0..16).map(|_| enter(&lobby, from(1), Worth::Kept)).collect();
        assert!(lobby.enter(from(1), Worth::Made).is_none());
        assert!(lobby.enter(from(2), Worth::Begun).is_some() && !kept.iter().any(is_out));
    }

    #[test]
    fn of_those_worth_the_same_the_address_with_most_of_them_goes() {
        let lobby = lobby(6, 16);
        let lone = enter(&lobby, from(1), Worth::Asking);
        let many: Vec<_> = (0..5).map(|_| enter(&lobby, from(2), Worth::Asking)).collect();
        let _new = enter(&lobby, from(3), Worth::Begun);
        assert!(!is_out(&lone) && is_out(&many[0]) && !is_out(&many[1]));
    }

    #[test]
    fn who_rises_stays_and_nothing_is_left_of_who_went() {
        let lobby = lobby(2, 16);
        let risen = enter(&lobby, from(1), Worth::Begun);
        risen.is_worth(Worth::Kept);
        let gone = enter(&lobby, from(2), Worth::Begun);
        let last = enter(&lobby, from(3), Worth::Begun);
        assert!(is_out(&gone) && !is_out(&risen));
        // Too late: it has lost its place.
        gone.is_worth(Worth::Kept);
        drop((risen, gone, last));
        let inner = lobby.lock();
        assert!(inner.waiting.is_empty() && inner.of_an_address.is_empty());
        assert!(inner.alike.is_empty() && inner.crowds.is_empty() && inner.of_worth.values().all(|count| *count == 0));
    }

    /// Those who stopped behind TLS used to be worth more than who was in the middle of it: with all places taken by them, each
    /// newcomer threw out the one before.
    #[test]
    fn however_many_stop_somewhere_who_passes_through_is_not_thrown_out_by_the_next() {
        for stopped in FREE {
            let lobby = lobby(90, 16);
            let _all: Vec<_> = (0..90).map(|_| enter(&lobby, None, stopped)).collect();
            let good = enter(&lobby, None, Worth::Begun);
            for worth in FREE {
                good.is_worth(worth);
                let _next: Vec<_> = (0..20).map(|_| enter(&lobby, None, stopped)).collect();
                assert!(!is_out(&good), "{stopped:?}, {worth:?}");
            }
        }
    }

    /// Behind one balancer all clients used to share the places of its address.
    #[test]
    fn a_connection_is_moved_to_its_own_address_when_that_is_known() {
        let lobby = lobby(512, 2);
        let behind: Vec<_> = (1..=20).map(|last| (last, enter(&lobby, None, Worth::Idle))).collect();
        assert!(behind.iter().all(|(last, place)| place.is_of(from(*last))));
        assert!(!behind.iter().any(|(_, place)| is_out(place)));
        let third: Vec<_> = (0..2).map(|_| enter(&lobby, None, Worth::Idle)).collect();
        assert!(third.iter().all(|place| place.is_of(from(1)) && place.is_of(from(1))));
        assert!(is_out(&behind[0].1), "an address crowds out itself");
        third.iter().for_each(|place| place.is_worth(Worth::Kept));
        let late = enter(&lobby, None, Worth::Idle);
        assert!(!late.is_of(from(1)) && late.is_of(from(2)), "kept places are not given");
        drop((behind, third, late));
        assert!(lobby.lock().waiting.is_empty() && lobby.lock().of_an_address.is_empty());
    }

    #[test]
    fn addresses_that_speak_for_many_are_bounded_in_all_only() {
        let lobby = lobby(512, 16);
        let places: Vec<_> = (0..100).map(|_| enter(&lobby, None, Worth::Asking)).collect();
        assert!(!places.iter().any(is_out));
    }
}
