//! What is said to browsers, where old addresses lead, and maintenance.
//!
//! Headers and redirects become what sites have anyway, so that every engine carries them out.

use std::collections::BTreeMap;

use super::{Checked, Faulty, HeaderPair, access, action, each, route, settings::duration_within};
use crate::{
    FieldPath, FindingCode, Findings, Seconds,
    site::{
        Action, Https, Maintenance, Match, Redirect, bounds, defaults,
        spec::{
            HstsSettingsSpec, HstsSpec, HttpsSpec, MaintenanceSettingsSpec, MaintenanceSpec,
            RedirectListSpec, RedirectRuleSpec,
        },
    },
};

/// The headers that keep browsers from what hardly any site wants: guessing types, showing the site
/// within others, telling others which page one comes from.
const SECURITY: [(&str, &str); 3] = [
    ("x-content-type-options", "nosniff"),
    ("x-frame-options", "SAMEORIGIN"),
    ("referrer-policy", "strict-origin-when-cross-origin"),
];

const HSTS: &str = "strict-transport-security";

const YEAR: Seconds = Seconds(365 * 86_400);

/// What visitors read longer than this is no sentence.
const LONGEST_MESSAGE: usize = 500;

/// Sets what keeps browsers from what hardly any site wants, unless the site says something else of it.
pub(super) fn secure(headers: &mut HeaderPair) {
    for (name, value) in SECURITY {
        set_unless_said(headers, name, value.to_owned());
    }
    let remove = &mut headers.response.remove;
    let powered = "x-powered-by".to_owned();
    if !remove.contains(&powered) && !headers.response.set.contains_key(&powered) {
        remove.push(powered);
        remove.sort();
    }
}

/// Sets the promise of HSTS, unless the route says something else of it.
pub(super) fn promise(headers: &mut HeaderPair, hsts: &str) {
    set_unless_said(headers, HSTS, hsts.to_owned());
}

fn set_unless_said(headers: &mut HeaderPair, name: &str, value: String) {
    let edits = &mut headers.response;
    let is_said = edits.set.contains_key(name)
        || edits.add.contains_key(name)
        || edits.remove.iter().any(|removed| removed == name);
    if !is_said {
        edits.set.insert(name.to_owned(), value);
    }
}

/// Reads the promise that browsers shall never try plain HTTP again, as the header has it.
pub(super) fn hsts(
    spec: Option<&HttpsSpec>,
    https: Option<&Https>,
    path: &FieldPath,
    findings: &mut Findings,
) -> Checked<Option<String>> {
    let Some(HttpsSpec::Settings(https_spec)) = spec else { return Ok(None) };
    let path = path.key("hsts");
    let usual = HstsSettingsSpec::default();
    let settings = match &https_spec.hsts {
        None | Some(HstsSpec::Enabled(false)) => return Ok(None),
        Some(HstsSpec::Enabled(true)) => &usual,
        Some(HstsSpec::Settings(settings)) => settings,
    };
    let HstsSettingsSpec { max_age, subdomains, preload } = settings;
    let max_age = max_age.as_ref().map_or(Ok(YEAR), |age| {
        duration_within(age, bounds::HSTS_AGE, &path.key("max_age"), findings)
    })?;
    let (subdomains, preload) = (subdomains.unwrap_or(false), preload.unwrap_or(false));
    if !https.is_some_and(|https| https.redirect) {
        findings
            .error(FindingCode::Conflict, &path, "HSTS is for sites that are served by HTTPS alone")
            .remedy("remove `redirect: false`, or `hsts`");
        return Err(Faulty);
    }
    if preload && (max_age < YEAR || !subdomains) {
        findings
            .error(
                FindingCode::Conflict,
                &path.key("preload"),
                "browsers take in only what holds for a year and for all names below",
            )
            .remedy("write `subdomains: true` and a `max_age` from 365d");
        return Err(Faulty);
    }
    let mut value = format!("max-age={}", max_age.0);
    if subdomains {
        value.push_str("; includeSubDomains");
    }
    if preload {
        value.push_str("; preload");
    }
    Ok(Some(value))
}

/// Reads where old addresses lead, each as a route.
pub(super) fn redirects(
    spec: Option<&RedirectListSpec>,
    path: &FieldPath,
    findings: &mut Findings,
) -> Checked<Vec<route::Draft>> {
    match spec {
        None => Ok(Vec::new()),
        Some(RedirectListSpec::File(_)) => {
            findings
                .error(
                    FindingCode::InvalidValue,
                    path,
                    "`redirects` names a file, and only `portway apply` reads files",
                )
                .remedy("write the redirects as a list, or apply a site file");
            Err(Faulty)
        }
        Some(RedirectListSpec::Rules(rules)) => {
            each(rules, path, |rule, path| redirect(rule, path, findings))
        }
    }
}

fn redirect(
    rule: &RedirectRuleSpec,
    path: &FieldPath,
    findings: &mut Findings,
) -> Checked<route::Draft> {
    let RedirectRuleSpec { from, to, status } = rule;
    let from_path = path.key("from");
    let (old, keep_path) = match from.strip_suffix("/*") {
        Some("") => (route::prefix("/", &from_path, findings), true),
        Some(prefix) => (route::prefix(prefix, &from_path, findings), true),
        None => (route::exact(from, &from_path, findings), false),
    };
    let status = status.unwrap_or(defaults::MOVED_STATUS);
    let status = action::redirect_status(Some(status), &path.key("status"), findings);
    let to_path = path.key("to");
    let target = action::redirect_to(to, &to_path, findings);
    if keep_path && to.contains(['?', '#']) {
        findings
            .error(
                FindingCode::Conflict,
                &to_path,
                "the rest of a path cannot be appended behind a query or fragment",
            )
            .remedy("remove what follows `?` or `#`, or the `/*` of `from`");
        return Err(Faulty);
    }
    let matches =
        Match { path: old?, methods: Vec::new(), headers: BTreeMap::new(), query: BTreeMap::new() };
    let action = Action::Redirect(Redirect { to: target?, status: status?, keep_path });
    Ok(route::Draft::of(path.clone(), matches, action))
}

/// Reads whether the site is being worked on.
pub(super) fn maintenance(
    spec: Option<&MaintenanceSpec>,
    path: &FieldPath,
    findings: &mut Findings,
) -> Checked<Option<Maintenance>> {
    let usual = MaintenanceSettingsSpec::default();
    let settings = match spec {
        None | Some(MaintenanceSpec::Enabled(false)) => return Ok(None),
        Some(MaintenanceSpec::Enabled(true)) => &usual,
        Some(MaintenanceSpec::Settings(settings)) => settings,
    };
    let MaintenanceSettingsSpec { on, message, retry_after, allow } = settings;
    let message = message.as_deref().map_or(Ok(defaults::MAINTENANCE.to_owned()), |text| {
        sentence(text, &path.key("message"), findings)
    });
    let retry_after = retry_after
        .as_ref()
        .map(|time| duration_within(time, bounds::RETRY_AFTER, &path.key("retry_after"), findings));
    let allow = each(allow, &path.key("allow"), |text, path| access::network(text, path, findings));
    let maintenance =
        Maintenance { message: message?, retry_after: retry_after.transpose()?, allow: allow? };
    Ok(on.unwrap_or(true).then_some(maintenance))
}

fn sentence(text: &str, path: &FieldPath, findings: &mut Findings) -> Checked<String> {
    let text = text.trim();
    let is_sentence =
        !text.is_empty() && text.len() <= LONGEST_MESSAGE && !text.chars().any(char::is_control);
    if is_sentence {
        return Ok(text.to_owned());
    }
    findings
        .error(
            FindingCode::InvalidValue,
            path,
            format!("the message is one line of 1 to {LONGEST_MESSAGE} bytes"),
        )
        .remedy("write one short sentence, for example `Back at ten.`");
    Err(Faulty)
}
