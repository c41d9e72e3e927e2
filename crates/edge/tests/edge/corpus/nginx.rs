//! nginx as a peer: it is asked what the edge is asked.

use std::{
    net::{SocketAddr, TcpListener},
    path::Path,
    process::{Child, Command},
};

use crate::support::eventually;

/// A running nginx. It ends when it is dropped.
pub(super) struct Nginx {
    /// Where it listens.
    pub(super) address: SocketAddr,
    process: Child,
    _dir: tempfile::TempDir,
}

impl Nginx {
    /// Starts one with these lines of its `http` block and these of its only server. Returns nothing
    /// where it is not installed.
    pub(super) async fn start(http: &str, server: &str) -> Option<Self> {
        let program = ["/usr/sbin/nginx", "/usr/bin/nginx"]
            .into_iter()
            .find(|path| Path::new(path).exists())?;
        let dir = tempfile::tempdir().unwrap();
        let at = dir.path().display();
        let address = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        let temp: String = ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"]
            .map(|name| format!("{name}_temp_path {at}/{name};"))
            .concat();
        let config = format!(
            "daemon off; master_process off; worker_processes 1; pid {at}/pid; error_log {at}/error.log;
             events {{}} http {{ access_log off; {temp} {http} server {{ listen {address} default_server;
             {server} }} }}"
        );
        std::fs::write(dir.path().join("nginx.conf"), config).unwrap();
        let process = Command::new(program)
            .arg("-p")
            .arg(dir.path())
            .args(["-c", "nginx.conf", "-e", "error.log"])
            .spawn()
            .unwrap();
        let nginx = Self { address, process, _dir: dir };
        eventually("nginx to listen", || std::net::TcpStream::connect(address).ok()).await;
        Some(nginx)
    }
}

impl Drop for Nginx {
    fn drop(&mut self) {
        drop(self.process.kill());
        drop(self.process.wait());
    }
}
