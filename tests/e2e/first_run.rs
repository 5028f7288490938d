//! The first run as a person has it: the printed link, the browser's warning of the certificate, and the line.
//!
//! ```text
//! every other test   the certificate is trusted before the browser starts
//! these              nothing is set up: the browser warns, and goes on as a person has it go on
//! ```
//!
//! An exception that was clicked is less than a certificate that is trusted. Chromium applies it to pages and dedicated
//! workers, and neither to shared workers nor to service workers: the page that was tested with a trusted certificate alone
//! said "The server cannot be reached" to everybody who ran the demo. What each engine does stands in docs/ENGINES.md.
//!
//! What is seen at each step lies in `target/first-run/`.

use std::{
    path::PathBuf,
    time::{Duration, Instant},
};

use serde_json::{Value, json};

use crate::{
    browser::{Browser, ByHand, Engine, Profile},
    path::{Cut, Path},
    pictures::assert_it_fits,
    server::{Server, through, workspace},
};

/// How long after the warning a person may wait for the line.
const OPENS_WITHIN: Duration = Duration::from_secs(5);

/// What is seen, step by step.
struct Story {
    directory: PathBuf,
    pictures: usize,
}

impl Story {
    fn of(name: &str) -> Self {
        let engine = format!("{:?}", Engine::of_this_run()).to_lowercase();
        let directory = workspace().join("target/first-run").join(format!("{engine}-{name}"));
        // What an earlier run has seen must not be taken for this one's.
        let _ = std::fs::remove_dir_all(&directory);
        std::fs::create_dir_all(&directory).unwrap();
        Self { directory, pictures: 0 }
    }

    /// The file of the next picture.
    fn next(&mut self, step: &str) -> PathBuf {
        self.pictures += 1;
        self.directory.join(format!("{:02}-{step}.png", self.pictures))
    }

    /// A link meets the warning, which is passed, and the line opens.
    async fn goes_past_the_warning(&mut self, browser: &Browser, link: &str, step: &str) {
        browser.meet_warning(link).await;
        browser.picture(&self.next(&format!("{step}-warning"))).await;
        browser.pass_warning().await;
        self.opens(browser, &format!("{step}-open")).await;
    }

    /// The line opens in time.
    async fn opens(&mut self, browser: &Browser, step: &str) {
        let started = Instant::now();
        while browser.run("return document.documentElement.dataset.state", Value::Null).await != json!("open") {
            if started.elapsed() > OPENS_WITHIN {
                let file = self.next(&format!("{step}-not"));
                browser.picture(&file).await;
                let shown = browser.shown().await;
                panic!("{step}: not open in {OPENS_WITHIN:?}: see {}; the page shows {shown:#}", file.display());
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        eprintln!("{step}: open after {} ms", started.elapsed().as_millis());
        browser.picture(&self.next(step)).await;
    }
}

/// Where a line is that would rather be in a shared worker that outlives its pages.
fn context() -> &'static str {
    if Engine::of_this_run() == Engine::Chromium { "worker" } else { "page" }
}

/// Waits until so many pages have come to the desk, as the server's terminal says. How many have gone is not asked: a page
/// that goes together with its worker cannot always say so, and its session waits for a while.
async fn desk_has_seen(server: &Server, pages: usize) {
    let started = Instant::now();
    while server.stdout.seen().iter().filter(|line| line.contains("is here;")).count() != pages {
        let seen = server.stdout.seen();
        assert!(started.elapsed() < Duration::from_secs(20), "did {pages} pages come? {seen:#?}");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

#[tokio::test]
async fn browser_past_the_warning_the_printed_link_opens_twice_and_in_a_second_tab() {
    if Engine::of_this_run() == Engine::WebKit {
        return by_hand().await;
    }
    let mut story = Story::of("printed-link");
    // Twice by two people, each of whom comes back.
    for person in ["first", "second"] {
        let server = Server::dev().await;
        let profile = Profile::warned();
        let browser = Browser::start(&profile).await;
        story.goes_past_the_warning(&browser, server.link(), person).await;
        assert_eq!(browser.echo(b"hello").await.unwrap(), b"hello");
        assert_eq!(browser.run("return link.context", Value::Null).await, json!(context()));
        desk_has_seen(&server, 1).await;

        browser.reload().await;
        story.opens(&browser, &format!("{person}-reloaded")).await;
        // The same link once more, whose invite this device has used: first where the page is, then in a new tab.
        browser.open(server.link()).await;
        story.opens(&browser, &format!("{person}-same-link")).await;
        let first = browser.current_tab().await;
        let second = browser.open_tab(server.link()).await;
        story.opens(&browser, &format!("{person}-second-tab")).await;
        assert_eq!(browser.echo(b"from the second tab").await.unwrap(), b"from the second tab");
        browser.switch_to(&first).await;
        assert_eq!(browser.echo(b"from the first tab").await.unwrap(), b"from the first tab");
        browser.close_tab(&second).await;
        assert_eq!(browser.echo(b"the second goes on alone").await.unwrap(), b"the second goes on alone");
        browser.finish().await;
        // Chromium and Firefox remember what was clicked beyond their end.
        let browser = Browser::start(&profile).await;
        browser.open(&server.address()).await;
        story.opens(&browser, &format!("{person}-started-again")).await;
        assert_eq!(server.devices().await.len(), 1, "one device, however many tabs");
        browser.finish().await;
    }
}

/// In WebKitGTK there is a browser without any driver: the line's state is read at the server.
async fn by_hand() {
    let mut story = Story::of("printed-link");
    let server = Server::dev().await;
    let browser = ByHand::meet_warning(server.link()).await;
    browser.picture(&story.next("warning")).await;
    assert_eq!(server.devices().await.len(), 0, "nobody gets in past a warning that stands");
    browser.pass_warning().await;
    desk_has_seen(&server, 1).await;
    browser.picture_of_page(&story.next("open")).await;
    browser.reload().await;
    desk_has_seen(&server, 2).await;
    browser.picture_of_page(&story.next("reloaded")).await;
    browser.open_tab(server.link()).await;
    desk_has_seen(&server, 3).await;
    browser.picture_of_page(&story.next("second-tab")).await;
    assert_eq!(server.devices().await.len(), 1);
}

#[tokio::test]
async fn browser_past_the_warning_a_lost_connection_comes_back() {
    let server = Server::dev().await;
    let path = Path::to(&server).await;
    let browser = Browser::start(&Profile::warned()).await;
    let mut story = Story::of("lost-connection");
    story.goes_past_the_warning(&browser, &through(server.link(), path.port), "line").await;
    let states = "globalThis.states = []; link.addEventListener('statechange', () => states.push(link.state))";
    browser.run(states, Value::Null).await;
    for cuts in 1..=2 {
        path.cut(Cut::Both);
        browser.wait_until(&format!("states.length === {}", 2 * cuts)).await;
        assert_eq!(browser.echo(b"back").await.unwrap(), b"back");
    }
    assert_eq!(browser.run("return states", Value::Null).await, json!(["resuming", "open", "resuming", "open"]));
    browser.finish().await;
}

#[tokio::test]
async fn browser_past_the_warning_a_served_page_opens_on_a_telephone() {
    let server = Server::serve_locally(&[]).await;
    let browser = Browser::start(&Profile::warned()).await;
    browser.set_screen(390, 844).await;
    let mut story = Story::of("telephone");
    story.goes_past_the_warning(&browser, &server.invite("24h").await, "served").await;
    assert_it_fits(&browser).await;
    browser.reload().await;
    story.opens(&browser, "served-reloaded").await;
    browser.open_tab(&server.address()).await;
    browser.set_screen(390, 844).await;
    story.opens(&browser, "served-second-tab").await;
    assert_eq!(server.devices().await.len(), 1);
    browser.finish().await;
}

#[tokio::test]
async fn browser_past_the_warning_an_app_has_its_line_in_whatever_worker_it_asks_for() {
    let server = Server::dev().await;
    let browser = Browser::start(&Profile::warned()).await;
    let mut story = Story::of("app");
    story.goes_past_the_warning(&browser, server.link(), "page").await;
    let body = "
        const { connect } = await import('/duologue.js');
        const own = () => new SharedWorker('/worker.js', { type: 'module', name: 'an app of its own' });
        const lines = [false, true, 'shared', own()].map((worker) => connect({ worker }));
        const answer = (line) => line.ready.then(() => line.request('echo', 'hello'));
        const told = await Promise.all(lines.map((line) => answer(line).then(String, (error) => error.code)));
        for (const line of lines) line.close();
        return told;";
    let hello = "104,101,108,108,111";
    assert_eq!(browser.run(body, Value::Null).await, json!([hello, hello, hello, hello]));
    browser.finish().await;
}

#[tokio::test]
async fn browser_past_the_warning_the_seventeenth_tab_waits_by_name() {
    const LINES_OF_A_DEVICE: usize = 16;
    let server = Server::dev().await;
    let browser = Browser::start(&Profile::warned()).await;
    let mut story = Story::of("seventeen-tabs");
    story.goes_past_the_warning(&browser, server.link(), "first").await;
    let first = browser.current_tab().await;
    let mut last = first.clone();
    for _ in 1..LINES_OF_A_DEVICE {
        last = browser.open_tab(&server.address()).await;
        browser.wait_for_state("open").await;
    }
    let seventeenth = browser.open_tab(&server.address()).await;
    browser.wait_for_state("waiting").await;
    browser.picture(&story.next("seventeenth-waits")).await;
    // Nobody had to go for it.
    for tab in [&first, &last] {
        browser.switch_to(tab).await;
        assert_eq!(browser.echo(b"still here").await.unwrap(), b"still here");
    }
    browser.close_tab(&seventeenth).await;
    story.opens(&browser, "seventeenth-open").await;
    assert_eq!(browser.echo(b"at last").await.unwrap(), b"at last");
    browser.finish().await;
}
