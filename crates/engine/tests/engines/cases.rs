//! The table of sites and requests, and what is compared.

use std::{collections::BTreeMap, fs, path::Path};

use portway_engine::{Engine, EngineFacts, RenderError, Rendered};
use portway_model::{Id, Site, SiteSpec};
use portway_policy::{
    Blocked, CertificateObject, CompileInput, Digest, NodeSettings, SitePolicy, compile,
};
use serde::Deserialize;
use serde_json::Value;

use crate::{
    bed::{Bed, Doors},
    client::{Answer, ask},
};

/// A set of sites with the requests that are asked.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Case {
    /// What it is about.
    #[serde(rename = "about")]
    _about: String,
    #[serde(default)]
    pub(crate) settings: NodeSettings,
    /// Files below `@files`; a text `-> PATH` makes a link.
    #[serde(default)]
    pub(crate) files: BTreeMap<String, String>,
    /// Sites as they are written, by name.
    sites: BTreeMap<String, Value>,
    /// Why sites are blocked, by name.
    #[serde(default)]
    blocked: BTreeMap<String, String>,
    /// The engines that refuse one of the sites.
    #[serde(default)]
    refused: Vec<String>,
    /// Headers of answers that are compared.
    #[serde(default)]
    headers: Vec<String>,
    /// Headers of what the application was asked that are compared.
    #[serde(default)]
    asked: Vec<String>,
    requests: Vec<Asked>,
}

/// A request.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Asked {
    #[serde(default = "get")]
    pub(crate) method: String,
    pub(crate) target: String,
    pub(crate) host: Option<String>,
    #[serde(default)]
    pub(crate) headers: BTreeMap<String, String>,
    pub(crate) body: Option<String>,
    /// The name that the handshake asks for; nothing means plain HTTP.
    pub(crate) tls: Option<String>,
    #[serde(default)]
    pub(crate) tls_1_2: bool,
    /// The status that the edge must answer, so that the table cannot agree on nonsense.
    expect: Option<u16>,
    /// Statuses with which engines may differ, never to let someone in.
    #[serde(default)]
    differs: BTreeMap<String, u16>,
}

fn get() -> String {
    "GET".to_owned()
}

/// Returns the cases by name.
pub(crate) fn all() -> Vec<(String, Case)> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/conformance");
    let mut files: Vec<_> =
        fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.sort();
    let read = |path: &std::path::PathBuf| {
        let text = fs::read_to_string(path).unwrap();
        let case = serde_json::from_str(&text)
            .unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        (path.file_stem().unwrap().to_string_lossy().into_owned(), case)
    };
    files.iter().map(read).collect()
}

/// Returns a site as nodes are given it.
pub(crate) fn policy(name: &str, spec: &str, input: &CompileInput) -> SitePolicy {
    let spec: SiteSpec = serde_json::from_str(spec).unwrap_or_else(|e| panic!("{name}: {e}"));
    let (site, findings) = portway_model::site::check(&name.parse().unwrap(), &spec);
    let faults: Vec<_> = findings.iter().filter(|finding| finding.is_error()).collect();
    let site = site.unwrap_or_else(|| panic!("{name}: {faults:?}"));
    compile(id(name), &site, input).0
}

/// The id of a site is made from its name.
pub(crate) fn id(name: &str) -> Id<Site> {
    let digest = Digest::of(name.as_bytes());
    let bytes: [u8; 16] = digest.as_bytes()[..16].try_into().unwrap();
    Id::from_uuid(uuid::Uuid::from_bytes(bytes))
}

impl Case {
    pub(crate) fn policies(&self, bed: &Bed) -> Vec<SitePolicy> {
        let policy = |(name, spec): (&String, &Value)| {
            let reason = self.blocked.get(name);
            let input = CompileInput {
                certificate: Some(bed.certificate.digest()),
                blocked: reason.map(|reason| Blocked { reason: reason.clone() }),
                ..CompileInput::default()
            };
            policy(name, &bed.fill(&spec.to_string()), &input)
        };
        self.sites.iter().map(policy).collect()
    }

    /// Renders the sites; nothing where the engine refuses one and the table says so.
    pub(crate) fn render(
        &self,
        engine: &dyn Engine,
        policies: &[SitePolicy],
        certificates: &BTreeMap<Digest, CertificateObject>,
        facts: &EngineFacts,
    ) -> Option<Vec<std::sync::Arc<Rendered>>> {
        let may_refuse = self.refused.iter().any(|name| *name == engine.name().to_lowercase());
        let rendered: Result<Vec<_>, RenderError> = policies
            .iter()
            .map(|site| engine.render_site(site, certificates, facts).map(Into::into))
            .collect();
        match rendered {
            Ok(_) if may_refuse => panic!("{} does not refuse it any more", engine.name()),
            Ok(rendered) => Some(rendered),
            Err(RenderError::Refused(_)) if may_refuse => None,
            Err(error) => panic!("{}: {error}", engine.name()),
        }
    }

    /// Asks both and returns the requests that the edge refuses and the engine answers.
    pub(crate) async fn let_in(&self, bed: &Bed, edge: Doors, doors: Doors) -> Vec<String> {
        let mut faults = Vec::new();
        let is_refused = |answer: &Answer| answer.status.is_none_or(|status| status >= 400);
        for asked in &self.requests {
            let wanted = ask(edge, &bed.ca, asked).await;
            let found = ask(doors, &bed.ca, asked).await;
            if is_refused(&wanted) && !is_refused(&found) {
                faults.push(format!("{} {}", asked.method, asked.target));
            }
        }
        faults
    }

    /// Asks both and returns where they differ.
    pub(crate) async fn compare(
        &self,
        bed: &Bed,
        edge: Doors,
        engine: &str,
        doors: Doors,
    ) -> Vec<String> {
        let mut faults = Vec::new();
        for asked in &self.requests {
            let wanted = ask(edge, &bed.ca, asked).await;
            let found = ask(doors, &bed.ca, asked).await;
            let name =
                format!("{} {} {:?} {:?}", asked.method, asked.target, asked.host, asked.tls);
            if asked.expect.is_some() && wanted.status != asked.expect {
                faults.push(format!("{name}: the edge answers {:?}", wanted.status));
            }
            match asked.differs.get(engine) {
                Some(status) if found.status == Some(*status) => continue,
                Some(status) => faults.push(format!("{name}: {status} was to be expected")),
                None => {}
            }
            let wanted = self.view(asked, &wanted, edge);
            let found = self.view(asked, &found, doors);
            if wanted != found {
                faults.push(format!("{name}:\n  edge:   {wanted:?}\n  engine: {found:?}"));
            }
        }
        faults
    }

    /// Returns what of an answer is compared.
    fn view(&self, asked: &Asked, answer: &Answer, doors: Doors) -> Vec<String> {
        // A refused handshake and a refused request come to the same.
        let mut view = vec![format!("status {:?}", answer.status)];
        if answer.status.is_none_or(|status| status >= 400) {
            let realm = answer.header("www-authenticate").split(',').next().unwrap_or_default();
            view.push(format!("realm {realm}"));
            return view;
        }
        // A page that says where the way leads is nobody's business.
        if answer.status.is_some_and(|status| (300..400).contains(&status)) {
            let location = answer.header("location");
            view.push(location.replace(&format!(":{}", doors.https.port()), ":PORT"));
            return view;
        }
        for name in &self.headers {
            view.push(format!("{name}: {}", answer.header(name)));
        }
        match serde_json::from_str::<Value>(&answer.body) {
            Ok(Value::Object(echo)) if echo.contains_key("target") => {
                view.push(format!("{} {} {}", echo["method"], echo["target"], echo["body"]));
                for name in &self.asked {
                    view.push(format!("asked {name}: {}", echo["headers"][name]));
                }
            }
            _ if asked.method == "HEAD" => {}
            _ => view.push(answer.body.clone()),
        }
        view
    }
}
