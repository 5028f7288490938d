//! The owner's backend, asked of whoever connects: what it may give, what it may only take away, and backends that fail.
#![allow(missing_docs, reason = "tests are named for their scenario")]

#[path = "hook/backend.rs"]
mod backend;
mod persons;

use std::{net::SocketAddr, time::Duration};

use backend::{Backend, Does, ok};
use duologue::{CloseCode, FreshReason};
use duologue_server::{Hook, HookSettings, LabelPattern, Level, Policy, Rule, Rules, Subject, Whom, WithoutHook};
use persons::{
    Bench, Browser, NOT_ALLOWED, end, signed,
    testing::{Signer, now},
    token, until_lost,
};
use serde_json::{Value, json};

fn hooked(settings: HookSettings) -> impl FnOnce(duologue_server::Duologue, SocketAddr) -> duologue_server::Duologue {
    move |duologue, address| duologue.hook(Hook::new(settings, &format!("http://{address}")).expect("settings"))
}

/// A server that asks this backend, and takes tokens.
async fn bench(backend: &Backend) -> Bench {
    Bench::build(true, hooked(backend.settings())).await
}

/// A page of the server's own, with this cookie.
fn page(bench: &Bench, cookie: &str) -> Browser {
    Browser { origin: format!("http://{}", bench.address), headers: vec![("cookie", cookie.to_owned())] }
}

/// Whom a cookie of the app's names.
fn by_cookie(asked: &Value) -> Value {
    match asked["seen"]["cookie"].as_str().and_then(|cookie| cookie.strip_prefix("session=")) {
        Some(name) => json!({ "subject": name, "groups": ["staff"], "level": 2 }),
        None => json!({}),
    }
}

fn subject(name: &str) -> Subject {
    Subject::new(name).expect("a name")
}

#[tokio::test]
async fn three_kinds_of_evidence_reach_the_backend_apart() {
    let backend = Backend::start(|_| json!({})).await;
    let bench = bench(&backend).await;
    let mut browser = page(&bench, "a=1; b=2");
    browser.headers.extend([("cookie", "c=3".to_owned()), ("user-agent", "Test/1".to_owned())]);
    let shown = token("ada", 300);
    let ada = bench.come_as(1, Some(bench.invite()), Some(&signed(&shown)), &browser);
    ada.hears("who it is", |told| told.level == 2).await;
    let origin = &browser.origin;
    let (host, device) = (bench.address.to_string(), ada.id.to_string());
    let asked = backend.last();
    let id = asked["proved"]["token"]["id"].clone();
    assert!(id.is_string(), "{asked}");
    let expected = json!({
        "proved": {
            "device": device, "level": 1, "groups": [],
            "token": {
                "issuer": persons::ISSUER, "id": id, "subject": "ada", "groups": ["staff"], "level": 2,
                "until": shown["exp"].as_u64().expect("a time") + 5, "is_of_this_device": false
            }
        },
        "seen": {
            "address": "127.0.0.1", "origin": origin, "host": host, "cookie": "a=1; b=2; c=3", "user_agent": "Test/1"
        },
        "said": { "origin": origin, "host": host, "name": "bench" }
    });
    assert_eq!(asked, expected);

    // A native client may send any cookie: none is told.
    let native = Browser { headers: vec![("cookie", "a=1".to_owned())], ..Browser::default() };
    let bob = bench.come_as(2, Some(bench.invite()), None, &native);
    bob.hears("a device", |told| told.level == 1).await;
    let asked = backend.last();
    assert_eq!(asked["seen"], json!({ "address": "127.0.0.1", "host": host }));
    assert_eq!(asked["said"], json!({ "host": host, "name": "bench" }));
    assert_eq!(asked["proved"], json!({ "device": bob.id.to_string(), "level": 1, "groups": [] }));
}

#[tokio::test]
async fn a_cookie_that_a_proxy_has_copied_makes_nobody_of_its_device() {
    let backend = Backend::start(by_cookie).await;
    let mut bench = bench(&backend).await;
    let browser = page(&bench, "session=ada");
    // The proxy that ends TLS has her cookie, dials by its own key with the right origin, and was let in as a device.
    let proxy = bench.come_as(1, Some(bench.invite()), None, &browser);
    let told = proxy.hears("what it is", |_| true).await;
    assert_eq!((told.level, told.subject.as_str(), told.refused.as_str()), (1, "", ""));
    assert_eq!(end(&proxy.line.channel("staff").expect("open")).await, NOT_ALLOWED);
    assert_eq!(backend.last()["seen"]["cookie"], "session=ada", "it was seen");
    // Nor is anybody let in by it.
    let stranger = bench.come_as(2, None, None, &browser);
    assert_eq!(stranger.turned_out().await.0, CloseCode::NotEnrolled);
    // Nor does it name another than the token under the seal does.
    let bob = bench.come_as(3, Some(bench.invite()), Some(&signed(&token("bob", 300))), &browser);
    let told = bob.hears("why not", |told| told.evidence == 1).await;
    assert_eq!((told.level, told.refused.as_str(), told.wants_evidence), (1, "hook-stranger", false));
    // Nor than the owner has bound the device to.
    let bound = bench.invite_for("bob");
    let device = bench.come_as(4, Some(bound), None, &browser);
    let told = device.hears("whose it is", |_| true).await;
    assert_eq!((told.level, told.subject.as_str()), (1, "bob"));

    // Her own device, which is bound to her, it names; and no device was bound by any of that.
    let hers = bench.invite_for("ada");
    let ada = bench.come_as(5, Some(hers), None, &browser);
    let told = ada.hears("who she is", |told| told.level == 2).await;
    assert_eq!(told.subject, "ada");
    let _channel = ada.line.channel("staff").expect("open");
    let identity = bench.call().await.identity();
    assert_eq!(identity.groups.iter().map(ToString::to_string).collect::<Vec<_>>(), ["staff"]);
    for (letter, whose) in [(1, ""), (3, ""), (4, "bob"), (5, "ada")] {
        let again = bench.come(letter, None, None);
        assert_eq!(again.hears("whose it is", |_| true).await.subject, whose, "{letter}");
    }
}

#[tokio::test]
async fn cookies_prove_only_where_the_owner_says_so_of_the_servers_own_page_and_for_that_session() {
    let backend = Backend::start(by_cookie).await;
    let settings = HookSettings { cookies_prove: true, ..backend.settings() };
    let mut bench = Bench::build(true, hooked(settings)).await;
    let own = page(&bench, "session=ada");
    let ada = bench.come_as(1, None, None, &own);
    let told = ada.hears("who she is", |told| told.level == 2).await;
    assert_eq!(told.subject, "ada");
    let _channel = ada.line.channel("staff").expect("open");
    assert_eq!(bench.call().await.identity().level, Level::Account);
    assert_eq!(bench.state.store().devices().expect("a store").len(), 0, "nothing is bound, nor enrolled");
    // Another session of the same device, without the cookie, is nobody's.
    let again = bench.come_as(1, None, None, &Browser { headers: Vec::new(), ..own.clone() });
    assert_eq!(again.turned_out().await.0, CloseCode::NotEnrolled);
    // A page of another listed origin, whose upgrade carries the cookie too; and a native client.
    let other = Browser { origin: "http://localhost:1".to_owned(), ..own.clone() };
    let native = Browser { origin: String::new(), ..own.clone() };
    for (letter, browser) in [(2, &other), (3, &native)] {
        let person = bench.come_as(letter, Some(bench.invite()), None, browser);
        let told = person.hears("what it is", |_| true).await;
        assert_eq!((told.level, told.subject.as_str()), (1, ""));
        let unknown = bench.come_as(letter + 10, None, None, browser);
        assert_eq!(unknown.turned_out().await.0, CloseCode::NotEnrolled);
    }
    // A binding narrows.
    let bobs = bench.invite_for("bob");
    let bob = bench.come_as(4, Some(bobs), None, &own);
    let told = bob.hears("whose it is", |_| true).await;
    assert_eq!((told.level, told.subject.as_str()), (1, "bob"));
}

#[tokio::test]
async fn a_backend_that_hangs_lies_floods_or_is_dead_lets_nobody_new_in_and_takes_nothing_away() {
    let backend = Backend::start(by_cookie).await;
    let mut bench = bench(&backend).await;
    let hers = bench.invite_for("ada");
    let browser = page(&bench, "session=ada");
    let ada = bench.come_as(1, Some(hers), None, &browser);
    ada.hears("who she is", |told| told.level == 2).await;
    let channel = ada.line.channel("staff").expect("open");
    let call = bench.call().await;

    let groups: Vec<_> = (0..65).map(|number| format!("group {number}")).collect();
    let status = |line: &str| format!("HTTP/1.1 {line}\r\ncontent-length: 0\r\n\r\n").into_bytes();
    let (unreachable, answer) = ("hook-unreachable", "hook-answer");
    let wrong = [
        ("hangs", Does::Hangs, unreachable),
        ("is dead", Does::Dies, unreachable),
        (
            "says more than it gives",
            Does::Writes(b"HTTP/1.1 200 OK\r\ncontent-length: 99\r\n\r\n{}".to_vec()),
            unreachable,
        ),
        (
            "gives more than it says",
            Does::Writes(b"HTTP/1.1 200 OK\r\ncontent-length: 3\r\n\r\n{\"level\": 1}".to_vec()),
            answer,
        ),
        (
            "says two lengths",
            Does::Writes(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\ncontent-length: 3\r\n\r\n{} ".to_vec()),
            unreachable,
        ),
        ("floods", Does::Floods { says_so: false }, unreachable),
        ("floods, and says so", Does::Floods { says_so: true }, unreachable),
        ("is no HTTP", Does::Writes(b"SSH-2.0-OpenSSH_9\r\n".to_vec()), unreachable),
        ("fails", Does::Writes(status("500 Internal Server Error")), unreachable),
        ("knows no such path", Does::Writes(status("404 Not Found")), unreachable),
        (
            "leads elsewhere",
            Does::Writes(b"HTTP/1.1 302 Found\r\nlocation: /login\r\ncontent-length: 0\r\n\r\n".to_vec()),
            unreachable,
        ),
        (
            "begins to answer, and dies",
            Does::Writes(b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\n\r\n".to_vec()),
            answer,
        ),
        ("says nothing at all", Does::Writes(ok("")), answer),
        ("answers HTML", Does::Writes(ok("<!doctype html><title>Log in</title>")), answer),
        ("is no object", Does::Writes(ok("[]")), answer),
        ("lists what it means", Does::Writes(ok("[\"ada\", [], 2, null, null]")), answer),
        ("is too deep", Does::Writes(ok(&"[".repeat(20_000))), answer),
        ("misspells", Does::Writes(ok("{\"subjct\": \"ada\"}")), answer),
        ("says one thing twice", Does::Writes(ok("{\"level\": 1, \"level\": 2}")), answer),
        ("names no subject", Does::Writes(ok("{\"subject\": \"a\\u0000\"}")), answer),
        ("has no such level", Does::Writes(ok("{\"level\": 4}")), answer),
        ("names too many groups", Does::Writes(ok(&json!({ "groups": groups }).to_string())), answer),
        ("is over", Does::Writes(ok("{\"until\": 1}")), answer),
        ("says both", Does::Writes(ok("{\"refuse\": \"no\", \"level\": 1}")), answer),
        ("has too many words", Does::Writes(ok(&json!({ "refuse": "a".repeat(257) }).to_string())), answer),
    ];
    for (letter, (what, does, word)) in (10..).zip(wrong) {
        backend.does(does);
        let newcomer = bench.come_as(letter, Some(bench.invite()), None, &browser);
        assert_eq!(newcomer.turned_out().await, (CloseCode::Internal, word.to_owned()), "a backend that {what}");
    }
    // Who is in stays, also over another connection, and a token that is new changes nothing.
    for number in [0, 1] {
        ada.told.lock().expect("whole").clear();
        ada.cut();
        until_lost(&ada).await;
        if number == 1 {
            backend.does(Does::Dies);
            ada.show(&signed(&token("ada", 300)));
        }
        let told = ada.hears("who she is", |told| told.evidence == number).await;
        assert_eq!((told.level, told.subject.as_str(), told.wants_evidence), (2, "ada", false), "{told:?}");
        channel.send("on").await.expect("the channel goes on");
    }
    assert_eq!(call.identity().level, Level::Account);
    assert_eq!(*ada.fresh.lock().expect("whole"), [] as [FreshReason; 0], "it is one session");
}

#[tokio::test]
async fn devices_come_in_without_an_answer_where_their_owner_says_so_and_have_what_their_key_gives() {
    let backend = Backend::start(by_cookie).await;
    backend.does(Does::Dies);
    let settings = HookSettings { unreachable: WithoutHook::Device, ..backend.settings() };
    let bench = Bench::build(true, hooked(settings)).await;
    let hers = bench.invite_for("ada");
    let ada = bench.come_as(1, Some(hers), Some(&signed(&token("ada", 300))), &page(&bench, "session=ada"));
    let told = ada.hears("what her device is", |told| told.evidence == 1).await;
    assert_eq!((told.level, told.subject.as_str(), told.refused.as_str()), (1, "ada", "hook-unreachable"));
    assert!(!told.wants_evidence, "another token would change nothing");
    let stranger = bench.come(2, None, Some(&signed(&token("bob", 300))));
    assert_eq!(stranger.turned_out().await.0, CloseCode::NotEnrolled, "its token alone is not enough");
}

#[tokio::test]
async fn a_refusal_reaches_its_person_in_the_backends_words_and_level_3_is_nothing_that_it_can_give() {
    let words = "Your subscription has ended:\u{202e} renew it at app.example";
    let backend = Backend::start(move |_| json!({ "refuse": words })).await;
    let mut bench = bench(&backend).await;
    let hers = bench.invite_for("ada");
    let ada = bench.come(1, Some(hers), None);
    let (code, said) = ada.turned_out().await;
    assert_eq!(code, CloseCode::HookRefused);
    assert_eq!(said, "Your subscription has ended:\u{fffd} renew it at app.example", "without what turns text");
    assert!(bench.duologue.directory().connected().is_empty());

    backend.says(|_| json!({ "subject": "ada", "level": 3, "until": now() + 600 }));
    bench.duologue.set_rules(Rules::clone(&Policy::loopback().rules));
    let ada = bench.come(1, None, None);
    let told = ada.hears("who she is", |told| told.level > 1).await;
    assert_eq!((told.level, told.subject.as_str()), (2, "ada"));
    assert!(told.secs.is_some_and(|secs| (500..=600).contains(&secs)), "{told:?}");
    let _channel = ada.line.channel("staff").expect("open");
    assert_eq!(bench.call().await.identity().level, Level::Account);
}

#[tokio::test]
async fn what_it_takes_away_is_taken_from_the_key_and_from_a_token_too() {
    let backend = Backend::start(|_| json!({ "level": 0, "groups": [] })).await;
    let bench = bench(&backend).await;
    let guest = bench.come(1, Some(bench.invite()), None);
    let told = guest.hears("what it is", |_| true).await;
    assert_eq!(told.level, 0);
    assert_eq!(end(&guest.line.channel("any").expect("open")).await, NOT_ALLOWED);
    backend.says(|_| json!({ "level": 1 }));
    let ada = bench.come(2, Some(bench.invite()), Some(&signed(&token("ada", 300))));
    let told = ada.hears("who it is", |told| told.evidence == 1).await;
    assert_eq!((told.level, told.subject.as_str(), told.refused.as_str()), (1, "ada", ""));
    assert_eq!(end(&ada.line.channel("staff").expect("open")).await, NOT_ALLOWED);
}

#[tokio::test]
async fn an_answer_is_of_all_that_was_asked_and_forgotten_when_somebody_is_revoked_bound_or_judged_by_other_rules() {
    let backend = Backend::start(|_| json!({ "level": 2 })).await;
    let bench = bench(&backend).await;
    let first = bench.come_as(1, Some(bench.invite()), None, &page(&bench, "session=ada"));
    first.hears("a device", |_| true).await;
    assert_eq!(backend.count(), 1);
    let comes = async |cookie: &str, token: Option<&str>| {
        let person = bench.come_as(1, None, token, &page(&bench, cookie));
        person.hears("a device", |_| true).await;
        backend.count()
    };
    assert_eq!(comes("session=ada", None).await, 1, "it was answered before");
    assert_eq!(comes("session=bob", None).await, 2, "another cookie is another question");
    let shown = signed(&token("ada", 300));
    assert_eq!(comes("session=ada", Some(&shown)).await, 3, "so is a token");
    assert_eq!(comes("session=ada", Some(&shown)).await, 3);
    let other = bench.come_as(2, Some(bench.invite()), None, &page(&bench, "session=ada"));
    other.hears("a device", |_| true).await;
    assert_eq!(backend.count(), 4, "and another device");

    bench.duologue.revoke(Whom::token("somebody's"));
    assert_eq!(comes("session=ada", None).await, 5, "after a revocation, of whomever");
    bench.duologue.set_rules(Rules::default());
    assert_eq!(comes("session=ada", None).await, 6, "after other rules");
    bench.duologue.set_policy(Policy::loopback());
    assert_eq!(comes("session=ada", None).await, 7, "after another policy");
    let leaving = bench.come_as(1, None, Some(&shown), &page(&bench, "session=zoe"));
    leaving.hears("who it is", |told| told.level == 2).await;
    assert_eq!(backend.count(), 8);
    leaving.sign_out();
    leaving.hears("that it is out", |told| told.refused == "signed-out").await;
    assert_eq!(comes("session=zoe", Some(&shown)).await, 9, "after somebody has signed out there");
}

#[tokio::test]
async fn an_answer_that_comes_after_a_revocation_is_thrown_away() {
    let backend = Backend::start(|_| json!({ "subject": "ada", "level": 2, "groups": ["staff"] })).await;
    let bench = bench(&backend).await;
    let hers = bench.invite_for("ada");
    backend.goes.forget_permits(1_000);
    let ada = bench.come(1, Some(hers), None);
    backend.was_asked(1).await;
    bench.duologue.revoke(Whom::group("staff"));
    backend.goes.add_permits(1);
    backend.was_asked(2).await;
    backend.goes.add_permits(1);
    let told = ada.hears("what it is", |told| told.level == 1).await;
    assert_eq!(told.subject, "ada", "what she is in that group is revoked");
}

#[tokio::test]
async fn what_it_has_said_ends_at_its_time_also_while_the_session_waits_and_is_asked_again_before() {
    let backend = Backend::start(|_| json!({ "subject": "ada", "until": now() + 4 })).await;
    let mut bench = bench(&backend).await;
    let ada = bench.come(1, Some(bench.invite_for("ada")), None);
    ada.hears("who she is", |told| told.level == 2).await;
    let channel = ada.line.channel("staff").expect("open");
    let call = bench.call().await;
    // Asked again in time, by itself: nothing breaks.
    backend.was_asked(3).await;
    assert_eq!(call.identity().level, Level::Account);
    // It answers no more: its word ends, and with it what was opened by it. The device stays.
    backend.does(Does::Dies);
    assert_eq!(end(&channel).await, NOT_ALLOWED);
    ada.hears("that it is over", |told| told.level == 1).await;
    assert_eq!(call.identity().level, Level::Device);
    let any = ada.line.channel("any").expect("open");
    let at_any = bench.call().await;
    any.send("still here").await.expect("a device's own channel is open");
    assert_eq!(at_any.identity().subject, Some(subject("ada")), "whose the device is");
    // It turns her out: the session that waits ends too.
    backend.says(|_| json!({ "refuse": "gone" }));
    ada.cut();
    assert_eq!(ada.turned_out().await, (CloseCode::HookRefused, "gone".to_owned()));
    assert!(bench.duologue.directory().connected().is_empty(), "nothing of hers goes on");
}

#[tokio::test]
async fn who_is_in_is_put_out_when_it_is_asked_again_and_refuses() {
    let backend = Backend::start(|_| json!({ "subject": "ada", "until": now() + 2 })).await;
    let bench = bench(&backend).await;
    let ada = bench.come(1, Some(bench.invite_for("ada")), None);
    ada.hears("who she is", |told| told.level == 2).await;
    backend.says(|_| json!({ "refuse": "Come again on Monday." }));
    assert_eq!(ada.turned_out().await, (CloseCode::HookRefused, "Come again on Monday.".to_owned()));
}

#[tokio::test]
async fn who_has_signed_out_is_not_signed_in_again_by_a_cookie_that_lives_longer() {
    let backend = Backend::start(|asked| {
        let mut said = by_cookie(asked);
        said["until"] = json!(now() + 3);
        said
    })
    .await;
    let bench = bench(&backend).await;
    let ada = bench.come_as(1, Some(bench.invite_for("ada")), None, &page(&bench, "session=ada"));
    ada.hears("who she is", |told| told.level == 2).await;
    ada.sign_out();
    ada.hears("that she is out", |told| told.refused == "signed-out").await;
    ada.told.lock().expect("whole").clear();
    let count = backend.count();
    backend.was_asked(count + 1).await;
    for _ in 0..2 {
        ada.cut();
        until_lost(&ada).await;
        let told = ada.hears("what her device is", |_| true).await;
        assert_eq!((told.level, told.subject.as_str()), (1, "ada"));
    }
    let all = ada.told.lock().expect("whole").clone();
    assert!(all.iter().all(|told| told.level == 1), "{all:?}");
    // Somebody who signs in again does so by what he proves.
    ada.show(&Signer::EdDsa.token(&token("ada", 300)));
    ada.hears("who she is", |told| told.level == 2).await;
}

/// The app's own word, or another tab's, ends what a token had proved; the client states that token with each AUTH.
#[tokio::test]
async fn who_was_signed_out_is_not_signed_in_again_by_the_token_that_was_shown_before() {
    let backend = Backend::start(|_| json!({ "subject": "ada", "until": now() + 2 })).await;
    let mut bench = bench(&backend).await;
    let ada = bench.come(1, Some(bench.invite_for("ada")), Some(&signed(&token("ada", 300))));
    ada.hears("who she is", |told| told.level == 2).await;
    let _any = ada.line.channel("any").expect("open");
    bench.call().await.sign_out();
    ada.hears("that she is out", |told| told.refused == "signed-out").await;
    // What was said of her ends, and the backend is asked again over another connection.
    backend.does(Does::Dies);
    tokio::time::sleep(Duration::from_secs(4)).await;
    backend.says(|_| json!({ "subject": "ada", "until": now() + 300 }));
    ada.told.lock().expect("whole").clear();
    let count = backend.count();
    ada.cut();
    backend.was_asked(count + 1).await;
    let told = ada.hears("what her device is", |_| true).await;
    assert_eq!((told.level, told.subject.as_str(), told.evidence), (1, "ada", 1));
    ada.show(&signed(&token("ada", 300)));
    ada.hears("who she is", |told| told.level == 2).await;
}

#[tokio::test]
async fn who_signs_out_in_another_tab_is_out_whatever_the_backend_is_being_asked() {
    let backend = Backend::start(|_| json!({})).await;
    let settings = HookSettings { timeout: 4, ..backend.settings() };
    let bench = Bench::build(true, hooked(settings)).await;
    let ada = bench.come(1, Some(bench.invite_for("ada")), None);
    ada.hears("what her device is", |_| true).await;
    let other = bench.come(1, None, None);
    other.hears("what her device is", |_| true).await;
    // A token on the open line.
    backend.goes.forget_permits(1_000);
    backend.says(|_| json!({ "subject": "ada" }));
    let count = backend.count();
    ada.show(&signed(&token("ada", 300)));
    backend.was_asked(count + 1).await;
    other.sign_out();
    ada.hears("that she is out", |told| told.refused == "signed-out").await;
    backend.goes.add_permits(1_000);
    let told = ada.hears("that it was judged", |told| told.evidence == 1).await;
    assert_eq!(told.level, 1);
    // A connection that is on its way, of whom the backend had said who it is.
    backend.goes.forget_permits(1_000);
    backend.does(Does::Writes(ok(&json!({ "subject": "ada", "level": 2 }).to_string())));
    let count = backend.count();
    let coming = bench.come_as(1, None, None, &page(&bench, "session=ada"));
    backend.was_asked(count + 1).await;
    backend.says(|_| json!({}));
    other.told.lock().expect("whole").clear();
    other.sign_out();
    other.hears("that she is out", |told| told.refused == "signed-out").await;
    backend.goes.add_permits(1_000);
    let told = coming.hears("what her device is", |_| true).await;
    assert_eq!((told.level, told.subject.as_str()), (1, "ada"));
    assert_eq!(backend.count(), count + 2, "it was asked again");
}

/// Whoever is turned away could come as a guest, by a key that he makes for it.
#[tokio::test]
async fn guests_are_asked_of_too_and_refused_by_what_is_seen_of_them() {
    let backend = Backend::start(|_| json!({ "refuse": "This network is blocked." })).await;
    let bench = bench(&backend).await;
    let to_guests =
        Rule { level: Level::Guest, ..Rule::new("any", vec![LabelPattern::new("any").expect("a pattern")]) };
    bench.duologue.set_rules(Rules::new(vec![to_guests]));
    let blocked = bench.come(1, None, None);
    assert_eq!(blocked.turned_out().await, (CloseCode::HookRefused, "This network is blocked.".to_owned()));
    assert_eq!(backend.last()["proved"]["level"], 0);
    backend.says(|_| json!({ "subject": "ada", "level": 2, "groups": ["staff"] }));
    let guest = bench.come(2, None, None);
    let told = guest.hears("what it is", |_| true).await;
    assert_eq!((told.level, told.subject.as_str()), (0, ""), "a word makes nobody of a guest");
    backend.does(Does::Dies);
    let newcomer = bench.come(3, None, None);
    assert_eq!(newcomer.turned_out().await, (CloseCode::Internal, "hook-unreachable".to_owned()));
    // Where nothing is open to guests, nobody is asked of those whom no answer would let in.
    bench.duologue.set_rules(Rules::default());
    let count = backend.count();
    assert_eq!(bench.come(4, None, None).turned_out().await.0, CloseCode::NotEnrolled);
    assert_eq!(backend.count(), count);
}
