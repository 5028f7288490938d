//! `duologue renew-key`: another key in the place of this device's own.

use std::path::PathBuf;

use duologue_client::{Client, Target};

use super::say;

#[derive(Debug, clap::Args)]
pub(crate) struct RenewKey {
    /// The address of a server that knows this device.
    target: String,
    /// Where this device keeps its key, and the servers it knows.
    #[arg(long, value_name = "DIR", default_value = "duologue-device", env = "DUOLOGUE_DEVICE")]
    state: PathBuf,
    /// Trusts the certificate authorities of this PEM file, and only those.
    #[arg(long, value_name = "FILE")]
    ca: Option<PathBuf>,
}

impl RenewKey {
    pub(crate) async fn run(self) -> anyhow::Result<()> {
        let target = Target::parse(&self.target)?;
        let mut client = Client::open(&self.state)?;
        if let Some(ca) = self.ca {
            client = client.trusting(ca);
        }
        let device = client.renew_key(&target).await?;
        say(&format!("{}: the device {device} has another key, and the one before is refused", target.place()));
        Ok(())
    }
}
