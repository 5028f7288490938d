//! `duologue devices`: who was let in.

use anyhow::bail;
use duologue_server::{DeviceList, DeviceStatus, Kept, Language, Revoked, ask, shown_name, spoken};
use hyper::Method;

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
                    println!("{}  {}  {status}  {}  {name}", device.id, device.fingerprint, device.algorithm);
                    for language in [Language::English, Language::French].into_iter().filter(|_| words) {
                        println!("    {}", spoken(&device.fingerprint, language));
                    }
                }
            }
            Self::Revoke { device, directory } => {
                let path = format!("/devices/{}/revoke", escaped(&device));
                let Revoked { kept, message } = ask(&directory.state, Method::POST, &path, None::<&()>).await?;
                let message = message.unwrap_or_default();
                match kept {
                    Kept::Stored => println!("revoked"),
                    Kept::Journal => println!("revoked: {message}"),
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
