//! The tokens that a line shows of its person: where they come from, and when they are asked for anew.
//!
//! ```text
//! connect ─► ask ─► AUTH with the token ─► Standing { level, secs, … } ─► near its end, or when the server wants another:
//!                                                      ▲                   ask, once for what was shown ─► EVIDENCE
//!                                                      └──────────────────────────────────────────────────────┘
//! ```
//!
//! A token that is given as text is shown as it is, and never asked for again. What cannot be had is tried again with the next
//! connection; until then the standing falls as the server says.

use std::{
    error::Error,
    fmt,
    future::Future,
    pin::Pin,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU32, Ordering},
    },
    time::Duration,
};

use duologue::{EvidenceKind, Standing};
use duologue_native::Line;
use tokio::task::AbortHandle;

/// How long before a standing's end a token is asked for; half of its time, where that is less.
const BEFORE_END: Duration = Duration::from_secs(60);

/// What the server says where somebody has signed out.
pub(crate) const SIGNED_OUT: &str = "signed-out";

/// Why there is no token: in the words of whoever makes them, or of the line that cannot show it.
pub type TokenError = Box<dyn Error + Send + Sync>;

type Asked = Pin<Box<dyn Future<Output = Result<String, TokenError>> + Send>>;

/// Where tokens come from.
#[derive(Clone)]
pub(crate) enum TokenSource {
    Text(String),
    Function(Arc<dyn Fn() -> Asked + Send + Sync>),
}

impl TokenSource {
    pub(crate) fn function<F, E>(ask: impl Fn() -> F + Send + Sync + 'static) -> Self
    where
        F: Future<Output = Result<String, E>> + Send + 'static,
        E: Into<TokenError>,
    {
        Self::Function(Arc::new(move || {
            let asked = ask();
            Box::pin(async move { asked.await.map_err(Into::into) })
        }))
    }

    pub(crate) async fn ask(&self) -> Result<String, TokenError> {
        match self {
            Self::Text(token) => Ok(token.clone()),
            Self::Function(ask) => ask().await,
        }
    }
}

/// Without the token.
impl fmt::Debug for TokenSource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Text(_) => "Text(..)",
            Self::Function(_) => "Function(..)",
        })
    }
}

/// What keeps a line's token young.
#[derive(Debug)]
pub(crate) struct TokenKeeper {
    source: TokenSource,
    /// The number of what was shown last.
    shown: Arc<AtomicU32>,
    /// For which number, on this connection, another was asked for.
    asked: Option<u32>,
    /// Asks, or waits until it is time to.
    at_work: Mutex<Option<AbortHandle>>,
}

impl TokenKeeper {
    pub(crate) fn new(source: TokenSource, shown: u32) -> Self {
        Self { source, shown: Arc::new(AtomicU32::new(shown)), asked: None, at_work: Mutex::default() }
    }

    /// Another connection: what could not be had before is asked for again.
    pub(crate) const fn connected(&mut self) {
        self.asked = None;
    }

    /// The server has told of its standing.
    pub(crate) fn told(&mut self, line: &Line, standing: &Standing) {
        let shown = self.shown.load(Ordering::Relaxed);
        // In another of this device's sessions: what was shown here is not to be shown again either.
        if standing.refused == SIGNED_OUT {
            self.put_to_work(None);
            if standing.evidence == shown {
                // What it has is one byte.
                let _ = show_behind(line, shown, EvidenceKind::SignOut, vec![0]);
            }
            return;
        }
        // Judged by something older than is on its way.
        if standing.evidence != shown || self.asked == Some(shown) || matches!(self.source, TokenSource::Text(_)) {
            return;
        }
        let wait = match standing.secs.map(|secs| Duration::from_secs(secs.into())) {
            _ if standing.wants_evidence => Duration::ZERO,
            Some(left) => left.saturating_sub(BEFORE_END.min(left / 2)),
            None => return self.put_to_work(None),
        };
        if wait.is_zero() {
            self.asked = Some(shown);
        }
        let (line, source, number) = (line.unguarded(), self.source.clone(), Arc::clone(&self.shown));
        self.put_to_work(Some(
            tokio::spawn(async move {
                tokio::time::sleep(wait).await;
                let token = source.ask().await.map(String::into_bytes);
                match token.map(|token| show_behind(&line, shown, EvidenceKind::Token, token)) {
                    Ok(Ok(Some(shown))) => number.store(shown, Ordering::Relaxed),
                    Ok(Ok(None)) => tracing::debug!("somebody has signed out, or shown something newer"),
                    Ok(Err(error)) | Err(error) => tracing::warn!(%error, "there is no newer token to show"),
                }
            })
            .abort_handle(),
        ));
    }

    fn put_to_work(&self, work: Option<AbortHandle>) {
        let mut at_work = self.at_work.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(before) = std::mem::replace(&mut *at_work, work) {
            before.abort();
        }
    }
}

/// The line is over: nobody asks for its sake any more.
impl Drop for TokenKeeper {
    fn drop(&mut self) {
        self.put_to_work(None);
    }
}

/// Shows something, unless something else was shown behind what is told.
fn show_behind(line: &Line, last: u32, kind: EvidenceKind, data: Vec<u8>) -> Result<Option<u32>, TokenError> {
    line.command(|line, _| (line.shown() == last).then(|| line.show(kind, data)).transpose()).map_err(Into::into)
}

#[cfg(test)]
mod tests {
    use duologue::{Claims, ClientConfig, Offer, ServerKey};
    use tokio::sync::mpsc;

    use super::*;
    use crate::Keyring;

    /// A line that dials nobody, a keeper of its first token, and who hears how often another is asked for.
    fn keeper(fails: bool) -> (Line, TokenKeeper, mpsc::UnboundedReceiver<()>) {
        let claims = Claims { origin: String::new(), host: "localhost".to_owned(), name: "test".to_owned() };
        let device = Keyring::in_memory().device();
        let (server_key, offer) = (ServerKey([9; 32]), Offer::Nothing);
        let line =
            Line::new(duologue::Line::client(ClientConfig { server_key, offer, enrolled: true, device, claims }, 1));
        let shown = line.show(EvidenceKind::Token, b"first".to_vec()).expect("it is short");
        let (asks, asked) = mpsc::unbounded_channel();
        let source = TokenSource::function(move || {
            let _ = asks.send(());
            async move { if fails { Err("nobody is signed in") } else { Ok("next".to_owned()) } }
        });
        (line, TokenKeeper::new(source, shown), asked)
    }

    fn wants(evidence: u32) -> Standing {
        Standing { evidence, wants_evidence: true, ..Standing::of_level(1) }
    }

    /// Waits until the line has shown that much.
    async fn shown_is(keeper: &TokenKeeper, number: u32) {
        while keeper.shown.load(Ordering::Relaxed) != number {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }

    #[tokio::test]
    async fn a_token_is_asked_for_once_for_what_was_shown() {
        let (line, mut keeper, mut asked) = keeper(false);
        keeper.told(&line, &wants(0));
        assert!(asked.try_recv().is_err(), "the first is on its way");
        keeper.told(&line, &wants(1));
        keeper.told(&line, &wants(1));
        asked.recv().await.expect("it is asked");
        shown_is(&keeper, 2).await;
        keeper.told(&line, &wants(1));
        keeper.told(&line, &wants(2));
        asked.recv().await.expect("it is asked for what comes behind the second");
        shown_is(&keeper, 3).await;
        assert!(asked.try_recv().is_err(), "and for nothing else");
    }

    #[tokio::test]
    async fn what_could_not_be_had_is_asked_for_again_with_another_connection() {
        let (line, mut keeper, mut asked) = keeper(true);
        keeper.told(&line, &wants(1));
        asked.recv().await.expect("it is asked");
        keeper.told(&line, &wants(1));
        tokio::task::yield_now().await;
        assert!(asked.try_recv().is_err(), "not again and again");
        keeper.connected();
        keeper.told(&line, &wants(1));
        asked.recv().await.expect("it is asked again");
        assert_eq!(keeper.shown.load(Ordering::Relaxed), 1, "what was shown stays");
    }

    #[tokio::test]
    async fn a_token_is_asked_for_before_the_end_of_what_the_last_has_raised() {
        let (line, mut keeper, mut asked) = keeper(false);
        let began = std::time::Instant::now();
        let ends = |evidence, secs| Standing { evidence, secs: Some(secs), ..Standing::of_level(2) };
        keeper.told(&line, &ends(1, 3_600));
        tokio::task::yield_now().await;
        assert!(asked.try_recv().is_err(), "there is time");
        keeper.told(&line, &ends(1, 1));
        asked.recv().await.expect("half a second is left");
        assert!(began.elapsed() >= Duration::from_millis(500));
        shown_is(&keeper, 2).await;
    }

    #[tokio::test]
    async fn who_has_signed_out_is_asked_for_nothing_and_shows_nothing_again() {
        let (line, mut keeper, mut asked) = keeper(false);
        let signed_out = |evidence| Standing { refused: SIGNED_OUT.to_owned(), ..wants(evidence) };
        // In another session of this device: what was shown here goes as well, once.
        keeper.told(&line, &signed_out(1));
        assert_eq!(line.command(|line, _| line.shown()), 2, "the word has taken the token's place");
        keeper.told(&line, &signed_out(1));
        keeper.told(&line, &signed_out(2));
        assert_eq!(line.command(|line, _| line.shown()), 2);
        assert!(asked.try_recv().is_err(), "nobody is asked");
    }

    #[tokio::test]
    async fn a_token_that_comes_behind_the_word_is_not_shown() {
        let (line, mut keeper, mut asked) = keeper(false);
        keeper.told(&line, &Standing { secs: Some(1), ..wants(1) });
        line.show(EvidenceKind::SignOut, vec![0]).expect("it is short");
        asked.recv().await.expect("it was on its way");
        keeper.at_work.lock().expect("nobody panicked").take();
        tokio::time::sleep(Duration::from_millis(50)).await;
        assert_eq!(line.command(|line, _| line.shown()), 2);
    }

    #[tokio::test]
    async fn a_token_that_is_text_is_shown_as_it_is() {
        let (line, ..) = keeper(false);
        let mut keeper = TokenKeeper::new(TokenSource::Text("eyJ".to_owned()), 1);
        keeper.told(&line, &wants(1));
        assert!(keeper.at_work.lock().expect("nobody panicked").is_none());
        assert_eq!(format!("{:?}", keeper.source), "Text(..)");
    }
}
