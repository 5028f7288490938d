//! The hashes of what is held of an upload, and their state beside the partial file, so that going on costs no reading of all that
//! has come: 90 bytes once cost 15 s of work for 10 GB.
//!
//! The state is of so many bytes of one file in one run of the system: what was written before a loss of power may not be there,
//! so that after a start of the machine everything is read once more. Saved each [`SAVED_BYTES`]; what came after is read again.
//! The hash is that of RustCrypto, because ring keeps its state to itself.

use std::{
    fs::{self, File, OpenOptions},
    io::{self, BufRead, BufReader, Read, Seek, SeekFrom, Write},
    os::unix::fs::{MetadataExt, OpenOptionsExt},
    path::{Path, PathBuf},
};

use sha2::{
    Digest, Sha256,
    digest::common::hazmat::{SerializableState, SerializedState},
};

use super::BLOCK_BYTES;

/// What is held is hashed in blocks of so many bytes too: browsers hash only what is in memory as a whole.
const HASHED_BLOCK_BYTES: u64 = 4 * 1_024 * 1_024;
/// At most so many bytes are read once more.
const SAVED_BYTES: u64 = 1_024 * 1_024;
/// A mark of this layout.
const LAYOUT: &[u8; 8] = b"duohash1";

/// Over the first `len` bytes of a file.
#[derive(Clone)]
pub(super) struct Hashes {
    whole: Sha256,
    /// Over the hashes of whole blocks, and over the block that is not whole.
    blocks: Sha256,
    block: Sha256,
    len: u64,
    saved: u64,
}

impl Hashes {
    fn new() -> Self {
        Self { whole: Sha256::new(), blocks: Sha256::new(), block: Sha256::new(), len: 0, saved: 0 }
    }

    pub(super) fn update(&mut self, mut bytes: &[u8]) {
        self.whole.update(bytes);
        while !bytes.is_empty() {
            let left = HASHED_BLOCK_BYTES - self.len % HASHED_BLOCK_BYTES;
            let now = usize::try_from(left).unwrap_or(bytes.len()).min(bytes.len());
            let (head, rest) = bytes.split_at(now);
            self.block.update(head);
            self.len += head.len() as u64;
            if self.len.is_multiple_of(HASHED_BLOCK_BYTES) {
                self.blocks.update(self.block.finalize_reset());
            }
            bytes = rest;
        }
    }

    pub(super) fn len(&self) -> u64 {
        self.len
    }

    pub(super) fn sha256(&self) -> [u8; 32] {
        self.whole.clone().finalize().into()
    }

    /// See PROTOCOL.md, section 12.
    pub(super) fn blocks(&self) -> [u8; 32] {
        let mut blocks = self.blocks.clone();
        if !self.len.is_multiple_of(HASHED_BLOCK_BYTES) {
            blocks.update(self.block.clone().finalize());
        }
        blocks.finalize().into()
    }

    /// Of a file, to its end, where its cursor then is: from the state on, if there is one that fits.
    pub(super) fn of_held(file: &mut File, state: &Path) -> io::Result<Self> {
        let held = file.metadata()?;
        let mut hashes = read_state(state, &held).unwrap_or_else(Self::new);
        file.seek(SeekFrom::Start(hashes.len))?;
        let mut rest = BufReader::with_capacity(BLOCK_BYTES, (&mut *file).take(held.len() - hashes.len));
        loop {
            let bytes = rest.fill_buf()?;
            if bytes.is_empty() {
                break;
            }
            let len = bytes.len();
            hashes.update(bytes);
            rest.consume(len);
        }
        let end = hashes.len;
        file.seek(SeekFrom::Start(end))?;
        if hashes.len > hashes.saved {
            hashes.save(file, state);
        }
        Ok(hashes)
    }

    /// Saves the state now and then. That it could not be costs a reading, and nothing else.
    pub(super) fn save_now_and_then(&mut self, file: &File, state: &Path) {
        if self.len >= self.saved.saturating_add(SAVED_BYTES) {
            self.save(file, state);
        }
    }

    fn save(&mut self, file: &File, state: &Path) {
        self.saved = self.len;
        let saved = || -> io::Result<()> {
            let bytes = self.to_bytes(&file.metadata()?);
            // Short enough to be written at once; a half one has another sum at its end.
            let mut options = OpenOptions::new();
            options.write(true).create(true).truncate(true).mode(0o600).open(state)?.write_all(&bytes)
        };
        if let Err(error) = saved() {
            tracing::debug!(%error, "the state of a hash could not be kept");
        }
    }

    fn to_bytes(&self, file: &fs::Metadata) -> Vec<u8> {
        let mut bytes = LAYOUT.to_vec();
        bytes.extend(of_this_run());
        bytes.extend(file.dev().to_be_bytes());
        bytes.extend(file.ino().to_be_bytes());
        bytes.extend(self.len.to_be_bytes());
        for hash in [&self.whole, &self.blocks, &self.block] {
            bytes.extend_from_slice(&hash.serialize());
        }
        bytes.extend(Sha256::digest(&bytes));
        bytes
    }
}

fn read_state(path: &Path, file: &fs::Metadata) -> Option<Hashes> {
    if !fs::symlink_metadata(path).ok()?.is_file() {
        return None;
    }
    let mut bytes = Vec::new();
    File::open(path).ok()?.take(4_096).read_to_end(&mut bytes).ok()?;
    let (said, sum) = bytes.split_at_checked(bytes.len().checked_sub(32)?)?;
    if Sha256::digest(said).as_slice() != sum {
        return None;
    }
    let rest = said.strip_prefix(LAYOUT)?.strip_prefix(&of_this_run())?;
    let rest = rest.strip_prefix(&file.dev().to_be_bytes())?.strip_prefix(&file.ino().to_be_bytes())?;
    let (len, mut rest) = rest.split_first_chunk::<8>()?;
    let len = u64::from_be_bytes(*len);
    let mut hash = || {
        let (state, after) = rest.split_at_checked(size_of::<SerializedState<Sha256>>())?;
        rest = after;
        Sha256::deserialize(&SerializedState::<Sha256>::try_from(state).ok()?).ok()
    };
    let (whole, blocks, block) = (hash()?, hash()?, hash()?);
    (rest.is_empty() && len <= file.len()).then_some(Hashes { whole, blocks, block, len, saved: len })
}

/// Which run of the system this is. Where it does not say, no state fits another process's.
fn of_this_run() -> [u8; 32] {
    let run = fs::read("/proc/sys/kernel/random/boot_id").unwrap_or_else(|_| std::process::id().to_be_bytes().to_vec());
    Sha256::digest(run).into()
}

/// Where the state of a partial file is: in a folder of its own, which nobody counts.
pub(super) fn state_of(partials: &Path, partial: &str) -> PathBuf {
    partials.join("hashes").join(partial)
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Bench(tempfile::TempDir);

    impl Bench {
        fn new(bytes: &[u8]) -> Self {
            let bench = Self(tempfile::tempdir().expect("a directory"));
            fs::write(bench.file(), bytes).expect("writes");
            bench
        }

        fn file(&self) -> PathBuf {
            self.0.path().join("partial")
        }

        fn state(&self) -> PathBuf {
            self.0.path().join("state")
        }

        fn held(&self) -> Hashes {
            let mut file = OpenOptions::new().read(true).write(true).open(self.file()).expect("opens");
            Hashes::of_held(&mut file, &self.state()).expect("reads")
        }
    }

    fn bytes(len: usize) -> Vec<u8> {
        (0..len).map(|number| u8::try_from(number * 7 % 251).unwrap_or(0)).collect()
    }

    #[test]
    fn what_is_held_is_not_read_again() {
        // 9 MB: two whole blocks, and a part of one.
        let all = bytes(9_000_000);
        let bench = Bench::new(&all);
        let first = bench.held();
        // What was hashed is not looked at any more: other bytes there do not show.
        let other = vec![0; all.len()];
        fs::write(bench.file(), &other).expect("writes");
        let again = bench.held();
        assert_eq!((again.sha256(), again.blocks(), again.len()), (first.sha256(), first.blocks(), first.len()));
        // What came after the state is.
        let mut file = OpenOptions::new().append(true).open(bench.file()).expect("opens");
        file.write_all(b"more").expect("writes");
        let more = bench.held();
        assert_eq!(more.sha256(), <[u8; 32]>::from(Sha256::digest([&all[..], b"more"].concat())));
        assert_eq!(more.len(), 9_000_004);
    }

    #[test]
    fn a_state_that_is_missing_damaged_or_of_another_file_costs_one_reading() {
        let bench = Bench::new(&bytes(5_000_000));
        let expected = bench.held().blocks();
        let state = fs::read(bench.state()).expect("saved");
        for at in [0, 10, 60, 100, state.len() - 40, state.len() - 1] {
            let mut damaged = state.clone();
            damaged[at] ^= 1;
            fs::write(bench.state(), damaged).expect("writes");
            assert_eq!(bench.held().blocks(), expected, "{at}");
        }
        for cut in [0, 8, 31, 32, state.len() - 1] {
            fs::write(bench.state(), &state[..cut]).expect("writes");
            assert_eq!(bench.held().blocks(), expected, "{cut}");
        }
        fs::remove_file(bench.state()).expect("removes");
        assert_eq!(bench.held().blocks(), expected);
        // A shorter file than the state is of.
        fs::write(bench.file(), b"short").expect("writes");
        assert_eq!(bench.held().sha256(), <[u8; 32]>::from(Sha256::digest(b"short")));
        // Another file under its name.
        fs::write(bench.0.path().join("new"), b"xxxxxx").expect("writes");
        fs::rename(bench.0.path().join("new"), bench.file()).expect("moves");
        assert_eq!(bench.held().sha256(), <[u8; 32]>::from(Sha256::digest(b"xxxxxx")));
    }

    #[test]
    fn blocks_are_hashed_however_the_bytes_come() {
        let all = bytes(8_388_608 + 5);
        for step in [1_000_003, 4_194_304, 8_388_608, 8_388_613] {
            let mut hashes = Hashes::new();
            all.chunks(step).for_each(|bytes| hashes.update(bytes));
            let mut expected = Sha256::new();
            all.chunks(4_194_304).for_each(|block| expected.update(Sha256::digest(block)));
            assert_eq!(hashes.blocks(), <[u8; 32]>::from(expected.finalize()), "{step}");
        }
        assert_eq!(Hashes::new().blocks(), <[u8; 32]>::from(Sha256::digest(b"")));
    }
}
