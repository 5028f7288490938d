//! `duologue state`: whether a server runs, and whether everything is on disk.

use duologue_server::ServerState;

use super::owner::Owner;

#[derive(Debug, clap::Args)]
pub(crate) struct StateVerb {
    #[command(flatten)]
    owner: Owner,
}

impl StateVerb {
    pub(crate) async fn run(self) -> anyhow::Result<()> {
        let state: ServerState = self.owner.get("/state").await?;
        let runs = state.pid != std::process::id();
        self.owner.tell(&state, |ServerState { pid, version, not_stored, not_on_disk }| {
            let server = if runs { format!("runs, pid {pid}, version {version}") } else { "does not run".to_owned() };
            let revocations = match (not_stored, not_on_disk) {
                (0, _) => "all in the store".to_owned(),
                (count, 0) => format!("{count} in force and in the journal, not in the store yet"),
                (count, lost) => format!("{count} in force and not in the store, {lost} of them NOT on disk"),
            };
            vec![format!("server       {server}"), format!("revocations  {revocations}")]
        });
        Ok(())
    }
}
