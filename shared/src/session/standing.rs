//! Evidence and standing, as a session carries them. Neither is counted nor kept to be sent again: each AUTH states the newest
//! evidence, and each AUTH_OK the standing; on the open line a frame says what is new.
//!
//! ```text
//! client  show() ─► AUTH, or EVIDENCE once the line is open ─► server: higher than all before? ─► poll_evidence()
//! server  tell() ─► STANDING                                ─► client: poll_told()
//! ```

use alloc::vec::Vec;

use super::Session;
use crate::{
    codec::{Reader, put_bytes, put_counts},
    error::{BadEvidence, InvalidMessage, PeerMisbehaved},
    handshake::{
        evidence::{Evidence, EvidenceKind, Told, subject_of},
        hello::Capabilities,
    },
    limits::SUBJECT_LEN_MAX,
};
#[cfg(feature = "server")]
use crate::{frame::Frame, handshake::evidence::Standing};

#[derive(Debug, Default)]
pub(super) struct StandingState {
    /// Client: the newest. Server: the newest that came in a frame, until its application has it.
    evidence: Option<Evidence>,
    /// Client: the number of the newest. Server: the highest that came.
    number: u32,
    /// Client: the newest is to leave as a frame.
    due: bool,
    /// Server: what is to be told. Client: what was told, until its application has it.
    told: Option<Told>,
    /// Client: whose the session is, as the server has named them last; empty if it has named nobody.
    subject: Vec<u8>,
    /// Client: what was shown before the newest, for a fault that the simulation must find.
    #[cfg(test)]
    older: Option<Evidence>,
}

impl Session {
    /// The hello of the connection's other end.
    pub(crate) const fn set_peers_capabilities(&mut self, peers: Capabilities) {
        self.peer_knows_standing = peers.has(Capabilities::STANDING);
        self.away.peer_knows = peers.has(Capabilities::AWAY);
    }

    /// Client: shows evidence of the person: now, and with each AUTH, until newer is shown. Its number.
    ///
    /// # Errors
    /// [`BadEvidence`] if it is empty or has more than 8,184 bytes; what was shown before then stays.
    pub fn show(&mut self, kind: EvidenceKind, data: Vec<u8>) -> Result<u32, BadEvidence> {
        let state = self.standing.get_or_insert_default();
        // One each second for 136 years.
        let number = state.number.saturating_add(1);
        let evidence = Evidence::new(kind, number, data).ok_or(BadEvidence)?;
        #[cfg(test)]
        {
            state.older = state.evidence.take();
        }
        state.evidence = Some(evidence);
        state.number = number;
        state.due = true;
        Ok(number)
    }

    /// Client: the number of the newest; 0 if there is none.
    pub(crate) fn shown(&self) -> u32 {
        self.standing.as_ref().map_or(0, |state| state.number)
    }

    /// Client: what AUTH states of it; that need not leave as a frame.
    pub(crate) fn evidence_behind_auth(&mut self) -> Option<Vec<u8>> {
        let state = self.standing.as_mut().filter(|_| self.peer_knows_standing)?;
        let evidence = state.evidence.as_ref()?;
        // Behind AWAY, which would take it back.
        state.due = self.away.due;
        if self.away.due {
            return None;
        }
        #[cfg(test)]
        if mutated!(OlderEvidenceOvertakes)
            && let Some(older) = &state.older
        {
            return Some(older.shown().encode_record());
        }
        Some(evidence.shown().encode_record())
    }

    /// What was shown counts no more, and what has not left does not.
    pub(super) fn withdraw_evidence(&mut self) {
        if let Some(state) = &mut self.standing {
            state.evidence = None;
            state.due = false;
        }
    }

    /// Client: what it has shown goes on in the session that takes its place.
    pub(super) fn hand_on_evidence(&mut self, next: &mut Self) {
        next.standing = self.standing.take();
        if let Some(state) = &mut next.standing {
            state.subject.clear();
        }
    }

    /// Client: true if the session is somebody's, and the server names somebody else, or nobody, in the one that is to take its place. It
    /// need not know that any more.
    pub(crate) fn is_of_another(&self, subject: &[u8]) -> bool {
        self.standing.as_ref().is_some_and(|state| !state.subject.is_empty() && state.subject != subject)
    }

    /// Client: whom the server names. It stays theirs when their standing has fallen.
    pub(crate) fn note_subject(&mut self, subject: &[u8]) {
        if !subject.is_empty() {
            self.standing.get_or_insert_default().subject = subject.to_vec();
        }
    }

    /// Client: what a snapshot has of it: the number of the newest, and whose the session is. The evidence itself, and what was
    /// told, have no place there.
    pub(super) fn put_standing(&self, out: &mut Vec<u8>) {
        let state = self.standing.as_deref();
        put_counts(out, &[self.shown().into()]);
        put_bytes(out, state.map_or(&[], |state| &state.subject));
    }

    /// Of a snapshot.
    pub(super) fn revive_standing(&mut self, reader: &mut Reader<'_>) -> Result<(), InvalidMessage> {
        let [number] = reader.counts()?;
        let number = u32::try_from(number).map_err(|_| InvalidMessage::TooLong)?;
        let subject = reader.bytes(SUBJECT_LEN_MAX)?;
        if number > 0 || !subject.is_empty() {
            let state = self.standing.get_or_insert_default();
            (state.number, state.subject) = (number, subject.to_vec());
        }
        Ok(())
    }

    /// Server: true if evidence of that number is newer than all that came in this session.
    #[cfg(feature = "server")]
    pub(crate) fn is_newer(&self, number: u32) -> bool {
        number > self.shown().saturating_sub(if mutated!(OlderEvidenceOvertakes) { u32::MAX } else { 0 })
    }

    /// Server: evidence up to this number has come.
    pub(crate) fn note_evidence(&mut self, number: u32) {
        if number > self.shown() {
            self.standing.get_or_insert_default().number = number;
        }
    }

    /// Server: what the client is to know of its standing, where that has changed. A connection that comes later says it in its
    /// AUTH_OK.
    #[cfg(feature = "server")]
    pub fn tell(&mut self, standing: &Standing) {
        if self.peer_knows_standing && !self.over {
            self.standing.get_or_insert_default().told = Some(Told::of(standing));
        }
    }

    /// Server: a new connection states it by itself.
    #[cfg(feature = "server")]
    pub(super) fn need_not_tell(&mut self) {
        if let Some(state) = self.standing.as_mut().filter(|_| self.role.is_server()) {
            state.told = None;
        }
    }

    #[cfg(feature = "server")]
    pub(super) fn handle_evidence(
        &mut self,
        shown: crate::handshake::evidence::Shown<'_>,
    ) -> Result<(), PeerMisbehaved> {
        if !self.role.is_server() {
            return Err(PeerMisbehaved::Unexpected);
        }
        if self.is_newer(shown.number) {
            self.note_evidence(shown.number);
            let state = self.standing.get_or_insert_default();
            state.evidence = shown.known().or(state.evidence.take());
        }
        Ok(())
    }

    pub(super) fn handle_told(&mut self, told: &[u8]) -> Result<(), PeerMisbehaved> {
        if self.role.is_server() {
            return Err(PeerMisbehaved::Unexpected);
        }
        self.note_subject(subject_of(told));
        self.standing.get_or_insert_default().told = Some(Told(told.to_vec()));
        Ok(())
    }

    /// Server: evidence that came on the open line.
    #[cfg(feature = "server")]
    pub(crate) fn poll_evidence(&mut self) -> Option<Evidence> {
        if !self.role.is_server() { None } else { self.standing.as_mut()?.evidence.take() }
    }

    /// Client: what was told on the open line.
    pub(crate) fn poll_told(&mut self) -> Option<Told> {
        if self.role.is_server() { None } else { self.standing.as_mut()?.told.take() }
    }

    /// True if a frame of either is to leave: on an open line only, since AUTH states what there was before.
    pub(super) fn has_standing_frames(&self) -> bool {
        let is_due = |state: &StandingState| if self.role.is_server() { state.told.is_some() } else { state.due };
        self.standing.as_deref().is_some_and(is_due) && self.peer_knows_standing && self.flight.open
    }

    /// First, so that what follows is judged by it. There is always room: it leaves on the open line only.
    pub(super) fn fill_standing(&mut self, out: &mut Vec<u8>) {
        if !self.has_standing_frames() {
            return;
        }
        let Some(state) = &mut self.standing else { return };
        #[cfg(feature = "server")]
        if self.role.is_server() {
            if let Some(told) = state.told.take() {
                Frame::Standing(told.as_bytes()).encode(out);
            }
            return;
        }
        if let Some(evidence) = &state.evidence {
            evidence.shown().encode_frame(out);
        }
        state.due = false;
    }
}
