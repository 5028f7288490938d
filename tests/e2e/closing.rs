//! What a page says last is heard, in whichever order things come to it.

use serde_json::{Value, json};

use crate::{
    browser::{Browser, Profile},
    server::Server,
};

/// The bug: what a task says after it has been sent what it said first leaves in the next task. If a message of the server
/// came before that one, the page was told of its own `close()`, let go of its line, and the CLOSE had never left.
#[tokio::test]
async fn browser_a_close_is_sent_though_a_message_comes_before_the_next_task() {
    let server = Server::dev().await;
    let browser = Browser::start(&Profile::trusting(server.trust())).await;
    // A document of the server's that opens no line by itself.
    browser.open(&format!("{}/duologue.js", server.address())).await;
    let body = "
        // The next task comes late, so that the server's answer is there before it.
        const Port = globalThis.MessagePort.prototype;
        const post = Port.postMessage;
        Port.postMessage = function (...message) {
            setTimeout(() => post.apply(this, message), 1_000);
        };
        const { connect } = await import('/duologue.js');
        const line = connect({ invite: args });
        await line.ready;
        const answered = line.request('echo', 'here').catch(() => {});
        await new Promise((resolve) => setTimeout(resolve, 200));
        const channel = line.channel('echo');
        channel.send('that is sent at once').catch(() => {});
        for (let turn = 0; turn < 20; turn++) await undefined;
        const started = performance.now();
        line.close();
        const { code } = await line.closed;
        await answered;
        return [code, performance.now() - started < 900];";
    assert_eq!(browser.run(body, json!(server.link())).await, json!(["normal", true]));
    let heard = server.stderr.with("a line has ended").await;
    assert!(heard.contains("code=\"normal\""), "{heard}");
    assert!(server.stderr.seen().iter().all(|line| !line.contains("was lost")), "{:#?}", server.stderr.seen());
    assert_eq!(browser.run("return 1", Value::Null).await, json!(1));
    browser.finish().await;
}
