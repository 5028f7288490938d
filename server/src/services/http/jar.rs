//! A session's cookies: the backend sets them and gets them back, and the client never sees one, so that no script of a page,
//! and nobody who copies a page's storage, has a login.
//!
//! They are kept by RFC 6265 (and its successor's prefixes), for one host: `Domain` is not looked at, since the line leads to
//! one backend and no other. The line is sealed, so that `Secure` holds. A jar is the session's: it is there after a
//! reconnection, two tabs on one line have one, and it is gone with the session, or when who was signed in has signed out.

use std::{
    collections::VecDeque,
    sync::{Mutex, MutexGuard, PoisonError},
};

use axum::http::{HeaderMap, HeaderValue, header};
use cookie_store::{CookieStore, RawCookie, StoreAction};
use url::Url;

/// Cookies of a session. A newcomer beyond that takes the place of the oldest.
const COOKIES_MAX: usize = 50;
/// Names and values of all of them, in bytes.
const COOKIES_BYTES_MAX: usize = 16 * 1_024;
/// Name and value of one, in bytes: as browsers have it.
const COOKIE_BYTES_MAX: usize = 4_096;
/// A `Set-Cookie`, with its attributes.
const LINE_BYTES_MAX: usize = 8 * 1_024;
/// The one host of a jar. Nobody sees it.
const HOST: &str = "backend.invalid";

/// The cookies of one session.
#[derive(Debug, Default)]
pub(crate) struct Jar(Mutex<Cookies>);

#[derive(Debug, Default)]
struct Cookies {
    store: CookieStore,
    /// Paths and names, the oldest first.
    order: VecDeque<(String, String)>,
}

impl Jar {
    /// Keeps what an answer to a request for this path sets.
    pub(super) fn keep(&self, path: &str, answer: &HeaderMap) {
        let mut lines = answer.get_all(header::SET_COOKIE).iter().peekable();
        let Some(url) = url(path).filter(|_| lines.peek().is_some()) else { return };
        let mut cookies = self.lock();
        for line in lines {
            match std::str::from_utf8(line.as_bytes()).ok().filter(|line| line.len() <= LINE_BYTES_MAX).and_then(parsed)
            {
                Some(cookie) => cookies.keep(&cookie, &url),
                None => tracing::debug!("the backend set a cookie that is none"),
            }
        }
    }

    /// What a request for this path brings along: longer paths first, and of these the older cookies first (RFC 6265, 5.4).
    pub(super) fn header(&self, path: &str) -> Option<HeaderValue> {
        let url = url(path)?;
        let cookies = self.lock();
        let mut matching = cookies.store.matches(&url);
        let age = |path: &str, name: &str| cookies.order.iter().position(|(at, named)| at == path && named == name);
        matching.sort_by_cached_key(|cookie| {
            let path: &str = cookie.path.as_ref();
            (std::cmp::Reverse(path.len()), age(path, cookie.name()))
        });
        let pairs: Vec<String> =
            matching.iter().map(|cookie| format!("{}={}", cookie.name(), cookie.value())).collect();
        if pairs.is_empty() { None } else { HeaderValue::try_from(pairs.join("; ")).ok() }
    }

    fn lock(&self) -> MutexGuard<'_, Cookies> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Cookies {
    fn keep(&mut self, cookie: &RawCookie<'static>, url: &Url) {
        // One that has expired takes away its like, and is none itself.
        let Ok(action) = self.store.insert_raw(cookie, url) else { return };
        let mut kept: Vec<(String, String)> = Vec::new();
        for cookie in self.store.iter_unexpired() {
            kept.push((String::from(&cookie.path), cookie.name().to_owned()));
        }
        self.order.retain(|known| kept.contains(known));
        if action != StoreAction::ExpiredExisting {
            for key in kept {
                if !self.order.contains(&key) {
                    self.order.push_back(key);
                }
            }
        }
        while self.order.len() > COOKIES_MAX || self.len() > COOKIES_BYTES_MAX {
            let Some((path, name)) = self.order.pop_front() else { return };
            self.store.remove(HOST, &path, &name);
        }
    }

    /// Names and values, in bytes.
    fn len(&self) -> usize {
        self.store.iter_any().map(|cookie| cookie.name().len() + cookie.value().len()).sum()
    }
}

/// A cookie as it may be kept.
fn parsed(line: &str) -> Option<RawCookie<'static>> {
    let mut cookie = RawCookie::parse(line.to_owned()).ok()?;
    let (name, value) = cookie.name_value();
    let is_of = |prefix: &str| name.get(..prefix.len()).is_some_and(|start| start.eq_ignore_ascii_case(prefix));
    let is_secure = cookie.secure() == Some(true);
    let is_whole = is_secure && cookie.domain().is_none() && cookie.path() == Some("/");
    let is_true = (!is_of("__secure-") || is_secure) && (!is_of("__host-") || is_whole);
    if name.is_empty() || name.len() + value.len() > COOKIE_BYTES_MAX || !is_true {
        return None;
    }
    cookie.unset_domain();
    Some(cookie)
}

fn url(path: &str) -> Option<Url> {
    Url::parse(&format!("https://{HOST}{path}")).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn set(jar: &Jar, path: &str, lines: &[&str]) {
        let mut answer = HeaderMap::new();
        for line in lines {
            answer.append(header::SET_COOKIE, HeaderValue::from_bytes(line.as_bytes()).expect("a value"));
        }
        jar.keep(path, &answer);
    }

    fn sent(jar: &Jar, path: &str) -> String {
        let header = jar.header(path);
        header.map_or_else(String::new, |value| String::from_utf8_lossy(value.as_bytes()).into_owned())
    }

    #[test]
    fn a_cookie_comes_back_below_its_path_and_nowhere_else() {
        let jar = Jar::default();
        set(&jar, "/app/login", &["here=1", "all=2; Path=/; HttpOnly; Secure; SameSite=Strict", "deep=3; Path=/app/a"]);
        assert_eq!(sent(&jar, "/app/a/b"), "deep=3; here=1; all=2", "longer paths first");
        assert_eq!(sent(&jar, "/app"), "here=1; all=2");
        for outside in ["/", "/application", "/APP/", "/app%2f", "/b"] {
            assert_eq!(sent(&jar, outside), "all=2", "{outside}");
        }
        set(&jar, "/", &["all=4; Path=/", "new=5; Path=/"]);
        assert_eq!(sent(&jar, "/"), "all=4; new=5", "the same one, in its old place");
        assert_eq!(sent(&jar, "no path"), "");
    }

    #[test]
    fn the_one_host_has_them_whatever_their_domain_says() {
        let jar = Jar::default();
        set(&jar, "/", &["a=1; Domain=example.org", "b=2; Domain=.other.example", "c=3; Domain=com"]);
        assert_eq!(sent(&jar, "/"), "a=1; b=2; c=3");
    }

    #[test]
    fn what_has_expired_is_gone_and_takes_its_like_along() {
        let jar = Jar::default();
        let past = "Expires=Thu, 01 Jan 1970 00:00:00 GMT";
        set(&jar, "/", &["a=1", "b=2; Max-Age=1000", &format!("c=3; {past}"), "d=4; Max-Age=0", "e=5; Max-Age=-1"]);
        assert_eq!(sent(&jar, "/"), "a=1; b=2");
        // Max-Age before Expires (RFC 6265, 5.3).
        set(&jar, "/", &[&format!("a=6; Max-Age=1000; {past}"), &format!("b=; {past}")]);
        assert_eq!(sent(&jar, "/"), "a=6");
        set(&jar, "/", &["b=7"]);
        assert_eq!(sent(&jar, "/"), "a=6; b=7");
    }

    #[test]
    fn prefixes_are_promises_in_any_case() {
        let jar = Jar::default();
        let good = ["__Secure-a=1; Secure", "__Host-b=2; Secure; Path=/"];
        let bad = [
            "__Secure-c=1",
            "__secure-c=1",
            "__Host-d=1; Path=/",
            "__Host-d=1; Secure",
            "__HOST-d=1; Secure; Path=/a",
            "__Host-d=1; Secure; Path=/; Domain=backend.invalid",
            "=1",
            "nameless",
            "",
        ];
        set(&jar, "/", &bad);
        assert_eq!(sent(&jar, "/"), "");
        set(&jar, "/", &good);
        assert_eq!(sent(&jar, "/"), "__Secure-a=1; __Host-b=2");
    }

    #[test]
    fn a_jar_holds_so_much_and_the_newest_of_it() {
        let jar = Jar::default();
        for number in 0..COOKIES_MAX + 2 {
            set(&jar, "/", &[&format!("n{number}={number}")]);
        }
        let all = sent(&jar, "/");
        assert_eq!(all.split("; ").count(), COOKIES_MAX);
        assert!(all.starts_with("n2=2; ") && all.ends_with("n51=51"), "{all}");
        let long = "x".repeat(COOKIE_BYTES_MAX - 1);
        for name in ["a", "b", "c", "d", "e"] {
            set(&jar, "/", &[&format!("{name}={long}")]);
        }
        let names: Vec<String> = sent(&jar, "/").split("; ").map(|pair| pair[..1].to_owned()).collect();
        assert_eq!(names, ["b", "c", "d", "e"], "16 KiB");
        set(&jar, "/", &[&format!("ff={long}"), &format!("g=1; Path=/{}", "p".repeat(LINE_BYTES_MAX))]);
        assert!(!sent(&jar, "/").contains("ff="), "longer than browsers keep one");
        assert_eq!(jar.lock().order.len(), 4);
    }

    #[test]
    fn no_line_makes_a_jar_panic_or_grow() {
        let jar = Jar::default();
        let seed = fastrand::u64(..);
        println!("seed {seed}");
        let mut random = fastrand::Rng::with_seed(seed);
        let pieces = [
            "a",
            "=",
            ";",
            " ",
            "Path",
            "/",
            "Max-Age",
            "9223372036854775807",
            "-",
            "Expires",
            "\u{e9}",
            "__Host-",
            "\t",
            "%00",
            "\"",
            "Domain",
            ".",
            "Secure",
        ];
        for _ in 0..20_000 {
            let line: String = (0..random.usize(..12)).filter_map(|_| random.choice(pieces)).collect();
            set(&jar, "/a", &[&line]);
            let header = jar.header("/a/b");
            assert!(header.is_none_or(|value| value.len() <= COOKIES_BYTES_MAX + 4 * COOKIES_MAX), "{line:?}");
            let cookies = jar.lock();
            assert!(cookies.order.len() <= COOKIES_MAX);
            assert_eq!(cookies.order.len(), cookies.store.iter_unexpired().count(), "{line:?}");
        }
    }
}
