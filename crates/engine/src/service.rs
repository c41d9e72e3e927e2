//! How an engine is started, stopped and made to read anew on a node, in words that nothing else may
//! be put into: rules of sudoers name exactly these.

use std::{fmt, str::FromStr, time::Duration};

use camino::Utf8PathBuf;
use portway_model::EngineKind;

use crate::{Command, Layout, Rights};

/// How long what is done to a service may take: nginx with ten thousand sites needs half a minute.
const PATIENCE: Duration = Duration::from_secs(90);
/// How long it may take to say how it is.
const LOOK: Duration = Duration::from_secs(10);

/// What can be done to an engine as a whole.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Action {
    /// Start it.
    Start,
    /// Stop it; its sites are gone until it is started again.
    Stop,
    /// Have it read its configuration anew.
    Reload,
    /// Stop and start it.
    Restart,
}

/// A text that names nothing that can be done.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` cannot be done to an engine; there are `start`, `stop`, `reload` and `restart`")]
pub struct UnknownAction(String);

/// What looks after services on a node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Supervisor {
    /// systemd, through this `systemctl`.
    Systemd(Utf8PathBuf),
    /// `OpenRC`, through this `rc-service`.
    OpenRc(Utf8PathBuf),
    /// Nothing: the engine's own program does it.
    Nobody,
}

/// Why something cannot be done to an engine.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{engine} cannot be told to {action}: {why}")]
pub struct NoWay {
    engine: EngineKind,
    action: Action,
    why: &'static str,
}

impl Action {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::Start, Self::Stop, Self::Reload, Self::Restart];

    /// Returns its name.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Start => "start",
            Self::Stop => "stop",
            Self::Reload => "reload",
            Self::Restart => "restart",
        }
    }

    /// Tells whether the engine runs when it is done.
    pub const fn leaves_it_running(self) -> bool {
        match self {
            Self::Start | Self::Reload | Self::Restart => true,
            Self::Stop => false,
        }
    }
}

impl fmt::Display for Action {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for Action {
    type Err = UnknownAction;

    fn from_str(text: &str) -> Result<Self, UnknownAction> {
        let found = Self::ALL.into_iter().find(|action| action.as_str() == text);
        found.ok_or_else(|| UnknownAction(text.to_owned()))
    }
}

impl fmt::Display for Supervisor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Systemd(_) => "systemd",
            Self::OpenRc(_) => "OpenRC",
            Self::Nobody => "the engine's own program",
        })
    }
}

/// Returns the name under which packages have an engine looked after.
pub const fn service_name(engine: EngineKind) -> &'static str {
    match engine {
        EngineKind::Edge => "portway-edge",
        EngineKind::Nginx => "nginx",
        EngineKind::Caddy => "caddy",
        EngineKind::Traefik => "traefik",
    }
}

/// Returns the commands that do something to an engine, in their order.
pub fn service_commands(
    engine: EngineKind,
    action: Action,
    supervisor: &Supervisor,
    layout: &Layout,
) -> Result<Vec<Command>, NoWay> {
    if engine == EngineKind::Traefik && action == Action::Reload {
        let why = "it reads what changed by itself; a restart has it read its own configuration";
        return Err(NoWay { engine, action, why });
    }
    let name = service_name(engine);
    match supervisor {
        Supervisor::Systemd(systemctl) => {
            let unit = format!("{name}.service");
            Ok(vec![as_root(vec![systemctl.to_string(), action.to_string(), unit])])
        }
        Supervisor::OpenRc(rc_service) => {
            Ok(vec![as_root(vec![rc_service.to_string(), name.to_owned(), action.to_string()])])
        }
        Supervisor::Nobody => by_itself(engine, action, layout),
    }
}

/// Returns the command by which a supervisor says how an engine is; nothing where nobody looks after it.
pub fn state_command(engine: EngineKind, supervisor: &Supervisor) -> Option<Command> {
    let name = service_name(engine);
    let argv = match supervisor {
        Supervisor::Systemd(systemctl) => {
            vec![systemctl.to_string(), "is-active".to_owned(), format!("{name}.service")]
        }
        Supervisor::OpenRc(rc_service) => {
            vec![rc_service.to_string(), name.to_owned(), "status".to_owned()]
        }
        Supervisor::Nobody => return None,
    };
    Some(Command { argv, rights: Rights::Login, deadline: LOOK })
}

fn by_itself(engine: EngineKind, action: Action, layout: &Layout) -> Result<Vec<Command>, NoWay> {
    let (program, config) = (layout.program.as_str(), layout.top_level.as_str());
    let words = |words: &[&str]| {
        as_root(std::iter::once(program).chain(words.iter().copied()).map(str::to_owned).collect())
    };
    let caddy = |word| words(&[word, "--adapter", "caddyfile", "--config", config]);
    match engine {
        EngineKind::Nginx => {
            let start = || words(&["-c", config]);
            let signal = |signal| words(&["-c", config, "-s", signal]);
            Ok(match action {
                Action::Start => vec![start()],
                Action::Stop => vec![signal("quit")],
                Action::Reload => vec![signal("reload")],
                // Those who hold its ports end at once, so that it can take them again.
                Action::Restart => vec![signal("stop"), start()],
            })
        }
        EngineKind::Caddy => Ok(match action {
            Action::Start => vec![caddy("start")],
            Action::Stop => vec![caddy("stop")],
            Action::Reload => vec![caddy("reload")],
            Action::Restart => vec![caddy("stop"), caddy("start")],
        }),
        EngineKind::Traefik | EngineKind::Edge => {
            let why = "neither systemd nor OpenRC looks after it there, and it has no such command";
            Err(NoWay { engine, action, why })
        }
    }
}

fn as_root(argv: Vec<String>) -> Command {
    Command { argv, rights: Rights::Superuser, deadline: PATIENCE }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lines(engine: EngineKind, action: Action, supervisor: &Supervisor) -> Vec<String> {
        let layout = match engine {
            EngineKind::Nginx => crate::nginx::usual_facts().layout,
            EngineKind::Caddy => crate::caddy::usual_facts().layout,
            EngineKind::Traefik | EngineKind::Edge => crate::traefik::usual_facts().layout,
        };
        match service_commands(engine, action, supervisor, &layout) {
            Ok(commands) => commands.iter().map(|command| command.argv.join(" ")).collect(),
            Err(error) => vec![error.to_string()],
        }
    }

    #[test]
    fn a_supervisor_does_it_where_there_is_one() {
        let systemd = Supervisor::Systemd("/usr/bin/systemctl".into());
        let openrc = Supervisor::OpenRc("/sbin/rc-service".into());

        let nginx = EngineKind::Nginx;
        assert_eq!(lines(nginx, Action::Stop, &systemd), ["/usr/bin/systemctl stop nginx.service"]);
        assert_eq!(lines(nginx, Action::Restart, &openrc), ["/sbin/rc-service nginx restart"]);
        assert_eq!(
            lines(EngineKind::Edge, Action::Reload, &systemd),
            ["/usr/bin/systemctl reload portway-edge.service"]
        );
    }

    #[test]
    fn without_one_the_engine_does_it_itself() {
        let alone = Supervisor::Nobody;

        assert_eq!(
            lines(EngineKind::Nginx, Action::Restart, &alone),
            [
                "/usr/sbin/nginx -c /etc/nginx/nginx.conf -s stop",
                "/usr/sbin/nginx -c /etc/nginx/nginx.conf"
            ]
        );
        assert_eq!(
            lines(EngineKind::Caddy, Action::Reload, &alone),
            ["/usr/bin/caddy reload --adapter caddyfile --config /etc/caddy/Caddyfile"]
        );
        let start = lines(EngineKind::Traefik, Action::Start, &alone);
        assert!(start.concat().contains("neither systemd nor OpenRC"), "{start:?}");
    }

    #[test]
    fn traefik_is_never_told_to_read_what_it_reads_by_itself() {
        let systemd = Supervisor::Systemd("/usr/bin/systemctl".into());

        let reload = lines(EngineKind::Traefik, Action::Reload, &systemd);
        assert!(reload.concat().contains("by itself"), "{reload:?}");
        assert_eq!(
            lines(EngineKind::Traefik, Action::Restart, &systemd),
            ["/usr/bin/systemctl restart traefik.service"]
        );
    }

    #[test]
    fn what_is_printed_is_read_back() {
        for action in Action::ALL {
            assert_eq!(action.to_string().parse::<Action>(), Ok(action));
        }
        assert!("kill".parse::<Action>().is_err());
    }
}
