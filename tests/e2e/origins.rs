//! Which pages `serve` and `dev` speak with. Only a hand-made client can send an `Origin` that is not its own.

use duologue::{CloseCode, ConnectionError};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio_rustls::TlsConnector;

use crate::{
    raw::{Device, Place, Raw},
    server::{SERVED_NAME, Server, invite_of, refused},
    tls, within,
};

const OWN: &str = "https://duologue.example";
const LISTED: &str = "https://app.example";
const FOREIGN: &str = "https://evil.example";
const EXTENSION: &str = "chrome-extension://abcdefghijklmnopabcdefghijklmnop";
const APP: &str = "capacitor://localhost";

/// The server's verdict on a page of `origin` that says it is of `claimed` and has opened `host`.
async fn verdict(server: &Server, place: &Place, origin: Option<&str>, claimed: &str, host: Option<&str>) -> CloseCode {
    let (invite, device) = (invite_of(&server.invite("24h").await), Device::new());
    let raw = Raw { origin, claimed_origin: Some(claimed), claimed_host: host, ..Raw::new(place, &invite, &device) };
    match raw.open().await {
        Ok(_) => CloseCode::Normal,
        Err(ConnectionError::PeerClosed(close)) => close.code,
        Err(error) => panic!("the server should have said why, but: {error:?}"),
    }
}

#[tokio::test]
async fn serve_accepts_its_own_and_the_listed_origins_and_refuses_others() {
    let server = Server::serve(&["--origin", LISTED]).await;
    let place = Place::served(&server);
    assert_eq!(verdict(&server, &place, Some(OWN), OWN, None).await, CloseCode::Normal);
    assert_eq!(verdict(&server, &place, Some(LISTED), LISTED, None).await, CloseCode::Normal);
    assert_eq!(verdict(&server, &place, Some(FOREIGN), FOREIGN, None).await, CloseCode::OriginRefused);
    assert_eq!(
        verdict(&server, &place, Some(FOREIGN), OWN, None).await,
        CloseCode::OriginRefused,
        "claims do not help"
    );
    assert_eq!(verdict(&server, &place, Some(OWN), FOREIGN, None).await, CloseCode::OriginRefused);
    assert_eq!(verdict(&server, &place, Some("null"), "null", None).await, CloseCode::OriginRefused);
    assert_eq!(verdict(&server, &place, Some("http://duologue.example"), OWN, None).await, CloseCode::OriginRefused);
    assert_eq!(verdict(&server, &place, None, "", None).await, CloseCode::Normal, "a native client");
    assert_eq!(verdict(&server, &place, None, "", Some("evil.example")).await, CloseCode::HostMismatch);
    assert_eq!(server.devices().await.len(), 3, "refused devices are not enrolled");
}

#[tokio::test]
async fn without_a_list_serve_accepts_its_own_origin_only() {
    let server = Server::serve(&["--no-native-clients"]).await;
    let place = Place::served(&server);
    assert_eq!(verdict(&server, &place, Some(OWN), OWN, None).await, CloseCode::Normal);
    assert_eq!(verdict(&server, &place, Some(LISTED), LISTED, None).await, CloseCode::OriginRefused);
    assert_eq!(verdict(&server, &place, None, "", None).await, CloseCode::OriginRefused, "native clients are barred");
}

#[tokio::test]
async fn dev_accepts_pages_of_this_machine_on_any_port_and_refuses_others() {
    let server = Server::dev().await;
    let place = Place::dev(&server);
    for origin in ["https://localhost:1", "http://127.0.0.1:5173", "https://[::1]:8443"] {
        assert_eq!(verdict(&server, &place, Some(origin), origin, None).await, CloseCode::Normal, "{origin}");
    }
    for origin in [FOREIGN, "https://localhost.evil.example", "null"] {
        assert_eq!(verdict(&server, &place, Some(origin), origin, None).await, CloseCode::OriginRefused, "{origin}");
    }
    assert_eq!(verdict(&server, &place, None, "", Some("evil.example:8443")).await, CloseCode::HostMismatch);
}

#[tokio::test]
async fn a_refused_origin_does_not_burn_the_invite() {
    let server = Server::serve(&[]).await;
    let place = Place::served(&server);
    let (invite, device) = (invite_of(&server.invite("24h").await), Device::new());
    let foreign = Raw { origin: Some(FOREIGN), ..Raw::new(&place, &invite, &device) };
    assert!(foreign.open().await.is_err());
    let other = Device::new();
    assert!(Raw { origin: Some(OWN), ..Raw::new(&place, &invite, &other) }.open().await.is_ok());
}

/// What the server at [`OWN`] answers to a request, head and body.
async fn answer(server: &Server, request: &str) -> String {
    let tcp = tokio::net::TcpStream::connect(("127.0.0.1", server.port)).await.expect("somebody listens");
    let name = SERVED_NAME.try_into().expect("a name");
    let connector = TlsConnector::from(tls::client(&[server.certificate()]));
    let mut stream = within(20, "TLS", connector.connect(name, tcp)).await.expect("TLS is fine");
    let request = format!("{request}\r\nhost: {SERVED_NAME}\r\nconnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await.expect("it is read");
    let mut answer = String::new();
    // Without TLS's own farewell, as many servers end.
    let _ = within(20, "an answer", stream.read_to_string(&mut answer)).await;
    answer
}

#[tokio::test]
async fn a_page_of_a_listed_origin_can_read_that_the_listener_is_there() {
    let server = Server::serve(&["--origin", LISTED, "--app-origin", APP]).await;
    for (origin, allowed) in [(OWN, true), (LISTED, true), (APP, true), (FOREIGN, false), ("null", false)] {
        let answer = answer(&server, &format!("GET /.well-known/duologue HTTP/1.1\r\norigin: {origin}")).await;
        assert!(answer.starts_with("HTTP/1.1 204"), "{origin}: {answer}");
        let readable = answer.contains(&format!("access-control-allow-origin: {origin}\r\n"));
        assert_eq!(readable, allowed, "{origin}: {answer}");
    }
    let preflight = "OPTIONS /.well-known/duologue HTTP/1.1\r\naccess-control-request-method: GET\r\n\
                     access-control-request-private-network: true\r\norigin: ";
    let granted = "access-control-allow-private-network: true";
    assert!(answer(&server, &format!("{preflight}{LISTED}")).await.contains(granted));
    assert!(!answer(&server, &format!("{preflight}{FOREIGN}")).await.contains(granted));
}

#[tokio::test]
async fn serve_takes_listed_extensions_as_pages_and_listed_apps_as_native_clients() {
    let apps = ["tauri://localhost", "http://tauri.localhost", "https://localhost", "ionic://localhost"];
    let mut flags = vec!["--origin", EXTENSION, "--app-origin", APP];
    flags.extend(apps.iter().flat_map(|origin| ["--app-origin", *origin]));
    let server = Server::serve(&flags).await;
    let place = Place::served(&server);
    for origin in [EXTENSION, APP].iter().chain(&apps) {
        assert_eq!(verdict(&server, &place, Some(origin), origin, None).await, CloseCode::Normal, "{origin}");
        assert_eq!(verdict(&server, &place, Some(origin), OWN, None).await, CloseCode::OriginRefused, "{origin}");
        let host = origin.split_once("://").expect("an origin").1;
        assert_eq!(
            verdict(&server, &place, Some(origin), origin, Some(host)).await,
            CloseCode::HostMismatch,
            "{origin}: its host is none of the server's"
        );
    }
    for origin in ["chrome-extension://ponmlkjihgfedcbaponmlkjihgfedcba", "app://localhost", "moz-extension://1"] {
        assert_eq!(verdict(&server, &place, Some(origin), origin, None).await, CloseCode::OriginRefused, "{origin}");
    }
}

#[tokio::test]
async fn without_native_clients_a_listed_app_is_refused_and_the_owner_is_told() {
    let server = Server::serve(&["--no-native-clients", "--origin", EXTENSION, "--app-origin", APP]).await;
    let place = Place::served(&server);
    assert_eq!(verdict(&server, &place, Some(EXTENSION), EXTENSION, None).await, CloseCode::Normal);
    assert_eq!(verdict(&server, &place, Some(APP), APP, None).await, CloseCode::OriginRefused);
    server.stderr.with("apps of this origin are refused").await;
}

#[tokio::test]
async fn dev_takes_apps_of_this_machine_as_native_clients_only() {
    let server = Server::dev().await;
    let place = Place::dev(&server);
    assert_eq!(verdict(&server, &place, Some(APP), APP, None).await, CloseCode::Normal);
    let server = Server::dev_with(&["--no-native-clients", "--origin", EXTENSION]).await;
    let place = Place::dev(&server);
    assert_eq!(verdict(&server, &place, Some(APP), APP, None).await, CloseCode::OriginRefused);
    assert_eq!(verdict(&server, &place, Some(EXTENSION), EXTENSION, None).await, CloseCode::Normal);
}

#[tokio::test]
async fn an_origin_in_the_wrong_list_is_refused_at_the_start() {
    let serve = ["serve", "--url", OWN, "--behind-proxy", "--listen", "127.0.0.1:0"];
    for (flag, origin, words) in [
        ("--origin", "capacitor://localhost", "list it with --app-origin"),
        ("--origin", "tauri://localhost", "list it with --app-origin"),
        ("--origin", "http://tauri.localhost", "list it with --app-origin"),
        ("--origin", "https://localhost", "list it with --app-origin"),
        ("--origin", "file://", "list it with --app-origin"),
        ("--origin", "null", "sandboxed frame"),
        ("--origin", "https://*.example.org", "has a wildcard"),
        ("--origin", "*", "has a wildcard"),
        ("--origin", "chrome-extension://*", "has a wildcard"),
        (
            "--origin",
            "https://app.example/",
            "is no origin: write scheme, host and port only, such as https://app.example",
        ),
        ("--origin", "app.example", "such as https://app.example"),
        ("--app-origin", "https://app.example", "list it with --origin"),
        ("--app-origin", "chrome-extension://abcdefghijklmnopabcdefghijklmnop", "list it with --origin"),
        ("--app-origin", "null", "sandboxed frame"),
        ("--app-origin", "capacitor://*", "has a wildcard"),
        ("--app-origin", "capacitor://localhost/", "is no origin"),
    ] {
        let said = refused(&[&serve[..], &[flag, origin]].concat()).await;
        assert!(said.contains(words) && said.contains(flag), "{flag} {origin}: {said}");
    }
}
