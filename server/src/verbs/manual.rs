//! What is made of the command line's own definition: completions of a shell, and the manual pages that a package has.

use std::{io::Write, path::PathBuf};

use anyhow::Context;
use clap::Command;
use clap_complete::aot::{Generator, Shell};

/// Its name on a PATH.
const NAME: &str = "duologue";

#[derive(Clone, Copy, Debug, clap::ValueEnum)]
enum Of {
    Bash,
    Zsh,
    Fish,
}

#[derive(Debug, clap::Args)]
pub(crate) struct Completions {
    /// Of which shell. For this session: `source <(duologue completions bash)`.
    #[arg(value_name = "SHELL")]
    shell: Of,
}

impl Completions {
    pub(crate) fn run(self, command: &mut Command) -> anyhow::Result<()> {
        let shell = match self.shell {
            Of::Bash => Shell::Bash,
            Of::Zsh => Shell::Zsh,
            Of::Fish => Shell::Fish,
        };
        command.set_bin_name(NAME);
        command.build();
        let mut text = Vec::new();
        shell.try_generate(command, &mut text).context("the completions cannot be made")?;
        // Whoever does not listen to the end has heard enough.
        let _ = std::io::stdout().write_all(&text);
        Ok(())
    }
}

#[derive(Debug, clap::Args)]
pub(crate) struct Man {
    /// Where to; it must be there.
    #[arg(value_name = "DIR")]
    directory: PathBuf,
}

impl Man {
    pub(crate) fn run(self, command: Command) -> anyhow::Result<()> {
        clap_mangen::generate_to(command, &self.directory)
            .with_context(|| format!("the manual pages cannot be written into {}", self.directory.display()))
    }
}
