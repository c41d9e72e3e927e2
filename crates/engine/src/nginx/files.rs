//! Routes that files of the node answer.

use portway_model::{
    FieldPath,
    site::{FileRoot, Route},
};

use super::{
    answers::{add as add_location, answer_after_access},
    headers,
    names::Draft,
    path,
    routes::{NONE, named},
    site::route_block,
    syntax::{Directive, line},
    types,
    value::{in_regex, literal},
};
use crate::{Extension, Secrecy};

/// A file that is never there: below something that is no folder.
const NO_FILE: &str = "/dev/null/nothing";

/// A route with files under construction.
struct Folder<'a> {
    index: usize,
    route: &'a Route,
    root: &'a FileRoot,
    at: FieldPath,
    /// The variable that holds the decoded path below the route's prefix.
    rest: String,
}

/// Adds the locations of a route that files answer.
pub(super) fn add(
    draft: &mut Draft<'_>,
    index: usize,
    route: &Route,
    root: &FileRoot,
    at: &FieldPath,
) {
    let at = at.key("files");
    let rest = rest(draft, index, route, &at);
    let folder = Folder { index, route, root, at, rest };
    let mut block = folder.common(draft);
    block.extend(folder.cache_control(draft));
    block.push(refuse("$request_method", "!~", "\\A(?:GET|HEAD)\\z", "405"));
    // Names that begin with a dot are nobody's business.
    block.push(refuse(&folder.rest, "~", "/\\.(?!well-known(?:/|\\z))", "404"));
    block.extend(folder.to_folders(draft));
    block.push(folder.try_files(draft));
    answer_after_access(draft, index, route, block);
    if root.spa {
        folder.add_fallback(draft);
    }
}

fn refuse(source: &str, operator: &str, pattern: &str, status: &str) -> Directive {
    line!("if", "(", source, operator, pattern, ")").with(vec![line!("return", status)])
}

/// The prefix ends at a segment, so what follows it begins with a slash.
fn rest(draft: &mut Draft<'_>, index: usize, route: &Route, at: &FieldPath) -> String {
    let prefix = route.matches.path.prefix().filter(|prefix| !prefix.is_root());
    let Some(prefix) = prefix.and_then(|prefix| path::decoded(prefix.as_str())) else {
        return "$uri".to_owned();
    };
    let below = format!("(?s)\\A{}(?<portway_below>/.*)\\z", in_regex(&prefix));
    let entry = [(below, "$portway_below".to_owned())];
    draft.map(&format!("r{index}_rest"), "$uri", entry, "/", at)
}

impl Folder<'_> {
    fn map(
        &self,
        draft: &mut Draft<'_>,
        suffix: &str,
        pattern: &str,
        value: String,
        default: &str,
    ) -> String {
        let suffix = format!("r{}_{suffix}", self.index);
        draft.map(&suffix, &self.rest, [(pattern.to_owned(), value)], default, &self.at)
    }

    /// What every answer with a file has.
    fn common(&self, draft: &mut Draft<'_>) -> Vec<Directive> {
        let mime = super::syntax::print(&types::mime()).text.into_bytes();
        let mime = draft.keep(Extension::Conf, Secrecy::Open, mime);
        let texts = types::TEXTS.iter().map(|media| (*media).to_owned());
        let mut block = vec![
            line!("root", literal(self.root.root.as_str())).from_field(&self.at.key("root")),
            line!("disable_symlinks", "on", "from=$document_root"),
            line!("include", mime),
            line!("default_type", "application/octet-stream"),
            line!("charset", "utf-8"),
            Directive::new(std::iter::once("charset_types".to_owned()).chain(texts)),
            line!("autoindex", if self.root.listing { "on" } else { "off" }),
            // Indexes are looked for by name; nginx's own search would begin the choice of a route anew.
            line!("index", ".portway-none"),
        ];
        let name = "x-content-type-options";
        if !self.route.filters.response_headers.set.contains_key(name) {
            block.push(line!("add_header", name, "nosniff"));
        }
        if draft.facts.has("http_gzip_static_module") {
            let on = if self.root.precompressed { "on" } else { "off" };
            block.push(line!("gzip_static", on).from_field(&self.at.key("precompressed")));
        }
        block
    }

    /// The page of an application names the files of its release, so it is asked for anew each time.
    fn cache_control(&self, draft: &mut Draft<'_>) -> Option<Directive> {
        let edits = &self.route.filters.response_headers;
        let name = "cache-control".to_owned();
        if edits.set.contains_key(&name) || edits.remove.contains(&name) {
            return None;
        }
        let usual = literal(&self.root.cache_control);
        if !self.root.spa {
            let is_there = !usual.is_empty();
            return is_there.then(|| line!("add_header", "Cache-Control", usual));
        }
        let pages: Vec<String> = self.root.index.iter().map(|name| in_regex(name)).collect();
        let pattern = format!("\\A/(?:{})?\\z", pages.join("|"));
        let variable = self.map(draft, "cache", &pattern, "no-cache".to_owned(), &usual);
        Some(line!("add_header", "Cache-Control", variable))
    }

    /// A folder that is asked for without its slash leads to the one with it, if it has something to show.
    fn to_folders(&self, draft: &mut Draft<'_>) -> Vec<Directive> {
        let rest = super::routes::braced(&self.rest);
        let on = vec![line!("rewrite", "(?s)\\A(.*)\\z", "$1/", "permanent")];
        if self.root.listing {
            let value = format!("${{document_root}}{rest}");
            let folder = self.slashless(draft, "folder", value);
            return vec![line!("if", "(", "-d", folder, ")").with(on)];
        }
        let mut block = Vec::new();
        for (place, name) in self.root.index.iter().enumerate() {
            let value = format!("${{document_root}}{rest}/{}", literal(name));
            let file = self.slashless(draft, &format!("folder_{place}"), value);
            block.push(line!("if", "(", "-f", file, ")").with(on.clone()));
        }
        block
    }

    /// Makes the variable that names a file where the path, as the client sees it, does not end with a
    /// slash.
    fn slashless(&self, draft: &mut Draft<'_>, suffix: &str, value: String) -> String {
        let suffix = format!("r{}_{suffix}", self.index);
        draft.map(&suffix, "$uri", [("[^/]\\z".to_owned(), value)], NO_FILE, &self.at)
    }

    fn try_files(&self, draft: &mut Draft<'_>) -> Directive {
        let mut words = vec!["try_files".to_owned(), self.rest.clone()];
        for (place, name) in self.root.index.iter().enumerate() {
            let value = format!("${{portway_folder}}{}", literal(name));
            let suffix = format!("index_{place}");
            let folder = "(?s)\\A(?<portway_folder>.*/)\\z";
            // What is no folder was just looked for.
            let rest = self.rest.clone();
            words.push(self.map(draft, &suffix, folder, value, &rest));
        }
        if self.root.listing {
            words.push(format!("{}/", self.rest));
        }
        words.push(if self.root.spa { self.fallback(draft) } else { NONE.to_owned() });
        Directive::new(words).from_field(&self.at)
    }

    /// A path of an application looks like no file, and whoever asks for it wants a page.
    fn fallback(&self, draft: &mut Draft<'_>) -> String {
        let page = "\\A/\\z|/[^./]+/?\\z";
        let is_page = self.map(draft, "page", page, "1".to_owned(), "0");
        let source = format!("{}$portway_wants_page", super::routes::braced(&is_page));
        let entry = [("\\A11\\z".to_owned(), self.fallback_name())];
        draft.map(&format!("r{}_fallback", self.index), &source, entry, NONE, &self.at.key("spa"))
    }

    fn fallback_name(&self) -> String {
        format!("{}_page", named(self.index))
    }

    fn add_fallback(&self, draft: &mut Draft<'_>) {
        let at = FieldPath::root().key("routes").index(self.index);
        let mut block = route_block(draft, self.index);
        block.extend(self.common(draft));
        let edits = &self.route.filters.response_headers;
        if !edits.set.contains_key("cache-control") {
            block.push(line!("add_header", "Cache-Control", "no-cache"));
        }
        block.extend(headers::response(edits, None, &at.key("headers").key("response")));
        let mut words = vec!["try_files".to_owned()];
        words.extend(self.root.index.iter().map(|name| format!("/{}", literal(name))));
        words.push("=404".to_owned());
        block.push(Directive::new(words));
        add_location(draft, &self.fallback_name(), block, &at.key("files").key("spa"));
    }
}
