//! Whatever devices and disks do, the owner can act: on a full disk, and while a device does its worst.

use std::{
    fs,
    process::Stdio,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use duologue::{CloseCode, ConnectionError};
use duologue_client::{Client, Keyring, Line};
use tempfile::TempDir;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    task::JoinSet,
};

use crate::{
    apart::{Apart, said},
    enrolment::{refusal, stranger},
    server::{Server, target},
    within,
};

/// What a verb may take, or ten times what it takes where nothing else happens, on a machine that is busy with other things.
fn in_time(quiet: Duration) -> Duration {
    Duration::from_secs(1).max(10 * quiet)
}

/// First lines that a device sends at once, and files that lie there already.
const FIRST_LINES: usize = 1_000;
const FILES: usize = 9_500;
/// Lines that it does so on: each has 256 channels at most.
const LINES: usize = 4;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn while_a_device_does_its_worst_the_owner_is_answered_and_throws_it_out() {
    while_a_device_does_its_worst(None).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn while_a_device_does_its_worst_on_a_disk_that_syncs_in_8_ms_the_owner_is_answered_too() {
    while_a_device_does_its_worst(Some("delay_enter=8000")).await;
}

async fn while_a_device_does_its_worst(disk: Option<&str>) {
    let files = TempDir::with_prefix("duologue-drop-").unwrap();
    for number in 0..FILES {
        fs::write(files.path().join(number.to_string()), "").unwrap();
    }
    let server = Server::dev_with(&["--drop", files.path().to_str().unwrap()]).await;
    let client = Arc::new(Client::new(Keyring::in_memory()));
    let mut lines = vec![within(20, "the first line", client.connect(&target(server.link()))).await.unwrap()];
    for _ in 1..LINES {
        lines.push(within(20, "one more line", client.connect(&target(server.link()))).await.unwrap());
    }
    let quiet = Instant::now();
    let device = server.devices().await.remove(0).0;
    let limit = in_time(quiet.elapsed());

    let _faults = match disk {
        None => None,
        Some(what) => match Faults::of(server.pid(), "fdatasync,fsync", what).await {
            None => return,
            faults => faults,
        },
    };
    let (mut worst, answered) = (JoinSet::new(), Arc::new(AtomicUsize::new(0)));
    for number in 0..FIRST_LINES {
        let (line, answered) = (lines[number % LINES].clone(), Arc::clone(&answered));
        worst.spawn(async move {
            // A first line, its answer, and the same again from the beginning: never a byte of the file.
            while let Ok(mut stream) = line.stream("drop") {
                let header = format!("{{\"name\":\"a\",\"size\":1000,\"upload\":\"{number:032x}\"}}\n");
                if stream.write_all(header.as_bytes()).await.is_err() || stream.read_u8().await.is_err() {
                    break;
                }
                answered.fetch_add(1, Ordering::Relaxed);
            }
        });
    }
    for line in &lines {
        for _ in 0..4 {
            let line = line.clone();
            worst.spawn(async move { while line.request("pair", Vec::new()).await.is_ok() {} });
        }
    }
    let mut waits = 0;
    while answered.load(Ordering::Relaxed) < 10 {
        waits += 1;
        assert!(waits < 2_000, "no first line is answered");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    let mut slowest = Duration::ZERO;
    for round in 0..10 {
        let asked = Instant::now();
        server.devices().await;
        slowest = slowest.max(asked.elapsed());
        assert!(asked.elapsed() <= limit, "devices list, {round}: {:?} of {limit:?}", asked.elapsed());
    }
    eprintln!(
        "devices list: {slowest:?} at most, of {limit:?}; {} first lines were answered",
        answered.load(Ordering::Relaxed)
    );
    let asked = Instant::now();
    let said = server.verb(&["devices", "revoke", &device]).await;
    let (took, ended) = (asked.elapsed(), lines[0].closed());
    let ended = within(20, "the end of its line", ended).await;
    assert!(took <= limit, "devices revoke: {took:?} of {limit:?}");
    eprintln!("devices revoke: {took:?}");
    assert!(said.starts_with("revoked"), "{said}");
    let ConnectionError::PeerClosed(close) = ended else { panic!("{ended}") };
    assert_eq!(close.code, CloseCode::DeviceRevoked);
    let again = within(20, "a refusal", client.connect(&target(&server.address()))).await;
    assert_eq!(refusal(again), CloseCode::DeviceRevoked);
    worst.abort_all();
}

fn address(link: &str) -> (String, u16) {
    let address = link.split("/#").next().expect("it has a beginning").to_owned();
    let port = address.rsplit(':').next().and_then(|port| port.parse().ok()).expect("it has a port");
    (address, port)
}

/// A device's line, the device, and its id.
async fn enrol(apart: &Apart, link: &str) -> (Client, Line, String) {
    let before = said(&apart.verb(&["devices", "list"]).await);
    let client = stranger();
    let line = within(20, "a line", client.connect(&target(link))).await.unwrap();
    let list = said(&apart.verb(&["devices", "list"]).await);
    let new = list.lines().find(|line| !before.contains(*line)).expect("it is listed");
    (client, line, new.split_whitespace().next().expect("its id").to_owned())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn on_a_full_disk_in_memory_the_owner_can_act_and_all_goes_on_when_there_is_room() {
    on_a_full_disk("mount -t tmpfs -o size=24m none \"$AT\"").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn on_a_full_disk_of_ext4_the_owner_can_act_and_all_goes_on_when_there_is_room() {
    let made = "truncate -s 32M \"$NEXT\" && mkfs.ext4 -q \"$NEXT\" && mount -o loop \"$NEXT\" \"$AT\"";
    on_a_full_disk(made).await;
}

async fn on_a_full_disk(how: &str) {
    let Some(apart) = Apart::mount(how).await else { return };
    let (mut server, log, link) = apart.start(&["dev", "--port", "0"]).await;
    let (address, port) = address(&link);
    let (one, two) = (enrol(&apart, &link).await, enrol(&apart, &invite(&apart).await).await);
    let (three, four) = (invite(&apart).await, invite(&apart).await);
    let quiet = Instant::now();
    apart.verb(&["devices", "list"]).await;
    let limit = in_time(quiet.elapsed());

    log.with("is nearly full").await;
    apart.fill("filler");
    // The store has some room within its file. When that is used up, the owner gets the reserve, and nobody else anything.
    let mut links = 0;
    while apart.file("reserve").exists() {
        assert!(links < 20_000, "the store never wanted room");
        links += 1;
        let answer = apart.ask("POST /invites", "{\"expires_secs\":60}").await;
        assert!(answer.starts_with("HTTP/1.1 201"), "{answer}");
    }
    eprintln!("the reserve was given up for link {links}");
    apart.fill("more");
    log.with("is full: nobody new is let in").await;
    let late = Client::new(Keyring::in_memory());
    let refused = within(20, "a refusal", late.connect(&target(&three))).await;
    assert_eq!(refusal(refused), CloseCode::Internal);
    let asked = Instant::now();
    let list = apart.verb(&["devices", "list"]).await;
    assert!(list.status.success() && said(&list).lines().count() == 2, "{}", said(&list));
    assert!(asked.elapsed() <= limit, "devices list: {:?} of {limit:?}", asked.elapsed());
    let asked = Instant::now();
    let revoked = apart.verb(&["devices", "revoke", &one.2]).await;
    assert!(asked.elapsed() <= limit, "devices revoke: {:?} of {limit:?}", asked.elapsed());
    assert!(revoked.status.success() && said(&revoked).starts_with("revoked"), "{}", said(&revoked));
    eprintln!("on the full disk it says: {}", said(&revoked).trim());
    let ended = within(20, "the end of its line", one.1.closed()).await;
    assert!(matches!(&ended, ConnectionError::PeerClosed(close) if close.code == CloseCode::DeviceRevoked), "{ended}");
    let again = within(20, "a refusal", one.0.connect(&target(&address))).await;
    assert_eq!(refusal(again), CloseCode::DeviceRevoked);
    assert_eq!(within(20, "an echo", two.1.request("echo", "still here")).await.unwrap(), b"still here");

    // There is room again, and nothing is started anew.
    fs::remove_file(apart.file("filler")).unwrap();
    fs::remove_file(apart.file("more")).unwrap();
    let line = within(20, "a line", late.connect(&target(&three))).await.unwrap();
    assert_eq!(within(20, "an echo", line.request("echo", "at last")).await.unwrap(), b"at last");
    let mut state = String::new();
    for _ in 0..200 {
        state = apart.ask("GET /state", "").await;
        if state.contains("\"not_stored\":0") {
            break;
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    assert!(state.contains("\"not_stored\":0"), "the store follows by itself: {state}");

    // Full once more, revoked, and killed at once; and started on the full disk.
    apart.fill("filler");
    let revoked = apart.verb(&["devices", "revoke", &two.2]).await;
    assert!(revoked.status.success() && said(&revoked).starts_with("revoked"), "{}", said(&revoked));
    server.kill().await.expect("it runs");
    let list = said(&apart.verb(&["devices", "list"]).await);
    for id in [&one.2, &two.2] {
        assert!(list.lines().any(|line| line.starts_with(id) && line.contains("revoked")), "{list}");
    }
    let (listen, plain) = (format!("127.0.0.1:{port}"), format!("http://localhost:{port}"));
    let serve = ["serve", "--behind-proxy", "--listen", &listen, "--url", &address];
    let (_server, _log, _) = apart.start(&serve).await;
    for revoked in [&one.0, &two.0] {
        let again = within(20, "a refusal", revoked.connect(&target(&plain))).await;
        assert_eq!(refusal(again), CloseCode::DeviceRevoked);
    }
    let line = within(20, "a line", late.connect(&target(&plain))).await.unwrap();
    assert_eq!(within(20, "an echo", line.request("echo", "again")).await.unwrap(), b"again");
    fs::remove_file(apart.file("filler")).unwrap();
    let last = stranger();
    let link = four.replacen("https://", "http://", 1);
    let line = within(20, "a line", last.connect(&target(&link))).await.unwrap();
    assert_eq!(within(20, "an echo", line.request("echo", "the last")).await.unwrap(), b"the last");
    let list = said(&apart.verb(&["devices", "list"]).await);
    assert_eq!(list.lines().count(), 4, "nobody was lost: {list}");
    let id = list.lines().last().and_then(|line| line.split_whitespace().next()).expect("its id").to_owned();
    assert_eq!(said(&apart.verb(&["devices", "revoke", &id]).await), "revoked\n", "the store has it at once");
}

async fn invite(apart: &Apart) -> String {
    let made = apart.verb(&["invite", "new"]).await;
    assert!(made.status.success(), "{}", said(&made));
    said(&made).trim().to_owned()
}

/// Faults of the disk for a process that runs: its calls are answered otherwise, or later, until this is dropped.
struct Faults(std::process::Child);

impl Faults {
    /// None, with the reason said, where no process may be looked into.
    async fn of(pid: u32, calls: &str, what: &str) -> Option<Self> {
        let mut strace = std::process::Command::new("strace");
        strace.args(["-f", "-qq", "-o", "/dev/null", "-p", &pid.to_string()]);
        strace.args(["-e", &format!("trace={calls}"), "-e", &format!("inject={calls}:{what}")]);
        let Ok(mut strace) = strace.stdin(Stdio::null()).stderr(Stdio::piped()).spawn() else {
            eprintln!("skipped: there is no strace");
            return None;
        };
        for _ in 0..1_000 {
            if is_traced(pid).is_some_and(|traced| traced) {
                return Some(Self(strace));
            }
            if strace.try_wait().expect("a child can be asked").is_some() {
                break;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        let _ = strace.kill();
        let said = strace.wait_with_output().map(|output| String::from_utf8_lossy(&output.stderr).into_owned());
        eprintln!("skipped: strace can do nothing here: {said:?}");
        None
    }
}

impl Drop for Faults {
    fn drop(&mut self) {
        // It lets go of them at SIGTERM, and has then ended.
        let pid = self.0.id().to_string();
        let _ = std::process::Command::new("kill").args(["-TERM", &pid]).status();
        let _ = self.0.wait();
    }
}

/// Whether every thread of a process is traced; none if one is and another is not, or the process is gone.
fn is_traced(pid: u32) -> Option<bool> {
    let traced = |entry: std::io::Result<fs::DirEntry>| {
        let status = fs::read_to_string(entry.ok()?.path().join("status")).ok()?;
        Some(!status.lines().any(|line| line == "TracerPid:\t0"))
    };
    let all: Vec<_> = fs::read_dir(format!("/proc/{pid}/task")).ok()?.map(traced).collect::<Option<_>>()?;
    let first = *all.first()?;
    all.iter().all(|traced| *traced == first).then_some(first)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn where_the_disk_fails_the_owner_is_told_the_truth_and_all_goes_on_when_it_works() {
    let server = Server::dev().await;
    let client = stranger();
    let line = within(20, "a line", client.connect(&target(server.link()))).await.unwrap();
    let (device, late) = (server.devices().await.remove(0).0, server.invite("24h").await);
    let quiet = Instant::now();
    server.devices().await;
    let limit = in_time(quiet.elapsed());

    let Some(faults) = Faults::of(server.pid(), "pwrite64,fdatasync,fsync", "error=EIO").await else { return };
    let asked = Instant::now();
    let revoked = server.try_verb(&["devices", "revoke", &device]).await;
    assert!(asked.elapsed() <= limit, "devices revoke: {:?} of {limit:?}", asked.elapsed());
    assert_eq!(revoked.status.code(), Some(1), "it is not what was asked for: {}", said(&revoked));
    assert!(said(&revoked).contains("revoked, in force until this server stops, NOT on disk"), "{}", said(&revoked));
    let ended = within(20, "the end of its line", line.closed()).await;
    assert!(matches!(&ended, ConnectionError::PeerClosed(close) if close.code == CloseCode::DeviceRevoked), "{ended}");
    let again = within(20, "a refusal", client.connect(&target(&server.address()))).await;
    assert_eq!(refusal(again), CloseCode::DeviceRevoked);
    let asked = Instant::now();
    let list = server.devices().await;
    assert!(asked.elapsed() <= limit, "devices list: {:?} of {limit:?}", asked.elapsed());
    assert!(list.len() == 1 && list[0].1.contains("revoked"), "{list:?}");
    let newcomer = stranger();
    let refused = within(20, "a refusal", newcomer.connect(&target(&late))).await;
    assert_eq!(refusal(refused), CloseCode::Internal);
    server.stderr.with("NOT on disk").await;
    drop(faults);

    // Asked again, it is where it belongs; and nobody was lost.
    let mut answer = String::new();
    for _ in 0..100 {
        answer = said(&server.try_verb(&["devices", "revoke", &device]).await);
        if answer == "revoked\n" {
            break;
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    assert_eq!(answer, "revoked\n");
    let line = within(20, "a line", newcomer.connect(&target(&late))).await.unwrap();
    assert_eq!(within(20, "an echo", line.request("echo", "at last")).await.unwrap(), b"at last");
    let server = server.restarted().await;
    let list = server.devices().await;
    assert!(list.len() == 2 && list.iter().any(|(id, line)| *id == device && line.contains("revoked")), "{list:?}");
}
