//! Is the other end still there? Asked inside the seal, because a page cannot see a WebSocket's pings, and answered by the
//! core itself, whatever the application does.
//!
//! ```text
//! server   PING where 45 s passed without a record from there, or without one to there ──► no PONG within 10 s: dead
//! client   60 s of silence: dead (a live server would have said something, or pinged)
//!          probe(): PING ──► no PONG within 2 s: dead     after sleep, or when the network is back
//!
//! client   freeze(): AWAY ──► the page does not run, and judges nothing      server   no PING for 120 s, no more than 64 KiB
//!          thaw():   HERE ──► silence counts from here on
//! ```
//!
//! Both directions count: a server that only hears must be heard, too, and one that only sends would not know that nobody hears it.
//! Where one end has not said that it is patient, it is 25 s and 35: a client that waits for 35 would hang up on a server that asks
//! each 45.

use alloc::vec::Vec;

use super::{secs, whole_buckets};
use crate::{
    frame::{FROZEN_FRAME, HERE},
    limits::{
        FROZEN_LEN_MAX, FROZEN_SECS, PING_INTERVAL_SECS, PING_INTERVAL_SHORT_SECS, PONG_SECS, PROBE_SECS,
        RECORD_PLAINTEXT_LEN_MAX, SILENCE_SECS, SILENCE_SHORT_SECS,
    },
    session::Role,
    time::Instant,
};

#[derive(Debug)]
pub(super) struct Liveness {
    role: Role,
    /// Both ends bear a longer silence.
    patient: bool,
    /// When this end was last sure of the other.
    heard: Instant,
    /// Server: when this end last sent a record.
    sent: Instant,
    /// The PING that waits for its PONG, and until when.
    asked: Option<(u32, Instant)>,
    nonce: u32,
    /// The client's page does not run, as it has said.
    frozen: Option<Frozen>,
    /// To be sent.
    ping: Option<u32>,
    pong: Option<u32>,
    frozen_due: bool,
    here_due: bool,
}

#[derive(Debug)]
struct Frozen {
    since: Instant,
    /// Server: how many bytes may still leave.
    room: usize,
}

/// What time has brought.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Pulse {
    Alive,
    Dead,
}

impl Liveness {
    /// From the moment at which the line is open.
    pub(super) fn new(role: Role, patient: bool, now: Instant) -> Self {
        // A server that does not ask what its client waits for.
        let patient = patient || (role.is_server() && mutated!(PingsTooSeldom));
        Self {
            role,
            patient,
            heard: now,
            sent: now,
            asked: None,
            nonce: 0,
            frozen: None,
            ping: None,
            pong: None,
            frozen_due: false,
            here_due: false,
        }
    }

    /// The page stops running now, or the server hears that it did: nobody there can answer.
    pub(super) fn freeze(&mut self, now: Instant) {
        // Said once more, it starts nothing anew.
        self.frozen.get_or_insert(Frozen { since: now, room: FROZEN_LEN_MAX });
        self.asked = None;
        self.ping = None;
        self.frozen_due = !self.role.is_server();
    }

    /// It runs again. What has waited is read before silence is judged.
    pub(super) fn thaw(&mut self, now: Instant) {
        if self.frozen.take().is_some() {
            self.heard = now;
            self.frozen_due = false;
            self.here_due = !self.role.is_server();
        }
    }

    pub(super) const fn is_frozen(&self) -> bool {
        self.frozen.is_some()
    }

    /// A record has been opened.
    pub(super) fn heard(&mut self, now: Instant) {
        self.heard = now;
    }

    /// A record of so many bytes has been sealed.
    #[cfg(feature = "server")]
    pub(super) fn sent(&mut self, now: Instant, len: usize) {
        self.sent = now;
        if let Some(frozen) = &mut self.frozen {
            frozen.room = frozen.room.saturating_sub(len);
        }
    }

    /// How much plaintext the next record may have.
    pub(super) fn record_room(&self) -> usize {
        match &self.frozen {
            Some(frozen) if self.role.is_server() && !mutated!(FrozenIsFlooded) => whole_buckets(frozen.room),
            _ => RECORD_PLAINTEXT_LEN_MAX,
        }
    }

    /// What waits is longer than the room that a page has left which does not run.
    pub(super) fn spend_room(&mut self) {
        if let Some(frozen) = &mut self.frozen {
            frozen.room = 0;
        }
    }

    /// The latest PING is answered; one that was not yet answered is not missed.
    pub(super) fn handle_ping(&mut self, nonce: u32) {
        self.pong = Some(nonce);
    }

    /// An answer to an older PING shows nothing new.
    pub(super) fn handle_pong(&mut self, nonce: u32) {
        if self.asked.is_some_and(|(asked, _)| asked == nonce) {
            self.asked = None;
        }
    }

    /// Asks now, with little patience.
    pub(super) fn probe(&mut self, now: Instant) {
        self.ask(now + secs(PROBE_SECS));
    }

    pub(super) fn handle_timeout(&mut self, now: Instant) -> Pulse {
        let unanswered = self.asked.is_some_and(|(_, until)| until <= now);
        let silent = !self.role.is_server() && !self.is_frozen() && self.due() <= now;
        if unanswered || silent {
            return Pulse::Dead;
        }
        if self.role.is_server() && self.asked.is_none() && self.due() <= now {
            self.ask(now + secs(PONG_SECS));
        }
        Pulse::Alive
    }

    pub(super) fn poll_timeout(&self) -> Instant {
        match self.asked {
            Some((_, until)) if self.role.is_server() => until,
            Some((_, until)) => until.min(self.due()),
            None => self.due(),
        }
    }

    /// When somebody must be asked, or is dead.
    fn due(&self) -> Instant {
        let due = self.due_if_running();
        match &self.frozen {
            Some(frozen) if !mutated!(FrozenIsAsked) => due.max(frozen.since + secs(FROZEN_SECS)),
            _ => due,
        }
    }

    fn due_if_running(&self) -> Instant {
        match (self.role.is_server(), self.patient) {
            (true, true) => self.heard.min(self.sent) + secs(PING_INTERVAL_SECS),
            (true, false) => self.heard.min(self.sent) + secs(PING_INTERVAL_SHORT_SECS),
            (false, true) => self.heard + secs(SILENCE_SECS),
            (false, false) => self.heard + secs(SILENCE_SHORT_SECS),
        }
    }

    pub(super) const fn has_frames(&self) -> bool {
        self.ping.is_some() || self.pong.is_some() || self.frozen_due || self.here_due
    }

    /// AWAY and HERE, whole.
    pub(super) fn fill_words(&mut self, out: &mut Vec<u8>) {
        if core::mem::take(&mut self.frozen_due) {
            out.extend_from_slice(&FROZEN_FRAME);
        }
        if core::mem::take(&mut self.here_due) {
            out.push(HERE);
        }
    }

    pub(super) fn take_ping(&mut self) -> Option<u32> {
        self.ping.take()
    }

    pub(super) fn take_pong(&mut self) -> Option<u32> {
        self.pong.take()
    }

    fn ask(&mut self, until: Instant) {
        // An earlier question keeps its time: asking again and again must not put death off.
        let until = self.asked.map_or(until, |(_, earlier)| earlier.min(until));
        self.nonce = self.nonce.wrapping_add(1);
        self.asked = Some((self.nonce, until));
        self.ping = Some(self.nonce);
    }
}

#[cfg(test)]
mod tests {
    use alloc::vec::Vec;

    use super::*;

    fn at(millis: u64) -> Instant {
        Instant::default() + core::time::Duration::from_millis(millis)
    }

    /// Lets a server's time pass, a second each step, and gives when it asked. `each` is what happens each second.
    fn asked(patient: bool, secs: u64, mut each: impl FnMut(&mut Liveness, Instant)) -> Vec<u64> {
        let mut liveness = Liveness::new(Role::Server, patient, at(0));
        let mut asked = Vec::new();
        for second in 1..=secs {
            let now = at(second * 1_000);
            each(&mut liveness, now);
            assert_eq!(liveness.handle_timeout(now), Pulse::Alive, "second {second}");
            assert!(liveness.poll_timeout() > now);
            if let Some(nonce) = liveness.take_ping() {
                asked.push(second);
                liveness.sent(now, 80);
                // The answer is there at once.
                liveness.handle_pong(nonce);
                liveness.heard(now);
            }
        }
        asked
    }

    #[test]
    fn a_line_that_speaks_in_both_directions_is_not_asked_and_a_silent_one_each_45_seconds() {
        let both = asked(true, 1_000, |liveness, now| {
            liveness.heard(now);
            liveness.sent(now, 80);
        });
        assert_eq!(both, [] as [u64; 0]);
        assert_eq!(asked(true, 140, |_, _| ()), [45, 90, 135]);
        assert_eq!(asked(false, 100, |_, _| ()), [25, 50, 75, 100], "whom 45 s may be too long");
    }

    /// Its client takes 60 s without a record for death, however much the server hears.
    #[test]
    fn a_server_that_hears_and_has_nothing_to_say_asks_so_that_it_is_heard() {
        assert_eq!(asked(true, 140, Liveness::heard), [45, 90, 135]);
    }

    #[test]
    fn a_server_that_streams_into_a_dead_socket_finds_out() {
        assert_eq!(asked(true, 140, |liveness, now| liveness.sent(now, 80)), [45, 90, 135]);
        let mut liveness = Liveness::new(Role::Server, true, at(0));
        let dead = (1..100).find(|second| {
            liveness.sent(at(second * 1_000), 80);
            liveness.handle_timeout(at(second * 1_000)) == Pulse::Dead
        });
        assert_eq!(dead, Some(PING_INTERVAL_SECS + PONG_SECS));
    }

    /// What was said early in an interval is no word for all of it.
    #[test]
    fn nobody_is_left_without_a_record_for_longer_than_the_interval() {
        let seed = 0x5eed;
        let mut chance: u64 = seed;
        let (mut liveness, mut last) = (Liveness::new(Role::Server, true, at(0)), at(0));
        for step in 1..20_000 {
            let now = at(step * 500);
            chance = chance.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            if chance >> 60 == 0 {
                liveness.heard(now);
            }
            if chance >> 59 & 15 == 3 {
                liveness.sent(now, 80);
                last = now;
            }
            assert_eq!(liveness.handle_timeout(now), Pulse::Alive, "seed {seed}, step {step}");
            if let Some(nonce) = liveness.take_ping() {
                liveness.sent(now, 80);
                liveness.handle_pong(nonce);
                liveness.heard(now);
                last = now;
            }
            assert!(now - last < core::time::Duration::from_secs(PING_INTERVAL_SECS), "seed {seed}, step {step}");
        }
    }

    /// A page that does not run cannot answer: for 120 s it is asked nothing, and then as any other.
    #[test]
    fn a_frozen_page_is_asked_nothing_for_120_s() {
        let mut server = Liveness::new(Role::Server, true, at(0));
        // Asked a moment before the word comes.
        server.probe(at(9_999));
        server.freeze(at(10_000));
        assert_eq!((server.take_ping(), server.poll_timeout()), (None, at(130_000)));
        // Said again, it gets no longer.
        server.freeze(at(60_000));
        assert_eq!(server.handle_timeout(at(129_999)), Pulse::Alive);
        assert_eq!(server.take_ping(), None);
        assert_eq!(server.handle_timeout(at(130_000)), Pulse::Alive);
        assert!(server.take_ping().is_some());
        assert_eq!(server.handle_timeout(at(140_000)), Pulse::Dead);
    }

    /// The old one took the 60 s in which it had not run for 60 s of silence, before it read what had waited for it.
    #[test]
    fn a_page_that_runs_again_reads_what_has_waited_before_it_judges_the_silence() {
        let mut client = Liveness::new(Role::Client, true, at(0));
        client.freeze(at(1_000));
        assert!(client.has_frames());
        let mut words = Vec::new();
        client.fill_words(&mut words);
        assert_eq!(words, FROZEN_FRAME);
        // Its timers may come first.
        assert_eq!(client.handle_timeout(at(301_000)), Pulse::Alive);
        client.thaw(at(301_000));
        client.probe(at(301_000));
        words.clear();
        client.fill_words(&mut words);
        assert_eq!(words, [HERE]);
        assert_eq!(client.handle_timeout(at(302_999)), Pulse::Alive);
        assert_eq!(client.handle_timeout(at(303_000)), Pulse::Dead, "nobody has answered");
    }
}
