//! What a server publishes of its keys, for a device that was away while one was retired. It is asked for outside the line, and
//! counts because its owner has signed it.

use std::{path::Path, sync::Arc, time::Duration};

use base64::{Engine, prelude::BASE64_URL_SAFE_NO_PAD};
use duologue::{KeyStatement, limits};
use http_body_util::{BodyExt, Empty, Limited};
use hyper::{Request, StatusCode, body::Bytes, client::conn::http1, header};
use hyper_util::rt::TokioIo;
use rustls::pki_types::ServerName;
use serde::Deserialize;
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::TcpStream,
};

use crate::{target::Target, tls};

/// Where it is, from the address of the line on.
const PATH: &str = "/.well-known/duologue-keys";
/// The longest answer.
const ANSWER_LEN_MAX: usize = 4 * 1_024;

#[derive(Deserialize)]
struct Published {
    owner: String,
    number: u32,
    key: String,
    signature: String,
}

/// The newest key; none if nothing is published, or it cannot be had.
pub(crate) async fn newest(target: &Target, extra_roots: Option<&Path>) -> Option<KeyStatement> {
    let asked = async {
        let tcp = TcpStream::connect((target.host_name(), target.port())).await.ok()?;
        if !target.is_tls() {
            return ask(target, tcp).await;
        }
        let config = tls::config(target.is_loopback(), extra_roots).ok()?;
        let name = ServerName::try_from(target.host_name()).ok()?;
        ask(target, tokio_rustls::TlsConnector::from(Arc::new(config)).connect(name, tcp).await.ok()?).await
    };
    tokio::time::timeout(Duration::from_secs(limits::CONNECT_SECS), asked).await.ok()?
}

async fn ask<S: AsyncRead + AsyncWrite + Unpin + Send + 'static>(target: &Target, stream: S) -> Option<KeyStatement> {
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await.ok()?;
    let connection = tokio::spawn(connection);
    let answered = async {
        let request = Request::get(format!("{}{PATH}", target.base())).header(header::HOST, target.host());
        let response = sender.send_request(request.body(Empty::<Bytes>::new()).ok()?).await.ok()?;
        if response.status() != StatusCode::OK {
            return None;
        }
        let body = Limited::new(response.into_body(), ANSWER_LEN_MAX).collect().await.ok()?.to_bytes();
        let Published { owner, number, key, signature } = serde_json::from_slice(&body).ok()?;
        let signature = BASE64_URL_SAFE_NO_PAD.decode(signature).ok()?.try_into().ok()?;
        Some(KeyStatement { owner: owner.parse().ok()?, number, key: key.parse().ok()?, signature })
    };
    let answer = answered.await;
    connection.abort();
    answer
}
