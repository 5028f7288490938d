//! Whose devices there are: bound, let in on terms, revoked by name; and a store of the time before accounts.

use std::{path::Path, sync::Barrier, thread, time::Duration};

use duologue::{CloseCode, InviteId};

use super::{
    super::{
        DeviceStatus, Revocation, Terms, Withdrawal,
        tests::{DAY, device, invite, store},
    },
    *,
};

fn id(seed: u8) -> DeviceId {
    DeviceId(device(seed).id)
}

fn terms(subject: &str, groups: &[&str]) -> Terms {
    let groups = groups.iter().map(ToString::to_string).collect();
    Terms { subject: Some(subject.to_owned()), groups, ..Terms::default() }
}

/// Lets a device in on terms, by the invite of the same number.
fn let_in(store: &Store, seed: u8, terms: &Terms) {
    store.add_invite_for(&invite(seed), terms, DAY).expect("stored");
    store.enrol(invite(seed).id(), &device(seed)).expect("works").expect("enrolled");
}

fn whose(store: &Store, seed: u8) -> Option<String> {
    store.known(id(seed)).subject.map(|subject| subject.to_string())
}

fn texts(names: &Names) -> Vec<&str> {
    names.iter().map(|name| &**name).collect()
}

fn reopened(store: Store, directory: &Path) -> Store {
    drop(store);
    Store::open(&directory.join("store.redb")).expect("the same store")
}

#[test]
fn of_a_hundred_devices_that_race_for_an_invite_with_a_subject_one_is_bound() {
    let (_directory, store) = store();
    store.add_invite_for(&invite(1), &terms("ada", &["staff"]), DAY).expect("stored");
    // Some of them are known already: they need no invite, and leave it.
    for seed in 200..220 {
        let_in(&store, seed, &Terms::default());
    }
    let (store, gate) = (&store, &Barrier::new(120));
    let verdicts: Vec<_> = thread::scope(|scope| {
        let race = |seed| {
            scope.spawn(move || {
                gate.wait();
                (seed, store.enrol(invite(1).id(), &device(seed)).expect("the store works"))
            })
        };
        let racers: Vec<_> = (0..100).chain(200..220).map(race).collect();
        racers.into_iter().map(|racer| racer.join().expect("no panic")).collect()
    });
    let winners: Vec<_> = verdicts.iter().filter(|(seed, verdict)| *seed < 100 && verdict.is_ok()).collect();
    let [(winner, _)] = winners.as_slice() else { panic!("{winners:?}") };
    assert_eq!(verdicts.iter().filter(|(_, verdict)| *verdict == Err(CloseCode::InviteUsed)).count(), 99);
    let accounts = store.accounts();
    let [ada] = accounts.as_slice() else { panic!("{accounts:?}") };
    assert_eq!((&*ada.subject, texts(&ada.groups), ada.devices.as_slice()), ("ada", vec!["staff"], &[id(*winner)][..]));
    assert!((200..220).all(|seed| whose(store, seed).is_none()), "nobody else is bound");
}

#[test]
fn a_device_has_one_subject_until_it_is_released() {
    let (directory, store) = store();
    let_in(&store, 1, &terms("ada", &[]));
    let_in(&store, 2, &Terms::default());
    assert_eq!(store.bind(id(1), "ada").expect("works"), Ok(false), "it is");
    assert_eq!(store.bind(id(1), "bob").expect("works"), Err(AccountError::BoundToAnother("ada".into())));
    assert_eq!(store.bind(id(2), "bob").expect("works"), Ok(true));
    assert_eq!(store.bind(id(9), "bob").expect("works"), Err(AccountError::UnknownDevice(id(9))));
    // Somebody sends it a link of his own.
    store.add_invite_for(&invite(3), &terms("mallory", &[]), DAY).expect("stored");
    for seed in [1, 2] {
        assert_eq!(store.enrol(invite(3).id(), &device(seed)).expect("works"), Ok(()));
    }
    assert_eq!((whose(&store, 1).as_deref(), whose(&store, 2).as_deref()), (Some("ada"), Some("bob")));
    assert_eq!(store.release(id(1)).expect("works"), Ok("ada".into()));
    assert_eq!(store.release(id(1)).expect("works"), Err(AccountError::NotBound));
    assert_eq!(store.release(id(9)).expect("works"), Err(AccountError::UnknownDevice(id(9))));
    let store = reopened(store, directory.path());
    assert_eq!((whose(&store, 1), whose(&store, 2).as_deref()), (None, Some("bob")));
    assert_eq!(store.bind(id(1), "bob").expect("works"), Ok(true));
    assert_eq!(store.status(id(1)), Some(DeviceStatus::Enrolled));
}

#[test]
fn groups_are_the_subjects_on_each_of_its_devices() {
    let (directory, store) = store();
    let_in(&store, 1, &terms("ada", &["staff"]));
    let_in(&store, 2, &terms("ada", &["chess"]));
    assert_eq!(texts(&store.known(id(1)).groups), ["chess", "staff"]);
    let added = store.change_groups("ada", &["board".into()], &["chess".into(), "never".into()]).expect("works");
    assert_eq!(texts(&added.expect("few")), ["board", "staff"]);
    let many: Vec<_> = (0..=GROUPS_MAX).map(|number| number.to_string()).collect();
    assert_eq!(store.change_groups("ada", &many, &[]).expect("works"), Err(AccountError::TooManyGroups));
    assert_eq!(store.may_enter("ada", &many), Err(AccountError::TooManyGroups));
    let store = reopened(store, directory.path());
    assert_eq!(texts(&store.known(id(2)).groups), ["board", "staff"]);
}

#[test]
fn who_was_let_in_for_some_labels_opens_these_and_lets_nobody_in_for_others() {
    let (directory, store) = store();
    let opens = Some(vec!["drop".to_owned(), "pair".to_owned()]);
    let_in(&store, 1, &Terms { opens, name: Some("Ada's scanner".to_owned()), ..terms("ada", &[]) });
    let_in(&store, 3, &Terms::default());
    assert!(store.add_invite_of(id(1), &invite(2), DAY, 5).expect("works"));
    store.enrol(invite(2).id(), &device(2)).expect("works").expect("enrolled");
    let store = reopened(store, directory.path());
    for seed in [1, 2] {
        assert_eq!(store.known(id(seed)).opens.as_ref().map(texts), Some(vec!["drop", "pair"]), "{seed}");
    }
    assert_eq!(store.known(id(3)).opens, None, "nobody has said what it is for");
    assert_eq!(whose(&store, 2), None, "a friend's device is not one's own");
    let names: Vec<_> = store.devices().expect("readable").into_iter().map(|device| (device.id, device.name)).collect();
    assert!(names.contains(&(id(1).0, "Ada's scanner".to_owned())) && names.contains(&(id(2).0, "test".to_owned())));
}

#[test]
fn a_revoked_subject_loses_its_devices_for_good_and_its_name_until_it_is_restored() {
    let (directory, store) = store();
    for (seed, subject) in [(1, "ada"), (2, "ada"), (3, "bob")] {
        let_in(&store, seed, &terms(subject, &["staff"]));
    }
    store.add_invite_for(&invite(4), &terms("ada", &[]), DAY).expect("stored");
    assert_eq!(store.revoke(Whom::subject("ada")), Revocation::Stored);
    let check = |store: &Store| {
        assert_eq!([1, 2].map(|seed| store.status(id(seed))), [Some(DeviceStatus::Revoked); 2]);
        assert_eq!(store.status(id(3)), Some(DeviceStatus::Enrolled));
        assert_eq!(store.enrol(invite(4).id(), &device(4)).expect("works"), Err(CloseCode::NotEnrolled));
        assert_eq!(store.may_enter("ada", &[]), Err(AccountError::SubjectRevoked("ada".to_owned())));
        assert_eq!(store.bind(id(3), "ada").expect("works"), Err(AccountError::BoundToAnother("bob".into())));
        assert!(store.is_revoked(Whom::subject("ada")) && !store.is_revoked(Whom::group("ada")));
    };
    check(&store);
    let store = reopened(store, directory.path());
    check(&store);
    assert_eq!(store.restore(Whom::subject("ada")).expect("works"), Ok(()));
    assert_eq!(store.restore(Whom::subject("ada")).expect("works"), Err(AccountError::NotRevoked));
    let store = reopened(store, directory.path());
    assert!(!store.is_revoked(Whom::subject("ada")), "nor does the journal bring it back");
    assert_eq!(store.status(id(1)), Some(DeviceStatus::Revoked), "devices stay out");
    assert_eq!(
        store.enrol(invite(4).id(), &device(4)).expect("works"),
        Err(CloseCode::InviteExpired),
        "and so does a link from before"
    );
    let_in(&store, 5, &terms("ada", &[]));
    assert_eq!(whose(&store, 5).as_deref(), Some("ada"));
}

#[test]
fn a_revoked_group_loses_the_devices_of_all_who_are_in_it_and_lets_in_nobody_who_is() {
    let (_directory, store) = store();
    let_in(&store, 1, &terms("ada", &["staff", "guests"]));
    let_in(&store, 2, &terms("bob", &["guests"]));
    let_in(&store, 3, &terms("cleo", &["staff"]));
    assert!(store.add_invite_of(id(2), &invite(4), DAY, 5).expect("works"));
    store.enrol(invite(4).id(), &device(4)).expect("works").expect("enrolled");
    assert_eq!(store.revoke(Whom::group("guests")), Revocation::Stored);
    let revoked = |seed| store.status(id(seed)) == Some(DeviceStatus::Revoked);
    assert!(revoked(1) && revoked(2) && !revoked(3) && !revoked(4));
    assert_eq!(store.left_by(&[id(1), id(2)]), [id(4)], "whom it had let in is told");
    assert!(matches!(store.may_enter("ada", &[]), Err(AccountError::GroupRevoked(_))), "as long as she is in it");
    let groups = ["guests".to_owned()];
    assert!(matches!(store.may_enter("cleo", &groups), Err(AccountError::GroupRevoked(_))));
    assert!(matches!(store.change_groups("cleo", &groups, &[]).expect("works"), Err(AccountError::GroupRevoked(_))));
    store.change_groups("ada", &[], &groups).expect("works").expect("taken out");
    assert_eq!(store.may_enter("ada", &[]), Ok(()));
    // The whole branch: what had been left before goes too.
    assert_eq!(store.revoke(Whom::group("guests").with_descendants()), Revocation::Stored);
    assert!(revoked(4) && !revoked(3));
}

#[test]
fn nobody_slips_in_while_his_subject_or_his_branch_is_revoked() {
    for round in 0..40 {
        let (directory, store) = store();
        let_in(&store, 100, &Terms::default());
        for seed in 0..8 {
            if seed % 2 == 0 {
                store.add_invite_for(&invite(seed), &terms("ada", &[]), DAY).expect("stored");
            } else {
                assert!(store.add_invite_of(id(100), &invite(seed), DAY, 8).expect("works"));
            }
        }
        let (shared, gate) = (&store, &Barrier::new(10));
        thread::scope(|scope| {
            for seed in 0..8 {
                scope.spawn(move || {
                    gate.wait();
                    shared.enrol(invite(seed).id(), &device(seed)).expect("the store works")
                });
            }
            for whom in [Whom::subject("ada"), Whom::device(id(100)).with_descendants()] {
                scope.spawn(move || {
                    gate.wait();
                    thread::sleep(Duration::from_micros(round * 150));
                    assert_ne!(shared.revoke(whom), Revocation::Unknown);
                });
            }
        });
        let is_in =
            |store: &Store| (0..8).filter(|seed| store.status(id(*seed)) == Some(DeviceStatus::Enrolled)).count();
        assert_eq!(is_in(&store), 0, "round {round}");
        let store = reopened(store, directory.path());
        assert_eq!(is_in(&store), 0, "round {round}, in the file");
    }
}

#[test]
fn a_withdrawn_invite_lets_nobody_in_and_makes_room() {
    let (directory, store) = store();
    store.add_invite_for(&invite(1), &terms("ada", &["staff"]), DAY).expect("stored");
    let_in(&store, 2, &Terms::default());
    assert!(store.add_invite_of(id(2), &invite(3), DAY, 1).expect("works"));
    assert!(!store.add_invite_of(id(2), &invite(4), DAY, 1).expect("works"));
    for seed in [1, 3] {
        assert_eq!(store.withdraw_invite(invite(seed).id()).expect("works"), Withdrawal::Done);
        assert_eq!(store.withdraw_invite(invite(seed).id()).expect("works"), Withdrawal::Done, "once more");
        assert_eq!(store.enrol(invite(seed).id(), &device(seed)).expect("works"), Err(CloseCode::InviteExpired));
    }
    assert!(store.add_invite_of(id(2), &invite(4), DAY, 1).expect("works"));
    assert_eq!(store.withdraw_invite(invite(2).id()).expect("works"), Withdrawal::UsedBy(id(2)));
    assert_eq!(store.withdraw_invite(InviteId([9; 16])).expect("works"), Withdrawal::Unknown);
    let store = reopened(store, directory.path());
    let invites = store.invites().expect("readable");
    let told: Vec<_> = [1, 2, 3, 4]
        .iter()
        .map(|seed| {
            let it = invites.iter().find(|it| it.id == invite(*seed).id()).expect("kept");
            (it.is_good, it.withdrawn_at.is_some(), it.used_by, it.made_by)
        })
        .collect();
    let maker = Some(id(2));
    assert_eq!(told[..2], [(false, true, None, None), (false, false, maker, None)]);
    assert_eq!(told[3], (true, false, None, maker));
    assert!(invites.iter().any(|it| it.terms == terms("ada", &["staff"])));
    assert!(store.accounts().is_empty(), "nobody came in by it");
}

#[test]
fn when_a_device_was_last_here_outlives_the_server() {
    let (directory, store) = store();
    let_in(&store, 1, &Terms::default());
    assert!(store.last_seen().expect("readable").is_empty());
    store.note_seen(id(1));
    let seen = store.last_seen().expect("readable");
    assert!(seen[&id(1).0] > 1_700_000_000, "at once");
    store.keep_seen(true);
    let store = reopened(store, directory.path());
    assert_eq!(store.last_seen().expect("readable"), seen);
}

#[test]
fn a_store_of_the_time_before_accounts_is_taken_over() {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let path = directory.path().join("store.redb");
    // Written by the last build that had none: devices 1, 2 (revoked), 3 and 4 (let in by 1); the owner's invite 10, and 11,
    // which device 1 has made.
    std::fs::write(&path, include_bytes!("../../../../testdata/store-v1.redb")).expect("written");
    let store = Store::open(&path).expect("taken over");
    let enrolled = Some(DeviceStatus::Enrolled);
    let expected = [enrolled, Some(DeviceStatus::Revoked), enrolled, enrolled, None];
    assert_eq!([1, 2, 3, 4, 5].map(|seed| store.status(id(seed))), expected);
    assert_eq!(store.invited_by(id(4)), Some(id(1)));
    assert_eq!(store.address().expect("readable").as_deref(), Some("https://line.example/"));
    for seed in [10, 11] {
        assert_eq!(store.enrol(invite(seed).id(), &device(seed)).expect("works"), Ok(()), "{seed}");
        assert_eq!(store.known(id(seed)), Known::default());
    }
    assert_eq!(store.invites().expect("readable").len(), 6);
    assert_eq!(store.bind(id(1), "ada").expect("works"), Ok(true));
    let store = reopened(store, directory.path());
    assert_eq!(whose(&store, 1).as_deref(), Some("ada"));
    assert_eq!(store.revoke(Whom::device(id(1)).with_descendants()), Revocation::Stored);
    assert_eq!([4, 11].map(|seed| store.status(id(seed))), [Some(DeviceStatus::Revoked); 2]);
}
