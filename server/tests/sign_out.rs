//! Sign-outs that come while something of the person is under way: what was asked for before one counts no more after it, in whichever
//! session of the device it was asked.
#![allow(missing_docs, reason = "tests are named for their scenario")]

#[path = "hook/backend.rs"]
mod backend;
mod persons;
#[path = "../src/door/tokens/testing_issuer.rs"]
mod testing_issuer;

use std::sync::Arc;

use backend::Backend;
use duologue::CloseCode;
use duologue_server::{Hook, LabelPattern, Level, NotVouched, Rule, Rules, Subject, TokenSettings};
use persons::{
    Bench, NOT_ALLOWED, Person, end, settings, signed,
    testing::{self, Signer, key_set, now},
    token,
};
use serde_json::json;
use testing_issuer::{Answer, Issuer};
use tokio::sync::Semaphore;

/// A server whose issuer may take its time.
struct Held {
    issuer: Issuer,
    bench: Bench,
}

impl Held {
    async fn start() -> Self {
        let issuer = Issuer::start(Answer::Keys(key_set(&[Signer::Es256]))).await;
        let settings = TokenSettings { keys: Some(format!("{}/jwks", issuer.url)), ..settings() };
        let bench = Bench::build_with(Some(settings), |duologue, _| duologue).await;
        Self { issuer, bench }
    }

    /// From now on a token by another key is judged when there is a permit.
    fn holds(&self) -> Arc<Semaphore> {
        let goes = Arc::new(Semaphore::new(0));
        self.issuer.answers(Answer::Held(Arc::clone(&goes), key_set(&[Signer::Es256, Signer::EdDsa])));
        goes
    }

    /// Waits until the issuer is asked once more than so often.
    async fn is_asked(&self, before: usize) {
        let asked = async {
            while self.issuer.asked() == before {
                tokio::time::sleep(std::time::Duration::from_millis(1)).await;
            }
        };
        tokio::time::timeout(std::time::Duration::from_secs(20), asked).await.expect("asked in time");
    }
}

/// Signed by the key that is known at once.
fn known(subject: &str) -> String {
    Signer::Es256.token(&token(subject, 300))
}

async fn is_in(person: &Person, subject: &str) {
    person.hears("who it is", |told| told.level == 2 && told.subject == subject).await;
}

/// So often a machine may be too slow for the two seconds that an issuer has.
const ATTEMPTS: usize = 10;

#[tokio::test]
async fn a_new_tab_whose_token_is_judged_while_another_one_signs_out_comes_up_signed_out() {
    // Somebody else at this device, and she herself elsewhere, have not signed out.
    for (letter, subject, is_out) in [(1, "ada", true), (1, "bob", false), (2, "ada", false)] {
        let mut is_shown = false;
        for _ in 0..ATTEMPTS {
            let held = Held::start().await;
            let ada = held.bench.come(1, Some(held.bench.invite()), Some(&known("ada")));
            is_in(&ada, "ada").await;
            let invite = (letter != 1).then(|| held.bench.invite());
            let (goes, before) = (held.holds(), held.issuer.asked());
            let new_tab = held.bench.come(letter, invite, Some(&signed(&token(subject, 300))));
            held.is_asked(before).await;
            ada.sign_out();
            ada.hears("that she is out", |told| told.refused == "signed-out").await;
            goes.add_permits(100);
            let told = new_tab.hears("what it is", |told| told.evidence == 1).await;
            if told.refused == "token-keys-unreachable" {
                continue;
            }
            is_shown = true;
            if !is_out {
                assert_eq!((told.level, told.subject.as_str(), told.refused.as_str()), (2, subject, ""));
                break;
            }
            assert_eq!((told.level, told.subject.as_str(), told.refused.as_str()), (1, "", "signed-out"));
            let channel = new_tab.line.channel("staff").expect("the line is open");
            assert_eq!(end(&channel).await, NOT_ALLOWED);
            // Who signs in again is in.
            new_tab.show(&signed(&token("ada", 200)));
            is_in(&new_tab, "ada").await;
            break;
        }
        assert!(is_shown, "the issuer was never fast enough");
    }
}

#[tokio::test]
async fn a_stranger_whose_token_is_judged_while_another_tab_signs_out_is_turned_away() {
    for _ in 0..ATTEMPTS {
        let held = Held::start().await;
        let ada = held.bench.come(1, None, Some(&known("ada")));
        is_in(&ada, "ada").await;
        let (goes, before) = (held.holds(), held.issuer.asked());
        let new_tab = held.bench.come(1, None, Some(&signed(&token("ada", 300))));
        held.is_asked(before).await;
        ada.sign_out();
        assert_eq!(ada.turned_out().await, (CloseCode::NotEnrolled, "signed-out".to_owned()));
        goes.add_permits(100);
        let (code, why) = new_tab.turned_out().await;
        assert_eq!(code, CloseCode::NotEnrolled);
        assert_eq!(held.bench.duologue.directory().connected(), [], "nor does a session of it wait");
        if why != "token-keys-unreachable" {
            assert_eq!(why, "signed-out");
            return;
        }
    }
    panic!("the issuer was never fast enough");
}

/// On a device that is bound to nobody, a session that is nobody's yet was once none of hers.
#[tokio::test]
async fn a_token_that_is_judged_in_an_open_tab_while_another_one_signs_out_raises_nothing() {
    for _ in 0..ATTEMPTS {
        let held = Held::start().await;
        let ada = held.bench.come(1, Some(held.bench.invite()), Some(&known("ada")));
        is_in(&ada, "ada").await;
        let tab = held.bench.come(1, None, None);
        tab.hears("a device", |told| told.level == 1).await;
        let (goes, before) = (held.holds(), held.issuer.asked());
        tab.show(&signed(&token("ada", 300)));
        held.is_asked(before).await;
        ada.sign_out();
        ada.hears("that she is out", |told| told.refused == "signed-out").await;
        goes.add_permits(100);
        let told = tab.hears("that it was judged", |told| told.evidence == 1).await;
        assert_eq!((told.level, told.subject.as_str()), (1, ""), "{told:?}");
        if told.refused != "token-keys-unreachable" {
            assert_eq!(told.refused, "signed-out");
            return;
        }
    }
    panic!("the issuer was never fast enough");
}

#[tokio::test]
async fn a_login_of_an_own_service_that_is_answered_after_a_sign_out_vouches_for_nobody() {
    let vouches = |call: &duologue_server::Call| call.vouch(Subject::new("ada").expect("a name"), &[], now() + 300);
    for by in ["its client", "the service", "another tab"] {
        let mut bench = Bench::start().await;
        let ada = bench.come(1, Some(bench.invite()), None);
        ada.hears("a device", |told| told.level == 1).await;
        let _any = ada.line.channel("any").expect("the line is open");
        let call = bench.call().await;
        let again = call.clone();
        match by {
            "its client" => {
                ada.sign_out();
                ada.hears("that it is out", |told| told.evidence == 1).await;
            }
            "the service" => call.sign_out(),
            _ => {
                let tab = bench.come(1, None, Some(&signed(&token("ada", 300))));
                is_in(&tab, "ada").await;
                tab.sign_out();
                tab.hears("that it is out", |told| told.evidence == 2).await;
            }
        }
        for call in [&call, &again] {
            assert_eq!(vouches(call), Err(NotVouched::SignedOut), "{by}");
            assert_eq!(call.identity().level, Level::Device, "{by}");
        }
        // The channel's next question is one of now.
        assert_eq!(vouches(&call.anew()), Ok(()), "{by}");
        is_in(&ada, "ada").await;
    }
}

#[tokio::test]
async fn the_backends_word_puts_out_who_was_here_by_what_it_ends_and_says_why() {
    let mut bench = Bench::start().await;
    let ada = bench.come(1, None, Some(&signed(&token("ada", 300))));
    is_in(&ada, "ada").await;
    let _staff = ada.line.channel("staff").expect("the line is open");
    bench.call().await.sign_out();
    assert_eq!(ada.turned_out().await, (CloseCode::NotEnrolled, "signed-out".to_owned()));
    assert_eq!(bench.duologue.directory().connected(), []);

    // Where guests may be, whoever is out is a guest again, and hears so.
    let to_guests =
        Rule { level: Level::Guest, ..Rule::new("any", vec![LabelPattern::new("any").expect("a pattern")]) };
    bench.duologue.set_rules(Rules::new(vec![to_guests]));
    let eve = bench.come(2, None, Some(&signed(&token("eve", 300))));
    is_in(&eve, "eve").await;
    let any = eve.line.channel("any").expect("the line is open");
    let call = bench.call().await;
    call.sign_out();
    let told = eve.hears("that she is out", |told| told.level == 0).await;
    assert_eq!((told.refused.as_str(), told.subject.as_str()), ("signed-out", ""));
    any.send("still here").await.expect("what a guest may open goes on");
}

/// A backend that names whose device it is, without cookies, once named her again in the next session after she had signed out.
#[tokio::test]
async fn a_hook_is_told_when_somebody_last_signed_out_at_the_device_and_so_knows_that_its_login_is_over() {
    let backend = Backend::start(|asked| match asked["proved"]["signed_out_at"] {
        serde_json::Value::Null => json!({ "subject": "ada", "level": 2 }),
        _ => json!({}),
    })
    .await;
    let settings = backend.settings();
    let mut bench = Bench::build(true, move |duologue, address| {
        duologue.hook(Hook::new(settings, &format!("http://{address}")).expect("settings"))
    })
    .await;
    let ada = bench.come(1, Some(bench.invite_for("ada")), None);
    is_in(&ada, "ada").await;
    let elsewhere = bench.come(2, Some(bench.invite_for("ada")), None);
    is_in(&elsewhere, "ada").await;
    let before = now();
    ada.sign_out();
    ada.hears("that she is out", |told| told.level == 1).await;

    let next = bench.come(1, None, None);
    let told = next.hears("what the device is", |_| true).await;
    assert_eq!((told.level, told.subject.as_str()), (1, "ada"));
    let asked = backend.last();
    assert!(asked["proved"]["signed_out_at"].as_u64().is_some_and(|at| (before..=now()).contains(&at)), "{asked}");
    for side in ["seen", "said"] {
        assert_eq!(asked[side].get("signed_out_at"), None, "{asked}");
    }
    let tab = bench.come(2, None, None);
    is_in(&tab, "ada").await;
    let of_other = |asked: &&serde_json::Value| asked["proved"]["device"] == elsewhere.id.to_string();
    let asked: Vec<_> = backend.lock().asked.iter().filter(of_other).cloned().collect();
    assert!(!asked.is_empty() && asked.iter().all(|asked| asked["proved"].get("signed_out_at").is_none()), "{asked:?}");
    // A service's word is one too.
    let third = bench.come(3, Some(bench.invite_for("ada")), None);
    is_in(&third, "ada").await;
    let _any = third.line.channel("any").expect("the line is open");
    bench.call().await.sign_out();
    third.hears("that she is out", |told| told.level == 1).await;
    let next = bench.come(3, None, None);
    assert_eq!(next.hears("what the device is", |_| true).await.level, 1);
}
