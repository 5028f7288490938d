//! What a server logs in a test, on the test's own thread.

use std::{
    io,
    sync::{Arc, Mutex, Once},
    time::{Duration, Instant},
};

/// Clones have the same lines.
#[derive(Clone, Default)]
pub(crate) struct Log(Arc<Mutex<Vec<u8>>>);

impl io::Write for Log {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().expect("no panic").extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Log {
    /// From now on, until it is dropped.
    pub(crate) fn start(&self) -> tracing::subscriber::DefaultGuard {
        // Else what another test's thread meets first, where nobody listens, may be off for this one too.
        static EVERYWHERE: Once = Once::new();
        EVERYWHERE.call_once(|| drop(tracing_subscriber::fmt().with_writer(io::sink).try_init()));
        let log = self.clone();
        let log = tracing_subscriber::fmt().with_ansi(false).with_writer(move || log.clone()).finish();
        tracing::subscriber::set_default(log)
    }

    /// The same, as soon as there are so many: the log is written by a thread of its own.
    pub(crate) async fn has(&self, what: &str, count: usize) -> Vec<String> {
        let start = Instant::now();
        while self.of(what).len() < count {
            assert!(start.elapsed() < Duration::from_secs(20), "the log has not {count} times {what:?}");
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
        self.of(what)
    }

    /// The lines that have `what`.
    pub(crate) fn of(&self, what: &str) -> Vec<String> {
        let log = String::from_utf8(self.0.lock().expect("no panic").clone()).expect("text");
        log.lines().filter(|line| line.contains(what)).map(str::to_owned).collect()
    }
}
