//! A word from outside to a page that is open, and what its sender hears of it.

use std::time::Duration;

use serde_json::Value;

use crate::{
    browser::{Browser, Profile},
    server::Server,
    within,
};

/// As docs/RECIPES.md has it, "Say something to a page from anywhere".
const LISTEN: &str = "
    globalThis.heard = [];
    (async () => {
        for await (const channel of link.incoming) {
            if (channel.label !== 'news') { channel.cancel(); continue; }
            for await (const message of channel) heard.push(new TextDecoder().decode(message));
        }
    })();
";

#[tokio::test]
async fn browser_a_word_from_outside_is_read_in_the_page_and_its_sender_hears_so() {
    let server = Server::dev().await;
    let browser = Browser::start(&Profile::knowing(&server)).await;
    browser.open(server.link()).await;
    browser.wait_for_state("open").await;
    browser.run(LISTEN, Value::Null).await;
    let device = server.devices().await.remove(0).0;
    for (number, text) in ["Your parcel is here.", "Il est passé à 18 h.", ""].iter().enumerate() {
        let told = server.verb(&["say", &device, "--label", "news", "--text", text]).await;
        assert_eq!(told, format!("{device}  taken\n"));
        assert_eq!(browser.run("return heard.at(-1)", Value::Null).await, *text);
        assert_eq!(browser.run("return heard.length", Value::Null).await, number + 1);
    }
    let refused = server.try_verb(&["say", &device, "--label", "other", "--text", "hello"]).await;
    let said = String::from_utf8_lossy(&refused.stderr);
    assert!(refused.status.code() == Some(1) && said.contains("nobody knows whether it was taken"), "{said}");
    let told = server.verb(&["say", &device, "--label", "news", "--text", "still there?"]).await;
    assert_eq!(told, format!("{device}  taken\n"), "what the page let go of ends nothing else");
    browser.open("about:blank").await;
    let gone = async {
        loop {
            let output =
                server.try_verb(&["say", &device, "--label", "news", "--deadline", "1s", "--text", "hello"]).await;
            if String::from_utf8_lossy(&output.stderr).contains("nobody is here: it was not sent") {
                break;
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    };
    within(20, "a page that has gone not to be here", gone).await;
    browser.finish().await;
}
