//! What a seat is by turns: what was proved, its end, sign-outs, and who a stranger is.

use std::net::{IpAddr, Ipv4Addr};

use super::*;
use crate::{
    door::standing::{Level, Proof},
    state::store::Known,
};

fn has(subject: Option<&str>) -> Has {
    Has::of(&Known { subject: subject.map(Into::into), ..Known::default() })
}

fn seat(subject: Option<&str>) -> Seat {
    let transport =
        Transport { address: IpAddr::V4(Ipv4Addr::LOCALHOST), origin: None, app_origin: None, ..Transport::default() };
    Seat::new(DeviceId([7; 32]), transport, has(subject))
}

fn vouched(subject: &str) -> Standing {
    let subject = Some(Subject::new(subject).expect("a name"));
    Standing { subject, level: Level::Account, proof: Proof::Vouch, ..Standing::device() }
}

#[test]
fn who_signs_out_leaves_nothing_of_the_session_behind() {
    let seat = seat(None);
    assert_eq!(seat.prove(vouched("ada")), Ok(()));
    let hers = seat.kept::<Mutex<u8>>().expect("nobody else has the place");
    assert!(Arc::ptr_eq(&hers, &seat.kept().expect("the same")) && seat.kept::<u8>().is_none());
    seat.sign_out();
    assert!(!Arc::ptr_eq(&hers, &seat.kept().expect("another")));
}

#[test]
fn what_was_shown_before_a_sign_out_counts_no_more_when_it_is_judged() {
    let seat = seat(None);
    let before = Since::now();
    assert_eq!(seat.prove_since(vouched("ada"), before), Ok(true));
    seat.sign_out();
    assert_eq!(seat.prove_since(vouched("ada"), before), Ok(false));
    assert_eq!((seat.proved(), seat.identity().level), (None, Level::Device));
    assert_eq!(seat.prove_since(vouched("ada"), Since::now()), Ok(true), "who signs in again is in");
    // The finger was on the key while another tab signed out.
    seat.takes_passkeys(Presence::new(duologue::SessionId([1; 16]), [2; 32]));
    assert!(seat.present_since(1_000, [3; 32], Since::now()));
    assert_eq!(seat.identity().level, Level::Present);
    let before = Since::now();
    seat.sign_out();
    assert!(!seat.present_since(1_000, [3; 32], before));
    assert_eq!(seat.presence(|presence| presence.by()), Some(None));
}

#[test]
fn a_binding_narrows_and_is_the_one_change_that_a_session_lives_through() {
    let bound = seat(Some("ada"));
    assert_eq!(bound.prove(vouched("bob")), Err(OtherSubject), "another's token on her device");
    assert_eq!(bound.prove(vouched("ada")), Ok(()));
    assert_eq!(bound.identity().level, Level::Account);
    assert!(bound.has_now(has(Some("ada"))));
    assert!(!bound.has_now(has(Some("bob"))) && !bound.has_now(has(None)), "it is released, or another's");
    let guest = seat(None);
    assert!(guest.has_now(has(Some("ada"))) && !guest.has_now(has(None)));
    assert_eq!(guest.identity().level, Level::Device, "a binding raises nothing");
}

#[test]
fn a_session_that_has_logged_in_by_itself_goes_on_over_another_connection() {
    let session = seat(None);
    session.prove(vouched("ada")).expect("nobody's so far");
    assert!(session.has_now(has(None)), "its owner has said nothing of the device, as before");
    assert!(!session.has_now(has(Some("bob"))));
    assert!(session.has_now(has(Some("ada"))));
}

fn until(subject: &str, until: u64) -> Standing {
    Standing { until: Some(until), ..vouched(subject) }
}

#[test]
fn what_was_proved_holds_until_its_end_which_is_told_before_it_and_when_it_comes_once_each() {
    let seat = seat(None);
    assert_eq!(seat.look(0), None, "a device's own has no end");
    seat.prove(until("ada", 1_000)).expect("nobody's");
    assert_eq!((seat.standing(999).level, seat.standing(1_000).level), (Level::Account, Level::Device));
    let looked = [1, 939, 940, 941, 999, 1_000, 1_001].map(|at| seat.look(at));
    let later = Some(Ending::Later);
    assert_eq!(
        looked,
        [
            later,
            later,
            Some(Ending::Soon { of_token: false }),
            later,
            later,
            Some(Ending::Now { of_token: false }),
            None
        ]
    );
    assert_eq!(seat.standing(0).level, Level::Device, "a clock that is set back revives nothing");
    assert_eq!(seat.prove(until("bob", 2_000)), Err(OtherSubject), "what was hers is open still");
    seat.prove(until("ada", 2_000)).expect("the same person's");
    assert_eq!((seat.look(1_500), seat.look(1_950)), (later, Some(Ending::Soon { of_token: false })));
    assert_eq!(seat.standing(1_500).level, Level::Account);
}

#[test]
fn what_lasts_a_minute_is_asked_for_once_and_not_each_second() {
    let seat = seat(None);
    for end in [20, 40] {
        seat.prove(until("ada", end)).expect("hers");
        let looked: Vec<_> = (end - 20..end).map(|at| seat.look(at)).collect();
        let soon = looked.iter().position(|look| *look == Some(Ending::Soon { of_token: false }));
        assert_eq!(soon, Some(10), "half of its time is left: {looked:?}");
        assert_eq!(looked.iter().filter(|look| **look == Some(Ending::Soon { of_token: false })).count(), 1);
    }
}

#[test]
fn a_stranger_is_one_with_all_guests_until_he_shows_who_he_is() {
    let seat = seat(None);
    assert_eq!(seat.holder(), Holder::Device(seat.device()));
    assert!(seat.has_now(Has::guest()) && seat.is_stranger());
    assert_eq!(seat.holder(), Holder::Guests(None));
    seat.moved(Transport { address: [192, 0, 2, 7].into(), origin: None, app_origin: None, ..Transport::default() });
    assert_eq!(seat.holder(), Holder::guest([192, 0, 2, 7].into()));
    seat.prove(vouched("ada")).expect("nobody's");
    assert_eq!(seat.holder(), Holder::Subject(Subject::new("ada").expect("a name")));
    assert!(!seat.is_guest() && seat.is_stranger(), "and not let in by that");
    seat.sign_out();
    assert!(seat.is_guest());
    assert!(seat.has_now(has(None)), "an invite");
    assert_eq!(seat.holder(), Holder::Device(seat.device()));
}

#[test]
fn a_device_that_nobody_has_let_in_falls_to_a_guest() {
    let seat = seat(None);
    assert!(seat.has_now(Has::guest()));
    seat.prove(until("ada", 1_000)).expect("nobody's");
    assert_eq!((seat.standing(999).level, seat.standing(1_000).level), (Level::Account, Level::Guest));
    assert!(seat.has_now(has(None)), "an invite came in between");
    assert_eq!(seat.standing(1_000).level, Level::Device);
}
