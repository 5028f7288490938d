//! The files of an audit log: their names, and how they are read.
//!
//! ```text
//! audit-00000000000000000001.jsonl.gz     closed: its last line names the key of the next one
//! audit-00000000000000010001.jsonl        being written; the number is that of its first line
//! audit-00000000000000000000.removed.jsonl   the last lines of files that were removed after their time
//! ```
//!
//! The numbers have all their digits, so that names in their order are lines in theirs.

use std::{
    fs::{self, File},
    io::{self, BufRead, BufReader, Read, Write},
    os::unix::fs::OpenOptionsExt,
    path::{Path, PathBuf},
};

use flate2::{Compression, read::MultiGzDecoder, write::GzEncoder};

use super::key::sync_directory;

const PREFIX: &str = "audit-";
const PLAIN: &str = ".jsonl";
const PACKED: &str = ".jsonl.gz";
const REMOVED: &str = ".removed.jsonl";

/// A file of the log.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Part {
    /// The number of its first line.
    pub(super) first: u64,
    pub(super) path: PathBuf,
}

impl Part {
    pub(super) fn is_packed(&self) -> bool {
        ends_with(&self.path, PACKED)
    }
}

/// The file that begins with a line of this number.
pub(super) fn path_of(directory: &Path, first: u64) -> PathBuf {
    directory.join(format!("{PREFIX}{first:020}{PLAIN}"))
}

/// What is left of removed files.
pub(super) fn removed_path(directory: &Path) -> PathBuf {
    directory.join(format!("{PREFIX}{:020}{REMOVED}", 0))
}

/// Whether a file has what is left of removed ones.
pub(super) fn is_of_removed(path: &Path) -> bool {
    ends_with(path, REMOVED)
}

fn ends_with(path: &Path, end: &str) -> bool {
    path.file_name().is_some_and(|name| name.to_string_lossy().ends_with(end))
}

/// The files of a directory, in their order. Where one is there twice, because a crash came between, the plain one stands for both.
pub(super) fn parts(directory: &Path) -> io::Result<Vec<Part>> {
    let mut parts = Vec::new();
    for entry in fs::read_dir(directory)? {
        let path = entry?.path();
        let name = path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
        let number = name.strip_prefix(PREFIX).and_then(|name| name.strip_suffix(PACKED).or(name.strip_suffix(PLAIN)));
        if let Some(first) = number.and_then(|number| number.parse().ok()).filter(|first| *first > 0) {
            parts.push(Part { first, path });
        }
    }
    // `.jsonl` stands before `.jsonl.gz`.
    parts.sort();
    parts.dedup_by_key(|part| part.first);
    Ok(parts)
}

/// A file to be read, unpacked where it is packed.
///
/// # Errors
/// If it cannot be opened.
pub(super) fn open(path: &Path) -> io::Result<Box<dyn BufRead>> {
    let file = File::open(path)?;
    // All members, so that nothing behind the first one goes unseen.
    Ok(match ends_with(path, ".gz") {
        true => Box::new(BufReader::new(MultiGzDecoder::new(BufReader::new(file)))),
        false => Box::new(BufReader::new(file)),
    })
}

/// A line without its end, in `line`, of at most so many bytes: `Ok(None)` at the end of all; `Some(false)` if the line has no end.
pub(super) fn read_line(read: &mut impl BufRead, line: &mut Vec<u8>, len_max: usize) -> io::Result<Option<bool>> {
    line.clear();
    let limit = u64::try_from(len_max).unwrap_or(u64::MAX).saturating_add(1);
    if read.take(limit).read_until(b'\n', line)? == 0 {
        return Ok(None);
    }
    let is_whole = line.last() == Some(&b'\n');
    if is_whole {
        line.pop();
    }
    Ok(Some(is_whole))
}

/// The last whole line of a file; none if it has none.
pub(super) fn last_line(path: &Path, len_max: usize) -> io::Result<Option<Vec<u8>>> {
    let mut read = open(path)?;
    let (mut line, mut last) = (Vec::new(), None);
    while read_line(&mut read, &mut line, len_max)? == Some(true) {
        last = Some(std::mem::take(&mut line));
    }
    Ok(last)
}

/// Packs a file that is closed. It goes only when what took its place is whole and on disk.
pub(super) fn pack(path: &Path) -> io::Result<()> {
    let mut packed = path.as_os_str().to_owned();
    packed.push(".gz");
    let mut beside = packed.clone();
    beside.push(".new");
    let (packed, beside) = (PathBuf::from(packed), PathBuf::from(beside));
    let write = || {
        let out = fs::OpenOptions::new().create(true).truncate(true).write(true).mode(0o600).open(&beside)?;
        let mut packer = GzEncoder::new(out, Compression::default());
        io::copy(&mut File::open(path)?, &mut packer)?;
        let mut out = packer.finish()?;
        out.flush()?;
        out.sync_all()?;
        fs::rename(&beside, &packed)?;
        sync_directory(&packed)?;
        fs::remove_file(path)
    };
    write().inspect_err(|_| drop(fs::remove_file(&beside)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_are_in_the_order_of_their_lines_and_packed_ones_read_like_plain_ones() {
        let directory = tempfile::tempdir().expect("a temporary directory");
        let write = |first, text: &str| fs::write(path_of(directory.path(), first), text).expect("written");
        write(1, "a\nb\n");
        write(9, "c\n");
        write(10, "d\nhalf");
        fs::write(directory.path().join("audit-x.jsonl"), "").expect("written");
        fs::write(removed_path(directory.path()), "").expect("written");
        pack(&path_of(directory.path(), 1)).expect("packed");
        let parts = parts(directory.path()).expect("readable");
        assert_eq!(
            parts.iter().map(|part| (part.first, part.is_packed())).collect::<Vec<_>>(),
            [(1, true), (9, false), (10, false)]
        );
        let last: Vec<_> = parts.iter().map(|part| last_line(&part.path, 100).expect("readable")).collect();
        assert_eq!(last, [Some(b"b".to_vec()), Some(b"c".to_vec()), Some(b"d".to_vec())]);
        // What stands behind the packed bytes is not passed over.
        let packed = &parts[0].path;
        let bytes = [fs::read(packed).expect("readable"), b"more".to_vec()].concat();
        fs::write(packed, bytes).expect("written");
        let mut all = Vec::new();
        open(packed).expect("there").read_to_end(&mut all).expect_err("it is no member of the packed file");
    }

    #[test]
    fn a_line_without_an_end_is_told_from_a_whole_one_and_none_is_longer_than_its_bound() {
        let mut line = Vec::new();
        let mut text = &b"ab\n\ncd"[..];
        assert_eq!(read_line(&mut text, &mut line, 2).expect("read"), Some(true));
        assert_eq!(line, b"ab");
        assert_eq!(read_line(&mut text, &mut line, 2).expect("read"), Some(true));
        assert_eq!(line, b"");
        assert_eq!(read_line(&mut text, &mut line, 2).expect("read"), Some(false));
        assert_eq!(read_line(&mut text, &mut line, 2).expect("read"), None);
        let mut long = &b"abcdefgh\n"[..];
        assert_eq!(read_line(&mut long, &mut line, 2).expect("read"), Some(false), "three bytes, and no end");
    }
}
