//! A node in a temporary folder: files as a deployment puts them, and the real engine on free ports.

use std::{
    collections::BTreeMap,
    fs,
    net::TcpListener,
    os::unix::fs::{PermissionsExt as _, symlink},
    process::{Child, Command, Stdio},
    sync::{
        Arc,
        atomic::{AtomicU16, Ordering},
    },
    time::{Duration, Instant},
};

use camino::{Utf8Path, Utf8PathBuf};
use portway_engine::{
    CandidateFile, Engine, EngineFacts, Layout, Ports, Probe, Release, RenderError, Rendered, Test,
    TopLevel, Version,
};
use portway_model::{Id, SiteSpec};
use portway_policy::{CertificateObject, CompileInput, Digest, NodeSettings, SitePolicy};
use tempfile::TempDir;

use crate::client;

/// A node.
pub(crate) struct Bed {
    pub(crate) facts: EngineFacts,
    folder: TempDir,
    engine: Option<Child>,
}

/// Certificates by their digest.
pub(crate) type Certificates = BTreeMap<Digest, CertificateObject>;

impl Bed {
    /// Makes a node for a program of the Python environment; nothing where it may be missing.
    pub(crate) fn new(program: &str, top_level: &str, reached_by: &str) -> Option<Self> {
        let program = find(program)?;
        let version = version_of(&program);
        let folder = TempDir::new().unwrap();
        let root = Utf8Path::from_path(folder.path()).unwrap().to_owned();
        let layout = Layout {
            home: root.join("home"),
            logs: root.join("logs"),
            top_level: root.join(top_level),
            reached_by: root.join(reached_by),
            copy: None,
            program,
            authorities: "/etc/ssl/certs/ca-certificates.crt".into(),
        };
        for folder in [layout.objects(), layout.releases(), root.join("watched")] {
            fs::create_dir_all(folder).unwrap();
        }
        let ([http, https], probe) = (free_ports(), free_pair());
        let ports = Ports { addresses: Vec::new(), http, https, probe };
        let facts =
            EngineFacts { version, modules: std::collections::BTreeSet::new(), layout, ports };
        Some(Self { facts, folder, engine: None })
    }

    /// Returns the folder of the node.
    pub(crate) fn root(&self) -> &Utf8Path {
        Utf8Path::from_path(self.folder.path()).unwrap()
    }

    /// Renders sites, each of which must be taken.
    pub(crate) fn release(
        &self,
        engine: &dyn Engine,
        sites: &[SitePolicy],
        certificates: &Certificates,
    ) -> Release {
        let rendered: Vec<Arc<Rendered>> = sites
            .iter()
            .map(|site| Arc::new(engine.render_site(site, certificates, &self.facts).unwrap()))
            .collect();
        engine.render_node(&rendered, &NodeSettings::default(), certificates, &self.facts).unwrap()
    }

    /// Puts a release on the node as a deployment does.
    pub(crate) fn put(&self, release: &Release) {
        let layout = &self.facts.layout;
        for (name, object) in &release.objects {
            write(&layout.objects().join(name), object.bytes(), object.secrecy().mode());
        }
        write(&release.path(layout), release.entry.bytes(), 0o644);
    }

    /// Makes a release the one that counts.
    pub(crate) fn activate(&self, engine: &dyn Engine, release: &Release, top_level: &str) {
        let top = TopLevel { text: top_level.to_owned(), beside: Vec::new() };
        let candidate = engine.candidate(&top, release, &self.facts).unwrap();
        let link = engine.steps(candidate, release, &self.facts).activate;
        let staged = Utf8PathBuf::from(format!("{}.new", link.link));
        symlink(&link.target, &staged).unwrap();
        fs::rename(&staged, &link.link).unwrap();
    }

    /// Runs the engine's own test of a release. Returns whether it passed, and what it said.
    pub(crate) fn test(
        &self,
        engine: &dyn Engine,
        release: &Release,
        top_level: &str,
    ) -> (bool, String) {
        let top = TopLevel { text: top_level.to_owned(), beside: Vec::new() };
        let candidate = engine.candidate(&top, release, &self.facts).unwrap();
        match engine.steps(candidate, release, &self.facts).test {
            Test::Command { files, command } => {
                put_files(&files);
                let output = self.command(&command.argv).stderr(Stdio::piped()).output().unwrap();
                let text = String::from_utf8_lossy(&output.stderr).into_owned();
                (output.status.success(), text)
            }
            Test::Instance { files, command, probe } => self.try_instance(&files, &command, &probe),
        }
    }

    /// Starts an instance that lives for a test. Returns whether it answered as it should, and how.
    pub(crate) fn try_instance(
        &self,
        files: &[CandidateFile],
        command: &portway_engine::Command,
        probe: &Probe,
    ) -> (bool, String) {
        put_files(files);
        let child = self.command(&command.argv).spawn().unwrap();
        let answered = wait(probe);
        stop(child);
        (answered.is_ok(), answered.err().unwrap_or_default())
    }

    /// Returns what the engine said last.
    pub(crate) fn log(&self) -> String {
        fs::read_to_string(self.root().join("engine.log")).unwrap_or_default()
    }

    /// Starts the engine and waits until it proves that it serves the release.
    pub(crate) fn start(&mut self, argv: &[&str], probe: &Probe) {
        let argv: Vec<String> = argv.iter().map(|&word| word.to_owned()).collect();
        let child = self.command(&argv).spawn().unwrap();
        self.engine = Some(child);
        // Other tests are busy beside this one, and some start with thousands of sites.
        let patient = Probe { deadline: 4 * probe.deadline, ..probe.clone() };
        if let Err(last) = wait(&patient) {
            panic!("the engine does not tell the release: {last}\n{}", self.log());
        }
    }

    fn command(&self, argv: &[String]) -> Command {
        let log = fs::File::create(self.root().join("engine.log")).unwrap();
        let mut command = Command::new(&argv[0]);
        let same = log.try_clone().unwrap();
        command.args(&argv[1..]).stdin(Stdio::null()).stdout(same).stderr(log);
        command.env("XDG_DATA_HOME", self.root()).env("XDG_CONFIG_HOME", self.root());
        command.env("HOME", self.root());
        command
    }
}

impl Drop for Bed {
    fn drop(&mut self) {
        if let Some(child) = self.engine.take() {
            stop(child);
        }
    }
}

/// Returns a site that must be sound.
pub(crate) fn site(name: &str, spec: &str, input: &CompileInput) -> SitePolicy {
    try_site(name, spec, input).unwrap_or_else(|findings| panic!("{spec}: {findings}"))
}

/// Returns a site, or what the model says against it.
pub(crate) fn try_site(name: &str, spec: &str, input: &CompileInput) -> Result<SitePolicy, String> {
    let spec: SiteSpec = serde_json::from_str(spec).map_err(|error| error.to_string())?;
    let (site, findings) = portway_model::site::check(&name.parse().unwrap(), &spec);
    let site = site.ok_or_else(|| format!("{findings:?}"))?;
    let id = uuid::Uuid::from_u128(name.bytes().fold(0, |all, byte| all * 31 + u128::from(byte)));
    let (policy, findings) = portway_policy::compile(Id::from_uuid(id), &site, input);
    if findings.is_empty() { Ok(policy) } else { Err(format!("{findings:?}")) }
}

/// Returns why a site is refused, all of it.
pub(crate) fn refusal(
    engine: &dyn Engine,
    site: &SitePolicy,
    facts: &EngineFacts,
) -> Option<String> {
    match engine.render_site(site, &Certificates::new(), facts) {
        Err(RenderError::Refused(findings)) => {
            Some(findings.iter().map(|finding| finding.text.clone()).collect::<Vec<_>>().join("; "))
        }
        Err(error) => Some(error.to_string()),
        Ok(_) => None,
    }
}

/// Asks until the node answers as it should.
pub(crate) fn wait(probe: &Probe) -> Result<(), String> {
    let until = Instant::now() + probe.deadline;
    loop {
        let head = format!("GET {} HTTP/1.1\r\nHost: 127.0.0.1", probe.path);
        let last = match client::send(probe.port, &head, "") {
            Ok(answer) => {
                let told = match &probe.header {
                    Some(name) => answer.header(name).unwrap_or_default().to_owned(),
                    None => answer.body.trim().to_owned(),
                };
                if answer.status == probe.status && told == probe.answer {
                    return Ok(());
                }
                format!("{answer:?}")
            }
            Err(error) => error.to_string(),
        };
        if Instant::now() > until {
            return Err(last);
        }
        std::thread::park_timeout(Duration::from_millis(20));
    }
}

fn put_files(files: &[CandidateFile]) {
    for file in files {
        if let Some(folder) = file.path.parent() {
            fs::create_dir_all(folder).unwrap();
        }
        write(&file.path, file.text.as_bytes(), file.secrecy.mode());
    }
}

fn write(path: &Utf8Path, bytes: &[u8], mode: u32) {
    fs::write(path, bytes).unwrap();
    fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
}

fn stop(mut child: Child) {
    child.kill().unwrap();
    child.wait().unwrap();
}

fn free_ports<const N: usize>() -> [u16; N] {
    let listeners = [(); N].map(|()| TcpListener::bind("127.0.0.1:0").unwrap());
    listeners.map(|listener| listener.local_addr().unwrap().port())
}

/// Returns a port that is free together with the next one, which tests of releases use. It lies below
/// those that the system hands out to others.
fn free_pair() -> u16 {
    static NEXT: AtomicU16 = AtomicU16::new(0);
    let start = u16::try_from(std::process::id() % 5000).unwrap();
    loop {
        let step = start + NEXT.fetch_add(1, Ordering::Relaxed);
        let port = 20_000 + 2 * (step % 6000);
        let both = [port, port + 1].map(|port| TcpListener::bind(("127.0.0.1", port)));
        if both.iter().all(Result::is_ok) {
            return port;
        }
    }
}

/// Looks for a program in the Python environment of the tests, or where `PORTWAY_TEST_PROGRAM` says
/// (such as `PORTWAY_TEST_CADDY`, for another version). It may be missing, except on CI.
fn find(program: &str) -> Option<Utf8PathBuf> {
    let other = std::env::var(format!("PORTWAY_TEST_{}", program.to_ascii_uppercase()));
    let environment = std::env::var("PORTWAY_PYTHON_ENV")
        .unwrap_or_else(|_| concat!(env!("CARGO_MANIFEST_DIR"), "/../../.venv").to_owned());
    let usual = Utf8PathBuf::from(environment).join("bin").join(program);
    let path = other.map_or(usual, Utf8PathBuf::from);
    if path.exists() {
        return Some(path);
    }
    assert!(std::env::var("CI").as_deref() != Ok("true"), "{path} is missing");
    eprintln!("skipped: there is no {path}; `make setup` gets it");
    None
}

/// Returns the version that a program tells of itself.
fn version_of(program: &Utf8Path) -> Version {
    let output = Command::new(program).arg("version").output().unwrap();
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let words = text.split_whitespace().map(|word| word.trim_start_matches("Version:"));
    let mut versions = words.filter_map(|word| word.parse().ok());
    versions.next().unwrap_or_else(|| panic!("no version in {text}"))
}
