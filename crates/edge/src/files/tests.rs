//! Tests of static files on a real file system. The clock of the shelf is ahead, so that files are
//! remembered that were only just written.

mod forms;
mod pages;
mod remembered;

use std::{
    fs,
    io::Write,
    os::unix::fs::{PermissionsExt, symlink},
    time::{Duration, SystemTime},
};

use camino::{Utf8Path, Utf8PathBuf};
use http::{Request, StatusCode};
use http_body::Body as HttpBody;
use http_body_util::BodyExt;

use super::*;
use crate::body::BodyError;

struct Site {
    root: Arc<FileRoot>,
    shelf: Shelf,
    folder: Utf8PathBuf,
    _temporary: tempfile::TempDir,
}

#[tokio::test]
async fn a_file_comes_with_everything_a_browser_needs() {
    let site = Site::new(&[("a/page.html", "<p>hi")]);
    let response = site.get("/a/page.html").await.unwrap();
    assert_eq!(response.status(), StatusCode::OK);
    assert_eq!(header(&response, "content-type"), "text/html; charset=utf-8");
    assert_eq!(header(&response, "content-length"), "5");
    assert_eq!(header(&response, "x-content-type-options"), "nosniff");
    assert_eq!(header(&response, "cache-control"), "no-cache");
    assert_eq!(header(&response, "accept-ranges"), "bytes");
    assert!(header(&response, "last-modified").ends_with(" GMT"));
    assert!(header(&response, "etag").starts_with('"'));
    assert_eq!(text(response).await, "<p>hi");
}

#[tokio::test]
async fn a_folder_is_its_index_and_is_asked_for_with_its_slash() {
    let site = Site::new(&[("index.html", "top"), ("docs/index.htm", "docs"), ("empty/x", "")]);
    assert_eq!(text(site.get("/").await.unwrap()).await, "top");
    assert_eq!(text(site.get("/docs/").await.unwrap()).await, "docs");
    let request = request("GET", "/pub/docs?x=1&y=2", &[]);
    let response = serve(&site.shelf, &site.root, "/docs", "/pub/docs", &request).await.unwrap();
    assert_eq!(response.status(), StatusCode::MOVED_PERMANENTLY);
    assert_eq!(header(&response, "location"), "/pub/docs/?x=1&y=2");
    let response = serve(&site.shelf, &site.root, "/", "/pub", &request).await.unwrap();
    assert_eq!(header(&response, "location"), "/pub/?x=1&y=2");
    assert!(matches!(site.get("/empty/").await, Err(FileFault::NotFound)));
    assert!(matches!(site.get("/empty").await, Err(FileFault::NotFound)));
    assert!(matches!(site.get("/index.html/").await, Err(FileFault::NotFound)));
}

#[tokio::test]
async fn only_get_and_head_are_answered_and_head_has_no_body() {
    let site = Site::new(&[("a.txt", "hello")]);
    for method in ["POST", "PUT", "DELETE", "OPTIONS", "PATCH"] {
        let fault = site.ask(method, "/a.txt", &[]).await.unwrap_err();
        assert_eq!(fault.fault(), Fault::MethodNotAllowed { allow: "GET, HEAD" });
    }
    let get = site.get("/a.txt").await.unwrap();
    let head = site.ask("HEAD", "/a.txt", &[]).await.unwrap();
    assert_eq!(head.headers(), get.headers());
    assert!(head.body().is_end_stream());
}

#[tokio::test]
async fn what_is_hidden_missing_forbidden_or_outside_looks_the_same() {
    let site = Site::new(&[(".env", "secret"), (".git/config", "secret"), ("a/.x", "secret")]);
    fs::write(site.folder.join("../secret"), "secret").unwrap();
    symlink("../secret", site.folder.join("out")).unwrap();
    symlink("/etc/passwd", site.folder.join("absolute")).unwrap();
    let mode = rustix::fs::Mode::RUSR | rustix::fs::Mode::WUSR;
    rustix::fs::mkfifoat(rustix::fs::CWD, site.folder.join("pipe").as_std_path(), mode).unwrap();
    symlink("/dev/zero", site.folder.join("device")).unwrap();
    let _socket = std::os::unix::net::UnixListener::bind(site.folder.join("socket")).unwrap();
    fs::write(site.folder.join("closed"), "secret").unwrap();
    fs::set_permissions(site.folder.join("closed"), fs::Permissions::from_mode(0o000)).unwrap();
    let long = format!("/{}", "x".repeat(5000));
    let mut paths = vec![
        "/.env",
        "/.git/config",
        "/a/.x",
        "/out",
        "/absolute",
        "/pipe",
        "/device",
        "/socket",
        "/missing",
        "/../secret",
        "/a/../../secret",
        "/a\0b",
        &long,
    ];
    if !rustix::process::geteuid().is_root() {
        paths.push("/closed");
    }
    for path in paths {
        let parts = request("GET", "/x", &[]);
        let fault = serve(&site.shelf, &site.root, path, "/x", &parts).await.unwrap_err();
        assert!(matches!(fault, FileFault::NotFound), "{path}: {fault:?}");
        assert_eq!(fault.fault(), Fault::NoFile);
    }
}

#[tokio::test]
async fn well_known_files_and_links_within_the_root_are_served() {
    let site = Site::new(&[(".well-known/security.txt", "mail us"), ("v2/a.txt", "two")]);
    symlink("v2", site.folder.join("current")).unwrap();
    assert_eq!(text(site.get("/.well-known/security.txt").await.unwrap()).await, "mail us");
    assert_eq!(text(site.get("/current/a.txt").await.unwrap()).await, "two");
}

#[tokio::test]
async fn a_root_that_is_gone_is_said_to_the_operator_only() {
    let mut site = Site::new(&[]);
    site.edit(|root| root.root = root.root.join("gone"));
    let fault = site.get("/").await.unwrap_err();
    assert!(fault.to_string().contains("gone"), "{fault}");
    assert_eq!(fault.fault(), Fault::NoFile);
}

#[tokio::test]
async fn an_edit_shows_at_once_and_changes_the_validator() {
    let site = Site::new(&[("a.txt", "one")]);
    let first = site.get("/a.txt").await.unwrap();
    let tag = header(&first, "etag").to_owned();
    let condition = [("if-none-match", tag.as_str())];
    let same = site.ask("GET", "/a.txt", &condition).await.unwrap();
    assert_eq!(same.status(), StatusCode::NOT_MODIFIED);
    assert_eq!(header(&same, "etag"), tag);
    assert!(!same.headers().contains_key("content-type"));
    assert!(same.body().is_end_stream());
    // Another inode: as editors and deployments replace files.
    fs::write(site.folder.join("new"), "two").unwrap();
    fs::rename(site.folder.join("new"), site.folder.join("a.txt")).unwrap();
    let changed = site.ask("GET", "/a.txt", &condition).await.unwrap();
    assert_ne!(header(&changed, "etag"), tag);
    assert_eq!(text(changed).await, "two");
}

#[tokio::test]
async fn ranges_give_the_bytes_they_name() {
    let content: String = ('a'..='z').collect();
    let site = Site::new(&[("a.txt", &content)]);
    let response = site.ask("GET", "/a.txt", &[("range", "bytes=2-4")]).await.unwrap();
    assert_eq!(response.status(), StatusCode::PARTIAL_CONTENT);
    assert_eq!(header(&response, "content-range"), "bytes 2-4/26");
    assert_eq!(header(&response, "content-length"), "3");
    assert_eq!(text(response).await, "cde");

    let response = site.ask("GET", "/a.txt", &[("range", "bytes=26-")]).await.unwrap();
    assert_eq!(response.status(), StatusCode::RANGE_NOT_SATISFIABLE);
    assert_eq!(header(&response, "content-range"), "bytes */26");

    let response = site.ask("GET", "/a.txt", &[("range", "bytes=0-1,-2")]).await.unwrap();
    assert_eq!(response.status(), StatusCode::PARTIAL_CONTENT);
    let media = header(&response, "content-type").to_owned();
    let boundary = media.strip_prefix("multipart/byteranges; boundary=").unwrap();
    let length: usize = header(&response, "content-length").parse().unwrap();
    let body = text(response).await;
    assert_eq!(body.len(), length);
    let part = |range: &str, text: &str| {
        format!(
            "--{boundary}\r\nContent-Type: text/plain; charset=utf-8\r\n\
             Content-Range: bytes {range}/26\r\n\r\n{text}\r\n"
        )
    };
    assert_eq!(body, format!("{}{}--{boundary}--\r\n", part("0-1", "ab"), part("24-25", "yz")));
}

#[tokio::test]
async fn a_large_file_is_streamed_in_chunks() {
    let numbers: Vec<String> = (0..200_000).map(|n: u32| format!("{:04}", n % 10_000)).collect();
    let content = numbers.concat();
    let site = Site::new(&[("big.txt", &content)]);
    let mut response = site.get("/big.txt").await.unwrap();
    assert_eq!(response.body().size_hint().exact(), Some(800_000));
    let mut received = Vec::new();
    while let Some(frame) = response.body_mut().frame().await {
        let data = frame.unwrap().into_data().unwrap();
        assert!(data.len() <= 64 * 1024);
        received.extend_from_slice(&data);
    }
    assert!(received == content.as_bytes());
    let response = site.ask("GET", "/big.txt", &[("range", "bytes=65530-131080")]).await.unwrap();
    assert!(text(response).await.as_bytes() == &content.as_bytes()[65_530..=131_080]);
}

#[tokio::test]
async fn a_file_that_shrinks_while_it_is_sent_breaks_off() {
    let site = Site::new(&[("big.txt", &"x".repeat(300_000))]);
    let mut response = site.get("/big.txt").await.unwrap();
    response.body_mut().frame().await.unwrap().unwrap();
    let file = fs::File::options().write(true).open(site.folder.join("big.txt")).unwrap();
    file.set_len(100_000).unwrap();
    let error = response.into_body().collect().await.unwrap_err();
    assert!(matches!(error, BodyError::Truncated));
}

#[tokio::test]
async fn a_file_that_grows_while_it_is_sent_keeps_the_promised_length() {
    let site = Site::new(&[("big.txt", &"x".repeat(100_000))]);
    let response = site.get("/big.txt").await.unwrap();
    let mut file = fs::File::options().append(true).open(site.folder.join("big.txt")).unwrap();
    file.write_all(&[b'y'; 1000]).unwrap();
    assert_eq!(text(response).await.len(), 100_000);
}

impl Site {
    fn new(files: &[(&str, &str)]) -> Self {
        let temporary = tempfile::tempdir().unwrap();
        let folder = Utf8Path::from_path(temporary.path()).unwrap().join("root");
        fs::create_dir(&folder).unwrap();
        let root = FileRoot {
            index: vec!["index.html".to_owned(), "index.htm".to_owned()],
            ..FileRoot::of(folder.clone())
        };
        let site = Self {
            root: Arc::new(root),
            shelf: Shelf::with_clock(ahead),
            folder,
            _temporary: temporary,
        };
        for (path, content) in files {
            site.write(path, content);
        }
        site
    }

    fn write(&self, path: &str, content: &str) {
        let path = self.folder.join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, content).unwrap();
    }

    fn age(&self, path: &str, modified: SystemTime) {
        let file = fs::File::options().write(true).open(self.folder.join(path)).unwrap();
        file.set_modified(modified).unwrap();
    }

    fn is_remembered(&self, path: &str) -> bool {
        self.shelf.remembers(&self.root, path)
    }

    fn edit(&mut self, edit: impl FnOnce(&mut FileRoot)) {
        edit(Arc::make_mut(&mut self.root));
    }

    async fn get(&self, path: &str) -> Result<Response<Body>, FileFault> {
        self.ask("GET", path, &[]).await
    }

    async fn ask(
        &self,
        method: &str,
        path: &str,
        headers: &[(&str, &str)],
    ) -> Result<Response<Body>, FileFault> {
        serve(&self.shelf, &self.root, path, path, &request(method, path, headers)).await
    }
}

fn now() -> SystemTime {
    jiff::Timestamp::now().into()
}

fn ahead() -> SystemTime {
    now() + Duration::from_secs(3600)
}

fn request(method: &str, uri: &str, headers: &[(&str, &str)]) -> Parts {
    let mut request = Request::builder().method(method).uri(uri);
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    request.body(()).unwrap().into_parts().0
}

fn header<'a>(response: &'a Response<Body>, name: &str) -> &'a str {
    response.headers().get(name).map_or("", |value| value.to_str().unwrap())
}

async fn text(response: Response<Body>) -> String {
    let bytes = response.into_body().collect().await.unwrap().to_bytes();
    String::from_utf8(bytes.to_vec()).unwrap()
}
