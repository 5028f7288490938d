//! A server whose place another process takes: who connects meanwhile, what becomes of lines, and what happens where it fails.
#![allow(missing_docs, reason = "tests are named for their scenario")]

mod handing;
mod notified;
mod running;
mod site;

use std::{
    fs,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    time::Duration,
};

use bytes::Bytes;
use duologue_client::{ChannelError, CloseCode, ConnectionError, DeviceId, FreshReason, Line, LineError, ResetCode};
use duologue_server::rustls::pki_types::ServerName;
use handing::{Handed, get, kill, until};
use notified::Notified;
use running::logged;
use site::{Server, Site, try_verb};
use tokio::{net::TcpStream, time::timeout};
use tokio_rustls::TlsConnector;

const OPEN: &str = "[[rule]]\nopen = [\"*\", \"owner\"]\n";

/// Asks for the page over HTTP/2, on a connection of its own.
async fn get_by_http2(port: u16, connector: &TlsConnector) -> Result<u16, String> {
    let said = |error: &dyn std::fmt::Display| error.to_string();
    let tcp = TcpStream::connect(("127.0.0.1", port)).await.map_err(|error| said(&error))?;
    let name = ServerName::try_from("localhost").expect("a name");
    let tls = connector.connect(name, tcp).await.map_err(|error| said(&error))?;
    let (client, connection) = h2::client::handshake(tls).await.map_err(|error| said(&error))?;
    tokio::spawn(connection);
    let mut client: h2::client::SendRequest<Bytes> = client.ready().await.map_err(|error| said(&error))?;
    let request = axum::http::Request::get(format!("https://localhost:{port}/")).body(()).expect("a request");
    let (response, _) = client.send_request(request, true).map_err(|error| said(&error))?;
    Ok(response.await.map_err(|error| said(&error))?.status().as_u16())
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_connects_all_through_three_hand_overs_is_answered_over_both_http_and_by_the_status_listener() {
    let status = running::free_port();
    let mut handed = Handed::start(&format!("http2 = true\nstatus = \"127.0.0.1:{status}\""), OPEN);
    let (_, line) = handed.line().await;
    assert_eq!(line.request("echo", "a").await, Ok(b"a".to_vec()));
    let (stop, port) = (Arc::new(AtomicBool::new(false)), handed.port);
    let mut connecting = Vec::new();
    let trust = handed.trust(&[b"http/1.1"]);
    for _ in 0..2 {
        let (stop, trust) = (Arc::clone(&stop), Arc::clone(&trust));
        connecting.push(tokio::task::spawn_blocking(move || {
            let mut count = 0;
            while !stop.load(Ordering::Relaxed) {
                let answer = get(port, &trust).unwrap_or_else(|error| panic!("connection {count}: {error}"));
                assert_eq!(answer, "HTTP/1.1 200 OK", "connection {count}");
                count += 1;
            }
            count
        }));
    }
    let connector = TlsConnector::from(handed.trust(&[b"h2"]));
    let stopped = Arc::clone(&stop);
    let by_http2 = tokio::spawn(async move {
        let mut count = 0;
        while !stopped.load(Ordering::Relaxed) {
            assert_eq!(get_by_http2(port, &connector).await, Ok(200), "connection {count}");
            count += 1;
        }
        count
    });
    let stopped = Arc::clone(&stop);
    let seen = tokio::task::spawn_blocking(move || {
        let mut count = 0;
        while !stopped.load(Ordering::Relaxed) {
            let tcp = std::net::TcpStream::connect(("127.0.0.1", status)).expect("it is never refused");
            let (mut reader, mut writer) = (&tcp, &tcp);
            std::io::Write::write_all(&mut writer, b"GET /health HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n")
                .expect("written");
            let mut answer = String::new();
            std::io::Read::read_to_string(&mut reader, &mut answer).expect("an answer");
            assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
            count += 1;
            std::thread::sleep(Duration::from_millis(5));
        }
        count
    });
    let mut pids = vec![handed.serving()];
    for _ in 0..3 {
        tokio::time::sleep(Duration::from_millis(300)).await;
        pids.push(tokio::task::block_in_place(|| handed.hand_over()));
        let mut answer = line.request("echo", "b").await;
        if let Err(LineError::Connection(ConnectionError::SessionEnded(FreshReason::Restarted))) = answer {
            // Asked while the session was still the old one's, and told so: it is asked again.
            answer = line.request("echo", "b").await;
        }
        assert_eq!(answer, Ok(b"b".to_vec()), "the line is there again, at the new one");
    }
    tokio::time::sleep(Duration::from_millis(300)).await;
    stop.store(true, Ordering::Relaxed);
    let mut counts = Vec::new();
    for connecting in connecting {
        counts.push(connecting.await.expect("nobody was refused"));
    }
    println!(
        "connections that were answered all through 3 hand-overs: {counts:?}, {} over HTTP/2, {} of the status listener",
        by_http2.await.expect("nobody was refused"),
        seen.await.expect("nobody was refused")
    );
    pids.dedup();
    assert_eq!(pids.len(), 4, "each is another process: {pids:?}");
    // One has the place, and the others have ended.
    until("the first has ended", || handed.first.process.try_wait().expect("it can be asked").is_some()).await;
    let state = handed.site.verb(&["state"]);
    assert!(state.contains(&format!("runs, pid {}", handed.serving())), "{state}");
    assert!(handed.site.verb(&["audit", "verify"]).contains("whole"), "the audit log goes on in one chain");
    let log = handed.site.log();
    assert!(!log.contains("ERROR") && !log.contains("panicked"), "{log}");
}

/// A line that does not come to its end by itself: an echo waits for its reader.
async fn busy_line(handed: &Handed) -> (DeviceId, Line, duologue_client::Channel) {
    let (id, line) = handed.line().await;
    let channel = line.channel("echo").expect("it is open");
    channel.send("unread").await.expect("it is open").taken().await.expect("echo takes it");
    (id, line, channel)
}

#[tokio::test(flavor = "multi_thread")]
async fn until_the_former_server_is_gone_revocations_bans_and_the_policy_count_there_too() {
    what_is_said_after(1).await;
}

/// The second is done while the first server still has lines: it hears of it by the one between.
#[tokio::test(flavor = "multi_thread")]
async fn after_a_second_hand_over_they_count_at_the_first_server_too() {
    what_is_said_after(2).await;
}

async fn what_is_said_after(hand_overs: usize) {
    let mut handed = Handed::start("", OPEN);
    let (revoked, revoked_line, _one) = busy_line(&handed).await;
    let (banned, banned_line, _two) = busy_line(&handed).await;
    let (_, _third_line, third) = busy_line(&handed).await;
    let (_, owner) = handed.line().await;
    let pair = owner.channel("owner").expect("it is open");
    pair.send(r#"{"ask":"look"}"#).await.expect("it is open");
    assert!(pair.recv().await.is_ok_and(|seen| seen.is_some()));
    tokio::task::block_in_place(|| {
        for _ in 0..hand_overs {
            handed.hand_over();
        }
    });
    // Who needs the store is told where it is.
    assert_eq!(pair.recv().await, Err(LineError::Channel(ChannelError::Reset(ResetCode::GoingAway))));
    assert!(handed.first.process.try_wait().expect("it can be asked").is_none(), "the former has lines that are busy");

    let ended = async |line: &Line| match timeout(Duration::from_secs(2), line.closed()).await {
        Ok(ConnectionError::PeerClosed(close)) => close.code,
        other => panic!("{other:?}"),
    };
    handed.site.verb(&["devices", "revoke", &revoked.to_string()]);
    assert_eq!(ended(&revoked_line).await, CloseCode::DeviceRevoked);
    handed.site.verb(&["bans", "add", &banned.to_string(), "--for", "1h"]);
    assert_eq!(ended(&banned_line).await, CloseCode::HookRefused);
    handed.configure("", "[[rule]]\nopen = [\"other\"]\n");
    handed.site.verb(&["reload"]);
    let broken = timeout(Duration::from_secs(2), third.broken()).await.expect("it is reset");
    assert_eq!(broken, ChannelError::Reset(ResetCode::NotAllowed));
    until("the former ends", || handed.first.process.try_wait().expect("it can be asked").is_some()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hand_over_that_fails_on_the_way_leaves_the_running_server_as_it_was_and_says_why() {
    let handed = Handed::start("", OPEN);
    let (_, line) = handed.line().await;
    let channel = line.channel("echo").expect("it is open");
    let echo = async |text: &str| {
        channel.send(text.to_owned()).await.expect("it is open").taken().await.expect("echo takes it");
        assert_eq!(channel.recv().await, Ok(Some(text.as_bytes().to_vec())));
    };
    echo("before").await;
    let taken = running::free_port();
    let _taken = std::net::TcpListener::bind(("127.0.0.1", taken)).expect("a port");
    let elsewhere = running::free_port();
    let journal = handed.site.state().join("revocations.journal");
    let aside = journal.with_extension("aside");
    let trust = handed.trust(&[b"http/1.1"]);
    for (broken, server, tables, why) in [
        ("the configuration", "", "[[rule]]\nopne = [\"*\"]\n", "did you mean `open`?"),
        ("a certificate", "", "[[tls.certificate]]\ncert = \"gone.pem\"\nkey = \"own.key\"\n", "gone.pem"),
        ("the listener", &*format!("status = \"127.0.0.1:{taken}\""), OPEN, "cannot listen on"),
        ("the store", "", OPEN, "the journal of revocations"),
    ] {
        if broken == "the store" {
            fs::rename(&journal, &aside).expect("moved");
            fs::create_dir(&journal).expect("made");
        }
        handed.configure(server, tables);
        let (code, said, wrong) = tokio::task::block_in_place(|| handed.site.try_verb(&["hand-over"]));
        println!("{broken}: {wrong}");
        assert!(code == 1 && wrong.contains("goes on as before") && wrong.contains(why), "{broken}: {said}{wrong}");
        if broken == "the store" {
            fs::remove_dir(&journal).expect("it is empty");
            fs::rename(&aside, &journal).expect("moved");
        }
        // The same line, the same session, and whoever comes.
        echo(broken).await;
        assert_eq!(handed.get(&trust).expect("it is answered"), "HTTP/1.1 200 OK", "{broken}");
        let (_, other) = handed.line().await;
        assert_eq!(other.request("echo", "new").await, Ok(b"new".to_vec()), "{broken}");
        // What is revoked is kept in the store, or will be within the second in which that is looked after.
        let (id, _line) = handed.line().await;
        let id = id.to_string();
        until("it is revoked", || handed.site.try_verb(&["devices", "revoke", &id]).1.trim() == "revoked").await;
    }
    handed.site.configure(&handing::config(elsewhere, "", OPEN));
    let (code, _, wrong) = tokio::task::block_in_place(|| handed.site.try_verb(&["hand-over"]));
    assert!(code == 1 && wrong.contains("the running server listens on"), "{wrong}");
    echo("after").await;
    let log = handed.site.log();
    assert!(log.matches("could not be handed over").count() == 5 && !log.contains("panicked"), "{log}");
    assert!(handed.site.verb(&["audit", "verify"]).contains("whole"));
    let state = handed.site.verb(&["state"]);
    assert!(
        state.contains(&format!("runs, pid {}", handed.serving())) && state.contains("all in the store"),
        "{state}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_successor_that_hangs_or_dies_and_a_server_that_is_stopped_meanwhile_leave_nobody_without_one() {
    let handed = Handed::start("", OPEN);
    let (_, line) = handed.line().await;
    let (site, first) = (&handed.site, handed.first.process.id());
    let asked =
        |directory: std::path::PathBuf| tokio::task::spawn_blocking(move || try_verb(&directory, &["hand-over"]));
    let child = || {
        let children = fs::read_to_string(format!("/proc/{first}/task/{first}/children")).unwrap_or_default();
        children.split_whitespace().next().and_then(|pid| pid.parse::<u32>().ok())
    };
    // Killed as soon as it is there, wherever it is by then.
    for after in [0, 2, 5, 8, 12] {
        let verb = asked(site.state());
        let mut pid = None;
        let killed = AtomicUsize::new(0);
        until("a successor", || {
            pid = child();
            pid.is_some() || verb.is_finished()
        })
        .await;
        tokio::time::sleep(Duration::from_millis(after)).await;
        if let Some(pid) = pid.filter(|_| child() == pid) {
            kill("KILL", pid);
            killed.fetch_add(1, Ordering::Relaxed);
        }
        let (code, _, wrong) = verb.await.expect("it ends");
        println!("killed after {after} ms: {code} {wrong}");
        if code == 0 {
            // It had the place already, and with it everybody else goes.
            return;
        }
        assert!(wrong.contains("goes on as before"), "{wrong}");
        assert_eq!(line.request("echo", "here").await, Ok(b"here".to_vec()));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_service_manager_hears_who_serves_now_and_then_from_that_one() {
    let mut notified = Notified::start(OPEN);
    let told = |notified: &Notified| notified.told().0;
    assert!(told(&notified).starts_with("READY=1\n"));
    let said = notified.site.verb(&["hand-over"]);
    let pid = said.trim_start_matches("handed over: process ").trim_end_matches(" serves");
    // systemd takes READY from the main process only: it hears which that is before.
    assert_eq!(told(&notified).trim_end(), format!("MAINPID={pid}"));
    assert!(told(&notified).starts_with("READY=1\n"));
    notified.server.process.wait().expect("it ends");
    // Signs of life are the new one's.
    for _ in 0..5 {
        notified.lives();
    }
    kill("TERM", pid.parse().expect("a number"));
    loop {
        let text = told(&notified);
        assert!(!text.starts_with("MAINPID"), "{text}");
        if text.starts_with("STOPPING=1\n") {
            break;
        }
    }
}

/// Once what a server was told to read again while it was handed over was read by neither of the two.
#[tokio::test(flavor = "multi_thread")]
async fn a_configuration_that_changes_while_a_server_is_handed_over_is_read_by_the_new_one() {
    let mut handed = Handed::start("", OPEN);
    // For whoever may still ask for something it is waited for a second, long after the new one has read its configuration.
    let _silent = std::net::TcpStream::connect(("127.0.0.1", handed.port)).expect("it listens");
    let (first, config) = (handed.serving(), handed.site.config());
    let changed = handing::config(handed.port, "", "[[rule]]\nopen = [\"*\"]\n[[rule]]\nopen = [\"r\"]\n");
    let changing = std::thread::spawn(move || {
        std::thread::sleep(Duration::from_millis(600));
        fs::write(config, changed).expect("written");
        kill("HUP", first);
    });
    tokio::task::block_in_place(|| handed.hand_over());
    changing.join().expect("no panic");
    logged(&handed.site, "the owner has read the policy again", 1);
    assert!(handed.site.verb(&["reload"]).contains("2 rules"));
}

#[test]
fn nobody_takes_a_place_that_no_server_has_given() {
    let site = Site::new("");
    let state = site.state();
    let (code, _, wrong) = try_verb(&state, &["serve", "--take-over", "--url", "https://a.example", "--behind-proxy"]);
    assert!(code == 2 && wrong.contains("duologue hand-over"), "{wrong}");
    let (code, _, wrong) = try_verb(&state, &["hand-over"]);
    assert!(code == 1 && wrong.contains("there is no server's state"), "{wrong}");
    let dev = site.start_with("dev");
    let (code, _, wrong) = site.try_verb(&["hand-over"]);
    assert!(code == 1 && wrong.contains("`duologue serve` can"), "{wrong}");
    drop(dev);
}

/// By Debian's systemd, whose `systemd-socket-activate` opens sockets as its socket units do.
#[test]
fn a_service_manager_opens_the_sockets_of_lines_and_status() {
    use std::process::Command;
    if Command::new("systemd-socket-activate").arg("--version").output().is_err() {
        println!("skipped: needs systemd-socket-activate (Debian's systemd)");
        return;
    }
    let site = Site::new(OPEN);
    let (file, state) = (site.config(), site.state());
    let activate = |names: &str, lines: u16, status: u16| {
        let log = fs::File::options().create(true).append(true).open(site.directory.path().join("log")).expect("a log");
        let mut command = Command::new("systemd-socket-activate");
        command.args(["-l", &format!("127.0.0.1:{lines}"), "-l", &format!("127.0.0.1:{status}"), "--fdname", names]);
        command.arg(site::BINARY).args(["serve", "--url", "https://a.example", "--behind-proxy"]);
        // Where it says that it listens counts no more.
        command.args(["--listen", "127.0.0.1:1", "--state"]).arg(&state).arg("--config").arg(&file);
        Server { process: command.env_remove("RUST_LOG").stderr(log).spawn().expect("it starts") }
    };
    let ask = |port: u16, host: &str| {
        let begun = std::time::Instant::now();
        loop {
            if let Ok(tcp) = std::net::TcpStream::connect(("127.0.0.1", port)) {
                let (mut reader, mut writer) = (&tcp, &tcp);
                let request = format!("GET /health HTTP/1.1\r\nhost: {host}\r\nconnection: close\r\n\r\n");
                let mut answer = String::new();
                std::io::Write::write_all(&mut writer, request.as_bytes()).expect("written");
                let _ = std::io::Read::read_to_string(&mut reader, &mut answer);
                return answer;
            }
            assert!(begun.elapsed() < Duration::from_secs(20), "{}", site.log());
            std::thread::sleep(Duration::from_millis(20));
        }
    };
    let (lines, status) = (running::free_port(), running::free_port());
    let mut server = activate("lines:status", lines, status);
    assert!(ask(lines, "a.example").starts_with("HTTP/1.1 404"), "{}", site.log());
    assert!(ask(status, "a").contains("ok"), "{}", site.log());
    // They go on to whoever takes the place.
    let said = site.verb(&["hand-over"]);
    assert!(ask(lines, "a.example").starts_with("HTTP/1.1 404") && ask(status, "a").contains("ok"));
    let pid = said.trim_start_matches("handed over: process ").trim_end_matches(" serves");
    server.process.wait().expect("it ends");
    kill("TERM", pid.parse().expect("a number"));
    let stopping = std::time::Instant::now();
    // It may end while it answers.
    while !matches!(site.try_verb(&["state"]), (0, said, _) if !said.contains("runs")) {
        assert!(stopping.elapsed() < Duration::from_secs(10));
        std::thread::sleep(Duration::from_millis(50));
    }
    // A name that nobody knows ends it as a wrong configuration does.
    let (lines, status) = (running::free_port(), running::free_port());
    let mut server = activate("lines:other", lines, status);
    ask(lines, "a.example");
    assert_eq!(server.process.wait().expect("it ends").code(), Some(2));
    logged(&site, "FileDescriptorName= is lines, status or http", 1);
}
