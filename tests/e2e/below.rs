//! Servers below a path of one host, behind a proxy that takes the path off, or leaves it.
//!
//! ```text
//! https://localhost:P/off/… ─► Front ─► /…        server A, --url https://localhost:P/off/
//! https://localhost:P/on/…  ─► Front ─► /on/…     server B, --url https://localhost:P/on
//! ```

use std::sync::{Arc, Mutex, PoisonError};

use duologue_client::Client;
use serde_json::{Value, json};
use tokio::{
    io::{AsyncWriteExt, BufReader, copy_bidirectional},
    net::{TcpListener, TcpStream},
    task::AbortHandle,
};
use tokio_rustls::TlsAcceptor;

use crate::{
    browser::{Browser, Profile},
    policy::read_head,
    server::{Server, refused, target},
    tls::Authority,
    within,
};

/// A path, whether it is taken off, and the port behind it.
type Route = (&'static str, bool, u16);

/// A reverse proxy with TLS, of the kind that everybody has.
struct Front {
    port: u16,
    authority: Authority,
    routes: Arc<Mutex<Vec<Route>>>,
    task: AbortHandle,
}

impl Drop for Front {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Front {
    async fn new() -> Self {
        let authority = Authority::for_names(&["localhost"]);
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let (acceptor, routes) = (TlsAcceptor::from(authority.server()), Arc::<Mutex<Vec<Route>>>::default());
        let shared = Arc::clone(&routes);
        let run = async move {
            loop {
                let Ok((tcp, _)) = listener.accept().await else { return };
                tokio::spawn(pass(tcp, acceptor.clone(), Arc::clone(&shared)));
            }
        };
        Self { port, authority, routes, task: tokio::spawn(run).abort_handle() }
    }

    /// A server below a path.
    async fn server(&self, path: &'static str, is_taken_off: bool, arguments: &[&str]) -> Server {
        let url = format!("{}{path}", self.address());
        let server = Server::behind_proxy(&url, self.authority.trust(), arguments).await;
        self.routes.lock().unwrap_or_else(PoisonError::into_inner).push((path, is_taken_off, server.port));
        server
    }

    fn address(&self) -> String {
        format!("https://localhost:{}", self.port)
    }

    fn lead_nowhere(&self) {
        self.routes.lock().unwrap_or_else(PoisonError::into_inner).clear();
        self.task.abort();
    }
}

/// One request of a connection, and all that follows an upgrade.
async fn pass(tcp: TcpStream, acceptor: TlsAcceptor, routes: Arc<Mutex<Vec<Route>>>) -> Option<()> {
    let mut client = BufReader::new(acceptor.accept(tcp).await.ok()?);
    let head = String::from_utf8(read_head(&mut client).await.ok()??).ok()?;
    let (line, fields) = head.split_once("\r\n")?;
    let mut words = line.split(' ');
    let (method, path) = (words.next()?, words.next()?);
    let routes = routes.lock().unwrap_or_else(PoisonError::into_inner).clone();
    let found = routes.iter().find_map(|(above, is_taken_off, port)| {
        let rest = path.strip_prefix(above.trim_end_matches('/'))?;
        (rest.is_empty() || rest.starts_with(['/', '?'])).then(|| (rest.to_owned(), *is_taken_off, *port))
    });
    let Some((rest, is_taken_off, port)) = found else {
        let nothing = b"HTTP/1.1 404 Not Found\r\ncontent-length: 0\r\nconnection: close\r\n\r\n";
        client.write_all(nothing).await.ok()?;
        return client.shutdown().await.ok();
    };
    // As a rule of HAProxy's or Caddy's writes it: what is left has a slash.
    let to = match is_taken_off {
        true if rest.starts_with('/') => rest,
        true => format!("/{rest}"),
        false => path.to_owned(),
    };
    let is_upgrade = fields.to_ascii_lowercase().contains("upgrade: websocket");
    let kept =
        fields.split("\r\n").filter(|field| is_upgrade || !field.to_ascii_lowercase().starts_with("connection:"));
    let mut fields = kept.collect::<Vec<_>>().join("\r\n");
    if !is_upgrade {
        // The next request is written anew, too.
        fields = format!("connection: close\r\n{fields}");
    }
    let mut server = TcpStream::connect(("127.0.0.1", port)).await.ok()?;
    server.write_all(format!("{method} {to} HTTP/1.1\r\n{fields}").as_bytes()).await.ok()?;
    copy_bidirectional(&mut client, &mut server).await.ok()?;
    Some(())
}

/// The paths of all that the page has loaded, but for this one.
const ELSEWHERE: &str = "
    const loaded = performance.getEntriesByType('resource').map(({ name }) => new URL(name).pathname);
    return [loaded.length >= 5, loaded.filter((path) => !path.startsWith(args))];";

#[tokio::test]
async fn browser_two_servers_below_paths_of_one_host_open_behind_both_kinds_of_proxy() {
    let front = Front::new().await;
    let off = front.server("/off/", true, &["--pairing"]).await;
    let on = front.server("/deep/on", false, &["--pairing"]).await;
    let profile = Profile::trusting(front.authority.trust());
    let browser = Browser::start(&profile).await;
    for (server, path) in [(&off, "/off/"), (&on, "/deep/on/")] {
        let link = server.invite("24h").await;
        let expected = format!("{}{path}#i=", front.address());
        assert!(link.starts_with(&expected), "{link} does not start with {expected}");
        browser.open(&link).await;
        browser.wait_for_state("open").await;
        assert_eq!(browser.url().await, format!("{}{path}", front.address()), "the secret is gone");
        assert_eq!(browser.run(ELSEWHERE, json!(path)).await, json!([true, []]));
        assert_eq!(server.devices().await.len(), 1);

        // What is loaded when it is wanted; the worker of the page; what makes an app of it.
        browser.click("#pair").await;
        browser.wait_until("document.querySelector('.qr path')").await;
        let pairing = browser.text(".pair-link").await;
        assert!(pairing.starts_with(&expected), "{pairing}");
        let app = "
            const { scope } = await navigator.serviceWorker.ready;
            const link = document.querySelector('link[rel=manifest]').href;
            const manifest = await (await fetch(link)).json();
            const at = (path) => new URL(path, link).pathname;
            const icons = await Promise.all(manifest.icons.map(({ src }) => fetch(new URL(src, link))));
            return [scope, at(manifest.start_url), at(manifest.scope), icons.every(({ ok }) => ok)];";
        let scope = format!("{}{path}", front.address());
        assert_eq!(browser.run(app, Value::Null).await, json!([scope, path, path, true]));
        let answer = "return (await fetch('.well-known/duologue')).status";
        assert_eq!(browser.run(answer, Value::Null).await, json!(204));
    }
    // Each has a key of its own in this browser, and the first is still let in: without the last slash, too.
    for (slashless, path) in [("/off", "/off"), ("/deep/on", "/deep/on/"), ("/off/", "/off/")] {
        browser.open(&format!("{}{slashless}", front.address())).await;
        browser.wait_for_state("open").await;
        assert_eq!(browser.url().await, format!("{}{path}", front.address()));
    }
    browser.finish().await;
}

#[tokio::test]
async fn browser_below_a_path_the_page_opens_without_its_server_and_beside_another() {
    let front = Front::new().await;
    let one = front.server("/one", true, &[]).await;
    let other = front.server("/other", false, &[]).await;
    let browser = Browser::start(&Profile::trusting(front.authority.trust())).await;
    let kept = "
        const { active } = await navigator.serviceWorker.ready;
        const { pathname } = location;
        const list = await (await caches.open(`duologue-shell${pathname.slice(0, -1)}`)).match(`${pathname}integrity.json`);
        const missing = [];
        for (const name of Object.keys(list ? (await list.json()).files : {}))
            if (!name.endsWith('.ts') && !(await caches.match(pathname + (name === 'index.html' ? '' : name)))) missing.push(name);
        return [active !== null, list !== undefined, missing];";
    for server in [&one, &other] {
        browser.open(&server.invite("24h").await).await;
        browser.wait_for_state("open").await;
        let mut now = Value::Null;
        for _ in 0..100 {
            now = browser.run(kept, Value::Null).await;
            if now == json!([true, true, []]) {
                break;
            }
            tokio::time::sleep(std::time::Duration::from_millis(100)).await;
        }
        assert_eq!(now, json!([true, true, []]), "all parts are kept");
    }
    front.lead_nowhere();
    for path in ["/one/", "/other/"] {
        browser.open(&format!("{}{path}", front.address())).await;
        // The page is there. Its line may be one that another page of it has left behind in their worker, and lives as long as its
        // connection does.
        browser.wait_until("['open', 'closed', 'resuming'].includes(document.documentElement.dataset.state)").await;
    }
    browser.finish().await;
}

#[tokio::test]
async fn a_native_client_finds_the_line_below_a_path_by_its_invite_link_and_again() {
    let front = Front::new().await;
    let servers = [front.server("/off", true, &[]).await, front.server("/deep/on/", false, &[]).await];
    let directory = tempfile::TempDir::with_prefix("duologue-device-").unwrap();
    let authority = directory.path().join("ca.pem");
    std::fs::write(&authority, &front.authority.ca_pem).unwrap();
    let client = || Client::open(directory.path().join("device")).unwrap().trusting(authority.clone());
    for (server, path) in servers.iter().zip(["/off/", "/deep/on/"]) {
        let link = target(&server.invite("24h").await);
        let line = within(20, "the line", client().connect(&link)).await.expect("the invite is good");
        assert_eq!(within(20, "an echo", line.request("echo", "below")).await.unwrap(), b"below", "{path}");
    }
    // Both pins are kept, each for its own.
    for path in ["/off/", "/deep/on/", "/off/line"] {
        let known = target(&format!("{}{path}", front.address()));
        let line = within(20, "the line", client().connect(&known)).await.expect("it knows this device");
        assert_eq!(within(20, "an echo", line.request("echo", "again")).await.unwrap(), b"again", "{path}");
    }
}

#[tokio::test]
async fn an_address_that_no_browser_could_use_is_refused_with_what_to_write() {
    let serve = ["serve", "--behind-proxy", "--listen", "127.0.0.1:0", "--url"];
    for (url, words) in [
        ("line.example", "--url line.example is no address: write https://line.example"),
        ("line.example:8443/app", "write https://line.example:8443/app"),
        ("http://line.example", "--url must start with https://: browsers give keys to secure pages only"),
        ("https://line.example/app?x=1", "write https://line.example/app"),
        ("https://line.example/#i=a.b", "write https://line.example"),
        ("https://", "no address"),
    ] {
        let said = refused(&[&serve[..], &[url]].concat()).await;
        assert!(said.contains(words), "{url}: {said}");
        let said = refused(&["invite", "new", "--url", url]).await;
        assert!(said.contains(words), "invite new, {url}: {said}");
    }
    for (arguments, words) in [
        (
            &["serve", "--url", "https://line.example"][..],
            "--cert and --key, or leave TLS to a proxy on this machine by --behind-proxy",
        ),
        (&["serve", "--url", "https://line.example", "--listen", "127.0.0.1"], "write 127.0.0.1:443"),
        (&["serve", "--url", "https://line.example", "--listen", "localhost:9443"], "write 127.0.0.1:9443"),
        (&["invite", "new", "--url", "https://line.example", "--expires", "0s"], "it would let in nobody"),
        (&["dev", "--port", "0", "--drop", "/etc/passwd"], "--drop /etc/passwd: that is no directory"),
    ] {
        let said = refused(arguments).await;
        assert!(said.contains(words), "{arguments:?}: {said}");
    }
}
