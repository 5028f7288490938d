//! Keys that change, by the real binary: who is here follows, who comes again follows, and nobody else leads anybody anywhere.
#![allow(missing_docs, reason = "tests are named for their scenario")]

mod site;

use std::{
    fs,
    io::{Read, Write},
    net::TcpStream,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use duologue_client::{Client, ConnectError, Line, Target};
use serde_json::Value;
use site::{Server, Site, try_verb};

fn path(site: &Site, name: &str) -> String {
    site.directory.path().join(name).to_str().expect("text").to_owned()
}

fn keys(site: &Site) -> Value {
    serde_json::from_str(&site.verb(&["keys", "show", "--json"])).expect("JSON")
}

/// A device with a keyring on disk, which is opened anew each time.
struct Device {
    keyring: PathBuf,
    target: Target,
}

impl Device {
    fn new(site: &Site, name: &str, link: &str) -> Self {
        Self { keyring: site.directory.path().join(name), target: site.target(link) }
    }

    async fn connect(&self) -> Result<Line, ConnectError> {
        Client::open(&self.keyring).expect("a keyring").connect(&self.target).await
    }

    /// Connects, and speaks.
    #[track_caller]
    fn comes(&self) -> impl Future<Output = ()> {
        let place = std::panic::Location::caller();
        async move {
            let line = self.connect().await.unwrap_or_else(|error| panic!("{place}: {error}"));
            assert_eq!(line.request("echo", "a").await, Ok(b"a".to_vec()), "{place}");
        }
    }

    /// What it knows of the one server.
    fn knows(&self) -> Value {
        let text = fs::read_to_string(self.keyring.join("servers.json")).expect("it was somewhere");
        let servers: Value = serde_json::from_str(&text).expect("JSON");
        servers.as_object().and_then(|servers| servers.values().next()).expect("one server").clone()
    }
}

/// What is published, of a server without TLS.
fn published(device: &Device) -> (u16, String) {
    let host = device.target.host();
    let mut stream = TcpStream::connect(&host).expect("it listens");
    write!(stream, "GET /.well-known/duologue-keys HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n")
        .expect("sent");
    let mut answer = String::new();
    stream.read_to_string(&mut answer).expect("text");
    let (head, body) = answer.split_once("\r\n\r\n").expect("HTTP");
    (head[9..12].parse().expect("a status"), body.to_owned())
}

fn restarted(site: &Site, server: Server, listen: &str) -> Server {
    server.stop();
    running(site, listen)
}

/// A server that stays at its address.
fn running(site: &Site, listen: &str) -> Server {
    use std::{
        io::{BufRead, BufReader},
        process::{Command, Stdio},
    };
    let mut command = Command::new(site::BINARY);
    command.args(["serve", "--url", &format!("https://{listen}"), "--listen", listen, "--behind-proxy"]);
    let log = fs::File::options().create(true).append(true).open(path(site, "log")).expect("a log");
    command.arg("--state").arg(site.state()).env_remove("RUST_LOG").stdout(Stdio::piped()).stderr(log);
    let mut process = command.spawn().expect("it starts");
    let mut line = String::new();
    BufReader::new(process.stdout.take().expect("piped")).read_line(&mut line).expect("text");
    assert!(!line.is_empty(), "{}", site.log());
    Server { process }
}

fn free() -> String {
    std::net::TcpListener::bind("127.0.0.1:0").and_then(|it| it.local_addr()).expect("a free port").to_string()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_rotation_is_followed_by_who_is_here_who_comes_again_and_links_of_before() {
    let site = Site::new("");
    let listen = free();
    let server = running(&site, &listen);
    let first = keys(&site)["key"].clone();
    let early = Device::new(&site, "early", &site.verb(&["invite", "new"]));
    early.comes().await;
    assert_eq!(published(&early).0, 404);
    // Before there was an owner's key: a device that never hears of one.
    let stranger = Device::new(&site, "stranger", &site.verb(&["invite", "new"]));
    stranger.comes().await;
    let owner = path(&site, "owner.p8");
    let said = site.verb(&["keys", "init", &owner]);
    assert!(said.contains("keep it elsewhere"), "{said}");
    assert_eq!(fs::metadata(&owner).expect("written").permissions().mode() & 0o777, 0o600);
    early.comes().await;
    assert_eq!(early.knows()["owner"]["number"], 1);
    let sleeper = Device::new(&site, "sleeper", &site.verb(&["invite", "new"]));
    sleeper.comes().await;
    let (old_link, late_link) = (site.verb(&["invite", "new"]), site.verb(&["invite", "new"]));

    // One that is here all the time, and one that will find a server that was put back.
    let here = Device::new(&site, "here", &site.verb(&["invite", "new"])).connect().await.expect("a good link");
    let back = Device::new(&site, "back", &site.verb(&["invite", "new"]));
    back.comes().await;
    site.verb(&["backup", &path(&site, "first.backup")]);

    let said = site.verb(&["keys", "rotate", "--owner-key", &owner]);
    assert!(said.contains("older") && said.contains("number       2"), "{said}");
    let second = keys(&site)["key"].clone();
    assert_ne!(first, second);
    assert_eq!(keys(&site)["older"], first);
    let new_link = site.verb(&["invite", "new"]);
    assert!(new_link.ends_with(second.as_str().expect("text")), "{new_link}");
    // Who comes by the older one is told, and comes by the newer one then: once that has worked, the older one is past.
    early.comes().await;
    assert_eq!((&early.knows()["key"], &early.knows()["next"]), (&first, &second));
    early.comes().await;
    assert_eq!((&early.knows()["key"], &early.knows()["next"]), (&second, &Value::Null));
    assert_eq!(early.knows()["past"][0], first);
    // A link of before is good, and leads to the same.
    let by_old_link = Device::new(&site, "by-old-link", &old_link);
    by_old_link.comes().await;
    assert_eq!(by_old_link.knows()["next"], second);
    Device::new(&site, "by-new-link", &new_link).comes().await;
    // A link of before on a device that knows the newer key is no other server.
    let again = Device { keyring: early.keyring.clone(), target: site.target(&old_link) };
    again.comes().await;
    // And one of now on a device that knows the older one alone is followed by what is published.
    let link = site.verb(&["invite", "new"]);
    Device { keyring: sleeper.keyring.clone(), target: site.target(&link) }.comes().await;
    assert_eq!(sleeper.knows()["past"][0], first);
    let (status, body) = published(&early);
    assert!(status == 200 && body.contains(&format!("\"number\":2,\"key\":{second}")), "{body}");

    back.comes().await;
    assert_eq!((&back.knows()["key"], &back.knows()["next"]), (&first, &second));
    let slept = Device::new(&site, "slept", &late_link);
    slept.comes().await;
    // As if it had been away since before the rotation.
    let kept = fs::read_to_string(slept.keyring.join("servers.json")).expect("kept");
    let mut kept: Value = serde_json::from_str(&kept).expect("JSON");
    for server in kept.as_object_mut().expect("an object").values_mut() {
        server["owner"]["number"] = 1.into();
        server.as_object_mut().expect("an object").remove("next");
    }
    fs::write(slept.keyring.join("servers.json"), kept.to_string()).expect("written");

    site.verb(&["keys", "retire"]);
    assert_eq!((&keys(&site)["key"], &keys(&site)["older"]), (&second, &Value::Null));
    assert_eq!(keys(&site)["past"][0], first);
    early.comes().await;
    slept.comes().await;
    assert_eq!((&slept.knows()["key"], &slept.knows()["past"][0]), (&second, &first));
    // Who has never heard of the owner cannot know whose the newer key is.
    let error = stranger.connect().await.expect_err("its key is retired");
    assert!(error.connection_error().is_some(), "{error}");
    // That was once ours, and is nobody's fault.
    assert!(!site.log().contains("wrong-key") && !site.log().contains("not-your-server"), "{}", site.log());
    // All of it is on disk, also in a backup.
    let before = keys(&site);
    let server = restarted(&site, server, &listen);
    assert_eq!(keys(&site), before);
    early.comes().await;
    let begun = Instant::now();
    while here.request("echo", "still").await != Ok(b"still".to_vec()) {
        assert!(begun.elapsed() < Duration::from_secs(20), "it does not follow: {:?}", here.state());
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    site.verb(&["backup", &path(&site, "a.backup")]);
    site.verb(&["keys", "rotate", "--owner-key", &owner, "--retire-after", "1s"]);
    early.comes().await;
    tokio::time::sleep(Duration::from_millis(2_100)).await;
    early.comes().await;
    assert_eq!(keys(&site)["number"], 3);
    assert_eq!(keys(&site)["past"].as_array().map(Vec::len), Some(2));
    drop(server);
    let restored = site.directory.path().join("restored");
    assert_eq!(try_verb(&restored, &["restore", &path(&site, "a.backup")]).0, 0);
    let shown: Value = serde_json::from_str(&try_verb(&restored, &["keys", "show", "--json"]).1).expect("JSON");
    assert_eq!(shown, before);
    // Put back to before the rotation: who has not been there by the newer key is let in by the older, and who has, never again.
    let older = Site::new("");
    assert_eq!(try_verb(&older.state(), &["restore", &path(&site, "first.backup")]).0, 0);
    let _server = running(&older, &listen);
    back.comes().await;
    assert_eq!((&back.knows()["key"], &back.knows()["next"]), (&first, &second));
    early.connect().await.expect_err("the older key is never tried again");
}

#[test]
fn only_the_owner_who_was_named_first_makes_the_next_key_and_each_mistake_has_its_words() {
    let site = Site::new("");
    let other = Site::new("");
    site.start().stop();
    other.start().stop();
    let owner = path(&site, "owner.p8");
    let refused = |site: &Site, arguments: &[&str], words: &str| {
        let before = keys(site);
        let (code, said, told) = site.try_verb(arguments);
        assert_eq!((code, said.as_str()), (1, ""), "{arguments:?}: {told}");
        assert!(told.contains(words), "{words}: {told}");
        assert_eq!(keys(site), before);
    };
    refused(&site, &["keys", "rotate", "--owner-key", &owner], "cannot read");
    refused(&site, &["keys", "retire"], "there is one key only");
    site.verb(&["keys", "init", &owner]);
    let theirs = path(&other, "owner.p8");
    refused(&other, &["keys", "rotate", "--owner-key", &owner], "no owner's key yet");
    other.verb(&["keys", "init", &theirs]);
    refused(&site, &["keys", "init", &path(&site, "second.p8")], "has an owner's key already");
    assert!(!Path::new(&path(&site, "second.p8")).exists());
    refused(&site, &["keys", "rotate", "--owner-key", &theirs], "not signed by this server's owner");
    refused(&site, &["keys", "rotate", "--owner-key", site.config().to_str().expect("text")], "is no key of");
    site.verb(&["keys", "rotate", "--owner-key", &owner]);
    refused(&site, &["keys", "rotate", "--owner-key", &owner], "is on its way already");
    site.verb(&["keys", "retire"]);
    refused(&site, &["keys", "retire"], "there is one key only");
    // The owner's key is nowhere in the state.
    let secret = fs::read(&owner).expect("written");
    for entry in fs::read_dir(site.state()).expect("readable") {
        let file = entry.expect("readable").path();
        if file.is_file() {
            let bytes = fs::read(&file).expect("readable");
            assert!(!bytes.windows(32).any(|part| part == &secret[36..68]), "{}", file.display());
        }
    }
}
