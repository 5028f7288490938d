//! `duologue keys`: who this server is.

use duologue_server::{Language, exposed_key, server_key, spoken};
use serde::Serialize;

use super::owner::Owner;

#[derive(Debug, clap::Subcommand)]
pub(crate) enum Keys {
    /// Shows the public key and its fingerprint, also as words, to compare with what a device shows.
    Show(Owner),
}

#[derive(Serialize)]
struct Shown {
    key: String,
    fingerprint: String,
    words: String,
    mots: String,
}

impl Keys {
    pub(crate) fn run(self) -> anyhow::Result<()> {
        let Self::Show(owner) = self;
        let state = owner.directory.path()?;
        let key = server_key(&state)?;
        if let Some(file) = exposed_key(&state) {
            tracing::warn!(
                "{file} is open to other users of this machine: `chmod 600` it, or begin anew if anybody may have read it"
            );
        }
        let fingerprint = key.fingerprint();
        let [words, mots] = [Language::English, Language::French].map(|language| spoken(&fingerprint, language));
        owner.tell(&Shown { key: key.to_string(), fingerprint, words, mots }, |shown| {
            vec![
                format!("key          {}", shown.key),
                format!("fingerprint  {}", shown.fingerprint),
                format!("words        {}", shown.words),
                format!("mots         {}", shown.mots),
            ]
        });
        Ok(())
    }
}
