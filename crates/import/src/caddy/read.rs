//! Reads a Caddyfile into directives, with what `import` brings in its place.

use std::collections::BTreeMap;

use camino::{Utf8Path, Utf8PathBuf};
use portway_engine::caddy::{Token, tokens};

use crate::{glob, node::Node, options::Options, report::Ledger, tree::Tree};

const DEEPEST: usize = 32;
const MOST_NODES: usize = 200_000;

/// A Caddyfile: what stands at its top.
#[derive(Debug, Default)]
pub(super) struct Caddyfile {
    /// Options of the whole server.
    pub(super) options: Vec<Node>,
    /// Sites: a directive whose words are the addresses.
    pub(super) sites: Vec<Node>,
}

/// The reading of a file and of all that it imports.
pub(super) struct Reader<'a> {
    pub(super) tree: &'a dyn Tree,
    pub(super) options: &'a Options,
    pub(super) ledger: &'a mut Ledger,
    pub(super) snippets: BTreeMap<String, Vec<Node>>,
    pub(super) nodes: usize,
}

impl Reader<'_> {
    /// Reads the file with which Caddy begins.
    pub(super) fn read(&mut self, path: &Utf8Path) -> Result<Caddyfile, String> {
        let nodes = self.file(path)?;
        let mut found = Caddyfile::default();
        self.sort(nodes, path, &mut vec![path.to_owned()], &mut found);
        Ok(found)
    }

    fn file(&mut self, path: &Utf8Path) -> Result<Vec<Node>, String> {
        let text = self.tree.read(path).map_err(|error| format!("{path}: {error}"))?;
        let tokens = tokens(&text).map_err(|error| format!("{path}:{}: {error}", error.line))?;
        let mut rest = tokens.as_slice();
        let nodes = self.block(&mut rest, path, 0)?;
        match rest.first() {
            None => Ok(nodes),
            Some(token) => Err(format!("{path}:{}: a closing brace too many", token.line)),
        }
    }

    /// Reads directives up to a closing brace or the end.
    fn block(
        &mut self,
        rest: &mut &[Token],
        path: &Utf8Path,
        depth: usize,
    ) -> Result<Vec<Node>, String> {
        let mut nodes = Vec::new();
        while let Some((first, tail)) = rest.split_first() {
            if is(first, "}") {
                return Ok(nodes);
            }
            let mut words = Vec::new();
            let mut block = None;
            let line = first.line;
            let mut opens = is(first, "{");
            if !opens {
                words.push(first.text.clone());
            }
            *rest = tail;
            let mut goes_on = first.text.ends_with(',') && depth == 0;
            while let (false, Some((token, tail))) = (opens, rest.split_first()) {
                // Addresses go on in the next line behind a comma.
                if token.is_first && !goes_on {
                    break;
                }
                *rest = tail;
                if is(token, "{") {
                    opens = true;
                } else {
                    words.push(token.text.clone());
                    goes_on = token.text.ends_with(',') && depth == 0;
                }
            }
            let id = self.ledger.enter(path.as_str(), line, &words);
            if opens {
                if depth > DEEPEST {
                    return Err(format!("{path}:{line}: more than {DEEPEST} blocks in each other"));
                }
                let inner = self.block(rest, path, depth + 1)?;
                let Some((_, tail)) = rest.split_first() else {
                    return Err(format!("{path}:{line}: a block is not closed"));
                };
                *rest = tail;
                block = Some(inner);
            }
            nodes.push(Node { id, words, block });
        }
        Ok(nodes)
    }

    /// Sorts what stands at the top: options, snippets, sites. A file without braces is one site.
    fn sort(
        &mut self,
        nodes: Vec<Node>,
        path: &Utf8Path,
        stack: &mut Vec<Utf8PathBuf>,
        found: &mut Caddyfile,
    ) {
        let has_blocks = nodes.iter().any(|node| node.block.is_some() && is_site(node));
        let is_one_site = stack.len() == 1
            && !has_blocks
            && nodes.first().is_some_and(|node| node.block.is_none() && node.name() != "import");
        if is_one_site {
            let mut rest = nodes.into_iter();
            if let Some(addresses) = rest.next() {
                let inner = rest.collect::<Vec<Node>>();
                let block = Some(self.expand(inner, path, stack));
                found.sites.push(Node { block, ..addresses });
            }
            return;
        }
        for node in nodes {
            let name = node.name().to_owned();
            if node.words.is_empty() {
                self.ledger.converted(node.id);
                found.options.extend(node.block.unwrap_or_default());
            } else if let Some(name) =
                name.strip_prefix('(').and_then(|name| name.strip_suffix(')'))
            {
                self.ledger.converted(node.id);
                self.snippets.insert(name.to_owned(), node.block.unwrap_or_default());
            } else if name == "import" {
                for (path, nodes) in self.imported(&node, path, stack) {
                    if let Some(path) = path {
                        stack.push(path.clone());
                        self.sort(nodes, &path, stack, found);
                        stack.pop();
                    } else {
                        found.sites.extend(nodes);
                    }
                }
            } else {
                let block = node.block.map(|inner| self.expand(inner, path, stack));
                found.sites.push(Node { id: node.id, words: node.words, block });
            }
        }
    }

    /// Puts what is imported in the place of `import`. What cannot be imported stays, and is not known.
    fn expand(
        &mut self,
        nodes: Vec<Node>,
        path: &Utf8Path,
        stack: &mut Vec<Utf8PathBuf>,
    ) -> Vec<Node> {
        let mut expanded = Vec::new();
        for node in nodes {
            self.nodes += 1;
            if node.name() != "import" {
                let block = node.block.map(|inner| self.expand(inner, path, stack));
                expanded.push(Node { id: node.id, words: node.words, block });
                continue;
            }
            for (from, nodes) in self.imported(&node, path, stack) {
                let (place, depth) = match from {
                    Some(file) => (file.clone(), file),
                    None => (path.to_owned(), Utf8PathBuf::from(format!("({})", node.arg(0)))),
                };
                stack.push(depth);
                let inner = self.expand(nodes, &place, stack);
                stack.pop();
                expanded.extend(inner);
            }
        }
        expanded
    }

    /// Returns what an `import` brings, with the files that it comes from.
    fn imported(
        &mut self,
        node: &Node,
        path: &Utf8Path,
        stack: &[Utf8PathBuf],
    ) -> Vec<(Option<Utf8PathBuf>, Vec<Node>)> {
        // As a directive that nobody knows, so that it closes what it stands in.
        let unknown =
            || vec![(None, vec![Node { words: vec!["(import)".to_owned()], ..node.clone() }])];
        if node.block.is_some() || self.nodes > MOST_NODES || stack.len() > DEEPEST {
            self.ledger.closes(node.id, "this import cannot be followed");
            return unknown();
        }
        let name = node.arg(0);
        if let Some(snippet) = self.snippets.get(name) {
            if stack.iter().any(|outer| outer.as_str() == format!("({name})")) {
                self.ledger.closes(node.id, "it imports itself");
                return unknown();
            }
            let args = node.args().get(1..).unwrap_or_default();
            let nodes = snippet.iter().map(|inner| filled(inner, args)).collect();
            self.ledger.converted(node.id);
            return vec![(None, nodes)];
        }
        let folder = path.parent().unwrap_or(Utf8Path::new("/"));
        let pattern = folder.join(name);
        let is_pattern = glob::is_pattern(name);
        let paths = if is_pattern {
            glob::expand(self.tree, &pattern).unwrap_or_default()
        } else {
            vec![pattern]
        };
        self.ledger.converted_by(node.id, format!("{} files read", paths.len()));
        let mut found = Vec::new();
        for path in paths {
            if self.options.is_own(&path) {
                self.ledger.converted_by(node.id, "Portway itself put it there");
            } else if stack.contains(&path) {
                self.ledger.closes(node.id, format!("{path} imports itself"));
                found.extend(unknown());
            } else {
                match self.file(&path) {
                    Ok(nodes) => {
                        let args = node.args().get(1..).unwrap_or_default();
                        let nodes = nodes.iter().map(|inner| filled(inner, args)).collect();
                        found.push((Some(path), nodes));
                    }
                    Err(problem) => {
                        self.ledger.closes(node.id, problem);
                        found.extend(unknown());
                    }
                }
            }
        }
        found
    }
}

fn is(token: &Token, brace: &str) -> bool {
    token.text == brace && !token.is_quoted
}

fn is_site(node: &Node) -> bool {
    !node.words.is_empty() && !node.name().starts_with('(')
}

/// Puts the arguments of an import into a directive.
fn filled(node: &Node, args: &[String]) -> Node {
    let fill = |word: &String| {
        args.iter().enumerate().fold(word.clone(), |word, (index, arg)| {
            word.replace(&format!("{{args[{index}]}}"), arg)
                .replace(&format!("{{args.{index}}}"), arg)
        })
    };
    Node {
        id: node.id,
        words: node.words.iter().map(fill).collect(),
        block: node
            .block
            .as_ref()
            .map(|inner| inner.iter().map(|node| filled(node, args)).collect()),
    }
}
