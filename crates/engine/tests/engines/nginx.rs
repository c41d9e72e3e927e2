//! Real nginx, without rights, in a folder of its own.

use std::{collections::BTreeMap, fs, process::Stdio, sync::Arc};

use camino::{Utf8Path, Utf8PathBuf};
use portway_engine::{
    Engine, EngineFacts, Layout, Ports, Release, Rendered, Test, TopLevel,
    nginx::{Nginx, usual_facts},
};
use portway_model::Location;
use portway_policy::NodeSettings;
use portway_telemetry::access::AccessRecord;
use tokio::process::{Child, Command};

use crate::{
    bed::{Bed, Doors, eventually, free_port, put},
    cases,
    client::ask_by_http2,
    edge::TestEdge,
    suite::{Node, compare},
};

const PROGRAM: &str = "/usr/sbin/nginx";

/// A machine with nginx.
pub(crate) struct Machine {
    pub(crate) facts: EngineFacts,
    folder: Utf8PathBuf,
}

impl Machine {
    pub(crate) async fn new(folder: &Utf8Path) -> Self {
        let build = Command::new(PROGRAM).arg("-v").output().await.unwrap();
        let said = String::from_utf8_lossy(&build.stderr).into_owned();
        let version = said.split("nginx/").nth(1).unwrap_or(&said).parse().unwrap();
        let folder = folder.join("nginx");
        let facts = EngineFacts {
            version,
            layout: Layout {
                home: folder.join("home"),
                logs: folder.join("logs"),
                top_level: folder.join("etc/nginx.conf"),
                reached_by: folder.join("etc/conf.d/portway.conf"),
                copy: None,
                program: PROGRAM.into(),
                authorities: "/etc/ssl/certs/ca-certificates.crt".into(),
            },
            ports: Ports {
                addresses: vec!["127.0.0.1".parse().unwrap()],
                http: free_port(),
                https: free_port(),
                probe: free_port(),
            },
            ..usual_facts()
        };
        let machine = Self { facts, folder };
        put(&machine.facts.layout.top_level, machine.top_level().as_bytes());
        fs::create_dir_all(machine.folder.join("etc/conf.d")).unwrap();
        machine
    }

    fn top_level(&self) -> String {
        let folder = &self.folder;
        let temporary = ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"]
            .map(|name| format!("{name}_temp_path {folder}/{name};\n"))
            .concat();
        format!(
            "daemon off; master_process off; pid {folder}/nginx.pid;\n\
             error_log {folder}/error.log info;\nevents {{ worker_connections 256; }}\n\
             http {{\n{temporary}access_log off;\nerror_page 404 /machine-404;\n\
             satisfy any; underscores_in_headers on; expires 1d; charset latin1; add_header X-Machine yes;\ninclude conf.d/*.conf;\n}}\n"
        )
    }

    pub(crate) fn release(&self, sites: &[Arc<Rendered>], settings: &NodeSettings) -> Release {
        Nginx.render_node(sites, settings, &BTreeMap::new(), &self.facts).unwrap()
    }

    /// Puts a release where it belongs, with its folders.
    pub(crate) fn stage(&self, release: &Release) {
        let layout = &self.facts.layout;
        for object in release.objects.values() {
            put(&object.path(layout), object.bytes());
        }
        put(&release.path(layout), release.entry.bytes());
        for folder in &release.folders {
            fs::create_dir_all(folder).unwrap();
        }
    }

    /// Runs nginx's own test of a release as it is deployed.
    pub(crate) async fn test(&self, release: &Release) -> (bool, String) {
        let layout = &self.facts.layout;
        let text = fs::read_to_string(&layout.top_level).unwrap();
        let beside = fs::read_dir(layout.reached_by.parent().unwrap()).unwrap();
        let beside = beside.map(|entry| Utf8PathBuf::from_path_buf(entry.unwrap().path()).unwrap());
        let top_level = TopLevel { text, beside: beside.collect() };
        let candidate = Nginx.candidate(&top_level, release, &self.facts).unwrap();
        let steps = Nginx.steps(candidate, release, &self.facts);
        let Test::Command { files, command } = steps.test else { panic!("nginx has a test") };
        for file in &files {
            put(&file.path, file.text.as_bytes());
        }
        let mut run = Command::new(&command.argv[0]);
        let output = run.args(&command.argv[1..]).output().await.unwrap();
        (output.status.success(), String::from_utf8_lossy(&output.stderr).into_owned())
    }

    /// Makes a release the one that counts.
    pub(crate) fn activate(&self, release: &Release) {
        let layout = &self.facts.layout;
        let current = release.current(layout);
        std::os::unix::fs::symlink(release.path(layout), &current).unwrap();
        std::os::unix::fs::symlink(current, &layout.reached_by).unwrap();
    }

    /// Starts nginx and waits until it serves the release.
    pub(crate) async fn start(&self, release: &Release) -> Child {
        let child = Command::new(PROGRAM)
            .args(["-c", self.facts.layout.top_level.as_str(), "-p", self.folder.as_str()])
            .args(["-e", self.folder.join("error.log").as_str()])
            .stdin(Stdio::null())
            .stderr(Stdio::null())
            .kill_on_drop(true)
            .spawn()
            .unwrap();
        let probe = Nginx.probe(release.digest, &self.facts);
        let address = std::net::SocketAddr::from(([127, 0, 0, 1], probe.port));
        let url = format!("GET {} HTTP/1.0\r\n\r\n", probe.path);
        eventually("the probe", async || {
            use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
            let mut stream = tokio::net::TcpStream::connect(address).await.ok()?;
            stream.write_all(url.as_bytes()).await.ok()?;
            let mut answer = String::new();
            stream.read_to_string(&mut answer).await.ok()?;
            answer.trim_end().ends_with(&probe.answer).then_some(())
        })
        .await;
        child
    }
}

impl Node for Machine {
    fn engine(&self) -> &'static dyn Engine {
        &Nginx
    }

    fn facts(&self) -> &EngineFacts {
        &self.facts
    }

    async fn objections(&self, release: &Release) -> Option<String> {
        self.stage(release);
        let (sound, said) = self.test(release).await;
        (!sound).then_some(said)
    }

    async fn serve(&self, release: &Release) -> Child {
        self.activate(release);
        self.start(release).await
    }

    fn doors(&self) -> Doors {
        let at = |port| std::net::SocketAddr::from(([127, 0, 0, 1], port));
        Doors { http: at(self.facts.ports.http), https: at(self.facts.ports.https) }
    }

    fn log(&self) -> String {
        fs::read_to_string(self.folder.join("error.log")).unwrap_or_default()
    }
}

#[tokio::test]
async fn nginx_answers_as_the_edge_does_or_says_how_not() {
    compare(async |folder: &Utf8Path| Some(Machine::new(folder).await)).await;
}

fn rendered(machine: &Machine, name: &str, spec: &str) -> Arc<Rendered> {
    let policy = cases::policy(name, spec, &portway_policy::CompileInput::default());
    Arc::new(Nginx.render_site(&policy, &BTreeMap::new(), &machine.facts).unwrap())
}

async fn machine() -> (Bed, Machine) {
    let bed = Bed::start(&BTreeMap::new(), &["a.example"]).await;
    let machine = Machine::new(bed.folder()).await;
    (bed, machine)
}

#[tokio::test]
async fn what_nginx_refuses_is_told_with_the_field_of_its_site() {
    let (_bed, machine) = machine().await;
    let sound = rendered(&machine, "sound", r#"{"hosts": ["a.example"], "to": "127.0.0.1:1"}"#);
    let spec = r#"{"hosts": ["b.example"], "to": ["127.0.0.1:1", "nobody.invalid:80"]}"#;
    let lost = rendered(&machine, "lost", spec);
    let release = machine.release(&[sound, lost], &NodeSettings::default());
    machine.stage(&release);
    let (passed, said) = machine.test(&release).await;
    assert!(!passed);
    let findings = Nginx.read_test_output(&said, &release);
    let error = findings.iter().find(|finding| finding.is_error()).unwrap();
    assert!(error.text.contains("nobody.invalid"), "{error:?}");
    let Location::Field { resource, path, .. } = &error.at else { panic!("{error:?}") };
    assert_eq!(resource.name, "lost");
    assert_eq!(path.to_string(), "routes[0].to.targets[1]");
}

#[tokio::test]
async fn of_two_sites_on_a_host_the_older_is_served() {
    let (_bed, machine) = machine().await;
    let spec = r#"{"hosts": ["a.example"], "to": "127.0.0.1:1"}"#;
    let sites = [rendered(&machine, "one", spec), rendered(&machine, "two", spec)];
    let older = sites.iter().min_by_key(|site| site.id).unwrap();
    let release = machine.release(&sites, &NodeSettings::default());
    assert_eq!(release.sites.iter().map(|site| site.id).collect::<Vec<_>>(), [older.id]);
    let [(held, findings)] = release.held.as_slice() else { panic!("{:?}", release.held) };
    assert_ne!(*held, older.id);
    assert!(findings[0].is_error() && findings[0].text.contains(older.name.as_str()));
}

#[tokio::test]
async fn the_test_reads_what_the_machine_has_and_not_what_runs() {
    let (_bed, machine) = machine().await;
    let layout = &machine.facts.layout;
    let others = ["aaa.conf", "zzz.conf", "not-read.txt"];
    for name in others {
        put(&layout.reached_by.with_file_name(name), b"server { listen 127.0.0.1:1; }\n");
    }
    put(&layout.reached_by, b"this is what runs, and it is broken\n");
    let release = machine.release(&[], &NodeSettings::default());
    machine.stage(&release);
    let (passed, said) = machine.test(&release).await;
    assert!(passed, "{said}");
    let copy = fs::read_to_string(layout.top_level.with_file_name("portway-test.conf")).unwrap();
    let place = |part: &str| copy.find(part);
    assert!(place("aaa.conf") < place(release.path(layout).as_str()));
    assert!(place(release.path(layout).as_str()) < place("zzz.conf"));
    assert_eq!((place("not-read.txt"), place("conf.d/portway.conf")), (None, None));
    put(&layout.reached_by.with_file_name("broken.conf"), b"nonsense;\n");
    assert!(!machine.test(&release).await.0, "the machine's own files are read too");
}

#[tokio::test]
async fn a_line_of_the_log_is_a_record_of_portway() {
    let (bed, machine) = machine().await;
    let odd = r#"{"hosts": ["a.example"], "https": false, "respond": {"body": "x"}}"#;
    let plain = r#"{"hosts": ["b.example"], "https": false, "respond": {"body": "x"},
        "log": {"format": "combined"}}"#;
    let sites = [rendered(&machine, "odd", odd), rendered(&machine, "plain", plain)];
    let release = machine.release(&sites, &NodeSettings::default());
    machine.stage(&release);
    machine.activate(&release);
    let mut nginx = machine.start(&release).await;
    for host in ["a.example", "b.example"] {
        let asked = serde_json::json!({"target": "/a%22b?q=\"1\"", "host": host,
            "headers": {"User-Agent": "a \"b\" \\ \u{1}ä", "Referer": "x"}});
        let asked = serde_json::from_value(asked).unwrap();
        assert_eq!(crate::client::ask(machine.doors(), &bed.ca, &asked).await.status, Some(200));
    }
    let files = release.folders.iter().map(|folder| folder.join("main.access.log"));
    let mut lines = Vec::new();
    for file in files {
        let read = async || fs::read_to_string(&file).ok().filter(|text| text.ends_with('\n'));
        lines.push(eventually("a line", read).await);
    }
    lines.sort();
    let [plain, odd] = lines.as_slice() else { panic!("{lines:?}") };
    let record: AccessRecord<'_> = serde_json::from_str(odd).unwrap();
    assert_eq!((record.status, record.host.as_ref()), (200, "a.example"));
    assert_eq!(record.user_agent.as_deref(), Some("a \"b\" \\ \u{1}ä"));
    assert_eq!(record.path.as_ref(), "/a%22b");
    assert!(record.duration_ms < 20_000.0);
    assert!(plain.starts_with("127.0.0.1 - - ["), "{plain}");
    nginx.kill().await.unwrap();
}

#[tokio::test]
async fn http2_is_answered_as_the_edge_answers_it() {
    let bed = Bed::start(&BTreeMap::new(), &["a.example", "b.example"]).await;
    let machine = Machine::new(bed.folder()).await;
    let main = r#"{"hosts": ["a.example"], "routes": [{"path": "/", "to": "@plain"},
        {"path": "/admin", "to": "@plain", "access": {"allow": []}}]}"#;
    let other = r#"{"hosts": ["b.example"], "https": false, "to": "@plain"}"#;
    let input = portway_policy::CompileInput {
        certificate: Some(bed.certificate.digest()),
        ..portway_policy::CompileInput::default()
    };
    let policies = [("main", main), ("other", other)]
        .map(|(name, spec)| cases::policy(name, &bed.fill(spec), &input));
    let certificates = [(bed.certificate.digest(), bed.certificate.clone())].into();
    let render = |site| Nginx.render_site(site, &certificates, &machine.facts).unwrap().into();
    let sites: Vec<Arc<Rendered>> = policies.iter().map(render).collect();
    let release = machine.release(&sites, &NodeSettings::default());
    machine.stage(&release);
    machine.activate(&release);
    let mut nginx = machine.start(&release).await;
    let edge = TestEdge::start(policies.into(), &NodeSettings::default(), &bed.certificate).await;
    let asked = [
        ("a.example", "/"),
        ("a.example", "/admin"),
        ("a.example", "/x/../admin/y"),
        ("a.example", "/x%2fadmin"),
        ("b.example", "/"),
    ];
    let by_edge = ask_by_http2(edge.doors(), &bed.ca, "a.example", &asked).await;
    assert_eq!(by_edge, [200, 403, 403, 400, 404]);
    let by_nginx = ask_by_http2(machine.doors(), &bed.ca, "a.example", &asked).await;
    assert_eq!(by_nginx, by_edge);
    edge.stop().await;
    nginx.kill().await.unwrap();
}
