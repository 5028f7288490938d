//! A server that takes passkeys, devices of people, and what they ask.
#![allow(dead_code, reason = "each test file has its own use for it")]

use std::{
    net::SocketAddr,
    sync::{Arc, Mutex},
    time::Duration,
};

use duologue::ResetCode;
use duologue_client::{Channel, ChannelError, Client, Keyring, Line, LineError, Target};
use duologue_server::{
    Call, Duologue, LabelPattern, Level, PasskeySettings, Passkeys, Policy, Rule, Rules, State, Subject, Terms,
    TokenSettings, Tokens, Whom, serve,
};
use serde_json::{Value, json};
use tokio::{
    net::{TcpListener, TcpStream},
    task::JoinSet,
};

use crate::{
    authenticator::{Authenticator, Faults, ORIGIN, RP_ID},
    testing::{Signer, key_set, now},
};

pub(crate) const ISSUER: &str = "https://login.example";
/// How long something may take that is not measured.
pub(crate) const PATIENCE: Duration = Duration::from_secs(20);

/// A server that takes passkeys, and opens `vault` to who is present, `login` and `passkeys` to devices that were let in.
pub(crate) struct Bench {
    pub(crate) duologue: Duologue,
    pub(crate) state: State,
    pub(crate) settings: PasskeySettings,
    /// Where connections go to now.
    pub(crate) server: Arc<Mutex<SocketAddr>>,
    pub(crate) way: Arc<Mutex<JoinSet<()>>>,
    pub(crate) address: String,
    pub(crate) directory: tempfile::TempDir,
}

impl Bench {
    pub(crate) async fn start() -> Self {
        let origins = Some(vec![ORIGIN.to_owned()]);
        Self::start_with(PasskeySettings { rp_id: Some(RP_ID.to_owned()), origins, ..Default::default() }).await
    }

    pub(crate) async fn start_with(settings: PasskeySettings) -> Self {
        let directory = tempfile::tempdir().expect("a temporary directory");
        let state = State::open(directory.path().join("state")).expect("a new state");
        std::fs::write(directory.path().join("keys.json"), key_set(&Signer::ALL)).expect("there is room");
        let duologue = serving(&state, &settings, directory.path());
        let server = Arc::new(Mutex::new(listening(&duologue).await));
        let (way, listener) =
            (Arc::new(Mutex::new(JoinSet::new())), TcpListener::bind("127.0.0.1:0").await.expect("a free port"));
        let address = format!("http://{}", listener.local_addr().expect("it is bound"));
        let (far, carries) = (Arc::clone(&server), Arc::clone(&way));
        tokio::spawn(async move {
            while let Ok((mut near, _)) = listener.accept().await {
                let far = *far.lock().expect("whole");
                carries.lock().expect("whole").spawn(async move {
                    let Ok(mut far) = TcpStream::connect(far).await else { return };
                    let _ = tokio::io::copy_bidirectional(&mut near, &mut far).await;
                });
            }
        });
        Self { duologue, state, settings, server, way, address, directory }
    }

    /// Cuts every connection; new ones come through.
    pub(crate) fn cut(&self) {
        self.way.lock().expect("whole").abort_all();
    }

    /// Another process takes the place of this one: it knows the devices, and none of the sessions.
    pub(crate) async fn restart(&mut self) {
        self.duologue = serving(&self.state, &self.settings, self.directory.path());
        let server = listening(&self.duologue).await;
        *self.server.lock().expect("whole") = server;
        self.cut();
    }

    pub(crate) fn invited(&self, subject: Option<&str>) -> Target {
        let terms = Terms { subject: subject.map(str::to_owned), ..Terms::default() };
        let invite = self.state.new_invite_for(&terms, Duration::from_secs(60)).expect("an invite");
        Target::parse(&invite.to_link(&self.address)).expect("a link")
    }

    /// A new device, by an invite for this person.
    pub(crate) async fn device_of(&self, subject: &str) -> Line {
        let client = Client::new(Keyring::in_memory());
        client.connect(&self.invited(Some(subject))).await.expect("the invite is good")
    }

    /// A new device of nobody, which has just been let in, with this token.
    pub(crate) async fn device_with(&self, token: &str) -> Line {
        let client = Client::new(Keyring::in_memory()).with_token(token);
        client.connect(&self.invited(None)).await.expect("the invite is good")
    }

    pub(crate) async fn revoke(&self, whom: Whom) {
        let duologue = self.duologue.clone();
        tokio::task::spawn_blocking(move || duologue.revoke(whom)).await.expect("it does not panic");
    }
}

pub(crate) fn serving(state: &State, settings: &PasskeySettings, directory: &std::path::Path) -> Duologue {
    let labels = |open: &[&str]| open.iter().map(|label| LabelPattern::new(label).expect("a pattern")).collect();
    let rules = vec![
        Rule::new("devices", labels(&["login", "logout", "passkeys"])),
        Rule { level: Level::Present, ..Rule::new("the vault", labels(&["vault"])) },
        Rule { level: Level::Present, age: Some(1), ..Rule::new("this moment", labels(&["moment"])) },
    ];
    let waits = |call: Call| async move {
        while let Some(message) = call.channel.recv().await? {
            call.channel.send(message).await?;
        }
        Ok(())
    };
    let login = |call: Call| async move {
        let name = call.channel.recv().await?.unwrap_or_default();
        call.vouch(Subject::new(&String::from_utf8(name)?)?, &[], now() + 600)?;
        call.channel.send("done").await?;
        Ok(())
    };
    let logout = |call: Call| async move {
        call.sign_out();
        call.channel.send("done").await?;
        Ok(())
    };
    let tokens = TokenSettings { keys: Some("keys.json".to_owned()), ..TokenSettings::new(ISSUER, "app") };
    Duologue::new(state.clone(), Policy::loopback().with_rules(Rules::new(rules)))
        .tokens(Tokens::new(tokens, directory).expect("settings"))
        .passkeys(Passkeys::new(settings.clone(), "localhost").expect("settings"))
        .service("vault", waits)
        .service("moment", waits)
        .service("login", login)
        .service("logout", logout)
}

pub(crate) async fn listening(duologue: &Duologue) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let address = listener.local_addr().expect("it is bound");
    tokio::spawn(serve(listener, None, duologue.router(), Default::default()));
    address
}

pub(crate) async fn within<T>(what: &str, work: impl Future<Output = T>) -> T {
    tokio::time::timeout(PATIENCE, work).await.unwrap_or_else(|_| panic!("waited in vain: {what}"))
}

/// One question on a channel, and its answer with all that it is filled with.
pub(crate) async fn ask_on(channel: &Channel, question: &Value) -> (Value, usize) {
    channel.send(serde_json::to_vec(question).expect("JSON")).await.expect("there is room");
    let answer = within("an answer", channel.recv()).await.expect("the line is open").expect("an answer");
    (serde_json::from_slice(&answer).expect("JSON"), answer.len())
}

pub(crate) async fn ask(line: &Line, question: Value) -> Value {
    let channel = line.channel("passkeys").expect("the line is open");
    let (answer, _) = ask_on(&channel, &question).await;
    channel.finish();
    answer
}

/// The options of a challenge to be present by, or to make a passkey by.
pub(crate) async fn options(line: &Line, what: &str) -> Value {
    let answer = ask(line, json!({ "ask": what })).await;
    assert!(answer["publicKey"].is_object(), "{what}: {answer}");
    answer["publicKey"].clone()
}

pub(crate) async fn register(line: &Line, authenticator: &mut Authenticator, name: &str) -> Value {
    let credential = authenticator.create(&options(line, "register").await, &Faults::default());
    ask(line, json!({ "ask": "registered", "name": name, "credential": credential })).await
}

pub(crate) async fn registered(line: &Line) -> Authenticator {
    let mut authenticator = Authenticator::es256();
    let answer = register(line, &mut authenticator, "a key").await;
    assert!(answer["passkey"]["id"].is_string(), "{answer}");
    authenticator
}

pub(crate) async fn present(line: &Line, credential: &Value) -> Value {
    ask(line, json!({ "ask": "present", "credential": credential })).await
}

/// Steps up as a person does.
pub(crate) async fn step_up(line: &Line, authenticator: &mut Authenticator) -> Value {
    let credential = authenticator.get(&options(line, "step-up").await, &Faults::default());
    present(line, &credential).await
}

pub(crate) fn level(number: u8) -> Value {
    json!({ "level": number })
}

pub(crate) fn refused(word: &str) -> Value {
    json!({ "refused": word })
}

/// Whether something is open to this line.
pub(crate) async fn is_open(line: &Line, label: &str) -> bool {
    match within("an answer", line.request(label, "open?")).await {
        Ok(answer) => answer == b"open?",
        Err(LineError::Channel(ChannelError::Reset(ResetCode::NotAllowed | ResetCode::StepUpNeeded))) => false,
        Err(error) => panic!("{label}: {error}"),
    }
}

pub(crate) async fn hears_level(line: &Line, level: u8) {
    let mut standing = line.standing();
    within("a level", standing.wait_for(|standing| standing.level == level)).await.expect("the line is open");
}
