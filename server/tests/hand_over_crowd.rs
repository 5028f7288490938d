//! A crowd of lines under traffic, through a reload, a renewed certificate, a rotated key and a hand-over: what becomes of each message, and when each
//! line is open again. `tests/forms.json` says how many lines there are.
#![allow(missing_docs, reason = "tests are named for their scenario")]

mod handing;
mod running;
mod site;

use std::{
    fs,
    io::Write as _,
    process::{Child, ChildStdin, Command, Stdio},
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use duologue_client::{Client, Delivery, Keyring, Line, LineError, Target};
use duologue_server::raise_file_limit;
use handing::{Handed, until};
use tokio::{
    io::{AsyncBufReadExt as _, BufReader, copy_bidirectional},
    net::{TcpSocket, TcpStream},
    sync::{Notify, Semaphore},
    task::JoinSet,
};

const TEST: &str =
    "a_crowd_under_traffic_comes_through_a_reload_a_renewal_a_rotation_and_a_hand_over_and_nothing_is_in_doubt";
/// As many as one device may have.
const LINES_OF_A_DEVICE: usize = 16;
/// Messages a second, of all lines together.
const RATE: usize = 1_000;
/// Of those devices one in so many has lost its connections when the server is handed over.
const PARKED_EACH: usize = 20;
/// Within which every line is open again.
const LIMIT: Duration = Duration::from_secs(30);
/// Handshakes that are begun at a time.
const AT_ONCE: usize = 12;

fn lines_of_this_run() -> usize {
    let forms: serde_json::Value = serde_json::from_str(include_str!("../../tests/forms.json")).expect("it is JSON");
    let form = forms.as_array().and_then(|forms| forms.iter().find(|form| form["test"] == TEST)).expect("its form");
    let is_long = std::env::var_os("DUOLOGUE_LONG").is_some_and(|value| value == "1");
    form[if is_long { "whole" } else { "small" }]
        .as_u64()
        .and_then(|lines| usize::try_from(lines).ok())
        .expect("a number")
}

/// How many lines one process of the way carries: each takes two of the 20,000 files that it may open.
const LINES_OF_A_WAY: usize = 9_000;
/// Names the port of the way and that of the server to a process that is one.
const OF_A_WAY: &str = "DUOLOGUE_TEST_WAY";

/// The way to the server, on which some can be cut off for a while: who comes meanwhile waits. Processes of this program, which
/// have one port together.
struct Way {
    port: u16,
    processes: Vec<(Child, ChildStdin)>,
}

impl Way {
    fn to(server: u16, lines: usize) -> Self {
        let port = running::free_port();
        let processes = (0..lines.div_ceil(LINES_OF_A_WAY)).map(|_| {
            let mut process = Command::new(std::env::current_exe().expect("its own path"));
            process.args(["--exact", "a_way_to_the_server"]).env(OF_A_WAY, format!("{port} {server}"));
            let mut process = process.stdin(Stdio::piped()).stdout(Stdio::null()).spawn().expect("it starts");
            let told = process.stdin.take().expect("piped");
            (process, told)
        });
        let way = Self { port, processes: processes.collect() };
        while std::net::TcpStream::connect(("127.0.0.1", port)).is_err() {
            std::thread::sleep(Duration::from_millis(20));
        }
        way
    }

    /// What comes from now on will be cut off, or will not; what is to be is cut off, and what comes waits; that waits no more.
    fn tell(&mut self, word: &str) {
        for (_, told) in &mut self.processes {
            writeln!(told, "{word}").expect("it lives");
        }
    }
}

impl Drop for Way {
    fn drop(&mut self) {
        for (process, _) in &mut self.processes {
            let _ = process.kill();
            let _ = process.wait();
        }
    }
}

#[tokio::test]
async fn a_way_to_the_server() {
    let Ok(ports) = std::env::var(OF_A_WAY) else {
        println!("skipped: it is started by the other test");
        return;
    };
    raise_file_limit().expect("the limit can be raised");
    let (port, server) = ports.split_once(' ').expect("two ports");
    let (port, server): (u16, u16) = (port.parse().expect("a port"), server.parse().expect("a port"));
    let socket = TcpSocket::new_v4().expect("a socket");
    socket.set_reuseport(true).expect("Linux has it");
    socket.bind(([127, 0, 0, 1], port).into()).expect("a free port");
    let listener = socket.listen(1_024).expect("it listens");
    let (cut, marks, is_cut) = (Arc::<Notify>::default(), AtomicBool::new(false), Arc::<AtomicBool>::default());
    let mut words = BufReader::new(tokio::io::stdin()).lines();
    loop {
        tokio::select! {
            word = words.next_line() => match word.expect("text").as_deref() {
                Some("mark") => marks.store(true, Ordering::Relaxed),
                Some("unmark") => marks.store(false, Ordering::Relaxed),
                Some("cut") => {
                    is_cut.store(true, Ordering::Relaxed);
                    cut.notify_waiters();
                }
                Some("mend") => is_cut.store(false, Ordering::Relaxed),
                other => return assert_eq!(other, None, "an unknown word"),
            },
            accepted = listener.accept() => {
                let Ok((mut near, _)) = accepted else { continue };
                let (cut, is_marked, is_cut) = (Arc::clone(&cut), marks.load(Ordering::Relaxed), Arc::clone(&is_cut));
                tokio::spawn(async move {
                    let cut = cut.notified();
                    while is_cut.load(Ordering::Relaxed) {
                        tokio::time::sleep(Duration::from_millis(20)).await;
                    }
                    let Ok(mut far) = TcpStream::connect(("127.0.0.1", server)).await else { return };
                    tokio::select! {
                        _ = copy_bidirectional(&mut near, &mut far) => {}
                        () = cut, if is_marked => {}
                    }
                });
            }
        }
    }
}

/// What became of the messages of some lines.
#[derive(Debug, Default)]
struct Tally {
    taken: AtomicUsize,
    not_sent: AtomicUsize,
    unknown: AtomicUsize,
    /// How long each echo took, in microseconds.
    echoes: Mutex<Vec<u32>>,
}

/// One line's traffic: a message now and then on a channel, another channel where that has ended.
async fn talk(line: Line, every: Duration, tally: Arc<Tally>, stop: Arc<AtomicBool>) {
    tokio::time::sleep(every.mul_f64(fastrand::f64())).await;
    while !stop.load(Ordering::Relaxed) {
        let Ok(channel) = line.channel("echo") else { return };
        while !stop.load(Ordering::Relaxed) {
            let begun = Instant::now();
            let Ok(sent) = channel.send("a message of no great length").await else { break };
            let echoed = channel.recv().await.is_ok_and(|echo| echo.is_some());
            match sent.taken().await {
                Ok(()) => tally.taken.fetch_add(1, Ordering::Relaxed),
                Err(LineError::NotTaken(Delivery::NotSent)) => tally.not_sent.fetch_add(1, Ordering::Relaxed),
                Err(_) => tally.unknown.fetch_add(1, Ordering::Relaxed),
            };
            if !echoed {
                break;
            }
            tally.echoes.lock().expect("whole").push(u32::try_from(begun.elapsed().as_micros()).unwrap_or(u32::MAX));
            tokio::time::sleep(every).await;
        }
    }
}

/// When each line has answered anew.
async fn all_answer(lines: &[Line]) -> Duration {
    let begun = Instant::now();
    let mut asking = JoinSet::new();
    for line in lines {
        let line = line.clone();
        asking.spawn(async move {
            // Where the old session ends with it, it is asked again in the new one.
            while line.request("echo", "here").await.is_err() {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        });
    }
    while let Some(answered) = asking.join_next().await {
        answered.expect("it answers");
    }
    begun.elapsed()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_crowd_under_traffic_comes_through_a_reload_a_renewal_a_rotation_and_a_hand_over_and_nothing_is_in_doubt() {
    let count = lines_of_this_run();
    raise_file_limit().expect("the limit can be raised");
    let began = Instant::now();
    let port = running::free_port();
    let mut way = Way::to(port, count);
    let config = handing::config(port, "", "[[rule]]\nopen = [\"*\"]\n");
    let mut handed = Handed::start_at(
        port,
        &config.replace(&format!("https://localhost:{port}"), &format!("https://localhost:{}", way.port)),
    );
    let owner = handed.site.directory.path().join("owner.p8");
    let owner = owner.to_str().expect("text");
    handed.site.verb(&["keys", "init", owner]);
    let trust = handed.site.directory.path().join("trusted.pem");
    fs::copy(handed.site.directory.path().join("own.pem"), &trust).expect("copied");
    let places = Arc::new(Semaphore::new(AT_ONCE));
    let connect = async |devices: usize| {
        let mut connecting = JoinSet::new();
        for _ in 0..devices {
            let target = Target::parse(handed.site.verb(&["invite", "new"]).trim()).expect("a link");
            let (trust, places) = (trust.clone(), Arc::clone(&places));
            connecting.spawn(async move {
                let client = Client::new(Keyring::in_memory()).trusting(trust);
                let mut lines = Vec::new();
                for _ in 0..LINES_OF_A_DEVICE {
                    let _place = places.acquire().await.expect("it is not closed");
                    lines.push(client.connect(&target).await.expect("it is let in"));
                }
                lines
            });
        }
        let mut lines: Vec<Line> = Vec::new();
        while let Some(connected) = connecting.join_next().await {
            lines.extend(connected.expect("connected"));
        }
        lines
    };
    let devices = count.div_ceil(LINES_OF_A_DEVICE);
    way.tell("mark");
    let parked = connect(devices / PARKED_EACH).await;
    way.tell("unmark");
    let mut lines = connect(devices - devices / PARKED_EACH).await;
    lines.truncate(count - parked.len());
    println!("{} lines, and {} that will be cut off, after {:?}", lines.len(), parked.len(), began.elapsed());

    let (tally, tally_of_parked, stop) =
        (Arc::<Tally>::default(), Arc::<Tally>::default(), Arc::<AtomicBool>::default());
    let every = Duration::from_secs_f64(count as f64 / RATE as f64);
    let mut talking = JoinSet::new();
    for (some, tally) in [(&lines, &tally), (&parked, &tally_of_parked)] {
        for line in some {
            talking.spawn(talk(line.clone(), every, Arc::clone(tally), Arc::clone(&stop)));
        }
    }
    tokio::time::sleep(Duration::from_secs(2)).await;
    tokio::task::block_in_place(|| {
        handed.site.verb(&["reload"]);
        // Who is here stays; who comes is shown the new one.
        running::certificate(&handed.site, "own", &["localhost"]);
        handed.site.verb(&["reload"]);
        handed.site.verb(&["keys", "rotate", "--owner-key", owner]);
    });
    let renewed = fs::read(handed.site.directory.path().join("own.pem")).expect("it is there");
    let both = [fs::read(&trust).expect("it is there"), renewed].concat();
    fs::write(&trust, both).expect("written");
    tokio::time::sleep(Duration::from_secs(1)).await;
    way.tell("cut");
    tokio::time::sleep(Duration::from_millis(500)).await;

    let asked = Instant::now();
    tokio::task::block_in_place(|| handed.hand_over());
    println!("another process had the place after {:?}", asked.elapsed());
    way.tell("mend");
    // Until its turn a line goes on with the former, whose end is when none is left there.
    until("the former has ended", || handed.first.process.try_wait().expect("it can be asked").is_some()).await;
    let all: Vec<_> = lines.iter().chain(&parked).cloned().collect();
    all_answer(&all).await;
    let took = asked.elapsed();
    tokio::time::sleep(Duration::from_secs(1)).await;
    stop.store(true, Ordering::Relaxed);
    while talking.join_next().await.is_some() {}

    let of = |count: &AtomicUsize| count.load(Ordering::Relaxed);
    let mut echoes = std::mem::take(&mut *tally.echoes.lock().expect("whole"));
    echoes.sort_unstable();
    let at = |part: usize| f64::from(echoes[(echoes.len() - 1) * part / 1_000]) / 1_000.0;
    let log = handed.site.log();
    // The log counts what is repeated; the audit log has each.
    let audited = handed.site.verb(&["audit", "tail", "--lines", "100000"]);
    let restarted = audited.matches("session-restarted").count();
    println!(
        "{}",
        audited.lines().filter(|line| line.contains("session-restarted")).take(3).collect::<Vec<_>>().join("\n")
    );
    println!(
        "{} messages taken, {} not sent, {} unknown; of those that were parked {}, {}, {}; told session-restarted: {} lines",
        of(&tally.taken),
        of(&tally.not_sent),
        of(&tally.unknown),
        of(&tally_of_parked.taken),
        of(&tally_of_parked.not_sent),
        of(&tally_of_parked.unknown),
        restarted,
    );
    println!("an echo took {:.1} ms (p50), {:.1} ms (p99), {:.0} ms (the longest)", at(500), at(990), at(1_000));
    println!("all {count} lines were open with the other process {took:?} after the hand-over was asked for");
    assert!(took < LIMIT, "{took:?}");
    assert!(of(&tally.taken) > RATE, "there was traffic");
    assert_eq!(of(&tally.unknown), 0, "nothing is in doubt but for those who had no connection");
    assert_eq!(restarted, count, "each is told so, and those who were parked too");
    // They came back by the key they had, and have heard of the next one.
    let keys: serde_json::Value = serde_json::from_str(&handed.site.verb(&["keys", "show", "--json"])).expect("JSON");
    assert!(keys["older"].is_string(), "{keys}");
    assert!(!log.contains("ERROR") && !log.contains("panicked"), "{log}");
}
