//! A channel of a session, borrowed for a command.

use core::time::Duration;

use alloc::{string::String, string::ToString, vec::Vec};

use super::{DatagramStats, Session};
use crate::{
    channel::{Delivery, Received},
    close::ResetCode,
    error::ChannelError,
    ids::ChannelId,
    time::Instant,
};

/// One channel, borrowed for a command.
#[derive(Debug)]
pub struct Channel<'a> {
    pub(super) session: &'a mut Session,
    pub(super) id: ChannelId,
}

impl Channel<'_> {
    /// The label under which it was opened; empty once it is gone.
    #[must_use]
    pub fn label(&self) -> String {
        self.session.label(self.id).unwrap_or_default().to_string()
    }

    /// True if it carries a stream of bytes instead of messages.
    #[must_use]
    pub fn is_stream(&self) -> bool {
        self.session.is_stream(self.id)
    }

    /// Server: true if its session is kept on disk.
    #[cfg(feature = "server")]
    #[must_use]
    pub const fn is_kept(&self) -> bool {
        self.session.is_kept()
    }

    /// Server: takes the oldest of what [`Self::recv_ahead`] has handed over and queues its answer, a message or bytes of a stream: both
    /// or neither. Where there is no answer, it takes it.
    ///
    /// # Errors
    /// The answer comes back with the reason; after [`ChannelError::Blocked`] try again when the channel has changed.
    #[cfg(feature = "server")]
    pub fn answer(&mut self, answer: Option<Vec<u8>>) -> Result<(), (ChannelError, Option<Vec<u8>>)> {
        match answer {
            Some(bytes) if self.is_stream() => {
                if self.session.stream_room(self.id) < bytes.len() {
                    return Err((ChannelError::Blocked, Some(bytes)));
                }
                self.session.write(self.id, &bytes).map_err(|error| (error, Some(bytes)))?;
            }
            Some(message) => {
                self.session.send(self.id, message).map_err(|(error, message)| (error, Some(message)))?;
            }
            None => {}
        }
        self.take();
        Ok(())
    }

    /// Server: notes for whoever goes on with the channel, in a process that comes after this one; in place of what was noted
    /// before. Together with what else is done on it now it is kept, or not. False, and nothing is noted, if it is longer than
    /// [`NOTE_LEN_MAX`](crate::limits::NOTE_LEN_MAX).
    #[cfg(feature = "server")]
    pub fn note(&mut self, note: &[u8]) -> bool {
        self.session.note(self.id, note)
    }

    /// Server: what was noted.
    #[cfg(feature = "server")]
    #[must_use]
    pub fn noted(&self) -> &[u8] {
        self.session.noted(self.id)
    }

    /// Server: true if another process has had it before: what that did with it is known as far as it has noted it, and taken.
    #[cfg(feature = "server")]
    #[must_use]
    pub fn is_revived(&self) -> bool {
        self.session.is_revived(self.id)
    }

    /// Queues a message and returns its ordinal on this channel, counted from 1, by which [`Self::delivery`] knows it.
    ///
    /// # Errors
    /// The message comes back with the reason; after [`ChannelError::Blocked`] try again when the channel has changed.
    pub fn send(&mut self, message: Vec<u8>) -> Result<u64, (ChannelError, Vec<u8>)> {
        self.session.send(self.id, message)
    }

    /// Queues bytes of a stream, as many as there is room for (256 KiB wait at most), and returns how many that was.
    ///
    /// # Errors
    /// After [`ChannelError::Blocked`] try again when the channel has changed.
    pub fn write(&mut self, bytes: &[u8]) -> Result<usize, ChannelError> {
        self.session.write(self.id, bytes)
    }

    /// Throws away what waits here and has not begun to leave: those messages are [`Delivery::NotSent`]. The peer hears how much
    /// is missing. Returns how many messages, or bytes of a stream, that was.
    pub fn discard(&mut self) -> u64 {
        self.session.discard(self.id)
    }

    /// What is known of a message. Of those that were thrown away the newest runs are remembered (256); a message from before
    /// these is [`Delivery::Unknown`].
    #[must_use]
    pub fn delivery(&self, ordinal: u64) -> Delivery {
        self.session.delivery(self.id, ordinal)
    }

    /// How many messages, or bytes of a stream, the other application has taken.
    #[must_use]
    pub fn taken(&self) -> u64 {
        self.session.taken(self.id)
    }

    /// True if the other application has taken everything that was sent here, and its end if there was one.
    #[must_use]
    pub fn all_taken(&self) -> bool {
        self.session.all_taken(self.id)
    }

    /// Why the channel ended before its time; none if it did not.
    #[must_use]
    pub fn broken(&self) -> Option<ChannelError> {
        self.session.broken(self.id)
    }

    /// True if something has arrived that was not taken, a datagram too, or if an end has come. A change of the channel that
    /// leaves this false is one for who sends: there is room, or something was taken.
    #[must_use]
    pub fn is_readable(&self) -> bool {
        self.session.is_readable(self.id)
    }

    /// Takes the next message, or the next bytes of a stream.
    ///
    /// # Errors
    /// Why no more will come, if the channel did not end by its peer's FIN.
    pub fn recv(&mut self) -> Result<Received, ChannelError> {
        self.session.recv(self.id)
    }

    /// Takes the next bytes of a stream, as many as `buf` has room for. How many those were: none at the end, or where there is
    /// no room; `None` where nothing has come yet.
    ///
    /// # Errors
    /// As [`Self::recv`]; [`ChannelError::WrongKind`] if it is no stream.
    pub fn read(&mut self, buf: &mut [u8]) -> Result<Option<usize>, ChannelError> {
        self.session.read(self.id, buf)
    }

    /// How many messages, or bytes of a stream, the application here has taken, without those that were left out.
    #[must_use]
    pub fn read_len(&self) -> u64 {
        self.session.read_len(self.id)
    }

    /// As [`Self::recv`], for an application that is further away: the peer hears that it was taken by [`Self::take`].
    ///
    /// # Errors
    /// As [`Self::recv`].
    pub fn recv_ahead(&mut self) -> Result<Received, ChannelError> {
        self.session.recv_ahead(self.id)
    }

    /// The newest of what [`Self::recv_ahead`] has handed over, and of which no [`Self::take`] has told, comes back, so that it is read
    /// again, or is part of a [snapshot](crate::Session::snapshot). False if it is not that.
    pub fn hand_back(&mut self, message: Vec<u8>) -> bool {
        self.session.hand_back(self.id, message)
    }

    /// The application has taken the oldest of what [`Self::recv_ahead`] has handed over.
    pub fn take(&mut self) {
        self.session.take(self.id);
    }

    /// How many messages, or bytes of a stream, the peer has left out before what was read here last, since the channel's
    /// begin: by [`Self::discard`], or because the channel is a tail ([`Kind::tail`](crate::Kind::tail)).
    #[must_use]
    pub fn missed(&self) -> u64 {
        self.session.missed(self.id)
    }

    /// True if something was left out just before what is to be read next.
    #[must_use]
    pub fn is_behind_gap(&self) -> bool {
        self.session.is_behind_gap(self.id)
    }

    /// Nothing more will be sent here; the peer's messages still come.
    pub fn finish(&mut self) {
        self.session.finish(self.id);
    }

    /// Ends both directions at once.
    pub fn reset(&mut self, code: ResetCode) {
        self.session.reset(self.id, code);
    }

    /// The application is done with it: what is queued after a `finish` still leaves, else the channel is cancelled.
    pub fn release(self) {
        self.session.release(self.id);
    }

    /// Sends a datagram beside the channel's messages: once, unless `ttl` passes first, or a newer one of the same `key`
    /// comes while it waits.
    ///
    /// # Errors
    /// If it is longer than 16 KiB, or the channel has ended. It never waits.
    pub fn send_datagram(
        &mut self,
        now: Instant,
        data: Vec<u8>,
        ttl: Duration,
        key: Option<u32>,
    ) -> Result<(), ChannelError> {
        self.session.send_datagram(self.id, data, now + ttl, key)
    }

    /// The next datagram that has arrived.
    pub fn recv_datagram(&mut self) -> Option<Vec<u8>> {
        self.session.recv_datagram(self.id)
    }

    /// What became of this channel's datagrams.
    pub fn datagram_stats(&mut self, now: Instant) -> DatagramStats {
        self.session.datagram_stats(self.id, now)
    }
}
