//! The cipher of the page, as each engine compiles it: ChaCha20's SIMD backend (`vendor/chacha20`) against the portable one of
//! the same crate, on random cases of `tests/cipher`.

use std::{path::PathBuf, process::Command};

use base64::prelude::{BASE64_STANDARD, Engine as _};
use serde_json::{Value, json};

use crate::{
    browser::{Browser, Profile},
    chance, forms,
    server::{Server, workspace},
};

/// Cases of one look at the digests.
const BATCH: usize = 25_000;
/// In hexadecimal, because neither JSON nor the drivers have whole numbers of 64 bits.
const COMPARE: &str = "
    const [seed, from] = [BigInt(args.seed), BigInt(args.from)];
    const [simd, portable] = ciphers.map((cipher) => cipher.run(seed, from, args.count));
    return simd === portable;";

/// The cases as a module whose ChaCha20 has this backend. With the page's own settings; a folder for each, because a change of
/// flags is a change of everything.
fn module(name: &str, backend: &str) -> String {
    let out = workspace().join("target/cipher").join(name);
    let mut cargo = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    cargo.args(["build", "--quiet", "--package", "duologue-cipher-cases", "--profile", "release-wasm"]);
    cargo.args(["--target", "wasm32-unknown-unknown", "--target-dir"]).arg(&out);
    cargo.env("RUSTFLAGS", backend).env_remove("CARGO_ENCODED_RUSTFLAGS").env_remove("CARGO_TARGET_DIR");
    let status = cargo.current_dir(workspace()).status().expect("cargo starts");
    assert!(status.success(), "the cases cannot be compiled: {status}");
    let file: PathBuf = out.join("wasm32-unknown-unknown/release-wasm/duologue_cipher_cases.wasm");
    BASE64_STANDARD.encode(std::fs::read(&file).unwrap_or_else(|error| panic!("{}: {error}", file.display())))
}

#[tokio::test]
async fn browser_cipher_with_simd_makes_of_random_cases_what_the_portable_one_does() {
    let cases = forms::rounds("cipher::browser_cipher_with_simd_makes_of_random_cases_what_the_portable_one_does");
    let simd = module("simd", "-Ctarget-feature=+simd128");
    let portable = module("portable", "-Ctarget-feature=+simd128 --cfg=chacha20_backend=\"soft\"");
    assert_ne!(simd, portable, "the flag chooses nothing: the test would compare a backend with itself");

    let server = Server::dev().await;
    let browser = Browser::start(&Profile::trusting(server.trust())).await;
    browser.open(server.link()).await;
    let start = "
        globalThis.ciphers = [];
        for (const text of args) {
            const bytes = Uint8Array.from(atob(text), (char) => char.charCodeAt(0));
            ciphers.push((await WebAssembly.instantiate(bytes)).instance.exports);
        }";
    browser.run(start, json!([simd, portable])).await;

    let seed = u64::from_le_bytes(chance::random());
    println!("seed {seed:#x}");
    let agree = async |from: usize, count: usize| {
        let batch = json!({ "seed": format!("{seed:#x}"), "from": format!("{from:#x}"), "count": count });
        browser.run(COMPARE, batch).await == Value::Bool(true)
    };
    for from in (0..cases).step_by(BATCH) {
        if !agree(from, BATCH).await {
            for number in from..from + BATCH {
                assert!(agree(number, 1).await, "seed {seed:#x}, case {number}: the backends differ");
            }
            panic!("seed {seed:#x}, cases from {from} on: the backends differ, but not case by case");
        }
    }
}
