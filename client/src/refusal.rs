//! What a failed TLS handshake or a refused upgrade means to a person: which end of the way it was, and what helps.
//!
//! Between a native client and the server there may be any proxy. Nothing here is evidence: all of it can be made up by
//! whoever is on the way, and says only why no line came about.

use std::{io, time::Duration};

use rustls::{AlertDescription, CertificateError, Error as TlsError, InvalidMessage, PeerIncompatible};
use tokio_tungstenite::tungstenite::{
    Error as WebSocketError,
    error::ProtocolError,
    http::{HeaderMap, StatusCode, header},
};

/// A client speaks TLS 1.3 only.
const NO_TLS_1_3: &str = "this server, or the proxy before it, speaks no TLS 1.3, and a native client speaks nothing older: \
                          turn TLS 1.3 on there";
/// How much is shown of an address that the other end names.
const LOCATION_LEN_MAX: usize = 200;

/// Why a TLS handshake failed.
pub(crate) fn of_tls(error: &io::Error) -> String {
    let Some(cause) = error.get_ref().and_then(|cause| cause.downcast_ref::<TlsError>()) else {
        return match error.kind() {
            io::ErrorKind::UnexpectedEof | io::ErrorKind::ConnectionReset => {
                "the other end hung up in the middle of the handshake: it may speak no TLS 1.3, or have no certificate for \
                 this name"
                    .to_owned()
            }
            _ => error.to_string(),
        };
    };
    match cause {
        TlsError::AlertReceived(AlertDescription::ProtocolVersion)
        | TlsError::PeerIncompatible(
            PeerIncompatible::ServerDoesNotSupportTls12Or13 | PeerIncompatible::ServerTlsVersionIsDisabledByOurConfig,
        ) => NO_TLS_1_3.to_owned(),
        // What older ones say, which find no cipher of theirs in what they are offered.
        TlsError::AlertReceived(AlertDescription::HandshakeFailure | AlertDescription::InsufficientSecurity) => {
            format!("{cause}; most likely {NO_TLS_1_3}")
        }
        TlsError::AlertReceived(AlertDescription::UnrecognisedName) => {
            format!("{cause}: the server, or the proxy before it, has no certificate for this name")
        }
        TlsError::InvalidMessage(InvalidMessage::InvalidContentType) => {
            "what answers there speaks no TLS: look at the port, and at whether the proxy has TLS turned on".to_owned()
        }
        TlsError::InvalidCertificate(CertificateError::UnknownIssuer) => {
            format!("{cause}: nobody here trusts who made it; a file of authorities can be named (`--ca FILE`)")
        }
        _ => cause.to_string(),
    }
}

/// Why an upgrade was not made.
pub(crate) fn of_upgrade(error: &WebSocketError) -> String {
    match error {
        WebSocketError::Http(response) => of_answer(response.status(), response.headers()),
        WebSocketError::Protocol(ProtocolError::HandshakeIncomplete) => hung_up(),
        WebSocketError::Io(error)
            if matches!(error.kind(), io::ErrorKind::UnexpectedEof | io::ErrorKind::ConnectionReset) =>
        {
            hung_up()
        }
        other => other.to_string(),
    }
}

/// After what time whoever refused an upgrade says that it may be tried again (RFC 9110, 10.2.3), in seconds: no date is read.
pub(crate) fn retry_after(error: &WebSocketError) -> Option<Duration> {
    let WebSocketError::Http(response) = error else { return None };
    let is_for_now = [StatusCode::SERVICE_UNAVAILABLE, StatusCode::TOO_MANY_REQUESTS].contains(&response.status());
    let secs = response.headers().get(header::RETRY_AFTER).filter(|_| is_for_now)?;
    secs.to_str().ok()?.trim().parse().ok().map(Duration::from_secs)
}

fn hung_up() -> String {
    "the connection was closed without an answer: some proxies do that while the server behind them is down".to_owned()
}

fn of_answer(status: StatusCode, headers: &HeaderMap) -> String {
    let hint = match status.as_u16() {
        200..=299 => "a proxy before the server passes no WebSockets on, or nothing there is a line",
        300..=399 => {
            let location = headers.get(header::LOCATION).and_then(|value| value.to_str().ok());
            let location: String = location.unwrap_or("nowhere").chars().take(LOCATION_LEN_MAX).collect();
            return format!("the server answered {status} and leads to {location}: use the address of the line itself");
        }
        400 => {
            "a proxy before the server may leave out `Upgrade` or `Sec-WebSocket-Protocol`, or speak HTTP/1.0 to it, or \
             nothing there is a line"
        }
        401 | 407 => "a proxy before the server wants a login first, which a native client has not",
        403 => {
            "development servers such as webpack-dev-server refuse whoever sends no Origin, which only pages do (there \
             `allowedHosts: \"all\"` lets native clients in), and a proxy may have rules of its own"
        }
        404 | 410 => "no line is there: look at the path, and at whether the proxy passes it on",
        413 | 414 | 431 => "the offer of a line is too long for a proxy on the way",
        429 => "somebody on the way has had enough of this address: try again later",
        502 | 504 => "a proxy answers, and the server behind it does not: is it running?",
        503 => "the server is stopping, or a proxy finds none behind it",
        _ => return format!("the server answered {status}"),
    };
    format!("the server answered {status}: {hint}")
}

#[cfg(test)]
mod tests {
    use duologue::{Invite, ServerKey};
    use tokio::{
        io::{AsyncReadExt, AsyncWriteExt},
        net::TcpListener,
    };

    use super::*;
    use crate::{Client, Keyring, Target};

    /// A TLS record with a fatal alert.
    fn alert(description: u8) -> Vec<u8> {
        vec![21, 3, 3, 0, 2, 2, description]
    }

    /// What a client says whose first bytes are answered with these, by `scheme`.
    async fn said_to(scheme: &str, answer: Vec<u8>) -> String {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port is free");
        let port = listener.local_addr().expect("it listens").port();
        tokio::spawn(async move {
            while let Ok((mut socket, _)) = listener.accept().await {
                let mut seen = [0; 16_384];
                let _ = socket.read(&mut seen).await;
                let _ = socket.write_all(&answer).await;
                let _ = socket.shutdown().await;
                // Closed with unread bytes in it, a socket takes back what it has sent.
                while socket.read(&mut seen).await.is_ok_and(|read| read > 0) {}
            }
        });
        let key = ServerKey([9; 32]);
        let link = Invite::new([7; 32], key).to_link(&format!("{scheme}://127.0.0.1:{port}"));
        let target = Target::parse(&link).expect("a link");
        let error = Client::new(Keyring::in_memory()).connect(&target).await.expect_err("nobody is there");
        error.to_string()
    }

    #[tokio::test]
    async fn a_proxy_without_tls_1_3_is_named_whatever_it_says() {
        let version = said_to("https", alert(70)).await;
        assert_eq!(version, format!("TLS: {NO_TLS_1_3}"));
        for description in [40, 71] {
            let error = said_to("https", alert(description)).await;
            assert!(error.contains("speaks no TLS 1.3"), "{error}");
        }
        // A server that answers in TLS 1.2 although nobody offered it.
        let mut hello = vec![22, 3, 3, 0, 42, 2, 0, 0, 38, 3, 3];
        hello.extend([5; 32]);
        hello.extend([0, 0xc0, 0x2b, 0]);
        hello[4] = u8::try_from(hello.len() - 5).expect("short");
        hello[8] = u8::try_from(hello.len() - 9).expect("short");
        let older = said_to("https", hello).await;
        assert!(older.contains("TLS 1.3"), "{older}");
        let silent = said_to("https", Vec::new()).await;
        assert!(silent.contains("hung up in the middle of the handshake"), "{silent}");
    }

    #[tokio::test]
    async fn what_is_no_tls_and_what_has_another_name_is_told_apart() {
        let plain = said_to("https", b"HTTP/1.1 400 Bad Request\r\n\r\n".to_vec()).await;
        assert!(plain.contains("speaks no TLS"), "{plain}");
        let name = said_to("https", alert(112)).await;
        assert!(name.contains("no certificate for this name"), "{name}");
    }

    #[tokio::test]
    async fn each_answer_to_an_upgrade_hints_at_its_cause() {
        for (status, hint) in [
            ("200 OK", "passes no WebSockets on"),
            ("302 Found\r\nLocation: https://example.org/", "leads to https://example.org/"),
            ("302 Found\r\nLocation: \u{e9}", "leads to nowhere"),
            ("400 Bad Request", "HTTP/1.0"),
            ("401 Unauthorized", "login"),
            ("403 Forbidden", "no Origin"),
            ("404 Not Found", "look at the path"),
            ("418 I'm a teapot", "the server answered 418"),
            ("431 Request Header Fields Too Large", "too long"),
            ("502 Bad Gateway", "is it running?"),
            ("503 Service Unavailable", "stopping"),
        ] {
            let answer = format!("HTTP/1.1 {status}\r\nContent-Length: 0\r\n\r\n");
            let error = said_to("http", answer.into_bytes()).await;
            assert!(error.contains("there is no line at ws://127.0.0.1:"), "{error}");
            assert!(error.contains(hint), "{status}: {error}");
        }
        let silent = said_to("http", Vec::new()).await;
        assert!(silent.contains("closed without an answer"), "{silent}");
    }
}
