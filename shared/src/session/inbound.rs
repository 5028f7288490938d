//! Frames that arrive, applied to the session. A frame is checked before anything changes.

use alloc::{borrow::ToOwned, boxed::Box};

use super::Session;
#[cfg(feature = "server")]
use crate::limits::{CHANNELS_HELD_MAX, SESSION_UNREAD_LEN_MAX};
use crate::{
    channel::{ChannelState, Kind},
    close::ResetCode,
    error::PeerMisbehaved,
    frame::Frame,
    ids::ChannelId,
    limits::{ACK_LEN, ACK_MILLIS, DATAGRAM_LEN_MAX, SESSION_DATAGRAMS_LEN_MAX},
    time::Instant,
};

impl Session {
    pub(crate) fn handle_frame(&mut self, now: Instant, frame: &Frame<'_>) -> Result<(), PeerMisbehaved> {
        match *frame {
            Frame::Open { channel, kind, label } => self.handle_open(channel, kind, label)?,
            Frame::Data { channel, more, data } => self.handle_data(channel, more, data)?,
            Frame::Fin { channel } => self.handle_fin(channel)?,
            Frame::Reset { channel, code } => self.handle_reset(channel, code)?,
            Frame::Gap { channel, count } => self.handle_gap(channel, count)?,
            Frame::Skip { count: 0 } => return Err(PeerMisbehaved::EmptySkip),
            Frame::Skip { .. } => {}
            Frame::Taken { channel, count } | Frame::Done { channel, count } => self.handle_taken(channel, count)?,
            Frame::Credit { channel, limit } => {
                if let Some(state) = self.known(channel)? {
                    if limit < state.send.limit {
                        return Err(PeerMisbehaved::CountOutOfRange);
                    }
                    state.send.limit = limit;
                    if !mutated!(CreditGivesNoTurn) {
                        self.take_turn(channel);
                    }
                }
            }
            Frame::Ack { count, datagrams } => {
                let len = self.resend.len();
                self.resend.acknowledge(count)?;
                self.away_was_heard(count);
                if !self.flight.acknowledged(now, (count, datagrams), self.resend.sealed(), len) {
                    return Err(PeerMisbehaved::CountOutOfRange);
                }
                if self.resend.is_empty() {
                    self.shrink_resend();
                }
            }
            Frame::Datagram { data, .. } if data.len() > DATAGRAM_LEN_MAX => {
                return Err(PeerMisbehaved::MessageTooLong);
            }
            Frame::Datagram { channel, data } => {
                #[cfg(feature = "server")]
                {
                    self.datagrams_came = self.datagrams_came.wrapping_add(1);
                }
                self.flight.received = self.flight.received.wrapping_add(1);
                self.owe_ack(now, data.len());
                // Not counted, so that it may come for a channel that is gone, or for one whose OPEN is still to be sent again.
                if self.channels.get(channel).is_some_and(|state| state.reset.is_none() && !state.released) {
                    let datagrams = self.channel_datagrams.get_or_insert(channel, Box::default);
                    let others = self.datagrams_len - datagrams.held();
                    datagrams.push(data);
                    if others + datagrams.held() > SESSION_DATAGRAMS_LEN_MAX {
                        datagrams.drop_oldest();
                    }
                    self.datagrams_len = others + datagrams.held();
                    self.changed.insert(channel);
                }
            }
            Frame::Drain { .. } if self.role.is_server() => self.peer_holds = true,
            Frame::Drain { .. } => {
                self.hold();
                self.drain_due = Some(0);
            }
            #[cfg(feature = "server")]
            Frame::Evidence(shown) => self.handle_evidence(shown)?,
            Frame::Standing(told) => self.handle_told(told)?,
            #[cfg(feature = "server")]
            Frame::Away => self.handle_away(true)?,
            #[cfg(feature = "server")]
            Frame::Here => self.handle_away(false)?,
            // The connection reads these itself.
            #[cfg(feature = "server")]
            Frame::Frozen => return Err(PeerMisbehaved::Unexpected),
            Frame::Close(_) | Frame::Ping { .. } | Frame::Pong { .. } => return Err(PeerMisbehaved::Unexpected),
        }
        if frame.is_counted() {
            #[cfg(feature = "server")]
            self.changes_now();
            self.received += frame.count();
            let len = if let Frame::Data { data, .. } = frame { data.len() } else { 0 };
            self.owe_ack(now, len);
        }
        Ok(())
    }

    fn owe_ack(&mut self, now: Instant, len: usize) {
        if mutated!(AckNever) {
            return;
        }
        self.ack.len += len;
        self.ack.due |= self.ack.len >= ACK_LEN;
        if self.ack.at.is_none() {
            self.ack.at = Some(now + core::time::Duration::from_millis(ACK_MILLIS));
        }
    }

    fn handle_open(&mut self, id: ChannelId, kind: Kind, label: &str) -> Result<(), PeerMisbehaved> {
        if id.0 < self.peers_next_id || id.0 & 1 != self.peers_next_id & 1 || label.is_empty() {
            return Err(PeerMisbehaved::ChannelIdOutOfOrder);
        }
        if self.live_there >= self.ours.channels {
            return Err(PeerMisbehaved::TooManyChannels);
        }
        let next = id.0.checked_add(2).ok_or(PeerMisbehaved::ChannelIdOutOfOrder)?;
        #[cfg(feature = "server")]
        self.pass_over(self.peers_next_id, id);
        self.peers_next_id = next;
        self.live_there += 1;
        #[cfg(feature = "server")]
        if usize::from(self.held_there) >= CHANNELS_HELD_MAX || self.unread_len >= SESSION_UNREAD_LEN_MAX {
            self.turn_down(id, ResetCode::Busy);
            return Ok(());
        }
        self.held_there += u16::from(cfg!(feature = "server"));
        let limit = u64::from(self.peers.window);
        self.channels.get_or_insert(id, || Box::new(ChannelState::new(label.to_owned(), kind, limit, true)));
        #[cfg(feature = "server")]
        self.keep_back(id);
        self.opened.insert(id);
        Ok(())
    }

    fn handle_data(&mut self, id: ChannelId, more: bool, data: &[u8]) -> Result<(), PeerMisbehaved> {
        let message_len_max = self.ours.message_len;
        let Some(channel) = self.known(id)? else { return Ok(()) };
        channel.recv.check(data.len(), message_len_max)?;
        let before = channel.recv.memory_len();
        if channel.kind.stream && more {
            return Err(PeerMisbehaved::MessageOnStream);
        }
        if channel.released {
            // Dropped, but paid for: two ends that both let go and still have to send would else wait for each other.
            channel.recv.discard(data.len());
            self.due.insert(id);
            return Ok(());
        }
        let whole = channel.recv.push(data, more);
        self.unread_len += channel.recv.memory_len() - before;
        if whole {
            self.changed.insert(id);
        }
        self.ask_for_slot(id);
        self.due.insert(id);
        Ok(())
    }

    fn handle_gap(&mut self, id: ChannelId, count: u64) -> Result<(), PeerMisbehaved> {
        if let Some(channel) = self.known(id)? {
            channel.recv.leave_out(count)?;
            // A reader that waits learns of it by reading.
            self.changed.insert(id);
        }
        Ok(())
    }

    fn handle_fin(&mut self, id: ChannelId) -> Result<(), PeerMisbehaved> {
        let Some(channel) = self.known(id)? else {
            #[cfg(feature = "server")]
            self.peer_has_finished(id);
            return Ok(());
        };
        if channel.recv.fin {
            return Err(PeerMisbehaved::DataAfterFin);
        }
        if channel.recv.is_within_message() {
            return Err(PeerMisbehaved::FinWithinMessage);
        }
        channel.recv.fin = true;
        #[cfg(feature = "server")]
        channel.recv.end_came();
        let over = channel.is_over();
        self.changed.insert(id);
        if over {
            self.count_over(id);
        }
        Ok(())
    }

    fn handle_reset(&mut self, id: ChannelId, code: ResetCode) -> Result<(), PeerMisbehaved> {
        if let Some(channel) = self.known(id)? {
            let before = channel.recv.memory_len();
            channel.recv.clear_partial();
            self.unread_len -= before - channel.recv.memory_len();
            // The peer reads no more: what it has not received need not be sent again.
            self.skip(id);
            self.end_channel(id, code);
        } else {
            #[cfg(feature = "server")]
            self.peer_has_reset(id);
        }
        Ok(())
    }

    fn handle_taken(&mut self, id: ChannelId, count: u64) -> Result<(), PeerMisbehaved> {
        if let Some(channel) = self.known(id)? {
            if count < channel.send.taken || count > channel.send.sealed {
                return Err(PeerMisbehaved::CountOutOfRange);
            }
            channel.send.taken = count;
            self.changed.insert(id);
        }
        Ok(())
    }

    /// The channel that a frame names; none if it is over or gone, and an error if it never was.
    fn known(&mut self, id: ChannelId) -> Result<Option<&mut ChannelState>, PeerMisbehaved> {
        #[cfg(feature = "server")]
        let unborn = self.is_unborn(id);
        #[cfg(not(feature = "server"))]
        let unborn = id.0 >= if id.0 & 1 == self.role.bit() { self.next_id } else { self.peers_next_id };
        match self.channels.get_mut(id) {
            _ if unborn => Err(PeerMisbehaved::ChannelNeverOpened),
            Some(channel) if !channel.announced => Err(PeerMisbehaved::ChannelNeverOpened),
            Some(channel) if channel.reset.is_none() => Ok(Some(channel)),
            _ => Ok(None),
        }
    }
}
