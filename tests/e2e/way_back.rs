//! The way back when a first form fails: a first connection that is waited for, an answer that is withheld or lost, sockets whose
//! end nobody tells; and what goes on by itself in a fresh session.

use std::time::Duration;

use duologue::{CloseCode, ConnectionError, LineState};
use duologue_client::LineError;
use serde_json::{Value, json};

use crate::{
    browser::{Browser, Profile},
    enrolment::stranger,
    path::{Cut, Path},
    policy::{Act, When},
    proxy::Proxy,
    server::{Server, target, through},
    wire::Direction::{ToClient, ToServer},
    within,
};

#[tokio::test]
async fn a_first_connection_that_cannot_be_made_is_waited_for() {
    let server = Server::dev().await;
    let path = Path::to(&server).await;
    path.lead_nowhere();
    let link = target(&through(server.link(), path.port));
    let client = stranger();
    assert!(within(20, "the failure", client.connect(&link)).await.is_err(), "unless told otherwise it ends");
    let waiting = client.waiting_for_the_first_connection();
    let opening = tokio::spawn(async move { waiting.connect(&link).await });
    tokio::time::sleep(Duration::from_secs(2)).await;
    assert!(!opening.is_finished());
    path.lead_to(server.port);
    let line = within(30, "the line", opening).await.unwrap().unwrap();
    assert_eq!(line.request("echo", "at last").await.unwrap(), b"at last");
}

#[tokio::test]
async fn a_first_connection_that_is_waited_for_still_ends_when_the_server_refuses_it() {
    let server = Server::dev().await;
    let link = target(server.link());
    drop(within(20, "another device", stranger().connect(&link)).await.unwrap());
    let refused = within(20, "the refusal", stranger().waiting_for_the_first_connection().connect(&link)).await;
    let refused = refused.unwrap_err();
    assert!(
        matches!(refused.connection_error(), Some(ConnectionError::PeerClosed(close)) if close.code == CloseCode::InviteUsed),
        "{refused:?}"
    );
}

#[tokio::test]
async fn an_auth_whose_answer_was_lost_does_nothing_twice() {
    // Once the second AUTH made a second session, and what had followed the first was said again.
    let mut server = Server::dev().await;
    let proxy = Proxy::before(&[&server]).await;
    let client = stranger().trusting(proxy.ca_file()).waiting_for_the_first_connection();
    let link = target(&through(server.link(), proxy.port));
    proxy.act(ToClient, When::OfANewLine(2), Act::Cut);
    let line = within(30, "the line", client.connect(&link)).await.unwrap();
    assert!(proxy.has_acted());
    let channel = line.channel("echo").unwrap();
    channel.send("once").await.unwrap();
    assert_eq!(within(20, "the echo", channel.recv()).await.unwrap().unwrap(), b"once");
    server.stderr.with("a line goes on").await;
    let begun = server.stderr.seen().iter().filter(|line| line.contains("a line is open")).count();
    assert_eq!(begun, 1, "one session: {:#?}", server.stderr.seen());
    server.assert_alive();
}

#[tokio::test]
async fn an_answer_that_is_withheld_is_asked_for_in_the_second_form() {
    // Once a timeout after ten seconds.
    let server = Server::dev().await;
    let proxy = Proxy::before(&[&server]).await;
    let client = stranger().trusting(proxy.ca_file());
    proxy.act(ToClient, When::OfANewLine(1), Act::Swallow);
    let link = target(&through(server.link(), proxy.port));
    let began = std::time::Instant::now();
    let line = within(20, "the line", client.connect(&link)).await.unwrap();
    let took = began.elapsed();
    assert!(proxy.has_acted());
    assert!(took >= Duration::from_secs(2) && took < Duration::from_secs(5), "open after {took:?}");
    assert_eq!(line.request("echo", "here").await.unwrap(), b"here");
}

#[tokio::test]
async fn an_alteration_is_named_from_the_first_one_on() {
    // Once only three in a row were.
    let server = Server::dev().await;
    let proxy = Proxy::before(&[&server]).await;
    let client = stranger().trusting(proxy.ca_file());
    let line = within(20, "the line", client.connect(&target(&through(server.link(), proxy.port)))).await.unwrap();
    assert_eq!(line.request("echo", "good").await.unwrap(), b"good");
    assert_eq!(line.altered(), None);
    for (count, direction) in (1..).zip([ToClient, ToServer, ToClient, ToServer]) {
        proxy.act(direction, When::Now, Act::Flip(40));
        let answer = within(20, "the echo", line.request("echo", "all the same")).await;
        assert_eq!(answer.unwrap(), b"all the same");
        let altered = line.altered();
        assert!(altered.is_some_and(|(seen, _)| seen == count), "{count}: {altered:?}");
    }
}

#[tokio::test]
async fn a_channel_of_which_nothing_had_left_begins_again_in_a_fresh_session() {
    let server = Server::dev().await;
    let path = Path::to(&server).await;
    let line = within(20, "the line", stranger().connect(&target(&through(server.link(), path.port)))).await.unwrap();
    let begun = line.channel("echo").unwrap();
    within(20, "the echo to take it", begun.send("begun").await.unwrap().taken()).await.unwrap();
    path.lead_nowhere();
    path.cut(Cut::Both);
    within(20, "the cut to be noticed", line.state_after(LineState::Open)).await;
    let late = begun.send("late").await.unwrap();
    let untouched = line.channel("echo").unwrap();
    let kept = untouched.send("kept").await.unwrap();
    let asked = tokio::spawn({
        let line = line.clone();
        async move { line.request("echo", "asked").await }
    });
    let server = server.restarted().await;
    path.lead_to(server.port);
    assert_eq!(within(30, "the answer", asked).await.unwrap().unwrap(), b"asked");
    within(20, "what waited to be taken", kept.taken()).await.unwrap();
    assert_eq!(within(20, "the echo", untouched.recv()).await.unwrap().unwrap(), b"kept");
    assert!(matches!(late.taken().await, Err(LineError::NotTaken(_))), "a channel that had begun is over");
    drop(begun);
    assert_eq!(within(20, "the echo", line.request("echo", "and on")).await.unwrap(), b"and on");
}

/// A page whose line goes over a path that can be cut.
async fn page(server: &Server, path: &Path) -> Browser {
    let browser = Browser::start(&Profile::trusting(server.trust())).await;
    browser.open(&through(server.link(), path.port)).await;
    browser.wait_for_state("open").await;
    browser
}

#[tokio::test]
async fn browser_what_had_not_left_goes_on_by_itself_after_a_restart() {
    // Once it ended "not delivered: it was not sent", though "nothing is lost" had stood there.
    for worker in ["undefined", "true"] {
        let server = Server::dev().await;
        let path = Path::to(&server).await;
        let browser = page(&server, &path).await;
        let start = format!(
            "link.close();
            await link.closed;
            const {{ connect }} = await import('/duologue.js');
            const line = (globalThis.line = connect({{ worker: {worker} }}));
            await line.ready;
            globalThis.fates = [];
            const tell = (name, promise) => promise.then(
                () => fates.push(`${{name}} taken`),
                (error) => fates.push(`${{name}} ${{error.delivery}}`));
            globalThis.tell = tell;
            globalThis.begun = line.channel('echo');
            globalThis.alone = line.channel('echo', {{ resend: 'independent' }});
            globalThis.heard = [];
            (async () => {{ for await (const one of alone) heard.push(new TextDecoder().decode(one)); }})();
            await Promise.all([begun.send('begun'), alone.send('0')]);"
        );
        browser.run(&start, Value::Null).await;
        path.lead_nowhere();
        path.cut(Cut::Both);
        browser.wait_until("line.state === 'resuming'").await;
        let typed = "
            tell('begun', begun.send('late'));
            for (const text of ['1', '2', '3']) tell(text, alone.send(text));
            globalThis.untouched = line.channel('echo');
            tell('untouched', untouched.send('whole'));
            globalThis.answer = line.request('echo', 'asked').then((bytes) => new TextDecoder().decode(bytes));
            return line.nextAttemptAt instanceof Date || line.nextAttemptAt === undefined;";
        assert_eq!(browser.run(typed, Value::Null).await, json!(true));
        let server = server.restarted().await;
        path.lead_to(server.port);
        let fates = "
            const answer = await globalThis.answer;
            while (fates.length < 5) await new Promise((later) => setTimeout(later, 20));
            while (heard.length < 4) await new Promise((later) => setTimeout(later, 20));
            return { answer, fates, heard, resent: alone.resent, services: line.services.includes('echo') };";
        let seen = browser.run(fates, Value::Null).await;
        assert_eq!(seen["answer"], "asked", "{worker}: {seen}");
        assert_eq!(seen["heard"], json!(["0", "1", "2", "3"]), "{worker}: {seen}");
        assert_eq!(seen["resent"], 3, "{worker}: {seen}");
        assert_eq!(seen["services"], true, "{worker}: {seen}");
        let fates: Vec<String> = serde_json::from_value(seen["fates"].clone()).unwrap();
        assert_eq!(fates.first().map(String::as_str), Some("begun not sent"), "the fates of what is over come first");
        for name in ["1", "2", "3", "untouched"] {
            assert!(fates.contains(&format!("{name} taken")), "{worker}: {fates:?}");
        }
        browser.finish().await;
    }
}

#[tokio::test]
async fn browser_a_first_connection_is_waited_for_where_the_page_says_so() {
    let server = Server::dev().await;
    let path = Path::to(&server).await;
    let browser = page(&server, &path).await;
    // What the page's own thread needs is here before the network goes.
    let loads = "
        link.close();
        await link.closed;
        const { connect } = await import('/duologue.js');
        const first = connect();
        await first.ready;
        first.close();
        await first.closed;";
    browser.run(loads, Value::Null).await;
    path.lead_nowhere();
    // Those that the browser keeps too: by one of them the page would learn that the server is there.
    path.cut(Cut::Both);
    let waits = "
        const { connect } = await import('/duologue.js');
        const ends = await connect().closed;
        globalThis.line = connect({ firstTry: 'wait' });
        await new Promise((later) => setTimeout(later, 1500));
        let refused;
        await connect({ firstTry: 'twice' }).closed.then(({ reason }) => (refused = reason));
        return [ends.code, line.state, refused.includes('firstTry')];";
    assert_eq!(browser.run(waits, Value::Null).await, json!(["unreachable", "connecting", true]));
    path.lead_to(server.port);
    let opens = "
        await line.ready;
        return new TextDecoder().decode(await line.request('echo', 'here'));";
    assert_eq!(browser.run(opens, Value::Null).await, json!("here"));
    browser.log().await; // the socket that could not be opened is told there
    browser.finish().await;
}

#[tokio::test]
async fn browser_sockets_that_never_tell_of_their_end_neither_pile_up_nor_hold_the_line_back() {
    // As on iOS: a socket that was closed stays as it is, and no event comes.
    let server = Server::dev().await;
    let path = Path::to(&server).await;
    let browser = page(&server, &path).await;
    let leaks = "
        link.close();
        await link.closed;
        const { connect } = await import('/duologue.js');
        const made = (globalThis.made = []);
        class Leaking extends WebSocket {
            constructor(...all) { super(...all); made.push(this); this.madeAt = performance.now(); }
            get readyState() { return this.leaks ? 2 : super.readyState; }
            close() { this.leaks = true; this.closedAt ??= performance.now(); }
        }
        globalThis.line = connect({ WebSocket: Leaking });
        await line.ready;
        const behind = () => made.filter((one) => one.leaks).length;
        const waits = [];
        for (let round = 0; round < 4; round++) {
            const before = performance.now();
            // The network forgets it, and the device wakes.
            made.at(-1).onclose({ code: 1006 });
            made.at(-1).close();
            dispatchEvent(new Event('online'));
            await line.request('echo', 'again', { timeout: 20000 });
            waits.push(performance.now() - before);
        }
        return { sockets: made.length, most: Math.max(...waits) };";
    let seen = browser.run(leaks, Value::Null).await;
    assert_eq!(seen["sockets"], 5, "{seen}");
    assert!(seen["most"].as_f64().is_some_and(|most| most < 5_000.0), "{seen}");

    let never = "
        line.close();
        const { connect } = await import('/duologue.js');
        const made = (globalThis.never = []);
        class Deaf extends EventTarget {
            readyState = 0;
            bufferedAmount = 0;
            constructor() { super(); made.push(performance.now()); }
            send() {}
            close() { this.readyState = 2; }
        }
        globalThis.waiting = connect({ WebSocket: Deaf, firstTry: 'wait' });
        const real = performance.now.bind(performance);
        let ahead = 0;
        performance.now = () => real() + ahead;
        for (let minute = 0; minute < 60; minute++) {
            ahead += 1000;
            for (let wake = 0; wake < 3; wake++) dispatchEvent(new Event('online'));
            await new Promise((later) => setTimeout(later, 150));
        }
        waiting.close();
        return made.length;";
    // Sixty seconds, in which each dial has ten to open, and 180 wakings.
    let dials = browser.run(never, Value::Null).await.as_u64().unwrap();
    assert!((3..=8).contains(&dials), "{dials} sockets were made");
    browser.log().await;
    browser.finish().await;
}
