//! `duologue accounts`: whose devices there are, and whose names let nobody in.

use duologue_server::{
    AccountInfo, AccountList, AccountShown, ChangeGroups, Group, InGroups, Restored, Revoke, shown_name,
};
use hyper::Method;

use super::{
    devices,
    owner::{Owner, escaped, when},
    passkeys::{self, Passkeys},
};

#[derive(Debug, clap::Subcommand)]
pub(crate) enum Accounts {
    /// Lists the accounts: name, since when, devices that may connect, lines open now, groups.
    List {
        #[command(flatten)]
        owner: Owner,
    },
    /// Shows an account and its devices.
    Show {
        /// Your name for the person.
        #[arg(allow_hyphen_values = true)]
        subject: String,
        #[command(flatten)]
        owner: Owner,
    },
    /// Puts a subject into groups, and takes it out of others.
    Groups {
        /// Your name for the person.
        #[arg(allow_hyphen_values = true)]
        subject: String,
        /// Into this group; may be repeated.
        #[arg(long, value_name = "GROUP")]
        add: Vec<String>,
        /// Out of this group; may be repeated.
        #[arg(long, value_name = "GROUP")]
        remove: Vec<String>,
        #[command(flatten)]
        owner: Owner,
    },
    /// Removes all devices of a subject, or of a group, for good, and ends their lines at once; nothing that names it lets anybody
    /// in until it is restored.
    Revoke {
        #[command(flatten)]
        name: Name,
        /// With them, the devices that they have let in, and those whom these have, and so on.
        #[arg(long)]
        with_descendants: bool,
        /// With the passkeys that were registered on these devices, whosever they are. Those of the subject itself go in any case.
        #[arg(long)]
        with_passkeys: bool,
        #[command(flatten)]
        owner: Owner,
    },
    /// Lists and removes the passkeys of an account.
    #[command(subcommand)]
    Passkeys(Passkeys),
    /// Lets a subject, a group or a token in again. Devices that were removed stay out: make an invite.
    Restore {
        #[command(flatten)]
        name: Name,
        #[command(flatten)]
        owner: Owner,
    },
}

/// What is meant.
#[derive(Debug, clap::Args)]
#[group(required = true, multiple = false)]
pub(crate) struct Name {
    /// Your name for the person.
    #[arg(allow_hyphen_values = true)]
    subject: Option<String>,
    /// Everybody in this group.
    #[arg(long)]
    group: Option<String>,
    /// One token, by the id that its issuer gave it (jti).
    #[arg(long, value_name = "ID", allow_hyphen_values = true)]
    token: Option<String>,
}

impl Name {
    /// Its place in the API.
    fn path(&self, verb: &str) -> String {
        let (kind, name) = match self {
            Self { group: Some(group), .. } => ("groups", group.as_str()),
            Self { token: Some(token), .. } => ("tokens", token.as_str()),
            Self { subject, .. } => ("accounts", subject.as_deref().unwrap_or_default()),
        };
        format!("/{kind}/{}/{verb}", escaped(name))
    }
}

impl Accounts {
    pub(crate) async fn run(self) -> anyhow::Result<()> {
        match self {
            Self::List { owner } => {
                let list: AccountList = owner.get("/accounts").await?;
                owner.tell(&list, |list| list.accounts.iter().map(line).collect());
            }
            Self::Show { subject, owner } => {
                let shown: AccountShown = owner.get(&format!("/accounts/{}", escaped(&subject))).await?;
                owner.tell(&shown, |shown| {
                    let devices = shown.devices.iter().flat_map(|device| devices::lines(device, false));
                    let passkeys = shown.passkeys.iter().map(passkeys::line);
                    std::iter::once(line(&shown.account)).chain(devices).chain(passkeys).collect()
                });
            }
            Self::Groups { subject, add, remove, owner } => {
                let groups = |names: &[String]| names.iter().map(|name| Group::new(name)).collect::<Result<_, _>>();
                let asked = ChangeGroups { add: groups(&add)?, remove: groups(&remove)? };
                let path = format!("/accounts/{}/groups", escaped(&subject));
                let changed: InGroups = owner.ask(Method::POST, &path, Some(&asked)).await?;
                owner.tell(&changed, |changed| vec![written(&changed.groups)]);
            }
            Self::Revoke { name, with_descendants, with_passkeys, owner } => {
                // A token has no devices of its own.
                let said = name.token.is_none().then_some(Revoke { with_descendants, with_passkeys });
                let revoked = owner.ask(Method::POST, &name.path("revoke"), said.as_ref()).await?;
                owner.tell_revoked(&revoked, with_passkeys)?;
            }
            Self::Passkeys(passkeys) => passkeys.run().await?,
            Self::Restore { name, owner } => {
                let restored: Restored = owner.ask(Method::POST, &name.path("restore"), None::<&()>).await?;
                owner.tell(&restored, |_| vec!["restored".to_owned()]);
            }
        }
        Ok(())
    }
}

fn written(groups: &[Group]) -> String {
    match groups {
        [] => "in no group".to_owned(),
        groups => {
            format!("in {}", groups.iter().map(|group| shown_name(group.as_str())).collect::<Vec<_>>().join(", "))
        }
    }
}

fn line(account: &AccountInfo) -> String {
    let AccountInfo { subject, groups, since, revoked_at, devices, lines } = account;
    let status = revoked_at.map_or_else(String::new, |secs| format!("revoked {}  ", when(secs)));
    let (name, since) = (shown_name(subject.as_str()), when(*since));
    format!("{name}  {status}since {since}  devices {devices}  lines {lines}  {}", written(groups))
}
