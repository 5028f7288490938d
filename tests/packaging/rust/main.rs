//! An app of somebody else's, who has `duologue-server`, `duologue-client`, tokio and serde, and nothing else of ours: all that
//! its author must name is found there. `cargo xtask package` builds and runs it from the packages.

use std::{net::IpAddr, sync::Arc, time::Duration};

use duologue_client::{Client, ConnectError, Keyring, LineError, Target};
use duologue_server::{
    Address, Call, CancellationToken, ChannelError, Claims, CloseCode, ConnectionError, DatagramStats, Device,
    DeviceId, DeviceKey, DeviceStatus, Duologue, FreshReason, Identity, Instant, InvalidInvite, Invite, InviteId,
    Level, LineState, Policy, Request, ResetCode, Revocation, Secret, ServerIdentity, ServerKey, Service, ServiceError,
    SignatureAlgorithm, State, Transport, answer,
    axum::{Router, routing::get},
    limits, page_at, rustls, serve, services, typed,
};
use serde::{Deserialize, Serialize};

#[derive(Debug, Serialize, Deserialize)]
struct Add {
    a: u32,
    b: u32,
}

impl Request for Add {
    const LABEL: &'static str = "add";
    type Response = Option<u32>;
}

/// A service with a name of its own, which looks at everything that a call has.
struct Who {
    seen: tokio::sync::mpsc::UnboundedSender<(DeviceId, Level, IpAddr, Option<String>, String)>,
}

impl Service for Who {
    async fn serve(&self, call: Call) -> Result<(), ServiceError> {
        let Identity { device, level, .. } = call.identity();
        let Transport { address, origin, .. } = call.transport;
        let Claims { name, .. } = call.claims;
        self.seen.send((device, level, address, origin, name))?;
        let stats: DatagramStats = call.channel.datagram_stats();
        assert_eq!(stats, DatagramStats::default());
        call.channel.reset(ResetCode::Refused);
        Ok(())
    }
}

/// Types that only a signature needs.
struct Named<'a> {
    identity: &'a Arc<ServerIdentity>,
    key: ServerKey,
    invite: Invite,
    tls: Option<Arc<rustls::ServerConfig>>,
}

fn reason(reason: FreshReason) -> &'static str {
    reason.word()
}

fn algorithm(key: &DeviceKey) -> SignatureAlgorithm {
    key.algorithm()
}

fn secret(state: &State, id: InviteId) -> Option<Secret> {
    state.store().invite_secret(id).ok().flatten()
}

fn later(now: Instant, by: Duration) -> Instant {
    now + by
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let directory = std::env::args().nth(1).ok_or("a directory for the state")?;
    let state = State::open(&directory)?;
    let invite = state.new_invite(Duration::from_secs(limits::INVITE_TTL_SECS))?;
    let identity = state.identity();
    let named = Named { identity: &identity, key: invite.server_key(), invite: invite.clone(), tls: None };
    assert_eq!(named.identity.public(), named.key);
    assert!(secret(&state, named.invite.id()).is_some());
    assert_eq!(Invite::from_link("https://localhost/"), Err(InvalidInvite::Missing));
    assert_eq!(typed::decode::<Add>(&typed::encode(&Add { a: 1, b: 2 }))?.b, 2);
    let _: (fn(FreshReason) -> &'static str, fn(Instant, Duration) -> Instant) = (reason, later);

    let (seen, mut calls) = tokio::sync::mpsc::unbounded_channel();
    let line = Duologue::new(state.clone(), Policy::loopback())
        .service("add", answer(|Add { a, b }: Add, _call| async move { Ok(a.checked_add(b)) }))
        .service("echo", services::echo)
        .service("who", Who { seen });
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await?;
    let port = listener.local_addr()?.port();
    let address = Address::parse(&format!("https://localhost:{port}/app/"))?;
    let own = Router::new().route("/own", get(|| async { "mine" }));
    let app = address.mount(own.merge(line.router()).merge(page_at(&address, true)));
    let stop = CancellationToken::new();
    let server = tokio::spawn(serve(listener, named.tls, app, stop.clone()));

    let keyring = Keyring::in_memory();
    let key: DeviceKey = keyring.device();
    assert_eq!(algorithm(&key), SignatureAlgorithm::Ed25519);
    let device = DeviceId::of_spki(key.spki());
    // Without TLS, which is good for this machine.
    let target = Target::parse(&invite.to_link(&format!("http://localhost:{port}/app")))?;
    let client = Client::new(keyring).named("somebody else's");
    let mine = client.connect(&target).await?;
    assert_eq!(mine.state(), LineState::Open);
    assert_eq!(mine.request("echo", "hello").await?, b"hello");
    assert_eq!(mine.call(&Add { a: 40, b: 2 }).await?, Some(42));
    let refused = mine.request("who", "").await;
    assert!(matches!(refused, Err(LineError::Channel(ChannelError::Reset(ResetCode::Refused)))), "{refused:?}");
    let (caller, level, peer, origin, name) = calls.recv().await.ok_or("it was called")?;
    assert_eq!((caller, level, origin, name.as_str()), (device, Level::Device, None, "somebody else's"));
    assert!(peer.is_loopback());

    let devices: Vec<Device> = state.store().devices()?;
    assert!(matches!(devices.as_slice(), [only] if only.status == DeviceStatus::Enrolled));
    assert_eq!(line.revoke(device), Revocation::Stored);
    match mine.closed().await {
        ConnectionError::PeerClosed(close) => assert_eq!(close.code, CloseCode::DeviceRevoked),
        other => return Err(format!("it ended otherwise: {other:?}").into()),
    }
    let again = client.connect(&Target::parse(&format!("http://localhost:{port}/app/"))?).await;
    assert!(matches!(again, Err(ConnectError::Line(_))), "{again:?}");
    stop.cancel();
    server.await?;
    println!("all of it works");
    Ok(())
}
