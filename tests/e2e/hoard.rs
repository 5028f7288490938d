//! A client that makes a server hold as much as it can: 256 channels on `echo`, and not one answer read.
//!
//! The whole form, 16 such lines one after the other, on 29 November 2026 with a debug build on two cores: 23 MB resident before,
//! 271 MB at most, 95 MB 4 s after the last line had been closed, 25 MB after 7 s. The same with the C library's allocator in
//! the place of jemalloc: 173 MB were still resident a minute later.

use std::time::{Duration, Instant};

use duologue::{CloseCode, Kind, limits::CHANNELS_MAX};
use duologue_client::Line;

use crate::{
    enrolment::stranger,
    forms::rounds,
    memory::resident,
    server::{Server, target},
    within,
};

const MESSAGE_LEN: usize = 32 * 1_024;

/// Sends on every channel what there is room for, until nothing moves any more.
async fn hoard(line: &Line) {
    let ids: Vec<_> =
        line.command(|line, _| (0..CHANNELS_MAX).map(|_| line.open("echo", Kind::MESSAGES).expect("good")).collect());
    let mut moved = Instant::now();
    while moved.elapsed() < Duration::from_secs(1) {
        let sent = line
            .command(|line, _| ids.iter().filter(|id| line.channel(**id).send(vec![7; MESSAGE_LEN]).is_ok()).count());
        if sent > 0 {
            moved = Instant::now();
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

#[tokio::test]
async fn what_a_hoarder_made_a_server_hold_goes_back_to_the_system() {
    let server = Server::dev().await;
    let device = stranger();
    let line = within(20, "the line", device.connect(&target(server.link()))).await.unwrap();
    // What is in memory for good, code among it, is there before it counts.
    for _ in 0..CHANNELS_MAX {
        assert_eq!(within(5, "an echo", line.request("echo", vec![7; MESSAGE_LEN])).await.unwrap().len(), MESSAGE_LEN);
    }
    let before = resident(server.pid());
    let mut most = 0;
    for _ in 0..rounds("hoard::what_a_hoarder_made_a_server_hold_goes_back_to_the_system") {
        let hoarder = within(20, "a line", device.connect(&target(server.link()))).await.unwrap();
        hoard(&hoarder).await;
        most = most.max(resident(server.pid()));
        hoarder.close(CloseCode::Normal, "");
    }
    println!("resident: {before} before, at most {most}");
    let begun = Instant::now();
    loop {
        tokio::time::sleep(Duration::from_secs(1)).await;
        let now = resident(server.pid());
        println!("after {} s: {now}", begun.elapsed().as_secs());
        if now <= before + before / 5 {
            break;
        }
        assert!(begun.elapsed() < Duration::from_secs(60), "{now} bytes are resident a minute later, {before} before");
    }
    assert!(most > 2 * before, "it was made to hold something: {most} bytes, {before} before");
}

#[tokio::test]
async fn what_all_lines_together_may_hold_is_what_memory_says_and_the_hoarder_gives_way() {
    let server = Server::dev_with(&["--memory", "16MB"]).await;
    let [honest, device] = [stranger(), stranger()];
    let line = within(20, "the honest line", honest.connect(&target(server.link()))).await.unwrap();
    let unread = line.channel("echo").unwrap();
    within(20, "a message", unread.send(vec![1; MESSAGE_LEN])).await.unwrap();
    let invite = server.invite("1h").await;
    let mut hoarders = Vec::new();
    for _ in 0..3 {
        let hoarder = within(20, "a line", device.connect(&target(&invite))).await.unwrap();
        hoard(&hoarder).await;
        hoarders.push(hoarder);
        if server.stderr.seen().iter().any(|line| line.contains("memory was full")) {
            break;
        }
    }
    // A quarter of this machine's memory, which is what it is without the option, would not be full by three lines.
    server.stderr.with("memory was full: who held most has made room").await;
    assert_eq!(within(20, "what was unread", unread.recv()).await.unwrap(), Some(vec![1; MESSAGE_LEN]));
    assert_eq!(within(20, "an echo", line.request("echo", "here")).await.unwrap(), b"here");
}
