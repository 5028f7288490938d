//! Record 0 in each direction: who the client is, and the server's verdict.
//!
//! ```text
//! AUTH     [0x03, flags, algorithm, SPKI length 2] ‖ SPKI ‖ signature 64 ‖ origin (2 + n) ‖ host (2 + n) ‖ name (1 + n)
//!          ‖ birth, or with flag bit 0 session 16 ‖ received 8 ‖ attempt 4 ‖ 1 + sent 8, or zeros ‖ ignored
//!          In bits 1 and 2 of the flags the number of EVIDENCE records that follow (evidence.rs)
//!          The attempt grows with each connection of a line that writes AUTH, so that an AUTH that was overtaken by a newer
//!          one takes nothing over
//! AUTH_OK  [0x04, flags 0] ‖ session 16 ‖ ticket id 16 ‖ ticket secret 32 ‖ ticket seconds 4 ‖ outcome 2 ‖ received 8
//!          ‖ 1 + number of services, 0 if they are not told ‖ each: label (1 + n) ‖ what is told of standing
//!          (evidence.rs) ‖ what is told of the server's keys, or zeros (succession.rs) ‖ ignored
//!          outcome: 0 new, 1 resumed, with the server's count; else why a session could not be resumed
//! CLOSE    [0x05] ‖ code 2 ‖ received 8 ‖ reason (2 + n) ‖ zeros
//! ```
//!
//! All three fill 1,024 bytes, so that neither the length of a name nor a refusal shows on the wire. What lies behind the
//! fields of AUTH and AUTH_OK is a later version's, and is ignored.

#[cfg(feature = "server")]
use alloc::boxed::Box;
use alloc::{string::String, vec::Vec};

#[cfg(feature = "server")]
use crate::handshake::{evidence::Standing, succession::ToldKeys};
use crate::{
    close::{Close, CloseCode, FreshReason},
    codec::{Reader, put_text},
    crypto::{Secret, SignatureAlgorithm},
    error::InvalidMessage,
    handshake::evidence::subject_of,
    ids::{Birth, SessionId, TicketId},
    limits::{
        CLOSE_REASON_LEN_MAX, DEVICE_NAME_LEN_MAX, EVIDENCE_MAX, KEYS_LEN, LABEL_LEN_MAX, ORIGIN_LEN_MAX, RECORD_0_LEN,
        STANDING_LEN_MAX,
    },
};

const TYPE_AUTH: u8 = 0x03;
const TYPE_AUTH_OK: u8 = 0x04;
const TYPE_CLOSE: u8 = 0x05;

/// In the flags of AUTH: a session is to be resumed.
const AUTH_RESUME: u8 = 0x01;
/// The number of EVIDENCE records stands from this bit on.
const AUTH_EVIDENCE_SHIFT: u8 = 1;

/// What AUTH_OK has room for behind its other fields.
const SERVICES_LEN_MAX: usize = RECORD_0_LEN - 80 - STANDING_LEN_MAX - KEYS_LEN;

const OUTCOME_NEW: u16 = 0;
const OUTCOME_RESUMED: u16 = 1;

/// The device's public half: what AUTH shows and the server remembers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DeviceKey {
    algorithm: SignatureAlgorithm,
    spki: Vec<u8>,
}

impl DeviceKey {
    /// A key in its `SubjectPublicKeyInfo` form (RFC 5280, 4.1).
    ///
    /// # Errors
    /// [`InvalidMessage::UnknownValue`] if it is not one of `algorithm`.
    pub fn new(algorithm: SignatureAlgorithm, spki: Vec<u8>) -> Result<Self, InvalidMessage> {
        if spki.len() != algorithm.spki_len() || !spki.starts_with(algorithm.spki_prefix()) {
            return Err(InvalidMessage::UnknownValue);
        }
        Ok(Self { algorithm, spki })
    }

    /// How it signs.
    #[must_use]
    pub const fn algorithm(&self) -> SignatureAlgorithm {
        self.algorithm
    }

    /// The key as `SubjectPublicKeyInfo`.
    #[must_use]
    pub fn spki(&self) -> &[u8] {
        &self.spki
    }
}

/// What the client merely says of itself: true only as far as the client is to be trusted.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Claims {
    /// The page's origin as the browser told it; empty for a native client.
    pub origin: String,
    /// Host and port that the client opened.
    pub host: String,
    /// The device's name for itself.
    pub name: String,
}

/// The session that a client wants to go on with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Resume {
    /// Which.
    pub session_id: SessionId,
    /// Counted frames that the client has received in it.
    pub received: u64,
    /// Counted frames of its own that it has ever sealed in it, if it tells.
    pub sent: Option<u64>,
}

/// The session that AUTH speaks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wanted {
    /// One that no AUTH_OK has named yet. A server that has one of this device with the same birth has sent an AUTH_OK that
    /// was lost: it goes on.
    Born(Birth),
    /// One that was open before.
    Resume(Resume),
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Auth {
    pub(crate) device: DeviceKey,
    pub(crate) signature: [u8; 64],
    pub(crate) claims: Claims,
    pub(crate) wanted: Wanted,
    /// Which connection of the line this is, counted from 1.
    pub(crate) attempt: u32,
    /// How many EVIDENCE records follow.
    pub(crate) evidence: u8,
}

impl Auth {
    pub(crate) fn encode(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(RECORD_0_LEN);
        let (flags, id, received, sent) = match self.wanted {
            Wanted::Born(birth) => (0, birth.0, 0, None),
            Wanted::Resume(resume) => (AUTH_RESUME, resume.session_id.0, resume.received, resume.sent),
        };
        let flags = flags | self.evidence << AUTH_EVIDENCE_SHIFT;
        out.extend_from_slice(&[TYPE_AUTH, flags, self.device.algorithm as u8]);
        out.extend_from_slice(
            &u16::try_from(self.device.spki.len()).expect("an SPKI has 91 bytes at most").to_be_bytes(),
        );
        out.extend_from_slice(&self.device.spki);
        out.extend_from_slice(&self.signature);
        put_text(&mut out, &self.claims.origin, ORIGIN_LEN_MAX);
        put_text(&mut out, &self.claims.host, ORIGIN_LEN_MAX);
        put_text(&mut out, &self.claims.name, DEVICE_NAME_LEN_MAX);
        out.extend_from_slice(&id);
        out.extend_from_slice(&received.to_be_bytes());
        out.extend_from_slice(&self.attempt.to_be_bytes());
        out.extend_from_slice(&sent.map_or(0, |sent| sent.saturating_add(1)).to_be_bytes());
        padded(out)
    }

    pub(crate) fn decode(plaintext: &[u8]) -> Result<Self, InvalidMessage> {
        let mut reader = record_0(plaintext)?;
        match reader.u8()? {
            TYPE_AUTH => {}
            other => return Err(InvalidMessage::UnknownType(other)),
        }
        // Not ignored: a flag says how to read what follows.
        let flags = reader.u8()?;
        let (resumes, evidence) = (flags & AUTH_RESUME, flags >> AUTH_EVIDENCE_SHIFT);
        if evidence > EVIDENCE_MAX {
            return Err(InvalidMessage::ReservedBits);
        }
        let algorithm = SignatureAlgorithm::from_wire(reader.u8()?).ok_or(InvalidMessage::UnknownValue)?;
        let len = usize::from(reader.u16()?);
        let device = DeviceKey::new(algorithm, reader.take(len)?.to_vec())?;
        let signature = reader.array()?;
        let claims = Claims {
            origin: reader.text(ORIGIN_LEN_MAX)?.into(),
            host: reader.text(ORIGIN_LEN_MAX)?.into(),
            name: reader.text(DEVICE_NAME_LEN_MAX)?.into(),
        };
        let (name, received, attempt) = (reader.array()?, reader.u64()?, reader.u32()?);
        let wanted = match (resumes, received) {
            (0, 0) => Wanted::Born(Birth(name)),
            (0, _) => return Err(InvalidMessage::UnknownValue),
            _ => Wanted::Resume(Resume { session_id: SessionId(name), received, sent: reader.u64()?.checked_sub(1) }),
        };
        Ok(Self { device, signature, claims, wanted, attempt, evidence })
    }
}

/// A secret that lets the same device come back with more than its key alone.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ticket {
    /// What M1 calls it.
    pub id: TicketId,
    /// The pre-shared key of the next handshake.
    pub secret: Secret,
    /// Seconds for which it is good.
    pub lifetime_secs: u32,
}

/// What became of the session that a client may have wanted to resume.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// None was asked for: here is a new one.
    New,
    /// It goes on; the server has received so many of the client's counted frames.
    Resumed {
        /// See above.
        received: u64,
    },
    /// It cannot: here is a new one.
    Fresh(FreshReason),
}

/// What a server grants with AUTH_OK.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Grant {
    /// The session.
    pub session_id: SessionId,
    /// New, resumed, or new against the client's wish.
    pub outcome: Outcome,
    /// How sure the server is of the person. For a page it is among the bytes of `services`, which JavaScript reads.
    #[cfg(feature = "server")]
    pub standing: Standing,
    /// What the owner has signed of the server's keys, if there is an owner's key. A page reads it from the same bytes.
    #[cfg(feature = "server")]
    pub keys: Option<Box<ToldKeys>>,
    /// For the next connection.
    pub ticket: Ticket,
    /// What the server answers for this device.
    pub services: Services,
    /// Whom the standing names, which is not read here otherwise.
    #[cfg(not(feature = "server"))]
    pub(crate) subject: Vec<u8>,
}

impl Grant {
    /// Whom it names; empty if nobody.
    pub(crate) fn subject(&self) -> &[u8] {
        #[cfg(feature = "server")]
        return self.standing.subject.as_bytes();
        #[cfg(not(feature = "server"))]
        &self.subject
    }
}

/// The labels of services, as AUTH_OK tells them: their number and one, then each behind its length; or that they are not told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Services(Vec<u8>);

impl Services {
    /// They are not told.
    pub const UNTOLD: Self = Self(Vec::new());

    /// All of them; or, where they do not fit, that they are not told: a part would read as the whole.
    #[must_use]
    pub fn told<'a>(labels: impl IntoIterator<Item = &'a str>) -> Self {
        let (mut out, mut count) = (Vec::from([0]), 1_usize);
        for label in labels {
            put_text(&mut out, label, LABEL_LEN_MAX);
            count += 1;
        }
        let fits = out.len() <= SERVICES_LEN_MAX;
        match (u8::try_from(count), out.first_mut()) {
            (Ok(count), Some(first)) if fits => {
                *first = count;
                Self(out)
            }
            _ => Self::UNTOLD,
        }
    }

    /// The labels; none if they are not told.
    #[must_use]
    pub fn labels(&self) -> Option<Vec<&str>> {
        let mut reader = Reader::new(&self.0);
        let count = reader.u8().ok()?.checked_sub(1)?;
        (0..count).map(|_| reader.text(LABEL_LEN_MAX).ok()).collect()
    }

    /// As AUTH_OK has them; empty if they are not told.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    /// With the subject of the standing behind them.
    fn read<'a>(reader: &mut Reader<'a>) -> Result<(Self, &'a [u8]), InvalidMessage> {
        let start = *reader;
        let count = reader.u8()?;
        for _ in 1..count {
            reader.text(LABEL_LEN_MAX)?;
        }
        let subject = if cfg!(feature = "server") { &[] } else { subject_of(reader.until(&Reader::new(&[]))) };
        // A page reads what is behind them, too.
        if cfg!(not(feature = "server")) {
            *reader = Reader::new(&[]);
        }
        let services =
            if count == 0 && cfg!(feature = "server") { Self::UNTOLD } else { Self(start.until(reader).to_vec()) };
        Ok((services, subject))
    }
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    Ok(Grant),
    Close(Close),
}

impl Verdict {
    pub(crate) fn encode(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(RECORD_0_LEN);
        match self {
            Self::Ok(grant) => {
                out.extend_from_slice(&[TYPE_AUTH_OK, 0]);
                out.extend_from_slice(&grant.session_id.0);
                out.extend_from_slice(&grant.ticket.id.0);
                out.extend_from_slice(grant.ticket.secret.expose());
                out.extend_from_slice(&grant.ticket.lifetime_secs.to_be_bytes());
                let (outcome, received) = match grant.outcome {
                    Outcome::New => (OUTCOME_NEW, 0),
                    Outcome::Resumed { received } => (OUTCOME_RESUMED, received),
                    Outcome::Fresh(reason) => (reason.to_wire(), 0),
                };
                out.extend_from_slice(&outcome.to_be_bytes());
                out.extend_from_slice(&received.to_be_bytes());
                // None is told by a zero, behind which the standing has its place all the same.
                out.extend_from_slice(if grant.services.0.is_empty() { &[0][..] } else { grant.services.as_bytes() });
                #[cfg(feature = "server")]
                {
                    grant.standing.encode(&mut out);
                    grant.keys.iter().for_each(|keys| keys.encode(&mut out));
                }
            }
            Self::Close(close) => {
                out.push(TYPE_CLOSE);
                put_close(&mut out, close);
            }
        }
        padded(out)
    }

    pub(crate) fn decode(plaintext: &[u8]) -> Result<Self, InvalidMessage> {
        let mut reader = record_0(plaintext)?;
        let verdict = match reader.u8()? {
            TYPE_AUTH_OK => {
                reader.reserved()?;
                let session_id = SessionId(reader.array()?);
                let ticket = Ticket {
                    id: TicketId(reader.array()?),
                    secret: Secret::new(reader.array()?),
                    lifetime_secs: reader.u32()?,
                };
                let outcome = match (reader.u16()?, reader.u64()?) {
                    (OUTCOME_NEW, 0) => Outcome::New,
                    (OUTCOME_RESUMED, received) => Outcome::Resumed { received },
                    (OUTCOME_NEW, _) => return Err(InvalidMessage::UnknownValue),
                    (reason, 0) => Outcome::Fresh(FreshReason::from_wire(reason)),
                    _ => return Err(InvalidMessage::UnknownValue),
                };
                #[cfg_attr(feature = "server", expect(unused_variables, reason = "the standing has it"))]
                let (services, subject) = Services::read(&mut reader)?;
                #[cfg(feature = "server")]
                let (standing, keys) = (Standing::decode(&mut reader)?, ToldKeys::decode(&mut reader)?.map(Box::new));
                Self::Ok(Grant {
                    session_id,
                    outcome,
                    #[cfg(feature = "server")]
                    standing,
                    #[cfg(feature = "server")]
                    keys,
                    ticket,
                    services,
                    #[cfg(not(feature = "server"))]
                    subject: subject.to_vec(),
                })
            }
            TYPE_CLOSE => {
                let close = read_close(&mut reader)?;
                reader.finish_padded()?;
                Self::Close(close)
            }
            other => return Err(InvalidMessage::UnknownType(other)),
        };
        Ok(verdict)
    }
}

/// The body of CLOSE, in record 0 as in a frame.
pub(crate) fn put_close(out: &mut Vec<u8>, close: &Close) {
    out.extend_from_slice(&close.code.to_wire().to_be_bytes());
    out.extend_from_slice(&close.received.to_be_bytes());
    put_text(out, &close.reason, CLOSE_REASON_LEN_MAX);
}

pub(crate) fn read_close(reader: &mut Reader<'_>) -> Result<Close, InvalidMessage> {
    Ok(Close {
        code: CloseCode::from_wire(reader.u16()?),
        received: reader.u64()?,
        reason: reader.text(CLOSE_REASON_LEN_MAX)?.into(),
    })
}

fn record_0(plaintext: &[u8]) -> Result<Reader<'_>, InvalidMessage> {
    match plaintext.len() {
        RECORD_0_LEN => Ok(Reader::new(plaintext)),
        len if len < RECORD_0_LEN => Err(InvalidMessage::Truncated),
        _ => Err(InvalidMessage::Trailing),
    }
}

fn padded(mut out: Vec<u8>) -> Vec<u8> {
    debug_assert!(out.len() <= RECORD_0_LEN, "the fields' bounds add up to {} bytes", out.len());
    out.resize(RECORD_0_LEN, 0);
    out
}

#[cfg(test)]
mod tests {
    use alloc::{borrow::ToOwned, vec};

    #[cfg(target_arch = "wasm32")]
    use wasm_bindgen_test::wasm_bindgen_test as test;

    use super::*;
    use crate::{
        handshake::succession::KeyStatement,
        ids::{OwnerKey, ServerKey},
    };

    fn device() -> DeviceKey {
        let spki = [SignatureAlgorithm::Ed25519.spki_prefix(), &[0xdd; 32]].concat();
        DeviceKey::new(SignatureAlgorithm::Ed25519, spki).expect("it has the prefix and the length")
    }

    fn auth() -> Auth {
        let claims = Claims { origin: "https://a".to_owned(), host: "b".to_owned(), name: "c".to_owned() };
        Auth {
            device: device(),
            signature: [0xee; 64],
            claims,
            wanted: Wanted::Born(Birth([0xbb; 16])),
            attempt: 1,
            evidence: 0,
        }
    }

    fn grant() -> Grant {
        let ticket = Ticket { id: TicketId([2; 16]), secret: Secret::new([3; 32]), lifetime_secs: 0x0102_0304 };
        let services = Services::told(["echo", "h"]);
        let standing = Standing { evidence: 5, subject: "ann".to_owned(), ..Standing::of_level(2) };
        Grant {
            session_id: SessionId([1; 16]),
            outcome: Outcome::Resumed { received: 7 },
            standing,
            ticket,
            services,
            keys: None,
        }
    }

    #[test]
    fn the_wire_form_of_record_0_does_not_change() {
        let expected_auth = [
            "03000100 2c".replace(' ', ""),                           // AUTH, flags, Ed25519, 44 bytes
            "302a300506032b6570032100".to_owned() + &"dd".repeat(32), // SPKI
            "ee".repeat(64),                                          // signature
            "0009".to_owned() + &hex::encode("https://a"),            // origin
            "0001".to_owned() + &hex::encode("b"),                    // host
            "01".to_owned() + &hex::encode("c"),                      // name
        ]
        .concat();
        let born = expected_auth.clone() + &"bb".repeat(16) + "0000000000000000" + "00000001"; // birth, received, attempt
        let encoded = hex::encode(auth().encode());
        assert!(encoded.starts_with(&born), "{encoded}");
        assert_eq!(Auth::decode(&auth().encode()), Ok(auth()));

        let expected = [
            "0400",
            &"01".repeat(16),
            &"02".repeat(16),
            &"03".repeat(32),
            "01020304",
            "0001",
            "0000000000000007",
            "03",         // two services
            "046563686f", // echo
            "0168",       // h
            "0200",       // level, flags of the standing
            "00000005",   // the evidence that it was judged by
            "00000000",   // no end
            "00",         // nothing was refused
            "03616e6e",   // subject
        ]
        .concat();
        let ok = Verdict::Ok(grant());
        assert!(hex::encode(ok.encode()).starts_with(&expected));
        assert_eq!(Verdict::decode(&ok.encode()), Ok(ok));

        for outcome in [Outcome::New, Outcome::Fresh(FreshReason::Evicted)] {
            let ok = Verdict::Ok(Grant { outcome, ..grant() });
            assert_eq!(Verdict::decode(&ok.encode()), Ok(ok));
        }
        let wanted = Wanted::Resume(Resume { session_id: SessionId([4; 16]), received: 258, sent: Some(259) });
        let resuming = Auth { wanted, attempt: 3, evidence: 2, ..auth() };
        let expected = expected_auth.replacen("0300", "0305", 1)
            + &"04".repeat(16)
            + "0000000000000102"
            + "00000003"
            + "0000000000000104";
        assert!(hex::encode(resuming.encode()).starts_with(&expected));
        let mut untold = resuming.encode();
        untold[expected.len() / 2 - 8..expected.len() / 2].fill(0);
        let Ok(Auth { wanted: Wanted::Resume(resume), .. }) = Auth::decode(&untold) else { panic!("it may be untold") };
        assert_eq!((resume.received, resume.sent), (258, None));
        assert_eq!(Auth::decode(&resuming.encode()), Ok(resuming));

        let close = Verdict::Close(Close { code: CloseCode::InviteUsed, reason: "x".to_owned(), received: 5 });
        assert!(hex::encode(close.encode()).starts_with("05 0011 0000000000000005 0001 78".replace(' ', "").as_str()));
        assert_eq!(Verdict::decode(&close.encode()), Ok(close));
    }

    #[test]
    fn the_longest_record_0_fits() {
        let claims = Claims { origin: "o".repeat(280), host: "h".repeat(280), name: "n".repeat(64) };
        let spki = [SignatureAlgorithm::EcdsaP256.spki_prefix(), &[1; 64]].concat();
        let device = DeviceKey::new(SignatureAlgorithm::EcdsaP256, spki).expect("it has the prefix and the length");
        let wanted = Wanted::Resume(Resume { session_id: SessionId([1; 16]), received: u64::MAX, sent: Some(5) });
        let auth = Auth { device, signature: [0; 64], claims, wanted, attempt: u32::MAX, evidence: 2 };
        assert_eq!(Auth::decode(&auth.encode()), Ok(auth));

        let labels = ["l".repeat(64), "m".repeat(64)].concat();
        let services = Services::told(
            labels.as_bytes().chunks(64).cycle().take(9).map(|label| core::str::from_utf8(label).expect("ASCII")),
        );
        assert!(services.labels().is_some());
        let standing = Standing {
            level: 3,
            subject: "s".repeat(128),
            secs: Some(u32::MAX),
            evidence: u32::MAX,
            wants_evidence: true,
            refused: "r".repeat(32),
        };
        let key = ServerKey([4; 32]);
        let newest = KeyStatement { owner: OwnerKey([3; 64]), number: u32::MAX, key, signature: [5; 64] };
        let keys = Some(Box::new(ToldKeys { newest, came_by: 1 }));
        let ok = Verdict::Ok(Grant { services, standing, keys, ..grant() });
        assert_eq!(Verdict::decode(&ok.encode()), Ok(ok));
    }

    #[test]
    fn a_name_that_is_too_long_is_cut_at_a_character() {
        let mut auth = auth();
        auth.claims.name = "é".repeat(40);
        let cut = Auth::decode(&auth.encode()).expect("what we write we read");
        assert_eq!(cut.claims.name, "é".repeat(32));
    }

    #[test]
    fn what_a_later_version_adds_behind_the_fields_is_ignored() {
        let mut later = auth().encode();
        let end = 5 + 44 + 64 + 11 + 3 + 2 + 28;
        later[end..].fill(0xff);
        assert_eq!(Auth::decode(&later), Ok(auth()));
        let ok = Verdict::Ok(grant());
        let mut later = ok.encode();
        later[80 + 8 + 15 + KEYS_LEN..].fill(0xff);
        assert_eq!(Verdict::decode(&later), Ok(ok));
    }

    #[test]
    fn services_are_told_in_whole_or_not_at_all() {
        let told = |count: usize, len: usize| {
            let label = "l".repeat(len);
            let labels = vec![label.as_str(); count];
            let ok = Verdict::Ok(Grant { services: Services::told(labels.iter().copied()), ..grant() });
            let Ok(Verdict::Ok(grant)) = Verdict::decode(&ok.encode()) else { panic!("what we write we read") };
            grant.services.labels().map(|read| assert_eq!(read, labels))
        };
        for (count, len) in [(0, 1), (9, 64), (254, 1), (1, 64)] {
            assert!(told(count, len).is_some(), "{count} of {len}");
        }
        for (count, len) in [(10, 64), (255, 1), (1_000, 1)] {
            assert!(told(count, len).is_none(), "{count} of {len}");
        }
        assert_eq!(Services::UNTOLD.labels(), None);
        let mut cut = Verdict::Ok(grant()).encode();
        cut[80] = 0xff;
        cut[81..].fill(0x40);
        assert_eq!(Verdict::decode(&cut), Err(InvalidMessage::Truncated));
        cut[81] = 0x41;
        assert_eq!(Verdict::decode(&cut), Err(InvalidMessage::TooLong));
    }

    #[test]
    fn reserved_bits_and_trailing_bytes_are_refused() {
        let mut flags = auth().encode();
        for reserved in [0x40, 0x08, 0x06, 0x07, 0xff] {
            flags[1] = reserved;
            assert_eq!(Auth::decode(&flags), Err(InvalidMessage::ReservedBits), "{reserved:#x}");
        }
        let mut counted = auth().encode();
        counted[5 + 44 + 64 + 11 + 3 + 2 + 16] = 1;
        assert_eq!(Auth::decode(&counted), Err(InvalidMessage::UnknownValue), "nothing was received before it began");
        let mut longer = auth().encode();
        longer.push(0);
        assert_eq!(Auth::decode(&longer), Err(InvalidMessage::Trailing));
        let mut ok = Verdict::Ok(grant()).encode();
        ok[1] = 1;
        assert_eq!(Verdict::decode(&ok), Err(InvalidMessage::ReservedBits));
        assert_eq!(Auth::decode(&vec![0; RECORD_0_LEN]), Err(InvalidMessage::UnknownType(0)));
    }
}
