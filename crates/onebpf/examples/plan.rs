//! What would loading an object do? Nothing happens: `cargo run -p onebpf --example plan -- FILE`.
#![forbid(unsafe_code)]

use onebpf::{Linux, Options, ParseOptions, observe, plan, read};
use std::path::PathBuf;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let file: PathBuf = std::env::args_os().nth(1).ok_or("which object?")?.into();
    let mut spec = read(&file, &ParseOptions::default())?;
    // A spec is plain data: what the object declares can be changed before it is planned.
    if let Some(flows) = spec.maps.get_mut("flows") {
        flows.max_entries = 65_536;
    }
    let options = Options::default();
    let facts = observe(&Linux, &spec, &options)?;
    print!("{}", plan(&spec, &options, &facts)?);
    Ok(())
}
