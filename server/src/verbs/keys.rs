//! `duologue keys`: who this server is.

use duologue_server::server_key;

#[derive(Debug, clap::Subcommand)]
pub(crate) enum Keys {
    /// Shows the public key and its fingerprint, to compare with what a device shows.
    Show(super::StateDirectory),
}

impl Keys {
    pub(crate) fn run(self) -> anyhow::Result<()> {
        let Self::Show(directory) = self;
        let key = server_key(&directory.state)?;
        println!("key          {key}");
        println!("fingerprint  {}", key.fingerprint());
        Ok(())
    }
}
