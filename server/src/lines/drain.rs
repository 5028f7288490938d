//! A server that stops: every client is told, finishes what it has begun, and comes back in a slot of its own.
//!
//! ```text
//! DRAIN(slot) ─► the client begins nothing new, and says so ─► services answer what is open ─► quiet
//!             ─► nothing new begins here either ─► everything was taken ─► CLOSE(going-away)      at most 30 s
//! ```
//!
//! One whose place another has taken already tells them one after another: a line goes on here until its turn, and is back as soon
//! as a handshake takes.

use std::{
    sync::atomic::Ordering,
    time::{Duration, Instant},
};

use duologue::{
    CloseCode,
    limits::{DRAIN_SECS, DRAIN_SLOTS_MAX_MILLIS, DRAIN_SLOTS_MILLIS},
};
use duologue_native::Line;

use super::Duologue;
use crate::watch::{
    events::{Event, Kind},
    stream::Watch,
};

/// How often a line is looked at.
const LOOK: Duration = Duration::from_millis(20);
/// How long a line must be quiet before services are taken to have said what they had to say.
const QUIET: Duration = Duration::from_millis(200);

/// When lines are told, and when they are to come back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Manner {
    /// All are told now, and come back in their slots.
    AtOnce,
    /// Another process serves in this one's place: each is told in its turn, and comes back at once.
    InTurn,
}

impl Manner {
    /// The time over which so many lines come back: a handshake in each millisecond is what a core does at ease. Where nobody waits
    /// for his turn without a line, there is time for twice as much.
    fn millis(self, lines: usize) -> u32 {
        let of_a_line = match self {
            Self::AtOnce => 1,
            Self::InTurn => 2,
        };
        let lines = u32::try_from(lines).unwrap_or(u32::MAX);
        lines.saturating_mul(of_a_line).clamp(DRAIN_SLOTS_MILLIS, DRAIN_SLOTS_MAX_MILLIS)
    }
}

impl Duologue {
    /// Stops in good order: no new lines, every client told and given a slot for coming back, and each line closed as soon
    /// as nothing is on its way on it, or after 30 s. Returns when the last one is closed.
    pub async fn drain(&self) {
        self.drain_as(Manner::AtOnce).await;
    }

    /// The same where another process serves in this one's place already: a line goes on here until its turn, 2 ms after the one
    /// before, all within 60 s; then it comes back at once. Returns when servers before this one, if any are left, have ended too.
    pub async fn drain_in_turn(&self) {
        self.drain_as(Manner::InTurn).await;
        self.outlive_formers().await;
    }

    async fn drain_as(&self, manner: Manner) {
        let secs = manner.millis(self.shared.directory.len()).div_ceil(1_000);
        self.shared.stopping_secs.store(secs, Ordering::Relaxed);
        self.shared.draining.store(true, Ordering::Relaxed);
        self.part_with_kept().await;
        drain(self.shared.directory.lines(), manner, self.watch()).await;
        self.write_tickets().await;
        self.shared.connections.close();
        // Their last records are still on their way out.
        let _ = tokio::time::timeout(Duration::from_secs(2), self.shared.connections.wait()).await;
    }
}

/// Drains all lines side by side, each until it is closed.
async fn drain(lines: Vec<Line>, manner: Manner, watch: &Watch) {
    let (millis, count) = (manner.millis(lines.len()), u32::try_from(lines.len()).unwrap_or(u32::MAX).max(1));
    let begun = tokio::time::Instant::now();
    let mut draining = tokio::task::JoinSet::new();
    for (line, index) in lines.into_iter().zip(0_u32..) {
        let due = u64::from(millis) * u64::from(index) / u64::from(count);
        let slot = match manner {
            Manner::AtOnce => u32::try_from(due).unwrap_or(millis),
            Manner::InTurn => {
                tokio::time::sleep_until(begun + Duration::from_millis(due)).await;
                0
            }
        };
        line.command(|line, _| line.drain(slot));
        let watch = watch.clone();
        draining.spawn(async move {
            let limit = Duration::from_secs(DRAIN_SECS);
            if tokio::time::timeout(limit, quieten(&line)).await.is_err() {
                watch.tell(Event::of(Kind::LineBusy).note(format!("{DRAIN_SECS} s")));
            }
            line.close(CloseCode::GoingAway, "");
        });
    }
    while draining.join_next().await.is_some() {}
}

async fn quieten(line: &Line) {
    let is_drained = || line.command(|line, _| line.is_drained());
    let mut since = None;
    loop {
        since = if is_drained() { since.or_else(|| Some(Instant::now())) } else { None };
        if since.is_some_and(|since| since.elapsed() >= QUIET) {
            break;
        }
        tokio::time::sleep(LOOK).await;
    }
    line.command(|line, _| line.session().hold());
    while !is_drained() {
        tokio::time::sleep(LOOK).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn many_lines_have_a_millisecond_each_to_come_back_in_and_few_have_two_seconds() {
        let millis = |manner: Manner| [0, 1, 300, 18_000, 1_000_000].map(|lines| manner.millis(lines));
        assert_eq!(millis(Manner::AtOnce), [2_000, 2_000, 2_000, 18_000, 60_000]);
        assert_eq!(millis(Manner::InTurn), [2_000, 2_000, 2_000, 36_000, 60_000]);
    }
}
