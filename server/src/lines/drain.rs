//! A server that stops: every client is told, finishes what it has begun, and comes back in a slot of its own.
//!
//! ```text
//! DRAIN(slot) ─► the client begins nothing new, and says so ─► services answer what is open ─► quiet
//!             ─► nothing new begins here either ─► everything was taken ─► CLOSE(going-away)      at most 30 s
//! ```

use std::time::{Duration, Instant};

use duologue::{
    CloseCode,
    limits::{DRAIN_SECS, DRAIN_SLOTS_MAX_MILLIS, DRAIN_SLOTS_MILLIS},
};
use duologue_native::Line;

use crate::watch::{
    events::{Event, Kind},
    stream::Watch,
};

/// How often a line is looked at.
const LOOK: Duration = Duration::from_millis(20);
/// How long a line must be quiet before services are taken to have said what they had to say.
const QUIET: Duration = Duration::from_millis(200);

/// The time over which so many lines come back: a handshake in each millisecond is what a core does at ease.
pub(super) fn slots_millis(lines: usize) -> u32 {
    u32::try_from(lines).unwrap_or(u32::MAX).clamp(DRAIN_SLOTS_MILLIS, DRAIN_SLOTS_MAX_MILLIS)
}

/// Drains all lines side by side, each until it is closed.
pub(crate) async fn drain(lines: Vec<Line>, watch: &Watch) {
    let (slots, count) = (slots_millis(lines.len()), u32::try_from(lines.len()).unwrap_or(u32::MAX).max(1));
    let mut draining = tokio::task::JoinSet::new();
    for (line, index) in lines.into_iter().zip(0_u32..) {
        let slot = u64::from(slots) * u64::from(index) / u64::from(count);
        line.command(|line, _| line.drain(u32::try_from(slot).unwrap_or(slots)));
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
        assert_eq!([0, 1, 300, 18_000, 1_000_000].map(slots_millis), [2_000, 2_000, 2_000, 18_000, 60_000]);
    }
}
