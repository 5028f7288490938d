//! Countries of addresses, by a file of MaxMind's format that the owner brings: GeoLite2, DB-IP and others have it.
//!
//! The file is a stranger's as far as this server knows: its length is bounded, all of it is looked through before it counts, and an
//! address about which it says nonsense has no country.

use std::net::IpAddr;

use maxminddb::{PathElement, Reader};

use super::settings::{CountryList, Otherwise};

/// The longest file, in bytes. One of countries has ten million, one of cities a hundred.
pub(super) const FILE_LEN_MAX: u64 = 256 * 1_024 * 1_024;

/// Where files have the two letters: MaxMind's and DB-IP's; where an address is registered, if nobody knows where it is; and two
/// others' that are flat.
const PLACES: [&[PathElement<'static>]; 4] = [
    &[PathElement::Key("country"), PathElement::Key("iso_code")],
    &[PathElement::Key("registered_country"), PathElement::Key("iso_code")],
    &[PathElement::Key("country_code")],
    &[PathElement::Key("country")],
];

#[derive(Debug)]
pub(super) struct Countries {
    reader: Reader<Vec<u8>>,
    list: CountryList,
    unknown: Otherwise,
}

impl Countries {
    /// From a file's bytes.
    pub(super) fn new(bytes: Vec<u8>, list: CountryList, unknown: Otherwise) -> Result<Self, String> {
        let wrong = |error: &dyn std::fmt::Display| format!("is no file of countries in MaxMind's format: {error}");
        let reader = Reader::from_source(bytes).map_err(|error| wrong(&error))?;
        reader.verify().map_err(|error| wrong(&error))?;
        Ok(Self { reader, list, unknown })
    }

    /// Whether an address may connect by its country: yes, no, or that is for others to say.
    pub(super) fn judge(&self, address: IpAddr) -> Option<Otherwise> {
        match (self.country(address), &self.list) {
            (None, _) => self.judge_unknown(),
            (Some(country), CountryList::Allow(list)) => {
                Some(if list.contains(&country) { Otherwise::Allow } else { Otherwise::Deny })
            }
            (Some(country), CountryList::Deny(list)) => list.contains(&country).then_some(Otherwise::Deny),
        }
    }

    /// The same of an address that nobody knows.
    pub(super) fn judge_unknown(&self) -> Option<Otherwise> {
        Some(self.unknown).filter(|unknown| *unknown == Otherwise::Deny)
    }

    /// The country of an address, if the file has one.
    pub(super) fn country(&self, address: IpAddr) -> Option<[u8; 2]> {
        let found = self.reader.lookup(address.to_canonical()).ok()?;
        PLACES.into_iter().find_map(|place| {
            let letters = found.decode_path::<&str>(place).ok().flatten()?;
            parse(letters).ok()
        })
    }
}

/// The two letters of a country.
pub(crate) fn parse(text: &str) -> Result<[u8; 2], String> {
    match text.as_bytes() {
        [one, two] if one.is_ascii_alphabetic() && two.is_ascii_alphabetic() => {
            Ok([one.to_ascii_uppercase(), two.to_ascii_uppercase()])
        }
        _ => Err(format!("\"{text}\" is no country: write its two letters, such as FR or DE (ISO 3166-1)")),
    }
}
