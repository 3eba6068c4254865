//! What the kernel holds after a load: the same questions about what libbpf made and what onebpf made.

use std::ffi::CStr;
use std::os::fd::{AsRawFd as _, RawFd};
use std::path::Path;
use std::process::Command;

use serde_json::{Value, json};

use crate::libbpf::{self, Keep, Object};
use crate::log::Facts;
use crate::run;

/// Loads by libbpf: `{"maps", "programs"}` as the kernel describes them, or a string that says why it failed.
pub fn by_libbpf(path: &Path) -> Value {
    libbpf::keep_log(Keep::Everything);
    libbpf::take_log();
    let object = Object::open(path);
    let object = object.and_then(|object| object.load().map(|()| object));
    let warnings = Facts::read(&libbpf::take_log()).warnings;
    match object {
        Ok(object) => {
            let maps = object.maps().into_iter().filter(|it| it.fd() >= 0).map(|it| map(&it.name(), it.fd()));
            let programs = object
                .programs()
                .into_iter()
                .filter(|it| it.fd() >= 0)
                .map(|it| program(&it.name(), it.fd()));
            json!({ "maps": maps.collect::<Vec<_>>(), "programs": programs.collect::<Vec<_>>() })
        }
        Err(errno) => {
            // The verifier's log is one warning of many lines; the short ones say which step failed.
            let said: Vec<_> =
                warnings.into_iter().filter(|it| it.len() < 200 && !it.contains("LOAD LOG")).collect();
            json!(format!("errno {}: {}", errno.0, said.join(" | ")))
        }
    }
}

/// The same by the onebpf command, which pins all in this process's private bpffs so that it stays to be looked at.
pub fn by_onebpf(onebpf: &Path, path: &Path) -> Value {
    let mut command = Command::new(onebpf);
    command.args(["load", "--json", "--pin", "/sys/fs/bpf/loaded"]).arg(path);
    if let Some(btf) = run::kernel_btf() {
        command.arg("--btf").arg(btf);
    }
    let output = match command.output() {
        Ok(output) => output,
        Err(error) => return json!(error.to_string()),
    };
    let loaded: Value = serde_json::from_slice(&output.stdout).unwrap_or_default();
    if !output.status.success() {
        return json!(run::error_of(&loaded));
    }
    let each = |kind: &str, describe: &dyn Fn(&str, u32) -> Option<Value>| -> Vec<Value> {
        let all = loaded[kind].as_array().map_or(&[][..], Vec::as_slice);
        let one = |it: &Value| describe(it["name"].as_str()?, u32::try_from(it["id"].as_u64()?).ok()?);
        all.iter().filter_map(one).collect()
    };
    let maps = each("maps", &|name, id| Some(map(name, libbpf::map_by_id(id)?.as_raw_fd())));
    let programs = each("programs", &|name, id| Some(program(name, libbpf::program_by_id(id)?.as_raw_fd())));
    json!({ "maps": maps, "programs": programs })
}

fn map(name: &str, fd: RawFd) -> Value {
    let info = libbpf::map_info(fd).unwrap_or_default();
    let fdinfo = std::fs::read_to_string(format!("/proc/self/fdinfo/{fd}")).unwrap_or_default();
    let frozen = fdinfo.lines().any(|line| line.starts_with("frozen:") && line.ends_with('1'));
    json!({
        "name": name, "kernel_name": text(&info.name), "type": info.type_, "key_size": info.key_size,
        "value_size": info.value_size, "max_entries": info.max_entries, "map_flags": info.map_flags,
        "map_extra": info.map_extra, "has_btf": info.btf_id != 0, "btf_key_type_id": info.btf_key_type_id,
        "btf_value_type_id": info.btf_value_type_id, "frozen": frozen,
    })
}

fn program(name: &str, fd: RawFd) -> Value {
    let info = libbpf::program_info(fd).unwrap_or_default();
    json!({
        "name": name, "kernel_name": text(&info.name), "type": info.type_, "tag": info.tag,
        "gpl_compatible": info.gpl_compatible() != 0, "nr_map_ids": info.nr_map_ids,
        "xlated_prog_len": info.xlated_prog_len, "has_btf": info.btf_id != 0, "nr_func_info": info.nr_func_info,
        "nr_line_info": info.nr_line_info, "attach_btf_id": info.attach_btf_id, "verified_insns": info.verified_insns,
    })
}

/// A name as the kernel has it: up to 15 bytes.
fn text(name: &[std::os::raw::c_char]) -> String {
    let bytes: Vec<u8> = name.iter().map(|byte| *byte as u8).collect();
    CStr::from_bytes_until_nul(&bytes).map(|it| it.to_string_lossy().into_owned()).unwrap_or_default()
}
