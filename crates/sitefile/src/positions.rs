//! Where the fields of a site stand in their files.

use std::collections::BTreeMap;

use portway_model::{FieldPath, SourcePos, Step};

use crate::source::Pos;

/// Where the fields of a site stand in their files, so that what a server finds can be shown there.
#[derive(Clone, Debug, Default)]
pub struct Positions {
    at: BTreeMap<FieldPath, Pos>,
}

impl Positions {
    pub(crate) fn set(&mut self, path: FieldPath, pos: Pos) {
        self.at.insert(path, pos);
    }

    /// Returns the place of a field or, where it is not written, of the nearest one around it.
    pub fn locate(&self, path: &FieldPath) -> Option<SourcePos> {
        self.pos(path).map(Pos::to_model)
    }

    pub(crate) fn pos(&self, path: &FieldPath) -> Option<&Pos> {
        let mut path = path.clone();
        loop {
            if let Some(pos) = self.at.get(&path) {
                return Some(pos);
            }
            path = parent(&path)?;
        }
    }
}

/// Returns the path of what holds a field, or nothing for the root.
pub(crate) fn parent(path: &FieldPath) -> Option<FieldPath> {
    let (_, steps) = path.steps().split_last()?;
    Some(steps.iter().fold(FieldPath::root(), |path, step| match step {
        Step::Key(key) => path.key(key),
        Step::Index(index) => path.index(*index),
    }))
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::source::SourceFile;

    #[test]
    fn a_field_that_is_not_written_is_where_its_nearest_ancestor_is() {
        let file = Arc::new(SourceFile { name: "a.yaml".to_owned(), folder: "/".into() });
        let pos = |line| Pos { file: Arc::clone(&file), line, column: 1 };
        let mut positions = Positions::default();
        let root = FieldPath::root();
        assert_eq!(positions.locate(&root), None);
        positions.set(root.clone(), pos(1));
        positions.set(root.key("routes").index(0), pos(5));
        let line = |path: FieldPath| positions.locate(&path).unwrap().line;
        assert_eq!(line(root.key("routes").index(0).key("to")), 5);
        assert_eq!(line(root.key("routes").index(1)), 1);
    }
}
