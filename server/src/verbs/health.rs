//! `duologue health`: whether the running server is well, for whatever looks after it, such as a container's health check.

use duologue_server::{Health, ask_running};

use super::owner::Owner;

#[derive(Debug, clap::Args)]
pub(crate) struct HealthVerb {
    /// Also exits with 1 while no new lines are taken, because it stops or its store cannot be read.
    #[arg(long)]
    ready: bool,
    #[command(flatten)]
    owner: Owner,
}

impl HealthVerb {
    pub(crate) async fn run(self) -> anyhow::Result<()> {
        // Not the state itself: a server that is about to start would find it open.
        let health: Health = ask_running(&self.owner.directory.path()?, "/health").await?;
        self.owner.tell(&health, |Health { not_ready }| match not_ready.as_slice() {
            [] => vec!["it lives, and takes new lines".to_owned()],
            reasons => reasons.iter().map(|reason| format!("it lives, and takes no new lines: {reason}")).collect(),
        });
        if self.ready && !health.not_ready.is_empty() {
            anyhow::bail!("it is not ready");
        }
        Ok(())
    }
}
