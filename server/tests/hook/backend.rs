//! A backend of the tests' own that is asked, and does with the question what it is told to.
#![allow(dead_code, reason = "each test file has its own use for it")]

use std::{
    net::SocketAddr,
    sync::{Arc, Mutex, MutexGuard},
    time::Duration,
};

use duologue_server::HookSettings;
use serde_json::Value;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    sync::{Notify, Semaphore},
};

/// What the backend does with a question.
#[derive(Clone)]
pub(crate) enum Does {
    /// Answers by what it was asked, as JSON.
    Says(Arc<dyn Fn(&Value) -> Value + Send + Sync>),
    /// Writes these bytes, and ends.
    Writes(Vec<u8>),
    /// Says that 10 MB follow, or does not say it, and sends them.
    Floods { says_so: bool },
    /// Says nothing more.
    Hangs,
    /// Ends the connection.
    Dies,
}

pub(crate) struct Inner {
    pub(crate) does: Does,
    pub(crate) asked: Vec<Value>,
}

/// A backend on a port of its own.
#[derive(Clone)]
pub(crate) struct Backend {
    pub(crate) address: SocketAddr,
    pub(crate) inner: Arc<Mutex<Inner>>,
    pub(crate) news: Arc<Notify>,
    /// Answers that may go out; as many as are wanted unless told.
    pub(crate) goes: Arc<Semaphore>,
}

impl Backend {
    pub(crate) async fn start(says: impl Fn(&Value) -> Value + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let address = listener.local_addr().expect("it is bound");
        let inner = Arc::new(Mutex::new(Inner { does: Does::Says(Arc::new(says)), asked: Vec::new() }));
        let goes = Arc::new(Semaphore::new(1_000));
        let own = Self { address, inner, news: Arc::default(), goes };
        let backend = own.clone();
        tokio::spawn(async move {
            while let Ok((socket, _)) = listener.accept().await {
                tokio::spawn(backend.clone().serve(socket));
            }
        });
        own
    }

    pub(crate) fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().expect("whole")
    }

    pub(crate) fn says(&self, says: impl Fn(&Value) -> Value + Send + Sync + 'static) {
        self.does(Does::Says(Arc::new(says)));
    }

    pub(crate) fn does(&self, does: Does) {
        self.lock().does = does;
    }

    pub(crate) fn count(&self) -> usize {
        self.lock().asked.len()
    }

    pub(crate) fn last(&self) -> Value {
        self.lock().asked.last().cloned().expect("it was asked")
    }

    /// Waits until it was asked so often.
    pub(crate) async fn was_asked(&self, count: usize) {
        let waits = async {
            loop {
                let news = self.news.notified();
                if self.count() >= count {
                    return;
                }
                news.await;
            }
        };
        tokio::time::timeout(Duration::from_secs(20), waits).await.expect("asked in time");
    }

    pub(crate) fn settings(&self) -> HookSettings {
        HookSettings { timeout: 1, ..HookSettings::new(format!("http://{}/duologue", self.address)) }
    }

    pub(crate) async fn serve(self, mut socket: TcpStream) -> Option<()> {
        let mut got = Vec::new();
        let head = loop {
            if let Some(end) = got.windows(4).position(|four| four == b"\r\n\r\n") {
                break end + 4;
            }
            if socket.read_buf(&mut got).await.ok()? == 0 {
                return None;
            }
        };
        let text = String::from_utf8_lossy(&got[..head]).to_ascii_lowercase();
        assert!(text.starts_with("post /duologue http/1.1\r\n"), "{text}");
        assert!(text.contains("content-type: application/json"), "{text}");
        let len: usize = text.split("content-length: ").nth(1)?.split("\r\n").next()?.parse().ok()?;
        while got.len() < head + len {
            socket.read_buf(&mut got).await.ok()?;
        }
        let asked: Value = serde_json::from_slice(&got[head..]).expect("JSON");
        let does = {
            let mut inner = self.lock();
            inner.asked.push(asked.clone());
            inner.does.clone()
        };
        self.news.notify_waiters();
        self.goes.acquire().await.ok()?.forget();
        match does {
            Does::Says(says) => socket.write_all(&ok(&says(&asked).to_string())).await.ok()?,
            Does::Writes(bytes) => socket.write_all(&bytes).await.ok()?,
            Does::Floods { says_so } => {
                let head = if says_so { "content-length: 10000000" } else { "connection: close" };
                let head =
                    format!("HTTP/1.1 200 OK\r\ncontent-type: application/json\r\n{head}\r\n\r\n{{\"refuse\": \"");
                socket.write_all(head.as_bytes()).await.ok()?;
                for _ in 0..1_000 {
                    socket.write_all(&[b'a'; 10_000]).await.ok()?;
                }
            }
            Does::Hangs => std::future::pending().await,
            Does::Dies => {}
        }
        Some(())
    }
}

pub(crate) fn ok(body: &str) -> Vec<u8> {
    format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n{body}", body.len()).into_bytes()
}
