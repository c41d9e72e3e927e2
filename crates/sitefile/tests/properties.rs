//! What holds for every text and every site: the reader never panics, its findings point into the
//! text, and what is exported is read back as it was.

use std::io;

use camino::Utf8Path;
use indexmap::IndexMap;
use portway_model::{
    Finding, Location, Name, SiteSpec, SourcePos,
    site::{
        check,
        spec::{
            AccessRulesSpec, AccessSpec, BasicAuthSpec, DurationSpec, FileSettingsSpec, FilesSpec,
            HeaderEditsSpec, HeadersSpec, HttpsSettingsSpec, HttpsSpec, LogSettingsSpec, LogSpec,
            PasswordSpec, PasswordValueSpec, RedirectSettingsSpec, RedirectSpec, RespondSpec,
            RouteSpec, SizeSpec, TargetSpec, TimeoutsSpec, ToSpec, UpstreamSpec, UpstreamTlsSpec,
        },
    },
};
use portway_sitefile::{Files, Loaded, Options, SourceText, export, load, render};
use proptest::{collection, option, prelude::*};

struct NoFiles;

impl Files for NoFiles {
    fn read(&self, _path: &Utf8Path) -> io::Result<String> {
        Err(io::ErrorKind::NotFound.into())
    }
}

fn read(text: &str) -> (Loaded, [SourceText; 1]) {
    let source =
        SourceText { name: "a.yaml".to_owned(), folder: "/site".into(), text: text.to_owned() };
    let sources = [source];
    (load(&sources, &Options::default(), &NoFiles), sources)
}

fn place(finding: &Finding) -> Option<&SourcePos> {
    match &finding.at {
        Location::Field { source, .. } => source.as_ref(),
        Location::Source(source) => Some(source),
        Location::Host(_) | Location::Installation => None,
    }
}

fn holds(text: &str) {
    let (loaded, sources) = read(text);
    // As YAML counts them: CR LF and CR end a line too.
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    let text = text.replace("\r\n", "\n").replace('\r', "\n");
    let lengths: Vec<usize> = text.split('\n').map(|line| line.chars().count()).collect();
    for finding in &loaded.findings {
        if let Some(pos) = place(finding) {
            let length = lengths.get(pos.line - 1);
            assert!(length.is_some_and(|length| pos.column <= length + 1), "{pos} in {text:?}");
        }
        assert!(finding.remedy.is_some(), "{}", finding.text);
        assert!(!render(finding, &sources).is_empty());
    }
}

/// Pieces of which site files, sound and broken ones, are made.
fn fragments() -> impl Strategy<Value = String> {
    let pieces = [
        "sites:",
        "blog:",
        "hosts:",
        "to:",
        "routes:",
        "path:",
        "access:",
        "basic:",
        "users:",
        "\n",
        "\n  ",
        "\n    ",
        "\n      ",
        "\n      - ",
        " ",
        "- ",
        "[",
        "]",
        "{",
        "}",
        ",",
        "a.example",
        "5000",
        "/",
        "&a ",
        "*a",
        "<<: ",
        "!!str ",
        "\"",
        "'",
        "|\n",
        ">\n",
        "# c",
        "${x}",
        "${",
        "$$",
        "~",
        "null",
        "true",
        "-1",
        "1.5",
        "ä",
        "\t",
        "\r",
        "\u{feff}",
        "\u{2028}",
        "\0",
        "---\n",
        "...\n",
        "? ",
        ": ",
        "%TAG ",
        "parameters:",
        "environments:",
        "version:",
        "\\",
        "@",
        "`",
    ];
    collection::vec(proptest::sample::select(pieces.to_vec()), 0..60)
        .prop_map(|pieces| pieces.concat())
}

fn text() -> impl Strategy<Value = String> {
    prop_oneof![
        "[ -~]{0,24}",
        "\\PC{0,12}",
        "[a-z$\\{\\}\n :#-]{0,24}",
        "[\\x00-\\x20\u{85}\u{2028}\u{feff}a]{0,8}",
        Just("yes".to_owned()),
        Just("0x10".to_owned()),
        Just("line one\n  line two\n".to_owned()),
    ]
}

fn word() -> impl Strategy<Value = String> {
    "[a-z][a-z0-9]{0,7}"
}

fn to() -> impl Strategy<Value = ToSpec> {
    let target = || (word(), 1..60_000_u32).prop_map(|(host, port)| format!("{host}:{port}"));
    let timeouts = (option::of(1..80_000_u64), option::of(Just("1m30s".to_owned()))).prop_map(
        |(seconds, text)| TimeoutsSpec {
            connect: seconds.map(DurationSpec::Seconds),
            send: text.map(DurationSpec::Text),
            ..TimeoutsSpec::default()
        },
    );
    let tls = (any::<bool>(), option::of(word())).prop_map(|(verify, server_name)| {
        let ca = "-----BEGIN CERTIFICATE-----\nMII=\n-----END CERTIFICATE-----\n".to_owned();
        UpstreamTlsSpec {
            verify: Some(verify),
            ca: Some(ca),
            server_name,
            ..UpstreamTlsSpec::default()
        }
    });
    let upstream = (target(), timeouts, option::of(tls), option::of(1..9_u32)).prop_map(
        |(target, timeouts, tls, max_in_flight)| UpstreamSpec {
            targets: vec![TargetSpec::To(if tls.is_some() {
                format!("https://{target}")
            } else {
                target
            })],
            host: Some("preserve".to_owned()),
            tls,
            timeouts: Some(timeouts),
            max_in_flight,
            ..UpstreamSpec::default()
        },
    );
    prop_oneof![
        target().prop_map(ToSpec::One),
        (target(), target())
            .prop_map(|(a, b)| ToSpec::Many(vec![a.into(), format!("x{b}").into()])),
        Just(ToSpec::One("unix:/run/a b.sock".to_owned())),
        Just(ToSpec::One("5000".to_owned())),
        upstream.prop_map(|upstream| ToSpec::Upstream(Box::new(upstream))),
    ]
}

fn access() -> impl Strategy<Value = AccessSpec> {
    let password = prop_oneof![
        "[!-~]{1,20}"
            .prop_map(|password| PasswordValueSpec { password: Some(password), secret: None }),
        word().prop_map(|secret| PasswordValueSpec { password: None, secret: Some(secret) }),
    ];
    let users = collection::vec(("[!-9;-~]{1,12}", password), 1..4).prop_map(|users| {
        users.into_iter().map(|(name, value)| (name, PasswordSpec::Value(value))).collect()
    });
    let basic = (option::of("[a-zA-Z #:,]{1,9}"), users).prop_map(|(realm, users)| BasicAuthSpec {
        realm,
        users,
        htpasswd: None,
    });
    let rules = (any::<bool>(), option::of(basic)).prop_map(|(deny, basic)| AccessRulesSpec {
        allow: Some(vec!["10.0.0.0/8".to_owned(), "::1".to_owned()]),
        deny: if deny { vec!["10.1.0.0/16".to_owned()] } else { Vec::new() },
        basic,
    });
    prop_oneof![Just(AccessSpec::Word("public".to_owned())), rules.prop_map(AccessSpec::Rules)]
}

fn headers() -> impl Strategy<Value = HeadersSpec> {
    let edits = (collection::btree_map("x-[a-z]{1,8}", "[ -~]{0,20}", 0..3), any::<bool>())
        .prop_map(|(set, remove)| HeaderEditsSpec {
            set,
            remove: if remove { vec!["Server".to_owned()] } else { Vec::new() },
            ..HeaderEditsSpec::default()
        });
    (option::of(edits.clone()), option::of(edits))
        .prop_map(|(request, response)| HeadersSpec { request, response })
}

fn route() -> impl Strategy<Value = RouteSpec> {
    let action = prop_oneof![
        to().prop_map(|to| RouteSpec { to: Some(to), ..RouteSpec::default() }),
        word().prop_map(|folder| RouteSpec {
            files: Some(FilesSpec::Root(format!("/srv/{folder}"))),
            ..RouteSpec::default()
        }),
        text().prop_map(|folder| RouteSpec {
            files: Some(FilesSpec::Settings(FileSettingsSpec {
                root: format!("/srv/{folder}"),
                index: Some(vec!["a b.html".to_owned()]),
                cache_control: Some("max-age=60, public".to_owned()),
                ..FileSettingsSpec::default()
            })),
            ..RouteSpec::default()
        }),
        any::<bool>().prop_map(|keep| RouteSpec {
            redirect: Some(RedirectSpec::Settings(RedirectSettingsSpec {
                to: "https://b.example/x".to_owned(),
                status: Some(301),
                keep_path: Some(keep),
            })),
            ..RouteSpec::default()
        }),
        text().prop_map(|body| RouteSpec {
            respond: Some(RespondSpec { status: None, body: Some(body), content_type: None }),
            ..RouteSpec::default()
        }),
    ];
    let query = collection::btree_map(text(), text(), 0..3);
    (action, word(), option::of(access()), option::of(headers()), query).prop_map(
        |(route, path, access, headers, match_query)| RouteSpec {
            path: Some(format!("/{path}")),
            access,
            headers,
            match_query,
            ..route
        },
    )
}

fn spec() -> impl Strategy<Value = SiteSpec> {
    let log = prop_oneof![
        any::<bool>().prop_map(LogSpec::Enabled),
        word().prop_map(LogSpec::Name),
        (1..1000_u32).prop_map(|keep| LogSpec::Settings(LogSettingsSpec {
            keep: Some(keep),
            max_size: Some(SizeSpec::Text("50MB".to_owned())),
            ..LogSettingsSpec::default()
        })),
    ];
    let https = prop_oneof![
        any::<bool>().prop_map(HttpsSpec::Enabled),
        Just(HttpsSpec::Settings(HttpsSettingsSpec {
            min_version: Some("1.3".to_owned()),
            ..HttpsSettingsSpec::default()
        })),
    ];
    let max_body =
        prop_oneof![any::<u64>().prop_map(SizeSpec::Bytes), Just(SizeSpec::Text("70".to_owned()))];
    let words = (option::of(text()), collection::vec(text(), 0..4));
    let parts = (option::of(log), option::of(https), option::of(max_body), option::of(access()));
    (collection::vec(route(), 1..4), words, parts).prop_map(|(routes, words, parts)| {
        let ((description, tags), (log, https, max_body, access)) = (words, parts);
        SiteSpec {
            hosts: vec!["a.example".to_owned(), "*".to_owned(), "::1".to_owned()],
            routes,
            description,
            tags,
            log,
            https,
            max_body,
            access,
            ..SiteSpec::default()
        }
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn any_text_gets_findings_that_point_into_it(text in "\\PC{0,80}") {
        holds(&text);
    }

    #[test]
    fn any_bytes_get_findings_that_point_into_them(bytes in collection::vec(any::<u8>(), 0..80)) {
        holds(&String::from_utf8_lossy(&bytes));
    }

    #[test]
    fn any_nearly_sound_file_gets_findings_that_point_into_it(text in fragments()) {
        holds(&text);
    }

    #[test]
    fn what_is_exported_is_read_back(specs in collection::vec(spec(), 1..3)) {
        let sites: IndexMap<Name, SiteSpec> = specs
            .into_iter()
            .enumerate()
            .map(|(index, spec)| (format!("site-{index}").parse().unwrap(), spec))
            .collect();
        let text = export(&sites);
        let (loaded, sources) = read(&text);
        for (name, spec) in &sites {
            if check(name, spec).0.is_none() {
                // A wrong site cannot be loaded; that it is read at all is shown by its findings.
                continue;
            }
            let shown: Vec<String> =
                loaded.findings.iter().map(|finding| render(finding, &sources)).collect();
            let back = loaded.sites.get(name).map(|loaded| &loaded.spec);
            prop_assert_eq!(back, Some(spec), "{}\n{}", text, shown.concat());
        }
    }
}

#[test]
fn an_export_is_stable() {
    let spec = SiteSpec::proxy("a.example", "5000");
    let sites: IndexMap<Name, SiteSpec> = [("blog".parse().unwrap(), spec)].into_iter().collect();
    let text = export(&sites);
    let (loaded, _) = read(&text);
    let again = loaded.sites.into_iter().map(|(name, loaded)| (name, loaded.spec)).collect();
    assert_eq!(export(&again), text);
}
