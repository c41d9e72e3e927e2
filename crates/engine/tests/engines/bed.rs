//! What stands behind and around an engine under test: applications, files, a certificate, ports.

use std::{collections::BTreeMap, fs, net::SocketAddr, path::Path, time::Duration};

use camino::{Utf8Path, Utf8PathBuf};
use portway_policy::CertificateObject;
use portway_testkit::{
    ca::TestCa,
    origin::{Origin, Speaks},
};
use tokio::time::Instant;

/// How long a condition is waited for.
pub(crate) const PATIENCE: Duration = Duration::from_secs(20);

/// What stands behind and around an engine under test.
pub(crate) struct Bed {
    pub(crate) ca: TestCa,
    pub(crate) certificate: CertificateObject,
    folder: tempfile::TempDir,
    plain: Origin,
    h2c: Origin,
    one: Origin,
    two: Origin,
    sick: Origin,
    _unix: Origin,
    tls: Origin,
}

/// Where an engine under test listens.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Doors {
    pub(crate) http: SocketAddr,
    pub(crate) https: SocketAddr,
}

impl Bed {
    pub(crate) async fn start(files: &BTreeMap<String, String>, names: &[&str]) -> Self {
        // Some engines list nothing below a folder whose name begins with a dot.
        let folder = tempfile::Builder::new().prefix("bed").tempdir().unwrap();
        for (name, text) in files {
            write(&folder.path().join("files").join(name), text);
        }
        let ca = TestCa::new().unwrap();
        let issued = ca.issue(names).unwrap();
        let certificate =
            CertificateObject { chain_pem: issued.chain_pem, key_pem: issued.key_pem };
        let tls = ca.server("app.internal", &["http/1.1"]).unwrap();
        Self {
            certificate,
            plain: Origin::tcp(Speaks::Http1).await.unwrap(),
            h2c: Origin::tcp(Speaks::H2c).await.unwrap(),
            one: Origin::named("one").await.unwrap(),
            two: Origin::named("two").await.unwrap(),
            sick: Origin::failing(503).await.unwrap(),
            _unix: Origin::unix(&folder.path().join("app.sock")).unwrap(),
            tls: Origin::tcp(Speaks::Tls(tls)).await.unwrap(),
            folder,
            ca,
        }
    }

    pub(crate) fn folder(&self) -> &Utf8Path {
        Utf8Path::from_path(self.folder.path()).unwrap()
    }

    /// Writes in what a site speaks of: `@plain`, `@h2c`, `@tls`, `@one`, `@two` and `@sick` are ports, `@socket`
    /// and `@files` paths, `@ca` an authority.
    pub(crate) fn fill(&self, text: &str) -> String {
        let port = |origin: &Origin| origin.address().unwrap().port().to_string();
        let pem = serde_json::to_string(&self.ca.root_pem()).unwrap();
        text.replace("@plain", &port(&self.plain))
            .replace("@h2c", &port(&self.h2c))
            .replace("@tls", &port(&self.tls))
            .replace("@one", &port(&self.one))
            .replace("@two", &port(&self.two))
            .replace("@sick", &port(&self.sick))
            .replace("@socket", self.folder().join("app.sock").as_str())
            .replace("@files", self.folder().join("files").as_str())
            .replace("\"@ca\"", &pem)
    }
}

fn write(path: &Path, text: &str) {
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    match text.strip_prefix("-> ") {
        Some(target) => std::os::unix::fs::symlink(target, path).unwrap(),
        None => fs::write(path, text).unwrap(),
    }
}

/// Returns a port that nobody has.
pub(crate) fn free_port() -> u16 {
    std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

/// Waits until a condition gives a value.
pub(crate) async fn eventually<T>(what: &str, mut condition: impl AsyncFnMut() -> Option<T>) -> T {
    let deadline = Instant::now() + PATIENCE;
    loop {
        if let Some(value) = condition().await {
            return value;
        }
        assert!(Instant::now() < deadline, "waited in vain for {what}");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

/// Writes a file, its folders too.
pub(crate) fn put(path: &Utf8PathBuf, bytes: &[u8]) {
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(path, bytes).unwrap();
}
