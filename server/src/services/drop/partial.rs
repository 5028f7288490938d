//! A partial file: opened with its hash, appended to, and at last given its name. All of it blocks.

use std::{
    fs::{self, File, OpenOptions},
    io::{self, Write},
    os::unix::fs::{MetadataExt, OpenOptionsExt},
    path::Path,
    sync::Arc,
};

use tokio::sync::Notify;

use super::{DropError, Receipt, hashing::Hashes, names, quota::Turn};

/// The numbers tried behind a taken name.
const NUMBERS_MAX: u32 = 1_000;

/// What has arrived of an upload. The file's cursor is at its end, and the hash covers all of it.
pub(super) struct Partial {
    file: File,
    hashes: Hashes,
    /// As `blocks` says it, of what was held when it was opened.
    blocks: String,
    turn: Turn,
}

impl Partial {
    /// Of the file that came with the turn.
    pub(super) fn open(turn: Turn, mut file: File, size: u64) -> Result<Self, DropError> {
        let held = file.metadata().map_err(DropError::Disk)?.len();
        if held > size {
            return Err(DropError::Shrunk { held, size });
        }
        let hashes = Hashes::of_held(&mut file, &turn.state()).map_err(DropError::Disk)?;
        Ok(Self { file, blocks: hex::encode(hashes.blocks()), hashes, turn })
    }

    pub(super) fn len(&self) -> u64 {
        self.hashes.len()
    }

    pub(super) fn sha256(&self) -> String {
        hex::encode(self.hashes.sha256())
    }

    /// See PROTOCOL.md, section 12: of what was held when this was opened.
    pub(super) fn blocks(&self) -> String {
        self.blocks.clone()
    }

    /// Notified when a newer stream wants to continue.
    pub(super) fn stop(&self) -> Arc<Notify> {
        Arc::clone(&self.turn.stop)
    }

    pub(super) fn write(&mut self, block: &[u8]) -> Result<(), DropError> {
        let len = block.len() as u64;
        self.turn.reserve(len)?;
        let written = self.file.write_all(block);
        let held = match &written {
            Ok(()) => self.len() + len,
            // Some of it may be there.
            Err(_) => self.file.metadata().map_or(self.len(), |metadata| metadata.len()),
        };
        self.turn.wrote(len, held);
        written.map_err(DropError::Disk)?;
        self.hashes.update(block);
        self.hashes.save_now_and_then(&self.file, &self.turn.state());
        Ok(())
    }

    /// Ends the upload: the file gets a safe name, this one or the next that is free. With it, what beside the file could not be
    /// brought to disk: it is too late to refuse the file for that.
    pub(super) fn keep_as(self, name: &str) -> Result<(Receipt, Vec<String>), DropError> {
        self.file.sync_all().map_err(DropError::Disk)?;
        let (sha256, size, Self { turn, .. }) = (self.sha256(), self.len(), self);
        let space = Arc::clone(&turn.space);
        let partial = space.partials.join(&turn.partial);
        let mut ledger = space.filing();
        for number in 1..=NUMBERS_MAX {
            let name = names::numbered(name, number);
            match place(&partial, &space.directory.join(&name)) {
                Ok(removed) => {
                    // Without this, a loss of power could take the name.
                    let synced = File::open(&space.directory).and_then(|directory| directory.sync_all());
                    // While nothing is counted: else the file would count twice, as running and as kept.
                    let filed = space.has_filed(&mut ledger, &turn, &name);
                    drop(turn);
                    let done = [
                        (removed, "a file is in place, but its partial name stays"),
                        (synced, "a new file's name may not be on the disk yet"),
                        (filed, "whose a file is could not be kept: after a start it is nobody's"),
                    ];
                    let unkept = done.into_iter().filter_map(|(done, what)| Some(format!("{what}: {}", done.err()?)));
                    return Ok((Receipt { name, size, sha256 }, unkept.collect()));
                }
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
                Err(error) => return Err(DropError::Disk(error)),
            }
        }
        Err(DropError::BadName)
    }
}

/// Opens for reading and writing, for the owner alone; makes the file if it is not there. Refuses what is not a file.
pub(super) fn open_no_link(path: &Path) -> io::Result<File> {
    let mut options = OpenOptions::new();
    options.read(true).write(true);
    match options.clone().create_new(true).mode(0o600).open(path) {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
        opened => return opened,
    }
    // `O_NOFOLLOW` has no name in std, and another number on each system. What was named is compared with what was
    // opened instead, before a byte is read; and a pipe would not even open.
    let named = fs::symlink_metadata(path)?;
    if named.is_file() {
        let file = options.open(path)?;
        let opened = file.metadata()?;
        if (named.dev(), named.ino()) == (opened.dev(), opened.ino()) {
            return Ok(file);
        }
    }
    Err(io::Error::other("the partial file is not a file"))
}

/// Moves a partial file to a name that must be free. Inside it, whether the old name went: the next count removes what has two.
fn place(partial: &Path, target: &Path) -> io::Result<io::Result<()>> {
    match fs::hard_link(partial, target) {
        Ok(()) => Ok(fs::remove_file(partial)),
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Err(error),
        Err(_) => place_without_links(partial, target).map(Ok),
    }
}

/// As [`place`], on file systems like FAT: an empty file of our own takes the name, and the rename replaces only that.
fn place_without_links(partial: &Path, target: &Path) -> io::Result<()> {
    File::create_new(target)?;
    fs::rename(partial, target).inspect_err(|_| {
        // The rename's error is the one to tell.
        let _ = fs::remove_file(target);
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_link_is_no_partial_file() {
        let directory = tempfile::tempdir().expect("a directory");
        let (victim, link, dangling) =
            (directory.path().join("victim"), directory.path().join("link"), directory.path().join("dangling"));
        fs::write(&victim, "untouched").expect("writes");
        std::os::unix::fs::symlink(&victim, &link).expect("links");
        std::os::unix::fs::symlink(directory.path().join("new"), &dangling).expect("links");
        open_no_link(&link).expect_err("a link to a file");
        open_no_link(&dangling).expect_err("a link to nothing");
        open_no_link(directory.path()).expect_err("a directory");
        assert!(!directory.path().join("new").exists());
        open_no_link(&victim).expect("a file");
    }

    #[test]
    fn without_hard_links_nothing_is_overwritten_either() {
        let directory = tempfile::tempdir().expect("a directory");
        let (partial, target) = (directory.path().join("partial"), directory.path().join("a.txt"));
        fs::write(&partial, "new").expect("writes");
        fs::write(&target, "old").expect("writes");
        let error = place_without_links(&partial, &target).expect_err("the name is taken");
        assert_eq!(error.kind(), io::ErrorKind::AlreadyExists);
        assert_eq!(fs::read(&target).expect("reads"), b"old");
        fs::remove_file(&target).expect("removes");
        place_without_links(&partial, &target).expect("the name is free");
        assert_eq!((fs::read(&target).expect("reads"), partial.exists()), (b"new".to_vec(), false));
        place_without_links(&partial, &directory.path().join("b.txt")).expect_err("nothing to move");
        assert!(!directory.path().join("b.txt").exists());
    }
}
