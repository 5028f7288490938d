//! What a client shows of its person beside the device key, and what the server tells of it.
//!
//! ```text
//! EVIDENCE  [0x07 in a record behind AUTH, 0x17 as a frame] ‖ kind 1 ‖ number 4 ‖ length 2 ‖ data ‖ zeros to 2, 4 or 8 KiB
//! STANDING  [0x18 as a frame; in AUTH_OK behind the services] ‖ level 1 ‖ flags 1 ‖ evidence 4 ‖ seconds 4
//!           ‖ refused (1 + n) ‖ subject (1 + n)
//! ```
//!
//! Evidence is numbered within its session, from 1. A kind that is not known proves nothing. What a token says, and whether it
//! is good, is the application's to judge.

use core::fmt;

#[cfg(feature = "server")]
use alloc::string::String;
use alloc::vec::Vec;

use crate::{
    codec::Reader,
    error::InvalidMessage,
    limits::{EVIDENCE_BUCKET_MIN, EVIDENCE_HEADER_LEN, EVIDENCE_LEN_MAX},
};
#[cfg(feature = "server")]
use crate::{
    codec::put_text,
    limits::{REFUSED_LEN_MAX, SUBJECT_LEN_MAX},
};

/// Wiped when dropped, but for a page: JavaScript has the token there, and wipes nothing.
#[cfg(feature = "server")]
type Data = zeroize::Zeroizing<Vec<u8>>;
#[cfg(not(feature = "server"))]
type Data = Vec<u8>;

#[cfg(feature = "server")]
fn kept(data: Vec<u8>) -> Data {
    zeroize::Zeroizing::new(data)
}
#[cfg(not(feature = "server"))]
const fn kept(data: Vec<u8>) -> Data {
    data
}

/// The type of a frame.
pub(crate) const FRAME_EVIDENCE: u8 = 0x17;

/// The type of a record behind AUTH.
const TYPE_EVIDENCE: u8 = 0x07;

/// In the flags of STANDING: newer evidence is wanted.
#[cfg(feature = "server")]
const STANDING_WANTS: u8 = 0x01;

/// What evidence is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum EvidenceKind {
    /// A token that somebody has signed whom the server's owner trusts, as that one has written it.
    Token = 1,
    /// No proof at all: the person signs out, and nothing that was shown before counts any more. Its data is one byte, 0.
    SignOut = 2,
}

impl EvidenceKind {
    /// None of a number that is not known here.
    #[must_use]
    pub const fn from_wire(number: u8) -> Option<Self> {
        match number {
            1 => Some(Self::Token),
            2 => Some(Self::SignOut),
            _ => None,
        }
    }
}

/// What a client shows of its person. Hidden from `Debug`: whoever has a token may use it.
#[derive(Clone, PartialEq, Eq)]
pub struct Evidence {
    /// What it is.
    pub kind: EvidenceKind,
    /// Which of its session, as the client counts them from 1.
    pub number: u32,
    data: Data,
}

impl Evidence {
    /// None if it is empty or longer than 8,184 bytes.
    pub(crate) fn new(kind: EvidenceKind, number: u32, data: Vec<u8>) -> Option<Self> {
        (!data.is_empty() && data.len() <= EVIDENCE_LEN_MAX).then_some(Self { kind, number, data: kept(data) })
    }

    /// What is shown.
    #[must_use]
    pub fn data(&self) -> &[u8] {
        &self.data
    }

    /// How it is written.
    pub(crate) fn shown(&self) -> Shown<'_> {
        Shown { kind: self.kind as u8, number: self.number, data: &self.data }
    }
}

impl fmt::Debug for Evidence {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Evidence({:?} {}, {} bytes)", self.kind, self.number, self.data.len())
    }
}

/// Evidence of any kind, as it is on the wire behind its type.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) struct Shown<'a> {
    pub(crate) kind: u8,
    pub(crate) number: u32,
    pub(crate) data: &'a [u8],
}

impl<'a> Shown<'a> {
    /// What it fills with its type: a bucket, so that its length says little.
    pub(crate) const fn len(&self) -> usize {
        bucket(self.data.len())
    }

    /// Behind its type, to the end of its bucket.
    fn encode(&self, out: &mut Vec<u8>) {
        let end = out.len() + self.len() - 1;
        out.push(self.kind);
        out.extend_from_slice(&self.number.to_be_bytes());
        out.extend_from_slice(&u16::try_from(self.data.len()).expect("at most 8,184 bytes").to_be_bytes());
        out.extend_from_slice(self.data);
        out.resize(end, 0);
    }

    /// A frame, with its type.
    pub(crate) fn encode_frame(&self, out: &mut Vec<u8>) {
        out.push(FRAME_EVIDENCE);
        self.encode(out);
    }

    /// A record behind AUTH.
    pub(crate) fn encode_record(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(self.len());
        out.push(TYPE_EVIDENCE);
        self.encode(&mut out);
        out
    }

    pub(crate) fn decode(reader: &mut Reader<'a>) -> Result<Self, InvalidMessage> {
        let (kind, number, len) = (reader.u8()?, reader.u32()?, usize::from(reader.u16()?));
        if len > EVIDENCE_LEN_MAX {
            return Err(InvalidMessage::TooLong);
        }
        if number == 0 || len == 0 {
            return Err(InvalidMessage::UnknownValue);
        }
        let data = reader.take(len)?;
        let padding = reader.take(bucket(len) - EVIDENCE_HEADER_LEN - len)?;
        Reader::new(padding).finish_padded()?;
        Ok(Self { kind, number, data })
    }

    pub(crate) fn decode_record(plaintext: &'a [u8]) -> Result<Self, InvalidMessage> {
        let mut reader = Reader::new(plaintext);
        match reader.u8()? {
            TYPE_EVIDENCE => {}
            other => return Err(InvalidMessage::UnknownType(other)),
        }
        let shown = Self::decode(&mut reader)?;
        reader.finish()?;
        Ok(shown)
    }

    /// As its application gets it; none if its kind is not known here.
    pub(crate) fn known(&self) -> Option<Evidence> {
        Evidence::new(EvidenceKind::from_wire(self.kind)?, self.number, self.data.to_vec())
    }
}

impl fmt::Debug for Shown<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Shown({} {}, {} bytes)", self.kind, self.number, self.data.len())
    }
}

/// The least of the lengths that holds so many bytes behind a header: 2, 4 or 8 KiB.
const fn bucket(len: usize) -> usize {
    let needed = (EVIDENCE_HEADER_LEN + len).next_power_of_two();
    if needed < EVIDENCE_BUCKET_MIN { EVIDENCE_BUCKET_MIN } else { needed }
}

/// A standing as it was told. A page reads it in JavaScript.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Told(pub(crate) Vec<u8>);

impl Told {
    #[cfg(feature = "server")]
    pub(crate) fn of(standing: &Standing) -> Self {
        let mut out = Vec::new();
        standing.encode(&mut out);
        Self(out)
    }

    /// Its bytes: level, flags and so on.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    /// What it says.
    #[cfg(feature = "server")]
    #[must_use]
    pub fn standing(&self) -> Standing {
        // It was read before it was kept.
        Standing::decode(&mut Reader::new(&self.0)).unwrap_or_default()
    }

    /// The bytes of one that is well-formed, as far as it concerns this end.
    pub(crate) fn read<'a>(reader: &mut Reader<'a>) -> Result<&'a [u8], InvalidMessage> {
        let start = *reader;
        #[cfg(feature = "server")]
        Standing::decode(reader)?;
        #[cfg(not(feature = "server"))]
        {
            reader.take(STANDING_HEADER_LEN)?;
            for _ in 0..2 {
                let len = reader.u8()?;
                reader.take(len.into())?;
            }
        }
        Ok(start.until(reader))
    }
}

/// The subject that a standing names, which may be empty; what follows the standing is not looked at.
pub(crate) fn subject_of(told: &[u8]) -> &[u8] {
    let mut reader = Reader::new(told);
    let mut read = || {
        reader.take(STANDING_HEADER_LEN)?;
        let refused_len = reader.u8()?;
        reader.take(refused_len.into())?;
        let len = reader.u8()?;
        reader.take(len.into())
    };
    read().unwrap_or_default()
}

/// Level, flags, evidence and seconds.
const STANDING_HEADER_LEN: usize = 10;

/// How sure the server is of the person, as it tells the client.
#[cfg(feature = "server")]
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Standing {
    /// 0 a guest, 1 a device that was let in, 2 somebody whom the owner's accounts name, 3 somebody who is present.
    pub level: u8,
    /// Who it is, as the owner names them; empty if nobody is named. At most 128 bytes.
    pub subject: String,
    /// Seconds from when it was told, after which it falls; none if it does not by itself.
    pub secs: Option<u32>,
    /// The number of the newest evidence that it was judged by; 0 if by none.
    pub evidence: u32,
    /// Newer evidence is wanted: what there is ends soon, has ended, or was not taken. A client asks its person, or its
    /// application, once for what it has shown, on each connection.
    pub wants_evidence: bool,
    /// Why the newest evidence has raised nothing, as a word; empty if it has, or if there was none. At most 32 bytes.
    pub refused: String,
}

#[cfg(feature = "server")]
impl Standing {
    /// Of a device of which nothing more is known than that it may come in at that level.
    #[must_use]
    pub fn of_level(level: u8) -> Self {
        Self { level, ..Self::default() }
    }

    pub(crate) fn encode(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(&[self.level, if self.wants_evidence { STANDING_WANTS } else { 0 }]);
        out.extend_from_slice(&self.evidence.to_be_bytes());
        // 0 says that there is no end: what has ended is told as what it has fallen to.
        out.extend_from_slice(&self.secs.map_or(0, |secs| secs.max(1)).to_be_bytes());
        put_text(out, &self.refused, REFUSED_LEN_MAX);
        put_text(out, &self.subject, SUBJECT_LEN_MAX);
    }

    pub(crate) fn decode(reader: &mut Reader<'_>) -> Result<Self, InvalidMessage> {
        let (level, flags) = (reader.u8()?, reader.u8()?);
        if flags & !STANDING_WANTS != 0 {
            return Err(InvalidMessage::ReservedBits);
        }
        Ok(Self {
            level,
            evidence: reader.u32()?,
            secs: Some(reader.u32()?).filter(|secs| *secs > 0),
            wants_evidence: flags != 0,
            refused: reader.text(REFUSED_LEN_MAX)?.into(),
            subject: reader.text(SUBJECT_LEN_MAX)?.into(),
        })
    }
}

#[cfg(test)]
mod tests {
    use alloc::{borrow::ToOwned, format};

    #[cfg(target_arch = "wasm32")]
    use wasm_bindgen_test::wasm_bindgen_test as test;

    use super::*;

    fn evidence(len: usize) -> Evidence {
        Evidence::new(EvidenceKind::Token, 0x0102_0304, alloc::vec![b'e'; len]).expect("it is not too long")
    }

    #[test]
    fn the_wire_form_of_evidence_and_standing_does_not_change() {
        let token = Evidence::new(EvidenceKind::Token, 3, b"eyJ".to_vec()).expect("short");
        let record = token.shown().encode_record();
        // type | kind | number | length | data | zeros
        assert_eq!(hex::encode(&record[..11]), "07 01 00000003 0003 65794a".replace(' ', ""));
        assert_eq!(record[11..], [0; 2_048 - 11]);

        let standing = Standing {
            level: 2,
            subject: "ann".to_owned(),
            secs: Some(300),
            evidence: 3,
            wants_evidence: true,
            refused: "x".to_owned(),
        };
        let mut out = Vec::new();
        standing.encode(&mut out);
        // level | flags | evidence | seconds | refused | subject
        assert_eq!(hex::encode(&out), "02 01 00000003 0000012c 0178 03616e6e".replace(' ', ""));
        assert_eq!(Standing::decode(&mut Reader::new(&out)), Ok(standing));
    }

    #[test]
    fn lengths_of_evidence_fall_into_three_buckets() {
        for (len, expected) in
            [(1, 2_048), (2_040, 2_048), (2_041, 4_096), (4_088, 4_096), (4_089, 8_192), (8_184, 8_192)]
        {
            let record = evidence(len).shown().encode_record();
            assert_eq!(record.len(), expected, "{len}");
            let shown = Shown::decode_record(&record).expect("what we write we read");
            assert_eq!(shown.known(), Some(evidence(len)));
        }
        assert_eq!(Evidence::new(EvidenceKind::Token, 1, alloc::vec![0; 8_185]), None);
        assert_eq!(Evidence::new(EvidenceKind::Token, 1, Vec::new()), None);
    }

    #[test]
    fn evidence_of_another_length_than_it_says_is_refused() {
        let good = evidence(2_000).shown().encode_record();
        let changed = |at: usize, bytes: &[u8]| {
            let mut bad = good.clone();
            bad[at..at + bytes.len()].copy_from_slice(bytes);
            Shown::decode_record(&bad).map(|_| ())
        };
        assert_eq!(changed(0, &[3]), Err(InvalidMessage::UnknownType(3)));
        assert_eq!(changed(2, &[0; 4]), Err(InvalidMessage::UnknownValue), "numbers begin at 1");
        assert_eq!(changed(6, &[0, 0]), Err(InvalidMessage::UnknownValue), "no evidence at all");
        assert_eq!(changed(6, &[0x1f, 0xf9]), Err(InvalidMessage::TooLong));
        assert_eq!(changed(6, &[0x07, 0xf9]), Err(InvalidMessage::Truncated), "a longer bucket");
        assert_eq!(changed(2_047, &[1]), Err(InvalidMessage::Padding));
        assert_eq!(changed(6, &[0x07, 0xcf]), Err(InvalidMessage::Padding), "a byte more than it says");
        assert_eq!(
            Shown::decode_record(&[good.clone(), [0].to_vec()].concat()).map(|_| ()),
            Err(InvalidMessage::Trailing)
        );
        for end in 0..good.len() {
            assert_eq!(Shown::decode_record(&good[..end]).map(|_| ()), Err(InvalidMessage::Truncated), "cut at {end}");
        }
    }

    #[test]
    fn a_kind_that_is_not_known_is_read_and_proves_nothing() {
        let mut later = evidence(5).shown().encode_record();
        later[1] = 0x2a;
        assert_eq!(Shown::decode_record(&later).expect("well-formed").known(), None);
    }

    #[test]
    fn a_standing_with_other_flags_or_longer_words_is_refused() {
        let decode = |hex: &str| Standing::decode(&mut Reader::new(&hex::decode(hex).expect("hex")));
        assert_eq!(decode("010000000000000000000000"), Ok(Standing::of_level(1)));
        assert_eq!(decode("010200000000000000000000"), Err(InvalidMessage::ReservedBits));
        assert_eq!(decode("0100000000000000000021"), Err(InvalidMessage::TooLong));
        assert_eq!(decode("010000000000000000000081"), Err(InvalidMessage::TooLong));
        assert_eq!(decode("010000000000000000"), Err(InvalidMessage::Truncated));
    }

    #[test]
    fn evidence_does_not_print_itself() {
        let token = Evidence::new(EvidenceKind::Token, 1, b"secret".to_vec()).expect("short");
        assert_eq!(format!("{token:?} {:?}", token.shown()), "Evidence(Token 1, 6 bytes) Shown(1 1, 6 bytes)");
    }
}
