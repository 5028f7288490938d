//! The control socket: how `duologue invite new` and the other verbs reach a server that runs and has the store open.
//!
//! One JSON line there, one back, over `control.sock` in the state directory, which only the server's user may use
//! (mode 0600, as the store). Where no server runs, the verbs open the store themselves and ask the same function.

use std::{
    io::{self, BufRead, BufReader, Read, Write},
    os::unix::{fs::PermissionsExt, net::UnixStream},
    path::Path,
    time::Duration,
};

use duologue::DeviceId;
use serde::{Deserialize, Serialize};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt};

use crate::{
    lines::Duologue,
    state::{State, store::Device},
};

const SOCKET: &str = "control.sock";
/// Longest question; the longest is a device's id with its braces.
const QUESTION_LEN_MAX: u64 = 4_096;
/// Longest answer: a list of some ten thousand devices.
const ANSWER_LEN_MAX: u64 = 16 * 1_024 * 1_024;

/// What a verb asks.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub enum Question {
    /// A link for one device.
    NewInvite {
        /// For how long it is good.
        lifetime_secs: u64,
        /// Under which address; none for the server's own.
        address: Option<String>,
    },
    /// All devices.
    Devices,
    /// Remove a device.
    Revoke {
        /// Which.
        device: String,
    },
}

/// What it is answered.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub enum Answer {
    /// The link.
    Invite(String),
    /// The devices.
    Devices(Vec<Device>),
    /// The device was removed.
    Revoked,
    /// A sentence that says what is wrong and what to do.
    Failed(String),
}

/// Asks the server of a state directory, running or not.
///
/// # Errors
/// If neither a server answers nor the directory can be opened.
pub fn ask(directory: &Path, question: &Question) -> anyhow::Result<Answer> {
    match UnixStream::connect(directory.join(SOCKET)) {
        Ok(stream) => Ok(exchange(stream, question)?),
        Err(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused) => {
            Ok(respond(&State::open(directory)?, None, question))
        }
        Err(error) => Err(anyhow::Error::new(error).context("cannot reach the running server")),
    }
}

fn exchange(mut stream: UnixStream, question: &Question) -> io::Result<Answer> {
    stream.set_read_timeout(Some(Duration::from_secs(10)))?;
    let mut line = serde_json::to_string(question)?;
    line.push('\n');
    stream.write_all(line.as_bytes())?;
    let mut answer = String::new();
    BufReader::new(stream.take(ANSWER_LEN_MAX)).read_line(&mut answer)?;
    Ok(serde_json::from_str(&answer)?)
}

/// Answers the verbs until dropped.
///
/// # Errors
/// If the socket cannot be made.
pub fn listen(state: State, duologue: Duologue) -> io::Result<impl Future<Output = ()> + Send> {
    let path = state.directory().join(SOCKET);
    // The store is open, so that no other server runs here: what lies there is left from one that was killed.
    match std::fs::remove_file(&path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let listener = tokio::net::UnixListener::bind(&path)?;
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600))?;
    Ok(async move {
        loop {
            match listener.accept().await {
                Ok((stream, _)) => drop(tokio::spawn(converse(stream, state.clone(), duologue.clone()))),
                Err(error) => {
                    tracing::warn!(%error, "the control socket failed");
                    tokio::time::sleep(Duration::from_millis(100)).await;
                }
            }
        }
    })
}

async fn converse(stream: tokio::net::UnixStream, state: State, duologue: Duologue) {
    let (read, mut write) = stream.into_split();
    let mut line = String::new();
    if tokio::io::BufReader::new(read.take(QUESTION_LEN_MAX)).read_line(&mut line).await.is_err() {
        return;
    }
    let answer = match serde_json::from_str::<Question>(&line) {
        Ok(question) => {
            let answered = tokio::task::spawn_blocking(move || respond(&state, Some(&duologue), &question)).await;
            answered.unwrap_or_else(|_| Answer::Failed("the server failed; its log says more".to_owned()))
        }
        Err(error) => Answer::Failed(format!("the server does not understand this question: {error}")),
    };
    let mut line = serde_json::to_string(&answer).expect("strings and numbers are JSON");
    line.push('\n');
    let _ = write.write_all(line.as_bytes()).await;
}

fn respond(state: &State, running: Option<&Duologue>, question: &Question) -> Answer {
    let result = match question {
        Question::NewInvite { lifetime_secs, address } => new_invite(state, *lifetime_secs, address.clone()),
        Question::Devices => state.store().devices().map(Answer::Devices).map_err(|error| error.to_string()),
        Question::Revoke { device } => revoke(state, running, device),
    };
    result.unwrap_or_else(Answer::Failed)
}

fn new_invite(state: &State, lifetime_secs: u64, address: Option<String>) -> Result<Answer, String> {
    let stored = || state.store().address().map_err(|error| error.to_string());
    let address = match address {
        Some(address) => address,
        None => stored()?.ok_or("this server was never started, so that its address is not known: add --url")?,
    };
    let invite = state.new_invite(Duration::from_secs(lifetime_secs)).map_err(|error| error.to_string())?;
    Ok(Answer::Invite(invite.to_link(&address)))
}

fn revoke(state: &State, running: Option<&Duologue>, device: &str) -> Result<Answer, String> {
    let device: DeviceId =
        device.parse().map_err(|_| format!("\"{device}\" is no device id: `duologue devices list` shows them"))?;
    let known = match running {
        Some(duologue) => duologue.revoke(device),
        None => state.store().revoke(device),
    };
    match known.map_err(|error| error.to_string())? {
        true => Ok(Answer::Revoked),
        false => Err(format!("no device {device} is enrolled here: `duologue devices list` shows them")),
    }
}
