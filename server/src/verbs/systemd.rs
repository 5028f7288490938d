//! What a service manager is told where it has named a socket for it (`NOTIFY_SOCKET`): that the server can be reached, reads its
//! configuration again, stops; and, where it wants to hear so (`WATCHDOG_USEC`), that the threads of lines are alive.

use sd_notify::NotifyState;

/// It can be reached at this address.
pub(crate) fn ready(address: &str) {
    tell(&[NotifyState::Ready, NotifyState::Status(&format!("serves {address}"))]);
}

/// It reads its configuration again. What came of that, or nothing, `ready` ends.
pub(crate) fn reloading() {
    // The time comes with it, or systemd takes the reload for failed (253 and later).
    match NotifyState::monotonic_usec_now() {
        Ok(now) => tell(&[NotifyState::Reloading, now]),
        Err(error) => tracing::debug!(%error, "there is no monotonic clock"),
    }
}

/// Another process serves from now on, which says the rest itself.
pub(crate) fn main_is(pid: u32) {
    tell(&[NotifyState::MainPid(pid)]);
}

/// It stops, in order.
pub(crate) fn stopping() {
    tell(&[NotifyState::Stopping, NotifyState::Status("lets what has begun come to its end")]);
}

/// Says twice in each span that the runtime lives on which this is called: who does not hear it starts the server again.
pub(crate) fn keep_alive() {
    let Some(span) = sd_notify::watchdog_enabled() else { return };
    tokio::spawn(async move {
        loop {
            tell(&[NotifyState::Watchdog]);
            tokio::time::sleep(span / 2).await;
        }
    });
}

fn tell(states: &[NotifyState<'_>]) {
    // Without such a socket it does nothing.
    if let Err(error) = sd_notify::notify(states) {
        tracing::debug!(%error, "the service manager cannot be told");
    }
}
