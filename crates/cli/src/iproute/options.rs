//! What stands before the first word of `tc` and `ip`.

use super::words::{Words, usage};
use crate::exit::Outcome;

/// A tool's options, in the order in which it tries them: the first that begins with what was typed is meant.
#[derive(Debug)]
pub(crate) struct Tool {
    /// `tc` or `ip`.
    pub(crate) name: &'static str,
    options: &'static [(&'static str, Effect)],
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Effect {
    /// About printing, or of no consequence here.
    None,
    /// The same, with a word after it.
    Value,
    Netns,
    Batch,
    Force,
    Family,
    Inet,
    Inet6,
    /// Help and version are the system's.
    Other,
}

use Effect::{Batch, Family, Force, Inet, Inet6, Netns, None as Nothing, Other, Value};

/// iproute2's tc.c.
pub(crate) const TC: &Tool = &Tool {
    name: "tc",
    options: &[
        ("-stats", Nothing),
        ("-statistics", Nothing),
        ("-details", Nothing),
        ("-raw", Nothing),
        ("-pretty", Nothing),
        ("-graph", Nothing),
        ("-Version", Other),
        ("-iec", Nothing),
        ("-help", Other),
        ("-force", Force),
        ("-batch", Batch),
        ("-netns", Netns),
        ("-Numeric", Nothing),
        ("-names", Nothing),
        ("-nm", Nothing),
        ("-cf", Value),
        ("-conf", Value),
        ("-color", Nothing),
        ("-timestamp", Nothing),
        ("-tshort", Nothing),
        ("-json", Nothing),
        ("-oneline", Nothing),
        ("-brief", Nothing),
        ("-echo", Nothing),
    ],
};

/// iproute2's ip.c.
pub(crate) const IP: &Tool = &Tool {
    name: "ip",
    options: &[
        ("-loops", Value),
        ("-family", Family),
        ("-4", Inet),
        ("-6", Inet6),
        ("-0", Other),
        ("-M", Other),
        ("-B", Other),
        ("-human-readable", Nothing),
        ("-iec", Nothing),
        ("-stats", Nothing),
        ("-statistics", Nothing),
        ("-details", Nothing),
        ("-resolve", Nothing),
        ("-oneline", Nothing),
        ("-timestamp", Nothing),
        ("-tshort", Nothing),
        ("-Version", Other),
        ("-force", Force),
        ("-batch", Batch),
        ("-brief", Nothing),
        ("-json", Nothing),
        ("-pretty", Nothing),
        ("-rcvbuf", Value),
        ("-color", Nothing),
        ("-help", Other),
        ("-netns", Netns),
        ("-Numeric", Nothing),
        ("-all", Nothing),
        ("-echo", Nothing),
    ],
};

/// The options of a command line.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Options {
    /// Network namespace to work in.
    pub(crate) netns: Option<String>,
    /// A file of command lines; `-` is standard input.
    pub(crate) batch: Option<String>,
    /// Go on with the next line of a batch; replace an XDP program.
    pub(crate) force: bool,
    /// IPv6 or not, if that is said.
    pub(crate) ipv6: Option<bool>,
}

impl Tool {
    /// Reads the options; the command is left. `None`: there is one that only the tool itself can honour.
    pub(crate) fn options(&self, words: &mut Words<'_>) -> Outcome<Option<Options>> {
        let mut options = Options::default();
        while let Some(word) = words.peek().filter(|word| word.starts_with('-')) {
            let typed = if word.starts_with("--") { word.get(1..).unwrap_or(word) } else { word };
            if typed == "-" {
                words.next();
                break;
            }
            // `-color=always` is one word.
            let typed = typed.split('=').next().unwrap_or(typed);
            let Some((_, effect)) = self.options.iter().find(|(full, _)| full.starts_with(typed)) else {
                return Ok(None);
            };
            words.next();
            match effect {
                Nothing => {}
                Value => drop(words.value(word)?),
                Netns => options.netns = Some(words.value(word)?.to_owned()),
                Batch => options.batch = Some(words.value(word)?.to_owned()),
                Force => options.force = true,
                Inet => options.ipv6 = Some(false),
                Inet6 => options.ipv6 = Some(true),
                Family => {
                    options.ipv6 = Some(match words.value(word)? {
                        "inet" => false,
                        "inet6" => true,
                        _ => return Ok(None),
                    });
                }
                Other => return Ok(None),
            }
        }
        Ok(Some(options))
    }
}

/// Splits a line of a batch file into words: quotes hold words together, `#` begins a comment (iproute2's `makeargs()`).
pub(crate) fn split_line(line: &str) -> Outcome<Vec<String>> {
    let mut words = Vec::new();
    let mut rest = line.trim_start();
    while let Some(first) = rest.chars().next().filter(|first| *first != '#') {
        let quoted = rest.get(1..).filter(|_| matches!(first, '"' | '\''));
        let (word, after) = match quoted {
            Some(inner) => inner.split_once(first).ok_or_else(|| usage("a quote is not closed"))?,
            None => rest.split_at(rest.find(char::is_whitespace).unwrap_or(rest.len())),
        };
        words.push(word.to_owned());
        rest = after.trim_start();
    }
    Ok(words)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(tool: &Tool, line: &str) -> Option<(Options, String)> {
        let line: Vec<String> = line.split(' ').map(str::to_owned).collect();
        let mut words = Words::new(&line);
        let options = tool.options(&mut words).unwrap()?;
        Some((options, words.rest().join(" ")))
    }

    #[test]
    fn options_are_any_beginning() {
        let (options, rest) = read(TC, "-s -n red -force filter add").unwrap();
        assert_eq!(options, Options { netns: Some("red".into()), force: true, ..Options::default() });
        assert_eq!(rest, "filter add");
        let (options, rest) = read(IP, "-6 -net blue --batch - -color=always x").unwrap();
        assert_eq!((options.ipv6, options.netns.as_deref()), (Some(true), Some("blue")));
        assert_eq!((options.batch.as_deref(), rest.as_str()), (Some("-"), "x"));
        assert_eq!(read(IP, "-f inet6 route").unwrap().0.ipv6, Some(true));
        assert_eq!(read(TC, "-V"), None);
        assert_eq!(read(IP, "-zzz link"), None);
        assert_eq!(read(IP, "-force link").unwrap().0.ipv6, None);
    }

    #[test]
    fn batch_lines_have_quotes_and_comments() {
        assert_eq!(split_line(" a  'b c' \"d\" # e").unwrap(), ["a", "b c", "d"]);
        assert!(split_line("# nothing").unwrap().is_empty());
        assert!(split_line("'a").is_err());
    }
}
