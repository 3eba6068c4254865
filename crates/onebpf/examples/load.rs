//! Loads an object, pins nothing, and says what the kernel holds now: `cargo run -p onebpf --example load -- FILE`, as root.
#![forbid(unsafe_code)]

use onebpf::{Kernel, Linux, Options, ParseOptions, load_spec, read};
use std::path::PathBuf;
use std::sync::Arc;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let file: PathBuf = std::env::args_os().nth(1).ok_or("which object?")?.into();
    let spec = read(&file, &ParseOptions::default())?;
    let mut options = Options::default();
    options.pins.disabled = true;
    let kernel: Arc<dyn Kernel> = Arc::new(Linux);
    let loaded = load_spec(&kernel, &spec, &options)?;
    for (name, map) in &loaded.maps {
        let info = map.info()?;
        println!(
            "map {name}: id {}, {} entries of {} bytes at most",
            info.id, info.max_entries, info.value_size
        );
    }
    for (name, program) in &loaded.programs {
        println!("program {name}: id {}", program.info()?.id);
    }
    // Handles own their fds: with the last of them all of this is gone again.
    Ok(())
}
