//! The published Noise vectors of our primitives, through snow with our adapters.
//!
//! Source: the 59 `25519_ChaChaPoly_SHA256` vectors of the cacophony project, as the snow crate 0.10.0 carries them in
//! `tests/vectors/cacophony.txt`; the data file holds them unchanged. They show that X25519, ChaCha20-Poly1305 and
//! SHA-256 do what Noise asks of them, in every pattern. Our own suite has no published vectors: `known_answer.rs`.

#[cfg(target_arch = "wasm32")]
use wasm_bindgen_test::wasm_bindgen_test as test;

mod hexadecimal;

use std::collections::BTreeSet;

use duologue::crypto::{RANDOMNESS_LEN, Randomness, Resolver};
use hexadecimal::Hex;
use serde::Deserialize;
use snow::{
    Builder, HandshakeState,
    params::{HandshakeModifier, NoiseParams},
};

const VECTORS: &str = include_str!("vectors/cacophony_25519_chachapoly_sha256.json");
const VECTOR_COUNT: usize = 59;
/// Messages of all vectors together.
const MESSAGE_COUNT: usize = 354;

/// Longer than every message of the vectors.
const BUFFER_LEN: usize = 1024;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Vectors {
    vectors: Vec<Vector>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Vector {
    protocol_name: String,
    init_prologue: Hex,
    #[serde(default)]
    init_psks: Vec<Hex>,
    init_static: Option<Hex>,
    init_ephemeral: Hex,
    init_remote_static: Option<Hex>,
    resp_prologue: Hex,
    #[serde(default)]
    resp_psks: Vec<Hex>,
    resp_static: Option<Hex>,
    /// Missing where the responder never speaks.
    resp_ephemeral: Option<Hex>,
    resp_remote_static: Option<Hex>,
    handshake_hash: Hex,
    messages: Vec<Message>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Message {
    payload: Hex,
    ciphertext: Hex,
}

/// What one side of a vector is given.
struct Side<'a> {
    prologue: &'a Hex,
    psks: &'a [Hex],
    local_static: Option<&'a Hex>,
    ephemeral: Option<&'a Hex>,
    remote_static: Option<&'a Hex>,
}

impl Side<'_> {
    fn start(&self, params: &NoiseParams, initiator: bool) -> HandshakeState {
        // Every ephemeral key is given, so that nothing may be drawn; zeros would show up in the messages.
        let resolver = Resolver::new(Randomness::new([0; RANDOMNESS_LEN]), None);
        let mut builder = Builder::with_resolver(params.clone(), Box::new(resolver))
            .prologue(&self.prologue.0)
            .expect("a prologue is set once");

        let slots = params.handshake.modifiers.list.iter().filter_map(|modifier| match modifier {
            HandshakeModifier::Psk(slot) => Some(*slot),
            _ => None,
        });
        assert_eq!(slots.clone().count(), self.psks.len(), "one psk for each psk token");
        for (slot, psk) in slots.zip(self.psks) {
            let psk = psk.0.as_slice().try_into().expect("a psk has 32 bytes");
            builder = builder.psk(slot, psk).expect("each slot is set once");
        }
        if let Some(key) = self.local_static {
            builder = builder.local_private_key(&key.0).expect("a static key is set once");
        }
        if let Some(key) = self.remote_static {
            builder = builder.remote_public_key(&key.0).expect("a remote key is set once");
        }
        if let Some(key) = self.ephemeral {
            builder = builder.fixed_ephemeral_key_for_testing_only(&key.0);
        }
        if initiator { builder.build_initiator() } else { builder.build_responder() }
            .expect("the resolver has every primitive, and the vector every key")
    }
}

impl Vector {
    fn initiator(&self, params: &NoiseParams) -> HandshakeState {
        let side = Side {
            prologue: &self.init_prologue,
            psks: &self.init_psks,
            local_static: self.init_static.as_ref(),
            ephemeral: Some(&self.init_ephemeral),
            remote_static: self.init_remote_static.as_ref(),
        };
        side.start(params, true)
    }

    fn responder(&self, params: &NoiseParams) -> HandshakeState {
        let side = Side {
            prologue: &self.resp_prologue,
            psks: &self.resp_psks,
            local_static: self.resp_static.as_ref(),
            ephemeral: self.resp_ephemeral.as_ref(),
            remote_static: self.resp_remote_static.as_ref(),
        };
        side.start(params, false)
    }

    /// Runs the vector and returns how many messages the initiator and the responder have written.
    fn run(&self) -> [usize; 2] {
        let name = &self.protocol_name;
        let params: NoiseParams = name.parse().expect("snow knows the pattern");
        let one_way = params.handshake.pattern.is_oneway();
        let (mut initiator, mut responder) = (self.initiator(&params), self.responder(&params));
        let mut written = [0, 0];
        let mut buffer = [0; BUFFER_LEN];
        let mut messages = self.messages.iter();

        while !initiator.is_handshake_finished() {
            let Message { payload, ciphertext } = messages.next().expect("the vector goes beyond the handshake");
            let (writer, reader, side) = if initiator.is_my_turn() {
                (&mut initiator, &mut responder, 0)
            } else {
                (&mut responder, &mut initiator, 1)
            };
            let len = writer.write_message(&payload.0, &mut buffer).expect("the writer has all it needs");
            assert_eq!(hex::encode(&buffer[..len]), hex::encode(&ciphertext.0), "{name}: handshake ciphertext");
            let len = reader.read_message(&ciphertext.0, &mut buffer).expect("the vector's message is genuine");
            assert_eq!(hex::encode(&buffer[..len]), hex::encode(&payload.0), "{name}: handshake payload");
            written[side] += 1;
        }
        assert!(responder.is_handshake_finished(), "{name}: both sides finish together");
        assert_eq!(initiator.get_handshake_hash(), self.handshake_hash.0, "{name}: the initiator's handshake hash");
        assert_eq!(responder.get_handshake_hash(), self.handshake_hash.0, "{name}: the responder's handshake hash");

        let mut initiator = initiator.into_transport_mode().expect("the handshake is finished");
        let mut responder = responder.into_transport_mode().expect("the handshake is finished");
        // The turns go on where the handshake left them.
        let mut side = if one_way { 0 } else { (written[0] + written[1]) % 2 };
        for Message { payload, ciphertext } in messages {
            let (writer, reader) =
                if side == 0 { (&mut initiator, &mut responder) } else { (&mut responder, &mut initiator) };
            let len = writer.write_message(&payload.0, &mut buffer).expect("the message fits");
            assert_eq!(hex::encode(&buffer[..len]), hex::encode(&ciphertext.0), "{name}: transport ciphertext");
            let len = reader.read_message(&ciphertext.0, &mut buffer).expect("the vector's message is genuine");
            assert_eq!(hex::encode(&buffer[..len]), hex::encode(&payload.0), "{name}: transport payload");
            written[side] += 1;
            side = if one_way { 0 } else { 1 - side };
        }
        assert!(written[0] > 0 && (one_way || written[1] > 0), "{name}: every side that may speak has spoken");
        written
    }
}

#[test]
fn every_published_vector_of_our_primitives_matches_in_both_directions() {
    let Vectors { vectors } =
        serde_json::from_str(VECTORS).expect("the data file has the fields of cacophony's vectors");
    let mut names = BTreeSet::new();
    let mut messages = 0;
    for vector in &vectors {
        assert!(
            vector.protocol_name.ends_with("_25519_ChaChaPoly_SHA256"),
            "{} has our primitives",
            vector.protocol_name
        );
        assert!(names.insert(&vector.protocol_name), "{} stands in the file once", vector.protocol_name);
        let written = vector.run();
        assert_eq!(written[0] + written[1], vector.messages.len(), "{}: every message ran", vector.protocol_name);
        messages += vector.messages.len();
    }
    assert_eq!(names.len(), VECTOR_COUNT);
    assert_eq!(messages, MESSAGE_COUNT);
}
