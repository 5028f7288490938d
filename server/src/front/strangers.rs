//! The threads that serve whoever has not proved himself: TCP, TLS, HTTP and handshakes.
//!
//! ```text
//! strangers' threads (nice 5)    accept ─ TLS ─ HTTP ─ M1, M2 ─ AUTH ─ verdict
//!                                                                         └─► the app's own threads: lines, services
//! ```
//!
//! A flood of strangers keeps these threads busy, as many as there are cores, and no others: a line whose echo is due is
//! first, because the system prefers its thread. Where nobody floods, nothing is slower.

use std::{sync::OnceLock, time::Duration};

use tokio::runtime::{Builder, Handle, Runtime};

use crate::watch::{events::Event, stream::Watch};

/// How much the system prefers others: a quarter of a core is a stranger's where a device wants all of it, and no more than
/// three quarters a device's. At 10, a device that does its worst would keep whoever comes waiting.
const NICE: i32 = 5;

fn runtime(watch: &Watch) -> Option<&'static Runtime> {
    static RUNTIME: OnceLock<Option<Runtime>> = OnceLock::new();
    let make = || {
        let made = Builder::new_multi_thread()
            .enable_all()
            .thread_name("strangers")
            .on_thread_start(|| {
                // As before where the system refuses.
                let _ = rustix::process::setpriority_process(None, NICE);
            })
            .build();
        let told = |error: &_| watch.tell(Event::without_thread("strangers share the threads of lines", error));
        made.inspect_err(told).ok()
    };
    RUNTIME.get_or_init(make).as_ref()
}

/// Where strangers are served: their own threads, or, where there can be none, those of the caller.
///
/// # Panics
/// Where there can be none, outside of a runtime.
pub(crate) fn handle(watch: &Watch) -> Handle {
    runtime(watch).map_or_else(Handle::current, |runtime| runtime.handle().clone())
}

/// For how long the threads of a runtime were busy until now, all together, and how many they are.
pub(crate) fn busy(handle: &Handle) -> (Duration, usize) {
    let metrics = handle.metrics();
    let workers = metrics.num_workers();
    ((0..workers).map(|worker| metrics.worker_total_busy_duration(worker)).sum(), workers)
}
