//! Browsers and a server whose key changes: they follow, as its owner has signed it.

use serde_json::{Value, json};

use crate::{browser::Browser, page::enrolled, server::Server};

/// What the browser keeps of its one server.
async fn known(browser: &Browser) -> Value {
    let rows = "
        const database = await new Promise((done, fail) => {
            const request = indexedDB.open('duologue');
            request.onsuccess = () => done(request.result);
            request.onerror = () => fail(request.error);
        });
        const request = database.transaction('identities').objectStore('identities').getAll();
        await new Promise((done) => (request.onsuccess = done));
        database.close();
        const { serverKey, keys } = request.result.find((row) => row.serverKey);
        return { serverKey, keys };";
    browser.run(rows, Value::Null).await
}

/// As if the browser had been away for long: what it keeps was last true in 1970.
async fn sleeps(browser: &Browser) {
    let age = "
        const database = await new Promise((done) => {
            const request = indexedDB.open('duologue');
            request.onsuccess = () => done(request.result);
        });
        const rows = database.transaction('identities', 'readwrite').objectStore('identities');
        const cursor = rows.openCursor();
        await new Promise((done) => (cursor.onsuccess = () => {
            const at = cursor.result;
            if (!at) return done();
            if (at.value.keys) at.update({ ...at.value, keys: { ...at.value.keys, at: 0 } });
            at.continue();
        }));
        database.close();";
    browser.run(age, Value::Null).await;
}

/// A line of the page's own, which speaks and ends.
async fn comes(browser: &Browser, options: Value) -> Result<Value, String> {
    let body = "
        const { connect } = await import('/duologue.js');
        const line = connect(args);
        await line.ready;
        const answer = await line.requestJson('echo', 'here');
        const kept = new Promise((done) => setTimeout(done, 300));
        await kept;
        await line.close();
        return answer;";
    browser.try_run(body, options).await
}

#[tokio::test]
async fn browser_follows_to_the_next_server_key_as_its_owner_has_signed_it_and_to_no_other() {
    let server = Server::dev().await;
    let (_profile, browser) = enrolled(&server).await;
    let old_link = server.invite("1h").await;
    let owner = server.directory().join("owner.p8");
    let owner = owner.to_str().expect("text");
    let first = known(&browser).await["serverKey"].clone();
    server.verb(&["keys", "init", owner]).await;
    assert_eq!(comes(&browser, json!({})).await, Ok(json!("here")));
    let pins = known(&browser).await;
    assert_eq!((&pins["serverKey"], &pins["keys"]["number"]), (&first, &json!(1)), "{pins}");
    let published = "return (await fetch('/.well-known/duologue-keys')).json()";
    let of_first = browser.run(published, Value::Null).await;
    assert_eq!(of_first["key"], first);
    // Told by the older one, and by the newer one then.
    server.verb(&["keys", "rotate", "--owner-key", owner]).await;
    assert_eq!(comes(&browser, json!({})).await, Ok(json!("here")));
    let second = known(&browser).await["keys"]["next"].clone();
    assert!(second.is_string() && second != first);
    assert_eq!(comes(&browser, json!({})).await, Ok(json!("here")));
    let pins = known(&browser).await;
    assert_eq!((&pins["serverKey"], &pins["keys"]["past"]), (&second, &json!([first])), "{pins}");
    // A link of before is old, and no other server's; nor is a build that has the older key.
    assert_eq!(comes(&browser, json!({ "invite": old_link })).await, Ok(json!("here")));
    assert_eq!(comes(&browser, json!({ "serverKey": first })).await, Ok(json!("here")));
    server.verb(&["keys", "retire"]).await;
    assert_eq!(comes(&browser, json!({})).await, Ok(json!("here")));
    // Who was away meanwhile finds it published.
    server.verb(&["keys", "rotate", "--owner-key", owner]).await;
    server.verb(&["keys", "retire"]).await;
    sleeps(&browser).await;
    assert_eq!(comes(&browser, json!({})).await, Ok(json!("here")));
    let pins = known(&browser).await;
    assert_eq!((&pins["keys"]["number"], &pins["keys"]["past"]), (&json!(3), &json!([first, second])), "{pins}");
    // What another says, or nobody has signed, leads nowhere.
    let forged = "
        const { follow } = await import('/keys.js');
        const known = { serverKey: args.serverKey, keys: args.keys };
        const told = new Uint8Array(168).fill(7);
        new DataView(told.buffer).setUint32(64, 9);
        const owner = Uint8Array.from(atob(args.keys.owner.replaceAll('-', '+').replaceAll('_', '/')), (char) => char.charCodeAt(0));
        const another = await follow(known, told);
        told.set(owner);
        return [another ?? null, (await follow(known, told)) ?? null];";
    assert_eq!(browser.run(forged, pins.clone()).await, json!([null, null]));
    // Nor does an older key under a number of which only the lower four bytes are signed; once it did.
    let replayed = "
        const { pinned } = await import('/keys.js');
        const [pins, published] = args;
        const told = [];
        for (const number of [published.number, 2 ** 32 + published.number, 2 ** 32 + 9, '9', 1.5, null]) {
            globalThis.fetch = async () => Response.json({ ...published, number });
            const { known } = await pinned(new URL('/line', location), { ...pins, keys: { ...pins.keys, at: 0 } }, []);
            told.push(known.keys.number, known.keys.next ?? null, known.serverKey === pins.serverKey);
        }
        return told;";
    let told = browser.run(replayed, json!([pins, of_first])).await;
    let told = told.as_array().expect("three of each");
    assert!(told.len() == 18 && told.chunks(3).all(|told| told == [json!(3), Value::Null, json!(true)]), "{told:?}");
    browser.finish().await;
}
