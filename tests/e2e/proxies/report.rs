//! What a case has measured, as `target/proxies/CASE-CLIENT.json`: `xtask/src/proxies.rs` makes tables of it.

use std::{
    sync::LazyLock,
    time::{Duration, Instant},
};

use serde_json::{Value, json};

use crate::server::workspace;

/// The client's side of one case.
#[derive(Debug, Default)]
pub(super) struct Report {
    pub(super) version: String,
    pub(super) open: Duration,
    pub(super) echo: Duration,
    /// From the server's death to `resuming`, and from its return to `open`.
    pub(super) noticed: Duration,
    pub(super) back: Duration,
}

impl Report {
    pub(super) fn write(&self, case: &str, client: &str) {
        write(
            case,
            client,
            &json!({
                "version": self.version,
                "open": millis(self.open),
                "echo": millis(self.echo),
                "noticed": millis(self.noticed),
                "back": millis(self.back),
            }),
        );
    }
}

/// The same of a row of dials.
pub(super) fn write_dials(case: &str, client: &str, dials: &[Duration]) {
    let mut millis: Vec<_> = dials.iter().map(|dial| millis(*dial)).collect();
    millis.sort_unstable();
    let (median, most) = (millis[millis.len() / 2], millis[millis.len() - 1]);
    write(case, &format!("{client}-dials"), &json!({ "count": millis.len(), "median": median, "most": most }));
}

fn write(case: &str, client: &str, value: &Value) {
    println!("{case}, {client}: {value}");
    let folder = workspace().join("target/proxies");
    std::fs::create_dir_all(&folder).unwrap();
    std::fs::write(folder.join(format!("{case}-{client}.json")), value.to_string()).unwrap();
}

fn millis(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).expect("no test takes that long")
}

/// What takes some time, and how long.
pub(super) async fn timed<T>(work: impl Future<Output = T>) -> (T, Duration) {
    let started = Instant::now();
    let result = work.await;
    (result, started.elapsed())
}

/// 3 MB, no two kilobytes of which are alike.
pub(super) fn three_megabytes() -> &'static [u8] {
    static BYTES: LazyLock<Vec<u8>> = LazyLock::new(|| {
        let byte = |at: u32| at.wrapping_mul(2_654_435_761).to_be_bytes()[0];
        (0..3_000_000).map(byte).collect()
    });
    &BYTES
}
