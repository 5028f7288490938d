//! A client whose last page has gone says so: what was proved counts no more, nothing is opened there, and whoever comes next shows
//! who he is.
#![allow(missing_docs, reason = "tests are named for their scenario")]

mod persons;

use std::time::Duration;

use duologue::LineState;
use duologue_server::{ChannelError, Level, LineError};
use persons::{Bench, NOT_ALLOWED, end, signed, token, until_lost};

#[tokio::test]
async fn whoever_comes_next_is_nobody_until_he_shows_who_he_is_and_meanwhile_nothing_is_opened() {
    let mut bench = Bench::start().await;
    let ada = bench.come(1, Some(bench.invite()), Some(&signed(&token("ada", 300))));
    ada.hears("who it is", |told| told.level == 2).await;
    let staff = ada.line.channel("staff").expect("the line is open");
    let call = bench.call().await;
    assert_eq!(call.identity().level, Level::Account);
    let directory = bench.duologue.directory();
    let open = || directory.channel(ada.id, "news").expect("it has a line");
    open().expect("somebody is there");

    assert!(ada.line.command(|line, _| line.away()), "the server can be told");
    let told = ada.hears("that it has fallen", |told| told.level == 1).await;
    assert_eq!((told.subject.as_str(), told.evidence, told.refused.as_str(), told.secs), ("", 1, "", None));
    assert_eq!(end(&staff).await, NOT_ALLOWED, "what was open by it is reset");
    assert_eq!(call.identity().subject, None);
    let refused = open().expect_err("nobody is there");
    assert_eq!(refused, LineError::Channel(ChannelError::NotHere));
    assert!(refused.to_string().starts_with("nobody is here"), "{refused}");

    ada.line.command(|line, _| line.here());
    let staff = ada.line.channel("staff").expect("the line is open");
    assert_eq!(end(&staff).await, NOT_ALLOWED, "that somebody is there raises nobody");
    open().expect("somebody is there again");
    ada.show(&signed(&token("ada", 300)));
    ada.hears("who it is now", |told| told.level == 2 && told.evidence == 2).await;
    let _staff = ada.line.channel("staff").expect("the line is open");
    assert_eq!(bench.call().await.identity().level, Level::Account);
}

#[tokio::test]
async fn a_token_that_was_on_its_way_when_the_page_went_raises_nobody() {
    let bench = Bench::start().await;
    let ada = bench.come(1, Some(bench.invite()), None);
    ada.hears("a device", |told| told.level == 1).await;
    ada.line.command(|line, _| {
        line.show(duologue::EvidenceKind::Token, signed(&token("ada", 300)).into_bytes()).expect("it is short");
        assert!(line.away(), "the server can be told");
        line.here();
    });
    tokio::time::sleep(Duration::from_millis(500)).await;
    assert_eq!(
        ada.told.lock().expect("nobody has failed").last().map(|told| (told.level, told.evidence)),
        Some((1, 0))
    );
}

#[tokio::test]
async fn a_line_that_nobody_is_at_does_not_dial_and_what_was_lost_is_said_again_when_somebody_is() {
    let bench = Bench::start().await;
    let ada = bench.come(1, Some(bench.invite()), Some(&signed(&token("ada", 300))));
    ada.hears("who it is", |told| told.level == 2).await;
    assert!(ada.line.command(|line, _| line.away()), "the server can be told");
    // Perhaps it is lost with its connection.
    ada.cut();
    until_lost(&ada).await;
    tokio::time::sleep(Duration::from_millis(1_500)).await;
    assert_eq!(ada.line.state(), LineState::Resuming, "longer than its first redials take");
    ada.line.command(|line, now| {
        line.here();
        line.wake(now);
    });
    ada.hears("that it has fallen", |told| told.level == 1).await;
    let staff = ada.line.channel("staff").expect("the line lives");
    assert_eq!(end(&staff).await, NOT_ALLOWED);
    assert!(ada.fresh.lock().expect("whole").is_empty(), "the session is the same");
}
