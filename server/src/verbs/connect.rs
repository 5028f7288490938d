//! `duologue connect`: a line from this terminal.

use std::path::PathBuf;

use duologue::CloseCode;
use duologue_client::{Client, LineError, Target};
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};

#[derive(Debug, clap::Args)]
pub(crate) struct Connect {
    /// An invite link, or the address of a server that knows this device.
    target: String,
    /// The service to speak with.
    #[arg(long)]
    service: String,
    /// Where this device keeps its key, and the servers it knows.
    #[arg(long, value_name = "DIR", default_value = "duologue-device", env = "DUOLOGUE_DEVICE")]
    state: PathBuf,
    /// Trusts the certificate authorities of this PEM file, and only those.
    #[arg(long, value_name = "FILE")]
    ca: Option<PathBuf>,
}

impl Connect {
    pub(crate) async fn run(self) -> anyhow::Result<()> {
        let target = Target::parse(&self.target)?;
        let mut client = Client::open(&self.state)?;
        if let Some(ca) = self.ca {
            client = client.trusting(ca);
        }
        let line = client.connect(&target).await?;
        let channel = line.channel(&self.service)?;
        let (send, receive) = (channel.clone(), channel);
        let send = async move {
            let mut lines = BufReader::new(tokio::io::stdin()).lines();
            while let Some(text) = lines.next_line().await? {
                send.send(text).await?;
            }
            // The last answers may still come: the service ends the channel when it has read everything.
            send.finish();
            Ok::<(), anyhow::Error>(())
        };
        let receive = async move {
            let mut out = tokio::io::stdout();
            while let Some(message) = receive.recv().await? {
                out.write_all(&message).await?;
                out.write_all(b"\n").await?;
                out.flush().await?;
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
