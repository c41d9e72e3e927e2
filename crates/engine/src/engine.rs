//! What every engine is asked.

use std::{collections::BTreeMap, sync::Arc};

use camino::Utf8PathBuf;
use portway_model::Finding;
use portway_policy::{CertificateObject, Digest, NodeSettings, SitePolicy};

use crate::{
    Candidate, CandidateError, EngineFacts, Probe, Release, Rendered, Setting, Steps, Support, Use,
};

/// An engine: pure, without a clock and without a machine.
pub trait Engine: Send + Sync {
    /// Returns the engine's name, as people write it.
    fn name(&self) -> &'static str;

    /// Returns the oldest version that is rendered for.
    fn oldest(&self) -> crate::Version;

    /// Returns what becomes of a setting in general, for the documentation. Where that depends on the
    /// value, it is what becomes of most, in words that tell of the rest.
    fn support(&self, setting: Setting, facts: &EngineFacts) -> Support;

    /// Returns what becomes of a setting with the value that a site gives it.
    fn support_of(&self, used: &Use<'_>, facts: &EngineFacts) -> Support {
        self.support(used.setting, facts)
    }

    /// Returns the directives of its own that a site brings for it.
    fn snippet<'a>(&self, _: &'a SitePolicy) -> Option<&'a str> {
        None
    }

    /// Renders a site. Equal input gives equal bytes.
    fn render_site(
        &self,
        site: &SitePolicy,
        certificates: &BTreeMap<Digest, CertificateObject>,
        facts: &EngineFacts,
    ) -> Result<Rendered, RenderError>;

    /// Puts the release of a node together from its rendered sites. Sites that cannot be served
    /// beside others are held, the later one each time.
    fn render_node(
        &self,
        sites: &[Arc<Rendered>],
        settings: &NodeSettings,
        certificates: &BTreeMap<Digest, CertificateObject>,
        facts: &EngineFacts,
    ) -> Result<Release, RenderError>;

    /// Returns the files that let the engine's own test read a release without reaching what runs.
    fn candidate(
        &self,
        top_level: &TopLevel,
        release: &Release,
        facts: &EngineFacts,
    ) -> Result<Candidate, CandidateError>;

    /// Returns the steps that bring a release to life.
    fn steps(&self, candidate: Candidate, release: &Release, facts: &EngineFacts) -> Steps;

    /// Returns what proves that a release is served: for the release before, when a node is switched
    /// back to it, as [`Engine::steps`] does for the one to come.
    fn probe(&self, release: Digest, facts: &EngineFacts) -> Probe;

    /// Tells whether the engine refuses its own configuration while what reaches Portway's is missing.
    fn insists_on_entrance(&self) -> bool {
        false
    }

    /// Reads what the engine's own test says, down to the field of the site where that can be known.
    fn read_test_output(&self, output: &str, release: &Release) -> Vec<Finding>;
}

/// The engine's own configuration, as it is on a node.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TopLevel {
    /// What stands in its first file ([`crate::Layout::top_level`]).
    pub text: String,
    /// The files in the folder of [`crate::Layout::reached_by`], by absolute path, sorted.
    pub beside: Vec<Utf8PathBuf>,
}

/// Why there is nothing rendered.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum RenderError {
    /// The engine cannot carry out the site, or not safely.
    #[error("the site cannot be served by this engine: {}", .0.iter().map(|finding| finding.text.as_str()).collect::<Vec<_>>().join("; "))]
    Refused(Vec<Finding>),
    /// A certificate that the site or node refers to was not given.
    #[error("the certificate {0} was not given")]
    NoCertificate(Digest),
    /// A path or setting of the node cannot be written.
    #[error("`{what}` of the node cannot be written for this engine: {why}")]
    Node {
        /// Which.
        what: String,
        /// Why.
        why: String,
    },
}
