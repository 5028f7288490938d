//! What both applications did, as a bystander who sees both ends would write it down; and what must then hold.
//!
//! Each session object has a number ([`Uid`]); the two that belong together know each other. The bytes of a message follow
//! from the sender's number, the channel and the ordinal, so that what arrives tells whether it is what it should be.

use core::ops::Range;

use alloc::{collections::BTreeMap, string::String, vec, vec::Vec};

use super::{End, Uid, chance::mix};
use crate::{
    channel::Delivery,
    ids::ChannelId,
    session::{DatagramStats, Session},
};

/// How an application reads a channel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Reader {
    AtOnce,
    /// One message, or some bytes, now and then.
    Slow,
    /// Nothing, until the end of the story.
    Stuck,
}

#[derive(Clone, Copy, Debug)]
pub(super) struct Sent {
    pub(super) len: usize,
    pub(super) delivery: Delivery,
}

#[derive(Clone, Copy, Debug)]
pub(super) struct SentDatagram {
    pub(super) len: usize,
    pub(super) key: Option<u32>,
    pub(super) replaced: bool,
    pub(super) arrived: bool,
}

/// One end of a channel.
#[derive(Debug)]
pub(super) struct ChannelLog {
    /// The session in which it was opened at this end: what is sent on it follows from that, wherever it goes on.
    pub(super) author: Uid,
    pub(super) stream: bool,
    /// A request: the one who opened it finishes and waits for an answer.
    pub(super) request: bool,
    pub(super) opened_here: bool,
    pub(super) reader: Reader,
    pub(super) sent: Vec<Sent>,
    /// Sent messages that are settled: so many of the first.
    pub(super) settled: usize,
    /// Bytes of a stream that were accepted.
    pub(super) written: u64,
    pub(super) taken: u64,
    /// Messages, or bytes of a stream, that this application has taken, with those of which it was told that they are missing,
    /// and which those are.
    pub(super) got: u64,
    pub(super) missing: u64,
    pub(super) missed: Vec<Range<u64>>,
    pub(super) end_seen: bool,
    pub(super) broken_seen: bool,
    pub(super) finished: bool,
    pub(super) released: bool,
    /// This application has reset it, or released it before it finished.
    pub(super) reset: bool,
    /// This application has released it before it had read all.
    pub(super) refused: bool,
    pub(super) datagrams: Vec<SentDatagram>,
    pub(super) datagrams_got: u64,
}

impl ChannelLog {
    pub(super) const fn new(author: Uid, stream: bool, request: bool, opened_here: bool, reader: Reader) -> Self {
        Self {
            author,
            stream,
            request,
            opened_here,
            reader,
            sent: Vec::new(),
            settled: 0,
            written: 0,
            taken: 0,
            got: 0,
            missing: 0,
            missed: Vec::new(),
            end_seen: false,
            broken_seen: false,
            finished: false,
            released: false,
            reset: false,
            refused: false,
            datagrams: Vec::new(),
            datagrams_got: 0,
        }
    }
}

#[derive(Debug)]
pub(super) struct SessionLog {
    pub(super) end: End,
    pub(super) peer: Option<Uid>,
    pub(super) channels: BTreeMap<ChannelId, ChannelLog>,
    /// It is no more: ended, or its process has died.
    pub(super) over: bool,
}

#[derive(Debug, Default)]
pub(super) struct Ledger {
    pub(super) sessions: Vec<SessionLog>,
    pub(super) messages: u64,
    pub(super) bytes: u64,
    pub(super) datagrams: u64,
}

impl Ledger {
    pub(super) fn begin(&mut self, end: End) -> Uid {
        self.sessions.push(SessionLog { end, peer: None, channels: BTreeMap::new(), over: false });
        Uid(self.sessions.len() - 1)
    }

    pub(super) fn pair(&mut self, client: Uid, server: Uid) {
        assert_eq!((self.at(client).end, self.at(server).end), (End::Client, End::Server));
        assert!(self.at(client).peer.is_none_or(|peer| peer == server), "{client:?} has another peer than {server:?}");
        assert!(self.at(server).peer.is_none_or(|peer| peer == client), "{server:?} has another peer than {client:?}");
        self.sessions[client.0].peer = Some(server);
        self.sessions[server.0].peer = Some(client);
    }

    /// The client's session was not resumed, nothing having been said in it: its peer is another one than it once was.
    pub(super) fn pair_anew(&mut self, client: Uid, server: Uid) {
        if let Some(before) = self.at(client).peer.filter(|before| *before != server) {
            let heard = self.at(before).channels.values().any(|log| !log.opened_here);
            assert!(!heard, "{before:?} had heard of this client's channels");
            self.sessions[before.0].peer = None;
            self.sessions[client.0].peer = None;
        }
        self.pair(client, server);
    }

    pub(super) fn at(&self, uid: Uid) -> &SessionLog {
        &self.sessions[uid.0]
    }

    pub(super) fn channel(&mut self, uid: Uid, id: ChannelId) -> &mut ChannelLog {
        self.sessions[uid.0].channels.get_mut(&id).expect("the application knows its channels")
    }

    /// The other end's log of this channel, once it knows it.
    pub(super) fn others(&self, uid: Uid, id: ChannelId) -> Option<&ChannelLog> {
        self.at(self.at(uid).peer?).channels.get(&id)
    }

    /// Channels that this application still holds.
    pub(super) fn held(&self, uid: Uid) -> Vec<ChannelId> {
        let held = self.at(uid).channels.iter().filter(|(_, log)| !log.released);
        held.map(|(id, _)| *id).collect()
    }

    /// Either application has ended the channel before its time.
    pub(super) fn is_cut(&self, uid: Uid, id: ChannelId) -> bool {
        let cut = |log: &ChannelLog| log.reset || log.refused;
        self.at(uid).channels.get(&id).is_some_and(cut) || self.others(uid, id).is_some_and(cut)
    }

    /// An application has taken a message, or bytes of a stream.
    pub(super) fn took(&mut self, uid: Uid, id: ChannelId, bytes: &[u8]) {
        let sender = self.at(uid).peer.unwrap_or_else(|| panic!("{uid:?} took {} bytes of nobody", bytes.len()));
        let log = &self.at(uid).channels[&id];
        let (got, stream) = (log.got, log.stream);
        let theirs = self.at(sender).channels.get(&id).unwrap_or_else(|| panic!("{sender:?} never opened {id:?}"));
        let author = theirs.author;
        let (key, offset) = if stream {
            assert!(got + bytes.len() as u64 <= theirs.written, "{id:?}: more bytes came than were written");
            (stream_key(author, id), got)
        } else {
            let index = usize::try_from(got).expect("few messages");
            let sent = theirs.sent.get(index);
            let sent = sent.unwrap_or_else(|| panic!("{id:?}: message {} came, which was never sent", got + 1));
            assert_ne!(sent.delivery, Delivery::NotSent, "{id:?}: message {} was called not sent", got + 1);
            assert_eq!(sent.len, bytes.len(), "{id:?}: length of message {}", got + 1);
            (message_key(author, id, got + 1), 0)
        };
        if let Some(at) = first_difference(key, offset, bytes) {
            panic!("{uid:?} {id:?}: byte {at} of {} is not what {sender:?} sent", bytes.len());
        }
        let log = self.channel(uid, id);
        log.got += if stream { bytes.len() as u64 } else { 1 };
        self.messages += 1;
        self.bytes += bytes.len() as u64;
    }

    /// An application has been told that so many messages or bytes are missing, in all that it has read.
    pub(super) fn passed(&mut self, uid: Uid, id: ChannelId, missing: u64) {
        let log = self.channel(uid, id);
        let more = missing.checked_sub(log.missing).expect("it never goes back");
        if more > 0 {
            log.missed.push(log.got..log.got + more);
            (log.missing, log.got) = (missing, log.got + more);
        }
    }

    pub(super) fn took_datagram(&mut self, uid: Uid, id: ChannelId, data: &[u8]) {
        let sender = self.at(uid).peer.expect("paired before anything arrives");
        let (index, rest) = data.split_first_chunk::<4>().expect("it begins with its index");
        let index = u32::from_be_bytes(*index);
        let theirs = self.sessions[sender.0].channels.get_mut(&id).expect("the sender knows the channel");
        let author = theirs.author;
        let sent = &mut theirs.datagrams[index as usize];
        assert!(!sent.arrived, "{id:?}: datagram {index} came twice");
        assert!(!sent.replaced, "{id:?}: datagram {index} came, which was counted as replaced");
        assert_eq!(sent.len, data.len(), "{id:?}: length of datagram {index}");
        assert_eq!(first_difference(datagram_key(author, id, index), 0, rest), None, "{id:?}: datagram {index}");
        sent.arrived = true;
        self.channel(uid, id).datagrams_got += 1;
        self.datagrams += 1;
    }

    /// What the sender is told of its messages is true, and final.
    pub(super) fn check_deliveries(&mut self, session: &mut Session, uid: Uid, id: ChannelId) {
        let broken = session.channel(id).broken().is_some();
        let (peers_got, missed) = self.others(uid, id).map_or((0, Vec::new()), |log| (log.got, log.missed.clone()));
        let was_missed = |ordinal: u64| missed.iter().any(|missed| missed.contains(&(ordinal - 1)));
        let log = self.channel(uid, id);
        if log.stream {
            let taken = session.channel(id).taken();
            assert!(log.taken <= taken && taken <= peers_got, "{id:?}: {taken} bytes said to be taken of {peers_got}");
            log.taken = taken;
            return;
        }
        while let Some(sent) = log.sent.get_mut(log.settled) {
            let ordinal = log.settled as u64 + 1;
            sent.delivery = session.channel(id).delivery(ordinal);
            match sent.delivery {
                Delivery::Pending => {
                    assert!(!broken, "{uid:?} {id:?}: message {ordinal} is pending on a broken channel");
                    return;
                }
                Delivery::Taken => {
                    assert!(ordinal <= peers_got && !was_missed(ordinal), "{id:?}: message {ordinal} was not taken");
                }
                Delivery::NotSent => {
                    assert!(
                        ordinal > peers_got || was_missed(ordinal),
                        "{id:?}: message {ordinal} was sent, and taken"
                    );
                }
                Delivery::Unknown => assert!(broken, "{id:?}: message {ordinal} is unknown on a live channel"),
            }
            log.settled += 1;
        }
    }

    /// The other end has closed an open line when its application had taken so much: this one knows it.
    pub(super) fn check_told(&self, uid: Uid, taken: &[(ChannelId, u64)]) {
        for (id, taken) in taken.iter().filter(|(id, _)| !self.is_cut(uid, *id)) {
            let Some(log) = self.at(uid).channels.get(id).filter(|log| !log.stream) else { continue };
            for (sent, ordinal) in log.sent.iter().zip(1..=*taken) {
                assert_ne!(sent.delivery, Delivery::Unknown, "{uid:?} {id:?}: nobody told that {ordinal} was taken");
            }
        }
    }

    /// The counters of a channel's datagrams add up.
    pub(super) fn check_datagrams(&self, uid: Uid, id: ChannelId, stats: DatagramStats, waiting: u64) {
        let log = &self.at(uid).channels[&id];
        let accounted = stats.sent + stats.expired + stats.replaced + stats.overflowed + waiting;
        assert!(
            accounted <= log.datagrams.len() as u64,
            "{id:?}: {stats:?}, {waiting} waiting of {}",
            log.datagrams.len()
        );
        // Those of a channel that ends before its time go with it.
        if !self.is_cut(uid, id) {
            assert_eq!(accounted, log.datagrams.len() as u64, "{id:?}: {stats:?}, {waiting} waiting");
        }
        let arrived = log.datagrams.iter().filter(|datagram| datagram.arrived).count() as u64;
        assert!(arrived <= stats.sent, "{id:?}: {arrived} datagrams came of {} sent", stats.sent);
    }

    /// Both ends of a session are through with everything: what was sent on channels that nobody cut was taken.
    pub(super) fn check_complete(&self, client: Uid) {
        let server = self.at(client).peer.expect("paired");
        for (sender, receiver) in [(client, server), (server, client)] {
            for (id, log) in &self.at(sender).channels {
                let Some(theirs) = self.at(receiver).channels.get(id) else {
                    assert!(log.reset, "{sender:?} {id:?}: the other end never heard of it: {log:?}");
                    continue;
                };
                if log.reset || theirs.reset || theirs.refused {
                    continue;
                }
                let sent = if log.stream { log.written } else { log.sent.len() as u64 };
                assert_eq!(theirs.got, sent, "{sender:?} {id:?}: what was sent was not taken in full");
                assert!(theirs.end_seen, "{sender:?} {id:?}: the end was not seen");
                if !log.refused && !log.stream && log.settled < log.sent.len() {
                    // Released before its messages were settled.
                    assert!(log.released);
                }
            }
        }
    }

    pub(super) fn describe(&self, uid: Uid) -> String {
        let mut text = std::format!("{uid:?}:");
        for id in self.held(uid) {
            let log = &self.at(uid).channels[&id];
            text += &std::format!(
                "\n  {id:?} stream {} sent {} settled {} written {} taken {} got {} end {} finished {} reader {:?} cut {}",
                log.stream,
                log.sent.len(),
                log.settled,
                log.written,
                log.taken,
                log.got,
                log.end_seen,
                log.finished,
                log.reader,
                self.is_cut(uid, id)
            );
        }
        text
    }
}

fn channel_key(sender: Uid, id: ChannelId) -> u64 {
    mix((sender.0 as u64) << 33 | u64::from(id.0) | 1 << 63)
}

pub(super) fn message_key(sender: Uid, id: ChannelId, ordinal: u64) -> u64 {
    mix(channel_key(sender, id) ^ ordinal)
}

pub(super) fn stream_key(sender: Uid, id: ChannelId) -> u64 {
    channel_key(sender, id)
}

fn datagram_key(sender: Uid, id: ChannelId, index: u32) -> u64 {
    !message_key(sender, id, u64::from(index))
}

fn word(key: u64, index: u64) -> [u8; 8] {
    (key ^ index.wrapping_mul(0x9e37_79b9_7f4a_7c15)).to_le_bytes()
}

/// Bytes that follow from a key and their place.
pub(super) fn bytes(key: u64, offset: u64, len: usize) -> Vec<u8> {
    let mut out = vec![0; len];
    let skip = usize::try_from(offset % 8).expect("below 8");
    let head = len.min((8 - skip) % 8);
    out[..head].copy_from_slice(&word(key, offset / 8)[skip..skip + head]);
    for (index, chunk) in (offset.div_ceil(8)..).zip(out[head..].chunks_mut(8)) {
        chunk.copy_from_slice(&word(key, index)[..chunk.len()]);
    }
    out
}

pub(super) fn datagram(sender: Uid, id: ChannelId, index: u32, len: usize) -> Vec<u8> {
    [index.to_be_bytes().as_slice(), &bytes(datagram_key(sender, id, index), 0, len)].concat()
}

fn first_difference(key: u64, offset: u64, found: &[u8]) -> Option<usize> {
    let expected = bytes(key, offset, found.len());
    if expected == found {
        return None;
    }
    expected.iter().zip(found).position(|(a, b)| a != b)
}
