//! Chromium through WebDriver: one driver and one browser for each, at most two at a time.
//!
//! The driver is `CHROMEDRIVER`, else the one on PATH. Certificates are trusted by the hash of their key, so that the browser
//! still does real TLS. What the console says is collected: a violation of the Content Security Policy fails the test.

use std::{
    io::{Read, Write},
    process::Stdio,
    sync::Arc,
    time::{Duration, Instant},
};

use fantoccini::{
    Client, ClientBuilder, Locator,
    wd::{WebDriverCompatibleCommand, WindowHandle},
};
use hyper_util::client::legacy::connect::HttpConnector;
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::{
    process::{Child, Command},
    sync::{Semaphore, SemaphorePermit},
};
use tokio_tungstenite::tungstenite::http::Method;

use crate::{
    server::{Lines, SERVED_NAME, Server, workspace},
    within,
};

static BROWSERS: Semaphore = Semaphore::const_new(2);
const PATIENCE: Duration = Duration::from_secs(20);

/// A browser's memory, which may outlive the browser.
pub(crate) struct Profile {
    directory: Arc<TempDir>,
    /// Hashes of the keys whose certificates are trusted.
    pins: Vec<String>,
    language: &'static str,
    /// The port of this machine where [`SERVED_NAME`] is to be found.
    served_at: Option<u16>,
}

impl Profile {
    pub(crate) fn trusting(pins: &[String]) -> Self {
        let directory = Arc::new(TempDir::with_prefix("duologue-browser-").unwrap());
        Self { directory, pins: pins.to_vec(), language: "en-US", served_at: None }
    }

    /// Of a person who reads French.
    pub(crate) fn french(self) -> Self {
        Self { language: "fr", ..self }
    }

    /// Whose name service knows a server that runs as `serve`.
    pub(crate) fn knowing(server: &Server) -> Self {
        Self { served_at: Some(server.port), ..Self::trusting(&[server.spki_pin()]) }
    }
}

/// A running browser with one page.
pub(crate) struct Browser {
    client: Client,
    driver: Child,
    port: u16,
    session: String,
    console: Vec<String>,
    /// Not to be deleted under a running browser.
    _directory: Arc<TempDir>,
    _permit: SemaphorePermit<'static>,
}

impl Browser {
    pub(crate) async fn start(profile: &Profile) -> Self {
        let permit = within(600, "its turn for a browser", BROWSERS.acquire()).await.expect("it is never closed");
        let (driver, port) = chromedriver(profile).await;

        let capabilities = capabilities(profile);
        let mut builder = ClientBuilder::new(HttpConnector::new());
        builder.capabilities(capabilities.as_object().expect("an object").clone());
        let address = format!("http://127.0.0.1:{port}");
        let client = within(60, "Chromium to start", builder.connect(&address)).await.expect("Chromium starts");
        let session = client.session_id().await.unwrap().expect("a session has an id");
        Self {
            client,
            driver,
            port,
            session,
            console: Vec::new(),
            _directory: Arc::clone(&profile.directory),
            _permit: permit,
        }
    }

    pub(crate) async fn open(&self, url: &str) {
        within(60, format!("{url} to load"), self.client.goto(url)).await.unwrap_or_else(|e| panic!("{url}: {e}"));
    }

    pub(crate) async fn reload(&self) {
        within(60, "the page to load again", self.client.refresh()).await.unwrap();
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
        let script = format!(
            "const [args, done] = arguments;
             (async () => {{ {body} }})().then(
                (value) => done({{ value: value === undefined ? null : value }}),
                (error) => done({{ error: `${{error?.code ?? error?.name}}: ${{error?.message ?? error}}` }}));"
        );
        let ran = within(40, format!("the script {body:?}"), self.client.execute_async(&script, vec![args])).await;
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
        self.driver.id().expect("it runs")
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

    pub(crate) async fn click(&self, selector: &str) {
        self.client.find(Locator::Css(selector)).await.unwrap().click().await.unwrap();
    }

    /// `link.request("echo", bytes)` in the page.
    pub(crate) async fn echo(&self, bytes: &[u8]) -> Result<Vec<u8>, String> {
        let body = "return Array.from(await link.request('echo', new Uint8Array(args), { timeout: 20000 }))";
        let answer = self.try_run(body, json!(bytes)).await?;
        Ok(serde_json::from_value(answer).expect("bytes are an array of numbers"))
    }

    /// The screen that the page believes to have.
    pub(crate) async fn set_screen(&self, width: u32, height: u32) {
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
        for kind in ["rawKeyDown", "keyUp"] {
            let key = json!({ "type": kind, "key": "Tab", "code": "Tab", "windowsVirtualKeyCode": 9 });
            self.devtools("Input.dispatchKeyEvent", key).await;
        }
    }

    /// As [`Self::run`], with the page's Content Security Policy set aside: for tools that the page itself may not load.
    pub(crate) async fn run_past_policy(&self, body: &str, args: Value) -> Value {
        self.devtools("Page.setBypassCSP", json!({ "enabled": true })).await;
        self.run(body, args).await
    }

    /// The whole page, saved as `target/screenshots/NAME.png`.
    pub(crate) async fn screenshot(&self, name: &str) {
        use base64::{Engine, prelude::BASE64_STANDARD};
        let wanted = json!({ "format": "png", "captureBeyondViewport": true });
        let picture = self.devtools("Page.captureScreenshot", wanted).await;
        let png = BASE64_STANDARD.decode(picture["data"].as_str().expect("a picture in base64")).unwrap();
        let directory = workspace().join("target/screenshots");
        std::fs::create_dir_all(&directory).unwrap();
        std::fs::write(directory.join(format!("{name}.png")), png).unwrap();
    }

    async fn devtools(&self, method: &str, params: Value) -> Value {
        let command = Extension { path: "goog/cdp/execute", body: json!({ "cmd": method, "params": params }) };
        within(30, method, self.client.issue_cmd(command)).await.unwrap_or_else(|error| panic!("{method}: {error}"))
    }

    /// What the console has said since the last call.
    pub(crate) async fn log(&self) -> Vec<String> {
        let command = Extension { path: "se/log", body: json!({ "type": "browser" }) };
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
        let request =
            format!("DELETE /session/{} HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n", self.session);
        if let Ok(mut stream) = std::net::TcpStream::connect(("127.0.0.1", self.port)) {
            let _ = stream.set_read_timeout(Some(Duration::from_secs(10)));
            let _ = stream.write_all(request.as_bytes()).and_then(|()| stream.read(&mut [0; 256]).map(drop));
        }
        let _ = self.driver.start_kill();
    }
}

/// Starts chromedriver on a port of its choice. It takes one that is free for IPv6 and gives up if IPv4 has another use for
/// it: then it is started again.
async fn chromedriver(profile: &Profile) -> (Child, u16) {
    let program = std::env::var_os("CHROMEDRIVER").unwrap_or_else(|| "chromedriver".into());
    for _ in 0..10 {
        let mut command = Command::new(&program);
        // Debian's launcher takes the language from the environment.
        command.arg("--port=0").env("LANGUAGE", profile.language).stdin(Stdio::null()).kill_on_drop(true);
        let driver = command.stdout(Stdio::piped()).stderr(Stdio::null()).spawn();
        let mut driver = driver.unwrap_or_else(|error| panic!("cannot start {}: {error}", program.display()));
        let lines = Lines::of(driver.stdout.take().unwrap());
        if let Some(started) = lines.find("started successfully on port ").await {
            let port = started.trim_end_matches('.').rsplit(' ').next().and_then(|port| port.parse().ok());
            return (driver, port.unwrap_or_else(|| panic!("no port in {started:?}")));
        }
    }
    panic!("{} found no free port in ten attempts", program.display());
}

fn capabilities(profile: &Profile) -> Value {
    let mut arguments = vec![
        "--headless".to_owned(),
        "--no-sandbox".to_owned(),
        "--disable-gpu".to_owned(),
        "--disable-dev-shm-usage".to_owned(),
        "--disable-quic".to_owned(),
        "--no-first-run".to_owned(),
        "--disable-background-networking".to_owned(),
        "--disable-component-update".to_owned(),
        "--disable-sync".to_owned(),
        // As on a telephone, and so that pictures have the width that was asked for.
        "--hide-scrollbars".to_owned(),
        "--window-size=1280,900".to_owned(),
        format!("--lang={}", profile.language),
        format!("--user-data-dir={}", profile.directory.path().display()),
    ];
    arguments.push(format!("--ignore-certificate-errors-spki-list={}", profile.pins.join(",")));
    if let Some(port) = profile.served_at {
        arguments.push(format!("--host-resolver-rules=MAP {SERVED_NAME} 127.0.0.1:{port}"));
    }
    json!({
        "browserName": "chrome",
        "goog:chromeOptions": { "args": arguments, "prefs": { "intl.accept_languages": profile.language } },
        "goog:loggingPrefs": { "browser": "ALL" },
        "timeouts": { "script": 30_000, "pageLoad": 50_000 },
    })
}

/// A command of Chromium's own driver.
#[derive(Debug)]
struct Extension {
    path: &'static str,
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
