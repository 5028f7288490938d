//! Where an issuer's keys come from, and when they are asked for again.
//!
//! ```text
//! a key that is not known ─► once more, at most 4 times in a row and then each 15 s ─► whoever waits for it looks again
//! 10 min have passed ──────► in the background, while the keys that are here verify
//! no answer ───────────────► the keys that are here stay; in the background again after 30 s
//! ```
//!
//! One question is under way at a time, in a task of its own: who gives up waiting changes nothing for the others. It is tokens that
//! come which ask; without any, nobody is asked.

use std::{
    path::Path,
    sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError},
    time::{Duration, Instant},
};

use rustls::RootCertStore;
use serde::Deserialize;
use thiserror::Error;
use tokio::{io::AsyncReadExt, sync::watch, time::timeout};
use url::Url;

use super::{
    keys::{InvalidKeySet, KeySet, SET_BYTES_MAX},
    provider::sha256,
    settings::Place,
    shortened,
};
use crate::door::fetch::{self, Bounds, FetchError, may_be_asked};
use crate::watch::{
    events::{Event, Kind},
    stream::Watch,
};

/// How long one document may take. With two (discovery, then the keys) it stays below the 5 s that a verdict has.
const FETCH: Duration = Duration::from_secs(2);
/// How old keys may be before they are asked for again: a key that the issuer takes back is gone by then.
const REFRESH: Duration = Duration::from_secs(10 * 60);
/// When, after no answer, the background asks again.
const RETRY: Duration = Duration::from_secs(30);
/// How often in a row unknown keys may ask.
const QUESTIONS: u32 = 4;
/// After how long there is one more.
const QUESTION_EACH: Duration = Duration::from_secs(15);
/// The longest OpenID configuration, in bytes.
const CONFIGURATION_BYTES_MAX: usize = 64 * 1_024;

/// Why keys could not be had.
#[derive(Debug, Error)]
pub(super) enum SourceError {
    #[error("{place}: {cause}")]
    Fetch { place: String, cause: FetchError },
    #[error("{place} cannot be read: {cause}")]
    File { place: String, cause: std::io::Error },
    #[error("{place} has more than {SET_BYTES_MAX} bytes")]
    TooLong { place: String },
    #[error("{place} is no OpenID configuration: {cause}")]
    Configuration { place: String, cause: serde_json::Error },
    #[error("{place} is of {found}, and not of the issuer: set `issuer` as it is there, letter by letter")]
    OtherIssuer { place: String, found: String },
    #[error("{place} has its keys at {found}, which is no https address: name them by `keys`")]
    Insecure { place: String, found: String },
    #[error("{place}: {cause}")]
    KeySet { place: String, cause: InvalidKeySet },
}

/// An issuer's keys, and how they came here.
#[derive(Debug)]
pub(super) struct Source {
    place: Place,
    issuer: String,
    state: Mutex<State>,
    /// How many questions have been answered, or not.
    done: watch::Sender<u64>,
    /// Who hears how it goes.
    pub(super) told: OnceLock<Watch>,
    #[cfg(test)]
    pub(super) roots: Option<Arc<RootCertStore>>,
}

#[derive(Debug)]
struct State {
    keys: Arc<KeySet>,
    /// Changes with the keys.
    generation: u64,
    hash: [u8; 32],
    /// When the keys were asked for last with success.
    loaded_at: Option<Instant>,
    /// When the background may ask next.
    due_at: Instant,
    is_asking: bool,
    has_failed: bool,
    questions: u32,
    counted_at: Instant,
}

/// What came of looking for a key that is not known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Looked {
    /// The keys are as the issuer has them now.
    Again,
    /// They could not be had.
    Failed,
    /// It was asked for too often.
    TooOften,
}

impl Source {
    pub(super) fn new(place: Place, issuer: &str) -> Self {
        let now = Instant::now();
        let state = State {
            keys: Arc::default(),
            generation: 0,
            hash: [0; 32],
            loaded_at: None,
            due_at: now,
            is_asking: false,
            has_failed: false,
            questions: QUESTIONS,
            counted_at: now,
        };
        Self {
            place,
            issuer: issuer.to_owned(),
            state: Mutex::new(state),
            told: OnceLock::new(),
            done: watch::Sender::new(0),
            #[cfg(test)]
            roots: None,
        }
    }

    /// The keys as they are here, and their generation. If they are old, they are asked for in the background.
    pub(super) fn keys(self: &Arc<Self>) -> (Arc<KeySet>, u64) {
        let mut state = self.state();
        if state.loaded_at.is_some() && !state.is_asking && Instant::now() >= state.due_at {
            self.ask(&mut state);
        }
        (Arc::clone(&state.keys), state.generation)
    }

    /// Asks for the keys once more, if that has not been done too often, and waits for it.
    pub(super) async fn look_again(self: &Arc<Self>) -> Looked {
        let mut done = self.done.subscribe();
        {
            let mut state = self.state();
            if !state.is_asking {
                if !state.take_question(Instant::now()) {
                    return Looked::TooOften;
                }
                self.ask(&mut state);
            }
        }
        // Its end is bounded, and told however it comes; the bound here is for a runtime that is being shut down.
        let told = timeout(FETCH * 2 + Duration::from_secs(1), done.changed()).await;
        let has_failed = self.state().has_failed;
        if has_failed || !matches!(told, Ok(Ok(()))) { Looked::Failed } else { Looked::Again }
    }

    /// Asks for them now, and says what is wrong.
    pub(super) async fn load(self: &Arc<Self>) -> Result<(), SourceError> {
        let got = self.get().await;
        self.took(&mut self.state(), got)
    }

    /// Whether they were ever here.
    pub(super) fn has_keys(&self) -> bool {
        self.state().loaded_at.is_some()
    }

    fn ask(self: &Arc<Self>, state: &mut State) {
        state.is_asking = true;
        let this = Arc::clone(self);
        tokio::spawn(async move {
            let got = this.get().await;
            let told = this.took(&mut this.state(), got);
            if let Err(error) = told {
                tracing::debug!(%error, "an issuer's keys could not be had");
            }
        });
    }

    fn tell(&self, event: Event) {
        if let Some(watch) = self.told.get() {
            watch.tell(event);
        }
    }

    fn tell_unfit(&self, why: &str) {
        self.tell(Event::of(Kind::IssuerKeysUnfit).note(format!("{why} issuer={:?}", self.issuer)));
    }

    /// What came of a question.
    fn took(&self, state: &mut State, got: Result<(KeySet, [u8; 32]), SourceError>) -> Result<(), SourceError> {
        let now = Instant::now();
        state.is_asking = false;
        let told = match got {
            Ok((keys, hash)) => {
                if state.generation == 0 || hash != state.hash {
                    for why in &keys.left_out {
                        self.tell_unfit(why);
                    }
                    if keys.len() == 0 {
                        self.tell_unfit("there is no key that verifies tokens: none is taken");
                    }
                    state.keys = Arc::new(keys);
                    state.hash = hash;
                    state.generation += 1;
                }
                if state.has_failed {
                    self.tell(Event::of(Kind::IssuerKeysAgain).note(&self.issuer));
                }
                (state.loaded_at, state.due_at, state.has_failed) = (Some(now), now + REFRESH, false);
                Ok(())
            }
            Err(error) => {
                if !state.has_failed {
                    let what = if state.loaded_at.is_some() { "those that are here stay" } else { "no token is taken" };
                    let note = format!("{what} issuer={:?} error={error}", self.issuer);
                    self.tell(Event::of(Kind::IssuerKeysFailed).note(note));
                }
                (state.due_at, state.has_failed) = (now + RETRY, true);
                Err(error)
            }
        };
        self.done.send_modify(|count| *count += 1);
        told
    }

    async fn get(&self) -> Result<(KeySet, [u8; 32]), SourceError> {
        let (place, bytes) = match &self.place {
            Place::File(path) => (path.display().to_string(), read(path).await?),
            Place::Url(url) => (url.to_string(), self.fetch(url, SET_BYTES_MAX).await?),
            Place::Discovery(url) => {
                let keys = self.discovered(url, &self.fetch(url, CONFIGURATION_BYTES_MAX).await?)?;
                (keys.to_string(), self.fetch(&keys, SET_BYTES_MAX).await?)
            }
        };
        let keys = KeySet::parse(&bytes).map_err(|cause| SourceError::KeySet { place, cause })?;
        Ok((keys, sha256(&[&bytes])))
    }

    async fn fetch(&self, url: &Url, len_max: usize) -> Result<Vec<u8>, SourceError> {
        let roots = self.roots().await;
        let got = fetch::get(url, &roots, Bounds { len_max, time: FETCH }).await;
        got.map_err(|cause| SourceError::Fetch { place: url.to_string(), cause })
    }

    /// The authorities are a few hundred files on some systems.
    async fn roots(&self) -> Arc<RootCertStore> {
        #[cfg(test)]
        if let Some(roots) = &self.roots {
            return Arc::clone(roots);
        }
        tokio::task::spawn_blocking(fetch::roots).await.unwrap_or_else(|_| Arc::new(RootCertStore::empty()))
    }

    /// Where a configuration says that the keys are (OpenID Connect Discovery 1.0, 4.3: it must be of the issuer it is for).
    fn discovered(&self, url: &Url, bytes: &[u8]) -> Result<Url, SourceError> {
        #[derive(Deserialize)]
        struct Configuration {
            issuer: String,
            jwks_uri: String,
        }
        let place = || url.to_string();
        let read: Configuration =
            serde_json::from_slice(bytes).map_err(|cause| SourceError::Configuration { place: place(), cause })?;
        if read.issuer != self.issuer {
            return Err(SourceError::OtherIssuer { place: place(), found: shortened(&read.issuer) });
        }
        // An issuer elsewhere has nothing to look for on this machine.
        let keys = Url::parse(&read.jwks_uri)
            .ok()
            .filter(|keys| may_be_asked(keys) && (keys.scheme() == "https" || url.scheme() == "http"));
        keys.ok_or_else(|| SourceError::Insecure { place: place(), found: shortened(&read.jwks_uri) })
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn take_question(&mut self, now: Instant) -> bool {
        let more = now.saturating_duration_since(self.counted_at).as_secs() / QUESTION_EACH.as_secs();
        let more = u32::try_from(more).unwrap_or(QUESTIONS);
        self.counted_at += QUESTION_EACH * more.min(QUESTIONS);
        self.questions = self.questions.saturating_add(more).min(QUESTIONS);
        if more >= QUESTIONS {
            self.counted_at = now;
        }
        let is_left = self.questions > 0;
        self.questions = self.questions.saturating_sub(1);
        is_left
    }
}

async fn read(path: &Path) -> Result<Vec<u8>, SourceError> {
    let place = || path.display().to_string();
    let failed = |cause| SourceError::File { place: place(), cause };
    let file = tokio::fs::File::open(path).await.map_err(failed)?;
    let mut bytes = Vec::new();
    let mut file = file.take(SET_BYTES_MAX as u64 + 1);
    timeout(FETCH, file.read_to_end(&mut bytes))
        .await
        .unwrap_or_else(|_| Err(std::io::ErrorKind::TimedOut.into()))
        .map_err(failed)?;
    if bytes.len() > SET_BYTES_MAX { Err(SourceError::TooLong { place: place() }) } else { Ok(bytes) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn unknown_keys_ask_four_times_in_a_row_and_then_each_15_s() {
        let source = Source::new(Place::File("none".into()), "us");
        let mut state = source.state();
        let start = state.counted_at;
        let mut asked = |secs: u64| state.take_question(start + Duration::from_secs(secs));
        assert_eq!([0, 0, 1, 2, 3, 14].map(&mut asked), [true, true, true, true, false, false]);
        assert_eq!([15, 16, 29, 30, 31].map(&mut asked), [true, false, false, true, false]);
        assert_eq!([3_600; 5].map(&mut asked), [true, true, true, true, false], "an hour saves up no more than four");
    }
}
