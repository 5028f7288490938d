//! The handshake's key agreement: `Noise_NKhfs+psk2_25519+MLKEM768_ChaChaPoly_SHA256`, by snow with our adapters.
//!
//! ```text
//! client                                              server
//! Initiator::new                                      Responder::new
//!     │ write_m1   ── e, es, e1, payload ─────────────►  read_m1
//!     │ read_m2    ◄─ e, ee, ekem1, psk, payload ─────   write_m2
//!     ▼                                                  ▼
//! Transport    ◄── records, each way its own key ──►  Transport
//! ```
//!
//! A phase that was left no longer exists: `read_m2` and `write_m2` take the state by value and snow's handshake state is
//! dropped there. This file knows nothing of what the payloads mean (`handshake/`), nor of frames.
//!
//! Sources: the Noise Protocol Framework, revision 34; its HFS extension, section 5.

use core::fmt;

use alloc::{borrow::ToOwned, boxed::Box, vec, vec::Vec};

use zeroize::Zeroizing;

use snow::{
    Builder, HandshakeState,
    params::{
        BaseChoice, CipherChoice, DHChoice, HandshakeChoice, HandshakeModifier, HandshakeModifierList,
        HandshakePattern, HashChoice, KemChoice, NoiseParams,
    },
};
use thiserror::Error;

use crate::{
    crypto::{AeadKey, Forged, Randomness, Resolver, Secret, TAG_LEN, chacha_nonce},
    ids::ServerKey,
    limits::{M1_NOISE_LEN, M1_PAYLOAD_LEN, M2_NOISE_LEN, M2_PAYLOAD_LEN, RECORD_LEN_MAX, REKEY_INTERVAL_RECORDS},
};

/// The suite's name, hashed into everything that follows.
pub const PROTOCOL_NAME: &str = "Noise_NKhfs+psk2_25519+MLKEM768_ChaChaPoly_SHA256";

/// Where the `psk` token of `psk2` stands.
const PSK_SLOT: usize = 2;

/// A handshake message that could not be read. Nothing in the state has changed.
#[derive(Clone, Copy, Debug, Error, PartialEq, Eq)]
#[error("the handshake message does not authenticate")]
pub struct Unreadable;

/// The client between M1 and M2.
pub struct Initiator(HandshakeState);

impl Initiator {
    /// Starts a handshake with the owner of `server_key`.
    #[must_use]
    pub fn new(server_key: &[u8; 32], prologue: &[u8], randomness: Randomness) -> Self {
        let state = builder(randomness, None)
            .remote_public_key(server_key)
            .and_then(|builder| builder.prologue(prologue))
            .and_then(Builder::build_initiator)
            .expect("the resolver has every primitive of the suite and the key has 32 bytes");
        Self(state)
    }

    /// Writes the Noise part of M1.
    ///
    /// # Errors
    /// [`Unreadable`] if the server key is a point of small order, with which no secret can be agreed.
    pub fn write_m1(&mut self, payload: &[u8; M1_PAYLOAD_LEN]) -> Result<[u8; M1_NOISE_LEN], Unreadable> {
        let mut message = [0; M1_NOISE_LEN];
        match self.0.write_message(payload, &mut message) {
            Ok(M1_NOISE_LEN) => Ok(message),
            _ => Err(Unreadable),
        }
    }

    /// Reads the Noise part of M2 with the first of `psks` that fits, and says which it was.
    ///
    /// # Errors
    /// [`Unreadable`] if none fits, or if it was altered: the two cannot be told apart.
    pub fn read_m2(
        mut self,
        message: &[u8],
        psks: &[&Secret],
    ) -> Result<(usize, [u8; M2_PAYLOAD_LEN], Transport), Unreadable> {
        if message.len() != M2_NOISE_LEN {
            return Err(Unreadable);
        }
        for (index, psk) in psks.iter().enumerate() {
            self.0.set_psk(PSK_SLOT, psk.expose()).expect("the slot exists and a psk has 32 bytes");
            let mut payload = [0; M2_PAYLOAD_LEN];
            if self.0.read_message(message, &mut payload).is_ok() {
                return Ok((index, payload, Transport::new(&mut self.0)));
            }
        }
        Err(Unreadable)
    }
}

/// The server between M1 and M2.
pub struct Responder(HandshakeState);

impl Responder {
    /// Waits for a client's M1. Where the public key is not given, it is derived.
    #[must_use]
    pub fn new(server_key: &Secret, public: Option<ServerKey>, prologue: &[u8], randomness: Randomness) -> Self {
        let state = builder(randomness, public.map(|key| key.0))
            .local_private_key(server_key.expose())
            .and_then(|builder| builder.prologue(prologue))
            .and_then(Builder::build_responder)
            .expect("the resolver has every primitive of the suite and the key has 32 bytes");
        Self(state)
    }

    /// Reads the Noise part of M1.
    ///
    /// # Errors
    /// [`Unreadable`] if it was not made for this server's key, or was altered.
    pub fn read_m1(&mut self, message: &[u8]) -> Result<[u8; M1_PAYLOAD_LEN], Unreadable> {
        if message.len() != M1_NOISE_LEN {
            return Err(Unreadable);
        }
        let mut payload = [0; M1_PAYLOAD_LEN];
        self.0.read_message(message, &mut payload).map_err(|_| Unreadable)?;
        Ok(payload)
    }

    /// Writes the Noise part of M2.
    ///
    /// # Errors
    /// [`Unreadable`] if the client's ephemeral key or encapsulation key is malformed (FIPS 203, 7.2; RFC 7748, 6.1).
    pub fn write_m2(
        mut self,
        psk: &Secret,
        payload: &[u8; M2_PAYLOAD_LEN],
    ) -> Result<([u8; M2_NOISE_LEN], Transport), Unreadable> {
        self.0.set_psk(PSK_SLOT, psk.expose()).expect("the slot exists and a psk has 32 bytes");
        let mut message = [0; M2_NOISE_LEN];
        match self.0.write_message(payload, &mut message) {
            Ok(M2_NOISE_LEN) => Ok((message, Transport::new(&mut self.0))),
            _ => Err(Unreadable),
        }
    }
}

/// One direction's key, and how many records it and those before it have sealed or opened: Noise's CipherState, without
/// associated data. snow's own writes beside what it reads, and a record would be copied each time.
struct Direction {
    key: AeadKey,
    count: u64,
}

impl Direction {
    fn new(key: [u8; 32]) -> Self {
        Self { key: AeadKey::new(&Zeroizing::new(key)), count: 0 }
    }

    const fn nonce(&self) -> [u8; 12] {
        // 2^64 - 1 is the rekey's. At a record a nanosecond it is 584 years away.
        chacha_nonce(self.count)
    }

    fn counts(&mut self) {
        self.count += 1;
        if self.count.is_multiple_of(REKEY_INTERVAL_RECORDS) {
            // REKEY of section 4.2: the first 32 bytes of zeros that are sealed under the last nonce.
            let mut key = Zeroizing::new([0; 32]);
            let _ = self.key.seal(chacha_nonce(u64::MAX), &[], &mut *key);
            self.key = AeadKey::new(&key);
        }
    }
}

/// The two record keys after the handshake, and how many records each has sealed or opened.
pub struct Transport {
    hash: [u8; 32],
    sends: Direction,
    receives: Direction,
}

impl Transport {
    fn new(state: &mut HandshakeState) -> Self {
        let hash = *state.get_handshake_hash().first_chunk().expect("SHA-256 has 32 bytes");
        let (initiators, responders) = state.dangerously_get_raw_split();
        let (sends, receives) = if state.is_initiator() { (initiators, responders) } else { (responders, initiators) };
        Self { hash, sends: Direction::new(sends), receives: Direction::new(receives) }
    }

    /// The handshake hash `h`: what both sides saw, and what the device signs.
    #[must_use]
    pub const fn handshake_hash(&self) -> &[u8; 32] {
        &self.hash
    }

    /// Appends the sealed record to `out`.
    ///
    /// # Panics
    /// If the plaintext is longer than a record can hold: the record layer packs to fit.
    pub fn seal(&mut self, plaintext: &[u8], out: &mut Vec<u8>) {
        let start = out.len();
        out.reserve(plaintext.len() + TAG_LEN);
        out.extend_from_slice(plaintext);
        self.seal_from(start, out);
    }

    /// Seals what `out` has from `start` on, in place.
    ///
    /// # Panics
    /// As [`Self::seal`].
    pub fn seal_from(&mut self, start: usize, out: &mut Vec<u8>) {
        let plaintext = out.get_mut(start..).unwrap_or_default();
        assert!(plaintext.len() + TAG_LEN <= RECORD_LEN_MAX, "the record layer packs to fit");
        let tag = self.sends.key.seal(self.sends.nonce(), &[], plaintext);
        out.extend_from_slice(&tag);
        self.sends.counts();
    }

    /// Opens the next record and returns its plaintext.
    ///
    /// # Errors
    /// [`Forged`] if it is not the next record of this direction, exactly as it was sealed.
    pub fn open(&mut self, record: &[u8]) -> Result<Vec<u8>, Forged> {
        let mut record = record.to_vec();
        let len = self.open_in_place(&mut record)?.len();
        record.truncate(len);
        Ok(record)
    }

    /// The same where the record lies. What does not open is wiped.
    ///
    /// # Errors
    /// As [`Self::open`].
    pub fn open_in_place<'a>(&mut self, record: &'a mut [u8]) -> Result<&'a mut [u8], Forged> {
        if record.len() > RECORD_LEN_MAX {
            return Err(Forged);
        }
        let (data, tag) = record.split_last_chunk_mut::<TAG_LEN>().ok_or(Forged)?;
        if self.receives.key.open(self.receives.nonce(), &[], data, *tag).is_err() {
            data.fill(0);
            return Err(Forged);
        }
        self.receives.counts();
        Ok(data)
    }
}

macro_rules! opaque_debug {
    ($($name:ident),*) => {$(
        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(concat!(stringify!($name), "(..)"))
            }
        }
    )*};
}
opaque_debug!(Initiator, Responder, Transport);

fn builder<'a>(randomness: Randomness, static_public: Option<[u8; 32]>) -> Builder<'a> {
    let params = NoiseParams::new(
        PROTOCOL_NAME.to_owned(),
        BaseChoice::Noise,
        HandshakeChoice {
            pattern: HandshakePattern::NK,
            modifiers: HandshakeModifierList { list: vec![HandshakeModifier::Hfs, HandshakeModifier::Psk(2)] },
        },
        DHChoice::Curve25519,
        // A mere selector: see `Resolver::resolve_kem`.
        Some(KemChoice::Kyber1024),
        CipherChoice::ChaChaPoly,
        HashChoice::SHA256,
    );
    Builder::with_resolver(params, Box::new(Resolver::new(randomness, static_public)))
}
