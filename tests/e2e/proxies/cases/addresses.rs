//! Two clients behind one proxy that the server trusts: each has places of its own, and is in the log by its own address, and so
//! it is for an app behind the service `http`. What stands before the proxy speaks the PROXY protocol, so that the test can say
//! where its clients are.

use std::time::{Duration, Instant};

use axum::{Router, http::HeaderMap};
use duologue::upgrade;
use futures_util::{SinkExt as _, StreamExt as _};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _, copy_bidirectional},
    net::{TcpListener, TcpStream},
};
use tokio_rustls::{TlsConnector, client::TlsStream};
use tokio_tungstenite::{
    WebSocketStream, client_async,
    tungstenite::{
        Message,
        client::IntoClientRequest as _,
        http::{HeaderValue, header},
    },
};

use super::super::{
    backend::{Backend, free_port},
    process::Running,
};
use crate::{enrolment::stranger, proxy::name, server::target, tls, within};

/// Handshakes of an address at a time.
const OF_AN_ADDRESS: usize = 16;

type Socket = WebSocketStream<TlsStream<TcpStream>>;

/// A WebSocket of a client at this address, on which nothing was said yet.
async fn dial(port: u16, connector: &TlsConnector, client: &str) -> Socket {
    let mut tcp = TcpStream::connect(("127.0.0.1", port)).await.unwrap();
    tcp.write_all(format!("PROXY TCP4 {client} 203.0.113.1 4711 443\r\n").as_bytes()).await.unwrap();
    let stream = within(20, "TLS", connector.connect(name("localhost"), tcp)).await.unwrap();
    let mut request = format!("wss://localhost:{port}/line").into_client_request().unwrap();
    request.headers_mut().insert(header::SEC_WEBSOCKET_PROTOCOL, HeaderValue::from_static(upgrade::WITHOUT_M1));
    within(20, "the upgrade", client_async(request, stream)).await.unwrap().0
}

async fn each_client_has_places_and_a_name_of_its_own(case: &str) {
    let port = free_port();
    let backend = Backend::trusting(port).await;
    let proxy = Running::start(case, port, backend.port).await;
    let connector = TlsConnector::from(tls::client(&[proxy.trust().root]));
    // The oldest makes room at once, or is told after 5 s that it takes too long: a machine without time may need a few tries.
    for attempt in 0.. {
        let mut neighbour = dial(port, &connector, "192.0.2.2").await;
        let begun = Instant::now();
        let mut own = Vec::new();
        for _ in 0..=OF_AN_ADDRESS {
            own.push(dial(port, &connector, "192.0.2.1").await);
        }
        let ended = within(20, "the end of the oldest", async { while let Some(Ok(_)) = own[0].next().await {} });
        ended.await;
        if begun.elapsed() < Duration::from_secs(4) {
            assert!(
                tokio::time::timeout(Duration::ZERO, neighbour.next()).await.is_err(),
                "it has made room for another"
            );
            neighbour.send(Message::binary(vec![1; 100])).await.unwrap();
            break;
        }
        assert!(attempt < 10, "the oldest goes only when its time is over: {:#?}", proxy.said());
    }
    let line = within(20, "the log", backend.stderr.with("address=192.0.2.2")).await;
    assert!(line.contains("a line has ended"), "{line}");
    let log = backend.stderr.seen();
    assert!(!log.iter().any(|line| line.contains("INFO") && line.contains("address=127.0.0.1")), "{log:#?}");
}

/// An app that says which address it was told.
async fn app() -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = format!("http://{}", listener.local_addr().unwrap());
    let told = async |headers: HeaderMap| {
        let all: Vec<_> = headers.get_all("duologue-address").iter().map(|value| value.to_str().unwrap()).collect();
        format!("told {all:?}")
    };
    tokio::spawn(async move { axum::serve(listener, Router::new().fallback(told)).await });
    address
}

/// Says before the proxy whose each of its connections is; another header for each.
async fn balancer(listener: TcpListener, proxy: u16, headers: Vec<&'static str>) {
    for header in headers {
        let (mut client, _) = listener.accept().await.unwrap();
        let mut proxy = TcpStream::connect(("127.0.0.1", proxy)).await.unwrap();
        proxy.write_all(header.as_bytes()).await.unwrap();
        tokio::spawn(async move { copy_bidirectional(&mut client, &mut proxy).await });
    }
}

async fn an_app_is_told_each_clients_address_and_none_that_is_not_known(case: &str) {
    let clients = [
        ("PROXY TCP4 192.0.2.7 203.0.113.1 4711 443\r\n", "told [\"192.0.2.7\"]"),
        ("PROXY TCP6 2001:db8::7 2001:db8::1 4711 443\r\n", "told [\"2001:db8::7\"]"),
        // The balancer itself, which asks whether all is well, or something that it cannot name.
        ("PROXY UNKNOWN\r\n", "told []"),
    ];
    let before = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let (public, port) = (before.local_addr().unwrap().port(), free_port());
    let backend = Backend::trusting_with(public, &["--http", &app().await]).await;
    let proxy = Running::start(case, port, backend.port).await;
    tokio::spawn(balancer(before, port, clients.iter().map(|(header, _)| *header).collect()));
    for (header, told) in clients {
        let client = stranger().trusting(proxy.ca_file());
        let connecting = within(20, "the line", client.connect(&target(&backend.invite().await))).await;
        let line = connecting.unwrap_or_else(|error| panic!("{header:?}: {error}; the proxy: {:#?}", proxy.said()));
        let mut stream = line.stream("http").unwrap();
        stream.write_all(b"{\"method\":\"GET\",\"target\":\"/\",\"headers\":[],\"length\":0}\n").await.unwrap();
        stream.shutdown().await.unwrap();
        let mut answer = String::new();
        within(20, "the app's answer", stream.read_to_string(&mut answer)).await.unwrap();
        assert!(answer.contains("200") && answer.contains(told), "{header:?}: {answer:?}");
    }
}

mod nginx {
    #[tokio::test]
    #[ignore = "run by `cargo xtask test --proxies`, which finds the proxies"]
    async fn each_client_has_places_and_a_name_of_its_own() {
        super::each_client_has_places_and_a_name_of_its_own("nginx_address").await;
    }

    #[tokio::test]
    #[ignore = "run by `cargo xtask test --proxies`, which finds the proxies"]
    async fn an_app_is_told_each_clients_address_and_none_that_is_not_known() {
        super::an_app_is_told_each_clients_address_and_none_that_is_not_known("nginx_address").await;
    }
}

mod haproxy {
    #[tokio::test]
    #[ignore = "run by `cargo xtask test --proxies`, which finds the proxies"]
    async fn each_client_has_places_and_a_name_of_its_own() {
        super::each_client_has_places_and_a_name_of_its_own("haproxy_address").await;
    }

    #[tokio::test]
    #[ignore = "run by `cargo xtask test --proxies`, which finds the proxies"]
    async fn an_app_is_told_each_clients_address_and_none_that_is_not_known() {
        super::an_app_is_told_each_clients_address_and_none_that_is_not_known("haproxy_address").await;
    }
}
