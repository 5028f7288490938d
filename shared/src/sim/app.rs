//! The two applications: they open, send, read, finish, answer, cancel and let go, as chance has it.

use alloc::vec;
use core::time::Duration;

use super::{
    End, Uid,
    ledger::{ChannelLog, Reader, Sent, SentDatagram, bytes, datagram, message_key, stream_key},
    world::{Todo, World, session_of},
};
use crate::{
    channel::{Delivery, Kind, Priority, Received},
    close::ResetCode,
    error::ChannelError,
    ids::ChannelId,
};

/// What a slow reader waits at most between two looks.
const SLOW_MICROS: u64 = 400_000;

impl World {
    /// The session that an end's application uses now.
    fn current(&mut self, end: End) -> Option<Uid> {
        match end {
            End::Client => Some(self.client_uid).filter(|_| self.client.closed().is_none()),
            End::Server => {
                let uids = self.server.lines.values().filter(|line| line.line.closed().is_none()).map(|line| line.uid);
                uids.max()
            }
        }
    }

    pub(super) fn act(&mut self, end: End) {
        if self.healed || self.actions_left == 0 {
            return;
        }
        self.actions_left -= 1;
        if let Some(uid) = self.current(end) {
            if self.chance.one_in(self.plan.standing) {
                self.act_on_standing(end);
            }
            self.act_in(uid);
        }
        let wait = self.chance.micros(self.plan.action_every_micros * 2);
        self.plan_in(wait, Todo::Act(end));
    }

    fn act_in(&mut self, uid: Uid) {
        let held = self.ledger.held(uid);
        let room = held.len() < self.plan.channels;
        if held.is_empty() || (room && self.chance.one_in(if self.plan.channels > 100 { 2 } else { 6 })) {
            return self.open(uid);
        }
        let id = self.chance.pick(&held);
        match self.chance.below(100) {
            0..=54 => self.send_some(uid, id),
            55..=69 => self.send_datagrams(uid, id),
            70..=79 => self.finish(uid, id),
            80..=83 => self.reset(uid, id),
            84..=89 => self.release(uid, id),
            _ => self.read(uid, id, 3),
        }
    }

    fn open(&mut self, uid: Uid) {
        if self.session(uid).is_some_and(|session| session.is_away()) && uid != self.client_uid {
            let refused = self.session(uid).map(|session| session.open("talk", Kind::MESSAGES));
            assert_eq!(refused, Some(Err(ChannelError::NotHere)));
            return;
        }
        let stream = self.chance.one_in(3);
        let request = !stream && self.chance.one_in(3);
        let reader = self.reader();
        let kind = Kind {
            stream,
            priority: self.whims.pick(&[Priority::Normal, Priority::Normal, Priority::First, Priority::Last]),
            tail: (!request && self.whims.one_in(6)).then(|| self.whims.pick(&[0, 100, 5_000, 100_000])),
        };
        let id = self.open_kind(uid, kind, request, reader);
        if request {
            self.send_some(uid, id);
            self.finish(uid, id);
        }
    }

    pub(super) fn open_as(&mut self, uid: Uid, stream: bool, request: bool, reader: Reader) -> ChannelId {
        self.open_kind(uid, Kind { stream, ..Kind::MESSAGES }, request, reader)
    }

    fn open_kind(&mut self, uid: Uid, kind: Kind, request: bool, reader: Reader) -> ChannelId {
        let session = self.session(uid).expect("it is the current one");
        let label = if request { "request" } else { "talk" };
        let opened = session.open(label, kind);
        let id = opened.expect("a good label, and the line is not closed");
        self.ledger.sessions[uid.0].channels.insert(id, ChannelLog::new(uid, kind.stream, request, true, reader));
        trace!(self.now, "{uid:?} {id:?}: opened, {label}, {kind:?}, read {reader:?}");
        id
    }

    fn reader(&mut self) -> Reader {
        if let Some(reader) = self.reads {
            return reader;
        }
        match self.chance.below(10) {
            _ if self.healed => Reader::AtOnce,
            0 => Reader::Stuck,
            1 | 2 => Reader::Slow,
            _ => Reader::AtOnce,
        }
    }

    fn len(&mut self) -> usize {
        let max = match self.chance.below(100) {
            0 if self.plan.large => 2_000_000,
            0..=1 => 200_000,
            2..=9 => 20_000,
            _ => 1_000,
        };
        self.chance.index(max)
    }

    fn send_some(&mut self, uid: Uid, id: ChannelId) {
        let count = if self.chance.one_in(8) { self.chance.below(60) } else { 1 + self.chance.below(4) };
        for _ in 0..count {
            let len = self.len();
            if self.ledger.channel(uid, id).stream { self.write(uid, id, len) } else { self.send_message(uid, id, len) }
        }
        if self.whims.one_in(25) {
            self.discard(uid, id);
        }
    }

    fn discard(&mut self, uid: Uid, id: ChannelId) {
        let Some(session) = session_of(&mut self.client, self.client_uid, &mut self.server, uid) else { return };
        let count = session.channel(id).discard();
        trace!(self.now, "{uid:?} {id:?}: throws {count} away");
        self.ledger.check_deliveries(session, uid, id);
    }

    pub(super) fn send_message(&mut self, uid: Uid, id: ChannelId, len: usize) {
        let Some(session) = session_of(&mut self.client, self.client_uid, &mut self.server, uid) else { return };
        let log = self.ledger.channel(uid, id);
        let ordinal = log.sent.len() as u64 + 1;
        match session.channel(id).send(bytes(message_key(log.author, id, ordinal), 0, len)) {
            Ok(given) => {
                assert_eq!(given, ordinal);
                log.sent.push(Sent { len, delivery: Delivery::Pending });
                trace!(self.now, "{uid:?} {id:?}: sends message {ordinal} of {len}");
            }
            Err((ChannelError::Blocked | ChannelError::Closed | ChannelError::Reset(_), _)) => {}
            Err((ChannelError::Finished, _)) => assert!(log.finished),
            Err((error, _)) => panic!("{id:?}: {error:?}"),
        }
    }

    pub(super) fn write(&mut self, uid: Uid, id: ChannelId, len: usize) {
        let Some(session) = session_of(&mut self.client, self.client_uid, &mut self.server, uid) else { return };
        let log = self.ledger.channel(uid, id);
        match session.channel(id).write(&bytes(stream_key(log.author, id), log.written, len)) {
            Ok(written) => {
                log.written += written as u64;
                trace!(self.now, "{uid:?} {id:?}: writes {written}");
            }
            Err(ChannelError::Blocked | ChannelError::Closed | ChannelError::Reset(_)) => {}
            Err(ChannelError::Finished) => assert!(log.finished),
            Err(error) => panic!("{id:?}: {error:?}"),
        }
    }

    fn send_datagrams(&mut self, uid: Uid, id: ChannelId) {
        for _ in 0..=self.chance.below(6) {
            let max = if self.chance.one_in(10) { 16_000 } else { 300 };
            let len = self.chance.index(max);
            let ttl = Duration::from_millis(1 + self.chance.below(2_000));
            let key = (self.chance.below(3) == 0).then(|| self.chance.pick(&[1, 2]));
            self.send_datagram(uid, id, len, ttl, key);
        }
    }

    pub(super) fn send_datagram(&mut self, uid: Uid, id: ChannelId, len: usize, ttl: Duration, key: Option<u32>) {
        let Some(session) = session_of(&mut self.client, self.client_uid, &mut self.server, uid) else { return };
        let log = self.ledger.channel(uid, id);
        let index = u32::try_from(log.datagrams.len()).expect("few");
        let data = datagram(log.author, id, index, len);
        let len = data.len();
        let before = session.channel(id).datagram_stats(self.now).replaced;
        if session.channel(id).send_datagram(self.now, data, ttl, key).is_err() {
            return;
        }
        if session.channel(id).datagram_stats(self.now).replaced > before {
            let older = log.datagrams.iter_mut().rev().find(|other| other.key == key && key.is_some());
            let older = older.expect("something was replaced");
            assert!(!older.arrived, "{id:?}: a datagram that had arrived was replaced");
            older.replaced = true;
        }
        log.datagrams.push(SentDatagram { len, key, replaced: false, arrived: false });
    }

    pub(super) fn finish(&mut self, uid: Uid, id: ChannelId) {
        let Some(session) = session_of(&mut self.client, self.client_uid, &mut self.server, uid) else { return };
        trace!(self.now, "{uid:?} {id:?}: finishes");
        session.channel(id).finish();
        self.ledger.channel(uid, id).finished = true;
    }

    pub(super) fn reset(&mut self, uid: Uid, id: ChannelId) {
        let Some(session) = session_of(&mut self.client, self.client_uid, &mut self.server, uid) else { return };
        trace!(self.now, "{uid:?} {id:?}: resets");
        session.channel(id).reset(ResetCode::Cancelled);
        self.ledger.channel(uid, id).reset = true;
        self.ledger.check_deliveries(session, uid, id);
    }

    pub(super) fn release(&mut self, uid: Uid, id: ChannelId) {
        let Some(session) = session_of(&mut self.client, self.client_uid, &mut self.server, uid) else { return };
        trace!(self.now, "{uid:?} {id:?}: releases");
        session.channel(id).release();
        let log = self.ledger.channel(uid, id);
        log.reset |= !log.finished;
        log.refused |= !log.end_seen;
        log.released = true;
    }

    pub(super) fn channel_opened(&mut self, uid: Uid, id: ChannelId) {
        let Some(session) = session_of(&mut self.client, self.client_uid, &mut self.server, uid) else { return };
        let stream = session.channel(id).is_stream();
        let request = session.channel(id).label() == "request";
        let theirs = self.ledger.others(uid, id).expect("its opener knows it");
        assert!(theirs.opened_here && theirs.stream == stream && theirs.request == request, "{id:?}: {theirs:?}");
        let reader = self.reader();
        trace!(self.now, "{uid:?} {id:?}: the peer opened it, stream {stream}, read {reader:?}");
        let log = ChannelLog::new(uid, stream, request, false, reader);
        assert!(self.ledger.sessions[uid.0].channels.insert(id, log).is_none(), "{id:?} was opened twice");
        self.channel_changed(uid, id);
    }

    pub(super) fn channel_changed(&mut self, uid: Uid, id: ChannelId) {
        let Some(log) = self.ledger.at(uid).channels.get(&id) else {
            panic!("{uid:?} {id:?} changed, but is not known")
        };
        if log.released {
            return;
        }
        let reader = log.reader;
        let Some(session) = session_of(&mut self.client, self.client_uid, &mut self.server, uid) else { return };
        self.ledger.check_deliveries(session, uid, id);
        if reader != Reader::Stuck {
            while let Some(data) = session.channel(id).recv_datagram() {
                self.ledger.took_datagram(uid, id, &data);
            }
        }
        match reader {
            Reader::AtOnce => self.read(uid, id, usize::MAX),
            Reader::Slow => {
                let wait = self.chance.micros(SLOW_MICROS);
                self.plan_in(wait, Todo::Read(uid, id));
            }
            Reader::Stuck => {}
        }
        self.tend(uid, id);
    }

    pub(super) fn read_slowly(&mut self, uid: Uid, id: ChannelId) {
        // It may have gone on in another session meanwhile.
        let uid = if self.ledger.at(uid).channels.contains_key(&id) { uid } else { self.client_uid };
        if !self.ledger.at(uid).channels.contains_key(&id) {
            return;
        }
        let before = self.ledger.at(uid).channels[&id].got;
        self.read(uid, id, 1);
        if self.ledger.at(uid).channels[&id].got > before {
            let wait = self.chance.micros(SLOW_MICROS);
            self.plan_in(wait, Todo::Read(uid, id));
        }
    }

    /// Takes so many messages, or pieces of a stream.
    pub(super) fn read(&mut self, uid: Uid, id: ChannelId, count: usize) {
        for _ in 0..count {
            let log = self.ledger.channel(uid, id);
            if log.released || log.end_seen || log.broken_seen {
                return;
            }
            let stream = log.stream;
            let Some(session) = session_of(&mut self.client, self.client_uid, &mut self.server, uid) else { return };
            let max = if self.chance.one_in(2) { 1 + self.chance.index(5_000) } else { usize::MAX };
            let mut channel = session.channel(id);
            let received = match max {
                // As a driver does that stands between the core and a reader elsewhere.
                usize::MAX => channel.recv_ahead(),
                _ if stream => {
                    let mut bytes = vec![0; max];
                    channel.read(&mut bytes).map(|read| match read {
                        Some(0) => Received::End,
                        Some(len) => Received::Message(bytes[..len].to_vec()),
                        None => Received::Pending,
                    })
                }
                _ => channel.recv(),
            };
            let missed = channel.missed();
            if max == usize::MAX && matches!(received, Ok(Received::Message(_))) {
                channel.take();
            }
            // Behind what was taken as well, if nothing more had come.
            let missed_behind = channel.missed();
            self.ledger.passed(uid, id, missed);
            match received {
                Ok(Received::Message(message)) => {
                    assert!(!stream || !message.is_empty(), "{id:?}: no bytes of a stream are no news");
                    self.ledger.took(uid, id, &message);
                    self.ledger.passed(uid, id, missed_behind);
                }
                Ok(Received::Pending) => return,
                Ok(Received::End) => {
                    trace!(self.now, "{uid:?} {id:?}: has read all");
                    self.ledger.channel(uid, id).end_seen = true;
                    self.answer(uid, id);
                    return;
                }
                Err(error) => {
                    trace!(self.now, "{uid:?} {id:?}: {error:?}");
                    let over = session.is_over();
                    self.ledger.channel(uid, id).broken_seen = true;
                    self.ledger.check_deliveries(session, uid, id);
                    assert!(over || self.ledger.is_cut(uid, id), "{uid:?} {id:?}: {error:?}, and nobody wanted it");
                    return;
                }
            }
        }
    }

    /// What a service does when a request has come in full.
    fn answer(&mut self, uid: Uid, id: ChannelId) {
        let log = self.ledger.channel(uid, id);
        if log.request && !log.opened_here && !log.finished {
            for _ in 0..=self.chance.below(2) {
                let len = self.len();
                self.send_message(uid, id, len);
            }
            self.finish(uid, id);
            if self.chance.one_in(2) {
                self.release(uid, id);
            }
        }
    }

    /// Lets go of a channel that is over, and brings one to its end when the story ends.
    pub(super) fn tend(&mut self, uid: Uid, id: ChannelId) {
        let Some(session) = session_of(&mut self.client, self.client_uid, &mut self.server, uid) else { return };
        let log = self.ledger.channel(uid, id);
        if log.released {
            return;
        }
        // A peer that reads no more is not felt by a reader that has come to the end.
        log.broken_seen |= log.end_seen && session.channel(id).broken().is_some();
        if log.broken_seen || log.reset {
            if self.healed || (!self.keeps && self.chance.one_in(2)) {
                self.release(uid, id);
            }
            return;
        }
        if self.healed && !log.finished {
            self.finish(uid, id);
        }
        let log = self.ledger.channel(uid, id);
        let is_settled = |log: &ChannelLog| log.settled == log.sent.len() && log.taken == log.written;
        let mut settled = is_settled(log);
        if self.plan.patient && self.healed {
            settled &= self.ledger.others(uid, id).is_none_or(|log| log.released || is_settled(log));
        }
        let log = self.ledger.channel(uid, id);
        if log.finished && log.end_seen && (settled || (!self.healed && self.chance.one_in(8))) {
            self.release(uid, id);
        }
    }
}
