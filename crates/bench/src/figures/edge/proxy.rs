//! Portway and its peers, each with one worker, doing the same work: they find the host, pass a
//! request on over kept connections with who asks, serve files, and log each request.

use std::{
    fmt::Write as _,
    fs::{self, File},
    net::{Ipv4Addr, TcpStream},
    path::Path,
    process::Stdio,
    time::Duration,
};

use anyhow::Context as _;
use portway_wire::site::NewSite;
use rustix::process::Signal;
use serde_json::json;
use tempfile::TempDir;
use tokio::{
    process::{Child, Command},
    time::Instant,
};
use uuid::Uuid;

use super::{Options, Row, load};
use crate::{
    figures::Settings,
    peer::Kind,
    ports,
    portway::Portway,
    process::{self, EVERY},
    report::say,
};

/// How long a server may take to start.
const STARTING: Duration = Duration::from_secs(20);

/// Everything that runs while something is measured.
pub(super) struct Bed {
    /// The proxies.
    pub(super) proxies: Vec<Proxy>,
    portway: Portway,
    servers: Vec<Server>,
    _folder: TempDir,
}

/// A proxy that runs.
#[derive(Debug)]
pub(super) struct Proxy {
    /// Its name, as its makers write it.
    pub(super) name: &'static str,
    /// The process that does the work, or whose children do.
    pub(super) pid: u32,
    /// The port of HTTP.
    pub(super) http: u16,
    /// The port of HTTPS.
    pub(super) https: u16,
}

impl Proxy {
    /// Tells whether it can do what a row measures.
    pub(super) fn can(&self, row: Row) -> bool {
        let files = matches!(row, Row::File | Row::LargeFile);
        let kept = matches!(row, Row::Kept | Row::LargeKept);
        // HAProxy's cache keeps nothing without a time of the answer's own.
        !((files || kept) && self.name == Kind::Haproxy.name()
            || kept && self.name == Kind::Caddy.name())
    }
}

/// A server that was started here and ends with this.
struct Server(Child);

/// Where things are.
struct Places<'a> {
    folder: &'a Path,
    http: u16,
    https: u16,
    origin: u16,
    workers: usize,
}

impl Bed {
    /// Starts everything, each proxy with as many workers on as many cores.
    pub(super) async fn start(
        settings: &Settings,
        options: &Options,
        workers: usize,
    ) -> anyhow::Result<Self> {
        let folder = tempfile::Builder::new().prefix("portway-bench-edge-").tempdir()?;
        write_content(folder.path())?;
        let core = if workers == 1 { "0" } else { "0,1" };
        let nginx = options.peers.nginx.as_deref();
        let nginx = nginx.context("this figure needs nginx, which answers behind the proxies")?;
        let origin = ports::take()?;
        let mut servers = vec![start_origin(nginx, folder.path(), origin).await?];
        let portway = Portway::start_on(&settings.program, core).await?;
        declare(&portway, folder.path(), origin).await?;
        let mut proxies = vec![Proxy {
            name: "Portway",
            pid: portway.edge_pid()?,
            http: portway.http_port(),
            https: portway.https_port(),
        }];
        for (kind, program) in options.peers.found() {
            let home = folder.path().join(kind.name());
            fs::create_dir(&home)?;
            let (http, https) = (ports::take()?, ports::take()?);
            let places = Places { folder: folder.path(), http, https, origin, workers };
            fs::write(home.join("config"), configuration(kind, &places)?)?;
            let server = start(program, &starting(kind), &home, core)?;
            until_open(http, &home).await?;
            let pid = server.0.id().context("it has ended by itself")?;
            servers.push(server);
            proxies.push(Proxy { name: kind.name(), pid, http, https });
        }
        Ok(Self { proxies, portway, servers, _folder: folder })
    }

    /// Ends everything.
    pub(super) async fn stop(mut self) -> anyhow::Result<()> {
        self.portway.stop().await?;
        for mut server in self.servers {
            let pid = server.0.id().context("a server has ended by itself")?;
            process::signal(pid, Signal::TERM)?;
            tokio::time::timeout(STARTING, server.0.wait()).await??;
        }
        Ok(())
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // It ends its workers itself, which a kill would not let it do.
        let Some(pid) = self.0.id() else { return };
        if let Err(error) = process::signal(pid, Signal::TERM) {
            say(&format!("process {pid} is left behind: {error:#}"));
        }
    }
}

/// Writes what is served, and a certificate for the peers: P-256, as Portway's own.
fn write_content(folder: &Path) -> anyhow::Result<()> {
    let files = folder.join("files");
    fs::create_dir(&files)?;
    for (name, size) in [("1k", 1 << 10), ("100k", 100 << 10), ("1m", 1 << 20)] {
        fs::write(files.join(name), "x".repeat(size))?;
    }
    let issued = rcgen::generate_simple_self_signed(["localhost".to_owned()])?;
    let (certificate, key) = (issued.cert.pem(), issued.signing_key.serialize_pem());
    fs::write(folder.join("key.pem"), &key)?;
    fs::write(folder.join("cert.pem"), &certificate)?;
    Ok(fs::write(folder.join("both.pem"), certificate + &key)?)
}

async fn start_origin(nginx: &Path, folder: &Path, port: u16) -> anyhow::Result<Server> {
    let home = folder.join("origin");
    fs::create_dir(&home)?;
    let files = folder.join("files");
    let text = nginx_begin(1)?
        + &format!(
            "access_log off; sendfile on; open_file_cache max=10;\n\
             server {{ listen 127.0.0.1:{port} backlog=4096; root {}; default_type text/plain; }} }}\n",
            files.display()
        );
    fs::write(home.join("config"), text)?;
    let server = start(nginx, &starting(Kind::Nginx), &home, load::CORE)?;
    until_open(port, &home).await?;
    Ok(server)
}

async fn declare(portway: &Portway, folder: &Path, origin: u16) -> anyhow::Result<()> {
    let spec = json!({
        "hosts": ["localhost"],
        "https": { "redirect": false },
        "routes": [
            { "path": "/files", "files": folder.join("files"), "strip_prefix": true },
            {
                "path": "/kept",
                "to": format!("127.0.0.1:{origin}"),
                "strip_prefix": true,
                "cache": "1h",
            },
            { "path": "/", "to": format!("127.0.0.1:{origin}") },
        ],
    });
    let client = portway.client()?;
    let new =
        NewSite { name: Some("bench".to_owned()), owner: None, spec, message: None, rollout: None };
    let view = client.create_site(&new, Uuid::now_v7()).await?;
    portway.wait(&client, view.summary.revision, STARTING).await
}

/// Starts a server in its folder on cores of its own.
fn start(program: &Path, arguments: &[&str], home: &Path, cores: &str) -> anyhow::Result<Server> {
    let log = File::create(home.join("output"))?;
    let mut command = Command::new("taskset");
    command.args(["-c", cores]).arg(program).args(arguments).current_dir(home);
    command.env("HOME", home).env("XDG_DATA_HOME", home);
    // Go counts the cores of the machine, not those it may use.
    command.env("GOMAXPROCS", cores.split(',').count().to_string());
    command.stdin(Stdio::null()).stdout(log.try_clone()?).stderr(log);
    let started = command.spawn();
    Ok(Server(started.with_context(|| format!("cannot start {}", program.display()))?))
}

async fn until_open(port: u16, home: &Path) -> anyhow::Result<()> {
    let deadline = Instant::now() + STARTING;
    while TcpStream::connect((Ipv4Addr::LOCALHOST, port)).is_err() {
        if Instant::now() >= deadline {
            let output = fs::read_to_string(home.join("output")).unwrap_or_default();
            anyhow::bail!("{} does not listen: {output}", home.display());
        }
        tokio::time::sleep(EVERY).await;
    }
    Ok(())
}

fn starting(kind: Kind) -> Vec<&'static str> {
    match kind {
        Kind::Nginx => vec!["-p", ".", "-c", "config"],
        Kind::Haproxy => vec!["-db", "-f", "config"],
        Kind::Caddy => vec!["run", "--adapter", "caddyfile", "--config", "config"],
    }
}

fn configuration(kind: Kind, places: &Places<'_>) -> anyhow::Result<String> {
    Ok(match kind {
        Kind::Nginx => nginx_begin(places.workers)? + &nginx(places),
        Kind::Haproxy => haproxy(places),
        Kind::Caddy => caddy(places),
    })
}

fn nginx_begin(workers: usize) -> anyhow::Result<String> {
    let mut text = String::new();
    writeln!(
        text,
        "daemon off;\nuser root;\nworker_processes {workers};\npid nginx.pid;\nerror_log log warn;\n\
         events {{ worker_connections 8192; }}\nhttp {{\nkeepalive_requests 1000000000;\n\
         client_body_temp_path body;\nproxy_temp_path proxy;\nfastcgi_temp_path fastcgi;\n\
         uwsgi_temp_path uwsgi;\nscgi_temp_path scgi;"
    )?;
    Ok(text)
}

fn nginx(places: &Places<'_>) -> String {
    let Places { folder, http, https, origin, .. } = places;
    let folder = folder.display();
    format!(
        "access_log access.log combined buffer=32k flush=1s;\nkeepalive_timeout 75;\n\
         proxy_cache_path kept levels=1:2 keys_zone=kept:10m use_temp_path=off;\n\
         upstream origin {{ server 127.0.0.1:{origin}; keepalive 64;\n\
         keepalive_requests 1000000000; }}\n\
         server {{ listen 127.0.0.1:{http} backlog=4096 reuseport;\n\
         listen 127.0.0.1:{https} ssl http2 backlog=4096 reuseport;\n\
         server_name localhost; default_type text/plain;\n\
         ssl_certificate {folder}/cert.pem; ssl_certificate_key {folder}/key.pem;\n\
         ssl_protocols TLSv1.2 TLSv1.3; ssl_session_cache shared:tls:1m;\n\
         location /files/ {{ root {folder}; sendfile on; tcp_nopush on; }}\n\
         location /kept/ {{ proxy_pass http://origin/; proxy_http_version 1.1;\n\
         sendfile on; tcp_nopush on; proxy_cache kept; proxy_cache_valid 200 1h;\n\
         proxy_set_header Connection \"\"; proxy_set_header Host $host; }}\n\
         location / {{ proxy_pass http://origin; proxy_http_version 1.1;\n\
         proxy_set_header Connection \"\"; proxy_set_header Host $host;\n\
         proxy_set_header X-Forwarded-For $remote_addr;\n\
         proxy_set_header X-Forwarded-Proto $scheme;\n\
         proxy_set_header X-Request-Id $request_id; }} }} }}\n"
    )
}

fn haproxy(places: &Places<'_>) -> String {
    let Places { folder, http, https, origin, workers } = places;
    let folder = folder.display();
    format!(
        "global\n nbthread {workers}\n maxconn 8000\n log stdout format raw local0\n\
         defaults\n mode http\n log global\n option httplog\n option forwardfor\n \
         timeout connect 5s\n timeout client 75s\n timeout server 60s\n\
         frontend web\n bind 127.0.0.1:{http}\n \
         bind 127.0.0.1:{https} ssl crt {folder}/both.pem alpn h2,http/1.1\n \
         http-request set-header X-Forwarded-Proto %[ssl_fc,iif(https,http)]\n \
         unique-id-format %[uuid()]\n unique-id-header X-Request-Id\n \
         use_backend origin if {{ hdr(host) -m beg -i localhost }}\n\
         backend origin\n http-reuse always\n server one 127.0.0.1:{origin}\n"
    )
}

fn caddy(places: &Places<'_>) -> String {
    let Places { folder, http, https, origin, .. } = places;
    let folder = folder.display();
    let site = format!(
        "log {{\noutput file access.log\n}}\nhandle_path /files/* {{\nroot * {folder}/files\n\
         file_server\n}}\nhandle {{\nreverse_proxy 127.0.0.1:{origin}\n}}"
    );
    format!(
        "{{\nadmin off\nauto_https off\npersist_config off\nmetrics\n}}\n\
         http://localhost:{http} {{\n{site}\n}}\n\
         https://localhost:{https} {{\ntls {folder}/cert.pem {folder}/key.pem\n{site}\n}}\n"
    )
}
