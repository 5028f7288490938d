//! A browser that was told of no certificate: it warns of the server's, and goes on as a person has it go on.
//!
//! ```text
//! Chromium   the word that its warning listens for, typed
//! Firefox    "Advanced", then "Proceed to …", which is dead for a second; both in the shadow root of `net-error-card`
//! WebKitGTK  "Yes" in a bar above the page, of which its driver knows nothing: `by_hand.rs`
//! ```
//!
//! An exception that was clicked is another thing than a certificate that is trusted: in Chromium it is not for shared
//! workers and service workers, and no page is told so.

use std::time::{Duration, Instant};

use fantoccini::{
    Locator,
    actions::{InputSource, KeyAction, KeyActions},
    elements::{Element, ShadowRoot},
};
use serde_json::json;

use super::{Browser, Engine, PATIENCE};
use crate::within;

/// What Chromium's warning goes on for, wherever on it somebody types.
const WORD: &str = "thisisunsafe";

impl Browser {
    /// Goes to an address, and waits for the warning instead of its page.
    pub(crate) async fn meet_warning(&self, url: &str) {
        let accepts = self.client.capabilities().and_then(|has| has.get("acceptInsecureCerts"));
        assert_eq!(accepts, Some(&json!(false)), "a driver that accepts every certificate is warned of none");
        match within(60, format!("{url} to be warned of"), self.client.goto(url)).await {
            // geckodriver calls it an error, and shows the warning none the less.
            Err(error) if error.is_insecure_certificate() => {}
            other => other.unwrap_or_else(|error| panic!("{url}: {error}")),
        }
        match Engine::of_this_run() {
            Engine::Chromium => self.wait_for_title("Privacy error").await,
            Engine::Firefox => self.wait_for_title("Warning: Security Risk").await,
            Engine::WebKit => panic!("WebKitGTK's driver knows of no warning"),
        }
    }

    /// Goes on past the warning; the page is loaded when it returns.
    pub(crate) async fn pass_warning(&self) {
        match Engine::of_this_run() {
            Engine::Chromium => self.type_the_word().await,
            Engine::Firefox => self.proceed().await,
            Engine::WebKit => unreachable!("nobody met a warning"),
        }
        self.wait_for_title("Duologue").await;
        self.wait_until("document.readyState === 'complete'").await;
    }

    async fn type_the_word(&self) {
        let typed = WORD.chars().fold(KeyActions::new("keyboard".into()), |keys, value| {
            keys.then(KeyAction::Down { value }).then(KeyAction::Up { value })
        });
        self.client.perform_actions(typed).await.unwrap();
    }

    async fn proceed(&self) {
        let card = self.client.find(Locator::Css("net-error-card")).await.expect("Firefox's warning is a card");
        let card = card.shadow_root().await.unwrap();
        card.find(Locator::Css("#advanced-button")).await.unwrap().click().await.unwrap();
        let button = within(20, "the button to go on by to be alive", alive(&card, "#exception-button")).await;
        button.click().await.unwrap();
    }

    /// In whatever language its end is.
    async fn wait_for_title(&self, title: &str) {
        let started = Instant::now();
        loop {
            let shown = self.client.title().await.unwrap_or_default();
            if shown.starts_with(title) {
                return;
            }
            assert!(started.elapsed() < PATIENCE, "no {title:?} in {PATIENCE:?}; the title is {shown:?}");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }
}

/// A button of Firefox's own, which WebDriver takes for enabled when it is not: only the element knows.
async fn alive(card: &ShadowRoot, selector: &str) -> Element {
    loop {
        if let Ok(button) = card.find(Locator::Css(selector)).await
            && button.prop("disabled").await.unwrap() == Some("false".to_owned())
        {
            return button;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}
