//! Frames: the units inside a record. The one registry of frame types, each variant's comment its layout.
//!
//! A record's plaintext is frames one behind the other, then zeros up to the padding bucket. Frames do not span records.

use alloc::vec::Vec;

#[cfg(feature = "server")]
use crate::handshake::evidence::{FRAME_EVIDENCE, Shown};
use crate::{
    channel::{Kind, Priority},
    close::{Close, ResetCode},
    codec::{Reader, put_text},
    error::InvalidMessage,
    handshake::{
        auth::{put_close, read_close},
        evidence::Told,
    },
    ids::ChannelId,
    limits::LABEL_LEN_MAX,
};

const PAD: u8 = 0x00;
const OPEN: u8 = 0x01;
const DATA: u8 = 0x02;
const FIN: u8 = 0x03;
const RESET: u8 = 0x04;
const SKIP: u8 = 0x05;
const DONE: u8 = 0x06;
const GAP: u8 = 0x07;
const CREDIT: u8 = 0x10;
const TAKEN: u8 = 0x11;
const PING: u8 = 0x12;
const PONG: u8 = 0x13;
const ACK: u8 = 0x14;
const DATAGRAM: u8 = 0x15;
const DRAIN: u8 = 0x16;
const STANDING: u8 = 0x18;
#[cfg(feature = "server")]
const AWAY: u8 = 0x19;
/// Whole, as pages write them, which read none.
pub(crate) const AWAY_FRAME: [u8; 2] = [0x19, 0];
pub(crate) const FROZEN_FRAME: [u8; 2] = [0x19, 1];
pub(crate) const HERE: u8 = 0x1a;
const CLOSE: u8 = 0x20;

/// In the flags of OPEN: the channel is a stream, each way without borders between messages; it comes first, or last; a tail
/// follows.
const OPEN_STREAM: u8 = 0x01;
const OPEN_FIRST: u8 = 0x02;
const OPEN_LAST: u8 = 0x04;
const OPEN_TAIL: u8 = 0x08;
/// In the flags of DATA: more of the same message follows.
const DATA_MORE: u8 = 0x01;

/// Bytes of a DATA or DATAGRAM frame before its data.
pub(crate) const DATA_HEADER_LEN: usize = 8;
/// An ACK in full.
pub(crate) const ACK_FRAME_LEN: usize = 13;

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Frame<'a> {
    /// `[0x01, flags] ‖ channel 4 ‖ (tail 4) ‖ label (1 + n)`; flag bit 0: a stream; bit 1: first, bit 2: last, never both; bit 3:
    /// `tail` is there. Counted.
    Open { channel: ChannelId, kind: Kind, label: &'a str },
    /// `[0x02, flags] ‖ channel 4 ‖ length 2 ‖ data`; flag bit 0: more of this message follows. Counted.
    Data { channel: ChannelId, more: bool, data: &'a [u8] },
    /// `[0x03] ‖ channel 4`: the sender sends no more on it. Counted.
    Fin { channel: ChannelId },
    /// `[0x04] ‖ channel 4 ‖ code 2`: the sender drops both directions. Counted.
    Reset { channel: ChannelId, code: ResetCode },
    /// `[0x05] ‖ count 4`: so many DATA and FIN frames of a reset channel stood here. Counts as `count` frames.
    Skip { count: u32 },
    /// `[0x06] ‖ channel 4 ‖ count 8`: the application has let go of a finished channel, of which it took so many. Counted.
    Done { channel: ChannelId, count: u64 },
    /// `[0x07] ‖ channel 4 ‖ count 8`: so many messages, or bytes of a stream, were left out here, and count as taken with what
    /// follows. Counted.
    Gap { channel: ChannelId, count: u64 },
    /// `[0x10] ‖ channel 4 ‖ limit 8`: the receiver may send up to `limit`, counted from the channel's begin.
    Credit { channel: ChannelId, limit: u64 },
    /// `[0x11] ‖ channel 4 ‖ count 8`: the application has taken so many messages, or bytes of a stream.
    Taken { channel: ChannelId, count: u64 },
    /// `[0x12] ‖ nonce 4`: to be answered by a PONG of the same nonce.
    Ping { nonce: u32 },
    /// `[0x13] ‖ nonce 4`.
    Pong { nonce: u32 },
    /// `[0x14] ‖ count 8 ‖ datagrams 4`: counted frames received in this session; datagrams received on this connection.
    Ack { count: u64, datagrams: u32 },
    /// `[0x15, flags 0] ‖ channel 4 ‖ length 2 ‖ data`: best effort, sent once.
    Datagram { channel: ChannelId, data: &'a [u8] },
    /// `[0x16] ‖ slot 4`: from the server: it stops, come back so many milliseconds after the end. From the client: nothing
    /// new will begin here, slot 0.
    Drain { slot_millis: u32 },
    /// `[0x17] ‖ kind 1 ‖ number 4 ‖ length 2 ‖ data ‖ zeros`, 2, 4 or 8 KiB in all: evidence of the client's.
    #[cfg(feature = "server")]
    Evidence(Shown<'a>),
    /// `[0x18] ‖ level 1 ‖ flags 1 ‖ evidence 4 ‖ seconds 4 ‖ refused (1 + n) ‖ subject (1 + n)`: from the server; flag bit 0:
    /// newer evidence is wanted.
    Standing(&'a [u8]),
    /// `[0x19, 0]`: from the client: nobody is at its end, and its line waits for somebody. The 0: no page is there.
    #[cfg(feature = "server")]
    Away,
    /// `[0x19, 1]`: from the client: its page does not run, until HERE.
    #[cfg(feature = "server")]
    Frozen,
    /// `[0x1a]`: from the client: somebody is here again.
    #[cfg(feature = "server")]
    Here,
    /// `[0x20] ‖ code 2 ‖ received 8 ‖ reason (2 + n)`: the last frame of a connection.
    Close(Close),
}

impl<'a> Frame<'a> {
    /// Counted frames are those that a session must not lose.
    pub(crate) const fn is_counted(&self) -> bool {
        self.count() > 0
    }

    /// How many counted frames it stands for.
    pub(crate) const fn count(&self) -> u64 {
        match self {
            Self::Open { .. }
            | Self::Data { .. }
            | Self::Fin { .. }
            | Self::Reset { .. }
            | Self::Done { .. }
            | Self::Gap { .. } => 1,
            Self::Skip { count } => *count as u64,
            _ => 0,
        }
    }

    pub(crate) fn encode(&self, out: &mut Vec<u8>) {
        let start = |out: &mut Vec<u8>, head: &[u8], channel: ChannelId| {
            out.extend_from_slice(head);
            out.extend_from_slice(&channel.0.to_be_bytes());
        };
        match self {
            Self::Open { channel, kind, label } => {
                let flag = |is_set, flag| if is_set { flag } else { 0 };
                let flags = flag(kind.stream, OPEN_STREAM)
                    | flag(kind.priority == Priority::First, OPEN_FIRST)
                    | flag(kind.priority == Priority::Last, OPEN_LAST)
                    | flag(kind.tail.is_some(), OPEN_TAIL);
                start(out, &[OPEN, flags], *channel);
                out.extend(kind.tail.iter().flat_map(|tail| tail.to_be_bytes()));
                put_text(out, label, LABEL_LEN_MAX);
            }
            Self::Data { channel, more, data } => {
                start(out, &[DATA, if *more { DATA_MORE } else { 0 }], *channel);
                put_data(out, data);
            }
            Self::Fin { channel } => start(out, &[FIN], *channel),
            Self::Reset { channel, code } => {
                start(out, &[RESET], *channel);
                out.extend_from_slice(&code.to_wire().to_be_bytes());
            }
            Self::Skip { count } => {
                out.push(SKIP);
                out.extend_from_slice(&count.to_be_bytes());
            }
            Self::Done { channel, count } => {
                start(out, &[DONE], *channel);
                out.extend_from_slice(&count.to_be_bytes());
            }
            Self::Gap { channel, count } => {
                start(out, &[GAP], *channel);
                out.extend_from_slice(&count.to_be_bytes());
            }
            Self::Credit { channel, limit } => {
                start(out, &[CREDIT], *channel);
                out.extend_from_slice(&limit.to_be_bytes());
            }
            Self::Taken { channel, count } => {
                start(out, &[TAKEN], *channel);
                out.extend_from_slice(&count.to_be_bytes());
            }
            Self::Ping { nonce } => {
                out.push(PING);
                out.extend_from_slice(&nonce.to_be_bytes());
            }
            Self::Pong { nonce } => {
                out.push(PONG);
                out.extend_from_slice(&nonce.to_be_bytes());
            }
            Self::Ack { count, datagrams } => {
                out.push(ACK);
                out.extend_from_slice(&count.to_be_bytes());
                out.extend_from_slice(&datagrams.to_be_bytes());
            }
            Self::Datagram { channel, data } => {
                start(out, &[DATAGRAM, 0], *channel);
                put_data(out, data);
            }
            Self::Drain { slot_millis } => {
                out.push(DRAIN);
                out.extend_from_slice(&slot_millis.to_be_bytes());
            }
            #[cfg(feature = "server")]
            Self::Evidence(shown) => shown.encode_frame(out),
            Self::Standing(told) => {
                out.push(STANDING);
                out.extend_from_slice(told);
            }
            #[cfg(feature = "server")]
            Self::Away => out.extend_from_slice(&AWAY_FRAME),
            #[cfg(feature = "server")]
            Self::Frozen => out.extend_from_slice(&FROZEN_FRAME),
            #[cfg(feature = "server")]
            Self::Here => out.push(HERE),
            Self::Close(close) => {
                out.push(CLOSE);
                put_close(out, close);
            }
        }
    }

    /// The next frame of a record, or none at its padding.
    pub(crate) fn decode(reader: &mut Reader<'a>) -> Result<Option<Self>, InvalidMessage> {
        if reader.is_empty() {
            return Ok(None);
        }
        let frame = match reader.u8()? {
            PAD => {
                let rest = *reader;
                *reader = Reader::new(&[]);
                return rest.finish_padded().map(|()| None);
            }
            OPEN => {
                let flags = reader.u8()?;
                let is_set = |flag| flags & flag != 0;
                let priority = match (is_set(OPEN_FIRST), is_set(OPEN_LAST)) {
                    _ if flags & !(OPEN_STREAM | OPEN_FIRST | OPEN_LAST | OPEN_TAIL) != 0 => None,
                    (true, true) => None,
                    (true, false) => Some(Priority::First),
                    (false, true) => Some(Priority::Last),
                    (false, false) => Some(Priority::Normal),
                };
                let priority = priority.ok_or(InvalidMessage::ReservedBits)?;
                let channel = channel(reader)?;
                let tail = if is_set(OPEN_TAIL) { Some(reader.u32()?) } else { None };
                let kind = Kind { stream: is_set(OPEN_STREAM), priority, tail };
                Self::Open { channel, kind, label: reader.text(LABEL_LEN_MAX)? }
            }
            DATA => {
                let more = flag(reader, DATA_MORE)?;
                Self::Data { channel: channel(reader)?, more, data: data(reader)? }
            }
            FIN => Self::Fin { channel: channel(reader)? },
            RESET => Self::Reset { channel: channel(reader)?, code: ResetCode::from_wire(reader.u16()?) },
            SKIP => Self::Skip { count: reader.u32()? },
            DONE => Self::Done { channel: channel(reader)?, count: reader.u64()? },
            GAP => Self::Gap { channel: channel(reader)?, count: reader.u64()? },
            CREDIT => Self::Credit { channel: channel(reader)?, limit: reader.u64()? },
            TAKEN => Self::Taken { channel: channel(reader)?, count: reader.u64()? },
            PING => Self::Ping { nonce: reader.u32()? },
            PONG => Self::Pong { nonce: reader.u32()? },
            ACK => Self::Ack { count: reader.u64()?, datagrams: reader.u32()? },
            DATAGRAM => {
                reader.reserved()?;
                Self::Datagram { channel: channel(reader)?, data: data(reader)? }
            }
            DRAIN => Self::Drain { slot_millis: reader.u32()? },
            // Nobody shows a page any.
            #[cfg(feature = "server")]
            FRAME_EVIDENCE => Self::Evidence(Shown::decode(reader)?),
            STANDING => Self::Standing(Told::read(reader)?),
            #[cfg(feature = "server")]
            AWAY => match reader.u8()? {
                0 => Self::Away,
                1 => Self::Frozen,
                _ => return Err(InvalidMessage::ReservedBits),
            },
            #[cfg(feature = "server")]
            HERE => Self::Here,
            CLOSE => Self::Close(read_close(reader)?),
            other => return Err(InvalidMessage::UnknownType(other)),
        };
        Ok(Some(frame))
    }
}

fn channel(reader: &mut Reader<'_>) -> Result<ChannelId, InvalidMessage> {
    reader.u32().map(ChannelId)
}

/// A byte in which one bit is in use.
fn flag(reader: &mut Reader<'_>, bit: u8) -> Result<bool, InvalidMessage> {
    let flags = reader.u8()?;
    if flags & !bit == 0 { Ok(flags == bit) } else { Err(InvalidMessage::ReservedBits) }
}

fn data<'a>(reader: &mut Reader<'a>) -> Result<&'a [u8], InvalidMessage> {
    let len = usize::from(reader.u16()?);
    reader.take(len)
}

fn put_data(out: &mut Vec<u8>, data: &[u8]) {
    out.extend_from_slice(&u16::try_from(data.len()).expect("a record is shorter than 2^16").to_be_bytes());
    out.extend_from_slice(data);
}

#[cfg(test)]
mod tests {
    use alloc::{borrow::ToOwned, string::String};

    #[cfg(target_arch = "wasm32")]
    use wasm_bindgen_test::wasm_bindgen_test as test;

    use super::*;
    use crate::close::CloseCode;

    const CHANNEL: ChannelId = ChannelId(0x0a0b_0c0d);

    fn all() -> Vec<(Frame<'static>, String)> {
        let evidence = "17 01 00000003 0003 65794a".to_owned() + &"00".repeat(2_048 - 11);
        let first = Kind { priority: Priority::First, ..Kind::MESSAGES };
        let last = Kind { priority: Priority::Last, tail: Some(65_536), ..Kind::STREAM };
        const STANDING: &[u8] = b"\x02\x01\0\0\0\x03\0\0\x01\x2c\x01x\x03ann";
        let close = Close { code: CloseCode::Normal, reason: "bye".to_owned(), received: 7 };
        [
            (Frame::Open { channel: CHANNEL, kind: Kind::MESSAGES, label: "echo" }, "0100 0a0b0c0d 04 6563686f"),
            (Frame::Open { channel: CHANNEL, kind: Kind::STREAM, label: "drop" }, "0101 0a0b0c0d 04 64726f70"),
            (Frame::Open { channel: CHANNEL, kind: first, label: "keys" }, "0102 0a0b0c0d 04 6b657973"),
            (Frame::Open { channel: CHANNEL, kind: last, label: "logs" }, "010d 0a0b0c0d 00010000 04 6c6f6773"),
            (Frame::Data { channel: CHANNEL, more: false, data: b"hi" }, "0200 0a0b0c0d 0002 6869"),
            (Frame::Data { channel: CHANNEL, more: true, data: b"" }, "0201 0a0b0c0d 0000"),
            (Frame::Fin { channel: CHANNEL }, "03 0a0b0c0d"),
            (Frame::Reset { channel: CHANNEL, code: ResetCode::Deadline }, "04 0a0b0c0d 0002"),
            (Frame::Skip { count: 5 }, "05 00000005"),
            (Frame::Done { channel: CHANNEL, count: 3 }, "06 0a0b0c0d 0000000000000003"),
            (Frame::Gap { channel: CHANNEL, count: 3 }, "07 0a0b0c0d 0000000000000003"),
            (Frame::Credit { channel: CHANNEL, limit: 0x4_0000 }, "10 0a0b0c0d 0000000000040000"),
            (Frame::Taken { channel: CHANNEL, count: 3 }, "11 0a0b0c0d 0000000000000003"),
            (Frame::Ping { nonce: 9 }, "12 00000009"),
            (Frame::Pong { nonce: 9 }, "13 00000009"),
            (Frame::Ack { count: 8, datagrams: 2 }, "14 0000000000000008 00000002"),
            (Frame::Datagram { channel: CHANNEL, data: b"now" }, "1500 0a0b0c0d 0003 6e6f77"),
            (Frame::Drain { slot_millis: 1_500 }, "16 000005dc"),
            (Frame::Evidence(Shown { kind: 1, number: 3, data: b"eyJ" }), &evidence),
            (Frame::Standing(STANDING), "18 02 01 00000003 0000012c 0178 03616e6e"),
            (Frame::Away, "1900"),
            (Frame::Frozen, "1901"),
            (Frame::Here, "1a"),
            (Frame::Close(close), "20 0000 0000000000000007 0003 627965"),
        ]
        .map(|(frame, expected)| (frame, expected.replace(' ', "")))
        .into()
    }

    #[test]
    fn the_wire_form_of_frames_does_not_change() {
        for (frame, expected) in all() {
            let mut bytes = Vec::new();
            frame.encode(&mut bytes);
            assert_eq!(hex::encode(&bytes), expected, "{frame:?}");
            bytes.extend_from_slice(&[0; 5]);
            let mut reader = Reader::new(&bytes);
            assert_eq!(Frame::decode(&mut reader), Ok(Some(frame)));
            assert_eq!(Frame::decode(&mut reader), Ok(None));
        }
    }

    #[test]
    fn a_frame_cut_anywhere_is_refused() {
        for (frame, _) in all() {
            let mut bytes = Vec::new();
            frame.encode(&mut bytes);
            for end in 1..bytes.len() {
                assert_eq!(Frame::decode(&mut Reader::new(&bytes[..end])), Err(InvalidMessage::Truncated), "{frame:?}");
            }
        }
    }

    #[test]
    fn reserved_bits_unknown_types_and_dirty_padding_are_refused() {
        let decode = |hex: &str| Frame::decode(&mut Reader::new(&hex::decode(hex).expect("hex"))).map(|_| ());
        assert_eq!(decode("01100a0b0c0d0465"), Err(InvalidMessage::ReservedBits));
        assert_eq!(decode("01060a0b0c0d0465"), Err(InvalidMessage::ReservedBits), "both first and last");
        assert_eq!(decode("15010a0b0c0d0000"), Err(InvalidMessage::ReservedBits));
        assert_eq!(decode("02020a0b0c0d0000"), Err(InvalidMessage::ReservedBits));
        assert_eq!(decode("1902"), Err(InvalidMessage::ReservedBits));
        assert_eq!(decode("7f"), Err(InvalidMessage::UnknownType(0x7f)));
        assert_eq!(decode("000001"), Err(InvalidMessage::Padding));
        assert_eq!(decode("01000a0b0c0d02fffe"), Err(InvalidMessage::NotUtf8));
        assert_eq!(decode("01000a0b0c0dff"), Err(InvalidMessage::TooLong));
    }
}
