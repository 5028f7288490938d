//! Sessions, each by a cookie of random bits; and the keys of tabs, by which a session begins anew after a reload.

use std::{
    collections::HashMap,
    sync::{Mutex, PoisonError},
    time::{SystemTime, UNIX_EPOCH},
};

use base64::{Engine as _, prelude::BASE64_URL_SAFE_NO_PAD};

/// How long a login is good.
pub(crate) const LASTS_SECS: u64 = 8 * 3_600;
/// Of each kind; beyond that who has signed in first is out.
const KEPT_MAX: usize = 10_000;

/// Seconds since 1970.
pub(crate) fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs())
}

#[derive(Default)]
pub(crate) struct Sessions {
    /// By their cookies: whose.
    sessions: Kept<&'static str>,
    /// By their keys: whose, and the one device that they are good on.
    tabs: Kept<(&'static str, String)>,
}

impl Sessions {
    /// The cookie of a new one.
    pub(crate) fn begin(&self, who: &'static str) -> String {
        self.sessions.keep(who)
    }

    /// Whose it is, by the header `cookie`.
    pub(crate) fn of(&self, cookies: &str) -> Option<&'static str> {
        self.sessions.get(id(cookies)?)
    }

    pub(crate) fn end(&self, cookies: &str) {
        if let Some(id) = id(cookies) {
            self.sessions.retain(|key, _| key != id);
        }
    }

    /// A reload ends the page's session, and its cookies with it. What a tab keeps instead is worth nothing on another device.
    pub(crate) fn new_tab(&self, who: &'static str, device: &str) -> String {
        self.tabs.keep((who, device.to_owned()))
    }

    pub(crate) fn owner_of(&self, tab: &str, device: &str) -> Option<&'static str> {
        self.tabs.get(tab).filter(|(_, of)| of == device).map(|(who, _)| who)
    }

    /// All of a device.
    pub(crate) fn forget_tabs(&self, device: &str) {
        self.tabs.retain(|_, (_, of)| of != device);
    }
}

/// What is kept under random bits until its time is over.
struct Kept<T>(Mutex<HashMap<String, (T, u64)>>);

impl<T> Default for Kept<T> {
    fn default() -> Self {
        Self(Mutex::default())
    }
}

impl<T: Clone> Kept<T> {
    fn keep(&self, value: T) -> String {
        let mut bits = [0; 32];
        getrandom::fill(&mut bits).expect("the system has randomness");
        let key = BASE64_URL_SAFE_NO_PAD.encode(bits);
        let (mut kept, now) = (self.0.lock().unwrap_or_else(PoisonError::into_inner), now());
        kept.retain(|_, (_, until)| *until > now);
        if kept.len() >= KEPT_MAX {
            let oldest = kept.iter().min_by_key(|(_, (_, until))| *until).map(|(key, _)| key.clone());
            oldest.map(|key| kept.remove(&key));
        }
        kept.insert(key.clone(), (value, now + LASTS_SECS));
        key
    }

    fn get(&self, key: &str) -> Option<T> {
        let kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        kept.get(key).filter(|(_, until)| *until > now()).map(|(value, _)| value.clone())
    }

    fn retain(&self, mut is_kept: impl FnMut(&str, &T) -> bool) {
        let mut kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        kept.retain(|key, (value, _)| is_kept(key, value));
    }
}

/// What the backend sets. The line's server keeps it, so that no page has it; and it is no other site's to send.
pub(crate) fn cookie(id: &str) -> String {
    format!("session={id}; Path=/; Max-Age={LASTS_SECS}; HttpOnly; SameSite=Strict")
}

pub(crate) fn no_cookie() -> String {
    "session=; Path=/; Max-Age=0; HttpOnly; SameSite=Strict".to_owned()
}

fn id(cookies: &str) -> Option<&str> {
    cookies.split(';').find_map(|pair| pair.trim().strip_prefix("session="))
}
