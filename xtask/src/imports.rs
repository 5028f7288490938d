//! The import and export sections of a WebAssembly module: which foreign modules it wants, and what it offers.
//!
//! Only what `wasm.rs` and `shrink.rs` need of the binary format (WebAssembly core specification 3.0, section 5.5).
//! It does not validate the module; engines do.

use anyhow::{Context as _, Result, bail, ensure};

const MAGIC_AND_VERSION: [u8; 8] = *b"\0asm\x01\0\0\0";
const IMPORT_SECTION: u8 = 2;
const EXPORT_SECTION: u8 = 7;

/// Each import as (module, name), in order.
///
/// # Errors
///
/// When the bytes are no module of version 1, or the import section is cut short or holds an unknown kind.
pub(crate) fn imports(module: &[u8]) -> Result<Vec<(String, String)>> {
    section(module, IMPORT_SECTION)?
        .map_or(Ok(Vec::new()), |section| import_section(section).context("in the import section"))
}

/// The name of each export, in order.
///
/// # Errors
///
/// When the bytes are no module of version 1, or the export section is cut short.
pub(crate) fn exports(module: &[u8]) -> Result<Vec<String>> {
    section(module, EXPORT_SECTION)?
        .map_or(Ok(Vec::new()), |section| export_section(section).context("in the export section"))
}

fn section(module: &[u8], wanted: u8) -> Result<Option<Reader<'_>>> {
    let body = module.strip_prefix(&MAGIC_AND_VERSION).context("not a WebAssembly module of version 1")?;
    let mut module = Reader(body);
    while !module.0.is_empty() {
        let id = module.byte()?;
        let section = module.sized()?;
        if id == wanted {
            return Ok(Some(Reader(section)));
        }
    }
    Ok(None)
}

fn export_section(mut section: Reader<'_>) -> Result<Vec<String>> {
    let mut exports = Vec::new();
    for _ in 0..section.number()? {
        exports.push(section.name()?);
        // Its kind and index.
        section.byte()?;
        section.number()?;
    }
    ensure!(section.0.is_empty(), "{} bytes too many", section.0.len());
    Ok(exports)
}

fn import_section(mut section: Reader<'_>) -> Result<Vec<(String, String)>> {
    let mut imports = Vec::new();
    for _ in 0..section.number()? {
        imports.push((section.name()?, section.name()?));
        match section.byte()? {
            // Function: its type.
            0 => drop(section.number()?),
            // Table, memory, global, tag.
            1 => {
                section.value_type()?;
                section.limits()?;
            }
            2 => section.limits()?,
            3 => {
                section.value_type()?;
                section.byte()?;
            }
            4 => {
                section.byte()?;
                section.number()?;
            }
            kind => bail!("unknown import kind {kind}"),
        }
    }
    ensure!(section.0.is_empty(), "{} bytes too many", section.0.len());
    Ok(imports)
}

/// The bytes still unread.
struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    fn byte(&mut self) -> Result<u8> {
        let (first, rest) = self.0.split_first().context("ends too early")?;
        self.0 = rest;
        Ok(*first)
    }

    /// An unsigned LEB128 number: at most ten bytes, at most 64 bits (a 64-bit memory's limits are the widest).
    fn number(&mut self) -> Result<u64> {
        let mut number = 0;
        for shift in (0..64).step_by(7) {
            let byte = self.byte()?;
            let bits = u64::from(byte & 0x7f);
            ensure!(bits << shift >> shift == bits, "a number over 64 bits");
            number |= bits << shift;
            if byte & 0x80 == 0 {
                return Ok(number);
            }
        }
        bail!("a number of more than ten bytes")
    }

    /// A length, then that many bytes.
    fn sized(&mut self) -> Result<&'a [u8]> {
        let len = usize::try_from(self.number()?).context("a length over the address space")?;
        let (taken, rest) = self.0.split_at_checked(len).context("ends too early")?;
        self.0 = rest;
        Ok(taken)
    }

    fn name(&mut self) -> Result<String> {
        Ok(str::from_utf8(self.sized()?).context("a name is not UTF-8")?.to_owned())
    }

    fn value_type(&mut self) -> Result<()> {
        // `(ref null? heap)` carries a heap type; it is a signed LEB128 number, of the same length as an unsigned one.
        if matches!(self.byte()?, 0x63 | 0x64) {
            self.number()?;
        }
        Ok(())
    }

    fn limits(&mut self) -> Result<()> {
        let flags = self.byte()?;
        self.number()?;
        if flags & 1 != 0 {
            self.number()?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::{MAGIC_AND_VERSION, exports, imports};

    /// A module with an empty custom section, then the given import section.
    fn module(imports: &[u8]) -> Vec<u8> {
        let len = u8::try_from(imports.len()).expect("a short section");
        let mut module = MAGIC_AND_VERSION.to_vec();
        module.extend([0, 2, 1, b'x', 2, len]);
        module.extend(imports);
        module
    }

    #[test]
    fn every_kind_of_import_is_read() {
        let section = b"\x05\
            \x03env\x01f\x00\x85\x80\x00\
            \x03wbg\x01t\x01\x6f\x01\x01\x10\
            \x03wbg\x01m\x02\x00\x11\
            \x03wbg\x01g\x03\x64\x70\x00\
            \x03wbg\x01e\x04\x00\x02";
        let read = imports(&module(section)).expect("well formed");
        let names = read.iter().map(|(module, name)| format!("{module}.{name}")).collect::<Vec<_>>();
        assert_eq!(names, ["env.f", "wbg.t", "wbg.m", "wbg.g", "wbg.e"]);
    }

    #[test]
    fn exports_are_read_after_imports() {
        let mut module = module(b"\x01\x03env\x01f\x00\x05");
        module.extend(b"\x07\x0e\x02\x04main\x00\x00\x03mem\x02\x00");
        assert_eq!(exports(&module).expect("well formed"), ["main", "mem"]);
        assert_eq!(exports(&MAGIC_AND_VERSION).expect("well formed"), [""; 0]);
        module.pop();
        assert!(exports(&module).is_err(), "cut");
    }

    #[test]
    fn a_module_without_imports_has_none() {
        assert_eq!(imports(&MAGIC_AND_VERSION).expect("well formed"), []);
    }

    #[test]
    fn damaged_modules_are_errors() {
        let good = module(b"\x01\x03env\x01f\x00\x05");
        for len in 9..good.len() {
            // Cut between the two sections the module is whole, only shorter.
            assert_eq!(imports(&good[..len]).is_ok(), len == 12, "cut at {len}");
        }
        assert!(imports(b"\x7fELF").is_err());
        assert!(imports(&module(b"\x01\x03env\x01f\x09\x05")).is_err(), "unknown kind");
        assert!(imports(&module(b"\x00\x00")).is_err(), "trailing byte");
        assert!(imports(&module(&[0xff; 11])).is_err(), "endless number");
        assert!(imports(&module(b"\xff\xff\xff\xff\xff\xff\xff\xff\xff\x02")).is_err(), "65 bits");
    }
}
