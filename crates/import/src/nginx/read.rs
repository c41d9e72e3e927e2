//! Reads a tree of nginx's files into one, each `include` in the place where it stands.

use std::{collections::BTreeMap, rc::Rc};

use camino::{Utf8Path, Utf8PathBuf};
use portway_engine::nginx::{Directive, parse};

pub(super) use crate::node::Node;
use crate::{
    glob,
    options::Options,
    report::Ledger,
    tree::{ReadError, Tree},
};

/// Files include files; deeper is a circle that changes its names.
const DEEPEST: usize = 32;

/// More directives are no configuration but a bomb of includes.
const MOST_NODES: usize = 200_000;

/// The reading of a tree.
pub(super) struct Reader<'a> {
    tree: &'a dyn Tree,
    options: &'a Options,
    ledger: &'a mut Ledger,
    /// The folder from which relative paths are meant.
    folder: Utf8PathBuf,
    /// What was read, so that a file that is included twice is entered once.
    files: BTreeMap<Utf8PathBuf, Rc<Result<Vec<Node>, String>>>,
    stack: Vec<Utf8PathBuf>,
    nodes: usize,
}

impl<'a> Reader<'a> {
    pub(super) fn new(
        tree: &'a dyn Tree,
        options: &'a Options,
        ledger: &'a mut Ledger,
        folder: Utf8PathBuf,
    ) -> Self {
        let (files, stack) = (BTreeMap::new(), Vec::new());
        Self { tree, options, ledger, folder, files, stack, nodes: 0 }
    }

    /// Reads the file with which nginx begins.
    pub(super) fn read(&mut self, path: &Utf8Path) -> Result<Vec<Node>, String> {
        let file = self.file(path);
        match file.as_ref() {
            Ok(nodes) => {
                self.stack.push(path.to_owned());
                let nodes = self.expand(nodes);
                self.stack.pop();
                Ok(nodes)
            }
            Err(problem) => Err(problem.clone()),
        }
    }

    fn file(&mut self, path: &Utf8Path) -> Rc<Result<Vec<Node>, String>> {
        if let Some(known) = self.files.get(path) {
            return Rc::clone(known);
        }
        let read = match self.tree.read(path) {
            Ok(text) => match parse(&text) {
                Ok(directives) => Ok(self.enter(path, directives)),
                Err(error) => Err(format!("{path}:{}: {}", error.line, error.problem)),
            },
            Err(error) => Err(format!("{path}: {error}")),
        };
        let read = Rc::new(read);
        self.files.insert(path.to_owned(), Rc::clone(&read));
        read
    }

    fn enter(&mut self, path: &Utf8Path, directives: Vec<Directive>) -> Vec<Node> {
        let enter = |directive: Directive| {
            let id = self.ledger.enter(path.as_str(), directive.line, &directive.words);
            let block = directive.block.map(|inner| self.enter(path, inner));
            Node { id, words: directive.words, block }
        };
        directives.into_iter().map(enter).collect()
    }

    /// An include that cannot be followed stays where it is, so that what might stand in it is not
    /// taken for nothing.
    fn expand(&mut self, nodes: &[Node]) -> Vec<Node> {
        let mut expanded = Vec::new();
        for node in nodes {
            self.nodes += 1;
            if node.name() == "include" && node.block.is_none() {
                expanded.extend(self.include(node));
                continue;
            }
            let block = node.block.as_ref().map(|inner| self.expand(inner));
            expanded.push(Node { id: node.id, words: node.words.clone(), block });
        }
        expanded
    }

    fn include(&mut self, node: &Node) -> Vec<Node> {
        let pattern = self.folder.join(node.arg(0));
        let refuse = |ledger: &mut Ledger, why: String| {
            ledger.closes(node.id, why);
            vec![node.clone()]
        };
        let paths = if glob::is_pattern(pattern.as_str()) {
            glob::expand(self.tree, &pattern)
        } else {
            Ok(vec![pattern.clone()])
        };
        let paths = match paths {
            Ok(paths) => paths,
            Err(error @ (ReadError::Absent | ReadError::Unreadable(_))) => {
                return refuse(self.ledger, format!("{pattern}: {error}"));
            }
        };
        let mut found = Vec::new();
        let mut taken = 0;
        for path in paths {
            if self.options.is_own(&path) {
                self.ledger.converted_by(node.id, "Portway itself put it here");
                continue;
            }
            if self.stack.contains(&path) || self.stack.len() >= DEEPEST {
                return refuse(self.ledger, format!("{path} includes itself"));
            }
            if self.nodes > MOST_NODES {
                return refuse(self.ledger, format!("more than {MOST_NODES} directives"));
            }
            let file = self.file(&path);
            match file.as_ref() {
                Ok(nodes) => {
                    taken += 1;
                    self.stack.push(path);
                    found.extend(self.expand(nodes));
                    self.stack.pop();
                }
                Err(problem) => found.extend(refuse(self.ledger, problem.clone())),
            }
        }
        let files = if taken == 1 { "1 file".to_owned() } else { format!("{taken} files") };
        self.ledger.converted_by(node.id, format!("{files} read"));
        found
    }
}
