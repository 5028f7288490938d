//! `duologue say`: a word to a device, or to somebody, and what became of it.

use std::io::{Read as _, stdin};

use anyhow::{Context as _, bail};
use duologue_server::{Delivered, DeliveredTo, Deliveries, MESSAGE_LEN_MAX, say_by_api};

use super::owner::{Owner, escaped};

#[derive(Debug, clap::Args)]
#[command(group(clap::ArgGroup::new("whom").required(true).args(["device", "subject"])))]
pub(crate) struct Say {
    /// The device's id, as `duologue devices list` shows it.
    #[arg(allow_hyphen_values = true)]
    device: Option<String>,
    /// In its place your name for a person: it is said where that one came last.
    #[arg(long, value_name = "NAME")]
    subject: Option<String>,
    /// To each of that person's devices, one after the other.
    #[arg(long, conflicts_with = "device")]
    each: bool,
    /// The channel's label, by which the page knows what it is: 1 to 64 bytes.
    #[arg(long)]
    label: String,
    /// What is said. Without it: what standard input has, 1 MiB at most.
    #[arg(long, value_name = "TEXT")]
    text: Option<String>,
    /// How long to wait until it is taken: 500ms, 10s, 50s at most. What has left by then may be read later all the same.
    #[arg(long, value_name = "TIME", default_value = "10s", value_parser = millis)]
    deadline: u64,
    /// As a datagram, of 16 KiB at most: at most once, and nobody tells whether it arrived.
    #[arg(long)]
    datagram: bool,
    #[command(flatten)]
    owner: Owner,
}

fn millis(text: &str) -> Result<u64, String> {
    let number = match text.strip_suffix("ms") {
        Some(number) => number.parse().ok(),
        None => text.strip_suffix('s').and_then(|number| number.parse::<u64>().ok()?.checked_mul(1_000)),
    };
    number
        .filter(|millis| (1..=50_000).contains(millis))
        .ok_or_else(|| "write it as 500ms or 10s, 50s at most".to_owned())
}

impl Say {
    pub(crate) async fn run(self) -> anyhow::Result<()> {
        let Self { device, subject, each, label, text, deadline, datagram, owner } = self;
        let message = match text {
            Some(text) => text.into_bytes(),
            None => {
                let mut bytes = Vec::new();
                let read = stdin().lock().take(MESSAGE_LEN_MAX as u64 + 1).read_to_end(&mut bytes);
                read.context("standard input cannot be read")?;
                bytes
            }
        };
        let whom = match (&device, &subject) {
            (Some(device), _) => format!("/devices/{}", escaped(device)),
            (None, subject) => format!("/subjects/{}", escaped(subject.as_deref().unwrap_or_default())),
        };
        let to = if each { "&to=each" } else { "" };
        let path =
            format!("{whom}/messages?label={}&deadline_ms={}&datagram={datagram}{to}", escaped(&label), deadline);
        let told: Deliveries = say_by_api(&owner.directory.path()?, &path, message).await?;
        owner.tell(&told, |told| told.devices.iter().map(line).collect());
        // A script must hear of it.
        match told.delivery {
            Delivered::Taken => Ok(()),
            Delivered::Unknown if datagram => Ok(()),
            Delivered::Unknown => {
                bail!("nobody knows whether it was taken: it left, and no word came that it was")
            }
            Delivered::NotHere => bail!("nobody is here: it was not sent"),
        }
    }
}

fn line(DeliveredTo { device, delivery }: &DeliveredTo) -> String {
    format!("{device}  {delivery}")
}
