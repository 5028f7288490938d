//! `duologue init`: writes a configuration with everything that can be said in it, most of it as comments.

use std::{
    fs::File,
    io::{ErrorKind, Write},
    path::PathBuf,
};

use anyhow::{Context, anyhow};

use super::{check::FILE, say};

/// What it writes. A test holds it to the keys that there are.
const TEXT: &str = include_str!("../config/duologue.toml");

#[derive(Debug, clap::Args)]
pub(crate) struct Init {
    /// The file to write; one that is there stays as it is.
    #[arg(value_name = "FILE", env = "DUOLOGUE_CONFIG", default_value = FILE)]
    file: PathBuf,
}

impl Init {
    pub(crate) fn run(self) -> anyhow::Result<()> {
        let file = self.file.display();
        let mut made = File::create_new(&self.file).map_err(|error| match error.kind() {
            ErrorKind::AlreadyExists => anyhow!("cannot write {file}: what is there is not overwritten"),
            _ => anyhow!("cannot write {file}: {error}"),
        })?;
        made.write_all(TEXT.as_bytes())
            .and_then(|()| made.sync_all())
            .with_context(|| format!("cannot write {file}"))?;
        say(&format!("{file} is written: say in it at least `url` and the certificate, then `duologue check {file}`"));
        Ok(())
    }
}
