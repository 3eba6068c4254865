//! `onebpf explain`: the long story of a code.

use crate::errors::{PAGES, page};
use crate::exit::{Failure, Outcome};
use crate::out::Out;

/// The long story of an error or warning code.
#[derive(clap::Args, Debug)]
pub(crate) struct Args {
    /// A code such as E0103 or W0003; without one, the list of all codes
    code: Option<String>,
}

pub(crate) fn run(args: &Args, out: &mut Out) -> Outcome {
    let Some(code) = &args.code else { return list(out) };
    let Some(text) = page(code) else {
        return Err(Failure::Usage(format!("there is no code `{code}`; `onebpf explain` lists all")));
    };
    if out.json {
        return out
            .json(&serde_json::json!({ "code": code.to_uppercase(), "title": title(text), "text": text }));
    }
    out.raw(text.as_bytes())
}

fn list(out: &mut Out) -> Outcome {
    if out.json {
        let codes =
            PAGES.iter().map(|(code, text)| serde_json::json!({ "code": code, "title": title(text) }));
        return out.json(&serde_json::json!({ "codes": codes.collect::<Vec<_>>() }));
    }
    for (code, text) in PAGES {
        out.line(format_args!("{code}  {}", title(text)))?;
    }
    Ok(())
}

/// The heading without its `# E0103: `.
fn title(text: &str) -> &str {
    let heading = text.lines().next().unwrap_or_default().trim_start_matches("# ");
    heading.split_once(": ").map_or(heading, |(_, title)| title)
}
