//! The address under which browsers reach a server, as its owner writes it: `https://line.example`, or below a path.
//!
//! A proxy may take the path off before it passes a request on, or leave it: [`Address::mount`] answers at both, and sends
//! who forgot the last slash to where it is.

use axum::{
    Router,
    extract::Request,
    http::{StatusCode, header, uri::PathAndQuery},
    response::{IntoResponse, Response},
};
use thiserror::Error;
use tower::{ServiceExt, service_fn};
use url::Url;

/// Where a server is: scheme, host and port, and the path above it, which ends with a slash.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Address(Url);

/// Why some text is no address that a browser could use.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
pub enum InvalidAddress {
    /// Without `https://`.
    #[error("{given} is no address: write {meant}")]
    NoScheme {
        /// What was given.
        given: String,
        /// What was meant.
        meant: String,
    },
    /// `http://` or something else.
    #[error("must start with https://: browsers give keys to secure pages only")]
    NotSecure,
    /// No URL, or one without a host.
    #[error("{0} is no address: write it as https://line.example or https://line.example/path/")]
    NotAnAddress(String),
    /// With a user, a query or a fragment.
    #[error("{given} says more than an address: write {meant}")]
    More {
        /// What was given.
        given: String,
        /// The address in it.
        meant: String,
    },
}

impl Address {
    /// Reads an address.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn parse(text: &str) -> Result<Self, InvalidAddress> {
        let not_an_address = || InvalidAddress::NotAnAddress(text.to_owned());
        if !text.contains("://") {
            let meant = format!("https://{}", text.trim_start_matches('/'));
            let meant = Self::parse(&meant).map_err(|_| not_an_address())?.to_string();
            return Err(InvalidAddress::NoScheme { given: text.to_owned(), meant });
        }
        let mut url = Url::parse(text).map_err(|_| not_an_address())?;
        if url.scheme() != "https" {
            return Err(InvalidAddress::NotSecure);
        }
        if url.host_str().is_none_or(str::is_empty) || url.path().contains("//") {
            return Err(not_an_address());
        }
        let more =
            !url.username().is_empty() || url.password().is_some() || url.query().is_some() || url.fragment().is_some();
        if !url.path().ends_with('/') {
            url.set_path(&format!("{}/", url.path()));
        }
        url.set_query(None);
        url.set_fragment(None);
        if more {
            // What a web address may have before its host, it has without a question.
            let _ = (url.set_username(""), url.set_password(None));
            return Err(InvalidAddress::More { given: text.to_owned(), meant: Self(url).to_string() });
        }
        Ok(Self(url))
    }

    /// Its origin, as the pages there have it.
    #[must_use]
    pub fn origin(&self) -> String {
        self.0.origin().ascii_serialization()
    }

    /// Its host, with the port unless that is 443, as the pages there call it.
    #[must_use]
    pub fn host(&self) -> String {
        let host = self.0.host_str().unwrap_or_default();
        self.0.port().map_or_else(|| host.to_owned(), |port| format!("{host}:{port}"))
    }

    /// Its host alone, a name or an address, as a certificate has it; one of IPv6 in brackets.
    #[must_use]
    pub fn host_name(&self) -> &str {
        self.0.host_str().unwrap_or_default()
    }

    /// The path above everything, with a slash at both ends; `/` where there is none.
    #[must_use]
    pub fn path(&self) -> &str {
        self.0.path()
    }

    /// Whether it leads to the machine that opens it, whichever that is.
    #[must_use]
    pub fn is_loopback(&self) -> bool {
        crate::door::origin::is_loopback(self.0.as_str())
    }

    /// An app at this address, behind a proxy that takes the path off as well as behind one that leaves it.
    pub fn mount(&self, app: Router) -> Router {
        if self.path() == "/" {
            return app;
        }
        let path = self.path().to_owned();
        let below = move |mut request: Request| {
            let at = request.uri().path_and_query().map_or("/", PathAndQuery::as_str);
            let rest = at.strip_prefix(path.trim_end_matches('/'));
            let answered = match rest {
                Some(rest) if rest.is_empty() || rest.starts_with('?') => Err(moved(&format!("{path}{rest}"))),
                Some(rest) if rest.starts_with('/') => {
                    // What follows a slash of a path is one as well.
                    *request.uri_mut() = rest.parse().unwrap_or_default();
                    Ok(app.clone().oneshot(request))
                }
                _ => Ok(app.clone().oneshot(request)),
            };
            async move {
                match answered {
                    Ok(answering) => answering.await,
                    Err(answer) => Ok(answer),
                }
            }
        };
        Router::new().fallback_service(service_fn(below))
    }
}

/// Not for good: what stands at an address may change.
fn moved(to: &str) -> Response {
    (StatusCode::TEMPORARY_REDIRECT, [(header::LOCATION, to)]).into_response()
}

/// As a link begins: without a slash at its end.
impl std::fmt::Display for Address {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.0.as_str().trim_end_matches('/'))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_has_a_host_and_may_have_a_path() {
        for (text, origin, host, path, link) in [
            ("https://line.example", "https://line.example", "line.example", "/", "https://line.example"),
            ("https://line.example:443/", "https://line.example", "line.example", "/", "https://line.example"),
            ("https://h:8443/app", "https://h:8443", "h:8443", "/app/", "https://h:8443/app"),
            ("https://h/a/./b/", "https://h", "h", "/a/b/", "https://h/a/b"),
            ("https://[::1]:1/app/", "https://[::1]:1", "[::1]:1", "/app/", "https://[::1]:1/app"),
            ("https://h/mé", "https://h", "h", "/m%C3%A9/", "https://h/m%C3%A9"),
        ] {
            let address = Address::parse(text).expect(text);
            assert_eq!((address.origin().as_str(), address.host().as_str()), (origin, host), "{text}");
            assert_eq!((address.path(), address.to_string().as_str()), (path, link), "{text}");
        }
    }

    #[test]
    fn what_is_no_address_says_what_to_write() {
        for (text, sentence) in [
            ("line.example", "write https://line.example"),
            ("line.example:8443/app", "write https://line.example:8443/app"),
            ("localhost:8443", "write https://localhost:8443"),
            ("//line.example", "write https://line.example"),
            ("http://line.example", "must start with https://"),
            ("http://localhost:8080/p", "must start with https://"),
            ("wss://line.example/line", "must start with https://"),
            ("https://", "no address"),
            ("", "no address"),
            ("two words", "no address"),
            ("https://line.example//app", "no address"),
            ("https://line.example/app?x=1", "write https://line.example/app"),
            ("https://line.example/#i=x.y", "write https://line.example"),
            ("https://me:secret@line.example", "write https://line.example"),
        ] {
            let error = Address::parse(text).expect_err(text).to_string();
            assert!(error.contains(sentence), "{text}: {error}");
        }
    }
}
