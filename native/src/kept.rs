//! A server's session that is kept on disk: who keeps it, and what waits to leave until that is done (output commit).
//!
//! ```text
//! change ─► what leaves by it is sealed, and waits ─► Recorder::is_due ─► Line::to_keep ─► disk ─► Line::is_kept ─► it leaves
//! ```

use std::{collections::VecDeque, fmt, sync::Arc};

use duologue::{ConnectionNo, Instant, ToKeep};

use crate::{
    line::Line,
    shared::{State, Wake},
};

/// What is sealed ahead of the disk for one connection, in bytes: as much as is sent and not acknowledged without it.
const SEALED_LEN_MAX: usize = 1_024 * 1_024;

/// Who keeps a line's session on disk.
pub trait Recorder: fmt::Debug + Send + Sync {
    /// There is something to keep ([`Line::to_keep`]). Called with the line locked, and again until it is taken: it only notes that.
    fn is_due(&self);
}

/// Of a line whose session is kept.
pub(crate) struct Keeping {
    recorder: Arc<dyn Recorder>,
    outboxes: Vec<(ConnectionNo, Outbox)>,
}

#[derive(Default)]
struct Outbox {
    /// Each record behind the number of changes that it follows from.
    records: VecDeque<(u64, Vec<u8>)>,
    len: usize,
}

impl Line {
    /// Server: from now on nothing leaves, and nothing that has come is read, before what it follows from is on disk.
    pub fn keep_by(&self, recorder: Arc<dyn Recorder>) {
        self.shared.with(|state| {
            state.keeping = Some(Box::new(Keeping { recorder, outboxes: Vec::new() }));
            state.line.session().keep();
        });
    }

    /// What is to be on disk of its session now. None if nobody keeps it, or it was never open.
    #[must_use]
    pub fn to_keep(&self) -> Option<ToKeep> {
        self.shared.look(|state| state.line.session().take_state())
    }

    /// What [`Self::to_keep`] has given last is on disk, as far as these changes.
    pub fn is_kept(&self, changes: u64) {
        self.shared.with(|state| {
            state.line.session().state_is_kept(changes);
            state.sockets().for_each(Wake::wake);
        });
    }

    /// Nobody keeps it any more: it ends with this process.
    pub fn let_go(&self) {
        self.shared.with(|state| {
            state.line.session().let_go();
            state.sockets().for_each(Wake::wake);
        });
    }
}

impl State {
    /// The next record for a socket that may leave now.
    pub(crate) fn next_record(&mut self, now: Instant, no: ConnectionNo) -> Option<Vec<u8>> {
        let Self { line, keeping, moved, .. } = self;
        let mut poll = |line: &mut duologue::Line| {
            let mut record = Vec::new();
            let sent = line.poll_transmit(now, no, &mut record);
            moved.sent = moved.sent.wrapping_add(record.len() as u64);
            sent.then_some(record)
        };
        let Some(keeping) = keeping else { return poll(line) };
        let outbox = keeping.outbox(no);
        while outbox.len < SEALED_LEN_MAX
            && let Some(record) = poll(line)
        {
            outbox.len += record.len();
            outbox.records.push_back((line.session().changes(), record));
        }
        let kept_to = line.session().kept_to();
        outbox.records.front().filter(|(changes, _)| *changes <= kept_to)?;
        let (_, record) = outbox.records.pop_front()?;
        outbox.len -= record.len();
        Some(record)
    }

    /// Nothing waits for the disk there.
    pub(crate) fn is_sent(&mut self, no: ConnectionNo) -> bool {
        self.keeping.as_mut().is_none_or(|keeping| keeping.outbox(no).records.is_empty())
    }

    /// A socket is gone.
    pub(crate) fn forget_outbox(&mut self, no: ConnectionNo) {
        if let Some(keeping) = &mut self.keeping {
            keeping.outboxes.retain(|(other, _)| *other != no);
        }
    }

    /// Tells whoever keeps the session, if there is something. Sockets look first, since what they seal changes it too: `looks` has.
    pub(crate) fn tell_recorder(&mut self, looks: Option<ConnectionNo>) {
        let Some(keeping) = &self.keeping else { return };
        if !self.line.session().is_to_be_kept() {
            return;
        }
        let line = &self.line;
        let will_look =
            |no: ConnectionNo, wake: &Wake| looks != Some(no) && wake.will_look() && line.wants_transmit(no);
        if !self.sockets.iter().any(|(no, wake)| will_look(*no, wake)) {
            keeping.recorder.is_due();
        }
    }
}

impl Keeping {
    fn outbox(&mut self, no: ConnectionNo) -> &mut Outbox {
        let at = self.outboxes.iter().position(|(other, _)| *other == no).unwrap_or_else(|| {
            self.outboxes.push((no, Outbox::default()));
            self.outboxes.len() - 1
        });
        &mut self.outboxes[at].1
    }
}
