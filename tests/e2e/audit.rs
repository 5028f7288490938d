//! The audit log under whoever alters it: every single change is found, and the first line where it is, by the server's own
//! verifier and by the one in `docs/audit_verify.py`, which was written from docs/AUDIT.md.

use std::{
    collections::BTreeMap,
    fs,
    io::{BufRead, BufReader, Read, Write},
    net::IpAddr,
    path::PathBuf,
    process::{Command, Stdio},
    time::{Duration, SystemTime},
};

use duologue_server::{
    DeviceId, Event, Kind, Watch,
    audit::{
        AuditKey, AuditLog, AuditSettings, DIRECTORY, Expected, Filter, Head, HeadSeen, audit_files, audit_keys,
        last_head, tail, verify_files, verify_texts,
    },
};
use tempfile::TempDir;

use crate::{apart::Apart, chance::Chance, forms, server::workspace};

/// Lines of the log that is altered.
const LINES: u64 = 10_000;

/// A log as it lies on disk, unpacked, line by line.
struct Log {
    files: Vec<(String, Vec<Vec<u8>>)>,
    key: AuditKey,
    head: Head,
}

/// Where a line is: the file's place, and the line's in it, both from 0.
type Place = (usize, usize);

impl Log {
    /// Written by the server's own writer, with a new file and a new key now and then.
    fn written(chance: &mut Chance) -> Self {
        let directory = TempDir::with_prefix("duologue-audit-").unwrap();
        let settings = AuditSettings { lines: 60, size: 400_000, ..AuditSettings::default() };
        let mut now = SystemTime::UNIX_EPOCH + Duration::from_secs(1_796_000_000);
        let mut log = AuditLog::open(directory.path(), settings, &Watch::default(), now).unwrap();
        let audited: Vec<_> = Kind::ALL.iter().copied().filter(|kind| kind.is_audited()).collect();
        let place = directory.path().join(DIRECTORY);
        for round in 0.. {
            // Each time another device, so that nothing is only counted.
            let mut id = [0; 32];
            id[..8].copy_from_slice(&u64::to_be_bytes(round));
            let kind = audited[chance.below(audited.len())];
            let address = IpAddr::from(u32::to_be_bytes(u32::try_from(chance.below(1 << 30)).unwrap()));
            let mut event =
                Event::of(kind).device(DeviceId(id)).address(address).note(format!("é \"{round}\"\\ \u{1f600}"));
            event.at = now;
            log.tell(&event, now);
            now += Duration::from_millis(700);
            if round % 20 == 0 {
                log.look(now);
                if round % 200 == 0 && last_head(&place).unwrap().is_some_and(|head| head.n >= LINES) {
                    break;
                }
            }
        }
        log.close(now);
        let mut files = Vec::new();
        for path in audit_files(&place).unwrap() {
            let bytes = fs::read(&path).unwrap();
            let mut text = Vec::new();
            match path.extension().is_some_and(|end| end == "gz") {
                true => drop(flate2::read::MultiGzDecoder::new(&*bytes).read_to_end(&mut text).unwrap()),
                false => text = bytes,
            }
            let name = path.file_name().unwrap().to_string_lossy().trim_end_matches(".gz").to_owned();
            files.push((name, text.split_inclusive(|byte| *byte == b'\n').map(<[u8]>::to_vec).collect()));
        }
        let (key, _) = audit_keys(&place).unwrap().unwrap();
        let head = last_head(&place).unwrap().unwrap();
        Self { files, key, head }
    }

    fn any_place(&self, chance: &mut Chance) -> Place {
        let file = chance.below(self.files.len());
        (file, chance.below(self.files[file].1.len()))
    }

    fn last_place(&self) -> Place {
        (self.files.len() - 1, self.files.last().unwrap().1.len() - 1)
    }

    fn texts(&self) -> Vec<(String, Vec<u8>)> {
        self.files.iter().map(|(name, lines)| (name.clone(), lines.concat())).collect()
    }
}

/// One change: which files are others than they were, by their place (none: it is gone), where the first bad line is then, and
/// whether it takes a head to see it.
struct Change {
    what: String,
    files: BTreeMap<usize, Option<Vec<u8>>>,
    bad: Place,
    needs_head: bool,
}

/// Replaces the hash in a line by the one that fits it, as whoever alters a line would.
fn with_fitting_hash(line: &[u8]) -> Vec<u8> {
    let text = String::from_utf8(line.to_vec()).unwrap();
    let (before, rest) = text.rsplit_once(",\"hash\":\"").unwrap();
    let (_, after) = rest.split_at(65);
    let unsigned = after.split(",\"sig\"").next().unwrap().trim_end().trim_end_matches('}');
    let hashed = format!("{before}{unsigned}}}");
    let hash = hex::encode(ring::digest::digest(&ring::digest::SHA256, hashed.as_bytes()));
    format!("{before},\"hash\":\"{hash}\"{after}").into_bytes()
}

impl Change {
    fn any(log: &Log, chance: &mut Chance) -> Self {
        let mut files = log.files.clone();
        let at @ (file, line) = log.any_place(chance);
        let (mut bad, mut needs_head, mut changed) = (at, false, vec![file]);
        let what = match chance.below(12) {
            0..=2 => {
                let bytes = &mut files[file].1[line];
                let byte = chance.below(bytes.len());
                let other = loop {
                    let other = u8::try_from(chance.below(256)).unwrap();
                    if other != bytes[byte] {
                        break other;
                    }
                };
                bytes[byte] = other;
                format!("byte {byte} is {other}")
            }
            3 => {
                let bytes = &mut files[file].1[line];
                let byte = chance.below(bytes.len());
                let (was, now) = (bytes.len(), b" \n{\"a0"[chance.below(6)]);
                bytes.insert(byte, now);
                format!("byte {byte} of {was} is one more, {now}")
            }
            4 => {
                let bytes = &mut files[file].1[line];
                let byte = chance.below(bytes.len());
                bytes.remove(byte);
                format!("byte {byte} is gone")
            }
            5 => {
                // Its hash fits again. What is signed later tells that it was this line.
                let text = String::from_utf8(files[file].1[line].clone()).unwrap();
                let altered = text.replacen("\"at\":\"20", "\"at\":\"19", 1);
                files[file].1[line] = with_fitting_hash(altered.as_bytes());
                "its time is another, and its hash fits".to_owned()
            }
            6 | 7 => {
                if at == log.last_place() {
                    needs_head = true;
                }
                files[file].1.remove(line);
                // It is missed where the next one stands.
                if line == log.files[file].1.len() - 1 && file + 1 < files.len() {
                    bad = (file + 1, 0);
                }
                "it is gone".to_owned()
            }
            8 => {
                let other = loop {
                    let other = log.any_place(chance);
                    if other != at {
                        break other;
                    }
                };
                let text = files[other.0].1[other.1].clone();
                files[other.0].1[other.1] = std::mem::replace(&mut files[file].1[line], text);
                bad = at.min(other);
                changed.push(other.0);
                format!("it has changed places with {other:?}")
            }
            9 => {
                let other = log.any_place(chance);
                let (from, after) = (at.min(other), at.max(other));
                let text = files[from.0].1[from.1].clone();
                files[after.0].1.insert(after.1 + 1, text);
                bad = (after.0, after.1 + 1);
                changed = vec![after.0];
                format!("it, or {other:?}, stands once more behind {after:?}")
            }
            _ => {
                needs_head = true;
                let mut keep = 0;
                if chance.below(2) == 0 {
                    keep = chance.below(files[file].1[line].len());
                }
                // A cut in the middle of a line needs no head.
                files[file].1[line].truncate(keep);
                files[file].1.truncate(line + 1);
                changed.extend(file + 1..files.len());
                for (_, lines) in &mut files[file + 1..] {
                    lines.clear();
                }
                format!("cut behind {keep} bytes of it")
            }
        };
        let texts = changed.into_iter().map(|file| {
            let text = files[file].1.concat();
            (file, Some(text).filter(|text| !text.is_empty()))
        });
        let mut change = Self { what: format!("{at:?}: {what}"), files: texts.collect(), bad, needs_head };
        // A whole line more is gone, and the file with it: what is missed is missed behind the last line there is.
        if change.what.contains("cut behind 0") && line == 0 && file > 0 {
            change.bad = (file - 1, log.files[file - 1].1.len());
        }
        change
    }
}

#[test]
fn every_single_change_of_an_audit_log_is_found_and_the_first_bad_line_named() {
    let mut chance = Chance::new();
    let log = Log::written(&mut chance);
    let texts = log.texts();
    let lines: usize = log.files.iter().map(|(_, lines)| lines.len()).sum();
    assert!(
        lines >= usize::try_from(LINES).unwrap() && log.files.len() >= 6,
        "{lines} lines, {} files",
        log.files.len()
    );
    let expected = Expected { key: Some(log.key), head: Some(log.head) };
    let verify = |change: Option<&Change>, expected| {
        let changed = texts.iter().enumerate().filter_map(|(at, (name, text))| {
            match change.and_then(|change| change.files.get(&at)) {
                Some(None) => None,
                Some(Some(text)) => Some((name.as_str(), text.as_slice())),
                None => Some((name.as_str(), text.as_slice())),
            }
        });
        verify_texts(changed, expected)
    };
    for clean in [Expected::default(), expected] {
        let whole = verify(None, clean).unwrap_or_else(|broken| panic!("the clean log: {broken}"));
        assert_eq!((whole.from, whole.to, whole.signed_to), (1, lines as u64, lines as u64), "{whole:?}");
        assert_eq!((whole.lost, whole.head.is_some()), (0, clean.head.is_some()));
    }
    let rounds = forms::rounds("audit::every_single_change_of_an_audit_log_is_found_and_the_first_bad_line_named");
    for round in 0..rounds {
        let change = Change::any(&log, &mut chance);
        let (what, (file, line)) = (&change.what, change.bad);
        // A head is only needed for what is cut off: all else is found without it as well.
        let head = expected.head.filter(|_| change.needs_head || round % 2 == 0);
        let broken = match verify(Some(&change), Expected { head, ..expected }) {
            Err(broken) => broken,
            Ok(whole) => panic!("round {round}, {what}: {whole:?}"),
        };
        let named = (broken.file.as_str(), broken.line);
        let at = match change.files.len() == texts.len() && change.files.values().all(Option::is_none) {
            true => ("the log", 1),
            false => (texts[file].0.as_str(), line as u64 + 1),
        };
        assert_eq!(named, at, "round {round}, {what}: {broken}");
    }
    // And a head that is of the past tells what it can.
    let whole = verify(None, Expected { key: None, head: Some(log.head) }).unwrap();
    assert_eq!(whole.head, Some(HeadSeen::Here));
}

/// Asks `docs/audit_verify.py` of one log after the other: its answers are lines, "whole FROM TO" or "FILE LINE".
const ASK: &str = "import sys, json, audit_verify as a
for asked in sys.stdin:
    asked = json.loads(asked)
    files = [(name, open(path, 'rb').read().splitlines(keepends=True)) for name, path in asked['files']]
    head = asked['head'] and (int(asked['head'].split(':')[0]), asked['head'].split(':')[1])
    try: print('whole', *a.verify(files, asked['key'], head), flush=True)
    except a.Broken as broken: print(broken.args[0], broken.args[1], flush=True)
";

#[test]
fn python_a_second_verifier_written_from_the_document_finds_the_same_first_bad_lines() {
    let rounds =
        forms::rounds("audit::python_a_second_verifier_written_from_the_document_finds_the_same_first_bad_lines");
    let mut chance = Chance::new();
    let log = Log::written(&mut chance);
    let directory = TempDir::with_prefix("duologue-audit-").unwrap();
    let texts = log.texts();
    let path = |name: &str| directory.path().join(name);
    let paths: Vec<_> =
        texts.iter().map(|(name, text)| fs::write(path(name), text).map(|()| path(name)).unwrap()).collect();
    let mut python = Command::new("python3")
        .args(["-c", ASK])
        .env("PYTHONPATH", std::env::join_paths([workspace().join("docs"), packages()]).unwrap())
        .env("PYTHONDONTWRITEBYTECODE", "1")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("python3 is there: `cargo xtask test` skips this test by name where it is not");
    let (mut ask, mut answers) = (python.stdin.take().unwrap(), BufReader::new(python.stdout.take().unwrap()));
    let mut asked = |files: &[(&str, PathBuf)], expected: Expected| {
        let (key, head) = (expected.key.map(|key| key.to_string()), expected.head.map(|head| head.to_string()));
        let question = serde_json::json!({ "files": files, "key": key, "head": head });
        writeln!(ask, "{question}").expect("it reads");
        let mut answer = String::new();
        answers.read_line(&mut answer).expect("it answers");
        answer.trim_end().to_owned()
    };
    let all: Vec<_> = texts.iter().zip(&paths).map(|((name, _), path)| (name.as_str(), path.clone())).collect();
    let lines: usize = log.files.iter().map(|(_, lines)| lines.len()).sum();
    let expected = Expected { key: Some(log.key), head: Some(log.head) };
    assert_eq!(asked(&all, expected), format!("whole 1 {lines}"));
    assert_eq!(asked(&all, Expected::default()), format!("whole 1 {lines}"));
    for round in 0..rounds {
        let change = Change::any(&log, &mut chance);
        let mut files = Vec::new();
        for (at, (name, path)) in all.iter().enumerate() {
            match change.files.get(&at) {
                Some(None) => {}
                Some(Some(text)) => {
                    let changed = directory.path().join(format!("changed-{at}"));
                    fs::write(&changed, text).unwrap();
                    files.push((*name, changed));
                }
                None => files.push((*name, path.clone())),
            }
        }
        let ours = verify_texts(
            texts.iter().enumerate().filter_map(|(at, (name, text))| match change.files.get(&at) {
                Some(changed) => changed.as_ref().map(|text| (name.as_str(), text.as_slice())),
                None => Some((name.as_str(), text.as_slice())),
            }),
            expected,
        );
        let ours = ours.expect_err(&change.what);
        assert_eq!(
            asked(&files, expected),
            format!("{} {}", ours.file, ours.line),
            "round {round}, {}: {ours}",
            change.what
        );
    }
    drop(ask);
    assert!(python.wait().unwrap().success());
}

/// Where `cargo xtask test` puts PyPI's `cryptography`, unless the system has it.
fn packages() -> PathBuf {
    workspace().join("target/tools/cryptography")
}

/// Every step of it: a disk that has no room, what happens meanwhile, and room again.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn on_a_full_disk_what_happens_is_counted_and_the_count_is_the_first_line_when_there_is_room() {
    let Some(apart) = Apart::mount("mount -t tmpfs -o size=32m none \"$AT\"").await else { return };
    // Beside the server's state, so that the owner's reserve is no help.
    let config = apart.directory.with_file_name("audit.toml");
    fs::write(&config, "[audit]\nsign_every = \"1s\"\n[[rule]]\nopen = [\"echo\"]\n").unwrap();
    let config = config.to_str().unwrap().to_owned();
    let (_server, log, _link) = apart.start(&["dev", "--port", "0", "--config", &config]).await;
    let made = |answer: &str| assert!(answer.contains("201 Created"), "{answer}");
    let invite = r#"{"expires_secs":600,"url":"https://line.example/"}"#;
    made(&apart.ask("POST /invites", invite).await);
    let entries = |kind: &'static str| {
        let directory = apart.file(DIRECTORY);
        let files = audit_files(&directory).unwrap();
        let filter = Filter { kinds: vec![kind.to_owned()], ..Filter::default() };
        tail(&files, None, &filter, 1_000).unwrap()
    };
    let fill = apart.file("fill");
    let mut filling = fs::File::create(&fill).unwrap();
    let zeros = [0; 4_096];
    while filling.write_all(&zeros).is_ok() {}
    log.with("the audit log cannot be written").await;
    // A page may have room left where blocks are pages: until the log's is full too.
    let before = entries("invite-made").len();
    for _ in 0..40 {
        let _ = apart.ask("POST /invites", invite).await;
        while filling.write_all(&zeros).is_ok() {}
    }
    // Told is only a head that is on disk, and what waits behind it.
    let state = apart.ask("GET /audit", "").await;
    assert!(state.contains("503") || !state.contains("\"waiting_losses\":0"), "{state}");
    drop(filling);
    fs::remove_file(&fill).unwrap();
    log.with("the audit log is written again").await;
    let lost = entries("audit-lost");
    let counts: serde_json::Value = serde_json::from_str(lost[0].note.as_deref().unwrap()).unwrap();
    println!("{} of 40 invites were written while the disk was full; {counts}", entries("invite-made").len() - before);
    assert!(counts["counts"].as_object().is_some_and(|counts| !counts.is_empty()), "{counts}");
    let state = apart.ask("GET /audit", "").await;
    assert!(state.contains("200 OK"), "{state}");
    let files = audit_files(&apart.file(DIRECTORY)).unwrap();
    let whole = verify_files(&files, Expected::default()).unwrap_or_else(|broken| panic!("{broken}"));
    assert!(whole.lost > 0 && whole.signed_to > lost[0].n, "{whole:?}");
}
