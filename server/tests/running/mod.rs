//! The binary started with arguments and an environment of its own, and certificates to give it.
#![allow(dead_code, reason = "each test file has its own use for it")]

use std::{
    fs,
    io::{BufRead, BufReader},
    net::TcpListener,
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use crate::site::{BINARY, Server, Site};

/// A certificate for these names, and its key, written beside the configuration.
pub(crate) fn certificate(site: &Site, name: &str, names: &[&str]) {
    let names: Vec<_> = names.iter().map(|&name| name.to_owned()).collect();
    let made = rcgen::generate_simple_self_signed(names).expect("it is made");
    site.write(&format!("{name}.pem"), made.cert.pem());
    site.write(&format!("{name}.key"), made.signing_key.serialize_pem());
}

pub(crate) fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").and_then(|socket| socket.local_addr()).expect("a free port").port()
}

/// Starts the binary, whose log goes into the site's; without waiting.
pub(crate) fn spawn(site: &Site, arguments: &[&str], environment: &[(&str, &str)]) -> Child {
    let log = fs::File::options().create(true).append(true).open(site.directory.path().join("log")).expect("a log");
    let mut command = Command::new(BINARY);
    command.args(arguments).env_remove("RUST_LOG").envs(environment.iter().copied());
    command.stdout(Stdio::piped()).stderr(log).spawn().expect("it starts")
}

/// The same, until it listens.
pub(crate) fn start(site: &Site, arguments: &[&str], environment: &[(&str, &str)]) -> Server {
    let mut process = spawn(site, arguments, environment);
    let mut line = String::new();
    BufReader::new(process.stdout.take().expect("piped")).read_line(&mut line).expect("text");
    assert!(line.starts_with("listening "), "{line}{}", site.log());
    Server { process }
}

pub(crate) fn signal(server: &Server, name: &str) {
    let sent = Command::new("kill").args([&format!("-{name}"), &server.process.id().to_string()]).status();
    assert!(sent.expect("kill is there").success());
}

/// Until the log has these words so often.
pub(crate) fn logged(site: &Site, words: &str, times: usize) {
    let begun = Instant::now();
    while site.log().matches(words).count() < times {
        assert!(begun.elapsed() < Duration::from_secs(20), "{times} times {words:?}: {}", site.log());
        std::thread::sleep(Duration::from_millis(20));
    }
}
