//! A large file from the page to the server's drop, over a path that fails again and again.

use std::{
    io::Write,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::Duration,
};

use serde_json::{Value, json};

use crate::{
    browser::Browser,
    chance::Chance,
    memory::{descendants, resident},
    page::enrolled,
    path::{Cut, Path},
    server::Server,
};

const FILE_LEN: usize = 200_000_000;
const SMALLER_LEN: usize = 20_000_000;
const CUTS: usize = 10;
/// What the server may have above its idle memory.
const MEMORY_MAX: u64 = 32_000_000;
/// The same of the page and its worker: two heaps, each of which the engine clears when there is enough garbage in it.
const PAGE_MEMORY_MAX: u64 = 64_000_000;

/// The highest resident memory of the page and of the server, from now on.
fn watch(browser: u32, server: u32) -> (Arc<[AtomicU64; 2]>, Arc<AtomicBool>) {
    let (highest, done) = (Arc::new([const { AtomicU64::new(0) }; 2]), Arc::new(AtomicBool::new(false)));
    let (highest_seen, is_done) = (Arc::clone(&highest), Arc::clone(&done));
    std::thread::spawn(move || {
        while !is_done.load(Ordering::Relaxed) {
            let [page, other] = &*highest_seen;
            page.fetch_max(page_memory(browser), Ordering::Relaxed);
            other.fetch_max(resident(server), Ordering::Relaxed);
            std::thread::sleep(Duration::from_millis(100));
        }
    });
    (highest, done)
}

/// Of the renderer with the page, which is the largest.
fn page_memory(browser: u32) -> u64 {
    descendants(browser, "--type=renderer").into_iter().map(resident).max().unwrap_or(0)
}

/// A file of this length that is nowhere the same, and its SHA-256.
fn random_file(name: &str, len: usize, chance: &mut Chance) -> (tempfile::NamedTempFile, String) {
    let mut file = tempfile::Builder::new().prefix(name).suffix(".bin").tempfile().unwrap();
    let mut digest = ring::digest::Context::new(&ring::digest::SHA256);
    let mut block: Vec<u8> = (0..1_000_000).map(|_| u8::try_from(chance.below(256)).unwrap()).collect();
    for number in 0..len / block.len() {
        block[..8].copy_from_slice(&number.to_be_bytes());
        file.write_all(&block).unwrap();
        digest.update(&block);
    }
    (file, hex::encode(digest.finish()))
}

#[tokio::test]
async fn browser_a_file_of_200_mb_survives_ten_cuts_in_flat_memory() {
    let mut chance = Chance::new();
    let server = Server::dev().await;
    let path = Path::to(&server).await;
    let browser = path.page(&server).await;

    // What a page needs once, such as the engine's compiled code, is no part of what a large file costs.
    let (small, _) = random_file("small ", SMALLER_LEN, &mut chance);
    browser.type_into("#files-input", small.path().to_str().unwrap()).await;
    browser.wait_until("document.querySelectorAll('.file[data-status=done]').length === 1").await;
    let (file, sha256) = random_file("large ", FILE_LEN, &mut chance);
    tokio::time::sleep(Duration::from_secs(2)).await;

    let ping = "
        globalThis.pings = [];
        globalThis.ping = async () => {
            const bytes = new Uint8Array(64);
            const began = performance.now();
            const open = link.state === 'open';
            await link.request('echo', bytes);
            // Times of cuts, and of the way back from them, are told apart.
            return [open && link.state === 'open' && !globalThis.resumedSince?.(began), performance.now() - began];
        };
        let resumed = -Infinity;
        link.addEventListener('statechange', () => (resumed = performance.now()));
        globalThis.resumedSince = (began) => resumed >= began - 100;
        globalThis.p95 = (samples) => {
            const times = samples.filter(([apart]) => apart).map(([, time]) => time).sort((a, b) => a - b);
            return [times.length, times[Math.floor(times.length * 0.5)], times[Math.floor(times.length * 0.95)]];
        };
        const idle = [];
        for (let i = 0; i < 200; i++) idle.push(await ping());
        return p95(idle);";
    let idle_p95 = browser.run(ping, Value::Null).await;

    let (idle_page, idle_server) = (page_memory(browser.pid()), resident(server.pid()));
    let (highest, done) = watch(browser.pid(), server.pid());
    let begin = "
        // Found once: a look that costs more than what it looks at would be measured too.
        let found;
        globalThis.large = () => (found ??= document.querySelectorAll('.file')[1]);
        globalThis.seen = [];
        globalThis.back = [];
        setInterval(() => {
            const value = large()?.querySelector('progress')?.value;
            if (value === undefined) return;
            if (seen.length && value < seen.at(-1)) back.push([seen.at(-1), value]);
            seen.push(value);
        }, 50);
        // WebDriver would have to ask again and again, which takes time of the page's one thread: the page looks itself.
        globalThis.reached = (due) => new Promise((resolve) => {
            const giveUp = Date.now() + 10_000;
            const timer = setInterval(() => {
                const there = (large()?.querySelector('progress')?.position ?? 0) >= due
                    || ['done', 'failed'].includes(large()?.dataset.status);
                if (!there && Date.now() < giveUp) return;
                clearInterval(timer);
                resolve(there);
            }, 20);
        });
        (async () => { for (;;) pings.push(await ping()); })().catch(() => {});";
    browser.run(begin, Value::Null).await;
    let started = std::time::Instant::now();
    browser.type_into("#files-input", file.path().to_str().unwrap()).await;
    for number in 1..=CUTS {
        // Spread over the file, wherever the speed of this machine has it.
        let due = json!(number as f64 / (CUTS + 1) as f64);
        wait_until_reached(&browser, &due).await;
        let cut = Cut::any(&mut chance);
        path.cut(cut);
        if cut == Cut::ServerOnly {
            browser.run("dispatchEvent(new Event('online'))", Value::Null).await;
        }
        browser.run("await link.request('echo', 'through it')", Value::Null).await;
    }
    wait_until_reached(&browser, &json!(2)).await;
    let took = started.elapsed();
    done.store(true, Ordering::Relaxed);
    let hash = browser.run("return large().querySelector('.file-hash dd')?.innerText", Value::Null).await;
    assert_eq!(hash, json!(sha256), "the server has the same bytes");
    assert!(path.connections() > CUTS, "{} connections for {CUTS} cuts", path.connections());
    let seen = browser.run("return [back, seen.length, p95(pings)]", Value::Null).await;
    assert_eq!(seen[0], json!([]), "progress never goes back");
    assert!(seen[1].as_u64().is_some_and(|seen| seen > 10), "it was shown: {seen}");
    let stored = std::fs::read_dir(server.directory().join("drop")).unwrap().flatten();
    let stored = stored.map(|entry| entry.metadata().unwrap()).filter(std::fs::Metadata::is_file);
    let mut stored: Vec<u64> = stored.map(|file| file.len()).collect();
    stored.sort_unstable();
    assert_eq!(stored, [SMALLER_LEN as u64, FILE_LEN as u64]);

    let [page, other] = &*highest;
    let above = |highest: &AtomicU64, idle: u64| highest.load(Ordering::Relaxed).saturating_sub(idle);
    let (page, other) = (above(page, idle_page), above(other, idle_server));
    println!("took {took:?}; above idle: page {:.1} MiB, server {:.1} MiB", mib(page), mib(other));
    println!("64-byte requests, p50, p95: idle {idle_p95}, during the upload {}", seen[2]);
    assert!(other <= MEMORY_MAX, "the server's memory rose by {:.1} MiB", mib(other));
    assert!(page <= PAGE_MEMORY_MAX, "the page's memory rose by {:.1} MiB", mib(page));
    browser.finish().await;
}

#[tokio::test]
async fn browser_a_file_of_20_mb_arrives_whole_through_five_cuts() {
    let mut chance = Chance::new();
    let server = Server::dev().await;
    let path = Path::to(&server).await;
    let browser = path.page(&server).await;
    let (file, sha256) = random_file("smaller ", SMALLER_LEN, &mut chance);
    browser.type_into("#files-input", file.path().to_str().unwrap()).await;
    // So soon that no machine has sent it all.
    for _ in 0..5 {
        tokio::time::sleep(Duration::from_millis(50 + chance.below(100) as u64)).await;
        path.cut(Cut::Both);
    }
    browser.wait_until_within(60, "document.querySelector('.file')?.dataset.status === 'done'").await;
    assert!(path.connections() > 1, "it was cut");
    assert_eq!(browser.run(HASH, Value::Null).await, json!(sha256), "the page is told of the same bytes");
    let name = file.path().file_name().unwrap();
    let stored = std::fs::read(server.directory().join("drop").join(name)).unwrap();
    assert_eq!(hex::encode(ring::digest::digest(&ring::digest::SHA256, &stored)), sha256, "and the server has them");
    browser.finish().await;
}

/// Waits until so much of the file, as a fraction, is acknowledged, or its upload is over.
async fn wait_until_reached(browser: &Browser, due: &Value) {
    for _ in 0..12 {
        if browser.run(&format!("return await reached({due})"), Value::Null).await == json!(true) {
            return;
        }
    }
    panic!("the upload did not reach {due} within two minutes; the page shows {:#}", browser.shown().await);
}

#[expect(clippy::cast_precision_loss, reason = "for people")]
fn mib(bytes: u64) -> f64 {
    bytes as f64 / 1_048_576.0
}

/// Counts what leaves on the page's line from now on, by another link that watches the same line.
const COUNT: &str = "
    globalThis.given = 0;
    const { connect } = await import('/duologue.js');
    const worker = new URL('/page/breakable.js', location);
    const observe = (direction, bytes) => (given += direction === 'out' ? bytes.length : 0);
    await connect({ worker, observe }).ready;";

const HASH: &str = "return document.querySelector('.file-hash dd')?.innerText";

#[tokio::test]
async fn browser_a_reload_in_the_middle_of_200_mb_goes_on_when_the_same_file_is_given_again() {
    let mut chance = Chance::new();
    let server = Server::dev().await;
    let (_profile, browser) = enrolled(&server).await;
    let (file, sha256) = random_file("large ", FILE_LEN, &mut chance);
    browser.type_into("#files-input", file.path().to_str().unwrap()).await;
    browser.wait_until_within(60, "document.querySelector('.file progress')?.position > 0.5").await;
    browser.reload().await;
    browser.wait_for_state("open").await;
    browser.wait_until("document.querySelector('.file')?.dataset.status === 'asks'").await;
    let words = browser.text(".file-state").await;
    assert!(words.contains("Unfinished") && words.contains("Choose this file again"), "{words}");
    let shown = browser.run("return document.querySelector('.file progress').position", Value::Null).await;
    assert!(shown.as_f64().is_some_and(|shown| shown > 0.2), "it is shown how far it was: {shown}");
    browser.run(COUNT, Value::Null).await;
    browser.type_into("#files-input", file.path().to_str().unwrap()).await;
    browser.wait_until_within(90, "document.querySelector('.file')?.dataset.status === 'done'").await;
    assert_eq!(browser.run(HASH, Value::Null).await, json!(sha256), "the server has the same bytes");
    let given = browser.run("return given", Value::Null).await.as_u64().unwrap();
    println!("after the reload the page sent {given} bytes of {FILE_LEN}");
    assert!(given < FILE_LEN as u64 * 6 / 10, "it went on where it was, and sent {given} bytes more");
    assert_eq!(browser.run("return document.querySelectorAll('.file').length", Value::Null).await, json!(1));
    browser.reload().await;
    browser.wait_for_state("open").await;
    let left = browser.run(
        "return [localStorage.getItem('duologue-uploads'), document.querySelectorAll('.file').length]",
        Value::Null,
    );
    assert_eq!(left.await, json!([null, 0]), "nothing is unfinished any more");
    browser.finish().await;
}

#[tokio::test]
async fn browser_another_file_of_the_same_name_and_length_does_not_go_on_where_the_first_was() {
    let mut chance = Chance::new();
    let server = Server::dev().await;
    let (_profile, browser) = enrolled(&server).await;
    let (file, _) = random_file("changing ", FILE_LEN, &mut chance);
    browser.type_into("#files-input", file.path().to_str().unwrap()).await;
    browser.wait_until("document.querySelector('.file progress')?.position > 0.1").await;
    browser.click(".file-actions button:nth-child(1)").await;
    browser.wait_until("document.querySelector('.file').dataset.status === 'paused'").await;
    browser.reload().await;
    browser.wait_for_state("open").await;
    browser.wait_until("document.querySelector('.file')?.dataset.status === 'asks'").await;
    let (other, sha256) = random_file("other ", FILE_LEN, &mut chance);
    std::fs::copy(other.path(), file.path()).unwrap();
    browser.type_into("#files-input", file.path().to_str().unwrap()).await;
    browser.wait_until_within(60, "document.querySelector('.file')?.dataset.status === 'done'").await;
    assert_eq!(browser.run(HASH, Value::Null).await, json!(sha256), "not a mixture of the two");
    browser.finish().await;
}

#[tokio::test]
async fn browser_a_paused_upload_goes_on_and_a_cancelled_one_is_forgotten() {
    let mut chance = Chance::new();
    let server = Server::dev().await;
    let (_profile, browser) = enrolled(&server).await;
    // So long that it is under way when it is paused, not stored already.
    let (file, sha256) = random_file("paused ", FILE_LEN, &mut chance);
    browser.type_into("#files-input", file.path().to_str().unwrap()).await;
    browser.wait_until("document.querySelector('.file progress')?.position > 0.3").await;
    browser.click(".file-actions button:nth-child(1)").await;
    browser.wait_until("document.querySelector('.file').dataset.status === 'paused'").await;
    let before = browser.run("return document.querySelector('.file progress').value", Value::Null).await;
    browser.run("await new Promise((ok) => setTimeout(ok, 500))", Value::Null).await;
    let after = browser.run("return document.querySelector('.file progress').value", Value::Null).await;
    assert_eq!(before, after, "nothing is sent meanwhile");
    browser.run(COUNT, Value::Null).await;
    browser.click(".file-actions button:nth-child(2)").await;
    browser.wait_until_within(60, "document.querySelector('.file').dataset.status === 'done'").await;
    assert_eq!(browser.run(HASH, Value::Null).await, json!(sha256));
    let given = browser.run("return given", Value::Null).await.as_u64().unwrap();
    assert!(given < FILE_LEN as u64 * 8 / 10, "it went on where it was, and sent {given} bytes more");

    let (second, _) = random_file("cancelled ", FILE_LEN / 2, &mut chance);
    browser.type_into("#files-input", second.path().to_str().unwrap()).await;
    browser.wait_until("document.querySelectorAll('.file progress')[1]?.position > 0.1").await;
    browser.click(".file:nth-child(2) .file-actions button:nth-child(4)").await;
    browser.wait_until("document.querySelectorAll('.file')[1].dataset.status === 'cancelled'").await;
    browser.wait_until("localStorage.getItem('duologue-uploads') === null").await;
    browser.finish().await;
}

#[tokio::test]
async fn browser_with_a_handle_to_the_file_a_reload_goes_on_by_itself() {
    let server = Server::dev().await;
    let (_profile, browser) = enrolled(&server).await;
    // Only the picker is not the browser's own: the handle is, of a file in the page's private file system.
    let pick = "
        const directory = await navigator.storage.getDirectory();
        const handle = await directory.getFileHandle('kept.bin', { create: true });
        const writer = await handle.createWritable();
        const block = new Uint8Array(1_000_000).map((_, at) => (at * 7919) >> 5);
        for (let at = 0; at < 60; at += 1) await writer.write(block);
        await writer.close();
        globalThis.showOpenFilePicker = async () => [handle];
        document.getElementById('files-choose').click();";
    browser.run(pick, Value::Null).await;
    browser.wait_until("document.querySelector('.file progress')?.position > 0.3").await;
    browser.reload().await;
    browser.wait_until_within(40, "document.querySelector('.file')?.dataset.status === 'done'").await;
    let stored = std::fs::metadata(server.directory().join("drop/kept.bin")).unwrap();
    assert_eq!(stored.len(), 60_000_000);
    assert_eq!(browser.run("return document.querySelectorAll('.file').length", Value::Null).await, json!(1));
    browser.finish().await;
}

#[tokio::test]
async fn browser_a_device_that_is_forgotten_leaves_nothing_unfinished_behind() {
    let mut chance = Chance::new();
    let server = Server::dev().await;
    let (_profile, browser) = enrolled(&server).await;
    let (file, _) = random_file("private ", FILE_LEN / 2, &mut chance);
    browser.type_into("#desk-input", "a secret draft").await;
    browser.click("#compare").await;
    browser.wait_until("document.querySelectorAll('#server-words li').length === 8").await;
    browser.click("#compare-yes").await;
    browser.type_into("#files-input", file.path().to_str().unwrap()).await;
    browser
        .wait_until(
            "localStorage.getItem('duologue-uploads') && document.querySelector('.file progress')?.position > 0.05",
        )
        .await;
    browser.click("#forget").await;
    browser.wait_until("document.querySelector('dialog[open]')").await;
    browser.click("#forget-yes").await;
    browser.wait_for_end("forgotten").await;
    browser.run("await new Promise((ok) => setTimeout(ok, 1_500))", Value::Null).await;
    browser.reload().await;
    browser.wait_for_end("no-identity").await;
    let left = "
        const database = await new Promise((ok) => {
            const request = indexedDB.open('duologue-page');
            request.onsuccess = () => ok(request.result);
        });
        const uploads = await new Promise((ok) => {
            const request = database.transaction('uploads').objectStore('uploads').count();
            request.onsuccess = () => ok(request.result);
        });
        database.close();
        return [uploads, Object.keys(localStorage), document.getElementById('desk-input').value];";
    assert_eq!(browser.run(left, Value::Null).await, json!([0, [], ""]));
    browser.finish().await;
}
