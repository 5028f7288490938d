//! Channels of a line, however they are opened: by an application, by the peer, or for one request.

use std::time::Duration;

use duologue::{
    ChannelId, Kind, ResetCode,
    typed::{self, Request},
};

use crate::{channel::Channel, line::Line, shared::LineError, stream::ByteStream};

impl Line {
    /// Opens a channel to the service of that label. What is sent before the line is open waits in order.
    ///
    /// # Errors
    /// If the label does not have 1 to 64 bytes, or the line has ended.
    pub fn channel(&self, label: &str) -> Result<Channel, LineError> {
        self.channel_of(label, Kind::MESSAGES)
    }

    /// [`Self::channel`] of that kind: how soon it leaves beside others, and whether it is a tail. `kind.stream` is for
    /// [`Channel::stream`].
    ///
    /// # Errors
    /// As [`Self::channel`].
    pub fn channel_of(&self, label: &str, kind: Kind) -> Result<Channel, LineError> {
        let opened = self.shared.with(|state| {
            let id = state.line.open(label, kind)?;
            Ok(state.opened(id))
        });
        let (key, news) = opened.map_err(|error| self.shared.explain(None, error))?;
        Ok(Channel::new(self.clone(), key, news))
    }

    /// Opens a byte stream to the service of that label.
    ///
    /// # Errors
    /// As [`Self::channel`].
    pub fn stream(&self, label: &str) -> Result<ByteStream, LineError> {
        Ok(ByteStream::new(self.channel_of(label, Kind::STREAM)?))
    }

    /// The next channel that the peer opens; none after the end.
    pub async fn accept(&self) -> Option<Channel> {
        let id = self
            .wait(|state| match state.incoming.pop_front() {
                Some(id) => Some(Some(id)),
                None => state.line.closed().is_some().then_some(None),
            })
            .await?;
        Some(self.adopt(id))
    }

    /// One message there, one message back. Dropping the future cancels it at the other end too.
    ///
    /// # Errors
    /// Why there is no answer.
    pub async fn request(&self, label: &str, message: impl Into<Vec<u8>>) -> Result<Vec<u8>, LineError> {
        let channel = CancelOnDrop { channel: self.channel(label)?, code: ResetCode::Cancelled };
        exchange(&channel.channel, message.into()).await
    }

    /// [`Self::request`] with a limit: after `deadline` the request is cancelled here and there.
    ///
    /// # Errors
    /// [`LineError::Deadline`], or why there is no answer.
    pub async fn request_within(
        &self,
        deadline: Duration,
        label: &str,
        message: impl Into<Vec<u8>>,
    ) -> Result<Vec<u8>, LineError> {
        let mut channel = CancelOnDrop { channel: self.channel(label)?, code: ResetCode::Cancelled };
        let result = tokio::time::timeout(deadline, exchange(&channel.channel, message.into())).await;
        result.unwrap_or_else(|_| {
            channel.code = ResetCode::Deadline;
            Err(LineError::Deadline)
        })
    }

    /// [`Self::request`] with types: the label and the answer's type come from the request's.
    ///
    /// # Errors
    /// Why there is no answer, or that it is of another type.
    pub async fn call<R: Request>(&self, request: &R) -> Result<R::Response, LineError> {
        let answer = self.request(R::LABEL, typed::encode(request)).await?;
        Ok(typed::decode(&answer)?)
    }

    /// Puts a channel of the peer's in the queue of [`Self::accept`].
    pub fn offer(&self, id: ChannelId) {
        self.shared.with(|state| state.incoming.push_back(id));
        self.shared.changed.notify_waiters();
    }

    /// The handle to a channel of the peer's. To be called once for each.
    #[must_use]
    pub fn adopt(&self, id: ChannelId) -> Channel {
        let (key, news) = self.shared.with(|state| state.adopted(id));
        Channel::new(self.clone(), key, news)
    }
}

/// Whatever ends a request before its answer ends its channel.
struct CancelOnDrop {
    channel: Channel,
    code: ResetCode,
}

impl Drop for CancelOnDrop {
    fn drop(&mut self) {
        self.channel.reset(self.code);
    }
}

async fn exchange(channel: &Channel, message: Vec<u8>) -> Result<Vec<u8>, LineError> {
    channel.send(message).await?;
    channel.finish();
    channel.recv().await?.ok_or(LineError::NoAnswer)
}
