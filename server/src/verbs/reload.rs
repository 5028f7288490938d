//! `duologue reload`, and SIGHUP: the running server reads its configuration again.

use anyhow::Context;
use duologue_server::{ConfigFile, Duologue, Event, Kind, OWNERS, Reloaded, ask};
use hyper::Method;

use super::{StateDirectory, say};

#[derive(Debug, clap::Args)]
pub(crate) struct Reload {
    #[command(flatten)]
    directory: StateDirectory,
}

impl Reload {
    pub(crate) async fn run(self) -> anyhow::Result<()> {
        let Reloaded { rules } = ask(&self.directory.path()?, Method::POST, "/reload", None::<&()>).await?;
        match rules {
            Some(rules) => say(&format!("read again: {rules} rules are in force")),
            None => say("read again: the certificates; there is no --config"),
        }
        Ok(())
    }
}

/// Reads it again because a signal asked for it: whatever comes of that, the server goes on.
pub(crate) async fn by_signal(file: &ConfigFile, duologue: &Duologue) {
    if !file.is_read_again() {
        tracing::warn!(target: OWNERS, "SIGHUP: there is nothing to read again, as the server was started without --config");
        return;
    }
    let (own, running) = (file.clone(), duologue.clone());
    let read = tokio::task::spawn_blocking(move || own.reload(&running)).await.context("the reload has panicked");
    match read.and_then(|read| Ok(read?)) {
        Ok(config) => {
            let rules = if file.is_file() { format!("rules={} ", config.rules.all().len()) } else { String::new() };
            let note = format!("{rules}by=\"SIGHUP\"");
            duologue.watch().tell(Event::of(Kind::PolicyReloaded).note(note));
        }
        Err(error) => tracing::error!(target: OWNERS, "SIGHUP has changed nothing: {error:#}"),
    }
}
