//! Which pages `serve` and `dev` speak with. Only a hand-made client can send an `Origin` that is not its own.

use duologue::{CloseCode, ConnectionError};

use crate::{
    raw::{Device, Place, Raw},
    server::{Server, invite_of},
};

const OWN: &str = "https://duologue.example";
const LISTED: &str = "https://app.example";
const FOREIGN: &str = "https://evil.example";

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
