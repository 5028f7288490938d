//! The places of guests: sessions of devices that nobody has let in, and that are nobody's whom the server knows.
//!
//! ```text
//! a newcomer, or one who falls to guest ─► its network has 16: one of that network that waits for a connection goes
//!                                      ├─► all places taken: one that waits goes, of a network that has more; else the newest
//!                                      │   of the network that has most, if that has more by two
//!                                      └─► else there is no place
//! vouched for, let in, or gone ─► the place is free
//! ```
//!
//! A device key costs nothing, so that no bound of a device holds for them: all of them are bounded together, and each network
//! within that. Those who wait for a connection go first, and do not wait for long.

use std::{net::IpAddr, time::Duration};

use duologue::{DeviceId, SessionId};

use crate::watch::log::Stranger;

/// In all, where there are as many files.
const GUESTS_MAX: usize = 256;
/// Of one network: an IPv4 address, or a /64.
const OF_A_NETWORK_MAX: usize = 16;
/// Those that wait for a connection.
pub(super) const PARKED_MAX: usize = 64;
/// How long they wait.
pub(super) const PARKED: Duration = Duration::from_secs(30);

/// Those who are here, in the order in which they came.
#[derive(Debug)]
pub(super) struct Guests {
    all: Vec<Guest>,
    max: usize,
    /// How often one has lost its connection.
    lost: u64,
}

#[derive(Debug)]
struct Guest {
    device: DeviceId,
    id: SessionId,
    /// None: one crowd, which may be from everywhere.
    network: Option<IpAddr>,
    /// When it lost its connection, as the others did: the lowest is the longest ago.
    lost: u64,
    /// What it does without a connection is no device's doing either.
    _told: Stranger,
}

/// There is no place for one more guest.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct NoPlace;

impl Guests {
    pub(super) fn new(max: usize) -> Self {
        Self { all: Vec::new(), max: max.min(GUESTS_MAX), lost: 0 }
    }

    #[cfg(test)]
    fn has(&self, id: SessionId) -> bool {
        self.all.iter().any(|guest| guest.id == id)
    }

    /// Whether it is here, from this network.
    pub(super) fn has_from(&self, id: SessionId, network: Option<IpAddr>) -> bool {
        self.all.iter().any(|guest| guest.id == id && guest.network == network)
    }

    /// One more; and who gives way to it, if somebody must. `waits` says whether a session waits for a connection.
    pub(super) fn enter(
        &mut self,
        (device, id): (DeviceId, SessionId),
        network: Option<IpAddr>,
        told: Stranger,
        waits: impl Fn(DeviceId, SessionId) -> bool,
    ) -> Result<Option<(DeviceId, SessionId)>, NoPlace> {
        let goes = self.who_goes(network, waits)?;
        let gone = goes.map(|at| self.all.remove(at)).map(|guest| (guest.device, guest.id));
        self.all.push(Guest { device, id, network, lost: 0, _told: told });
        Ok(gone)
    }

    fn who_goes(
        &self,
        network: Option<IpAddr>,
        waits: impl Fn(DeviceId, SessionId) -> bool,
    ) -> Result<Option<usize>, NoPlace> {
        let of = |network: Option<IpAddr>| self.all.iter().filter(|guest| guest.network == network).count();
        let waiting = self.all.iter().enumerate().filter(|(_, guest)| waits(guest.device, guest.id));
        let own = of(network);
        if network.is_some() && own >= OF_A_NETWORK_MAX {
            let own = waiting.into_iter().filter(|(_, guest)| guest.network == network);
            return own.min_by_key(|(_, guest)| guest.lost).map(|(at, _)| Some(at)).ok_or(NoPlace);
        }
        if self.all.len() < self.max {
            return Ok(None);
        }
        let Some(most) = self.all.iter().map(|guest| guest.network).max_by_key(|network| of(*network)) else {
            return Err(NoPlace);
        };
        // With one more only, the two would put each other out in turn.
        let newest = || self.all.iter().rposition(|guest| guest.network == most).filter(|_| of(most) > own + 1);
        let waiting = waiting.into_iter().filter(|(_, guest)| guest.network == network || of(guest.network) > own);
        let longest = waiting.max_by_key(|(_, guest)| (of(guest.network), std::cmp::Reverse(guest.lost)));
        longest.map(|(at, _)| at).or_else(newest).map(Some).ok_or(NoPlace)
    }

    /// One has lost its connection.
    pub(super) fn parks(&mut self, id: SessionId) {
        self.lost += 1;
        if let Some(guest) = self.all.iter_mut().find(|guest| guest.id == id) {
            guest.lost = self.lost;
        }
    }

    pub(super) fn leave(&mut self, id: SessionId) {
        self.all.retain(|guest| guest.id != id);
    }

    /// Who goes of those that wait for a connection, where too many do: of the network of which most wait, the one that waits
    /// longest.
    pub(super) fn too_many_wait(&self, waits: impl Fn(DeviceId, SessionId) -> bool) -> Option<(DeviceId, SessionId)> {
        let waiting: Vec<_> = self.all.iter().filter(|guest| waits(guest.device, guest.id)).collect();
        if waiting.len() <= PARKED_MAX {
            return None;
        }
        let of = |network| waiting.iter().filter(|guest| guest.network == network).count();
        let most = waiting.iter().map(|guest| guest.network).max_by_key(|network| of(*network))?;
        let own = waiting.iter().filter(|guest| guest.network == most);
        own.min_by_key(|guest| guest.lost).map(|guest| (guest.device, guest.id))
    }

    /// Those who are here.
    pub(super) fn all(&self) -> Vec<(DeviceId, SessionId)> {
        self.all.iter().map(|guest| (guest.device, guest.id)).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::watch::log::stranger;

    fn id(number: u16) -> SessionId {
        let mut id = [0; 16];
        id[..2].copy_from_slice(&number.to_be_bytes());
        SessionId(id)
    }

    fn network(number: u8) -> Option<IpAddr> {
        (number > 0).then(|| [192, 0, 2, number].into())
    }

    /// Comes from this network; 0 is nobody knows where.
    fn come(
        guests: &mut Guests,
        number: u16,
        from: u8,
        waiting: &[u16],
    ) -> Result<Option<(DeviceId, SessionId)>, NoPlace> {
        let device = DeviceId([7; 32]);
        waiting.iter().for_each(|number| guests.parks(id(*number)));
        let waits = |_, session: SessionId| waiting.iter().any(|number| id(*number) == session);
        let told = stranger(&device, network(from).unwrap_or([0; 4].into()));
        guests.enter((device, id(number)), network(from), told, waits)
    }

    #[test]
    fn a_network_has_its_places_and_one_more_of_it_takes_that_of_its_own_who_waits_longest() {
        let mut guests = Guests::new(256);
        for number in 0..16 {
            assert_eq!(come(&mut guests, number, 1, &[]), Ok(None));
        }
        assert_eq!(come(&mut guests, 100, 1, &[]), Err(NoPlace));
        assert_eq!(come(&mut guests, 101, 2, &[5, 3]), Ok(None), "another's is another matter");
        assert_eq!(come(&mut guests, 102, 1, &[101, 5, 3]), Ok(Some((DeviceId([7; 32]), id(5)))));
        assert!(!guests.has(id(5)) && guests.has(id(102)));
    }

    #[test]
    fn sixteen_networks_that_have_all_places_give_way_to_the_seventeenth_and_two_never_put_each_other_out_in_turn() {
        let mut guests = Guests::new(256);
        for number in 0..256 {
            assert_eq!(come(&mut guests, number, u8::try_from(number % 16 + 1).expect("16"), &[]), Ok(None));
        }
        for number in 0..8 {
            let gone = come(&mut guests, 1_000 + number, 100, &[]).expect("a place").expect("somebody's");
            assert!(gone.1 != id(1_000), "not one of its own");
        }
        assert_eq!(guests.all.iter().filter(|guest| guest.network == network(100)).count(), 8);
        assert_eq!(guests.all.len(), 256);
        // A place for each of 256 networks: one more finds none, nor would the one that went for it.
        let mut guests = Guests::new(4);
        for from in 1..=4 {
            assert_eq!(come(&mut guests, from.into(), from, &[]), Ok(None));
        }
        assert_eq!(come(&mut guests, 5, 5, &[]), Err(NoPlace));
        assert_eq!(come(&mut guests, 6, 6, &[2]), Ok(Some((DeviceId([7; 32]), id(2)))), "who waits goes");
    }

    #[test]
    fn a_crowd_from_nobody_knows_where_gives_way_to_who_is_known() {
        let mut guests = Guests::new(64);
        for number in 0..64 {
            assert_eq!(come(&mut guests, number, 0, &[]), Ok(None), "a proxy that nobody has named may be all of them");
        }
        assert_eq!(come(&mut guests, 100, 0, &[]), Err(NoPlace));
        assert_eq!(come(&mut guests, 101, 0, &[9]), Ok(Some((DeviceId([7; 32]), id(9)))));
        assert_eq!(come(&mut guests, 102, 1, &[]), Ok(Some((DeviceId([7; 32]), id(101)))), "the newest of it");
        guests.leave(id(102));
        assert!(!guests.has(id(102)) && guests.all().len() == 63);
    }

    #[test]
    fn of_too_many_that_wait_the_network_that_has_most_gives_way() {
        let mut guests = Guests::new(256);
        let waiting: Vec<u16> = (0..65).collect();
        for number in 0..65 {
            come(&mut guests, number, if number < 60 { u8::try_from(number / 15 + 1).expect("4") } else { 9 }, &[])
                .expect("a place");
        }
        waiting.iter().for_each(|number| guests.parks(id(*number)));
        let waits = |_, session: SessionId| waiting.iter().any(|number| id(*number) == session);
        let (_, gone) = guests.too_many_wait(waits).expect("65 wait");
        assert!(!(60..65).any(|number| id(number) == gone), "{gone:?}");
        guests.leave(gone);
        assert_eq!(guests.too_many_wait(waits), None);
    }
}
