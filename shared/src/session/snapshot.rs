//! A session as bytes, for whoever takes its place at this end: a client's, for a page that is loaded again; a server's is the same, in
//! the states that are kept of it (`keeping.rs`).
//!
//! ```text
//! page ─╮ pagehide: snapshot() ─► sealed ─► the browser's storage ─► revive() ╭─ page
//!       ╰────────── no connection: the session is parked at the server ───────╯
//! ```
//!
//! What is here of both directions goes along: what was queued, what was sealed and is not acknowledged, what has come and was not
//! taken. Datagrams do not, nor what was shown of the person: whoever comes next may be somebody else, so that a session that was
//! revived says AWAY and HERE before all else. The other half of it has the server: a session goes on in one
//! place only, since one that goes on from an older snapshot is told that its counts are of the past
//! ([`crate::Line::can_resume`]).

use alloc::{boxed::Box, string::String, vec::Vec};

use super::{Role, Session, datagrams::ChannelDatagrams, farewells::Farewells, outbound::is_due, resend::Resend};
use crate::{
    channel::{ChannelState, Fin, Kind},
    codec::{Reader, put_counts},
    error::InvalidMessage,
    handshake::hello::Limits,
    ids::{ChannelId, SessionId},
    limits::{ASSEMBLING_CHANNELS_MAX, SNAPSHOT_LEN_MAX},
};

/// A channel as whoever revives a session finds it.
#[derive(Debug)]
pub struct KeptChannel {
    /// Its id.
    pub id: ChannelId,
    /// As it was opened.
    pub label: String,
    /// Likewise.
    pub kind: Kind,
    /// Messages, or bytes of a stream, that were sent on it: what comes next is counted behind them.
    pub sent: u64,
    /// Nothing more can be sent on it.
    pub finished: bool,
    /// Server: its service has noted something.
    #[cfg(feature = "server")]
    pub is_noted: bool,
}

impl Session {
    /// The channels that its application has not let go of.
    #[must_use]
    pub fn kept(&self) -> Vec<KeptChannel> {
        let held = self.channels.iter().filter(|(_, channel)| !channel.released);
        held.map(|(id, channel)| KeptChannel {
            id,
            label: channel.label.clone(),
            kind: channel.kind,
            sent: channel.send.accepted,
            finished: channel.send.fin != Fin::Open,
            #[cfg(feature = "server")]
            is_noted: !channel.note.is_empty(),
        })
        .collect()
    }

    /// Client: all of it, as it is now. None if that is longer than [`SNAPSHOT_LEN_MAX`], if it was never open or is over, or if
    /// something was handed over and neither taken nor [handed back](crate::Channel::hand_back).
    #[must_use]
    pub fn snapshot(&self) -> Option<Vec<u8>> {
        let id = self.id.filter(|_| !self.over && !self.role.is_server())?;
        if self.queued_len + self.resend.len() > 2 * SNAPSHOT_LEN_MAX {
            return None;
        }
        let mut out = Vec::new();
        out.extend_from_slice(&id.0);
        self.put_after_id(&mut out);
        for (id, channel) in self.channels.iter() {
            if channel.recv.is_ahead() || out.len() > SNAPSHOT_LEN_MAX {
                return None;
            }
            self.put_channel(id, channel, &mut out);
        }
        (out.len() <= SNAPSHOT_LEN_MAX).then_some(out)
    }

    pub(super) fn put_after_id(&self, out: &mut Vec<u8>) {
        self.peers.encode(out);
        let (next_id, peers_next_id, attempt) = (self.next_id.into(), self.peers_next_id.into(), self.attempt.into());
        put_counts(out, &[next_id, peers_next_id, attempt, self.forgeries.into(), self.received]);
        self.put_standing(out);
        self.resend.put(out);
        self.farewells.put(out);
        put_counts(out, &[self.channels.len() as u64]);
    }

    pub(super) fn put_channel(&self, id: ChannelId, channel: &ChannelState, out: &mut Vec<u8>) {
        channel.put(id, out);
        let datagrams = self.channel_datagrams.get(id);
        out.push(datagrams.is_some().into());
        if let Some(datagrams) = datagrams {
            datagrams.put(self.outgoing.count(id), out);
        }
    }

    /// A client's session as [`Self::snapshot`] has written it.
    ///
    /// # Errors
    /// [`InvalidMessage`] if it is none.
    pub fn revive(snapshot: &[u8]) -> Result<Self, InvalidMessage> {
        let mut reader = Reader::new(snapshot);
        let mut session = Self::new(Role::Client, None);
        session.id = Some(SessionId(reader.array()?));
        session.revive_after_id(&mut reader, |_, _| Ok(()))?;
        reader.finish()?;
        session.say_away_and_here();
        Ok(session)
    }

    /// `more` reads what stands behind a channel.
    pub(super) fn revive_after_id<'a>(
        &mut self,
        reader: &mut Reader<'a>,
        more: impl Fn(&mut ChannelState, &mut Reader<'a>) -> Result<(), InvalidMessage>,
    ) -> Result<(), InvalidMessage> {
        self.peers = Limits::decode(reader)?;
        let [next_id, peers_next_id, attempt, forgeries, received] = reader.counts()?;
        let too_long = |_| InvalidMessage::TooLong;
        self.next_id = next_id.try_into().map_err(too_long)?;
        self.peers_next_id = peers_next_id.try_into().map_err(too_long)?;
        self.attempt = attempt.try_into().map_err(too_long)?;
        self.forgeries = forgeries.try_into().map_err(too_long)?;
        self.received = received;
        self.revive_standing(reader)?;
        self.resend = Resend::revive(reader)?;
        self.farewells = Farewells::revive(reader)?;
        let [channels] = reader.counts()?;
        let mut next = 0;
        for _ in 0..channels {
            let (id, mut channel) = ChannelState::revive(reader)?;
            if id.0 < next {
                return Err(InvalidMessage::UnknownValue);
            }
            next = id.0.checked_add(1).ok_or(InvalidMessage::TooLong)?;
            if reader.flag()? {
                let datagrams = ChannelDatagrams::revive(reader)?;
                self.channel_datagrams.get_or_insert(id, || Box::new(datagrams));
            }
            more(&mut channel, reader)?;
            self.take_in(id, channel)?;
        }
        self.count_anew()?;
        let ids: Vec<_> = self.channels.ids().collect();
        ids.into_iter().for_each(|id| self.ask_for_slot(id));
        Ok(())
    }

    fn take_in(&mut self, id: ChannelId, channel: ChannelState) -> Result<(), InvalidMessage> {
        let is_ours = id.0 & 1 == self.role.bit();
        let next = if is_ours { self.next_id } else { self.peers_next_id };
        let grown = usize::try_from(channel.recv.grown()).unwrap_or(usize::MAX);
        if id.0 >= next || (!is_ours && !channel.announced) || (grown > 0 && !self.claims.claim(grown)) {
            return Err(InvalidMessage::UnknownValue);
        }
        self.queued_len += channel.send.queued_len();
        self.unread_len += channel.recv.memory_len();
        self.assembling = self.assembling.saturating_add(u8::from(channel.recv.assembling));
        self.held_there += u16::from(cfg!(feature = "server") && !is_ours);
        if channel.announced && !channel.is_over() {
            *self.live(id) += 1;
        }
        if !channel.announced && channel.reset.is_none() {
            self.unannounced.insert(id);
        }
        if is_due(&channel, false, false) {
            self.due.insert(id);
        }
        self.changed.insert(id);
        self.channels.get_or_insert(id, || Box::new(channel));
        self.take_turn(id);
        Ok(())
    }

    /// What follows from the rest, and its bounds.
    fn count_anew(&mut self) -> Result<(), InvalidMessage> {
        #[cfg(feature = "server")]
        {
            // Which ids were passed over is forgotten: frames for them are ignored.
            self.next_announced = self.unannounced.iter().next().map_or(self.next_id, |id| id.0);
            let places: Vec<_> = self.farewells.places().collect();
            for id in places {
                *self.live(id) = self.live(id).saturating_add(1);
            }
        }
        let is_within = self.live_here <= self.peers.channels
            && self.live_there <= self.ours.channels
            && self.next_id & 1 == self.role.bit()
            && self.peers_next_id & 1 != self.role.bit()
            && usize::from(self.assembling) <= ASSEMBLING_CHANNELS_MAX;
        if is_within { Ok(()) } else { Err(InvalidMessage::UnknownValue) }
    }
}
