//! What Portway notes on a node about itself, so that whoever comes next knows.

use portway_policy::Digest;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

/// The version of the note. A reader takes its own and the one before.
pub const FORMAT: u32 = 1;

/// The note of a turn on a node. It lies beside the releases; the one with the greatest number counts.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct NodeState {
    /// [`FORMAT`] of the writer.
    pub format: u32,
    /// The installation whose node it is.
    pub installation: Uuid,
    /// The node, as that installation calls it. Earlier versions did not write it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub node: Option<Uuid>,
    /// The manager that wrote it, for people.
    pub manager: String,
    /// The number of the writer's turn. Whoever finds a greater one than their own has lost the node.
    pub fence: u64,
    /// The release that was last proven to be served.
    pub release: Option<Digest>,
    /// The digest of the bytes of that release's entry.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub entry: Option<Digest>,
    /// The one before it, which stays on the node.
    pub before: Option<Digest>,
}

impl NodeState {
    /// Reads a note.
    ///
    /// # Errors
    /// Says what is wrong with a text that is no note, or one of a later version.
    pub fn read(bytes: &[u8]) -> Result<Self, String> {
        let state: Self = serde_json::from_slice(bytes).map_err(|error| error.to_string())?;
        if state.format > FORMAT {
            return Err(format!(
                "it is of format {}, and this manager reads up to {FORMAT}",
                state.format
            ));
        }
        Ok(state)
    }

    /// Returns the note as it is written.
    #[expect(
        clippy::expect_used,
        clippy::missing_panics_doc,
        reason = "the type has string keys only, so it serializes"
    )]
    pub fn write(&self) -> Vec<u8> {
        serde_json::to_vec_pretty(self).expect("a note serializes")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn note() -> NodeState {
        NodeState {
            format: FORMAT,
            installation: Uuid::nil(),
            node: Some(Uuid::nil()),
            manager: "box".to_owned(),
            fence: 7,
            release: Some(Digest::of(b"new")),
            entry: Some(Digest::of(b"entry")),
            before: None,
        }
    }

    #[test]
    fn a_note_is_read_as_it_was_written() {
        assert_eq!(NodeState::read(&note().write()).unwrap(), note());
    }

    #[test]
    fn a_note_of_an_earlier_version_names_no_node() {
        let text = r#"{"format": 1, "installation": "00000000-0000-0000-0000-000000000000",
            "manager": "box", "fence": 7, "release": null, "before": null}"#;
        assert_eq!(NodeState::read(text.as_bytes()).unwrap().node, None);
    }

    #[test]
    fn a_note_of_a_later_version_is_not_guessed_at() {
        let later = NodeState { format: FORMAT + 1, ..note() };
        assert!(NodeState::read(&later.write()).unwrap_err().contains("format"));
    }
}
