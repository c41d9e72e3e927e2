//! What a site means, and what is said about one that means nothing.

use super::*;
use crate::site::{
    Action, HostHeader, Password, PathMatch, Target, UpstreamProtocol,
    spec::{
        AccessRulesSpec, AccessSpec, BasicAuthSpec, HeaderEditsSpec, HttpsSpec, LogSpec,
        PasswordSpec, RedirectSpec, RespondSpec, RouteSpec, SizeSpec, ToSpec, UpstreamSpec,
        UpstreamTlsSpec,
    },
};

const HASH: &str = "$2y$05$abcdefghijklmnopqrstuuABCDEFGHIJKLMNOPQRSTUVWXYZ01234";

#[test]
fn two_facts_make_a_site() {
    let site = sound(&SiteSpec::proxy("app.example.org", "5000"));
    let https = site.https.unwrap();
    assert!(https.redirect && https.http2);
    let [route] = &*site.routes else { panic!("one route") };
    assert_eq!(route.matches.path, PathMatch::Prefix("/".parse().unwrap()));
    assert_eq!(route.log.as_str(), "main");
    assert_eq!(route.filters.max_body, defaults::MAX_BODY);
    assert!(route.filters.compress && route.filters.access.is_none());
    let Action::Proxy(upstream) = &route.action else { panic!("a proxy") };
    assert_eq!(upstream.targets, [Target::Tcp("127.0.0.1:5000".parse().unwrap()).into()]);
    assert_eq!(upstream.host, HostHeader::Preserve);
    assert_eq!(upstream.timeouts.connect, defaults::TIMEOUT);
}

#[test]
fn all_faults_are_found_at_once() {
    let spec = SiteSpec {
        hosts: vec!["https://a.example/".to_owned(), "b.example:80".to_owned()],
        to: Some(ToSpec::One("app".to_owned())),
        max_body: Some(SizeSpec::Text("50 parrots".to_owned())),
        log: Some(LogSpec::Name("My Log".to_owned())),
        ..SiteSpec::default()
    };
    assert_eq!(paths(&spec), ["hosts[0]", "hosts[1]", "log", "max_body", "to"]);
}

#[test]
fn the_remedy_for_a_url_is_its_host() {
    let spec = SiteSpec::proxy("https://a.example:8443/x", "5000");
    let (_, findings) = check(&name(), &spec);
    let action = findings[0].remedy.as_ref().unwrap().action.clone();
    assert_eq!(action, Some(RemedyAction::ReplaceValue("a.example".to_owned())));
}

#[test]
fn routes_come_in_the_order_in_which_they_are_tried() {
    let mut spec = SiteSpec { hosts: vec!["a.example".to_owned()], ..SiteSpec::default() };
    let path = |path: &str| RouteSpec { path: Some(path.to_owned()), ..answer() };
    let regex = |regex: &str| RouteSpec { regex: Some(regex.to_owned()), ..answer() };
    let get = || vec!["GET".to_owned()];
    spec.routes = vec![
        path("/"),
        path("/api"),
        regex("\\.php$"),
        path("/api/v1"),
        RouteSpec { methods: get(), ..path("/api") },
        RouteSpec { exact: Some("/api".to_owned()), ..answer() },
        regex("^/a"),
    ];
    let order: Vec<String> = sound(&spec)
        .routes
        .iter()
        .map(|route| format!("{}{}", route.matches.methods.concat(), route.matches.path))
        .collect();
    assert_eq!(order, ["= /api", "~ \\.php$", "~ ^/a", "/api/v1", "GET/api", "/api", "/"]);
}

#[test]
fn the_same_match_twice_is_refused_at_the_later_route() {
    let mut spec = SiteSpec { hosts: vec!["a.example".to_owned()], ..SiteSpec::default() };
    let route = |path: &str| RouteSpec { path: Some(path.to_owned()), ..answer() };
    spec.routes = vec![route("/api/"), route("/"), route("/api")];
    let (site, findings) = check(&name(), &spec);
    assert_eq!(site, None);
    assert_eq!(findings[0].code, FindingCode::RouteTaken);
    assert_eq!(paths(&spec), ["routes[2]"]);
}

#[test]
fn a_route_that_is_never_reached_is_pointed_out() {
    let mut spec = SiteSpec { hosts: vec!["a.example".to_owned()], ..SiteSpec::default() };
    spec.routes = vec![
        RouteSpec { regex: Some("^/".to_owned()), ..answer() },
        RouteSpec { path: Some("/api".to_owned()), ..answer() },
    ];
    let (site, findings) = check(&name(), &spec);
    assert!(site.is_some());
    assert_eq!(findings[0].code, FindingCode::Advice);
    assert_eq!(paths(&spec), ["routes[1]"]);
}

#[test]
fn a_redirect_onto_itself_is_pointed_out() {
    let mut spec = SiteSpec { hosts: vec!["a.example".to_owned()], ..SiteSpec::default() };
    spec.redirect = Some(RedirectSpec::To("/start".to_owned()));
    assert_eq!(paths(&spec), ["redirect"]);
    spec.routes = vec![
        RouteSpec { redirect: spec.redirect.take(), ..RouteSpec::default() },
        RouteSpec { path: Some("/start".to_owned()), ..answer() },
    ];
    assert_eq!(paths(&spec), Vec::<String>::new());
}

#[test]
fn a_route_takes_from_its_site_what_it_does_not_say() {
    let mut spec = SiteSpec { hosts: vec!["a.example".to_owned()], ..SiteSpec::default() };
    spec.access = Some(basic(PasswordSpec::Hash(HASH.to_owned())));
    spec.compress = Some(false);
    spec.routes = vec![
        RouteSpec { path: Some("/closed".to_owned()), ..answer() },
        RouteSpec { access: Some(AccessSpec::Word("public".to_owned())), ..answer() },
    ];
    let site = sound(&spec);
    let [closed, open] = &*site.routes else { panic!("two routes") };
    let access = closed.filters.access.as_ref().unwrap();
    let users = &access.basic.as_ref().unwrap().users;
    assert_eq!(users.get("ada"), Some(&Password::Hash(HASH.to_owned())));
    assert_eq!(access.basic.as_ref().unwrap().realm, "blog");
    assert_eq!(open.filters.access, None);
    assert!(!open.filters.compress);
}

#[test]
fn an_access_that_says_nothing_never_opens_a_site() {
    for access in [
        AccessSpec::Rules(AccessRulesSpec::default()),
        AccessSpec::Word("Public".to_owned()),
        AccessSpec::Rules(AccessRulesSpec {
            basic: Some(BasicAuthSpec::default()),
            ..AccessRulesSpec::default()
        }),
    ] {
        let spec = SiteSpec { access: Some(access), ..SiteSpec::proxy("a.example", "5000") };
        assert_eq!(check(&name(), &spec).0, None);
    }
}

#[test]
fn only_bcrypt_hashes_are_taken() {
    let code = |hash: &str| {
        let access = Some(basic(PasswordSpec::Hash(hash.to_owned())));
        let spec = SiteSpec { access, ..SiteSpec::proxy("a.example", "5000") };
        let (_, findings) = check(&name(), &spec);
        assert!(findings.iter().all(|finding| !finding.text.contains(hash)), "{hash}");
        findings.first().map(|finding| finding.code)
    };
    assert_eq!(code(HASH), None);
    for hash in [
        "secret",
        "$apr1$salt$hash",
        "{SHA}qUqP5cyxm6YcTAhz05Hph5gvu9M=",
        "$6$salt$hash",
        &HASH.replace("$05$", "$03$"),
        &HASH.replace("$05$", "$17$"),
        &HASH.replace("$05$", "$5$"),
        HASH.trim_end_matches('4'),
        &HASH.replace('Z', "!"),
    ] {
        assert_eq!(code(hash), Some(FindingCode::InvalidHash), "{hash}");
    }
}

#[test]
fn a_network_with_host_bits_gets_its_network_as_remedy() {
    let access = AccessSpec::Rules(AccessRulesSpec {
        allow: Some(vec!["10.1.2.3/8".to_owned(), "::ffff:192.0.2.1".to_owned()]),
        ..AccessRulesSpec::default()
    });
    let spec = SiteSpec { access: Some(access), ..SiteSpec::proxy("a.example", "5000") };
    let (_, findings) = check(&name(), &spec);
    let action = findings[0].remedy.as_ref().unwrap().action.clone();
    assert_eq!(action, Some(RemedyAction::ReplaceValue("10.0.0.0/8".to_owned())));
    assert_eq!(findings.len(), 1);
}

#[test]
fn framing_headers_cannot_be_touched() {
    for header in
        ["Host", "content-length", "Transfer-Encoding", "Connection", "Upgrade", "X-Portway-Edge"]
    {
        let edits =
            HeaderEditsSpec { remove: vec![header.to_owned()], ..HeaderEditsSpec::default() };
        let headers = HeadersSpec { request: Some(edits), response: None };
        let spec = SiteSpec { headers: Some(headers), ..SiteSpec::proxy("a.example", "5000") };
        assert_eq!(paths(&spec), ["headers.request.remove[0]"], "{header}");
    }
}

#[test]
fn a_header_value_cannot_hold_a_line_break() {
    let set = [("X-A".to_owned(), "a\r\nSet-Cookie: b".to_owned())].into();
    let edits = HeaderEditsSpec { set, ..HeaderEditsSpec::default() };
    let headers = HeadersSpec { request: None, response: Some(edits) };
    let spec = SiteSpec { headers: Some(headers), ..SiteSpec::proxy("a.example", "5000") };
    assert_eq!(paths(&spec), ["headers.response.set.X-A"]);
}

#[test]
fn tls_goes_with_https_targets_only() {
    let upstream = |target: &str| UpstreamSpec {
        targets: vec![target.to_owned().into()],
        tls: Some(UpstreamTlsSpec { verify: Some(false), ..UpstreamTlsSpec::default() }),
        ..UpstreamSpec::default()
    };
    let spec = |target: &str| SiteSpec {
        to: Some(ToSpec::Upstream(Box::new(upstream(target)))),
        ..SiteSpec::proxy("a.example", "")
    };
    let (site, findings) = check(&name(), &spec("http://app"));
    assert!(site.is_none() && findings[0].code == FindingCode::Conflict);
    let (site, findings) = check(&name(), &spec("https://app"));
    assert!(site.is_some() && findings[0].code == FindingCode::Advice);
}

#[test]
fn targets_of_two_schemes_do_not_mix() {
    let to = ToSpec::Many(vec!["h2c://a:80".to_owned().into(), "a:81".to_owned().into()]);
    let spec = SiteSpec { to: Some(to), ..SiteSpec::proxy("a.example", "") };
    assert_eq!(paths(&spec), ["to[1]"]);
}

#[test]
fn h2c_is_spoken_where_it_is_written() {
    let site = sound(&SiteSpec::proxy("a.example", "h2c://127.0.0.1:9000"));
    let Action::Proxy(upstream) = &site.routes[0].action else { panic!("a proxy") };
    assert_eq!(upstream.protocol, UpstreamProtocol::H2c);
}

#[test]
fn two_actions_conflict() {
    let mut spec = SiteSpec::proxy("a.example", "5000");
    spec.respond = Some(RespondSpec::default());
    assert_eq!(paths(&spec), ["respond"]);
    spec.respond = None;
    spec.routes = vec![answer()];
    assert_eq!(paths(&spec), ["routes"]);
}

#[test]
fn https_can_be_off() {
    let mut spec = SiteSpec::proxy("*", "5000");
    spec.https = Some(HttpsSpec::Enabled(false));
    assert_eq!(sound(&spec).https, None);
}

#[test]
fn the_number_of_routes_is_bounded_and_the_most_are_checked_in_time() {
    let mut spec = SiteSpec { hosts: vec!["a.example".to_owned()], ..SiteSpec::default() };
    let route = |index: usize| RouteSpec {
        regex: Some(format!("^/{index}$")),
        redirect: Some(RedirectSpec::To(format!("/{}", index + 1))),
        ..RouteSpec::default()
    };
    spec.routes = (0..2000).map(route).collect();
    sound(&spec);
    spec.routes.push(route(2000));
    assert_eq!(paths(&spec), ["routes"]);
}

fn name() -> Name {
    "blog".parse().unwrap()
}

fn answer() -> RouteSpec {
    RouteSpec { respond: Some(RespondSpec::default()), ..RouteSpec::default() }
}

fn basic(password: PasswordSpec) -> AccessSpec {
    let users = [("ada".to_owned(), password)].into_iter().collect();
    let basic = BasicAuthSpec { users, ..BasicAuthSpec::default() };
    AccessSpec::Rules(AccessRulesSpec { basic: Some(basic), ..AccessRulesSpec::default() })
}

fn sound(spec: &SiteSpec) -> Site {
    let (site, findings) = check(&name(), spec);
    assert_eq!(findings, [], "{spec:?}");
    site.unwrap()
}

fn paths(spec: &SiteSpec) -> Vec<String> {
    let (_, findings) = check(&name(), spec);
    let mut paths: Vec<String> = findings
        .iter()
        .map(|finding| {
            let crate::Location::Field { path, .. } = &finding.at else { panic!("{finding:?}") };
            path.to_string()
        })
        .collect();
    paths.sort();
    paths
}
