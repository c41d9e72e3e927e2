//! What cargo tells about the packages of the workspace.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::Context;
use serde::{Deserialize, Deserializer};

use super::manifest;
use crate::fault::Fault;
use crate::output_of;

/// A package of the workspace.
#[derive(Debug, Deserialize)]
pub(super) struct Package {
    pub(super) name: String,
    /// Where the manifest is, from the top of the repository.
    pub(super) manifest_path: String,
    pub(super) dependencies: Vec<Dependency>,
    /// The text of the manifest.
    #[serde(skip)]
    pub(super) manifest: String,
}

/// What a package depends on, inside the workspace or outside.
#[derive(Debug, Deserialize)]
pub(super) struct Dependency {
    pub(super) name: String,
    /// The name it goes by in the manifest, if another.
    pub(super) rename: Option<String>,
    #[serde(deserialize_with = "kind_or_normal")]
    pub(super) kind: Kind,
}

/// What a dependency is needed for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
pub(super) enum Kind {
    #[serde(skip_deserializing)]
    Normal,
    #[serde(rename = "dev")]
    Development,
    #[serde(rename = "build")]
    Build,
}

/// Cargo writes `null` for an ordinary dependency.
fn kind_or_normal<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Kind, D::Error> {
    Ok(Option::deserialize(deserializer)?.unwrap_or(Kind::Normal))
}

impl Kind {
    /// Returns the table of a manifest that lists such dependencies.
    pub(super) fn table(self) -> &'static str {
        match self {
            Self::Normal => "dependencies",
            Self::Development => "dev-dependencies",
            Self::Build => "build-dependencies",
        }
    }
}

impl Package {
    /// Returns the folder that holds the manifest.
    pub(super) fn folder(&self) -> Option<&str> {
        Path::new(&self.manifest_path).parent()?.file_name()?.to_str()
    }

    pub(super) fn fault(
        &self,
        line: usize,
        what: impl Into<String>,
        mend: impl Into<String>,
    ) -> Fault {
        Fault::new(&self.manifest_path, line, what, mend)
    }

    pub(super) fn line_of(&self, dependency: &Dependency) -> usize {
        let key = dependency.rename.as_ref().unwrap_or(&dependency.name);
        manifest::line_of_dependency(&self.manifest, dependency.kind.table(), key)
    }

    pub(super) fn line_of_name(&self) -> usize {
        manifest::line_of_key(&self.manifest, "package", "name").unwrap_or(1)
    }

    pub(super) fn takes_workspace_lints(&self) -> bool {
        manifest::line_of_key(&self.manifest, "lints", "workspace").is_some()
            || manifest::line_of_key(&self.manifest, "lints", "lints.workspace").is_some()
    }
}

#[derive(Deserialize)]
struct Metadata {
    packages: Vec<Package>,
}

/// Asks cargo for the packages of the workspace at `root`.
pub(super) fn read(root: &PathBuf) -> anyhow::Result<Vec<Package>> {
    let arguments = ["metadata", "--no-deps", "--format-version", "1", "--quiet"];
    let output = output_of("cargo", &arguments, Some(root))?;
    let metadata: Metadata =
        serde_json::from_slice(&output).context("cannot read what cargo metadata printed")?;
    metadata.packages.into_iter().map(|package| with_manifest(package, root)).collect()
}

fn with_manifest(mut package: Package, root: &Path) -> anyhow::Result<Package> {
    package.manifest = fs::read_to_string(&package.manifest_path)
        .with_context(|| format!("cannot read {}", package.manifest_path))?;
    if let Ok(inside) = Path::new(&package.manifest_path).strip_prefix(root) {
        package.manifest_path = inside.display().to_string();
    }
    Ok(package)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_kinds_of_cargo_s_own_output_are_told_apart() {
        let json = r#"{"name": "portway-edge", "manifest_path": "crates/edge/Cargo.toml",
            "dependencies": [
                {"name": "serde", "kind": null, "rename": null},
                {"name": "insta", "kind": "dev", "rename": "snapshots"},
                {"name": "cc", "kind": "build", "rename": null}]}"#;

        let package: Package = serde_json::from_str(json).unwrap();

        let kinds: Vec<Kind> = package.dependencies.iter().map(|it| it.kind).collect();
        assert_eq!(kinds, [Kind::Normal, Kind::Development, Kind::Build]);
        assert_eq!(package.folder(), Some("edge"));
    }
}
