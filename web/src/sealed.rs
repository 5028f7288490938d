//! What a page leaves to the next one: its session, sealed by a key that only one browser has, as `number 4 ‖ ciphertext ‖ tag`. The
//! cipher is the one that the module has anyhow; WebCrypto's would come too late for a page that is left.
//!
//! Only with the feature `snapshots`: a worker that outlives its pages has no need of it, and it is 6.5 kB to download.

use alloc::{string::String, vec::Vec};

use duologue::{
    ClientConfig, Kind, Session,
    crypto::{AeadKey, TAG_LEN},
};
use wasm_bindgen::prelude::*;

use crate::surface::{Line, LineOptions};

#[wasm_bindgen]
extern "C" {
    /// What `snapshot` has given to the page before this one, the key for that, and the build, all three as they were there.
    type Left;
    #[wasm_bindgen(method, getter)]
    fn snapshot(this: &Left) -> Option<Vec<u8>>;
    #[wasm_bindgen(method, getter, js_name = snapshotKey)]
    fn snapshot_key(this: &Left) -> Option<Vec<u8>>;
    #[wasm_bindgen(method, getter)]
    fn build(this: &Left) -> Option<String>;
}

/// A line that goes on with what the page before has left, or a new one.
pub(crate) fn line(config: ClientConfig, chance: u64, options: &LineOptions) -> duologue::Line {
    let left: &Left = options.unchecked_ref();
    let sealed = left.snapshot().zip(left.snapshot_key());
    match sealed.and_then(|(sealed, key)| open(&key, sealed, &left.build().unwrap_or_default())) {
        Some(session) => duologue::Line::reviving(config, chance, session),
        None => duologue::Line::client(config, chance),
    }
}

#[wasm_bindgen]
impl Line {
    /// What waits leaves now, and not in a microtask.
    pub fn flush(&self) {
        self.0.turn();
    }

    /// The channels of a session that was revived, each as id, label, whether it is a stream, priority, tail, how much was sent on it,
    /// whether it is finished.
    #[must_use]
    pub fn kept(&self) -> js_sys::Array {
        let kept = self.0.command(|line, _| line.session().kept());
        let all = kept.into_iter().map(|channel| {
            let Kind { stream, priority, tail } = channel.kind;
            let tail = tail.map_or(JsValue::UNDEFINED, JsValue::from);
            let (step, sent) = (JsValue::from(priority as u8), JsValue::from(channel.sent as f64));
            let label = JsValue::from(channel.label);
            [channel.id.0.into(), label, stream.into(), step, tail, sent, channel.finished.into()]
                .into_iter()
                .collect::<js_sys::Array>()
        });
        all.collect()
    }

    /// The newest of what `recvAll` has handed over and `take` has not told of comes back. False if it is not that.
    #[wasm_bindgen(js_name = handBack)]
    pub fn hand_back(&self, id: u32, message: Vec<u8>) -> bool {
        self.0.ask(id, |mut channel| channel.hand_back(message))
    }

    /// The session, sealed for the next page by a key of 32 bytes and a number that was never used with it; undefined if it has too
    /// much for that, or was never open.
    #[must_use]
    pub fn snapshot(&self, key: &[u8], number: u32, build: &str) -> Option<Vec<u8>> {
        seal(key, number, build, self.0.command(|line, _| line.session().snapshot())?)
    }

    /// The page stops running, until `wake`: the server is told.
    pub fn freeze(&self) {
        self.0.command(duologue::Line::freeze);
    }

    /// The page is left with that snapshot: nothing leaves or comes behind it, until `wake`. Its sockets stay open, or end.
    pub fn leave(&self, stays_open: bool) {
        self.0.leave(stays_open);
    }
}

/// Each number seals once under its key.
fn nonce(number: [u8; 4]) -> [u8; 12] {
    let mut nonce = [0; 12];
    if let Some(low) = nonce.last_chunk_mut() {
        *low = number;
    }
    nonce
}

fn seal(key: &[u8], number: u32, build: &str, snapshot: Vec<u8>) -> Option<Vec<u8>> {
    let number = number.to_be_bytes();
    let mut sealed = number.to_vec();
    let mut data = snapshot;
    let tag = AeadKey::new(key.try_into().ok()?).seal(nonce(number), build.as_bytes(), &mut data);
    sealed.append(&mut data);
    sealed.extend_from_slice(&tag);
    Some(sealed)
}

/// The session of a snapshot that a page of this build has sealed.
fn open(key: &[u8], mut sealed: Vec<u8>, build: &str) -> Option<Session> {
    let (number, rest) = sealed.split_first_chunk_mut()?;
    let (data, tag) = rest.split_last_chunk_mut::<TAG_LEN>()?;
    AeadKey::new(key.try_into().ok()?).open(nonce(*number), build.as_bytes(), data, *tag).ok()?;
    Session::revive(data).ok()
}
