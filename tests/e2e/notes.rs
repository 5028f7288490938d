//! What a link tells those who look for a fault: each step, its cause and when it goes on, in a worker as on the page's thread.

use serde_json::{Value, json};

use crate::{
    path::{Cut, Path},
    server::{Server, through},
};

#[tokio::test]
async fn browser_each_step_of_a_line_is_told_in_every_context() {
    let server = Server::dev().await;
    let path = Path::to(&server).await;
    let browser = path.page(&server).await;
    for (worker, context) in [(json!(false), "page"), (json!(true), "worker"), (json!("shared"), "shared")] {
        let open = "
            const { connect } = await import('/duologue.js');
            globalThis.notes = [];
            globalThis.line = connect({ worker: args[0], invite: args[1], debug: (note) => notes.push(note) });
            await line.ready;
            await line.request('echo', 'x');
            return notes.map(({ what }) => what).join();";
        let told = browser.run(open, json!([worker, through(server.link(), path.port)])).await;
        assert_eq!(told, json!("context,dial,upgrade,answer,open,state"), "{context}");
        // In a worker it is told beside other news.
        let measured = "
            while (line.roundTrip === undefined) await line.request('echo', 'x');
            return line.roundTrip";
        let measured = browser.run(measured, Value::Null).await;
        assert!(measured.as_f64().is_some_and(|millis| millis > 0.0 && millis < 10_000.0), "{measured}");
        path.lead_nowhere();
        path.cut(Cut::Both);
        browser.wait_until("notes.filter(({ what }) => what === 'fail').length > 2").await;
        browser.wait_until("line.nextAttemptAt instanceof Date && line.nextAttemptAt > Date.now() - 60_000").await;
        path.lead_to(server.port);
        browser.run("await line.request('echo', 'y'); line.close('enough'); await line.closed", Value::Null).await;
        let notes = browser.run("return [notes, line.nextAttemptAt ?? null]", Value::Null).await;
        assert_eq!(notes[1], Value::Null, "no attempt is due while the line is open");
        let notes = notes[0].as_array().unwrap();
        let of = |what: &str| notes.iter().filter(|note| note["what"] == json!(what)).collect::<Vec<_>>();
        assert_eq!(of("context")[0]["detail"], json!(context));
        let fail = of("fail");
        let is_told = |note: &&Value| note["millis"].is_number() && note["connection"].is_number();
        assert!(fail.iter().all(is_told), "{fail:?}");
        let causes: Vec<_> = fail.iter().map(|note| note["detail"].as_str().unwrap()).collect();
        assert!(causes.iter().all(|cause| ["lost", "unreachable", "timeout"].contains(cause)), "{causes:?}");
        let states: Vec<_> = of("state").iter().map(|note| note["detail"].as_str().unwrap()).collect();
        assert_eq!(states, ["open", "resuming", "open", "closed"]);
        assert!(of("end")[0]["detail"].as_str().unwrap().starts_with("normal: "), "{notes:?}");
        assert!(notes.windows(2).all(|pair| pair[0]["at"].as_f64() <= pair[1]["at"].as_f64()));
        let secret = server.link().rsplit("i=").next().unwrap().split('.').next().unwrap();
        assert!(!json!(notes).to_string().contains(secret));
    }
    let console = "
        const said = [];
        const { debug } = console;
        console.debug = (...words) => said.push(words);
        const { connect } = await import('/duologue.js');
        const line = connect({ debug: true });
        // One that throws costs the line nothing.
        const other = connect({ debug: () => { throw new Error('a debugger of the application'); } });
        addEventListener('error', (event) => event.preventDefault());
        await Promise.all([line.ready, other.ready]);
        line.close();
        other.close();
        await line.closed;
        console.debug = debug;
        return [said.every(([name, note]) => name === 'duologue' && note.at >= 0), said.at(-1)[1].what];";
    assert_eq!(browser.run(console, Value::Null).await, json!([true, "state"]));
    browser.log().await;
    browser.finish().await;
}
