//! A channel: the handle to one labelled lane of a line.

use std::{fmt, future::Future, sync::Arc};

use duologue::{ChannelError, ChannelId, Delivery, Received, ResetCode};
use tokio::sync::Notify;

use crate::line::{Line, LineError, Shared};

/// One labelled lane. Clones are the same channel; when the last one is dropped, what was not finished is cancelled.
#[derive(Clone)]
pub struct Channel(Arc<Inner>);

struct Inner {
    line: Line,
    id: ChannelId,
    changed: Arc<Notify>,
}

impl Drop for Inner {
    fn drop(&mut self) {
        let id = self.id;
        self.line.shared.with(|state| {
            state.connection.channel(id).release();
            state.channels.remove(&id);
        });
    }
}

impl Channel {
    pub(crate) fn new(line: Line, id: ChannelId, changed: Arc<Notify>) -> Self {
        Self(Arc::new(Inner { line, id, changed }))
    }

    /// The label under which it was opened.
    #[must_use]
    pub fn label(&self) -> String {
        self.0.line.shared.with(|state| state.connection.channel(self.0.id).label())
    }

    /// The line that it belongs to.
    #[must_use]
    pub fn line(&self) -> &Line {
        &self.0.line
    }

    /// True if both are handles of the same channel.
    #[must_use]
    pub fn is(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }

    /// Queues a message; waits while 16 MiB are queued already. What comes back tells when the message was taken.
    ///
    /// # Errors
    /// If the channel or the line has ended, or the message is longer than the peer takes.
    pub async fn send(&self, message: impl Into<Vec<u8>>) -> Result<Sent, LineError> {
        let mut waiting = Some(message.into());
        let id = self.0.id;
        let ordinal = wait(&self.0.line.shared, &self.0.changed, |shared| {
            let message = waiting.take()?;
            match shared.with(|state| state.connection.channel(id).send(message)) {
                Ok(ordinal) => Some(Ok(ordinal)),
                Err((ChannelError::Blocked, message)) => {
                    waiting = Some(message);
                    None
                }
                Err((error, _)) => Some(Err(shared.explain(error))),
            }
        })
        .await?;
        Ok(Sent { channel: self.clone(), ordinal })
    }

    /// The next message; none when the peer has finished.
    ///
    /// # Errors
    /// If the channel was cancelled, or the line has ended.
    pub async fn recv(&self) -> Result<Option<Vec<u8>>, LineError> {
        let id = self.0.id;
        wait(&self.0.line.shared, &self.0.changed, |shared| {
            match shared.with(|state| state.connection.channel(id).recv()) {
                Ok(Received::Message(message)) => Some(Ok(Some(message))),
                Ok(Received::End) => Some(Ok(None)),
                Ok(Received::Pending) => None,
                Err(error) => Some(Err(shared.explain(error))),
            }
        })
        .await
    }

    /// Nothing more will be sent here; what is queued still leaves, and the peer's messages still come.
    pub fn finish(&self) {
        self.0.line.shared.with(|state| state.connection.channel(self.0.id).finish());
    }

    /// Ends both directions at once.
    pub fn reset(&self, code: ResetCode) {
        self.0.line.shared.with(|state| state.connection.channel(self.0.id).reset(code));
    }

    /// Waits until the channel or the line ends before its time. Holds no handle: the channel may be dropped meanwhile.
    pub fn broken(&self) -> impl Future<Output = ChannelError> + Send + 'static {
        let (shared, changed, id) = (Arc::clone(&self.0.line.shared), Arc::clone(&self.0.changed), self.0.id);
        async move { wait(&shared, &changed, |shared| shared.with(|state| state.connection.channel(id).broken())).await }
    }
}

impl fmt::Debug for Channel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Channel").field(&self.0.id).finish()
    }
}

/// A message on its way.
#[derive(Clone, Debug)]
pub struct Sent {
    channel: Channel,
    ordinal: u64,
}

impl Sent {
    /// Waits until the application at the other end has taken the message.
    ///
    /// # Errors
    /// [`LineError::NotTaken`] with what is known, if the channel or the line ended first.
    pub async fn taken(&self) -> Result<(), LineError> {
        let Inner { line, id, changed } = &*self.channel.0;
        wait(&line.shared, changed, |shared| {
            match shared.with(|state| state.connection.channel(*id).delivery(self.ordinal)) {
                Delivery::Pending => None,
                Delivery::Taken => Some(Ok(())),
                other => Some(Err(LineError::NotTaken(other))),
            }
        })
        .await
    }
}

/// Looks, and looks again whenever something has changed.
pub(crate) async fn wait<T>(shared: &Shared, changed: &Notify, mut look: impl FnMut(&Shared) -> Option<T>) -> T {
    loop {
        let mut notified = std::pin::pin!(changed.notified());
        notified.as_mut().enable();
        if let Some(found) = look(shared) {
            return found;
        }
        notified.await;
    }
}
