//! Every number and offset against what the running kernel says in its BTF.

use super::{
    BatchAttr, BindMapAttr, BtfLoadAttr, ElemAttr, IdAttr, InfoAttr, LinkCreateAttr, LinkUpdateAttr,
    MapCreateAttr, PinAttr, ProgLoadAttr, RawBtfInfo, RawLinkInfo, RawMapInfo, RawProgInfo, TestRunAttr,
    TokenCreateAttr, cmd,
};
use crate::{Kernel, Linux};
use onebpf_btf::{Btf, Def, Kind, Members, TypeId};
use std::collections::BTreeMap;
use std::mem::offset_of;

/// Field name to offset, in bytes.
type Layout = BTreeMap<String, usize>;

/// Our fields under the kernel's names.
macro_rules! layout {
    ($ours:ty: $($name:ident),* $(; $field:ident is $kernel:literal)*) => {
        [$((stringify!($name), offset_of!($ours, $name)),)* $(($kernel, offset_of!($ours, $field)),)*].as_slice()
    };
}

#[test]
fn attributes_lie_where_the_kernel_has_them() {
    let Some(btf) = kernel_btf() else { return };
    let commands = commands(&btf);
    let ours = [
        layout!(MapCreateAttr: map_type, key_size, value_size, max_entries, map_flags, inner_map_fd, numa_node,
            map_name, map_ifindex, btf_fd, btf_key_type_id, btf_value_type_id, btf_vmlinux_value_type_id, map_extra,
            value_type_btf_obj_fd, map_token_fd),
        layout!(ElemAttr: map_fd, key, value, flags; value is "next_key"),
        layout!(BatchAttr: in_batch, out_batch, keys, values, count, map_fd, elem_flags, flags),
        layout!(ProgLoadAttr: prog_type, insn_cnt, insns, license, log_level, log_size, log_buf, kern_version,
            prog_flags, prog_name, prog_ifindex, expected_attach_type, prog_btf_fd, func_info_rec_size, func_info,
            func_info_cnt, line_info_rec_size, line_info, line_info_cnt, attach_btf_id, core_relo_cnt, fd_array,
            core_relos, core_relo_rec_size, log_true_size, prog_token_fd, fd_array_cnt;
            attach_fd is "attach_prog_fd"; attach_fd is "attach_btf_obj_fd"),
        layout!(PinAttr: pathname, bpf_fd, file_flags),
        layout!(TestRunAttr: prog_fd, retval, data_size_in, data_size_out, data_in, data_out, repeat, duration,
            ctx_size_in, ctx_size_out, ctx_in, ctx_out, flags, cpu, batch_size),
        layout!(IdAttr: next_id, open_flags; id is "start_id"; id is "map_id"; id is "btf_id"),
        layout!(BindMapAttr: prog_fd, map_fd, flags),
        layout!(LinkCreateAttr: prog_fd, target_fd, attach_type, flags; prog_fd is "map_fd"),
        layout!(LinkUpdateAttr: link_fd, new_prog_fd, flags, old_prog_fd; new_prog_fd is "new_map_fd"),
        layout!(InfoAttr: bpf_fd, info_len, info),
        layout!(BtfLoadAttr: btf, btf_log_buf, btf_size, btf_log_size, btf_log_level, btf_log_true_size, btf_flags,
            btf_token_fd),
    ];
    for fields in ours {
        let shared = |kernel: &&Layout| fields.iter().filter(|(name, _)| kernel.contains_key(*name)).count();
        let kernel = commands.iter().max_by_key(shared).expect("union bpf_attr has members");
        compare(fields, kernel);
    }
    // Since Linux 6.9.
    for kernel in commands.iter().filter(|kernel| kernel.contains_key("bpffs_fd")) {
        let ours = layout!(TokenCreateAttr: flags, bpffs_fd);
        assert!(ours.iter().all(|(name, offset)| kernel.get(*name) == Some(offset)), "{kernel:?}");
    }
}

#[test]
fn infos_lie_where_the_kernel_has_them() {
    let Some(btf) = kernel_btf() else { return };
    let map = layout!(RawMapInfo: id, key_size, value_size, max_entries, map_flags, name, ifindex,
        btf_vmlinux_value_type_id, netns_dev, netns_ino, btf_id, btf_key_type_id, btf_value_type_id, map_extra;
        map_type is "type");
    let prog = layout!(RawProgInfo: id, tag, jited_prog_len, xlated_prog_len, jited_prog_insns, xlated_prog_insns,
        load_time, created_by_uid, nr_map_ids, map_ids, name, ifindex, netns_dev, netns_ino, nr_jited_ksyms,
        nr_jited_func_lens, jited_ksyms, jited_func_lens, btf_id, func_info_rec_size, func_info, nr_func_info,
        nr_line_info, line_info, jited_line_info, nr_jited_line_info, line_info_rec_size,
        jited_line_info_rec_size, nr_prog_tags, prog_tags, run_time_ns, run_cnt, recursion_misses,
        verified_insns; prog_type is "type"; bits is "gpl_compatible");
    let link = layout!(RawLinkInfo: id, prog_id, map_id; link_type is "type");
    let blob = layout!(RawBtfInfo: btf, btf_size, id, name, name_len, kernel_btf);
    for (name, fields) in
        [("bpf_map_info", map), ("bpf_prog_info", prog), ("bpf_link_info", link), ("bpf_btf_info", blob)]
    {
        let id = btf.find(name, Kind::Struct).expect(name);
        let mut kernel = Layout::new();
        flatten(&btf, id, 0, &mut kernel);
        compare(fields, &kernel);
    }
}

#[test]
fn commands_have_the_kernels_numbers() {
    let Some(btf) = kernel_btf() else { return };
    let id = btf.find("bpf_cmd", Kind::Enum).expect("enum bpf_cmd");
    let Def::Enum { values, .. } = btf.get(id).expect("readable").def else { panic!("not an enum") };
    let values: BTreeMap<&str, i128> = values.into_iter().map(|v| (v.name, v.value)).collect();
    for (name, ours) in [
        ("BPF_MAP_CREATE", cmd::MAP_CREATE),
        ("BPF_LINK_CREATE", cmd::LINK_CREATE),
        ("BPF_LINK_UPDATE", cmd::LINK_UPDATE),
        ("BPF_MAP_LOOKUP_ELEM", cmd::MAP_LOOKUP_ELEM),
        ("BPF_MAP_UPDATE_ELEM", cmd::MAP_UPDATE_ELEM),
        ("BPF_MAP_DELETE_ELEM", cmd::MAP_DELETE_ELEM),
        ("BPF_MAP_GET_NEXT_KEY", cmd::MAP_GET_NEXT_KEY),
        ("BPF_PROG_LOAD", cmd::PROG_LOAD),
        ("BPF_OBJ_PIN", cmd::OBJ_PIN),
        ("BPF_OBJ_GET", cmd::OBJ_GET),
        ("BPF_PROG_TEST_RUN", cmd::PROG_TEST_RUN),
        ("BPF_PROG_GET_NEXT_ID", cmd::PROG_GET_NEXT_ID),
        ("BPF_MAP_GET_NEXT_ID", cmd::MAP_GET_NEXT_ID),
        ("BPF_PROG_GET_FD_BY_ID", cmd::PROG_GET_FD_BY_ID),
        ("BPF_MAP_GET_FD_BY_ID", cmd::MAP_GET_FD_BY_ID),
        ("BPF_OBJ_GET_INFO_BY_FD", cmd::OBJ_GET_INFO_BY_FD),
        ("BPF_BTF_LOAD", cmd::BTF_LOAD),
        ("BPF_BTF_GET_FD_BY_ID", cmd::BTF_GET_FD_BY_ID),
        ("BPF_MAP_FREEZE", cmd::MAP_FREEZE),
        ("BPF_BTF_GET_NEXT_ID", cmd::BTF_GET_NEXT_ID),
        ("BPF_MAP_LOOKUP_BATCH", cmd::MAP_LOOKUP_BATCH),
        ("BPF_MAP_LOOKUP_AND_DELETE_BATCH", cmd::MAP_LOOKUP_AND_DELETE_BATCH),
        ("BPF_MAP_UPDATE_BATCH", cmd::MAP_UPDATE_BATCH),
        ("BPF_MAP_DELETE_BATCH", cmd::MAP_DELETE_BATCH),
        ("BPF_LINK_GET_FD_BY_ID", cmd::LINK_GET_FD_BY_ID),
        ("BPF_LINK_GET_NEXT_ID", cmd::LINK_GET_NEXT_ID),
    ] {
        // Older kernels lack the newer commands.
        if let Some(kernel) = values.get(name) {
            assert_eq!(*kernel, i128::from(ours), "{name}");
        }
    }
}

fn kernel_btf() -> Option<Btf> {
    let data = Linux.kernel_btf().expect("kernel_btf");
    if data.is_none() {
        eprintln!("skipped: this kernel has no BTF");
    }
    Some(Btf::parse(data?).expect("the kernel's BTF"))
}

/// Older kernels end earlier; the fields that they have are where ours are.
fn compare(ours: &[(&str, usize)], kernel: &Layout) {
    let shared: Vec<_> = ours.iter().filter(|(name, _)| kernel.contains_key(*name)).collect();
    assert!(shared.len() >= 3, "the kernel lacks most of {ours:?}: {kernel:?}");
    for (name, offset) in shared {
        assert_eq!(kernel.get(*name), Some(offset), "{name} of {ours:?}");
    }
}

/// The structs that make up `union bpf_attr`.
fn commands(btf: &Btf) -> Vec<Layout> {
    let id = btf.find("bpf_attr", Kind::Union).expect("union bpf_attr");
    let layouts = members(btf, id).into_iter().flatten().map(|member| {
        let mut layout = Layout::new();
        flatten(btf, member.ty, 0, &mut layout);
        layout
    });
    layouts.collect()
}

/// Fields of a struct, those of its anonymous unions and structs too.
fn flatten(btf: &Btf, id: TypeId, base: usize, out: &mut Layout) {
    for member in members(btf, id).into_iter().flatten() {
        let offset = base + member.bit_offset as usize / 8;
        if member.name.is_empty() {
            flatten(btf, member.ty, offset, out);
        } else {
            out.insert(member.name.to_owned(), offset);
        }
    }
}

fn members(btf: &Btf, id: TypeId) -> Option<Members<'_>> {
    match btf.strip(id).expect("readable").def {
        Def::Struct { members, .. } | Def::Union { members, .. } => Some(members),
        _ => None,
    }
}
