//! The desk: a conversation between a page and the person at the server's terminal.
//!
//! What a page sends is shown; what is typed goes to the page that spoke or came last. Never to two: the terminal says to
//! whom it goes.
//!
//! ```text
//! message ─► printable ─► the terminal has it ─► taken         it cannot be shown ─► reset, and not taken
//! ```
//!
//! There is no desk without a terminal: nothing of a conversation may end in a file or in a service manager's journal, and
//! the page must not say "taken" of what nobody can read.

use std::{
    io::{self, IsTerminal},
    sync::{Arc, Mutex, PoisonError},
};

use duologue::{DeviceId, ResetCode};
use duologue_native::Channel;
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};

use crate::{
    services::service::{Call, Service, ServiceError},
    watch::text,
};

/// The terminal's end of all desk channels.
#[derive(Clone, Debug)]
pub struct Desk(Arc<Terminal>);

#[derive(Debug)]
struct Terminal {
    partner: Mutex<Option<Partner>>,
    /// One line after the other.
    out: tokio::sync::Mutex<tokio::io::Stdout>,
}

/// Whom the terminal speaks with.
#[derive(Clone, Debug)]
struct Partner {
    device: DeviceId,
    channel: Channel,
}

impl Service for Desk {
    async fn serve(&self, call: Call) -> Result<(), ServiceError> {
        let device = call.device();
        let Call { channel, claims, .. } = call;
        let who = format!("{} ({})", text::name(&claims.name), short(device));
        if self.print(&format!("desk: {who} is here; what you type goes there")).await.is_err() {
            channel.reset(ResetCode::Refused);
            return Ok(());
        }
        self.turn_to(device, &channel);
        let leaves = Leaves { desk: self.clone(), channel: channel.clone(), who: who.clone() };
        while let Some(message) = channel.recv_ahead().await? {
            self.turn_to(device, &channel);
            let line = format!("desk: {who}: {}", printable(&String::from_utf8_lossy(&message)));
            if self.print(&line).await.is_err() {
                // A terminal that has gone (its window was closed, say) shows nothing, so that nothing is taken here.
                channel.reset(ResetCode::Refused);
                break;
            }
            channel.take();
        }
        drop(leaves);
        Ok(())
    }
}

impl Desk {
    /// The desk of this process; none if its input or its output is no terminal.
    #[must_use]
    pub fn at_terminal() -> Option<Self> {
        let is_terminal = io::stdin().is_terminal() && io::stdout().is_terminal();
        let terminal = || Terminal { partner: Mutex::default(), out: tokio::io::stdout().into() };
        is_terminal.then(|| Self(Arc::new(terminal())))
    }

    /// Sends the terminal's lines until there are no more.
    pub async fn read_terminal(self) {
        let mut lines = BufReader::new(tokio::io::stdin()).lines();
        while let Ok(Some(line)) = lines.next_line().await {
            if line.is_empty() {
                continue;
            }
            let partner = self.0.partner.lock().unwrap_or_else(PoisonError::into_inner).clone();
            match partner {
                None => drop(self.print("desk: nobody is here to read that").await),
                Some(partner) => {
                    if let Err(error) = partner.channel.send(line).await {
                        let failed = format!("desk: not sent to {}: {error}", short(partner.device));
                        let _ = self.print(&failed).await;
                    }
                }
            }
        }
    }

    fn turn_to(&self, device: DeviceId, channel: &Channel) {
        *self.0.partner.lock().unwrap_or_else(PoisonError::into_inner) =
            Some(Partner { device, channel: channel.clone() });
    }

    /// Succeeds when the terminal has it.
    async fn print(&self, line: &str) -> io::Result<()> {
        let mut out = self.0.out.lock().await;
        out.write_all(format!("{line}\n").as_bytes()).await?;
        out.flush().await
    }
}

/// Whatever ends a conversation also takes its page from the desk.
struct Leaves {
    desk: Desk,
    channel: Channel,
    who: String,
}

impl Drop for Leaves {
    fn drop(&mut self) {
        let mut partner = self.desk.0.partner.lock().unwrap_or_else(PoisonError::into_inner);
        if partner.as_ref().is_some_and(|partner| partner.channel.is(&self.channel)) {
            *partner = None;
        }
        let gone = format!("desk: {} has gone", self.who);
        let desk = self.desk.clone();
        tokio::spawn(async move { desk.print(&gone).await });
    }
}

fn short(device: DeviceId) -> String {
    device.fingerprint().chars().take(9).collect()
}

/// Text of a stranger, without anything that could steer a terminal. Further lines are indented, so that none looks like
/// somebody else's.
fn printable(said: &str) -> String {
    let line = |line: &str| line.split('\t').map(text::shown).collect::<Vec<_>>().join("\t");
    said.lines().map(line).collect::<Vec<_>>().join("\n    ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stranger_cannot_steer_the_terminal() {
        assert_eq!(printable("a\u{1b}[2Jb\u{9b}d"), "a\u{fffd}[2Jb\u{fffd}d");
        assert_eq!(printable("hello\ndesk: the owner: yes"), "hello\n    desk: the owner: yes");
        assert_eq!(printable("déjà vu\t1"), "déjà vu\t1");
        assert_eq!(printable("pay \u{202e}001\u{202c} to me"), "pay \u{fffd}001\u{fffd} to me");
    }
}
