//! The services that the binary brings.

pub mod desk;
pub(crate) mod device_key;
pub mod drop;
pub mod http;
pub(crate) mod json;
pub(crate) mod json_line;
pub(crate) mod others;
pub mod owner;
pub mod pair;
pub(crate) mod passkeys;
pub(crate) mod path;
pub(crate) mod right;
pub(crate) mod service;
mod share;
#[cfg(feature = "typescript")]
pub(crate) mod typescript;

use duologue::limits::DATAGRAM_TTL_MILLIS;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::{
    services::service::{Call, ServiceError},
    watch::metrics,
};

/// Sends everything back: messages, datagrams, and the bytes of a stream.
///
/// # Errors
/// If the line ends.
pub async fn echo(call: Call) -> Result<(), ServiceError> {
    let is_kept = call.channel.is_kept();
    if let Some(mut stream) = call.channel.stream() {
        if is_kept {
            while let Some(bytes) = call.channel.recv_ahead().await? {
                call.channel.settle(Some(bytes), None).await?;
            }
            return Ok(());
        }
        // As much as is read at a time, so that a slow reader over there stops the writer over there.
        let mut bytes = vec![0; 16 * 1024];
        loop {
            match stream.read(&mut bytes).await? {
                0 => return Ok(()),
                len => stream.write_all(bytes.get(..len).unwrap_or_default()).await?,
            }
        }
    }
    let messages = async {
        let mut number = 0_u32;
        loop {
            let messages = match is_kept {
                true => call.channel.recv_many_ahead().await?,
                false => call.channel.recv_many().await?,
            };
            if messages.is_empty() {
                return Ok(());
            }
            let began = metrics::begin(number);
            number = number.wrapping_add(1);
            match is_kept {
                true => call.channel.answer_many(messages).await?,
                false => drop(call.channel.send_many(messages).await?),
            }
            if let Some(began) = began {
                call.times().turn(began.elapsed());
            }
        }
    };
    let datagrams = async {
        loop {
            let datagram = call.channel.recv_datagram().await?;
            call.channel.send_datagram(datagram, std::time::Duration::from_millis(DATAGRAM_TTL_MILLIS), None)?;
        }
    };
    tokio::select! {
        biased;
        ended = messages => ended,
        ended = datagrams => ended,
    }
}
