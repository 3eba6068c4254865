//! Addresses of the kernel's symbols: /proc/kallsyms, 10 MB of it, read once and not held.

use crate::error::{Code, Error, Result};
use onebpf_sys::Kernel;
use std::collections::{BTreeMap, HashMap};
use std::ops::ControlFlow;
use std::path::Path;

const KALLSYMS: &str = "/proc/kallsyms";
/// What LLVM appends to the names of local symbols that it moves between files.
const LLVM: &[u8] = b".llvm.";

/// What the kernel says of the symbols that an object names.
#[derive(Clone, Debug, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct KernelSymbols {
    /// Every address reads as 0: `kptr_restrict`, or no CAP_SYSLOG.
    pub hidden: bool,
    /// The symbols that were asked for, by name.
    pub found: BTreeMap<String, Symbol>,
}

/// Where a symbol is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Symbol {
    /// Nowhere.
    Absent,
    /// At this address.
    At(u64),
    /// At several; two of them.
    Ambiguous(u64, u64),
}

impl KernelSymbols {
    /// Looks up `wanted` in one pass.
    pub(crate) fn read<'a>(kernel: &dyn Kernel, wanted: impl Iterator<Item = &'a str>) -> Result<Self> {
        let mut scan = Scan::new(wanted);
        let mut fault = None;
        let read = kernel.read_lines(Path::new(KALLSYMS), &mut |line| {
            if scan.line(line) {
                return ControlFlow::Continue(());
            }
            fault = Some(String::from_utf8_lossy(line).chars().take(80).collect::<String>());
            ControlFlow::Break(())
        });
        read.map_err(|error| Error::refused(Code::Observe, KALLSYMS, error))?;
        match fault {
            Some(line) => Err(damaged(&line)),
            None => Ok(scan.finish()),
        }
    }

    /// Looks up `wanted` in text of the form of /proc/kallsyms: `ffffffff81000000 T _text`, for a symbol of a module
    /// followed by `[module]`. As with libbpf, one name may stand there twice with one address, and of a local symbol
    /// (`d`) what LLVM has appended does not count.
    ///
    /// # Errors
    /// E0408 for a line of another form.
    pub fn scan<'a>(text: &[u8], wanted: impl Iterator<Item = &'a str>) -> Result<Self> {
        let mut scan = Scan::new(wanted);
        let mut lines = text.split(|byte| *byte == b'\n').filter(|line| !line.is_empty());
        match lines.find(|line| !scan.line(line)) {
            Some(line) => Err(damaged(&String::from_utf8_lossy(line).chars().take(80).collect::<String>())),
            None => Ok(scan.finish()),
        }
    }
}

fn damaged(line: &str) -> Error {
    Error::new(Code::Observe, format!("{KALLSYMS}: `{line}` is no symbol"))
}

/// A pass under way (libbpf `kallsyms_cb`).
struct Scan<'a> {
    found: HashMap<&'a [u8], (&'a str, Symbol)>,
    hidden: bool,
}

impl<'a> Scan<'a> {
    fn new(wanted: impl Iterator<Item = &'a str>) -> Self {
        let found = wanted.map(|name| (name.as_bytes(), (name, Symbol::Absent))).collect();
        Self { found, hidden: true }
    }

    /// False for a line that is no symbol.
    fn line(&mut self, line: &[u8]) -> bool {
        let mut words = line.split(u8::is_ascii_whitespace).filter(|word| !word.is_empty());
        let (Some(address), Some([kind]), Some(name)) = (words.next(), words.next(), words.next()) else {
            return false;
        };
        let Some(address) = hexadecimal(address) else { return false };
        self.hidden &= address == 0;
        let mark = || name.windows(LLVM.len()).position(|part| part == LLVM);
        let name = if *kind == b'd' { mark().and_then(|end| name.get(..end)).unwrap_or(name) } else { name };
        if let Some((_, symbol)) = self.found.get_mut(name) {
            *symbol = match *symbol {
                Symbol::Absent => Symbol::At(address),
                Symbol::At(first) if first != address => Symbol::Ambiguous(first, address),
                known => known,
            };
        }
        true
    }

    fn finish(self) -> KernelSymbols {
        let found = self.found.into_values().map(|(name, symbol)| (name.to_owned(), symbol)).collect();
        KernelSymbols { hidden: self.hidden, found }
    }
}

fn hexadecimal(digits: &[u8]) -> Option<u64> {
    u64::from_str_radix(std::str::from_utf8(digits).ok()?, 16).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = "0000000000000000 A fixed_percpu_data\nffffffff81000000 T _text\nffffffff81000010 t twice\n\
        ffffffffc0000010 t twice\t[nf_nat]\nffffffff81000020 T same\nffffffff81000020 T same\n\
        ffffffff81000030 d counter.llvm.1234\nffffffff81000040 t other.llvm.1234\n";

    fn find(text: &str, name: &str) -> Symbol {
        KernelSymbols::scan(text.as_bytes(), [name].into_iter()).unwrap().found[name]
    }

    #[test]
    fn names_have_their_address() {
        for (name, wanted) in [
            ("_text", Symbol::At(0xffff_ffff_8100_0000)),
            ("same", Symbol::At(0xffff_ffff_8100_0020)),
            ("twice", Symbol::Ambiguous(0xffff_ffff_8100_0010, 0xffff_ffff_c000_0010)),
            ("counter", Symbol::At(0xffff_ffff_8100_0030)),
            ("other", Symbol::Absent),
            ("fixed_percpu_data", Symbol::At(0)),
            ("nf_nat", Symbol::Absent),
        ] {
            assert_eq!(find(TEXT, name), wanted, "{name}");
        }
        assert!(!KernelSymbols::scan(TEXT.as_bytes(), std::iter::empty()).unwrap().hidden);
    }

    #[test]
    fn hidden_addresses_are_told_apart_from_zero() {
        let text = "0000000000000000 T _text\n0000000000000000 t twice\n0000000000000000 t twice\t[x]\n";
        let found = KernelSymbols::scan(text.as_bytes(), ["twice"].into_iter()).unwrap();
        assert_eq!((found.hidden, found.found["twice"]), (true, Symbol::At(0)));
    }

    #[test]
    fn other_lines_are_refused() {
        for line in ["x T a", "12 T", "12", "12 TT a", "11112222333344445 T a", " ", "-1 T a"] {
            let error = KernelSymbols::scan(line.as_bytes(), ["a"].into_iter()).unwrap_err();
            assert_eq!(error.code(), "E0408", "{line}");
        }
    }
}
