//! The table of sites and requests.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::Path,
};

use portway_engine::{Engine, EngineFacts, Fit, uses};
use portway_model::{Id, Site, SiteSpec, site::Route};
use portway_policy::{Blocked, CompileInput, Digest, NodeSettings, SitePolicy, compile};
use serde::{Deserialize, de::DeserializeOwned};
use serde_json::Value;

use crate::{
    bed::Bed,
    told::{Difference, Manner},
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
    /// The settings that an engine refuses. Their routes are taken away, and their sites where they
    /// are no route's, for the engine and for the edge beside it.
    #[serde(default)]
    refused: BTreeMap<String, BTreeSet<String>>,
    /// The sites that an engine holds on this node.
    #[serde(default)]
    pub(crate) held: BTreeMap<String, BTreeSet<String>>,
    /// Headers of answers that are compared beside the usual ones, of refusals too.
    #[serde(default)]
    pub(crate) headers: Vec<String>,
    /// What is always so with an engine here.
    #[serde(default)]
    pub(crate) manners: BTreeMap<String, Vec<Manner>>,
    pub(crate) requests: Vec<Asked>,
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
    pub(crate) expect: Option<u16>,
    /// How often it is asked, for what becomes of many.
    #[serde(default)]
    pub(crate) many: Option<Many>,
    /// A text that the body may have.
    pub(crate) says: Option<String>,
    /// How engines differ.
    #[serde(default)]
    pub(crate) differs: BTreeMap<String, Difference>,
}

/// Many equal requests, one after the other.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Many {
    pub(crate) times: usize,
    /// Cookies are kept from one to the next.
    #[serde(default)]
    pub(crate) keeps_cookies: bool,
    /// It may take a while until they are answered as they should be.
    #[serde(default)]
    pub(crate) settles: bool,
    /// How often each target answers counts, and not only how many of them do.
    #[serde(default)]
    pub(crate) counts: bool,
}

fn get() -> String {
    "GET".to_owned()
}

const FOLDER: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/conformance");

/// Returns the cases by name.
pub(crate) fn all() -> Vec<(String, Case)> {
    let folder = Path::new(FOLDER);
    let mut files: Vec<_> =
        fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.sort();
    files.retain(|path| path.is_file());
    let name = |path: &Path| path.file_stem().unwrap().to_string_lossy().into_owned();
    files.iter().map(|path| (name(path), read(path))).collect()
}

/// Returns how an engine always differs from the edge.
pub(crate) fn manners(engine: &str) -> Vec<Manner> {
    read(&Path::new(FOLDER).join("manners").join(format!("{engine}.json")))
}

fn read<T: DeserializeOwned>(path: &Path) -> T {
    let text = fs::read_to_string(path).unwrap();
    serde_json::from_str(&text).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
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

    /// Returns what is left of the sites without what an engine refuses, which must be what the table
    /// says.
    pub(crate) fn taken(
        &self,
        engine: &dyn Engine,
        facts: &EngineFacts,
        sites: Vec<SitePolicy>,
    ) -> (Vec<SitePolicy>, Vec<String>) {
        let mut refused = BTreeSet::new();
        let left = sites.into_iter().filter_map(|site| without(engine, facts, site, &mut refused));
        let left = left.collect();
        let said = self.refused.get(&engine.name().to_lowercase()).cloned().unwrap_or_default();
        let faults = if refused == said {
            Vec::new()
        } else {
            vec![format!("refused is {refused:?}, and {said:?} in the table")]
        };
        (left, faults)
    }
}

/// Takes away the routes that an engine refuses; the whole site where what it refuses is no route's.
fn without(
    engine: &dyn Engine,
    facts: &EngineFacts,
    mut site: SitePolicy,
    refused: &mut BTreeSet<String>,
) -> Option<SitePolicy> {
    let mut gone = BTreeSet::new();
    let mut is_whole = true;
    for used in uses(&site) {
        let support = engine.support_of(&used, facts);
        if support.fit(used.setting.bearing()) != Fit::Refused {
            continue;
        }
        refused.insert(format!("{:?}", used.setting));
        let place = |one: &Route| site.routes.iter().position(|route| std::ptr::eq(route, one));
        match used.route.and_then(place) {
            Some(route) => {
                gone.insert(route);
            }
            None => is_whole = false,
        }
    }
    let routes = std::mem::take(&mut site.routes).into_iter().enumerate();
    site.routes = routes.filter(|(place, _)| !gone.contains(place)).map(|(_, one)| one).collect();
    (is_whole && !site.routes.is_empty()).then_some(site)
}
