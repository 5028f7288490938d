//! A client's session as bytes, for whoever takes its place at this end: a page that is loaded again.
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
        self.peers.encode(&mut out);
        let (next_id, peers_next_id, attempt) = (self.next_id.into(), self.peers_next_id.into(), self.attempt.into());
        put_counts(&mut out, &[next_id, peers_next_id, attempt, self.forgeries.into(), self.received]);
        self.put_standing(&mut out);
        self.resend.put(&mut out);
        self.farewells.put(&mut out);
        put_counts(&mut out, &[self.channels.len() as u64]);
        for (id, channel) in self.channels.iter() {
            if channel.recv.is_ahead() || out.len() > SNAPSHOT_LEN_MAX {
                return None;
            }
            channel.put(id, &mut out);
            let datagrams = self.channel_datagrams.get(id);
            out.push(datagrams.is_some().into());
            if let Some(datagrams) = datagrams {
                datagrams.put(self.outgoing.count(id), &mut out);
            }
        }
        (out.len() <= SNAPSHOT_LEN_MAX).then_some(out)
    }

    /// A client's session as [`Self::snapshot`] has written it.
    ///
    /// # Errors
    /// [`InvalidMessage`] if it is none.
    pub fn revive(snapshot: &[u8]) -> Result<Self, InvalidMessage> {
        let mut reader = Reader::new(snapshot);
        let mut session = Self::new(Role::Client, None);
        session.id = Some(SessionId(reader.array()?));
        session.peers = Limits::decode(&mut reader)?;
        let [next_id, peers_next_id, attempt, forgeries, received] = reader.counts()?;
        let too_long = |_| InvalidMessage::TooLong;
        session.next_id = next_id.try_into().map_err(too_long)?;
        session.peers_next_id = peers_next_id.try_into().map_err(too_long)?;
        session.attempt = attempt.try_into().map_err(too_long)?;
        session.forgeries = forgeries.try_into().map_err(too_long)?;
        session.received = received;
        session.revive_standing(&mut reader)?;
        session.resend = Resend::revive(&mut reader)?;
        session.farewells = Farewells::revive(&mut reader)?;
        let [channels] = reader.counts()?;
        let mut next = 0;
        for _ in 0..channels {
            let (id, channel) = ChannelState::revive(&mut reader)?;
            if id.0 < next {
                return Err(InvalidMessage::UnknownValue);
            }
            next = id.0.checked_add(1).ok_or(InvalidMessage::TooLong)?;
            if reader.flag()? {
                let datagrams = ChannelDatagrams::revive(&mut reader)?;
                session.channel_datagrams.get_or_insert(id, || Box::new(datagrams));
            }
            session.take_in(id, channel)?;
        }
        reader.finish()?;
        session.count_anew()?;
        session.say_away_and_here();
        let ids: Vec<_> = session.channels.ids().collect();
        ids.into_iter().for_each(|id| session.ask_for_slot(id));
        Ok(session)
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
