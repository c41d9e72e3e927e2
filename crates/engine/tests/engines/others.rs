//! Real Caddy and Traefik beside the edge, by the same table as nginx: a request that the edge refuses
//! is refused there too, or the site is, or the page about engines says otherwise.

use std::{collections::BTreeMap, fs, os::unix::fs::symlink, process::Stdio, sync::Arc};

use camino::{Utf8Path, Utf8PathBuf};
use portway_engine::{
    Engine, EngineFacts, Layout, Ports, Probe, Release, RenderError, Rendered,
    caddy::{self, Caddy},
    traefik::{self, Traefik},
};
use portway_policy::NodeSettings;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    process::{Child, Command},
};

use crate::{
    bed::{Bed, Doors, eventually, free_port, put},
    cases,
    edge::TestEdge,
};

/// A machine with an engine of the Python environment.
struct Machine {
    engine: &'static dyn Engine,
    facts: EngineFacts,
    top_level: String,
    argv: Vec<String>,
}

impl Machine {
    fn caddy(folder: &Utf8Path) -> Option<Self> {
        let facts = facts(folder, "caddy", caddy::usual_facts())?;
        let (ports, layout) = (&facts.ports, &facts.layout);
        let top_level = format!(
            "{{\n\tadmin off\n\thttp_port {}\n\thttps_port {}\n}}\nimport {}\n",
            ports.http, ports.https, layout.reached_by
        );
        let words = ["run", "--adapter", "caddyfile", "--config", layout.top_level.as_str()];
        let argv = words.map(str::to_owned).to_vec();
        Some(Self { engine: &Caddy, facts, top_level, argv })
    }

    fn traefik(folder: &Utf8Path) -> Option<Self> {
        let facts = facts(folder, "traefik", traefik::usual_facts())?;
        let (ports, layout) = (&facts.ports, &facts.layout);
        let watched = layout.reached_by.parent()?;
        let top_level = format!(
            "global: {{checkNewVersion: false, sendAnonymousUsage: false}}\nentryPoints:\n  \
             web: {{address: \"127.0.0.1:{}\"}}\n  websecure: {{address: \"127.0.0.1:{}\"}}\n  \
             portway: {{address: \"127.0.0.1:{}\"}}\nproviders: {{file: {{directory: {watched}}}}}\n",
            ports.http, ports.https, ports.probe
        );
        let argv = vec![format!("--configFile={}", layout.top_level)];
        Some(Self { engine: &Traefik, facts, top_level, argv })
    }

    /// Puts a release where it belongs, as the one that counts, and starts the engine.
    async fn start(&self, release: &Release) -> Child {
        let layout = &self.facts.layout;
        for object in release.objects.values() {
            put(&object.path(layout), object.bytes());
        }
        put(&release.path(layout), release.entry.bytes());
        put(&layout.top_level, self.top_level.as_bytes());
        fs::create_dir_all(layout.reached_by.parent().unwrap()).unwrap();
        symlink(release.path(layout), &layout.reached_by).unwrap();
        let folder = layout.top_level.parent().unwrap();
        let log = fs::File::create(self.log()).unwrap();
        let child = Command::new(&layout.program)
            .args(&self.argv)
            .env("HOME", folder)
            .env("XDG_DATA_HOME", folder)
            .env("XDG_CONFIG_HOME", folder)
            .stdin(Stdio::null())
            .stdout(log.try_clone().unwrap())
            .stderr(log)
            .kill_on_drop(true)
            .spawn()
            .unwrap();
        let probe = self.engine.probe(release.digest, &self.facts);
        eventually("the probe", async || answers(&probe).await).await;
        child
    }

    fn log(&self) -> Utf8PathBuf {
        self.facts.layout.top_level.with_file_name("engine.log")
    }

    fn doors(&self) -> Doors {
        let at = |port| std::net::SocketAddr::from(([127, 0, 0, 1], port));
        Doors { http: at(self.facts.ports.http), https: at(self.facts.ports.https) }
    }
}

async fn answers(probe: &Probe) -> Option<()> {
    let mut stream = tokio::net::TcpStream::connect(("127.0.0.1", probe.port)).await.ok()?;
    let head = format!("GET {} HTTP/1.1\r\nHost: probe\r\nConnection: close\r\n\r\n", probe.path);
    stream.write_all(head.as_bytes()).await.ok()?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.ok()?;
    answer.contains(&probe.answer).then_some(())
}

fn facts(folder: &Utf8Path, name: &str, usual: EngineFacts) -> Option<EngineFacts> {
    let folder = folder.join(name);
    let layout = Layout {
        home: folder.join("home"),
        logs: folder.join("logs"),
        top_level: folder.join(usual.layout.top_level.file_name()?),
        reached_by: folder.join("reached").join(usual.layout.reached_by.file_name()?),
        copy: None,
        program: program(name)?,
        ..usual.layout
    };
    let ports =
        Ports { addresses: Vec::new(), http: free_port(), https: free_port(), probe: free_port() };
    Some(EngineFacts { layout, ports, ..usual })
}

/// Returns a program of the Python environment, which may be missing except on CI.
fn program(name: &str) -> Option<Utf8PathBuf> {
    let environment = std::env::var("PORTWAY_PYTHON_ENV")
        .unwrap_or_else(|_| concat!(env!("CARGO_MANIFEST_DIR"), "/../../.venv").to_owned());
    let path = Utf8PathBuf::from(environment).join("bin").join(name);
    assert!(path.exists() || std::env::var("CI").as_deref() != Ok("true"), "{path} is missing");
    path.exists().then_some(path)
}

/// What Caddy answers and the edge does not, as the page about engines says.
const CADDY: &[(&str, &str)] = &[
    // What a client accepts is read without its preferences.
    ("applications", "GET /users"),
    // A file asked for as a folder leads to the file.
    ("files", "GET /sub/deep/file.txt/"),
    // Links that lead out of the folder are followed.
    ("files", "GET /out/passwd"),
    ("files", "GET /passwd"),
    // A connection that was made for another certificate is used.
    ("https", "GET /x"),
    // It is no separator in a request, and is passed on escaped.
    ("paths", "GET /a#b"),
];

/// What Traefik answers and the edge does not, as the page about engines says.
const TRAEFIK: &[(&str, &str)] = &[
    // A connection that was made for another certificate is used.
    ("https", "GET /x"),
];

#[tokio::test]
async fn caddy_lets_nobody_in_whom_the_edge_refuses() {
    compare(Machine::caddy, CADDY).await;
}

#[tokio::test]
async fn traefik_lets_nobody_in_whom_the_edge_refuses() {
    compare(Machine::traefik, TRAEFIK).await;
}

async fn compare(machine: fn(&Utf8Path) -> Option<Machine>, known: &[(&str, &str)]) {
    let only = std::env::var("PORTWAY_CASE").ok();
    let (mut faults, mut refused, mut asked) = (Vec::new(), Vec::new(), 0);
    for (about, case) in cases::all() {
        if only.as_ref().is_some_and(|only| *only != about) {
            continue;
        }
        let bed = Bed::start(&case.files, &["a.example", "*.a.example", "b.example"]).await;
        let Some(machine) = machine(bed.folder()) else { return };
        let policies = case.policies(&bed);
        let certificates = [(bed.certificate.digest(), bed.certificate.clone())].into();
        let rendered = policies.iter().map(|site| {
            machine.engine.render_site(site, &certificates, &machine.facts).map(Arc::new)
        });
        let Ok(rendered) = rendered.collect::<Result<Vec<Arc<Rendered>>, RenderError>>() else {
            refused.push(about);
            continue;
        };
        let release = release(&machine, &rendered, &case.settings);
        if !release.held.is_empty() {
            // Who is behind a trusted proxy is not known there.
            assert!(!case.settings.trusted_proxies.is_empty(), "{about}: {:?}", release.held);
            refused.push(about);
            continue;
        }
        let mut engine = machine.start(&release).await;
        let edge = TestEdge::start(policies, &case.settings, &bed.certificate).await;
        for fault in case.let_in(&bed, edge.doors(), machine.doors()).await {
            if !known.contains(&(about.as_str(), fault.as_str())) {
                faults.push(format!("{about}: {fault}"));
            }
        }
        edge.stop().await;
        engine.kill().await.unwrap();
        asked += 1;
    }
    assert!(faults.is_empty(), "{}", faults.join("\n"));
    assert!(asked > 2, "only {asked} sets were taken, refused: {refused:?}");
}

fn release(machine: &Machine, sites: &[Arc<Rendered>], settings: &NodeSettings) -> Release {
    machine.engine.render_node(sites, settings, &BTreeMap::new(), &machine.facts).unwrap()
}
