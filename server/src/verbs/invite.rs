//! `duologue invite`: the way in for a new device.

use duologue_server::{
    Group, InviteInfo, InviteList, InviteStatus, Invited, NewInvite, Subject, Withdrawn, shown_name,
};
use hyper::Method;

use super::owner::{Owner, escaped, when};

#[derive(Debug, clap::Subcommand)]
pub(crate) enum Invite {
    /// Prints a link that lets one device in.
    New(New),
    /// Lists the invites: id, what became of it, when it was made and by whom, when it ends, for whom it is.
    List {
        #[command(flatten)]
        owner: Owner,
    },
    /// Withdraws an invite that nobody has used.
    Withdraw {
        /// The invite's id, as `list` shows it.
        invite: String,
        #[command(flatten)]
        owner: Owner,
    },
}

#[derive(Debug, clap::Args)]
pub(crate) struct New {
    /// For how long it is good: 90s, 30m, 24h, 7d, 2w.
    #[arg(long, default_value = "24h", value_parser = super::parse_expiry)]
    expires: u64,
    /// The server's address in the link. Default: where it was started last.
    #[arg(long)]
    url: Option<String>,
    /// Whose the device is to be: your name for the person, 1 to 128 bytes. Who has the link is taken for that person: it names
    /// the subject, at level 1.
    #[arg(long = "for", value_name = "SUBJECT")]
    subject: Option<String>,
    /// A group that this subject is put into when the invite is used; may be repeated.
    #[arg(long = "group", value_name = "GROUP", requires = "subject")]
    groups: Vec<String>,
    /// The labels that the device may open, such as drop,http; unless told, any.
    #[arg(long, value_name = "LABELS", value_delimiter = ',')]
    opens: Option<Vec<String>>,
    /// A name for the device, in place of its own for itself.
    #[arg(long)]
    name: Option<String>,
    #[command(flatten)]
    owner: Owner,
}

impl Invite {
    pub(crate) async fn run(self) -> anyhow::Result<()> {
        match self {
            Self::New(new) => new.run().await,
            Self::List { owner } => {
                let list: InviteList = owner.get("/invites").await?;
                owner.tell(&list, |list| list.invites.iter().map(line).collect());
                Ok(())
            }
            Self::Withdraw { invite, owner } => {
                let path = format!("/invites/{}/withdraw", escaped(&invite));
                let withdrawn: Withdrawn = owner.ask(Method::POST, &path, None::<&()>).await?;
                owner.tell(&withdrawn, |_| vec!["withdrawn".to_owned()]);
                Ok(())
            }
        }
    }
}

impl New {
    async fn run(self) -> anyhow::Result<()> {
        let Self { expires, url, subject, groups, opens, name, owner } = self;
        let url = url.map(|url| super::parse_address(&url)).transpose()?.map(|address| address.to_string());
        let subject = subject.as_deref().map(Subject::new).transpose()?;
        let groups = groups.iter().map(|group| Group::new(group)).collect::<Result<_, _>>()?;
        let asked = NewInvite { expires_secs: expires, url, subject, groups, opens, name };
        let invited: Invited = owner.ask(Method::POST, "/invites", Some(&asked)).await?;
        owner.tell(&invited, |invited| vec![invited.link.clone()]);
        Ok(())
    }
}

fn line(invite: &InviteInfo) -> String {
    let status = match invite.status {
        InviteStatus::Open => "open",
        InviteStatus::Used => "used",
        InviteStatus::Expired => "expired",
        InviteStatus::Withdrawn => "withdrawn",
        InviteStatus::Revoked => "revoked",
    };
    let made = invite.made_at.map_or_else(|| "long ago".to_owned(), when);
    let by = invite.made_by.as_deref().unwrap_or("owner");
    let mut line = format!("{}  {status}  made {made}  by {by}  ends {}", invite.id, when(invite.expires_at));
    let mut add = |what: &str, text: &str| line.push_str(&format!("  {what} {}", shown_name(text)));
    if let Some(subject) = &invite.subject {
        add("for", subject);
    }
    for group in &invite.groups {
        add("group", group);
    }
    if let Some(opens) = &invite.opens {
        add("opens", &opens.join(","));
    }
    if let Some(name) = &invite.name {
        add("name", name);
    }
    if let Some(device) = &invite.used_by {
        // An id may begin with a hyphen, which a name never does.
        line.push_str(&format!("  used by {device}"));
    }
    line
}
