//! The desk: served where somebody sits at a terminal, and nowhere else; and what is said there goes into no log.

use std::{process::Stdio, time::Duration};

use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::process::Command;

use crate::{
    browser::{Browser, Profile},
    enrolment::stranger,
    path::{Cut, Path},
    server::{Server, binary, target},
    within,
};

async fn line_to(server: &Server) -> (duologue_client::Client, duologue_client::Line) {
    let client = stranger();
    let line = within(20, "the line", client.connect(&target(server.link()))).await.unwrap();
    (client, line)
}

#[tokio::test]
async fn serve_with_a_desk_and_without_a_terminal_does_not_start() {
    let state = TempDir::with_prefix("duologue-state-").unwrap();
    let serve = ["serve", "--url", "https://duologue.example", "--behind-proxy", "--listen", "127.0.0.1:0", "--desk"];
    let mut command = Command::new(binary());
    command.args(serve).arg("--state").arg(state.path().join("state")).kill_on_drop(true);
    let output = within(20, "it to refuse", command.stdin(Stdio::null()).output()).await.expect("the binary starts");
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{said}");
    assert!(said.contains("--desk needs a terminal") && said.contains("leave out --desk"), "{said}");
    assert!(!state.path().join("state").exists(), "nothing was made");
}

/// It once went to stdout, which service managers keep, and the page said "taken".
#[tokio::test]
async fn browser_serve_without_a_desk_shows_none_refuses_it_and_writes_nothing_of_what_is_said() {
    let server = Server::serve(&["--no-native-clients"]).await;
    let browser = Browser::start(&Profile::knowing(&server)).await;
    browser.open(&server.invite("24h").await).await;
    browser.wait_for_state("open").await;
    browser.wait_until("document.getElementById('echo').checkVisibility()").await;
    let seen = "return ['desk', 'files', 'pair'].filter((id) => document.getElementById(id).checkVisibility())";
    assert_eq!(browser.run(seen, Value::Null).await, json!([]));
    let say = "
        const { connect } = await import('/duologue.js');
        const line = connect();
        await line.ready;
        const said = line.channel('desk').send('between you and me');
        return await said.then(() => 'taken', ({ code, delivery }) => [code, delivery]);";
    assert_ne!(browser.run(say, Value::Null).await, json!("taken"));
    drop(server.verb(&["devices", "list"]).await);
    let written = [server.stdout.seen(), server.stderr.seen()].concat().join("\n");
    assert!(!written.contains("between you and me"), "{written}");
    browser.finish().await;
}

#[tokio::test]
async fn at_a_terminal_what_is_said_is_shown_there_and_in_no_log() {
    let mut server = Server::dev().await;
    let (_client, line) = line_to(&server).await;
    let desk = line.channel("desk").unwrap();
    let sent = desk.send("between you and me").await.unwrap();
    within(20, "the desk to take it", sent.taken()).await.unwrap();
    server.stdout.with("between you and me").await;
    server.type_line("and nobody else").await;
    assert_eq!(within(20, "the answer", desk.recv()).await.unwrap(), Some(b"and nobody else".to_vec()));
    let log = server.stderr.seen().join("\n");
    assert!(!log.contains("between you and me") && !log.contains("and nobody else"), "{log}");
}

#[tokio::test]
async fn a_message_that_the_terminal_could_not_show_is_not_taken() {
    let mut server = Server::dev().await;
    let (_client, line) = line_to(&server).await;
    let desk = line.channel("desk").unwrap();
    within(20, "the desk to take it", desk.send("are you there?").await.unwrap().taken()).await.unwrap();
    server.close_terminal();
    tokio::time::sleep(Duration::from_millis(200)).await;
    let sent = desk.send("and now?").await.unwrap();
    let verdict = within(20, "the verdict", sent.taken()).await;
    assert!(verdict.is_err(), "nobody can have read it");
    // Whoever comes now is told so at once.
    let late = line.request("desk", "anybody?");
    assert!(within(20, "the refusal", late).await.is_err());
    assert_eq!(within(20, "the echo", line.request("echo", "still here")).await.unwrap(), b"still here");
    server.assert_alive();
}

#[tokio::test]
async fn dev_without_a_terminal_has_no_desk_and_says_so() {
    let server = Server::dev_without_terminal().await;
    let (_client, line) = line_to(&server).await;
    server.stderr.with("There is no desk to talk at").await;
    assert!(within(20, "the refusal", line.request("desk", "anybody?")).await.is_err());
    assert!(!server.stdout.seen().join("\n").contains("anybody?"));
}

#[tokio::test]
async fn browser_a_server_that_is_started_again_without_a_terminal_leaves_what_was_said_and_offers_no_more() {
    let server = Server::dev().await;
    let path = Path::to(&server).await;
    let browser = path.page(&server).await;
    browser.wait_until("!document.getElementById('desk-send').disabled").await;
    browser.type_into("#desk-input", "Until tomorrow").await;
    browser.click("#desk-send").await;
    browser.wait_until("document.querySelector('.message.you')?.dataset.status === 'taken'").await;
    let server = server.restarted_without_terminal().await;
    path.lead_to(server.port);
    path.cut(Cut::Both);
    browser.wait_until("document.getElementById('desk-form').hidden").await;
    assert!(browser.text("#desk-note").await.contains("Nobody is at the desk"));
    assert!(browser.text("#desk-log").await.contains("Until tomorrow"));
    // And with one again: the desk is there again.
    let server = server.restarted().await;
    path.lead_to(server.port);
    path.cut(Cut::Both);
    browser.wait_until("document.getElementById('desk-input').checkVisibility()").await;
    server.stdout.with("is here").await;
    browser.type_into("#desk-input", "Good morning").await;
    browser.click("#desk-send").await;
    server.stdout.with("Good morning").await;
    browser.finish().await;
}
