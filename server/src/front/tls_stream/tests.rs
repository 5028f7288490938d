//! Against rustls as a client, and against one that has its keys and makes records by hand.

use ring::aead::{AES_256_GCM, Aad, LessSafeKey, Nonce, UnboundKey};
use rustls::{
    ClientConfig, ClientConnection, ConnectionTrafficSecrets, RootCertStore,
    crypto::ring as provider,
    pki_types::{CertificateDer, ServerName, pem::PemObject as _},
};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpListener, TcpStream},
};
use tokio_rustls::{TlsConnector, client::TlsStream as Client};

use super::*;
use crate::front::tls;

/// Both sides, of which the client takes AES-256-GCM alone.
fn configs() -> (Arc<ServerConfig>, Arc<ClientConfig>) {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let server = tls::development(directory.path()).expect("it is made");
    let mut roots = RootCertStore::empty();
    let certificate = CertificateDer::from_pem_file(directory.path().join("tls-cert.pem")).expect("it is there");
    roots.add(certificate).expect("a certificate");
    let mut provider = provider::default_provider();
    provider.cipher_suites = vec![provider::cipher_suite::TLS13_AES_256_GCM_SHA384];
    let mut client = ClientConfig::builder_with_provider(Arc::new(provider))
        .with_protocol_versions(&[&rustls::version::TLS13])
        .expect("it has suites of TLS 1.3")
        .with_root_certificates(roots)
        .with_no_client_auth();
    client.enable_secret_extraction = true;
    (server, Arc::new(client))
}

async fn sockets() -> (Tcp, TcpStream) {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let peer = TcpStream::connect(listener.local_addr().expect("bound")).await.expect("it listens");
    (Tcp::new(listener.accept().await.expect("a connection").0), peer)
}

/// A server's end and its client's.
async fn pair() -> (Box<TlsStream>, Client<TcpStream>) {
    let ((server, client), (tcp, peer)) = (configs(), sockets().await);
    let name = ServerName::try_from("localhost").expect("a name");
    let (server, client) = tokio::join!(TlsStream::accept(server, tcp), TlsConnector::from(client).connect(name, peer));
    (server.expect("a sound client"), client.expect("a sound server"))
}

impl TlsStream {
    /// Bytes of memory that it has beside itself and rustls.
    fn holds(&self) -> usize {
        self.incoming.capacity() + self.opened.capacity() + self.outgoing.bytes.capacity()
    }
}

async fn says(from: &mut (impl AsyncWrite + Unpin), what: &[u8]) {
    from.write_all(what).await.expect("it is open");
    from.flush().await.expect("it is open");
}

async fn hears(to: &mut (impl AsyncRead + Unpin), what: &[u8]) {
    let mut heard = vec![0; what.len()];
    to.read_exact(&mut heard).await.expect("it is open");
    assert!(heard == what, "{} other bytes", what.len());
}

#[tokio::test]
async fn what_is_sent_comes_in_its_order_whole_and_nothing_is_held_when_nothing_flows() {
    let (mut server, mut client) = pair().await;
    let all: Vec<u8> = (0..1_000_000_u32).map(|number| (number % 251) as u8).collect();
    for len in [1, 100, PAYLOAD_LEN_MAX - 1, PAYLOAD_LEN_MAX, PAYLOAD_LEN_MAX + 1, 65_545, 1_000_000] {
        let what = &all[..len];
        tokio::join!(says(&mut client, what), hears(&mut server, what));
        tokio::join!(says(&mut *server, what), hears(&mut client, what));
        // The next read finds that there is nothing more, as that of an idle line does.
        poll_fn(|cx| {
            let mut byte = [0];
            assert!(Pin::new(&mut *server).poll_read(cx, &mut ReadBuf::new(&mut byte)).is_pending());
            Poll::Ready(())
        })
        .await;
        assert_eq!(server.holds(), 0, "after {len} bytes");
    }
}

/// Each record of 64 KiB once took 17 reads.
#[tokio::test]
async fn what_comes_in_bulk_on_a_line_is_read_at_once_within_its_bound() {
    let (mut server, mut client) = pair().await;
    server.reads_ahead = true;
    let sent: Vec<u8> = (0..300_000_u32).flat_map(u32::to_le_bytes).collect();
    let reads = async {
        let (mut came, mut most, mut chunk) = (Vec::new(), 0, [0; 4_096]);
        while came.len() < sent.len() {
            let len = server.read(&mut chunk).await.expect("it is open");
            came.extend_from_slice(&chunk[..len]);
            most = most.max(server.incoming.len());
        }
        (came, most)
    };
    let ((), (came, most)) = tokio::join!(says(&mut client, &sent), reads);
    assert!(came == sent, "{} of {} bytes came", came.len(), sent.len());
    assert!((READ_LEN..=AHEAD_LEN).contains(&most), "{most} bytes were ahead");
}

#[tokio::test]
async fn records_that_come_byte_by_byte_are_put_together() {
    let ((config, client), (tcp, mut peer)) = (configs(), sockets().await);
    let accepts = TlsStream::accept(config, tcp);
    let trickles = async {
        let mut tls = ClientConnection::new(client, ServerName::try_from("localhost").expect("a name")).expect("sound");
        let (mut out, mut said) = (Vec::new(), false);
        loop {
            while tls.wants_write() {
                tls.write_tls(&mut out).expect("memory");
            }
            for byte in out.drain(..) {
                peer.write_all(&[byte]).await.expect("it is open");
                tokio::task::yield_now().await;
            }
            if said {
                return;
            }
            if !tls.is_handshaking() {
                io::Write::write_all(&mut tls.writer(), b"hello").expect("memory");
                said = true;
                continue;
            }
            let mut chunk = [0; 4_096];
            let len = peer.read(&mut chunk).await.expect("it is open");
            tls.read_tls(&mut &chunk[..len]).expect("memory");
            tls.process_new_packets().expect("a sound server");
        }
    };
    let hears_it = async {
        let mut server = accepts.await.expect("a sound client");
        hears(&mut *server, b"hello").await;
    };
    tokio::join!(trickles, hears_it);
}

#[tokio::test]
async fn a_write_waits_for_a_reader_who_does_not_read_and_holds_no_more_than_its_bound() {
    let (mut server, mut client) = pair().await;
    let what = vec![7; 1_000_000];
    let mut written = 0;
    poll_fn(|cx| {
        while let Poll::Ready(more) = Pin::new(&mut *server).poll_write(cx, &what) {
            written += more.expect("it is open");
            assert!(server.holds() <= 2 * OUTGOING_MAX, "{} bytes are held", server.holds());
        }
        Poll::Ready(())
    })
    .await;
    let (heard, flushed) = tokio::join!(
        async {
            let mut heard = vec![0; written];
            client.read_exact(&mut heard).await.map(|len| len == written && heard.iter().all(|byte| *byte == 7))
        },
        server.flush()
    );
    assert!(heard.expect("it is open"));
    flushed.expect("it is open");
}

#[tokio::test]
async fn the_tickets_come_with_the_first_answer_and_the_end_with_what_was_said_last() {
    let (mut server, mut client) = pair().await;
    assert_eq!(client.get_ref().1.tls13_tickets_received(), 0);
    says(&mut *server, b"101").await;
    hears(&mut client, b"101").await;
    assert_eq!(client.get_ref().1.tls13_tickets_received(), 2);
    // Not flushed: it leaves with the end.
    server.write_all(b"last").await.expect("it is open");
    server.shutdown().await.expect("it is open");
    let mut heard = Vec::new();
    // Without an alert that says so, an end is an error here.
    client.read_to_end(&mut heard).await.expect("a clean end");
    assert_eq!(heard, b"last");
    assert_eq!(server.write(b"more").await.expect_err("it is shut").kind(), io::ErrorKind::BrokenPipe);
    // Whoever has shut it still reads.
    says(&mut client, b"heard").await;
    hears(&mut *server, b"heard").await;
    client.shutdown().await.expect("it is open");
    assert_eq!(server.read(&mut [0; 8]).await.expect("a clean end"), 0);
}

#[tokio::test]
async fn an_end_that_the_peer_has_not_told_is_an_error() {
    let (mut server, client) = pair().await;
    drop(client.into_inner().0);
    let error = server.read(&mut [0; 8]).await.expect_err("it was cut");
    assert!(matches!(error.kind(), io::ErrorKind::UnexpectedEof | io::ErrorKind::ConnectionReset), "{error}");
}

#[tokio::test]
async fn keys_that_the_peer_changes_and_asks_to_be_changed_are() {
    let (mut server, mut client) = pair().await;
    for _ in 0..3 {
        client.get_mut().1.refresh_traffic_keys().expect("the handshake is over");
        says(&mut client, b"after").await;
        hears(&mut *server, b"after").await;
        // In the new keys, behind the word that says so.
        says(&mut *server, b"answer").await;
        hears(&mut client, b"answer").await;
    }
}

/// A client that makes its own records: `type` is that of RFC 8446, section 5.2.
struct ByHand {
    tcp: TcpStream,
    key: LessSafeKey,
    iv: [u8; 12],
    sent: u64,
}

impl ByHand {
    async fn new() -> (Box<TlsStream>, Self) {
        let (server, client) = pair().await;
        let (tcp, tls) = client.into_inner();
        let secrets = tls.dangerous_extract_secrets().expect("the handshake is over");
        let (sent, ConnectionTrafficSecrets::Aes256Gcm { key, iv }) = secrets.tx else { panic!("the one suite") };
        let key = LessSafeKey::new(UnboundKey::new(&AES_256_GCM, key.as_ref()).expect("its length"));
        (server, Self { tcp, key, iv: iv.as_ref().try_into().expect("its length"), sent })
    }

    fn record(&mut self, kind: u8, payload: &[u8]) -> Vec<u8> {
        let mut inner = [payload, &[kind]].concat();
        let len = u16::try_from(inner.len() + 16).expect("short").to_be_bytes();
        let header = [0x17, 3, 3, len[0], len[1]];
        let mut nonce = self.iv;
        nonce.iter_mut().skip(4).zip(self.sent.to_be_bytes()).for_each(|(byte, number)| *byte ^= number);
        self.sent += 1;
        let nonce = Nonce::assume_unique_for_key(nonce);
        self.key.seal_in_place_append_tag(nonce, Aad::from(header), &mut inner).expect("short");
        [&header[..], &inner].concat()
    }
}

const HANDSHAKE: u8 = 22;
const DATA: u8 = 23;

/// rustls keeps where in the buffer half a message lies, and takes for granted that it is there when it is asked again.
#[tokio::test]
async fn who_is_sent_half_a_message_of_a_handshake_still_writes_and_takes_the_other_half() {
    let (mut server, mut client) = ByHand::new().await;
    // KeyUpdate, of which no update is asked in return.
    let halves = [client.record(HANDSHAKE, &[24, 0, 0]), client.record(HANDSHAKE, &[1, 0])];
    client.tcp.write_all(&halves[0]).await.expect("it is open");
    let mut byte = [0];
    let waits = tokio::time::timeout(std::time::Duration::from_millis(50), server.read(&mut byte)).await;
    assert!(waits.is_err(), "there was nothing to read");
    assert!(!server.incoming.is_empty());
    says(&mut *server, &[1; 100_000]).await;
    client.tcp.write_all(&halves[1]).await.expect("it is open");
    let waits = tokio::time::timeout(std::time::Duration::from_millis(50), server.read(&mut byte)).await;
    assert!(waits.is_err(), "there was nothing to read");
    assert_eq!(server.holds(), 0);
    says(&mut *server, b"still").await;
    server.shutdown().await.expect("it is open");
}

#[tokio::test]
async fn a_message_of_a_handshake_in_ever_smaller_pieces_is_held_up_to_a_bound() {
    let (mut server, mut client) = ByHand::new().await;
    let sends = async {
        // It says that 60,000 bytes follow.
        let first = client.record(HANDSHAKE, &[24, 0, 0xea, 0x60]);
        let mut sent = client.tcp.write_all(&first).await;
        while sent.is_ok() {
            let pieces: Vec<u8> = (0..100).flat_map(|_| client.record(HANDSHAKE, &[0])).collect();
            sent = client.tcp.write_all(&pieces).await;
        }
    };
    let reads = async {
        let error = server.read(&mut [0; 8]).await.expect_err("it is too much");
        assert_eq!(error.kind(), io::ErrorKind::InvalidData);
        assert_eq!(server.incoming.len(), 0);
        server.write(b"more").await.expect_err("it is over");
        drop(server);
    };
    tokio::join!(sends, reads);
}

#[tokio::test]
async fn what_was_altered_ends_it_for_good_and_nothing_behind_it_is_taken() {
    for writes_first in [false, true] {
        let (mut server, mut client) = ByHand::new().await;
        let mut sent = client.record(DATA, b"good");
        sent.extend(client.record(DATA, b"read").iter().map(|byte| byte ^ 1).skip(5).collect::<Vec<_>>());
        // The header of the altered one as it was.
        let header = [0x17, 3, 3, 0, 4 + 1 + 16];
        sent.splice(5 + 21..5 + 21, header);
        client.sent -= 1;
        sent.extend(client.record(DATA, b"next"));
        client.tcp.write_all(&sent).await.expect("it is open");
        hears(&mut *server, b"good").await;
        if writes_first {
            server.write(b"it looks at what has come").await.expect_err("it was altered");
        } else {
            assert_eq!(server.read(&mut [0; 8]).await.expect_err("altered").kind(), io::ErrorKind::InvalidData);
        }
        assert_eq!(server.read(&mut [0; 8]).await.expect_err("it is over").kind(), io::ErrorKind::InvalidData);
        assert_eq!(server.write(b"x").await.expect_err("it is over").kind(), io::ErrorKind::BrokenPipe);
        assert_eq!(server.holds(), 0);
        // The alert, behind two tickets.
        drop(server);
        let mut told = Vec::new();
        client.tcp.read_to_end(&mut told).await.expect("it was told");
        assert_eq!(told[told.len() - 24..][..5], [0x17, 3, 3, 0, 19]);
    }
}

#[tokio::test]
async fn garbage_in_the_place_of_a_handshake_is_told_so() {
    let ((config, _), (tcp, mut peer)) = (configs(), sockets().await);
    peer.write_all(&[22, 3, 1, 0, 5, 1, 0, 0, 1, 0]).await.expect("it is open");
    let error = TlsStream::accept(config, tcp).await.expect_err("garbage");
    assert_eq!(error.kind(), io::ErrorKind::InvalidData);
    let mut told = Vec::new();
    peer.read_to_end(&mut told).await.expect("it was told");
    assert_eq!(told[..5], [21, 3, 3, 0, 2]);
}
