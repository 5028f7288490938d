//! The services that the binary brings.

pub mod desk;

use crate::service::{Call, ServiceError};

/// Sends every message back.
///
/// # Errors
/// If the line ends.
pub async fn echo(call: Call) -> Result<(), ServiceError> {
    while let Some(message) = call.channel.recv().await? {
        call.channel.send(message).await?;
    }
    Ok(())
}
