//! What apt(8) is asked: which kernels there are, and one of them as a file. The archive is the one that this machine
//! uses; a release whose suite is not configured is looked up there in lists of our own, and nothing of the machine's
//! configuration is changed.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use super::Scratch;
use crate::run;

/// The suite that has a release, where people do not usually have it configured.
const SUITES: &[(&str, &str)] = &[("5.10", "bullseye")];

/// One version of a package.
#[derive(Debug)]
pub(super) struct Package {
    pub(super) name: String,
    pub(super) version: String,
}

/// apt with the machine's suites, or with one of its own.
pub(super) struct Apt {
    own: Option<Scratch>,
}

impl Apt {
    /// Whether kernels of `release` are not in the machine's suites, but in one that is known here.
    pub(super) fn is_foreign(release: &str) -> bool {
        let known = SUITES.iter().any(|(known, _)| *known == release);
        known && Self { own: None }.kernels(release).is_ok_and(|names| names.is_empty())
    }

    /// The apt that knows kernels of `release`.
    pub(super) fn for_kernel(release: &str) -> Result<Self, String> {
        let machine = Self { own: None };
        if !machine.kernels(release)?.is_empty() {
            return Ok(machine);
        }
        if let Some((_, suite)) = SUITES.iter().find(|(known, _)| *known == release) {
            return machine.with_suite(suite);
        }
        // Images of containers come without lists.
        if run::is_root() {
            run::capture(machine.command("apt-get").args(["update", "-qq"]))?;
        }
        Ok(machine)
    }

    /// The package of `release` with the newest ABI, of Debian's flavour for virtual machines.
    pub(super) fn newest_kernel(&self, release: &str) -> Result<Package, String> {
        let names = self.kernels(release)?;
        let newest = names.into_iter().max_by_key(|name| numbers(name));
        let name = newest.ok_or_else(|| format!("apt knows no kernel {release}"))?;
        let said = run::capture(self.command("apt-cache").args(["show", "--no-all-versions"]).arg(&name))?;
        let version = said.lines().find_map(|line| line.strip_prefix("Version: "));
        let version = version.ok_or_else(|| format!("apt does not know the version of {name}"))?.to_owned();
        Ok(Package { name, version })
    }

    /// Downloads the package into `directory`.
    pub(super) fn download(&self, package: &Package, directory: &Path) -> Result<PathBuf, String> {
        let wanted = format!("{}={}", package.name, package.version);
        run::capture(self.command("apt-get").args(["download", "-qq", &wanted]).current_dir(directory))?;
        let entries = fs::read_dir(directory).map_err(|error| error.to_string())?;
        let found = entries.filter_map(|entry| Some(entry.ok()?.path()));
        let is_package = |path: &PathBuf| path.extension().is_some_and(|it| it == "deb");
        found.into_iter().find(is_package).ok_or_else(|| format!("apt downloaded no {wanted}"))
    }

    fn kernels(&self, release: &str) -> Result<Vec<String>, String> {
        let architecture = match std::env::consts::ARCH {
            "x86_64" => "amd64",
            other => return Err(format!("virtual machines are for x86_64, and this is {other}")),
        };
        let pattern = format!("^linux-image-{}\\.[0-9].*-cloud-{architecture}$", release.replace('.', "\\."));
        let said = run::capture(self.command("apt-cache").args(["search", "--names-only", &pattern]))?;
        Ok(said.lines().filter_map(|line| line.split_once(" - ")).map(|(name, _)| name.to_owned()).collect())
    }

    /// As this one, but with `suite` of the same archive alone.
    fn with_suite(&self, suite: &str) -> Result<Self, String> {
        let mut targets = self.command("apt-get");
        targets.args(["indextargets", "--format", "$(REPO_URI)"]);
        let said = run::capture(targets.args(["Created-By: Packages", "Origin: Debian", "Label: Debian"]))?;
        let archive = said.lines().next().ok_or("no archive of Debian is configured")?;
        let own = Scratch::new()?;
        let write = |name: &str, text: String| {
            fs::write(own.0.join(name), text).map_err(|error| format!("{name}: {error}"))
        };
        let keys = "/usr/share/keyrings/debian-archive-keyring.gpg";
        write("sources.list", format!("deb [signed-by={keys}] {archive} {suite} main\n"))?;
        for part in ["lists/partial", "cache/archives/partial"] {
            fs::create_dir_all(own.0.join(part)).map_err(|error| format!("{part}: {error}"))?;
        }
        let apt = Self { own: Some(own) };
        run::capture(apt.command("apt-get").args(["update", "-qq"]))?;
        Ok(apt)
    }

    fn command(&self, program: &str) -> Command {
        let mut command = run::command(program, ["-o", "APT::Sandbox::User=root"]);
        command.env("LC_ALL", "C");
        let Some(Scratch(own)) = &self.own else { return command };
        let settings = [
            ("Dir::Etc::sourcelist", own.join("sources.list")),
            ("Dir::Etc::sourceparts", "/dev/null".into()),
            ("Dir::State::lists", own.join("lists")),
            ("Dir::Cache", own.join("cache")),
        ];
        for (name, value) in settings {
            command.arg("-o").arg(format!("{name}={}", value.display()));
        }
        command
    }
}

/// The numbers in a name, by which versions are ordered.
pub(super) fn numbers(name: &str) -> Vec<u64> {
    name.split(|c: char| !c.is_ascii_digit()).filter_map(|number| number.parse().ok()).collect()
}

#[cfg(test)]
mod tests {
    use super::numbers;

    #[test]
    fn versions_are_ordered_by_number() {
        let names = ["linux-image-6.1.0-9-cloud-amd64", "linux-image-6.1.0-56-cloud-amd64"];
        assert_eq!(names.iter().max_by_key(|name| numbers(name)), Some(&names[1]));
    }
}
