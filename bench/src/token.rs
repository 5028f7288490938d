//! People who show tokens, for the group `handshake`: an issuer whose keys everybody has, and tokens of it.

#[path = "../../server/src/door/tokens/testing.rs"]
#[allow(dead_code, reason = "the server's tests have other uses for it")]
mod testing;

use std::{
    path::Path,
    time::{SystemTime, UNIX_EPOCH},
};

use anyhow::Context as _;
use clap::ValueEnum;
use duologue_server::{TokenSettings, Tokens};
use serde_json::json;
pub(crate) use testing::now;
use testing::{Signer, key_set};

const ISSUER: &str = "https://login.example";
const AUDIENCE: &str = "bench";
/// What is shown is good for longer than any run.
const SECS: u64 = 3_600;

/// Which token a session's person shows.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Shown {
    /// The one that the last session of the device had.
    Seen,
    /// One that nobody has seen.
    New,
}

impl Shown {
    /// The token of a device's next session.
    pub(crate) fn by(self, device: u32) -> String {
        match self {
            Self::Seen => token(device, 0),
            Self::New => token(device, SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |now| now.as_nanos())),
        }
    }
}

/// Each device has a person of its own. Signed by EdDSA: the same claims are the same text, which a server remembers.
fn token(device: u32, id: u128) -> String {
    // In whole hours, so that the same token is the same text.
    let issued = now() / SECS * SECS;
    let claims = json!({
        "iss": ISSUER, "aud": AUDIENCE, "sub": format!("person {device}"), "jti": id.to_string(),
        "iat": issued, "exp": issued + 2 * SECS,
    });
    Signer::EdDsa.token(&claims)
}

/// What a server takes, whose state is there.
pub(crate) fn taken(state: &Path) -> anyhow::Result<Tokens> {
    let directory = state.parent().context("the state directory is in another")?;
    std::fs::write(directory.join("keys.json"), key_set(&[Signer::EdDsa])).context("cannot write the key set")?;
    let settings = TokenSettings { keys: Some("keys.json".to_owned()), ..TokenSettings::new(ISSUER, AUDIENCE) };
    Ok(Tokens::new(settings, directory)?)
}
