//! End to end: the real binary, real TLS, a hostile TLS-terminating proxy, a native client and a real browser.
//!
//! ```text
//! server.rs   the binary, as a child process        proxy.rs, wire.rs   the middleman, and what it sees
//! raw.rs      a client that can misbehave           policy.rs           what the middleman does
//! tls.rs      certificates and whom they convince   browser/            three engines through WebDriver
//! chance.rs   seeds that are printed                path.rs             a path that cuts, stalls and forgets
//! memory.rs   what processes hold                  terminal.rs          where the server's owner sits
//! closing.rs  what is said last                     busy.rs             a machine without time
//! proxies/    real proxies, as people run them      forms.rs            small and whole forms
//! fetch.rs    requests to a backend; fetch/cases.js is what a page does
//! below.rs    servers below a path                 lan.rs               a phone in the same network
//! login.rs    a real issuer of tokens, and people who sign in there; login/ is its script
//! crowd.rs    who is served while others hold all there is
//! accounts.rs whose devices there are             revoking.rs         how soon lines end
//! firewall.rs floods from ever more addresses, in a network of the test's own
//! pressure.rs a page while the server is under pressure
//! renewal.rs  another key in the place of a device's own
//! reload.rs   pages that are loaded again, and lines whose pages have gone
//! audit.rs    the audit log under whoever alters it
//! cipher.rs   the cipher as each engine compiles it; batches.rs   many messages at once
//! http2.rs    a page and its line on one connection
//! saying.rs   a word from outside to a page
//! operating.rs every command of docs/OPERATING.md   installed.rs what `cargo xtask dist` has made
//! owner.rs    what the owner can do on a full disk, and while a device does its worst
//! ```
//!
//! Tests that need a browser are named `browser_…`; the others need nothing but the binary. It is taken from `DUOLOGUE_BIN`,
//! else from the target directory: `cargo xtask test` builds it and the page first.
//!
//! Every wait has a deadline, and says what it waited for and what it saw last.
#![allow(clippy::unwrap_used, reason = "a test that unwraps fails where it should")]

mod accounts;
mod apart;
mod audit;
mod batches;
mod below;
mod browser;
mod busy;
mod chance;
mod cipher;
mod closing;
mod counts;
mod crowd;
mod datagrams;
mod desk;
mod drain;
mod enrolment;
mod examples;
mod failures;
mod fetch;
mod firewall;
mod first_run;
mod floods;
mod forms;
mod giving;
mod guests;
mod hoard;
mod http2;
mod in_process;
mod installed;
mod lan;
mod login;
mod logs;
mod memory;
mod mistakes;
mod notes;
mod operating;
mod origins;
mod owner;
mod page;
mod page_access;
mod page_causes;
mod page_keys;
mod page_middleman;
mod page_person;
mod page_trust;
mod page_way;
mod passkeys;
mod path;
mod pictures;
mod policy;
mod pressure;
mod proxies;
mod proxy;
mod raw;
mod refusals;
mod reload;
mod renewal;
mod resume;
mod revoking;
mod room;
mod saying;
mod server;
mod sight;
mod silence;
mod slow;
mod snapshot;
mod tabs;
mod tails;
mod tampering;
mod terminal;
mod tls;
mod upgrade;
mod upload;
mod way_back;
mod ways;
mod wire;
mod worker;

use std::{fmt::Display, future::Future, time::Duration};

/// Waits at most so many seconds, and panics with what was waited for.
async fn within<T>(secs: u64, what: impl Display, future: impl Future<Output = T>) -> T {
    match tokio::time::timeout(Duration::from_secs(secs), future).await {
        Ok(value) => value,
        Err(_) => panic!("waited {secs} s in vain: {what}"),
    }
}
