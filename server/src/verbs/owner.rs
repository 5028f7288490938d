//! What every verb of the owner's has: whose state it is about, and how its answer is told.

use duologue_server::{Kept, PasskeyOf, Revoked, ask, shown_name};
use hyper::Method;
use serde::{Serialize, de::DeserializeOwned};

use super::{StateDirectory, passkeys, say};

/// Where to ask, and how to tell.
#[derive(Debug, clap::Args)]
pub(crate) struct Owner {
    #[command(flatten)]
    pub(crate) directory: StateDirectory,
    /// Prints one line of JSON, as the local API has it, in place of text.
    #[arg(long)]
    json: bool,
}

impl Owner {
    /// Whether it is told as JSON.
    pub(crate) const fn is_json(&self) -> bool {
        self.json
    }

    /// Asks the running server, or the state at rest.
    pub(crate) async fn ask<T: DeserializeOwned>(
        &self,
        method: Method,
        path: &str,
        body: Option<&(impl Serialize + Sync)>,
    ) -> anyhow::Result<T> {
        ask(&self.directory.path()?, method, path, body).await
    }

    /// Asks for something that has no body.
    pub(crate) async fn get<T: DeserializeOwned>(&self, path: &str) -> anyhow::Result<T> {
        self.ask(Method::GET, path, None::<&()>).await
    }

    /// Tells an answer: as JSON, or as the lines that it has for people.
    pub(crate) fn tell<T: Serialize>(&self, answer: &T, lines: impl FnOnce(&T) -> Vec<String>) {
        if self.json {
            say(&serde_json::to_string(answer).expect("texts and numbers are JSON"));
        } else {
            lines(answer).iter().for_each(|line| say(line));
        }
    }

    /// Tells what became of a revocation. One that is nowhere on disk is an error, and so are passkeys that were to go with it and have
    /// not: a script must hear of it.
    pub(crate) fn tell_revoked(&self, revoked: &Revoked, with_passkeys: bool) -> anyhow::Result<()> {
        let message = revoked.message.as_deref().unwrap_or_default();
        self.tell(revoked, |Revoked { kept, with_it, left, passkeys, passkeys_removed, passkeys_unknown, .. }| {
            let mut lines: Vec<_> = with_it.iter().map(|device| format!("{device}  revoked with it")).collect();
            let passkey = |of: &PasskeyOf| format!("{}  of {}", passkeys::line(&of.passkey), shown_name(&of.subject));
            lines.extend(passkeys_removed.iter().map(|of| format!("removed {}", passkey(of))));
            lines.extend(
                passkeys
                    .iter()
                    .map(|of| format!("{}: it stays, and was registered there (--with-passkeys)", passkey(of))),
            );
            lines.extend(
                left.iter().map(|device| format!("{device}  was let in by it, and stays (--with-descendants)")),
            );
            lines.extend(
                passkeys_unknown
                    .iter()
                    .filter(|_| !with_passkeys)
                    .map(|why| format!("whether passkeys were registered there is not known: {why}")),
            );
            match kept {
                Kept::Stored => lines.push("revoked".to_owned()),
                Kept::Journal => lines.push(format!("revoked: {message}")),
                Kept::Nothing => lines.push(format!("ended: {message}")),
                Kept::Memory => {}
            }
            lines
        });
        if revoked.kept == Kept::Memory {
            anyhow::bail!("revoked, {message}");
        }
        if let (Some(why), true) = (&revoked.passkeys_unknown, with_passkeys) {
            anyhow::bail!("revoked, and the passkeys that were registered there have NOT gone: {why}");
        }
        Ok(())
    }
}

/// As a part of a path (RFC 3986, section 3.3): what makes no sense there gets there as it was written, and is named.
pub(crate) fn escaped(part: &str) -> String {
    let mut escaped = String::new();
    for byte in part.bytes() {
        match byte {
            b'-' | b'.' | b'_' | b'~' | b'0'..=b'9' | b'A'..=b'Z' | b'a'..=b'z' => escaped.push(byte.into()),
            byte => escaped.push_str(&format!("%{byte:02X}")),
        }
    }
    escaped
}

/// Seconds since 1970, as people read them.
pub(crate) fn when(secs: u64) -> String {
    duologue_server::utc(i64::try_from(secs).unwrap_or(i64::MAX))
}
