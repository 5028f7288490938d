//! Native client and real binary: the way in, and who does not get in.

use std::{process::Stdio, sync::Arc};

use duologue::{CloseCode, ConnectionError, Invite, ServerKey};
use duologue_client::{Client, ConnectError, Keyring, LineError};
use tempfile::TempDir;
use tokio::{io::AsyncWriteExt, process::Command, sync::Barrier};

use crate::{
    policy::{Act, When},
    proxy::Proxy,
    server::{Lines, Server, binary, invite_of, target, through},
    wire::Direction::ToClient,
    within,
};

/// A device that nobody knows.
pub(crate) fn stranger() -> Client {
    Client::new(Keyring::in_memory())
}

/// The code with which the server has refused, or a panic with what came instead.
#[track_caller]
pub(crate) fn refusal(result: Result<duologue_client::Line, ConnectError>) -> CloseCode {
    match result.map_err(|error| error.connection_error().cloned().ok_or(error)) {
        Err(Ok(ConnectionError::PeerClosed(close))) => close.code,
        other => panic!("the server should have refused and said why, but: {other:?}"),
    }
}

#[tokio::test]
async fn a_native_client_enrols_by_the_ready_link_and_returns_without_it() {
    let server = Server::dev().await;
    assert!(server.link().starts_with(&format!("{}/#i=", server.address())), "{}", server.link());
    let keyring = TempDir::with_prefix("duologue-device-").unwrap();
    let client = Client::open(keyring.path()).unwrap();
    let line = within(20, "the first line", client.connect(&target(server.link()))).await.unwrap();
    assert_eq!(within(20, "the echo", line.request("echo", "one")).await.unwrap(), b"one");
    drop((line, client));

    let client = Client::open(keyring.path()).unwrap();
    let line = within(20, "the second line", client.connect(&target(&server.address()))).await.unwrap();
    assert_eq!(within(20, "the echo", line.request("echo", "two")).await.unwrap(), b"two");
    assert_eq!(server.devices().await.len(), 1);
    assert_eq!(server.stdout.seen().iter().filter(|line| line.starts_with("ready ")).count(), 1);
}

#[tokio::test]
async fn a_device_without_key_and_invite_is_told_how_to_get_in() {
    let server = Server::dev().await;
    let error = within(20, "the refusal", stranger().connect(&target(&server.address()))).await.unwrap_err();
    assert!(matches!(error, ConnectError::Unknown(_)), "{error:?}");
    assert!(error.to_string().contains("duologue invite new"), "{error}");
}

#[tokio::test]
async fn connect_echoes_the_lines_of_its_stdin() {
    let server = Server::dev().await;
    let keyring = TempDir::with_prefix("duologue-device-").unwrap();
    // The second run has no invite any more.
    for place in [server.link().to_owned(), server.address()] {
        let mut command = Command::new(binary());
        command.args(["connect", &place, "--service", "echo", "--state"]).arg(keyring.path());
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).kill_on_drop(true);
        let mut child = command.spawn().unwrap();
        let (mut stdin, stdout) = (child.stdin.take().unwrap(), Lines::of(child.stdout.take().unwrap()));
        let stderr = Lines::of(child.stderr.take().unwrap());
        stdin.write_all("bonjour\n".as_bytes()).await.unwrap();
        assert_eq!(stdout.with("bonjour").await, "bonjour");
        stdin.write_all("à demain\n".as_bytes()).await.unwrap();
        drop(stdin);
        let status = within(20, "connect to end with its stdin", child.wait()).await.unwrap();
        assert!(status.success(), "{status}: {:#?}", stderr.seen());
        stdout.with("à demain").await;
        assert_eq!(stdout.seen(), ["bonjour", "à demain"]);
    }
}

#[tokio::test]
async fn an_invite_that_another_device_has_used_is_refused_with_the_reason() {
    let server = Server::dev().await;
    let link = target(server.link());
    let _line = within(20, "the first device", stranger().connect(&link)).await.unwrap();
    let second = within(20, "the second device", stranger().connect(&link)).await;
    assert_eq!(refusal(second), CloseCode::InviteUsed);
    assert_eq!(server.devices().await.len(), 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_a_hundred_parallel_attempts_on_one_invite_exactly_one_wins() {
    const DEVICES: usize = 100;
    let server = Server::dev().await;
    let link = target(server.link());
    let start = Arc::new(Barrier::new(DEVICES));
    let attempts: Vec<_> = (0..DEVICES)
        .map(|_| {
            let (link, start, client) = (link.clone(), Arc::clone(&start), stranger());
            tokio::spawn(async move {
                start.wait().await;
                let result = client.connect(&link).await;
                (client, result)
            })
        })
        .collect();
    let mut winners = Vec::new();
    for attempt in attempts {
        let (client, result) = within(60, "all attempts to end", attempt).await.unwrap();
        match result {
            Ok(line) => winners.push((client, line)),
            refused => assert_eq!(refusal(refused), CloseCode::InviteUsed),
        }
    }
    assert_eq!(winners.len(), 1, "exactly one device may win");
    assert_eq!(server.devices().await.len(), 1);
    let (winner, line) = winners.pop().unwrap();
    drop(line);
    let again = within(20, "the winner's second use", winner.connect(&link)).await.unwrap();
    assert_eq!(again.request("echo", "still in").await.unwrap(), b"still in");
}

#[tokio::test]
async fn an_expired_invite_is_refused_with_the_reason() {
    let server = Server::dev().await;
    let link = server.expired_invite().await;
    assert_eq!(refusal(within(20, "the refusal", stranger().connect(&target(&link))).await), CloseCode::InviteExpired);
    assert_eq!(server.devices().await.len(), 0);
}

#[tokio::test]
async fn an_invite_of_another_server_is_refused_before_the_device_shows_itself() {
    let server = Server::dev().await;
    let foreign = Invite::new(crate::chance::random(), invite_of(server.link()).server_key());
    let link = target(&foreign.to_link(&server.address()));
    let error = within(20, "the refusal", stranger().connect(&link)).await.unwrap_err();
    assert_eq!(error.connection_error(), Some(&ConnectionError::InviteUnknown));
}

#[tokio::test]
async fn a_server_with_another_key_than_the_pinned_one_is_not_ours() {
    let (server, other) = (Server::dev().await, Server::dev().await);
    let other_key = invite_of(other.link()).server_key();
    let link = Invite::new(crate::chance::random(), other_key).to_link(&server.address());
    let error = within(20, "the refusal", stranger().connect(&target(&link))).await.unwrap_err();
    // It says nothing, as a proxy may that holds its answer back; the sentence names both.
    assert_eq!(error.connection_error(), Some(&ConnectionError::Unanswered));
    assert!(error.to_string().contains("another key"), "{error}");

    let shown = server.verb(&["keys", "show"]).await;
    let own_key: ServerKey = invite_of(server.link()).server_key();
    assert!(shown.contains(&own_key.to_string()) && shown.contains(&own_key.fingerprint()), "{shown}");
}

#[tokio::test]
async fn a_lost_auth_ok_burns_no_invite() {
    let server = Server::dev().await;
    let proxy = Proxy::before(&[&server]).await;
    let link = target(&through(server.link(), proxy.port));
    let client = stranger().trusting(proxy.ca_file());
    proxy.act(ToClient, When::OfANewLine(2), Act::Cut);
    let error = within(20, "the loss", client.connect(&link)).await.unwrap_err();
    assert_eq!(error.connection_error(), Some(&ConnectionError::Lost));
    assert!(proxy.has_acted());
    assert_eq!(server.devices().await.len(), 1, "the server had let it in");

    let line = within(20, "the second attempt", client.connect(&link)).await.unwrap();
    assert_eq!(line.request("echo", "in").await.unwrap(), b"in");
    assert_eq!(server.devices().await.len(), 1);
    let other = within(20, "another device", stranger().trusting(proxy.ca_file()).connect(&link)).await;
    assert_eq!(refusal(other), CloseCode::InviteUsed);
}

#[tokio::test]
async fn a_lost_auth_ok_burns_no_ticket() {
    let server = Server::dev().await;
    let proxy = Proxy::before(&[&server]).await;
    let client = stranger().trusting(proxy.ca_file());
    let invited = target(&through(server.link(), proxy.port));
    drop(within(20, "enrolment", client.connect(&invited)).await.unwrap());
    // Twice in a row, with the one ticket that the client has.
    for _ in 0..2 {
        proxy.act(ToClient, When::OfANewLine(2), Act::Cut);
        let error = within(20, "the loss", client.connect(&target(&proxy.address()))).await.unwrap_err();
        assert_eq!(error.connection_error(), Some(&ConnectionError::Lost));
        assert!(proxy.has_acted());
    }
    let line = within(20, "the next attempt", client.connect(&target(&proxy.address()))).await.unwrap();
    assert_eq!(line.request("echo", "in").await.unwrap(), b"in");
}

#[tokio::test]
async fn a_revoked_device_loses_its_line_and_is_refused_from_then_on() {
    let server = Server::dev().await;
    let (removed, kept) = (stranger(), stranger());
    let line = within(20, "the line", removed.connect(&target(server.link()))).await.unwrap();
    let (device, _) = server.devices().await.pop().unwrap();
    let bystander = target(&server.invite("24h").await);
    let other_line = within(20, "the bystander's line", kept.connect(&bystander)).await.unwrap();

    server.verb(&["devices", "revoke", &device]).await;
    match within(20, "the line to end", line.closed()).await {
        ConnectionError::PeerClosed(close) => assert_eq!(close.code, CloseCode::DeviceRevoked),
        other => panic!("the server should have closed the line with the reason, but: {other:?}"),
    }
    assert!(matches!(line.request("echo", "?").await, Err(LineError::Connection(_))));
    for link in [server.address(), server.link().to_owned()] {
        let again = within(20, "the refusal", removed.connect(&target(&link))).await;
        assert_eq!(refusal(again), CloseCode::DeviceRevoked);
    }
    // A new invite does not help a revoked key either.
    let fresh = target(&server.invite("24h").await);
    assert_eq!(refusal(within(20, "the refusal", removed.connect(&fresh)).await), CloseCode::DeviceRevoked);
    assert_eq!(other_line.request("echo", "unharmed").await.unwrap(), b"unharmed");
}
