//! Lines of the audit log as syslog: RFC 5424, which the crate `syslog` writes, over a socket of this machine, UDP, TCP or TLS.
//!
//! Over TCP and TLS each batch has a connection of its own, and is taken as arrived when the other end has closed it after us:
//! a long connection loses without a word what is written after the other end has gone.

use std::{
    collections::BTreeMap,
    io::{self, Read, Write},
    net::{Shutdown, SocketAddr, TcpStream, ToSocketAddrs, UdpSocket},
    os::unix::net::{UnixDatagram, UnixStream},
    sync::Arc,
    time::Duration,
};

use rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned, crypto::ring, pki_types::ServerName};
use syslog::{Facility, Formatter5424, LogFormat, Severity};

use super::{outbox::Courier, settings::Syslog};

/// How long a connection, a write or a read may take.
const PATIENCE: Duration = Duration::from_secs(5);

/// Brings lines to a syslog.
pub(crate) struct Post {
    to: Syslog,
    form: Formatter5424,
    roots: Arc<RootCertStore>,
}

impl Post {
    /// With the authorities that TLS is to trust.
    pub(crate) fn new(to: Syslog, roots: Arc<RootCertStore>) -> Self {
        let form = Formatter5424 {
            facility: Facility::LOG_AUTHPRIV,
            process: "duologue".to_owned(),
            ..Formatter5424::default()
        };
        Self { to, form, roots }
    }

    fn message(&self, line: &str) -> Vec<u8> {
        let mut message = Vec::new();
        let form = self.form.format(&mut message, Severity::LOG_NOTICE, (0, BTreeMap::new(), line));
        form.expect("memory takes everything");
        message
    }

    /// Octets counted (RFC 6587, section 3.4.1; RFC 5425, section 4.3).
    fn framed(&self, lines: &[Arc<str>]) -> Vec<u8> {
        let mut framed = Vec::new();
        for line in lines {
            let message = self.message(line);
            framed.extend_from_slice(format!("{} ", message.len()).as_bytes());
            framed.extend_from_slice(&message);
        }
        framed
    }

    fn send(&self, lines: &[Arc<str>]) -> io::Result<()> {
        match &self.to {
            Syslog::Unix(path) => {
                let socket = UnixDatagram::unbound()?;
                match socket.connect(path) {
                    Ok(()) => {
                        socket.set_write_timeout(Some(PATIENCE))?;
                        lines.iter().try_for_each(|line| socket.send(&self.message(line)).map(drop))
                    }
                    // It is a stream, as some have it.
                    Err(_) => {
                        let mut socket = UnixStream::connect(path)?;
                        socket.set_write_timeout(Some(PATIENCE))?;
                        socket.set_read_timeout(Some(PATIENCE))?;
                        socket.write_all(&self.framed(lines))?;
                        socket.shutdown(Shutdown::Write)?;
                        read_to_end(&mut socket)
                    }
                }
            }
            Syslog::Udp(to) => {
                let address = resolve(to)?;
                let any: SocketAddr = if address.is_ipv6() { ([0_u16; 8], 0).into() } else { ([0; 4], 0).into() };
                let socket = UdpSocket::bind(any)?;
                socket.connect(address)?;
                lines.iter().try_for_each(|line| socket.send(&self.message(line)).map(drop))
            }
            Syslog::Tcp(to) => {
                let mut socket = connect(to)?;
                socket.write_all(&self.framed(lines))?;
                socket.shutdown(Shutdown::Write)?;
                read_to_end(&mut socket)
            }
            Syslog::Tls(to) => {
                let host = to.rsplit_once(':').map_or(&**to, |(host, _)| host);
                let host = host.trim_start_matches('[').trim_end_matches(']').to_owned();
                let name =
                    ServerName::try_from(host).map_err(|error| io::Error::new(io::ErrorKind::InvalidInput, error))?;
                let config = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
                    .with_protocol_versions(&[&rustls::version::TLS13])
                    .map_err(io::Error::other)?
                    .with_root_certificates(Arc::clone(&self.roots))
                    .with_no_client_auth();
                let connection = ClientConnection::new(Arc::new(config), name).map_err(io::Error::other)?;
                let mut stream = StreamOwned::new(connection, connect(to)?);
                stream.write_all(&self.framed(lines))?;
                stream.conn.send_close_notify();
                stream.flush()?;
                stream.sock.shutdown(Shutdown::Write)?;
                read_to_end(&mut stream)
            }
        }
    }
}

impl Courier for Post {
    fn name(&self) -> String {
        match &self.to {
            Syslog::Unix(path) => format!("the syslog at {}", path.display()),
            Syslog::Udp(to) | Syslog::Tcp(to) | Syslog::Tls(to) => format!("the syslog at {to}"),
        }
    }

    fn deliver(&mut self, lines: &[Arc<str>]) -> Result<(), String> {
        self.send(lines).map_err(|error| error.to_string())
    }
}

fn resolve(to: &str) -> io::Result<SocketAddr> {
    to.to_socket_addrs()?.next().ok_or_else(|| io::ErrorKind::NotFound.into())
}

fn connect(to: &str) -> io::Result<TcpStream> {
    let mut last = None;
    for address in to.to_socket_addrs()? {
        match TcpStream::connect_timeout(&address, PATIENCE) {
            Ok(socket) => {
                socket.set_read_timeout(Some(PATIENCE))?;
                socket.set_write_timeout(Some(PATIENCE))?;
                return Ok(socket);
            }
            Err(error) => last = Some(error),
        }
    }
    Err(last.unwrap_or_else(|| io::ErrorKind::NotFound.into()))
}

/// Until the other end has closed it after us; one that waits longer than our patience has had everything too.
fn read_to_end(stream: &mut impl Read) -> io::Result<()> {
    // A syslog says nothing; one that does is not listened to for ever.
    match io::copy(&mut stream.take(64 * 1_024), &mut io::sink()) {
        Err(error) if matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut) => Ok(()),
        // The end of TCP without one of TLS: some end so.
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => Ok(()),
        done => done.map(drop),
    }
}

#[cfg(test)]
mod tests {
    use std::{net::TcpListener, os::unix::net::UnixListener, thread};

    use rustls::{
        ServerConfig, ServerConnection,
        pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer},
    };

    use super::*;

    fn lines() -> [Arc<str>; 2] {
        ["{\"entry\":{\"note\":\"é\"}}".into(), "{\"n\":2}".into()]
    }

    /// What octets counted are of: each message by its length, in bytes.
    fn unframed(mut bytes: &[u8]) -> Vec<String> {
        let mut messages = Vec::new();
        while !bytes.is_empty() {
            let at = bytes.iter().position(|byte| *byte == b' ').expect("a length");
            let len: usize = std::str::from_utf8(&bytes[..at]).expect("digits").parse().expect("digits");
            let (message, rest) = bytes[at + 1..].split_at(len);
            messages.push(String::from_utf8(message.to_vec()).expect("a text"));
            bytes = rest;
        }
        messages
    }

    fn check(messages: &[String]) {
        assert_eq!(messages.len(), 2, "{messages:?}");
        for (message, line) in messages.iter().zip(lines()) {
            assert!(message.starts_with("<85>1 20") && message.ends_with(&format!(" - {line}")), "{message}");
        }
    }

    #[test]
    fn over_udp_each_line_is_a_datagram() {
        let socket = UdpSocket::bind("127.0.0.1:0").expect("a port");
        let to = Syslog::Udp(socket.local_addr().expect("bound").to_string());
        Post::new(to, Arc::new(RootCertStore::empty())).deliver(&lines()).expect("sent");
        let mut message = [0; 1_000];
        let messages: Vec<_> = (0..2).map(|_| socket.recv(&mut message).map(|len| message[..len].to_vec())).collect();
        let text = |bytes: io::Result<Vec<u8>>| String::from_utf8(bytes.expect("it came")).expect("a text");
        check(&messages.into_iter().map(text).collect::<Vec<_>>());
    }

    #[test]
    fn over_tcp_and_a_stream_of_this_machine_octets_are_counted() {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let to = Syslog::Tcp(listener.local_addr().expect("bound").to_string());
        let told = thread::spawn(move || {
            let mut bytes = Vec::new();
            listener.accept().expect("it comes").0.read_to_end(&mut bytes).expect("to its end");
            bytes
        });
        Post::new(to, Arc::new(RootCertStore::empty())).deliver(&lines()).expect("sent");
        check(&unframed(&told.join().expect("no panic")));

        let directory = tempfile::tempdir().expect("a temporary directory");
        let path = directory.path().join("log.sock");
        let listener = UnixListener::bind(&path).expect("bound");
        let told = thread::spawn(move || {
            let mut bytes = Vec::new();
            listener.accept().expect("it comes").0.read_to_end(&mut bytes).expect("to its end");
            bytes
        });
        Post::new(Syslog::Unix(path), Arc::new(RootCertStore::empty())).deliver(&lines()).expect("sent");
        check(&unframed(&told.join().expect("no panic")));
    }

    #[test]
    fn over_tls_only_a_syslog_whose_certificate_is_trusted_gets_them() {
        let made = rcgen::generate_simple_self_signed(vec!["localhost".to_owned()]).expect("made");
        let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(made.signing_key.serialize_der()));
        let config = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
            .with_protocol_versions(&[&rustls::version::TLS13])
            .expect("versions")
            .with_no_client_auth()
            .with_single_cert(vec![made.cert.der().clone()], key)
            .expect("a certificate");
        let (listener, config) = (TcpListener::bind("127.0.0.1:0").expect("a port"), Arc::new(config));
        let to = Syslog::Tls(format!("localhost:{}", listener.local_addr().expect("bound").port()));
        let told = thread::spawn(move || {
            [(); 2].map(|()| {
                let (socket, _) = listener.accept().expect("it comes");
                let mut stream = StreamOwned::new(ServerConnection::new(Arc::clone(&config)).expect("begun"), socket);
                let mut bytes = Vec::new();
                stream.read_to_end(&mut bytes).map(|_| bytes).map_err(|error| error.to_string())
            })
        });
        let refused = Post::new(to.clone(), Arc::new(RootCertStore::empty())).deliver(&lines());
        assert!(refused.is_err_and(|error| error.contains("certificate")), "nobody trusts it");
        let mut roots = RootCertStore::empty();
        roots.add(made.cert.der().clone()).expect("a certificate");
        Post::new(to, Arc::new(roots)).deliver(&lines()).expect("sent");
        let [refused, told] = told.join().expect("no panic");
        assert!(refused.is_err() || refused.is_ok_and(|bytes| bytes.is_empty()), "not a byte of it");
        check(&unframed(&told.expect("to its end")));
    }
}
