//! The drop: takes a file over a byte stream into a directory. A cut costs nothing that has arrived.
//!
//! One stream, one file. Lines are JSON in UTF-8, at most 4,096 bytes with the `\n` that ends them.
//!
//! ```text
//! client                                                                            server
//!   {"name":"photo.jpg","size":12345,"upload":"<32 hex digits of the client's choice>"} ->
//!     <- {"offset":N,"sha256":"<of the first N bytes>","blocks":"<the same in blocks>"}   N = what is held of this upload
//!   the bytes from N to size, then the end of the client's direction ->
//!     <- {"name":"photo (2).jpg","size":12345,"sha256":"<of the whole>"}   under this name, on the disk
//! ```
//!
//! Hex digits are lower-case. `blocks` is SHA-256 over the SHA-256 of each 4 MiB of the first N bytes, for clients that
//! cannot hash a stream. The client compares either hash with its own file; if it differs, the file has changed
//! since, and the client closes the stream and starts again with another upload id. After a cut it sends the same line
//! again. A newer stream for an upload ends the older one: behind a dead network the older would stay for minutes.
//!
//! In place of its next line the server may say why it stops; this ends the stream:
//!
//! ```text
//!     <- {"error":"too-large","message":"what is wrong and what to do"}
//! ```
//!
//! | word | meaning |
//! |---|---|
//! | `bad-header` | the first line is not as above |
//! | `bad-name` | too many files have this name |
//! | `too-large` | the directory's quota would be passed |
//! | `busy` | a newer stream has taken over this upload |
//! | `size-mismatch` | fewer or more bytes came, or are held, than `size` |
//! | `disk` | the server could not store it |
//!
//! An upload is of its device: its partial file is `.partial/<device>-<upload>`, and no other device can name it.
//! Partial files older than a day are removed. `names` makes a name safe, `quota` counts, `partial` writes, `wire`
//! reads and says.
//!
//! Not here: who may send, and how long a silent stream may stay. Both are the caller's.

mod names;
mod partial;
mod quota;
mod wire;

use std::{io, path::PathBuf, sync::Arc};

use serde::Serialize;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};

use crate::services::{
    json_line::{Refusal, say},
    service::{Call, Service, ServiceError},
};
use partial::Partial;
use quota::Space;
use wire::{Header, Held, More, read_block, read_header};

/// Read before it is written, in bytes: a write this long costs far more than the way to the blocking thread and back.
const BLOCK_BYTES: usize = 64 * 1_024;

/// Takes files into a directory. Clones share the directory and its quota.
#[derive(Clone, Debug)]
pub struct Drops(Arc<Space>);

/// What has been taken, as the client is told.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Receipt {
    /// The file's name in the directory; not always the one that was asked for.
    pub name: String,
    /// Its length in bytes.
    pub size: u64,
    /// Its SHA-256 in lower-case hex.
    pub sha256: String,
}

/// Why a file was not taken. What had arrived of it is kept.
#[derive(Debug, thiserror::Error)]
pub enum DropError {
    /// The client's first line makes no sense.
    #[error("the first line must be {{\"name\", \"size\", \"upload\"}}, but: {0}")]
    BadHeader(String),
    /// Every number behind this name is taken.
    #[error("too many files have this name here; choose another one")]
    BadName,
    /// The quota would be passed.
    #[error("the file has {size} bytes, but there is room for {free}; send a smaller one or have some removed")]
    TooLarge {
        /// What the client wants to send, in bytes.
        size: u64,
        /// What the quota leaves, in bytes.
        free: u64,
    },
    /// The directory holds as many files as it may.
    #[error("there are {0} files here, as many as there may be; have some removed")]
    TooMany(usize),
    /// A newer stream of the same device continues this upload.
    #[error("a newer stream continues this upload; leave it to that one")]
    Busy,
    /// The bytes ended early.
    #[error("only {arrived} of {size} bytes arrived; send the same first line again to continue")]
    Short {
        /// What is held now, in bytes.
        arrived: u64,
        /// What was announced, in bytes.
        size: u64,
    },
    /// The bytes did not end.
    #[error("more than the announced {0} bytes arrived; announce the true size")]
    Long(u64),
    /// The upload has announced a larger size before.
    #[error("{held} bytes of this upload are held, more than its size of {size}; choose another upload id")]
    Shrunk {
        /// What is held, in bytes.
        held: u64,
        /// What was announced, in bytes.
        size: u64,
    },
    /// The directory cannot be read or written.
    #[error("the server could not store it: {0}; try again later")]
    Disk(#[source] io::Error),
    /// The stream broke. The client is not there to be told.
    #[error("the stream broke: {0}")]
    Stream(#[source] io::Error),
    /// The caller's fault: this is no device id.
    #[error("not base64url, so not the id of a device")]
    Device,
}

impl DropError {
    /// The word that the client has been told; none if it was told nothing.
    ///
    /// With a word, the stream is to be finished, not reset: a reset could overtake the line.
    #[must_use]
    pub fn word(&self) -> Option<&'static str> {
        match self {
            Self::BadHeader(_) => Some("bad-header"),
            Self::BadName => Some("bad-name"),
            Self::TooLarge { .. } | Self::TooMany(_) => Some("too-large"),
            Self::Busy => Some("busy"),
            Self::Short { .. } | Self::Long(_) | Self::Shrunk { .. } => Some("size-mismatch"),
            Self::Disk(_) => Some("disk"),
            Self::Stream(_) | Self::Device => None,
        }
    }
}

impl Service for Drops {
    async fn serve(&self, call: Call) -> Result<(), ServiceError> {
        let Some(mut stream) = call.channel.stream() else {
            return Err("the drop takes a stream, not messages".into());
        };
        match self.take(&call.identity.device.to_string(), &mut stream).await {
            Ok(Some(receipt)) => {
                tracing::info!(device = %call.identity.device, name = receipt.name, size = receipt.size, "a file was dropped");
            }
            Ok(None) => {}
            // The client was told in words, which a reset would overtake.
            Err(error) if error.word().is_some() => {
                tracing::warn!(device = %call.identity.device, %error, "a file was not taken");
            }
            Err(error) => return Err(error.into()),
        }
        Ok(())
    }
}

impl Drops {
    /// Opens a directory for at most `quota` bytes, partial files included. Makes it, for its owner alone, if it is not
    /// there. What its owner removes from it becomes free.
    ///
    /// # Errors
    /// [`DropError::Disk`] if the directory cannot be made or read.
    pub fn open(directory: impl Into<PathBuf>, quota: u64) -> Result<Self, DropError> {
        Space::open(directory.into(), quota).map(|space| Self(Arc::new(space))).map_err(DropError::Disk)
    }

    /// Takes one file of `device`, a base64url id, from a stream, and ends the stream's direction to the client. None:
    /// the client went without sending anything.
    ///
    /// Dropping the future keeps what has arrived, and releases the rest of the quota once the write under way is done.
    ///
    /// # Errors
    /// See [`DropError`]; the client has been told those that have a [`DropError::word`].
    pub async fn take<S>(&self, device: &str, stream: &mut S) -> Result<Option<Receipt>, DropError>
    where
        S: AsyncRead + AsyncWrite + Unpin + Send,
    {
        let result = self.receive(device, stream).await;
        match &result {
            Ok(Some(receipt)) => say_last(stream, receipt).await,
            Ok(None) => {}
            Err(error) => {
                if let Some(word) = error.word() {
                    say_last(stream, &Refusal { error: word, message: error.to_string() }).await;
                }
            }
        }
        // A stream that is broken has ended too.
        let _ = stream.shutdown().await;
        result
    }

    async fn receive<S>(&self, device: &str, stream: &mut S) -> Result<Option<Receipt>, DropError>
    where
        S: AsyncRead + AsyncWrite + Unpin + Send,
    {
        // The id becomes a part of a path.
        if device.is_empty() || !device.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_'))
        {
            return Err(DropError::Device);
        }
        let Some(Header { name, size, upload }) = read_header(stream).await? else { return Ok(None) };
        let partial = self.0.partial(format!("{device}-{}", upload.0), size).await?;
        let stop = partial.stop();
        let complete = tokio::select! {
            biased;
            () = stop.notified() => return Err(DropError::Busy),
            complete = receive_bytes(partial, size, stream) => complete?,
        };
        let Some(partial) = complete else { return Ok(None) };
        blocking(move || partial.keep_as(&names::safe(&name))).await.map(Some)
    }
}

/// Says what is held and receives the rest. None if the client then goes at once, as it does when its file has changed.
async fn receive_bytes<S>(mut partial: Partial, size: u64, stream: &mut S) -> Result<Option<Partial>, DropError>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let offset = partial.len();
    say(stream, &Held { offset, sha256: partial.sha256(), blocks: partial.blocks() })
        .await
        .map_err(DropError::Stream)?;
    let mut block = Vec::with_capacity(BLOCK_BYTES);
    while partial.len() < size {
        let more = read_block(stream, &mut block, size - partial.len()).await;
        // The partial file goes along, and with it its turn: if this future is dropped, no newer stream begins before
        // the write has ended.
        (partial, block) = blocking(move || {
            partial.write(&block).map_err(DropError::Disk)?;
            block.clear();
            Ok((partial, block))
        })
        .await?;
        let arrived = partial.len();
        match more.map_err(DropError::Stream)? {
            More::No if arrived == offset => return Ok(None),
            More::No if arrived < size => return Err(DropError::Short { arrived, size }),
            More::No | More::Maybe => {}
        }
    }
    match stream.read(&mut [0]).await.map_err(DropError::Stream)? {
        0 => Ok(Some(partial)),
        _ => Err(DropError::Long(size)),
    }
}

/// The file is taken or not, whether the client hears it or not.
async fn say_last<S: AsyncWrite + Unpin>(stream: &mut S, line: &impl Serialize) {
    if let Err(error) = say(stream, line).await {
        tracing::debug!(%error, "a client went before the last line");
    }
}

/// Runs file I/O where it may block.
async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, DropError> + Send + 'static,
) -> Result<T, DropError> {
    // It fails only when the runtime ends or `work` panics.
    tokio::task::spawn_blocking(work).await.unwrap_or_else(|error| Err(DropError::Disk(io::Error::other(error))))
}

#[cfg(test)]
mod tests {
    use std::{fs, path::Path, time::Duration};

    use serde_json::{Value, json};
    use tempfile::TempDir;
    use tokio::{
        io::{AsyncBufReadExt, BufReader, DuplexStream},
        task::JoinHandle,
    };

    use super::*;

    const UPLOAD: &str = "00112233445566778899aabbccddeeff";
    const OTHER_UPLOAD: &str = "ffeeddccbbaa99887766554433221100";

    type Taken = Result<Option<Receipt>, DropError>;

    fn drops(quota: u64) -> (Drops, TempDir) {
        let directory = tempfile::tempdir().expect("a directory");
        (Drops::open(directory.path(), quota).expect("opens"), directory)
    }

    /// A client's stream, and what the server makes of it.
    fn connect(drops: &Drops, device: &'static str) -> (BufReader<DuplexStream>, JoinHandle<Taken>) {
        let (client, mut server) = tokio::io::duplex(1_000);
        let drops = drops.clone();
        (BufReader::new(client), tokio::spawn(async move { drops.take(device, &mut server).await }))
    }

    async fn begin(client: &mut BufReader<DuplexStream>, name: &str, size: usize, upload: &str) -> Value {
        send(client, format!("{}\n", json!({ "name": name, "size": size, "upload": upload })).as_bytes()).await;
        line(client).await
    }

    async fn send(client: &mut BufReader<DuplexStream>, bytes: &[u8]) {
        client.write_all(bytes).await.expect("the server reads");
    }

    async fn line(client: &mut BufReader<DuplexStream>) -> Value {
        let mut line = String::new();
        client.read_line(&mut line).await.expect("the server is there");
        assert!(line.ends_with('\n') && line.len() <= wire::LINE_BYTES_MAX, "{line:?}");
        serde_json::from_str(&line).expect("JSON")
    }

    /// Sends a whole file; gives the last line.
    async fn upload(drops: &Drops, name: &str, bytes: &[u8]) -> Value {
        let (mut client, server) = connect(drops, "device");
        let held = begin(&mut client, name, bytes.len(), UPLOAD).await;
        if held["error"] != Value::Null {
            return held;
        }
        send(&mut client, bytes).await;
        client.shutdown().await.expect("ends");
        let last = line(&mut client).await;
        let taken = server.await.expect("no panic").ok().flatten();
        assert_eq!(taken.map(|receipt| json!(receipt)), (last["error"] == Value::Null).then(|| last.clone()));
        assert_eq!(client.read(&mut [0]).await.expect("the server has finished"), 0);
        last
    }

    fn sample(len: usize) -> Vec<u8> {
        (0..len).map(|i| (i * 7 % 251).to_le_bytes()[0]).collect()
    }

    fn sha256(bytes: &[u8]) -> String {
        partial::hex(ring::digest::digest(&ring::digest::SHA256, bytes).as_ref())
    }

    /// What the server answers when it has this much of an upload.
    fn holds(bytes: &[u8]) -> Value {
        let blocks = bytes
            .chunks(4 * 1_024 * 1_024)
            .flat_map(|block| ring::digest::digest(&ring::digest::SHA256, block).as_ref().to_vec());
        json!({ "offset": bytes.len(), "sha256": sha256(bytes), "blocks": sha256(&blocks.collect::<Vec<_>>()) })
    }

    fn held(directory: &TempDir, device: &str) -> Vec<u8> {
        fs::read(directory.path().join(format!(".partial/{device}-{UPLOAD}"))).unwrap_or_default()
    }

    /// Waits until the disk holds so much: what is sent is not at once written.
    async fn until_held(directory: &TempDir, len: usize) {
        while held(directory, "device").len() < len {
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    }

    fn mode(path: &Path) -> u32 {
        use std::os::unix::fs::PermissionsExt;
        fs::metadata(path).expect("is there").permissions().mode() & 0o777
    }

    #[tokio::test]
    async fn a_whole_file_arrives_for_its_owner_alone() {
        let (drops, directory) = drops(1_000_000);
        for (name, len) in [("empty", 0), ("one.bin", 1), ("blocks.bin", 3 * BLOCK_BYTES + 1)] {
            let bytes = sample(len);
            let receipt = upload(&drops, name, &bytes).await;
            assert_eq!(receipt, json!({ "name": name, "size": len, "sha256": sha256(&bytes) }));
            let path = directory.path().join(name);
            assert_eq!((fs::read(&path).expect("is there"), mode(&path)), (bytes, 0o600));
        }
        assert_eq!(mode(&directory.path().join(".partial")), 0o700);
        assert_eq!(fs::read_dir(directory.path().join(".partial")).expect("reads").count(), 0);
    }

    #[tokio::test]
    async fn an_upload_continues_after_each_cut_even_of_the_server() {
        let (mut drops, directory) = drops(1_000_000);
        let bytes = sample(200_000);
        for cut in [1, 4_095, 65_536, 65_537, 199_999] {
            let (mut client, server) = connect(&drops, "device");
            let held = begin(&mut client, "a", bytes.len(), UPLOAD).await;
            let offset = usize::try_from(held["offset"].as_u64().expect("a number")).expect("small");
            assert_eq!(held["sha256"], sha256(&bytes[..offset]));
            send(&mut client, &bytes[offset..cut]).await;
            drop(client);
            let error = server.await.expect("no panic").expect_err("cut");
            assert!(matches!(error, DropError::Short { arrived, .. } if arrived == cut as u64), "{error}");
            drops = Drops::open(directory.path(), 1_000_000).expect("opens again");
        }
        let (mut client, server) = connect(&drops, "device");
        let held = begin(&mut client, "a", bytes.len(), UPLOAD).await;
        assert_eq!(held, holds(&bytes[..199_999]));
        send(&mut client, &bytes[199_999..]).await;
        client.shutdown().await.expect("ends");
        assert_eq!(line(&mut client).await["sha256"], sha256(&bytes));
        server.await.expect("no panic").expect("taken");
        assert_eq!(fs::read(directory.path().join("a")).expect("is there"), bytes);
    }

    #[tokio::test]
    async fn a_long_part_is_hashed_in_blocks_too() {
        for len in [4_194_303, 4_194_304, 4_194_305, 9_000_000_usize] {
            let (drops, directory) = drops(20_000_000);
            let bytes = sample(len);
            let (mut client, _server) = connect(&drops, "device");
            begin(&mut client, "a", len + 1, UPLOAD).await;
            send(&mut client, &bytes).await;
            until_held(&directory, len).await;
            let (mut newer, _server) = connect(&drops, "device");
            assert_eq!(begin(&mut newer, "a", len + 1, UPLOAD).await, holds(&bytes), "{len}");
        }
    }

    #[tokio::test]
    async fn another_device_neither_sees_nor_continues_an_upload() {
        let (drops, directory) = drops(1_000);
        let (mut mine, _server) = connect(&drops, "device");
        begin(&mut mine, "a", 10, UPLOAD).await;
        send(&mut mine, b"secret").await;
        until_held(&directory, 6).await;
        let (mut other, server) = connect(&drops, "other-device");
        let answer = begin(&mut other, "a", 10, UPLOAD).await;
        assert_eq!(answer, holds(&[]));
        drop(other);
        assert_eq!(server.await.expect("no panic").expect("nothing was sent"), None);
        send(&mut mine, b"more").await;
        until_held(&directory, 10).await;
        for device in ["", "../device", "a/b", "a.b", "dévice"] {
            let (_client, server) = connect(&drops, device);
            assert!(matches!(server.await.expect("no panic"), Err(DropError::Device)));
        }
    }

    #[tokio::test]
    async fn a_taken_name_gets_a_number_and_a_path_stays_inside() {
        let (drops, directory) = drops(1_000);
        fs::write(directory.path().join("photo (2).jpg"), "not ours").expect("writes");
        for (name, expected) in [
            ("photo.jpg", "photo.jpg"),
            ("photo.jpg", "photo (3).jpg"),
            ("/etc/../photo.jpg", "photo (4).jpg"),
            ("../../up", "up"),
            (".partial", "partial"),
        ] {
            assert_eq!(upload(&drops, name, name.as_bytes()).await["name"], expected);
            assert_eq!(fs::read(directory.path().join(expected)).expect("inside"), name.as_bytes());
        }
        assert_eq!(fs::read(directory.path().join("photo (2).jpg")).expect("reads"), b"not ours");
    }

    #[tokio::test]
    async fn the_quota_counts_files_partial_files_and_what_is_announced() {
        let (drops, directory) = drops(100);
        assert_eq!(upload(&drops, "a", &[0; 40]).await["name"], "a");
        let (mut running, server) = connect(&drops, "device");
        begin(&mut running, "b", 50, OTHER_UPLOAD).await;
        for size in [11, usize::MAX] {
            let (mut client, _server) = connect(&drops, "device");
            assert_eq!(begin(&mut client, "c", size, UPLOAD).await["error"], "too-large");
        }
        assert_eq!(upload(&drops, "c", &[0; 10]).await["name"], "c");
        send(&mut running, &[0; 30]).await;
        drop(running);
        server.await.expect("no panic").expect_err("cut");
        assert_eq!(upload(&drops, "d", &[0; 21]).await["error"], "too-large");
        fs::remove_file(directory.path().join("a")).expect("the owner takes it away");
        assert_eq!(upload(&drops, "d", &[0; 60]).await["name"], "d");
        assert_eq!(fs::read_dir(directory.path()).expect("reads").count(), 3, "c, d, .partial");
    }

    #[tokio::test]
    async fn a_hostile_header_gets_an_answer() {
        let (drops, directory) = drops(1_000);
        let upload = format!("\"upload\":\"{UPLOAD}\"");
        for header in [
            "\n".to_owned(),
            "[]\n".to_owned(),
            "\u{1b}[2J\n".to_owned(),
            "[".repeat(4_095) + "\n",
            "x".repeat(4_096),
            format!("{{\"name\":\"a\",\"size\":1,{upload},\"extra\":1}}\n"),
            format!("{{\"name\":\"a\",\"size\":1,{upload},\"{}\":1}}\n", "\\u001b".repeat(600)),
            format!("{{\"name\":\"a\",\"size\":1,{upload},\"{}\":1}}\n", "x".repeat(3_980)),
            format!("{{\"name\":\"a\",\"size\":1,{upload},{upload}}}\n"),
            format!("{{\"name\":\"a\",\"size\":1,{upload}}} x\n"),
            format!("{{\"name\":\"a\",\"size\":-1,{upload}}}\n"),
            format!("{{\"name\":\"a\",\"size\":18446744073709551616,{upload}}}\n"),
            format!("{{\"name\":\"a\",\"size\":1,\"upload\":\"{}\"}}\n", UPLOAD.to_uppercase()),
            "{\"name\":\"a\",\"size\":1,\"upload\":\"../../../../../../../../../tmp/x/\"}\n".to_owned(),
            format!("{{\"size\":1,{upload}}}\n"),
        ] {
            let (mut client, server) = connect(&drops, "device");
            send(&mut client, header.as_bytes()).await;
            assert_eq!(line(&mut client).await["error"], "bad-header", "{header:?}");
            let error = server.await.expect("no panic").expect_err("hostile").to_string();
            assert!(!error.contains(char::is_control), "{error:?}");
        }
        let (mut client, server) = connect(&drops, "device");
        send(&mut client, b"{\"name\":\"\xff\"").await;
        client.shutdown().await.expect("ends");
        assert_eq!(line(&mut client).await["error"], "bad-header");
        server.await.expect("no panic").expect_err("not whole");
        let (client, server) = connect(&drops, "device");
        drop(client);
        assert_eq!(server.await.expect("no panic").expect("nobody came"), None);
        assert_eq!(fs::read_dir(directory.path().join(".partial")).expect("reads").count(), 0);
    }

    #[tokio::test]
    async fn a_body_must_have_the_announced_size() {
        let (drops, directory) = drops(1_000);
        for (sent, size) in [(&b"123"[..], 5), (b"456", 5), (b"", 4)] {
            let (mut client, server) = connect(&drops, "device");
            if begin(&mut client, "a", size, UPLOAD).await["error"] == Value::Null {
                send(&mut client, sent).await;
                client.shutdown().await.expect("ends");
                assert_eq!(line(&mut client).await["error"], "size-mismatch");
            }
            let error = server.await.expect("no panic").expect_err("a wrong size");
            assert_eq!(error.word(), Some("size-mismatch"));
        }
        assert_eq!(held(&directory, "device"), b"12345", "kept, and not a byte more");
        assert!(!directory.path().join("a").exists());
    }

    #[tokio::test]
    async fn a_newer_stream_takes_an_upload_over() {
        let (drops, directory) = drops(100);
        let (mut older, older_server) = connect(&drops, "device");
        begin(&mut older, "a", 100, UPLOAD).await;
        send(&mut older, &[1; 60]).await;
        until_held(&directory, 60).await;
        let (mut newer, newer_server) = connect(&drops, "device");
        let held = begin(&mut newer, "a", 100, UPLOAD).await;
        assert_eq!(held, holds(&[1; 60]));
        assert!(matches!(older_server.await.expect("no panic"), Err(DropError::Busy)));
        assert_eq!(line(&mut older).await["error"], "busy");
        send(&mut newer, &[2; 40]).await;
        newer.shutdown().await.expect("ends");
        assert_eq!(line(&mut newer).await["size"], 100);
        newer_server.await.expect("no panic").expect("taken");
        assert_eq!(fs::read(directory.path().join("a")).expect("is there"), [[1; 60].as_slice(), &[2; 40]].concat());
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn of_many_streams_for_one_upload_the_last_one_wins() {
        let (drops, directory) = drops(100_000);
        let (mut clients, mut servers) = (Vec::new(), Vec::new());
        for _ in 0..20 {
            let (mut client, server) = connect(&drops, "device");
            servers.push(server);
            clients.push(tokio::spawn(async move {
                begin(&mut client, "a", 50_000, UPLOAD).await;
                client
            }));
        }
        let mut waiting = Vec::new();
        for client in clients {
            waiting.push(client.await.expect("an answer"));
        }
        assert_eq!(upload(&drops, "a", &sample(50_000)).await["name"], "a");
        for server in servers {
            assert!(matches!(server.await.expect("no panic"), Err(DropError::Busy)));
        }
        assert_eq!(fs::read(directory.path().join("a")).expect("is there"), sample(50_000));
        drop(waiting);
    }

    #[tokio::test]
    async fn a_cancelled_upload_keeps_its_bytes_and_releases_the_rest() {
        let (drops, directory) = drops(100);
        let (mut client, server) = connect(&drops, "device");
        begin(&mut client, "a", 90, UPLOAD).await;
        send(&mut client, &[7; 30]).await;
        until_held(&directory, 30).await;
        let ask = async || {
            let (mut other, _server) = connect(&drops, "device");
            begin(&mut other, "b", 70, OTHER_UPLOAD).await
        };
        assert_eq!(ask().await["error"], "too-large");
        server.abort();
        assert!(server.await.expect_err("cancelled").is_cancelled());
        // A write may be under way still.
        while ask().await["error"] == "too-large" {
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
        assert_eq!(held(&directory, "device"), [7; 30]);
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn uploads_at_once_do_not_disturb_each_other() {
        let (drops, directory) = drops(10_000_000);
        let devices = ["a", "b", "c", "d", "e", "f", "g", "h"];
        let clients = devices.map(|device| {
            let drops = drops.clone();
            tokio::spawn(async move {
                let bytes = [device.as_bytes(), &sample(300_000)].concat();
                let (mut client, server) = connect(&drops, device);
                begin(&mut client, "same.txt", bytes.len(), UPLOAD).await;
                send(&mut client, &bytes).await;
                client.shutdown().await.expect("ends");
                (server.await.expect("no panic").expect("taken").expect("a file").name, bytes)
            })
        });
        for client in clients {
            let (name, bytes) = client.await.expect("no panic");
            assert_eq!(fs::read(directory.path().join(name)).expect("is there"), bytes);
        }
        assert_eq!(fs::read_dir(directory.path()).expect("reads").count(), devices.len() + 1);
    }
}
