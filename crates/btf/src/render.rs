//! Types as C text, for people: declarations and definitions. One type at a time; a whole header in the right
//! order is another matter.

use crate::error::{Error, Result, What};
use crate::read::types::{Def, EnumValues, FuncLinkage, Members, Params, Type, VarLinkage};
use crate::read::walk::MAX_DEPTH;
use crate::{Btf, TypeId};

/// Text that one type may give: a blob of a few KiB can describe a declaration that would not fit in memory.
const MAX_TEXT: usize = 1 << 20;

/// How a definition is written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct DefinitionStyle {
    /// Adds the offset of each member in bytes, and in bits for a bitfield: `/* 8:3 */`.
    pub offsets: bool,
}

impl Btf {
    /// A declaration of `name` with this type, as C has it: `int (*name)(struct sk_buff *)`. Anonymous structs are
    /// written out. With an empty name it is the name of the type, as in a cast. A FUNC or VAR is declared under its
    /// own name if `name` is empty.
    ///
    /// ```
    /// # use onebpf_btf::{Btf, Builder, Endian, IntEncoding, OwnedDef, OwnedType};
    /// let mut builder = Builder::new(Endian::native());
    /// let int = builder.push(OwnedType::int("int", 4, IntEncoding::SIGNED));
    /// let array = builder.push(OwnedType::new("", OwnedDef::Array { elem: int, index: int, count: 4 }));
    /// let pointer = builder.push(OwnedType::new("", OwnedDef::Ptr(array)));
    /// let btf = Btf::from_vec(builder.build()?)?;
    /// assert_eq!(btf.declare(pointer, "p")?, "int (*p)[4]");
    /// # Ok::<(), onebpf_btf::Error>(())
    /// ```
    ///
    /// # Errors
    /// E0208 for types that nest too deeply, E0209 for over 1 MiB of text; as [`Btf::get`].
    pub fn declare(&self, id: TypeId, name: &str) -> Result<String> {
        let mut text = Text::new(self, DefinitionStyle::default());
        text.declare(id, name, 0).map_err(|e| e.in_type(id))?;
        Ok(text.out)
    }

    /// The definition of a struct, union, enum or typedef; for other types, their declaration.
    ///
    /// # Errors
    /// As [`Btf::declare`].
    pub fn definition(&self, id: TypeId) -> Result<String> {
        self.definition_with(id, DefinitionStyle::default())
    }

    /// As [`Btf::definition`], in a style.
    ///
    /// # Errors
    /// As [`Btf::declare`].
    pub fn definition_with(&self, id: TypeId, style: DefinitionStyle) -> Result<String> {
        let mut text = Text::new(self, style);
        text.define(id).map_err(|e| e.in_type(id))?;
        Ok(text.out)
    }
}

/// The text while it grows.
struct Text<'a> {
    btf: &'a Btf,
    style: DefinitionStyle,
    out: String,
    /// Levels of structs, parameter lists and declarators that are open: each is a call on the stack.
    depth: u32,
    /// Types looked at for alignments so far.
    visits: u32,
    /// Bits from the start of the outermost struct to the one that is open.
    base_bits: u64,
}

/// A chain of types, the base type last.
type Chain<'a> = Vec<Type<'a>>;

impl<'a> Text<'a> {
    fn new(btf: &'a Btf, style: DefinitionStyle) -> Text<'a> {
        Text { btf, style, out: String::new(), depth: 0, visits: 0, base_bits: 0 }
    }

    fn define(&mut self, id: TypeId) -> Result<()> {
        let ty = self.btf.get(id)?;
        match ty.def {
            Def::Struct { .. } | Def::Union { .. } | Def::Enum { .. } | Def::Enum64 { .. } => {
                self.tag(&ty)?;
                self.body(&ty, 0)?;
            }
            Def::Typedef(to) => {
                self.push("typedef ")?;
                self.declare(to, ty.name, 0)?;
            }
            _ => self.declare(id, "", 0)?,
        }
        self.push(";")
    }

    fn declare(&mut self, id: TypeId, name: &str, indent: usize) -> Result<()> {
        let ty = self.btf.get(id)?;
        let own = if name.is_empty() { ty.name } else { name };
        match ty.def {
            Def::Func { proto, linkage } => {
                self.push(match linkage {
                    FuncLinkage::Static => "static ",
                    FuncLinkage::Global => "",
                    FuncLinkage::Extern => "extern ",
                })?;
                self.chain(proto, own, indent)
            }
            Def::Var { ty: to, linkage } => {
                self.push(match linkage {
                    VarLinkage::Static => "static ",
                    VarLinkage::Global => "",
                    VarLinkage::Extern => "extern ",
                })?;
                self.chain(to, own, indent)
            }
            Def::Datasec { .. } | Def::DeclTag { .. } => Err(What::Sizeless(ty.kind.name()).into()),
            _ => self.chain(id, name, indent),
        }
    }

    fn chain(&mut self, id: TypeId, name: &str, indent: usize) -> Result<()> {
        let mut chain = Vec::new();
        let mut next = Some(id);
        while let Some(id) = next {
            if chain.len() > 2 * MAX_DEPTH as usize {
                return Err(What::Depth(MAX_DEPTH).into());
            }
            let ty = self.btf.get(id)?;
            next = inner(&ty);
            chain.push(ty);
        }
        self.declarator(&mut chain, name, indent)
    }

    /// Writes from the base of the chain outwards: pointers and qualifiers as they come, the rest in parentheses
    /// before the brackets of an array or the parameters of a function (libbpf `btf_dump_emit_type_chain`).
    fn declarator(&mut self, chain: &mut Chain<'a>, name: &str, indent: usize) -> Result<()> {
        self.enter()?;
        let done = self.declare_outwards(chain, name, indent);
        self.leave();
        done
    }

    fn declare_outwards(&mut self, chain: &mut Chain<'a>, name: &str, indent: usize) -> Result<()> {
        let mut after_pointer = true;
        while let Some(ty) = chain.pop() {
            match ty.def {
                Def::Ptr(_) => self.push(if after_pointer { "*" } else { " *" })?,
                Def::Const(_) => self.push(" const")?,
                Def::Volatile(_) => self.push(" volatile")?,
                Def::Restrict(_) => self.push(" restrict")?,
                Def::TypeTag(_) => {
                    self.qualifiers(chain)?;
                    let (open, close) = if ty.kind_flag { ("", "") } else { ("btf_type_tag(\"", "\")") };
                    self.push_all(&[" __attribute__((", open, ty.name, close, "))"])?;
                }
                Def::Array { count, .. } => {
                    self.array(chain, name, after_pointer, indent)?;
                    return self.push(&format!("[{count}]"));
                }
                Def::FuncProto { params, .. } => {
                    drop_qualifiers(chain);
                    if chain.is_empty() {
                        self.name(name, after_pointer)?;
                    } else {
                        self.push(" (")?;
                        self.declarator(chain, name, indent)?;
                        self.push(")")?;
                    }
                    return self.params(params, indent);
                }
                _ => {
                    self.qualifiers(chain)?;
                    let outer = self.base_bits;
                    if chain.iter().any(|ty| matches!(ty.def, Def::Ptr(_) | Def::FuncProto { .. })) {
                        self.base_bits = 0; // what is pointed to is not inside the struct that is open
                    }
                    self.base(&ty, indent)?;
                    self.base_bits = outer;
                }
            }
            after_pointer = matches!(ty.def, Def::Ptr(_));
        }
        self.name(name, after_pointer)
    }

    /// What stands before the brackets.
    fn array(&mut self, chain: &mut Chain<'a>, name: &str, after_pointer: bool, indent: usize) -> Result<()> {
        drop_qualifiers(chain);
        let next_is_array = match chain.last() {
            None => return self.name(name, after_pointer),
            Some(next) => matches!(next.def, Def::Array { .. }),
        };
        if next_is_array {
            // The outer dimension is written first: it is nearer to the name.
            return self.declarator_after(chain, name, after_pointer, indent);
        }
        self.push(if after_pointer { "(" } else { " (" })?;
        self.declarator(chain, name, indent)?;
        self.push(")")
    }

    /// A declarator that goes on after text, not after an opening parenthesis.
    fn declarator_after(
        &mut self,
        chain: &mut Chain<'a>,
        name: &str,
        after: bool,
        indent: usize,
    ) -> Result<()> {
        let Some(Type { def: Def::Array { count, .. }, .. }) = chain.pop() else { return Ok(()) };
        self.enter()?;
        self.array(chain, name, after, indent)?;
        self.leave();
        self.push(&format!("[{count}]"))
    }

    /// Qualifiers of the base type stand before it: `const char`.
    fn qualifiers(&mut self, chain: &mut Chain<'a>) -> Result<()> {
        while let Some(ty) = chain.last() {
            match ty.def {
                Def::Const(_) => self.push("const ")?,
                Def::Volatile(_) => self.push("volatile ")?,
                Def::Restrict(_) => self.push("restrict ")?,
                _ => break,
            }
            chain.pop();
        }
        Ok(())
    }

    /// A type that ends a chain.
    fn base(&mut self, ty: &Type<'a>, indent: usize) -> Result<()> {
        self.tag(ty)?;
        let has_body =
            matches!(ty.def, Def::Struct { .. } | Def::Union { .. } | Def::Enum { .. } | Def::Enum64 { .. });
        if has_body && ty.name.is_empty() { self.body(ty, indent) } else { Ok(()) }
    }

    /// `struct name`, or just the name.
    fn tag(&mut self, ty: &Type<'a>) -> Result<()> {
        let word = match ty.def {
            Def::Struct { .. } | Def::Fwd { union: false } => "struct",
            Def::Union { .. } | Def::Fwd { union: true } => "union",
            Def::Enum { .. } | Def::Enum64 { .. } => "enum",
            _ => return self.push(ty.name),
        };
        let space = if ty.name.is_empty() { "" } else { " " };
        self.push_all(&[word, space, ty.name])
    }

    fn body(&mut self, ty: &Type<'a>, indent: usize) -> Result<()> {
        match ty.def {
            Def::Struct { members, .. } | Def::Union { members, .. } => self.members(members, indent)?,
            Def::Enum { size, values, .. } => {
                self.values(values, indent, "")?;
                if size == 1 {
                    self.push(" __attribute__((mode(byte)))")?;
                }
            }
            Def::Enum64 { signed, values, .. } => {
                self.values(values, indent, if signed { "LL" } else { "ULL" })?;
            }
            _ => {}
        }
        let packed = self.btf.is_packed(ty, &mut self.visits);
        self.push(if packed { " __attribute__((packed))" } else { "" })
    }

    fn members(&mut self, members: Members<'a>, indent: usize) -> Result<()> {
        self.enter()?;
        self.push(" {")?;
        let outer = self.base_bits;
        for member in members {
            self.line(indent + 1)?;
            self.base_bits = outer + u64::from(member.bit_offset);
            self.declare(member.ty, member.name, indent + 1)?;
            if let Some(bits) = member.bit_size {
                self.push(&format!(": {bits}"))?;
            }
            self.push(";")?;
            if self.style.offsets {
                let (byte, bit) = (self.base_bits / 8, self.base_bits % 8);
                let place =
                    if member.bit_size.is_some() { format!("{byte}:{bit}") } else { byte.to_string() };
                self.push_all(&[" /* ", &place, " */"])?;
            }
        }
        self.base_bits = outer;
        if !members.is_empty() {
            self.line(indent)?;
        }
        self.leave();
        self.push("}")
    }

    fn values(&mut self, values: EnumValues<'a>, indent: usize, suffix: &str) -> Result<()> {
        self.push(" {")?;
        for value in values {
            self.line(indent + 1)?;
            self.push_all(&[value.name, " = ", &value.value.to_string(), suffix, ","])?;
        }
        self.line(indent)?;
        self.push("}")
    }

    /// clang writes `f(void)` as one parameter without name and type; void in the last place is `...`.
    fn params(&mut self, params: Params<'a>, indent: usize) -> Result<()> {
        let only_void = params.len() == 1 && params.get(0).is_some_and(|param| param.ty == TypeId::VOID);
        if params.is_empty() || only_void {
            return self.push("(void)");
        }
        self.enter()?;
        self.push("(")?;
        for (n, param) in params.enumerate() {
            self.push(if n > 0 { ", " } else { "" })?;
            if n + 1 == params.len() && param.ty == TypeId::VOID {
                self.push("...")?;
            } else {
                self.chain(param.ty, param.name, indent)?;
            }
        }
        self.leave();
        self.push(")")
    }

    fn name(&mut self, name: &str, after_pointer: bool) -> Result<()> {
        let space = if name.is_empty() || after_pointer { "" } else { " " };
        self.push_all(&[space, name])
    }

    fn line(&mut self, indent: usize) -> Result<()> {
        self.push("\n")?;
        self.push(&"\t".repeat(indent))
    }

    fn enter(&mut self) -> Result<()> {
        self.depth += 1;
        if self.depth > 2 * MAX_DEPTH { Err(What::Depth(2 * MAX_DEPTH).into()) } else { Ok(()) }
    }

    fn leave(&mut self) {
        self.depth -= 1;
    }

    fn push_all(&mut self, parts: &[&str]) -> Result<()> {
        parts.iter().try_for_each(|part| self.push(part))
    }

    fn push(&mut self, text: &str) -> Result<()> {
        if self.out.len() + text.len() > MAX_TEXT {
            return Err(Error::from(What::Limit {
                what: "length of the text",
                value: (self.out.len() + text.len()) as u64,
                limit: MAX_TEXT as u64,
            }));
        }
        self.out.push_str(text);
        Ok(())
    }
}

/// The next type of a chain; none if `ty` ends it.
fn inner(ty: &Type<'_>) -> Option<TypeId> {
    match ty.def {
        Def::Ptr(to) | Def::Const(to) | Def::Volatile(to) | Def::Restrict(to) | Def::TypeTag(to) => Some(to),
        Def::Array { elem, .. } => Some(elem),
        Def::FuncProto { ret, .. } => Some(ret),
        _ => None,
    }
}

/// Qualifiers of an array or function mean nothing in C.
fn drop_qualifiers(chain: &mut Chain<'_>) {
    while chain.last().is_some_and(|ty| matches!(ty.def, Def::Const(_) | Def::Volatile(_) | Def::Restrict(_)))
    {
        chain.pop();
    }
}
