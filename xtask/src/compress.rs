//! A file's `.br` beside it, as small as brotli can be made to have it.
//!
//! With node that is its own encoder, which makes less of wasm than the crate does (0.1 %), and of which several are asked:
//! each takes a few distances as codes of their own, and which of them a file has often, nobody knows before (0.1 %). Without
//! node, or while somebody develops, the crate.

use std::ffi::OsStr;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};

use crate::process::{self, command};
use crate::tools;

/// Writes each file that it is given as `FILE.br`.
const PACK: &str = "
const { brotliCompressSync, constants: c } = require('node:zlib');
const { readFileSync, writeFileSync } = require('node:fs');
for (const file of process.argv.slice(1)) {
  const bytes = readFileSync(file);
  const packed = [0, 2, 4, 6, 8, 12].map((codes) => brotliCompressSync(bytes, { params: {
    [c.BROTLI_PARAM_QUALITY]: 11, [c.BROTLI_PARAM_NDIRECT]: codes, [c.BROTLI_PARAM_SIZE_HINT]: bytes.length } }));
  writeFileSync(`${file}.br`, packed.reduce((least, other) => (other.length < least.length ? other : least)));
}";

/// Whether a file is worth it.
pub(crate) fn is_compressible(file: &Path) -> bool {
    let kinds = ["html", "css", "js", "mjs", "ts", "json", "map", "svg", "txt", "wasm", "webmanifest"];
    file.extension().is_some_and(|kind| kinds.iter().any(|known| kind == *known))
}

/// Where a file's compressed bytes are.
pub(crate) fn compressed(file: &Path) -> PathBuf {
    let mut name = file.as_os_str().to_owned();
    name.push(".br");
    name.into()
}

/// Writes the compressed bytes of each file beside it; with less patience while somebody develops.
///
/// # Errors
///
/// When one cannot be read, or its copy not be written.
pub(crate) fn compress(files: &[impl AsRef<OsStr>], dev: bool) -> Result<()> {
    if !dev && tools::has_node() {
        return process::run(command("node").args(["--eval", PACK, "--"]).args(files));
    }
    let params = brotli::enc::BrotliEncoderParams { quality: if dev { 5 } else { 11 }, ..Default::default() };
    for file in files.iter().map(Path::new) {
        let bytes = fs::read(file).with_context(|| format!("cannot read {}", file.display()))?;
        let mut packed = Vec::new();
        brotli::BrotliCompress(&mut bytes.as_slice(), &mut packed, &params)
            .and_then(|_| fs::write(compressed(file), packed))
            .with_context(|| format!("cannot compress {}", file.display()))?;
    }
    Ok(())
}

/// The bytes of a file, compressed as those of the page are.
///
/// # Errors
///
/// As [`compress`].
pub(crate) fn compressed_len(file: &Path) -> Result<usize> {
    compress(&[file], false)?;
    Ok(fs::read(compressed(file)).with_context(|| format!("cannot read what {} has become", file.display()))?.len())
}
