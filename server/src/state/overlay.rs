//! A file that is only read, for whoever must write: what is written stays in memory, and goes with it.
//!
//! redb puts a file in order before it reads from it, and a disk that takes no writes any more would keep it from that. The owner
//! must see his devices even then.

use std::{
    collections::BTreeMap,
    io,
    sync::{Mutex, PoisonError},
};

use redb::StorageBackend;

/// What is kept of what was written, in pieces of so many bytes.
const PIECE_LEN: usize = 4_096;

/// Reads what lies below, but for what was written here.
#[derive(Debug)]
pub(super) struct Overlay<S> {
    below: S,
    written: Mutex<Written>,
}

#[derive(Debug)]
struct Written {
    len: u64,
    /// As much of what lies below is still there: it may have been cut and made longer again.
    below_len: u64,
    pieces: BTreeMap<u64, Box<[u8; PIECE_LEN]>>,
}

impl<S: StorageBackend> Overlay<S> {
    pub(super) fn over(below: S) -> io::Result<Self> {
        let len = below.len()?;
        Ok(Self { below, written: Mutex::new(Written { len, below_len: len, pieces: BTreeMap::new() }) })
    }

    fn read_in(&self, written: &Written, offset: u64, out: &mut [u8]) -> io::Result<()> {
        let len = out.len() as u64;
        if offset.checked_add(len).is_none_or(|end| end > written.len) {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        let from_below = usize::try_from(written.below_len.saturating_sub(offset)).unwrap_or(usize::MAX).min(out.len());
        let (below, beyond) = out.split_at_mut(from_below);
        if !below.is_empty() {
            self.below.read(offset, below)?;
        }
        beyond.fill(0);
        for (number, from, to, at) in pieces_of(offset, out.len()) {
            if let Some(piece) = written.pieces.get(&number)
                && let (Some(out), Some(piece)) = (out.get_mut(at..at + to - from), piece.get(from..to))
            {
                out.copy_from_slice(piece);
            }
        }
        Ok(())
    }
}

/// The pieces that a range touches: their number, from where to where in it, and where that is in the range.
fn pieces_of(offset: u64, len: usize) -> impl Iterator<Item = (u64, usize, usize, usize)> {
    let mut at = 0;
    std::iter::from_fn(move || {
        let here = offset + at as u64;
        let from = usize::try_from(here % PIECE_LEN as u64).expect("less than a piece");
        let piece_len = (PIECE_LEN - from).min(len - at);
        let piece = (piece_len > 0).then_some((here / PIECE_LEN as u64, from, from + piece_len, at));
        at += piece_len;
        piece
    })
}

impl<S: StorageBackend> StorageBackend for Overlay<S> {
    fn len(&self) -> io::Result<u64> {
        Ok(self.written.lock().unwrap_or_else(PoisonError::into_inner).len)
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        self.read_in(&self.written.lock().unwrap_or_else(PoisonError::into_inner), offset, out)
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        let mut written = self.written.lock().unwrap_or_else(PoisonError::into_inner);
        if len < written.len {
            written.below_len = written.below_len.min(len);
            let last = len / PIECE_LEN as u64;
            written.pieces.split_off(&(last + 1));
            let kept = usize::try_from(len % PIECE_LEN as u64).expect("less than a piece");
            if let Some(rest) = written.pieces.get_mut(&last).and_then(|piece| piece.get_mut(kept..)) {
                rest.fill(0);
            }
        }
        written.len = len;
        Ok(())
    }

    fn sync_data(&self) -> io::Result<()> {
        Ok(())
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        let mut written = self.written.lock().unwrap_or_else(PoisonError::into_inner);
        if offset.checked_add(data.len() as u64).is_none_or(|end| end > written.len) {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        for (number, from, to, at) in pieces_of(offset, data.len()) {
            if !written.pieces.contains_key(&number) {
                let start = number * PIECE_LEN as u64;
                let there = usize::try_from(written.len - start).unwrap_or(usize::MAX).min(PIECE_LEN);
                let mut piece = Box::new([0; PIECE_LEN]);
                self.read_in(&written, start, piece.get_mut(..there).unwrap_or_default())?;
                written.pieces.insert(number, piece);
            }
            let piece = written.pieces.get_mut(&number).and_then(|piece| piece.get_mut(from..to));
            if let (Some(piece), Some(data)) = (piece, data.get(at..at + to - from)) {
                piece.copy_from_slice(data);
            }
        }
        Ok(())
    }

    fn close(&self) -> io::Result<()> {
        self.below.close()
    }
}

#[cfg(test)]
mod tests {
    use redb::backends::InMemoryBackend;

    use super::*;

    #[test]
    fn it_reads_as_a_file_that_was_written_and_leaves_what_lies_below() {
        let (below, plain) = (InMemoryBackend::new(), InMemoryBackend::new());
        for backend in [&below, &plain] {
            backend.set_len(20_000).expect("in memory");
            backend.write(0, &[1; 20_000]).expect("in memory");
        }
        let overlay = Overlay::over(below).expect("in memory");
        let same = |step: &str| {
            let len = plain.len().expect("in memory");
            assert_eq!(StorageBackend::len(&overlay).expect("in memory"), len, "{step}");
            let (mut one, mut other) =
                (vec![7; usize::try_from(len).expect("small")], vec![9; usize::try_from(len).expect("small")]);
            plain.read(0, &mut one).expect("in memory");
            overlay.read(0, &mut other).expect("in memory");
            assert!(one == other, "{step}");
        };
        same("at first");
        for (step, offset, len) in
            [("within", 100, 10), ("across", 4_000, 9_000), ("to the end", 19_990, 10), ("none", 5, 0)]
        {
            plain.write(offset, &vec![2; len]).expect("in memory");
            overlay.write(offset, &vec![2; len]).expect("in memory");
            same(step);
        }
        for (step, len) in
            [("cut within a piece", 9_000), ("longer again", 30_000), ("cut at a piece", 8_192), ("longer", 9_000)]
        {
            plain.set_len(len).expect("in memory");
            overlay.set_len(len).expect("in memory");
            same(step);
        }
        overlay.write(8_990, &[3; 11]).expect_err("beyond its end");
        overlay.read(8_999, &mut [0; 2]).expect_err("beyond its end");
        let mut below = [0; 20_000];
        overlay.below.read(0, &mut below).expect("in memory");
        assert_eq!(below, [1; 20_000]);
    }
}
