//! Which engine is on a node, in which version, with which modules.

use std::collections::BTreeSet;

use camino::{Utf8Path, Utf8PathBuf};
use portway_engine::{Layout, Rights, Version};
use portway_model::EngineKind;
use portway_transport::Transport;

use super::{Eye, Seen, words};

/// So many files are read for the modules that nginx loads, and so many modules are taken from them.
const MOST_FILES: usize = 200;
const MOST_MODULES: usize = 500;
/// A longer name is no module's.
const LONGEST_MODULE: usize = 100;

/// An engine as it is on a node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EngineSeen {
    /// Its version.
    pub version: Version,
    /// What it was built with or loads, by the names that it uses itself.
    pub modules: BTreeSet<String>,
}

pub(super) async fn see<T: Transport>(
    eye: &Eye<'_, T>,
    kind: EngineKind,
    layout: &Layout,
) -> Seen<EngineSeen> {
    let program = layout.program.as_str();
    if !layout.program.is_absolute() {
        return Err(format!("there is no program `{program}` on the node"));
    }
    let ask = async |argv: &[&str]| eye.said(argv, Rights::Login).await.map_err(words);
    match kind {
        EngineKind::Nginx => {
            let mut seen = nginx(&ask(&[program, "-V"]).await?)?;
            seen.modules.extend(loaded(eye, layout).await?);
            Ok(seen)
        }
        EngineKind::Caddy => {
            let version = first_word(&ask(&[program, "version"]).await?)?;
            let modules = ask(&[program, "list-modules"]).await?;
            Ok(EngineSeen { version, modules: caddy_modules(&modules) })
        }
        EngineKind::Traefik => {
            let version = traefik(&ask(&[program, "version"]).await?)?;
            Ok(EngineSeen { version, modules: BTreeSet::new() })
        }
        EngineKind::Edge => {
            let said = ask(&[program, "--version"]).await?;
            let number = said.split_whitespace().last().unwrap_or_default();
            let version = number.parse().map_err(|_| unreadable(&said))?;
            Ok(EngineSeen { version, modules: BTreeSet::new() })
        }
    }
}

/// Returns the modules that nginx loads beside what it was built with: those that its own file names,
/// and those in the folder in which Debian keeps such lines.
async fn loaded<T: Transport>(eye: &Eye<'_, T>, layout: &Layout) -> Seen<BTreeSet<String>> {
    let folder = layout.top_level.with_file_name("modules-enabled");
    let mut files: Vec<Utf8PathBuf> = vec![layout.top_level.clone()];
    let listed = eye.steps.list(&folder).await.map_err(words)?;
    files.extend(listed.into_iter().map(|entry| folder.join(entry.name)));
    let mut modules = BTreeSet::new();
    let files = files.iter().filter(|file| file.extension() == Some("conf"));
    for file in files.take(MOST_FILES) {
        let bytes = eye.steps.get(file).await.map_err(words)?.unwrap_or_default();
        modules.extend(load_modules(&String::from_utf8_lossy(&bytes)));
        if modules.len() > MOST_MODULES {
            return Err(format!("{file} has nginx load more than {MOST_MODULES} modules"));
        }
    }
    Ok(modules)
}

/// Reads `nginx -V`.
fn nginx(said: &str) -> Seen<EngineSeen> {
    let number = said.split("nginx/").nth(1).and_then(|rest| rest.split_whitespace().next());
    let version = number.and_then(|number| number.parse().ok()).ok_or_else(|| unreadable(said))?;
    let built_with = said.split_whitespace().filter_map(|word| word.strip_prefix("--with-"));
    let modules = built_with.filter(|name| name.ends_with("_module")).map(str::to_owned).collect();
    Ok(EngineSeen { version, modules })
}

/// Returns the names of modules that lines of nginx's configuration load:
/// `modules/ngx_http_headers_more_filter_module.so` is `headers-more`, as its users call it.
fn load_modules(text: &str) -> impl Iterator<Item = String> {
    let line = |line: &str| {
        let path = line.trim().strip_prefix("load_module")?.trim();
        let path = path.trim_end_matches(';').trim().trim_matches(['"', '\'']);
        let stem = Utf8Path::new(path).file_stem()?.strip_prefix("ngx_")?;
        let bare = stem.trim_start_matches("http_").trim_end_matches("_module");
        let bare = bare.trim_end_matches("_filter");
        (bare.len() <= LONGEST_MODULE).then(|| bare.replace('_', "-"))
    };
    text.lines().filter_map(line).take(MOST_MODULES + 1).collect::<Vec<_>>().into_iter()
}

/// Reads `caddy list-modules`: names, and lines that count them.
fn caddy_modules(said: &str) -> BTreeSet<String> {
    let names = said.lines().map(str::trim).filter_map(|line| line.split_whitespace().next());
    let is_name =
        |name: &&str| name.chars().all(|c| c.is_ascii_alphanumeric() || "._-".contains(c));
    names.filter(is_name).map(str::to_owned).collect()
}

/// Reads `traefik version`.
fn traefik(said: &str) -> Seen<Version> {
    let line = said.lines().find_map(|line| line.trim().strip_prefix("Version:"));
    line.and_then(|version| version.trim().parse().ok()).ok_or_else(|| unreadable(said))
}

fn first_word(said: &str) -> Seen<Version> {
    let word = said.split_whitespace().next().unwrap_or_default();
    word.parse().map_err(|_| unreadable(said))
}

fn unreadable(said: &str) -> String {
    format!("it does not tell its version: `{}`", said.lines().next().unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nginx_tells_its_version_and_what_it_was_built_with() {
        let said = "nginx version: nginx/1.22.1\nbuilt with OpenSSL 3.0.8\nTLS SNI support enabled\n\
                    configure arguments: --with-cc-opt='-g -O2' --with-http_v2_module \
                    --with-http_gzip_static_module --with-http_xslt_module=dynamic --with-threads";
        let seen = nginx(said).unwrap();
        assert_eq!(seen.version, Version::new(1, 22, 1));
        let modules: Vec<_> = seen.modules.iter().map(String::as_str).collect();
        assert_eq!(modules, ["http_gzip_static_module", "http_v2_module"], "dynamic is not loaded");
        assert!(nginx("bash: nginx: command not found").is_err());
    }

    #[test]
    fn modules_that_are_loaded_are_named_as_their_users_call_them() {
        let text = "# load_module x;\nload_module modules/ngx_http_headers_more_filter_module.so;\n\
                    load_module \"/usr/lib/nginx/modules/ngx_stream_module.so\" ;\n";
        let modules: Vec<_> = load_modules(text).collect();
        assert_eq!(modules, ["headers-more", "stream"]);
        let many = "load_module ngx_x.so;\n".repeat(1_000_000);
        assert_eq!(
            load_modules(&many).count(),
            MOST_MODULES + 1,
            "what a node makes up is not kept"
        );
        let long = format!("load_module ngx_{}.so;", "x".repeat(LONGEST_MODULE + 1));
        assert_eq!(load_modules(&long).count(), 0);
    }

    #[test]
    fn caddy_and_traefik_tell_theirs() {
        assert_eq!(first_word("v2.6.2 h1:abc\n").unwrap(), Version::new(2, 6, 2));
        let said = "Version:      3.7.0\nCodename:     beaufort\n";
        assert_eq!(traefik(said).unwrap(), Version::new(3, 7, 0));
        let modules = caddy_modules("http.handlers.rewrite\n\n  Standard modules: 106\n");
        assert!(modules.contains("http.handlers.rewrite"));
    }
}
