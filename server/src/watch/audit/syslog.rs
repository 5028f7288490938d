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
                    .with_safe_default_protocol_versions()
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
