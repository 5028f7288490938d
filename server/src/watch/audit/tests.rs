//! The log as it is written, broken off, restored and removed, and what whoever verifies it says.

use std::{
    fs::{self, File},
    path::{Path, PathBuf},
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use duologue::DeviceId;
use tempfile::TempDir;

use super::{
    DIRECTORY, HEAD, Head, LOST, TORN,
    book::Book,
    files, key,
    settings::AuditSettings,
    tail::{AuditEntry, Filter, audit_files, audit_keys, last_head, tail},
    verdict::{Broken, Expected, HeadSeen, Whole, Why},
    verify::verify_files,
    writer::AuditLog,
};
use crate::watch::{
    events::{Event, Kind},
    stream::Watch,
};

const HOUR: Duration = Duration::from_secs(60 * 60);
const DAY: Duration = Duration::from_secs(24 * 60 * 60);

/// A log in a directory of its own, and a clock.
struct Desk {
    state: TempDir,
    settings: AuditSettings,
    now: SystemTime,
    log: Option<AuditLog>,
}

impl Desk {
    fn new(settings: AuditSettings) -> Self {
        let state = tempfile::tempdir().expect("a temporary directory");
        let now = UNIX_EPOCH + Duration::from_secs(1_796_000_000);
        let mut desk = Self { state, settings, now, log: None };
        desk.open();
        desk
    }

    fn open(&mut self) {
        self.log = Some(
            AuditLog::open(self.state.path(), self.settings.clone(), &Watch::default(), self.now).expect("opened"),
        );
    }

    /// As a kill leaves it: nothing is written any more.
    fn kill(&mut self) {
        self.log = None;
    }

    fn log(&mut self) -> &mut AuditLog {
        self.log.as_mut().expect("it is open")
    }

    fn directory(&self) -> PathBuf {
        self.state.path().join(DIRECTORY)
    }

    fn tell(&mut self, count: u8) {
        for number in 0..count {
            let now = self.now;
            let mut event = Event::of(Kind::OwnerRevoked).device(DeviceId([number; 32])).note("by=uid 0");
            event.at = now;
            self.log().tell(&event, now);
        }
    }

    fn pass(&mut self, time: Duration) {
        self.now += time;
        let now = self.now;
        self.log().look(now);
    }

    fn verify(&self, expected: Expected) -> Result<Whole, Broken> {
        verify_files(&audit_files(&self.directory()).expect("readable"), expected)
    }

    fn whole(&self) -> Whole {
        let (key, _) = audit_keys(&self.directory()).expect("readable").expect("a key");
        self.verify(Expected { key: Some(key), head: None }).unwrap_or_else(|broken| panic!("{broken}"))
    }

    fn entries(&self) -> Vec<AuditEntry> {
        let files = audit_files(&self.directory()).expect("readable");
        tail(&files, None, &Filter::default(), 100_000).expect("readable")
    }

    fn kinds(&self) -> Vec<String> {
        self.entries().into_iter().map(|entry| entry.kind).collect()
    }

    fn newest(&self) -> PathBuf {
        audit_files(&self.directory()).expect("readable").pop().expect("a file")
    }
}

fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).expect("made");
    for entry in fs::read_dir(from).expect("readable") {
        let path = entry.expect("readable").path();
        fs::copy(&path, to.join(path.file_name().expect("a name"))).expect("copied");
    }
}

#[test]
fn a_signature_is_made_after_n_lines_and_after_t_seconds_also_when_nothing_happened() {
    let mut desk = Desk::new(AuditSettings { lines: 10, every: Duration::from_secs(60), ..AuditSettings::default() });
    desk.pass(Duration::ZERO);
    let heads = |desk: &Desk| desk.kinds().iter().filter(|kind| *kind == HEAD).count();
    assert_eq!(heads(&desk), 1, "one at its start");
    desk.tell(25);
    desk.pass(Duration::from_secs(1));
    assert_eq!(heads(&desk), 2);
    for _ in 0..300 {
        desk.pass(Duration::from_secs(1));
    }
    assert_eq!(heads(&desk), 7, "five minutes of silence have five");
    let whole = desk.whole();
    assert_eq!((whole.to, whole.signed_to), (33, 33));
    // A clock that was set back keeps nobody waiting for it.
    desk.now -= DAY;
    desk.pass(Duration::ZERO);
    assert_eq!(heads(&desk), 8);
}

#[test]
fn a_write_that_was_broken_off_is_told_and_the_chain_goes_on() {
    let mut desk = Desk::new(AuditSettings::default());
    desk.tell(3);
    desk.kill();
    for (round, half) in [&b"{\"entry\":{\"at\":\"20"[..], &[0; 4_096], b"}"].into_iter().enumerate() {
        let newest = desk.newest();
        let before = fs::read(&newest).expect("readable");
        fs::write(&newest, [&before[..], half].concat()).expect("written");
        let broken = desk.verify(Expected::default()).expect_err("it has no end");
        let lines = before.iter().filter(|byte| **byte == b'\n').count() as u64;
        assert!(matches!(broken.why, Why::Unfinished) && broken.line == lines + 1, "{broken}");
        desk.open();
        desk.tell(1);
        desk.kill();
        let torn: Vec<_> = desk.entries().into_iter().filter(|entry| entry.kind == TORN).collect();
        assert_eq!(torn.len(), round + 1);
        let note = torn[round].note.as_deref().expect("it says what");
        assert!(note.contains(&format!("\"bytes\":{}", half.len())), "{note}");
        assert!(fs::read(&newest).expect("readable").starts_with(&before), "what stood there stands there");
        desk.whole();
    }
}

#[test]
fn a_crash_at_any_step_of_a_rotation_is_made_good() {
    // What the files are when it comes: by what is undone after a whole rotation.
    type Undo = fn(&Path, &Path);
    let steps: [(&str, Undo); 6] = [
        ("the next key is made, and named nowhere", |_, _| {}),
        ("the last line stands, the keys have not moved", |directory, kept| {
            unpack_last(directory);
            remove_newest(directory);
            fs::rename(directory.join("key"), directory.join("key.next")).expect("renamed");
            fs::copy(kept.join("key"), directory.join("key")).expect("copied");
        }),
        ("the old key is wiped", |directory, _| {
            unpack_last(directory);
            remove_newest(directory);
            fs::rename(directory.join("key"), directory.join("key.next")).expect("renamed");
        }),
        ("the keys have moved, there is no file", |directory, _| {
            unpack_last(directory);
            remove_newest(directory);
        }),
        ("the file has no line", |directory, _| {
            unpack_last(directory);
            fs::write(audit_files(directory).expect("readable").pop().expect("a file"), "").expect("written");
        }),
        ("the file has half a line", |directory, _| {
            unpack_last(directory);
            fs::write(audit_files(directory).expect("readable").pop().expect("a file"), "{\"entry\":")
                .expect("written");
        }),
    ];
    for (what, undo) in steps {
        let mut desk = Desk::new(AuditSettings { age: HOUR, ..AuditSettings::default() });
        desk.tell(3);
        let kept = desk.state.path().join("kept");
        copy(&desk.directory(), &kept);
        if what.starts_with("the next key is made") {
            key::Keys::of(&desk.directory()).make_next().expect("made");
        } else {
            desk.pass(HOUR);
        }
        desk.kill();
        undo(&desk.directory(), &kept);
        desk.open();
        desk.tell(3);
        desk.pass(HOUR);
        desk.pass(HOUR);
        let whole = desk.whole();
        assert!(whole.to >= 10 && whole.first_key != whole.key, "{what}: {whole:?}");
        assert!(!desk.directory().join("key.next").exists(), "{what}");
        let closed = audit_files(&desk.directory()).expect("readable");
        let (_, closed) = closed.split_last().expect("files");
        assert!(closed.iter().all(|path| path.extension().is_some_and(|end| end == "gz")), "{what}: {closed:?}");
    }
}

fn remove_newest(directory: &Path) {
    fs::remove_file(audit_files(directory).expect("readable").pop().expect("a file")).expect("removed");
}

/// Undoes the packing of the newest closed file.
fn unpack_last(directory: &Path) {
    let files = audit_files(directory).expect("readable");
    let packed = files.iter().rfind(|path| path.extension().is_some_and(|end| end == "gz")).expect("a packed file");
    let mut text = Vec::new();
    std::io::Read::read_to_end(&mut files::open(packed).expect("there"), &mut text).expect("readable");
    fs::write(packed.with_extension(""), text).expect("written");
    fs::remove_file(packed).expect("removed");
}

#[test]
fn what_a_full_disk_does_not_take_is_counted_and_the_count_is_the_first_line_that_it_takes() {
    let mut desk = Desk::new(AuditSettings::default());
    desk.tell(3);
    let now = desk.now;
    let room = desk.log().swap_file_for_test(File::options().write(true).open("/dev/full").expect("there"));
    for _ in 0..5 {
        desk.log().tell(&Event::of(Kind::DeviceEnrolled).device(DeviceId([1; 32])), now);
    }
    desk.tell(2);
    desk.pass(Duration::from_secs(5));
    assert!(desk.log().head(now).is_err(), "what is not signed is not told as a head");
    desk.log().swap_file_for_test(room);
    desk.tell(1);
    let entries = desk.entries();
    let [.., lost, first] = entries.as_slice() else { panic!("{entries:?}") };
    assert_eq!((lost.kind.as_str(), first.kind.as_str()), (LOST, "owner-revoked"));
    let note = lost.note.as_deref().expect("it says what");
    assert!(note.contains("\"device-enrolled\":5") && note.contains("\"owner-revoked\":2"), "{note}");
    assert!(note.contains("No space left") && note.contains("\"since\":\"2026-"), "{note}");
    assert_eq!((desk.whole().lost, desk.whole().to), (7, 6));
}

#[test]
fn what_is_removed_after_its_time_leaves_what_proves_it_and_nothing_else_can_go() {
    let settings = AuditSettings { age: HOUR, keep: Some(DAY), ..AuditSettings::default() };
    let mut desk = Desk::new(settings);
    let (first, _) = audit_keys(&desk.directory()).expect("readable").expect("a key");
    let mut heads: Vec<Head> = Vec::new();
    for _ in 0..40 {
        desk.tell(2);
        desk.pass(HOUR);
        heads.push(last_head(&desk.directory()).expect("readable").expect("a head"));
    }
    let whole = desk.whole();
    assert!(whole.first_key == first && whole.removed_to > 0 && whole.from == whole.removed_to + 1, "{whole:?}");
    assert!(files::parts(&desk.directory()).expect("readable").len() <= 27);
    let pinned = |head| Expected { key: Some(first), head: Some(head) };
    let seen = |head: &Head| desk.verify(pinned(*head)).unwrap_or_else(|broken| panic!("{head}: {broken}")).head;
    assert!(heads.iter().filter(|head| head.n < whole.from).all(|head| seen(head).is_some()));
    assert!(heads.iter().filter(|head| head.n >= whole.from).all(|head| seen(head) == Some(HeadSeen::Here)));
    // The first file that is still there, by somebody else's hand: as retention does it, but for what is signed.
    let parts = files::parts(&desk.directory()).expect("readable");
    let line = files::last_line(&parts[0].path, 10_000).expect("readable").expect("a line");
    let (kept, removed) = (desk.state.path().join("kept"), files::removed_path(&desk.directory()));
    copy(&desk.directory(), &kept);
    let stubs = fs::read(&removed).expect("readable");
    fs::remove_file(&parts[0].path).expect("removed");
    let broken = desk.verify(Expected::default()).expect_err("a file is missing");
    assert!(
        matches!(broken.why, Why::Missing { .. }) && broken.file.contains(&format!("{:020}", parts[1].first)),
        "{broken}"
    );
    fs::write(&removed, [&stubs[..], &line, b"\n"].concat()).expect("written");
    let broken = desk.verify(Expected::default()).expect_err("nothing says that it was its time");
    assert!(matches!(broken.why, Why::RemovedUnrecorded { .. }), "{broken}");
    // And what is left of the removed ones cannot be changed, cut or done without.
    copy(&kept, &desk.directory());
    let lines: Vec<_> = stubs.split_inclusive(|byte| *byte == b'\n').collect();
    for (what, bytes) in [
        ("all but the first", lines[1..].concat()),
        ("all but the last", lines[..lines.len() - 1].concat()),
        ("altered", String::from_utf8_lossy(&stubs).replacen("\"first\":1,", "\"first\":2,", 1).into_bytes()),
        ("none", Vec::new()),
    ] {
        fs::write(&removed, bytes).expect("written");
        let found = desk.verify(Expected { key: Some(first), head: None });
        assert!(found.is_err(), "{what}: {found:?}");
    }
    // A crash between the record and the removal: it is removed once.
    copy(&kept, &desk.directory());
    desk.kill();
    desk.open();
    desk.pass(2 * HOUR);
    desk.whole();
}

#[test]
fn a_restored_older_copy_is_seen_beside_a_head_and_only_there() {
    let mut desk = Desk::new(AuditSettings::default());
    desk.tell(5);
    desk.pass(DAY);
    let kept = desk.state.path().join("kept");
    copy(&desk.directory(), &kept);
    desk.tell(5);
    let now = desk.now;
    let head: Head = desk.log().head(now).expect("signed").head.parse().expect("a head");
    assert_eq!(desk.verify(Expected { key: None, head: Some(head) }).expect("whole").head, Some(HeadSeen::Here));
    desk.kill();
    fs::remove_dir_all(desk.directory()).expect("removed");
    copy(&kept, &desk.directory());
    let broken = desk.verify(Expected { key: None, head: Some(head) }).expect_err("it ends before the head");
    assert!(matches!(broken.why, Why::Cut { head: at, .. } if at == head.n), "{broken}");
    // The server goes on from there, and knows nothing.
    desk.open();
    desk.tell(20);
    desk.pass(DAY);
    desk.whole();
    let broken = desk.verify(Expected { key: None, head: Some(head) }).expect_err("another entry stands there");
    assert!(matches!(broken.why, Why::OtherHead { n } if n == head.n), "{broken}");
}

#[test]
fn without_its_key_the_log_goes_on_and_nobody_takes_it_for_the_same() {
    for (what, remove) in [("removed", true), ("another's", false)] {
        let mut desk = Desk::new(AuditSettings::default());
        desk.tell(5);
        desk.pass(DAY);
        desk.kill();
        let key = desk.directory().join("key");
        fs::remove_file(&key).expect("removed");
        if !remove {
            fs::write(&key, [7; 32]).expect("written");
        }
        desk.open();
        desk.tell(5);
        desk.pass(DAY);
        let broken = desk.verify(Expected::default()).expect_err("nobody has signed the key");
        let newest = desk.newest();
        assert!(matches!(broken.why, Why::Unendorsed { .. }) && broken.line == 1, "{what}: {broken}");
        assert_eq!(broken.file, newest.display().to_string(), "{what}");
        // From there on it is one again, for whoever says so.
        verify_files(&[newest], Expected::default()).unwrap_or_else(|broken| panic!("{what}: {broken}"));
    }
}

#[test]
fn what_somebody_without_the_key_writes_is_not_under_a_signature_and_ends_at_the_next() {
    let mut desk = Desk::new(AuditSettings::default());
    desk.tell(2);
    desk.pass(DAY);
    let signed = desk.whole();
    assert_eq!(signed.signed_to, signed.to);
    desk.kill();
    // He can make the chain right, since it takes no secret.
    let entry = serde_json::json!({ "at": "2026-11-29T12:00:00.000Z", "kind": "owner-restored", "note": "nobody did" });
    let (mut line, _) = super::line::write(&entry, signed.to + 1, signed.last, None);
    line.push(b'\n');
    let newest = desk.newest();
    let before = fs::read(&newest).expect("readable");
    fs::write(&newest, [&before[..], &line].concat()).expect("written");
    let whole = desk.whole();
    assert_eq!((whole.signed_to, whole.to), (signed.to, signed.to + 1), "it is told apart");
    // Between two signatures he cannot: all that follows is the server's.
    fs::write(&newest, &before).expect("written");
    desk.open();
    desk.tell(2);
    desk.pass(DAY);
    let text = fs::read_to_string(&newest).expect("readable");
    let mut lines: Vec<_> = text.lines().map(str::to_owned).collect();
    let mut prev = signed.last;
    for (at, n) in (before.iter().filter(|byte| **byte == b'\n').count()..).zip(signed.to + 1..signed.to + 3) {
        let (line, hash) = super::line::write(&entry, n, prev, None);
        lines[at] = String::from_utf8(line).expect("a text");
        prev = hash;
    }
    fs::write(&newest, lines.join("\n") + "\n").expect("written");
    let broken = desk.verify(Expected::default()).expect_err("the signature is over another");
    assert!(matches!(broken.why, Why::Replaced { n, .. } if n == signed.to + 2), "{broken}");
}

#[test]
fn lines_of_others_in_the_newest_file_stay_and_nothing_is_written_behind_them() {
    for junk in ["hello\n", "\n", "{\"entry\":{},\"hash\":\"00\",\"n\":3,\"prev\":\"00\"}\n"] {
        let mut desk = Desk::new(AuditSettings::default());
        desk.tell(2);
        desk.kill();
        let newest = desk.newest();
        let before = fs::read(&newest).expect("readable");
        fs::write(&newest, [&before[..], junk.as_bytes()].concat()).expect("written");
        desk.open();
        desk.tell(2);
        desk.pass(DAY);
        let broken = desk.verify(Expected::default()).expect_err(junk);
        assert!(matches!(broken.why, Why::Form) && broken.line == 4, "{junk}: {broken}");
        assert!(desk.newest() != newest, "another file goes on");
    }
    // Nothing but junk: it is kept beside.
    let mut desk = Desk::new(AuditSettings::default());
    desk.kill();
    fs::write(desk.newest(), "hello\n").expect("written");
    desk.open();
    desk.tell(2);
    let kept = fs::read_dir(desk.directory()).expect("readable").filter_map(Result::ok);
    assert!(kept.map(|entry| entry.path()).any(|path| path.extension().is_some_and(|end| end == "damaged")));
}

#[test]
fn entries_are_found_by_kind_device_subject_address_and_time() {
    use super::settings::Addresses;
    for addresses in [Addresses::Whole, Addresses::Shortened, Addresses::Hashed] {
        let mut desk = Desk::new(AuditSettings { addresses, ..AuditSettings::default() });
        let address = "192.0.2.7".parse().expect("an address");
        let event = Event::of(Kind::TokenTaken).device(DeviceId([1; 32])).subject(Some("ada")).address(address);
        let mut event = event.label("http").code("normal").note("level=2");
        event.at = desk.now;
        let now = desk.now;
        desk.log().tell(&event, now);
        desk.tell(3);
        let files = audit_files(&desk.directory()).expect("readable");
        let count = |filter: Filter| tail(&files, Some(&desk.directory()), &filter, 100).expect("readable").len();
        let any = Filter::default();
        assert_eq!(count(any.clone()), 5, "with the first line of the file");
        assert_eq!(count(Filter { events_only: true, ..any.clone() }), 4);
        assert_eq!(count(Filter { kinds: vec!["token-taken".to_owned()], ..any.clone() }), 1);
        assert_eq!(count(Filter { subject: Some("ada".to_owned()), ..any.clone() }), 1);
        assert_eq!(count(Filter { subject: Some("ad".to_owned()), ..any.clone() }), 0);
        let device = DeviceId([1; 32]).to_string();
        assert_eq!(count(Filter { device: Some(device[..8].to_owned()), ..any.clone() }), 2);
        assert_eq!(count(Filter { address: Some(address), ..any.clone() }), 1, "{addresses:?}");
        assert_eq!(count(Filter { address: "198.51.100.1".parse().ok(), ..any.clone() }), 0);
        assert_eq!(count(Filter { since: Some("2026-11-30".to_owned()), ..any.clone() }), 5);
        assert_eq!(count(Filter { since: Some("2026-11-30T00:54".to_owned()), ..any.clone() }), 0);
        assert_eq!(count(Filter { since: Some("2999".to_owned()), ..any.clone() }), 0);
        let entries = tail(&files, None, &any, 2).expect("readable");
        assert_eq!(entries.iter().map(|entry| entry.n).collect::<Vec<_>>(), [4, 5], "the newest, the oldest first");
    }
}

/// What other programs read: each member, and the log's own lines.
#[test]
fn a_line_of_each_kind_is_as_the_document_says() {
    let document = include_str!("../../../../docs/AUDIT.md");
    let mut desk = Desk::new(AuditSettings { age: HOUR, ..AuditSettings::default() });
    desk.tell(1);
    desk.pass(HOUR);
    desk.pass(Duration::from_secs(600));
    for kind in [super::BEGUN, HEAD, super::ROTATED, super::REMOVED, TORN, LOST] {
        assert!(document.contains(&format!("`{kind}`")), "{kind}");
    }
    for member in
        ["address", "at", "code", "count", "device", "kind", "label", "note", "subject", "entry", "prev", "sig"]
    {
        assert!(document.contains(&format!("`{member}`")), "{member}");
    }
}

#[test]
fn a_book_that_cannot_begin_leaves_nothing_in_its_way() {
    let state = tempfile::tempdir().expect("a temporary directory");
    let directory = state.path().join(DIRECTORY);
    let terms = AuditSettings::default().terms();
    let book = Book::open(&directory, terms, UNIX_EPOCH).expect("opened");
    let last = book.last();
    drop(book);
    // Opened twice in a row, without a line between, it is the same file.
    let again = Book::open(&directory, terms, UNIX_EPOCH).expect("opened");
    assert_eq!((again.last(), files::parts(&directory).expect("readable").len()), (last, 1));
}
