//! The sites that are made to be measured.

use serde_json::{Value, json};

/// Whether sites have HTTPS, each with a certificate of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// HTTP only.
    Plain,
    /// HTTPS, and a redirect to it.
    Tls,
}

/// A site that answers its own name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct BenchSite {
    /// Its name, which is also what it answers.
    pub(crate) name: String,
    /// Its host.
    pub(crate) host: String,
}

impl BenchSite {
    /// Returns the site of a group by its number.
    pub(crate) fn new(group: &str, number: usize) -> Self {
        let name = format!("{group}-{number:06}");
        let host = format!("{name}.bench.test");
        Self { name, host }
    }

    /// Returns it as an operator declares it.
    pub(crate) fn spec(&self, kind: Kind) -> Value {
        let mut spec = json!({ "hosts": [self.host], "respond": { "body": self.name } });
        if let (Kind::Plain, Some(fields)) = (kind, spec.as_object_mut()) {
            fields.insert("https".to_owned(), json!(false));
        }
        spec
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_plain_sites_do_without_https() {
        let site = BenchSite::new("bulk", 7);
        assert_eq!(site.host, "bulk-000007.bench.test");
        assert_eq!(site.spec(Kind::Plain)["https"], false);
        assert_eq!(site.spec(Kind::Tls).get("https"), None);
    }
}
