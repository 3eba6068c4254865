//! Flags by name.

/// Map flags by name, separated by commas; unknown bits in hex; empty for 0.
pub(crate) fn map_flags(flags: u32) -> String {
    flag_names(flags, &MAP_FLAGS)
}

/// Program flags by name.
pub(crate) fn program_flags(flags: u32) -> String {
    flag_names(flags, &PROGRAM_FLAGS)
}

fn flag_names(flags: u32, names: &[&str]) -> String {
    let known = names.iter().enumerate().filter(|(bit, _)| flags >> bit & 1 == 1);
    let mut shown: Vec<String> = known.map(|(_, name)| (*name).to_owned()).collect();
    let rest = flags.checked_shr(names.len() as u32).unwrap_or(0);
    if rest != 0 {
        shown.push(format!("{:#x}", u64::from(rest) << names.len()));
    }
    shown.join(", ")
}

/// `BPF_F_*` of map creation, by bit (include/uapi/linux/bpf.h, Linux 6.18).
const MAP_FLAGS: [&str; 19] = [
    "no_prealloc",
    "no_common_lru",
    "numa_node",
    "rdonly",
    "wronly",
    "stack_build_id",
    "zero_seed",
    "rdonly_prog",
    "wronly_prog",
    "clone",
    "mmapable",
    "preserve_elems",
    "inner_map",
    "link",
    "path_fd",
    "vtype_btf_obj_fd",
    "token_fd",
    "segv_on_fault",
    "no_user_conv",
];

/// `BPF_F_*` of program loading, by bit.
const PROGRAM_FLAGS: [&str; 8] = [
    "strict_alignment",
    "any_alignment",
    "test_rnd_hi32",
    "test_state_freq",
    "sleepable",
    "xdp_has_frags",
    "xdp_dev_bound_only",
    "test_reg_invariants",
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn flags_have_the_kernels_names() {
        assert_eq!(map_flags(0), "");
        assert_eq!(map_flags(1 | 1 << 10 | 1 << 31), "no_prealloc, mmapable, 0x80000000");
        assert_eq!(program_flags(1 << 4), "sleepable");
    }
}
