//! What somebody between a client and the server does to the connection outside the seal, as both are told of it: a real nginx, and the
//! hostile proxy with a certificate of its own.

use std::{path::Path, time::Duration};

use duologue_client::{Difference, Form, Tls};
use serde_json::{Value, json};
use tokio::{
    io::{AsyncWriteExt, copy_bidirectional},
    net::{TcpListener, TcpStream},
};

use crate::{
    browser::{Browser, Profile},
    enrolment::stranger,
    policy::Policy,
    proxies::{Backend, Running, free_port},
    proxy::Proxy,
    server::{Server, target, through},
    within,
};

/// A client's address that a balancer before nginx names.
const CLIENT: &str = "192.0.2.7";

/// nginx sends a Host of its own where it is not told otherwise.
const NAMELESS: Option<&str> = Some("proxy_set_header Host ");

fn has_nginx() -> bool {
    ["/usr/sbin/nginx", "/usr/bin/nginx", "/usr/local/bin/nginx"].iter().any(|place| Path::new(place).is_file())
}

/// nginx as docs/PROXIES.md has it for clients' addresses, behind a balancer that speaks the PROXY protocol; or without some of its lines.
async fn behind_nginx(without: Option<&str>) -> (Backend, Running) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let backend = Backend::trusting(listener.local_addr().unwrap().port()).await;
    let port = free_port();
    let proxy = Running::start_without("nginx_address", without, port, backend.port).await;
    tokio::spawn(async move {
        while let Ok((mut near, _)) = listener.accept().await {
            tokio::spawn(async move {
                let mut far = TcpStream::connect(("127.0.0.1", port)).await?;
                far.write_all(format!("PROXY TCP4 {CLIENT} 203.0.113.1 4711 443\r\n").as_bytes()).await?;
                copy_bidirectional(&mut near, &mut far).await
            });
        }
    });
    (backend, proxy)
}

#[tokio::test]
async fn a_native_client_is_told_what_nginx_does_and_the_owner_what_is_news_to_him() {
    if !has_nginx() {
        eprintln!("skipped: there is no nginx");
        return;
    }
    let report = async |backend: &Backend, proxy: &Running| {
        let client = stranger().trusting(proxy.ca_file());
        let link = target(&backend.invite().await);
        let line = within(20, "the line", client.connect(&link)).await.unwrap();
        within(20, "the report", client.path(&line)).await.unwrap()
    };
    // As the page has it, it rewrites nothing: what an owner's proxy adds and ends is no news to him.
    let (backend, proxy) = behind_nginx(None).await;
    let path = report(&backend, &proxy).await;
    assert_eq!(path.differs.to_string(), "headers tls-version", "{path:?}");
    assert!(!backend.stderr.seen().iter().any(|line| line.contains("rewritten on its way")));
    let (backend, proxy) = behind_nginx(NAMELESS).await;
    let path = report(&backend, &proxy).await;
    // The server has no certificate, so that none can be another.
    assert_eq!(path.differs.to_string(), "host headers tls-version", "{path:?}");
    assert_eq!(path.seen.host.as_deref(), Some(format!("127.0.0.1:{}", backend.port).as_str()));
    assert_eq!(path.seen.headers, ["x-forwarded-for"]);
    assert_eq!((path.known.tls, path.seen.tls), (Some(Tls::V13), Some(Tls::None)));
    assert_eq!(path.seen.address, CLIENT.parse().ok());
    assert!(path.seen.own_proxy);
    let told = within(20, "the owner's log", backend.stderr.with("a connection was rewritten on its way")).await;
    assert!(told.contains("what=\"host\"") || told.contains("what=host"), "{told}");
    assert!(told.contains(CLIENT), "{told}");
}

#[tokio::test]
async fn browser_shows_in_both_languages_what_nginx_does_to_the_connection() {
    if !has_nginx() {
        eprintln!("skipped: there is no nginx");
        return;
    }
    let (backend, proxy) = behind_nginx(NAMELESS).await;
    let browser = Browser::start(&Profile::trusting(proxy.trust())).await;
    browser.open(&backend.invite().await).await;
    browser.wait_for_state("open").await;
    browser.wait_until("document.getElementById('way').innerText.includes('ends TLS')").await;
    let english = browser.text("#way").await;
    for part in ["rewrites the name under which you have opened it (Host)", "(x-forwarded-for)", "put a proxy there"] {
        assert!(english.contains(part), "{english}");
    }
    browser.screenshot("way-en").await;
    browser.click("[data-language=fr]").await;
    browser.wait_until("document.getElementById('way').innerText.includes('met fin à TLS')").await;
    browser.screenshot("way-fr").await;
    // A line of an app's own, in the page and in a worker.
    let ask = "
        const { connect } = await import('/duologue.js');
        const line = connect(args);
        await line.ready;
        const { known, seen, differs } = await line.path();
        line.close();
        return { known, seen, differs };";
    for options in [json!({}), json!({ "worker": true })] {
        let told = browser.run(ask, options.clone()).await;
        assert_eq!(told["differs"], json!(["host", "headers", "tls-version"]), "{told}");
        assert_eq!(told["known"]["form"], "m1-in-request", "{told}");
        assert_eq!(told["seen"]["form"], "m1-in-request", "{told}");
        assert_eq!(told["seen"]["address"], CLIENT, "{told}");
        assert_eq!(told["seen"]["addressFrom"], "forwarded", "{told}");
    }
    browser.finish().await;
}

#[tokio::test]
async fn a_native_client_is_told_of_another_certificate_and_of_a_first_message_that_was_taken_out() {
    let server = Server::dev().await;
    let direct = stranger();
    let line = within(20, "the line", direct.connect(&target(server.link()))).await.unwrap();
    let path = within(20, "the report", direct.path(&line)).await.unwrap();
    assert!(path.differs.is_empty(), "a direct line: {path:?}");
    assert!(path.known.certificate.is_some() && path.known.certificate == path.seen.certificate, "{path:?}");

    let proxy = Proxy::before(&[&server]).await;
    let client = stranger().trusting(proxy.ca_file());
    let link = through(&server.invite("1h").await, proxy.port);
    let line = within(20, "the line", client.connect(&target(&link))).await.unwrap();
    let path = within(20, "the report", client.path(&line)).await.unwrap();
    assert_eq!(path.differs.to_string(), "certificate", "{path:?}");

    proxy.set(Policy { strip_m1: true, ..Policy::default() });
    let client = stranger().trusting(proxy.ca_file());
    let link = through(&server.invite("1h").await, proxy.port);
    let line = within(20, "the line", client.connect(&target(&link))).await.unwrap();
    let path = within(20, "the report", client.path(&line)).await.unwrap();
    assert_eq!(path.differs.to_string(), "form certificate", "{path:?}");
    assert!(path.differs.has(Difference::Form) && path.seen.form == Some(Form::AsMessage));
    let told = within(20, "the owner's log", server.stderr.with("form certificate")).await;
    assert!(told.contains("a connection was rewritten on its way"), "{told}");
}

#[tokio::test]
async fn browser_shows_nothing_of_a_direct_line_and_names_a_first_message_that_was_taken_out() {
    let server = Server::dev().await;
    let proxy = Proxy::before(&[&server]).await;
    let browser = Browser::start(&Profile::trusting(proxy.trust())).await;
    browser.open(&through(server.link(), proxy.port)).await;
    browser.wait_for_state("open").await;
    // TLS ends there, which no page can see where everything is sent on.
    let told = browser.run("return (await link.path()).differs", Value::Null).await;
    assert_eq!(told, json!([]));
    browser.wait_until("!document.getElementById('foot').hidden").await;
    tokio::time::sleep(Duration::from_millis(200)).await;
    assert_eq!(browser.text("#way").await, "");
    proxy.set(Policy { strip_m1: true, ..Policy::default() });
    browser.run("link.close()", Value::Null).await;
    browser.wait_for_end("normal").await;
    browser.click("#reconnect").await;
    browser.wait_for_state("open").await;
    browser.wait_until("document.getElementById('way').innerText.includes('first message out of the request')").await;
    browser.finish().await;
}
