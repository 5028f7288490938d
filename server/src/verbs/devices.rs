//! `duologue devices`: who was let in.

use anyhow::bail;
use duologue::DeviceId;
use duologue_server::{Answer, DeviceStatus, Language, Question, ask, spoken};

#[derive(Debug, clap::Subcommand)]
pub(crate) enum Devices {
    /// Lists the devices: id, fingerprint, status, algorithm, name.
    List {
        /// Below each device, its fingerprint as words, English and French.
        #[arg(long)]
        words: bool,
        #[command(flatten)]
        directory: super::StateDirectory,
    },
    /// Removes a device for good, and ends its lines at once.
    Revoke {
        /// The device's id, as `list` shows it.
        // One in 64 begins with a hyphen.
        #[arg(allow_hyphen_values = true)]
        device: String,
        #[command(flatten)]
        directory: super::StateDirectory,
    },
}

impl Devices {
    pub(crate) fn run(self) -> anyhow::Result<()> {
        let (directory, question, words) = match self {
            Self::List { words, directory } => (directory, Question::Devices, words),
            Self::Revoke { device, directory } => (directory, Question::Revoke { device }, false),
        };
        match ask(&directory.state, &question)? {
            Answer::Devices(devices) => {
                for device in devices {
                    let id = DeviceId(device.id);
                    let status = match device.status {
                        DeviceStatus::Enrolled => "enrolled",
                        DeviceStatus::Revoked => "revoked",
                    };
                    let name: String = device.name.chars().filter(|char| !char.is_control()).collect();
                    println!("{id}  {}  {status}  {}  {name}", id.fingerprint(), device.algorithm);
                    for language in [Language::English, Language::French].into_iter().filter(|_| words) {
                        println!("    {}", spoken(&id.fingerprint(), language));
                    }
                }
            }
            Answer::Revoked => println!("revoked"),
            Answer::Failed(error) => bail!(error),
            other @ Answer::Invite(_) => bail!("the running server gave an answer of another version: {other:?}"),
        }
        Ok(())
    }
}
