//! `duologue connect`: a line from this terminal.

use std::{
    io::{self, IsTerminal},
    path::PathBuf,
};

use duologue::CloseCode;
use duologue_client::{Client, KeyringError, LineError, Target};
use duologue_server::shown;
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};

#[derive(Debug, clap::Args)]
pub(crate) struct Connect {
    /// An invite link, or the address of a server that knows this device.
    target: String,
    /// The service to speak with.
    #[arg(long)]
    service: String,
    #[command(flatten)]
    device: DeviceOption,
}

/// This device, as other servers know it.
#[derive(Debug, clap::Args)]
pub(crate) struct DeviceOption {
    /// Where this device keeps its key, and the servers it knows.
    #[arg(long, value_name = "DIR", default_value = "duologue-device", env = "DUOLOGUE_DEVICE")]
    state: PathBuf,
    /// Trusts the certificate authorities of this PEM file, and only those.
    #[arg(long, value_name = "FILE")]
    ca: Option<PathBuf>,
}

impl DeviceOption {
    pub(super) fn client(self) -> Result<Client, KeyringError> {
        let client = Client::open(self.state)?;
        Ok(match self.ca {
            Some(ca) => client.trusting(ca),
            None => client,
        })
    }
}

impl Connect {
    pub(crate) async fn run(self) -> anyhow::Result<()> {
        let target = Target::parse(&self.target)?;
        let line = self.device.client()?.connect(&target).await?;
        let channel = line.channel(&self.service)?;
        let (send, receive) = (channel.clone(), channel);
        let send = async move {
            // Bytes, not text: what is no UTF-8 goes through as it is.
            let mut input = BufReader::new(tokio::io::stdin());
            let mut line = Vec::new();
            while input.read_until(b'\n', &mut line).await? > 0 {
                let content = match line.strip_suffix(b"\n") {
                    Some(content) => content.strip_suffix(b"\r").unwrap_or(content),
                    None => &line,
                };
                send.send(content).await?;
                line.clear();
            }
            // The last answers may still come: the service ends the channel when it has read everything.
            send.finish();
            Ok::<(), anyhow::Error>(())
        };
        let receive = async move {
            let mut out = tokio::io::stdout();
            let is_terminal = io::stdout().is_terminal();
            while let Some(mut message) = receive.recv().await? {
                if is_terminal {
                    message = shown_lines(&message).into_bytes();
                }
                message.push(b'\n');
                let written = match out.write_all(&message).await {
                    Ok(()) => out.flush().await,
                    error => error,
                };
                match written {
                    // Whoever does not read to the end has heard enough.
                    Err(error) if error.kind() == io::ErrorKind::BrokenPipe => break,
                    written => written?,
                }
            }
            Ok::<(), anyhow::Error>(())
        };
        let (mut send, mut receive) = (std::pin::pin!(send), std::pin::pin!(receive));
        let result = tokio::select! {
            result = receive.as_mut() => result,
            sent = send.as_mut() => match sent {
                Ok(()) => receive.await,
                Err(error) => Err(error),
            },
        };
        line.close(CloseCode::Normal, "");
        line.closed().await;
        // The last record is on its way out.
        tokio::time::sleep(std::time::Duration::from_millis(50)).await;
        match result {
            Err(error) if error.downcast_ref::<LineError>().is_none() => Err(error),
            Err(error) => Err(error.context(format!("the line to {} ended", target.host()))),
            // A blocked read of the terminal would keep the process.
            Ok(()) => std::process::exit(0),
        }
    }
}

/// A message as a terminal may show it: what could steer it is seen, and lines and tabs stay.
fn shown_lines(message: &[u8]) -> String {
    let text = String::from_utf8_lossy(message);
    let line = |line: &str| line.split('\t').map(shown).collect::<Vec<_>>().join("\t");
    text.split('\n').map(line).collect::<Vec<_>>().join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_cannot_steer_the_terminal_of_who_reads_it() {
        assert_eq!(shown_lines(b"a\x1b]0;b\x07\tc\nd\xff"), "a\u{fffd}]0;b\u{fffd}\tc\nd\u{fffd}");
    }
}
