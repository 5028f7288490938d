//! What was asked under a key is done once (`Idempotency-Key`, draft-ietf-httpapi-idempotency-key-header): asked again, it is answered
//! again, also while the first is still under way. A key is its caller's, for one path.

use std::{
    collections::{HashMap, VecDeque, hash_map::Entry},
    hash::Hash,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use axum::http::{HeaderMap, StatusCode};
use tokio::{sync::watch, time::Instant};

use super::{Answer, Failure};

/// The header's name.
const HEADER: &str = "idempotency-key";
/// Longest key in characters.
pub(super) const KEY_CHARS_MAX: usize = 128;
/// Keys that are known at a time, and how long one is: a caller who has not asked again by then does not.
const KEYS_MAX: usize = 4_096;
const KEPT: Duration = Duration::from_secs(600);

/// Whose key, for what.
pub(super) type Key = (String, String, String);

/// The key that a request has, if it has one.
pub(super) fn key_of(headers: &HeaderMap, caller: String, path: &str) -> Answer<Option<Key>> {
    let mut values = headers.get_all(HEADER).iter();
    let Some(value) = values.next() else { return Ok(None) };
    let is_good = |key: &&str| !key.is_empty() && key.len() <= KEY_CHARS_MAX;
    match value.to_str().ok().filter(is_good).filter(|_| values.next().is_none()) {
        Some(key) => Ok(Some((caller, path.to_owned(), key.to_owned()))),
        None => {
            let message =
                format!("Idempotency-Key is there once, with 1 to {KEY_CHARS_MAX} characters of ASCII: a UUID, say");
            Err(Failure::new(StatusCode::BAD_REQUEST, "bad-key", &message))
        }
    }
}

/// What was asked under keys.
#[derive(Debug)]
pub(super) struct Once<T>(Arc<Mutex<Known<T>>>);

#[derive(Debug)]
struct Known<T> {
    answers: HashMap<Key, One<T>>,
    /// The oldest first.
    order: VecDeque<(Instant, Key)>,
}

#[derive(Debug)]
struct One<T> {
    asked_at: Instant,
    /// A hash of what was asked.
    asked: u64,
    answer: watch::Receiver<Option<Answer<T>>>,
}

impl<T> Default for Once<T> {
    fn default() -> Self {
        Self(Arc::new(Mutex::new(Known { answers: HashMap::new(), order: VecDeque::new() })))
    }
}

impl<T: Clone + Send + Sync + 'static> Once<T> {
    /// Does the work, unless it was done or is being done under this key. It is done to its end, whoever waits for it. What fails, or
    /// has done nothing as `is_done` says, is not kept: it may be asked again.
    pub(super) async fn of(
        &self,
        key: Key,
        asked: u64,
        is_done: fn(&T) -> bool,
        work: impl Future<Output = Answer<T>> + Send + 'static,
    ) -> Answer<T> {
        let mut answer = self.answer(key, asked, is_done, work)?;
        let answer = answer.wait_for(Option::is_some).await.ok().and_then(|answer| answer.clone());
        answer.unwrap_or_else(|| Err(Failure::failed()))
    }

    fn answer(
        &self,
        key: Key,
        asked: u64,
        is_done: fn(&T) -> bool,
        work: impl Future<Output = Answer<T>> + Send + 'static,
    ) -> Answer<watch::Receiver<Option<Answer<T>>>> {
        let mut known = lock(&self.0);
        let now = Instant::now();
        known.forget(now)?;
        let known = &mut *known;
        let place = match known.answers.entry(key.clone()) {
            Entry::Occupied(one) if one.get().asked == asked => return Ok(one.get().answer.clone()),
            Entry::Occupied(_) => {
                let message = "something else was asked under this Idempotency-Key: take a new one for each message";
                return Err(Failure::new(StatusCode::CONFLICT, "key-used", message));
            }
            Entry::Vacant(place) => place,
        };
        let (tell, answer) = watch::channel(None);
        place.insert(One { asked_at: now, asked, answer: answer.clone() });
        known.order.push_back((now, key.clone()));
        let all = Arc::clone(&self.0);
        tokio::spawn(async move {
            let answer = work.await;
            if !answer.as_ref().is_ok_and(is_done) {
                lock(&all).answers.remove(&key);
            }
            let _ = tell.send(Some(answer));
        });
        Ok(answer)
    }
}

fn lock<T>(known: &Mutex<Known<T>>) -> MutexGuard<'_, Known<T>> {
    known.lock().unwrap_or_else(PoisonError::into_inner)
}

impl<T> Known<T> {
    /// Those that are too old, and the oldest where there is no room.
    fn forget(&mut self, now: Instant) -> Answer<()> {
        while let Some((at, key)) = self.order.front() {
            let one = self.answers.get(key).filter(|one| one.asked_at == *at);
            if let Some(one) = one {
                if self.answers.len() < KEYS_MAX && now < *at + KEPT {
                    break;
                }
                if one.answer.borrow().is_none() {
                    return match self.answers.len() < KEYS_MAX {
                        true => Ok(()),
                        false => Err(Failure::busy()),
                    };
                }
                self.answers.remove(key);
            }
            self.order.pop_front();
        }
        Ok(())
    }
}

/// A number for what was asked, by which something else is told from it.
pub(super) fn hash(asked: &impl Hash) -> u64 {
    use std::{
        hash::{BuildHasher as _, RandomState},
        sync::LazyLock,
    };
    static STATE: LazyLock<RandomState> = LazyLock::new(RandomState::new);
    STATE.hash_one(asked)
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU32, Ordering};

    use super::*;

    /// Of what is counted here.
    fn is_done<T: PartialEq + From<u8>>(number: &T) -> bool {
        *number != T::from(NOTHING)
    }

    /// What has done nothing.
    const NOTHING: u8 = 99;

    fn key(key: usize) -> Key {
        ("user 7".to_owned(), "/devices/a/messages".to_owned(), key.to_string())
    }

    #[tokio::test(start_paused = true)]
    async fn what_is_asked_again_is_done_once_also_while_it_is_under_way() {
        let (once, done) = (Once::<u32>::default(), Arc::new(AtomicU32::new(0)));
        let work = || {
            let done = Arc::clone(&done);
            async move {
                tokio::time::sleep(Duration::from_secs(1)).await;
                Ok(done.fetch_add(1, Ordering::Relaxed))
            }
        };
        let (first, second) = tokio::join!(once.of(key(1), 5, is_done, work()), once.of(key(1), 5, is_done, work()));
        assert_eq!((first.expect("done"), second.expect("the same")), (0, 0));
        assert_eq!(once.of(key(1), 5, is_done, work()).await.expect("the same"), 0);
        let other = once.of(key(1), 6, is_done, work()).await.expect_err("something else");
        assert_eq!(other.refused.error, "key-used");
        assert_eq!(once.of(key(2), 6, is_done, work()).await.expect("another key"), 1);
        // Whoever asked has gone: it is done all the same.
        let gone = tokio::time::timeout(Duration::from_millis(1), once.of(key(3), 5, is_done, work())).await;
        assert!(gone.is_err());
        assert_eq!(once.of(key(3), 5, is_done, work()).await.expect("done"), 2);
        tokio::time::advance(KEPT).await;
        assert_eq!(once.of(key(1), 6, is_done, work()).await.expect("the key is free again"), 3);
    }

    #[tokio::test(start_paused = true)]
    async fn what_failed_or_has_done_nothing_may_be_asked_again() {
        let once = Once::<u32>::default();
        let failed = once.of(key(1), 5, is_done, async { Err(Failure::busy()) }).await;
        assert_eq!(failed.expect_err("it fails").refused.error, "busy");
        let nothing = once.of(key(1), 5, is_done, async { Ok(NOTHING.into()) }).await;
        assert_eq!(nothing.expect("an answer"), u32::from(NOTHING));
        assert_eq!(once.of(key(1), 5, is_done, async { Ok(1) }).await.expect("it is done"), 1);
    }

    #[tokio::test(start_paused = true)]
    async fn keys_are_bounded_and_the_oldest_goes_first() {
        let once = Once::<usize>::default();
        for number in 0..KEYS_MAX + 10 {
            assert_eq!(
                once.of(key(number), 5, is_done, async move { Ok(number + 1_000) }).await.expect("done"),
                number + 1_000
            );
            tokio::time::advance(Duration::from_millis(1)).await;
        }
        let known = lock(&once.0).answers.len();
        assert_eq!(known, KEYS_MAX);
        assert_eq!(once.of(key(0), 5, is_done, async { Ok(77) }).await.expect("forgotten, and done anew"), 77);
        assert_eq!(once.of(key(KEYS_MAX), 5, is_done, async { Ok(77) }).await.expect("known"), KEYS_MAX + 1_000);
        let under_way = Once::<usize>::default();
        for number in 0..KEYS_MAX {
            let asked = under_way.of(key(number), 5, is_done, std::future::pending());
            assert!(tokio::time::timeout(Duration::ZERO, asked).await.is_err());
        }
        let one_more = under_way.of(key(KEYS_MAX), 5, is_done, async { Ok(1) }).await;
        assert_eq!(one_more.expect_err("no room").refused.error, "busy");
    }
}
