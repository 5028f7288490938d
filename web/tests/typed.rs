//! The typed example's two ends agree: what the page encodes, the server's type decodes.
#![cfg(target_arch = "wasm32")]
#![allow(missing_docs, reason = "tests are named for their scenario")]

use wasm_bindgen_test::wasm_bindgen_test;

#[path = "../examples/typed.rs"]
mod typed;

#[wasm_bindgen_test]
fn a_page_speaks_the_servers_types() {
    // zigzag varints (postcard's wire format): 40 → 80, 2 → 4
    assert_eq!(typed::add_request(40, 2), [80, 4]);
    // Some(42): tag 1, then 84; what the native end encodes for `Some(42_i64)`
    assert_eq!(duologue::typed::encode(&Some(42_i64)), [1, 84]);
    assert_eq!(typed::add_response(&[1, 84]).ok(), Some(Some(42)));
    assert_eq!(typed::add_response(&[0]).ok(), Some(None));
}
