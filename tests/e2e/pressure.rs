//! A page while the server is under pressure: it shows that its M1 is no replay, and is in the lane of those who can.
//!
//! The server is the library in this process, which can be told that there is pressure.

use std::time::Duration;

use axum::Router;
use duologue::limits::{M1_LEN, M2_LEN};
use duologue_server::{Duologue, Policy, State, development, page, services};
use tempfile::TempDir;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

use crate::{
    browser::{Browser, Profile},
    proxy::Proxy,
    tls::Trust,
    upgrade::SEALED_0_LEN,
    wire::{
        Direction::{ToClient, ToServer},
        Kind,
    },
};

/// It could not, and waited for its turn among those who send recorded ones.
#[tokio::test]
async fn browser_a_page_makes_its_m1_anew_where_a_server_under_pressure_asks_for_it() {
    let directory = TempDir::with_prefix("duologue-state-").unwrap();
    let state = State::open(directory.path()).unwrap();
    let tls = development(state.directory()).unwrap();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let certificate = Trust::in_development(directory.path()).leaf;
    let proxy = Proxy::before_port(listener.local_addr().unwrap().port(), vec![certificate]).await;
    let link = state.new_invite(Duration::from_secs(600)).unwrap().to_link(&proxy.address());
    let duologue = Duologue::new(state, Policy::loopback()).service("echo", services::echo).under_pressure();
    let app = Router::new().merge(duologue.router()).merge(page(true));
    let stop = CancellationToken::new();
    let _stops = stop.clone().drop_guard();
    tokio::spawn(duologue_server::serve(listener, Some(tls), app, stop));

    let browser = Browser::start(&Profile::trusting(proxy.trust())).await;
    browser.open(&link).await;
    browser.wait_for_state("open").await;
    assert_eq!(browser.echo(b"in time").await.unwrap(), b"in time");
    // The second connection brings a ticket, which exempts from nothing: it can be replayed too.
    browser.run("link.close(); await link.closed", serde_json::Value::Null).await;
    browser.reload().await;
    browser.wait_for_state("open").await;
    let log = proxy.log();
    let lines = log.lines();
    assert!(lines.len() >= 2, "{:#?}", log.sightings);
    for line in lines {
        let seen = log.of(line);
        assert_eq!((seen[0].1, seen[1].1), (Kind::Upgrade, Kind::Switch), "{seen:?}");
        // A nonce, M1 over it, M2, AUTH. The first M1, which was not taken with the request, crosses the nonce and is passed over.
        let rest: Vec<_> =
            seen[2..].iter().filter(|(direction, _, len)| (*direction, *len) != (ToServer, M1_LEN)).collect();
        let expected = [
            (ToClient, Kind::Binary, 17),
            (ToServer, Kind::Binary, M1_LEN + 16),
            (ToClient, Kind::Binary, M2_LEN),
            (ToServer, Kind::Binary, SEALED_0_LEN),
        ];
        assert!(rest.iter().take(4).copied().eq(&expected), "{seen:?}");
    }
    browser.finish().await;
}
