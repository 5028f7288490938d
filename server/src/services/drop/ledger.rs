//! Whose the whole files of the directory are, also after a start: a name does not tell which device has sent it.
//!
//! `.partial/.whose` has a line for each file, the device before the name. It is added to at its end, so that it costs little to
//! file one of 10,000; what names no file any more goes when the lines have become too many. A line that is lost, by a full disk or
//! a loss of power, makes a file one of nobody's, and nothing worse.

use std::{
    collections::HashMap,
    fs::{self, File, OpenOptions},
    io::{self, Read, Write},
    os::unix::fs::OpenOptionsExt,
    path::{Path, PathBuf},
};

/// What a dot begins is no partial file: those begin with a device.
const NAME: &str = ".whose";
/// Of 10,000 files, and as many that are gone, each with the longest name and a device.
const LEN_MAX: u64 = 2 * 10_000 * 256;
/// So many lines more than files may be there before it is written anew.
const SURPLUS_MAX: usize = 1_000;

#[derive(Debug)]
pub(super) struct Ledger {
    path: PathBuf,
    /// Devices by the names of files.
    devices: HashMap<String, String>,
    lines: usize,
    /// The last line may be half a line.
    is_torn: bool,
}

impl Ledger {
    pub(super) fn open(partials: &Path) -> io::Result<Self> {
        let path = partials.join(NAME);
        let mut text = Vec::new();
        match File::open(&path) {
            Ok(file) => _ = file.take(LEN_MAX).read_to_end(&mut text)?,
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(error),
        }
        let text = String::from_utf8_lossy(&text);
        let mut devices = HashMap::new();
        for line in text.split_inclusive('\n').filter_map(|line| line.strip_suffix('\n')) {
            if let Some((device, name)) = line.split_once(' ') {
                devices.insert(name.to_owned(), device.to_owned());
            }
        }
        Ok(Self { path, devices, lines: text.lines().count(), is_torn: !text.is_empty() && !text.ends_with('\n') })
    }

    /// Whose file this is, if it is known.
    pub(super) fn device(&self, name: &str) -> Option<&str> {
        self.devices.get(name).map(String::as_str)
    }

    /// A device has sent this file. If that cannot be kept, it is nobody's after a start.
    pub(super) fn add(&mut self, name: &str, device: &str) -> io::Result<()> {
        self.devices.insert(name.to_owned(), device.to_owned());
        if self.is_torn {
            return self.rewrite();
        }
        self.lines += 1;
        let mut options = OpenOptions::new();
        let opened = options.create(true).append(true).mode(0o600).open(&self.path);
        let added = opened.and_then(|mut file| file.write_all(line(device, name).as_bytes()));
        self.is_torn = added.is_err();
        added
    }

    /// Forgets files that are gone.
    pub(super) fn keep(&mut self, is_there: impl Fn(&str) -> bool) {
        self.devices.retain(|name, _| is_there(name));
        if self.is_torn || self.lines > self.devices.len() + SURPLUS_MAX {
            // The next file that is filed tries again, and says so.
            let _ = self.rewrite();
        }
    }

    /// Written beside and renamed, so that it is the old one or the new one.
    fn rewrite(&mut self) -> io::Result<()> {
        let text: String = self.devices.iter().map(|(name, device)| line(device, name)).collect();
        let beside = self.path.with_added_extension("new");
        self.is_torn = true;
        let mut options = OpenOptions::new();
        options.write(true).create(true).truncate(true).mode(0o600).open(&beside)?.write_all(text.as_bytes())?;
        fs::rename(&beside, &self.path)?;
        (self.lines, self.is_torn) = (self.devices.len(), false);
        Ok(())
    }
}

/// A name from `names` has no end of line in it, and a device no space.
fn line(device: &str, name: &str) -> String {
    format!("{device} {name}\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_the_same_after_a_start_and_a_torn_line_is_nobodys() {
        let directory = tempfile::tempdir().expect("a directory");
        let mut ledger = Ledger::open(directory.path()).expect("opens");
        ledger.add("a b.txt", "one").expect("kept");
        ledger.add("c", "two").expect("kept");
        ledger.add("c", "three").expect("kept");
        let mut file = OpenOptions::new().append(true).open(directory.path().join(NAME)).expect("is there");
        file.write_all(b"four hal").expect("writes");
        let mut ledger = Ledger::open(directory.path()).expect("opens again");
        assert_eq!(["a b.txt", "c", "hal"].map(|name| ledger.device(name)), [Some("one"), Some("three"), None]);
        ledger.add("d", "five").expect("kept");
        let ledger = Ledger::open(directory.path()).expect("opens once more");
        let all = ["a b.txt", "c", "d", "hal"].map(|name| ledger.device(name));
        assert_eq!(all, [Some("one"), Some("three"), Some("five"), None]);
    }

    #[test]
    fn it_does_not_grow_with_files_that_are_gone() {
        let directory = tempfile::tempdir().expect("a directory");
        let mut ledger = Ledger::open(directory.path()).expect("opens");
        for number in 0..3 * SURPLUS_MAX {
            ledger.add(&number.to_string(), "device").expect("kept");
            ledger.keep(|name| name == number.to_string());
        }
        let len = fs::metadata(directory.path().join(NAME)).expect("is there").len();
        assert!(len < 2 * SURPLUS_MAX as u64 * "device 1234\n".len() as u64, "{len}");
        assert_eq!(ledger.devices.len(), 1);
    }
}
