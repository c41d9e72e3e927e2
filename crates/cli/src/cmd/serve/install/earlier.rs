//! What an earlier `serve --install` was given. It stands in the unit, and holds until it is given
//! anew: an upgrade needs no options.

use std::fs;

use camino::Utf8Path;
use clap::Parser as _;

use crate::{
    args::{Cli, Command, Listeners, ServeOptions},
    exit::Failure,
};

/// Returns the options in a unit of the manager; nothing where there is none.
pub(super) fn options(unit: &Utf8Path) -> Result<Option<ServeOptions>, Failure> {
    match fs::read_to_string(unit) {
        Ok(text) => parse(&text).map(Some).map_err(|error| {
            Failure::failed(format!("{unit} does not say how the manager is started"))
                .because(&error)
                .help(format!("remove it, then give all options anew: rm {unit}"))
        }),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(Failure::failed(format!("cannot read {unit}")).because(&error)),
    }
}

fn parse(unit: &str) -> Result<ServeOptions, clap::Error> {
    let line = unit.lines().find_map(|line| line.strip_prefix("ExecStart=")).unwrap_or_default();
    let cli = Cli::try_parse_from(line.split_whitespace())?;
    let Command::Serve(serve) = cli.command else {
        let kind = clap::error::ErrorKind::InvalidSubcommand;
        return Err(clap::Error::raw(kind, "it starts something else than `portway serve`"));
    };
    Ok(serve.options)
}

/// Fills in from the earlier options what was not given.
pub(super) fn complete(given: &ServeOptions, earlier: Option<ServeOptions>) -> ServeOptions {
    let given = given.clone();
    let Some(earlier) = earlier else { return given };
    ServeOptions {
        listeners: listeners(given.listeners, earlier.listeners),
        api: given.api.or(earlier.api),
        log_format: given.log_format.or(earlier.log_format),
        node_exec: given.node_exec.or(earlier.node_exec),
        admin_group: given.admin_group.or(earlier.admin_group),
        trusted_proxies: either(given.trusted_proxies, earlier.trusted_proxies),
        observe_every: given.observe_every.or(earlier.observe_every),
        // An earlier address stands in a file of its own, which stays as it is.
        database: given.database,
        edge_socket: given.edge_socket,
        edge_logs: given.edge_logs,
    }
}

fn listeners(given: Listeners, earlier: Listeners) -> Listeners {
    Listeners {
        http_port: given.http_port.or(earlier.http_port),
        https_port: given.https_port.or(earlier.https_port),
        public_https_port: given.public_https_port.or(earlier.public_https_port),
        bind: either(given.bind, earlier.bind),
        workers: given.workers.or(earlier.workers),
        name_server: either(given.name_server, earlier.name_server),
    }
}

fn either<T>(given: Vec<T>, earlier: Vec<T>) -> Vec<T> {
    if given.is_empty() { earlier } else { given }
}

#[cfg(test)]
mod tests {
    use super::*;

    const UNIT: &str = "[Service]\nExecStart=/usr/local/bin/portway serve --data /var/lib/portway \
                        --api 127.0.0.1:8901 --trusted-proxies 10.0.0.0/8 --http-port 81 --bind \
                        127.0.0.1 --bind ::1\nUser=portway\n";

    #[test]
    fn what_was_given_earlier_holds_until_it_is_given_anew() {
        let earlier = parse(UNIT).unwrap();
        let given = ServeOptions {
            listeners: Listeners { http_port: Some(82), ..Listeners::default() },
            ..ServeOptions::default()
        };
        let whole = complete(&given, Some(earlier));
        assert_eq!(whole.listeners.http_port, Some(82));
        assert_eq!(whole.listeners.bind.len(), 2);
        assert_eq!(whole.api, Some("127.0.0.1:8901".parse().unwrap()));
        assert_eq!(whole.trusted_proxies.len(), 1);
        assert_eq!(complete(&given, None), given);
    }

    #[test]
    fn a_unit_of_someone_else_is_not_overwritten() {
        let folder = tempfile::tempdir().unwrap();
        let unit = Utf8Path::from_path(folder.path()).unwrap().join("portway.service");
        assert_eq!(options(&unit).unwrap(), None);
        for text in ["[Service]\nExecStart=/bin/portway edge\n", "[Service]\n", "ExecStart=/x -y"] {
            fs::write(&unit, text).unwrap();
            assert!(options(&unit).is_err(), "{text}");
        }
    }
}
