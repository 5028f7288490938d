//! Files of networks, and the one of countries: read whole or not at all, and again when they have changed.
//!
//! ```text
//! # what follows a # or a ; is for people
//! 192.0.2.0/24
//! 2001:db8::/32      one network a line, as in Spamhaus's DROP and FireHOL's lists
//! ```

use std::{
    fs::{File, Metadata},
    io::Read as _,
    net::IpAddr,
    path::{Path, PathBuf},
    str::FromStr as _,
    time::SystemTime,
};

use ipnet::IpNet;
use thiserror::Error;

use crate::watch::text;

/// The longest file of networks, in bytes.
const FILE_LEN_MAX: u64 = 16 * 1_024 * 1_024;

/// A file that cannot be used.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
#[error("{} {why}", path.display())]
pub struct InvalidList {
    path: PathBuf,
    why: String,
}

/// What tells a file from what it was.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Stamp {
    modified: Option<SystemTime>,
    len: u64,
    /// A file that was put in the place of another within the clock's grain.
    number: u64,
}

impl Stamp {
    /// None if it cannot be seen.
    pub(super) fn of(path: &Path) -> Option<Self> {
        std::fs::metadata(path).ok().map(|metadata| Self::from(&metadata))
    }

    fn from(metadata: &Metadata) -> Self {
        use std::os::unix::fs::MetadataExt as _;
        Self { modified: metadata.modified().ok(), len: metadata.len(), number: metadata.ino() }
    }
}

impl InvalidList {
    pub(super) fn new(path: &Path, why: impl Into<String>) -> Self {
        Self { path: path.to_owned(), why: why.into() }
    }
}

/// All of a file, if it is not longer than that.
pub(super) fn read(path: &Path, len_max: u64) -> Result<Vec<u8>, InvalidList> {
    let unreadable = |error: std::io::Error| InvalidList::new(path, format!("cannot be read: {error}"));
    // A pipe would be waited for.
    if !std::fs::metadata(path).map_err(unreadable)?.is_file() {
        return Err(InvalidList::new(path, "is no file"));
    }
    let file = File::open(path).map_err(unreadable)?;
    let mut bytes = Vec::new();
    // It may grow while it is read.
    file.take(len_max + 1).read_to_end(&mut bytes).map_err(unreadable)?;
    match bytes.len() as u64 > len_max {
        true => Err(InvalidList::new(path, format!("is longer than the {len_max} bytes that such a file may have"))),
        false => Ok(bytes),
    }
}

/// The networks of a file.
pub(super) fn networks(path: &Path) -> Result<Vec<IpNet>, InvalidList> {
    let bytes = read(path, FILE_LEN_MAX)?;
    let all = std::str::from_utf8(&bytes).map_err(|error| {
        let line = bytes.get(..error.valid_up_to()).unwrap_or_default().iter().filter(|byte| **byte == b'\n').count();
        InvalidList::new(path, format!("is no text from line {} on", line + 1))
    })?;
    let mut networks = Vec::new();
    for (at, line) in all.lines().enumerate() {
        let said = line.split(['#', ';']).next().unwrap_or_default().trim();
        if said.is_empty() {
            continue;
        }
        match network(said) {
            Ok(network) => networks.push(network),
            Err(error) => return Err(InvalidList::new(path, format!("has in line {}: {error}", at + 1))),
        }
    }
    Ok(networks)
}

/// A network, or an address as a network of one.
///
/// # Errors
/// What to write in its place.
pub(crate) fn network(text: &str) -> Result<IpNet, String> {
    match read_network(text) {
        Some((network, true)) => Ok(network),
        Some((network, false)) => {
            let (address, network) = (network.addr(), network.trunc());
            Err(format!("\"{}\" is an address and a network in one: write {address} or {network}", text::shown(text)))
        }
        None => Err(format!("\"{}\" is no network: write it as 192.0.2.1, 10.0.0.0/8 or fd00::/8", text::shown(text))),
    }
}

/// A network, or an address as a network of one; and whether it is only that: 10.1.2.3/8 is meant as one address or as a network,
/// and nobody can tell.
pub(crate) fn read_network(text: &str) -> Option<(IpNet, bool)> {
    let one = |address: IpAddr| IpNet::from(address.to_canonical());
    let network = text.parse().map(one).or_else(|_| IpNet::from_str(text)).ok()?;
    Some((network, network.addr() == network.network()))
}
