//! What a service manager hears of a server, by a socket that the test has in its place.
#![allow(missing_docs, reason = "tests are named for their scenario")]

mod running;
mod site;

use std::{
    net::TcpStream,
    os::unix::net::UnixDatagram,
    time::{Duration, Instant},
};

use running::{free_port, signal, spawn};
use site::{Server, Site};

/// What is told next that is no sign of life; and how many of those came before it.
fn told(manager: &UnixDatagram) -> (String, usize) {
    let (mut alive, mut bytes) = (0, [0; 1_024]);
    loop {
        let len = manager.recv(&mut bytes).expect("in time");
        let text = String::from_utf8_lossy(&bytes[..len]).into_owned();
        if text.trim_end() != "WATCHDOG=1" {
            return (text, alive);
        }
        alive += 1;
    }
}

#[test]
fn a_service_manager_hears_of_start_reload_life_and_stop() {
    let site = Site::new("[[rule]]\nopen = [\"echo\"]\n");
    let path = site.directory.path().join("notify");
    let manager = UnixDatagram::bind(&path).expect("a socket");
    manager.set_read_timeout(Some(Duration::from_secs(20))).expect("a time");
    let (file, state, port) = (site.config(), site.state(), free_port());
    let listen = format!("127.0.0.1:{port}");
    let (file, state) = (file.to_str().expect("text"), state.to_str().expect("text"));
    let arguments = [
        "serve",
        "--url",
        "https://a.example",
        "--behind-proxy",
        "--listen",
        &listen,
        "--state",
        state,
        "--config",
        file,
    ];
    let environment = [("NOTIFY_SOCKET", path.to_str().expect("text")), ("WATCHDOG_USEC", "200000")];
    let mut server = Server { process: spawn(&site, &arguments, &environment) };
    let (ready, _) = told(&manager);
    assert!(ready.starts_with("READY=1\n") && ready.contains("STATUS=serves https://a.example"), "{ready}");
    assert!(TcpStream::connect(("127.0.0.1", port)).is_ok(), "it can be reached");

    // Each reload is told to have ended, whatever has come of it.
    for (text, came) in [("[[rule]]\nopen = [\"a\"]\n", "read again"), ("[[rule]]\nopne = 1\n", "changed nothing")] {
        std::thread::sleep(Duration::from_secs(1));
        site.configure(text);
        signal(&server, "HUP");
        let (reloading, alive) = told(&manager);
        assert!(reloading.starts_with("RELOADING=1\nMONOTONIC_USEC="), "{reloading}");
        println!("{alive} signs of life in a second, of 10");
        assert!((4..=16).contains(&alive), "{alive}");
        let (ready, _) = told(&manager);
        assert!(ready.starts_with("READY=1\n"), "{came}: {ready}");
    }
    signal(&server, "TERM");
    let (stopping, _) = told(&manager);
    assert!(stopping.starts_with("STOPPING=1\n"), "{stopping}");
    let begun = Instant::now();
    while server.process.try_wait().expect("it can be asked").is_none() {
        assert!(begun.elapsed() < Duration::from_secs(20));
        std::thread::sleep(Duration::from_millis(20));
    }
}
