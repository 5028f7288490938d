//! The desk: a conversation between a page and the person at the server's terminal.
//!
//! What a page sends is printed; what is typed goes to the page that spoke or came last. Never to two: the terminal says to
//! whom it goes.

use std::sync::{Arc, Mutex, PoisonError};

use duologue::DeviceId;
use duologue_native::Channel;
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};

use crate::service::{Call, Service, ServiceError};

/// The terminal's end of all desk channels.
#[derive(Clone, Debug, Default)]
pub struct Desk(Arc<Mutex<Option<Partner>>>);

/// Whom the terminal speaks with.
#[derive(Clone, Debug)]
struct Partner {
    device: DeviceId,
    channel: Channel,
}

impl Service for Desk {
    async fn serve(&self, call: Call) -> Result<(), ServiceError> {
        let Call { channel, identity, claims, .. } = call;
        let who = format!("{} ({})", printable(&claims.name), short(identity.device));
        self.turn_to(identity.device, &channel);
        let leaves = Leaves { desk: self.clone(), channel: channel.clone(), who: who.clone() };
        print(&format!("desk: {who} is here; what you type goes there")).await;
        while let Some(message) = channel.recv().await? {
            self.turn_to(identity.device, &channel);
            print(&format!("desk: {who}: {}", printable(&String::from_utf8_lossy(&message)))).await;
        }
        drop(leaves);
        Ok(())
    }
}

impl Desk {
    /// Sends the terminal's lines until there are no more.
    pub async fn read_terminal(self) {
        let mut lines = BufReader::new(tokio::io::stdin()).lines();
        while let Ok(Some(line)) = lines.next_line().await {
            if line.is_empty() {
                continue;
            }
            let partner = self.0.lock().unwrap_or_else(PoisonError::into_inner).clone();
            match partner {
                None => print("desk: nobody is here to read that").await,
                Some(partner) => {
                    if let Err(error) = partner.channel.send(line).await {
                        print(&format!("desk: not sent to {}: {error}", short(partner.device))).await;
                    }
                }
            }
        }
    }

    fn turn_to(&self, device: DeviceId, channel: &Channel) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(Partner { device, channel: channel.clone() });
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
        let mut partner = self.desk.0.lock().unwrap_or_else(PoisonError::into_inner);
        if partner.as_ref().is_some_and(|partner| partner.channel.is(&self.channel)) {
            *partner = None;
        }
        let gone = format!("desk: {} has gone", self.who);
        tokio::spawn(async move { print(&gone).await });
    }
}

async fn print(line: &str) {
    let mut out = tokio::io::stdout();
    // A terminal that is gone is no reason to end a conversation.
    let _ = out.write_all(format!("{line}\n").as_bytes()).await;
    let _ = out.flush().await;
}

fn short(device: DeviceId) -> String {
    device.fingerprint().chars().take(9).collect()
}

/// Text of a stranger, without anything that could steer a terminal. Further lines are indented, so that none looks like
/// somebody else's.
fn printable(text: &str) -> String {
    let safe = |char: char| if char.is_control() && char != '\t' { '\u{fffd}' } else { char };
    text.lines().map(|line| line.chars().map(safe).collect()).collect::<Vec<String>>().join("\n    ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stranger_cannot_steer_the_terminal() {
        assert_eq!(printable("a\u{1b}[2Jb\u{9b}d"), "a\u{fffd}[2Jb\u{fffd}d");
        assert_eq!(printable("hello\ndesk: the owner: yes"), "hello\n    desk: the owner: yes");
        assert_eq!(printable("déjà vu\t1"), "déjà vu\t1");
    }
}
