//! What must hold for every text: nothing panics, every directive is in the report exactly once, what
//! comes out can be applied, and nobody is let in whom nginx keeps out.

#![expect(clippy::unwrap_used, clippy::panic, reason = "what is unexpected ends the test")]

use std::collections::BTreeMap;

use camino::{Utf8Path, Utf8PathBuf};
use portway_engine::nginx::{Directive, parse};
use portway_import::{Imported, Options};
use portway_model::site::{Action, PathMatch, Site, check};
use proptest::prelude::*;

fn files(text: &str) -> BTreeMap<Utf8PathBuf, String> {
    [(Utf8PathBuf::from("/etc/nginx/nginx.conf"), text.to_owned())].into()
}

fn import(text: &str) -> Imported {
    portway_import::nginx(Utf8Path::new("/etc/nginx/nginx.conf"), &files(text), &Options::default())
        .unwrap()
}

fn count(directives: &[Directive]) -> usize {
    directives.iter().map(|one| 1 + count(one.block.as_deref().unwrap_or_default())).sum()
}

fn sites(imported: &Imported) -> Vec<Site> {
    let checked = imported.sites.iter().map(|(name, spec)| {
        let (site, findings) = check(name, spec);
        site.unwrap_or_else(|| panic!("{findings:?}"))
    });
    checked.collect()
}

/// Words of which configurations are made, put together in any way.
fn words() -> impl Strategy<Value = String> {
    let names = [
        "server",
        "location",
        "listen",
        "server_name",
        "proxy_pass",
        "allow",
        "deny",
        "if",
        "return",
        "rewrite",
        "root",
        "alias",
        "try_files",
        "upstream",
        "map",
        "auth_basic",
        "satisfy",
        "include",
        "limit_except",
        "proxy_set_header",
        "add_header",
        "set",
        "http",
        "index",
        "ssl_verify_client",
        "expires",
        "client_max_body_size",
        "internal",
        "limit_req",
        "unknown_thing",
        "error_page",
    ];
    let values = [
        "/",
        "/a",
        "/a/",
        "=",
        "^~",
        "~",
        "~*",
        "\\.php$",
        "@x",
        "80",
        "443",
        "ssl",
        "127.0.0.1:80",
        "a.example.org",
        "*.example.org",
        "_",
        "http://127.0.0.1:1",
        "http://127.0.0.1:1/",
        "all",
        "10.0.0.0/8",
        "any",
        "off",
        "on",
        "301",
        "403",
        "https://$host$request_uri",
        "$scheme",
        "$x",
        "^/a/(.*)$",
        "/$1",
        "last",
        "break",
        "permanent",
        "(?!x)",
        "\"\"",
        "$uri",
        "=404",
        "20m",
        "{}",
    ];
    prop_oneof![
        6 => prop::sample::select(names.to_vec()).prop_map(str::to_owned),
        6 => prop::sample::select(values.to_vec()).prop_map(str::to_owned),
        3 => Just(";".to_owned()),
        2 => Just("{".to_owned()),
        2 => Just("}".to_owned()),
        1 => "\\PC{0,6}",
    ]
}

/// A well-formed tree of such words.
fn tree() -> impl Strategy<Value = String> {
    let plain = || {
        words().prop_map(|word| {
            let is_odd = |c: char| ";{}\"'#\\$".contains(c) || c.is_whitespace();
            let word = word.replace(is_odd, "");
            if word.is_empty() { "x".to_owned() } else { word }
        })
    };
    let line =
        prop::collection::vec(plain(), 1..4).prop_map(|words| format!("{};\n", words.join(" ")));
    line.prop_recursive(4, 40, 6, move |inner| {
        (prop::collection::vec(plain(), 1..3), prop::collection::vec(inner, 0..6))
            .prop_map(|(head, inner)| format!("{} {{\n{}}}\n", head.join(" "), inner.concat()))
    })
}

/// A location of the comparison: what it matches, and whether it lets anybody in.
#[derive(Clone, Debug)]
struct Place {
    modifier: &'static str,
    text: &'static str,
    is_open: bool,
    kind: usize,
    inner: Vec<Place>,
}

fn place(depth: u32) -> BoxedStrategy<Place> {
    let texts = ["/", "/a", "/a/", "/ab", "/a/b", "/a/b/", "/b/", "/a/bc/"];
    let patterns = ["\\.php$", "^/a", "b", "^/a/b/", "c$"];
    let prefix =
        (prop::sample::select(vec!["", "^~", "", "="]), prop::sample::select(texts.to_vec()));
    let regex = (Just("~"), prop::sample::select(patterns.to_vec()));
    let matcher = prop_oneof![4 => prefix, 2 => regex];
    let inner = if depth == 0 {
        Just(Vec::new()).boxed()
    } else {
        prop::collection::vec(place(depth - 1), 0..3).boxed()
    };
    (matcher, any::<bool>(), 0usize..4, inner)
        .prop_map(|((modifier, text), is_open, kind, inner)| {
            // What nginx refuses: a location outside of the one that it stands in, or within `=`.
            let nests = |one: &Place| one.modifier == "~" || one.text.starts_with(text);
            let inner = match modifier {
                "" | "^~" => inner.into_iter().filter(nests).collect(),
                _ => Vec::new(),
            };
            Place { modifier, text, is_open, kind, inner }
        })
        .boxed()
}

/// nginx refuses the same location twice.
fn without_doubles(places: Vec<Place>) -> Vec<Place> {
    let mut kept: Vec<Place> = Vec::new();
    for place in places {
        let is_same = |other: &Place| {
            other.text == place.text && (other.modifier == "=") == (place.modifier == "=")
        };
        if !kept.iter().any(is_same) {
            kept.push(Place { inner: without_doubles(place.inner), ..place });
        }
    }
    kept
}

fn written(places: &[Place]) -> String {
    let one = |place: &Place| {
        let access = if place.is_open { "allow all;" } else { "allow 192.0.2.1; deny all;" };
        let action = match (place.kind, place.modifier) {
            (0, "" | "^~") => "alias /srv/other/;",
            (1, "" | "^~") => "proxy_pass http://127.0.0.1:1/;",
            (2, _) => "proxy_pass http://127.0.0.1:1;",
            _ => "root /srv;",
        };
        let Place { modifier, text, .. } = place;
        format!("location {modifier} {text} {{ {access} {action} {} }}\n", written(&place.inner))
    };
    places.iter().map(one).collect()
}

/// Finds a location as nginx does (`ngx_http_core_find_location`): returns it, and whether the search
/// ended there.
fn find<'p>(places: &'p [Place], path: &str) -> (Option<&'p Place>, bool) {
    if let Some(exact) = places.iter().find(|place| place.modifier == "=" && place.text == path) {
        return (Some(exact), true);
    }
    let longest = places
        .iter()
        .filter(|place| matches!(place.modifier, "" | "^~") && path.starts_with(place.text))
        .max_by_key(|place| place.text.len());
    let mut found = longest;
    if let Some(prefix) = longest {
        let (inner, ended) = find(&prefix.inner, path);
        if ended {
            return (inner, true);
        }
        found = inner.or(longest);
        if prefix.modifier == "^~" {
            return (found, false);
        }
    }
    let expression = places.iter().find(|place| {
        place.modifier == "~" && regex::Regex::new(place.text).unwrap().is_match(path)
    });
    match expression {
        Some(place) => (Some(place), true),
        None => (found, false),
    }
}

/// Tells whether a site lets a client in, at an address that no rule names.
fn lets_in(site: &Site, path: &str) -> bool {
    let route = site.routes.iter().find(|route| match &route.matches.path {
        PathMatch::Exact(exact) => exact == path,
        PathMatch::Prefix(prefix) => prefix.rest(path).is_some(),
        PathMatch::Regex(pattern) => regex::Regex::new(pattern).unwrap().is_match(path),
    });
    route.is_some_and(|route| {
        let is_answer = matches!(route.action, Action::Proxy(_) | Action::Files(_));
        let allow = route.filters.access.as_ref().map(|access| &access.allow);
        is_answer && !matches!(allow, Some(Some(_)))
    })
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(1000) })]

    #[test]
    fn no_text_makes_it_panic(words in prop::collection::vec(words(), 0..60)) {
        let text = words.join(" ");
        let path = Utf8Path::new("/etc/nginx/nginx.conf");
        if let Ok(imported) = portway_import::nginx(path, &files(&text), &Options::default()) {
            sites(&imported);
        }
    }

    #[test]
    fn every_directive_is_in_the_report_once(text in prop::collection::vec(tree(), 0..8)) {
        let text = format!("http {{ server {{ server_name a.example.org; {} }} }}", text.concat());
        let expected = count(&parse(&text).expect("a configuration"));
        let imported = import(&text);
        prop_assert_eq!(imported.entries.len(), expected);
        for entry in &imported.entries {
            prop_assert!(
                !entry.notes.iter().any(|note| note.contains("nothing that is served")),
                "{} {}: nobody judged it", entry.line, entry.text
            );
        }
        sites(&imported);
    }

    #[test]
    fn nobody_is_let_in_whom_nginx_keeps_out(
        places in prop::collection::vec(place(1), 1..6).prop_map(without_doubles),
        paths in prop::collection::vec("(/a|/b|/ab|/abc|/a/b|/a/bc|/|/a/b/c|/b/c)(/|/x|\\.php|c|b|)(/y|\\.php|)", 1..24),
    ) {
        let text = format!("server {{ server_name a.example.org; root /srv; {} }}", written(&places));
        let imported = import(&text);
        let sites = sites(&imported);
        for path in paths.iter().filter(|path| !path.contains("//")) {
            let is_open = find(&places, path).0.is_none_or(|place| place.is_open);
            if !is_open {
                let is_let_in = sites.iter().any(|site| lets_in(site, path));
                prop_assert!(!is_let_in, "{}\n{}\n{}", path, text, imported.site_file());
            }
        }
    }
}
