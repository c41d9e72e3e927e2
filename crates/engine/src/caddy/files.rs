//! Files of the node.

use camino::Utf8Path;
use portway_model::{FieldPath, site::FileRoot};

use super::{
    headers,
    prelude::respond,
    site::Lines,
    syntax::{Directive, Word},
    text::Unwritable,
};
use crate::go_pattern::GoPattern;

/// The one name beginning with a dot that is shown.
const SHOWN: &str = ".well-known";

/// What clients name that would take a page.
const PAGE: &str = r"(?i)(?:^|,)[ \t]*(?:text/html|text/\*|application/xhtml\+xml|\*/\*)";

/// Writes how files are served. The route's prefix is off the path already.
pub(super) fn write(
    lines: &mut Lines<'_>,
    files: &FileRoot,
    at: &FieldPath,
) -> Result<(), Unwritable> {
    let FileRoot { root, index, cache_control, spa, listing, precompressed } = files;
    let hidden = Word::from(GoPattern::hidden_but(SHOWN).to_string());
    let words = ["@portway_hidden", "path_regexp"].map(Word::ours);
    lines.put(Directive::new(words.into_iter().chain([hidden])))?;
    lines.put(respond("@portway_hidden", ("404 Not found", "404")))?;
    lines.put(Directive::new(["@portway_written", "not", "method", "GET", "HEAD"]))?;
    lines.put(Directive::new(["header", "@portway_written", "Allow", "GET, HEAD"]))?;
    lines.put(respond("@portway_written", ("405 Method not allowed", "405")))?;
    lines.from(&at.key("root"));
    lines.put(Directive::new([Word::ours("root"), Word::ours("*"), Word::text(root.as_str())?]))?;
    if *spa {
        write_spa(lines, index, &at.key("spa"))?;
    }
    // Applied before that of the index of a single-page application, which stands further out.
    let edit = vec![
        ("Cache-Control".to_owned(), Some(cache_control.as_str())),
        ("X-Content-Type-Options".to_owned(), Some("nosniff")),
        ("?Content-Type".to_owned(), Some("application/octet-stream")),
    ];
    headers::deferred(lines, edit, &at.key("cache_control"))?;
    let mut options = Vec::new();
    lines.from(&at.key("index"));
    let names: Vec<Word> = index.iter().map(|name| Word::text(name)).collect::<Result<_, _>>()?;
    if !names.is_empty() {
        options.push(Directive::new(std::iter::once(Word::ours("index")).chain(names)));
    }
    if *precompressed {
        options.push(Directive::new(["precompressed", "br", "zstd", "gzip"]));
    }
    if *listing {
        return write_listing(lines, options);
    }
    lines.put(Directive::new(["file_server"]).with_any(options))
}

/// Names in listings are hidden wherever they are part of a path, that of the root included. So the one
/// that is shown has a server of its own.
fn write_listing(lines: &mut Lines<'_>, mut options: Vec<Directive>) -> Result<(), Unwritable> {
    let shown = Word::from(GoPattern::with_segment(SHOWN).to_string());
    let words = ["@portway_shown", "path_regexp"].map(Word::ours);
    lines.put(Directive::new(words.into_iter().chain([shown])))?;
    let of_shown = Directive::new(["file_server", "@portway_shown", "browse"]);
    lines.put(of_shown.with_any(options.clone()))?;
    options.push(Directive::new(["hide", ".*"]));
    lines.put(Directive::new(["file_server", "browse"]).with(options))
}

/// Tells whether listings can be made of a folder: no part of its path begins with a dot.
pub(super) fn can_be_listed(root: &Utf8Path) -> bool {
    root.components().all(|part| !part.as_str().starts_with('.'))
}

/// Paths without a file, whose last part has no dot, get the index of the root, for whom would take a
/// page.
fn write_spa(lines: &mut Lines<'_>, index: &[String], at: &FieldPath) -> Result<(), Unwritable> {
    let Some(index) = index.first() else { return Ok(()) };
    lines.from(at);
    let of_folder = Word::from(format!("{{http.request.uri.path}}/{index}"));
    let words = ["not", "file", "{http.request.uri.path}"].map(Word::ours);
    let absent = Directive::new(words.into_iter().chain([of_folder]));
    let nameless = Directive::new(["path_regexp", GoPattern::without_ending()]);
    let accepts = [
        ("@portway_page", Directive::new(["header_regexp", "Accept", PAGE])),
        ("@portway_anything", Directive::new(["not", "header", "Accept", "*"])),
    ];
    for (name, accept) in accepts {
        lines.put(Directive::new([name]).with(vec![absent.clone(), nameless.clone(), accept]))?;
        lines.open(&[Word::ours("route"), Word::ours(name)])?;
        let edit = vec![("Cache-Control".to_owned(), Some("no-cache"))];
        headers::deferred(lines, edit, at)?;
        // The index has a plain name (`support`).
        let to = Word::from(format!("/{index}"));
        lines.put(Directive::new([Word::ours("rewrite"), Word::ours("*"), to]))?;
        lines.close();
    }
    Ok(())
}
