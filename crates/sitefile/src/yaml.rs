//! YAML to a tree with places. The parser underneath knows tags, aliases and repeated keys only as
//! events; here they are judged: aliases and merge keys are expanded within limits, tags and
//! repeated keys are reported.

use std::{collections::BTreeMap, sync::Arc};

use portway_model::FindingCode;
use saphyr_parser::{Event, Parser, ScalarStyle, Span, Tag};

use crate::{
    node::{Entry, Map, Node, Scalar, Style, Value},
    report::Report,
    source::{Extent, Pos, SourceFile, without_mark},
};

/// More is not a site file but a mistake, or an attack on the memory of the reader.
const LARGEST_FILE: usize = 16 << 20;
const DEEPEST: usize = 64;
const MOST_NODES: usize = 1_000_000;
const MOST_BYTES: usize = 64 << 20;

/// The document cannot be read as a whole; the report says why.
#[derive(Debug)]
pub(crate) struct Unreadable;

/// Reads a document; an empty one has no value at all.
pub(crate) fn read(
    text: &str,
    file: &Arc<SourceFile>,
    report: &mut Report,
) -> Result<Option<Node>, Unreadable> {
    let text = without_mark(text);
    let start = Pos { file: Arc::clone(file), line: 1, column: 1 };
    if text.len() > LARGEST_FILE {
        report
            .place(FindingCode::Syntax, &start, "the file has more than 16 MiB")
            .remedy("split it into several files and give `-f` for each");
        return Err(Unreadable);
    }
    let mut composer = Composer {
        file,
        extent: Extent::of(text),
        report,
        stack: Vec::new(),
        anchors: BTreeMap::new(),
        size: Size::default(),
        documents: 0,
        root: None,
    };
    for event in Parser::new_from_str(text) {
        let (event, span) = match event {
            Ok(event) => event,
            Err(error) => {
                let (line, column) = (error.marker().line(), error.marker().col() + 1);
                composer.refuse_syntax(line, column, error.info());
                return Err(Unreadable);
            }
        };
        composer.take(event, span)?;
    }
    Ok(composer.root)
}

struct Composer<'a> {
    file: &'a Arc<SourceFile>,
    extent: Extent,
    report: &'a mut Report,
    stack: Vec<Frame>,
    anchors: BTreeMap<usize, (Node, Size)>,
    /// How much the tree holds so far, aliases expanded.
    size: Size,
    documents: usize,
    root: Option<Node>,
}

/// A list or mapping that is still open.
struct Frame {
    pos: Pos,
    anchor: usize,
    content: Content,
}

enum Content {
    List(Vec<Node>),
    Map(OpenMap),
}

#[derive(Default)]
struct OpenMap {
    entries: Map,
    merged: Vec<Node>,
    key: Option<Key>,
}

/// The key whose value comes next.
enum Key {
    Field(String, Pos),
    Merge,
    /// A key that was reported; its value is read and dropped.
    Refused,
}

/// How much a tree holds.
#[derive(Clone, Copy, Default)]
struct Size {
    nodes: usize,
    bytes: usize,
    depth: usize,
}

impl Size {
    fn of(node: &Node) -> Self {
        let one = |bytes| Self { nodes: 1, bytes, depth: 1 };
        match &node.value {
            Value::Scalar(scalar) => one(scalar.text.len()),
            Value::List(items) => items.iter().fold(one(0), Self::holding),
            Value::Map(map) => map.iter().fold(one(0), |mut sum, (key, entry)| {
                sum.bytes = sum.bytes.saturating_add(key.len());
                sum.holding(&entry.node)
            }),
        }
    }

    fn holding(self, inner: &Node) -> Self {
        let inner = Self::of(inner);
        let sum = self.plus(inner);
        Self { depth: self.depth.max(inner.depth + 1), ..sum }
    }

    fn plus(self, other: Self) -> Self {
        Self {
            nodes: self.nodes.saturating_add(other.nodes),
            bytes: self.bytes.saturating_add(other.bytes),
            depth: self.depth,
        }
    }
}

impl Composer<'_> {
    fn take(&mut self, event: Event<'_>, span: Span) -> Result<(), Unreadable> {
        let pos = self.pos(span.start.line(), span.start.col() + 1);
        match event {
            Event::Nothing | Event::StreamStart | Event::StreamEnd | Event::DocumentEnd => Ok(()),
            Event::DocumentStart(_) => self.begin_document(&pos),
            Event::Alias(id) => self.expand(id, pos),
            Event::Scalar(text, style, anchor, tag) => {
                self.refuse_tag(tag.as_deref(), &pos);
                let style = match style {
                    ScalarStyle::Plain => Style::Plain,
                    ScalarStyle::SingleQuoted
                    | ScalarStyle::DoubleQuoted
                    | ScalarStyle::Literal
                    | ScalarStyle::Folded => Style::Quoted,
                };
                let scalar = Scalar { text: text.into_owned(), style };
                self.add(Node { pos, value: Value::Scalar(scalar) }, anchor)
            }
            Event::SequenceStart(anchor, tag) => {
                self.open(pos, anchor, tag.as_deref(), Content::List(Vec::new()))
            }
            Event::MappingStart(anchor, tag) => {
                self.open(pos, anchor, tag.as_deref(), Content::Map(OpenMap::default()))
            }
            Event::SequenceEnd | Event::MappingEnd => self.close(),
        }
    }

    fn pos(&self, line: usize, column: usize) -> Pos {
        let (line, column) = self.extent.clamp(line, column);
        Pos { file: Arc::clone(self.file), line, column }
    }

    fn refuse_syntax(&mut self, line: usize, column: usize, reason: &str) {
        let pos = self.pos(line, column);
        let remedy = if reason.contains("anchor") || reason.contains("alias") {
            "put text that begins with `*` or `&` into quotes, for example `\"*.example.org\"`"
        } else if reason.contains("tab") {
            "indent with spaces; YAML takes no tabs there"
        } else {
            "check indentation, quotes and brackets here and in the line before"
        };
        self.report
            .place(FindingCode::Syntax, &pos, format!("this is not YAML: {reason}"))
            .remedy(remedy);
    }

    fn begin_document(&mut self, pos: &Pos) -> Result<(), Unreadable> {
        self.documents += 1;
        if self.documents < 2 {
            return Ok(());
        }
        self.report
            .place(FindingCode::Syntax, pos, "a second document begins here")
            .remedy("put each document into a file of its own and give `-f` for each");
        Err(Unreadable)
    }

    fn refuse_tag(&mut self, tag: Option<&Tag>, pos: &Pos) {
        if tag.is_some() {
            self.report
                .place(FindingCode::Syntax, pos, "site files have no tags like `!!str`")
                .remedy("remove the tag; text that looks like a number is put in quotes");
        }
    }

    fn open(
        &mut self,
        pos: Pos,
        anchor: usize,
        tag: Option<&Tag>,
        content: Content,
    ) -> Result<(), Unreadable> {
        self.refuse_tag(tag, &pos);
        self.limit_depth(1, &pos)?;
        self.stack.push(Frame { pos, anchor, content });
        Ok(())
    }

    fn limit_depth(&mut self, more: usize, pos: &Pos) -> Result<(), Unreadable> {
        if self.stack.len() + more <= DEEPEST {
            return Ok(());
        }
        self.report
            .place(FindingCode::Syntax, pos, format!("more than {DEEPEST} levels of nesting"))
            .remedy("no site file needs so many; look for brackets that are never closed");
        Err(Unreadable)
    }

    fn expand(&mut self, id: usize, pos: Pos) -> Result<(), Unreadable> {
        let Some((node, size)) = self.anchors.get(&id) else {
            self.report
                .place(FindingCode::Syntax, &pos, "this alias refers to what it stands in")
                .remedy("write the value here");
            return Err(Unreadable);
        };
        let (mut node, size) = (node.clone(), *size);
        self.limit_depth(size.depth, &pos)?;
        self.charge(size, &pos)?;
        if self.expects_key() {
            node.pos = pos;
        }
        self.place(node);
        Ok(())
    }

    fn charge(&mut self, size: Size, pos: &Pos) -> Result<(), Unreadable> {
        self.size = self.size.plus(size);
        if self.size.nodes <= MOST_NODES && self.size.bytes <= MOST_BYTES {
            return Ok(());
        }
        self.report
            .place(FindingCode::Syntax, pos, "the file holds more than a million values")
            .remedy("use fewer aliases, or split it into several files");
        Err(Unreadable)
    }

    fn close(&mut self) -> Result<(), Unreadable> {
        let Some(Frame { pos, anchor, content }) = self.stack.pop() else {
            return Ok(());
        };
        let value = match content {
            Content::List(items) => Value::List(items),
            Content::Map(open) => Value::Map(self.complete(open)),
        };
        self.add(Node { pos, value }, anchor)
    }

    /// Adds what merge keys bring in; fields that are written win.
    fn complete(&mut self, open: OpenMap) -> Map {
        let mut entries = open.entries;
        for source in open.merged {
            let maps = match source.value {
                Value::Map(map) => vec![map],
                Value::List(items) => self.mergeable(items),
                Value::Scalar(_) => {
                    self.refuse_merge(&source.pos);
                    Vec::new()
                }
            };
            for (key, entry) in maps.into_iter().flatten() {
                entries.entry(key).or_insert(entry);
            }
        }
        entries
    }

    fn mergeable(&mut self, items: Vec<Node>) -> Vec<Map> {
        let mut maps = Vec::new();
        for item in items {
            match item.value {
                Value::Map(map) => maps.push(map),
                Value::Scalar(_) | Value::List(_) => self.refuse_merge(&item.pos),
            }
        }
        maps
    }

    fn refuse_merge(&mut self, pos: &Pos) {
        self.report
            .place(FindingCode::WrongType, pos, "`<<` takes in mappings only")
            .remedy("write an alias of a mapping, or a list of them: `<<: [*a, *b]`");
    }

    fn add(&mut self, node: Node, anchor: usize) -> Result<(), Unreadable> {
        let own = match &node.value {
            Value::Scalar(scalar) => Size { nodes: 1, bytes: scalar.text.len(), depth: 1 },
            Value::List(_) | Value::Map(_) => Size { nodes: 1, bytes: 0, depth: 1 },
        };
        self.charge(own, &node.pos)?;
        if anchor != 0 {
            let size = Size::of(&node);
            self.anchors.insert(anchor, (node.clone(), size));
        }
        self.place(node);
        Ok(())
    }

    fn expects_key(&self) -> bool {
        let top = self.stack.last().map(|frame| &frame.content);
        matches!(top, Some(Content::Map(open)) if open.key.is_none())
    }

    fn place(&mut self, node: Node) {
        let key = if self.expects_key() { Some(self.key(&node)) } else { None };
        let Some(frame) = self.stack.last_mut() else {
            self.root = Some(node);
            return;
        };
        match (&mut frame.content, key) {
            (Content::List(items), _) => items.push(node),
            (Content::Map(open), Some(key)) => open.key = Some(key),
            (Content::Map(open), None) => match open.key.take() {
                Some(Key::Field(key, key_pos)) => {
                    open.entries.insert(key, Entry { key_pos, node });
                }
                Some(Key::Merge) => open.merged.push(node),
                Some(Key::Refused) | None => {}
            },
        }
    }

    fn key(&mut self, node: &Node) -> Key {
        let Value::Scalar(scalar) = &node.value else {
            self.report
                .place(FindingCode::WrongType, &node.pos, "a list or mapping cannot be a key")
                .remedy("write a word before the colon; quote text that begins with `[` or `{`");
            return Key::Refused;
        };
        if scalar.style == Style::Plain && scalar.text == "<<" {
            return Key::Merge;
        }
        let top = self.stack.last().map(|frame| &frame.content);
        let earlier = match top {
            Some(Content::Map(open)) => open.entries.get(&scalar.text),
            Some(Content::List(_)) | None => None,
        };
        let Some(earlier) = earlier else {
            return Key::Field(scalar.text.clone(), node.pos.clone());
        };
        let text = format!("`{}` stands already in line {}", scalar.text, earlier.key_pos.line);
        self.report
            .place(FindingCode::DuplicateField, &node.pos, text)
            .remedy("remove one of the two");
        Key::Refused
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> (Option<Node>, Vec<String>) {
        let file = Arc::new(SourceFile { name: "f".to_owned(), folder: "/".into() });
        let mut report = Report::default();
        let node = read(text, &file, &mut report).ok().flatten();
        let texts = report.into_sorted(&[]).into_iter().map(|finding| finding.text).collect();
        (node, texts)
    }

    fn field<'a>(node: &'a Node, key: &str) -> &'a Entry {
        match &node.value {
            Value::Map(map) => &map[key],
            Value::Scalar(_) | Value::List(_) => panic!("a mapping"),
        }
    }

    #[test]
    fn every_value_knows_its_place() {
        let (node, findings) = parse("ä: 1\nlist:\n  - \"é\" # x\n  - b\n");
        assert_eq!(findings, Vec::<String>::new());
        let node = node.unwrap();
        let first = field(&node, "ä");
        assert_eq!((first.node.pos.line, first.node.pos.column), (1, 4));
        let list = field(&node, "list");
        assert_eq!((list.pos().line, list.pos().column), (2, 1));
        let Value::List(items) = &list.node.value else { panic!("a list") };
        assert_eq!((items[1].pos.line, items[1].pos.column), (4, 5));
    }

    #[test]
    fn a_mark_at_the_start_is_not_part_of_the_text() {
        let (node, _) = parse("\u{feff}a: 1");
        assert_eq!(field(&node.unwrap(), "a").key_pos.column, 1);
    }

    #[test]
    fn merge_keys_fill_in_what_is_not_written() {
        let text = "base: &b {x: 1, y: 2}\nuse:\n  y: 3\n  <<: *b\nmore:\n  <<: [*b, {z: 4}]\n";
        let (node, findings) = parse(text);
        assert_eq!(findings, Vec::<String>::new());
        let node = node.unwrap();
        let text = |entry: &Entry, key: &str| match &field(&entry.node, key).node.value {
            Value::Scalar(scalar) => scalar.text.clone(),
            Value::List(_) | Value::Map(_) => panic!("a scalar"),
        };
        assert_eq!(text(field(&node, "use"), "x"), "1");
        assert_eq!(text(field(&node, "use"), "y"), "3");
        assert_eq!(text(field(&node, "more"), "z"), "4");
    }

    #[test]
    fn a_bomb_of_aliases_is_stopped() {
        let mut lines = vec!["a0: &a0 [x, x, x, x, x, x, x, x, x, x]".to_owned()];
        for level in 1..12 {
            let before = format!("*a{}, ", level - 1).repeat(10);
            lines.push(format!("a{level}: &a{level} [{before}]"));
        }
        let (node, findings) = parse(&lines.join("\n"));
        assert!(node.is_none() && findings[0].contains("million"), "{findings:?}");
    }

    #[test]
    fn a_bomb_of_text_is_stopped() {
        let big = "x".repeat(1 << 20);
        let (node, findings) = parse(&format!("a: &a {big}\nb: [{}]\n", "*a, ".repeat(80)));
        assert!(node.is_none() && !findings.is_empty());
    }

    #[test]
    fn nesting_has_an_end() {
        let (node, _) = parse(&"[".repeat(100_000));
        assert!(node.is_none());
        let (node, findings) = parse(&"[".repeat(100));
        assert!(node.is_none() && findings[0].contains("nesting"), "{findings:?}");
        let (node, findings) = parse("a: &a {b: *a}");
        assert!(node.is_none() && findings[0].contains("alias"), "{findings:?}");
    }
}
