//! `duologue policy`: who may open what.

use std::{net::IpAddr, path::PathBuf};

use anyhow::{Context, bail};
use duologue_server::{Config, ExplainPolicy, Group, Level, PolicyAnswer, Subject, Supposed, ask, shown};
use hyper::Method;

use super::say;

#[derive(Debug, clap::Subcommand)]
pub(crate) enum Policy {
    /// Says whether a device may open a channel, and by which rule; of the running server, or of a file. Exits with 1 if it may not.
    Explain(Box<Explain>),
}

#[derive(Debug, clap::Args)]
pub(crate) struct Explain {
    /// The device's id, as `devices list` shows it.
    // One in 64 begins with a hyphen.
    #[arg(long, value_name = "ID", allow_hyphen_values = true, required_unless_present = "guest")]
    device: Option<String>,
    /// Any guest: a device that nobody has let in.
    #[arg(long, conflicts_with_all = ["device", "subject", "groups", "level"])]
    guest: bool,
    /// The channel's label, such as echo or http.
    #[arg(long)]
    label: String,
    /// A request's path, such as /api/a.
    #[arg(long)]
    path: Option<String>,
    /// A request's method. Default: GET.
    #[arg(long, requires = "path")]
    method: Option<String>,
    /// As if the device were at this address. Default: where its newest line is.
    #[arg(long)]
    address: Option<IpAddr>,
    /// As if a page of this origin asked. Default: what its newest line is of.
    #[arg(long)]
    origin: Option<String>,
    /// As if it were this subject's. Default, with groups and level: what its newest line has.
    #[arg(long, value_parser = |text: &str| Subject::new(text))]
    subject: Option<Subject>,
    /// As if it were in this group; may be repeated.
    #[arg(long = "group", value_name = "GROUP", value_parser = |text: &str| Group::new(text))]
    groups: Vec<Group>,
    /// As if the server were so sure: 1, 2 or 3.
    #[arg(long, value_parser = parse_level)]
    level: Option<Level>,
    /// Asks this file in place of the running server.
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// As JSON.
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    directory: super::StateDirectory,
}

impl Policy {
    pub(crate) async fn run(self) -> anyhow::Result<()> {
        let Self::Explain(explain) = self;
        explain.run().await
    }
}

impl Explain {
    async fn run(self) -> anyhow::Result<()> {
        let config = match &self.config {
            Some(file) => {
                // Wrong ones are told with the file's own name.
                Config::read(file)?;
                Some(std::fs::read_to_string(file).with_context(|| format!("{} cannot be read", file.display()))?)
            }
            None => None,
        };
        let supposes = self.subject.is_some() || !self.groups.is_empty() || self.level.is_some();
        // Who names a subject means one whom somebody has named to the server, unless told.
        let level = self.level.unwrap_or(if self.subject.is_some() { Level::Account } else { Level::Device });
        let standing = supposes.then_some(Supposed { subject: self.subject, groups: self.groups, level });
        let asked = ExplainPolicy {
            device: self.device,
            label: self.label,
            method: self.method,
            path: self.path,
            address: self.address,
            origin: self.origin,
            standing,
            config,
        };
        let answer: PolicyAnswer = ask(&self.directory.path()?, Method::POST, "/policy/explain", Some(&asked)).await?;
        if self.json {
            say(&serde_json::to_string(&answer)?);
        } else {
            let subject = answer.subject.as_ref().map_or(String::new(), |subject| format!(", subject {subject}"));
            let groups: Vec<_> = answer.groups.iter().map(Group::as_str).collect();
            let groups = if groups.is_empty() { String::new() } else { format!(", groups {}", groups.join(" ")) };
            let word = if answer.allowed { "open" } else { "closed" };
            say(&format!("{word}: {} (level {}{subject}{groups})", shown(&answer.why), answer.level));
            if let Some(hook) = &answer.hook {
                say(&format!("the hook would be told: {}", shown(&hook.to_string())));
            }
            if answer.cookies_prove {
                say(
                    "cookies_prove: a cookie of the server's own pages proves who somebody is, also to whoever ends TLS on the way",
                );
            }
        }
        if !answer.allowed {
            bail!("not allowed");
        }
        Ok(())
    }
}

fn parse_level(text: &str) -> Result<Level, String> {
    let found = Level::ALL.into_iter().find(|level| level.word() == text || level.number().to_string() == text);
    found.ok_or_else(|| "a level is 0 (guest), 1 (device), 2 (account) or 3 (present)".to_owned())
}
