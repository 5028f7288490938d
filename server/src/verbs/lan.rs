//! `duologue dev --lan`: where other devices of the network find this machine.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};

use anyhow::{Context, bail};
use qrcodegen::{QrCode, QrCodeEcc};
use socket2::{Domain, Protocol, Socket, Type};
use tokio::net::TcpListener;

/// Connections that wait to be accepted, as tokio's own listeners have them.
const BACKLOG: i32 = 1_024;

/// This machine's addresses in its networks, the likeliest first: an address of IPv4 on the way out, which every phone can
/// type and open, then that of IPv6, then what there is besides, with tunnels last. Never an address of one link only, which
/// no link can name without its interface.
pub(crate) fn addresses() -> anyhow::Result<Vec<IpAddr>> {
    let interfaces = if_addrs::get_if_addrs().context("cannot list this machine's network addresses")?;
    let mut all: Vec<_> = interfaces
        .iter()
        .filter(|it| it.is_oper_up() && is_reachable(it.ip()))
        .map(|it| (it.ip(), it.is_p2p()))
        .collect();
    let ways_out = [way_out(Ipv4Addr::UNSPECIFIED.into()), way_out(Ipv6Addr::UNSPECIFIED.into())];
    all.sort_by_key(|(address, is_tunnel)| {
        let is_way_out = ways_out.contains(&Some(*address));
        (*is_tunnel, !is_way_out, address.is_ipv6(), *address)
    });
    let mut addresses: Vec<_> = all.into_iter().map(|(address, _)| address).collect();
    addresses.dedup();
    if addresses.is_empty() {
        bail!(
            "--lan: this machine has no address in any network that another device could open: join a network, or leave \
             out --lan"
        );
    }
    Ok(addresses)
}

fn is_reachable(address: IpAddr) -> bool {
    let is_of_one_link = match address {
        IpAddr::V4(address) => address.is_link_local(),
        IpAddr::V6(address) => address.is_unicast_link_local() || address.to_ipv4_mapped().is_some(),
    };
    !address.is_loopback() && !address.is_unspecified() && !address.is_multicast() && !is_of_one_link
}

/// The address that packets to elsewhere leave from. No packet is sent: a socket of UDP asks the routing table only.
fn way_out(any: IpAddr) -> Option<IpAddr> {
    // Addresses for documentation (RFC 5737, RFC 3849): nobody has them, and the default route leads there.
    let elsewhere: IpAddr = if any.is_ipv4() {
        Ipv4Addr::new(198, 51, 100, 1).into()
    } else {
        Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 1).into()
    };
    let socket = UdpSocket::bind((any, 0)).ok()?;
    socket.connect((elsewhere, 9)).ok()?;
    Some(socket.local_addr().ok()?.ip())
}

/// Listens on all addresses of this machine, of both kinds.
pub(crate) fn listen(port: u16) -> std::io::Result<TcpListener> {
    let bind = |domain, any: IpAddr| {
        let socket = Socket::new(domain, Type::STREAM, Some(Protocol::TCP))?;
        if domain == Domain::IPV6 {
            socket.set_only_v6(false)?;
        }
        socket.set_reuse_address(true)?;
        socket.bind(&SocketAddr::new(any, port).into())?;
        socket.listen(BACKLOG)?;
        socket.set_nonblocking(true)?;
        TcpListener::from_std(socket.into())
    };
    match bind(Domain::IPV6, Ipv6Addr::UNSPECIFIED.into()) {
        Err(error) if error.kind() != std::io::ErrorKind::AddrInUse => bind(Domain::IPV4, Ipv4Addr::UNSPECIFIED.into()),
        bound => bound,
    }
}

/// A link as a QR code for a terminal: two squares above each other in one character, dark on light with a margin, whatever
/// colours the terminal has.
pub(crate) fn qr(link: &str, is_terminal: bool) -> anyhow::Result<String> {
    const MARGIN: i32 = 2;
    let code = QrCode::encode_text(link, QrCodeEcc::Low).context("the link is too long for a QR code")?;
    let (edge, mut text) = (code.size() + MARGIN, String::new());
    for y in (-MARGIN..edge).step_by(2) {
        if is_terminal {
            text += "\x1b[30;107m";
        }
        // Outside of the code everything is light.
        text.extend((-MARGIN..edge).map(|x| match (code.get_module(x, y), code.get_module(x, y + 1)) {
            (true, true) => '█',
            (true, false) => '▀',
            (false, true) => '▄',
            (false, false) => ' ',
        }));
        text += if is_terminal { "\x1b[0m\n" } else { "\n" };
    }
    Ok(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_addresses_that_a_link_can_name_are_told() {
        for (address, expected) in [
            ("192.168.1.5", true),
            ("10.0.0.1", true),
            ("fd00::5", true),
            ("2a02::1", true),
            ("127.0.0.1", false),
            ("::1", false),
            ("169.254.3.4", false),
            ("fe80::1", false),
            ("0.0.0.0", false),
            ("ff02::1", false),
        ] {
            assert_eq!(is_reachable(address.parse().expect("an address")), expected, "{address}");
        }
    }

    #[test]
    fn a_code_has_its_finder_patterns_inside_a_margin() {
        let text = qr("https://192.168.1.5:8443/", false).expect("short");
        let lines: Vec<&str> = text.lines().collect();
        assert!(lines[0].chars().all(|char| char == ' '), "two light rows");
        // The upper edge of both finder patterns: seven dark squares over one dark, five light and one dark.
        assert!(lines[1].starts_with("  █▀▀▀▀▀█ ") && lines[1].ends_with(" █▀▀▀▀▀█  "), "{text}");
        let widths: Vec<_> = lines.iter().map(|line| line.chars().count()).collect();
        assert!(widths.iter().all(|width| *width == widths[0] && width.div_ceil(2) == lines.len()), "{text}");
    }
}
