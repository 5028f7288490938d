//! What the two processes of a hand-over say to each other: a line of JSON each, the first with files.

use std::{
    io::{self, IoSlice, IoSliceMut, Read, Write},
    mem::MaybeUninit,
    os::{
        fd::{BorrowedFd, OwnedFd},
        unix::net::UnixStream,
    },
    path::PathBuf,
    time::{Duration, Instant},
};

use rustix::net::{
    RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer, SendAncillaryMessage, SendFlags,
    recvmsg, sendmsg,
};
use serde::{Deserialize, Serialize};

/// Of the conversation. Processes of two versions have nothing to say to each other.
pub(super) const VERSION: u32 = 1;
/// Longest line in bytes: a sentence, or the offer.
const LINE_LEN_MAX: usize = 16 * 1_024;
/// Files that an offer may have.
const FILES_MAX: usize = 8;

/// What a successor is given.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Offer {
    pub(super) version: u32,
    pub(super) pid: u32,
    pub(super) state: PathBuf,
    /// A service manager has opened the socket of lines.
    pub(super) activated: bool,
    /// What the files are, in their order.
    pub(super) files: Vec<What>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(super) enum What {
    Lines,
    Status,
    Http,
    Control,
    /// The local API's other sockets.
    Users,
    Keys,
    /// That the state directory is one process's.
    Lock,
    /// What the former tells of what counts for both.
    Told,
}

#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(super) enum Said {
    Ready,
    Closed,
    Serves,
    Go,
    /// Nothing comes of it, because of this.
    Refused(String),
}

pub(super) fn say(mut stream: &UnixStream, said: &Said) -> io::Result<()> {
    stream.write_all(&line(said)?)
}

/// The next line, within that time. None where the other end is gone.
pub(super) fn hear(mut stream: &UnixStream, patience: Duration) -> io::Result<Option<Said>> {
    let until = Instant::now() + patience;
    let mut line = Vec::new();
    // Byte by byte: what follows may be for somebody else.
    let mut byte = [0];
    while line.len() < LINE_LEN_MAX {
        let left = until.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Err(io::ErrorKind::TimedOut.into());
        }
        stream.set_read_timeout(Some(left))?;
        match stream.read(&mut byte) {
            Ok(0) => return Ok(None),
            Ok(_) if byte == *b"\n" => return Ok(Some(serde_json::from_slice(&line)?)),
            Ok(_) => line.extend(byte),
            Err(error) if matches!(error.kind(), io::ErrorKind::Interrupted | io::ErrorKind::WouldBlock) => {}
            Err(error) if error.kind() == io::ErrorKind::ConnectionReset => return Ok(None),
            Err(error) => return Err(error),
        }
    }
    Err(io::Error::other("a line is too long"))
}

pub(super) fn offer(stream: &UnixStream, offer: &Offer, files: &[BorrowedFd<'_>]) -> io::Result<()> {
    let line = line(offer)?;
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(FILES_MAX))];
    let mut control = SendAncillaryBuffer::new(&mut space);
    if !control.push(SendAncillaryMessage::ScmRights(files)) {
        return Err(io::Error::other("there are too many files"));
    }
    // The buffer of a new socket is longer than the line.
    let sent = sendmsg(stream, &[IoSlice::new(&line)], &mut control, SendFlags::empty())?;
    if sent == line.len() { Ok(()) } else { Err(io::ErrorKind::WriteZero.into()) }
}

pub(super) fn take_offer(stream: &UnixStream) -> io::Result<(Offer, Vec<OwnedFd>)> {
    let mut bytes = [0; LINE_LEN_MAX];
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(FILES_MAX))];
    let mut control = RecvAncillaryBuffer::new(&mut space);
    let received = recvmsg(stream, &mut [IoSliceMut::new(&mut bytes)], &mut control, RecvFlags::CMSG_CLOEXEC)?;
    let files = control.drain().filter_map(|message| match message {
        RecvAncillaryMessage::ScmRights(files) => Some(files),
        _ => None,
    });
    let files = files.flatten().collect();
    Ok((serde_json::from_slice(&bytes[..received.bytes])?, files))
}

fn line(said: &impl Serialize) -> io::Result<Vec<u8>> {
    let mut line = serde_json::to_vec(said)?;
    line.push(b'\n');
    Ok(line)
}
