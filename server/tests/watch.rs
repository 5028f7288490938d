//! Each rule that is shipped, by real traffic before a real server: one below its threshold does nothing, one more does what it says.
#![allow(missing_docs, reason = "tests are named for their scenario")]

#[path = "watch/bench.rs"]
mod bench;
#[path = "persons/mod.rs"]
mod persons;

use std::time::Duration;

use bench::{Bench, Misdeed, PATIENCE, Raw, Shows, end};
use duologue::{CloseCode, ConnectionError};
use duologue_client::{Client, Keyring, Line, Target, tokio_tungstenite::tungstenite::Message};
use duologue_server::{
    BanInfo, BanList, Kind, WatchList, ask, listen,
    services::{drop::Drops, http::Http},
};
use futures_util::future::join_all;
use hyper::Method;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

/// Closed by a rule, with its words.
async fn is_turned_out(line: &Line) {
    let closed = tokio::time::timeout(PATIENCE, line.closed()).await.expect("an end");
    let ConnectionError::PeerClosed(close) = closed else { panic!("{closed}") };
    assert_eq!(close.code, CloseCode::HookRefused);
    assert!(close.reason.contains("Try again later"), "{}", close.reason);
}

#[tokio::test]
async fn failed_handshakes_slow_their_address_and_nobody_elses() {
    let bench = Bench::start().await;
    let bad = async |_| bench.says("192.0.2.1", Message::binary(vec![9; 40])).await;
    bench.holds("failed-handshakes", Kind::HandshakeFailed, 120, Kind::Slowed, bad).await;
    // The next one waits, and gets in.
    let raw = Raw::new(1);
    let begun = std::time::Instant::now();
    raw.enrol(&bench, "192.0.2.1").await;
    assert!(begun.elapsed() >= Duration::from_secs(2), "it was slowed");
    assert_eq!(bench.duologue.watch().bans().list(0).len(), 0, "nobody is banned for what anybody on the way can do");
}

#[tokio::test]
async fn forged_signatures_are_failed_handshakes() {
    let bench = Bench::start().await;
    let raw = Raw::new(1);
    let forged = async |_| drop(raw.come(&bench, "192.0.2.1", Shows::Nothing, Misdeed::ForgedSignature).await);
    bench.holds("failed-handshakes", Kind::SignatureBad, 120, Kind::Slowed, forged).await;
}

#[tokio::test]
async fn handshakes_for_another_key_slow() {
    let bench = Bench::start().await;
    let other = duologue::ServerIdentity::new(duologue::Secret::new([7; 32])).public();
    let one = async |_| bench.says("192.0.2.2", Message::binary(Raw::m1(&other.0, &Shows::Nothing).1)).await;
    bench.holds("wrong-key", Kind::WrongKey, 60, Kind::Slowed, one).await;
}

#[tokio::test]
async fn replayed_handshakes_slow() {
    let bench = Bench::start().await;
    let (_, m1) = Raw::m1(&bench.state.identity().public().0, &Shows::Nothing);
    let mut first = bench.socket("192.0.2.3").await.expect("a WebSocket");
    futures_util::SinkExt::send(&mut first, Message::binary(m1.clone())).await.expect("it is sent");
    assert!(bench::next(&mut first).await.is_some(), "M2 of the first");
    let replayed = async |_| bench.says("192.0.2.3", Message::binary(m1.clone())).await;
    bench.holds("replays", Kind::HandshakeReplayed, 30, Kind::Slowed, replayed).await;
}

#[tokio::test]
async fn altered_records_are_told_with_their_network_and_nobody_is_stopped() {
    let bench = Bench::start().await;
    let raw = Raw::new(1);
    let altered = async |_| drop(raw.come(&bench, "192.0.2.4", Shows::Nothing, Misdeed::GarbageForAuth).await);
    bench.holds("bad-tags", Kind::RecordAltered, 30, Kind::RuleMatched, altered).await;
    let _listening = listen(bench.state.clone(), bench.duologue.clone()).expect("a socket");
    let list: WatchList = ask(bench.state.directory(), Method::GET, "/watch", None::<&()>).await.expect("it answers");
    let [way] = &list.ways[..] else { panic!("{:?}", list.ways) };
    assert_eq!((&*way.network, way.events[0].count), ("192.0.2.4", 30));
    let rule = list.rules.iter().find(|rule| rule.name == "bad-tags").expect("it is shipped");
    assert_eq!((rule.counted, rule.matched, list.lost.len()), (30, 1, 0));
}

#[tokio::test]
async fn injected_text_and_broken_frames_are_told() {
    let bench = Bench::start().await;
    let text = async |_| bench.says("192.0.2.5", Message::text("<html>")).await;
    bench.holds("text-injected", Kind::TextInjected, 10, Kind::RuleMatched, text).await;
    let broken = async |_| {
        let mut socket = bench.socket("192.0.2.5").await.expect("a WebSocket");
        // A reserved opcode.
        socket.get_mut().write_all(&[0x83, 0x80, 0, 0, 0, 0]).await.expect("it is sent");
        end(&mut socket).await;
    };
    bench.holds("text-injected", Kind::FrameBroken, 10, Kind::RuleMatched, broken).await;
}

#[tokio::test]
async fn revoked_devices_slow() {
    let bench = Bench::start().await;
    let raw = Raw::new(1);
    raw.enrol(&bench, "192.0.2.6").await;
    let _ = bench.duologue.revoke(raw.id());
    let comes = async |_| drop(raw.come(&bench, "192.0.2.6", Shows::Nothing, Misdeed::None).await);
    bench.holds("revoked-devices", Kind::RevokedCame, 30, Kind::Slowed, comes).await;
}

#[tokio::test]
async fn unknown_devices_slow() {
    let bench = Bench::start().await;
    let comes = async |number: u64| {
        let raw = Raw::new(u8::try_from(number).expect("few"));
        drop(raw.come(&bench, "192.0.2.7", Shows::Nothing, Misdeed::None).await);
    };
    bench.holds("unknown-devices", Kind::DeviceUnknown, 120, Kind::Slowed, comes).await;
}

#[tokio::test]
async fn used_invites_slow() {
    let bench = Bench::start().await;
    let invite = bench.invite();
    let first = Raw::new(200);
    drop(first.come(&bench, "192.0.2.8", Shows::Invite(&invite), Misdeed::None).await.expect("it is let in"));
    let comes = async |number: u64| {
        let raw = Raw::new(u8::try_from(number).expect("few"));
        drop(raw.come(&bench, "192.0.2.8", Shows::Invite(&invite), Misdeed::None).await);
    };
    bench.holds("invites-used", Kind::InviteRefused, 60, Kind::Slowed, comes).await;
}

#[tokio::test]
async fn guessed_invites_slow() {
    let bench = Bench::start().await;
    let guesses = async |number: u64| {
        let id = [u8::try_from(number).expect("few"); 16];
        drop(Raw::new(1).come(&bench, "192.0.2.9", Shows::Unknown(id), Misdeed::None).await);
    };
    bench.holds("invites-guessed", Kind::InviteUnknown, 30, Kind::Slowed, guesses).await;
}

#[tokio::test]
async fn tokens_that_are_not_taken_slow() {
    let bench = Bench::start().await;
    let (_client, target, line) = bench.person("192.0.2.10").await;
    drop(line);
    let way = bench.way("192.0.2.10").await;
    let comes = async |_| {
        let invite = bench.invite().to_link(&format!("http://{way}"));
        let client = Client::new(Keyring::in_memory()).with_token("a.b.c");
        drop(client.connect(&Target::parse(&invite).expect("a link")).await);
    };
    let _ = target;
    bench.holds("tokens-refused", Kind::TokenRefused, 120, Kind::Slowed, comes).await;
}

#[tokio::test]
async fn labels_that_nobody_serves_close_the_line() {
    let bench = Bench::start().await;
    let (_client, _, line) = bench.person("192.0.2.11").await;
    let asks = async |_| drop(line.request("no-such-label", "").await);
    bench.holds("labels-refused", Kind::LabelUnknown, 600, Kind::Closed, asks).await;
    is_turned_out(&line).await;
}

const SMUGGLED: &str = "{\"method\":\"GET\",\"target\":\"/\",\"headers\":[[\"x-a\",\"b\\r\\nduologue-device: c\"]]}\n";

async fn smuggle(line: &Line) {
    let Ok(mut stream) = line.stream("http") else { return };
    let _ = stream.write_all(SMUGGLED.as_bytes()).await;
    let _ = stream.shutdown().await;
    let mut answer = Vec::new();
    let _ = stream.read_to_end(&mut answer).await;
}

#[tokio::test]
async fn who_smuggles_is_banned_by_device_for_an_hour_also_after_a_restart_until_it_is_lifted() {
    let with_http = |duologue: duologue_server::Duologue| {
        duologue.service("http", Http::new("http://127.0.0.1:9").expect("an address"))
    };
    let bench = Bench::start_with(with_http).await;
    let (client, target, line) = bench.person("192.0.2.12").await;
    let smuggles = async |_| smuggle(&line).await;
    bench.holds("smuggling", Kind::RequestSmuggled, 20, Kind::Banned, smuggles).await;
    is_turned_out(&line).await;
    let [ban] = &bench.duologue.watch().bans().list(0)[..] else { panic!("one ban") };
    assert_eq!((ban.until - ban.since, &*ban.by, ban.repeats), (3_600, "smuggling", 0));
    let whom = ban.whom.clone();
    assert!(client.connect(&target).await.is_err(), "it stays out");
    // Others of its address come in.
    let (_other, _, others) = bench.person("192.0.2.12").await;
    assert_eq!(others.request("echo", "here").await.expect("it is served"), b"here");

    let Bench { duologue, state, directory, .. } = bench;
    drop(others);
    tokio::time::timeout(PATIENCE, duologue.drain()).await.expect("it stops");
    drop((duologue, state, line));
    let kept = std::fs::read_dir(directory.path().join("state")).expect("it is there").count();
    assert!(kept > 0);
    let copy = tempfile::tempdir().expect("a temporary directory");
    std::fs::create_dir(copy.path().join("state")).expect("there is room");
    for file in std::fs::read_dir(directory.path().join("state")).expect("it is there").flatten() {
        if file.file_type().is_ok_and(|kind| kind.is_file()) && file.file_name() != "lock" {
            std::fs::copy(file.path(), copy.path().join("state").join(file.file_name())).expect("there is room");
        }
    }
    let again = Bench::start_in(copy, with_http).await;
    assert_eq!(again.duologue.watch().bans().list(0).iter().map(|ban| &ban.whom).collect::<Vec<_>>(), [&whom]);
    let _listening = listen(again.state.clone(), again.duologue.clone()).expect("a socket");
    let home = again.state.directory();
    let list: BanList = ask(home, Method::GET, "/bans", None::<&()>).await.expect("it answers");
    assert_eq!((&*list.bans[0].what, &*list.bans[0].which), ("device", &*whom.which()));
    let asked = serde_json::json!({ "what": "device", "which": whom.which() });
    let lifted: BanInfo = ask(home, Method::POST, "/bans/lift", Some(&asked)).await.expect("there is one");
    assert_eq!(lifted.by, "smuggling");
    assert!(again.state.store().status(device(&whom)).is_some(), "it is let in still");
    assert!(again.duologue.watch().bans().list(0).is_empty());
}

fn device(whom: &duologue_server::Banned) -> duologue::DeviceId {
    let duologue_server::Banned::Device(device) = whom else { panic!("{whom}") };
    *device
}

#[tokio::test]
async fn an_address_from_which_many_devices_smuggle_is_banned_before_anything_is_said() {
    let bench =
        Bench::start_with(|duologue| duologue.service("http", Http::new("http://127.0.0.1:9").expect("an address")))
            .await;
    let mut lines = Vec::new();
    for _ in 0..4 {
        lines.push(bench.person("192.0.2.13").await);
    }
    let smuggles = async |number: u64| smuggle(&lines[usize::try_from(number % 4).expect("few")].2).await;
    bench.holds("smuggling-of-many", Kind::RequestSmuggled, 40, Kind::Banned, smuggles).await;
    for (_, _, line) in &lines {
        is_turned_out(line).await;
    }
    let mut heard = Vec::new();
    let mut tcp = bench.tcp("192.0.2.13").await;
    let _ = tcp.write_all(b"GET / HTTP/1.1\r\nhost: a\r\n\r\n").await;
    let _ = tokio::time::timeout(PATIENCE, tcp.read_to_end(&mut heard)).await.expect("it is closed");
    assert!(heard.is_empty(), "not a byte is answered: {}", String::from_utf8_lossy(&heard));
    assert!(bench.socket("192.0.2.14").await.is_some(), "its neighbour comes in");
    assert!(bench.count(Kind::BannedCame) > 0);
}

#[tokio::test]
async fn names_that_lead_elsewhere_ban_the_device() {
    let files = tempfile::tempdir().expect("a temporary directory");
    let drops = Drops::open(files.path(), 1_000_000).expect("a directory");
    let bench = Bench::start_with(|duologue| duologue.service("drop", drops)).await;
    let (_client, _, line) = bench.person("192.0.2.15").await;
    let tricks = async |number: u64| {
        let Ok(mut stream) = line.stream("drop") else { return };
        let head = format!("{{\"name\":\"../../etc/x\",\"size\":0,\"upload\":\"{number:032x}\"}}\n");
        let _ = stream.write_all(head.as_bytes()).await;
        let _ = stream.shutdown().await;
        let _ = stream.read_to_end(&mut Vec::new()).await;
    };
    bench.holds("path-tricks", Kind::PathTrick, 10, Kind::Banned, tricks).await;
    is_turned_out(&line).await;
}

/// A record that opens, and is no message.
async fn breaks(raw: &Raw, bench: &Bench, from: &str) {
    let Some(mut came) = raw.come(bench, from, Shows::Nothing, Misdeed::None).await else { return };
    let mut sealed = Vec::new();
    came.transport.seal(&[0xff; 16], &mut sealed);
    let _ = futures_util::SinkExt::send(&mut came.socket, Message::binary(sealed)).await;
    end(&mut came.socket).await;
}

#[tokio::test]
async fn a_device_that_breaks_the_protocol_under_the_seal_is_banned() {
    let bench = Bench::start().await;
    let raw = Raw::new(1);
    raw.enrol(&bench, "192.0.2.16").await;
    let one = async |_| breaks(&raw, &bench, "192.0.2.16").await;
    bench.holds("protocol-broken", Kind::ProtocolBroken, 5, Kind::Banned, one).await;
    let refused = raw.come(&bench, "192.0.2.16", Shows::Nothing, Misdeed::None).await.expect("an answer");
    assert_eq!(&refused.answer[..3], [5, 0, 24], "CLOSE(hook-refused)");
}

#[tokio::test]
async fn an_address_from_which_many_break_the_protocol_is_banned() {
    let bench = Bench::start().await;
    let mut all = Vec::new();
    for seed in 1..=10 {
        let raw = Raw::new(seed);
        raw.enrol(&bench, "192.0.2.17").await;
        all.push(raw);
    }
    let one = async |number: u64| breaks(&all[usize::try_from(number / 4).expect("few")], &bench, "192.0.2.17").await;
    bench.holds("protocol-broken-by-many", Kind::ProtocolBroken, 40, Kind::Banned, one).await;
    assert!(bench.socket("192.0.2.17").await.is_none(), "it is closed before a WebSocket");
}

/// Floods come as fast as they can, and are told by what came within some seconds. The rule says so at the tenth, never before.
async fn floods(bench: &Bench, rule: &str, kind: Kind, mut some: impl AsyncFnMut()) {
    let begun = std::time::Instant::now();
    loop {
        let told = bench.count(kind);
        let matches = bench.matches().await;
        let is_it = |note: &str| note.starts_with(&format!("rule={rule} "));
        let own: Vec<_> = matches.iter().filter(|event| event.note.as_deref().is_some_and(is_it)).collect();
        if let [matched] = &own[..] {
            assert!(bench.count(kind) >= 10 && matched.kind == Kind::RuleMatched, "{rule}: {matched:?}");
            return;
        }
        assert!(told < 20 && own.is_empty(), "{rule}: {told} of {kind:?}: {own:?}");
        some().await;
        assert!(begun.elapsed() < PATIENCE, "{rule}: {} of {kind:?}", bench.count(kind));
    }
}

#[tokio::test]
async fn floods_of_messages_channels_and_datagrams_are_told() {
    let bench = Bench::start_with(|duologue| {
        duologue.service("sink", |call: duologue_server::Call| async move {
            while call.channel.recv().await?.is_some() {}
            Ok::<(), duologue_server::ServiceError>(())
        })
    })
    .await;
    let (_client, _, line) = bench.person("192.0.2.18").await;
    let channel = line.channel("sink").expect("it is open");
    // What honest clients send in a hurry is nothing to wonder at.
    for _ in 0..2_000 {
        channel.send("a message").await.expect("it is open");
    }
    assert!(bench.matches().await.is_empty());
    floods(&bench, "message-floods", Kind::MessageFlood, async || {
        for _ in 0..5_000 {
            channel.send("a message").await.expect("it is open");
        }
    })
    .await;
    floods(&bench, "channel-floods", Kind::ChannelFlood, async || {
        join_all((0..200).map(|_| line.request("echo", "here"))).await;
    })
    .await;
    let datagrams = line.channel("sink").expect("it is open");
    floods(&bench, "datagram-floods", Kind::DatagramFlood, async || {
        for _ in 0..500 {
            datagrams.send_datagram("a datagram", Duration::from_secs(10), None).expect("it is open");
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    })
    .await;
}

#[tokio::test]
async fn a_flood_of_pings_slows() {
    let bench = Bench::start().await;
    let mut socket = bench.socket("192.0.2.19").await.expect("a WebSocket");
    let pings = [0x89, 0x80, 0, 0, 0, 0].repeat(1_000);
    let floods = async |_| {
        if socket.get_mut().write_all(&pings).await.is_err() {
            panic!("it reads");
        }
        // What it answers is taken.
        let mut answers = [0; 64 * 1_024];
        let _ = socket.get_mut().try_read(&mut answers);
    };
    bench.holds("ping-floods", Kind::PingFlood, 10, Kind::Slowed, floods).await;
}

#[tokio::test]
async fn connections_that_say_nothing_slow() {
    let bench = Bench::start().await;
    let silent = async |count: usize| {
        let all = join_all((0..count).map(|_| bench.tcp("192.0.2.20"))).await;
        bench.told(Kind::ConnectionSlow, u64::try_from(count).expect("few")).await;
        drop(all);
    };
    silent(119).await;
    assert!(bench.matches().await.is_empty(), "one below the threshold");
    silent(120).await;
    let [slowed] = &bench.matches().await[..] else { panic!("the 120th") };
    assert!(slowed.note.as_deref().is_some_and(|note| note.starts_with("rule=slow-handshakes count=120 ")));
    assert_eq!(slowed.kind, Kind::Slowed);
}

#[tokio::test]
async fn who_does_not_read_slows() {
    let bench = Bench::start().await;
    let unread = async |count: usize| {
        join_all((0..count).map(async |_| {
            let mut tcp = bench.tcp("192.0.2.21").await;
            tcp.write_all(b"GET /big HTTP/1.1\r\nhost: a\r\n\r\n").await.expect("it reads");
            tcp
        }))
        .await
    };
    let _first = unread(59).await;
    bench.told(Kind::ReaderSlow, 59).await;
    assert!(bench.matches().await.is_empty(), "one below the threshold");
    let _second = unread(1).await;
    bench.told(Kind::ReaderSlow, 60).await;
    let [slowed] = &bench.matches().await[..] else { panic!("the 60th") };
    assert!(slowed.note.as_deref().is_some_and(|note| note.starts_with("rule=slow-readers count=60 ")));
    assert_eq!(slowed.kind, Kind::Slowed);
}

#[tokio::test]
async fn a_device_on_two_networks_is_told_and_left_alone() {
    let bench = Bench::start().await;
    let raw = Raw::new(1);
    raw.enrol(&bench, "192.0.2.22").await;
    let here = raw.come(&bench, "192.0.2.22", Shows::Nothing, Misdeed::None).await.expect("it is let in");
    let moves = async |_| drop(raw.come(&bench, "198.51.100.22", Shows::Nothing, Misdeed::None).await);
    bench.holds("two-networks", Kind::TwoNetworks, 30, Kind::RuleMatched, moves).await;
    drop(here);
}

#[tokio::test]
async fn a_clock_that_is_impossible_is_told() {
    let server = persons::Bench::start().await;
    let events = server.duologue.watch().subscribe(10_000);
    let person = server.come(1, Some(server.invite()), None);
    let mut claims = persons::token("ada", 7_200);
    claims["nbf"] = serde_json::json!(persons::testing::now() + 3_600);
    let mut shown = 0_u64;
    let mut told = 0_u64;
    let waited = async {
        loop {
            if shown == told && told < 10 {
                person.show(&persons::signed(&claims));
                shown += 1;
            }
            let event = events.next().await.expect("the server is there");
            match event.kind {
                Kind::ClockImpossible => told += 1,
                Kind::RuleMatched => {
                    assert_eq!(told, 10, "the tenth matches");
                    return event.note.clone();
                }
                Kind::Slowed | Kind::Closed | Kind::Banned => panic!("{event:?}"),
                _ => {}
            }
        }
    };
    let note = tokio::time::timeout(PATIENCE, waited).await.expect("it is told").expect("with a note");
    assert!(note.starts_with("rule=impossible-clock count=10 "), "{note}");
}
