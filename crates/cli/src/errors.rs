//! The pages of `onebpf explain`: docs/errors/, in the binary.

/// Codes and their pages.
pub(crate) const PAGES: &[(&str, &str)] = &[("E0901", include_str!("../../../docs/errors/E0901.md"))];

/// The page of a code, however it is written.
pub(crate) fn page(code: &str) -> Option<&'static str> {
    PAGES.iter().find(|(known, _)| known.eq_ignore_ascii_case(code)).map(|(_, text)| *text)
}
