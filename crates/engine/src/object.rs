//! What is put on a node: immutable objects that are named by their content, and releases, each a
//! text that names all the objects that count.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
    sync::Arc,
};

use camino::{Utf8Path, Utf8PathBuf};
use portway_model::{FieldPath, Finding, Id, Name, Site};
use portway_policy::Digest;

use crate::Layout;

/// How the name of a file ends, so that people and engines know what it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Extension {
    /// Configuration of nginx.
    Conf,
    /// Configuration of Caddy.
    Caddy,
    /// Configuration of Traefik.
    Yml,
    /// Certificates.
    Crt,
    /// A private key.
    Key,
    /// Names and password hashes.
    Htpasswd,
    /// A page.
    Html,
    /// Any other bytes.
    Bin,
}

/// Who may read an object, of those whom its folder lets in: whoever logs in, root, and the group of the
/// engine.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Secrecy {
    /// All of them: nothing in it is secret in itself.
    Open,
    /// The engine's master process, and its workers where it has any of their own: a password file.
    Workers,
    /// Nobody but the owner and the superuser: a private key.
    Owner,
}

/// A line of an object and the field of the site that it was made from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place {
    /// The first line that was made from it, counted from 1; it holds up to the next place.
    pub line: usize,
    /// The field.
    pub field: FieldPath,
}

/// Bytes that never change, named by their digest.
#[derive(Clone, PartialEq, Eq)]
pub struct Object {
    digest: Digest,
    extension: Extension,
    secrecy: Secrecy,
    bytes: Arc<[u8]>,
    places: Vec<Place>,
}

/// What a site comes to on nodes with equal facts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rendered {
    /// The site.
    pub id: Id<Site>,
    /// Its name.
    pub name: Name,
    /// The digest of the policy it was made from.
    pub policy: Digest,
    /// The objects it needs, each once.
    pub objects: Vec<Arc<Object>>,
    /// What the release says of it.
    pub entry: String,
    /// The folders that must be there, such as that of its logs.
    pub folders: Vec<Utf8PathBuf>,
    /// The names of everything that can stand only once on a node, such as hosts: two sites that claim
    /// the same one cannot both be served there.
    pub claims: Vec<String>,
    /// What its owner should know: settings that are carried out otherwise or not at all.
    pub findings: Vec<Finding>,
}

/// Everything that a node is to serve.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Release {
    /// The digest over the entry, and so over all that it names.
    pub digest: Digest,
    /// What the engine reads first. It tells the release's digest when it is probed.
    pub entry: Arc<Object>,
    /// The objects that it names, by file name.
    pub objects: BTreeMap<String, Arc<Object>>,
    /// The folders that must be there before it is tried.
    pub folders: BTreeSet<Utf8PathBuf>,
    /// The sites that are served.
    pub sites: Vec<ReleaseSite>,
    /// The sites that are not served, with the reason.
    pub held: Vec<(Id<Site>, Vec<Finding>)>,
}

/// A site of a release.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReleaseSite {
    /// The site.
    pub id: Id<Site>,
    /// Its name.
    pub name: Name,
    /// The digest of its policy.
    pub policy: Digest,
    /// The file names of its objects.
    pub objects: Vec<String>,
}

impl Object {
    /// Returns an object.
    pub fn new(extension: Extension, secrecy: Secrecy, bytes: impl Into<Arc<[u8]>>) -> Self {
        let bytes = bytes.into();
        Self { digest: Digest::of(&bytes), extension, secrecy, bytes, places: Vec::new() }
    }

    /// Returns a text with the fields that its lines were made from, in the order of lines.
    pub fn text(extension: Extension, text: String, places: Vec<Place>) -> Self {
        Self { places, ..Self::new(extension, Secrecy::Open, text.into_bytes()) }
    }

    /// Returns the digest of the bytes.
    pub const fn digest(&self) -> Digest {
        self.digest
    }

    /// Returns how its name ends.
    pub const fn extension(&self) -> Extension {
        self.extension
    }

    /// Tells who may read it.
    pub const fn secrecy(&self) -> Secrecy {
        self.secrecy
    }

    /// Returns the bytes.
    pub const fn bytes(&self) -> &Arc<[u8]> {
        &self.bytes
    }

    /// Returns the name of its file.
    pub fn file_name(&self) -> String {
        format!("{}.{}", self.digest, self.extension)
    }

    /// Returns where it lies on a node.
    pub fn path(&self, layout: &Layout) -> Utf8PathBuf {
        layout.objects().join(self.file_name())
    }

    /// Returns the field that a line was made from.
    pub fn field(&self, line: usize) -> Option<&FieldPath> {
        let after = self.places.partition_point(|place| place.line <= line);
        after.checked_sub(1).and_then(|at| self.places.get(at)).map(|place| &place.field)
    }
}

impl Release {
    /// Puts a release together. `entry` writes the entry with the text by which it is told apart; the
    /// digest is that of the entry written with an empty one.
    pub fn build(
        extension: Extension,
        rendered: &[Arc<Rendered>],
        common: impl IntoIterator<Item = Arc<Object>>,
        held: Vec<(Id<Site>, Vec<Finding>)>,
        entry: impl Fn(&str) -> String,
    ) -> Self {
        let digest = Digest::of(entry("").as_bytes());
        let text = entry(&digest.to_string());
        let of_sites = rendered.iter().flat_map(|site| site.objects.iter().map(Arc::clone));
        let objects = of_sites.chain(common).map(|object| (object.file_name(), object)).collect();
        let sites = rendered.iter().map(|site| ReleaseSite {
            id: site.id,
            name: site.name.clone(),
            policy: site.policy,
            objects: site.objects.iter().map(|object| object.file_name()).collect(),
        });
        Self {
            digest,
            entry: Arc::new(Object::text(extension, text, Vec::new())),
            objects,
            folders: rendered.iter().flat_map(|site| site.folders.iter().cloned()).collect(),
            sites: sites.collect(),
            held,
        }
    }

    /// Returns where the entry lies on a node: named by the release's digest, which is not that of its
    /// bytes, because they hold it.
    pub fn path(&self, layout: &Layout) -> Utf8PathBuf {
        layout.releases().join(format!("{}.{}", self.digest, self.entry.extension))
    }

    /// Returns the link that makes it the release that counts.
    pub fn current(&self, layout: &Layout) -> Utf8PathBuf {
        layout.current(self.entry.extension)
    }

    /// Returns the site that an object of this file name belongs to, the first of several.
    pub fn site_of(&self, file: &Utf8Path) -> Option<(&ReleaseSite, &Arc<Object>)> {
        let name = file.file_name()?;
        let site = self.sites.iter().find(|site| site.objects.iter().any(|own| own == name))?;
        self.objects.get(name).map(|object| (site, object))
    }
}

impl Extension {
    /// Returns the extension as file names have it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Conf => "conf",
            Self::Caddy => "caddy",
            Self::Yml => "yml",
            Self::Crt => "crt",
            Self::Key => "key",
            Self::Htpasswd => "htpasswd",
            Self::Html => "html",
            Self::Bin => "bin",
        }
    }
}

impl Secrecy {
    /// Returns the mode of the file.
    pub const fn mode(self) -> u32 {
        match self {
            // The folder lets the engine's group in, and nobody else.
            Self::Open | Self::Workers => 0o644,
            Self::Owner => 0o600,
        }
    }
}

impl fmt::Display for Extension {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// The bytes may be a key, so they are not shown.
impl fmt::Debug for Object {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Object")
            .field("file", &self.file_name())
            .field("secrecy", &self.secrecy)
            .field("length", &self.bytes.len())
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_leads_to_the_field_that_it_was_made_from() {
        let field = |name: &str| FieldPath::root().key(name);
        let places = vec![
            Place { line: 2, field: field("hosts") },
            Place { line: 5, field: field("routes") },
        ];
        let object = Object::text(Extension::Conf, "a\nb\n".to_owned(), places);
        assert_eq!(object.field(1), None);
        assert_eq!(object.field(2), Some(&field("hosts")));
        assert_eq!(object.field(4), Some(&field("hosts")));
        assert_eq!(object.field(99), Some(&field("routes")));
    }

    #[test]
    fn a_release_tells_its_digest_and_changes_with_what_it_names() {
        let build = |line: &'static str| {
            Release::build(Extension::Conf, &[], [], Vec::new(), move |digest| {
                format!("{line} {digest}\n")
            })
        };
        let (one, other) = (build("a"), build("b"));
        assert_ne!(one.digest, other.digest);
        assert_eq!(one, build("a"));
        let text = String::from_utf8(one.entry.bytes().to_vec()).unwrap();
        assert_eq!(text, format!("a {}\n", one.digest));
    }

    #[test]
    fn a_secret_is_in_no_debug_output() {
        let object = Object::new(Extension::Key, Secrecy::Owner, b"hunter2".to_vec());
        assert!(!format!("{object:?}").contains("hunter2"));
        assert_eq!(object.secrecy().mode(), 0o600);
    }
}
