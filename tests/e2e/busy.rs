//! What must hold on a machine that has no time: run apart from the other tests, which it would slow.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use serde_json::json;

use crate::{
    browser::{Browser, Profile},
    forms,
    proxies::{Backend, Running, free_port},
    server::{Lines, Server},
};

/// As many as the machine has cores, where it is a small one.
const LOOPS: usize = 2;

/// Loops that do nothing, until this is dropped.
struct Busy(Arc<AtomicBool>);

impl Busy {
    fn new() -> Self {
        let over = Arc::new(AtomicBool::new(false));
        for _ in 0..LOOPS {
            let over = Arc::clone(&over);
            std::thread::spawn(move || {
                while !over.load(Ordering::Relaxed) {
                    std::hint::spin_loop();
                }
            });
        }
        Self(over)
    }
}

impl Drop for Busy {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// Opens lines, one after the other, and closes each once it has done something. The server must have heard of each that
/// the client wished it.
async fn every_close_is_heard(profile: &Profile, link: &str, log: &Lines, rounds: usize) {
    let browser = Browser::start(profile).await;
    let (address, _) = link.split_once("/#").expect("an invite link has a fragment");
    // A document of the server's that opens no line by itself: tabs with one would share theirs.
    browser.open(&format!("{address}/duologue.js")).await;
    let enrol = "
        const { connect } = await import('/duologue.js');
        const line = connect({ invite: args });
        await line.ready;
        line.close();";
    browser.run(enrol, json!(link)).await;
    let before = Ends { normal: 0, lost: 0 }.after_one_more(log).await;
    let _busy = Busy::new();
    // On the page's thread, in a worker and in a shared worker: each has its own way out.
    let body = "
        const { connect } = await import('/duologue.js');
        const line = connect({ worker: args });
        await line.ready;
        await line.request('echo', 'here', { timeout: 20_000 });
        line.close();
        return (await line.closed).code;";
    let (mut lost, mut seen) = (Vec::new(), before);
    for round in 0..rounds {
        let worker = [json!(false), json!(true), json!("shared")][round % 3].clone();
        assert_eq!(browser.run(body, worker.clone()).await, json!("normal"));
        let now = seen.after_one_more(log).await;
        if now.lost > seen.lost {
            lost.push((round, worker));
        }
        seen = now;
    }
    println!("{} of {rounds} closes were not heard", lost.len());
    assert!(lost.is_empty(), "{} of {rounds} were connections lost to the server: {lost:?}", lost.len());
    assert_eq!(seen.normal - before.normal, rounds);
    browser.finish().await;
}

/// How lines have ended, by the server's log.
#[derive(Clone, Copy)]
struct Ends {
    normal: usize,
    lost: usize,
}

impl Ends {
    fn in_log(log: &Lines) -> Self {
        let lines = log.seen();
        let count = |is_one: fn(&&String) -> bool| lines.iter().filter(is_one).count();
        let normal = count(|line| line.contains("a line has ended") && line.contains("code=\"normal\""));
        Self { normal, lost: count(|line| line.contains("a connection was lost")) }
    }

    /// When one more has ended.
    async fn after_one_more(self, log: &Lines) -> Self {
        let before = self.normal + self.lost;
        for _ in 0..600 {
            let now = Self::in_log(log);
            if now.normal + now.lost > before {
                return now;
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        panic!("no line ended within 30 s; the server: {:#?}", log.seen());
    }
}

#[tokio::test]
async fn browser_every_close_is_heard_by_a_server() {
    let rounds = forms::rounds("busy::browser_every_close_is_heard_by_a_server");
    let server = Server::dev_with(&["RUST_LOG=debug"]).await;
    every_close_is_heard(&Profile::trusting(server.trust()), server.link(), &server.stderr, rounds).await;
}

#[tokio::test]
#[ignore = "run by `cargo xtask test` where there is nginx"]
async fn browser_every_close_is_heard_by_a_server_behind_nginx() {
    let rounds = forms::rounds("busy::browser_every_close_is_heard_by_a_server_behind_nginx");
    let port = free_port();
    let backend = Backend::behind(port).await;
    let nginx = Running::start("nginx", port, backend.port).await;
    let link = backend.invite().await;
    every_close_is_heard(&Profile::trusting(nginx.trust()), &link, &backend.stderr, rounds).await;
}
