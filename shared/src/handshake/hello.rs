//! M1 and M2 (DESIGN: "Handshake"; layouts in `docs/PROTOCOL.md`).
//!
//! ```text
//! M1  [0x01, version 1, suite 1, server key id (8), flags 1, nonce (16) if the flags say so] ‖ Noise(payload 64)
//!     payload: credential kind 1 ‖ credential id 16 ‖ limits 10 ‖ capabilities 4 ‖ ignored
//! M2  [0x02] ‖ Noise(payload 64)
//!     payload: unused 1 (0) ‖ nonce 32 ‖ limits 10 ‖ capabilities 4 ‖ ignored
//! FRESHNESS  [0x06, nonce (16)]   from the server, in the place of M2: M1 is to be made anew, with that nonce
//! ```
//!
//! The clear header is strict. What lies behind the fields of a payload is a later version's, and is ignored; a sender
//! writes zeros there.

use alloc::vec::Vec;

use crate::{
    codec::Reader,
    crypto::Randomness,
    error::InvalidMessage,
    ids::{InviteId, ServerKey, ServerKeyId, TicketId},
    limits::{
        CHANNEL_WINDOW, CHANNELS_MAX, M1_NOISE_LEN, M1_PAYLOAD_LEN, M2_NOISE_LEN, M2_PAYLOAD_LEN, MESSAGE_LEN_MAX,
    },
    noise::{Initiator, Unreadable},
    session::Role,
};

const TYPE_M1: u8 = 0x01;
const TYPE_M2: u8 = 0x02;
const TYPE_FRESHNESS: u8 = 0x06;
const VERSION: u8 = 1;
const SUITE: u8 = 0x01;

/// What the client's device signs begins so, and is thereby never taken for anything else that it signs.
const AUTH_CONTEXT: &[u8] = b"duologue/1 client-auth\0";

/// In the flags of M1: the client can make M1 anew over a nonce of the server's.
const M1_SHOWS_FRESHNESS: u8 = 0x01;
/// And: this one was made over the nonce that follows the flags.
const M1_IS_FRESH: u8 = 0x02;

/// What a server under pressure wants to see in M1: random bytes, for this socket alone.
pub(crate) type Nonce = [u8; 16];

/// The clear header of M1, as a server reads it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Header<'a> {
    pub(crate) server_key_id: ServerKeyId,
    /// The client can show that its M1 is no replay.
    pub(crate) shows_freshness: bool,
    /// What it was made over, and what thereby shows that it is no replay.
    pub(crate) nonce: Option<Nonce>,
    /// All of it.
    pub(crate) bytes: &'a [u8],
}

/// What both sides mix into their handshake hash before the clear header of M1, and before anything else.
const PROLOGUE: [u8; 11] = *b"duologue/1\x01";

/// The prologue with the clear header of an M1 over a nonce of the server's, or over none.
fn opening(server_key_id: ServerKeyId, nonce: &[u8]) -> Vec<u8> {
    let [a, b, c, d, e, f, g, h] = server_key_id.0;
    let flags = if nonce.is_empty() { M1_SHOWS_FRESHNESS } else { M1_SHOWS_FRESHNESS | M1_IS_FRESH };
    [PROLOGUE.as_slice(), &[TYPE_M1, VERSION, SUITE, a, b, c, d, e, f, g, h, flags], nonce].concat()
}

/// A client's M1, and what reads the answer to it. `nonce` is empty, or what the server wants M1 to be made over.
///
/// # Errors
/// If the server's key is a point of small order, which no server has.
pub(crate) fn write_m1(
    server_key: &ServerKey,
    nonce: &[u8],
    hello: ClientHello,
    randomness: Randomness,
) -> Result<(Initiator, Vec<u8>), Unreadable> {
    let mut m1 = opening(server_key.id(), nonce);
    let mut initiator = Initiator::new(&server_key.0, &m1, randomness);
    m1.extend(initiator.write_m1(&hello.encode())?);
    m1.drain(..PROLOGUE.len());
    Ok((initiator, m1))
}

/// What both sides mix into their handshake hash before anything else.
pub(crate) fn prologue(header: &[u8]) -> Vec<u8> {
    [PROLOGUE.as_slice(), header].concat()
}

/// What stands in clear in an M1, for a server that has not yet decided whether to compute anything for it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct M1Head {
    /// The key that it was made for.
    pub server_key_id: ServerKeyId,
    /// Its client can make it anew over a nonce of the server's.
    pub shows_freshness: bool,
}

impl M1Head {
    /// Reads it; none if this is no M1, whole and in this version's form.
    #[must_use]
    pub fn read(message: &[u8]) -> Option<Self> {
        let (Header { server_key_id, shows_freshness, .. }, _) = decode_m1(message).ok()?;
        Some(Self { server_key_id, shows_freshness })
    }
}

pub(crate) fn decode_m1(message: &[u8]) -> Result<(Header<'_>, &[u8]), InvalidMessage> {
    let mut reader = Reader::new(message);
    match reader.u8()? {
        TYPE_M1 => {}
        other => return Err(InvalidMessage::UnknownType(other)),
    }
    match reader.u8()? {
        VERSION => {}
        other => return Err(InvalidMessage::UnknownVersion(other)),
    }
    match reader.u8()? {
        SUITE => {}
        other => return Err(InvalidMessage::UnknownSuite(other)),
    }
    let server_key_id = ServerKeyId(reader.array()?);
    let flags = reader.u8()?;
    if flags & !(M1_SHOWS_FRESHNESS | M1_IS_FRESH) != 0 {
        return Err(InvalidMessage::ReservedBits);
    }
    let nonce = if flags & M1_IS_FRESH != 0 { Some(reader.array()?) } else { None };
    let noise = reader.take(M1_NOISE_LEN)?;
    reader.finish()?;
    let bytes = message.get(..message.len() - M1_NOISE_LEN).unwrap_or_default();
    Ok((Header { server_key_id, shows_freshness: flags & M1_SHOWS_FRESHNESS != 0, nonce, bytes }, noise))
}

pub(crate) fn encode_freshness(nonce: Nonce) -> Vec<u8> {
    [&[TYPE_FRESHNESS], nonce.as_slice()].concat()
}

/// The nonce that M1 is to be made over; none if this is another message.
pub(crate) fn decode_freshness(message: &[u8]) -> Option<&[u8]> {
    if message.len() == 17 { message.strip_prefix(&[TYPE_FRESHNESS]) } else { None }
}

pub(crate) fn encode_m2(noise: &[u8; M2_NOISE_LEN]) -> Vec<u8> {
    [&[TYPE_M2], noise.as_slice()].concat()
}

pub(crate) fn decode_m2(message: &[u8]) -> Result<&[u8], InvalidMessage> {
    let mut reader = Reader::new(message);
    match reader.u8()? {
        TYPE_M2 => {}
        other => return Err(InvalidMessage::UnknownType(other)),
    }
    let noise = reader.take(M2_NOISE_LEN)?;
    reader.finish()?;
    Ok(noise)
}

/// The id under which the server finds the handshake's pre-shared key. Readable by whoever later steals the server's key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Credential {
    /// None: the device key alone must do.
    None,
    /// What an earlier AUTH_OK gave.
    Ticket(TicketId),
    /// What a link gave.
    Invite(InviteId),
}

/// What an endpoint takes at most; each end says its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Longest message in bytes.
    pub message_len: u32,
    /// First credit of each channel in bytes.
    pub window: u32,
    /// Live channels that the other end may have opened.
    pub channels: u16,
}

impl Default for Limits {
    #[expect(clippy::cast_possible_truncation, reason = "16 MiB and 256 KiB fit u32, 256 fits u16")]
    fn default() -> Self {
        Self { message_len: MESSAGE_LEN_MAX as u32, window: CHANNEL_WINDOW as u32, channels: CHANNELS_MAX as u16 }
    }
}

impl Limits {
    pub(crate) fn encode(self, out: &mut Vec<u8>) {
        out.extend_from_slice(&self.message_len.to_be_bytes());
        out.extend_from_slice(&self.window.to_be_bytes());
        out.extend_from_slice(&self.channels.to_be_bytes());
    }

    pub(crate) fn decode(reader: &mut Reader<'_>) -> Result<Self, InvalidMessage> {
        let limits = Self { message_len: reader.u32()?, window: reader.u32()?, channels: reader.u16()? };
        // A window that cannot hold one frame would be a line on which nothing can be said.
        if limits.message_len == 0 || u64::from(limits.window) < CHANNEL_WINDOW || limits.channels == 0 {
            return Err(InvalidMessage::UnknownValue);
        }
        Ok(limits)
    }
}

/// What an end can do beyond this version's least, a bit each. A frame or form that needs one is sent only to who has it; a
/// bit that is not known here says nothing.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Capabilities(pub u32);

impl Capabilities {
    /// Bit 0. Of a server: it takes EVIDENCE, behind AUTH and as a frame. Of a client: it takes STANDING.
    pub const STANDING: u32 = 1;
    /// Bit 1. Where both ends have it, the client takes 60 s of silence for death, not 35, and the server sends PING each 45 s, not 25.
    pub const PATIENT: u32 = 2;
    /// Bit 2. Of a server: it takes AWAY and HERE.
    pub const AWAY: u32 = 4;

    /// What this version can do.
    pub const HERE: Self = Self(Self::STANDING | Self::PATIENT | Self::AWAY);

    /// The same as an end says it, which in the simulation may be of an earlier version.
    pub(crate) fn of(role: Role) -> Self {
        #[cfg(test)]
        return Self(Self::HERE.0 & !crate::sim::earlier::lacks(role));
        #[cfg(not(test))]
        {
            let _ = role;
            Self::HERE
        }
    }

    /// True if all of these bits are set.
    #[must_use]
    pub const fn has(self, bits: u32) -> bool {
        self.0 & bits == bits
    }
}

/// What M1 carries under the server's key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct ClientHello {
    pub(crate) credential: Credential,
    pub(crate) limits: Limits,
    pub(crate) capabilities: Capabilities,
}

impl ClientHello {
    pub(crate) fn encode(self) -> [u8; M1_PAYLOAD_LEN] {
        let (kind, id) = match self.credential {
            Credential::None => (0, [0; 16]),
            Credential::Ticket(id) => (1, id.0),
            Credential::Invite(id) => (2, id.0),
        };
        let mut out = Vec::with_capacity(M1_PAYLOAD_LEN);
        out.push(kind);
        out.extend_from_slice(&id);
        self.limits.encode(&mut out);
        out.extend_from_slice(&self.capabilities.0.to_be_bytes());
        out.resize(M1_PAYLOAD_LEN, 0);
        out.try_into().expect("resized to the array's length")
    }

    pub(crate) fn decode(payload: &[u8; M1_PAYLOAD_LEN]) -> Result<Self, InvalidMessage> {
        let mut reader = Reader::new(payload);
        let credential = match (reader.u8()?, reader.array()?) {
            (0, id) if id == [0; 16] => Credential::None,
            (1, id) => Credential::Ticket(TicketId(id)),
            (2, id) => Credential::Invite(InviteId(id)),
            _ => return Err(InvalidMessage::UnknownValue),
        };
        Ok(Self { credential, limits: Limits::decode(&mut reader)?, capabilities: Capabilities(reader.u32()?) })
    }
}

/// What M2 carries. Nothing confidential: the client is still anyone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct ServerHello {
    pub(crate) nonce: [u8; 32],
    pub(crate) limits: Limits,
    pub(crate) capabilities: Capabilities,
}

impl ServerHello {
    pub(crate) fn encode(self) -> [u8; M2_PAYLOAD_LEN] {
        let mut out = Vec::with_capacity(M2_PAYLOAD_LEN);
        // Once meant for what AUTH must bring beside the device key; five seconds are too short for any of it.
        out.push(0);
        out.extend_from_slice(&self.nonce);
        self.limits.encode(&mut out);
        out.extend_from_slice(&self.capabilities.0.to_be_bytes());
        out.resize(M2_PAYLOAD_LEN, 0);
        out.try_into().expect("resized to the array's length")
    }

    pub(crate) fn decode(payload: &[u8; M2_PAYLOAD_LEN]) -> Result<Self, InvalidMessage> {
        let mut reader = Reader::new(payload);
        reader.reserved()?;
        let nonce = reader.array()?;
        Ok(Self { nonce, limits: Limits::decode(&mut reader)?, capabilities: Capabilities(reader.u32()?) })
    }
}

/// What the device signs: this handshake, and this key. Whoever has another `h` (a middleman has two) gets another signature.
pub(crate) fn message_to_sign(handshake_hash: &[u8; 32], spki: &[u8]) -> Vec<u8> {
    [AUTH_CONTEXT, &[SUITE], handshake_hash, &crate::crypto::sha256(spki)].concat()
}

#[cfg(test)]
mod tests {
    #[cfg(target_arch = "wasm32")]
    use wasm_bindgen_test::wasm_bindgen_test as test;

    use super::*;

    #[test]
    fn the_wire_form_of_the_hellos_does_not_change() {
        let limits = Limits { message_len: 0x0100_0000, window: 0x0004_0000, channels: 0x0100 };
        let capabilities = Capabilities(0x0102_0304);
        let m1 = ClientHello { credential: Credential::Invite(InviteId([0xaa; 16])), limits, capabilities };
        // kind 2 = invite | its id | message_len | window | channels | capabilities | zeros
        let expected = ["02", &"aa".repeat(16), "01000000", "00040000", "0100", "01020304", &"00".repeat(33)].concat();
        assert_eq!(hex::encode(m1.encode()), expected);
        assert_eq!(ClientHello::decode(&m1.encode()), Ok(m1));

        let m2 = ServerHello { nonce: [0xbb; 32], limits, capabilities };
        // unused | nonce | limits | capabilities | zeros
        let expected = ["00", &"bb".repeat(32), "01000000", "00040000", "0100", "01020304", &"00".repeat(17)].concat();
        assert_eq!(hex::encode(m2.encode()), expected);
        assert_eq!(ServerHello::decode(&m2.encode()), Ok(m2));

        let (id, nonce) = (ServerKeyId([0xcc; 8]), [0xee; 16]);
        for (nonce, flags) in [([].as_slice(), "01"), (&nonce, "03")] {
            let header = &opening(id, nonce)[PROLOGUE.len()..];
            // M1 | version | suite | server key id | flags | nonce
            assert_eq!(hex::encode(header), ["010101", &"cc".repeat(8), flags, &hex::encode(nonce)].concat());
            assert_eq!(opening(id, nonce), prologue(header));
            let message = [header, &[0; M1_NOISE_LEN]].concat();
            let (read, _) = decode_m1(&message).expect("good");
            assert_eq!((read.bytes, read.nonce.is_some()), (header, flags == "03"));
            assert_eq!(M1Head::read(&message), Some(M1Head { server_key_id: id, shows_freshness: true }));
        }
        let freshness = encode_freshness(nonce);
        assert_eq!(hex::encode(&freshness), ["06", &"ee".repeat(16)].concat());
        assert_eq!(decode_freshness(&freshness), Some(nonce.as_slice()));
        let longer = [freshness.as_slice(), &[0]].concat();
        for other in [&freshness[..16], &longer, &[], &[0x02; 17]] {
            assert_eq!(decode_freshness(other), None);
        }
    }

    #[test]
    fn reserved_bits_unknown_versions_and_trailing_bytes_are_refused() {
        let good = [&opening(ServerKeyId([0xcc; 8]), &[])[PROLOGUE.len()..], &[0; M1_NOISE_LEN]].concat();
        assert!(decode_m1(&good).is_ok());
        let changed = |at: usize, to: u8| {
            let mut bad = good.clone();
            bad[at] = to;
            decode_m1(&bad).map(|_| ())
        };
        assert_eq!(changed(0, 0x02), Err(InvalidMessage::UnknownType(2)));
        assert_eq!(changed(1, 2), Err(InvalidMessage::UnknownVersion(2)));
        assert_eq!(changed(2, 0), Err(InvalidMessage::UnknownSuite(0)));
        assert_eq!(changed(11, 0), Ok(()), "a client that cannot show freshness");
        assert_eq!(changed(11, 2), Err(InvalidMessage::Truncated), "a nonce is announced, and is not there");
        for flags in 4..=255 {
            assert_eq!(changed(11, flags), Err(InvalidMessage::ReservedBits));
        }
        assert_eq!(decode_m1(&[good.clone(), [0].to_vec()].concat()).map(|_| ()), Err(InvalidMessage::Trailing));
        for end in 0..good.len() {
            assert_eq!(decode_m1(&good[..end]).map(|_| ()), Err(InvalidMessage::Truncated), "cut at {end}");
        }
    }

    #[test]
    fn what_a_later_version_adds_to_a_payload_is_ignored() {
        let (limits, capabilities) = (Limits::default(), Capabilities(u32::MAX));
        let m1 = ClientHello { credential: Credential::None, limits, capabilities };
        let m2 = ServerHello { nonce: [1; 32], limits, capabilities };
        let (mut m1_later, mut m2_later) = (m1.encode(), m2.encode());
        m1_later[31..].fill(0xff);
        m2_later[47..].fill(0xff);
        assert_eq!(ClientHello::decode(&m1_later), Ok(m1));
        assert_eq!(ServerHello::decode(&m2_later), Ok(m2));
        m2_later[0] = 1;
        assert_eq!(ServerHello::decode(&m2_later), Err(InvalidMessage::ReservedBits), "not behind the fields");
    }
}
