//! A node of one's own: a real nginx in a temporary folder, and an engine that writes little.

use std::{
    collections::BTreeMap,
    net::TcpListener,
    process::{Child, Command as Process, Stdio},
    sync::{Arc, Mutex},
    time::{Duration, Instant},
};

use camino::{Utf8Path, Utf8PathBuf};
use portway_deploy::{
    ByOthers, Deployment, Ended, Journal, JournalError, Owner, StepRecord, deploy,
};
use portway_engine::{
    Candidate, CandidateError, CandidateFile, Command, Engine, EngineFacts, Extension, Layout,
    Link, Object, Ports, Probe, Release, RenderError, Rendered, Rights, Secrecy, Setting, Steps,
    Support, Test, TopLevel, Version, nginx::Nginx,
};
use portway_model::{Finding, Stage};
use portway_policy::{CertificateObject, Digest, NodeSettings, SitePolicy};
use portway_transport::{Local, Transport};
use uuid::Uuid;

/// A node with a real nginx that serves nothing of Portway's yet.
pub(crate) struct Bed {
    pub(crate) facts: EngineFacts,
    folder: tempfile::TempDir,
    nginx: Child,
}

impl Bed {
    pub(crate) async fn start() -> Self {
        let folder = tempfile::Builder::new().prefix("portway-deploy-").tempdir().unwrap();
        let root = Utf8Path::from_path(folder.path()).unwrap().to_owned();
        let ports = Ports { addresses: Vec::new(), http: free(), https: free(), probe: free() };
        let layout = Layout {
            home: root.join("portway"),
            logs: root.join("logs"),
            top_level: root.join("nginx.conf"),
            reached_by: root.join("conf.d/portway.conf"),
            copy: None,
            program: Utf8PathBuf::from("nginx"),
            authorities: Utf8PathBuf::from("/etc/ssl/certs/ca-certificates.crt"),
        };
        for name in ["conf.d", "logs", "tmp"] {
            std::fs::create_dir(root.join(name)).unwrap();
        }
        std::fs::write(&layout.top_level, top_level(&root)).unwrap();
        let program = ["-p", root.as_str(), "-c", layout.top_level.as_str(), "-g", "daemon off;"];
        let nginx = Process::new("nginx").args(program).stderr(Stdio::null()).spawn().unwrap();
        let facts = EngineFacts {
            version: Version::new(1, 22, 1),
            modules: std::collections::BTreeSet::new(),
            layout,
            ports,
        };
        let bed = Self { facts, folder, nginx };
        bed.wait_for_pid().await;
        bed
    }

    async fn wait_for_pid(&self) {
        let end = Instant::now() + Duration::from_secs(10);
        let pid = self.folder.path().join("nginx.pid");
        while !std::fs::read_to_string(&pid).is_ok_and(|text| !text.trim().is_empty()) {
            assert!(Instant::now() < end, "nginx does not start");
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }

    pub(crate) fn root(&self) -> &Utf8Path {
        Utf8Path::from_path(self.folder.path()).unwrap()
    }

    /// Returns a release that is told apart by a word.
    pub(crate) fn release(&self, word: &str) -> Release {
        Tiny::release(word, &self.facts)
    }

    /// Brings the node to a release, in a turn of this number, by way of a transport.
    pub(crate) async fn deploy_by<T: Transport>(
        &self,
        transport: &T,
        release: &Release,
        fence: u64,
    ) -> (Ended, Notes) {
        let notes = Notes::default();
        let ended = self.deploy_noting(transport, release, fence, &notes).await;
        (ended, notes)
    }

    pub(crate) async fn deploy_noting<T: Transport>(
        &self,
        transport: &T,
        release: &Release,
        fence: u64,
        notes: &Notes,
    ) -> Ended {
        let owner = owner(fence);
        let it = Deployment {
            transport,
            engine: &Tiny,
            facts: &self.facts,
            release,
            owner: &owner,
            by_others: ByOthers::Respect,
            proofs: &[],
        };
        deploy(&it, notes).await
    }

    pub(crate) async fn deploy(&self, word: &str, fence: u64) -> Ended {
        self.deploy_by(&Local::new(), &self.release(word), fence).await.0
    }

    /// Returns what the node serves, asked from outside.
    pub(crate) fn served(&self) -> Option<Digest> {
        let address = ("127.0.0.1", self.facts.ports.probe);
        let mut stream = std::net::TcpStream::connect(address).ok()?;
        stream.set_read_timeout(Some(Duration::from_secs(3))).unwrap();
        let request = b"GET /portway/digest HTTP/1.0\r\nHost: x\r\n\r\n";
        std::io::Write::write_all(&mut stream, request).ok()?;
        let mut answer = String::new();
        std::io::Read::read_to_string(&mut stream, &mut answer).ok()?;
        answer.lines().last()?.trim().parse().ok()
    }

    /// Begins a request and does not end it: a worker of nginx lives for as long as the connection.
    pub(crate) fn begin_a_request(&self) -> std::net::TcpStream {
        let mut stream =
            std::net::TcpStream::connect(("127.0.0.1", self.facts.ports.probe)).unwrap();
        std::io::Write::write_all(&mut stream, b"GET / HTTP/1.1\r\nHost: ").unwrap();
        stream
    }

    /// Waits until the node serves a release.
    pub(crate) async fn serves(&self, release: Option<&Release>) -> bool {
        self.serves_one_of(&[release.map(|release| release.digest)]).await
    }

    /// Takes everything of Portway's away, as if the node was new.
    pub(crate) fn forget(&self) {
        let layout = &self.facts.layout;
        let _not_there = std::fs::remove_file(&layout.reached_by);
        let _not_there = std::fs::remove_dir_all(&layout.home);
    }

    /// Waits until the node serves one of some releases.
    pub(crate) async fn serves_one_of(&self, wanted: &[Option<Digest>]) -> bool {
        let end = Instant::now() + Duration::from_secs(5);
        while !wanted.contains(&self.served()) {
            if Instant::now() > end {
                return false;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        true
    }

    /// Returns the release that the link names.
    pub(crate) fn linked(&self) -> Option<Digest> {
        let target = std::fs::read_link(self.facts.layout.current(Extension::Conf)).ok()?;
        target.file_stem()?.to_str()?.parse().ok()
    }

    /// Makes sure that every object on the node has the bytes that its name tells of.
    pub(crate) fn assert_whole(&self) {
        let Ok(entries) = std::fs::read_dir(self.facts.layout.objects()) else { return };
        for entry in entries {
            let entry = entry.unwrap();
            let name = entry.file_name().into_string().unwrap();
            if name.starts_with('.') {
                continue;
            }
            let bytes = std::fs::read(entry.path()).unwrap();
            assert!(name.starts_with(&Digest::of(&bytes).to_string()), "{name} is half written");
        }
    }
}

impl Drop for Bed {
    fn drop(&mut self) {
        let pid = i32::try_from(self.nginx.id()).unwrap();
        let pid = rustix::process::Pid::from_raw(pid).unwrap();
        let _gone = rustix::process::kill_process(pid, rustix::process::Signal::TERM);
        let _ended = self.nginx.wait();
    }
}

pub(crate) fn owner(fence: u64) -> Owner {
    let (installation, node) = (Uuid::from_u128(1), Uuid::from_u128(2));
    Owner { installation, node, manager: "box".to_owned(), fence }
}

fn free() -> u16 {
    TcpListener::bind(("127.0.0.1", 0)).unwrap().local_addr().unwrap().port()
}

fn top_level(root: &Utf8Path) -> String {
    format!(
        "pid {root}/nginx.pid;\nerror_log {root}/error.log;\nworker_processes 3;\n\
         events {{ worker_connections 64; }}\n\
         http {{\n  access_log off;\n  client_body_temp_path {root}/tmp;\n  proxy_temp_path {root}/tmp;\n\
         \x20 fastcgi_temp_path {root}/tmp;\n  uwsgi_temp_path {root}/tmp;\n  scgi_temp_path {root}/tmp;\n\
         \x20 include {root}/conf.d/*.conf;\n}}\n"
    )
}

/// What a deployment wrote down.
#[derive(Clone, Debug, Default)]
pub(crate) struct Notes {
    pub(crate) stages: Arc<Mutex<Vec<Stage>>>,
    pub(crate) steps: Arc<Mutex<Vec<StepRecord>>>,
    /// From this stage on nothing can be written down.
    pub(crate) broken_at: Option<Stage>,
}

impl Journal for Notes {
    async fn enter(&self, stage: Stage) -> Result<(), JournalError> {
        if self.broken_at.is_some_and(|at| stage >= at) {
            return Err(JournalError("the database is gone".to_owned()));
        }
        self.stages.lock().unwrap().push(stage);
        Ok(())
    }

    fn step(&self, step: StepRecord) {
        self.steps.lock().unwrap().push(step);
    }
}

/// An engine that drives nginx and renders no sites: a release says its digest, and one word.
pub(crate) struct Tiny;

impl Tiny {
    fn release(word: &str, facts: &EngineFacts) -> Release {
        let text = format!("# {word}\n");
        let object = Arc::new(Object::text(Extension::Conf, text, Vec::new()));
        let (path, port) = (object.path(&facts.layout), facts.ports.probe);
        let broken = if word.starts_with("broken") { "no_such_directive;\n" } else { "" };
        // What passes nginx's own test and cannot be served: the port is taken when it is bound.
        let port = word.strip_prefix("port ").map_or(port, |port| port.parse().unwrap());
        Release::build(Extension::Conf, &[], [object], Vec::new(), |digest| {
            format!(
                "{broken}server {{\n  listen 127.0.0.1:{port};\n  location = /portway/digest {{\n    \
                 add_header portway-worker $pid;\n    return 200 \"{digest}\\n\";\n  }}\n}}\ninclude {path};\n"
            )
        })
    }
}

impl Engine for Tiny {
    fn name(&self) -> &'static str {
        "nginx"
    }

    fn oldest(&self) -> Version {
        Version::new(1, 22, 0)
    }

    fn support(&self, _: Setting, _: &EngineFacts) -> Support {
        Support::Exact
    }

    fn render_site(
        &self,
        _: &SitePolicy,
        _: &BTreeMap<Digest, CertificateObject>,
        _: &EngineFacts,
    ) -> Result<Rendered, RenderError> {
        panic!("no sites here")
    }

    fn render_node(
        &self,
        _: &[Arc<Rendered>],
        _: &NodeSettings,
        _: &BTreeMap<Digest, CertificateObject>,
        facts: &EngineFacts,
    ) -> Result<Release, RenderError> {
        Ok(Self::release("", facts))
    }

    fn candidate(
        &self,
        top_level: &TopLevel,
        release: &Release,
        facts: &EngineFacts,
    ) -> Result<Candidate, CandidateError> {
        let path = facts.layout.top_level.with_file_name("portway-test.conf");
        let all = format!("{}/*.conf", facts.layout.reached_by.parent().unwrap());
        let text = top_level.text.replace(&all, release.path(&facts.layout).as_str());
        Ok(Candidate { files: vec![CandidateFile { path, text, secrecy: Secrecy::Owner }] })
    }

    fn steps(&self, candidate: Candidate, release: &Release, facts: &EngineFacts) -> Steps {
        let root = facts.layout.top_level.parent().unwrap().to_string();
        let command = |words: &[&str]| Command {
            argv: words.iter().map(|word| (*word).to_owned()).collect(),
            rights: Rights::Login,
            deadline: Duration::from_secs(10),
        };
        let test = facts.layout.top_level.with_file_name("portway-test.conf");
        let top_level = &facts.layout.top_level;
        Steps {
            test: Test::Command {
                files: candidate.files,
                command: command(&["nginx", "-t", "-q", "-p", &root, "-c", test.as_str()]),
            },
            activate: Link {
                link: release.current(&facts.layout),
                target: release.path(&facts.layout),
            },
            reload: Some(command(&[
                "nginx",
                "-s",
                "reload",
                "-p",
                &root,
                "-c",
                top_level.as_str(),
            ])),
            probe: self.probe(release.digest, facts),
        }
    }

    fn probe(&self, release: Digest, facts: &EngineFacts) -> Probe {
        Probe {
            port: facts.ports.probe,
            path: "/portway/digest".to_owned(),
            status: 200,
            answer: release.to_string(),
            header: None,
            workers: Nginx.probe(release, facts).workers,
            deadline: Duration::from_secs(2),
        }
    }

    fn read_test_output(&self, _: &str, _: &Release) -> Vec<Finding> {
        Vec::new()
    }
}
