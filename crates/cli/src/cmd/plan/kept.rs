//! A plan in a file. It names the site files and holds no declarations: those may have passwords in
//! them. They are read again, and the manager knows whether they say the same.

use std::{fs::OpenOptions, io::Write, os::unix::fs::OpenOptionsExt};

use camino::{Utf8Path, Utf8PathBuf};
use portway_wire::{
    rollout::RolloutStrategy,
    site::{ApplySites, Plan},
};
use serde::{Deserialize, Serialize};

use crate::{
    args::{FileArgs, SourceArgs},
    exit::Failure,
};

/// The format that this version writes and reads.
const FORMAT: u32 = 1;

/// A plan that was kept.
#[derive(Debug, PartialEq, Serialize, Deserialize)]
pub(in crate::cmd) struct KeptPlan {
    /// Tells that it is a plan, and how it is written.
    portway_plan: u32,
    files: Vec<Utf8PathBuf>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    environment: Option<String>,
    source: String,
    prune: bool,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    owner: Option<String>,
    /// How it comes to its nodes, where that was said.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(in crate::cmd) rollout: Option<RolloutStrategy>,
    /// As the manager made it.
    pub(in crate::cmd) plan: Plan,
}

/// What is read before all the rest.
#[derive(Deserialize)]
struct Head {
    portway_plan: u32,
}

impl KeptPlan {
    /// Returns a plan of site files.
    pub(super) fn new(
        args: &FileArgs,
        source: &SourceArgs,
        wanted: &ApplySites,
        plan: Plan,
    ) -> Self {
        Self {
            portway_plan: FORMAT,
            files: args.files.clone(),
            environment: args.env.clone(),
            source: wanted.source.clone(),
            prune: source.prune,
            owner: source.owner.clone(),
            rollout: wanted.rollout.clone(),
            plan,
        }
    }

    /// Writes it where nobody else can read it.
    pub(super) fn write(&self, path: &Utf8Path) -> Result<(), Failure> {
        let text = serde_json::to_string_pretty(self)
            .map_err(|error| Failure::failed("the plan cannot be written").because(&error))?;
        let mut options = OpenOptions::new();
        options.write(true).create(true).truncate(true).mode(0o600);
        options
            .open(path)
            .and_then(|mut file| file.write_all((text + "\n").as_bytes()))
            .map_err(|error| Failure::failed(format!("cannot write {path}")).because(&error))
    }

    /// Reads a plan.
    pub(in crate::cmd) fn read(path: &Utf8Path) -> Result<Self, Failure> {
        let text = std::fs::read_to_string(path)
            .map_err(|error| Failure::failed(format!("cannot read {path}")).because(&error))?;
        let is_none = |error: serde_json::Error| {
            Failure::usage(format!("{path} is no plan that was kept"))
                .because(&error)
                .help("`portway plan -f FILE --keep PLAN` makes one")
        };
        let head: Head = serde_json::from_str(&text).map_err(is_none)?;
        if head.portway_plan != FORMAT {
            return Err(Failure::usage(format!(
                "{path} was kept by another version of Portway (format {}, this one reads {FORMAT})",
                head.portway_plan
            ))
            .help("make the plan again"));
        }
        let kept: Self = serde_json::from_str(&text).map_err(is_none)?;
        if kept.plan.basis.is_none() {
            return Err(Failure::usage(format!("{path} does not tell what it was made of"))
                .help("make the plan again"));
        }
        Ok(kept)
    }

    /// Has the same files read as were planned. Values of parameters are not kept; they are given again.
    pub(in crate::cmd) fn lay_over(&self, files: &mut FileArgs, source: &mut SourceArgs) {
        files.files.clone_from(&self.files);
        files.env.clone_from(&self.environment);
        source.source = Some(self.source.clone());
        source.prune = self.prune;
        source.owner.clone_from(&self.owner);
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use portway_wire::plan::PlanBasis;

    use super::*;

    fn kept() -> KeptPlan {
        let basis = PlanBasis {
            proposed: "ab".to_owned(),
            sites: [("shop".to_owned(), Some(7))].into(),
            nodes: std::collections::BTreeMap::new(),
        };
        KeptPlan {
            portway_plan: FORMAT,
            files: vec!["sites.yaml".into()],
            environment: Some("live".to_owned()),
            source: "shop".to_owned(),
            prune: true,
            owner: None,
            rollout: Some(RolloutStrategy {
                waves: vec!["50%".parse().unwrap()],
                ..RolloutStrategy::default()
            }),
            plan: Plan { basis: Some(basis), ..Plan::default() },
        }
    }

    #[test]
    fn a_plan_is_read_as_it_was_kept_and_only_its_owner_can() {
        let folder = tempfile::tempdir().unwrap();
        let path = Utf8PathBuf::try_from(folder.path().join("plan.json")).unwrap();
        kept().write(&path).unwrap();

        assert_eq!(KeptPlan::read(&path).unwrap(), kept());
        let mode = std::fs::metadata(&path).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
    }

    #[test]
    fn what_is_no_plan_or_another_versions_is_refused_with_a_remedy() {
        let folder = tempfile::tempdir().unwrap();
        let path = Utf8PathBuf::try_from(folder.path().join("plan.json")).unwrap();
        let refused = |text: &str| {
            std::fs::write(&path, text).unwrap();
            KeptPlan::read(&path).unwrap_err()
        };
        for text in ["sites: {}", "{}", r#"{"portway_plan": 2}"#] {
            let refused = refused(text);
            assert!(refused.help.is_some(), "{refused:?}");
        }
        let mut without = kept();
        without.plan.basis = None;
        let refused = refused(&serde_json::to_string(&without).unwrap());
        assert!(refused.text.contains("made of"), "{refused:?}");
    }
}
