//! Random cases for ChaCha20 and ChaCha20-Poly1305, from a seed: a digest of all that the cipher made of them.
//!
//! `e2e/cipher.rs` compiles this module twice, with the SIMD backend of `vendor/chacha20` and with the portable one of the same
//! crate, and runs both in a browser: where the digests differ, so does a byte. A case is one of two:
//!
//! ```text
//! a stream   key, nonce, a place in the key stream (often near a block's or the counter's end), data in one to four pieces
//! a record   key, nonce, associated data; sealed, opened again, and refused after one bit was flipped
//! ```
//!
//! Data begins at any alignment, and what lies around it goes into the digest too.

use chacha20::{
    ChaCha20, KeyIvInit,
    cipher::{StreamCipher, StreamCipherSeek},
};
use duologue_aead::Key;

/// The longest data of a case: a record's plaintext.
const LEN_MAX: usize = 65_519;
/// What lies on either side of the data.
const MARGIN: usize = 16;

/// The digest of `count` cases from number `from` on.
#[expect(unsafe_code, reason = "a module's export has no other module to clash with")]
#[unsafe(no_mangle)]
pub extern "C" fn run(seed: u64, from: u64, count: u32) -> u64 {
    let mut buffer = vec![0; MARGIN + 16 + LEN_MAX + MARGIN];
    let mut digest = Digest(0);
    for number in (from..).take(count as usize) {
        // Each case has its own beginning, so that one can be run without those before it.
        let mut chance = Chance(seed ^ Chance(number).next());
        match chance.below(4) {
            0 => record(&mut chance, &mut buffer, &mut digest),
            _ => stream(&mut chance, &mut buffer, &mut digest),
        }
    }
    digest.0
}

fn stream(chance: &mut Chance, buffer: &mut [u8], digest: &mut Digest) {
    let mut cipher = ChaCha20::new(&chance.bytes::<32>().into(), &chance.bytes::<12>().into());
    let end = u64::from(u32::MAX) * 64;
    let position = match chance.below(4) {
        0 => chance.below(1_024),
        1 => (chance.below(64) * 64 + chance.below(3)).saturating_sub(1),
        2 => end - chance.below(8_192),
        _ => chance.below(end),
    };
    digest.add(&[u8::from(cipher.try_seek(position).is_ok())]);
    let (room, range) = room(chance, buffer);
    let mut rest = &mut room[range];
    for _ in 0..chance.below(4) {
        let (piece, after) = rest.split_at_mut(chance.index(rest.len() + 1));
        digest.add(&[u8::from(cipher.try_apply_keystream(piece).is_ok())]);
        rest = after;
    }
    digest.add(&[u8::from(cipher.try_apply_keystream(rest).is_ok())]);
    digest.add(room);
}

fn record(chance: &mut Chance, buffer: &mut [u8], digest: &mut Digest) {
    let (key, nonce) = (Key::new(&chance.bytes()), chance.bytes());
    let ad: [u8; 40] = chance.bytes();
    let ad = &ad[..chance.index(41)];
    let (room, range) = room(chance, buffer);
    let tag = key.seal(nonce, ad, &mut room[range.clone()]);
    digest.add(room);
    digest.add(&tag);
    let opened = key.open(nonce, ad, &mut room[range.clone()], tag);
    digest.add(&[u8::from(opened)]);
    digest.add(room);
    // Sealed again, so that what is refused differs from a record in one bit.
    let mut tag = key.seal(nonce, ad, &mut room[range.clone()]);
    let at = chance.index(range.len() + tag.len());
    match at.checked_sub(range.len()) {
        Some(at) => tag[at] ^= 1 << chance.below(8),
        None => room[range.start + at] ^= 1 << chance.below(8),
    }
    let opened = key.open(nonce, ad, &mut room[range], tag);
    assert!(!opened, "a forgery was opened");
}

/// Random data somewhere in the buffer, and where in what is returned.
fn room<'a>(chance: &mut Chance, buffer: &'a mut [u8]) -> (&'a mut [u8], std::ops::Range<usize>) {
    let len = match chance.below(100) {
        0 => chance.index(LEN_MAX + 1),
        1..=9 => chance.index(4_096),
        10..=49 => (chance.index(18) * 64 + chance.index(3)).saturating_sub(1),
        _ => chance.index(301),
    };
    let start = chance.index(16);
    let room = &mut buffer[start..start + MARGIN + len + MARGIN];
    for piece in room.chunks_mut(8) {
        piece.copy_from_slice(&chance.next().to_le_bytes()[..piece.len()]);
    }
    (room, MARGIN..MARGIN + len)
}

/// SplitMix64, as `e2e/chance.rs` has it.
struct Chance(u64);

impl Chance {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    fn below(&mut self, bound: u64) -> u64 {
        self.next() % bound
    }

    fn index(&mut self, bound: usize) -> usize {
        usize::try_from(self.below(bound as u64)).expect("below a usize")
    }

    fn bytes<const N: usize>(&mut self) -> [u8; N] {
        let mut bytes = [0; N];
        for piece in bytes.chunks_mut(8) {
            piece.copy_from_slice(&self.next().to_le_bytes()[..piece.len()]);
        }
        bytes
    }
}

/// Not a cryptographic one: nobody chooses what goes in. Each step can be undone, so that one that differs is not lost.
struct Digest(u64);

impl Digest {
    fn add(&mut self, bytes: &[u8]) {
        for piece in bytes.chunks(8) {
            let mut word = [0; 8];
            word[..piece.len()].copy_from_slice(piece);
            self.0 = (self.0 ^ u64::from_le_bytes(word)).wrapping_mul(0x9e37_79b9_7f4a_7c15).rotate_left(23);
        }
        self.0 = (self.0 ^ bytes.len() as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    }
}
