//! What is known of an engine on a node before anything is rendered for it.

use std::{collections::BTreeSet, fmt, net::IpAddr, str::FromStr};

use camino::{Utf8Path, Utf8PathBuf};

use crate::Extension;

/// What is known of an engine on a node. Nodes with equal facts share what is rendered.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct EngineFacts {
    /// The engine's version.
    pub version: Version,
    /// What the engine was built with or has loaded beyond what every build has, by the names that it
    /// uses itself.
    pub modules: BTreeSet<String>,
    /// Where its files lie.
    pub layout: Layout,
    /// Where it listens.
    pub ports: Ports,
}

/// Where the files of a node lie. Every path is absolute.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Layout {
    /// Portway's own folder on the node: objects, releases and the link to the release that counts.
    pub home: Utf8PathBuf,
    /// The folder under which each site has a folder for its logs.
    pub logs: Utf8PathBuf,
    /// The engine's own top-level configuration, which Portway never changes.
    pub top_level: Utf8PathBuf,
    /// The path by which the top-level configuration reaches Portway's: for nginx and Traefik a link in
    /// a folder that they read, for Caddy what its `import` names.
    pub reached_by: Utf8PathBuf,
    /// Where the copy of the top-level configuration is written that the engine's test reads beside the
    /// original, if a link there leads elsewhere.
    pub copy: Option<Utf8PathBuf>,
    /// The engine's program.
    pub program: Utf8PathBuf,
    /// The authorities that the machine trusts, in one file of PEM.
    pub authorities: Utf8PathBuf,
}

/// The ports and addresses on which an engine listens.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Ports {
    /// The addresses on which sites are served; all of the machine when empty.
    pub addresses: Vec<IpAddr>,
    /// Plain HTTP.
    pub http: u16,
    /// HTTPS.
    pub https: u16,
    /// Where the engine tells which release it serves, on loopback.
    pub probe: u16,
}

/// The version of an engine.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Version {
    /// What changes with incompatible releases.
    pub major: u16,
    /// What changes with new features.
    pub minor: u16,
    /// What changes with corrections.
    pub patch: u16,
}

/// A text that is no version.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is not a version; one is written like 1.22.1")]
pub struct VersionError(String);

impl Layout {
    /// Returns the folder of what never changes.
    pub fn objects(&self) -> Utf8PathBuf {
        self.home.join("objects")
    }

    /// Returns the folder of releases.
    pub fn releases(&self) -> Utf8PathBuf {
        self.home.join("releases")
    }

    /// Returns the link to the release that counts.
    pub fn current(&self, extension: Extension) -> Utf8PathBuf {
        self.home.join(format!("current.{extension}"))
    }

    /// Returns the folder of a site's logs.
    pub fn site_logs(&self, folder: &str) -> Utf8PathBuf {
        self.logs.join(folder)
    }

    /// Returns the paths with what each is for.
    pub fn paths(&self) -> [(&'static str, &Utf8Path); 6] {
        [
            ("home", &self.home),
            ("logs", &self.logs),
            ("top_level", &self.top_level),
            ("reached_by", &self.reached_by),
            ("program", &self.program),
            ("authorities", &self.authorities),
        ]
    }
}

impl Default for Ports {
    fn default() -> Self {
        Self { addresses: Vec::new(), http: 80, https: 443, probe: 8911 }
    }
}

impl EngineFacts {
    /// Tells whether the engine has a module.
    pub fn has(&self, module: &str) -> bool {
        self.modules.contains(module)
    }

    /// Tells whether the engine is of this version or a later one.
    pub fn is_at_least(&self, major: u16, minor: u16, patch: u16) -> bool {
        self.version >= Version::new(major, minor, patch)
    }
}

impl Version {
    /// Returns a version.
    pub const fn new(major: u16, minor: u16, patch: u16) -> Self {
        Self { major, minor, patch }
    }
}

impl FromStr for Version {
    type Err = VersionError;

    /// Reads `1.22.1`, also behind `v` and before what distributions append.
    fn from_str(text: &str) -> Result<Self, VersionError> {
        let bare = text.trim();
        let bare = bare.strip_prefix('v').unwrap_or(bare);
        let end = bare.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(bare.len());
        let mut numbers = bare.get(..end).unwrap_or_default().split('.').map(str::parse);
        let mut next = || numbers.next().transpose().map_err(|_| VersionError(text.to_owned()));
        let (Some(major), Some(minor)) = (next()?, next()?) else {
            return Err(VersionError(text.to_owned()));
        };
        Ok(Self { major, minor, patch: next()?.unwrap_or(0) })
    }
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}.{}", self.major, self.minor, self.patch)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_version_is_read_as_engines_print_it() {
        for (text, version) in [
            ("1.22.1", Version::new(1, 22, 1)),
            ("v2.11.4 h1:abc=", Version::new(2, 11, 4)),
            ("3.7", Version::new(3, 7, 0)),
            ("1.18.0 (Ubuntu)", Version::new(1, 18, 0)),
        ] {
            assert_eq!(text.parse::<Version>().unwrap(), version);
        }
        for text in ["", "nginx", "1", "1..2", "70000.1"] {
            assert!(text.parse::<Version>().is_err(), "{text}");
        }
    }
}
