//! What is said on the command line.

use std::path::PathBuf;
use std::time::Duration;

use super::verbs;

const USAGE: &str = "\
usage: cargo xtask vm --kernel RELEASE [OPTIONS] [--] COMMAND...
       cargo xtask vm --kernel RELEASE [OPTIONS] VERB ...
  --kernel RELEASE  one of Debian's: 6.12, 6.1, 5.10
  --timeout S       seconds until the guest is stopped (default: 300; test and conformance have their own)
  --module M        load a module first (again for more)
  --env K=V         set a variable (again for more)
  --share DIR       let the guest write to DIR (again for more); the repository and the target directory are shared
  --memory SIZE     the guest's memory (default: 2G)
  --append WORDS    words for the kernel's command line
  --console FILE    where the console goes";

/// What is said on the command line.
#[derive(Clone, Debug)]
pub(super) struct Options {
    pub(super) kernel: String,
    pub(super) timeout: Duration,
    pub(super) modules: Vec<String>,
    pub(super) env: Vec<(String, String)>,
    pub(super) shares: Vec<PathBuf>,
    pub(super) memory: String,
    pub(super) append: String,
    pub(super) console: Option<PathBuf>,
    pub(super) what: What,
}

/// What to do in the guest.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum What {
    /// A command of the host.
    Command(Vec<String>),
    /// Something that this program knows, and its arguments.
    Verb(&'static verbs::Verb, Vec<String>),
}

impl Options {
    pub(super) fn parse(arguments: &[String]) -> Result<Self, String> {
        let mut options = Self {
            kernel: String::new(),
            timeout: Duration::ZERO,
            modules: Vec::new(),
            env: Vec::new(),
            shares: Vec::new(),
            memory: "2G".into(),
            append: String::new(),
            console: None,
            what: What::Command(Vec::new()),
        };
        let mut rest = arguments.iter();
        while let Some(word) = rest.as_slice().first().filter(|word| word.starts_with("--") && *word != "--")
        {
            rest.next();
            let value = rest.next().ok_or_else(|| format!("{word} needs a value\n{}", usage()))?;
            options.set(word, value)?;
        }
        options.what = what(rest.as_slice())?;
        if options.kernel.is_empty() || options.what == What::Command(Vec::new()) {
            return Err(usage());
        }
        if options.timeout.is_zero() {
            options.timeout = match options.what {
                What::Verb(verb, _) => verb.timeout,
                What::Command(_) => Duration::from_mins(5),
            };
        }
        Ok(options)
    }

    fn set(&mut self, name: &str, value: &str) -> Result<(), String> {
        let absolute = |path: &str| std::path::absolute(path).map_err(|error| format!("{path}: {error}"));
        match name {
            "--kernel" => value.clone_into(&mut self.kernel),
            "--timeout" => {
                let seconds = value.parse().map_err(|error| format!("{name} {value}: {error}"))?;
                self.timeout = Duration::from_secs(seconds);
            }
            "--module" => self.modules.push(value.to_owned()),
            "--env" => {
                let (key, value) = value.split_once('=').ok_or_else(|| format!("{name} {value}: not K=V"))?;
                self.env.push((key.to_owned(), value.to_owned()));
            }
            "--share" => self.shares.push(absolute(value)?),
            "--memory" => value.clone_into(&mut self.memory),
            "--append" => value.clone_into(&mut self.append),
            "--console" => self.console = Some(absolute(value)?),
            _ => return Err(format!("no option {name}\n{}", usage())),
        }
        Ok(())
    }
}

/// After `--` stands a command, whatever its name; without it a verb goes first.
fn what(rest: &[String]) -> Result<What, String> {
    match rest {
        [dashes, command @ ..] if dashes == "--" => Ok(What::Command(command.to_vec())),
        [name, more @ ..] => Ok(match verbs::VERBS.iter().find(|verb| verb.name == name) {
            Some(verb) => What::Verb(verb, more.to_vec()),
            None => What::Command(rest.to_vec()),
        }),
        [] => Err(usage()),
    }
}

fn usage() -> String {
    let verb = |verb: &verbs::Verb| format!("\n  {:<12} {:<32} {}", verb.name, verb.usage, verb.about);
    format!("{USAGE}\nverbs:{}", verbs::VERBS.iter().map(verb).collect::<String>())
}

#[cfg(test)]
mod tests {
    use super::{Options, What};
    use std::time::Duration;

    fn parse(line: &str) -> Result<Options, String> {
        Options::parse(&line.split_whitespace().map(str::to_owned).collect::<Vec<_>>())
    }

    #[test]
    fn commands_and_verbs() {
        let options = parse("--kernel 6.12 --timeout 7 --env A=b=c uname -r").expect("options");
        assert_eq!((options.kernel.as_str(), options.timeout), ("6.12", Duration::from_secs(7)));
        assert_eq!(options.env, [("A".to_owned(), "b=c".to_owned())]);
        assert_eq!(options.what, What::Command(vec!["uname".into(), "-r".into()]));
        assert!(matches!(parse("--kernel 6.1 test -p x").expect("options").what, What::Verb(..)));
        let shell = parse("--kernel 6.1 -- test -e x").expect("options");
        assert_eq!(shell.what, What::Command(vec!["test".into(), "-e".into(), "x".into()]));
    }

    #[test]
    fn what_is_wrong_is_said() {
        for line in ["", "--kernel", "uname", "--kernel 6.1", "--kernel 6.1 --", "--kernl 6.1 true"] {
            assert!(parse(line).expect_err(line).contains("usage"), "{line}");
        }
        assert!(parse("--kernel 6.1 --timeout x true").is_err());
    }
}
