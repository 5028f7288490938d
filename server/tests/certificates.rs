//! Certificate files that are renewed under a running server: which of them it shows, to whom, and what it says of broken ones.
#![allow(missing_docs, reason = "tests are named for their scenario")]

mod running;
mod shown;
mod site;

use std::{
    fs,
    process::{Command, Stdio},
    sync::Arc,
    time::{Duration, Instant},
};

use duologue_client::{Client, Keyring, Target, Tls};
use duologue_server::rustls::{
    ClientConfig,
    crypto::ring,
    pki_types::{CertificateDer, ServerName, pem::PemObject},
    version,
};
use running::{certificate, free_port, logged, signal, start};
use shown::{Looks, shown};
use site::Site;
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsConnector;

fn own(site: &Site, name: &str) -> CertificateDer<'static> {
    CertificateDer::from_pem_file(site.directory.path().join(format!("{name}.pem"))).expect("it is there")
}

/// As programs that renew do it: the new file in the place of the old one, key and chain one after the other.
fn renew(site: &Site, name: &str, names: &[&str]) {
    certificate(site, "new", names);
    for kind in ["key", "pem"] {
        let at = |name: &str| site.directory.path().join(format!("{name}.{kind}"));
        fs::rename(at("new"), at(name)).expect("renamed");
        std::thread::sleep(Duration::from_millis(300));
    }
}

fn until_shown(port: u16, name: &str, expected: &CertificateDer<'_>) -> Duration {
    let begun = Instant::now();
    while shown(port, name) != *expected {
        assert!(begun.elapsed() < Duration::from_secs(30), "the new certificate is not shown");
        std::thread::sleep(Duration::from_millis(100));
    }
    begun.elapsed()
}

#[tokio::test(flavor = "multi_thread")]
async fn renewed_files_are_shown_by_themselves_and_each_name_has_its_own() {
    let site = Site::new("");
    certificate(&site, "own", &["localhost", "one.example"]);
    certificate(&site, "two", &["two.example", "*.two.example"]);
    let port = free_port();
    site.configure(&format!(
        "[server]\nurl = \"https://localhost:{port}\"\nlisten = \"127.0.0.1:{port}\"\nstate = \"state\"\n\
         [[tls.certificate]]\ncert = \"own.pem\"\nkey = \"own.key\"\n[[tls.certificate]]\ncert = \"two.pem\"\nkey = \"two.key\"\n\
         [[rule]]\nopen = [\"echo\"]\n"
    ));
    let file = site.config();
    let server = start(&site, &["serve", "--config", file.to_str().expect("text")], &[]);
    for (name, expected) in [
        ("one.example", "own"),
        ("two.example", "two"),
        ("a.two.example", "two"),
        ("a.b.two.example", "own"),
        ("127.0.0.1", "own"),
        ("another.example", "own"),
    ] {
        assert_eq!(shown(port, name), own(&site, expected), "{name}");
    }
    let old = site.directory.path().join("old.pem");
    fs::copy(site.directory.path().join("own.pem"), &old).expect("copied");
    let target = Target::parse(&site.verb(&["invite", "new"])).expect("a link");
    let line = Client::new(Keyring::in_memory()).trusting(old).connect(&target).await.expect("the invite is good");
    assert_eq!(line.request("echo", "a").await, Ok(b"a".to_vec()));

    renew(&site, "own", &["localhost", "one.example"]);
    let renewed = own(&site, "own");
    let took = until_shown(port, "one.example", &renewed);
    println!("a renewed certificate was shown {took:?} after its files were there");
    assert_eq!(shown(port, "two.example"), own(&site, "two"));
    assert_eq!(line.request("echo", "b").await, Ok(b"b".to_vec()), "who is here stays");
    logged(&site, "the certificates were read again", 1);
    // At once, where somebody asks for it.
    renew(&site, "two", &["two.example"]);
    site.verb(&["reload"]);
    assert_eq!(shown(port, "two.example"), own(&site, "two"));
    assert_eq!(shown(port, "one.example"), renewed);
    // Another file by the configuration, which is read again.
    certificate(&site, "three", &["two.example"]);
    let text = fs::read_to_string(&file).expect("it is there").replace("two.", "three.");
    site.configure(&text);
    signal(&server, "HUP");
    until_shown(port, "two.example", &own(&site, "three"));
    assert_eq!(line.request("echo", "c").await, Ok(b"c".to_vec()));
    assert!(!site.log().contains("rewritten"), "nobody has rewritten anything: {}", site.log());
    drop(server);
}

#[test]
fn a_renewal_that_is_broken_leaves_what_was_shown_and_is_told_loudly() {
    let site = Site::new("");
    certificate(&site, "own", &["localhost"]);
    let port = free_port();
    let path = |name: &str| site.directory.path().join(name).display().to_string();
    let (url, listen, state) = (format!("https://localhost:{port}"), format!("127.0.0.1:{port}"), path("state"));
    let (cert, key) = (path("own.pem"), path("own.key"));
    let serve = ["serve", "--url", &url, "--listen", &listen, "--state", &state, "--cert", &cert, "--key", &key];
    let server = start(&site, &serve, &[]);
    let first = own(&site, "own");
    certificate(&site, "other", &["localhost"]);
    for (name, broken, said) in [
        ("own.pem", "-----BEGIN CERTIFICATE-----\nAAA".to_owned(), "own.pem"),
        ("own.pem", String::new(), "holds no certificate"),
        ("own.pem", fs::read_to_string(path("other.pem")).expect("it is there"), "is not that of the certificate in"),
    ] {
        site.write(name, &broken);
        let (code, _, told) = site.try_verb(&["reload"]);
        assert!(code == 1 && told.contains("nothing was changed") && told.contains(said), "{told}");
        logged(&site, said, 1);
        assert_eq!(shown(port, "localhost"), first);
    }
    fs::remove_file(path("own.key")).expect("removed");
    logged(&site, "cannot read a private key", 1);
    assert_eq!(shown(port, "localhost"), first);
    let log = site.log();
    assert!(log.contains("ERROR") && log.contains("the one from before is still shown"), "{log}");
    let told = log.matches("is still shown").count();
    println!("{told} times for 4 broken states");
    assert!((4..=6).contains(&told), "once for each, not with each look: {log}");
    // It mends by itself.
    renew(&site, "own", &["localhost"]);
    until_shown(port, "localhost", &own(&site, "own"));
    // Without a file there are still certificates to be read again.
    assert_eq!(site.verb(&["reload"]), "read again: the certificates; there is no --config");
    drop(server);
}

/// Suites and versions that OpenSSL itself does not take any more.
const OF_ANY_AGE: &str =
    "openssl_conf = a\n[a]\nssl_conf = b\n[b]\nsystem_default = c\n[c]\nCipherString = ALL:@SECLEVEL=0\n";
const WITHOUT_FORWARD_SECRECY: &str =
    "openssl_conf = a\n[a]\nssl_conf = b\n[b]\nsystem_default = c\n[c]\nCipherString = kRSA\n";
const WITHOUT_EXTENDED_MASTER_SECRET: &str =
    "openssl_conf = a\n[a]\nssl_conf = b\n[b]\nsystem_default = c\n[c]\nOptions = -ExtendedMasterSecret\n";

/// What `openssl s_client` agrees upon, by one version alone: its version and suite, or nothing.
fn by_openssl(port: u16, version: &str, configuration: &str) -> Option<(String, String)> {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let file = directory.path().join("openssl.cnf");
    fs::write(&file, configuration).expect("written");
    let said = Command::new("openssl")
        .args(["s_client", "-connect", &format!("127.0.0.1:{port}"), version, "-brief"])
        .env("OPENSSL_CONF", file)
        .stdin(Stdio::null())
        .output()
        .expect("openssl is there");
    let said = String::from_utf8_lossy(&said.stderr).into_owned();
    let of = |what: &str| said.lines().find_map(|line| line.strip_prefix(what)).map(|it| it.trim().to_owned());
    of("Protocol version:").zip(of("Ciphersuite:"))
}

/// A proxy of long ago: in clear on one side, TLS 1.2 on the other.
async fn old_proxy(listener: TcpListener, to: u16) {
    let config = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_protocol_versions(&[&version::TLS12])
        .expect("ring has suites of it")
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(Looks::default()))
        .with_no_client_auth();
    let connector = TlsConnector::from(Arc::new(config));
    while let Ok((mut client, _)) = listener.accept().await {
        let connector = connector.clone();
        tokio::spawn(async move {
            let server = TcpStream::connect(("127.0.0.1", to)).await.expect("it listens");
            let name = ServerName::try_from("localhost").expect("a name");
            let mut server = connector.connect(name, server).await.expect("TLS 1.2 is taken");
            let _ = tokio::io::copy_bidirectional(&mut client, &mut server).await;
        });
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn tls_1_2_is_taken_only_where_the_owner_says_so_and_a_line_over_it_is_told_of() {
    if Command::new("openssl").arg("version").output().is_err() {
        println!("skipped: needs openssl");
        return;
    }
    let site = Site::new("");
    certificate(&site, "own", &["localhost"]);
    let (port, listener) = (free_port(), TcpListener::bind("127.0.0.1:0").await.expect("a free port"));
    let near = listener.local_addr().expect("bound").port();
    let configure = |tls: &str| {
        site.configure(&format!(
            "[server]\nurl = \"https://127.0.0.1:{near}\"\nlisten = \"127.0.0.1:{port}\"\nstate = \"state\"\n\
             {tls}[[tls.certificate]]\ncert = \"own.pem\"\nkey = \"own.key\"\n[[rule]]\nopen = [\"echo\"]\n"
        ));
    };
    let file = site.config();
    let file = file.to_str().expect("text");
    configure("");
    assert!(!site.verb(&["check", file]).contains("TLS 1.2"));
    let server = start(&site, &["serve", "--config", file], &[]);
    assert_eq!(by_openssl(port, "-tls1_2", ""), None);
    assert!(by_openssl(port, "-tls1_3", "").is_some_and(|(version, _)| version == "TLSv1.3"));
    drop(server);
    assert!(!site.log().contains("TLS 1.2"));

    configure("[tls]\ntls12 = true\n");
    assert!(site.verb(&["check", file]).contains("TLS 1.2 is taken beside 1.3"));
    let server = start(&site, &["serve", "--config", file], &[]);
    logged(&site, "TLS 1.2 is taken beside 1.3", 1);
    let (spoken, suite) = by_openssl(port, "-tls1_2", "").expect("it is taken");
    assert!(spoken == "TLSv1.2" && suite.starts_with("ECDHE-"), "{spoken} {suite}");
    assert!(by_openssl(port, "-tls1_3", "").is_some_and(|(version, _)| version == "TLSv1.3"), "the newer one stays");
    for old in ["-tls1", "-tls1_1"] {
        assert_eq!(by_openssl(port, old, OF_ANY_AGE), None, "{old}");
    }
    assert_eq!(by_openssl(port, "-tls1_2", WITHOUT_FORWARD_SECRECY), None, "RSA's key exchange");
    assert_eq!(by_openssl(port, "-tls1_2", WITHOUT_EXTENDED_MASTER_SECRET), None, "RFC 7627");

    let proxy = tokio::spawn(old_proxy(listener, port));
    let target = site.target(&site.verb(&["invite", "new"]));
    let client = Client::new(Keyring::in_memory());
    let line = client.connect(&target).await.expect("the invite is good");
    let long = vec![7; 300_000];
    assert!(line.request("echo", long.clone()).await == Ok(long), "records of full length, both ways");
    let path = client.path(&line).await.expect("told");
    assert_eq!(path.seen.tls, Some(Tls::V12));
    proxy.abort();
    drop(server);
}
