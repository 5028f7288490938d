//! Whose connection a proxy brings: from the PROXY protocol (versions 1 and 2), `Forwarded` (RFC 7239) or `X-Forwarded-For`,
//! and only from proxies that the owner has named.
//!
//! ```text
//! from a trusted proxy?  no  ─► the connection's own address; what the request says of another is not looked at
//!                        yes ─► PROXY header ─► else both fields, from the right: the first address that is no trusted proxy's
//!                               none of them, or the fields contradict each other ─► the address is not known
//! ```
//!
//! A proxy writes one of the two fields and passes on the other as its client sent it. Where both are there and say different
//! things, one of them is the client's, and nobody can tell which.

use std::{fmt, io, net::IpAddr};

use axum::http::{HeaderMap, HeaderName, header};
use bytes::BytesMut;
use ipnet::IpNet;
use ppp::{v1, v2};
use thiserror::Error;
use tokio::io::AsyncReadExt as _;

use super::stream::Tcp;
use crate::door::firewall::read_network;

const X_FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");
const V1_PREFIX: &[u8] = b"PROXY ";
/// The longest header of version 1, with its end (PROXY protocol, section 2.1).
const V1_LEN_MAX: usize = 107;
/// Signature, version, family and length of version 2.
const V2_HEAD_LEN: usize = 16;
/// What version 2 may have beside addresses. Proxies add certificates' names, and no more than that.
const V2_LEN_MAX: usize = 4_096;
/// Elements of a field that are looked at: nobody stands behind more proxies of his own.
const HOPS_MAX: usize = 32;

/// The proxies whose word on a client's address counts.
#[derive(Clone, Debug, Default)]
pub struct TrustedProxies(Vec<IpNet>);

/// What is no network.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
#[error("\"{0}\" is no network: write it as 127.0.0.1, 10.0.0.0/8 or fd00::/8")]
pub struct InvalidNetwork(String);

impl TrustedProxies {
    /// One more: an address, or a network of them.
    ///
    /// # Errors
    /// If it is neither.
    pub fn with(mut self, network: &str) -> Result<Self, InvalidNetwork> {
        let wrong = || InvalidNetwork(network.to_owned());
        match read_network(network) {
            Some((network, true)) => self.0.push(network),
            _ => return Err(wrong()),
        }
        Ok(self)
    }

    pub(crate) fn networks(&self) -> &[IpNet] {
        &self.0
    }

    pub(crate) fn contains(&self, address: IpAddr) -> bool {
        self.0.iter().any(|network| network.contains(&address))
    }
}

impl fmt::Display for TrustedProxies {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, network) in self.0.iter().enumerate() {
            write!(f, "{}{network}", if index == 0 { "" } else { ", " })?;
        }
        Ok(())
    }
}

/// Whose a connection is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Client {
    /// This address's.
    At(IpAddr),
    /// Somebody's behind a proxy that speaks for many.
    OfMany,
    /// Somebody's behind this proxy who says that he is another. All of those together are one.
    Contradicted(IpAddr),
}

impl Client {
    /// For logs and services.
    pub(crate) const fn address(self) -> Option<IpAddr> {
        match self {
            Self::At(address) => Some(address),
            Self::OfMany | Self::Contradicted(_) => None,
        }
    }

    /// The address whose bounds hold; none if nobody's do.
    pub(crate) const fn bounded_as(self) -> Option<IpAddr> {
        match self {
            Self::At(address) if is_own(address) => Some(address),
            Self::Contradicted(proxy) => Some(proxy),
            Self::At(_) | Self::OfMany => None,
        }
    }
}

/// Whether an address is one subscriber's. A proxy that nobody has named may speak from loopback for everybody.
const fn is_own(address: IpAddr) -> bool {
    !address.is_loopback() && !address.is_unspecified()
}

/// Whose the requests of a connection are that came from `peer`, with what its PROXY header said.
pub(crate) fn client(proxies: &TrustedProxies, peer: IpAddr, proxied: Option<IpAddr>, headers: &HeaderMap) -> Client {
    if !proxies.contains(peer) {
        return Client::At(peer);
    }
    if let Some(address) = proxied {
        return Client::At(address);
    }
    let mut is_open = false;
    let said = [header::FORWARDED, X_FORWARDED_FOR].map(|name| {
        let lines = || headers.get_all(&name).iter();
        let is_there = lines().next().is_some();
        // Bytes of no text are the client's, and stay where they are: what the proxy has added stands behind them.
        let text = lines().map(|value| String::from_utf8_lossy(value.as_bytes())).collect::<Vec<_>>().join(",");
        is_open |= text.matches('"').count() % 2 == 1;
        is_there.then(|| from_the_right(proxies, &text, if name == header::FORWARDED { forwarded_for } else { node }))
    });
    match said {
        // A quote that its client has opened takes in what the proxy has added.
        _ if is_open => Client::Contradicted(peer),
        [Some(Some(one)), Some(Some(other))] if one == other => Client::At(one),
        [Some(_), Some(_)] => Client::Contradicted(peer),
        [Some(Some(address)), None] | [None, Some(Some(address))] => Client::At(address),
        _ => Client::OfMany,
    }
}

/// Whether a request has one of the fields by which proxies say whose it is.
pub(crate) fn says_whose(headers: &HeaderMap) -> bool {
    [header::FORWARDED, X_FORWARDED_FOR].iter().any(|name| headers.contains_key(name))
}

/// The first address from the right that is no trusted proxy's; the leftmost where all are.
fn from_the_right(proxies: &TrustedProxies, field: &str, read: fn(&str) -> Option<IpAddr>) -> Option<IpAddr> {
    let mut last = None;
    for element in elements(field, ',').into_iter().rev().take(HOPS_MAX) {
        let address = read(element)?;
        last = Some(address);
        if !proxies.contains(address) {
            break;
        }
    }
    last
}

/// The `for` of an element of `Forwarded`.
fn forwarded_for(element: &str) -> Option<IpAddr> {
    let mut found = elements(element, ';').into_iter().filter_map(|pair| {
        let (name, value) = pair.split_once('=')?;
        name.trim().eq_ignore_ascii_case("for").then_some(value)
    });
    let value = found.next()?;
    found.next().is_none().then(|| node(value)).flatten()
}

/// An address, with or without a port, brackets or quotes.
fn node(text: &str) -> Option<IpAddr> {
    let text = text.trim().trim_matches('"');
    let bare = || text.strip_prefix('[')?.split_once(']').map(|(address, _)| address);
    let with_port = || text.parse().ok().map(|socket: std::net::SocketAddr| socket.ip());
    let address = text.parse().ok().or_else(with_port).or_else(|| bare()?.parse().ok())?;
    Some(IpAddr::to_canonical(&address))
}

/// The parts of a list, whose separators within quotes are none.
fn elements(text: &str, separator: char) -> Vec<&str> {
    let mut quoted = false;
    text.split(|char| {
        quoted ^= char == '"';
        char == separator && !quoted
    })
    .collect()
}

/// What a connection of a trusted proxy begins with.
#[derive(Debug, PartialEq, Eq)]
enum Beginning {
    /// So many bytes of a header, and the client that it names, if it names one.
    Header(usize, Option<IpAddr>),
    NoHeader,
    /// It may still be one.
    Short,
}

/// Takes the PROXY header off a trusted proxy's connection, if it has one. The client, if it names one.
///
/// # Errors
/// If the connection ends, or what begins as such a header is none.
pub(crate) async fn read_header(tcp: &mut Tcp) -> io::Result<Option<IpAddr>> {
    let mut read = BytesMut::new();
    loop {
        match beginning(&read)? {
            Beginning::Header(len, client) => {
                tcp.put_back(read.split_off(len));
                return Ok(client);
            }
            Beginning::NoHeader => {
                tcp.put_back(read);
                return Ok(None);
            }
            Beginning::Short if tcp.read_buf(&mut read).await? == 0 => {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            Beginning::Short => {}
        }
    }
}

/// Whether a PROXY header comes next, of which nothing is taken.
///
/// # Errors
/// If the connection fails.
pub(crate) async fn is_header_next(tcp: &mut Tcp) -> io::Result<bool> {
    let begins = [V1_PREFIX, v2::PROTOCOL_PREFIX];
    let first = tcp.first().await?;
    // What begins otherwise is not read here.
    if !begins.iter().any(|begin| begin.first().copied() == first) {
        return Ok(false);
    }
    let mut read = BytesMut::new();
    let is_one = loop {
        let alike = begins.iter().find(|begin| read.iter().zip(**begin).all(|(byte, expected)| byte == expected));
        match alike {
            None => break false,
            Some(begin) if read.len() >= begin.len() => break true,
            Some(_) if tcp.read_buf(&mut read).await? == 0 => break false,
            Some(_) => {}
        }
    };
    tcp.put_back(read);
    Ok(is_one)
}

fn beginning(bytes: &[u8]) -> io::Result<Beginning> {
    let wrong = |what: &dyn fmt::Display| {
        io::Error::new(io::ErrorKind::InvalidData, format!("a proxy sent a PROXY header that is none: {what}"))
    };
    let common = |prefix: &[u8]| bytes.iter().zip(prefix).all(|(byte, expected)| byte == expected);
    if common(v2::PROTOCOL_PREFIX) {
        let Some(head) = bytes.first_chunk::<V2_HEAD_LEN>() else { return Ok(Beginning::Short) };
        let len = V2_HEAD_LEN + usize::from(u16::from_be_bytes([head[14], head[15]]));
        if len > V2_LEN_MAX {
            return Err(wrong(&"it is too long"));
        }
        let Some(whole) = bytes.get(..len) else { return Ok(Beginning::Short) };
        let header = v2::Header::try_from(whole).map_err(|error| wrong(&error))?;
        let client = match (header.command, header.addresses) {
            // The proxy asks for itself, whether this server is well.
            (v2::Command::Local, _) => None,
            (v2::Command::Proxy, v2::Addresses::IPv4(addresses)) => Some(addresses.source_address.into()),
            (v2::Command::Proxy, v2::Addresses::IPv6(addresses)) => Some(addresses.source_address.into()),
            (v2::Command::Proxy, v2::Addresses::Unix(_) | v2::Addresses::Unspecified) => None,
        };
        return Ok(Beginning::Header(len, client.map(|client: IpAddr| client.to_canonical())));
    }
    if common(V1_PREFIX) {
        let within = &bytes[..bytes.len().min(V1_LEN_MAX)];
        let Some(end) = within.windows(2).position(|pair| pair == b"\r\n") else {
            return if bytes.len() < V1_LEN_MAX { Ok(Beginning::Short) } else { Err(wrong(&"it has no end")) };
        };
        let header = v1::Header::try_from(&bytes[..end + 2]).map_err(|error| wrong(&error))?;
        let client: Option<IpAddr> = match header.addresses {
            v1::Addresses::Unknown => None,
            v1::Addresses::Tcp4(addresses) => Some(addresses.source_address.into()),
            v1::Addresses::Tcp6(addresses) => Some(addresses.source_address.into()),
        };
        return Ok(Beginning::Header(end + 2, client.map(|client| client.to_canonical())));
    }
    Ok(Beginning::NoHeader)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn trusted(networks: &[&str]) -> TrustedProxies {
        networks.iter().fold(TrustedProxies::default(), |all, network| all.with(network).expect("a network"))
    }

    fn at(address: &str) -> Client {
        Client::At(address.parse().expect("an address"))
    }

    /// Whose a request is that came from 10.0.0.1 with these fields.
    fn seen(fields: &[(&str, &str)]) -> Client {
        let mut headers = HeaderMap::new();
        for (name, value) in fields {
            let name = HeaderName::from_bytes(name.as_bytes()).expect("a name");
            headers.append(name, value.parse().expect("a value"));
        }
        client(&trusted(&["10.0.0.0/8", "::1"]), [10, 0, 0, 1].into(), None, &headers)
    }

    #[test]
    fn networks_are_read_as_people_write_them() {
        let proxies = trusted(&["127.0.0.1", "10.0.0.0/8", "fd00::/8", "::ffff:192.0.2.1"]);
        for inside in ["127.0.0.1", "10.255.0.1", "fd12::1", "192.0.2.1"] {
            assert!(proxies.contains(inside.parse().expect("an address")), "{inside}");
        }
        assert!(!proxies.contains([127, 0, 0, 2].into()) && !proxies.contains([11, 0, 0, 1].into()));
        assert_eq!(proxies.to_string(), "127.0.0.1/32, 10.0.0.0/8, fd00::/8, 192.0.2.1/32");
        for bad in ["", "localhost", "10.0.0.0/33", "10.1.2.3/8", "10.0.0", "0/0"] {
            let error = TrustedProxies::default().with(bad).expect_err(bad);
            assert!(error.to_string().ends_with("write it as 127.0.0.1, 10.0.0.0/8 or fd00::/8"), "{error}");
        }
    }

    #[test]
    fn nobody_but_a_trusted_proxy_says_whose_a_connection_is() {
        let mut headers = HeaderMap::new();
        headers.insert(X_FORWARDED_FOR, "192.0.2.1".parse().expect("a value"));
        let stranger = IpAddr::from([198, 51, 100, 7]);
        let proxied = Some([192, 0, 2, 2].into());
        assert_eq!(client(&trusted(&["10.0.0.0/8"]), stranger, proxied, &headers), Client::At(stranger));
        assert_eq!(client(&TrustedProxies::default(), [127, 0, 0, 1].into(), None, &headers), at("127.0.0.1"));
    }

    #[test]
    fn a_client_adds_to_the_left_and_is_not_believed() {
        assert_eq!(seen(&[("x-forwarded-for", "192.0.2.1")]), at("192.0.2.1"));
        assert_eq!(seen(&[("x-forwarded-for", "198.51.100.9, 192.0.2.1, 10.9.9.9")]), at("192.0.2.1"));
        assert_eq!(seen(&[("x-forwarded-for", "198.51.100.9"), ("x-forwarded-for", "192.0.2.1")]), at("192.0.2.1"));
        assert_eq!(
            seen(&[("x-forwarded-for", "10.3.3.3,10.9.9.9")]),
            at("10.3.3.3"),
            "a client in the proxies' network"
        );
        // Once such a line counted as none, and its client had no bounds.
        assert_eq!(seen(&[("x-forwarded-for", "\u{e9}\t, 192.0.2.1")]), at("192.0.2.1"));
        assert_eq!(seen(&[("x-forwarded-for", "192.0.2.1, nonsense")]), Client::OfMany);
        assert_eq!(seen(&[("x-forwarded-for", "[2001:db8::1]:4711")]), at("2001:db8::1"));
        assert_eq!(seen(&[("x-forwarded-for", "192.0.2.1:4711")]), at("192.0.2.1"));
        assert_eq!(seen(&[]), Client::OfMany);
    }

    #[test]
    fn forwarded_is_read_as_its_rfc_has_it() {
        let of = |value| seen(&[("forwarded", value)]);
        assert_eq!(of("for=192.0.2.60;proto=http;by=203.0.113.43"), at("192.0.2.60"));
        assert_eq!(of("For=\"[2001:db8:cafe::17]:4711\""), at("2001:db8:cafe::17"));
        assert_eq!(of("for=198.51.100.9, for=192.0.2.43;host=\"a,b\", for=10.0.0.9"), at("192.0.2.43"));
        for unknown in ["for=unknown", "for=_hidden", "proto=https", "for=192.0.2.1;for=192.0.2.2", "", "for=\"\""] {
            assert_eq!(of(unknown), Client::OfMany, "{unknown}");
        }
    }

    /// Of two fields, one may be the client's own word: it gets neither another's address nor out of all bounds by that.
    #[test]
    fn fields_that_contradict_each_other_say_nothing() {
        let proxy = IpAddr::from([10, 0, 0, 1]);
        let both = |forwarded, x| seen(&[("forwarded", forwarded), ("x-forwarded-for", x)]);
        assert_eq!(both("for=192.0.2.1", "192.0.2.1"), at("192.0.2.1"));
        for (forwarded, x) in [("for=198.51.100.9", "192.0.2.1"), ("for=unknown", "192.0.2.1"), ("for=192.0.2.1", "")] {
            let client = both(forwarded, x);
            assert_eq!(
                (client, client.address(), client.bounded_as()),
                (Client::Contradicted(proxy), None, Some(proxy))
            );
        }
        for (name, value) in [
            ("x-forwarded-for", "\", 192.0.2.1"),
            ("forwarded", "for=\"a, for=192.0.2.1"),
            ("forwarded", "\", for=\"[2001:db8::1]\""),
        ] {
            assert_eq!(seen(&[(name, value)]), Client::Contradicted(proxy), "{name}: {value}");
        }
        assert_eq!(Client::OfMany.bounded_as(), None);
        assert_eq!(at("127.0.0.1").bounded_as(), None, "a proxy that nobody has named may speak from there");
        assert_eq!(at("192.0.2.1").bounded_as(), Some([192, 0, 2, 1].into()));
    }

    #[test]
    fn a_proxy_header_of_either_version_is_taken_off() {
        let of = |bytes: &[u8]| beginning(bytes).expect("good");
        let first = b"PROXY TCP4 192.0.2.1 203.0.113.1 56324 443\r\n";
        let with_tls = [first.as_slice(), &[0x16, 0x03, 0x01, 0xff]].concat();
        assert_eq!(of(&with_tls), Beginning::Header(first.len(), Some([192, 0, 2, 1].into())));
        assert_eq!(of(b"PROXY UNKNOWN\r\nGET"), Beginning::Header(15, None));
        let six = b"PROXY TCP6 2001:db8::1 ::1 1 2\r\n";
        assert_eq!(of(six), Beginning::Header(six.len(), "2001:db8::1".parse().ok()));

        let second = |command: u8, family: u8, addresses: &[u8]| {
            let len = u16::try_from(addresses.len()).expect("short").to_be_bytes();
            [v2::PROTOCOL_PREFIX, &[command, family], &len, addresses, b"GET"].concat()
        };
        let four = [192, 0, 2, 1, 203, 0, 113, 1, 0xdc, 0x04, 0x01, 0xbb];
        assert_eq!(of(&second(0x21, 0x11, &four)), Beginning::Header(28, Some([192, 0, 2, 1].into())));
        assert_eq!(of(&second(0x20, 0x00, &[])), Beginning::Header(16, None), "LOCAL");
        // A type-length-value behind the addresses: NOOP of three bytes.
        let more = [four.as_slice(), &[0x04, 0, 3, 1, 2, 3]].concat();
        assert_eq!(of(&second(0x21, 0x11, &more)), Beginning::Header(34, Some([192, 0, 2, 1].into())));

        for whole in [first.as_slice(), &second(0x21, 0x11, &four)[..28]] {
            for end in 0..whole.len() {
                assert_eq!(of(&whole[..end]), Beginning::Short, "cut at {end}");
            }
        }
        for other in [b"GET / HTTP/1.1".as_slice(), &[0x16, 0x03, 0x01], b"PROXZ", b"\r\n\r\nX"] {
            assert_eq!(of(other), Beginning::NoHeader);
        }
        let long = [v2::PROTOCOL_PREFIX, &[0x21, 0x11, 0xff, 0xff]].concat();
        for bad in [b"PROXY TCP4 nonsense\r\n".as_slice(), &[b"PROXY ".as_slice(), &[b'x'; 120]].concat(), &long] {
            let error = beginning(bad).expect_err("a header that is none");
            assert!(error.to_string().starts_with("a proxy sent a PROXY header that is none: "), "{error}");
        }
    }
}
