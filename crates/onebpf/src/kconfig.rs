//! The kernel's configuration: `CONFIG_HZ=250`, one option in a line, in a file that may be compressed.

use crate::error::{Code, Error, Result};
use flate2::read::MultiGzDecoder;
use onebpf_sys::Kernel;
use std::collections::{BTreeMap, BTreeSet};
use std::io::{BufRead, BufReader, Read};
use std::path::{Path, PathBuf};

/// The most bytes of a configuration, unpacked; those of today have 300 KiB.
const LONGEST: u64 = 16 << 20;

/// What the kernel's configuration says of the options that an object asks for.
#[derive(Clone, Debug, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct KernelConfig {
    /// The files that were looked at: the last one was read, if [`found`](Self::found).
    pub looked_at: Vec<PathBuf>,
    /// Whether one of them could be read.
    pub found: bool,
    /// The text behind `=` of each option that was asked for; `None`: it is not set.
    pub options: BTreeMap<String, Option<String>>,
}

impl KernelConfig {
    /// Reads `wanted` from where libbpf looks (`bpf_object__read_kconfig_file`): `/boot/config-RELEASE`, else what the kernel
    /// shows itself (`CONFIG_IKCONFIG_PROC`).
    pub(crate) fn read(kernel: &dyn Kernel, release: &str, wanted: &BTreeSet<String>) -> Result<Self> {
        let mut config =
            Self { options: wanted.iter().map(|name| (name.clone(), None)).collect(), ..Self::default() };
        // A release is one name, and leads nowhere else.
        let boot = (!release.contains('/')).then(|| format!("/boot/config-{release}"));
        for path in boot.into_iter().chain(["/proc/config.gz".to_owned()]).map(PathBuf::from) {
            let data = kernel.read_file(&path);
            config.looked_at.push(path.clone());
            if let Ok(data) = data {
                let found =
                    scan(&data, |name| wanted.contains(name)).map_err(|error| error.in_file(&path))?;
                config.options.extend(found.into_iter().map(|(name, text)| (name, Some(text))));
                config.found = true;
                break;
            }
        }
        Ok(config)
    }
}

/// Reads options in the form of the kernel's configuration, from text or gzip: every line `CONFIG_NAME=VALUE`. Of an option
/// that stands there twice, the first line counts.
///
/// # Errors
/// E0317 for a line that begins with `CONFIG_` and has no value, for damaged gzip, and for more than 16 MiB.
pub fn parse_config(data: &[u8]) -> Result<BTreeMap<String, String>> {
    scan(data, |_| true).map_err(Fault::error)
}

/// Why a configuration cannot be read.
enum Fault {
    Line(usize, String),
    Damaged(String),
    TooLong,
}

impl Fault {
    fn text(self) -> String {
        match self {
            Self::Line(number, line) => format!("line {number}, `{line}`, has no value"),
            Self::Damaged(why) => format!("it cannot be unpacked: {why}"),
            Self::TooLong => format!("it has more than {} MiB", LONGEST >> 20),
        }
    }

    fn error(self) -> Error {
        Error::new(Code::Config, format!("configuration: {}", self.text()))
    }

    fn in_file(self, path: &Path) -> Error {
        Error::new(Code::Config, format!("the kernel's configuration in {}: {}", path.display(), self.text()))
    }
}

/// The options that are wanted. A configuration of many lines is not held as text.
fn scan(data: &[u8], wanted: impl Fn(&str) -> bool) -> std::result::Result<BTreeMap<String, String>, Fault> {
    const GZIP: [u8; 2] = [0x1f, 0x8b];
    let unpacked: Box<dyn Read + '_> =
        if data.starts_with(&GZIP) { Box::new(MultiGzDecoder::new(data)) } else { Box::new(data) };
    // One byte more than there may be tells a long one from one that ends there.
    let mut lines = BufReader::new(unpacked.take(LONGEST + 1));
    let mut options = BTreeMap::new();
    let (mut line, mut number, mut total) = (Vec::new(), 0, 0);
    loop {
        line.clear();
        let read = lines.read_until(b'\n', &mut line).map_err(|error| Fault::Damaged(error.to_string()))?;
        total += read as u64;
        if total > LONGEST {
            return Err(Fault::TooLong);
        }
        if read == 0 {
            return Ok(options);
        }
        number += 1;
        if !line.starts_with(b"CONFIG_") {
            continue;
        }
        let text = String::from_utf8_lossy(line.trim_ascii_end());
        match text.split_once('=') {
            Some((name, value)) if !value.is_empty() => {
                if wanted(name) && !options.contains_key(name) {
                    options.insert(name.to_owned(), value.to_owned());
                }
            }
            _ => return Err(Fault::Line(number, text.chars().take(80).collect())),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use flate2::Compression;
    use flate2::write::GzEncoder;
    use onebpf_fake::FakeKernel;
    use std::io::Write;

    const TEXT: &str = "#\n# Linux\n#\nCONFIG_HZ=250\n# CONFIG_X is not set\nCONFIG_HZ=1000\nOTHER\n\
                        CONFIG_CC=\"a=b \"\r\nCONFIG_LAST=y";

    fn gzip(data: &[u8]) -> Vec<u8> {
        let mut packed = GzEncoder::new(Vec::new(), Compression::best());
        packed.write_all(data).unwrap();
        packed.finish().unwrap()
    }

    #[test]
    fn the_first_line_of_an_option_counts() {
        let wanted: BTreeMap<String, String> =
            [("CONFIG_HZ", "250"), ("CONFIG_CC", "\"a=b \""), ("CONFIG_LAST", "y")]
                .map(|(name, text)| (name.to_owned(), text.to_owned()))
                .into();
        assert_eq!(parse_config(TEXT.as_bytes()).unwrap(), wanted);
        let packed = gzip(TEXT.as_bytes());
        assert_eq!(parse_config(&packed).unwrap(), wanted);
        assert_eq!(parse_config(&[gzip(b"CONFIG_"), gzip(b"HZ=250\n")].concat()).unwrap().len(), 1);
    }

    #[test]
    fn damage_is_an_error_and_no_more() {
        for (text, said) in [
            ("CONFIG_A=y\nCONFIG_HZ\n", "line 2, `CONFIG_HZ`, has no value"),
            ("CONFIG_HZ=\n", "has no value"),
            ("CONFIG_\u{fffd}", "has no value"),
        ] {
            let error = parse_config(text.as_bytes()).unwrap_err();
            assert_eq!(error.code(), "E0317");
            assert!(error.to_string().contains(said), "{error}");
        }
        let packed = gzip(TEXT.as_bytes());
        for end in 2..packed.len() {
            assert!(parse_config(&packed[..end]).is_err(), "{end}");
        }
        // 64 MiB in 64 KiB: unpacked as far as it may go.
        let bomb = gzip(&vec![b'#'; 64 << 20]);
        assert!(parse_config(&bomb).unwrap_err().to_string().contains("16 MiB"));
    }

    #[test]
    fn the_release_has_its_file_and_the_kernel_its_own() {
        let read = |kernel: &FakeKernel| {
            KernelConfig::read(kernel, "6.1.0", &["CONFIG_HZ".to_owned(), "CONFIG_X".to_owned()].into())
                .unwrap()
        };
        let nothing = read(&FakeKernel::new());
        assert!(!nothing.found && nothing.looked_at.len() == 2, "{nothing:?}");
        let own = FakeKernel::new().with_file("/proc/config.gz", gzip(TEXT.as_bytes()));
        assert_eq!(read(&own).options["CONFIG_HZ"].as_deref(), Some("250"));
        assert_eq!(read(&own).options["CONFIG_X"], None);
        let both = own.with_file("/boot/config-6.1.0", "CONFIG_HZ=100\n");
        assert_eq!(read(&both).options["CONFIG_HZ"].as_deref(), Some("100"));
        assert_eq!(read(&both).looked_at, [PathBuf::from("/boot/config-6.1.0")]);
    }
}
