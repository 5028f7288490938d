//! One line of the audit log: its form, its place in the chain, its signature.
//!
//! ```text
//! {"entry":{…},"hash":"…","n":17,"prev":"…"}                         one line, in the canonical form of JSON (RFC 8785)
//! {"entry":{…},"hash":"…","key":"…","n":18,"prev":"…","sig":"…"}     a signed one
//!
//! hash = SHA-256 of the line without "hash" and "sig"      prev = the hash of the line before; of the first, zeros
//! sig  = Ed25519, by "key", of "duologue audit" 0x00 hash  all of them in hexadecimal
//! ```
//!
//! The chain is of bytes: whoever verifies reads the frame from its end, whose parts have fixed lengths, and hashes what stands
//! there. What an entry says is only looked at where a line is signed. docs/AUDIT.md says the same to those who write a verifier.

use std::{fmt, str::FromStr};

use ring::{digest, signature};
use serde::Serialize;

use super::key::Key;

/// The longest line, in bytes, without its end: what the server writes is far below.
pub(super) const LINE_LEN_MAX: usize = 16 * 1_024;
/// What a signature begins with, so that it can be of nothing else.
const SIGNED: &[u8] = b"duologue audit\0";

const HEX_LEN: usize = 64;
const SIG_HEX_LEN: usize = 128;

/// SHA-256 of a line, or an Ed25519 key: 32 bytes that are told in hexadecimal.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Hash(pub(super) [u8; 32]);

/// The public half of a key that signs the audit log.
pub type AuditKey = Hash;

impl Hash {
    /// What the first line names as the one before it.
    pub(super) const ZERO: Self = Self([0; 32]);
}

impl fmt::Display for Hash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&hex::encode(self.0))
    }
}

impl fmt::Debug for Hash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl FromStr for Hash {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        unhex(text.trim().as_bytes()).map(Self).ok_or_else(|| {
            "64 digits of lowercase hexadecimal are needed, as `duologue audit key` and `audit head` print them"
                .to_owned()
        })
    }
}

/// A place in the log that is kept elsewhere: which entry stands there, by its hash.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Head {
    /// The entry's number, from 1.
    pub n: u64,
    /// Its hash.
    pub hash: Hash,
}

impl fmt::Display for Head {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.n, self.hash)
    }
}

impl FromStr for Head {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = || {
            "a head is a number, a colon and 64 digits of hexadecimal, as `duologue audit head` prints it".to_owned()
        };
        let (n, hash) = text.trim().split_once(':').ok_or_else(wrong)?;
        let n = n.parse().ok().filter(|n| *n > 0).ok_or_else(wrong)?;
        Ok(Self { n, hash: hash.parse().map_err(|_| wrong())? })
    }
}

/// A line as it was read: the frame is right, and nothing else is known of it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Line<'a> {
    /// JSON, as far as anybody has looked.
    pub(super) entry: &'a [u8],
    pub(super) n: u64,
    pub(super) prev: Hash,
    /// What the line says that its hash is.
    pub(super) said: Hash,
    pub(super) signed: Option<Signed>,
}

/// By whom a line says that it is signed, and how. The hash covers the key, so that a signature cannot be taken off.
#[derive(Clone, Copy, Debug)]
pub(super) struct Signed {
    pub(super) key: AuditKey,
    sig: [u8; 64],
}

impl<'a> Line<'a> {
    /// Reads the frame, from its end; none if it is not the one that is written here, byte by byte.
    pub(super) fn parse(line: &'a [u8]) -> Option<Self> {
        let rest = line.strip_suffix(b"\"}")?;
        // An entry cannot end so: behind it stands "prev".
        let (rest, sig) = match split_end(rest, b",\"sig\":\"", SIG_HEX_LEN) {
            Some((rest, sig)) => (rest.strip_suffix(b"\"")?, Some(unhex(sig)?)),
            None => (rest, None),
        };
        let (rest, prev) = split_end(rest, b",\"prev\":\"", HEX_LEN)?;
        let digits = rest.iter().rev().take_while(|byte| byte.is_ascii_digit()).count();
        let (rest, n) = rest.split_at_checked(rest.len().checked_sub(digits)?)?;
        let rest = rest.strip_suffix(b"\",\"n\":")?;
        let (rest, signed) = match sig {
            Some(sig) => {
                let (rest, key) = split_end(rest, b",\"key\":\"", HEX_LEN)?;
                (rest.strip_suffix(b"\"")?, Some(Signed { key: Hash(unhex(key)?), sig }))
            }
            None => (rest, None),
        };
        let (rest, said) = split_end(rest, b",\"hash\":\"", HEX_LEN)?;
        let entry = rest.strip_prefix(b"{\"entry\":")?;
        if n.first() == Some(&b'0') {
            return None;
        }
        let n = std::str::from_utf8(n).ok()?.parse().ok()?;
        Some(Self { entry, n, prev: Hash(unhex(prev)?), said: Hash(unhex(said)?), signed })
    }

    /// The hash that it has.
    pub(super) fn hash(&self) -> Hash {
        hash_of(self.entry, self.signed.map(|signed| signed.key), self.n, self.prev)
    }

    /// Whether it is signed by the key that it names, and it names this one.
    pub(super) fn is_signed_by(&self, key: &AuditKey) -> bool {
        self.signed.is_some_and(|signed| {
            let public = signature::UnparsedPublicKey::new(&signature::ED25519, key.0);
            signed.key == *key && public.verify(&to_sign(&self.said), &signed.sig).is_ok()
        })
    }
}

/// A line that is to be written, without its end, and its hash.
pub(super) fn write(entry: &impl Serialize, n: u64, prev: Hash, key: Option<&Key>) -> (Vec<u8>, Hash) {
    let entry = serde_json_canonicalizer::to_vec(entry).expect("texts and numbers are JSON");
    let public = key.map(Key::public);
    let hash = hash_of(&entry, public, n, prev);
    let mut line = b"{\"entry\":".to_vec();
    line.extend_from_slice(&entry);
    line.extend_from_slice(format!(",\"hash\":\"{hash}\"{}", place(public, n, prev)).as_bytes());
    if let Some(key) = key {
        line.extend_from_slice(format!(",\"sig\":\"{}\"", hex::encode(key.sign(&to_sign(&hash)))).as_bytes());
    }
    line.push(b'}');
    (line, hash)
}

/// What stands in a line between its hash and its signature.
fn place(key: Option<AuditKey>, n: u64, prev: Hash) -> String {
    match key {
        Some(key) => format!(",\"key\":\"{key}\",\"n\":{n},\"prev\":\"{prev}\""),
        None => format!(",\"n\":{n},\"prev\":\"{prev}\""),
    }
}

fn hash_of(entry: &[u8], key: Option<AuditKey>, n: u64, prev: Hash) -> Hash {
    let mut context = digest::Context::new(&digest::SHA256);
    context.update(b"{\"entry\":");
    context.update(entry);
    context.update(place(key, n, prev).as_bytes());
    context.update(b"}");
    let mut hash = [0; 32];
    hash.copy_from_slice(context.finish().as_ref());
    Hash(hash)
}

/// SHA-256 of bytes that are no line.
pub(super) fn digest(bytes: &[u8]) -> Hash {
    let mut hash = [0; 32];
    hash.copy_from_slice(digest::digest(&digest::SHA256, bytes).as_ref());
    Hash(hash)
}

fn to_sign(hash: &Hash) -> Vec<u8> {
    [SIGNED, &hash.0].concat()
}

/// What ends with a word and so many bytes: before the word, and those.
fn split_end<'a>(bytes: &'a [u8], word: &[u8], len: usize) -> Option<(&'a [u8], &'a [u8])> {
    let (rest, end) = bytes.split_at_checked(bytes.len().checked_sub(len)?)?;
    Some((rest.strip_suffix(word)?, end))
}

/// Lowercase only: there is one way to write each line.
fn unhex<const N: usize>(text: &[u8]) -> Option<[u8; N]> {
    let mut bytes = [0; N];
    let is_lowercase = text.iter().all(|byte| byte.is_ascii_digit() || (b'a'..=b'f').contains(byte));
    (is_lowercase && hex::decode_to_slice(text, &mut bytes).is_ok()).then_some(bytes)
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn key() -> (tempfile::TempDir, Key) {
        let directory = tempfile::tempdir().expect("a temporary directory");
        let key = super::super::key::Keys::of(directory.path()).begin().expect("made");
        (directory, key)
    }

    #[test]
    fn a_line_is_one_canonical_json_and_is_read_as_it_was_written() {
        let entry = json!({ "kind": "x", "at": "now", "note": "\u{8}\n\"\\/é\u{7f}\u{2028}😀", "count": 3 });
        let (_directory, key) = key();
        for key in [None, Some(&key)] {
            let (line, hash) = write(&entry, 17, Hash([0xab; 32]), key);
            let value: Value = serde_json::from_slice(&line).expect("JSON");
            // Its own parts, and the whole, are what RFC 8785 makes of them.
            assert_eq!(serde_json_canonicalizer::to_vec(&value).expect("JSON"), line);
            let mut unsigned = value.clone();
            let members = unsigned.as_object_mut().expect("an object");
            members.remove("hash");
            members.remove("sig");
            assert_eq!(digest(&serde_json_canonicalizer::to_vec(&unsigned).expect("JSON")), hash);
            let read = Line::parse(&line).expect("a line");
            assert_eq!((read.n, read.prev, read.said, read.hash()), (17, Hash([0xab; 32]), hash, hash));
            assert_eq!(serde_json::from_slice::<Value>(read.entry).expect("JSON"), entry);
            assert_eq!(read.signed.map(|signed| signed.key), key.map(Key::public));
            assert!(key.is_none_or(|key| read.is_signed_by(&key.public())));
        }
    }

    /// RFC 8785, sections 3.2.2 and 3.2.3: the library's output beside the document's.
    #[test]
    fn the_canonical_form_is_that_of_rfc_8785() {
        let value: Value = serde_json::from_str(
            r#"{"numbers":[333333333.33333329,1E30,4.50,2e-3,0.000000000000000000000000001],
                "string":"\u20ac$\u000F\u000aA'\u0042\u0022\u005c\\\"\/","literals":[null,true,false]}"#,
        )
        .expect("JSON");
        let text = "{\"literals\":[null,true,false],\"numbers\":[333333333.3333333,1e+30,4.5,0.002,1e-27],\
                    \"string\":\"€$\\u000f\\nA'B\\\"\\\\\\\\\\\"/\"}";
        assert_eq!(serde_json_canonicalizer::to_string(&value).expect("JSON"), text);
        // By UTF-16, where an emoji stands before U+FB33.
        let keys = json!({ "\u{20ac}": 1, "\r": 2, "\u{fb33}": 3, "1": 4, "\u{1f600}": 5, "\u{80}": 6, "ö": 7 });
        let text = "{\"\\r\":2,\"1\":4,\"\u{80}\":6,\"ö\":7,\"€\":1,\"😀\":5,\"\u{fb33}\":3}";
        assert_eq!(serde_json_canonicalizer::to_string(&keys).expect("JSON"), text);
    }

    #[test]
    fn there_is_one_way_to_write_a_line() {
        let (_directory, key) = key();
        let (line, _) = write(&json!({ "kind": "x" }), 17, Hash([0xab; 32]), Some(&key));
        let text = String::from_utf8(line).expect("a text");
        assert!(Line::parse(text.as_bytes()).is_some());
        for (from, to) in [
            ("\"n\":17", "\"n\":017"),
            ("\"n\":17", "\"n\": 17"),
            ("\"n\":17", "\"n\":+17"),
            ("\"n\":17", "\"n\":"),
            ("\"n\":17", "\"n\":99999999999999999999"),
            ("abab", "abaB"),
            ("abab", "aba"),
            ("\"key\"", "\"kEy\""),
            ("{\"entry\"", "{ \"entry\""),
            ("\"sig\"", "\"sIg\""),
        ] {
            let other = text.replacen(from, to, 1);
            assert!(other != text && Line::parse(other.as_bytes()).is_none(), "{other}");
        }
        for end in ["\" }", "\"} ", "\"}}", "\"}\n"] {
            assert!(Line::parse(format!("{}{end}", &text[..text.len() - 2]).as_bytes()).is_none());
        }
        for end in 0..text.len() {
            assert!(Line::parse(&text.as_bytes()[..end]).is_none());
        }
        // A signature cannot be taken off a line, nor put on one.
        let (unsigned, sig) = text.split_once(",\"sig\"").expect("signed");
        assert!(Line::parse(format!("{unsigned}}}").as_bytes()).is_none());
        let key_alone = format!(",\"key\":\"{}\"", key.public());
        assert!(Line::parse(text.replacen(&key_alone, "", 1).as_bytes()).is_none(), "{sig}");
        let neither = format!("{}}}", unsigned.replacen(&key_alone, "", 1));
        assert!(Line::parse(neither.as_bytes()).is_some_and(|line| line.signed.is_none() && line.hash() != line.said));
    }

    #[test]
    fn a_head_and_a_key_are_read_as_they_are_printed() {
        let head = Head { n: 9, hash: Hash([0xef; 32]) };
        assert_eq!(head.to_string().parse(), Ok(head));
        for bad in ["", ":", "9", "0:00", "9:ef", &format!("0:{}", head.hash), &format!("9:{}", "EF".repeat(32))] {
            assert!(bad.parse::<Head>().is_err(), "{bad}");
        }
        assert!("zz".parse::<Hash>().is_err_and(|error| error.contains("64 digits")));
    }
}
