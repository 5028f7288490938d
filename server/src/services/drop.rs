//! The drop: takes a file over a byte stream into a directory. A cut costs nothing that has arrived.
//!
//! One stream, one file. Lines are JSON in UTF-8, at most 4,096 bytes with the `\n` that ends them.
//!
//! ```text
//! client                                                                            server
//!   {"name":"photo.jpg","size":12345,"upload":"<32 hex digits of the client's choice>"} ->
//!     <- {"offset":N,"sha256":"<of the first N bytes>","blocks":"<the same in blocks>"}   N = what is held of this upload
//!   the bytes from N to size, then the end of the client's direction ->
//!     <- {"name":"photo (2).jpg","size":12345,"sha256":"<of the whole>"}   under this name, on the disk
//! ```
//!
//! Hex digits are lower-case. `blocks` is SHA-256 over the SHA-256 of each 4 MiB of the first N bytes, for clients that
//! cannot hash a stream. The client compares either hash with its own file; if it differs, the file has changed
//! since, and the client closes the stream and starts again with another upload id. After a cut it sends the same line
//! again. A newer stream for an upload ends the older one: behind a dead network the older would stay for minutes.
//!
//! In place of its next line the server may say why it stops; this ends the stream:
//!
//! ```text
//!     <- {"error":"too-large","message":"what is wrong and what to do"}
//! ```
//!
//! | word | meaning |
//! |---|---|
//! | `bad-header` | the first line is not as above |
//! | `bad-name` | too many files have this name |
//! | `too-large` | the quota would be passed, or the device's part of it, or the disk is nearly full; also in the middle of a file |
//! | `busy` | a newer stream has taken over this upload |
//! | `size-mismatch` | fewer or more bytes came, or are held, than `size` |
//! | `disk` | the server could not store it |
//!
//! An upload is of its device: its partial file is `.partial/<device>-<upload>`, and no other device can name it.
//! Partial files older than a day are removed. `names` makes a name safe, `quota` counts and gives turns, `books` says who may add
//! how much, `units` who is one in that, `ledger` whose a whole file is, `partial` writes, `wire` reads and says, `going_on` knows where an upload
//! goes on in another process.
//!
//! Not here: who may send, and how long a silent stream may stay. Both are the caller's.

mod books;
mod going_on;
mod hashing;
mod ledger;
mod names;
mod partial;
mod quota;
#[cfg(test)]
mod tests;
mod units;
mod wire;

use std::{error::Error as _, io, path::PathBuf, sync::Arc};

use duologue::{DeviceId, ResetCode};
use serde::Serialize;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};

use crate::watch::events::Kind;
use crate::{
    door::{standing::Level, work::Share},
    services::{
        json_line::{Refusal, say},
        service::{Call, GoesOn, Service, ServiceError},
        share,
    },
};
use going_on::{Alone, Begun, Upstream};
use partial::Partial;
use quota::Space;
use wire::{Header, Held, More, read_block, read_header};

/// Read before it is written, in bytes: a write this long costs far more than the way to the blocking thread and back.
const BLOCK_BYTES: usize = 64 * 1_024;

/// Takes files into a directory. Clones share the directory and its quota.
#[derive(Clone, Debug)]
pub struct Drops(Arc<Space>);

/// What has been taken, as the client is told.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Receipt {
    /// The file's name in the directory; not always the one that was asked for.
    pub name: String,
    /// Its length in bytes.
    pub size: u64,
    /// Its SHA-256 in lower-case hex.
    pub sha256: String,
}

/// Why a file was not taken. What had arrived of it is kept.
#[derive(Debug, thiserror::Error)]
pub enum DropError {
    /// The client's first line makes no sense.
    #[error("the first line must be {{\"name\", \"size\", \"upload\"}}, but: {0}")]
    BadHeader(String),
    /// Every number behind this name is taken.
    #[error("too many files have this name here; choose another one")]
    BadName,
    /// The quota would be passed.
    #[error("the file has {size} bytes, but there is room for {free}; send a smaller one or have some removed")]
    TooLarge {
        /// What the client wants to send, in bytes; in the middle of a file, what has come of it.
        size: u64,
        /// What may be held of it, in bytes.
        free: u64,
    },
    /// The device would hold more than what it leaves free for others, together with those that it let in or was let in by.
    #[error(
        "the file has {size} bytes, but there is room for {free}: no device takes more than it leaves free, and this one, with \
         those that it let in or was let in by, holds {own} bytes; send a smaller one or have some of its files removed"
    )]
    OverPart {
        /// As above.
        size: u64,
        /// As above.
        free: u64,
        /// What they hold, in bytes.
        own: u64,
    },
    /// The disk would have less left than is kept for others.
    #[error(
        "the file has {size} bytes, but the server's disk has room for {free}; try again when its owner has made some"
    )]
    DiskLow {
        /// As above.
        size: u64,
        /// As above.
        free: u64,
    },
    /// The directory holds as many files as it may, or the device and its kin as many as they leave for others.
    #[error(
        "there are {all} files here, {own} of this device and those that it let in or was let in by: as many as there may \
         be; have some removed"
    )]
    TooMany {
        /// The files of all.
        all: usize,
        /// Theirs.
        own: usize,
    },
    /// A newer stream of the same device continues this upload.
    #[error("a newer stream continues this upload; leave it to that one")]
    Busy,
    /// The bytes ended early.
    #[error("only {arrived} of {size} bytes arrived; send the same first line again to continue")]
    Short {
        /// What is held now, in bytes.
        arrived: u64,
        /// What was announced, in bytes.
        size: u64,
    },
    /// The bytes did not end.
    #[error("more than the announced {0} bytes arrived; announce the true size")]
    Long(u64),
    /// The upload has announced a larger size before.
    #[error("{held} bytes of this upload are held, more than its size of {size}; choose another upload id")]
    Shrunk {
        /// What is held, in bytes.
        held: u64,
        /// What was announced, in bytes.
        size: u64,
    },
    /// Sessions are kept, and another process has taken more than is on the disk: its machine has failed.
    #[error("some of it was lost with the machine; send the same first line again to continue")]
    Lost,
    /// The directory cannot be read or written.
    #[error("the server could not store it: {0}; try again later")]
    Disk(#[source] io::Error),
    /// The stream broke. The client is not there to be told.
    #[error("the stream broke: {0}")]
    Stream(#[source] io::Error),
    /// The caller's fault: this is no device id.
    #[error("not base64url, so not the id of a device")]
    Device,
}

impl DropError {
    /// The word that the client has been told; none if it was told nothing.
    ///
    /// With a word, the stream is to be finished, not reset: a reset could overtake the line.
    #[must_use]
    pub fn word(&self) -> Option<&'static str> {
        match self {
            Self::BadHeader(_) => Some("bad-header"),
            Self::BadName => Some("bad-name"),
            Self::TooLarge { .. } | Self::OverPart { .. } | Self::DiskLow { .. } | Self::TooMany { .. } => {
                Some("too-large")
            }
            Self::Busy => Some("busy"),
            Self::Short { .. } | Self::Long(_) | Self::Shrunk { .. } => Some("size-mismatch"),
            Self::Disk(_) => Some("disk"),
            Self::Stream(_) | Self::Device | Self::Lost => None,
        }
    }
}

impl Service for Drops {
    /// An upload goes on where its file ends.
    fn goes_on(&self) -> GoesOn {
        GoesOn::WhereNoted
    }

    /// Guests leave nothing.
    fn demands(&self) -> Level {
        Level::Device
    }

    async fn serve(&self, call: Call) -> Result<(), ServiceError> {
        let Some(mut stream) = call.channel.stream() else {
            return Err("the drop takes a stream, not messages".into());
        };
        if call.channel.is_kept() {
            stream.read_ahead();
        }
        self.0.knows_branches(|| call.roots());
        let _turn = self.0.shares.wait(call.holder()).await;
        let tell = |kind, note: Option<String>| {
            let event = call.event(kind);
            call.tell(if let Some(note) = note { event.note(note) } else { event });
        };
        match self.take_in_share(&call.device().to_string(), &call.share(), &mut stream, &tell).await {
            Ok(Some(receipt)) => {
                // Not its name, which is as much content as what is in it.
                tell(Kind::FileDropped, Some(receipt.size.to_string()));
            }
            Ok(None) => {}
            // The client was told in words, which a reset would overtake.
            Err(error) if error.word().is_some() => {
                let (code, cause) = (error.word(), error.source().map(ToString::to_string));
                let mut event = call.event(Kind::FileRefused);
                event.code = code;
                call.tell(if let Some(cause) = cause { event.note(cause) } else { event });
            }
            // Asked again, it goes on at what is there.
            Err(DropError::Lost) => call.channel.reset(ResetCode::GoingAway),
            Err(error) => return Err(error.into()),
        }
        Ok(())
    }
}

impl Drops {
    /// Opens a directory for at most `quota` bytes, partial files included. Makes it, for its owner alone, if it is not
    /// there. What its owner removes from it becomes free.
    ///
    /// Room is reserved as bytes come. A device takes on while it holds, in whole and partial files and together with all that
    /// it has let in, less than what is free: one alone gets half of the quota at most, and whoever comes next finds room. A tenth of the disk, at most 1 GiB, is left to
    /// others whatever the quota says.
    ///
    /// # Errors
    /// [`DropError::Disk`] if the directory cannot be made or read.
    pub fn open(directory: impl Into<PathBuf>, quota: u64) -> Result<Self, DropError> {
        Space::open(directory.into(), quota).map(|space| Self(Arc::new(space))).map_err(DropError::Disk)
    }

    /// Takes one file of `device`, a base64url id, from a stream, and ends the stream's direction to the client. None:
    /// the client went without sending anything.
    ///
    /// Dropping the future keeps what has arrived.
    ///
    /// # Errors
    /// See [`DropError`]; the client has been told those that have a [`DropError::word`].
    pub async fn take<S>(&self, device: &str, stream: &mut S) -> Result<Option<Receipt>, DropError>
    where
        S: AsyncRead + AsyncWrite + Unpin + Send,
    {
        // Any number of 32 bytes tells one from another.
        let share = self.0.work.of(DeviceId::of_spki(device.as_bytes()));
        self.take_in_share(device, &share, &mut Alone(stream), &|_, _| {}).await
    }

    /// `tell` hears of a name that leads somewhere else, of which the rest is taken all the same, and of what could not be kept.
    async fn take_in_share<S>(
        &self,
        device: &str,
        share: &Share,
        stream: &mut S,
        tell: &(impl Fn(Kind, Option<String>) + Sync),
    ) -> Result<Option<Receipt>, DropError>
    where
        S: Upstream + AsyncRead + AsyncWrite + Unpin + Send,
    {
        let result = self.receive(device, share, stream, tell).await;
        match &result {
            Ok(Some(receipt)) => say_last(stream, receipt).await,
            Ok(None) => {}
            Err(error) => {
                if let Some(word) = error.word() {
                    say_last(stream, &Refusal { error: word, message: error.to_string() }).await;
                }
            }
        }
        // A stream that is broken has ended too.
        let _ = stream.shutdown().await;
        result
    }

    async fn receive<S>(
        &self,
        device: &str,
        share: &Share,
        stream: &mut S,
        tell: &(impl Fn(Kind, Option<String>) + Sync),
    ) -> Result<Option<Receipt>, DropError>
    where
        S: Upstream + AsyncRead + AsyncWrite + Unpin + Send,
    {
        // The id becomes a part of a path.
        if device.is_empty() || !device.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_'))
        {
            return Err(DropError::Device);
        }
        let begun = stream.begun();
        let read = match &begun {
            Some((begun, _)) => Some((begun.header.clone(), begun.header_len)),
            None => read_header(stream).await?,
        };
        let Some((header, header_len)) = read else { return Ok(None) };
        let Header { name, size, upload } = header.clone();
        if names::leads_elsewhere(&name) {
            tell(Kind::PathTrick, None);
        }
        let _file = share::wait_for_file().await;
        let partial = self.0.partial(share, format!("{device}-{}", upload.0), size).await?;
        let stop = partial.stop();
        let complete = tokio::select! {
            biased;
            () = stop.notified() => return Err(DropError::Busy),
            complete = receive_bytes(share, partial, (header, header_len), begun, stream) => complete?,
        };
        let Some(partial) = complete else { return Ok(None) };
        let (receipt, unkept) = blocking(share, move || partial.keep_as(&names::safe(&name))).await?;
        unkept.into_iter().for_each(|what| tell(Kind::FileNotKept, Some(what)));
        Ok(Some(receipt))
    }
}

/// Says what is held and receives the rest. None if the client then goes at once, as it does when its file has changed.
async fn receive_bytes<S>(
    share: &Share,
    mut partial: Partial,
    (header, header_len): (Header, u64),
    begun: Option<(Begun, u64)>,
    stream: &mut S,
) -> Result<Option<Partial>, DropError>
where
    S: Upstream + AsyncRead + AsyncWrite + Unpin,
{
    let size = header.size;
    let offset = match begun {
        Some((begun, taken)) => {
            let again = begun.again(partial.len(), taken).ok_or(DropError::Lost)?;
            let mut known = (&mut *stream).take(again);
            tokio::io::copy(&mut known, &mut tokio::io::sink()).await.map_err(DropError::Stream)?;
            begun.offset
        }
        None => {
            let offset = partial.len();
            say(stream, &Held { offset, sha256: partial.sha256(), blocks: partial.blocks() })
                .await
                .map_err(DropError::Stream)?;
            stream.note(&Begun { header, header_len, offset });
            offset
        }
    };
    stream.settle();
    let mut block = Vec::with_capacity(BLOCK_BYTES);
    while partial.len() < size {
        let more = read_block(stream, &mut block, size - partial.len()).await;
        // The partial file goes along, and with it its turn: if this future is dropped, no newer stream begins before
        // the write has ended.
        (partial, block) = blocking(share, move || {
            partial.write(&block)?;
            block.clear();
            Ok((partial, block))
        })
        .await?;
        stream.settle();
        let arrived = partial.len();
        match more.map_err(DropError::Stream)? {
            More::No if arrived == offset => return Ok(None),
            More::No if arrived < size => return Err(DropError::Short { arrived, size }),
            More::No | More::Maybe => {}
        }
    }
    match stream.read(&mut [0]).await.map_err(DropError::Stream)? {
        0 => Ok(Some(partial)),
        _ => Err(DropError::Long(size)),
    }
}

/// The file is taken or not, whether the client hears it or not.
async fn say_last<S: AsyncWrite + Unpin>(stream: &mut S, line: &impl Serialize) {
    if let Err(error) = say(stream, line).await {
        tracing::debug!(%error, "a client went before the last line");
    }
}

/// Runs file I/O where it may block.
async fn blocking<T: Send + 'static>(
    share: &Share,
    work: impl FnOnce() -> Result<T, DropError> + Send + 'static,
) -> Result<T, DropError> {
    share.run(work).await.unwrap_or_else(|error| Err(DropError::Disk(io::Error::other(error))))
}
