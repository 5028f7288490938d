//! A resumption that states what cannot be: an AUTH that is written here byte by byte from docs/PROTOCOL.md, before the real
//! server.

use duologue::{
    crypto::{Randomness, Secret, sha256},
    limits::{M1_PAYLOAD_LEN, RECORD_0_LEN},
    noise::{Initiator, Transport},
};
use futures_util::{SinkExt, StreamExt};
use tokio_tungstenite::tungstenite::Message;

use crate::{
    chance::random,
    raw::{Device, Place, Raw, Socket},
    server::{Server, invite_of},
    within,
};

const CLOSE: u8 = 0x05;
const AUTH_OK: u8 = 0x04;
const PROTOCOL: [u8; 2] = [0, 2];
const RESUMED: [u8; 2] = [0, 1];
const SESSION_UNKNOWN: [u8; 2] = [0, 3];

/// A device's connection behind M2.
struct Shaken {
    socket: Socket,
    transport: Transport,
}

impl Shaken {
    async fn with(place: &Place, server_key: &[u8]) -> Self {
        let mut socket = place.dial_bare().await;
        let header = [&[1, 1, 1][..], &sha256(server_key)[..8], &[0]].concat();
        let mut payload = [0; M1_PAYLOAD_LEN];
        payload[17..27].copy_from_slice(&[1, 0, 0, 0, 0, 4, 0, 0, 1, 0]);
        let prologue = [b"duologue/1\x01", header.as_slice()].concat();
        let key = server_key.try_into().expect("a key's length");
        let mut initiator = Initiator::new(key, &prologue, Randomness::new(random()));
        let noise = initiator.write_m1(&payload).expect("a real key");
        socket.send(Message::binary([header.as_slice(), &noise].concat())).await.expect("the server reads");
        let m2 = next(&mut socket).await.expect("M2");
        let (_, _, transport) = initiator.read_m2(&m2[1..], &[&Secret::NONE]).expect("a good M2");
        Self { socket, transport }
    }

    /// Asks for a session, of which so many counted frames are said to have come. The answer, opened.
    async fn resume(
        &mut self,
        device: &Device,
        place: &Place,
        session: [u8; 16],
        received: u64,
        attempt: u32,
    ) -> Vec<u8> {
        let spki = device.key().spki().to_vec();
        let signed = [&b"duologue/1 client-auth\0\x01"[..], self.transport.handshake_hash(), &sha256(&spki)].concat();
        let mut auth = [&[3, 1, 1, 0, 44][..], &spki, &device.sign(&signed)].concat();
        let host = place.host();
        auth.extend_from_slice(
            &[&[0, 0][..], &u16::try_from(host.len()).unwrap().to_be_bytes(), host.as_bytes()].concat(),
        );
        auth.extend_from_slice(&[&[0][..], &session, &received.to_be_bytes(), &attempt.to_be_bytes()].concat());
        auth.resize(RECORD_0_LEN, 0);
        let mut sealed = Vec::new();
        self.transport.seal(&auth, &mut sealed);
        self.socket.send(Message::binary(sealed)).await.expect("the server reads");
        let answer = next(&mut self.socket).await.expect("an answer, and not a socket that ends without a word");
        self.transport.open(&answer).expect("it was sealed for us")
    }
}

/// The next message; none at the end.
async fn next(socket: &mut Socket) -> Option<Vec<u8>> {
    match within(20, "the server's next message", socket.next()).await? {
        Ok(Message::Binary(bytes)) => Some(bytes.to_vec()),
        _ => None,
    }
}

#[tokio::test]
async fn an_impossible_received_count_in_auth_is_told_as_protocol_and_ends_the_session() {
    let server = Server::dev().await;
    let place = Place::dev(&server);
    for received in [1, 7, 1 << 40, u64::MAX] {
        let device = Device::new();
        let invite = invite_of(&server.invite("1h").await);
        let key = invite.server_key();
        let (grant, socket) = Raw::new(&place, &invite, &device).open().await.expect("it is let in");
        drop(socket);
        let session = grant.session_id.0;
        // Another device that says the same ends nobody's session.
        let stranger = Device::new();
        let (_, _socket) = Raw::new(&place, &invite_of(&server.invite("1h").await), &stranger).open().await.unwrap();
        let said = Shaken::with(&place, &key.0).await.resume(&stranger, &place, session, received, 2).await;
        assert_eq!((said[0], &said[70..72]), (AUTH_OK, &SESSION_UNKNOWN[..]), "{received} by another device");
        // Of the same device what is true goes on with it.
        let mut shaken = Shaken::with(&place, &key.0).await;
        let said = shaken.resume(&device, &place, session, 0, 2).await;
        assert_eq!((said[0], &said[70..72]), (AUTH_OK, &RESUMED[..]), "0 of 0 are true");
        drop(shaken);
        // Once the server ended the session without a word, so that the client dialled again for nothing.
        let mut shaken = Shaken::with(&place, &key.0).await;
        let said = shaken.resume(&device, &place, session, received, 3).await;
        assert_eq!((said[0], &said[1..3]), (CLOSE, &PROTOCOL[..]), "{received} counted frames, of which there is none");
        assert_eq!(next(&mut shaken.socket).await, None, "nothing follows");
        let said = Shaken::with(&place, &key.0).await.resume(&device, &place, session, 0, 4).await;
        assert_eq!((said[0], &said[70..72]), (AUTH_OK, &SESSION_UNKNOWN[..]), "the session has ended");
    }
}
