//! The backend: an app in the test's process that tells what it was asked, and does what backends do at their worst.
//!
//! The query of a request says what is wanted. `key` names the requests that are counted together.

use std::{
    collections::HashMap,
    convert::Infallible,
    io,
    sync::{Arc, Mutex},
    time::{Duration, Instant},
};

use axum::{
    Router,
    body::{Body, Bytes},
    extract::Request,
    http::{HeaderName, HeaderValue, StatusCode},
    response::{IntoResponse, Response},
};
use futures_util::{StreamExt, stream};
use serde_json::{Value, json};
use tokio::net::TcpListener;

/// Requests of a key: begun in all, and under way now.
type Counts = Arc<Mutex<HashMap<String, (usize, usize)>>>;
/// When the first byte of a body came, by key.
type FirstBytes = Arc<Mutex<HashMap<String, Instant>>>;

pub(crate) struct Backend {
    pub(crate) address: String,
    counts: Counts,
    first_bytes: FirstBytes,
}

impl Backend {
    pub(crate) async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = format!("http://{}", listener.local_addr().unwrap());
        let counts = Counts::default();
        let first_bytes = FirstBytes::default();
        let shared = (Arc::clone(&counts), Arc::clone(&first_bytes));
        let app = Router::new().fallback(move |request| answer(request, Arc::clone(&shared.0), Arc::clone(&shared.1)));
        tokio::spawn(async move { axum::serve(listener, app).await });
        Self { address, counts, first_bytes }
    }

    /// When the first byte of this request's body came.
    pub(crate) fn first_byte(&self, key: &str) -> Option<Instant> {
        self.first_bytes.lock().unwrap().get(key).copied()
    }

    /// All requests that have come.
    pub(crate) fn hits(&self) -> usize {
        self.counts.lock().unwrap().values().map(|(hits, _)| hits).sum()
    }
}

/// A request that is under way for as long as this lives.
struct Alive(Counts, String);

impl Alive {
    fn new(counts: &Counts, key: &str) -> Self {
        let mut all = counts.lock().unwrap();
        let (hits, alive) = all.entry(key.to_owned()).or_default();
        (*hits, *alive) = (*hits + 1, *alive + 1);
        Self(Arc::clone(counts), key.to_owned())
    }
}

impl Drop for Alive {
    fn drop(&mut self) {
        self.0.lock().unwrap().get_mut(&self.1).expect("it was counted").1 -= 1;
    }
}

async fn answer(request: Request, counts: Counts, first_bytes: FirstBytes) -> Response {
    let query: HashMap<String, String> =
        url::form_urlencoded::parse(request.uri().query().unwrap_or_default().as_bytes()).into_owned().collect();
    let text = |name: &str| query.get(name).map(String::as_str).unwrap_or_default();
    let number = |name: &str, default: usize| query.get(name).map_or(default, |value| value.parse().unwrap());
    let path = request.uri().path().to_owned();
    if path == "/count" {
        let (hits, alive) = counts.lock().unwrap().get(text("key")).copied().unwrap_or_default();
        return json!([hits, alive]).to_string().into_response();
    }
    let alive = Alive::new(&counts, text("key"));
    let status = StatusCode::from_u16(u16::try_from(number("status", 200)).unwrap()).unwrap();
    let mut response = match &*path {
        "/inspect" => inspect(request).await,
        // The body comes back whole, with its type.
        "/mirror" => {
            let kind = request.headers().get("content-type").cloned();
            let body = axum::body::to_bytes(request.into_body(), 1 << 26).await.unwrap_or_default();
            ([("content-type", kind.unwrap_or_else(|| HeaderValue::from_static("text/plain")))], body).into_response()
        }
        // The body comes back as it comes in.
        "/echo" => Response::new(Body::from_stream(request.into_body().into_data_stream().map(move |piece| {
            let _alive = &alive;
            piece
        }))),
        "/text" => query.get("body").cloned().unwrap_or_default().into_response(),
        // Answers at once, and takes the body all the same.
        "/early" => {
            let mut pieces = request.into_body().into_data_stream();
            tokio::spawn(async move {
                while pieces.next().await.is_some_and(|piece| piece.is_ok()) {}
                drop(alive);
            });
            "early".into_response()
        }
        // Takes all of the body, of any length.
        "/sink" => {
            let announced = request.headers().get("content-length").cloned();
            let mut pieces = request.into_body().into_data_stream();
            let mut len = 0;
            while let Some(Ok(piece)) = pieces.next().await {
                if len == 0 {
                    first_bytes.lock().unwrap().insert(text("key").to_owned(), Instant::now());
                }
                len += piece.len();
            }
            let announced = announced.map(|length| length.to_str().unwrap().to_owned());
            json!([len, announced]).to_string().into_response()
        }
        // Never answers.
        "/hang" => std::future::pending().await,
        "/late" => {
            tokio::time::sleep(Duration::from_millis(number("millis", 100) as u64)).await;
            "late".into_response()
        }
        // Answers, and then says `piece` after `piece` for ever.
        "/drip" => {
            let pieces = stream::unfold(alive, |alive| async {
                tokio::time::sleep(Duration::from_millis(20)).await;
                Some((Ok::<_, Infallible>(Bytes::from_static(b"piece ")), alive))
            });
            Response::new(Body::from_stream(pieces))
        }
        "/bytes" => bytes(number("len", 0), number("short", 0)),
        // A redirection to `to`, or `left` times to here and then to `to`.
        "/redirect" => match number("left", 0) {
            0 => (status, [("location", text("to").to_owned())]).into_response(),
            left => {
                let uri = request.uri().to_string();
                let here = uri.replace(&format!("left={left}"), &format!("left={}", left - 1));
                (status, [("location", here)]).into_response()
            }
        },
        _ => StatusCode::NOT_FOUND.into_response(),
    };
    if response.status() == StatusCode::OK {
        *response.status_mut() = status;
    }
    if let Some(reason) = query.get("reason") {
        let reason = Bytes::from(reason.clone().into_bytes());
        response.extensions_mut().insert(hyper::ext::ReasonPhrase::try_from(reason).expect("a phrase"));
    }
    // More headers, as a query of their own in `headers`; a character is a byte.
    for (name, value) in url::form_urlencoded::parse(text("headers").as_bytes()) {
        let bytes: Vec<u8> = value.chars().map(|char| u8::try_from(char).unwrap()).collect();
        let name = HeaderName::from_bytes(name.as_bytes()).unwrap();
        response.headers_mut().append(name, HeaderValue::from_bytes(&bytes).unwrap());
    }
    response
}

/// What was asked, as this end sees it.
async fn inspect(request: Request) -> Response {
    let (parts, body) = request.into_parts();
    let headers: Vec<Value> = parts
        .headers
        .iter()
        .map(|(name, value)| {
            json!([name.as_str(), value.as_bytes().iter().copied().map(char::from).collect::<String>()])
        })
        .collect();
    match axum::body::to_bytes(body, 1 << 26).await {
        Ok(body) => {
            let text = String::from_utf8_lossy(&body[..body.len().min(10_000)]);
            let told = json!({ "method": parts.method.as_str(), "target": parts.uri.to_string(), "headers": headers,
                "body": text, "length": body.len() });
            ([("content-type", "application/json")], told.to_string()).into_response()
        }
        Err(error) => (StatusCode::BAD_REQUEST, error.to_string()).into_response(),
    }
}

/// So many bytes, of which the last `short` never come.
fn bytes(len: usize, short: usize) -> Response {
    const PIECE: usize = 65_536;
    let piece = Bytes::from((0..=250).cycle().take(PIECE).collect::<Vec<u8>>());
    let pieces = stream::unfold((len - short, piece), move |(left, piece)| async move {
        match left {
            0 if short == 0 => None,
            // What came before is sent by then.
            0 => {
                tokio::time::sleep(Duration::from_millis(100)).await;
                Some((Err(io::Error::other("broken off")), (0, piece)))
            }
            left => Some((Ok(piece.slice(..left.min(PIECE))), (left - left.min(PIECE), piece))),
        }
    });
    ([("content-length", len.to_string())], Body::from_stream(pieces)).into_response()
}
