//! What a machine's system is, and how programs come to it.

use std::fmt;

/// A system, as `/etc/os-release` describes it (`os-release(5)`).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct OsRelease {
    /// What it calls itself: `Debian GNU/Linux 12 (bookworm)`.
    pub name: String,
    /// Its short name: `debian`.
    pub id: String,
    /// Its version: `12`.
    pub version: String,
    /// The systems that it is like, the nearest first.
    pub like: Vec<String>,
}

/// How a distribution installs packages.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Family {
    /// Debian and Ubuntu: apt.
    Debian,
    /// Red Hat and its rebuilds, Fedora, Amazon Linux 2023: dnf.
    RedHat,
    /// Alpine: apk.
    Alpine,
}

impl OsRelease {
    /// Reads the file; nothing where it names no system.
    pub fn read(text: &str) -> Option<Self> {
        let field = |name: &str| {
            let line =
                text.lines().find_map(|line| line.trim().strip_prefix(name)?.strip_prefix('='));
            line.map(|value| value.trim_matches(['"', '\'']).to_owned()).unwrap_or_default()
        };
        let id = field("ID");
        let name = [field("PRETTY_NAME"), field("NAME"), id.clone()];
        let name = name.into_iter().find(|name| !name.is_empty())?;
        let like = field("ID_LIKE").split_whitespace().map(str::to_owned).collect();
        Some(Self { name, id, version: field("VERSION_ID"), like })
    }

    /// Returns how it installs packages, as far as that is known.
    pub fn family(&self) -> Option<Family> {
        let mut kin = std::iter::once(self.id.as_str()).chain(self.like.iter().map(String::as_str));
        let family = kin.find_map(|id| match id {
            "debian" | "ubuntu" => Some(Family::Debian),
            "rhel" | "rocky" | "almalinux" | "fedora" | "centos" | "amzn" => Some(Family::RedHat),
            "alpine" => Some(Family::Alpine),
            _ => None,
        })?;
        (family != Family::RedHat || self.has_dnf()).then_some(family)
    }

    /// Before it, there was yum, which is spoken to otherwise.
    fn has_dnf(&self) -> bool {
        let major: u32 = self.version.split('.').next().and_then(|m| m.parse().ok()).unwrap_or(0);
        match self.id.as_str() {
            // Amazon counts years since then.
            "amzn" => major >= 2023,
            _ => major >= 8,
        }
    }
}

impl fmt::Display for Family {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Debian => "apt",
            Self::RedHat => "dnf",
            Self::Alpine => "apk",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn systems_are_known_by_their_kin() {
        for (text, family) in [
            ("PRETTY_NAME=\"Debian GNU/Linux 12 (bookworm)\"\nID=debian\n", Some(Family::Debian)),
            ("NAME=x\nID=linuxmint\nID_LIKE=\"ubuntu debian\"\n", Some(Family::Debian)),
            (
                "ID=\"rocky\"\nID_LIKE=\"rhel centos fedora\"\nVERSION_ID=\"9.4\"\n",
                Some(Family::RedHat),
            ),
            ("ID=centos\nID_LIKE=\"rhel fedora\"\nVERSION_ID=\"7\"\n", None),
            ("ID=\"amzn\"\nID_LIKE=\"fedora\"\nVERSION_ID=\"2023\"\n", Some(Family::RedHat)),
            ("ID=\"amzn\"\nID_LIKE=\"centos rhel fedora\"\nVERSION_ID=\"2\"\n", None),
            ("NAME=\"Alpine Linux\"\nID=alpine\n", Some(Family::Alpine)),
            ("NAME=NixOS\nID=nixos\n", None),
        ] {
            assert_eq!(OsRelease::read(text).unwrap().family(), family, "{text}");
        }
        assert_eq!(OsRelease::read("VERSION_ID=1\n"), None);
    }
}
