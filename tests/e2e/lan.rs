//! `dev --lan`: a phone in the same network opens what is printed. This machine plays the phone, by its network address.

use std::net::SocketAddr;

use duologue_client::Client;
use serde_json::{Value, json};
use url::Url;

use crate::{
    browser::{Browser, Profile},
    page::enrolled,
    server::{Server, target},
    tls::Trust,
    within,
};

/// Whether this machine has an address that another could open; a build machine in a container may have none.
fn has_network() -> bool {
    let way_out = std::net::UdpSocket::bind("0.0.0.0:0").and_then(|socket| {
        socket.connect("198.51.100.1:9")?;
        socket.local_addr()
    });
    let has = way_out.is_ok_and(|address| !address.ip().is_loopback() && !address.ip().is_unspecified());
    if !has {
        eprintln!("skipped: this machine has no network address");
    }
    has
}

/// The addresses that `dev --lan` prints beside that of its link, and that one first.
async fn addresses(server: &Server) -> Vec<Url> {
    let others = server.stderr.with("The same server is at ").await;
    let others = others.split_once(" is at ").expect("it says where").1;
    let link = Url::parse(server.link()).expect("a link");
    let own = link.join("/").expect("an address");
    std::iter::once(own).chain(others.split(", ").map(|address| Url::parse(address).expect("an address"))).collect()
}

#[tokio::test]
async fn every_address_that_lan_prints_leads_to_the_server() {
    if !has_network() {
        return;
    }
    let server = Server::dev_with(&["--lan"]).await;
    let addresses = addresses(&server).await;
    assert!(addresses.len() >= 2, "{addresses:?}");
    assert!(addresses[..addresses.len() - 1].iter().all(|url| url.host_str() != Some("localhost")), "{addresses:?}");
    assert_eq!(addresses.last().and_then(Url::host_str), Some("localhost"));
    for address in &addresses {
        let link = server.invite("24h").await;
        assert!(link.starts_with(addresses[0].as_str()), "{link}: by default where a phone finds it");
        let link = format!("{address}#{}", link.split_once('#').expect("an invite").1);
        let directory = tempfile::TempDir::with_prefix("duologue-device-").unwrap();
        let certificate = server.directory().join("tls-cert.pem");
        let client = Client::open(directory.path().join("device")).unwrap().trusting(certificate);
        let line = within(20, "the line", client.connect(&target(&link))).await.expect("the certificate has it");
        assert_eq!(within(20, "an echo", line.request("echo", "near")).await.unwrap(), b"near", "{address}");
    }
}

#[tokio::test]
async fn lan_shows_its_link_as_a_code_in_the_terminal() {
    if !has_network() {
        return;
    }
    let server = Server::dev_with(&["--lan"]).await;
    server.stderr.with("The same server is at").await;
    let code = qrcodegen::QrCode::encode_text(server.link(), qrcodegen::QrCodeEcc::Low).expect("short");
    let shown =
        server.stderr.seen().into_iter().map(|line| line.replace("\u{1b}[30;107m", "").replace("\u{1b}[0m", ""));
    let blocks =
        shown.filter(|line| !line.is_empty() && line.trim_end_matches('\r').chars().all(|char| " █▀▄".contains(char)));
    let blocks: Vec<Vec<char>> = blocks.map(|line| line.trim_end_matches('\r').chars().collect()).collect();
    let is_dark = |x: i32, y: i32| {
        let at = |value: i32| usize::try_from(value).expect("a margin");
        let pair = blocks[at(y + 2) / 2][at(x + 2)];
        pair == '█' || pair == if (y + 2) % 2 == 0 { '▀' } else { '▄' }
    };
    for y in 0..code.size() {
        for x in 0..code.size() {
            assert_eq!(is_dark(x, y), code.get_module(x, y), "{x}, {y}");
        }
    }
}

#[tokio::test]
async fn a_state_that_was_made_for_this_machine_gets_a_certificate_for_the_network() {
    if !has_network() {
        return;
    }
    let server = Server::dev().await;
    let before = Trust::in_development(server.directory()).leaf;
    let server = server.restarted_with(&["--lan"]).await;
    let after = Trust::in_development(server.directory()).leaf;
    assert_ne!(before, after);
    let server = server.restarted_with(&["--lan"]).await;
    assert_eq!(Trust::in_development(server.directory()).leaf, after, "it is made once");
    let server = server.restarted_with(&[]).await;
    assert_eq!(Trust::in_development(server.directory()).leaf, after, "and good for this machine as well");
    assert!(server.link().starts_with("https://localhost:"));
}

#[tokio::test]
async fn without_lan_nothing_but_this_machine_is_listened_to() {
    if !has_network() {
        return;
    }
    let lan = Server::dev_with(&["--lan"]).await;
    let host = addresses(&lan).await[0].host_str().expect("a host").trim_matches(['[', ']']).to_owned();
    drop(lan);
    let server = Server::dev().await;
    let address = SocketAddr::new(host.parse().expect("an address"), server.port);
    let refused = within(20, "a refusal", tokio::net::TcpStream::connect(address)).await;
    assert!(refused.is_err(), "{address} answers");
}

#[tokio::test]
async fn browser_a_page_opened_by_a_network_address_has_its_line_and_gives_that_address_on() {
    if !has_network() {
        return;
    }
    let server = Server::dev_with(&["--lan"]).await;
    let address = addresses(&server).await[0].clone();
    let (_profile, browser) = enrolled(&server).await;
    assert_eq!(browser.url().await, address.as_str());
    assert_eq!(browser.echo(b"near").await.unwrap(), b"near");
    browser.click("#pair").await;
    browser.wait_until("document.querySelector('.qr path')").await;
    assert!(browser.text(".pair-link").await.starts_with(address.as_str()));
    assert!(browser.text("#pair-panel").await.contains("point its camera"));
    browser.finish().await;
}

#[tokio::test]
async fn browser_without_lan_the_pairing_says_that_it_is_for_this_machine_only() {
    let server = Server::dev().await;
    let browser = Browser::start(&Profile::trusting(server.trust())).await;
    browser.open(server.link()).await;
    browser.wait_for_state("open").await;
    browser.click("#pair").await;
    browser.wait_until("document.querySelector('.qr path')").await;
    let panel = browser.text("#pair-panel").await;
    assert!(panel.contains("this machine only") && panel.contains("duologue dev --lan"), "{panel}");
    assert!(!panel.contains("camera"), "{panel}");
    browser.click("[data-language=fr]").await;
    browser.wait_until("document.querySelector('#pair-panel').innerText.includes('cette machine seulement')").await;
    assert_eq!(browser.run("return document.querySelectorAll('.qr').length", Value::Null).await, json!(1));
    browser.finish().await;
}

#[tokio::test]
async fn a_machine_without_a_network_is_told_so_in_one_sentence() {
    let state = tempfile::TempDir::with_prefix("duologue-state-").unwrap();
    let mut apart = tokio::process::Command::new("unshare");
    apart.args(["--map-root-user", "--net"]).arg(crate::server::binary()).args(["dev", "--lan", "--port", "0"]);
    apart.env("DUOLOGUE_STATE", state.path().join("state")).kill_on_drop(true);
    let Ok(output) = within(20, "a refusal", apart.output()).await else {
        eprintln!("skipped: there is no unshare");
        return;
    };
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    if said.starts_with("unshare:") {
        eprintln!("skipped: {said}");
        return;
    }
    assert!(!output.status.success());
    assert!(
        said.starts_with("duologue: --lan: this machine has no address in any network") && said.lines().count() == 1,
        "{said}"
    );
    assert!(!state.path().join("state").exists(), "nothing is made before");
}
