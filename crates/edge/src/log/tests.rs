//! Tests of the logs on a real file system.

use std::{
    fs,
    os::unix::fs::PermissionsExt,
    time::{Duration, Instant},
};

use portway_model::{ByteSize, Seconds, site::LogFormat};
use portway_telemetry::access::{ErrorKind, ErrorLevel};

use super::*;

struct Fixture {
    logs: Logs,
    folder: Utf8PathBuf,
    _temporary: tempfile::TempDir,
}

#[test]
fn a_record_is_in_its_file_soon_without_being_asked_for() {
    let logs = Fixture::start();
    let log = site_log(LogSettings::default());
    logs.logs.access(&log, &access("one", 0));
    logs.logs.error(&log, &error("refused"));
    logs.logs.error(logs.logs.edge(), &error("handshake"));
    logs.wait_for("blog-1/main.access.log", |text| text.contains("\"request_id\":\"one\""));
    logs.wait_for("blog-1/main.error.log", |text| text.contains("refused"));
    logs.wait_for("_edge/main.error.log", |text| text.contains("handshake"));
    let mode = |path: &str| logs.folder.join(path).metadata().unwrap().permissions().mode() & 0o777;
    assert_eq!(mode("blog-1/main.access.log") & !0o640, 0);
    assert_eq!(mode("blog-1") & !0o750, 0);
}

#[test]
fn combined_lines_are_written_where_the_site_wants_them() {
    let logs = Fixture::start();
    let settings = LogSettings { format: LogFormat::Combined, ..LogSettings::default() };
    logs.logs.access(&site_log(settings), &access("one", 0));
    logs.logs.stop();
    let text = logs.read("blog-1/main.access.log");
    assert!(text.starts_with("192.0.2.7 - - [02/Jan/2026:03:04:05 +0000] \"GET /"), "{text}");
}

#[test]
fn a_site_that_logs_no_requests_still_logs_errors() {
    let logs = Fixture::start();
    let log = site_log(LogSettings { access: false, ..LogSettings::default() });
    logs.logs.access(&log, &access("one", 0));
    logs.logs.error(&log, &error("refused"));
    logs.logs.stop();
    assert!(!logs.folder.join("blog-1/main.access.log").exists());
    assert!(logs.read("blog-1/main.error.log").contains("refused"));
}

#[test]
fn a_full_file_is_put_aside_and_only_the_newest_are_kept() {
    let logs = Fixture::start();
    let settings = LogSettings { max_size: ByteSize(400), keep: 2, ..LogSettings::default() };
    let log = site_log(settings);
    for number in 0..9 {
        logs.logs.access(&log, &access(&format!("request-{number}"), number));
    }
    logs.logs.stop();
    let names = logs.names("blog-1");
    assert_eq!(names.len(), 3, "{names:?}");
    assert!(names.contains(&"main.access.2026-01-02T03-04-13Z.log".to_owned()), "{names:?}");
    assert!(logs.read("blog-1/main.access.log").contains("request-8"));
    for name in names {
        let text = logs.read(&format!("blog-1/{name}"));
        assert!(text.len() <= 400 && text.ends_with("}\n"), "{name}: {text}");
    }
}

#[test]
fn two_files_put_aside_in_one_second_are_both_kept() {
    let logs = Fixture::start();
    let log = site_log(LogSettings { max_size: ByteSize(1), ..LogSettings::default() });
    for number in 0..4 {
        logs.logs.access(&log, &access(&format!("request-{number}"), 0));
    }
    logs.logs.stop();
    assert_eq!(logs.names("blog-1").len(), 4);
}

#[test]
fn an_old_file_is_put_aside() {
    let logs = Fixture::start();
    let settings =
        LogSettings { max_age: Seconds(3600), max_size: ByteSize(0), ..LogSettings::default() };
    let log = site_log(settings);
    logs.logs.access(&log, &access("one", 0));
    logs.logs.access(&log, &access("two", 3599));
    logs.logs.access(&log, &access("three", 3600));
    logs.logs.stop();
    assert!(logs.read("blog-1/main.access.2026-01-02T04-04-05Z.log").contains("\"two\""));
    let current = logs.read("blog-1/main.access.log");
    assert!(current.contains("\"three\"") && !current.contains("\"two\""), "{current}");
}

#[test]
fn a_folder_that_is_removed_comes_back() {
    let logs = Fixture::start();
    let log = site_log(LogSettings::default());
    logs.logs.access(&log, &access("one", 0));
    logs.wait_for("blog-1/main.access.log", |text| text.contains("\"one\""));
    fs::remove_dir_all(&logs.folder).unwrap();
    logs.logs.access(&log, &access("two", 1));
    logs.wait_for("blog-1/main.access.log", |text| text.contains("\"two\""));
    assert_eq!(logs.lost(), 0);
}

#[test]
fn lines_that_no_file_can_take_are_counted_and_later_ones_are_written_again() {
    let logs = Fixture::start();
    let log = site_log(LogSettings::default());
    // A file in the place of the folder fails every write, as a full disk does.
    fs::write(logs.folder.join("blog-1"), "").unwrap();
    for _ in 0..3 {
        logs.logs.access(&log, &access("lost", 0));
    }
    wait_until("three lines are lost", || logs.lost() == 3);
    fs::remove_file(logs.folder.join("blog-1")).unwrap();
    logs.logs.access(&log, &access("kept", 1));
    logs.wait_for("blog-1/main.access.log", |text| text.contains("\"kept\""));
    assert_eq!(logs.lost(), 3);
}

#[test]
fn many_sites_do_not_mean_many_open_files() {
    let logs = Fixture::start();
    for site in 0..400 {
        let log = SiteLog::new(format!("s-{site}"), &name(), LogSettings::default());
        logs.logs.access(&Arc::new(log), &access("one", 0));
    }
    wait_until("all are written", || logs.folder.join("s-399/main.access.log").exists());
    let open = fs::read_dir("/proc/self/fd").unwrap().filter_map(|fd| {
        let target = fs::read_link(fd.ok()?.path()).ok()?;
        target.starts_with(&logs.folder).then_some(())
    });
    let open = open.count();
    assert!((1..=256).contains(&open), "{open} files are open");
    logs.logs.stop();
    assert!((0..400).all(|site| logs.read(&format!("s-{site}/main.access.log")).contains("one")));
    assert_eq!(logs.lost(), 0);
}

#[test]
fn a_writer_that_is_behind_is_stopped_without_losing_what_waits() {
    let temporary = tempfile::tempdir().unwrap();
    let folder = Utf8Path::from_path(temporary.path()).unwrap().to_owned();
    let queue = Queue::default();
    let log = site_log(LogSettings::default());
    for name in ["one\n", "two\n"] {
        assert!(queue.push(&log, Kind::Access, Timestamp::UNIX_EPOCH, name.as_bytes()));
    }
    queue.close();

    Writer::new(folder.clone(), Arc::default(), Arc::default()).run(&queue);

    let text = fs::read_to_string(folder.join("blog-1/main.access.log")).unwrap();
    assert_eq!(text, "one\ntwo\n");
}

#[test]
fn what_is_logged_after_the_end_is_counted_as_lost() {
    let logs = Fixture::start();
    logs.logs.stop();
    logs.logs.stop();
    logs.logs.access(&site_log(LogSettings::default()), &access("late", 0));
    assert_eq!(logs.lost(), 1);
}

impl Fixture {
    fn start() -> Self {
        let temporary = tempfile::tempdir().unwrap();
        let folder = Utf8Path::from_path(temporary.path()).unwrap().join("logs");
        let logs = Logs::start(&folder).unwrap();
        Self { logs, folder, _temporary: temporary }
    }

    fn read(&self, path: &str) -> String {
        fs::read_to_string(self.folder.join(path)).unwrap_or_default()
    }

    fn wait_for(&self, path: &str, is_there: impl Fn(&str) -> bool) {
        wait_until(path, || is_there(&self.read(path)));
    }

    fn names(&self, folder: &str) -> Vec<String> {
        let entries = self.folder.join(folder).read_dir_utf8().unwrap();
        entries.map(|entry| entry.unwrap().file_name().to_owned()).collect()
    }

    fn lost(&self) -> u64 {
        self.logs.dropped().load(Relaxed)
    }
}

impl Drop for Fixture {
    fn drop(&mut self) {
        self.logs.stop();
    }
}

fn wait_until(what: &str, is_so: impl Fn() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(10);
    while !is_so() {
        assert!(Instant::now() < deadline, "waited in vain: {what}");
        thread::yield_now();
    }
}

fn name() -> Name {
    "main".parse().unwrap()
}

fn site_log(settings: LogSettings) -> Arc<SiteLog> {
    Arc::new(SiteLog::new("blog-1", &name(), settings))
}

fn access(request_id: &str, seconds: i64) -> AccessRecord<'_> {
    AccessRecord {
        time: time(seconds),
        request_id: request_id.into(),
        client: "192.0.2.7".parse().unwrap(),
        method: "GET".into(),
        scheme: "https".into(),
        host: "blog.example".into(),
        path: "/".into(),
        query: None,
        protocol: "HTTP/1.1".into(),
        status: 200,
        bytes_in: 0,
        bytes_out: 5,
        duration_ms: 0.5,
        user: None,
        referer: None,
        user_agent: None,
        route: None,
        upstream: None,
        tries: None,
        side: None,
        cache: None,
        upstream_ms: None,
        tls: None,
        trace_id: None,
        way: None,
    }
}

fn error(message: &str) -> ErrorRecord {
    ErrorRecord {
        time: time(0),
        level: ErrorLevel::Warn,
        kind: ErrorKind::Refused,
        request_id: None,
        client: None,
        host: None,
        code: "bad_request".to_owned(),
        message: message.to_owned(),
    }
}

fn time(seconds: i64) -> Timestamp {
    let start: Timestamp = "2026-01-02T03:04:05Z".parse().unwrap();
    start + jiff::SignedDuration::from_secs(seconds)
}
