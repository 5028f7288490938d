//! The key under which sessions are sealed that are kept on disk (AES-256-GCM). Each start makes a new one and seals anew what still
//! waits: what was deleted before, and may still be somewhere in the file's free pages, opens to nobody then.
//!
//! ```text
//! sessions.key   one key of 32 bytes; while what is kept is sealed anew, those of before behind it
//! ```

use std::{
    fs, io,
    path::{Path, PathBuf},
    sync::{
        Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
};

use ring::aead::{AES_256_GCM, Aad, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};
use zeroize::Zeroizing;

use super::{StateError, identity::replace_private, random};

const FILE: &str = "sessions.key";
const KEY_LEN: usize = 32;
/// How many starts in a row may end before they have sealed anew, until what is kept opens to nobody.
const BEFORE_MAX: usize = 8;

/// Seals with a key of this process alone, and opens what the ones of before have sealed.
#[derive(Debug)]
pub(crate) struct Seal {
    path: PathBuf,
    bytes: Zeroizing<[u8; KEY_LEN]>,
    key: LessSafeKey,
    /// Of before: with several in the file, somebody was killed while he sealed anew.
    before: Mutex<Vec<LessSafeKey>>,
    next: AtomicU64,
}

impl Seal {
    /// With a new key, which is on disk beside those of before.
    ///
    /// # Errors
    /// If the file cannot be read or written.
    pub(crate) fn anew(directory: &Path) -> Result<Self, StateError> {
        let path = directory.join(FILE);
        let before = match fs::read(&path).map(Zeroizing::new) {
            Ok(bytes) => bytes,
            Err(error) if error.kind() == io::ErrorKind::NotFound => Zeroizing::default(),
            Err(source) => return Err(StateError::Io { verb: "read", path, source }),
        };
        let before =
            before.chunks_exact(KEY_LEN).take(BEFORE_MAX).map(<[u8]>::to_vec).map(Zeroizing::new).collect::<Vec<_>>();
        let bytes = Zeroizing::new(random::<KEY_LEN>());
        let mut both = Zeroizing::new(bytes.to_vec());
        before.iter().for_each(|key| both.extend_from_slice(key));
        replace_private(&path, &both)?;
        let (key, before) = (key_of(&*bytes), Mutex::new(before.iter().map(|key| key_of(key)).collect()));
        Ok(Self { path, bytes, key, before, next: AtomicU64::new(0) })
    }

    /// What the ones of before had sealed is sealed anew: they are gone.
    ///
    /// # Errors
    /// If the file cannot be written.
    pub(crate) fn forget_those_before(&self) -> Result<(), StateError> {
        self.before().clear();
        replace_private(&self.path, &*self.bytes)
    }

    fn before(&self) -> MutexGuard<'_, Vec<LessSafeKey>> {
        self.before.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// `of` is what it is sealed for, and opens by alone.
    pub(crate) fn seal(&self, of: &[u8], mut plain: Vec<u8>) -> Vec<u8> {
        let mut nonce = [0; NONCE_LEN];
        nonce[4..].copy_from_slice(&self.next.fetch_add(1, Ordering::Relaxed).to_be_bytes());
        let sealed = self.key.seal_in_place_append_tag(Nonce::assume_unique_for_key(nonce), Aad::from(of), &mut plain);
        sealed.expect("it is shorter than 64 GiB");
        plain.extend_from_slice(&nonce);
        plain
    }

    /// What this key has sealed, or one of before; none if none of them has.
    pub(crate) fn open(&self, of: &[u8], sealed: &[u8]) -> Option<Zeroizing<Vec<u8>>> {
        let (sealed, nonce) = sealed.split_last_chunk::<NONCE_LEN>()?;
        self.before().iter().chain([&self.key]).find_map(|key| {
            let mut plain = Zeroizing::new(sealed.to_vec());
            let len = key.open_in_place(Nonce::assume_unique_for_key(*nonce), Aad::from(of), &mut plain).ok()?.len();
            plain.truncate(len);
            Some(plain)
        })
    }
}

fn key_of(bytes: &[u8]) -> LessSafeKey {
    LessSafeKey::new(UnboundKey::new(&AES_256_GCM, bytes).expect("32 bytes"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_one_start_has_sealed_opens_at_the_next_and_no_later_one() {
        let directory = tempfile::tempdir().expect("a directory");
        let open = || Seal::anew(directory.path()).expect("it can be written");
        let first = open();
        first.forget_those_before().expect("it can be written");
        let sealed = first.seal(b"one", b"a session".to_vec());
        assert_ne!(first.seal(b"one", b"a session".to_vec()), sealed, "each has a nonce of its own");
        // Killed while it seals anew: the next one opens both.
        let killed = open();
        assert_eq!(killed.open(b"one", &sealed).as_deref().map(Vec::as_slice), Some(&b"a session"[..]));
        let anew = killed.seal(b"one", b"anew".to_vec());
        for _ in 0..3 {
            open();
        }
        let second = open();
        assert_eq!(second.open(b"one", &sealed).as_deref().map(Vec::as_slice), Some(&b"a session"[..]));
        assert_eq!(second.open(b"one", &anew).as_deref().map(Vec::as_slice), Some(&b"anew"[..]));
        assert!(second.open(b"two", &sealed).is_none(), "it is another's");
        let altered: Vec<_> = sealed.iter().enumerate().map(|(at, byte)| byte ^ u8::from(at == 20)).collect();
        assert!(second.open(b"one", &altered).is_none() && second.open(b"one", &[1; 5]).is_none());
        second.forget_those_before().expect("it can be written");
        let third = open();
        assert!(third.open(b"one", &sealed).is_none(), "its key is gone");
        assert_eq!(fs::read(directory.path().join(FILE)).expect("it is there").len(), 2 * KEY_LEN);
        for _ in 0..20 {
            open();
        }
        let len = fs::read(directory.path().join(FILE)).expect("it is there").len();
        assert_eq!(len, (1 + BEFORE_MAX) * KEY_LEN, "it does not grow without end");
    }
}
