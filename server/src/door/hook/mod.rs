//! The hook: the owner's backend is asked what it thinks of a caller, when he connects.
//!
//! ```text
//! proved, seen, said ─► answered before? ──────────────────────────────┐
//!                          └ no ─► a place ─► one bounded POST ─► kept ─┴► ruling: refused, lowered, or whose groups and level
//!                                     └ none in time, no answer, or none that can be read: nothing new is given
//! ```
//!
//! What was only seen can refuse and lower, never raise and never bind: whoever ends TLS on the way can send the same cookie from a
//! line of his own. So a subject that the backend names counts where the device is bound to it, or where a token under the seal
//! names it; else what it says can only take away. An answer is remembered under the hash of everything that was asked, and
//! forgotten whenever somebody is revoked, bound, or judged by other rules.

mod answer;
mod answers;
mod question;
mod settings;

use std::{
    fmt,
    sync::{
        Arc, Mutex, MutexGuard, OnceLock, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use crate::watch::{
    events::{Event, Kind},
    stream::Watch,
};
use duologue::DeviceId;
use rustls::RootCertStore;
use tokio::{
    sync::{OnceCell, Semaphore},
    time::{Instant, timeout_at},
};

pub(crate) use answer::{Answer, Caller, Ceiling, Ruled, Ruling};
pub(crate) use question::{Question, Upgrade, Visit};
pub use settings::{HookSettings, InvalidHookSettings, WithoutHook};

use answers::Answers;

use super::{
    error::{DoorError, Refused},
    fetch::{self, Bounds, Whom},
    gate::now,
    tokens::sha256,
};

/// Questions about those whom the server knows that are under way at a time.
const PLACES: usize = 32;
/// And about strangers, so that these never take the places of the others.
const PLACES_OF_STRANGERS: usize = 8;
/// The longest answer, in bytes: 64 groups of 64 bytes, each of them escaped.
const ANSWER_BYTES_MAX: usize = 32 * 1_024;
/// How often one question is put, where what was known has changed meanwhile.
const TRIES: usize = 2;

/// Asks the owner's backend of callers. Clones are the same one.
#[derive(Clone)]
pub struct Hook(Arc<Inner>);

struct Inner {
    settings: HookSettings,
    whom: Whom,
    own_origin: String,
    roots: OnceCell<Arc<RootCertStore>>,
    answers: Mutex<Answers>,
    places: Semaphore,
    places_of_strangers: Semaphore,
    has_failed: AtomicBool,
    /// Hears how it goes.
    watch: OnceLock<Watch>,
}

/// Of whom it is asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Whose {
    /// Whom the server knows.
    Known,
    /// Whom nobody knows, and who may not come as a guest either.
    Stranger,
    /// A guest, for the first time or again.
    Guest { again: bool },
    /// One who is in, and of whom what was said is about to end.
    Again,
}

impl Hook {
    /// One as the settings say, of a server whose own pages have this origin. Nobody is asked for anything yet.
    ///
    /// # Errors
    /// If the settings cannot be meant.
    pub fn new(settings: HookSettings, own_origin: &str) -> Result<Self, InvalidHookSettings> {
        let whom = settings.whom()?;
        Ok(Self(Arc::new(Inner {
            settings,
            whom,
            own_origin: own_origin.to_owned(),
            roots: OnceCell::new(),
            answers: Mutex::default(),
            places: Semaphore::new(PLACES),
            places_of_strangers: Semaphore::new(PLACES_OF_STRANGERS),
            has_failed: AtomicBool::new(false),
            watch: OnceLock::new(),
        })))
    }

    /// Who hears how it goes.
    pub(crate) fn tell_to(&self, watch: &Watch) {
        self.0.watch.get_or_init(|| watch.clone());
    }

    fn tell(&self, event: Event) {
        if let Some(watch) = self.0.watch.get() {
            watch.tell(event);
        }
    }

    /// Where it is, as its owner has written it.
    #[must_use]
    pub fn url(&self) -> &str {
        &self.0.settings.url
    }

    /// Whether cookies prove who somebody is: whoever ends TLS on the way can then be anybody whose cookie passes there.
    #[must_use]
    pub fn cookies_prove(&self) -> bool {
        self.0.settings.cookies_prove
    }

    /// Whether those of this caller do: only of the server's own page, and never of a native client.
    pub(crate) fn cookies_prove_of(&self, question: &Question<'_>) -> bool {
        self.cookies_prove() && question.has_cookies_of(&self.0.own_origin)
    }

    /// Whether a device may come with what its key alone gives while nobody answers.
    pub(crate) fn lets_devices_in_without(&self) -> bool {
        self.0.settings.unreachable == WithoutHook::Device
    }

    /// How long what it says holds at most, in seconds.
    pub(crate) fn max_age(&self) -> u64 {
        self.0.settings.max_age
    }

    /// What was answered so far is not asked any more, and what is being answered now is thrown away.
    pub(crate) fn forget(&self) {
        self.answers().forget();
    }

    /// The same, of one device.
    pub(crate) fn forget_of(&self, device: DeviceId) {
        self.answers().forget_of(device);
    }

    /// Asks within this time, and within the hook's own.
    pub(crate) async fn ask(&self, question: &Question<'_>, of: Whose, time: Duration) -> Result<Arc<Answer>, Refused> {
        let asked = self.ask_within(question, of, time.min(self.0.settings.timeout())).await;
        match &asked {
            Ok(_) => {
                if self.0.has_failed.swap(false, Ordering::Relaxed) {
                    self.tell(Event::of(Kind::HookAgain));
                }
            }
            Err(refused) => {
                if !self.0.has_failed.swap(true, Ordering::Relaxed) {
                    let without = self.0.settings.unreachable.word();
                    let note = format!("{refused} url={:?} without={without:?}", self.url());
                    self.tell(Event::of(Kind::HookFailed).code(refused.error.word()).note(note));
                }
            }
        }
        asked
    }

    async fn ask_within(&self, question: &Question<'_>, of: Whose, time: Duration) -> Result<Arc<Answer>, Refused> {
        let end = Instant::now() + time;
        let json = serde_json::to_vec(question)
            .map_err(|error| DoorError::HookUnreachable.because(format!("it cannot be asked: {error}")))?;
        let hash = sha256(&[&json]);
        let places = match of {
            Whose::Stranger | Whose::Guest { .. } => &self.0.places_of_strangers,
            Whose::Known | Whose::Again => &self.0.places,
        };
        let is_again = matches!(of, Whose::Again | Whose::Guest { again: true });
        for _ in 0..TRIES {
            let (begun, own_places) = {
                let mut answers = self.answers();
                if !is_again && let Some(answer) = answers.get(&hash, Instant::now()) {
                    return Ok(answer);
                }
                answers.begins(question.device())
            };
            let _under_way = UnderWay { hook: self, of: question.device() };
            let asked = async {
                let own_place = own_places.acquire().await;
                // Another tab may have asked the same meanwhile.
                if !is_again && let Some(answer) = self.answers().get(&hash, Instant::now()) {
                    return Ok(Answered::Before(answer));
                }
                let place = places.acquire().await;
                let roots = self.roots().await;
                let left = end.saturating_duration_since(Instant::now());
                let bounds = Bounds { len_max: ANSWER_BYTES_MAX, time: left };
                let answered = fetch::post(&self.0.whom, &roots, json.clone(), bounds).await;
                drop((place, own_place));
                answered.map(Answered::Now)
            };
            let answered = match timeout_at(end, asked).await {
                Ok(answered) => answered.map_err(|error| DoorError::HookUnreachable.because(error.to_string()))?,
                Err(_) => {
                    return Err(DoorError::HookUnreachable.because("there was no place in time: too many are asked of"));
                }
            };
            let answer = Arc::new(match answered {
                Answered::Before(answer) => return Ok(answer),
                Answered::Now(Some(json)) => Answer::parse(&json, now())?,
                Answered::Now(None) => Answer::default(),
            });
            let mut answers = self.answers();
            // Who was revoked, or is judged by other rules now, or has signed out, must not come in by what was true before.
            if answers.moment(question.device()) == begun {
                let kept = answer.kept(now()).min(self.0.settings.cache());
                answers.put(hash, question.device(), Arc::clone(&answer), Instant::now() + kept);
                return Ok(answer);
            }
        }
        Err(DoorError::HookUnreachable.because("what it was asked of has changed, while it was asked, again and again"))
    }

    /// The authorities are a few hundred files on some systems. Where there is no TLS, none are needed.
    async fn roots(&self) -> Arc<RootCertStore> {
        let needs_them = matches!(&self.0.whom, Whom::Url(url) if url.scheme() == "https");
        if !needs_them {
            return Arc::new(RootCertStore::empty());
        }
        let read = || async {
            tokio::task::spawn_blocking(fetch::roots).await.unwrap_or_else(|_| Arc::new(RootCertStore::empty()))
        };
        Arc::clone(self.0.roots.get_or_init(read).await)
    }

    fn answers(&self) -> MutexGuard<'_, Answers> {
        self.0.answers.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What came of a question.
enum Answered {
    /// It was put before, and is good still.
    Before(Arc<Answer>),
    /// The body; none where that says nothing.
    Now(Option<Vec<u8>>),
}

/// A question, until its answer is there or nobody waits for it any more.
struct UnderWay<'a> {
    hook: &'a Hook,
    of: DeviceId,
}

impl Drop for UnderWay<'_> {
    fn drop(&mut self) {
        self.hook.answers().ends(self.of);
    }
}

impl fmt::Debug for Hook {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Hook").field("settings", &self.0.settings).finish_non_exhaustive()
    }
}
