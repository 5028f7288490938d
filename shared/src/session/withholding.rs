//! A peer that does its worst: it withholds ACK, CREDIT and TAKEN, each alone and together, opens and resets channels as fast
//! as it can, and sends whatever it is allowed to. What a session holds for it stays below
//! [`SESSION_HELD_LEN_MAX`](crate::limits::SESSION_HELD_LEN_MAX), and each of its tables below its own bound; `audit.rs` looks
//! after every step.
//!
//! ```text
//! Peer ─► frames ─► Session ─► applications, one of each kind ─► Session ─► frames ─► Peer, which keeps the rules' books
//! ```

use alloc::{collections::BTreeMap, vec, vec::Vec};

use super::{Role, Session};
use crate::{
    budget::Budget,
    channel::{Kind, Received},
    close::ResetCode,
    codec::Reader,
    error::{ChannelError, PeerMisbehaved},
    frame::Frame,
    handshake::{auth::Resume, hello::Limits},
    ids::{ChannelId, SessionId},
    limits::{CHANNEL_WINDOW, CHANNELS_MAX, DATA_FRAME_COST, RECORD_PLAINTEXT_LEN_MAX, SESSION_HELD_LEN_MAX},
    sim::chance::Chance,
    time::Instant,
};

/// What the peer keeps back.
#[derive(Clone, Copy, Debug)]
struct Withholds {
    ack: bool,
    credit: bool,
    taken: bool,
}

/// What it does most.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Bent {
    /// Everything by turns.
    Any,
    /// Opens what will be refused.
    Opens,
    /// Opens what will be refused, and does not wait until it is: if that is too much, the connection ends by name.
    OpensBlindly,
    /// Sends empty messages to an echo.
    Empty,
}

/// One channel, as the peer sees it.
#[derive(Debug, Default)]
struct Theirs {
    spent: u64,
    limit: u64,
    /// Bytes and frames that came, which a generous peer grants again, and whole messages.
    received: u64,
    granted: u64,
    taken: u64,
    finished: bool,
    finished_there: bool,
    within_message: bool,
}

#[derive(Debug)]
struct Peer {
    withholds: Withholds,
    bent: Bent,
    next_id: u32,
    live: BTreeMap<ChannelId, Theirs>,
    /// Counted frames that came.
    received: u64,
    datagrams: u32,
    busy: u64,
}

impl Peer {
    fn new(withholds: Withholds, bent: Bent) -> Self {
        Self { withholds, bent, next_id: 0, live: BTreeMap::new(), received: 0, datagrams: 0, busy: 0 }
    }

    /// One frame of its choice, within the rules; nothing if it has nothing to say.
    fn act(&mut self, chance: &mut Chance, payload: &[u8], mut say: impl FnMut(Frame<'_>)) {
        let (label, choice) = match self.bent {
            Bent::Any => (chance.pick(&["echo", "refuse", "hold", "finish", "drop"]), chance.below(10)),
            Bent::Opens | Bent::OpensBlindly => ("refuse", 0),
            Bent::Empty => ("echo", if self.live.len() < CHANNELS_MAX { 0 } else { 5 }),
        };
        if choice < 4 && (self.live.len() < CHANNELS_MAX || self.bent == Bent::OpensBlindly) {
            let id = ChannelId(self.next_id);
            // Now and then it passes ids over.
            self.next_id += 2 + 2 * u32::from(chance.one_in(20));
            self.live.insert(id, Theirs { limit: CHANNEL_WINDOW, granted: CHANNEL_WINDOW, ..Theirs::default() });
            return say(Frame::Open { channel: id, kind: Kind { stream: chance.one_in(8), ..Kind::MESSAGES }, label });
        }
        let ids: Vec<_> = self.live.keys().copied().collect();
        let Some(id) = ids.get(chance.index(ids.len().max(1))).copied() else { return };
        let Some(channel) = self.live.get_mut(&id) else { return };
        match choice {
            0..4 => {
                self.live.remove(&id);
                say(Frame::Reset { channel: id, code: ResetCode::Cancelled });
            }
            4..7 if !channel.finished => {
                let len = if self.bent == Bent::Empty { 0 } else { chance.pick(&[0, 1, 100, 16_384]) };
                let cost = len as u64 + DATA_FRAME_COST;
                if channel.spent + cost <= channel.limit {
                    channel.spent += cost;
                    say(Frame::Data { channel: id, more: false, data: &payload[..len] });
                }
            }
            7 if !channel.finished && !channel.within_message => {
                channel.finished = true;
                if channel.finished_there {
                    self.live.remove(&id);
                }
                say(Frame::Fin { channel: id });
            }
            8 => say(Frame::Datagram { channel: id, data: &payload[..chance.pick(&[0, 10, 1_000])] }),
            9 => {
                self.live.remove(&id);
                say(Frame::Reset { channel: id, code: ResetCode::Cancelled });
            }
            _ => {}
        }
    }

    /// What it gives back of what it does not withhold.
    fn answer(&mut self, mut say: impl FnMut(Frame<'_>)) {
        if !self.withholds.ack {
            say(Frame::Ack { count: self.received, datagrams: self.datagrams });
        }
        for (id, channel) in &mut self.live {
            if !self.withholds.credit && channel.received + CHANNEL_WINDOW > channel.granted {
                channel.granted = channel.received + CHANNEL_WINDOW;
                say(Frame::Credit { channel: *id, limit: channel.granted });
            }
            if !self.withholds.taken && channel.taken > 0 {
                say(Frame::Taken { channel: *id, count: channel.taken });
            }
        }
    }

    fn hear(&mut self, frame: &Frame<'_>) {
        self.received += frame.count();
        match *frame {
            Frame::Reset { channel, code } => {
                self.live.remove(&channel);
                self.busy += u64::from(code == ResetCode::Busy);
            }
            Frame::Fin { channel } => {
                if let Some(state) = self.live.get_mut(&channel) {
                    state.finished_there = true;
                    if state.finished {
                        self.live.remove(&channel);
                    }
                }
            }
            Frame::Credit { channel, limit } => {
                if let Some(state) = self.live.get_mut(&channel) {
                    state.limit = limit;
                }
            }
            Frame::Data { channel, more, data } => {
                if let Some(state) = self.live.get_mut(&channel) {
                    state.received += data.len() as u64 + DATA_FRAME_COST;
                    state.taken += u64::from(!more);
                    assert!(state.received <= state.granted, "more was sent than was granted");
                }
            }
            Frame::Datagram { .. } => self.datagrams += 1,
            _ => {}
        }
    }
}

/// The applications of the session: what each does with a channel is in its label.
#[derive(Debug, Default)]
struct Applications {
    /// What an echo could not send yet: it takes nothing more until it has.
    waiting: BTreeMap<ChannelId, Vec<u8>>,
}

impl Applications {
    fn serve(&mut self, session: &mut Session, id: ChannelId) {
        match session.channel(id).label().as_str() {
            "echo" if self.echo(session, id) => session.channel(id).finish(),
            // It reads nothing, and lets go of nothing.
            "echo" | "hold" => return,
            "refuse" => session.channel(id).reset(ResetCode::Refused),
            "finish" => {
                while let Ok(Received::Message(_)) = session.channel(id).recv() {}
                if session.channel(id).recv() == Ok(Received::Pending) {
                    return;
                }
                session.channel(id).finish();
            }
            _ => session.channel(id).finish(),
        }
        self.waiting.remove(&id);
        session.channel(id).release();
    }

    /// True once there is nothing more to say.
    fn echo(&mut self, session: &mut Session, id: ChannelId) -> bool {
        loop {
            let message = match self.waiting.remove(&id) {
                Some(message) => message,
                None => match session.channel(id).recv() {
                    Ok(Received::Message(message)) => message,
                    received => return received != Ok(Received::Pending),
                },
            };
            let mut channel = session.channel(id);
            let rest = if channel.is_stream() {
                match channel.write(&message) {
                    Ok(len) if len == message.len() => None,
                    Ok(len) => Some(message[len..].to_vec()),
                    Err(ChannelError::Blocked) => Some(message),
                    Err(_) => return true,
                }
            } else {
                match channel.send(message) {
                    Ok(_) => None,
                    Err((ChannelError::Blocked, message)) => Some(message),
                    Err(_) => return true,
                }
            };
            if let Some(rest) = rest {
                self.waiting.insert(id, rest);
                return false;
            }
        }
    }
}

/// Frames that the peer says at once.
const RECORD_FRAMES: u32 = 200;

fn opened() -> Session {
    let mut session = Session::new(Role::Server, Budget::default());
    session.connected();
    session.set_peers_limits(Limits::default());
    session.begin(SessionId([1; 16]));
    session.open_for_datagrams();
    session
}

/// The most that the session held meanwhile, and how often it said that it was busy.
fn withstand(withholds: Withholds, bent: Bent, seed: u64, steps: u32) -> (usize, u64) {
    let (mut chance, mut session, mut peer) = (Chance::new(seed), opened(), Peer::new(withholds, bent));
    let mut applications = Applications::default();
    let payload = vec![7; 16_384];
    let mut now = Instant::default();
    let mut most = 0;
    for step in 0..steps {
        now = now + core::time::Duration::from_millis(1);
        let mut record = Vec::new();
        // A record full of small frames, as it would come.
        for _ in 0..RECORD_FRAMES {
            peer.act(&mut chance, &payload, |frame| frame.encode(&mut record));
            if record.len() > RECORD_PLAINTEXT_LEN_MAX / 2 {
                break;
            }
        }
        peer.answer(|frame| frame.encode(&mut record));
        let mut reader = Reader::new(&record);
        while let Some(frame) = Frame::decode(&mut reader).expect("well formed") {
            match session.handle_frame(now, &frame) {
                Err(PeerMisbehaved::TooManyChannels) if bent == Bent::OpensBlindly => {
                    session.audit();
                    return (most, peer.busy);
                }
                result => result.unwrap_or_else(|error| panic!("{withholds:?} {bent:?} {seed}: {error}: {frame:?}")),
            }
        }
        while let Some(id) = session.poll_opened().or_else(|| session.poll_changed()) {
            applications.serve(&mut session, id);
        }
        most = most.max(session.held_len());
        assert!(most <= SESSION_HELD_LEN_MAX, "{most} bytes held");
        for _ in 0..4 {
            let mut record = Vec::new();
            if session.has_frames() {
                session.fill(now, &mut record, RECORD_PLAINTEXT_LEN_MAX);
            }
            let mut reader = Reader::new(&record);
            while let Some(frame) = Frame::decode(&mut reader).expect("well formed") {
                peer.hear(&frame);
            }
        }
        if step % 16 == 0 {
            session.audit();
        }
        session.settle_account();
    }
    session.audit();
    (most, peer.busy)
}

#[test]
fn a_peer_that_withholds_ack_credit_or_taken_and_opens_and_resets_at_will_makes_a_session_hold_no_more_than_its_bound()
{
    for number in 0..8 {
        let withholds = Withholds { ack: number & 1 != 0, credit: number & 2 != 0, taken: number & 4 != 0 };
        for (bent, steps) in [(Bent::Any, 600), (Bent::Opens, 700), (Bent::OpensBlindly, 700), (Bent::Empty, 200)] {
            let (most, busy) = withstand(withholds, bent, number, steps);
            std::println!("{withholds:?} {bent:?}: at most {most} bytes held, {busy} times busy");
        }
    }
}

/// A copied tab brings the counts of an earlier state. It was taken for a broken rule, and ended the session of the honest tab.
#[test]
fn a_session_does_not_go_on_with_a_client_that_knows_of_less_than_it_has_acknowledged_or_sent() {
    let mut session = opened();
    session.open("desk", Kind::MESSAGES).expect("a good label");
    let mut record = Vec::new();
    session.fill(Instant::default(), &mut record, RECORD_PLAINTEXT_LEN_MAX);
    let counts = |received, sent| Resume { session_id: SessionId([0; 16]), received, sent };
    assert!(session.can_resume(&counts(0, Some(0))) && session.can_resume(&counts(1, Some(0))));
    session.handle_frame(Instant::default(), &Frame::Ack { count: 1, datagrams: 0 }).expect("it was sent");
    assert!(!session.can_resume(&counts(0, Some(0))), "it is gone");
    assert!(session.can_resume(&counts(1, Some(0))));
    session.handle_frame(Instant::default(), &Frame::Skip { count: 5 }).expect("five frames stood there");
    assert!(!session.can_resume(&counts(1, Some(4))), "it has not sent that yet");
    assert!(session.can_resume(&counts(1, Some(5))) && session.can_resume(&counts(1, None)));
}
