//! A server behind a proxy, whose service manager is the test: what it is told comes by a socket that the test has.
#![allow(dead_code, reason = "each test file has its own use for it")]

use std::{os::unix::net::UnixDatagram, time::Duration};

use crate::{
    running::{free_port, spawn},
    site::{Server, Site},
};

pub(crate) struct Notified {
    /// Before its directory, which goes last.
    pub(crate) server: Server,
    pub(crate) site: Site,
    pub(crate) port: u16,
    manager: UnixDatagram,
}

fn is_alive(text: &str) -> bool {
    text.trim_end() == "WATCHDOG=1"
}

impl Notified {
    /// At `https://a.example`, by this configuration; it is to give five signs of life in a second, and gives ten.
    pub(crate) fn start(config: &str) -> Self {
        let (site, port) = (Site::new(config), free_port());
        let path = site.directory.path().join("notify");
        let manager = UnixDatagram::bind(&path).expect("a socket");
        manager.set_read_timeout(Some(Duration::from_secs(20))).expect("a time");
        let (file, state, listen) = (site.config(), site.state(), format!("127.0.0.1:{port}"));
        let (file, state) = (file.to_str().expect("text"), state.to_str().expect("text"));
        let site_of_it = ["serve", "--url", "https://a.example", "--behind-proxy", "--listen", &listen];
        let arguments = [&site_of_it[..], &["--state", state, "--config", file]].concat();
        let environment = [("NOTIFY_SOCKET", path.to_str().expect("text")), ("WATCHDOG_USEC", "200000")];
        let server = Server { process: spawn(&site, &arguments, &environment) };
        Self { server, site, port, manager }
    }

    /// What is told next that is no sign of life; and how many of those came before it.
    pub(crate) fn told(&self) -> (String, usize) {
        let mut alive = 0;
        loop {
            let text = self.next();
            if !is_alive(&text) {
                return (text, alive);
            }
            alive += 1;
        }
    }

    /// Waits for the next sign of life.
    pub(crate) fn lives(&self) {
        while !is_alive(&self.next()) {}
    }

    fn next(&self) -> String {
        let mut bytes = [0; 1_024];
        let len = self.manager.recv(&mut bytes).expect("in time");
        String::from_utf8_lossy(&bytes[..len]).into_owned()
    }
}
