//! A browser through WebDriver: one driver and one browser for each, at most two at a time.
//!
//! ```text
//! DUOLOGUE_ENGINE   chromium (unless told)   chromium.rs   SPKI pin             DevTools, beyond WebDriver
//!                   firefox                  firefox.rs    its own trust store  bidi.rs: scripts, screen
//!                   webkit                   webkit.rs     certificate by host  a display of its own
//! ```
//!
//! Each trusts the one certificate of its profile and does real TLS with it; or it was told of none, warns, and goes on when
//! the warning is passed as by a person: `warning.rs`, and without a driver `by_hand.rs`. What the console says is collected: a violation of the Content Security Policy fails the test.

mod bidi;
mod by_hand;
mod chromium;
mod firefox;
mod screen;
mod warning;
mod webkit;

pub(crate) use by_hand::ByHand;

use std::{
    borrow::Cow,
    io::{Read, Write},
    path::Path,
    sync::{Arc, LazyLock},
    time::{Duration, Instant},
};

use base64::prelude::{BASE64_STANDARD, Engine as _};
use bidi::Bidi;
use fantoccini::{
    Client, ClientBuilder, Locator,
    actions::{InputSource, KeyAction, KeyActions},
    key::Key,
    wd::{WebDriverCompatibleCommand, WindowHandle},
};
use hyper_util::client::legacy::connect::HttpConnector;
use screen::Screen;
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::{
    process::Child,
    sync::{Semaphore, SemaphorePermit},
};
use tokio_tungstenite::tungstenite::http::Method;

use crate::{
    server::{Server, workspace},
    tls::Trust,
    within,
};

static BROWSERS: Semaphore = Semaphore::const_new(2);
const PATIENCE: Duration = Duration::from_secs(20);

/// Has the page say what the console says, where no driver tells it.
const LISTEN: &str = "() => {
    const log = (globalThis.consoleLog = []);
    const uncaught = (reason) => log.push(`Uncaught ${reason} ${reason?.stack ?? ''}`);
    addEventListener('error', ({ message, error }) => uncaught(error ?? message));
    addEventListener('unhandledrejection', ({ reason }) => uncaught(reason));
    // What an engine shows a text file by is its own: WebKit's has a style that the file's policy refuses.
    if (document.contentType !== 'text/html') return;
    addEventListener('securitypolicyviolation', ({ effectiveDirective, blockedURI }) =>
        log.push(`${effectiveDirective} of the Content Security Policy: ${blockedURI}`));
}";

/// Which browser this run is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Engine {
    Chromium,
    Firefox,
    WebKit,
}

impl Engine {
    /// `DUOLOGUE_ENGINE`.
    pub(crate) fn of_this_run() -> Self {
        static CHOSEN: LazyLock<Engine> = LazyLock::new(|| match std::env::var("DUOLOGUE_ENGINE").as_deref() {
            Err(_) | Ok("chromium") => Engine::Chromium,
            Ok("firefox") => Engine::Firefox,
            Ok("webkit") => Engine::WebKit,
            Ok(other) => panic!("DUOLOGUE_ENGINE is {other:?}, not chromium, firefox or webkit"),
        });
        *CHOSEN
    }
}

/// A browser's memory, which may outlive the browser.
pub(crate) struct Profile {
    directory: Arc<TempDir>,
    /// Whose certificate is trusted, if any is.
    trust: Option<Trust>,
    language: &'static str,
    /// The port of this machine where [`crate::server::SERVED_NAME`] is to be found.
    served_at: Option<u16>,
    /// Others whose certificate is trusted too, and further arguments; in Chromium.
    also: Vec<String>,
    arguments: Vec<String>,
}

impl Profile {
    pub(crate) fn trusting(trust: Trust) -> Self {
        Self { trust: Some(trust), ..Self::warned() }
    }

    /// Of a person who has set up nothing: the browser warns of every certificate in these tests.
    pub(crate) fn warned() -> Self {
        let directory = Arc::new(TempDir::with_prefix("duologue-browser-").unwrap());
        Self { directory, trust: None, language: "en-US", served_at: None, also: Vec::new(), arguments: Vec::new() }
    }

    /// Of a person who reads French.
    pub(crate) fn french(self) -> Self {
        Self { language: "fr", ..self }
    }

    /// In Chromium: trusts another certificate too.
    pub(crate) fn and_trusting(mut self, trust: &Trust) -> Self {
        self.also.push(trust.spki_pin.clone());
        self
    }

    /// Where [`crate::server::SERVED_NAME`] is to be found.
    pub(crate) fn at(self, port: u16) -> Self {
        Self { served_at: Some(port), ..self }
    }

    /// In Chromium: a further argument.
    pub(crate) fn started_with(mut self, argument: &str) -> Self {
        self.arguments.push(argument.to_owned());
        self
    }

    /// Whose name service knows a server that runs as `serve`.
    pub(crate) fn knowing(server: &Server) -> Self {
        Self { served_at: Some(server.port), ..Self::trusting(server.trust()) }
    }
}

/// A running driver.
struct Driver {
    child: Child,
    port: u16,
    /// What the browser draws on, where it cannot do without.
    _screen: Option<Screen>,
}

/// A running browser with one page.
pub(crate) struct Browser {
    client: Client,
    /// In Firefox.
    bidi: Option<Bidi>,
    driver: Driver,
    session: String,
    console: Vec<String>,
    /// Not to be deleted under a running browser.
    _directory: Arc<TempDir>,
    _permit: SemaphorePermit<'static>,
}

impl Browser {
    pub(crate) async fn start(profile: &Profile) -> Self {
        let permit = within(600, "its turn for a browser", BROWSERS.acquire()).await.expect("it is never closed");
        let engine = Engine::of_this_run();
        let (driver, mut capabilities) = match engine {
            Engine::Chromium => (chromium::driver(profile).await, chromium::capabilities(profile)),
            Engine::Firefox => (firefox::driver(profile).await, firefox::capabilities(profile)),
            Engine::WebKit => (webkit::driver(profile).await, webkit::capabilities(profile)),
        };
        capabilities["timeouts"] = json!({ "script": 30_000, "pageLoad": 50_000 });
        let mut builder = ClientBuilder::new(HttpConnector::new());
        builder.capabilities(capabilities.as_object().expect("an object").clone());
        let address = format!("http://127.0.0.1:{}", driver.port);
        let client = within(60, "the browser to start", builder.connect(&address)).await;
        let client = client.unwrap_or_else(|error| panic!("{engine:?} does not start: {error}"));
        let session = client.session_id().await.unwrap().expect("a session has an id");
        let bidi = match client.capabilities().and_then(|has| has.get("webSocketUrl")).and_then(Value::as_str) {
            Some(url) => Some(Bidi::connect(url, String::from(client.window().await.unwrap()), LISTEN).await),
            None => None,
        };
        Self {
            client,
            bidi,
            driver,
            session,
            console: Vec::new(),
            _directory: Arc::clone(&profile.directory),
            _permit: permit,
        }
    }

    pub(crate) async fn open(&self, url: &str) {
        within(60, format!("{url} to load"), self.client.goto(url)).await.unwrap_or_else(|e| panic!("{url}: {e}"));
        self.listen().await;
    }

    pub(crate) async fn reload(&self) {
        if let Some(bidi) = &self.bidi {
            // Firefox's `refresh` goes past the service worker, as Shift does.
            bidi.on_window("browsingContext.reload", json!({ "wait": "complete" })).await;
            return;
        }
        within(60, "the page to load again", self.client.refresh()).await.unwrap();
        self.listen().await;
    }

    /// A further tab, which is the current one from now on.
    pub(crate) async fn open_tab(&self, url: &str) -> WindowHandle {
        let tab = within(30, "a tab to open", self.client.new_window(true)).await.unwrap().handle;
        self.switch_to(&tab).await;
        self.open(url).await;
        tab
    }

    pub(crate) async fn current_tab(&self) -> WindowHandle {
        self.client.window().await.unwrap()
    }

    pub(crate) async fn switch_to(&self, tab: &WindowHandle) {
        within(30, "the other tab", self.client.switch_to_window(tab.clone())).await.unwrap();
        if let Some(bidi) = &self.bidi {
            bidi.switch_to(String::from(tab.clone()));
        }
    }

    /// Closes the current tab, as a person does, and goes to another.
    pub(crate) async fn close_tab(&self, next: &WindowHandle) {
        within(30, "the tab to close", self.client.close_window()).await.unwrap();
        self.switch_to(next).await;
    }

    pub(crate) async fn url(&self) -> String {
        self.client.current_url().await.unwrap().into()
    }

    /// Runs the body of an asynchronous function with `args` in the page, and returns what it returns.
    pub(crate) async fn try_run(&self, body: &str, args: Value) -> Result<Value, String> {
        let function = format!(
            "(args) => (async () => {{ {body} }})().then(
                (value) => ({{ value: value === undefined ? null : value }}),
                (error) => ({{ error: `${{error?.code ?? error?.name}}: ${{error?.message ?? error}}` }}))"
        );
        let run = async {
            if let Some(bidi) = &self.bidi {
                return bidi.call(&function, &args).await;
            }
            let script = format!("const [args, done] = arguments; ({function})(args).then(done)");
            self.client.execute_async(&script, vec![args]).await.map_err(|error| error.to_string())
        };
        let ran = within(40, format!("the script {body:?}"), run).await;
        let mut answer = ran.unwrap_or_else(|error| panic!("the script {body:?} did not run: {error}"));
        match answer.get("error") {
            Some(error) => Err(error.as_str().unwrap_or_default().to_owned()),
            None => Ok(answer["value"].take()),
        }
    }

    pub(crate) async fn run(&self, body: &str, args: Value) -> Value {
        self.try_run(body, args).await.unwrap_or_else(|error| panic!("the script {body:?} failed: {error}"))
    }

    /// The process of the driver, whose children are the browser's.
    pub(crate) fn pid(&self) -> u32 {
        self.driver.child.id().expect("it runs")
    }

    /// Waits until an expression is true, and says what the page shows if it never is.
    pub(crate) async fn wait_until(&self, expression: &str) {
        self.wait_until_within(PATIENCE.as_secs(), expression).await;
    }

    pub(crate) async fn wait_until_within(&self, secs: u64, expression: &str) {
        let patience = Duration::from_secs(secs);
        let started = Instant::now();
        loop {
            if self.run(&format!("return Boolean({expression})"), Value::Null).await == json!(true) {
                return;
            }
            assert!(
                started.elapsed() < patience,
                "{expression} did not become true in {patience:?}; the page shows {:#}; its console: {:#?}",
                self.shown().await,
                self.log().await
            );
            // Polling is all that WebDriver offers.
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }

    pub(crate) async fn wait_for_state(&self, state: &str) {
        self.wait_until(&format!("document.documentElement.dataset.state === '{state}'")).await;
    }

    /// Waits for the end with this code, and returns the sentences that the page shows.
    pub(crate) async fn wait_for_end(&self, code: &str) -> String {
        self.wait_until(&format!("document.documentElement.dataset.code === '{code}'")).await;
        self.wait_for_state("closed").await;
        self.wait_until("document.getElementById('cause').checkVisibility()").await;
        self.text("#cause").await
    }

    /// What stands in an element, as a person sees it.
    pub(crate) async fn text(&self, selector: &str) -> String {
        let text = self.run("return document.querySelector(args).innerText", json!(selector)).await;
        text.as_str().unwrap_or_default().to_owned()
    }

    /// State, code and words, for failure messages.
    pub(crate) async fn shown(&self) -> Value {
        let body = "return { url: location.href, ...document.documentElement.dataset, \
                    text: document.body?.innerText?.slice(0, 1500) }";
        self.run(body, Value::Null).await
    }

    /// Types into a field as a person would.
    pub(crate) async fn type_into(&self, selector: &str, text: &str) {
        let element = self.client.find(Locator::Css(selector)).await.unwrap();
        element.send_keys(text).await.unwrap();
    }

    /// Once it is there to be clicked: parts of the page come by scripts of their own.
    pub(crate) async fn click(&self, selector: &str) {
        let there = "((it) => it?.checkVisibility() && !it.disabled)";
        self.wait_until(&format!("{there}(document.querySelector({}))", json!(selector))).await;
        self.client.find(Locator::Css(selector)).await.unwrap().click().await.unwrap();
    }

    /// `link.request("echo", bytes)` in the page.
    pub(crate) async fn echo(&self, bytes: &[u8]) -> Result<Vec<u8>, String> {
        let body = "return Array.from(await link.request('echo', new Uint8Array(args), { timeout: 20000 }))";
        let answer = self.try_run(body, json!(bytes)).await?;
        Ok(serde_json::from_value(answer).expect("bytes are an array of numbers"))
    }

    /// The screen that the page believes to have; in WebKit the window, which is never narrower than 447 pixels.
    pub(crate) async fn set_screen(&self, width: u32, height: u32) {
        if let Some(bidi) = &self.bidi {
            let viewport = json!({ "viewport": { "width": width, "height": height }, "devicePixelRatio": 1 });
            bidi.on_window("browsingContext.setViewport", viewport).await;
            return;
        }
        if Engine::of_this_run() == Engine::WebKit {
            self.client.set_window_rect(0, 0, width, height).await.unwrap();
            return;
        }
        let screen = json!({ "width": width, "height": height, "deviceScaleFactor": 1, "mobile": false });
        self.devtools("Emulation.setDeviceMetricsOverride", screen).await;
    }

    /// `light` or `dark`, as the person has it.
    pub(crate) async fn set_scheme(&self, scheme: &str) {
        let features = json!({ "features": [{ "name": "prefers-color-scheme", "value": scheme }] });
        self.devtools("Emulation.setEmulatedMedia", features).await;
    }

    /// One press of the Tab key, as the system hands it to the page.
    pub(crate) async fn press_tab(&self) {
        let value = Key::Tab.into();
        let press = KeyActions::new("keyboard".into()).then(KeyAction::Down { value }).then(KeyAction::Up { value });
        self.client.perform_actions(press).await.unwrap();
    }

    /// As [`Self::run`], with the page's Content Security Policy set aside: for tools that the page itself may not load.
    pub(crate) async fn run_past_policy(&self, body: &str, args: Value) -> Value {
        self.devtools("Page.setBypassCSP", json!({ "enabled": true })).await;
        self.run(body, args).await
    }

    /// The whole page, saved as `target/screenshots/NAME.png`, or `ENGINE-NAME.png`; in WebKit only what is seen.
    pub(crate) async fn screenshot(&self, name: &str) {
        let whole = match (&self.bidi, Engine::of_this_run()) {
            (Some(bidi), _) => {
                bidi.on_window("browsingContext.captureScreenshot", json!({ "origin": "document" })).await
            }
            (None, Engine::WebKit) => {
                json!({ "data": BASE64_STANDARD.encode(self.client.screenshot().await.unwrap()) })
            }
            (None, _) => {
                let wanted = json!({ "format": "png", "captureBeyondViewport": true });
                self.devtools("Page.captureScreenshot", wanted).await
            }
        };
        let png = BASE64_STANDARD.decode(whole["data"].as_str().expect("a picture in base64")).unwrap();
        let directory = workspace().join("target/screenshots");
        std::fs::create_dir_all(&directory).unwrap();
        let engine = match Engine::of_this_run() {
            Engine::Chromium => "",
            Engine::Firefox => "firefox-",
            Engine::WebKit => "webkit-",
        };
        std::fs::write(directory.join(format!("{engine}{name}.png")), png).unwrap();
    }

    /// What is seen of the page, or of the browser's own page in its place, as a file.
    pub(crate) async fn picture(&self, file: &Path) {
        let png = within(30, "a picture", self.client.screenshot()).await;
        std::fs::write(file, png.unwrap_or_else(|error| panic!("no picture {}: {error}", file.display()))).unwrap();
    }

    /// Of Chromium alone.
    async fn devtools(&self, method: &str, params: Value) -> Value {
        let engine = Engine::of_this_run();
        assert_eq!(engine, Engine::Chromium, "{method} is nothing that {engine:?} has");
        let command = Extension { path: "goog/cdp/execute".into(), body: json!({ "cmd": method, "params": params }) };
        within(30, method, self.client.issue_cmd(command)).await.unwrap_or_else(|error| panic!("{method}: {error}"))
    }

    /// Stops the page, as a browser does with one in the background, or lets it run again; in Chromium.
    pub(crate) async fn freeze(&self, is_frozen: bool) {
        let state = if is_frozen { "frozen" } else { "active" };
        self.devtools("Page.setWebLifecycleState", json!({ "state": state })).await;
    }

    /// A script that runs in each page before its own; in Chromium.
    pub(crate) async fn preload(&self, script: &str) {
        self.devtools("Page.addScriptToEvaluateOnNewDocument", json!({ "source": script })).await;
    }

    /// What the person has said to what pages may ask; in Chromium.
    pub(crate) async fn set_permission(&self, name: &str, setting: &str) {
        self.devtools("Browser.setPermission", json!({ "permission": { "name": name }, "setting": setting })).await;
    }

    /// An authenticator in the place of the device's own (Web Authentication Level 3, section 11); its person is there, and verified or
    /// not. Gives what it is called; in Chromium.
    pub(crate) async fn add_authenticator(&self, is_verified: bool) -> String {
        let body = json!({
            "protocol": "ctap2", "transport": "internal", "hasResidentKey": true, "hasUserVerification": true,
            "isUserConsenting": true, "isUserVerified": is_verified,
        });
        let added = self.client.issue_cmd(Extension { path: "webauthn/authenticator".into(), body }).await;
        added.unwrap().as_str().expect("an id").to_owned()
    }

    /// Whether the person of an authenticator is verified from now on.
    pub(crate) async fn set_verified(&self, authenticator: &str, is_verified: bool) {
        let path = format!("webauthn/authenticator/{authenticator}/uv").into();
        let body = json!({ "isUserVerified": is_verified });
        self.client.issue_cmd(Extension { path, body }).await.unwrap();
    }

    /// In WebKit a page is heard from the end of its loading on.
    async fn listen(&self) {
        if Engine::of_this_run() == Engine::WebKit {
            self.run(&format!("({LISTEN})()"), Value::Null).await;
        }
    }

    /// What the console has said since the last call.
    pub(crate) async fn log(&self) -> Vec<String> {
        if Engine::of_this_run() != Engine::Chromium {
            let said = self.run("return globalThis.consoleLog?.splice(0) ?? []", Value::Null).await;
            return serde_json::from_value(said).expect("lines are strings");
        }
        let command = Extension { path: "se/log".into(), body: json!({ "type": "browser" }) };
        let entries = within(30, "the console", self.client.issue_cmd(command)).await.unwrap();
        let line = |entry: &Value| format!("{} {}", entry["level"], entry["message"]);
        entries.as_array().map(|entries| entries.iter().map(line).collect()).unwrap_or_default()
    }

    /// Ends the test: fails on a violation of the Content Security Policy, and on a script's failure.
    pub(crate) async fn finish(mut self) {
        let log = self.log().await;
        self.console.extend(log);
        let bad = ["Content Security Policy", "Uncaught", "violates"];
        let found: Vec<_> = self.console.iter().filter(|line| bad.iter().any(|bad| line.contains(bad))).collect();
        assert!(found.is_empty(), "the console says {found:#?}");
    }
}

impl Drop for Browser {
    /// By hand and without the runtime, because a failed test has none left: a driver that is only killed leaves its browser.
    fn drop(&mut self) {
        let port = self.driver.port;
        // geckodriver refuses hosts with any other port.
        let head = format!("DELETE /session/{} HTTP/1.1\r\nhost: localhost:{port}", self.session);
        let request = format!("{head}\r\nconnection: close\r\n\r\n");
        if let Ok(mut stream) = std::net::TcpStream::connect(("127.0.0.1", port)) {
            let _ = stream.set_read_timeout(Some(Duration::from_secs(10)));
            let _ = stream.write_all(request.as_bytes()).and_then(|()| stream.read(&mut [0; 256]).map(drop));
        }
        let _ = self.driver.child.start_kill();
    }
}

/// A command of Chromium's own driver.
#[derive(Debug)]
struct Extension {
    path: Cow<'static, str>,
    body: Value,
}

impl WebDriverCompatibleCommand for Extension {
    fn endpoint(&self, base: &url::Url, session: Option<&str>) -> Result<url::Url, url::ParseError> {
        base.join(&format!("session/{}/{}", session.unwrap_or_default(), self.path))
    }

    fn method_and_body(&self, _: &url::Url) -> (Method, Option<String>) {
        (Method::POST, Some(self.body.to_string()))
    }
}
