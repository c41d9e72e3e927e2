//! Files, redirects and fixed answers.

use portway_model::site::spec::{
    FileSettingsSpec, FilesSpec, RedirectSettingsSpec, RedirectSpec, RespondSpec, RouteSpec,
};

use super::{Cx, scope::Scope};
use crate::{node::Node, sites::status};

/// `file_server`
pub(super) fn files(node: &Node, args: &[String], scope: &mut Scope, cx: &mut Cx<'_>) -> RouteSpec {
    let mut settings = FileSettingsSpec {
        root: scope.root.clone().unwrap_or_default(),
        spa: scope.is_spa.then_some(true),
        listing: args.iter().any(|arg| arg == "browse").then_some(true),
        ..FileSettingsSpec::default()
    };
    for inner in node.inner() {
        match inner.name() {
            "root" => inner.arg(0).clone_into(&mut settings.root),
            "index" => settings.index = Some(inner.args().to_vec()),
            "browse" => settings.listing = Some(true),
            "hide" if inner.args().iter().all(|name| name.starts_with('.')) => {
                cx.ledger.converted_by(inner.id, "names that begin with a dot are never sent");
                continue;
            }
            "hide" => {
                scope.close(inner.id, "which files are hidden cannot be said", cx);
                continue;
            }
            "precompressed" | "disable_canonical_uris" | "etag_file_extensions" => {
                cx.ledger.converted_by(inner.id, "Portway does it by itself");
                continue;
            }
            "status" | "pass_thru" => {
                cx.ledger.not_converted(inner.id, "what is no file is answered 404");
                continue;
            }
            _ => {
                inner.each(&mut |node| cx.ledger.not_converted(node.id, "it is not known here"));
                scope.close(inner.id, "it is not known here", cx);
                continue;
            }
        }
        inner.each(&mut |node| cx.ledger.converted(node.id));
    }
    if settings.listing == Some(true) {
        settings.spa = None;
    }
    if !settings.root.starts_with('/') || settings.root.contains('{') {
        cx.ledger.not_converted(node.id, "its folder cannot be told; answered 404");
        return RouteSpec { respond: Some(status(404)), ..RouteSpec::default() };
    }
    cx.ledger.converted(node.id);
    let plain = FileSettingsSpec { root: settings.root.clone(), ..FileSettingsSpec::default() };
    let files = if settings == plain {
        FilesSpec::Root(settings.root)
    } else {
        FilesSpec::Settings(settings)
    };
    RouteSpec { files: Some(files), ..RouteSpec::default() }
}

/// `redir`
pub(super) fn redirect(node: &Node, args: &[String], cx: &mut Cx<'_>) -> Option<RouteSpec> {
    let [to, rest @ ..] = args else { return None };
    let status = match rest.first().map(String::as_str) {
        None | Some("temporary") => 302,
        Some("permanent") => 301,
        Some(code) => match code.parse::<u16>() {
            Ok(code @ (301 | 302 | 303 | 307 | 308)) => code,
            Ok(_) | Err(_) => {
                cx.ledger
                    .not_converted(node.id, "this kind of redirect cannot be said; answered 503");
                return None;
            }
        },
    };
    let (base, keeps) =
        match to.strip_suffix("{uri}").or_else(|| to.strip_suffix("{http.request.uri}")) {
            Some(base) => (base, true),
            None => (to.as_str(), false),
        };
    let is_known =
        base.starts_with('/') || base.starts_with("http://") || base.starts_with("https://");
    if base.contains('{') || !(is_known || (keeps && base.is_empty())) {
        cx.ledger.not_converted(node.id, "where it leads depends on the request; answered 503");
        return None;
    }
    cx.ledger.converted(node.id);
    let settings = RedirectSettingsSpec {
        to: base.to_owned(),
        status: Some(status),
        keep_path: keeps.then_some(true),
    };
    Some(RouteSpec { redirect: Some(RedirectSpec::Settings(settings)), ..RouteSpec::default() })
}

/// `respond`, `error` and `abort`
pub(super) fn respond(node: &Node, args: &[String], cx: &mut Cx<'_>) -> Option<RouteSpec> {
    if node.name() == "abort" {
        cx.ledger.approximated(node.id, "the connection is not cut; the answer is 403");
        return Some(RouteSpec { respond: Some(status(403)), ..RouteSpec::default() });
    }
    let code = |text: &String| text.parse::<u16>().ok().filter(|code| (200..=599).contains(code));
    let (body, code) = match args {
        [] => (None, 200),
        [only] => match code(only) {
            Some(code) => (None, code),
            None if node.name() == "error" => (Some(only), 500),
            None => (Some(only), 200),
        },
        [body, status, ..] => (Some(body), code(status)?),
    };
    let mut body = body.cloned();
    let mut code = code;
    for inner in node.inner() {
        match inner.name() {
            "body" => body = Some(inner.arg(0).to_owned()),
            "close" => {}
            _ => code = 503,
        }
        cx.ledger.converted(inner.id);
    }
    if body
        .as_ref()
        .is_some_and(|body| body.contains('{') && body.contains('}') && !body.contains('"'))
    {
        cx.ledger.approximated(node.id, "the text has placeholders and is left out");
        body = None;
    } else {
        cx.ledger.converted(node.id);
    }
    let body = body.filter(|body| !body.is_empty() && !matches!(code, 204 | 205 | 304));
    let respond = RespondSpec { status: Some(code), body, content_type: None };
    Some(RouteSpec { respond: Some(respond), ..RouteSpec::default() })
}
