//! Findings under construction, each with its place.

use portway_model::{
    FieldPath, Finding, FindingCode, Location, ResourceKind, ResourceRef, Severity,
};

use crate::source::{Pos, SourceText};

/// Findings about files and the sites in them.
#[derive(Debug, Default)]
pub(crate) struct Report {
    list: Vec<Finding>,
    errors: usize,
}

impl Report {
    /// Adds an error about a field and returns it, so that a remedy can be set.
    pub(crate) fn field(
        &mut self,
        code: FindingCode,
        resource: &ResourceRef,
        path: &FieldPath,
        pos: Option<&Pos>,
        text: impl Into<String>,
    ) -> &mut Finding {
        self.error(
            code,
            Location::Field {
                resource: resource.clone(),
                path: path.clone(),
                source: pos.map(Pos::to_model),
            },
            text,
        )
    }

    /// Adds an error about a place that is no field.
    pub(crate) fn place(
        &mut self,
        code: FindingCode,
        pos: &Pos,
        text: impl Into<String>,
    ) -> &mut Finding {
        self.error(code, Location::Source(pos.to_model()), text)
    }

    /// Adds a finding as it is.
    pub(crate) fn push(&mut self, finding: Finding) {
        self.errors += usize::from(finding.is_error());
        self.list.push(finding);
    }

    /// Returns how many errors there are.
    pub(crate) fn errors(&self) -> usize {
        self.errors
    }

    #[expect(clippy::expect_used, reason = "the list holds what was pushed the line before")]
    fn error(&mut self, code: FindingCode, at: Location, text: impl Into<String>) -> &mut Finding {
        let text = text.into();
        self.push(Finding { code, severity: Severity::Error, at, text, remedy: None });
        self.list.last_mut().expect("just pushed")
    }

    /// Returns the findings as one reads the files: by file, line and column.
    pub(crate) fn into_sorted(mut self, files: &[SourceText]) -> Vec<Finding> {
        self.list.sort_by_key(|finding| {
            let source = match &finding.at {
                Location::Field { source, .. } => source.as_ref(),
                Location::Source(source) => Some(source),
                Location::Host(_) | Location::Installation => None,
            };
            source.map_or((usize::MAX, 0, 0), |source| {
                let file = files.iter().position(|file| file.name == source.file);
                (file.unwrap_or(files.len()), source.line, source.column)
            })
        });
        self.list
    }
}

/// Names a site file as the subject of a finding.
pub(crate) fn file(name: &str) -> ResourceRef {
    ResourceRef { kind: ResourceKind::File, name: name.to_owned() }
}

/// Names a site as the subject of a finding.
pub(crate) fn site(name: &str) -> ResourceRef {
    ResourceRef { kind: ResourceKind::Site, name: name.to_owned() }
}
