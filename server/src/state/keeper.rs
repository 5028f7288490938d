//! Looks after the store while a server runs: what a failing disk has prevented is done again, the room on the disk is looked at.

use std::{
    sync::{Arc, mpsc},
    thread::JoinHandle,
    time::{Duration, Instant},
};

use super::{notices::Notice, store::Store};

/// How often, where nothing is wrong.
const CALM: Duration = Duration::from_secs(10);
/// How often, while something is.
const BUSY: Duration = Duration::from_secs(1);
/// How often it is told that a revocation is nowhere on disk.
const AGAIN: Duration = Duration::from_secs(60);

/// A thread that ends with this.
#[derive(Debug)]
pub(crate) struct Keeper {
    stop: Option<mpsc::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Keeper {
    pub(crate) fn start(store: Arc<Store>) -> Self {
        let (stop, stopped) = mpsc::channel::<()>();
        let notices = store.notices().clone();
        let work = move || {
            let mut pause = CALM;
            let mut said: Option<Instant> = None;
            // Its sender is never used, only dropped.
            while stopped.recv_timeout(pause) == Err(mpsc::RecvTimeoutError::Timeout) {
                pause = if store.mend() { CALM } else { BUSY };
                store.keep_seen(false);
                store.keep_signed_out();
                let (not_stored, not_on_disk) = store.not_stored();
                if not_stored > 0 {
                    pause = BUSY;
                }
                if not_on_disk == 0 {
                    said = None;
                } else if said.is_none_or(|at| at.elapsed() >= AGAIN) {
                    said = Some(Instant::now());
                    let waits = format!("{not_on_disk} revocations are in force until this server stops, NOT on disk");
                    store.notices().tell(Notice::NotOnDisk(waits));
                }
            }
            store.keep_seen(true);
            store.keep_signed_out();
        };
        let thread = std::thread::Builder::new().name("duologue-store".to_owned()).spawn(work);
        let thread = thread.inspect_err(|error| notices.tell(Notice::NoThread(error.to_string()))).ok();
        Self { stop: Some(stop), thread }
    }
}

impl Drop for Keeper {
    fn drop(&mut self) {
        drop(self.stop.take());
        if let Some(thread) = self.thread.take() {
            // So that the store is closed when its server is gone.
            let _ = thread.join();
        }
    }
}
