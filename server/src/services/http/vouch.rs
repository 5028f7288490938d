//! What the backend says of the person behind a request: the app's own login, by whatever it logs people in with.
//!
//! ```text
//! POST /login   duologue-request: <128 bits of this request> ─►
//!                                              ◄─ duologue-vouch: <the same>; subject=zoe; groups=staff,admins; until=1830000000
//! POST /logout  duologue-request: <another's>  ─►
//!                                              ◄─ duologue-vouch: <the same>; signed-out
//! ```
//!
//! It counts where the owner has said that people log in (by flags, or in `[door.vouch]` of the configuration), on the answer to a method that is not safe (RFC 9110, section 9.2.1), and
//! only with the bits of the very request: an answer that a cache has kept, or that holds what somebody else wrote, vouches for
//! nobody. It never names a device, since the ids of devices are no secrets: the session is the one in which it was asked.
//! Values are UTF-8, percent-encoded where a header has no such character; `until` is in seconds since 1970.

use std::{
    sync::{Arc, PoisonError, RwLock},
    time::Duration,
};

use axum::http::{HeaderMap, HeaderName, HeaderValue, Method};
use base64::{Engine as _, prelude::BASE64_URL_SAFE_NO_PAD};
use duologue::CloseCode;
use percent_encoding::percent_decode_str;
use thiserror::Error;

use super::jar::Jar;
use crate::watch::events::Kind;
use crate::{
    door::{
        gate::now,
        policy::patterns::{Path, PathPattern},
        standing::{Group, InvalidName, Subject},
    },
    services::{right::NotVouched, service::Call},
    state::random,
    watch::text,
};

/// Has the bits of a request, both ways.
pub(super) const REQUEST: HeaderName = HeaderName::from_static("duologue-request");
pub(super) const VOUCH: HeaderName = HeaderName::from_static("duologue-vouch");
/// How long a login is good at most, and where the backend does not say.
const LASTS: Duration = Duration::from_secs(12 * 3_600);
/// Groups of one subject.
const GROUPS_MAX: usize = 64;
/// What the log has of what is none, in characters.
const SHOWN_CHARS_MAX: usize = 80;

/// Whom the backend may vouch for, where, and for how long.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VouchSettings {
    /// Where people log in and out.
    pub paths: Vec<PathPattern>,
    /// How long a login is good at most, and where the backend does not say.
    pub longest: Duration,
    /// Whom it may name; anybody, if nobody is listed.
    pub subjects: Vec<Subject>,
    /// Which groups it may say that they are in; any, if none is listed.
    pub groups: Vec<Group>,
}

impl Default for VouchSettings {
    /// Nowhere; elsewhere anybody, for half a day.
    fn default() -> Self {
        Self { paths: Vec::new(), longest: LASTS, subjects: Vec::new(), groups: Vec::new() }
    }
}

/// Settings that can be changed while requests are under way. Clones are the same.
#[derive(Clone, Debug, Default)]
pub struct Vouches(Arc<RwLock<Arc<VouchSettings>>>);

impl Vouches {
    /// These.
    #[must_use]
    pub fn new(settings: VouchSettings) -> Self {
        Self(Arc::new(RwLock::new(Arc::new(settings))))
    }

    /// Others, for every answer from now on. What was vouched for before stays so.
    pub fn set(&self, settings: VouchSettings) {
        *self.0.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(settings);
    }

    fn now(&self) -> Arc<VouchSettings> {
        Arc::clone(&self.0.read().unwrap_or_else(PoisonError::into_inner))
    }
}

/// Where people log in and out: as flags have it, and as the configuration does.
#[derive(Clone, Debug, Default)]
pub(super) struct Vouching {
    paths: Vec<PathPattern>,
    settings: Vouches,
}

/// The bits of one request.
#[derive(Debug)]
pub(super) struct OneTime(String);

/// The request whose answer says something.
#[derive(Debug)]
pub(super) struct OfRequest<'a> {
    pub(super) method: &'a Method,
    /// As it was asked for.
    pub(super) path: &'a str,
    pub(super) one_time: &'a OneTime,
    /// What the session kept when it was made: another once somebody has signed out.
    pub(super) session: &'a Option<Arc<Jar>>,
}

impl OfRequest<'_> {
    /// Whether nobody has signed out since.
    fn is_current(&self, call: &Call) -> bool {
        match (self.session, call.kept::<Jar>()) {
            (Some(then), Some(now)) => Arc::ptr_eq(then, &now),
            (then, now) => then.is_none() && now.is_none(),
        }
    }
}

/// What an answer says.
#[derive(Debug, PartialEq, Eq)]
enum Word {
    SignedIn { subject: Subject, groups: Vec<Group>, until: Option<u64> },
    SignedOut,
}

/// Why what an answer says is not taken.
#[derive(Debug, Error, PartialEq, Eq)]
enum Misfit {
    #[error(
        "no path where people log in (--http-vouch-path, [door.vouch]) is this request's, or its method is a safe one"
    )]
    Place,
    #[error("it is of another request")]
    Request,
    #[error("its person has signed out since it was asked")]
    SignedOut,
    #[error("it is written twice")]
    Twice,
    #[error("\"{}\" is no part of it: write subject=NAME, groups=NAME,NAME, until=SECONDS or signed-out", text::shown_within(.0, SHOWN_CHARS_MAX))]
    Part(String),
    #[error("it names nobody")]
    Nobody,
    #[error("{0}")]
    Name(#[from] InvalidName),
    #[error("more than {GROUPS_MAX} groups")]
    Groups,
    #[error("its time is over")]
    Over,
    #[error("[door.vouch] lets the backend name neither that subject nor others like it")]
    OtherSubject,
    #[error("[door.vouch] does not let the backend name that group")]
    OtherGroup,
    #[error("{0}")]
    Refused(#[from] NotVouched),
}

impl OneTime {
    pub(super) fn new() -> Self {
        Self(BASE64_URL_SAFE_NO_PAD.encode(random::<16>()))
    }

    pub(super) fn header(&self) -> HeaderValue {
        HeaderValue::try_from(&self.0).expect("base64url is a value")
    }
}

impl Vouching {
    pub(super) fn allow(&mut self, paths: PathPattern) {
        self.paths.push(paths);
    }

    pub(super) fn follow(&mut self, settings: Vouches) {
        self.settings = settings;
    }

    /// Takes what an answer says, before its caller hears anything of it.
    pub(super) fn hear(&self, call: &Call, of: &OfRequest<'_>, answer: &HeaderMap) {
        if !answer.contains_key(VOUCH) {
            return;
        }
        let settings = self.settings.now();
        let taken = self.read(&settings, of, answer).and_then(|word| match word {
            Word::SignedOut => Ok(None),
            Word::SignedIn { .. } if !of.is_current(call) => Err(Misfit::SignedOut),
            Word::SignedIn { subject, groups, until } => {
                let last = now().saturating_add(settings.longest.as_secs());
                let until = until.unwrap_or(last).min(last);
                let shown = subject.clone();
                call.vouch(subject, &groups, until)?;
                Ok(Some((shown, until)))
            }
        });
        match taken {
            Ok(Some((subject, until))) => {
                call.tell(call.event(Kind::Vouched).subject(Some(&subject)).note(format!("until={until}")));
            }
            Ok(None) => {
                call.sign_out();
                call.tell(call.event(Kind::VouchEnded));
            }
            Err(error) => {
                call.tell(call.event(Kind::VouchRefused).note(error.to_string()));
                // What was typed under one name is never heard under another: who has logged in has a session of his own.
                if error == Misfit::Refused(NotVouched::OtherSubject) {
                    call.channel.line().close(CloseCode::SubjectChanged, "");
                }
            }
        }
    }

    fn read(&self, settings: &VouchSettings, of: &OfRequest<'_>, answer: &HeaderMap) -> Result<Word, Misfit> {
        let path = Path::new(of.path);
        if of.method.is_safe() || !self.paths.iter().chain(&settings.paths).any(|paths| paths.opens(&path)) {
            return Err(Misfit::Place);
        }
        let mut values = answer.get_all(VOUCH).iter();
        let word = match (values.next(), values.next()) {
            (Some(value), None) => word(value, &of.one_time.0)?,
            _ => return Err(Misfit::Twice),
        };
        if let Word::SignedIn { subject, groups, .. } = &word {
            if !settings.subjects.is_empty() && !settings.subjects.contains(subject) {
                return Err(Misfit::OtherSubject);
            }
            if !settings.groups.is_empty() && !groups.iter().all(|group| settings.groups.contains(group)) {
                return Err(Misfit::OtherGroup);
            }
        }
        Ok(word)
    }
}

fn word(value: &HeaderValue, request: &str) -> Result<Word, Misfit> {
    let value = String::from_utf8_lossy(value.as_bytes());
    let mut parts = value.split(';').map(str::trim);
    if parts.next() != Some(request) {
        return Err(Misfit::Request);
    }
    let (mut subject, mut groups, mut until, mut is_out) = (None, None, None, false);
    for part in parts {
        let wrong = || Misfit::Part(part.to_owned());
        let decoded = |text: &str| percent_decode_str(text).decode_utf8().map(String::from).map_err(|_| wrong());
        let is_new = match part.split_once('=') {
            Some(("subject", name)) => subject.replace(Subject::new(&decoded(name)?)?).is_none(),
            Some(("groups", names)) => {
                let names: Vec<&str> = names.split(',').filter(|name| !name.is_empty()).collect();
                if names.len() > GROUPS_MAX {
                    return Err(Misfit::Groups);
                }
                let named = names.into_iter().map(|name| Ok(Group::new(&decoded(name)?)?));
                groups.replace(named.collect::<Result<Vec<_>, Misfit>>()?).is_none()
            }
            Some(("until", seconds)) => until.replace(seconds.parse::<u64>().map_err(|_| wrong())?).is_none(),
            None if part == "signed-out" => !std::mem::replace(&mut is_out, true),
            _ => false,
        };
        if !is_new {
            return Err(wrong());
        }
    }
    match (subject, is_out) {
        (None, true) if groups.is_none() && until.is_none() => Ok(Word::SignedOut),
        (Some(_), false) if until.is_some_and(|until| until <= now()) => Err(Misfit::Over),
        (Some(subject), false) => Ok(Word::SignedIn { subject, groups: groups.unwrap_or_default(), until }),
        _ => Err(Misfit::Nobody),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const BITS: &str = "AAAAAAAAAAAAAAAAAAAAAA";

    fn of(method: &Method, path: &str, values: &[&str]) -> Result<Word, Misfit> {
        let mut vouching = Vouching::default();
        for paths in ["/login", "/session/*"] {
            vouching.allow(PathPattern::new(paths).expect("a path"));
        }
        let mut answer = HeaderMap::new();
        for value in values {
            answer.append(VOUCH, HeaderValue::from_bytes(value.as_bytes()).expect("a value"));
        }
        let one_time = OneTime(BITS.to_owned());
        let of = OfRequest { method, path, one_time: &one_time, session: &None };
        vouching.read(&VouchSettings::default(), &of, &answer)
    }

    #[test]
    fn a_backend_that_many_share_vouches_for_those_alone_whom_the_owner_lets_it_name() {
        let paths = vec![PathPattern::new("/in").expect("a path")];
        let subjects = vec![Subject::new("zoé").expect("a name")];
        let groups = vec![Group::new("staff").expect("a name")];
        let settings = VouchSettings { paths, subjects, groups, ..VouchSettings::default() };
        let said = |rest: &str| {
            let mut answer = HeaderMap::new();
            answer.append(VOUCH, HeaderValue::try_from(format!("{BITS}{rest}")).expect("a value"));
            let one_time = OneTime(BITS.to_owned());
            let of = OfRequest { method: &Method::POST, path: "/in", one_time: &one_time, session: &None };
            Vouching::default().read(&settings, &of, &answer)
        };
        assert_eq!(said("; subject=zo%C3%A9"), Ok(zoe(&[], None)));
        assert_eq!(said("; subject=zo%C3%A9; groups=staff"), Ok(zoe(&["staff"], None)));
        assert_eq!(said("; subject=zo%C3%A9; groups=staff,admins"), Err(Misfit::OtherGroup), "not in part either");
        assert_eq!(said("; subject=zo%C3%A9; groups=Staff"), Err(Misfit::OtherGroup));
        for other in ["Zo%C3%A9", "zoe%CC%81", "mallory"] {
            assert_eq!(said(&format!("; subject={other}")), Err(Misfit::OtherSubject), "{other}");
        }
        assert_eq!(said("; signed-out"), Ok(Word::SignedOut));
    }

    fn said(rest: &str) -> Result<Word, Misfit> {
        of(&Method::POST, "/login", &[&format!("{BITS}{rest}")])
    }

    fn zoe(groups: &[&str], until: Option<u64>) -> Word {
        let groups = groups.iter().map(|name| Group::new(name).expect("a group")).collect();
        Word::SignedIn { subject: Subject::new("zoé").expect("a subject"), groups, until }
    }

    #[test]
    fn the_backend_names_a_subject_and_ends_what_it_has_said() {
        let late = now() + 60;
        assert_eq!(said("; subject=zo%C3%A9"), Ok(zoe(&[], None)));
        assert_eq!(said(" ;subject=zoé;groups=a,b%2Cc,; "), Err(Misfit::Part(String::new())));
        assert_eq!(said(&format!("; groups=a,b%2Cc; until={late}; subject=zoé")), Ok(zoe(&["a", "b,c"], Some(late))));
        assert_eq!(said("; signed-out"), Ok(Word::SignedOut));
    }

    #[test]
    fn an_answer_to_another_request_vouches_for_nobody() {
        let other = "BAAAAAAAAAAAAAAAAAAAAA; subject=mallory";
        assert_eq!(of(&Method::POST, "/login", &[other]), Err(Misfit::Request));
        assert_eq!(of(&Method::POST, "/login", &["subject=mallory"]), Err(Misfit::Request));
        assert_eq!(of(&Method::POST, "/login", &[""]), Err(Misfit::Request));
        let good = format!("{BITS}; subject=zoé");
        assert_eq!(of(&Method::POST, "/login", &[&good, &good]), Err(Misfit::Twice));
        assert_eq!(of(&Method::POST, "/login", &[&good, other]), Err(Misfit::Twice));
    }

    #[test]
    fn only_where_people_log_in_somebody_is_vouched_for() {
        let good = format!("{BITS}; subject=zoé");
        for (method, path) in [(Method::POST, "/login"), (Method::DELETE, "/session/1"), (Method::PUT, "/session")] {
            assert_eq!(of(&method, path, &[&good]), Ok(zoe(&[], None)), "{method} {path}");
        }
        for (method, path) in [
            (Method::GET, "/login"),
            (Method::HEAD, "/login"),
            (Method::OPTIONS, "/login"),
            (Method::POST, "/"),
            (Method::POST, "/login/"),
            (Method::POST, "/LOGIN"),
            (Method::POST, "/%6cogin"),
            (Method::POST, "/sessions"),
            (Method::POST, "/session/%252e%252e/upload"),
        ] {
            assert_eq!(of(&method, path, &[&good]), Err(Misfit::Place), "{method} {path}");
        }
    }

    #[test]
    fn what_is_not_wholly_understood_is_not_taken() {
        for (rest, misfit) in [
            ("", Misfit::Nobody),
            ("; until=1", Misfit::Nobody),
            ("; subject=a; signed-out", Misfit::Nobody),
            ("; signed-out; until=99999999999", Misfit::Nobody),
            ("; subject=a; until=1", Misfit::Over),
        ] {
            assert_eq!(said(rest), Err(misfit), "{rest}");
        }
        for rest in [
            "; device=a",
            "; subject=a; subject=b",
            "; level=3",
            "; until=",
            "; until=-1",
            "; until=1e9",
            "; Subject=a",
            "; subject=%ff",
            "; a",
        ] {
            let error = said(rest).expect_err(rest);
            assert!(matches!(error, Misfit::Part(_)), "{rest}: {error}");
        }
        assert!(matches!(said("; subject="), Err(Misfit::Name(_))));
        assert!(matches!(said("; subject=a%00"), Err(Misfit::Name(_))));
        assert!(matches!(said("; subject=a; groups=b%E2%80%AE"), Err(Misfit::Name(_))));
        assert_eq!(said(&format!("; subject=a; groups={}", "b,".repeat(65))), Err(Misfit::Groups));
    }
}
