//! Types as they are encoded, one line each, in the words that bpftool uses.

use crate::exit::{Failure, Outcome};
use crate::out::Out;
use crate::report::of_btf;
use onebpf::btf::{Btf, Def, FuncLinkage, IntEncoding, Kind, Type, VarLinkage};
use serde_json::{Value, json};
use std::fmt::Write as _;

/// One line for each type, and one for each member, value, parameter and variable.
pub(super) fn print(btf: &Btf, out: &mut Out) -> Outcome {
    for ty in btf.types() {
        let ty = ty.map_err(|error| Failure::from(of_btf(&error)))?;
        out.line(text(btf, &ty))?;
    }
    Ok(())
}

/// An array of types with the same words.
pub(super) fn json(btf: &Btf, out: &mut Out) -> Outcome {
    let mut types = Vec::new();
    for ty in btf.types() {
        let ty = ty.map_err(|error| Failure::from(of_btf(&error)))?;
        types.push(json!({ "id": ty.id.0, "kind": ty.kind.name(), "name": ty.name, "text": text(btf, &ty) }));
    }
    out.json(&json!({ "types": Value::Array(types) }))
}

fn text(btf: &Btf, ty: &Type<'_>) -> String {
    let name = if ty.name.is_empty() { "(anon)" } else { ty.name };
    let mut text = format!("{} {} '{name}'", ty.id, ty.kind);
    let written = match ty.def {
        Def::Void => Ok(()),
        Def::Int { size, bits, offset, encoding } => {
            write!(
                text,
                " size={size} bits_offset={offset} nr_bits={bits} encoding={}",
                int_encoding(encoding)
            )
        }
        Def::Array { elem, index, count } => {
            write!(text, " type_id={} index_type_id={} nr_elems={count}", elem.0, index.0)
        }
        Def::Ptr(to)
        | Def::Typedef(to)
        | Def::Volatile(to)
        | Def::Const(to)
        | Def::Restrict(to)
        | Def::TypeTag(to) => {
            write!(text, " type_id={}", to.0)
        }
        Def::Struct { size, members } | Def::Union { size, members } => {
            let _ = write!(text, " size={size} vlen={}", members.len());
            members.into_iter().try_for_each(|member| {
                let name = if member.name.is_empty() { "(anon)" } else { member.name };
                write!(text, "\n\t'{name}' type_id={} bits_offset={}", member.ty.0, member.bit_offset)?;
                member.bit_size.map_or(Ok(()), |bits| write!(text, " bitfield_size={bits}"))
            })
        }
        Def::Enum { size, signed, values } | Def::Enum64 { size, signed, values } => {
            let encoding = if signed { "SIGNED" } else { "UNSIGNED" };
            let suffix = match (ty.kind, signed) {
                (Kind::Enum64, true) => "LL",
                (Kind::Enum64, false) => "ULL",
                _ => "",
            };
            let _ = write!(text, " encoding={encoding} size={size} vlen={}", values.len());
            values
                .into_iter()
                .try_for_each(|value| write!(text, "\n\t'{}' val={}{suffix}", value.name, value.value))
        }
        Def::Fwd { union } => write!(text, " fwd_kind={}", if union { "union" } else { "struct" }),
        Def::Func { proto, linkage } => {
            write!(text, " type_id={} linkage={}", proto.0, func_linkage(linkage))
        }
        Def::FuncProto { ret, params } => {
            let _ = write!(text, " ret_type_id={} vlen={}", ret.0, params.len());
            params.into_iter().try_for_each(|param| {
                let name = if param.name.is_empty() { "(anon)" } else { param.name };
                write!(text, "\n\t'{name}' type_id={}", param.ty.0)
            })
        }
        Def::Var { ty, linkage } => write!(text, " type_id={}, linkage={}", ty.0, var_linkage(linkage)),
        Def::Datasec { size, vars } => {
            let _ = write!(text, " size={size} vlen={}", vars.len());
            vars.into_iter().try_for_each(|var| {
                write!(text, "\n\ttype_id={} offset={} size={}", var.ty.0, var.offset, var.size)?;
                btf.get(var.ty).map_or(Ok(()), |ty| write!(text, " ({} '{}')", ty.kind, ty.name))
            })
        }
        Def::Float { size } => write!(text, " size={size}"),
        Def::DeclTag { target, component } => write!(text, " type_id={} component_idx={component}", target.0),
    };
    debug_assert!(written.is_ok(), "writing to a String does not fail");
    text
}

fn int_encoding(encoding: IntEncoding) -> &'static str {
    match encoding {
        IntEncoding::SIGNED => "SIGNED",
        IntEncoding::CHAR => "CHAR",
        IntEncoding::BOOL => "BOOL",
        IntEncoding::UNSIGNED => "(none)",
        _ => "UNKN",
    }
}

fn func_linkage(linkage: FuncLinkage) -> &'static str {
    match linkage {
        FuncLinkage::Static => "static",
        FuncLinkage::Global => "global",
        FuncLinkage::Extern => "extern",
    }
}

fn var_linkage(linkage: VarLinkage) -> &'static str {
    match linkage {
        VarLinkage::Static => "static",
        VarLinkage::Global => "global",
        VarLinkage::Extern => "extern",
    }
}
