//! `duologue devices`: who was let in, and whose that is.

use duologue_server::{
    Bind, Bound, DeviceInfo, DeviceList, DeviceStatus, GuestInfo, Language, Revoke, Subject, shown_name, spoken,
};
use hyper::Method;

use super::owner::{Owner, escaped, when};

#[derive(Debug, clap::Subcommand)]
pub(crate) enum Devices {
    /// Lists the devices, and those connected now that nobody has let in: id, fingerprint, status, algorithm, when it came in, who let it in (the owner, or a device's id), whose
    /// it is, its level, when it was last here or how many lines it has now, what it may open, name.
    List {
        /// Below each device, its fingerprint as words, English and French.
        #[arg(long)]
        words: bool,
        #[command(flatten)]
        owner: Owner,
    },
    /// Removes a device for good, and ends its lines at once. Of one that nobody has let in nothing is kept.
    Revoke {
        /// The device's id, as `list` shows it.
        // One in 64 begins with a hyphen.
        #[arg(allow_hyphen_values = true)]
        device: String,
        /// With it, those that it has let in, and those whom these have, and so on.
        #[arg(long)]
        with_descendants: bool,
        /// With the passkeys that were registered on it, whosever they are. Else they stay, and are named.
        #[arg(long)]
        with_passkeys: bool,
        #[command(flatten)]
        owner: Owner,
    },
    /// Says whose a device is. It has one subject at most, until it is released.
    Bind {
        /// The device's id, as `list` shows it.
        #[arg(allow_hyphen_values = true)]
        device: String,
        /// Your name for the person: 1 to 128 bytes.
        subject: String,
        #[command(flatten)]
        owner: Owner,
    },
    /// Says that a device is nobody's any more. It may connect still.
    Release {
        /// The device's id, as `list` shows it.
        #[arg(allow_hyphen_values = true)]
        device: String,
        #[command(flatten)]
        owner: Owner,
    },
}

impl Devices {
    pub(crate) async fn run(self) -> anyhow::Result<()> {
        match self {
            Self::List { words, owner } => {
                let list: DeviceList = owner.get("/devices").await?;
                owner.tell(&list, |list| {
                    let devices = list.devices.iter().flat_map(|device| lines(device, words));
                    devices.chain(list.guests.iter().map(guest)).collect()
                });
            }
            Self::Revoke { device, with_descendants, with_passkeys, owner } => {
                let path = format!("/devices/{}/revoke", escaped(&device));
                let revoked = owner.ask(Method::POST, &path, Some(&Revoke { with_descendants, with_passkeys })).await?;
                owner.tell_revoked(&revoked, with_passkeys)?;
            }
            Self::Bind { device, subject, owner } => {
                let path = format!("/devices/{}/bind", escaped(&device));
                let bind = Bind { subject: Subject::new(&subject)? };
                let bound: Bound = owner.ask(Method::POST, &path, Some(&bind)).await?;
                owner.tell(&bound, |bound| {
                    vec![if bound.changed { "bound".to_owned() } else { "it was already".to_owned() }]
                });
            }
            Self::Release { device, owner } => {
                let path = format!("/devices/{}/release", escaped(&device));
                let bound: Bound = owner.ask(Method::POST, &path, None::<&()>).await?;
                owner.tell(&bound, |_| vec!["released".to_owned()]);
            }
        }
        Ok(())
    }
}

/// A device that nobody has let in, and that is here.
fn guest(GuestInfo { id, fingerprint, address, subject, level, lines }: &GuestInfo) -> String {
    let whose = subject.as_ref().map_or_else(|| "nobody's".to_owned(), |it| format!("of {}", shown_name(it.as_str())));
    let from = address.map_or_else(|| "nobody knows where".to_owned(), |address| address.to_string());
    let here = if *lines == 1 { "connected".to_owned() } else { format!("connected {lines} times") };
    format!("{id}  {fingerprint}  not let in  {whose}  level {level}  {here}  from {from}")
}

/// A device, as a line, and its words below it.
pub(super) fn lines(device: &DeviceInfo, words: bool) -> Vec<String> {
    let status = match device.status {
        DeviceStatus::Enrolled => "enrolled",
        DeviceStatus::Revoked => "revoked",
    };
    let DeviceInfo { id, fingerprint, algorithm, enrolled_at, level, .. } = device;
    let by = device.invited_by.as_deref().unwrap_or("owner");
    let whose =
        device.subject.as_ref().map_or_else(|| "nobody's".to_owned(), |it| format!("of {}", shown_name(it.as_str())));
    let here = match (device.lines, device.last_seen) {
        (0, None) => "never seen".to_owned(),
        (0, Some(secs)) => format!("last seen {}", when(secs)),
        (1, _) => "connected".to_owned(),
        (count, _) => format!("connected {count} times"),
    };
    let opens = match &device.opens {
        None => String::new(),
        Some(opens) => format!("  opens {}", shown_name(&opens.join(","))),
    };
    let (came, name) = (when(*enrolled_at), shown_name(&device.name));
    let line = format!(
        "{id}  {fingerprint}  {status}  {algorithm}  {came}  by {by}  {whose}  level {level}  {here}{opens}  {name}"
    );
    let languages = [Language::English, Language::French].into_iter().filter(|_| words);
    let spoken = languages.map(|language| format!("    {}", spoken(fingerprint, language)));
    std::iter::once(line).chain(spoken).collect()
}
