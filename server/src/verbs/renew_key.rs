//! `duologue renew-key`: another key in the place of this device's own.

use duologue_client::Target;

use super::{connect::DeviceOption, say};

#[derive(Debug, clap::Args)]
pub(crate) struct RenewKey {
    /// The address of a server that knows this device.
    target: String,
    #[command(flatten)]
    device: DeviceOption,
}

impl RenewKey {
    pub(crate) async fn run(self) -> anyhow::Result<()> {
        let target = Target::parse(&self.target)?;
        let device = self.device.client()?.renew_key(&target).await?;
        say(&format!("{}: the device {device} has another key, and the one before is refused", target.place()));
        Ok(())
    }
}
