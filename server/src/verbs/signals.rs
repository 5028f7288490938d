//! What a server is asked by signals. They are heard from the making of this on: no SIGHUP ends a server, however early it comes, and
//! whoever stops one as soon as it says that it is ready ends it in order too.

use tokio::signal::unix::{Signal, SignalKind, signal};

/// What was asked, by a signal or otherwise.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Asked {
    /// SIGHUP: to read the configuration again.
    Reload,
    /// Ctrl+C and SIGTERM.
    Stop,
    /// To leave, because another process serves.
    HandedOver,
    /// Nothing, in the end.
    Nothing,
}

/// The signals of a server.
pub(crate) struct Signals {
    hangup: Signal,
    terminate: Signal,
    interrupt: Signal,
}

impl Signals {
    pub(crate) fn new() -> anyhow::Result<Self> {
        let [hangup, terminate, interrupt] =
            [SignalKind::hangup(), SignalKind::terminate(), SignalKind::interrupt()].map(signal);
        Ok(Self { hangup: hangup?, terminate: terminate?, interrupt: interrupt? })
    }

    /// The next one.
    pub(crate) async fn next(&mut self) -> Asked {
        tokio::select! {
            _ = self.terminate.recv() => Asked::Stop,
            _ = self.interrupt.recv() => Asked::Stop,
            _ = self.hangup.recv() => Asked::Reload,
        }
    }

    /// Until it is asked to stop, whatever else is asked.
    pub(crate) async fn stop(&mut self) {
        while self.next().await != Asked::Stop {}
    }
}
