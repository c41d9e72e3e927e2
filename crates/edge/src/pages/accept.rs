//! Which form of an answer of the edge's own a client prefers (RFC 9110 §12.5.1).

use http::HeaderValue;

use crate::quality;

/// A form in which an error can be told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Media {
    /// A page.
    Html,
    /// A problem (RFC 9457).
    Problem,
    /// Lines of text.
    Plain,
}

impl Media {
    /// Returns the `Content-Type`.
    pub(crate) fn content_type(self) -> &'static str {
        match self {
            Self::Html => "text/html; charset=utf-8",
            Self::Problem => "application/problem+json",
            Self::Plain => "text/plain; charset=utf-8",
        }
    }

    /// The media types under which a client may ask for it.
    fn names(self) -> &'static [(&'static str, &'static str)] {
        match self {
            Self::Html => &[("text", "html"), ("application", "xhtml+xml")],
            Self::Problem => &[("application", "problem+json"), ("application", "json")],
            Self::Plain => &[("text", "plain")],
        }
    }
}

/// Returns the form with the highest quality. Among equals the one that is named most exactly
/// wins; who takes anything gets plain text.
pub(crate) fn choose(accept: Option<&HeaderValue>) -> Media {
    let Some(accept) = accept.and_then(|value| value.to_str().ok()) else {
        return Media::Plain;
    };
    let mut best = (0, Exactness::Anything, Media::Plain);
    for media in [Media::Plain, Media::Problem, Media::Html] {
        let Some((quality, exactness)) = wish(accept, media.names()) else {
            continue;
        };
        let better = (quality, exactness) > (best.0, best.1);
        let tie = (quality, exactness) == (best.0, best.1) && exactness > Exactness::Anything;
        if quality > 0 && (better || (tie && best.2 == Media::Plain)) {
            best = (quality, exactness, media);
        }
    }
    best.2
}

/// What a client wants to see where a page for people and data for programs are both at hand.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum View {
    /// A page.
    Page,
    /// JSON.
    Data,
    /// Neither of them.
    Neither,
}

/// Returns what a client prefers. Who takes anything gets the page, unless JSON is named.
pub(crate) fn view(accept: Option<&HeaderValue>) -> View {
    let Some(accept) = accept.and_then(|value| value.to_str().ok()) else {
        return View::Page;
    };
    let wish = |names| wish(accept, names).filter(|(quality, _)| *quality > 0);
    match (wish(&[("text", "html")]), wish(&[("application", "json")])) {
        (None, None) => View::Neither,
        (page, data) if data > page => View::Data,
        (Some(_) | None, _) => View::Page,
    }
}

/// How exactly a media range names a type; the most exact range decides the quality.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Exactness {
    /// `*/*`.
    Anything,
    /// `text/*`.
    Family,
    /// `text/html`.
    Type,
}

/// Returns the quality of what goes by some names, and how exactly it is asked for.
fn wish(accept: &str, names: &[(&str, &str)]) -> Option<(u16, Exactness)> {
    let by_name = |name: &(&str, &str)| {
        let ranges = quality::parse(accept).filter_map(|(range, quality)| {
            matches(range, *name).map(|exactness| (exactness, quality))
        });
        ranges.max_by_key(|(exactness, _)| *exactness)
    };
    let wishes = names.iter().filter_map(by_name);
    // Of two names for one form the one that is asked for exactly counts.
    wishes.max().map(|(exactness, quality)| (quality, exactness))
}

fn matches(range: &str, (family, subtype): (&str, &str)) -> Option<Exactness> {
    let (range_family, range_subtype) = range.split_once('/')?;
    let same = |a: &str, b: &str| a.trim().eq_ignore_ascii_case(b);
    match (range_family.trim(), range_subtype.trim()) {
        ("*", "*") => Some(Exactness::Anything),
        (_, "*") if same(range_family, family) => Some(Exactness::Family),
        _ if same(range_family, family) && same(range_subtype, subtype) => Some(Exactness::Type),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_page_is_shown_unless_data_is_named() {
        for (accept, expected) in [
            ("*/*", View::Page),
            ("text/*", View::Page),
            ("text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8", View::Page),
            ("application/json", View::Data),
            ("application/json, text/plain, */*", View::Data),
            ("text/html;q=0.5, application/json;q=0.4", View::Page),
            ("text/html, application/json", View::Page),
            ("application/*", View::Data),
            ("image/png", View::Neither),
            ("*/*;q=0", View::Neither),
            ("text/html;q=0, */*;q=0.1", View::Data),
        ] {
            assert_eq!(view(Some(&HeaderValue::from_static(accept))), expected, "{accept}");
        }
        assert_eq!(view(None), View::Page);
    }

    #[test]
    fn the_client_gets_what_it_prefers() {
        for (accept, media) in [
            ("", Media::Plain),
            ("*/*", Media::Plain),
            ("image/avif,image/webp,*/*;q=0.8", Media::Plain),
            ("image/png", Media::Plain),
            ("text/html", Media::Html),
            ("text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8", Media::Html),
            ("TEXT/HTML;charset=utf-8 ; Q=0.5, text/plain;q=0.4", Media::Html),
            ("application/json, text/plain, */*", Media::Problem),
            ("application/problem+json;q=0.9, text/html;q=0.8", Media::Problem),
            ("application/json;q=0.5, text/html", Media::Html),
            ("application/json;q=0, text/html;q=0.1", Media::Html),
            ("text/plain;q=0.2, application/*", Media::Problem),
            ("text/html;q=0, */*", Media::Plain),
            ("*/*;q=0.1, text/html;q=0", Media::Plain),
            ("application/json", Media::Problem),
            (";;,q=,/", Media::Plain),
        ] {
            let value = HeaderValue::from_static(accept);
            assert_eq!(choose(Some(&value)), media, "{accept}");
        }
        assert_eq!(choose(None), Media::Plain);
    }
}
