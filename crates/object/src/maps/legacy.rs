//! Section `maps`, as both of its dialects see it: one symbol for each definition, and words.

use super::{Input, walk};
use crate::{Place, Result};

/// Kernel: `BPF_F_NUMA_NODE`.
pub(super) const NUMA_NODE: u32 = 1 << 2;
/// Words that every definition has: type, key size, value size, number of entries, flags.
pub(super) const COMMON: usize = 5;
/// Fewest bytes of a definition: all but the flags (iproute2: `bpf_elf_map_min`).
pub(super) const SHORTEST: u64 = 16;

/// A definition in a `maps` section.
#[derive(Clone, Debug)]
pub(super) struct Definition<'a> {
    pub(super) name: &'a str,
    pub(super) offset: u64,
    pub(super) size: u64,
    /// Its words; what is missing of the first nine is zero.
    pub(super) words: Vec<u32>,
}

impl Definition<'_> {
    /// A word, zero if the definition is shorter.
    pub(super) fn word(&self, at: usize) -> u32 {
        self.words.get(at).copied().unwrap_or_default()
    }

    /// Whether nothing is said beyond the five words.
    pub(super) fn has_plain_tail(&self) -> bool {
        self.words.iter().skip(COMMON).all(|word| *word == 0)
    }

    pub(super) fn place(&self, input: &Input<'_>) -> Place {
        Place::at(input.section.name, self.offset).symbol(self.name)
    }
}

/// The definitions of a section, in the order of their offsets. Each reaches as far as its symbol says or, from
/// assembler without sizes, to the next one; static symbols count. Two symbols of one place are one map.
pub(super) fn definitions<'a>(input: &Input<'a>) -> Result<Vec<Definition<'a>>> {
    let section = input.section;
    let mut symbols = input.index.data_symbols(section.index).to_vec();
    symbols.sort_by_key(|symbol| symbol.value);
    symbols.dedup_by_key(|symbol| symbol.value);
    if symbols.first().is_none_or(|first| first.value != 0) {
        return Err(walk::fault(input, "starts with bytes that no symbol names"));
    }
    let ends = symbols.iter().skip(1).map(|symbol| symbol.value).chain([section.size]);
    let mut found = Vec::with_capacity(symbols.len());
    for (symbol, end) in symbols.iter().zip(ends) {
        let room = end.saturating_sub(symbol.value);
        let size = if symbol.size == 0 { room } else { symbol.size };
        if size > room || symbol.value % 4 != 0 {
            let what = format!(
                "has {size} bytes for `{}` at {:#x}, where there is room for {room}",
                symbol.name, symbol.value
            );
            return Err(walk::fault(input, what));
        }
        let words = (0..size / 4)
            .map_while(|n| walk::word_at(section, symbol.value + n * 4, input.elf.endian))
            .collect();
        found.push(Definition { name: symbol.name, offset: symbol.value, size, words });
    }
    Ok(found)
}

/// The size that all definitions of a section have, with no gaps between them.
pub(super) fn stride(input: &Input<'_>, definitions: &[Definition<'_>]) -> Option<u64> {
    let count = definitions.len() as u64;
    let stride = input.section.size.checked_div(count)?;
    let even = definitions.iter().zip(0..).all(|(d, n): (_, u64)| d.offset == n * stride && d.size == stride);
    (even && stride * count == input.section.size).then_some(stride)
}
