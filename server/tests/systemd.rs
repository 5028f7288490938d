//! What a service manager hears of a server, by a socket that the test has in its place.
#![allow(missing_docs, reason = "tests are named for their scenario")]

mod notified;
mod running;
mod site;

use std::{
    net::TcpStream,
    time::{Duration, Instant},
};

use notified::Notified;
use running::signal;

#[test]
fn a_service_manager_hears_of_start_reload_life_and_stop() {
    let mut notified = Notified::start("[[rule]]\nopen = [\"echo\"]\n");
    let (ready, _) = notified.told();
    assert!(ready.starts_with("READY=1\n") && ready.contains("STATUS=serves https://a.example"), "{ready}");
    assert!(TcpStream::connect(("127.0.0.1", notified.port)).is_ok(), "it can be reached");

    // Each reload is told to have ended, whatever has come of it.
    for (text, came) in [("[[rule]]\nopen = [\"a\"]\n", "read again"), ("[[rule]]\nopne = 1\n", "changed nothing")] {
        std::thread::sleep(Duration::from_secs(1));
        notified.site.configure(text);
        signal(&notified.server, "HUP");
        let (reloading, alive) = notified.told();
        assert!(reloading.starts_with("RELOADING=1\nMONOTONIC_USEC="), "{reloading}");
        println!("{alive} signs of life in a second, of 10");
        assert!((4..=16).contains(&alive), "{alive}");
        let (ready, _) = notified.told();
        assert!(ready.starts_with("READY=1\n"), "{came}: {ready}");
    }
    signal(&notified.server, "TERM");
    let (stopping, _) = notified.told();
    assert!(stopping.starts_with("STOPPING=1\n"), "{stopping}");
    let begun = Instant::now();
    while notified.server.process.try_wait().expect("it can be asked").is_none() {
        assert!(begun.elapsed() < Duration::from_secs(20));
        std::thread::sleep(Duration::from_millis(20));
    }
}
