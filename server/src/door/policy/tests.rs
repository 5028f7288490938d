//! Which pages, apps and hosts are taken.

use std::net::IpAddr;

use duologue::Claims;

use super::*;

const APP: &str = "capacitor://localhost";
const EXTENSION: &str = "chrome-extension://abcdefghijklmnopabcdefghijklmnop";

fn judge(policy: &Policy, header: Option<&str>, claimed: &str, host: &str) -> Result<(), CloseCode> {
    let (origin, app_origin) = policy.seen(header.map(str::to_owned));
    let transport = Transport { address: IpAddr::from([192, 0, 2, 1]), origin, app_origin, ..Transport::default() };
    policy.judge(&transport, &Claims { origin: claimed.to_owned(), host: host.to_owned(), name: String::new() })
}

fn example() -> Policy {
    Policy::listed(vec!["https://example.org".to_owned()]).with_host("example.org")
}

#[test]
fn development_takes_pages_of_this_machine_on_any_port() {
    let policy = Policy::loopback();
    for origin in ["https://localhost:8443", "http://127.0.0.1:5173", "https://[::1]:1", "http://app.localhost"] {
        assert_eq!(judge(&policy, Some(origin), origin, "localhost:8443"), Ok(()), "{origin}");
    }
    for origin in
        ["https://example.org", "https://localhost.example.org", "null", "https://127.0.0.1.example.org", "app://-"]
    {
        assert_eq!(judge(&policy, Some(origin), origin, "localhost"), Err(CloseCode::OriginRefused), "{origin}");
    }
    assert_eq!(judge(&policy, None, "", "rebound.example.org:8443"), Err(CloseCode::HostMismatch));
    // An app that is being developed here, which counts as a native client.
    assert_eq!(judge(&policy, Some(APP), APP, "localhost:8443"), Ok(()));
    let pages_only = Policy { native_clients: false, ..policy };
    assert_eq!(judge(&pages_only, Some(APP), APP, "localhost:8443"), Err(CloseCode::OriginRefused));
}

#[test]
fn a_listed_server_takes_its_own_pages_only() {
    let policy = Policy::listed(vec!["https://example.org".to_owned()]);
    let own = "https://example.org";
    assert_eq!(judge(&policy, Some(own), own, "example.org"), Ok(()));
    assert_eq!(judge(&policy, Some(own), own, "Example.ORG"), Ok(()));
    for host in ["example.org:8443", "example.org.", "www.example.org", "example.or", "", "[::1]"] {
        assert_eq!(judge(&policy, Some(own), own, host), Err(CloseCode::HostMismatch), "{host}");
    }
    let foreign = "https://evil.example";
    assert_eq!(judge(&policy, Some(foreign), own, "example.org"), Err(CloseCode::OriginRefused), "claims do not help");
    assert_eq!(judge(&policy, Some(own), foreign, "example.org"), Err(CloseCode::OriginRefused));
    assert_eq!(judge(&policy, None, "", "example.org"), Ok(()));
    let strict = Policy { native_clients: false, ..policy };
    assert_eq!(judge(&strict, None, "", "example.org"), Err(CloseCode::OriginRefused));
}

#[test]
fn an_address_in_the_network_is_taken_beside_this_machine() {
    let policy = Policy::loopback().with_host("192.168.1.5:8443").with_origin("https://192.168.1.5:8443");
    let policy = policy.expect("an origin");
    let phone = "https://192.168.1.5:8443";
    assert_eq!(judge(&policy, Some(phone), phone, "192.168.1.5:8443"), Ok(()));
    assert_eq!(judge(&policy, Some("http://localhost:5173"), "http://localhost:5173", "localhost:8443"), Ok(()));
    let other = "https://192.168.1.5:9999";
    assert_eq!(judge(&policy, Some(other), other, "192.168.1.5:8443"), Err(CloseCode::OriginRefused));
    assert_eq!(judge(&policy, None, "", "192.168.1.6:8443"), Err(CloseCode::HostMismatch));
}

#[test]
fn an_extension_is_a_page_and_an_app_is_a_native_client() {
    let policy = example().with_origin(EXTENSION).and_then(|policy| policy.with_app_origin(APP)).expect("origins");
    assert_eq!(policy.seen(Some(EXTENSION.to_owned())), (Some(EXTENSION.to_owned()), None));
    assert_eq!(policy.seen(Some(APP.to_owned())), (None, Some(APP.to_owned())), "no service takes it for a page's");
    for origin in [EXTENSION, APP] {
        assert!(policy.serves(origin), "{origin}");
        assert_eq!(judge(&policy, Some(origin), origin, "example.org"), Ok(()), "{origin}");
        let claimed = "https://example.org";
        assert_eq!(judge(&policy, Some(origin), claimed, "example.org"), Err(CloseCode::OriginRefused), "{origin}");
        // Its host is no name of the server's.
        let host = origin.split_once("://").expect("an origin").1;
        assert_eq!(judge(&policy, Some(origin), origin, host), Err(CloseCode::HostMismatch), "{origin}");
    }
    let browsers_only = Policy { native_clients: false, ..policy };
    assert_eq!(judge(&browsers_only, Some(EXTENSION), EXTENSION, "example.org"), Ok(()));
    assert_eq!(judge(&browsers_only, Some(APP), APP, "example.org"), Err(CloseCode::OriginRefused));
    assert!(!browsers_only.serves(APP));
}

#[test]
fn an_origin_of_every_app_never_counts_as_a_page() {
    for shared in [APP, "tauri://localhost", "http://tauri.localhost", "https://localhost", "ionic://localhost"] {
        assert_eq!(example().with_origin(shared), Err(InvalidOrigin::NotAlone(shared.to_owned())));
        assert!(example().with_app_origin(shared).is_ok(), "{shared}");
        // Nor by the list itself, which an app of one's own may fill by hand.
        let by_hand = Policy::listed(vec!["https://example.org".to_owned(), shared.to_owned()]);
        assert_eq!(judge(&by_hand, Some(shared), shared, "example.org"), Err(CloseCode::OriginRefused), "{shared}");
        assert_eq!(judge(&by_hand, None, "", "localhost"), Err(CloseCode::HostMismatch), "{shared}");
    }
    for whole in ["https://app.example", EXTENSION] {
        assert_eq!(example().with_app_origin(whole), Err(InvalidOrigin::Alone(whole.to_owned())));
    }
}

#[test]
fn a_server_of_this_machine_has_the_pages_of_this_machine() {
    let own = "https://localhost:8443";
    let policy = Policy::listed(vec![own.to_owned()]).with_host("localhost:8443");
    let policy = policy.with_origin("http://localhost:5173").expect("one machine");
    assert_eq!(judge(&policy, Some(own), own, "localhost:8443"), Ok(()));
    let page = "http://localhost:5173";
    assert_eq!(judge(&policy, Some(page), page, "localhost:8443"), Ok(()));
}
