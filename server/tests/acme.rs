//! Certificates that a server gets itself, of Debian's pebble, which is an issuer for tests, with its faults switched on too.
#![allow(missing_docs, reason = "tests are named for their scenario")]

mod running;
mod shown;
mod site;

use std::{
    fs,
    io::{Read as _, Write as _},
    net::{TcpStream, UdpSocket},
    os::unix::fs::PermissionsExt as _,
    process::{Child, Command},
    time::{Duration, Instant},
};

use duologue_server::rustls::pki_types::{CertificateDer, pem::PemObject as _};
use running::{certificate, free_port, logged, start};
use shown::shown;
use site::{Server, Site};

/// An issuer whose names all lead to this machine.
struct Issuer {
    processes: Vec<Child>,
    /// Where it looks for what it has asked to be shown.
    tls: u16,
    http: u16,
    port: u16,
}

impl Drop for Issuer {
    fn drop(&mut self) {
        for process in &mut self.processes {
            let _ = process.kill();
            let _ = process.wait();
        }
    }
}

impl Issuer {
    /// None where pebble is not there.
    fn new(site: &Site, tls: u16, http: u16, secs: u64, faults: &[(&str, &str)]) -> Option<Self> {
        let mut issuer = Self { processes: Vec::new(), tls, http, port: free_port() };
        certificate(site, "issuer", &["localhost"]);
        issuer.start(site, secs, faults).then_some(issuer)
    }

    fn start(&mut self, site: &Site, secs: u64, faults: &[(&str, &str)]) -> bool {
        let at = |name: &str| site.directory.path().join(name).display().to_string();
        let (dns, management) =
            (UdpSocket::bind("127.0.0.1:0").and_then(|it| it.local_addr()).expect("a port"), free_port());
        let config = serde_json::json!({ "pebble": {
            "listenAddress": format!("127.0.0.1:{}", self.port),
            "managementListenAddress": format!("127.0.0.1:{management}"),
            "certificate": at("issuer.pem"),
            "privateKey": at("issuer.key"),
            "httpPort": self.http,
            "tlsPort": self.tls,
            "ocspResponderURL": "",
            "certificateValidityPeriod": secs,
        }});
        site.write("pebble.json", config.to_string());
        let log = || fs::File::options().create(true).append(true).open(at("issuer.log")).expect("a log");
        let names = Command::new("pebble-challtestsrv")
            .args(["-defaultIPv4", "127.0.0.1", "-defaultIPv6", "", "-dns01", &dns.to_string(), "-http01", ""])
            .args(["-https01", "", "-tlsalpn01", "", "-management", &format!("127.0.0.1:{}", free_port())])
            .stdout(log())
            .stderr(log())
            .spawn();
        let Ok(names) = names else {
            println!("skipped: needs pebble (Debian's pebble), an issuer for tests");
            return false;
        };
        self.processes.push(names);
        let issuer = Command::new("pebble")
            .args(["-config", &at("pebble.json"), "-dnsserver", &dns.to_string()])
            .env("PEBBLE_VA_NOSLEEP", "1")
            .env("PEBBLE_WFE_NONCEREJECT", "0")
            .envs(faults.iter().copied())
            .stdout(log())
            .stderr(log())
            .spawn();
        self.processes.push(issuer.expect("pebble is there too"));
        let begun = Instant::now();
        while TcpStream::connect(("127.0.0.1", self.port)).is_err() {
            assert!(
                begun.elapsed() < Duration::from_secs(20),
                "{}",
                fs::read_to_string(at("issuer.log")).expect("a log")
            );
            std::thread::sleep(Duration::from_millis(20));
        }
        true
    }

    fn stop(&mut self) {
        for mut process in self.processes.drain(..) {
            process.kill().and_then(|()| process.wait()).expect("it ends");
        }
    }
}

/// A server with two names, which are this machine's for that issuer.
fn serve(site: &Site, port: u16, issuer: u16, http: Option<u16>) -> Server {
    let http = http.map(|http| format!("http = \"127.0.0.1:{http}\"\n")).unwrap_or_default();
    site.configure(&format!(
        "[server]\nurl = \"https://line.example\"\nlisten = \"127.0.0.1:{port}\"\nstate = \"state\"\n\
         [tls.acme]\nnames = [\"line.example\", \"two.line.example\"]\nagree_to_terms = true\nemail = \"owner@line.example\"\n\
         directory = \"https://localhost:{issuer}/dir\"\nca = \"issuer.pem\"\n{http}"
    ));
    let file = site.config();
    let file = file.to_str().expect("text");
    let said = site.try_verb(&["check", file]);
    assert_eq!(said.0, 0, "{said:?}");
    start(site, &["serve", "--config", file], &[])
}

fn until_kept(site: &Site, before: Option<&[u8]>) -> (Vec<u8>, Duration) {
    let (begun, path) = (Instant::now(), site.state().join("acme/certificate.pem"));
    loop {
        if let Ok(kept) = fs::read(&path)
            && before != Some(&kept[..])
        {
            return (kept, begun.elapsed());
        }
        assert!(begun.elapsed() < Duration::from_secs(40), "{}", site.log());
        std::thread::sleep(Duration::from_millis(100));
    }
}

/// How often the issuer has looked whether a name is ours.
fn looks(site: &Site) -> usize {
    let log = fs::read_to_string(site.directory.path().join("issuer.log")).expect("a log");
    log.matches("Pulled a task from the Tasks queue").count()
}

fn in_clear(port: u16, path: &str) -> String {
    let mut tcp = TcpStream::connect(("127.0.0.1", port)).expect("it listens");
    write!(tcp, "GET {path} HTTP/1.1\r\nhost: evil.example\r\nconnection: close\r\n\r\n").expect("written");
    let mut answer = String::new();
    tcp.read_to_string(&mut answer).expect("an answer");
    answer
}

#[test]
fn a_certificate_is_got_at_the_first_start_and_again_before_it_ends_while_the_issuer_refuses_nonces() {
    let (site, port) = (Site::new(""), free_port());
    let faults = [("PEBBLE_WFE_NONCEREJECT", "15"), ("PEBBLE_AUTHZREUSE", "100"), ("PEBBLE_CHAIN_LENGTH", "3")];
    let Some(issuer) = Issuer::new(&site, port, free_port(), 12, &faults) else { return };
    let server = serve(&site, port, issuer.port, None);
    // Until there is one, something is shown all the same.
    let placeholder = shown(port, "line.example");
    let try_again = || {
        if site.log().contains("no certificate could be got") {
            let _ = site.try_verb(&["reload"]);
        }
    };
    let begun = Instant::now();
    while !site.state().join("acme/certificate.pem").exists() {
        try_again();
        assert!(begun.elapsed() < Duration::from_secs(40), "{}", site.log());
        std::thread::sleep(Duration::from_millis(200));
    }
    let (first, _) = until_kept(&site, None);
    let chain = CertificateDer::pem_slice_iter(&first).count();
    assert_eq!(chain, 4, "three authorities stand between it and the root");
    let looked = looks(&site);
    assert!(looked >= 2, "each name was looked at");
    logged(&site, "a certificate was got by ACME", 1);
    println!("the first after {:?}", begun.elapsed());
    let first_shown = shown(port, "two.line.example");
    assert_ne!(first_shown, placeholder);
    for file in ["certificate.pem", "account.json"] {
        let mode = fs::metadata(site.state().join("acme").join(file)).expect("it is there").permissions().mode();
        assert_eq!(mode & 0o777, 0o600, "{file}");
    }
    let account = fs::read(site.state().join("acme/account.json")).expect("it is there");
    let begun = Instant::now();
    while fs::read(site.state().join("acme/certificate.pem")).expect("it is there") == first {
        try_again();
        assert!(begun.elapsed() < Duration::from_secs(40), "{}", site.log());
        std::thread::sleep(Duration::from_millis(200));
    }
    println!("renewed {:?} after the first, which was good for 12 s", begun.elapsed());
    assert!(begun.elapsed() > Duration::from_secs(5), "not before its time");
    logged(&site, "a certificate was got by ACME", 2);
    assert_ne!(shown(port, "line.example"), first_shown);
    assert_eq!(fs::read(site.state().join("acme/account.json")).expect("it is there"), account, "the account stays");
    assert_eq!(looks(&site), looked, "what the issuer has looked at is good for the next order too");
    drop(server);
}

#[test]
fn a_renewal_that_fails_is_told_loudly_with_the_days_left_and_http_is_tried_where_port_80_is_ours() {
    let (site, port, http, elsewhere) = (Site::new(""), free_port(), free_port(), free_port());
    // It looks for TLS where nobody is.
    let Some(mut issuer) = Issuer::new(&site, elsewhere, http, 3_600, &[]) else { return };
    let server = serve(&site, port, issuer.port, Some(http));
    logged(&site, "no certificate could be got by ACME", 1);
    let refused = site.log();
    assert!(refused.contains("there is no certificate yet") && refused.contains("line.example: "), "{refused}");
    // Nor is the issuer there by now.
    issuer.stop();
    site.verb(&["reload"]);
    logged(&site, "no certificate could be got by ACME", 2);
    assert!(site.log().contains("Connection refused"), "{}", site.log());
    assert!(in_clear(http, "/a?b=c").contains("location: https://line.example/a?b=c\r\n"));
    assert!(in_clear(http, "/.well-known/acme-challenge/nobody").starts_with("HTTP/1.1 404"));
    // Mended, and tried again at once; this issuer takes its time to look.
    assert!(issuer.start(&site, 3_600, &[("PEBBLE_VA_NOSLEEP", "0"), ("PEBBLE_VA_SLEEPTIME", "2")]));
    let mut tries = 2;
    let begun = Instant::now();
    while !site.state().join("acme/certificate.pem").exists() {
        let failures = site.log().matches("no certificate could be got").count();
        if failures >= tries {
            tries = failures + 1;
            site.verb(&["reload"]);
        }
        assert!(begun.elapsed() < Duration::from_secs(60), "{}", site.log());
        std::thread::sleep(Duration::from_millis(100));
    }
    println!("got after {:?}, by try {tries}", begun.elapsed());
    logged(&site, "a certificate was got by ACME", 1);
    let kept = shown(port, "line.example");
    drop(server);
    // It is there at the next start, without the issuer.
    issuer.stop();
    let server = serve(&site, port, issuer.port, Some(http));
    assert_eq!(shown(port, "two.line.example"), kept);
    drop(server);
}

#[test]
fn a_table_that_no_issuer_could_serve_is_refused_by_check_with_its_place() {
    let site = Site::new("");
    let file = site.config();
    for (table, why) in [
        ("names = [\"*.line.example\"]\nagree_to_terms = true", "a.toml:4:10: \"*.line.example\" is no name"),
        ("names = [\"line.example\"]", "a.toml:3:1: `agree_to_terms = true` says that you agree"),
        ("agree_to_terms = true\ndirectory = \"http://a.example\"", "is no https address"),
        ("agree_to_terms = true\nemail = \"me\"", "is no address of a mailbox"),
        ("agree_to_terms = true\nca = \"gone.pem\"", "gone.pem"),
        ("agree_to_terms = true\nnmaes = []", "did you mean `names`?"),
    ] {
        site.configure(&format!("[server]\nurl = \"https://line.example\"\n[tls.acme]\n{table}\n"));
        let (code, _, wrong) = site.try_verb(&["check", file.to_str().expect("text")]);
        assert!(code != 0 && wrong.contains(why), "{table}: {wrong}");
    }
    site.configure("[server]\nurl = \"https://192.0.2.7\"\n[tls.acme]\nagree_to_terms = true\n");
    let (code, _, wrong) = site.try_verb(&["check", file.to_str().expect("text")]);
    assert!(code == 2 && wrong.contains("\"192.0.2.7\" is no name"), "{wrong}");
}
