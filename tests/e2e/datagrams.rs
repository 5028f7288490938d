//! Datagrams over a link that stalls: fresh ones or none.

use std::time::Duration;

use serde_json::json;

use crate::{
    browser::Browser,
    enrolment::stranger,
    path::Path,
    server::{Server, target, through},
    within,
};

#[tokio::test]
async fn under_a_stall_of_a_second_old_datagrams_are_dropped_and_counted() {
    let server = Server::dev().await;
    let path = Path::to(&server).await;
    let link = through(server.link(), path.port);
    let line = within(20, "the line", stranger().connect(&target(&link))).await.unwrap();
    let channel = line.channel("echo").unwrap();
    // It is known how long this link takes when it moves.
    for number in 0..20_u32 {
        channel.send_datagram(number.to_be_bytes(), Duration::from_secs(1), None).unwrap();
        within(20, "an echo", channel.recv_datagram()).await.unwrap();
    }
    let before = channel.datagram_stats();
    assert_eq!((before.sent, before.received), (20, 20));

    let sending = async {
        for number in 20..120_u32 {
            channel.send_datagram(number.to_be_bytes(), Duration::from_millis(300), None).unwrap();
            // Of these only the newest matters.
            channel.send_datagram(number.to_le_bytes(), Duration::from_secs(60), Some(7)).unwrap();
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    tokio::join!(sending, path.stall(Duration::from_secs(1)));
    tokio::time::sleep(Duration::from_millis(500)).await;

    let mut received: Vec<Vec<u8>> = Vec::new();
    while let Ok(datagram) = tokio::time::timeout(Duration::from_millis(300), channel.recv_datagram()).await {
        received.push(datagram.unwrap());
    }
    let stats = channel.datagram_stats();
    println!("{stats:?}");
    // How many depends on how busy this machine is.
    assert!(stats.expired > 10, "those past their deadline never left: {stats:?}");
    assert!(stats.replaced > 20, "and only the newest of a key waited: {stats:?}");
    let given = 20 + 200;
    assert_eq!(stats.sent + stats.expired + stats.replaced + stats.overflowed, given, "each has one fate: {stats:?}");
    assert_eq!(received.last(), Some(&119_u32.to_le_bytes().to_vec()), "the newest came, and came last");
    let mut once = received.clone();
    once.sort();
    once.dedup();
    assert_eq!(once.len(), received.len(), "none came twice");
}

#[tokio::test]
async fn browser_datagrams_stay_fresh_through_a_stall() {
    let server = Server::dev().await;
    let path = Path::to(&server).await;
    let browser = path.page(&server).await;
    give_through_a_stall(&browser, &path, "link").await;
    let end = "return [new Set(came).size === came.length, lane.datagrams.stats]";
    let end = browser.run(end, json!(null)).await;
    println!("{end}");
    assert_eq!(end[0], json!(true), "none came twice");
    let stats = &end[1];
    let count = |name: &str| stats[name].as_u64().unwrap();
    // How many depends on how busy this machine is.
    assert!(count("expired") > 10 && count("replaced") > 20, "{stats}");
    assert_eq!(count("sent") + count("expired") + count("replaced") + count("overflowed"), 220, "{stats}");
    browser.finish().await;
}

/// Gives datagrams on `lane` of the page's link with this name, 20 while the path moves and 200 while it stalls for a second,
/// and waits for the last; `came` has the numbers of those that came.
pub(crate) async fn give_through_a_stall(browser: &Browser, path: &Path, link: &str) {
    let start = "
        const { datagrams } = (globalThis.lane = LINK.channel('echo'));
        globalThis.came = [];
        (async () => { for await (const datagram of datagrams) came.push(new DataView(datagram.buffer, datagram.byteOffset).getUint32(0)); })();
        globalThis.give = (number, options) => datagrams.send(new Uint8Array([0, 0, number >> 8, number & 255]), options);
        for (let number = 0; number < 20; number++) {
            give(number);
            await new Promise((ok) => setTimeout(ok, 20));
        }
        for (let tries = 0; came.length < 20 && tries < 100; tries++) await new Promise((ok) => setTimeout(ok, 20));
        return came.length;"
        .replace("LINK", link);
    assert_eq!(browser.run(&start, json!(null)).await, json!(20));
    let send = "
        for (let number = 20; number < 120; number++) {
            give(number, { deadline: 300 });
            give(1_000 + number, { deadline: 60_000, replace: 'position' });
            await new Promise((ok) => setTimeout(ok, 10));
        }";
    tokio::join!(browser.run(send, json!(null)), path.stall(Duration::from_secs(1)));
    browser.wait_until("came.at(-1) === 1_119").await;
}
