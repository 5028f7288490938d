//! An issuer for tests that answers as it is told to, over real sockets.
//!
//! It names nothing of this crate but the keys beside it, so that tests outside include it too.
#![allow(dead_code, reason = "each test file has its own use for it")]

use std::sync::{
    Arc, Mutex,
    atomic::{AtomicUsize, Ordering},
};

use serde_json::json;
use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt},
    net::TcpListener,
    sync::Semaphore,
};
use tokio_rustls::TlsAcceptor;

use super::testing::{Signer, key_set};

/// An issuer that answers as it is told to.
pub(crate) struct Issuer {
    pub(crate) url: String,
    answer: Arc<Mutex<Answer>>,
    asked: Arc<AtomicUsize>,
}

#[derive(Clone)]
pub(crate) enum Answer {
    /// This body, with status 200.
    Keys(String),
    /// The same, when there is a permit for it.
    Held(Arc<Semaphore>, String),
    /// These bytes, whatever they are.
    Raw(String),
    /// This head, and then more and more.
    Endless,
    /// Nothing, for ever.
    Hang,
    /// A discovery document for this issuer with keys there; the keys at `/jwks`.
    Discovery { issuer: String, jwks_uri: String },
}

impl Issuer {
    pub(crate) async fn start(answer: Answer) -> Self {
        Self::start_with(answer, None).await
    }

    pub(crate) async fn start_with(answer: Answer, tls: Option<TlsAcceptor>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let port = listener.local_addr().expect("it is bound").port();
        let scheme = if tls.is_some() { "https" } else { "http" };
        let issuer = Self {
            url: format!("{scheme}://localhost:{port}"),
            answer: Arc::new(Mutex::new(answer)),
            asked: Arc::default(),
        };
        let (answer, asked) = (Arc::clone(&issuer.answer), Arc::clone(&issuer.asked));
        tokio::spawn(async move {
            while let Ok((socket, _)) = listener.accept().await {
                let (answer, asked, tls) = (Arc::clone(&answer), Arc::clone(&asked), tls.clone());
                tokio::spawn(async move {
                    match tls {
                        None => serve(socket, &answer, &asked).await,
                        Some(tls) => {
                            if let Ok(socket) = tls.accept(socket).await {
                                serve(socket, &answer, &asked).await;
                            }
                        }
                    }
                });
            }
        });
        issuer
    }

    pub(crate) fn answers(&self, answer: Answer) {
        *self.answer.lock().expect("no panic") = answer;
    }

    pub(crate) fn asked(&self) -> usize {
        self.asked.load(Ordering::Relaxed)
    }
}

async fn serve(mut socket: impl AsyncRead + AsyncWrite + Unpin, answer: &Mutex<Answer>, asked: &AtomicUsize) {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        let Ok(byte) = socket.read_u8().await else { return };
        head.push(byte);
    }
    asked.fetch_add(1, Ordering::Relaxed);
    let answer = answer.lock().expect("no panic").clone();
    let ok = |body: &str| format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n{body}", body.len());
    let whole = match answer {
        Answer::Keys(body) => ok(&body),
        Answer::Held(goes, body) => {
            if let Ok(permit) = goes.acquire().await {
                permit.forget();
            }
            ok(&body)
        }
        Answer::Raw(bytes) => bytes,
        Answer::Discovery { .. } if head.starts_with(b"GET /jwks ") => ok(&key_set(&Signer::ALL)),
        Answer::Discovery { issuer, jwks_uri } => ok(&json!({ "issuer": issuer, "jwks_uri": jwks_uri }).to_string()),
        Answer::Hang => std::future::pending().await,
        Answer::Endless => {
            let head = b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n";
            let mut sent = socket.write_all(head).await;
            while sent.is_ok() {
                sent = socket.write_all(&[b"8000\r\n".as_slice(), &[b' '; 0x8000], b"\r\n"].concat()).await;
            }
            return;
        }
    };
    let _ = socket.write_all(whole.as_bytes()).await;
    let _ = socket.shutdown().await;
}
