//! The lobby: connections that have not proved themselves. Bounded in all and for each address; where it is full, the one
//! that has waited longest goes first, so that a flood crowds out itself before it crowds out others.
//!
//! Loopback addresses have no bound of their own: a local reverse proxy speaks from there for everybody. Nor has the
//! unspecified one, which stands for all where an app was started without connect info.

use std::{
    collections::VecDeque,
    net::IpAddr,
    sync::{Arc, Mutex, PoisonError},
};

use tokio_util::sync::CancellationToken;

const CONNECTIONS_MAX: usize = 512;
const CONNECTIONS_OF_AN_ADDRESS_MAX: usize = 16;

#[derive(Debug, Default)]
pub(crate) struct Lobby(Mutex<Inner>);

#[derive(Debug, Default)]
struct Inner {
    next: u64,
    /// The oldest first.
    waiting: VecDeque<(u64, IpAddr, CancellationToken)>,
}

/// A place in the lobby; dropped when the connection has proved itself or ended.
#[derive(Debug)]
pub(crate) struct Place {
    lobby: Arc<Lobby>,
    number: u64,
    /// Cancelled when the place goes to a later connection.
    pub(crate) crowded_out: CancellationToken,
}

impl Lobby {
    pub(crate) fn enter(self: &Arc<Self>, address: IpAddr) -> Place {
        let mut inner = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let of_address = inner.waiting.iter().filter(|(_, other, _)| *other == address).count();
        let oldest =
            if of_address >= CONNECTIONS_OF_AN_ADDRESS_MAX && !address.is_loopback() && !address.is_unspecified() {
                inner.waiting.iter().position(|(_, other, _)| *other == address)
            } else {
                (inner.waiting.len() >= CONNECTIONS_MAX).then_some(0)
            };
        if let Some((_, _, token)) = oldest.and_then(|index| inner.waiting.remove(index)) {
            token.cancel();
        }
        inner.next += 1;
        let (number, crowded_out) = (inner.next, CancellationToken::new());
        inner.waiting.push_back((number, address, crowded_out.clone()));
        Place { lobby: Arc::clone(self), number, crowded_out }
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut inner = self.lobby.0.lock().unwrap_or_else(PoisonError::into_inner);
        inner.waiting.retain(|(number, ..)| *number != self.number);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn addresses(count: u8) -> impl Iterator<Item = IpAddr> {
        (0..count).map(|last| IpAddr::from([192, 0, 2, last]))
    }

    #[test]
    fn an_address_crowds_out_itself_first() {
        let lobby = Arc::new(Lobby::default());
        let other = lobby.enter(IpAddr::from([192, 0, 2, 200]));
        let flood: Vec<_> = (0..17).map(|_| lobby.enter(IpAddr::from([192, 0, 2, 1]))).collect();
        assert!(flood[0].crowded_out.is_cancelled());
        assert!(flood[1..].iter().all(|place| !place.crowded_out.is_cancelled()));
        assert!(!other.crowded_out.is_cancelled());
    }

    #[test]
    fn a_full_lobby_drops_the_oldest_and_a_left_place_is_free() {
        let lobby = Arc::new(Lobby::default());
        let mut places: Vec<_> = (0..3).flat_map(|_| addresses(200)).take(512).map(|a| lobby.enter(a)).collect();
        assert!(places.iter().all(|place| !place.crowded_out.is_cancelled()));
        places.pop();
        let _new = lobby.enter(IpAddr::from([198, 51, 100, 1]));
        assert!(places.iter().all(|place| !place.crowded_out.is_cancelled()), "the last place was free");
        let _newer = lobby.enter(IpAddr::from([198, 51, 100, 2]));
        assert!(places[0].crowded_out.is_cancelled());
    }

    #[test]
    fn loopback_is_bounded_in_all_only() {
        let lobby = Arc::new(Lobby::default());
        let places: Vec<_> = (0..100).map(|_| lobby.enter(IpAddr::from([127, 0, 0, 1]))).collect();
        assert!(places.iter().all(|place| !place.crowded_out.is_cancelled()));
    }
}
