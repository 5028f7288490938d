//! How addresses stand in the audit log: whole, shortened to a network, or as a hash under a key of this server's.

use std::{
    fs, io,
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
    path::Path,
};

use ring::hmac;
use serde::Deserialize;
use zeroize::Zeroizing;

use crate::state::{StateError, random, write_private};

const KEY: &str = "address.key";

/// What of an address is written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Addresses {
    /// All of it.
    #[default]
    Whole,
    /// The /24 of an IPv4 address, the /48 of an IPv6 address.
    Shortened,
    /// A keyed hash: the same address is the same word, and whoever does not have the key cannot try which it was. Who removes
    /// the key makes all of them unreadable at once.
    Hashed,
}

/// Writes addresses.
#[derive(Debug)]
pub(super) enum Shown {
    Whole,
    Shortened,
    Hashed(hmac::Key),
    /// The key could not be made: rather nothing than all of it.
    Withheld,
}

impl Shown {
    /// For a log in this directory; its key is made if it is missing.
    pub(super) fn open(addresses: Addresses, directory: &Path) -> Result<Self, StateError> {
        Ok(match addresses {
            Addresses::Whole => Self::Whole,
            Addresses::Shortened => Self::Shortened,
            Addresses::Hashed => Self::Hashed(match Self::key(directory)? {
                Some(key) => key,
                None => {
                    let secret = Zeroizing::new(random::<32>());
                    write_private(&directory.join(KEY), &*secret)?;
                    hmac::Key::new(hmac::HMAC_SHA256, &*secret)
                }
            }),
        })
    }

    /// The key of a log in this directory, if it has one.
    pub(super) fn key(directory: &Path) -> Result<Option<hmac::Key>, StateError> {
        let path = directory.join(KEY);
        match fs::read(&path).map(Zeroizing::new) {
            Ok(secret) if secret.len() == 32 => Ok(Some(hmac::Key::new(hmac::HMAC_SHA256, &secret))),
            Ok(secret) => Err(StateError::DamagedKey { path, len: secret.len() }),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(source) => Err(StateError::Io { verb: "read", path, source }),
        }
    }

    pub(super) fn show(&self, address: IpAddr) -> Option<String> {
        let address = address.to_canonical();
        match self {
            Self::Whole => Some(address.to_string()),
            Self::Shortened => Some(shortened(address)),
            Self::Hashed(key) => Some(hashed(key, address)),
            Self::Withheld => None,
        }
    }
}

fn shortened(address: IpAddr) -> String {
    match address {
        IpAddr::V4(address) => {
            let [a, b, c, _] = address.octets();
            format!("{}/24", Ipv4Addr::new(a, b, c, 0))
        }
        IpAddr::V6(address) => {
            let [a, b, c, ..] = address.segments();
            format!("{}/48", Ipv6Addr::new(a, b, c, 0, 0, 0, 0, 0))
        }
    }
}

fn hashed(key: &hmac::Key, address: IpAddr) -> String {
    let tag = hmac::sign(key, address.to_string().as_bytes());
    format!("hmac:{}", hex::encode(tag.as_ref().get(..16).unwrap_or_default()))
}

/// The words that an address may stand as, whatever is configured: to look for it.
pub(super) fn words(address: IpAddr, directory: Option<&Path>) -> Vec<String> {
    let address = address.to_canonical();
    let key = directory.and_then(|directory| Shown::key(directory).ok().flatten());
    let hashed = key.map(|key| hashed(&key, address));
    [address.to_string(), shortened(address)].into_iter().chain(hashed).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_written_as_the_owner_wants_it() {
        let directory = tempfile::tempdir().expect("a temporary directory");
        let show = |addresses, address| {
            Shown::open(addresses, directory.path()).expect("opened").show(address).expect("shown")
        };
        let v4: IpAddr = "192.0.2.77".parse().expect("an address");
        let mapped: IpAddr = "::ffff:192.0.2.77".parse().expect("an address");
        let v6: IpAddr = "2001:db8:1:2::3".parse().expect("an address");
        assert_eq!(show(Addresses::Whole, mapped), "192.0.2.77");
        assert_eq!([v4, v6].map(|address| show(Addresses::Shortened, address)), ["192.0.2.0/24", "2001:db8:1::/48"]);
        let once = show(Addresses::Hashed, v4);
        assert!(once.len() == 37 && once.starts_with("hmac:") && once == show(Addresses::Hashed, mapped), "{once}");
        assert_ne!(once, show(Addresses::Hashed, v6));
        for addresses in [Addresses::Whole, Addresses::Shortened, Addresses::Hashed] {
            assert!(words(v4, Some(directory.path())).contains(&show(addresses, v4)));
        }
        // Under another key it is another word.
        let other = tempfile::tempdir().expect("a temporary directory");
        assert_ne!(Some(once), Shown::open(Addresses::Hashed, other.path()).expect("opened").show(v4));
    }
}
