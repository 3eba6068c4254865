//! The kernel's configuration: any bytes are read or refused, packed or not; what an option says becomes as many bytes as its
//! variable has, or is refused.

#![no_main]

use flate2::Compression;
use flate2::write::GzEncoder;
use libfuzzer_sys::fuzz_target;
use onebpf::btf::Endian;
use onebpf::object::ConfigType;
use std::io::Write;

const TYPES: [(ConfigType, usize); 8] = [
    (ConfigType::Bool, 1),
    (ConfigType::Char { signed: true }, 1),
    (ConfigType::Char { signed: false }, 1),
    (ConfigType::Int { size: 2, signed: true }, 2),
    (ConfigType::Int { size: 4, signed: false }, 4),
    (ConfigType::Int { size: 8, signed: true }, 8),
    (ConfigType::Tristate { size: 4 }, 4),
    (ConfigType::Text { size: 5 }, 5),
];

fuzz_target!(|bytes: &[u8]| {
    let plain = onebpf::parse_config(bytes);
    if !bytes.starts_with(&[0x1f, 0x8b]) {
        let mut packed = GzEncoder::new(Vec::new(), Compression::fast());
        packed.write_all(bytes).expect("memory");
        let unpacked = onebpf::parse_config(&packed.finish().expect("memory"));
        match (&plain, unpacked) {
            (Ok(one), Ok(other)) => assert_eq!(*one, other),
            (one, other) => assert!(one.is_err() && other.is_err()),
        }
    }
    for (name, text) in plain.into_iter().flatten() {
        assert!(name.starts_with("CONFIG_") && !text.is_empty());
        for (kind, size) in TYPES {
            for endian in [Endian::Little, Endian::Big] {
                if let Ok(value) = kind.encode(&text, endian) {
                    assert_eq!(value.len(), size, "{name}={text}");
                }
            }
        }
    }
});
