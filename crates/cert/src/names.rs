//! Which names a certificate carries for the hosts of a site.

use std::collections::BTreeSet;

use portway_model::HostPattern;

/// The names of a certificate: at least one, sorted, each once, none of them `*`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CertificateNames(Vec<HostPattern>);

/// No host of a site can stand in a certificate.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error(
    "no name is known for the certificate: a site that answers to `*` alone needs the names or \
     addresses of this machine; add a host to the site"
)]
pub struct NoNames;

impl CertificateNames {
    /// Chooses the names for the hosts of a site. `*` itself cannot stand in a certificate; as it
    /// answers whatever nobody else does, it stands for the names of the machine.
    pub fn choose(hosts: &[HostPattern], machine: &[HostPattern]) -> Result<Self, NoNames> {
        let of_machine: &[HostPattern] =
            if hosts.contains(&HostPattern::Any) { machine } else { &[] };
        let names: BTreeSet<_> = hosts
            .iter()
            .chain(of_machine)
            .filter(|name| **name != HostPattern::Any)
            .cloned()
            .collect();
        if names.is_empty() { Err(NoNames) } else { Ok(Self(names.into_iter().collect())) }
    }

    /// Returns the names.
    pub fn as_slice(&self) -> &[HostPattern] {
        &self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hosts_are_sorted_and_stand_once() {
        let names = choose(&["b.test", "a.test", "b.test", "*.a.test"], &["machine.test"]);
        assert_eq!(names.unwrap(), ["a.test", "b.test", "*.a.test"]);
    }

    #[test]
    fn a_default_site_answers_under_the_names_of_the_machine() {
        assert_eq!(choose(&["*"], &["127.0.0.1", "::1"]).unwrap(), ["127.0.0.1", "::1"]);
        assert_eq!(choose(&["*", "a.test"], &["127.0.0.1"]).unwrap(), ["a.test", "127.0.0.1"]);
    }

    #[test]
    fn without_any_name_there_is_no_certificate() {
        assert_eq!(choose(&["*"], &["*"]), Err(NoNames));
        assert_eq!(choose(&[], &["machine.test"]), Err(NoNames));
    }

    fn choose(hosts: &[&str], machine: &[&str]) -> Result<Vec<String>, NoNames> {
        let parse = |texts: &[&str]| texts.iter().map(|text| text.parse().unwrap()).collect();
        let (hosts, machine): (Vec<_>, Vec<_>) = (parse(hosts), parse(machine));
        let names = CertificateNames::choose(&hosts, &machine)?;
        Ok(names.as_slice().iter().map(ToString::to_string).collect())
    }
}
