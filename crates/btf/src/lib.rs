#![forbid(unsafe_code)]
//! BTF, the type information of BPF programs and of the kernel, in pure Rust.
//!
//! Reading is zero-copy and lazy: [`Btf::parse`] looks at the header only, the first [`Btf::get`] makes one
//! pass that notes where each type starts, and a type is decoded when it is asked for. Nothing here does I/O
//! or calls the kernel, and nothing panics on hostile input.
//!
//! ```
//! use onebpf_btf::{Btf, Builder, Endian, IntEncoding, Kind, OwnedDef, OwnedType};
//!
//! let mut builder = Builder::new(Endian::native());
//! let int = builder.push(OwnedType::int("int", 4, IntEncoding::SIGNED));
//! builder.push(OwnedType::new("counter_t", OwnedDef::Typedef(int)));
//!
//! let btf = Btf::from_vec(builder.build()?)?;
//! let counter = btf.find("counter_t", Kind::Typedef).expect("it was just written");
//! assert_eq!(btf.strip(counter)?.name, "int");
//! assert_eq!(btf.size_of(counter)?, 4);
//! # Ok::<(), onebpf_btf::Error>(())
//! ```
//!
//! The parts: reading ([`Btf`]), writing ([`Builder`]), `.BTF.ext` ([`BtfExt`]), C text ([`Btf::declare`],
//! [`Btf::definition`]), bytes read by their type ([`Btf::render_value`]), and the edits that a loader makes
//! before the kernel sees BTF: [`fix_datasecs`], [`fix_externs`], [`fix_functions`], [`downgrade()`]; and CO-RE
//! ([`Matcher`]): relocations worked out against another BTF.

mod bytes;
mod core;
mod downgrade;
mod error;
pub mod ext;
mod fixup;
mod kind;
mod ops;
mod read;
mod render;
mod validate;
mod value;
mod value_show;
mod write;

use std::fmt;
use std::sync::Arc;

pub use crate::core::{Fixup, Matcher, essential_name, near_names, types_are_compatible};
pub use bytes::Endian;
pub use downgrade::{BtfFeatures, DOWNGRADE_STEPS, DowngradeStep, downgrade};
pub use error::{CODES, Error, Place, Result};
pub use ext::{
    BtfExt, CoreRelo, CoreReloKind, ExtSection, FuncInfo, LineInfo, Record, Records, write_records,
};
pub use fixup::{VarSymbol, fix_datasecs, fix_externs, fix_functions};
pub use kind::Kind;
pub use ops::{KernelMember, OPS_VALUE_PREFIX, OpsLayout, OpsMember, lay_out_ops, ops_value_name};
pub use read::Btf;
pub use read::types::{
    Def, Element, EnumValue, EnumValues, FuncLinkage, IntEncoding, List, Member, Members, Param, Params,
    Secinfo, Secinfos, Type, VarLinkage,
};
pub use render::DefinitionStyle;
pub use value::{Value, ValueStyle};
pub use write::{Builder, OwnedDef, OwnedEnumValue, OwnedMember, OwnedParam, OwnedType};

/// Bytes that somebody owns: a `Vec<u8>`, a `&'static [u8]`, a memory map. Never copied by this crate.
pub type Buffer = Arc<dyn AsRef<[u8]> + Send + Sync>;

/// Number of a type within its BTF; 0 is `void`. Types of a split BTF are numbered after those of its base.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize, serde::Deserialize,
)]
pub struct TypeId(pub u32);

impl TypeId {
    /// `void`, which has no entry in the type section.
    pub const VOID: TypeId = TypeId(0);
}

impl fmt::Display for TypeId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "[{}]", self.0)
    }
}
