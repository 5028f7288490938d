//! Whose devices there are: what the owner's verbs say and do, by the real binary.

use duologue::{CloseCode, ConnectionError};
use serde_json::Value;

use crate::{
    enrolment::stranger,
    server::{Server, target},
    within,
};

/// What a verb says with `--json`: one line.
async fn json(server: &Server, arguments: &[&str]) -> Value {
    let said = server.verb(&[arguments, &["--json"]].concat()).await;
    assert_eq!(said.lines().count(), 1, "{arguments:?}: {said}");
    serde_json::from_str(&said).unwrap_or_else(|error| panic!("{arguments:?}: {error}: {said}"))
}

/// What a verb that fails says, on stderr alone.
async fn complaint(server: &Server, arguments: &[&str]) -> String {
    let output = server.try_verb(arguments).await;
    assert!(!output.status.success() && output.stdout.is_empty(), "{arguments:?}: {output:?}");
    String::from_utf8(output.stderr).unwrap()
}

#[tokio::test]
async fn the_owner_says_whose_a_device_is_and_reads_it_as_text_and_as_json() {
    let server = Server::dev().await;
    let new = ["invite", "new", "--for", "ada", "--group", "staff", "--opens", "echo,drop", "--name", "Ada's phone"];
    let invited = json(&server, &new).await;
    let link = invited["link"].as_str().unwrap();
    let device = stranger();
    let line = within(20, "the line", device.connect(&target(link))).await.unwrap();

    let list = json(&server, &["devices", "list"]).await;
    let told = &list["devices"][0];
    let id = told["id"].as_str().unwrap();
    assert_eq!((&told["name"], &told["subject"], &told["level"]), (&"Ada's phone".into(), &"ada".into(), &1.into()));
    assert_eq!((&told["opens"], &told["lines"]), (&serde_json::json!(["echo", "drop"]), &1.into()));
    let text = server.verb(&["devices", "list"]).await;
    for words in [id, "of ada", "level 1 (device)", "connected", "opens echo,drop", "Ada's phone"] {
        assert!(text.contains(words), "{words}: {text}");
    }
    let text = server.verb(&["invite", "list"]).await;
    for words in [invited["id"].as_str().unwrap(), "used", "for ada", "group staff", "opens echo,drop", id] {
        assert!(text.contains(words), "{words}: {text}");
    }
    assert!(!text.contains("#i="), "no secret is shown again: {text}");
    assert!(server.verb(&["accounts", "list"]).await.starts_with("ada  since "));
    assert!(server.verb(&["accounts", "show", "ada"]).await.contains(id));
    assert_eq!(json(&server, &["accounts", "show", "ada"]).await["account"]["groups"], serde_json::json!(["staff"]));
    assert_eq!(json(&server, &["keys", "show"]).await["key"].as_str().map(str::len), Some(43));
    assert_eq!(json(&server, &["state"]).await["pid"], server.pid());
    assert!(server.verb(&["state"]).await.contains("all in the store"));

    // A name that would look like another.
    for (arguments, words) in [
        (&["devices", "bind", id, "a\u{202e}b"][..], "printable text"),
        (&["devices", "bind", id, "bob"], "bound to \"ada\": release it first"),
        (&["invite", "new", "--for", ""], "1 to 128 bytes"),
        (&["invite", "new", "--group", "staff"], "--for"),
        (&["invite", "new", "--opens", "a\u{7}"], "is no label"),
        (&["invite", "withdraw", invited["id"].as_str().unwrap()], "a device has come in by it"),
        (&["accounts", "show", "nobody"], "nobody is known as \"nobody\""),
        (&["accounts", "revoke"], "SUBJECT"),
        (&["accounts", "revoke", "ada", "--group", "staff"], "cannot be used with"),
        (&["accounts", "restore", "ada"], "that is not revoked"),
    ] {
        let said = complaint(&server, arguments).await;
        assert!(said.contains(words), "{arguments:?}: {said}");
    }

    let said = server.verb(&["accounts", "revoke", "ada"]).await;
    assert_eq!(said, format!("{id}  revoked with it\nrevoked\n"));
    let ConnectionError::PeerClosed(close) = within(20, "its end", line.closed()).await else { panic!("not told why") };
    assert_eq!(close.code, CloseCode::DeviceRevoked);
    assert!(complaint(&server, &["invite", "new", "--for", "ada"]).await.contains("accounts restore"));
    assert_eq!(json(&server, &["accounts", "restore", "ada"]).await, serde_json::json!({ "restored": true }));
    let link = server.verb(&["invite", "new", "--for", "ada"]).await;
    within(20, "a new device's line", stranger().connect(&target(link.trim()))).await.unwrap();
}

#[tokio::test]
async fn a_withdrawn_link_lets_nobody_in() {
    let server = Server::dev().await;
    let invited = json(&server, &["invite", "new"]).await;
    assert_eq!(server.verb(&["invite", "withdraw", invited["id"].as_str().unwrap()]).await, "withdrawn\n");
    let refused = within(20, "an answer", stranger().connect(&target(invited["link"].as_str().unwrap()))).await;
    assert_eq!(crate::enrolment::refusal(refused), CloseCode::InviteExpired);
    assert!(server.verb(&["invite", "list"]).await.contains("  withdrawn  "));
}
