//! Programs: which functions there are, what they refer to, and how they are put together.

mod sections;

pub use sections::{SECTIONS, SectionFlags, SectionRule};
