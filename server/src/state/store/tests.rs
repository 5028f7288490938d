//! The store over a file, and over disks that fail.

use std::sync::Arc;

use duologue::{CloseCode, DeviceKey, Invite, ServerKey, SignatureAlgorithm};

use super::{super::records::encode, *};

pub(super) fn store() -> (tempfile::TempDir, Store) {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let store = Store::open(&directory.path().join("store.redb")).expect("a new store");
    (directory, store)
}

pub(super) fn device(seed: u8) -> Device {
    let spki = [SignatureAlgorithm::Ed25519.spki_prefix(), &[seed; 32]].concat();
    Device::new(&DeviceKey::new(SignatureAlgorithm::Ed25519, spki).expect("an SPKI"), "test")
}

pub(super) fn invite(seed: u8) -> Invite {
    Invite::new([seed; 32], ServerKey([0; 32]))
}

pub(super) const DAY: Duration = Duration::from_secs(86_400);

#[test]
fn of_a_hundred_devices_that_race_for_an_invite_one_wins() {
    let (_directory, store) = store();
    let store = Arc::new(store);
    store.add_invite(&invite(1), DAY).expect("stored");
    let racers: Vec<_> = (0..100)
        .map(|seed| {
            let store = Arc::clone(&store);
            std::thread::spawn(move || store.enrol(invite(1).id(), &device(seed)).expect("the store works"))
        })
        .collect();
    let verdicts: Vec<_> = racers.into_iter().map(|racer| racer.join().expect("no panic")).collect();
    assert_eq!(verdicts.iter().filter(|verdict| verdict.is_ok()).count(), 1);
    assert_eq!(verdicts.iter().filter(|verdict| **verdict == Err(CloseCode::InviteUsed)).count(), 99);
    assert_eq!(store.devices().expect("readable").len(), 1);
}

#[test]
fn the_same_device_may_use_its_invite_again() {
    let (_directory, store) = store();
    store.add_invite(&invite(1), DAY).expect("stored");
    for _ in 0..3 {
        assert_eq!(store.enrol(invite(1).id(), &device(1)).expect("the store works"), Ok(()));
    }
}

#[test]
fn an_expired_or_unknown_invite_enrols_nobody() {
    let (_directory, store) = store();
    store.add_invite(&invite(1), Duration::ZERO).expect("stored");
    assert_eq!(store.enrol(invite(1).id(), &device(1)).expect("works"), Err(CloseCode::InviteExpired));
    assert_eq!(store.enrol(invite(2).id(), &device(1)).expect("works"), Err(CloseCode::NotEnrolled));
    assert!(store.devices().expect("readable").is_empty());
}

#[test]
fn a_revoked_device_does_not_come_back_by_a_new_invite() {
    let (_directory, store) = store();
    store.add_invite(&invite(1), DAY).expect("stored");
    store.enrol(invite(1).id(), &device(1)).expect("works").expect("enrolled");
    assert_eq!(store.revoke(DeviceId(device(1).id)), Revocation::Stored);
    store.add_invite(&invite(2), DAY).expect("stored");
    assert_eq!(store.enrol(invite(2).id(), &device(1)).expect("works"), Err(CloseCode::DeviceRevoked));
    assert_eq!(store.revoke(DeviceId([9; 32])), Revocation::Unknown);
}

#[test]
fn what_is_known_of_a_device_outlives_the_server() {
    let (directory, store) = store();
    let [one, two, stranger] = [1, 2, 3].map(|seed| DeviceId(device(seed).id));
    for seed in [1, 2] {
        store.add_invite(&invite(seed), DAY).expect("stored");
        store.enrol(invite(seed).id(), &device(seed)).expect("works").expect("enrolled");
    }
    assert_eq!(store.revoke(two), Revocation::Stored);
    let expected = [Some(DeviceStatus::Enrolled), Some(DeviceStatus::Revoked), None];
    assert_eq!([one, two, stranger].map(|id| store.status(id)), expected);
    drop(store);
    let store = Store::open(&directory.path().join("store.redb")).expect("the same store");
    assert_eq!([one, two, stranger].map(|id| store.status(id)), expected);
}

#[test]
fn a_device_has_so_many_live_invites_and_none_once_it_is_revoked() {
    let (_directory, store) = store();
    let stranger = DeviceId(device(9).id);
    assert!(!store.add_invite_of(stranger, &invite(1), DAY, 2).expect("works"), "it is not enrolled");
    store.add_invite(&invite(1), DAY).expect("stored");
    store.enrol(invite(1).id(), &device(1)).expect("works").expect("enrolled");
    let maker = DeviceId(device(1).id);
    assert!(store.add_invite_of(maker, &invite(2), DAY, 2).expect("works"));
    assert!(store.add_invite_of(maker, &invite(3), DAY, 2).expect("works"));
    assert!(!store.add_invite_of(maker, &invite(4), DAY, 2).expect("works"), "two are enough");
    // One that was used, and one that has expired, make room.
    store.enrol(invite(2).id(), &device(2)).expect("works").expect("enrolled");
    assert!(store.add_invite_of(maker, &invite(5), Duration::ZERO, 2).expect("works"));
    assert!(store.add_invite_of(maker, &invite(6), DAY, 2).expect("works"));
    assert!(!store.add_invite_of(maker, &invite(7), DAY, 2).expect("works"));
    assert_eq!(store.enrol(invite(7).id(), &device(7)).expect("works"), Err(CloseCode::NotEnrolled));
    // What it has made goes with it; who came by it before stays.
    assert_eq!(store.revoke(maker), Revocation::Stored);
    for seed in [3, 6] {
        assert_eq!(store.enrol(invite(seed).id(), &device(seed)).expect("works"), Err(CloseCode::NotEnrolled));
    }
    assert!(!store.add_invite_of(maker, &invite(8), DAY, 2).expect("works"));
    assert_eq!(store.status(DeviceId(device(2).id)), Some(DeviceStatus::Enrolled));
}

/// Each device that came let in ten more, at once, and so on: one that was stolen had as many as it liked.
#[test]
fn a_branch_lets_in_no_more_in_a_day_however_it_grows() {
    let (_directory, store) = store();
    store.add_invite(&invite(1), DAY).expect("stored");
    store.enrol(invite(1).id(), &device(1)).expect("works").expect("enrolled");
    let (mut makers, mut next) = (vec![1], 2);
    while let Some(maker) = makers.pop() {
        let mut links = Vec::new();
        // All its links are out before one of them is used.
        while store.add_invite_of(DeviceId(device(maker).id), &invite(next), DAY, 5).expect("works") {
            links.push(next);
            next += 1;
        }
        for seed in links {
            store.enrol(invite(seed).id(), &device(seed)).expect("works").expect("enrolled");
            makers.push(seed);
        }
    }
    assert_eq!(store.devices().expect("readable").len(), 1 + 64);
    store.add_invite(&invite(200), DAY).expect("stored");
    store.enrol(invite(200).id(), &device(200)).expect("works").expect("the owner lets in whom he likes");
    let another = DeviceId(device(200).id);
    assert!(store.add_invite_of(another, &invite(201), DAY, 5).expect("works"), "a branch of its own");
}

#[test]
fn an_older_copy_says_what_it_may_let_in_again_and_lets_in_nobody_who_was_revoked_since() {
    let (directory, store) = store();
    let path = directory.path().join("store.redb");
    for seed in 1..5 {
        store.add_invite(&invite(seed), DAY).expect("stored");
    }
    for seed in 1..4 {
        store.enrol(invite(seed).id(), &device(seed)).expect("works").expect("enrolled");
    }
    drop(store);
    let copy = fs::read(&path).expect("readable");
    let store = Store::open(&path).expect("the same store");
    assert_eq!(store.notices().waiting(), []);
    let [one, two, late] = [1, 2, 4].map(|seed| DeviceId(device(seed).id));
    assert_eq!(store.revoke(one), Revocation::Stored);
    assert_eq!(store.revoke(two), Revocation::Stored);
    store.enrol(invite(4).id(), &device(4)).expect("works").expect("enrolled");
    drop(store);
    fs::write(&path, copy).expect("written");
    let store = Store::open(&path).expect("the copy");
    let told = store.notices().waiting();
    let [Notice::Older(missing), again @ ..] = &told[..] else { panic!("{told:?}") };
    assert!(missing.starts_with("3 of its changes are missing, the last of "), "{missing}");
    assert_eq!(again, [one, two].map(|id| Notice::RevokedAgain(id.to_string())));
    assert_eq!([one, two].map(|id| store.status(id)), [Some(DeviceStatus::Revoked); 2]);
    assert_eq!(store.status(late), None, "it came later, and is not known");
    drop(store);
    let store = Store::open(&path).expect("the copy");
    assert_eq!([one, two].map(|id| store.status(id)), [Some(DeviceStatus::Revoked); 2]);
}

#[test]
fn a_record_that_cannot_be_read_is_an_error_by_name() {
    type Damage = fn(&WriteTransaction);
    let cases: [(Damage, &str); 10] = [
        (
            |write| drop(write.open_table(DEVICES).expect("opens").insert([7; 32], &b"?"[..]).expect("inserts")),
            "the record 0707070707070707… of the table devices in it cannot be read",
        ),
        (
            |write| drop(write.open_table(INVITES).expect("opens").insert([8; 16], &b"?"[..]).expect("inserts")),
            "of the table invites in it cannot be read",
        ),
        (
            |write| drop(write.open_table(TERMS).expect("opens").insert([8; 16], &b"?"[..]).expect("inserts")),
            "of the table terms in it cannot be read",
        ),
        (
            |write| drop(write.open_table(ACCOUNTS).expect("opens").insert(&b"ada"[..], &b"?"[..]).expect("inserts")),
            "the record 616461… of the table accounts in it cannot be read",
        ),
        (
            |write| drop(write.open_table(BINDINGS).expect("opens").insert([7; 32], &b"?"[..]).expect("inserts")),
            "of the table bindings in it cannot be read",
        ),
        (
            |write| drop(write.open_table(OPENINGS).expect("opens").insert([7; 32], &b"?"[..]).expect("inserts")),
            "of the table openings in it cannot be read",
        ),
        (
            |write| drop(write.open_table(REFUSED).expect("opens").insert((9, [7; 32]), 1).expect("inserts")),
            "a key of the kind 9 of the table refused in it cannot be read",
        ),
        (
            |write| drop(write.open_table(KEYS).expect("opens").insert([7; 32], ([7; 32], 9, 1)).expect("inserts")),
            "a fate 9 of the table keys in it cannot be read",
        ),
        (
            |write| drop(write.open_table(SETTINGS).expect("opens").insert(VERSION_KEY, "5").expect("inserts")),
            "it is of version 5, and this duologue knows none after 4",
        ),
        (
            |write| drop(write.open_table(SETTINGS).expect("opens").insert(VERSION_KEY, "new").expect("inserts")),
            "the setting version in it cannot be read",
        ),
    ];
    for (damage, words) in cases {
        let (directory, store) = store();
        store.add_invite(&invite(1), DAY).expect("stored");
        store.enrol(invite(1).id(), &device(1)).expect("works").expect("enrolled");
        drop(store);
        let path = directory.path().join("store.redb");
        let database = redb::Database::create(&path).expect("opens");
        let write = database.begin_write().expect("begins");
        damage(&write);
        write.commit().expect("commits");
        drop(database);
        let error = Store::open(&path).expect_err("damaged").to_string();
        assert!(error.contains(words), "{words}: {error}");
    }
}

#[test]
fn a_damaged_journal_stops_the_start_by_name() {
    let (directory, store) = store();
    drop(store);
    let journal = directory.path().join("revocations.journal");
    fs::write(&journal, b"short").expect("written");
    let error = Store::open(&directory.path().join("store.redb")).expect_err("damaged").to_string();
    assert!(error.contains(&journal.display().to_string()) && error.contains("move it away"), "{error}");
}

#[test]
fn a_store_of_the_time_before_versions_is_taken_over() {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let path = directory.path().join("store.redb");
    let database = redb::Database::create(&path).expect("made");
    let write = database.begin_write().expect("begins");
    write.open_table(DEVICES).expect("opens").insert(device(1).id, encode(&device(1)).as_slice()).expect("inserts");
    drop(write.open_table(INVITES).expect("opens"));
    drop(write.open_table(PAIRINGS).expect("opens"));
    write.open_table(SETTINGS).expect("opens").insert(ADDRESS, "https://line.example/").expect("inserts");
    write.commit().expect("commits");
    drop(database);
    let store = Store::open(&path).expect("taken over");
    assert_eq!(store.status(DeviceId(device(1).id)), Some(DeviceStatus::Enrolled));
    assert_eq!(store.address().expect("readable").as_deref(), Some("https://line.example/"));
}

/// A file of version 2, as a server of that time has left it: a device of ada's, two open invites, a ban, a group that was revoked.
fn version_2() -> Vec<u8> {
    let mut bytes = Vec::new();
    let packed = &include_bytes!("../../../testdata/store-v2.redb.gz")[..];
    io::Read::read_to_end(&mut flate2::read::GzDecoder::new(packed), &mut bytes).expect("packed");
    bytes
}

#[test]
fn a_store_of_an_older_version_is_taken_over_and_a_copy_of_it_is_kept() {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let path = directory.path().join("store.redb");
    fs::write(&path, version_2()).expect("written");
    let store = Store::open(&path).expect("taken over");
    let devices = store.devices().expect("readable");
    assert_eq!(devices.iter().map(|device| device.name.as_str()).collect::<Vec<_>>(), ["desk"]);
    assert_eq!(store.known(DeviceId(devices[0].id)).subject.as_deref(), Some("ada"));
    assert!(store.is_revoked(Whom::group("gone")));
    assert_eq!(store.bans().expect("readable").len(), 1);
    assert_eq!(store.invites().expect("readable").iter().filter(|invite| invite.used_by.is_none()).count(), 2);
    let generation = store.generation().expect("readable");
    assert_eq!(generation.len(), 8);
    drop(store);
    // The copy is of that version, and is itself taken over where somebody goes back to it and comes again.
    let copy = directory.path().join("store-v2.redb");
    let mode = std::os::unix::fs::PermissionsExt::mode(&fs::metadata(&copy).expect("kept").permissions());
    assert_eq!(mode & 0o777, 0o600);
    let there = redb::Database::open(&copy).expect("whole");
    let read = redb::ReadableDatabase::begin_read(&there).expect("reads");
    assert_eq!(version(&read).expect("reads"), Some(2));
    drop((read, there));
    // Once: the second start has nothing to take over.
    fs::remove_file(&copy).expect("removed");
    let store = Store::open(&path).expect("opens");
    assert!(!copy.exists());
    assert_eq!(store.generation().expect("readable"), generation);
}

#[test]
fn a_store_of_which_no_copy_can_be_kept_stays_as_it_is() {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let path = directory.path().join("store.redb");
    fs::write(&path, version_2()).expect("written");
    // In the place of the copy.
    fs::create_dir(directory.path().join("store-v2.redb")).expect("made");
    let error = Store::open(&path).expect_err("no copy").to_string();
    assert!(error.contains("no copy of it could be kept in ") && error.contains("store-v2.redb"), "{error}");
    let there = redb::Database::open(&path).expect("whole");
    let read = redb::ReadableDatabase::begin_read(&there).expect("reads");
    assert_eq!(version(&read).expect("reads"), Some(2));
}

#[test]
fn a_store_filled_from_lines_has_the_same_lines_whatever_is_in_it() {
    let (_directory, full) = store();
    for seed in 1..4 {
        let terms = Terms {
            subject: Some(format!("person {seed}")),
            groups: vec!["staff".to_owned()],
            opens: Some(vec!["echo".to_owned(), "app/*".to_owned()]),
            name: Some("desk".to_owned()),
        };
        full.add_invite_for(&invite(seed), &terms, DAY).expect("stored");
        full.enrol(invite(seed).id(), &device(seed)).expect("works").expect("enrolled");
    }
    let ids = [1, 2, 3].map(|seed| DeviceId(device(seed).id));
    assert!(full.add_invite_of(ids[0], &invite(4), DAY, 5).expect("works"));
    full.enrol(invite(4).id(), &device(4)).expect("works").expect("enrolled");
    assert!(full.add_invite_of(ids[1], &invite(5), DAY, 5).expect("works"));
    full.note_signed_out(ids[0]);
    full.note_seen(ids[1]);
    full.revoke(ids[2]);
    full.revoke(Whom::group("gone"));
    full.revoke(Whom::token("a7"));
    full.add_passkey(&passkeys::tests::passkey("person 1", 7, 0), false).expect("works").expect("kept");
    let (since, until) = (1, u64::MAX);
    let ban = StoredBan { whom: "subject eve".to_owned(), since, until, repeats: 2, by: "owner".to_owned() };
    full.change_bans(&[ban], &[]).expect("stored");
    full.set_address("https://line.example/").expect("stored");
    let lines = full.lines().expect("readable");
    let text = String::from_utf8(lines.clone()).expect("text");
    for kind in [
        "setting",
        "device",
        "revoked-device",
        "let-in-by-device",
        "let-in-for",
        "last-seen",
        "signed-out",
        "invite",
        "invite-terms",
        "invite-of-device",
        "account",
        "binding",
        "opens",
        "refused",
        "passkey",
        "ban",
    ] {
        assert!(text.contains(&format!("{{\"kind\":\"{kind}\",")), "{kind}: {text}");
    }
    let (_other, empty) = store();
    let records = || {
        let mut lines = text.lines();
        move || -> Result<Option<Record>, NotTaken> {
            Ok(lines.next().map(|line| serde_json::from_str(line).expect("what is written is read")))
        }
    };
    let counts = empty.fill_from(|_, _| Ok(()), records()).expect("it is good");
    assert_eq!((counts.devices, counts.accounts, counts.passkeys, counts.bans), (4, 3, 1, 1));
    assert_eq!(try_filling(|_, _| Ok(()), records()).expect("it is good"), counts);
    // Reading writes what was noted; nothing was.
    assert_eq!(String::from_utf8(empty.lines().expect("readable")).expect("text"), text);
    // Memory knows it as well, and what is derived.
    assert_eq!(empty.status(ids[2]), Some(DeviceStatus::Revoked));
    assert_eq!(empty.invited_by(DeviceId(device(4).id)), Some(ids[0]));
    assert_eq!(empty.known(ids[0]).subject.as_deref(), Some("person 1"));
    assert_eq!(empty.passkeys_of("person 1").expect("readable").len(), 1);
    assert!(!empty.add_invite_of(ids[1], &invite(6), DAY, 1).expect("works"), "it has one that is good");
    assert_ne!(empty.generation().expect("readable"), full.generation().expect("readable"));
    // What is not good is not half there.
    let (_third, third) = store();
    let refused =
        third.fill_from(|what, _| if what == Name::Banned { Err("no".to_owned()) } else { Ok(()) }, records());
    assert!(matches!(refused, Err(NotTaken::Because(_))), "{refused:?}");
    assert!(third.devices().expect("readable").is_empty());
}
