//! `cargo xtask bench size`: what the page loads, beside what applications of its peers load: JavaScript and wasm, by brotli.
//!
//! ```text
//! bench/page/end-socketio.js, end-libp2p.js ── esbuild, minified ──► brotli ──┐
//! target/web/duologue.js, the module ──────────────────────────────► brotli ──┴─► target/bench/size.json
//! ```
//!
//! A peer's bundle is its client and the few lines that use it. Ours has an application of its own in the first figure, the
//! page; the second is the library alone.

use std::fs;
use std::path::Path;

use anyhow::{Context as _, Result};
use serde_json::{Value, json};

use crate::compress::compressed_len;
use crate::process::{self, step, target};
use crate::{bench, tools, wasm};

const PEERS: [(&str, &str); 2] = [("socket.io-client", "end-socketio"), ("js-libp2p", "end-libp2p")];

/// Builds the page and the peers' bundles and weighs them.
///
/// # Errors
///
/// When something could not be built.
pub(crate) fn measure() -> Result<()> {
    let Some(ours) = wasm::sizes(&mut std::io::stderr())? else { return Ok(()) };
    let modules = tools::bench_modules()?;
    let bundles = target("bench/size");
    let peers = step("bundling the peers (esbuild)", || peers(&modules, &bundles))?;
    let goal = |all: usize| (format!("at most {} kB", wasm::GOAL / 1_000), all <= wasm::GOAL);
    println!("What a page loads, JavaScript and wasm by brotli, kB");
    let mut entries = Vec::new();
    for (name, len, (goal, is_met)) in [
        ("download of the page, JS + wasm, brotli", ours.all, goal(ours.all)),
        ("download of the library, JS + wasm, brotli", ours.library, ("none".to_owned(), true)),
    ] {
        println!("{name}: {:.1}   goal: {goal}{}", kilo(len), if is_met { "" } else { ": not met" });
        for (peer, peer_len) in &peers {
            println!("  {peer:<18} {:.1}", kilo(*peer_len));
            entries.push(entry(name, len, peer, *peer_len, &goal, is_met));
        }
    }
    fs::write(target("bench/size.json"), serde_json::to_string_pretty(&entries)? + "\n").context("cannot write")
}

/// As `bench/src/report.rs` writes them.
fn entry(name: &str, ours: usize, peer: &str, baseline: usize, goal: &str, is_met: bool) -> Value {
    json!({
        "group": "size", "name": name, "unit": "kB", "ours": kilo(ours), "ours_spread": 0.0,
        "baseline": kilo(baseline), "baseline_spread": 0.0, "baseline_name": peer,
        "ratio": (ours as f64 / baseline as f64 * 100.0).round() / 100.0, "goal": goal, "met": is_met,
    })
}

/// Each peer's name and compressed bytes.
fn peers(modules: &Path, bundles: &Path) -> Result<Vec<(&'static str, usize)>> {
    let mut esbuild = bench::esbuild(modules, bundles)?;
    esbuild.args(["--minify", "--format=esm", "--target=es2022"]);
    process::run(esbuild.args(PEERS.map(|(_, script)| format!("bench/page/{script}.js"))))?;
    let weigh = |(peer, script)| Ok((peer, compressed_len(&bundles.join(format!("{script}.js")))?));
    PEERS.into_iter().map(weigh).collect()
}

fn kilo(bytes: usize) -> f64 {
    bytes.div_ceil(100) as f64 / 10.0
}
