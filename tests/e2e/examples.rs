//! The app with a login (`examples/login`), by the commands of its README: the real binary with the app's policy, both backends, Vite,
//! and a browser that is used as a person uses one.
//!
//! `cargo xtask test --full` lays the app out in `target/npm/examples` and installs its packages. One test after the other: Vite
//! keeps what it has made of packages beside them.

use std::{net::TcpListener, path::PathBuf, process::Stdio};

use serde_json::{Value, json};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    process::{Child, Command},
    sync::{Mutex, MutexGuard},
};

use crate::{
    browser::{Browser, Profile},
    page_access::{axe, serious},
    pictures::assert_it_fits,
    server::{Lines, Server, workspace},
    within,
};

const README: &str = include_str!("../../examples/login/README.md");

static TURN: Mutex<()> = Mutex::const_new(());

fn folder() -> PathBuf {
    let folder = workspace().join("target/npm/examples/login");
    let is_there = folder.join("node_modules/vite").is_dir();
    assert!(is_there, "{} is not laid out: run `cargo xtask test --full --filter examples::`", folder.display());
    folder
}

/// What the README has its reader type that begins so, word by word, without what it says of it.
fn typed(beginning: &str) -> Vec<String> {
    let found = README.lines().find(|line| line.starts_with(beginning));
    let line = found.unwrap_or_else(|| panic!("the README has no {beginning}"));
    line.split('#').next().unwrap_or_default().split_whitespace().map(str::to_owned).collect()
}

/// A program with all that it starts, which end with it.
struct Program {
    child: Child,
    said: Lines,
}

impl Program {
    fn start(mut command: Command) -> Self {
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::inherit()).process_group(0);
        let mut child = command.kill_on_drop(true).spawn().unwrap_or_else(|error| panic!("{command:?}: {error}"));
        let said = Lines::of(child.stdout.take().expect("it is piped"));
        Self { child, said }
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        if let Some(pid) = self.child.id() {
            let _ = std::process::Command::new("kill").args(["-KILL", "--", &format!("-{pid}")]).status();
        }
    }
}

#[derive(Clone, Copy, PartialEq)]
enum Backend {
    Express,
    Axum,
}

impl Backend {
    /// By the README's command; its address.
    async fn start(self) -> (Program, String) {
        let mut command = match self {
            Self::Express => by_npm(&typed("npm start")),
            Self::Axum => {
                assert_eq!(typed("cargo run -p duologue-server --example login").len(), 6);
                Command::new(workspace().join("target/debug/examples/login"))
            }
        };
        command.env("PORT", "0");
        let program = Program::start(command);
        let said = program.said.with("listening on ").await;
        let address = said.split("listening on ").nth(1).expect("it is there").trim().to_owned();
        (program, address)
    }
}

fn by_npm(words: &[String]) -> Command {
    let (npm, arguments) = words.split_first().expect("a program");
    let mut command = Command::new(npm);
    // What a test runner above has set is not the app's.
    command.args(arguments).current_dir(folder()).env("NO_COLOR", "1").env_remove("CI");
    command
}

/// All of it, and nobody there so far.
struct App {
    server: Server,
    backend_address: String,
    address: String,
    are_guests: bool,
    _backend: Program,
    _vite: Program,
    _turn: MutexGuard<'static, ()>,
}

impl App {
    /// Whose pages need an invite.
    async fn start(backend: Backend) -> Self {
        Self::start_for(backend, false).await
    }

    /// Where guests come in, by the key that the README has its reader give the page.
    async fn start_for(backend: Backend, are_guests: bool) -> Self {
        let turn = within(600, "the other examples", TURN.lock()).await;
        let (program, backend_address) = backend.start().await;
        let arguments: Vec<String> = typed("cargo run -p duologue-server -- dev ")[6..]
            .iter()
            .map(|word| match word.as_str() {
                "http://127.0.0.1:3000" => backend_address.clone(),
                "examples/login/policy.toml" if backend == Backend::Axum => {
                    workspace().join("server/examples/login/policy.toml").display().to_string()
                }
                "examples/login/policy.toml" => folder().join("policy.toml").display().to_string(),
                other => other.to_owned(),
            })
            .collect();
        assert!(arguments.contains(&backend_address), "the README names the backend: {arguments:?}");
        let server = Server::dev_with(&arguments.iter().map(String::as_str).collect::<Vec<_>>()).await;
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let mut command = by_npm(&typed("npm run dev"));
        command.args(["--", "--port", &port.to_string(), "--strictPort"]).env("DUOLOGUE_SERVER", server.address());
        if are_guests {
            let shown = server.verb(&["keys", "show"]).await;
            let key =
                shown.lines().find_map(|line| line.strip_prefix("key")).expect("it shows the key").trim().to_owned();
            assert!(README.contains("VITE_SERVER_KEY=$(cargo run -q -p duologue-server -- keys show"));
            command.env("VITE_SERVER_KEY", key);
        }
        let vite = Program::start(command);
        let address = format!("http://localhost:{port}");
        vite.said.with(&address).await;
        Self { server, backend_address, address, are_guests, _backend: program, _vite: vite, _turn: turn }
    }

    /// The page at this path, for a browser that comes for the first time.
    async fn invited(&self, path: &str) -> String {
        if self.are_guests {
            return format!("{}{path}", self.address);
        }
        let link = self.server.invite("24h").await;
        format!("{}{path}#{}", self.address, link.split_once('#').expect("an invite").1)
    }
}

/// Somebody before the page.
struct Person {
    browser: Browser,
    address: String,
}

impl Person {
    async fn sees_the_form(&self) {
        self.browser.wait_until("document.getElementById('sign-in')?.checkVisibility()").await;
        assert_eq!(self.shown("hello").await, "", "nobody is signed in");
    }

    /// By the keyboard alone.
    async fn types(&self, name: &str, password: &str) {
        self.sees_the_form().await;
        for (field, text) in [("name", name.to_owned()), ("password", format!("{password}\u{e007}"))] {
            self.browser.run("document.querySelector(args).select()", json!(format!("input[name={field}]"))).await;
            self.browser.type_into(&format!("input[name={field}]"), &text).await;
        }
    }

    async fn is_in_as(&self, name: &str) {
        let hello = format!("document.getElementById('hello')?.innerText.endsWith({})", json!(format!(" {name}")));
        self.browser.wait_until(&hello).await;
        self.browser.wait_until("!document.getElementById('sign-in')?.checkVisibility()").await;
    }

    async fn shown(&self, id: &str) -> String {
        let text = self.browser.run("return document.getElementById(args)?.innerText ?? ''", json!(id)).await;
        text.as_str().expect("a text").to_owned()
    }

    async fn notes(&self) -> Value {
        self.browser.run("return [...document.querySelectorAll('#notes li')].map((it) => it.innerText)", json!(0)).await
    }

    async fn has_focus(&self, selector: &str) {
        self.browser.wait_until(&format!("document.activeElement?.matches({})", json!(selector))).await;
    }
}

/// A login, and all that becomes of it.
async fn is_used(app: &App, path: &str) {
    let browser = Browser::start(&Profile::trusting(app.server.trust())).await;
    browser.open(&app.invited(path).await).await;
    let person = Person { browser, address: format!("{}{path}", app.address) };
    let browser = &person.browser;

    person.types("ada", "note g").await;
    browser.wait_until("document.getElementById('notice').innerText").await;
    assert_eq!(person.shown("notice").await, "Name or password is wrong.");
    person.has_focus("input[name=name]").await;
    person.types("nobody", "note G").await;
    browser.wait_until("document.getElementById('notice').innerText").await;
    let ask = "const { ask, open } = await import('/app.js');
        const link = open();
        try { return await ask(link, '/api/notes') } catch (error) { return error.cause?.code ?? error.code } finally { link.close() }";
    assert_eq!(browser.run(ask, Value::Null).await, "not-allowed", "the policy, before the backend is asked");

    person.types("ada", "note G").await;
    person.is_in_as("Ada").await;
    person.has_focus("#hello").await;
    assert!(person.shown("line-says").await.starts_with("ada, level 2, until "), "{}", person.shown("line-says").await);
    // By the cookie, and by what the line's server tells with the next request; and the page has no cookie.
    let said =
        [person.shown("cookie-says").await, person.shown("header-says").await, person.shown("own-cookies").await];
    assert_eq!(said, ["Ada", "ada", "none"]);
    assert_eq!(person.shown("notice").await, "");
    browser.type_into("#add input", "hers\u{e007}").await;
    browser.wait_until("document.querySelector('#notes li')").await;
    assert_eq!(person.notes().await, json!(["hers"]));

    // A second tab has the same line, and the login with it; also after a reload, and when it is the only one again.
    let first = browser.current_tab().await;
    browser.open_tab(&person.address).await;
    person.is_in_as("Ada").await;
    browser.wait_until("document.querySelector('#notes li')").await;
    browser.reload().await;
    person.is_in_as("Ada").await;
    browser.close_tab(&first).await;
    browser.reload().await;
    person.is_in_as("Ada").await;
    browser.wait_until("document.querySelector('#notes li')").await;

    // A key of a tab is good on its device alone, and until its person signs out.
    let key = browser.run("return sessionStorage.tab", Value::Null).await;
    let second = browser.open_tab(&person.address).await;
    person.is_in_as("Ada").await;
    browser.switch_to(&first).await;
    browser.click("#sign-out").await;
    person.sees_the_form().await;
    browser.switch_to(&second).await;
    person.sees_the_form().await;
    assert_eq!(person.notes().await, json!([]), "nothing of hers is shown");
    let again = "sessionStorage.tab = args; location.reload()";
    browser.run(again, key.clone()).await;
    browser.wait_until("document.getElementById('sign-in')?.checkVisibility() && !sessionStorage.tab").await;
    browser.close_tab(&first).await;

    // Somebody else, on a line that is hers: it ends, and he has one of his own with nothing of hers.
    person.types("ada", "note G").await;
    if browser.run("return !document.getElementById('hello')?.innerText", Value::Null).await == json!(true) {
        browser
            .wait_until("document.getElementById('hello')?.innerText || document.getElementById('notice').innerText")
            .await;
    }
    person.is_in_as("Ada").await;
    let other = "const { open, signIn } = await import('/app.js');
        return await signIn(open(), 'bob', 'six strings').then(() => 'in', (error) => error.cause?.code ?? error.code ?? String(error))";
    assert_eq!(browser.run(other, Value::Null).await, "subject-changed");
    person.sees_the_form().await;
    assert!(
        person.shown("notice").await.starts_with("Somebody else was signed in"),
        "{}",
        person.shown("notice").await
    );
    person.types("bob", "six strings").await;
    person.is_in_as("Bob").await;
    assert_eq!((person.shown("header-says").await.as_str(), person.notes().await), ("bob", json!([])));

    // A tab's key of hers, that somebody has copied to a device of his own.
    browser.click("#sign-out").await;
    person.types("ada", "note G").await;
    person.is_in_as("Ada").await;
    let key = browser.run("return sessionStorage.tab", Value::Null).await;
    let stranger = Browser::start(&Profile::trusting(app.server.trust())).await;
    stranger.open(&app.invited(path).await).await;
    let stranger = Person { browser: stranger, address: person.address.clone() };
    stranger.sees_the_form().await;
    stranger.browser.run(again, key).await;
    stranger.browser.wait_until("document.getElementById('sign-in')?.checkVisibility() && !sessionStorage.tab").await;
    stranger.browser.finish().await;
    person.browser.finish().await;
}

/// How the pages look, and that they can be used without eyes or a mouse.
async fn is_shown(app: &App, path: &str, name: &str) {
    let axe = axe();
    let browser = Browser::start(&Profile::trusting(app.server.trust()).french()).await;
    browser.open(&app.invited(path).await).await;
    let person = Person { browser, address: format!("{}{path}", app.address) };
    let browser = &person.browser;
    person.sees_the_form().await;
    assert_eq!(browser.text("#form-title").await, "Se connecter");
    assert_eq!(browser.run("return document.documentElement.lang", Value::Null).await, "fr");
    for width in [1280, 320] {
        browser.set_screen(width, 900).await;
        assert_it_fits(browser).await;
        browser.screenshot(&format!("login-{name}-form-{width}")).await;
    }
    assert_eq!(serious(browser, &axe).await, json!([]), "the form");
    browser.run("document.activeElement.blur()", Value::Null).await;
    for selector in ["input[name=name]", "input[name=password]", "#sign-in button"] {
        browser.press_tab().await;
        person.has_focus(selector).await;
    }
    person.types("ada", "six strings").await;
    browser.wait_until("document.getElementById('notice').innerText").await;
    assert_eq!(person.shown("notice").await, "Le nom ou le mot de passe est faux.");
    browser.screenshot(&format!("login-{name}-wrong-320")).await;
    person.types("ada", "note G").await;
    person.is_in_as("Ada").await;
    for text in ["Du lait", "Appeler Charles au sujet de la machine, qui ne tisse toujours pas de fleurs"] {
        let before = person.notes().await.as_array().map_or(0, Vec::len);
        browser.type_into("#add input", &format!("{text}\u{e007}")).await;
        browser.wait_until(&format!("document.querySelectorAll('#notes li').length > {before}")).await;
    }
    for (width, scheme) in [(320, "light"), (1280, "light"), (1280, "dark")] {
        browser.set_screen(width, 900).await;
        browser.set_scheme(scheme).await;
        assert_it_fits(browser).await;
        assert_eq!(serious(browser, &axe).await, json!([]), "signed in, {width}, {scheme}");
        browser.screenshot(&format!("login-{name}-in-{width}-{scheme}")).await;
    }
    person.browser.finish().await;
}

/// Whoever reaches the backend past the line is nobody there, whatever he says of himself.
async fn refuses_who_comes_past_the_line(app: &App) {
    let host = app.backend_address.trim_start_matches("http://");
    let mut socket = TcpStream::connect(host).await.unwrap();
    let request = format!("GET /api/me HTTP/1.1\r\nhost: {host}\r\nduologue-subject: ada\r\nconnection: close\r\n\r\n");
    socket.write_all(request.as_bytes()).await.unwrap();
    let mut answer = String::new();
    within(10, "the backend", socket.read_to_string(&mut answer)).await.unwrap();
    assert!(answer.starts_with("HTTP/1.1 403"), "{answer}");
}

#[tokio::test]
async fn browser_login_example_with_express_is_used_by_two_people() {
    let app = App::start(Backend::Express).await;
    refuses_who_comes_past_the_line(&app).await;
    is_used(&app, "/").await;
}

#[tokio::test]
async fn browser_login_example_with_axum_is_used_by_two_people() {
    let app = App::start(Backend::Axum).await;
    refuses_who_comes_past_the_line(&app).await;
    is_used(&app, "/").await;
}

#[tokio::test]
async fn browser_login_example_in_react_is_used_by_two_guests() {
    let app = App::start_for(Backend::Axum, true).await;
    is_used(&app, "/react/").await;
    let list: Value = serde_json::from_str(&app.server.verb(&["devices", "list", "--json"]).await).expect("JSON");
    assert_eq!(list["devices"], json!([]), "nothing is kept of a guest: {list}");
}

#[tokio::test]
async fn browser_axe_login_example_is_for_everybody_in_french_and_on_a_phone() {
    let app = App::start(Backend::Axum).await;
    is_shown(&app, "/", "plain").await;
    is_shown(&app, "/react/", "react").await;
}
