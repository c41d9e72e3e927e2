//! Who may write what goes as it is into the configuration of engines: administrators alone. Everybody
//! else keeps it as it is, by whatever way a site is written.

use portway_model::{
    FieldPath, Finding, FindingCode, Findings, Name, ResourceKind, Role, SiteSpec,
    site::spec::SnippetsSpec,
};
use portway_store::SiteRow;

use super::view::spec_of;
use crate::{ControlError, actor::Actor};

/// What an actor may write as a site's snippets.
#[derive(Clone, Debug)]
pub(super) enum Snippets {
    /// Any: the actor is an administrator.
    Any,
    /// These, which the site has; nothing where it has none.
    Only(Option<SnippetsSpec>),
}

impl Snippets {
    /// Returns what an actor may write. `row` is the site as it is; nothing where it is new.
    pub(super) fn for_actor(actor: &Actor, row: Option<&SiteRow>) -> Result<Self, ControlError> {
        match actor.role() {
            Role::Admin => Ok(Self::Any),
            Role::Client | Role::Viewer => {
                let spec = row.map(spec_of).transpose()?;
                Ok(Self::Only(spec.and_then(|spec| spec.snippets)))
            }
        }
    }

    /// Judges what a site is to have.
    pub(super) fn judge(&self, name: &Name, spec: &SiteSpec) -> Option<Finding> {
        let Self::Only(kept) = self else { return None };
        if *kept == spec.snippets {
            return None;
        }
        let mut findings = Findings::about(ResourceKind::Site, name.as_str());
        let text = "only administrators write or change snippets: they may do anything on a node";
        let remedy = match kept {
            Some(_) => "leave `snippets` as they are, or ask an administrator",
            None => "remove `snippets`, or ask an administrator",
        };
        let path = FieldPath::root().key("snippets");
        let finding = findings.error(FindingCode::OutOfBounds, &path, text);
        finding.remedy(remedy);
        Some(finding.clone())
    }
}
