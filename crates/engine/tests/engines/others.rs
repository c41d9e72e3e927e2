//! Real Caddy and Traefik beside the edge, by the same table as nginx.

use std::{fs, os::unix::fs::symlink, process::Stdio};

use camino::{Utf8Path, Utf8PathBuf};
use portway_engine::{
    Engine, EngineFacts, Layout, Ports, Probe, Release, Version,
    caddy::{self, Caddy},
    traefik::{self, Traefik},
};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    process::{Child, Command},
};

use crate::{
    bed::{Doors, eventually, free_port, put},
    suite::{Node, compare},
};

/// A machine with an engine of the Python environment.
struct Machine {
    engine: &'static dyn Engine,
    facts: EngineFacts,
    top_level: String,
    argv: Vec<String>,
}

impl Node for Machine {
    fn engine(&self) -> &'static dyn Engine {
        self.engine
    }

    fn facts(&self) -> &EngineFacts {
        &self.facts
    }

    async fn objections(&self, _: &Release) -> Option<String> {
        // Their own tests are tried in `live`.
        None
    }

    async fn serve(&self, release: &Release) -> Child {
        self.start(release).await
    }

    fn doors(&self) -> Doors {
        let at = |port| std::net::SocketAddr::from(([127, 0, 0, 1], port));
        Doors { http: at(self.facts.ports.http), https: at(self.facts.ports.https) }
    }

    fn log(&self) -> String {
        fs::read_to_string(self.log_file()).unwrap_or_default()
    }
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
        let log = fs::File::create(self.log_file()).unwrap();
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

    fn log_file(&self) -> Utf8PathBuf {
        self.facts.layout.top_level.with_file_name("engine.log")
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
    let version = version_of(&layout.program);
    Some(EngineFacts { version, layout, ports, ..usual })
}

/// Returns the version that a program tells of itself.
fn version_of(program: &Utf8Path) -> Version {
    let output = std::process::Command::new(program).arg("version").output().unwrap();
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let words = text.split_whitespace().map(|word| word.trim_start_matches("Version:"));
    let mut versions = words.filter_map(|word| word.parse().ok());
    versions.next().unwrap_or_else(|| panic!("no version in {text}"))
}

/// Returns a program of the Python environment, which may be missing except on CI; or the one that
/// `PORTWAY_TEST_PROGRAM` names (such as `PORTWAY_TEST_CADDY`), for another version.
fn program(name: &str) -> Option<Utf8PathBuf> {
    if let Ok(other) = std::env::var(format!("PORTWAY_TEST_{}", name.to_ascii_uppercase())) {
        return Some(other.into());
    }
    let environment = std::env::var("PORTWAY_PYTHON_ENV")
        .unwrap_or_else(|_| concat!(env!("CARGO_MANIFEST_DIR"), "/../../.venv").to_owned());
    let path = Utf8PathBuf::from(environment).join("bin").join(name);
    assert!(path.exists() || std::env::var("CI").as_deref() != Ok("true"), "{path} is missing");
    path.exists().then_some(path)
}

#[tokio::test]
async fn caddy_answers_as_the_edge_does_or_says_how_not() {
    compare(async |folder: &Utf8Path| Machine::caddy(folder)).await;
}

#[tokio::test]
async fn traefik_answers_as_the_edge_does_or_says_how_not() {
    compare(async |folder: &Utf8Path| Machine::traefik(folder)).await;
}
