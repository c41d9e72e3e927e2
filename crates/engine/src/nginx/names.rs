//! What is under construction while a site is rendered, and the names of what it needs at the level of
//! all sites: no two sites may make the same variable or upstream.

use std::{collections::BTreeMap, sync::Arc};

use camino::Utf8PathBuf;
use portway_model::FieldPath;
use portway_policy::{CertificateObject, Digest, SitePolicy};

use super::syntax::{Directive, line};
use crate::{EngineFacts, Extension, Object, Place, RenderError, Secrecy};

/// A site under construction.
pub(super) struct Draft<'a> {
    /// The site.
    pub(super) site: &'a SitePolicy,
    /// The node.
    pub(super) facts: &'a EngineFacts,
    /// Certificates, by digest.
    pub(super) certificates: &'a BTreeMap<Digest, CertificateObject>,
    /// What stands beside the servers: maps and upstreams.
    pub(super) beside: Vec<Directive>,
    /// Locations of the main server.
    pub(super) locations: Vec<Directive>,
    /// Files that the configuration names.
    objects: BTreeMap<String, Arc<Object>>,
    tag: String,
}

impl<'a> Draft<'a> {
    pub(super) fn new(
        site: &'a SitePolicy,
        facts: &'a EngineFacts,
        certificates: &'a BTreeMap<Digest, CertificateObject>,
    ) -> Self {
        // The end of an id is random in every version of UUID.
        let tag = site.id.uuid().simple().to_string().chars().skip(20).collect();
        let (beside, locations, objects) = (Vec::new(), Vec::new(), BTreeMap::new());
        Self { site, facts, certificates, beside, locations, objects, tag }
    }

    /// Returns a name that no other site makes.
    pub(super) fn name(&self, suffix: &str) -> String {
        format!("portway_{}_{suffix}", self.tag)
    }

    /// Makes a variable of what a value matches, and returns it with its dollar sign. Keys are
    /// expressions of ours; values are values of nginx. No expression matches a value that is empty, so
    /// an empty key stands for that.
    pub(super) fn map(
        &mut self,
        suffix: &str,
        source: &str,
        entries: impl IntoIterator<Item = (String, String)>,
        default: &str,
        field: &FieldPath,
    ) -> String {
        let variable = format!("${}", self.name(suffix));
        let mut block = vec![line!("default", default)];
        let key = |key: String| if key.is_empty() { key } else { format!("~{key}") };
        block.extend(entries.into_iter().map(|(text, value)| line!(key(text), value)));
        self.beside.push(line!("map", source, variable).with(block).from_field(field));
        variable
    }

    /// Keeps a file and returns its path on the node.
    pub(super) fn keep(
        &mut self,
        extension: Extension,
        secrecy: Secrecy,
        bytes: Vec<u8>,
    ) -> Utf8PathBuf {
        let object = Object::new(extension, secrecy, bytes);
        let path = object.path(&self.facts.layout);
        self.objects.insert(object.file_name(), Arc::new(object));
        path
    }

    /// Keeps a text with the fields of its lines and returns its path on the node.
    pub(super) fn keep_text(&mut self, text: String, places: Vec<Place>) -> Utf8PathBuf {
        let object = Object::text(Extension::Conf, text, places);
        let path = object.path(&self.facts.layout);
        self.objects.insert(object.file_name(), Arc::new(object));
        path
    }

    /// Keeps a certificate with its key and returns their paths.
    pub(super) fn keep_certificate(
        &mut self,
        digest: Digest,
    ) -> Result<(Utf8PathBuf, Utf8PathBuf), RenderError> {
        let certificate = self.certificates.get(&digest);
        let certificate = certificate.ok_or(RenderError::NoCertificate(digest))?;
        let chain = certificate.chain_pem.clone().into_bytes();
        let key = certificate.key_pem.clone().into_bytes();
        Ok((
            self.keep(Extension::Crt, Secrecy::Open, chain),
            self.keep(Extension::Key, Secrecy::Owner, key),
        ))
    }

    /// Returns the path of a log of the site.
    pub(super) fn log_file(&self, name: &str) -> String {
        let folder = self.facts.layout.site_logs(&self.site.log_folder());
        folder.join(name).into_string()
    }

    pub(super) fn into_objects(self) -> Vec<Arc<Object>> {
        self.objects.into_values().collect()
    }
}
