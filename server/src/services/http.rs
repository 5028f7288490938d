//! The service `http`: requests from the line to one HTTP backend, and its answers back.
//!
//! One stream, one request. The first line of each direction is JSON in UTF-8, and the body follows it as it is.
//!
//! ```text
//! client                                                                            server
//!   {"method":"POST","target":"/a?b=c","headers":[["accept","*/*"]],"length":5}\n ->
//!   the body, then the end of the client's direction ->                          = the request is whole
//!     <- {"status":200,"reason":"OK","headers":[["content-type","text/plain"]]}\n
//!     <- the answer's body, then the end of the server's direction                = the answer is whole
//! ```
//!
//! Without `length` the body is as long as it turns out to be. Names and values of headers are bytes: each character is
//! one, U+0000 to U+00FF. A stream that is reset in either direction takes the other with it: the caller cancels the
//! backend's request by it, and hears by it that an answer broke off. A short answer is never a whole one.
//!
//! In place of its line the server may say why there is no answer; this ends the stream:
//!
//! ```text
//!     <- {"error":"unreachable","message":"what is wrong"}\n
//! ```
//!
//! | word | meaning |
//! |---|---|
//! | `bad-request` | the client's line is not as above, or asks for what is not forwarded |
//! | `bad-body` | fewer or more bytes came than `length` |
//! | `not-allowed` | the policy does not open this method and path to the caller |
//! | `unreachable` | no connection to the backend |
//! | `bad-response` | what the backend answers is no answer in HTTP, or breaks off before its body |
//! | `timeout` | the backend has the whole request, or takes no more of it, and does not begin to answer |
//! | `busy` | this device, or all guests together, have 32 requests under way (the guests of one network 8), or all devices as many as there may be, and none ended for 10 s; or the policy has no more of it for the caller |
//!
//! Nothing of a request is copied into the backend's connection: hyper writes each message from parsed parts, so that no
//! request can end early or hide another. What the backend learns of the caller comes in three groups of headers that
//! only this server writes; `headers` has them and what is dropped. `wire` reads and says the lines, `upload` is the
//! request's body, `backend` has the connections to the backend, and what is asked again on another one.
//!
//! Cookies are kept here, a jar for each session (`jar`): the backend sets them and gets them back, and the client sees none. With
//! `"credentials":"omit"` in the client's line a request brings none along, and its answer sets none.
//!
//! Not here: caches, redirects and decoding, which are the client's.

mod backend;
mod headers;
mod jar;
mod trust;
mod upload;
mod vouch;
mod wire;

use std::{error::Error as StdError, fmt, future::poll_fn, io, pin::Pin, sync::Arc, time::Duration};

use axum::http::{HeaderValue, Method, Request, Response, Uri, header, uri};
use duologue_native::ByteStream;
use hyper::body::{Body, Incoming};
use hyper_util::client::legacy;
use tokio::io::{AsyncReadExt, AsyncWrite, AsyncWriteExt, BufReader, ReadHalf};
use url::Url;

use crate::watch::events::Kind;
use crate::{
    door::policy::patterns::{InvalidPattern, PathPattern},
    services::{
        json_line::{Refusal, say},
        right::NotAllowed,
        service::{Call, GoesOn, Service, ServiceError},
        share::{self, Busy, Shares},
    },
    watch::text,
};
use backend::{ANSWER_BUFFER_BYTES, Connections};
use headers::Place;
use jar::Jar;
pub use trust::NoPattern;
use trust::Refused;
use upload::{Progress, Upload, UploadError};
use vouch::{OfRequest, OneTime, Vouching};
pub use vouch::{VouchSettings, Vouches};
use wire::{Answer, Head, read_head};

/// Read from the stream at a time, in bytes.
const BLOCK_BYTES: usize = 16 * 1_024;
/// What the log has of a failed backend's error, in characters.
const CAUSE_CHARS_MAX: usize = 200;
/// How long the backend may take to begin its answer, unless told otherwise.
const ANSWER: Duration = Duration::from_secs(60);
/// A body of so many bytes, of a method that may be repeated, is read whole before the backend is asked.
const WHOLE_BYTES_MAX: u64 = 64 * 1_024;
/// Names and values of an answer's headers together, in bytes: what fits into the buffer, where one read may go beyond.
const ANSWER_HEAD_BYTES_MAX: usize = ANSWER_BUFFER_BYTES;

/// Forwards requests to one backend. Clones share its connections.
#[derive(Clone, Debug)]
pub struct Http(Arc<Backend>);

#[derive(Clone, Debug)]
struct Backend {
    connections: Connections,
    authority: uri::Authority,
    place: Place,
    host: Option<HeaderValue>,
    refused: Refused,
    answer: Duration,
    shares: Shares,
    keeps_cookies: bool,
    vouching: Vouching,
}

/// Why an address or a name is no backend's.
#[derive(Debug, thiserror::Error)]
pub enum BackendError {
    /// Not `http://host`, `http://host:port` or one of them with a path.
    #[error("\"{0}\" is no backend: write it as http://127.0.0.1:3000, with a path if all requests go below one")]
    Address(String),
    /// TLS, which is not spoken to a backend.
    #[error(
        "\"{0}\" has TLS, and backends are asked in clear, on this machine or in a network that is trusted: name its http:// \
         address, or that of a local proxy that speaks TLS with it"
    )]
    Tls(String),
    /// Not a name for the `Host` header.
    #[error("\"{0}\" is no host: write it as example.org or example.org:8000")]
    Host(String),
}

impl Http {
    /// A backend's address, such as `http://127.0.0.1:3000`. With a path, all requests go below it.
    ///
    /// # Errors
    /// [`BackendError::Address`]; for `https://`, [`BackendError::Tls`].
    pub fn new(backend: &str) -> Result<Self, BackendError> {
        let wrong = || BackendError::Address(backend.to_owned());
        let url = Url::parse(backend).map_err(|_| wrong())?;
        if url.scheme() == "https" {
            return Err(BackendError::Tls(backend.to_owned()));
        }
        let is_plain = url.scheme() == "http"
            && url.username().is_empty()
            && url.password().is_none()
            && url.query().is_none()
            && url.fragment().is_none();
        let authority = &url[url::Position::BeforeHost..url::Position::AfterPort];
        let authority = uri::Authority::try_from(authority).ok().filter(|_| is_plain).ok_or_else(wrong)?;
        let place = Place::new(&url);
        let connections = Connections::new();
        Ok(Self(Arc::new(Backend {
            connections,
            authority,
            place,
            host: None,
            refused: Refused::default(),
            answer: ANSWER,
            shares: Shares::default(),
            keeps_cookies: true,
            vouching: Vouching::default(),
        })))
    }

    /// What the backend reads in `Host`, in place of its own address.
    ///
    /// # Errors
    /// [`BackendError::Host`].
    pub fn with_host(mut self, host: &str) -> Result<Self, BackendError> {
        let wrong = || BackendError::Host(host.to_owned());
        let authority = uri::Authority::try_from(host).ok().filter(|authority| !authority.as_str().contains('@'));
        let authority = authority.ok_or_else(wrong)?;
        let value = HeaderValue::from_str(authority.as_str()).map_err(|_| wrong())?;
        let backend = Arc::make_mut(&mut self.0);
        backend.place.also_known_as(authority.as_str());
        backend.host = Some(value);
        Ok(self)
    }

    /// Refuses requests that have this header, beside those by which backends trust a proxy; with `*` at its end, all that begin
    /// so.
    ///
    /// # Errors
    /// [`NoPattern`].
    pub fn refusing_header(mut self, pattern: &str) -> Result<Self, NoPattern> {
        Arc::make_mut(&mut self.0).refused.refuse(pattern)?;
        Ok(self)
    }

    /// Lets clients say this header, although backends trust a proxy by it: for those that have no such proxy.
    ///
    /// # Errors
    /// [`NoPattern`]; what this server says itself stays its own.
    pub fn allowing_header(mut self, pattern: &str) -> Result<Self, NoPattern> {
        Arc::make_mut(&mut self.0).refused.allow(pattern)?;
        Ok(self)
    }

    /// How long the backend may take to begin its answer once it has the request, or to take more of it. Default: 60 s.
    #[must_use]
    pub fn answer_within(mut self, limit: Duration) -> Self {
        Arc::make_mut(&mut self.0).answer = limit;
        self
    }

    /// Keeps no cookies: what clients send goes to the backend, and what it sets goes to them. By default they are kept here, for
    /// each session, and no client sees one.
    #[must_use]
    pub fn without_cookies(mut self) -> Self {
        Arc::make_mut(&mut self.0).keeps_cookies = false;
        self
    }

    /// Takes the backend's word for who has logged in, or out, by a request for this path: one such as `/login`, or `/session/*` for
    /// all below it. In the header `duologue-vouch` of its answer it repeats what the request's `duologue-request` has, which
    /// is good for that answer alone: `<value>; subject=zoe; groups=staff; until=1830000000`, or `<value>; signed-out`. Answers to
    /// methods that are safe (GET, HEAD) say nothing of people. Without a path nobody is vouched for.
    ///
    /// # Errors
    /// If no path can be like it.
    pub fn vouching_at(mut self, path: &str) -> Result<Self, InvalidPattern> {
        Arc::make_mut(&mut self.0).vouching.allow(PathPattern::new(path)?);
        Ok(self)
    }

    /// As [`Self::vouching_at`], beside it: by settings that can be changed while requests are under way. How long a login is good, and
    /// whom the backend may name, they say for both.
    #[must_use]
    pub fn vouching_by(mut self, settings: Vouches) -> Self {
        Arc::make_mut(&mut self.0).vouching.follow(settings);
        self
    }

    async fn exchange(
        &self,
        call: &Call,
        stream: ReadHalf<ByteStream>,
        answer: &mut (impl AsyncWrite + Unpin),
    ) -> Result<(), HttpError> {
        let _turn = self.0.shares.turn(call.holder()).await?;
        let mut stream = BufReader::with_capacity(BLOCK_BYTES, stream);
        let noted = call.channel.noted();
        let head = match Head::noted(&noted) {
            Some(head) => Some(head),
            None => read_head(&mut stream).await?,
        };
        let Some(head) = head else { return Ok(()) };
        if !call.right.request_comes(share::TURN).await {
            return Err(Busy::Budget.into());
        }
        let _file = share::file().await?;
        let progress = Arc::new(Progress::default());
        // A new one once somebody has signed out.
        let call = &call.anew();
        let session = call.kept::<Jar>();
        let jar = session.as_ref().filter(|_| self.0.keeps_cookies && !head.omits_credentials());
        let asked = head.target.split('?').next().unwrap_or_default().to_owned();
        let one_time = OneTime::new();
        let note = head.note().filter(|_| call.channel.is_kept());
        let mut request = self.request(call, head, jar.map(Arc::as_ref), stream, &progress).await?;
        request.headers_mut().insert(vouch::REQUEST, one_time.header());
        // Cookies do not go on: asked again without them it would be somebody else's request.
        if let Some(note) = note.filter(|_| !request.headers().contains_key(header::COOKIE)) {
            call.channel.note(&note);
        }
        let (method, path) = (request.method().clone(), request.uri().path().to_owned());
        let response = tokio::select! {
            response = self.0.connections.ask(request, &progress) => response.map_err(HttpError::from)?,
            () = progress.stalled(self.0.answer) => return Err(HttpError::Timeout),
        };
        let status = response.status();
        call.tell(call.event(Kind::RequestForwarded).note(format!("method={method} status={}", status.as_u16())));
        // What is no answer sets no cookie and vouches for nobody.
        let head = self.answer(&response)?;
        // Before its caller hears of it: what is asked next has them.
        if let Some(jar) = jar {
            jar.keep(&path, response.headers());
        }
        let of = OfRequest { method: &method, path: &asked, one_time: &one_time, session: &session };
        self.0.vouching.hear(call, &of, response.headers());
        let mut body = response.into_body();
        // What has begun to be answered is not asked again.
        call.channel.note(&[]);
        say(answer, &head).await.map_err(HttpError::Gone)?;
        while let Some(frame) = poll_fn(|cx| Pin::new(&mut body).poll_frame(cx)).await {
            // What is no data is a trailer, which ends here.
            if let Ok(data) = frame.map_err(HttpError::BrokenOff)?.into_data() {
                answer.write_all(&data).await.map_err(HttpError::Gone)?;
            }
        }
        answer.shutdown().await.map_err(HttpError::Gone)
    }

    /// The backend's request, from parts that were each looked at.
    async fn request(
        &self,
        call: &Call,
        head: Head,
        jar: Option<&Jar>,
        mut stream: BufReader<ReadHalf<ByteStream>>,
        progress: &Arc<Progress>,
    ) -> Result<Request<Upload>, HttpError> {
        let method = wire::method(&head.method)?;
        let path = self.0.place.target(&head.target)?;
        // As it was asked for, without the backend's own path before it; what cannot be forwarded is not asked for.
        let asked = head.target.split('?').next().unwrap_or_default();
        call.ask_for(method.as_str(), asked).map_err(HttpError::NotAllowed)?;
        let mut headers = headers::forwarded(&head.headers, call, &self.0.refused)?;
        if let Some(host) = &self.0.host {
            headers.insert(header::HOST, host.clone());
        }
        if self.0.keeps_cookies && headers.contains_key(header::COOKIE) {
            return Err(HttpError::BadRequest("the header \"cookie\": this server keeps them".to_owned()));
        }
        let (only_path, _query) = path.split_once('?').unwrap_or((&path, ""));
        if let Some(cookies) = jar.and_then(|jar| jar.header(only_path)) {
            headers.insert(header::COOKIE, cookies);
        }
        let body = if head.length == Some(0) {
            // Its end is the request's.
            if stream.read(&mut [0]).await.map_err(HttpError::Gone)? > 0 {
                return Err(HttpError::BadBody("there are bytes where it has announced none"));
            }
            if method == Method::POST || method == Method::PUT || method == Method::PATCH {
                headers.insert(header::CONTENT_LENGTH, HeaderValue::from_static("0"));
            }
            Upload::none()
        } else {
            if method == Method::GET || method == Method::HEAD {
                return Err(HttpError::BadRequest(format!("{method} has no body")));
            }
            let is_short = head.length.is_some_and(|length| length <= WHOLE_BYTES_MAX);
            let body = Upload::new(stream, head.length, Arc::clone(progress));
            if is_short && method.is_idempotent() {
                body.whole().await.map_err(|error| HttpError::from(&error))?
            } else {
                body
            }
        };
        let uri = Uri::builder().scheme("http").authority(self.0.authority.clone()).path_and_query(path).build();
        let uri = uri.map_err(|_| HttpError::BadRequest("the target is none".to_owned()))?;
        let mut request = Request::new(body);
        *request.method_mut() = method;
        *request.uri_mut() = uri;
        *request.headers_mut() = headers;
        Ok(request)
    }

    fn answer(&self, response: &Response<Incoming>) -> Result<Answer, HttpError> {
        let status = response.status();
        if !(200..=599).contains(&status.as_u16()) {
            return Err(HttpError::BadResponse(format!("the status {status} is none for a page").into()));
        }
        let phrase = response.extensions().get::<hyper::ext::ReasonPhrase>();
        let reason = match phrase {
            Some(phrase) => headers::text(phrase.as_bytes()),
            None => status.canonical_reason().unwrap_or_default().to_owned(),
        };
        if headers::len(response.headers()) > ANSWER_HEAD_BYTES_MAX {
            return Err(HttpError::BadResponse("its head is longer than 65,536 bytes".into()));
        }
        let mut headers = headers::answered(response.headers(), &self.0.place);
        if self.0.keeps_cookies {
            headers.retain(|(name, _)| name != header::SET_COOKIE.as_str());
        }
        Ok(Answer { status: status.as_u16(), reason, headers })
    }
}

impl Service for Http {
    fn takes_requests(&self) -> bool {
        true
    }

    /// Requests without a body and without cookies, whose method may be repeated, are asked again until their answer begins.
    fn goes_on(&self) -> GoesOn {
        GoesOn::WhereNoted
    }

    async fn serve(&self, call: Call) -> Result<(), ServiceError> {
        let Some(stream) = call.channel.stream() else {
            return Err("http takes a stream, not messages".into());
        };
        let (read, mut write) = tokio::io::split(stream);
        match self.exchange(&call, read, &mut write).await {
            Ok(()) | Err(HttpError::Gone(_)) => Ok(()),
            Err(error) => {
                // Without a word the answer has begun, and only a reset can tell that it is not whole.
                let Some(word) = error.word() else { return Err(error.into()) };
                // The sentence for the client may quote its request.
                let cause = error.source().map(|cause| text::shown_within(&chain(cause), CAUSE_CHARS_MAX));
                let kind = if error.is_smuggling() { Kind::RequestSmuggled } else { Kind::RequestFailed };
                let event = call.event(kind).code(word);
                call.tell(if let Some(cause) = cause { event.note(cause) } else { event });
                let refusal = Refusal { error: word, message: error.to_string() };
                if let Err(error) = say(&mut write, &refusal).await {
                    tracing::debug!(%error, "a client went before it could be told");
                }
                let _ = write.shutdown().await;
                Ok(())
            }
        }
    }
}

/// Why there is no answer, or no whole one.
#[derive(Debug, thiserror::Error)]
enum HttpError {
    #[error("this is not forwarded: {0}")]
    BadRequest(String),
    #[error("this is not forwarded: {0}")]
    Smuggled(String),
    #[error("{0}")]
    NotAllowed(NotAllowed),
    #[error("the body is not as announced: {0}")]
    BadBody(&'static str),
    #[error("the server behind this line cannot be reached")]
    Unreachable(#[source] legacy::Error),
    #[error("the server behind this line does not answer in HTTP, or broke off")]
    BadResponse(#[source] Box<dyn StdError + Send + Sync>),
    #[error("the server behind this line does not answer in time")]
    Timeout,
    #[error("the backend's answer broke off: {0}")]
    BrokenOff(#[source] hyper::Error),
    #[error(transparent)]
    Busy(#[from] Busy),
    /// The client's end of the stream.
    #[error("the stream broke: {0}")]
    Gone(#[source] io::Error),
}

impl HttpError {
    /// Whether the request is one that no client makes: it would be read in two ways, or says what is this server's to say.
    const fn is_smuggling(&self) -> bool {
        matches!(self, Self::Smuggled(_))
    }

    /// What the client is told; none if it cannot be told any more.
    fn word(&self) -> Option<&'static str> {
        match self {
            Self::BadRequest(_) | Self::Smuggled(_) => Some("bad-request"),
            Self::BadBody(_) => Some("bad-body"),
            Self::NotAllowed(refused) => Some(refused.code().word()),
            Self::Unreachable(_) => Some("unreachable"),
            Self::BadResponse(_) => Some("bad-response"),
            Self::Timeout => Some("timeout"),
            Self::Busy(_) => Some("busy"),
            Self::BrokenOff(_) | Self::Gone(_) => None,
        }
    }
}

impl From<legacy::Error> for HttpError {
    fn from(error: legacy::Error) -> Self {
        if error.is_connect() {
            return Self::Unreachable(error);
        }
        // The request's own body may be what went wrong.
        let mut cause: Option<&(dyn StdError + 'static)> = error.source();
        while let Some(found) = cause {
            match found.downcast_ref::<UploadError>() {
                Some(body) => return body.into(),
                None => cause = found.source(),
            }
        }
        Self::BadResponse(error.into())
    }
}

impl From<&UploadError> for HttpError {
    fn from(error: &UploadError) -> Self {
        match error {
            UploadError::Length(why) => Self::BadBody(why),
            UploadError::Stream(broken) => Self::Gone(broken.kind().into()),
        }
    }
}

/// An error and what is behind it, for the log.
fn chain(error: &(dyn StdError + 'static)) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(found) = cause {
        text.push_str(&format!(": {found}"));
        cause = found.source();
    }
    text
}

impl fmt::Display for Http {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "http://{}", self.0.authority)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_backend_is_a_plain_address() {
        for good in
            ["http://127.0.0.1:3000", "http://localhost", "http://[::1]:80/", "http://app.internal:8000/below/it"]
        {
            Http::new(good).unwrap_or_else(|error| panic!("{error}"));
        }
        for bad in [
            "",
            "localhost:3000",
            "https://localhost",
            "http://",
            "http://a:b@c",
            "http://a/?b",
            "http://a/#b",
            "/a",
            "file:///a",
        ] {
            Http::new(bad).expect_err(bad);
        }
        let http = Http::new("http://127.0.0.1:3000").expect("an address");
        http.clone().with_host("example.org:8000").expect("a name");
        for bad in ["", "a b", "a\r\nb", "user@host", "http://a"] {
            http.clone().with_host(bad).expect_err(bad);
        }
    }
}
