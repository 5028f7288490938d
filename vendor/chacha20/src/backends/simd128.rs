//! WebAssembly `simd128` backend.
//!
//! The structure is that of the SSE2 backend: each block is four vectors, one for each row of the state, and four blocks are
//! computed side by side. A block on its own is computed on its own.

use crate::{Rounds, STATE_WORDS, Variant};

#[cfg(feature = "rng")]
use crate::ChaChaCore;

#[cfg(feature = "cipher")]
use crate::chacha::Block;
#[cfg(feature = "cipher")]
use cipher::{
    BlockSizeUser, ParBlocks, ParBlocksSizeUser, StreamCipherBackend, StreamCipherClosure,
    consts::{U4, U64},
};
use core::{arch::wasm32::*, marker::PhantomData};

const PAR_BLOCKS: usize = 4;

#[inline]
#[cfg(feature = "cipher")]
pub(crate) fn inner<R, F, V>(state: &mut [u32; STATE_WORDS], f: F)
where
    R: Rounds,
    F: StreamCipherClosure<BlockSize = U64>,
    V: Variant,
{
    let mut backend = Backend::<R, V>::new(state);
    f.call(&mut backend);
    backend.save_ctr(state);
}

#[inline]
#[cfg(feature = "rng")]
pub(crate) fn rng_inner<R, V>(core: &mut ChaChaCore<R, V>, buffer: &mut [u32; 64])
where
    R: Rounds,
    V: Variant,
{
    let mut backend = Backend::<R, V>::new(&core.state);
    backend.gen_ks_blocks(buffer);
    backend.save_ctr(&mut core.state);
}

struct Backend<R: Rounds, V: Variant> {
    v: [v128; 4],
    _pd: PhantomData<(R, V)>,
}

impl<R: Rounds, V: Variant> Backend<R, V> {
    #[inline(always)]
    fn new(state: &[u32; STATE_WORDS]) -> Self {
        let [a0, a1, a2, a3, b0, b1, b2, b3, c0, c1, c2, c3, d0, d1, d2, d3] = *state;
        Self {
            v: [
                u32x4(a0, a1, a2, a3),
                u32x4(b0, b1, b2, b3),
                u32x4(c0, c1, c2, c3),
                u32x4(d0, d1, d2, d3),
            ],
            _pd: PhantomData,
        }
    }

    #[inline(always)]
    fn save_ctr(self, state: &mut [u32; STATE_WORDS]) {
        state[12] = u32x4_extract_lane::<0>(self.v[3]);
        state[13] = u32x4_extract_lane::<1>(self.v[3]);
    }
}

#[cfg(feature = "cipher")]
impl<R: Rounds, V: Variant> BlockSizeUser for Backend<R, V> {
    type BlockSize = U64;
}

#[cfg(feature = "cipher")]
impl<R: Rounds, V: Variant> ParBlocksSizeUser for Backend<R, V> {
    type ParBlocksSize = U4;
}

#[cfg(feature = "cipher")]
impl<R: Rounds, V: Variant> StreamCipherBackend for Backend<R, V> {
    #[inline(always)]
    fn gen_ks_block(&mut self, block: &mut Block) {
        let [res] = rounds::<R, V, 1>(&self.v);
        self.v[3] = add_counter::<V>(self.v[3], 1);
        store(&res, &mut block.0);
    }

    #[inline(always)]
    fn gen_par_ks_blocks(&mut self, blocks: &mut ParBlocks<Self>) {
        let res = rounds::<R, V, PAR_BLOCKS>(&self.v);
        self.v[3] = add_counter::<V>(self.v[3], PAR_BLOCKS as u32);
        for (block, rows) in blocks.iter_mut().zip(&res) {
            store(rows, &mut block.0);
        }
    }
}

#[cfg(feature = "rng")]
impl<R: Rounds, V: Variant> Backend<R, V> {
    #[inline(always)]
    fn gen_ks_blocks(&mut self, buffer: &mut [u32; 64]) {
        let res = rounds::<R, V, PAR_BLOCKS>(&self.v);
        self.v[3] = add_counter::<V>(self.v[3], PAR_BLOCKS as u32);
        for (words, row) in buffer.chunks_exact_mut(4).zip(res.as_flattened()) {
            words[0] = u32x4_extract_lane::<0>(*row);
            words[1] = u32x4_extract_lane::<1>(*row);
            words[2] = u32x4_extract_lane::<2>(*row);
            words[3] = u32x4_extract_lane::<3>(*row);
        }
    }
}

/// WebAssembly is little-endian, as ChaCha's blocks are.
#[cfg(feature = "cipher")]
#[inline(always)]
fn store(rows: &[v128; 4], block: &mut [u8; 64]) {
    const _: () = assert!(size_of::<[v128; 4]>() == size_of::<[u8; 64]>());
    let block_ptr = block.as_mut_ptr().cast::<v128>();
    for (i, row) in rows.iter().enumerate() {
        // SAFETY: the four vectors fill the block exactly, and `v128_store` needs no alignment
        unsafe { v128_store(block_ptr.add(i), *row) }
    }
}

#[inline(always)]
fn add_counter<V: Variant>(row: v128, blocks: u32) -> v128 {
    match size_of::<V::Counter>() {
        4 => u32x4_add(row, u32x4(blocks, 0, 0, 0)),
        8 => u64x2_add(row, u64x2(u64::from(blocks), 0)),
        _ => unreachable!(),
    }
}

#[inline(always)]
fn rounds<R: Rounds, V: Variant, const N: usize>(v: &[v128; 4]) -> [[v128; 4]; N] {
    let mut start = [*v; N];
    for (block, i) in start.iter_mut().zip(0..) {
        block[3] = add_counter::<V>(block[3], i);
    }

    let mut res = start;
    for _ in 0..R::COUNT {
        double_quarter_round(&mut res);
    }

    for (block, start) in res.iter_mut().zip(&start) {
        for (row, start) in block.iter_mut().zip(start) {
            *row = u32x4_add(*row, *start);
        }
    }
    res
}

#[inline(always)]
fn double_quarter_round<const N: usize>(blocks: &mut [[v128; 4]; N]) {
    add_xor_rot(blocks);
    rows_to_cols(blocks);
    add_xor_rot(blocks);
    cols_to_rows(blocks);
}

/// See the function of the same name of the SSE2 backend for why `b` stays where it is.
#[inline(always)]
fn rows_to_cols<const N: usize>(blocks: &mut [[v128; 4]; N]) {
    for [a, _, c, d] in blocks {
        // c >>>= 32; d >>>= 64; a >>>= 96;
        *c = i32x4_shuffle::<1, 2, 3, 0>(*c, *c);
        *d = i32x4_shuffle::<2, 3, 0, 1>(*d, *d);
        *a = i32x4_shuffle::<3, 0, 1, 2>(*a, *a);
    }
}

/// Reverses the transformation of [`rows_to_cols`].
#[inline(always)]
fn cols_to_rows<const N: usize>(blocks: &mut [[v128; 4]; N]) {
    for [a, _, c, d] in blocks {
        // c <<<= 32; d <<<= 64; a <<<= 96;
        *c = i32x4_shuffle::<3, 0, 1, 2>(*c, *c);
        *d = i32x4_shuffle::<2, 3, 0, 1>(*d, *d);
        *a = i32x4_shuffle::<1, 2, 3, 0>(*a, *a);
    }
}

#[inline(always)]
fn add_xor_rot<const N: usize>(blocks: &mut [[v128; 4]; N]) {
    for [a, b, c, d] in blocks {
        // a += b; d ^= a; d <<<= (16, 16, 16, 16);
        *a = u32x4_add(*a, *b);
        *d = rotate_left::<16, 16>(v128_xor(*d, *a));

        // c += d; b ^= c; b <<<= (12, 12, 12, 12);
        *c = u32x4_add(*c, *d);
        *b = rotate_left::<12, 20>(v128_xor(*b, *c));

        // a += b; d ^= a; d <<<= (8, 8, 8, 8);
        *a = u32x4_add(*a, *b);
        *d = rotate_left::<8, 24>(v128_xor(*d, *a));

        // c += d; b ^= c; b <<<= (7, 7, 7, 7);
        *c = u32x4_add(*c, *d);
        *b = rotate_left::<7, 25>(v128_xor(*b, *c));
    }
}

/// Each lane, by `LEFT` bits; `RIGHT` is 32 less that.
#[inline(always)]
fn rotate_left<const LEFT: u32, const RIGHT: u32>(v: v128) -> v128 {
    const { assert!(LEFT + RIGHT == 32) };
    v128_xor(u32x4_shl(v, LEFT), u32x4_shr(v, RIGHT))
}
