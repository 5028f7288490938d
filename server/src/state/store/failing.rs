//! Tests only: the store on disks that fail, fill up and are slow.

use std::{
    io,
    path::Path,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::Duration,
};

use duologue::{CloseCode, DeviceId};
use redb::StorageBackend;

use super::{
    AccountError, DeviceStatus, Notice, PasskeyError, Revocation, Store, StoreError, Terms, Whom,
    passkeys::tests::passkey,
    tests::{DAY, device, invite},
};

/// A disk in memory, which outlives the store that is on it.
#[derive(Debug, Default)]
struct Disk {
    bytes: Mutex<Vec<u8>>,
    /// What every write says: an error of the system, by its number; none if 0.
    error: AtomicU64,
    /// Whether reads fail as well.
    reads_fail: AtomicBool,
    sync_millis: AtomicU64,
    syncs: AtomicU64,
}

const EIO: u64 = 5;
const ENOSPC: u64 = 28;

impl Disk {
    fn fails_with(&self, error: u64) {
        self.error.store(error, Ordering::Relaxed);
    }

    fn syncs(&self) -> u64 {
        self.syncs.load(Ordering::Relaxed)
    }

    fn bytes(&self) -> MutexGuard<'_, Vec<u8>> {
        self.bytes.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn may_write(&self) -> io::Result<()> {
        match self.error.load(Ordering::Relaxed) {
            0 => Ok(()),
            error => Err(io::Error::from_raw_os_error(i32::try_from(error).expect("small"))),
        }
    }
}

#[derive(Debug)]
struct Handle(Arc<Disk>);

impl StorageBackend for Handle {
    fn len(&self) -> io::Result<u64> {
        Ok(self.0.bytes().len() as u64)
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        if self.0.reads_fail.load(Ordering::Relaxed) {
            self.0.may_write()?;
        }
        let at = usize::try_from(offset).expect("it fits into memory");
        let bytes = self.0.bytes();
        out.copy_from_slice(bytes.get(at..at + out.len()).ok_or(io::ErrorKind::UnexpectedEof)?);
        Ok(())
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.0.may_write()?;
        self.0.bytes().resize(usize::try_from(len).expect("it fits into memory"), 0);
        Ok(())
    }

    fn sync_data(&self) -> io::Result<()> {
        self.0.may_write()?;
        self.0.syncs.fetch_add(1, Ordering::Relaxed);
        std::thread::sleep(Duration::from_millis(self.0.sync_millis.load(Ordering::Relaxed)));
        Ok(())
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        self.0.may_write()?;
        let at = usize::try_from(offset).expect("it fits into memory");
        let mut bytes = self.0.bytes();
        bytes.get_mut(at..at + data.len()).ok_or(io::ErrorKind::UnexpectedEof)?.copy_from_slice(data);
        Ok(())
    }
}

fn open(disk: &Arc<Disk>, directory: &Path) -> Result<Store, StoreError> {
    let disk = Arc::clone(disk);
    let opener = move || -> io::Result<Box<dyn StorageBackend>> { Ok(Box::new(Handle(Arc::clone(&disk)))) };
    Store::open_by(&directory.join("store.redb"), opener)
}

/// A store with the devices 1 to 9, on a disk that works, with its journal in a directory.
fn store() -> (tempfile::TempDir, Arc<Disk>, Store) {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let disk = Arc::new(Disk::default());
    let store = open(&disk, directory.path()).expect("a new store");
    for seed in 1..10 {
        enrol(&store, seed).expect("the store works").expect("enrolled");
    }
    (directory, disk, store)
}

fn enrol(store: &Store, seed: u8) -> Result<Result<(), CloseCode>, StoreError> {
    store.add_invite(&invite(seed), DAY)?;
    store.enrol(invite(seed).id(), &device(seed))
}

fn id(seed: u8) -> DeviceId {
    DeviceId(device(seed).id)
}

/// What devices have it opened anew for waits for its time; the owner does not.
fn mended(store: &Store) {
    while !store.mend() {
        std::thread::sleep(Duration::from_millis(20));
    }
}

#[test]
fn after_a_failed_write_all_goes_on_without_a_restart() {
    for error in [EIO, ENOSPC] {
        let (directory, disk, store) = store();
        disk.fails_with(error);
        assert!(enrol(&store, 20).is_err(), "nothing can be written");
        // It once ended here: "Previous I/O error occurred", for everybody and for good.
        assert!(matches!(store.revoke(id(1)), Revocation::Journalled(_)));
        assert_eq!(store.status(id(1)), Some(DeviceStatus::Revoked));
        assert_eq!(store.enrol(invite(1).id(), &device(1)).expect("memory knows"), Err(CloseCode::DeviceRevoked));
        assert!(!store.mend(), "the disk fails still");
        let devices = store.devices().expect("it can be read all the same");
        let revoked = devices.iter().filter(|device| device.status == DeviceStatus::Revoked);
        assert_eq!((devices.len(), revoked.count()), (9, 1));
        assert_eq!(store.not_stored(), (1, 0));
        disk.fails_with(0);
        mended(&store);
        assert_eq!(store.not_stored(), (0, 0), "the store has it, by itself");
        enrol(&store, 21).expect("the store works").expect("enrolled");
        let devices = store.devices().expect("readable");
        assert_eq!(devices.len(), 10, "nobody was lost");
        drop(store);
        let store = open(&disk, directory.path()).expect("the same store");
        assert_eq!(store.status(id(1)), Some(DeviceStatus::Revoked));
        assert_eq!(store.status(id(21)), Some(DeviceStatus::Enrolled));
        assert_eq!(store.notices().waiting(), [], "it is no older copy");
    }
}

#[test]
fn a_store_that_is_opened_anew_takes_back_no_revocation() {
    let (_directory, disk, store) = store();
    disk.fails_with(EIO);
    assert!(matches!(store.revoke(id(2)), Revocation::Journalled(_)));
    // Devices go on asking, and each failure has the file opened anew once more; in it, the device is enrolled.
    for round in 0..3 {
        disk.fails_with(0);
        // Not `mend`, which would store it: a question alone.
        while store.address().is_err() {
            std::thread::sleep(Duration::from_millis(20));
        }
        assert_eq!(store.status(id(2)), Some(DeviceStatus::Revoked), "round {round}");
        let devices = store.devices().expect("readable");
        let listed = devices.iter().find(|device| device.id == id(2).0).expect("it is listed");
        assert_eq!(listed.status, DeviceStatus::Revoked);
        disk.fails_with(EIO);
        assert!(enrol(&store, 30).is_err());
    }
}

#[test]
fn a_revocation_that_only_the_journal_has_is_in_force_at_the_next_start() {
    let (directory, disk, store) = store();
    disk.fails_with(EIO);
    assert!(matches!(store.revoke(id(3)), Revocation::Journalled(_)));
    drop(store);
    disk.fails_with(0);
    // The file says that it is enrolled; the journal is read before anybody is let in.
    let store = open(&disk, directory.path()).expect("the same store");
    assert_eq!(store.status(id(3)), Some(DeviceStatus::Revoked));
    assert_eq!(store.not_stored(), (0, 0), "and the store has it now");
    drop(store);
    // Also without the journal, and nobody is suspicious.
    std::fs::remove_file(directory.path().join("revocations.journal")).expect("removed");
    let store = open(&disk, directory.path()).expect("the same store");
    assert_eq!((store.status(id(3)), store.notices().waiting()), (Some(DeviceStatus::Revoked), vec![]));
}

/// Lets a device in for a subject that is in a group.
fn enrol_for(store: &Store, seed: u8, subject: &str) {
    let terms = Terms { subject: Some(subject.to_owned()), groups: vec!["staff".to_owned()], ..Terms::default() };
    store.add_invite_for(&invite(seed), &terms, DAY).expect("stored");
    store.enrol(invite(seed).id(), &device(seed)).expect("the store works").expect("enrolled");
}

#[test]
fn a_name_that_only_the_journal_has_is_refused_at_the_next_start_with_all_its_devices() {
    let whom = [Whom::subject("ada"), Whom::group("staff"), Whom::device(id(20)).with_descendants()];
    for whom in whom {
        let (directory, disk, store) = store();
        enrol_for(&store, 20, "ada");
        enrol_for(&store, 21, "ada");
        for seed in 22..30 {
            assert!(store.add_invite_of(id(20), &invite(seed), DAY, 8).expect("the store works"));
            store.enrol(invite(seed).id(), &device(seed)).expect("the store works").expect("enrolled");
        }
        disk.fails_with(ENOSPC);
        assert!(matches!(store.revoke(whom), Revocation::Journalled(_)), "{whom:?}");
        assert_eq!(store.journal().entries().count(), 1, "one slot, however many devices it is of");
        let revoked = |store: &Store, seed: u8| store.status(id(seed)) == Some(DeviceStatus::Revoked);
        let of_it = |store: &Store| (20..30).filter(|seed| revoked(store, *seed)).count();
        let count = of_it(&store);
        assert_eq!(count, if whom.one_device().is_some() { 9 } else { 2 }, "{whom:?}");
        drop(store);
        disk.fails_with(0);
        let store = open(&disk, directory.path()).expect("the same store");
        assert_eq!((of_it(&store), store.not_stored()), (count, (0, 0)), "{whom:?}");
        assert!(store.is_revoked(whom), "{whom:?}");
        assert_eq!(store.status(id(1)), Some(DeviceStatus::Enrolled));
        drop(store);
        std::fs::remove_file(directory.path().join("revocations.journal")).expect("removed");
        let store = open(&disk, directory.path()).expect("the same store");
        assert_eq!(of_it(&store), count, "the store has it too");
    }
}

#[test]
fn a_name_cannot_be_restored_before_its_revocation_is_stored() {
    let (_directory, disk, store) = store();
    enrol_for(&store, 20, "ada");
    disk.fails_with(EIO);
    assert!(matches!(store.revoke(Whom::subject("ada")), Revocation::Journalled(_)));
    assert_eq!(store.restore(Whom::subject("ada")).expect("memory knows"), Err(AccountError::RevocationUnderWay));
    disk.fails_with(0);
    mended(&store);
    assert_eq!(store.restore(Whom::subject("ada")).expect("the store works"), Ok(()));
}

#[test]
fn an_older_copy_of_the_store_refuses_the_names_that_were_revoked_since() {
    let (directory, disk, store) = store();
    enrol_for(&store, 20, "ada");
    let copy = disk.bytes().clone();
    assert_eq!(store.revoke(Whom::subject("ada")), Revocation::Stored);
    assert_eq!(store.revoke(Whom::token("a7")), Revocation::Stored);
    drop(store);
    *disk.bytes() = copy;
    let store = open(&disk, directory.path()).expect("the copy");
    let told = store.notices().waiting();
    let again = ["the account \"ada\"", "a token"].map(|whom| Notice::RevokedAgain(whom.to_owned()));
    assert!(matches!(told[0], Notice::Older(_)) && told[1..] == again, "{told:?}");
    assert_eq!(store.status(id(20)), Some(DeviceStatus::Revoked));
    assert!(store.is_revoked(Whom::subject("ada")) && store.is_revoked(Whom::token("a7")));
}

#[test]
fn who_removes_a_passkey_of_their_own_takes_none_of_the_room_that_is_kept_for_the_owner() {
    let (directory, disk, store) = store();
    let passkey = passkey("ada", 1, 0);
    store.add_passkey(&passkey, false).expect("the store works").expect("the first");
    let reserve = directory.path().join("reserve");
    std::fs::write(&reserve, "room").expect("there is room");
    disk.fails_with(ENOSPC);
    assert!(matches!(store.remove_own_passkey("ada", &passkey.short_id()), Err(StoreError::Full)));
    assert!(reserve.exists(), "it is the owner's");
    disk.fails_with(0);
    mended(&store);
    assert_eq!(store.remove_own_passkey("bob", &passkey.short_id()).expect("the store works"), None, "another's");
    assert_eq!(store.remove_own_passkey("ada", &passkey.short_id()).expect("the store works"), Some(passkey));
}

#[test]
fn where_nothing_can_be_written_a_revocation_is_in_force_and_says_that_it_is_not_on_disk() {
    let (directory, disk, store) = store();
    let path = directory.path().join("revocations.journal");
    disk.fails_with(ENOSPC);
    store.journal().break_down(&path);
    let Revocation::NotOnDisk(why) = store.revoke(id(4)) else { panic!("it cannot be on disk") };
    assert!(why.starts_with("the journal cannot be written"), "{why}");
    assert_eq!(store.status(id(4)), Some(DeviceStatus::Revoked));
    assert_eq!(store.not_stored(), (1, 1));
    assert!(matches!(store.revoke(id(4)), Revocation::NotOnDisk(_)), "asked again, it says the same");
    store.journal().mend(&path);
    assert!(matches!(store.revoke(id(4)), Revocation::Journalled(_)));
    disk.fails_with(0);
    mended(&store);
    assert_eq!(store.revoke(id(4)), Revocation::Stored);
}

#[test]
fn a_disk_that_cannot_be_read_keeps_nobody_from_being_revoked_either() {
    let (_directory, disk, store) = store();
    disk.reads_fail.store(true, Ordering::Relaxed);
    disk.fails_with(EIO);
    assert!(enrol(&store, 20).is_err());
    assert!(matches!(store.revoke(id(5)), Revocation::Journalled(_)));
    assert!(store.devices().is_err());
    disk.fails_with(0);
    mended(&store);
    assert_eq!(store.devices().expect("readable").len(), 9);
    assert_eq!(store.revoke(id(5)), Revocation::Stored);
}

#[test]
fn links_that_a_revoked_device_has_made_are_dead_before_the_store_knows() {
    let (_directory, disk, store) = store();
    assert!(store.add_invite_of(id(6), &invite(60), DAY, 5).expect("the store works"));
    disk.fails_with(EIO);
    assert!(matches!(store.revoke(id(6)), Revocation::Journalled(_)));
    disk.fails_with(0);
    while store.address().is_err() {
        std::thread::sleep(Duration::from_millis(20));
    }
    assert_eq!(store.not_stored(), (1, 0), "the file knows the link and its maker as they were");
    assert_eq!(store.enrol(invite(60).id(), &device(60)).expect("the store works"), Err(CloseCode::NotEnrolled));
}

#[test]
fn a_question_that_changes_nothing_costs_no_sync() {
    let (_directory, disk, store) = store();
    for seed in 50..55 {
        assert!(store.add_invite_of(id(7), &invite(seed), DAY, 5).expect("the store works"));
    }
    store.add_invite(&invite(70), Duration::ZERO).expect("the store works");
    store.set_address("https://line.example/").expect("the store works");
    let before = disk.syncs();
    assert!(!store.add_invite_of(id(7), &invite(56), DAY, 5).expect("readable"), "it has five");
    assert!(!store.add_invite_of(id(99), &invite(56), DAY, 5).expect("readable"), "it is not known");
    for (link, who, verdict) in [
        (1, 99, Err(CloseCode::InviteUsed)),
        (70, 99, Err(CloseCode::InviteExpired)),
        (98, 99, Err(CloseCode::NotEnrolled)),
        (50, 1, Ok(())),
    ] {
        assert_eq!(store.enrol(invite(link).id(), &device(who)).expect("readable"), verdict);
    }
    store.set_address("https://line.example/").expect("readable");
    assert_eq!(store.revoke(DeviceId([9; 32])), Revocation::Unknown);
    assert_eq!(disk.syncs(), before);
}

/// Each try of a person with a passkey once cost a sync.
#[test]
fn what_is_refused_of_passkeys_costs_no_sync() {
    let (_directory, disk, store) = store();
    let before = disk.syncs();
    let [first, other, counted] = [passkey("ada", 1, 0), passkey("ada", 2, 0), passkey("ada", 3, 7)];
    assert_eq!(store.use_passkey("ada", first.id(), 1, false).expect("readable"), Err(PasskeyError::Unknown));
    assert_eq!(store.remove_own_passkey("ada", &first.short_id()).expect("readable"), None);
    assert_eq!(store.remove_passkeys("ada", |_| true).expect("readable"), []);
    assert_eq!(disk.syncs(), before, "nobody has any");
    for passkey in [&first, &counted] {
        store.add_passkey(passkey, true).expect("the store works").expect("there is room");
    }
    let before = disk.syncs();
    assert_eq!(store.add_passkey(&other, false).expect("readable"), Err(PasskeyError::NotPresent));
    assert_eq!(store.add_passkey(&first, true).expect("readable"), Err(PasskeyError::Known));
    assert_eq!(store.use_passkey("ada", counted.id(), 7, false).expect("readable"), Err(PasskeyError::Copied));
    assert_eq!(store.use_passkey("bob", first.id(), 1, false).expect("readable"), Err(PasskeyError::Unknown));
    assert_eq!(store.remove_own_passkey("bob", &first.short_id()).expect("readable"), None);
    assert_eq!(disk.syncs(), before);
}

/// Those who write all the time end with the test, however that ends.
struct Ends<'a>(&'a AtomicBool);

impl Drop for Ends<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

#[test]
fn the_owner_waits_for_one_device_and_never_for_all() {
    let (_directory, disk, store) = store();
    disk.sync_millis.store(8, Ordering::Relaxed);
    let store = &store;
    let stop = &AtomicBool::new(false);
    std::thread::scope(|scope| {
        let _ends = Ends(stop);
        // Each wants to write all the time: what they have asked for before is in the owner's way, were it first come, first
        // served.
        for thread in 0..32_u8 {
            scope.spawn(move || {
                let mut seed = [thread; 32];
                for round in 0_u64.. {
                    if stop.load(Ordering::Relaxed) {
                        break;
                    }
                    seed[..8].copy_from_slice(&round.to_be_bytes());
                    let link = duologue::Invite::new(seed, duologue::ServerKey([0; 32]));
                    let _ = store.add_invite_of(id(1 + thread % 8), &link, DAY, usize::MAX);
                }
            });
        }
        let begun = disk.syncs();
        while disk.syncs() < begun + 20 {
            std::thread::yield_now();
        }
        let of_one = {
            // What one commit costs, alone.
            let quiet = Arc::new(Disk::default());
            let directory = tempfile::tempdir().expect("a temporary directory");
            let alone = open(&quiet, directory.path()).expect("a new store");
            let before = quiet.syncs();
            alone.set_address("https://line.example/").expect("the store works");
            quiet.syncs() - before
        };
        for seed in 1..9 {
            let before = disk.syncs();
            assert_eq!(store.revoke(id(seed)), Revocation::Stored);
            // The commit that was under way, one that slipped in before the owner asked, and its own.
            let waited = disk.syncs() - before;
            assert!(waited <= 4 * of_one, "it waited for {waited} syncs, where a commit takes {of_one}");
        }
    });
}
