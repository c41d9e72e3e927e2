//! Texts that try to leave their place, in every field of a site. What is not refused must leave the
//! configuration as it is but for the words it belongs to, use no variable, and be sound for the real
//! engine.

use std::collections::{BTreeMap, BTreeSet};

use portway_engine::{
    Engine as _, RenderError, Rendered,
    nginx::{Directive, Nginx, parse},
};
use portway_policy::{CompileInput, NodeSettings, SitePolicy};

use crate::{bed::Bed, cases, nginx::Machine};

/// Stands where a payload is put.
const MARK: &str = "benign";

/// Texts that have a meaning to nginx, to shells, to headers or to parsers.
pub(crate) const PAYLOADS: [&str; 72] = [
    "\"",
    "'",
    "`",
    ";",
    "{",
    "}",
    "{}",
    "};",
    "#",
    "# x",
    "\\",
    "\\\\",
    "\\\"",
    "\\n",
    "\\;",
    "a\\",
    "$",
    "$$",
    "$uri",
    "${uri}",
    "$1",
    "$",
    "$a$b",
    "${",
    "${portway_dollar}",
    "$http_authorization",
    "x; return 200 pwned;",
    "x\"; return 200 \"pwned",
    "x'; return 200 'pwned",
    "\"; } server { #",
    "x} location / { return 200;",
    "x;}}",
    "} http { include /etc/passwd; }",
    "include /etc/passwd;",
    "\n",
    "\r\n",
    "x\nreturn 200;",
    "x\r\nX-Evil: 1",
    "\t",
    "x\ty",
    " ",
    "  x  ",
    "x y",
    "\u{0}",
    "x\u{0}y",
    "\u{7f}",
    "\u{85}",
    "\u{2028}",
    "ä",
    "日本",
    "\u{1f600}",
    "\u{202e}x",
    "off",
    "on",
    "default",
    "volatile",
    "hostnames",
    "include",
    "~.*",
    "~*.*",
    "^~",
    "=",
    "@portway_none",
    "!",
    "*",
    "$(id)",
    "`id`",
    "| id",
    "&& id",
    "../../etc/passwd",
    "%0a%0dx",
    "{{ .Env }}",
];

/// Routes in which every text that can be free is the mark; or, where it begins with a quote, what
/// stands in the site.
const ROUTES: [&str; 18] = [
    r#"{"path": "/benign", "match_headers": {"X-A": "benign"}, "match_query": {"benign": "benign"},
     "headers": {"request": {"set": {"X-B": "benign"}, "add": {"X-C": "benign"}, "remove": ["benign"]},
       "response": {"set": {"X-B": "benign"}, "add": {"X-C": "benign"}, "remove": ["benign"]}},
     "access": {"basic": {"realm": "benign", "users":
       {"benign": "$2y$10$2sMOCzmFp2YPjTWVIy6qjOyWyVgHmdFuXP8xYEkgqJ7bYkTkNOyJW"}}},
     "to": {"targets": ["https://127.0.0.1:1"], "host": "benign",
       "tls": {"server_name": "benign", "ca": "@ca"}}}"#,
    r#"{"exact": "/benign", "to": "unix:/run/benign"}"#,
    r#"{"regex": "benign", "methods": ["GET"], "to":
      {"targets": ["127.0.0.1:1", "127.0.0.1:2"], "balance": {"hash": {"header": "benign"}}}}"#,
    r#"{"path": "/", "to": {"targets": ["127.0.0.1:1", "127.0.0.1:2"],
       "balance": {"hash": {"cookie": "benign"}}}}"#,
    r#"{"path": "/strip/benign", "strip_prefix": true, "to": "127.0.0.1:1"}"#,
    r#"{"path": "/files", "files": {"root": "/srv/benign", "index": ["benign"],
       "cache_control": "benign", "spa": true}}"#,
    r#"{"path": "/docs/benign", "files": {"root": "/srv/benign", "index": ["benign"]}}"#,
    r#"{"path": "/away", "redirect": {"to": "/benign", "status": 301}}"#,
    r#"{"path": "/keep/benign", "redirect": {"to": "/benign", "keep_path": true}}"#,
    r#"{"path": "/say", "respond": {"body": "benign", "content_type": "text/x; a=benign"}}"#,
    r#"{"path": "/split", "split": [{"by": [{"header": "X-A", "value": "benign"}], "to": "1"},
       {"weight": 1, "by": [{"cookie": "a", "value": "benign"}], "to": "2"}]}"#,
    r#"{"path": "/split", "split": [{"name": "benign", "by": [{"header": "benign", "value": "x"}], "to": "1"},
       {"name": "b", "weight": 1, "by": [{"cookie": "benign", "value": "x"}], "to": "2"}]}"#,
    r#"{"path": "/mirror", "to": "127.0.0.1:1", "mirror": {"to": {"targets": ["https://127.0.0.1:2"],
       "host": "benign", "tls": {"server_name": "benign"}}}}"#,
    r#"{"path": "/limits", "to": "127.0.0.1:1", "rate_limit": {"rate": "5/s", "by": {"header": "benign"}},
       "connection_limit": {"most": 5, "by": {"header": "benign"}}}"#,
    r#"{"path": "/tls", "to": {"targets": ["https://127.0.0.1:1"], "tls": {"server_name": "a", "ca": "@ca"}},
       "cache": {"key": {"headers": ["benign"], "cookies": ["benign"]}}}"#,
    r#""to": "127.0.0.1:1", "maintenance": {"message": "benign"}"#,
    r#""to": "127.0.0.1:1", "description": "benign", "tags": ["benign"]"#,
    r#""to": "127.0.0.1:1", "redirects": [{"from": "/benign", "to": "/benign"},
       {"from": "/o/benign/*", "to": "/n/benign"}]"#,
];

/// Returns a site with one route.
fn spec(bed: &Bed, route: &str, host: &str) -> String {
    let content =
        if route.starts_with('{') { format!("\"routes\": [{route}]") } else { route.to_owned() };
    bed.fill(&format!("{{\"hosts\": [\"{host}\"], \"https\": false, {content}}}"))
}

/// A configuration without its words: names, numbers of words, blocks. Neither order nor text counts.
fn skeleton(directives: &[Directive], of_table: bool) -> Vec<String> {
    let mut lines: Vec<String> = directives
        .iter()
        .map(|directive| {
            let name = if of_table { "entry" } else { directive.name() };
            let holds_table = matches!(name, "map" | "geo" | "split_clients");
            let inner =
                directive.block.as_ref().map(|block| skeleton(block, holds_table).join("; "));
            let inner = inner.map(|inner| format!("{{{inner}}}")).unwrap_or_default();
            format!("{name}/{}{inner}", directive.words.len())
        })
        .collect();
    lines.sort();
    lines
}

/// The variables that a configuration reads. Where nginx looks for none, a dollar sign is a dollar sign.
fn variables(directives: &[Directive], found: &mut BTreeSet<String>) {
    for directive in directives {
        if !matches!(directive.name(), "location" | "server" | "default_type") {
            // The name of a header is a name.
            let is_header = directive.name().ends_with("_header");
            let words = directive.words.iter().skip(if is_header { 2 } else { 0 });
            for part in words.flat_map(|word| word.split('$').skip(1)) {
                let name = part.trim_start_matches('{');
                let end = name.find(|c: char| !c.is_ascii_alphanumeric() && c != '_');
                found.insert(name[..end.unwrap_or(name.len())].to_owned());
            }
        }
        variables(directive.block.as_deref().unwrap_or_default(), found);
    }
}

/// Reads all of a site's configuration back.
fn tree(rendered: &Rendered) -> Vec<Directive> {
    let is_conf = |bytes: &[u8]| bytes.starts_with(b"# Portway: the site");
    let objects = rendered.objects.iter().filter(|object| is_conf(object.bytes()));
    objects
        .flat_map(|object| parse(std::str::from_utf8(object.bytes()).unwrap()).unwrap())
        .collect()
}

/// Replaces some of the marks in a JSON text, given by their number.
fn with_payload(text: &str, payload: &str, places: &[usize]) -> String {
    let quoted = serde_json::to_string(payload).unwrap();
    let inner = &quoted[1..quoted.len() - 1];
    let mut parts = text.split(MARK);
    let mut filled = parts.next().unwrap().to_owned();
    for (place, part) in parts.enumerate() {
        filled.push_str(if places.contains(&place) { inner } else { MARK });
        filled.push_str(part);
    }
    filled
}

/// What a site is rendered to where no word is hostile.
struct Usual {
    skeleton: Vec<String>,
    variables: BTreeSet<String>,
    policy: String,
}

impl Usual {
    fn of(policy: &SitePolicy, machine: &Machine) -> Self {
        let site = Nginx.render_site(policy, &BTreeMap::new(), &machine.facts).unwrap();
        let tree = tree(&site);
        let mut known = BTreeSet::from(["portway_dollar".to_owned()]);
        variables(&tree, &mut known);
        let policy = serde_json::to_string(policy).unwrap();
        Self { skeleton: skeleton(&tree, false), variables: known, policy }
    }

    fn is_kept_by(&self, site: &Rendered, text: &str) {
        let tree = tree(site);
        assert_eq!(skeleton(&tree, false), self.skeleton, "{text}");
        let mut found = BTreeSet::new();
        variables(&tree, &mut found);
        // A header of another name is another variable.
        found.retain(|name| !name.starts_with("http_") && !name.starts_with("cookie_"));
        let new: Vec<_> = found.difference(&self.variables).collect();
        assert!(new.is_empty(), "{new:?} in {text}");
    }
}

/// The policy is changed behind the back of all checks of the model.
#[tokio::test]
async fn nothing_leaves_its_place_in_what_nginx_reads() {
    let bed = Bed::start(&BTreeMap::new(), &["a.example"]).await;
    let machine = Machine::new(bed.folder()).await;
    let mut rendered = 0;
    for route in ROUTES {
        let spec = spec(&bed, route, "a.example");
        let policy = cases::policy("main", &spec, &CompileInput::default());
        let usual = Usual::of(&policy, &machine);
        let places = usual.policy.matches(MARK).count();
        for (payload, place) in
            PAYLOADS.iter().flat_map(|payload| (0..places).map(move |place| (payload, place)))
        {
            let text = with_payload(&usual.policy, payload, &[place]);
            let Ok(policy) = serde_json::from_str::<SitePolicy>(&text) else { continue };
            match Nginx.render_site(&policy, &BTreeMap::new(), &machine.facts) {
                Err(RenderError::Refused(_)) => {}
                Err(error) => panic!("{error}"),
                Ok(site) => {
                    rendered += 1;
                    usual.is_kept_by(&site, &text);
                }
            }
        }
    }
    assert!(rendered > 1000, "{rendered}");
}

/// What the model takes and nginx's renderer does not refuse is sound for nginx itself.
#[tokio::test]
async fn nginx_finds_everything_sound_that_is_not_refused() {
    let bed = Bed::start(&BTreeMap::new(), &["a.example"]).await;
    let machine = Machine::new(bed.folder()).await;
    let mut sites = Vec::new();
    let mut fields = 0;
    for (route, payload) in
        ROUTES.iter().flat_map(|route| PAYLOADS.iter().map(move |payload| (route, payload)))
    {
        let name = format!("s{}", sites.len());
        let spec = spec(&bed, route, &format!("{name}.example"));
        let taken = (0..spec.matches(MARK).count())
            .filter(|place| rendered(&machine, &name, &with_payload(&spec, payload, &[*place])));
        let taken: Vec<usize> = taken.collect();
        fields += taken.len();
        // Everywhere at once where it is taken alone.
        let text = with_payload(&spec, payload, &taken);
        sites.push(std::sync::Arc::new(render(&machine, &name, &text).unwrap()));
    }
    assert!(fields > 500, "{fields}");
    let release = machine.release(&sites, &NodeSettings::default());
    assert!(release.held.is_empty());
    machine.stage(&release);
    let (sound, said) = machine.test(&release).await;
    assert!(sound, "{said}\n{:?}", Nginx.read_test_output(&said, &release));
}

fn rendered(machine: &Machine, name: &str, spec: &str) -> bool {
    render(machine, name, spec).is_some()
}

fn render(machine: &Machine, name: &str, spec: &str) -> Option<Rendered> {
    let spec: portway_model::SiteSpec = serde_json::from_str(spec).ok()?;
    let (site, _) = portway_model::site::check(&name.parse().unwrap(), &spec);
    let (policy, _) = portway_policy::compile(cases::id(name), &site?, &CompileInput::default());
    match Nginx.render_site(&policy, &BTreeMap::new(), &machine.facts) {
        Ok(site) => Some(site),
        Err(RenderError::Refused(_)) => None,
        Err(error) => panic!("{error}"),
    }
}
