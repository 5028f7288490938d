//! `duologue api-key`: a key for a program beside the server, and what the configuration says of it.

use std::io::{Write as _, stdout};

use duologue_server::{ApiKey, Role};

#[derive(Debug, clap::Args)]
pub(crate) struct ApiKeyVerb {
    /// What the log calls whoever has it: letters, digits, "-", "_" and ".".
    name: String,
    /// What it may ask: send, watch, or admin, which is everything. May be repeated.
    #[arg(long = "role", value_name = "ROLE", required = true, value_parser = Role::ALL.map(Role::word))]
    roles: Vec<String>,
}

impl ApiKeyVerb {
    pub(crate) fn run(self) -> anyhow::Result<()> {
        let Self { name, roles } = self;
        let (key, sha256) = ApiKey::make();
        let roles = roles.iter().map(|role| format!("{role:?}")).collect::<Vec<_>>().join(", ");
        let mut out = stdout().lock();
        writeln!(out, "{key}\n")?;
        writeln!(out, "# Keep the key where the program finds it: here stands its hash alone. Of the configuration:")?;
        writeln!(out, "[[api.key]]\nname = {name:?}\nsha256 = \"{}\"\nroles = [{roles}]", hex::encode(sha256))?;
        Ok(())
    }
}
