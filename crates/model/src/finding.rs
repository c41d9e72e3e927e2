//! Findings: the one shape in which validation, engine tests and diagnosis speak.

use std::fmt;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::Hostname;

/// Something an operator should know: what is wrong, where, and how to mend it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Finding {
    /// What kind of fault it is; stable, for programs.
    pub code: FindingCode,
    /// How bad it is.
    pub severity: Severity,
    /// What it is about.
    pub at: Location,
    /// One sentence for people.
    pub text: String,
    /// How to mend it, where that is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub remedy: Option<Remedy>,
}

/// How bad a finding is.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema,
)]
#[serde(rename_all = "snake_case")]
pub enum Severity {
    /// Good to know.
    Info,
    /// It works, but probably not as meant.
    Warning,
    /// What was asked cannot be done.
    Error,
}

/// The kinds of findings. Names are stable: programs and documentation refer to them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum FindingCode {
    /// The text is not YAML (or JSON).
    Syntax,
    /// A field that does not exist.
    UnknownField,
    /// The same field twice.
    DuplicateField,
    /// A field that must be there is not.
    MissingField,
    /// A value of the wrong type.
    WrongType,
    /// A value outside its range or set.
    InvalidValue,
    /// Fields that exclude each other.
    Conflict,
    /// A parameter that has no value.
    UnsetParameter,
    /// A parameter that is not declared.
    UnknownParameter,
    /// A file that cannot be read.
    UnreadableFile,
    /// A name that is not valid.
    InvalidName,
    /// A host that is not valid.
    InvalidHost,
    /// A target that is not valid.
    InvalidTarget,
    /// A path or regular expression that is not valid.
    InvalidPath,
    /// An address or network that is not valid.
    InvalidNetwork,
    /// A password hash that the engines cannot read.
    InvalidHash,
    /// A password that is too short, a name, or guessed soon.
    WeakPassword,
    /// A secret that this installation does not have.
    UnknownSecret,
    /// A node that this installation does not have.
    UnknownNode,
    /// Two routes that match the same requests.
    RouteTaken,
    /// A host that another owner has.
    HostTaken,
    /// Something beyond the bounds of the user.
    OutOfBounds,
    /// A setting that the engine cannot carry out.
    Unsupported,
    /// A site that the edge could not take.
    Held,
    /// A version that waits because its node is pinned.
    Pinned,
    /// A probe of a site that did not get the answer that it should.
    ProbeFailed,
    /// Something about a node that keeps it from being used.
    NodeUnfit,
    /// A certificate that could not be made or read.
    CertificateFailed,
    /// Something that is no longer as it was when a plan was made.
    MovedOn,
    /// Something that works but deserves attention.
    Advice,
}

/// What a finding is about.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Location {
    /// A field of something declared.
    Field {
        /// The thing.
        resource: ResourceRef,
        /// The field, from the thing's root.
        path: FieldPath,
        /// Where the field stands in the file it was read from.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        source: Option<SourcePos>,
    },
    /// A place in a file that is no field.
    Source(SourcePos),
    /// A host.
    #[schemars(with = "String")]
    Host(Hostname),
    /// The installation as a whole.
    Installation,
}

/// The kinds of declared things.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema,
)]
#[serde(rename_all = "snake_case")]
pub enum ResourceKind {
    /// A site.
    Site,
    /// A user.
    User,
    /// An API token.
    Token,
    /// A setting of the installation.
    Setting,
    /// A certificate.
    Certificate,
    /// A site file.
    File,
    /// A node.
    Node,
}

/// Names a declared thing.
#[derive(
    Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema,
)]
pub struct ResourceRef {
    /// What it is.
    pub kind: ResourceKind,
    /// Its name, or its id where it has none.
    pub name: String,
}

/// A place in a text; line and column count from 1, columns in characters.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
pub struct SourcePos {
    /// The file as it was named by the user.
    pub file: String,
    /// The line.
    pub line: usize,
    /// The column.
    pub column: usize,
}

/// One step into a document.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Step {
    /// A field of a mapping.
    Key(String),
    /// An element of a sequence.
    Index(usize),
}

/// The way to a field, printed as `routes[0].access.basic`. A key that is not a plain word is
/// quoted: `users["a.b"]`.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, JsonSchema)]
#[schemars(with = "Vec<serde_json::Value>")]
pub struct FieldPath(Vec<Step>);

/// How to mend what was found.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Remedy {
    /// One sentence: what to do.
    pub text: String,
    /// The same for a program: what a button or `--fix` does.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub action: Option<RemedyAction>,
}

/// A remedy that a program can carry out.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum RemedyAction {
    /// Rename the field.
    RenameField(String),
    /// Replace the value.
    ReplaceValue(String),
}

/// A list of findings under construction, all about one thing.
#[derive(Debug)]
pub struct Findings {
    resource: ResourceRef,
    list: Vec<Finding>,
}

impl Finding {
    /// Tells whether it keeps what was asked from being done.
    pub fn is_error(&self) -> bool {
        self.severity == Severity::Error
    }

    /// Sets a remedy in words.
    pub fn remedy(&mut self, text: impl Into<String>) {
        self.remedy = Some(Remedy { text: text.into(), action: None });
    }

    /// Sets a remedy in words that a program can carry out too.
    pub fn remedy_action(&mut self, text: impl Into<String>, action: RemedyAction) {
        self.remedy = Some(Remedy { text: text.into(), action: Some(action) });
    }
}

impl Findings {
    /// Begins a list about `resource`.
    pub fn about(kind: ResourceKind, name: impl Into<String>) -> Self {
        Self { resource: ResourceRef { kind, name: name.into() }, list: Vec::new() }
    }

    /// Adds an error at `path` and returns it, so that a remedy can be set.
    pub fn error(
        &mut self,
        code: FindingCode,
        path: &FieldPath,
        text: impl Into<String>,
    ) -> &mut Finding {
        self.add(Severity::Error, code, path, text)
    }

    /// Adds a warning at `path` and returns it, so that a remedy can be set.
    pub fn warning(
        &mut self,
        code: FindingCode,
        path: &FieldPath,
        text: impl Into<String>,
    ) -> &mut Finding {
        self.add(Severity::Warning, code, path, text)
    }

    #[expect(clippy::expect_used, reason = "the list holds what was pushed the line before")]
    fn add(
        &mut self,
        severity: Severity,
        code: FindingCode,
        path: &FieldPath,
        text: impl Into<String>,
    ) -> &mut Finding {
        let at =
            Location::Field { resource: self.resource.clone(), path: path.clone(), source: None };
        self.list.push(Finding { code, severity, at, text: text.into(), remedy: None });
        self.list.last_mut().expect("just pushed")
    }

    /// Tells whether an error is among them.
    pub fn has_errors(&self) -> bool {
        self.list.iter().any(Finding::is_error)
    }

    /// Returns the list.
    pub fn into_vec(self) -> Vec<Finding> {
        self.list
    }
}

impl FieldPath {
    /// The thing itself.
    pub fn root() -> Self {
        Self::default()
    }

    /// Returns the path of a field below this one.
    pub fn key(&self, key: impl Into<String>) -> Self {
        self.with(Step::Key(key.into()))
    }

    /// Returns the path of an element below this one.
    pub fn index(&self, index: usize) -> Self {
        self.with(Step::Index(index))
    }

    /// Returns `self` followed by `rest`.
    pub fn join(&self, rest: &Self) -> Self {
        Self(self.0.iter().chain(&rest.0).cloned().collect())
    }

    /// Returns the steps from the root.
    pub fn steps(&self) -> &[Step] {
        &self.0
    }

    fn with(&self, step: Step) -> Self {
        Self(self.0.iter().cloned().chain([step]).collect())
    }
}

impl fmt::Display for FieldPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (position, step) in self.0.iter().enumerate() {
            match step {
                Step::Index(index) => write!(f, "[{index}]")?,
                Step::Key(key) if is_word(key) => {
                    write!(f, "{}{key}", if position == 0 { "" } else { "." })?;
                }
                Step::Key(key) => write!(f, "[{key:?}]")?,
            }
        }
        Ok(())
    }
}

fn is_word(key: &str) -> bool {
    !key.is_empty() && key.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_' || b == b'-')
}

impl Serialize for FieldPath {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        // A list of steps is exact for programs; text would have to be parsed by them.
        serializer.collect_seq(self.0.iter().map(|step| match step {
            Step::Key(key) => serde_json::Value::from(key.as_str()),
            Step::Index(index) => serde_json::Value::from(*index),
        }))
    }
}

impl<'de> Deserialize<'de> for FieldPath {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        #[serde(untagged)]
        enum Raw {
            Index(usize),
            Key(String),
        }
        let steps = Vec::<Raw>::deserialize(deserializer)?;
        Ok(Self(
            steps
                .into_iter()
                .map(|step| match step {
                    Raw::Index(index) => Step::Index(index),
                    Raw::Key(key) => Step::Key(key),
                })
                .collect(),
        ))
    }
}

impl fmt::Display for ResourceKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Site => "site",
            Self::User => "user",
            Self::Token => "token",
            Self::Setting => "setting",
            Self::Certificate => "certificate",
            Self::File => "file",
            Self::Node => "node",
        })
    }
}

impl fmt::Display for SourcePos {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}:{}", self.file, self.line, self.column)
    }
}

/// Returns the known word that `word` was probably meant to be.
pub fn did_you_mean<'a>(word: &str, known: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let limit = 1 + word.chars().count() / 4;
    known
        .into_iter()
        .map(|candidate| (strsim::damerau_levenshtein(word, candidate), candidate))
        .filter(|(distance, candidate)| *distance <= limit && *distance < candidate.len())
        .min()
        .map(|(_, candidate)| candidate)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_reads_like_code() {
        let path = FieldPath::root().key("routes").index(0).key("users").key("a.b");
        assert_eq!(path.to_string(), "routes[0].users[\"a.b\"]");
    }

    #[test]
    fn a_path_survives_json() {
        let path = FieldPath::root().key("routes").index(3);
        let json = serde_json::to_string(&path).unwrap();
        assert_eq!(json, r#"["routes",3]"#);
        assert_eq!(serde_json::from_str::<FieldPath>(&json).unwrap(), path);
    }

    #[test]
    fn a_slip_finds_its_word_and_nonsense_finds_none() {
        let known = ["hosts", "routes", "https"];
        assert_eq!(did_you_mean("host", known), Some("hosts"));
        assert_eq!(did_you_mean("ruotes", known), Some("routes"));
        assert_eq!(did_you_mean("zebra", known), None);
    }
}
