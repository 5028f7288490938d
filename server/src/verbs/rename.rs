//! `duologue rename`: the server moves to another address.

use duologue_server::{Rename as Asked, Renamed};
use hyper::Method;

use super::owner::Owner;

#[derive(Debug, clap::Args)]
pub(crate) struct Rename {
    /// The new address, such as https://line.example.
    #[arg(long)]
    url: String,
    #[command(flatten)]
    owner: Owner,
}

impl Rename {
    pub(crate) async fn run(self) -> anyhow::Result<()> {
        let Self { url, owner } = self;
        let renamed: Renamed = owner.ask(Method::POST, "/rename", Some(&Asked { url })).await?;
        owner.tell(&renamed, lines);
        Ok(())
    }
}

fn lines(renamed: &Renamed) -> Vec<String> {
    let Renamed { from, to, devices, invites, passkeys } = renamed;
    let before = from.as_deref().unwrap_or("nowhere yet");
    let mut lines = vec![format!("links that are made from now on lead to {to}; those of before to {before}")];
    if from.as_deref() == Some(to) {
        return lines;
    }
    lines.push(format!(
        "say `url = \"{to}\"` below [server], or --url, with a certificate for it, and start the server again"
    ));
    lines.push("its key stays: nobody can take its place by the move".to_owned());
    if *devices > 0 {
        lines.push(format!(
            "{devices} devices know it by its old address: each needs a new link (`duologue invite new`, with --for where it is \
             somebody's). A program keeps its device key; a browser has another one at another address, so revoke the old one then"
        ));
    }
    if *invites > 0 {
        lines.push(format!(
            "{invites} invites are open: what stands behind # in their links is good at the new address too"
        ));
    }
    if *passkeys > 0 {
        lines.push(format!(
            "{passkeys} passkeys are of the old host: `rp_id` of [door.passkey] keeps them only if that is a domain of the new host; \
             else remove them, and have them registered anew"
        ));
    }
    lines
}
