//! Where an engine writes its own log, as its own configuration says.

use camino::Utf8PathBuf;
use portway_model::EngineKind;

use crate::{
    caddy::words,
    nginx::{Directive, parse},
};

/// Where nginx's packages have it write.
const NGINX: &str = "/var/log/nginx/error.log";

/// Where an engine writes its own log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum OwnLog {
    /// A file.
    File(Utf8PathBuf),
    /// Its standard error, which the manager of services keeps.
    Journal,
}

/// Returns where an engine writes its own log; `top_level` is its own configuration.
pub fn own_log(engine: EngineKind, top_level: &str) -> OwnLog {
    let file = match engine {
        EngineKind::Nginx => return OwnLog::File(nginx(top_level).unwrap_or_else(|| NGINX.into())),
        EngineKind::Caddy => caddy(top_level),
        EngineKind::Traefik => traefik(top_level),
        EngineKind::Edge => None,
    };
    file.filter(|path| path.is_absolute()).map_or(OwnLog::Journal, OwnLog::File)
}

/// A log of the requests of all sites.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AccessLog {
    /// The file.
    pub path: Utf8PathBuf,
    /// Whether each line is JSON, which names the router.
    pub is_json: bool,
}

/// Returns where Traefik logs requests; nothing where it does not log them to a file.
pub fn access_log(top_level: &str) -> Option<AccessLog> {
    let path = traefik_value(top_level, "accessLog", "filePath").map(Utf8PathBuf::from)?;
    let is_json = traefik_value(top_level, "accessLog", "format") == Some("json");
    path.is_absolute().then_some(AccessLog { path, is_json })
}

/// The `error_log` of the whole nginx, or of all its sites.
fn nginx(text: &str) -> Option<Utf8PathBuf> {
    let directives = parse(text).ok()?;
    let path = |all: &[Directive]| {
        let mut words = all.iter().rev().map(|directive| directive.words.as_slice());
        words.find_map(|words| match words {
            [name, path, ..] if name == "error_log" && path.starts_with('/') => {
                Some(Utf8PathBuf::from(path))
            }
            _ => None,
        })
    };
    path(&directives).or_else(|| {
        let http = directives.iter().find(|it| it.words.first().is_some_and(|name| name == "http"));
        path(http?.block.as_deref()?)
    })
}

/// `log { output file PATH }` among the global options, which stand in the first block.
fn caddy(text: &str) -> Option<Utf8PathBuf> {
    let words = words(text)?;
    if words.first().is_none_or(|word| word != "{") {
        return None;
    }
    let mut depth = 0_usize;
    let mut in_log = false;
    for (at, word) in words.iter().enumerate() {
        match word.as_str() {
            "{" => depth += 1,
            "}" => depth = depth.saturating_sub(1),
            "log" if depth == 1 => in_log = true,
            "output" if in_log && depth == 2 => {
                let [kind, path] = words.get(at + 1..at + 3)? else { return None };
                return (kind == "file").then(|| Utf8PathBuf::from(path));
            }
            _ => {}
        }
        if depth == 0 {
            return None;
        }
        in_log &= depth > 1 || word == "log";
    }
    None
}

/// `filePath` below `log`.
fn traefik(text: &str) -> Option<Utf8PathBuf> {
    traefik_value(text, "log", "filePath").map(Utf8PathBuf::from)
}

/// Returns the value of a key below a section, in YAML or TOML, on lines of its own or within braces.
fn traefik_value<'a>(text: &'a str, section: &str, key: &str) -> Option<&'a str> {
    let mut is_in = false;
    for line in text.lines() {
        let bare = line.trim();
        let is_top = !line.starts_with([' ', '\t']);
        if is_top && !bare.is_empty() && !bare.starts_with('#') {
            let name = bare.trim_start_matches('[').split([':', ']', ' ', '=']).next();
            let is_key = bare.starts_with('[') || bare.contains(':');
            is_in = if is_key { name == Some(section) } else { is_in };
        }
        if is_in && let Some(value) = value_of(bare, key) {
            return Some(value);
        }
    }
    None
}

/// Returns the value that follows a key somewhere in a line.
fn value_of<'a>(line: &'a str, key: &str) -> Option<&'a str> {
    line.match_indices(key).find_map(|(at, _)| {
        let is_begun = line.get(..at)?.is_empty() || line.get(..at)?.ends_with([' ', '{', ',']);
        let rest = line.get(at + key.len()..)?.trim_start();
        let value = rest.strip_prefix([':', '=']).filter(|_| is_begun)?;
        let value = value.trim_start_matches([' ', '"', '\'']);
        let end = value.find(['"', '\'', ',', '}', ' ']).unwrap_or(value.len());
        value.get(..end)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(path: &str) -> OwnLog {
        OwnLog::File(Utf8PathBuf::from(path))
    }

    #[test]
    fn nginx_writes_where_its_configuration_says_or_where_packages_have_it() {
        let whole = "error_log /srv/e.log warn;\nhttp {\n  error_log /srv/http.log;\n}\n";
        assert_eq!(own_log(EngineKind::Nginx, whole), file("/srv/e.log"));
        let http = "http {\n  error_log /srv/http.log;\n}\n";
        assert_eq!(own_log(EngineKind::Nginx, http), file("/srv/http.log"));
        assert_eq!(own_log(EngineKind::Nginx, "events {}\n"), file(NGINX));
        assert_eq!(own_log(EngineKind::Nginx, "error_log stderr;\n"), file(NGINX));
    }

    #[test]
    fn caddy_writes_to_a_file_where_its_global_options_say_so() {
        let text = "{\n\tadmin off\n\tlog {\n\t\toutput file /srv/caddy.log\n\t\tlevel INFO\n\t}\n}\nimport /x\n";
        assert_eq!(own_log(EngineKind::Caddy, text), file("/srv/caddy.log"));
        let site = "a.example {\n\tlog {\n\t\toutput file /srv/a.log\n\t}\n}\n";
        for text in [site, "{\n\tlog {\n\t\toutput stderr\n\t}\n}\n", ""] {
            assert_eq!(own_log(EngineKind::Caddy, text), OwnLog::Journal, "{text}");
        }
    }

    #[test]
    fn traefik_writes_to_a_file_where_its_configuration_says_so() {
        for text in [
            "accessLog:\n  filePath: /srv/access.log\nlog:\n  level: INFO\n  filePath: /srv/t.log\n",
            "log: {level: INFO, filePath: \"/srv/t.log\"}\n",
            "[accessLog]\n  filePath = \"/srv/access.log\"\n[log]\n  filePath = \"/srv/t.log\"\n",
        ] {
            assert_eq!(own_log(EngineKind::Traefik, text), file("/srv/t.log"), "{text}");
        }
        let none = "accessLog:\n  filePath: /srv/access.log\n";
        assert_eq!(access_log(none).map(|log| log.is_json), Some(false));
        let json = "log: {format: json}\naccessLog: {filePath: /srv/format.log, format: json}\n";
        let found = access_log(json).unwrap();
        assert_eq!((found.path.as_str(), found.is_json), ("/srv/format.log", true));
        let toml = "[accessLog]\n  filePath = \"/srv/a.log\"\n  format = \"json\"\n";
        assert!(access_log(toml).unwrap().is_json);
        assert_eq!(access_log("accessLog: {}\nlog: {filePath: /srv/t.log}\n"), None);
        assert_eq!(own_log(EngineKind::Traefik, none), OwnLog::Journal);
    }
}
