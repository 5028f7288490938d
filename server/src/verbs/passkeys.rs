//! `duologue accounts passkeys`: by which keys a person shows to be there, and how one that was lost is removed.

use duologue_server::{AccountShown, PasskeyInfo, RemovePasskeys, RemovedPasskeys, shown_name};
use hyper::Method;

use super::owner::{Owner, escaped, when};

#[derive(Debug, clap::Subcommand)]
pub(crate) enum Passkeys {
    /// Lists the passkeys of an account: id, name, since when, last used, the device on which it was registered.
    List {
        /// Your name for the person.
        #[arg(allow_hyphen_values = true)]
        subject: String,
        #[command(flatten)]
        owner: Owner,
    },
    /// Removes a passkey for good; whoever is present by it is so no more. Its person registers another after a login.
    #[command(group = clap::ArgGroup::new("which").required(true))]
    Remove {
        /// Your name for the person.
        #[arg(allow_hyphen_values = true)]
        subject: String,
        /// The passkey's id, as `list` shows it.
        #[arg(group = "which")]
        id: Option<String>,
        /// All of them.
        #[arg(long, group = "which")]
        all: bool,
        #[command(flatten)]
        owner: Owner,
    },
}

impl Passkeys {
    pub(crate) async fn run(self) -> anyhow::Result<()> {
        match self {
            Self::List { subject, owner } => {
                let shown: AccountShown = owner.get(&format!("/accounts/{}", escaped(&subject))).await?;
                let list = PasskeyList { passkeys: shown.passkeys };
                owner.tell(&list, |list| list.passkeys.iter().map(line).collect());
            }
            Self::Remove { subject, id, all: _, owner } => {
                let path = format!("/accounts/{}/passkeys/remove", escaped(&subject));
                let asked = RemovePasskeys { id };
                let removed: RemovedPasskeys = owner.ask(Method::POST, &path, Some(&asked)).await?;
                owner.tell(&removed, |removed| {
                    removed.removed.iter().map(|passkey| format!("removed {}", line(passkey))).collect()
                });
            }
        }
        Ok(())
    }
}

/// What `list` tells as JSON.
#[derive(serde::Serialize)]
struct PasskeyList {
    passkeys: Vec<PasskeyInfo>,
}

/// One of them, for people.
pub(super) fn line(passkey: &PasskeyInfo) -> String {
    let PasskeyInfo { id, name, device, made_at, used_at, backed_up } = passkey;
    let used = used_at.map_or_else(|| "never used".to_owned(), |at| format!("used {}", when(at)));
    let kept = if *backed_up { "  backed up" } else { "" };
    format!("passkey {id}  {}  since {}  {used}{kept}  on {device}", shown_name(name), when(*made_at))
}
