//! On the wire all failed handshakes look alike: what the server sends differs neither in number nor in length, whatever the
//! cause. Only the client that was refused can read it.

use duologue::{CloseCode, ConnectionError, Invite};
use futures_util::{SinkExt, StreamExt};
use tokio_tungstenite::tungstenite::Message;

use crate::{
    proxy::Proxy,
    raw::{Device, Misdeed, Place, Raw},
    server::{Server, invite_of},
    upgrade::SEALED_0_LEN,
    wire::{Direction::ToClient, Kind},
    within,
};

/// What the server has sent on the latest line, but for the ping that follows M2 when the client is silent for a while: it says
/// nothing of why.
async fn servers_trace(proxy: &Proxy) -> Vec<(Kind, usize)> {
    let seen = proxy.latest_line_ended().await;
    let servers = seen.into_iter().filter(|(direction, kind, _)| *direction == ToClient && *kind != Kind::Ping);
    servers.map(|(_, kind, len)| (kind, len)).collect()
}

#[tokio::test]
async fn all_failures_before_m2_look_alike() {
    let (server, other) = (Server::dev().await, Server::dev().await);
    let proxy = Proxy::before(&[&server]).await;
    let place = Place::proxy(&proxy);
    let (invite, device) = (invite_of(server.link()), Device::new());
    let m1 = {
        let connection = Raw::new(&place, &invite, &device).connection();
        let offers = connection.upgrade_offer().join(",");
        match duologue::upgrade::read_offer(&offers) {
            duologue::upgrade::Offered::M1(m1) => m1,
            other => panic!("a client offers M1, not {other:?}"),
        }
    };
    let changed = |at: usize, to: u8| {
        let mut m1 = m1.clone();
        m1[at] = to;
        Message::binary(m1)
    };
    let last = m1.len() - 1;
    let cases = [
        ("a text message", Message::text("hello")),
        ("no bytes", Message::binary(Vec::new())),
        ("garbage", Message::binary(crate::chance::random::<1324>().to_vec())),
        ("an oversized M1", Message::binary([m1.clone(), vec![0; 1_000]].concat())),
        ("a truncated M1", Message::binary(m1[..last].to_vec())),
        ("another version", changed(1, 2)),
        ("another suite", changed(2, 2)),
        ("another server key", changed(3, m1[3] ^ 1)),
        ("a reserved bit", changed(11, 0x80)),
        ("an altered key", changed(12, m1[12] ^ 1)),
        ("an altered payload", changed(last, m1[last] ^ 1)),
        ("the longest message", Message::binary(vec![1; 65_535])),
    ];
    let mut expected = None;
    for (what, message) in cases {
        let mut socket = place.dial_bare().await;
        socket.send(message).await.unwrap();
        while within(20, what, socket.next()).await.is_some_and(|message| message.is_ok()) {}
        let trace = servers_trace(&proxy).await;
        let expected = expected.get_or_insert_with(|| trace.clone());
        assert_eq!(trace, *expected, "{what}");
    }
    // Silence ends no differently, only later.
    let mut socket = place.dial_bare().await;
    while within(20, "silence", socket.next()).await.is_some_and(|message| message.is_ok()) {}
    assert_eq!(Some(servers_trace(&proxy).await), expected, "silence");

    // A client of another server sees the same from the inside, too.
    let foreign = invite_of(other.link());
    let error =
        Raw { m1_in_upgrade: false, ..Raw::new(&place, &foreign, &device) }.open().await.map(|_| ()).unwrap_err();
    assert_eq!(error, ConnectionError::Unanswered);
    assert_eq!(Some(servers_trace(&proxy).await), expected, "another server's client");
}

#[tokio::test]
async fn all_failures_after_m2_look_alike_and_name_their_cause_under_the_seal() {
    let server = Server::dev().await;
    let proxy = Proxy::before(&[&server]).await;
    let place = Place::proxy(&proxy);
    let (device, used_by, revoked) = (Device::new(), Device::new(), Device::new());

    let open = invite_of(server.link());
    let used = invite_of(&server.invite("24h").await);
    let expired = invite_of(&server.expired_invite().await);
    let unknown = Invite::new(crate::chance::random(), open.server_key());
    Raw::new(&place, &open, &revoked).open().await.unwrap();
    let (id, _) = server.devices().await.pop().unwrap();
    server.verb(&["devices", "revoke", &id]).await;
    Raw::new(&place, &used, &used_by).open().await.unwrap();
    let fresh = invite_of(&server.invite("24h").await);

    let raw = |invite: &Invite| Raw::new(&place, invite, &device);
    let spoilt = |misdeed| Raw { misdeed, ..raw(&fresh) };
    let cases = [
        ("a used invite", raw(&used), CloseCode::InviteUsed),
        ("an expired invite", raw(&expired), CloseCode::InviteExpired),
        ("an unknown invite", raw(&unknown), CloseCode::NotEnrolled),
        ("no invite", Raw { offers_invite: false, ..raw(&fresh) }, CloseCode::NotEnrolled),
        ("a revoked device", Raw::new(&place, &fresh, &revoked), CloseCode::DeviceRevoked),
        ("a foreign page", Raw { origin: Some("https://evil.example"), ..raw(&fresh) }, CloseCode::OriginRefused),
        ("a bent name", Raw { claimed_host: Some("evil.example"), ..raw(&fresh) }, CloseCode::HostMismatch),
        ("another device's signature", spoilt(Misdeed::ForgedSignature), CloseCode::BadSignature),
        ("an altered AUTH", spoilt(Misdeed::Flipped(1)), CloseCode::Altered),
        ("garbage for AUTH", spoilt(Misdeed::GarbageForAuth), CloseCode::Altered),
        ("a text for AUTH", spoilt(Misdeed::TextForAuth), CloseCode::Altered),
        ("silence", spoilt(Misdeed::Silence), CloseCode::Timeout),
    ];
    let mut expected: Option<Vec<(Kind, usize)>> = None;
    for (what, raw, code) in cases {
        match raw.open().await {
            Err(ConnectionError::PeerClosed(close)) => assert_eq!(close.code, code, "{what}"),
            other => panic!("{what}: the server should have said why, but: {:?}", other.map(|_| "it let us in")),
        }
        let trace = servers_trace(&proxy).await;
        assert_eq!(trace[2], (Kind::Binary, SEALED_0_LEN), "{what}: as long as AUTH_OK");
        let expected = expected.get_or_insert_with(|| trace.clone());
        assert_eq!(trace, *expected, "{what}");
    }
    assert_eq!(server.devices().await.len(), 2, "none of these got in");
    // And the invite that they tried is still good.
    assert!(raw(&fresh).open().await.is_ok());
}
