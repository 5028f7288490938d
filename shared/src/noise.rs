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

use snow::{
    Builder, HandshakeState, TransportState,
    params::{
        BaseChoice, CipherChoice, DHChoice, HandshakeChoice, HandshakeModifier, HandshakeModifierList,
        HandshakePattern, HashChoice, KemChoice, NoiseParams,
    },
};
use thiserror::Error;

use crate::{
    crypto::{Forged, Randomness, Resolver, Secret, TAG_LEN},
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
                return Ok((index, payload, Transport::new(self.0)));
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
            Ok(M2_NOISE_LEN) => Ok((message, Transport::new(self.0))),
            _ => Err(Unreadable),
        }
    }
}

/// The two record keys after the handshake, and how many records each has sealed or opened.
pub struct Transport {
    state: Box<TransportState>,
    hash: [u8; 32],
    sealed: u64,
    opened: u64,
}

impl Transport {
    fn new(state: HandshakeState) -> Self {
        let hash = *state.get_handshake_hash().first_chunk().expect("SHA-256 has 32 bytes");
        let state = Box::new(state.into_transport_mode().expect("both handshake messages have passed"));
        Self { state, hash, sealed: 0, opened: 0 }
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
        assert!(plaintext.len() + TAG_LEN <= RECORD_LEN_MAX, "the record layer packs to fit");
        let start = out.len();
        out.resize(start + plaintext.len() + TAG_LEN, 0);
        out.get_mut(start..)
            .and_then(|room| self.state.write_message(plaintext, room).ok())
            .expect("the record fits, and 2^64 records are never reached");
        self.sealed += 1;
        if self.sealed.is_multiple_of(REKEY_INTERVAL_RECORDS) {
            self.state.rekey_outgoing();
        }
    }

    /// Opens the next record and returns its plaintext.
    ///
    /// # Errors
    /// [`Forged`] if it is not the next record of this direction, exactly as it was sealed.
    pub fn open(&mut self, record: &[u8]) -> Result<Vec<u8>, Forged> {
        if record.len() > RECORD_LEN_MAX {
            return Err(Forged);
        }
        let mut plaintext = vec![0; record.len().checked_sub(TAG_LEN).ok_or(Forged)?];
        self.state.read_message(record, &mut plaintext).map_err(|_| Forged)?;
        self.opened += 1;
        if self.opened.is_multiple_of(REKEY_INTERVAL_RECORDS) {
            self.state.rekey_incoming();
        }
        Ok(plaintext)
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
