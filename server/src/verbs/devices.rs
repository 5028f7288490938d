//! `duologue devices`: who was let in.

use anyhow::bail;
use duologue_server::{
    DeviceInfo, DeviceList, DeviceStatus, Kept, Language, Revoke, Revoked, ask, shown_name, spoken, utc,
};
use hyper::Method;

use super::say;

#[derive(Debug, clap::Subcommand)]
pub(crate) enum Devices {
    /// Lists the devices: id, fingerprint, status, algorithm, when it came in, who let it in (the owner, or a device's id), name.
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
        /// With it, those that it has let in, and those whom these have, and so on.
        #[arg(long)]
        with_descendants: bool,
        #[command(flatten)]
        directory: super::StateDirectory,
    },
}

impl Devices {
    pub(crate) async fn run(self) -> anyhow::Result<()> {
        match self {
            Self::List { words, directory } => {
                let DeviceList { devices } = ask(&directory.state, Method::GET, "/devices", None::<&()>).await?;
                for device in devices {
                    let status = match device.status {
                        DeviceStatus::Enrolled => "enrolled",
                        DeviceStatus::Revoked => "revoked",
                    };
                    let name = shown_name(&device.name);
                    let DeviceInfo { id, fingerprint, algorithm, .. } = &device;
                    let when = utc(i64::try_from(device.enrolled_at).unwrap_or(i64::MAX));
                    let by = device.invited_by.as_deref().unwrap_or("owner");
                    say(&format!("{id}  {fingerprint}  {status}  {algorithm}  {when}  by {by}  {name}"));
                    for language in [Language::English, Language::French].into_iter().filter(|_| words) {
                        say(&format!("    {}", spoken(&device.fingerprint, language)));
                    }
                }
            }
            Self::Revoke { device, with_descendants, directory } => {
                let path = format!("/devices/{}/revoke", escaped(&device));
                let asked = with_descendants.then_some(Revoke { with_descendants });
                let Revoked { kept, with_it, message } =
                    ask(&directory.state, Method::POST, &path, asked.as_ref()).await?;
                let message = message.unwrap_or_default();
                for device in with_it {
                    say(&format!("{device}  revoked with it"));
                }
                match kept {
                    Kept::Stored => say("revoked"),
                    Kept::Journal => say(&format!("revoked: {message}")),
                    // Not what was asked for: a script must hear of it.
                    Kept::Memory => bail!("revoked, {message}"),
                }
            }
        }
        Ok(())
    }
}

/// As a part of a path (RFC 3986, section 3.3): what is no device id gets there as it was written, and is named.
fn escaped(part: &str) -> String {
    let mut escaped = String::new();
    for byte in part.bytes() {
        match byte {
            b'-' | b'.' | b'_' | b'~' | b'0'..=b'9' | b'A'..=b'Z' | b'a'..=b'z' => escaped.push(byte.into()),
            byte => escaped.push_str(&format!("%{byte:02X}")),
        }
    }
    escaped
}
