//! Who answers: exactly one of an upstream, several upstreams, files, a redirect and a fixed answer.

use camino::{Utf8Path, Utf8PathBuf};

use super::{Checked, Faulty, each, headers, traffic, upstream};
use crate::{
    FieldPath, FindingCode, Findings, HostPattern, HostPort, RemedyAction,
    site::{
        Action, FileRoot, Redirect, Respond, defaults,
        spec::{
            FileSettingsSpec, FilesSpec, RedirectSettingsSpec, RedirectSpec, RespondSpec,
            RouteSpec, SiteSpec, SplitSpec, ToSpec,
        },
    },
};

/// A fixed answer is kept with the site in every node, so it is small.
const LONGEST_BODY: usize = 1 << 20;

/// The actions that are written at one place; one of them is right.
pub(super) struct Written<'a> {
    to: Option<&'a ToSpec>,
    split: Option<&'a SplitSpec>,
    files: Option<&'a FilesSpec>,
    redirect: Option<&'a RedirectSpec>,
    respond: Option<&'a RespondSpec>,
}

impl<'a> Written<'a> {
    pub(super) fn in_site(spec: &'a SiteSpec) -> Self {
        Self {
            to: spec.to.as_ref(),
            split: spec.split.as_ref(),
            files: spec.files.as_ref(),
            redirect: spec.redirect.as_ref(),
            respond: spec.respond.as_ref(),
        }
    }

    pub(super) fn in_route(spec: &'a RouteSpec) -> Self {
        Self {
            to: spec.to.as_ref(),
            split: spec.split.as_ref(),
            files: spec.files.as_ref(),
            redirect: spec.redirect.as_ref(),
            respond: spec.respond.as_ref(),
        }
    }

    /// Returns the names of the actions that are written.
    pub(super) fn names(&self) -> Vec<&'static str> {
        let all = [
            ("to", self.to.is_some()),
            ("split", self.split.is_some()),
            ("files", self.files.is_some()),
            ("redirect", self.redirect.is_some()),
            ("respond", self.respond.is_some()),
        ];
        all.into_iter().filter(|(_, is_there)| *is_there).map(|(name, _)| name).collect()
    }

    /// Tells whether an upstream answers.
    pub(super) fn is_proxied(&self) -> bool {
        self.to.is_some() || self.split.is_some()
    }

    /// Reads the one action. All that are written are checked, also when they are too many.
    pub(super) fn read(&self, path: &FieldPath, findings: &mut Findings) -> Checked<Action> {
        let names = self.names();
        if names.is_empty() {
            findings
                .error(FindingCode::MissingField, path, "nothing says who answers")
                .remedy("give one of `to`, `split`, `files`, `redirect` and `respond`");
        }
        if let [first, second, ..] = *names {
            findings
                .error(
                    FindingCode::Conflict,
                    &path.key(second),
                    format!("`{first}` and `{second}` exclude each other: one action answers"),
                )
                .remedy("keep one of them, or give each a route of its own under `routes`");
        }
        let read = [
            self.to.map(|to| upstream::read(to, &path.key("to"), findings).map(Action::Proxy)),
            self.split
                .map(|spec| traffic::split(spec, &path.key("split"), findings).map(Action::Split)),
            self.files.map(|spec| files(spec, &path.key("files"), findings).map(Action::Files)),
            self.redirect
                .map(|spec| redirect(spec, &path.key("redirect"), findings).map(Action::Redirect)),
            self.respond
                .map(|spec| respond(spec, &path.key("respond"), findings).map(Action::Respond)),
        ];
        let mut actions = read.into_iter().flatten();
        match (actions.next(), actions.next()) {
            (Some(action), None) => action,
            (None | Some(_), _) => Err(Faulty),
        }
    }
}

fn files(spec: &FilesSpec, path: &FieldPath, findings: &mut Findings) -> Checked<FileRoot> {
    match spec {
        FilesSpec::Root(root) => {
            let plain = FileSettingsSpec { root: root.clone(), ..FileSettingsSpec::default() };
            file_settings(&plain, path, path, findings)
        }
        FilesSpec::Settings(settings) => file_settings(settings, &path.key("root"), path, findings),
    }
}

fn file_settings(
    spec: &FileSettingsSpec,
    root_path: &FieldPath,
    path: &FieldPath,
    findings: &mut Findings,
) -> Checked<FileRoot> {
    let root = file_root(&spec.root, root_path, findings);
    let index = match &spec.index {
        None => Ok(vec![defaults::INDEX.to_owned()]),
        Some(names) => {
            each(names, &path.key("index"), |name, path| index_name(name, path, findings))
        }
    };
    let cache_control = match &spec.cache_control {
        None => Ok(defaults::CACHE_CONTROL.to_owned()),
        Some(text) => headers::value(text, &path.key("cache_control"), findings),
    };
    let index = index?;
    let spa = spec.spa.unwrap_or(false);
    let listing = spec.listing.unwrap_or(false);
    refuse_fallback(spa, listing, &index, path, findings)?;
    Ok(FileRoot {
        root: root?,
        index,
        cache_control: cache_control?,
        spa,
        listing,
        precompressed: spec.precompressed.unwrap_or(true),
    })
}

/// The fallback of an application answers for every path, so it needs an index and leaves no folder
/// to be listed.
fn refuse_fallback(
    spa: bool,
    listing: bool,
    index: &[String],
    path: &FieldPath,
    findings: &mut Findings,
) -> Checked<()> {
    let (name, text, remedy) = if spa && index.is_empty() {
        ("spa", "without an index there is nothing to answer with", "name it in `index`")
    } else if spa && listing {
        ("listing", "with `spa` the index answers, and no folder is listed", "remove one of them")
    } else {
        return Ok(());
    };
    findings.error(FindingCode::Conflict, &path.key(name), text).remedy(remedy);
    Err(Faulty)
}

fn file_root(text: &str, path: &FieldPath, findings: &mut Findings) -> Checked<Utf8PathBuf> {
    if text.is_empty() {
        findings
            .error(FindingCode::MissingField, path, "no folder is named")
            .remedy("write the folder whose files are served, for example `/srv/www`");
        return Err(Faulty);
    }
    let root = Utf8Path::new(text);
    let problem = if !root.is_absolute() {
        "is not an absolute path"
    } else if text.split('/').any(|part| part == "..") {
        "leads upwards with `..`"
    } else if text.chars().any(char::is_control) {
        "has a control character"
    } else {
        return Ok(root.to_owned());
    };
    findings
        .error(FindingCode::InvalidPath, path, format!("`{}` {problem}", text.escape_debug()))
        .remedy("write the whole path from `/`");
    Err(Faulty)
}

fn index_name(name: &str, path: &FieldPath, findings: &mut Findings) -> Checked<String> {
    let is_name = !matches!(name, "" | "." | "..")
        && !name.contains('/')
        && !name.chars().any(char::is_control);
    if is_name {
        return Ok(name.to_owned());
    }
    findings
        .error(
            FindingCode::InvalidPath,
            path,
            format!("`{}` is not a file name", name.escape_debug()),
        )
        .remedy("write the name alone, for example `index.html`");
    Err(Faulty)
}

fn redirect(spec: &RedirectSpec, path: &FieldPath, findings: &mut Findings) -> Checked<Redirect> {
    let (settings, to_path) = match spec {
        RedirectSpec::To(to) => {
            let plain = RedirectSettingsSpec { to: to.clone(), ..RedirectSettingsSpec::default() };
            (plain, path.clone())
        }
        RedirectSpec::Settings(settings) => (settings.clone(), path.key("to")),
    };
    let status = redirect_status(settings.status, &path.key("status"), findings);
    let to = redirect_to(&settings.to, &to_path, findings);
    let keep_path = settings.keep_path.unwrap_or(false);
    if keep_path && settings.to.contains(['?', '#']) {
        findings
            .error(
                FindingCode::Conflict,
                &path.key("keep_path"),
                "a path cannot be appended behind a query or fragment",
            )
            .remedy("remove `keep_path`, or what follows `?` or `#` in `to`");
        return Err(Faulty);
    }
    Ok(Redirect { to: to?, status: status?, keep_path })
}

pub(super) fn redirect_status(
    status: Option<u16>,
    path: &FieldPath,
    findings: &mut Findings,
) -> Checked<u16> {
    let status = status.unwrap_or(defaults::REDIRECT_STATUS);
    if matches!(status, 301 | 302 | 303 | 307 | 308) {
        return Ok(status);
    }
    findings
        .error(FindingCode::InvalidValue, path, format!("{status} does not send clients on"))
        .remedy("write 301 or 308 for good, 302, 303 or 307 for the time being");
    Err(Faulty)
}

pub(super) fn redirect_to(
    text: &str,
    path: &FieldPath,
    findings: &mut Findings,
) -> Checked<String> {
    let is_uri = text.bytes().all(|b| b.is_ascii_graphic() && !b"\"<>\\^`{|}".contains(&b));
    if is_uri && (is_local_path(text) || is_absolute_url(text)) {
        return Ok(text.to_owned());
    }
    let finding = findings.error(
        FindingCode::InvalidValue,
        path,
        format!("`{}` is neither an absolute URL nor a path", text.escape_debug()),
    );
    let url = format!("https://{}", text.trim_start_matches('/'));
    if is_uri && text.contains('.') && is_absolute_url(&url) {
        finding.remedy_action(format!("write `{url}`"), RemedyAction::ReplaceValue(url));
    } else if is_uri {
        finding.remedy("write for example `https://www.example.org` or `/start`");
    } else {
        finding.remedy("percent-encode everything that cannot stand in a URL");
    }
    Err(Faulty)
}

/// `//host` would be another host, not a path.
fn is_local_path(text: &str) -> bool {
    text.starts_with('/') && !text.starts_with("//")
}

fn is_absolute_url(text: &str) -> bool {
    let rest = ["https://", "http://"].iter().find_map(|scheme| text.strip_prefix(scheme));
    let authority = rest.and_then(|rest| rest.split(['/', '?', '#']).next());
    authority.is_some_and(|host| {
        let is_host =
            matches!(host.parse::<HostPattern>(), Ok(HostPattern::Exact(_) | HostPattern::Ip(_)));
        is_host || host.parse::<HostPort>().is_ok()
    })
}

fn respond(spec: &RespondSpec, path: &FieldPath, findings: &mut Findings) -> Checked<Respond> {
    let status = spec.status.unwrap_or(200);
    let body = spec.body.clone().unwrap_or_default();
    let content_type = content_type(spec.content_type.as_deref(), path, findings);
    let mut problem = None;
    if !(200..=599).contains(&status) {
        let text = format!("{status} is not the status of an answer");
        problem = Some(("status", text, "write a status from 200 to 599"));
    } else if matches!(status, 204 | 205 | 304) && !body.is_empty() {
        let text = format!("an answer with status {status} has no body");
        problem = Some(("body", text, "remove the body, or write another status"));
    } else if body.len() > LONGEST_BODY {
        let text = "a fixed answer has at most 1 MiB".to_owned();
        problem = Some(("body", text, "serve it as a file with `files`"));
    }
    if let Some((field, text, remedy)) = problem {
        findings.error(FindingCode::InvalidValue, &path.key(field), text).remedy(remedy);
        return Err(Faulty);
    }
    Ok(Respond { status, body, content_type: content_type? })
}

fn content_type(text: Option<&str>, path: &FieldPath, findings: &mut Findings) -> Checked<String> {
    let path = path.key("content_type");
    let text = headers::value(text.unwrap_or("text/plain; charset=utf-8"), &path, findings)?;
    let essence = text.split(';').next().unwrap_or_default().trim();
    let is_type = essence
        .split_once('/')
        .is_some_and(|(kind, form)| headers::is_token(kind) && headers::is_token(form));
    if is_type {
        return Ok(text);
    }
    findings
        .error(FindingCode::InvalidValue, &path, format!("`{text}` is not a media type"))
        .remedy("write for example `text/html; charset=utf-8` or `application/json`");
    Err(Faulty)
}
