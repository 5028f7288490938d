//! Records: padding plaintext to buckets, so that its length says little.
//!
//! Sealing and opening is `noise::Transport`; what a plaintext holds is `frame.rs`.

use alloc::vec::Vec;

use crate::limits::RECORD_PLAINTEXT_LEN_MAX;

/// Pads the plaintext that begins at `start` with zeros to the next bucket.
pub(crate) fn pad(start: usize, out: &mut Vec<u8>) {
    out.resize(start + bucket(out.len() - start), 0);
}

/// Steps of 64 bytes to 1 KiB, then of 1 KiB, at most a whole record.
pub(crate) fn bucket(len: usize) -> usize {
    let step = if len <= 1_024 { 64 } else { 1_024 };
    len.max(1).next_multiple_of(step).min(RECORD_PLAINTEXT_LEN_MAX)
}

#[cfg(test)]
mod tests {
    #[cfg(target_arch = "wasm32")]
    use wasm_bindgen_test::wasm_bindgen_test as test;

    use super::*;

    #[test]
    fn lengths_fall_into_buckets() {
        for (len, expected) in [(0, 64), (1, 64), (64, 64), (65, 128), (1_024, 1_024), (1_025, 2_048), (65_519, 65_519)]
        {
            assert_eq!(bucket(len), expected, "{len}");
        }
        assert_eq!(bucket(64_513), RECORD_PLAINTEXT_LEN_MAX);
    }
}
