//! How an edge is started: which program, and what is typed after it.

use std::{ffi::OsString, fs::Metadata, os::unix::fs::MetadataExt as _, path::PathBuf};

use clap::ValueEnum as _;
use portway_edge::EdgeConfig;

use crate::{args::Edge, exit::Failure, paths::Paths};

/// A program, by the name under which it was started: another version lies there after an upgrade.
#[derive(Clone, Debug)]
pub(super) struct Program(pub(super) OsString);

impl Program {
    /// Returns the program of this process.
    pub(super) fn own() -> Result<Self, Failure> {
        let typed = std::env::args_os().next().map(PathBuf::from);
        let program = match typed {
            // A link is not followed: it leads to another version after an upgrade.
            Some(path) if path.components().count() > 1 => std::path::absolute(path)?,
            Some(_) | None => std::env::current_exe()?,
        };
        Ok(Self(program.into_os_string()))
    }
}

/// Returns which file this process runs, so that it can be seen whether another process runs the
/// same one. The file may have been replaced since.
pub(in crate::cmd) fn identity() -> String {
    std::fs::metadata("/proc/self/exe").map(|file| describe(&file)).unwrap_or_default()
}

fn describe(file: &Metadata) -> String {
    format!(
        "{}-{}-{}-{}.{:09}",
        file.dev(),
        file.ino(),
        file.size(),
        file.mtime(),
        file.mtime_nsec()
    )
}

/// Returns the words that start an edge with this configuration, whatever the environment and
/// `config.yaml` say then.
pub(super) fn words(config: &EdgeConfig, args: &Edge, paths: &Paths) -> Vec<String> {
    let mut words = vec![
        "edge".to_owned(),
        format!("--data={}", paths.data),
        format!("--state={}", config.state_dir),
        format!("--log-dir={}", config.log_dir),
        format!("--control-socket={}", config.control_socket),
    ];
    words.extend(args.started.detached.then(|| "--detached".to_owned()));
    words.extend(config.http.first().map(|a| format!("--http-port={}", a.port())));
    words.extend(config.https.first().map(|a| format!("--https-port={}", a.port())));
    words.extend(config.http.iter().map(|a| format!("--bind={}", a.ip())));
    words.extend(config.public_https_port.map(|p| format!("--public-https-port={p}")));
    words.extend(config.workers.map(|workers| format!("--workers={workers}")));
    words.extend(config.name_servers.iter().map(|server| format!("--name-server={server}")));
    let format = args.log_format.and_then(|format| format.to_possible_value());
    words.extend(format.map(|format| format!("--log-format={}", format.get_name())));
    words
}

#[cfg(test)]
mod tests {
    use clap::Parser as _;

    use super::*;
    use crate::{
        args::{Cli, Command},
        cmd::edge::configuration,
        config::Machine,
    };

    #[test]
    fn an_edge_that_is_started_by_its_words_has_the_same_configuration() {
        let folder = tempfile::tempdir().unwrap();
        let data = camino::Utf8PathBuf::from_path_buf(folder.path().to_owned()).unwrap();
        let paths = Paths { data };
        let machine = Machine { is_root: false, has_ipv6: true };
        let parse = |typed: &[String]| {
            let typed = ["portway".to_owned()].into_iter().chain(typed.iter().cloned());
            let Command::Edge(args) = Cli::try_parse_from(typed).unwrap().command else {
                panic!("another command")
            };
            args
        };
        for typed in [
            "edge",
            "edge --http-port=0 --https-port=0 --bind=127.0.0.1 --workers=3 --log-format=json \
             --name-server=127.0.0.1:53",
            "edge --detached --public-https-port=443 --bind=::1 --bind=127.0.0.1 --state=/s",
        ] {
            let typed: Vec<String> = typed.split(' ').map(str::to_owned).collect();
            let args = parse(&typed);
            let config = configuration(&args, &paths, machine).unwrap();
            let again = words(&config, &args, &paths);
            let args = parse(&again);
            let repeated = configuration(&args, &paths, machine).unwrap();
            assert_eq!(format!("{config:?}"), format!("{repeated:?}"));
            assert_eq!(words(&repeated, &args, &paths), again);
        }
    }
}
