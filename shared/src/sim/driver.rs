//! What both drivers do alike: they fill sockets, as far as these take it.

use alloc::vec::Vec;

use super::{
    End,
    chance::Chance,
    hostile::Hostile,
    link::{Path, Socket},
};
use crate::{
    line::{ConnectionNo, Line},
    time::Instant,
};

/// Gives a message to a socket, past the middleman.
pub(super) fn pass(
    socket: &mut Socket,
    from: End,
    now: Instant,
    message: Vec<u8>,
    path: &Path,
    hostile: &mut Hostile,
    chance: &mut Chance,
) {
    let withheld = socket.withheld && from == End::Server;
    let way = socket.to(from.other());
    way.given += message.len();
    if withheld {
        return;
    }
    for item in hostile.meddle(message, way, chance) {
        way.send(now, item, path, chance);
    }
}

/// A driver's sending: as much as the socket takes. True if anything was written.
pub(super) fn transmit(
    line: &mut Line,
    no: ConnectionNo,
    socket: &mut Socket,
    from: End,
    now: Instant,
    hostile: &mut Hostile,
    chance: &mut Chance,
) -> bool {
    let mut wrote = false;
    let path = socket.path;
    loop {
        let wants = line.wants_transmit(no);
        let way = socket.to(from.other());
        way.blocked = None;
        if wants && let Err(until) = way.room(now) {
            way.blocked = Some(until);
            return wrote;
        }
        // Only the clock, which `wants_transmit` does not see, can take back a datagram that wanted to leave; and to a page that
        // does not run only what fits leaves.
        let excused = line.session().has_datagrams_waiting() || line.frozen_carrier() == Some(no);
        let mut out = Vec::new();
        let written = line.poll_transmit(now, no, &mut out);
        assert_eq!(written, !out.is_empty());
        assert!(written == wants || (wants && excused), "{from:?}: wants to transmit {wants}, and writes {written}");
        if !written {
            assert!(!line.wants_transmit(no), "{from:?}: wants to transmit, writes nothing, and wants to again");
            return wrote;
        }
        wrote = true;
        pass(socket, from, now, out, &path, hostile, chance);
    }
}
