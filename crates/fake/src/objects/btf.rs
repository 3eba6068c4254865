//! BTF as the kernel checks it: not all of its rules, but those that a loader has to work for.

use crate::config::Config;
use crate::log::No;
use onebpf_sys::{Errno, Feature};

/// Loaded BTF.
pub(crate) struct Btf {
    pub(crate) data: Vec<u8>,
    /// The module that it is of, if the kernel itself holds it.
    pub(crate) module: Option<String>,
    types: Vec<Type>,
    /// Functions and arguments with the tag `arg:ctx`.
    contexts: Vec<(u32, u32)>,
}

struct Type {
    kind: u32,
    vlen: u32,
    kind_flag: bool,
    name: u32,
    /// Size or type, by kind.
    word: u32,
    /// The words after `struct btf_type`.
    rest: Vec<u32>,
}

pub(crate) const DATASEC: u32 = 15;
pub(crate) const FUNC: u32 = 12;
pub(crate) const STRUCT: u32 = 4;
const INT: u32 = 1;
const PTR: u32 = 2;
const ARRAY: u32 = 3;
const ENUM: u32 = 6;
const FUNC_PROTO: u32 = 13;
const VAR: u32 = 14;
const DECL_TAG: u32 = 17;
const ENUM64: u32 = 19;

/// Sections may be this long (BTF_MAX_SIZE in the kernel).
const MAX_SIZE: usize = 16 << 20;
/// Chains of typedefs and qualifiers, and arrays of arrays, that are followed.
const MAX_DEPTH: usize = 32;

impl Btf {
    /// That of a module; its types are on top of the kernel's and not looked at.
    pub(crate) fn of_module(name: &str, data: Vec<u8>) -> Self {
        Self { data, module: Some(name.to_owned()), types: Vec::new(), contexts: Vec::new() }
    }

    /// Reads and checks a blob.
    pub(crate) fn load(data: &[u8], config: &Config) -> Result<Self, No> {
        if !config.has(Feature::Btf) {
            return Err(Errno::INVAL.into()); // no such command
        }
        let (types, strings) = sections(data, config)?;
        let mut btf = Self { data: data.to_vec(), module: None, types: Vec::new(), contexts: Vec::new() };
        let mut words = types.chunks_exact(4).map(word);
        while let Some(name) = words.next() {
            let (Some(info), Some(size)) = (words.next(), words.next()) else {
                return Err(No::new(Errno::INVAL, "type section ends inside a type"));
            };
            let (kind, vlen) = (info >> 24 & 0x1f, info & 0xffff);
            let want = words_after(kind, vlen);
            let rest: Vec<u32> = words.by_ref().take(want).collect();
            if rest.len() < want {
                return Err(No::new(Errno::INVAL, "type section ends inside a type"));
            }
            btf.types.push(Type { kind, vlen, kind_flag: info >> 31 != 0, name, word: size, rest });
        }
        for (index, t) in btf.types.iter().enumerate() {
            let place = |why| No::new(Errno::INVAL, format!("[{}] kind {}: {why}", index + 1, t.kind));
            btf.check(t, strings, config).map_err(place)?;
            if t.kind == DECL_TAG && string(strings, t.name) == Some(b"arg:ctx") {
                btf.contexts.extend(t.rest.first().map(|argument| (t.word, *argument)));
            }
        }
        Ok(btf)
    }

    pub(crate) fn kind(&self, id: u32) -> Option<u32> {
        Some(self.get(id)?.kind)
    }

    /// The name of a type that has one.
    pub(crate) fn name(&self, id: u32, config: &Config) -> Option<String> {
        let (_, strings) = sections(&self.data, config).ok()?;
        let name = string(strings, self.get(id)?.name).filter(|name| !name.is_empty())?;
        Some(String::from_utf8_lossy(name).into_owned())
    }

    /// Bytes in a value of a type (`btf_type_id_size` in the kernel).
    pub(crate) fn size(&self, id: u32) -> Option<u32> {
        self.size_at_depth(id, 0)
    }

    /// Whether a type is a plain 4-byte integer, as an array's index must be.
    pub(crate) fn is_u32(&self, id: u32) -> bool {
        let mut id = id;
        for _ in 0..MAX_DEPTH {
            match self.get(id) {
                Some(t) if t.kind == INT => {
                    return t.word == 4 && t.rest.first().is_some_and(|w| w & 0x00ff_ffff == 32);
                }
                Some(t) if is_modifier(t.kind) => id = t.word,
                _ => return false,
            }
        }
        false
    }

    /// An argument of a global function that the verifier cannot know the meaning of: a `void *`, unless a tag says
    /// that it is the context (`btf_prepare_func_args`).
    pub(crate) fn unknown_argument(&self, func: u32, config: &Config) -> Option<usize> {
        let global = self.get(func).filter(|f| f.kind == FUNC && f.vlen == 1)?;
        let proto = self.get(global.word).filter(|proto| proto.kind == FUNC_PROTO)?;
        let mut params = proto.rest.chunks_exact(2).filter_map(|param| param.get(1));
        let tagged = |at: usize| config.has(Feature::ArgCtxTag) && self.contexts.contains(&(func, at as u32));
        params.position(|id| self.is_void_pointer(*id)).filter(|at| !tagged(*at))
    }

    fn is_void_pointer(&self, id: u32) -> bool {
        self.get(id).is_some_and(|pointer| pointer.kind == PTR && pointer.word == 0)
    }

    fn get(&self, id: u32) -> Option<&Type> {
        self.types.get((id as usize).checked_sub(1)?)
    }

    fn size_at_depth(&self, mut id: u32, depth: usize) -> Option<u32> {
        for _ in depth..MAX_DEPTH {
            let t = self.get(id)?;
            match t.kind {
                INT | STRUCT | 5 | ENUM | DATASEC | 16 | ENUM64 => return Some(t.word),
                PTR => return Some(8),
                ARRAY => {
                    let (element, count) = (*t.rest.first()?, *t.rest.get(2)?);
                    return self.size_at_depth(element, depth + 1)?.checked_mul(count);
                }
                VAR => id = t.word,
                kind if is_modifier(kind) => id = t.word,
                _ => return None,
            }
        }
        None
    }

    fn check(&self, t: &Type, strings: &[u8], config: &Config) -> Result<(), &'static str> {
        let needs = match t.kind {
            1..=11 => Feature::Btf,
            FUNC | FUNC_PROTO => Feature::BtfFunc,
            VAR | DATASEC => Feature::BtfDatasec,
            16 => Feature::BtfFloat,
            DECL_TAG => Feature::BtfDeclTag,
            18 => Feature::BtfTypeTag,
            ENUM64 => Feature::BtfEnum64,
            _ => return Err("Unknown kind"),
        };
        if !config.has(needs) {
            return Err("Unknown kind");
        }
        let name = string(strings, t.name).ok_or("Invalid name")?;
        match t.kind {
            ENUM if t.kind_flag && !config.has(Feature::BtfEnum64) => Err("Invalid btf_info kind_flag"),
            FUNC if self.kind(t.word) != Some(FUNC_PROTO) => Err("Invalid type_id"),
            // `btf_func_check_meta`: extern functions (2) are for the loader to turn into something else.
            FUNC if t.vlen > 1 => Err("Invalid func linkage"),
            FUNC if t.vlen == 1 && !config.has(Feature::BtfGlobalFunc) => Err("vlen != 0"),
            VAR if t.rest.first().is_none_or(|linkage| *linkage > 1) => Err("Linkage not supported"),
            VAR if self.size(t.word).is_none() => Err("Invalid type_id"),
            DATASEC => self.check_datasec(t, name, config),
            _ if has_type(t.kind) && t.word as usize > self.types.len() => Err("Invalid type_id"),
            _ => Ok(()),
        }
    }

    /// Compilers leave sizes and offsets at zero, loaders fill them in: `btf_datasec_check_meta`.
    fn check_datasec(&self, t: &Type, name: &[u8], config: &Config) -> Result<(), &'static str> {
        if name.is_empty() || (name.first() == Some(&b'?') && !config.has(Feature::BtfQmarkDatasec)) {
            return Err("Invalid name");
        }
        if t.word == 0 {
            return Err("size == 0");
        }
        let mut end = 0u32;
        for var in t.rest.chunks_exact(3) {
            let &[id, offset, size] = var else { continue };
            let of_var = self.get(id).filter(|v| v.kind == VAR).ok_or("Not a VAR kind member")?;
            if offset < end || offset >= t.word {
                return Err("Invalid offset");
            }
            if size == 0 || size > t.word || self.size(of_var.word).is_none_or(|real| real > size) {
                return Err("Invalid size");
            }
            end = offset.checked_add(size).filter(|end| *end <= t.word).ok_or("Invalid offset+size")?;
        }
        Ok(())
    }
}

/// The type and the string section.
fn sections<'a>(data: &'a [u8], config: &Config) -> Result<(&'a [u8], &'a [u8]), No> {
    let no = |why: &str| Err(No::new(Errno::INVAL, why));
    let at = |offset: usize| data.get(offset..offset + 4).map(word);
    if data.get(..2) != Some(&0xeb9f_u16.to_ne_bytes()[..]) {
        return no("Invalid magic");
    }
    let (Some(header), Some(type_off), Some(type_len), Some(str_off), Some(str_len)) =
        (at(4), at(8), at(12), at(16), at(20))
    else {
        return no("hdr_len not found");
    };
    let known = if config.has(Feature::BtfLayout) { 32 } else { 24 };
    let beyond = data.get(known.min(data.len())..(header as usize).min(data.len())).unwrap_or_default();
    if data.len() > MAX_SIZE || beyond.iter().any(|byte| *byte != 0) {
        return Err(No::new(Errno::TOOBIG, "Unsupported btf_header"));
    }
    if header < 24 {
        return no("Unsupported btf_header");
    }
    let section = |offset: u32, len: u32| {
        let start = (header as usize).checked_add(offset as usize)?;
        data.get(start..start.checked_add(len as usize)?)
    };
    let (Some(types), Some(strings)) = (section(type_off, type_len), section(str_off, str_len)) else {
        return no("Section overlap found");
    };
    if types.len() % 4 != 0 || type_off % 4 != 0 {
        return no("Unaligned type_off");
    }
    if types.is_empty() || strings.first() != Some(&0) || strings.last() != Some(&0) {
        return no("No type found, or no string section");
    }
    Ok((types, strings))
}

fn string(strings: &[u8], offset: u32) -> Option<&[u8]> {
    strings.get(offset as usize..)?.split(|byte| *byte == 0).next()
}

fn word(bytes: &[u8]) -> u32 {
    bytes.try_into().map_or(0, u32::from_ne_bytes)
}

/// How many words follow a type of this kind.
fn words_after(kind: u32, vlen: u32) -> usize {
    let vlen = vlen as usize;
    match kind {
        INT | VAR | DECL_TAG => 1,
        ARRAY => 3,
        STRUCT | 5 | DATASEC | ENUM64 => 3 * vlen,
        ENUM | FUNC_PROTO => 2 * vlen,
        _ => 0,
    }
}

/// Typedef, volatile, const, restrict, type tag.
fn is_modifier(kind: u32) -> bool {
    matches!(kind, 8..=11 | 18)
}

fn has_type(kind: u32) -> bool {
    matches!(kind, PTR | FUNC | FUNC_PROTO | VAR | DECL_TAG) || is_modifier(kind)
}
