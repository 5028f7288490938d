//! What the servers do for the page: take messages and say when all are there, send some, or send back what comes.
//!
//! A job begins with one message of JSON, [`Job`]; on a stream it is a line. Another job may follow when it is done.

use anyhow::{Context as _, bail, ensure};
use axum::extract::ws::{Message, WebSocket};
use duologue_server::{Call, ServiceError};
use futures_util::{SinkExt as _, StreamExt as _, stream};
use serde::Deserialize;
use serde_json::json;
use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader};

/// What is read from a stream at a time.
const READ_LEN: usize = 64 * 1_024;
/// The longest line that tells a job.
const JOB_LEN_MAX: u64 = 1_024;

#[derive(Debug, Deserialize)]
struct Job {
    job: Kind,
    /// Messages.
    count: usize,
    /// Bytes of each.
    len: usize,
}

#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Kind {
    /// From the page to here.
    Sink,
    /// From here to the page.
    Source,
    Echo,
}

fn received(count: usize) -> Vec<u8> {
    json!({ "received": count }).to_string().into_bytes()
}

/// Nothing on the way compresses, so one byte is as good as another.
fn message(len: usize) -> Vec<u8> {
    vec![0x5a; len]
}

/// The jobs over a channel of messages.
pub(super) async fn messages(call: Call) -> Result<(), ServiceError> {
    let channel = call.channel;
    while let Some(job) = channel.recv().await? {
        let Job { job, count, len } = serde_json::from_slice(&job)?;
        let ended = "the page has ended in the middle of a job";
        match job {
            Kind::Sink => {
                for _ in 0..count {
                    let message = channel.recv().await?.context(ended)?;
                    if message.len() != len {
                        return Err(format!("a message has {} bytes, not {len}", message.len()).into());
                    }
                }
                channel.send(received(count)).await?;
            }
            Kind::Source => {
                for _ in 0..count {
                    channel.send(message(len)).await?;
                }
            }
            Kind::Echo => {
                for _ in 0..count {
                    let message = channel.recv().await?.context(ended)?;
                    channel.send(message).await?;
                }
            }
        }
    }
    Ok(())
}

/// The jobs over a stream of bytes.
pub(super) async fn bytes(call: Call) -> Result<(), ServiceError> {
    let stream = call.channel.stream().context("the page has opened a channel of messages")?;
    let mut stream = BufReader::with_capacity(READ_LEN, stream);
    loop {
        let mut line = Vec::new();
        (&mut stream).take(JOB_LEN_MAX).read_until(b'\n', &mut line).await?;
        if line.is_empty() {
            return Ok(());
        }
        let Job { job, count, len } = serde_json::from_slice(&line)?;
        match job {
            Kind::Sink => {
                let mut left = count * len;
                let mut bytes = vec![0; READ_LEN];
                while left > 0 {
                    let most = left.min(READ_LEN);
                    let read = stream.read(bytes.get_mut(..most).unwrap_or_default()).await?;
                    if read == 0 {
                        return Err("the page has ended in the middle of a job".into());
                    }
                    left -= read;
                }
                stream.write_all(&[received(count * len), b"\n".to_vec()].concat()).await?;
            }
            Kind::Source => {
                let message = message(len);
                for _ in 0..count {
                    stream.write_all(&message).await?;
                }
            }
            Kind::Echo => return Err("a stream has no echo here".into()),
        }
    }
}

/// The jobs over the bare WebSocket, as axum serves it by default. What is ready leaves together, in one write of TLS.
pub(super) async fn websocket(socket: WebSocket) {
    if let Err(error) = websocket_jobs(socket).await {
        eprintln!("bench: the bare WebSocket failed: {error:#}");
    }
}

async fn websocket_jobs(socket: WebSocket) -> anyhow::Result<()> {
    let (mut write, mut read) = socket.split();
    while let Some(job) = read.next().await {
        let job = match job? {
            Message::Binary(job) => job,
            Message::Close(_) => return Ok(()),
            other => bail!("{other:?} in the place of a job"),
        };
        let Job { job, count, len } = serde_json::from_slice(&job).context("no job")?;
        match job {
            Kind::Sink => {
                for _ in 0..count {
                    let message = read.next().await.context("it has ended in the middle of a job")??;
                    ensure!(message.into_data().len() == len, "a message has another length than {len}");
                }
                write.send(Message::binary(received(count))).await?;
            }
            Kind::Source => {
                let messages = stream::repeat_with(|| Ok(Message::binary(message(len)))).take(count);
                write.send_all(&mut std::pin::pin!(messages)).await?;
            }
            Kind::Echo => write.send_all(&mut (&mut read).take(count)).await?,
        }
    }
    Ok(())
}
