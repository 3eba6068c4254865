//! The pages of `onebpf explain`: docs/errors/, in the binary.

/// The page of a code, however it is written.
pub(crate) fn page(code: &str) -> Option<&'static str> {
    PAGES.iter().find(|(known, _)| known.eq_ignore_ascii_case(code)).map(|(_, text)| *text)
}

/// The codes of this crate, with their titles; the others are in the crates that the errors come from.
#[cfg(test)]
const CODES: &[(&str, &str)] = &[
    ("E0901", "output cannot be written"),
    ("E0902", "typed value that is not a value of its type"),
    ("E0903", "file to compare with does not hold verdicts"),
    ("E0910", "kernel refused a filter, action, device or route"),
    ("E0911", "there is no such network device or namespace"),
    ("E0912", "command, or the kernel's trace pipe, cannot be run or read"),
    ("E0913", "maps cannot be handed over"),
    ("E0914", "program cannot be put into the slot"),
];

/// Codes and their pages, one file each in docs/errors/.
pub(crate) const PAGES: &[(&str, &str)] = &[
    ("E0101", include_str!("../../../docs/errors/E0101.md")),
    ("E0102", include_str!("../../../docs/errors/E0102.md")),
    ("E0103", include_str!("../../../docs/errors/E0103.md")),
    ("E0104", include_str!("../../../docs/errors/E0104.md")),
    ("E0105", include_str!("../../../docs/errors/E0105.md")),
    ("E0106", include_str!("../../../docs/errors/E0106.md")),
    ("E0107", include_str!("../../../docs/errors/E0107.md")),
    ("E0108", include_str!("../../../docs/errors/E0108.md")),
    ("E0109", include_str!("../../../docs/errors/E0109.md")),
    ("E0110", include_str!("../../../docs/errors/E0110.md")),
    ("E0111", include_str!("../../../docs/errors/E0111.md")),
    ("E0112", include_str!("../../../docs/errors/E0112.md")),
    ("E0113", include_str!("../../../docs/errors/E0113.md")),
    ("E0114", include_str!("../../../docs/errors/E0114.md")),
    ("E0115", include_str!("../../../docs/errors/E0115.md")),
    ("E0116", include_str!("../../../docs/errors/E0116.md")),
    ("E0117", include_str!("../../../docs/errors/E0117.md")),
    ("E0118", include_str!("../../../docs/errors/E0118.md")),
    ("E0130", include_str!("../../../docs/errors/E0130.md")),
    ("E0131", include_str!("../../../docs/errors/E0131.md")),
    ("E0140", include_str!("../../../docs/errors/E0140.md")),
    ("E0141", include_str!("../../../docs/errors/E0141.md")),
    ("E0142", include_str!("../../../docs/errors/E0142.md")),
    ("E0143", include_str!("../../../docs/errors/E0143.md")),
    ("E0144", include_str!("../../../docs/errors/E0144.md")),
    ("E0145", include_str!("../../../docs/errors/E0145.md")),
    ("E0146", include_str!("../../../docs/errors/E0146.md")),
    ("E0147", include_str!("../../../docs/errors/E0147.md")),
    ("E0148", include_str!("../../../docs/errors/E0148.md")),
    ("E0201", include_str!("../../../docs/errors/E0201.md")),
    ("E0202", include_str!("../../../docs/errors/E0202.md")),
    ("E0203", include_str!("../../../docs/errors/E0203.md")),
    ("E0204", include_str!("../../../docs/errors/E0204.md")),
    ("E0205", include_str!("../../../docs/errors/E0205.md")),
    ("E0206", include_str!("../../../docs/errors/E0206.md")),
    ("E0207", include_str!("../../../docs/errors/E0207.md")),
    ("E0208", include_str!("../../../docs/errors/E0208.md")),
    ("E0209", include_str!("../../../docs/errors/E0209.md")),
    ("E0210", include_str!("../../../docs/errors/E0210.md")),
    ("E0211", include_str!("../../../docs/errors/E0211.md")),
    ("E0212", include_str!("../../../docs/errors/E0212.md")),
    ("E0213", include_str!("../../../docs/errors/E0213.md")),
    ("E0214", include_str!("../../../docs/errors/E0214.md")),
    ("E0215", include_str!("../../../docs/errors/E0215.md")),
    ("E0216", include_str!("../../../docs/errors/E0216.md")),
    ("E0301", include_str!("../../../docs/errors/E0301.md")),
    ("E0302", include_str!("../../../docs/errors/E0302.md")),
    ("E0303", include_str!("../../../docs/errors/E0303.md")),
    ("E0304", include_str!("../../../docs/errors/E0304.md")),
    ("E0305", include_str!("../../../docs/errors/E0305.md")),
    ("E0306", include_str!("../../../docs/errors/E0306.md")),
    ("E0307", include_str!("../../../docs/errors/E0307.md")),
    ("E0308", include_str!("../../../docs/errors/E0308.md")),
    ("E0309", include_str!("../../../docs/errors/E0309.md")),
    ("E0310", include_str!("../../../docs/errors/E0310.md")),
    ("E0311", include_str!("../../../docs/errors/E0311.md")),
    ("E0312", include_str!("../../../docs/errors/E0312.md")),
    ("E0313", include_str!("../../../docs/errors/E0313.md")),
    ("E0314", include_str!("../../../docs/errors/E0314.md")),
    ("E0315", include_str!("../../../docs/errors/E0315.md")),
    ("E0316", include_str!("../../../docs/errors/E0316.md")),
    ("E0317", include_str!("../../../docs/errors/E0317.md")),
    ("E0318", include_str!("../../../docs/errors/E0318.md")),
    ("E0319", include_str!("../../../docs/errors/E0319.md")),
    ("E0320", include_str!("../../../docs/errors/E0320.md")),
    ("E0330", include_str!("../../../docs/errors/E0330.md")),
    ("E0331", include_str!("../../../docs/errors/E0331.md")),
    ("E0401", include_str!("../../../docs/errors/E0401.md")),
    ("E0402", include_str!("../../../docs/errors/E0402.md")),
    ("E0403", include_str!("../../../docs/errors/E0403.md")),
    ("E0404", include_str!("../../../docs/errors/E0404.md")),
    ("E0405", include_str!("../../../docs/errors/E0405.md")),
    ("E0406", include_str!("../../../docs/errors/E0406.md")),
    ("E0407", include_str!("../../../docs/errors/E0407.md")),
    ("E0408", include_str!("../../../docs/errors/E0408.md")),
    ("E0409", include_str!("../../../docs/errors/E0409.md")),
    ("E0410", include_str!("../../../docs/errors/E0410.md")),
    ("E0411", include_str!("../../../docs/errors/E0411.md")),
    ("E0412", include_str!("../../../docs/errors/E0412.md")),
    ("E0413", include_str!("../../../docs/errors/E0413.md")),
    ("E0414", include_str!("../../../docs/errors/E0414.md")),
    ("E0415", include_str!("../../../docs/errors/E0415.md")),
    ("E0416", include_str!("../../../docs/errors/E0416.md")),
    ("E0417", include_str!("../../../docs/errors/E0417.md")),
    ("E0418", include_str!("../../../docs/errors/E0418.md")),
    ("E0419", include_str!("../../../docs/errors/E0419.md")),
    ("E0901", include_str!("../../../docs/errors/E0901.md")),
    ("E0902", include_str!("../../../docs/errors/E0902.md")),
    ("E0903", include_str!("../../../docs/errors/E0903.md")),
    ("E0910", include_str!("../../../docs/errors/E0910.md")),
    ("E0911", include_str!("../../../docs/errors/E0911.md")),
    ("E0912", include_str!("../../../docs/errors/E0912.md")),
    ("E0913", include_str!("../../../docs/errors/E0913.md")),
    ("E0914", include_str!("../../../docs/errors/E0914.md")),
    ("W0101", include_str!("../../../docs/errors/W0101.md")),
    ("W0102", include_str!("../../../docs/errors/W0102.md")),
    ("W0103", include_str!("../../../docs/errors/W0103.md")),
    ("W0104", include_str!("../../../docs/errors/W0104.md")),
    ("W0105", include_str!("../../../docs/errors/W0105.md")),
    ("W0106", include_str!("../../../docs/errors/W0106.md")),
    ("W0120", include_str!("../../../docs/errors/W0120.md")),
    ("W0121", include_str!("../../../docs/errors/W0121.md")),
    ("W0301", include_str!("../../../docs/errors/W0301.md")),
    ("W0302", include_str!("../../../docs/errors/W0302.md")),
    ("W0303", include_str!("../../../docs/errors/W0303.md")),
    ("W0304", include_str!("../../../docs/errors/W0304.md")),
    ("W0305", include_str!("../../../docs/errors/W0305.md")),
    ("W0306", include_str!("../../../docs/errors/W0306.md")),
];

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeMap;

    #[test]
    fn every_code_has_a_page_with_its_title() {
        let tables = [
            onebpf::object::CODES,
            onebpf::object::WARNINGS,
            onebpf::btf::CODES,
            onebpf::CODES,
            onebpf::WARNINGS,
            CODES,
        ];
        let codes: BTreeMap<&str, &str> = tables.into_iter().flatten().copied().collect();
        let count: usize = tables.iter().map(|table| table.len()).sum();
        assert_eq!(codes.len(), count, "a code is given twice");
        assert_eq!(
            PAGES.iter().map(|row| row.0).collect::<Vec<_>>(),
            codes.keys().copied().collect::<Vec<_>>()
        );
        for (code, text) in PAGES {
            let title = codes.get(code).copied().unwrap_or_default();
            assert_eq!(text.lines().next(), Some(format!("# {code}: {title}").as_str()));
            let lines = text.lines().count();
            assert!((10..=40).contains(&lines), "{code} has {lines} lines");
        }
    }

    #[test]
    fn every_page_is_in_the_table() {
        let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/errors");
        let files = std::fs::read_dir(folder).expect("docs/errors is there");
        let mut names: Vec<String> =
            files.map(|file| file.expect("readable").file_name().to_string_lossy().into_owned()).collect();
        names.sort();
        assert_eq!(names, PAGES.iter().map(|(code, _)| format!("{code}.md")).collect::<Vec<_>>());
    }

    #[test]
    fn codes_are_found_however_they_are_written() {
        assert_eq!(page("e0103"), page("E0103"));
        assert!(page("E0103").is_some() && page("E9999").is_none());
    }
}
