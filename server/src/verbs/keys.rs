//! `duologue keys`: who this server is.

use duologue_server::{Language, server_key, spoken};

use super::say;

#[derive(Debug, clap::Subcommand)]
pub(crate) enum Keys {
    /// Shows the public key and its fingerprint, also as words, to compare with what a device shows.
    Show(super::StateDirectory),
}

impl Keys {
    pub(crate) fn run(self) -> anyhow::Result<()> {
        let Self::Show(directory) = self;
        let key = server_key(&directory.state)?;
        say(&format!("key          {key}"));
        say(&format!("fingerprint  {}", key.fingerprint()));
        say(&format!("words        {}", spoken(&key.fingerprint(), Language::English)));
        say(&format!("mots         {}", spoken(&key.fingerprint(), Language::French)));
        Ok(())
    }
}
