//! Whose a device is, what it was let in for, and how either ends: by real lines, over plain TCP on loopback.
#![allow(missing_docs, reason = "tests are named for their scenario")]

use std::time::Duration;

use axum::http::Method;
use duologue::{ChannelError, CloseCode, ConnectionError, DeviceId, ResetCode};
use duologue_client::{Client, ConnectError, Keyring, Line, LineError, Target};
use duologue_server::{
    AccountShown, Bind, Bound, Call, ChangeGroups, DeviceList, Duologue, InGroups, Level, Listening, Policy,
    Revocation, State, Subject, Terms, Whom, ask, listen, serve, services,
};
use tokio::net::TcpListener;

/// A running app, and its owner's way in.
struct App {
    state: State,
    duologue: Duologue,
    address: String,
    _listening: Listening,
    directory: tempfile::TempDir,
}

/// Says who calls: `subject group,group level`.
async fn who(call: Call) -> Result<(), duologue_server::ServiceError> {
    while call.channel.recv().await?.is_some() {
        let identity = call.identity();
        let subject = identity.subject.as_ref().map_or("nobody", Subject::as_str);
        let groups: Vec<_> = identity.groups.iter().map(ToString::to_string).collect();
        assert_eq!(identity.level, Level::Device, "a link says nothing of who uses the device now");
        call.channel.send(format!("{subject} {}", groups.join(","))).await?;
    }
    Ok(())
}

impl App {
    async fn start() -> Self {
        let directory = tempfile::tempdir().expect("a temporary directory");
        let state = State::open(directory.path()).expect("a new state");
        let duologue = Duologue::new(state.clone(), Policy::loopback());
        let duologue = duologue.service("who", who).service("echo", services::echo);
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let address = format!("http://{}", listener.local_addr().expect("it is bound"));
        tokio::spawn(serve(listener, None, duologue.router(), Default::default()));
        let listening = listen(state.clone(), duologue.clone()).expect("a socket");
        Self { state, duologue, address, _listening: listening, directory }
    }

    fn target(&self, terms: &Terms) -> Target {
        let invite = self.state.new_invite_for(terms, Duration::from_secs(60)).expect("an invite");
        Target::parse(&invite.to_link(&self.address)).expect("a link")
    }

    /// A device that comes in on terms.
    async fn let_in(&self, terms: &Terms) -> (Device, Line) {
        let device = Device::new(self.target(terms));
        let line = device.connect().await.expect("the invite is good");
        (device, line)
    }

    async fn post<T: serde::de::DeserializeOwned>(
        &self,
        path: &str,
        body: Option<&(impl serde::Serialize + Sync)>,
    ) -> anyhow::Result<T> {
        ask(self.directory.path(), Method::POST, path, body).await
    }
}

#[derive(Clone)]
struct Device {
    id: DeviceId,
    client: Client,
    target: Target,
}

impl Device {
    fn new(target: Target) -> Self {
        let keyring = Keyring::in_memory();
        let id = DeviceId::of_spki(keyring.device().spki());
        Self { id, client: Client::new(keyring).named("bench"), target }
    }

    async fn connect(&self) -> Result<Line, ConnectError> {
        self.client.connect(&self.target).await
    }

    /// Whoever it is, once the server knows it as that: a line that was ended by an owner comes again by itself.
    async fn becomes(&self, line: &Line, expected: &str) {
        let start = std::time::Instant::now();
        loop {
            let told = line.request("who", "?").await;
            if told.as_deref() == Ok(expected.as_bytes()) {
                return;
            }
            assert!(start.elapsed() < Duration::from_secs(60), "it is {told:?}, and not {expected}");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }
}

fn terms(subject: &str, groups: &[&str]) -> Terms {
    let groups = groups.iter().map(ToString::to_string).collect();
    Terms { subject: Some(subject.to_owned()), groups, ..Terms::default() }
}

fn close_code(error: &ConnectError) -> Option<CloseCode> {
    match error.connection_error() {
        Some(ConnectionError::PeerClosed(close)) => Some(close.code),
        _ => None,
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_invite_for_a_subject_that_a_hundred_race_for_binds_one() {
    let app = App::start().await;
    let target = app.target(&terms("ada", &["staff"]));
    let racers: Vec<_> = (0..100)
        .map(|_| {
            let device = Device::new(target.clone());
            // Strangers of one address come sixteen at a time; who is crowded out comes again.
            tokio::spawn(async move {
                loop {
                    match device.connect().await {
                        Ok(line) => return (device, Ok(line)),
                        Err(error) => match close_code(&error) {
                            Some(code @ (CloseCode::InviteUsed | CloseCode::NotEnrolled)) => {
                                return (device, Err(code));
                            }
                            _ => tokio::time::sleep(Duration::from_millis(50)).await,
                        },
                    }
                }
            })
        })
        .collect();
    let (mut won, mut late) = (Vec::new(), 0);
    for racer in racers {
        match tokio::time::timeout(Duration::from_secs(120), racer).await.expect("a verdict").expect("no panic") {
            (device, Ok(line)) => won.push((device, line)),
            (_, Err(CloseCode::InviteUsed)) => late += 1,
            (_, Err(code)) => panic!("told {code:?}"),
        }
    }
    let [(winner, line)] = won.as_slice() else { panic!("{} have won", won.len()) };
    assert_eq!(late, 99);
    winner.becomes(line, "ada staff").await;
    let shown: AccountShown =
        ask(app.directory.path(), Method::GET, "/accounts/ada", None::<&()>).await.expect("the account");
    assert_eq!((shown.account.devices, shown.account.lines), (1, 1));
    assert_eq!(shown.devices.iter().map(|it| it.id.as_str()).collect::<Vec<_>>(), [winner.id.to_string()]);
}

#[tokio::test]
async fn a_device_opens_what_it_was_let_in_for_and_nothing_else_also_when_it_comes_again() {
    let app = App::start().await;
    let (device, line) = app.let_in(&Terms { opens: Some(vec!["echo".to_owned()]), ..Terms::default() }).await;
    let other = device.connect().await.expect("the device is known");
    for line in [&line, &other] {
        assert_eq!(line.request("echo", "here").await, Ok(b"here".to_vec()));
        for label in ["who", "Echo", "echo ", "echo/", "ech"] {
            let refused = line.request(label, "?").await;
            assert_eq!(refused, Err(LineError::Channel(ChannelError::Reset(ResetCode::NotAllowed))), "{label}");
        }
    }
}

#[tokio::test]
async fn an_open_session_lives_through_being_bound_and_ends_when_it_is_released() {
    let app = App::start().await;
    let (device, line) = app.let_in(&Terms::default()).await;
    let lane = line.channel("who").expect("the line is open");
    let asks = async || {
        lane.send("?").await?;
        Ok::<_, LineError>(lane.recv().await?.map(|told| String::from_utf8(told).expect("text")))
    };
    assert_eq!(asks().await, Ok(Some("nobody ".to_owned())));
    let id = device.id;
    let bind = Bind { subject: Subject::new("ada").expect("a name") };
    let bound: Bound = app.post(&format!("/devices/{id}/bind"), Some(&bind)).await.expect("bound");
    assert!(bound.changed);
    assert_eq!(asks().await, Ok(Some("ada ".to_owned())), "on the same channel");
    let groups: ChangeGroups = serde_json::from_str(r#"{"add":["staff"]}"#).expect("groups");
    let _: InGroups = app.post("/accounts/ada/groups", Some(&groups)).await.expect("changed");
    assert_eq!(asks().await, Ok(Some("ada staff".to_owned())));
    let other = Bind { subject: Subject::new("bob").expect("a name") };
    let error = app.post::<Bound>(&format!("/devices/{id}/bind"), Some(&other)).await.expect_err("it is bound");
    assert!(error.to_string().contains("release it first"), "{error}");
    let _: Bound = app.post(&format!("/devices/{id}/release"), None::<&()>).await.expect("released");
    // What was ada's is over, by its name; and the device is nobody's.
    let ended = tokio::time::timeout(Duration::from_secs(20), line.closed()).await.expect("in time");
    assert!(
        matches!(ended, ConnectionError::PeerClosed(ref close) if close.code == CloseCode::SubjectChanged),
        "{ended:?}"
    );
    assert!(!matches!(asks().await, Ok(Some(_))), "and what was open is over");
    let line = device.connect().await.expect("it was let in");
    device.becomes(&line, "nobody ").await;
}

#[tokio::test]
async fn the_owner_sees_who_is_here_and_when_others_were() {
    let app = App::start().await;
    let (_here, line) = app.let_in(&Terms { name: Some("Ada's phone".to_owned()), ..terms("ada", &[]) }).await;
    let (_gone, left) = app.let_in(&Terms::default()).await;
    left.close(CloseCode::Normal, "");
    let start = std::time::Instant::now();
    loop {
        let list: DeviceList =
            ask(app.directory.path(), Method::GET, "/devices", None::<&()>).await.expect("the devices");
        assert_eq!(list.devices.len(), 2);
        assert!(list.devices.iter().all(|device| device.last_seen.is_some() && device.level == Level::Device));
        let ada = list.devices.iter().find(|device| device.subject.is_some()).expect("one is bound");
        assert_eq!((ada.name.as_str(), ada.lines), ("Ada's phone", 1));
        if list.devices.iter().any(|device| device.lines == 0) {
            break;
        }
        assert!(start.elapsed() < Duration::from_secs(60), "a closed line is gone");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    drop(line);
}

#[tokio::test]
async fn whoever_a_revocation_is_of_loses_his_lines_and_others_keep_theirs() {
    let app = App::start().await;
    let (ada, of_ada) = app.let_in(&terms("ada", &["staff"])).await;
    let (bob, of_bob) = app.let_in(&terms("bob", &["guests"])).await;
    let (cleo, of_cleo) = app.let_in(&terms("cleo", &["staff"])).await;
    let revoked = |line: Line, device: Device| async move {
        let ConnectionError::PeerClosed(close) = line.closed().await else { panic!("not told why") };
        assert_eq!(close.code, CloseCode::DeviceRevoked);
        let again = device.connect().await.expect_err("revoked");
        assert_eq!(close_code(&again), Some(CloseCode::DeviceRevoked));
    };
    assert_eq!(app.duologue.revoke(Whom::subject("ada")), Revocation::Stored);
    revoked(of_ada, ada).await;
    assert_eq!(app.duologue.revoke(Whom::group("guests")), Revocation::Stored);
    revoked(of_bob, bob).await;
    cleo.becomes(&of_cleo, "cleo staff").await;
}
