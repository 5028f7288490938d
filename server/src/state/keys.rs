//! The server's keys: the one that it has, and beside it for a time the next one, which its owner has signed.
//!
//! ```text
//! init ─► 1, signed ── prepare ─► next.key, told to nobody ── rotate, signed ─► 1 and 2 are both good ── retire ─► 2, and 1 is past
//!
//! identity.key   the private key in use; whoever has it is this server
//! next.key       that of the next one
//! keys.json      {"owner","number","key","signature","next"?:{"number","key","signature","retire_at"?},"past":[keys]}
//! ```
//!
//! The owner's private key is never here. What is written comes in an order in which a crash leaves one of two states: `keys.json`
//! first says which key is in use, then the files change their names.

use std::{
    fs, io,
    path::{Path, PathBuf},
    sync::{
        Arc, Mutex, MutexGuard, PoisonError, RwLock,
        atomic::{AtomicBool, Ordering},
    },
};

use base64::{Engine, prelude::BASE64_URL_SAFE_NO_PAD};
use duologue::{KeyStatement, OwnerKey, Secret, ServerIdentity, ServerKey, ServerKeyId, ToldKeys};
use serde::{Deserialize, Serialize};
use thiserror::Error;
use zeroize::Zeroizing;

use super::{
    StateError,
    identity::{KEY, find, read_key, replace_private, write_private},
    random,
    records::now,
};

pub(super) const NEXT: &str = "next.key";
pub(super) const KEYS: &str = "keys.json";

/// Keys of before that are remembered.
const PAST_MAX: usize = 64;

/// Why a server's keys stay as they are.
#[derive(Debug, Error)]
pub(crate) enum KeysError {
    #[error("this server has an owner's key already: clients keep to it, and would follow no other")]
    HasOwner,
    #[error("this server has no owner's key yet: `duologue keys init FILE` makes one")]
    NoOwner,
    #[error("that is not signed by this server's owner, whose key is {0}")]
    NotSigned(OwnerKey),
    #[error("the next key is not the one that was signed: ask again")]
    AnotherKey,
    #[error("key {0} is on its way already: `duologue keys retire` ends the one before it first")]
    UnderWay(u32),
    #[error("there is one key only, and it stays: `duologue keys rotate` makes the next one")]
    NoNext,
    #[error("another process has taken this one's place: ask again, and it answers")]
    HandedOver,
    #[error(transparent)]
    State(#[from] StateError),
}

/// `keys.json`.
#[derive(Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Stored {
    owner: String,
    number: u32,
    key: String,
    signature: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    next: Option<StoredNext>,
    #[serde(default)]
    past: Vec<String>,
}

#[derive(Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct StoredNext {
    number: u32,
    key: String,
    signature: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    retire_at: Option<u64>,
}

/// The keys at a moment.
#[derive(Clone, Debug)]
pub(crate) struct KeySet {
    /// In use.
    pub(crate) identity: Arc<ServerIdentity>,
    /// Good as well, and told to every client.
    pub(crate) next: Option<Arc<ServerIdentity>>,
    /// What the owner has signed of the one in use; none without an owner's key.
    pub(crate) signed: Option<KeyStatement>,
    /// The same of the next one, and when the one in use ends by itself.
    pub(crate) next_signed: Option<(KeyStatement, Option<u64>)>,
    pub(crate) past: Vec<ServerKey>,
}

impl KeySet {
    fn alone(identity: ServerIdentity) -> Self {
        Self { identity: Arc::new(identity), next: None, signed: None, next_signed: None, past: Vec::new() }
    }

    /// The one that links name.
    pub(crate) fn newest(&self) -> &Arc<ServerIdentity> {
        self.next.as_ref().unwrap_or(&self.identity)
    }

    /// What is told of the newest.
    pub(crate) fn newest_signed(&self) -> Option<&KeyStatement> {
        self.next_signed.as_ref().map(|(signed, _)| signed).or(self.signed.as_ref())
    }

    /// Whether an M1 that names this key is for one of them.
    pub(crate) fn has(&self, id: ServerKeyId) -> bool {
        self.identity.public().id() == id || self.next.as_ref().is_some_and(|next| next.public().id() == id)
    }

    /// Whether it names one that was this server's: nobody's fault but the time's.
    pub(crate) fn had(&self, id: ServerKeyId) -> bool {
        self.past.iter().any(|past| past.id() == id)
    }

    /// What AUTH_OK tells a client that came by this key.
    pub(crate) fn told(&self, came_by: ServerKey) -> Option<Box<ToldKeys>> {
        let newest = self.newest_signed()?.clone();
        let in_use = self.signed.as_ref().filter(|signed| signed.key == came_by);
        let came_by = in_use.map_or(newest.number, |signed| signed.number);
        Some(Box::new(ToldKeys { newest, came_by }))
    }

    fn stored(&self) -> Option<Stored> {
        let signed = self.signed.as_ref()?;
        Some(Stored {
            owner: signed.owner.to_string(),
            number: signed.number,
            key: signed.key.to_string(),
            signature: BASE64_URL_SAFE_NO_PAD.encode(signed.signature),
            next: self.next_signed.as_ref().map(|(next, retire_at)| StoredNext {
                number: next.number,
                key: next.key.to_string(),
                signature: BASE64_URL_SAFE_NO_PAD.encode(next.signature),
                retire_at: *retire_at,
            }),
            past: self.past.iter().map(ToString::to_string).collect(),
        })
    }
}

/// The keys of a state directory.
#[derive(Debug)]
pub(crate) struct Keys {
    directory: PathBuf,
    set: RwLock<Arc<KeySet>>,
    /// Held by whoever changes them.
    turn: Mutex<()>,
    /// Their files are another process's: whatever is changed there, nothing is here.
    are_handed_over: AtomicBool,
}

impl Keys {
    /// Those of a directory in which a server has run; none if it has no key. What a crash has left half done is done, if the
    /// directory `is_ours`.
    pub(super) fn find(directory: &Path, is_ours: bool) -> Result<Option<Self>, StateError> {
        let path = directory.join(KEYS);
        let stored: Option<Stored> = match fs::read(&path) {
            Ok(bytes) => Some(serde_json::from_slice(&bytes).map_err(|_| StateError::DamagedKeys(path.clone()))?),
            Err(error) if error.kind() == io::ErrorKind::NotFound => None,
            Err(source) => return Err(StateError::Io { verb: "read", path, source }),
        };
        let Some(identity) = find(directory)? else { return Ok(None) };
        let Some(stored) = stored else { return Ok(Some(Self::of(directory, KeySet::alone(identity)))) };
        let set = read(directory, identity, &stored, is_ours)?.ok_or(StateError::DamagedKeys(path))?;
        Ok(Some(Self::of(directory, set)))
    }

    /// Those of a directory, whose first one is made if it is missing.
    pub(super) fn find_or_make(directory: &Path) -> Result<Self, StateError> {
        if let Some(keys) = Self::find(directory, true)? {
            return Ok(keys);
        }
        let key = Zeroizing::new(random::<32>());
        write_private(&directory.join(KEY), &*key)?;
        Ok(Self::of(directory, KeySet::alone(ServerIdentity::new(Secret::new(*key)))))
    }

    fn of(directory: &Path, set: KeySet) -> Self {
        let (directory, set) = (directory.to_owned(), RwLock::new(Arc::new(set)));
        Self { directory, set, turn: Mutex::default(), are_handed_over: AtomicBool::new(false) }
    }

    /// Their files are another process's from now on, or no longer.
    pub(super) fn hand_over(&self, is_another: bool) {
        let _turn = self.turn.lock().unwrap_or_else(PoisonError::into_inner);
        self.are_handed_over.store(is_another, Ordering::Relaxed);
    }

    /// The turn to change them.
    fn turn(&self) -> Result<MutexGuard<'_, ()>, KeysError> {
        let turn = self.turn.lock().unwrap_or_else(PoisonError::into_inner);
        if self.are_handed_over.load(Ordering::Relaxed) { Err(KeysError::HandedOver) } else { Ok(turn) }
    }

    /// As they are now. The one whose time is over ends with this question.
    pub(crate) fn now(&self) -> Arc<KeySet> {
        let set = Arc::clone(&self.set.read().unwrap_or_else(PoisonError::into_inner));
        let is_over = set.next_signed.as_ref().and_then(|(_, retire_at)| *retire_at).is_some_and(|at| at <= now());
        if !is_over {
            return set;
        }
        match self.retire() {
            Ok(set) => set,
            // In memory it is over, whatever the disk says.
            Err(error) => {
                tracing::debug!(%error, "a key whose time is over could not be put away");
                self.set(retired(&set).unwrap_or_else(|| (*set).clone()))
            }
        }
    }

    fn set(&self, set: KeySet) -> Arc<KeySet> {
        let set = Arc::new(set);
        *self.set.write().unwrap_or_else(PoisonError::into_inner) = Arc::clone(&set);
        set
    }

    fn read(&self) -> KeySet {
        (**self.set.read().unwrap_or_else(PoisonError::into_inner)).clone()
    }

    /// As they and their files are, and stay until the guard is dropped.
    pub(super) fn still(&self) -> (MutexGuard<'_, ()>, KeySet) {
        let turn = self.turn.lock().unwrap_or_else(PoisonError::into_inner);
        let set = self.read();
        (turn, set)
    }

    fn path(&self, name: &str) -> PathBuf {
        self.directory.join(name)
    }

    fn keep(&self, set: &KeySet) -> Result<(), StateError> {
        let stored = set.stored().map(|stored| serde_json::to_vec_pretty(&stored).expect("texts and numbers are JSON"));
        stored.map_or(Ok(()), |stored| replace_private(&self.path(KEYS), &stored))
    }

    /// Takes an owner's key, who has signed the key in use as the first.
    pub(crate) fn begin(&self, signed: KeyStatement) -> Result<Arc<KeySet>, KeysError> {
        let _turn = self.turn()?;
        let set = self.read();
        if set.signed.is_some() {
            return Err(KeysError::HasOwner);
        }
        if signed.number != 1 || signed.key != set.identity.public() {
            return Err(KeysError::AnotherKey);
        }
        if !signed.is_signed() {
            return Err(KeysError::NotSigned(signed.owner));
        }
        let set = KeySet { signed: Some(signed), ..set };
        self.keep(&set)?;
        Ok(self.set(set))
    }

    /// Makes the next key, for its owner to sign; the same one until that has happened.
    pub(crate) fn prepare(&self) -> Result<(u32, ServerKey), KeysError> {
        let _turn = self.turn()?;
        let set = self.read();
        let signed = set.signed.as_ref().ok_or(KeysError::NoOwner)?;
        if let Some((next, _)) = &set.next_signed {
            return Err(KeysError::UnderWay(next.number));
        }
        let path = self.path(NEXT);
        if let Some(next) = read_key(&path)? {
            return Ok((signed.number + 1, next.public()));
        }
        let key = Zeroizing::new(random::<32>());
        write_private(&path, &*key)?;
        Ok((signed.number + 1, ServerIdentity::new(Secret::new(*key)).public()))
    }

    /// The next key is good from now on, beside the one in use: until that is retired, or until then.
    pub(crate) fn rotate(&self, signed: KeyStatement, retire_at: Option<u64>) -> Result<Arc<KeySet>, KeysError> {
        let (number, key) = self.prepare()?;
        let _turn = self.turn()?;
        let set = self.read();
        let owner = set.signed.as_ref().map(|signed| signed.owner).ok_or(KeysError::NoOwner)?;
        if (signed.number, signed.key) != (number, key) {
            return Err(KeysError::AnotherKey);
        }
        if signed.owner != owner || !signed.is_signed() {
            return Err(KeysError::NotSigned(owner));
        }
        let next = read_key(&self.path(NEXT))?.ok_or(KeysError::AnotherKey)?;
        let set = KeySet { next: Some(Arc::new(next)), next_signed: Some((signed, retire_at)), ..set };
        self.keep(&set)?;
        Ok(self.set(set))
    }

    /// The key in use ends, and the next one takes its place.
    pub(crate) fn retire(&self) -> Result<Arc<KeySet>, KeysError> {
        let _turn = self.turn()?;
        let set = retired(&self.read()).ok_or(KeysError::NoNext)?;
        self.keep(&set)?;
        let set = self.set(set);
        promote(&self.directory)?;
        Ok(set)
    }
}

fn retired(set: &KeySet) -> Option<KeySet> {
    let (next, (signed, _)) = (set.next.clone()?, set.next_signed.clone()?);
    let mut past = set.past.clone();
    past.push(set.identity.public());
    past.drain(..past.len().saturating_sub(PAST_MAX));
    Some(KeySet { identity: next, next: None, signed: Some(signed), next_signed: None, past })
}

/// The next key's file takes the name of the one in use.
fn promote(directory: &Path) -> Result<(), StateError> {
    let (from, to) = (directory.join(NEXT), directory.join(KEY));
    let moved = fs::rename(&from, &to).and_then(|()| fs::File::open(directory)?.sync_all());
    moved.map_err(|source| StateError::Io { verb: "write", path: to, source })
}

/// What the files say together; none if that makes no sense.
fn read(
    directory: &Path,
    identity: ServerIdentity,
    stored: &Stored,
    is_ours: bool,
) -> Result<Option<KeySet>, StateError> {
    let next = read_key(&directory.join(NEXT))?;
    let Some((set, is_half_done)) = together(identity, next, stored) else { return Ok(None) };
    if is_half_done && is_ours {
        promote(directory)?;
    }
    Ok(Some(set))
}

/// The same of keys that were read; and whether a crash came before the file of the one in use had its name.
fn together(identity: ServerIdentity, mut next: Option<ServerIdentity>, stored: &Stored) -> Option<(KeySet, bool)> {
    let (signed, next_signed, past) = parse(stored)?;
    let promoted = next.take_if(|next| signed.key != identity.public() && signed.key == next.public());
    let is_half_done = promoted.is_some();
    let identity = promoted.unwrap_or(identity);
    let next = next.filter(|next| next_signed.as_ref().is_some_and(|(signed, _)| signed.key == next.public()));
    let fits = signed.key == identity.public() && next.is_some() == next_signed.is_some();
    let (identity, next) = (Arc::new(identity), next.map(Arc::new));
    fits.then_some((KeySet { identity, next, signed: Some(signed), next_signed, past }, is_half_done))
}

/// Whether the files of a copy make sense together: the key in use, the next one, and what is said of them.
pub(super) fn fit(key: [u8; 32], next: Option<&[u8]>, said: Option<&[u8]>) -> bool {
    let Some(said) = said else { return true };
    let identity = |key| ServerIdentity::new(Secret::new(key));
    let Ok(next) = next.map(<[u8; 32]>::try_from).transpose() else { return false };
    let stored = serde_json::from_slice(said);
    stored.is_ok_and(|stored| together(identity(key), next.map(identity), &stored).is_some())
}

type Parsed = (KeyStatement, Option<(KeyStatement, Option<u64>)>, Vec<ServerKey>);

fn parse(stored: &Stored) -> Option<Parsed> {
    let owner = stored.owner.parse().ok()?;
    let statement = |number, key: &str, signature: &str| {
        let signature = BASE64_URL_SAFE_NO_PAD.decode(signature).ok()?.try_into().ok()?;
        let statement = KeyStatement { owner, number, key: key.parse().ok()?, signature };
        (number > 0 && statement.is_signed()).then_some(statement)
    };
    let signed = statement(stored.number, &stored.key, &stored.signature)?;
    let next = match &stored.next {
        None => None,
        Some(StoredNext { number, key, signature, retire_at }) => {
            Some((statement(*number, key, signature).filter(|next| next.number > signed.number)?, *retire_at))
        }
    };
    let past = stored.past.iter().map(|key| key.parse().ok()).collect::<Option<_>>()?;
    Some((signed, next, past))
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::{
        super::{State, backup, owner::OwnersPair},
        *,
    };

    fn new_owner() -> OwnersPair {
        let elsewhere = tempfile::tempdir().expect("a temporary directory");
        let file = elsewhere.path().join("owner.p8");
        OwnersPair::make(&file).expect("made");
        OwnersPair::open(&file).expect("it was just made")
    }

    fn begun(directory: &Path) -> (Keys, OwnersPair) {
        let (keys, owner) = (Keys::find_or_make(directory).expect("made"), new_owner());
        keys.begin(owner.sign(1, keys.now().identity.public()).expect("it signs")).expect("signed");
        (keys, owner)
    }

    fn rotated(directory: &Path) -> (Keys, ServerKey, ServerKey) {
        let (keys, owner) = begun(directory);
        let (number, next) = keys.prepare().expect("made");
        assert_eq!(keys.prepare().expect("the same"), (number, next));
        keys.rotate(owner.sign(number, next).expect("it signs"), None).expect("signed");
        let first = keys.now().identity.public();
        (keys, first, next)
    }

    fn reopened(directory: &Path) -> Arc<KeySet> {
        Keys::find(directory, true).expect("readable").expect("there").now()
    }

    #[test]
    fn a_crash_at_any_step_leaves_the_keys_of_before_or_of_after() {
        let directory = tempfile::tempdir().expect("a temporary directory");
        let (keys, first, second) = rotated(directory.path());
        for name in [KEY, NEXT, KEYS] {
            let mode = fs::metadata(directory.path().join(name)).expect("it is there").permissions().mode();
            assert_eq!(mode & 0o777, 0o600, "{name}");
        }
        let set = reopened(directory.path());
        assert_eq!((set.identity.public(), set.next.as_ref().map(|it| it.public())), (first, Some(second)));
        assert!(set.has(first.id()) && set.has(second.id()) && !set.had(first.id()));
        let files = [KEY, NEXT].map(|name| fs::read(directory.path().join(name)).expect("it is there"));
        keys.retire().expect("there are two");
        // As if the second file had not been moved any more.
        fs::write(directory.path().join(KEY), &files[0]).expect("written");
        fs::write(directory.path().join(NEXT), &files[1]).expect("written");
        // Who only looks changes nothing.
        let looked = Keys::find(directory.path(), false).expect("readable").expect("there").now();
        assert_eq!(looked.identity.public(), second);
        assert!(directory.path().join(NEXT).exists());
        let set = reopened(directory.path());
        assert_eq!((set.identity.public(), set.next.is_none(), set.had(first.id())), (second, true, true));
        assert_eq!(fs::read(directory.path().join(KEY)).expect("it is there"), files[1]);
        assert!(!directory.path().join(NEXT).exists());
    }

    #[test]
    fn a_key_that_was_prepared_and_not_signed_is_good_for_nobody() {
        let directory = tempfile::tempdir().expect("a temporary directory");
        let (keys, owner) = begun(directory.path());
        let (number, next) = keys.prepare().expect("made");
        assert!(keys.now().next.is_none() && !keys.now().has(next.id()));
        assert!(!reopened(directory.path()).has(next.id()));
        let another = ServerKey([9; 32]);
        assert!(matches!(
            keys.rotate(owner.sign(number, another).expect("it signs"), None),
            Err(KeysError::AnotherKey)
        ));
        assert!(matches!(
            keys.rotate(owner.sign(number + 1, next).expect("it signs"), None),
            Err(KeysError::AnotherKey)
        ));
        assert!(matches!(
            keys.rotate(new_owner().sign(number, next).expect("it signs"), None),
            Err(KeysError::NotSigned(_))
        ));
        assert!(!keys.now().has(next.id()));
        assert!(keys.rotate(owner.sign(number, next).expect("it signs"), Some(now())).is_ok());
        // Its time is over at once.
        let set = keys.now();
        assert_eq!((set.identity.public(), set.signed.as_ref().map(|signed| signed.number)), (next, Some(2)));
        assert_eq!(reopened(directory.path()).identity.public(), next);
    }

    /// Once the one that was left by its successor would have put its own next key in the place of the successor's.
    #[test]
    fn keys_that_are_handed_over_end_in_memory_and_their_files_stay_as_they_are() {
        let directory = tempfile::tempdir().expect("a temporary directory");
        let (keys, owner) = begun(directory.path());
        let (number, next) = keys.prepare().expect("made");
        let signed = |number, key| owner.sign(number, key).expect("it signs");
        keys.rotate(signed(number, next), Some(now())).expect("signed");
        let files = || [KEY, NEXT, KEYS].map(|name| fs::read(directory.path().join(name)).expect("it is there"));
        let before = files();
        keys.hand_over(true);
        assert_eq!(keys.now().identity.public(), next, "its time is over");
        assert!(matches!(keys.retire(), Err(KeysError::HandedOver)));
        assert!(matches!(keys.prepare(), Err(KeysError::HandedOver)));
        assert_eq!(files(), before);
        assert_eq!(reopened(directory.path()).identity.public(), next);
    }

    /// Once such a copy had the key of before with what was said of the one after, and was told to be whole.
    #[test]
    fn a_copy_that_is_made_while_keys_change_has_keys_that_fit() {
        let directory = tempfile::tempdir().expect("a temporary directory");
        let state = State::open(directory.path()).expect("made");
        let (keys, owner) = (state.keys(), new_owner());
        keys.begin(owner.sign(1, keys.now().identity.public()).expect("it signs")).expect("signed");
        let change = || {
            for _ in 0..20 {
                let (number, next) = keys.prepare().expect("made");
                keys.rotate(owner.sign(number, next).expect("it signs"), None).expect("signed");
                keys.retire().expect("there are two");
            }
        };
        let mut copies = 0;
        std::thread::scope(|scope| {
            let changing = scope.spawn(change);
            while !changing.is_finished() {
                let copy = state.backup(None).expect("made");
                backup::check(&*copy, |_, _| Ok(())).expect("it is whole");
                copies += 1;
            }
        });
        println!("{copies} copies while 20 keys followed each other");
        assert!(copies > 5, "{copies}");
    }

    #[test]
    fn what_is_said_of_keys_counts_only_whole_signed_and_beside_its_keys() {
        let directory = tempfile::tempdir().expect("a temporary directory");
        rotated(directory.path());
        let path = directory.path().join(KEYS);
        let text = fs::read_to_string(&path).expect("readable");
        let refused = |what: &str| {
            let error = Keys::find(directory.path(), true).expect_err(what);
            assert!(matches!(error, StateError::DamagedKeys(_)), "{what}: {error}");
        };
        for (from, to) in [("\"number\": 2", "\"number\": 3"), ("\"owner\"", "\"ower\""), ("{", "")] {
            fs::write(&path, text.replacen(from, to, 1)).expect("written");
            refused(from);
        }
        fs::write(&path, &text).expect("written");
        fs::rename(directory.path().join(NEXT), directory.path().join("elsewhere")).expect("moved");
        refused("no next key");
    }
}
