//! Versions of engines with holes that are known to everybody.
//!
//! Short on purpose: what the engines' own makers say, and what concerns configurations that Portway
//! writes. Distributions mend holes without changing the version, so of a package this is a reason to
//! look, not a verdict.

use portway_model::EngineKind;

use crate::Version;

/// A hole that is known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Hole {
    /// Its number.
    pub id: &'static str,
    /// What it is.
    pub what: &'static str,
    /// Where the makers tell of it.
    pub source: &'static str,
    engine: EngineKind,
    since: Version,
    /// The first version without it, for each branch that was mended, ascending; the last one holds for
    /// all later branches, and for those in between that were never mended.
    fixed: &'static [Version],
}

const NGINX: &str = "https://nginx.org/en/security_advisories.html";

const fn v(major: u16, minor: u16, patch: u16) -> Version {
    Version::new(major, minor, patch)
}

const fn nginx(
    id: &'static str,
    what: &'static str,
    since: Version,
    fixed: &'static [Version],
) -> Hole {
    Hole { id, what, source: NGINX, engine: EngineKind::Nginx, since, fixed }
}

/// The newest first. nginx's advisories as of July 2026; those of Caddy and Traefik by their own pages.
const HOLES: [Hole; 12] = [
    nginx(
        "CVE-2026-42533",
        "buffer overflow with map and regular expressions",
        v(0, 9, 6),
        &[v(1, 30, 4), v(1, 31, 3)],
    ),
    nginx(
        "CVE-2026-42055",
        "buffer overflow in ngx_http_grpc_module",
        v(1, 13, 10),
        &[v(1, 30, 3), v(1, 31, 2)],
    ),
    nginx(
        "CVE-2026-9256",
        "buffer overflow in ngx_http_rewrite_module",
        v(0, 1, 17),
        &[v(1, 30, 2), v(1, 31, 1)],
    ),
    nginx(
        "CVE-2026-42945",
        "buffer overflow in ngx_http_rewrite_module",
        v(0, 6, 27),
        &[v(1, 30, 1), v(1, 31, 0)],
    ),
    nginx(
        "CVE-2026-42926",
        "requests can be injected over HTTP/2 to upstreams",
        v(1, 29, 4),
        &[v(1, 30, 1), v(1, 31, 0)],
    ),
    nginx(
        "CVE-2026-1642",
        "answers can be injected on TLS connections to upstreams",
        v(1, 3, 0),
        &[v(1, 28, 2), v(1, 29, 5)],
    ),
    nginx(
        "CVE-2025-23419",
        "TLS sessions can be resumed at another site, past its client certificates",
        v(1, 11, 4),
        &[v(1, 26, 3), v(1, 27, 4)],
    ),
    nginx(
        "CVE-2021-23017",
        "an answer of a name server can overwrite memory",
        v(0, 6, 18),
        &[v(1, 20, 1), v(1, 21, 0)],
    ),
    Hole {
        id: "CVE-2026-27588",
        what: "hosts are compared by case where a site has more than 100 of them",
        source: "https://github.com/caddyserver/caddy/security/advisories/GHSA-x76f-jf84-rqj8",
        engine: EngineKind::Caddy,
        since: v(2, 0, 0),
        fixed: &[v(2, 11, 1)],
    },
    Hole {
        id: "CVE-2026-48020",
        what: "paths with `..` get past rules where a prefix is taken away",
        source: "https://github.com/traefik/traefik/security/advisories/GHSA-xf64-8mw2-4gr2",
        engine: EngineKind::Traefik,
        since: v(3, 0, 0),
        fixed: &[v(3, 6, 19), v(3, 7, 3)],
    },
    Hole {
        id: "CVE-2025-66490",
        what: "paths with escaped reserved characters get past rules",
        source: "https://github.com/traefik/traefik/security/advisories/GHSA-gm3x-23wp-hc2c",
        engine: EngineKind::Traefik,
        since: v(3, 0, 0),
        fixed: &[v(3, 6, 3)],
    },
    Hole {
        id: "CVE-2025-47952",
        what: "escaped paths get past rules",
        source: "https://github.com/traefik/traefik/security/advisories/GHSA-vrch-868g-9jx5",
        engine: EngineKind::Traefik,
        since: v(3, 0, 0),
        fixed: &[v(3, 4, 1)],
    },
];

/// Returns the holes that a version has, as its makers published them.
pub fn known_holes(engine: EngineKind, version: Version) -> Vec<&'static Hole> {
    HOLES.iter().filter(|hole| hole.engine == engine && hole.is_in(version)).collect()
}

impl Hole {
    /// Returns the first version of a later or the same branch that does not have it.
    pub fn fixed_in(&self, version: Version) -> Option<Version> {
        self.of_branch(version).or(self.fixed.last().copied())
    }

    fn of_branch(&self, version: Version) -> Option<Version> {
        let is_same =
            |fixed: &&Version| (fixed.major, fixed.minor) == (version.major, version.minor);
        self.fixed.iter().find(is_same).copied()
    }

    fn is_in(&self, version: Version) -> bool {
        version >= self.since && self.fixed_in(version).is_none_or(|fixed| version < fixed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ids(engine: EngineKind, version: &str) -> Vec<&'static str> {
        known_holes(engine, version.parse().unwrap()).iter().map(|hole| hole.id).collect()
    }

    #[test]
    fn a_branch_that_was_mended_has_its_own_first_version() {
        let nginx = |version| ids(EngineKind::Nginx, version);
        assert_eq!(nginx("1.31.3"), [""; 0]);
        assert_eq!(nginx("1.30.4"), [""; 0]);
        assert_eq!(nginx("1.30.3"), ["CVE-2026-42533"]);
        assert_eq!(nginx("1.31.0"), ["CVE-2026-42533", "CVE-2026-42055", "CVE-2026-9256"]);
        assert!(nginx("1.26.2").contains(&"CVE-2025-23419"));
        assert!(!nginx("1.26.3").contains(&"CVE-2025-23419"));
        assert!(!nginx("1.28.0").contains(&"CVE-2025-23419"), "a later branch");
        assert!(nginx("1.24.0").contains(&"CVE-2025-23419"), "a branch that was never mended");
        assert!(!nginx("1.28.2").contains(&"CVE-2026-1642"));
        assert!(!nginx("1.28.2").contains(&"CVE-2026-42926"), "it came later");
        assert_eq!(ids(EngineKind::Traefik, "3.4.0").len(), 3);
        assert_eq!(ids(EngineKind::Traefik, "3.6.19"), [""; 0]);
        assert_eq!(ids(EngineKind::Traefik, "3.7.2"), ["CVE-2026-48020"]);
        assert_eq!(ids(EngineKind::Caddy, "2.6.2"), ["CVE-2026-27588"]);
        assert_eq!(ids(EngineKind::Caddy, "2.11.4"), [""; 0]);
        assert_eq!(ids(EngineKind::Edge, "0.1.0"), [""; 0]);
    }

    #[test]
    fn every_hole_says_where_it_is_told_of_and_which_version_to_take() {
        for hole in HOLES {
            assert!(hole.source.starts_with("https://") && !hole.fixed.is_empty(), "{hole:?}");
            assert!(hole.fixed.is_sorted() && hole.fixed.iter().all(|fixed| *fixed > hole.since));
        }
    }
}
