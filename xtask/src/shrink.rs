//! What makes the page's module small after the compiler has done its work.
//!
//! ```text
//! rustc: link-time optimisation ─► duologue_web.bc ─ rust-lld: the same once more ─► duologue_core.wasm ─► wasm-bindgen
//! wasm-opt: imports and exports of one or two letters ─► what it called them ─► the bindings' JavaScript
//! ```
//!
//! Why once more: our panic handler (`web/src/lean.rs`) looks at no message, but the compiler sees so only after its one pass
//! over arguments that nobody reads. All messages, places in the sources, and the code that formats them would stay: 8 kB of
//! the download. The second linking finds them dead. It takes the linker and the LLVM of the same compiler.

use std::collections::HashMap;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, ensure};
use serde_json::Value;

use crate::imports::exports;
use crate::process::{self, command};

/// What cargo is to be told (`--config`), so that the compiler leaves what [`link_again`] takes.
pub(crate) const BITCODE_WANTED: &str = "target.wasm32-unknown-unknown.rustflags=[\"--emit=llvm-bc\"]";

/// What rustc gives the linker for this target, beside names and files (`rustc --print link-args`).
const LINK_FLAGS: [&str; 13] = [
    "-flavor",
    "wasm",
    "-z",
    "stack-size=1048576",
    "--stack-first",
    "--allow-undefined",
    "--no-demangle",
    "--no-entry",
    "--gc-sections",
    "--strip-debug",
    "-O2",
    // What is worth it was inlined by the compiler; a second helping makes the module 1.2 % larger.
    "-mllvm",
    "-inline-threshold=10",
];

/// Links a module from its optimised bitcode. `first` is the module as rustc has linked it: what it exports is kept.
///
/// # Errors
///
/// When a part of the toolchain is not where rustup puts it, or the linker fails.
pub(crate) fn link_again(first: &Path, bitcode: &Path, out: &Path) -> Result<()> {
    let print = |what| process::output(command("rustc").args(["--print", what])).context("rustc does not start");
    let libraries = PathBuf::from(print("sysroot")?).join("lib/rustlib");
    let linker = libraries.join(print("host-tuple")?).join("bin/rust-lld");
    let target = libraries.join("wasm32-unknown-unknown/lib");
    let builtins = fs::read_dir(&target).context("the wasm32 target is missing")?.filter_map(Result::ok);
    let mut builtins = builtins.map(|entry| entry.path()).filter(|path| {
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        name.starts_with("libcompiler_builtins-") && name.ends_with(".rlib")
    });
    let builtins = builtins.next().context("the wasm32 target has no compiler_builtins")?;
    let kept = exports(&fs::read(first).context("the compiler left no module")?)?;
    // The linker exports its memory by itself.
    let kept = kept.iter().filter(|name| *name != "memory").map(|name| format!("--export={name}"));
    let mut link = command(linker);
    process::run(link.args(LINK_FLAGS).args(kept).arg(bitcode).arg(builtins).arg("-o").arg(out))
}

/// What the bindings have for browsers that run no module of ours anyway (they lack SIMD, too), and for callers that there are
/// none of: each with what stands there instead.
const UNUSED: &[(&str, &str)] = &[
    (
        "if (!('encodeInto' in cachedTextEncoder)) {
    cachedTextEncoder.encodeInto = function (arg, view) {
        const buf = cachedTextEncoder.encode(arg);
        view.set(buf);
        return {
            read: arg.length,
            written: buf.length
        };
    };
}
",
        "",
    ),
    // Texts go to the module when a line begins and when a channel is opened: the shorter way is fast enough.
    (
        "function passStringToWasm0(arg, malloc, realloc) {
    if (realloc === undefined) {
        const buf = cachedTextEncoder.encode(arg);
        const ptr = malloc(buf.length, 1) >>> 0;
        getUint8ArrayMemory0().subarray(ptr, ptr + buf.length).set(buf);
        WASM_VECTOR_LEN = buf.length;
        return ptr;
    }

    let len = arg.length;
    let ptr = malloc(len, 1) >>> 0;

    const mem = getUint8ArrayMemory0();

    let offset = 0;

    for (; offset < len; offset++) {
        const code = arg.charCodeAt(offset);
        if (code > 0x7F) break;
        mem[ptr + offset] = code;
    }
    if (offset !== len) {
        if (offset !== 0) {
            arg = arg.slice(offset);
        }
        ptr = realloc(ptr, len, len = offset + arg.length * 3, 1) >>> 0;
        const view = getUint8ArrayMemory0().subarray(ptr + offset, ptr + len);
        const ret = cachedTextEncoder.encodeInto(arg, view);

        offset += ret.written;
        ptr = realloc(ptr, len, offset, 1) >>> 0;
    }

    WASM_VECTOR_LEN = offset;
    return ptr;
}
",
        "function passStringToWasm0(arg, malloc) {
    return passArray8ToWasm0(cachedTextEncoder.encode(arg), malloc);
}
",
    ),
    (
        "cachedDataViewMemory0 === null || cachedDataViewMemory0.buffer.detached === true || \
         (cachedDataViewMemory0.buffer.detached === undefined && cachedDataViewMemory0.buffer !== wasm.memory.buffer)",
        "cachedDataViewMemory0?.buffer !== wasm.memory.buffer",
    ),
    (
        "            let result;
            try {
                result = arg0 instanceof ArrayBuffer;
            } catch (_) {
                result = false;
            }
            const ret = result;
",
        "            const ret = arg0 instanceof ArrayBuffer;
",
    ),
    (
        "        if (Object.getPrototypeOf(module) === Object.prototype) {
            ({module} = module)
        } else {
            console.warn('using deprecated parameters for `initSync()`; pass a single object instead')
        }
",
        "        ({module} = module);\n",
    ),
    ("subarray(ptr / 1, ptr / 1 + len)", "subarray(ptr, ptr + len)"),
    ("malloc(arg.length * 1, 1)", "malloc(arg.length, 1)"),
    ("getUint8ArrayMemory0().set(arg, ptr / 1)", "getUint8ArrayMemory0().set(arg, ptr)"),
    ("if (Symbol.dispose) Line.prototype[Symbol.dispose] = Line.prototype.free;\n", ""),
    // A line's callbacks, which the module holds, hold the line: it is freed by name, or with the page. Rust drops all closures
    // itself.
    (
        "const LineFinalization = (typeof FinalizationRegistry === 'undefined')
    ? { register: () => {}, unregister: () => {} }
    : new FinalizationRegistry(ptr => wasm.__wbg_line_free(ptr, 1));
",
        "",
    ),
    ("        LineFinalization.unregister(this);\n", ""),
    ("        LineFinalization.register(this, this.__wbg_ptr, this);\n", ""),
    (
        "const CLOSURE_DTORS = (typeof FinalizationRegistry === 'undefined')
    ? { register: () => {}, unregister: () => {} }
    : new FinalizationRegistry(state => wasm.__wbindgen_destroy_closure(state.a, state.b));
",
        "",
    ),
    ("            CLOSURE_DTORS.unregister(state);\n", ""),
    ("    CLOSURE_DTORS.register(real, state, state);\n", ""),
];

/// The bindings' JavaScript without what nothing uses.
///
/// # Errors
///
/// When one of these is not there once: wasm-bindgen has changed.
pub(crate) fn trim(js: &str) -> Result<String> {
    let mut js = js.to_owned();
    for (unused, instead) in UNUSED {
        let first = unused.lines().next().unwrap_or_default();
        ensure!(js.matches(unused).count() == 1, "the bindings have not once what begins with `{}`", first.trim());
        js = js.replace(unused, instead);
    }
    Ok(js.replace(", wasm.__wbindgen_realloc)", ")"))
}

/// The bindings' JavaScript, by the names that wasm-opt has given a module's imports and exports:
/// `{"imports": [[module, old, new], …], "exports": [[old, new], …]}`. It calls every foreign module "a".
///
/// # Errors
///
/// When `names` is of another form, or an import is not where wasm-bindgen puts it.
pub(crate) fn rename(js: &str, names: &str) -> Result<String> {
    let names: Value = serde_json::from_str(names).context("wasm-opt did not say what it called them")?;
    let list = |key: &str| names[key].as_array().with_context(|| format!("no {key}"));
    let text = |value: &Value| value.as_str().map(str::to_owned).context("a name is no text");
    let mut js = js.to_owned();
    let mut once = |from: String, to: String| {
        ensure!(js.matches(&from).count() == 1, "the bindings have not one `{}`", from.trim());
        js = js.replace(&from, &to);
        Ok(())
    };
    let mut module = None;
    for import in list("imports")? {
        once(
            format!("\n        {}: function", text(&import[1])?),
            format!("\n        {}: function", text(&import[2])?),
        )?;
        module = Some(text(&import[0])?);
    }
    if let Some(module) = module {
        once(format!("\"{module}\": "), "\"a\": ".to_owned())?;
    }
    let mut renamed = HashMap::new();
    for export in list("exports")? {
        renamed.insert(text(&export[0])?, text(&export[1])?);
    }
    Ok(rename_exports(&js, &renamed))
}

/// Every `wasm.NAME`, which is how the bindings call an export.
fn rename_exports(js: &str, names: &HashMap<String, String>) -> String {
    const OBJECT: &str = "wasm.";
    let mut parts = js.split(OBJECT);
    let mut renamed = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        let end = part.find(|char: char| !(char.is_alphanumeric() || "_$".contains(char))).unwrap_or(part.len());
        let (name, rest) = part.split_at(end);
        renamed.extend([OBJECT, names.get(name).map_or(name, String::as_str), rest]);
    }
    renamed
}

#[cfg(test)]
mod tests {
    use super::{UNUSED, rename, trim};

    const NAMES: &str = r#"{
        "imports": [["./core_bg.js", "__wbg_now_5ad8", "$"], ["./core_bg.js", "__wbg_new_13de", "A"]],
        "exports": [["line_recv", "b"], ["line_recvAll", "c"], ["memory", "d"]]
    }"#;
    const JS: &str = "
    recv() { return wasm.line_recv(wasm.memory.buffer, wasm.line_recvAll); }
    const import0 = {
        __wbg_new_13de: function(arg0) { },
        __wbg_now_5ad8: function() { },
    };
    return { \"./core_bg.js\": import0 };
    wasm = instance.exports; // wasm.other";

    #[test]
    fn the_bindings_call_what_the_module_has() {
        let renamed = "
    recv() { return wasm.b(wasm.d.buffer, wasm.c); }
    const import0 = {
        A: function(arg0) { },
        $: function() { },
    };
    return { \"a\": import0 };
    wasm = instance.exports; // wasm.other";
        assert_eq!(rename(JS, NAMES).expect("well formed"), renamed);
    }

    #[test]
    fn bindings_of_another_form_are_an_error() {
        assert!(rename(&JS.replace("new_13de", "new_ffff"), NAMES).is_err(), "an import that is not there");
        assert!(rename(&JS.replace("./core_bg.js", "./core.js"), NAMES).is_err(), "another module");
        assert!(rename(JS, "").is_err(), "no names");
    }

    #[test]
    fn what_nothing_uses_is_left_out_and_a_change_of_it_is_noticed() {
        let all: String = UNUSED.iter().map(|(unused, _)| *unused).collect();
        let rest = trim(&format!("first\n{all}last\n")).expect("each is there once");
        assert!(rest.starts_with("first") && rest.ends_with("last\n") && !rest.contains("encodeInto"), "{rest}");
        assert!(trim(&all.replace("undefined", "void 0")).is_err());
    }
}
