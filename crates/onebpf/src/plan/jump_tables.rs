//! Jump tables: each becomes a map of instructions that only its program uses (libbpf's `create_jt_map()`).

use super::draft::Draft;
use super::programs::{Chosen, LD_IMM64, not_a_load};
use super::{CreateMap, Likeness, Operand, Patch, Step};
use crate::error::Result;
use onebpf_object::{LinkedTable, MapType, Place};
use std::sync::Arc;

/// `struct bpf_insn_array_value`: the instruction, and what the kernel makes of it.
const VALUE: usize = 16;
/// libbpf's name for each of them.
const KERNEL_NAME: &str = ".jumptables";

/// Adds the steps that make the maps of a program's tables, and says where in the program their fds go. Two programs share
/// none, even if they have a function with its table in common: where it leads depends on where the function is. The kernel
/// takes none that is not frozen (`bpf_insn_array.c`).
pub(super) fn steps(draft: &mut Draft<'_>, chosen: &Chosen<'_>, place: &Place) -> Result<Vec<Patch>> {
    let mut patches = Vec::new();
    for LinkedTable { name, targets, insns } in chosen.linked.jump_tables() {
        let out = draft.slot();
        let kernel_name = draft.kernel_name(KERNEL_NAME);
        draft.push(Step::CreateMap(Box::new(CreateMap {
            out,
            name: name.clone(),
            kernel_name,
            map_type: MapType::INSN_ARRAY.0,
            key_size: 4,
            value_size: VALUE as u32,
            max_entries: targets.len() as u32,
            flags: 0,
            extra: 0,
            numa_node: None,
            device: None,
            btf: None,
            token: draft.token,
            kernel_value: None,
            inner: None,
            globals: None,
            template: true,
            on_refusal: Vec::new(),
            like: Box::new(Likeness::default()),
            place: place.clone(),
        })));
        for (index, target) in (0_u32..).zip(targets) {
            let mut value = [0; VALUE];
            let [a, b, c, d, ..] = &mut value;
            [*a, *b, *c, *d] = target.to_ne_bytes();
            let (name, key) = (name.clone(), index.to_ne_bytes().to_vec());
            draft.push(Step::Write { map: out, name, key, value: Arc::from(value) });
        }
        draft.push(Step::Freeze { map: out, name });
        for insn in insns {
            let load = chosen.linked.insns.get(insn as usize).filter(|load| load.code == LD_IMM64);
            load.ok_or_else(|| not_a_load(chosen, insn, place))?;
            patches.push(Patch { insn, operand: Operand::MapFd(out) });
        }
    }
    Ok(patches)
}
