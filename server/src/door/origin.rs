//! Origins (RFC 6454) as browsers write them in their `Origin` header, and whether one is its owner's alone.
//!
//! ```text
//! https://example.org       a site's: who has the name has the pages
//! chrome-extension://<id>   an extension's: its store gives the id to nobody else
//! capacitor://localhost     every app's of that kind, and so are tauri://localhost, http://tauri.localhost,
//!                           https://localhost (Capacitor on Android), app://-, file://
//! null                      every sandboxed frame's and every local file's: nothing can be told by it
//! ```

use thiserror::Error;
use url::{Host, Url};

/// Whose an origin is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Owner {
    /// Of whoever has the host's name.
    Site,
    /// Of whatever runs on the machine that the page is on.
    ThisMachine,
    /// Of one extension.
    Extension,
    /// Of every app that is made in the same way.
    EveryApp,
}

/// What cannot stand in a list of origins, and why.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
pub enum InvalidOrigin {
    /// Something else, or written as no browser writes it.
    #[error("{given} is no origin: write scheme, host and port only, such as {meant}")]
    NotAnOrigin {
        /// What was given.
        given: String,
        /// What may have been meant, or an example.
        meant: String,
    },
    /// `null`.
    #[error("null is the origin of every sandboxed frame and of every local file: it would let in any page there is")]
    Null,
    /// With a wildcard.
    #[error("{0} has a wildcard, and origins have none: list each of them, such as https://example.org")]
    Wildcard(String),
    /// In the list of pages, though others can have it as well.
    #[error("{0} is the origin of any app made like this one, not yours alone: list it with --app-origin instead")]
    NotAlone(String),
    /// In the list of apps, though it is one owner's.
    #[error("{0} is its owner's alone: list it with --origin instead")]
    Alone(String),
}

/// Schemes under which a browser runs extensions, each with an id that no other has.
const EXTENSIONS: [&str; 4] = ["chrome-extension", "moz-extension", "safari-web-extension", "ms-browser-extension"];

/// Schemes of URLs whose origin is written otherwise: with `https`, or `null`.
const NO_ORIGINS: [&str; 9] = ["ws", "wss", "ftp", "data", "blob", "about", "javascript", "view-source", "mailto"];

/// Whose an origin is.
///
/// # Errors
/// If the text is none, as a browser would write it.
pub(crate) fn owner(text: &str) -> Result<Owner, InvalidOrigin> {
    let no_origin = |meant: Option<String>| InvalidOrigin::NotAnOrigin {
        given: text.to_owned(),
        meant: meant.unwrap_or_else(|| "https://example.org".to_owned()),
    };
    if text.eq_ignore_ascii_case("null") {
        return Err(InvalidOrigin::Null);
    }
    if text.contains('*') {
        return Err(InvalidOrigin::Wildcard(text.to_owned()));
    }
    let Some((scheme, rest)) = text.split_once("://") else { return Err(no_origin(meant(&format!("https://{text}")))) };
    if matches!(scheme.to_ascii_lowercase().as_str(), "http" | "https") {
        return match meant(text) {
            Some(written) if written == text => Ok(if is_loopback(text) { Owner::ThisMachine } else { Owner::Site }),
            meant => Err(no_origin(meant)),
        };
    }
    let is_scheme = scheme.starts_with(|first: char| first.is_ascii_lowercase())
        && scheme.chars().all(|char| char.is_ascii_lowercase() || char.is_ascii_digit() || "+-.".contains(char));
    if !is_scheme || NO_ORIGINS.contains(&scheme) {
        return Err(no_origin(meant(&format!("https://{rest}"))));
    }
    let is_host = rest.chars().all(|char| char.is_ascii_alphanumeric() || "-._".contains(char));
    let is_port = |port: &str| !port.is_empty() && port.chars().all(|char| char.is_ascii_digit());
    if EXTENSIONS.contains(&scheme) {
        return if is_host && !rest.is_empty() { Ok(Owner::Extension) } else { Err(no_origin(None)) };
    }
    let host = rest.split_once(':').filter(|(_, port)| is_port(port)).map_or(rest, |(host, _)| host);
    let is_host = host.chars().all(|char| char.is_ascii_alphanumeric() || "-._".contains(char));
    // Files have an origin without a host where an app's own browser gives them one.
    if is_host && (!host.is_empty() || text == "file://") { Ok(Owner::EveryApp) } else { Err(no_origin(None)) }
}

/// The origin of a site's address.
fn meant(address: &str) -> Option<String> {
    let origin = Url::parse(address).ok()?.origin();
    (origin.is_tuple()).then(|| origin.ascii_serialization())
}

/// The host of a site's origin, with its port, as a page that is there calls it; none for other schemes.
pub(crate) fn host(origin: &str) -> Option<&str> {
    origin.strip_prefix("https://").or_else(|| origin.strip_prefix("http://"))
}

/// Whether an `http` or `https` address leads to the machine that opens it.
pub(crate) fn is_loopback(address: &str) -> bool {
    let Ok(url) = Url::parse(address) else { return false };
    matches!(url.scheme(), "http" | "https")
        && match url.host() {
            Some(Host::Domain(name)) => {
                let name = name.trim_end_matches('.');
                name == "localhost" || name.ends_with(".localhost")
            }
            Some(Host::Ipv4(address)) => address.is_loopback() || address.is_unspecified(),
            Some(Host::Ipv6(address)) => address.to_canonical().is_loopback() || address.is_unspecified(),
            None => false,
        }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_origin_is_somebodys_or_every_apps() {
        for (origin, expected) in [
            ("https://example.org", Owner::Site),
            ("https://example.org:8443", Owner::Site),
            ("http://192.168.1.5:8080", Owner::Site),
            ("https://[2001:db8::1]", Owner::Site),
            ("https://localhost.example.org", Owner::Site),
            ("https://localhost", Owner::ThisMachine),
            ("http://localhost:5173", Owner::ThisMachine),
            ("http://tauri.localhost", Owner::ThisMachine),
            ("https://[::1]:8443", Owner::ThisMachine),
            ("http://127.0.0.2", Owner::ThisMachine),
            ("chrome-extension://abcdefghijklmnopabcdefghijklmnop", Owner::Extension),
            ("moz-extension://5a6f0e2c-3b1d-4c8e-9f00-0123456789ab", Owner::Extension),
            ("safari-web-extension://5A6F0E2C-3B1D-4C8E-9F00-0123456789AB", Owner::Extension),
            ("capacitor://localhost", Owner::EveryApp),
            ("tauri://localhost", Owner::EveryApp),
            ("ionic://localhost", Owner::EveryApp),
            ("app://-", Owner::EveryApp),
            ("wails://wails.localhost:34115", Owner::EveryApp),
            ("file://", Owner::EveryApp),
        ] {
            assert_eq!(owner(origin), Ok(expected), "{origin}");
        }
    }

    #[test]
    fn what_no_browser_writes_is_no_origin() {
        for (text, sentence) in [
            ("https://app.example/", "such as https://app.example"),
            ("https://app.example:443", "such as https://app.example"),
            ("HTTPS://App.Example", "such as https://app.example"),
            ("https://somebody@app.example", "such as https://app.example"),
            ("app.example", "such as https://app.example"),
            ("wss://app.example/line", "such as https://app.example"),
            ("https://", "such as https://example.org"),
            ("capacitor://localhost/", "no origin"),
            ("capacitor://", "no origin"),
            ("Capacitor://localhost", "no origin"),
            ("chrome-extension://", "no origin"),
            ("chrome-extension://abc/page.html", "no origin"),
            ("chrome-extension://abc:1", "no origin"),
            ("blob:https://app.example", "no origin"),
            ("data://x", "no origin"),
            ("file:///etc", "no origin"),
            ("", "no origin"),
            ("*", "wildcard"),
            ("https://*.example.org", "wildcard"),
            ("chrome-extension://*", "wildcard"),
            ("null", "sandboxed"),
            ("NULL", "sandboxed"),
        ] {
            let error = owner(text).expect_err(text).to_string();
            assert!(error.contains(sentence), "{text}: {error}");
        }
    }
}
