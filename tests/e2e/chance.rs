//! Random choices of a test. The seed is printed, and shown where the test fails; `DUOLOGUE_SEED` repeats it.

/// SplitMix64: small, and good enough to choose a byte.
pub(crate) struct Chance(u64);

impl Chance {
    /// From `DUOLOGUE_SEED`, else from the operating system.
    pub(crate) fn new() -> Self {
        let seed = match std::env::var("DUOLOGUE_SEED") {
            Ok(text) => text.parse().expect("DUOLOGUE_SEED is a number"),
            Err(_) => u64::from_le_bytes(random()),
        };
        println!("DUOLOGUE_SEED={seed} repeats this");
        Self(seed)
    }

    /// A number below `bound`.
    pub(crate) fn below(&mut self, bound: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        let bound = u64::try_from(bound).expect("a small number");
        usize::try_from((mixed ^ (mixed >> 31)) % bound).expect("below a usize")
    }
}

/// Bytes that nobody has seen before: payloads to look for, and garbage.
pub(crate) fn random<const N: usize>() -> [u8; N] {
    let mut bytes = [0; N];
    getrandom::fill(&mut bytes).expect("the operating system gives random bytes");
    bytes
}
