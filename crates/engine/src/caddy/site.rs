//! A site: where it is served, and what happens to its requests.

use std::{collections::BTreeMap, sync::Arc};

use portway_model::{
    EngineKind, FieldPath, Finding, FindingCode, Findings, HostPattern, Id, ResourceKind, Site,
    site::{LogSettings, Maintenance, TlsVersion},
};
use portway_policy::{CertificateObject, Digest, HttpsPolicy, SitePolicy};

use super::{
    Caddy,
    prelude::{prelude, respond},
    print::Printer,
    route,
    syntax::{Directive, Word},
    text::Unwritable,
};
use crate::{EngineFacts, Extension, Object, RenderError, Rendered, Secrecy, judge, order::order};

/// What the release says of a site that judges the address of clients.
pub(super) const JUDGES_ADDRESSES: &str = "# judges addresses";

/// What an object with a log begins with.
pub(super) const LOG: &str = "log";

/// Where requests of a block arrive.
pub(super) struct Ground<'a> {
    /// The site.
    pub(super) site: &'a SitePolicy,
    /// The port that clients use.
    pub(super) port: u16,
}

/// An object of a site under construction, with the objects that it names.
pub(super) struct Lines<'a> {
    /// The node.
    pub(super) facts: &'a EngineFacts,
    id: Id<Site>,
    printer: Printer,
    depth: usize,
    field: FieldPath,
    objects: Vec<Arc<Object>>,
}

/// Which requests a block is for.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Door {
    /// Plain HTTP that is sent on.
    Redirect,
    /// Everything else.
    Serve,
}

/// Renders a site.
pub(super) fn render(
    site: &SitePolicy,
    certificates: &BTreeMap<Digest, CertificateObject>,
    facts: &EngineFacts,
) -> Result<Rendered, RenderError> {
    let findings = judge(&Caddy, site, facts);
    if findings.iter().any(Finding::is_error) {
        return Err(RenderError::Refused(findings));
    }
    let mut lines = Lines::new(facts, site);
    let entry = match write(&mut lines, site, certificates) {
        Ok(entry) => entry?,
        Err(unwritable) => {
            return Err(RenderError::Refused(lines.finding(site, &unwritable)));
        }
    };
    let mut claims: Vec<String> = site.hosts.iter().map(ToString::to_string).collect();
    claims.sort();
    Ok(Rendered {
        id: site.id,
        name: site.name.clone(),
        policy: site.digest(),
        objects: lines.objects,
        entry,
        // Caddy makes the folders of its logs itself, as who it is.
        folders: Vec::new(),
        claims,
        findings,
    })
}

type Written<T> = Result<Result<T, RenderError>, Unwritable>;

/// Returns what the release says of the site.
fn write(
    lines: &mut Lines<'_>,
    site: &SitePolicy,
    certificates: &BTreeMap<Digest, CertificateObject>,
) -> Written<String> {
    let mut blocks = Vec::new();
    let ports = &lines.facts.ports;
    let (http, https) = (ports.http, ports.https);
    let door = match &site.https {
        Some(HttpsPolicy { redirect: true, .. }) => Door::Redirect,
        Some(_) | None => Door::Serve,
    };
    let log: Vec<Arc<Object>> = write_log(lines, site)?.into_iter().collect();
    let imports = |body| log.iter().map(Arc::clone).chain([body]).collect::<Vec<_>>();
    let body = write_body(lines, &Ground { site, port: http }, door)?;
    blocks.push(block(lines.facts, site, ("http", http), Vec::new(), &imports(body)));
    if let Some(policy) = &site.https
        && let Some(certificate) = policy.certificate
    {
        let Some(found) = certificates.get(&certificate) else {
            return Ok(Err(RenderError::NoCertificate(certificate)));
        };
        let tls = tls(lines, policy, found);
        let body = write_body(lines, &Ground { site, port: https }, Door::Serve)?;
        blocks.push(block(lines.facts, site, ("https", https), vec![tls], &imports(body)));
    }
    let mut printer = Printer::default();
    printer.comment(&format!("site {}", site.name));
    printer.print(&blocks, 0)?;
    let (mut entry, _) = printer.finish();
    let judges =
        |access: &portway_model::site::Access| access.allow.is_some() || !access.deny.is_empty();
    let lets_through = site.maintenance.as_ref().is_some_and(|it| !it.allow.is_empty());
    if lets_through
        || site.routes.iter().any(|route| route.filters.access.as_ref().is_some_and(judges))
    {
        entry.push_str(JUDGES_ADDRESSES);
        entry.push('\n');
    }
    Ok(Ok(entry))
}

/// Returns the block of a site at one port.
fn block(
    facts: &EngineFacts,
    site: &SitePolicy,
    (scheme, port): (&str, u16),
    tls: Vec<Directive>,
    imports: &[Arc<Object>],
) -> Directive {
    let last = site.hosts.len().saturating_sub(1);
    let addresses = site.hosts.iter().enumerate().map(|(index, host)| {
        let comma = if index < last { "," } else { "" };
        let host = match host {
            HostPattern::Any => String::new(),
            HostPattern::Ip(std::net::IpAddr::V6(address)) => format!("[{address}]"),
            HostPattern::Exact(_) | HostPattern::Wildcard(_) | HostPattern::Ip(_) => {
                host.to_string()
            }
        };
        Word::from(format!("{scheme}://{host}:{port}{comma}"))
    });
    let mut inner = Vec::new();
    if !facts.ports.addresses.is_empty() {
        inner.push(bind(facts));
    }
    inner.extend(tls);
    inner.extend(imports.iter().map(|object| {
        let path = object.path(&facts.layout).to_string();
        Directive::new([Word::ours("import"), Word::from(path)])
    }));
    Directive::new(addresses).with(inner)
}

/// Returns the addresses on which sites are served.
pub(super) fn bind(facts: &EngineFacts) -> Directive {
    let addresses = facts.ports.addresses.iter().map(|address| Word::from(address.to_string()));
    Directive::new(std::iter::once(Word::ours("bind")).chain(addresses))
}

/// Certificate and key from files, so that Caddy asks nobody for one.
fn tls(lines: &mut Lines<'_>, policy: &HttpsPolicy, found: &CertificateObject) -> Directive {
    let chain = lines.object(Extension::Crt, Secrecy::Open, &found.chain_pem);
    let key = lines.object(Extension::Key, Secrecy::Workers, &found.key_pem);
    let oldest = match policy.min_version {
        TlsVersion::V1_2 => "tls1.2",
        TlsVersion::V1_3 => "tls1.3",
    };
    let mut block = vec![Directive::new(["protocols", oldest, "tls1.3"])];
    if !policy.http2 {
        block.push(Directive::new(["alpn", "http/1.1"]));
    }
    Directive::new([Word::ours("tls"), Word::from(chain), Word::from(key)]).with(block)
}

/// Writes the object with what happens to requests, and returns it.
fn write_body(
    lines: &mut Lines<'_>,
    ground: &Ground<'_>,
    door: Door,
) -> Result<Arc<Object>, Unwritable> {
    let site = ground.site;
    let is_served = site.blocked.is_none() && door == Door::Serve;
    let snippet = if is_served { snippet(lines, site) } else { None };
    lines.begin();
    lines.open(&[Word::ours("route")])?;
    if let Some(path) = snippet {
        lines.from(&crate::snippet::field(EngineKind::Caddy));
        lines.put(Directive::new([Word::ours("import"), Word::from(path)]))?;
        lines.from(&FieldPath::root());
    }
    for directive in prelude() {
        lines.put(directive)?;
    }
    oldest_tls(lines, site)?;
    if let Some(blocked) = &site.blocked {
        let body = Word::around("403 Forbidden\n", &blocked.reason, "\n")?;
        lines.put(Directive::new([
            Word::ours("respond"),
            Word::ours("*"),
            body,
            Word::ours("403"),
        ]))?;
    } else if door == Door::Redirect {
        to_https(lines)?;
    } else {
        maintenance(lines, site)?;
        for index in order(&site.routes) {
            if let Some(route) = site.routes.get(index) {
                route::write(lines, ground, (index, route))?;
            }
        }
        lines.put(respond("*", ("404 Not found", "404")))?;
    }
    lines.close();
    Ok(lines.end())
}

/// Refuses requests over a connection that was made for another site, which takes older versions.
fn oldest_tls(lines: &mut Lines<'_>, site: &SitePolicy) -> Result<(), Unwritable> {
    const OLD: &str = "@portway_old_tls";
    if site.https.as_ref().is_none_or(|https| https.min_version == TlsVersion::V1_2) {
        return Ok(());
    }
    lines.from(&FieldPath::root().key("https").key("min_version"));
    let words = [OLD, "vars", "{http.request.tls.version}", "tls1.0", "tls1.1", "tls1.2"];
    lines.put(Directive::new(words.map(Word::ours)))?;
    lines.put(respond(OLD, ("421 Misdirected request", "421")))
}

/// Keeps what the site brings of its own. No two sites share it, so that what Caddy says of it is said of
/// this one.
fn snippet(lines: &mut Lines<'_>, site: &SitePolicy) -> Option<String> {
    let text = site.snippets.caddy.as_deref()?;
    let text = format!("# Portway: a snippet of the site {} ({})\n{text}", site.name, site.id);
    Some(lines.object(Extension::Caddy, Secrecy::Open, &text))
}

/// Tells everybody that the site is being worked on who is not let through.
fn maintenance(lines: &mut Lines<'_>, site: &SitePolicy) -> Result<(), Unwritable> {
    const GUEST: &str = "@portway_guest";
    let Some(Maintenance { message, retry_after, allow }) = &site.maintenance else {
        return Ok(());
    };
    lines.from(&FieldPath::root().key("maintenance"));
    let matcher = if allow.is_empty() {
        "*"
    } else {
        let words = [GUEST, "not", "remote_ip"].map(Word::ours).into_iter();
        let networks = allow.iter().map(|network| Word::from(network.to_string()));
        lines.put(Directive::new(words.chain(networks)))?;
        GUEST
    };
    if let Some(time) = retry_after {
        let words = ["header", matcher, "Retry-After"].map(Word::ours).into_iter();
        lines.put(Directive::new(words.chain([Word::from(time.0.to_string())])))?;
    }
    let body = Word::around("", message, "\n")?;
    let (respond, status) = (Word::ours("respond"), Word::ours("503"));
    lines.put(Directive::new([respond, Word::ours(matcher), body, status]))
}

/// 301 lets caches remember; 308 makes clients repeat other methods than GET and HEAD.
fn to_https(lines: &mut Lines<'_>) -> Result<(), Unwritable> {
    let port = match lines.facts.ports.https {
        443 => String::new(),
        port => format!(":{port}"),
    };
    let to = format!("https://{{http.request.host}}{port}{{http.request.uri}}");
    lines.from(&FieldPath::root().key("https").key("redirect"));
    lines.put(Directive::new(["@portway_read", "method", "GET", "HEAD"]))?;
    for (matcher, status) in [("@portway_read", "301"), ("*", "308")] {
        let words =
            [Word::ours("redir"), Word::ours(matcher), Word::from(to.clone()), Word::ours(status)];
        lines.put(Directive::new(words))?;
    }
    Ok(())
}

/// The log is an object of its own, so that a test can leave it out: Caddy opens the files of logs when
/// it only tries a configuration, as whoever tries.
fn write_log(lines: &mut Lines<'_>, site: &SitePolicy) -> Result<Option<Arc<Object>>, Unwritable> {
    let LogSettings { access, format: _, max_size, max_age, keep } = &site.log;
    if !access {
        return Ok(None);
    }
    lines.begin();
    lines.from(&FieldPath::root().key("log"));
    let name = site.routes.first().map_or("main", |route| route.log.as_str());
    let folder = lines.facts.layout.site_logs(&site.log_folder());
    let file = Word::from(folder.join(format!("{name}.access.log")).to_string());
    let mut roll = vec![
        Directive::new([
            Word::ours("roll_size"),
            Word::from(format!("{}MiB", megabytes(max_size.0))),
        ]),
        Directive::new([Word::ours("roll_keep"), Word::from(keep.to_string())]),
        // So that lines that were put aside are read as the others are.
        Directive::new([Word::ours("roll_uncompressed")]),
    ];
    if lines.facts.is_at_least(2, 11, 0) {
        let age = Word::from(format!("{}s", max_age.0.max(60)));
        roll.push(Directive::new([Word::ours("roll_interval"), age]));
    }
    let output = Directive::new([Word::ours("output"), Word::ours("file"), file]).with(roll);
    let format = Directive::new(["format", "json"]);
    lines.put(Directive::new([LOG]).with(vec![output, format]))?;
    Ok(Some(lines.end()))
}

fn megabytes(bytes: u64) -> u64 {
    bytes.div_ceil(1 << 20).max(1)
}

impl<'a> Lines<'a> {
    fn new(facts: &'a EngineFacts, site: &SitePolicy) -> Self {
        Self {
            facts,
            id: site.id,
            printer: Printer::default(),
            depth: 0,
            field: FieldPath::root(),
            objects: Vec::new(),
        }
    }

    /// Returns the site's id.
    pub(super) fn site_id(&self) -> Id<Site> {
        self.id
    }

    fn begin(&mut self) {
        self.printer = Printer::default();
        self.depth = 0;
    }

    /// Ends an object.
    fn end(&mut self) -> Arc<Object> {
        let (text, places) = std::mem::take(&mut self.printer).finish();
        let object = Arc::new(Object::text(Extension::Caddy, text, places));
        if !self.objects.contains(&object) {
            self.objects.push(Arc::clone(&object));
        }
        object
    }

    /// Says that what follows is made from this field.
    pub(super) fn from(&mut self, field: &FieldPath) {
        self.field = field.clone();
        self.printer.from(field);
    }

    /// Writes a directive.
    pub(super) fn put(&mut self, directive: Directive) -> Result<(), Unwritable> {
        self.printer.print(&[directive], self.depth)
    }

    /// Begins a block.
    pub(super) fn open(&mut self, words: &[Word]) -> Result<(), Unwritable> {
        self.printer.open(words, self.depth)?;
        self.depth += 1;
        Ok(())
    }

    /// Ends a block.
    pub(super) fn close(&mut self) {
        self.depth = self.depth.saturating_sub(1);
        self.printer.close(self.depth);
    }

    /// Keeps a text beside the configuration and returns where it lies.
    pub(super) fn object(&mut self, extension: Extension, secrecy: Secrecy, text: &str) -> String {
        let object = Arc::new(Object::new(extension, secrecy, text.as_bytes()));
        let path = object.path(&self.facts.layout).to_string();
        if !self.objects.contains(&object) {
            self.objects.push(object);
        }
        path
    }

    fn finding(&self, site: &SitePolicy, unwritable: &Unwritable) -> Vec<Finding> {
        let mut findings = Findings::about(ResourceKind::Site, site.name.as_str());
        findings
            .error(FindingCode::Unsupported, &self.field, unwritable.to_string())
            .remedy("assign this site to an edge, or change the text");
        findings.into_vec()
    }
}
