//! What a middleman sees: WebSocket frames (RFC 6455, section 5.2), and the log of everything.

use std::{collections::BTreeMap, io};

use base64::{Engine, prelude::BASE64_STANDARD_NO_PAD, prelude::BASE64_URL_SAFE_NO_PAD};
use tokio::io::{AsyncRead, AsyncReadExt};

/// Which way bytes go.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Direction {
    ToServer,
    ToClient,
}

/// What a unit on the wire is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// Of a request that is no upgrade, or of the answer to an upgrade that was refused.
    Head,
    /// Of the upgrade request.
    Upgrade,
    /// Of the answer 101.
    Switch,
    Continuation,
    Text,
    Binary,
    Close,
    Ping,
    Pong,
    /// The sender has hung up.
    End,
}

/// One WebSocket frame, unmasked.
#[derive(Clone, Debug)]
pub(crate) struct Frame {
    /// FIN, reserved bits and opcode.
    first: u8,
    mask: Option<[u8; 4]>,
    pub(crate) payload: Vec<u8>,
}

impl Frame {
    /// A frame as this direction wants it, masked or not.
    pub(crate) fn new(direction: Direction, first: u8, payload: Vec<u8>) -> Self {
        let mask = (direction == Direction::ToServer).then_some([7, 1, 3, 5]);
        Self { first, mask, payload }
    }

    pub(crate) const fn kind(&self) -> Kind {
        match self.first & 0x0f {
            0 => Kind::Continuation,
            1 => Kind::Text,
            2 => Kind::Binary,
            9 => Kind::Ping,
            10 => Kind::Pong,
            _ => Kind::Close,
        }
    }

    /// Reads a frame. An error is the end, however it came.
    pub(crate) async fn read(from: &mut (impl AsyncRead + Unpin)) -> io::Result<Self> {
        let (first, second) = (from.read_u8().await?, from.read_u8().await?);
        let len = match second & 0x7f {
            126 => u64::from(from.read_u16().await?),
            127 => from.read_u64().await?,
            len => u64::from(len),
        };
        let mask = if second & 0x80 == 0 { None } else { Some(from.read_u32().await?.to_be_bytes()) };
        let mut payload = vec![0; usize::try_from(len).expect("a frame fits the memory")];
        from.read_exact(&mut payload).await?;
        apply(mask, &mut payload);
        Ok(Self { first, mask, payload })
    }

    /// As it goes on the wire.
    pub(crate) fn to_bytes(&self) -> Vec<u8> {
        let masked = if self.mask.is_some() { 0x80 } else { 0 };
        let mut out = vec![self.first];
        match (u8::try_from(self.payload.len()), u16::try_from(self.payload.len())) {
            (Ok(len @ ..126), _) => out.push(masked | len),
            (_, Ok(len)) => {
                out.push(masked | 126);
                out.extend_from_slice(&len.to_be_bytes());
            }
            _ => {
                out.push(masked | 127);
                out.extend_from_slice(&u64::try_from(self.payload.len()).unwrap().to_be_bytes());
            }
        }
        out.extend_from_slice(self.mask.as_ref().map_or(&[], <[u8; 4]>::as_slice));
        let mut payload = self.payload.clone();
        apply(self.mask, &mut payload);
        out.extend_from_slice(&payload);
        out
    }
}

fn apply(mask: Option<[u8; 4]>, payload: &mut [u8]) {
    if let Some(mask) = mask {
        payload.iter_mut().zip(mask.iter().cycle()).for_each(|(byte, mask)| *byte ^= mask);
    }
}

/// One unit that crossed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Sighting {
    pub(crate) connection: usize,
    pub(crate) direction: Direction,
    pub(crate) kind: Kind,
    pub(crate) len: usize,
}

/// Everything that crossed.
#[derive(Clone, Debug, Default)]
pub(crate) struct Log {
    pub(crate) sightings: Vec<Sighting>,
    /// By connection and direction: the bytes inside TLS as they came, and the payloads without masks.
    streams: BTreeMap<(usize, Direction), [Vec<u8>; 2]>,
}

impl Log {
    pub(crate) fn see(&mut self, sighting: Sighting, raw: &[u8], payload: &[u8]) {
        self.sightings.push(sighting);
        self.add(sighting.connection, sighting.direction, raw, payload);
    }

    /// Bytes that are not parsed.
    pub(crate) fn add(&mut self, connection: usize, direction: Direction, raw: &[u8], payload: &[u8]) {
        let [all, unmasked] = self.streams.entry((connection, direction)).or_default();
        all.extend_from_slice(raw);
        unmasked.extend_from_slice(payload);
    }

    /// The connections that asked for an upgrade, in order.
    pub(crate) fn lines(&self) -> Vec<usize> {
        self.sightings.iter().filter(|seen| seen.kind == Kind::Upgrade).map(|seen| seen.connection).collect()
    }

    /// What crossed on one connection, in order.
    pub(crate) fn of(&self, connection: usize) -> Vec<(Direction, Kind, usize)> {
        let of = self.sightings.iter().filter(|seen| seen.connection == connection);
        of.map(|seen| (seen.direction, seen.kind, seen.len)).collect()
    }

    /// What one end has sent on a connection: heads, then payloads.
    pub(crate) fn sent(&self, connection: usize, direction: Direction) -> Vec<(Kind, Vec<u8>)> {
        let Some([_, unmasked]) = self.streams.get(&(connection, direction)) else { return Vec::new() };
        let mut rest = unmasked.as_slice();
        let of = self.sightings.iter().filter(|seen| (seen.connection, seen.direction) == (connection, direction));
        of.map(|seen| {
            let (first, further) = rest.split_at(seen.len);
            rest = further;
            (seen.kind, first.to_vec())
        })
        .collect()
    }

    /// Bytes seen in all.
    pub(crate) fn len(&self) -> usize {
        self.streams.values().map(|[raw, _]| raw.len()).sum()
    }

    /// Where these bytes are: as they are, or written as hexadecimal or base64 (at any of its three alignments).
    pub(crate) fn find(&self, needle: &[u8]) -> Option<String> {
        assert!(needle.len() >= 12, "fewer bytes could be there by chance");
        let mut forms = vec![
            ("as they are", needle.to_vec()),
            ("as hex", hex::encode(needle).into_bytes()),
            ("as hex in capitals", hex::encode_upper(needle).into_bytes()),
        ];
        for shift in 0..3 {
            // The characters that also depend on what stands before and after are left out.
            let shifted = [vec![0; shift], needle.to_vec()].concat();
            let (start, end) = ([0, 2, 3][shift], shifted.len() * 8 / 6);
            forms.push(("as base64", BASE64_STANDARD_NO_PAD.encode(&shifted).as_bytes()[start..end].to_vec()));
            forms.push(("as base64url", BASE64_URL_SAFE_NO_PAD.encode(&shifted).as_bytes()[start..end].to_vec()));
        }
        for ((connection, direction), streams) in &self.streams {
            for stream in streams {
                for (form, bytes) in &forms {
                    if stream.windows(bytes.len()).any(|window| window == bytes) {
                        return Some(format!("{form}, on connection {connection} {direction:?}"));
                    }
                }
            }
        }
        None
    }
}

#[test]
fn the_log_finds_what_it_should_in_every_form() {
    use Direction::ToServer;
    let needle = b"nobody else may read this";
    for prefix in ["", "x", "xy"] {
        let around = [prefix.as_bytes(), needle, b"??"].concat();
        let written = [
            around.clone(),
            hex::encode(&around).into_bytes(),
            BASE64_STANDARD_NO_PAD.encode(&around).into_bytes(),
            BASE64_URL_SAFE_NO_PAD.encode(&around).into_bytes(),
        ];
        for bytes in written {
            let mut log = Log::default();
            log.add(1, ToServer, &bytes, b"");
            assert!(log.find(needle).is_some(), "{}", String::from_utf8_lossy(&bytes));
        }
    }
    assert_eq!(Log::default().find(needle), None);
}
