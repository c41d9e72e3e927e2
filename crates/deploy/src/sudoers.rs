//! The rules of sudo that a login needs which is not root: exactly the commands that are run on the
//! node with the rights of root, and nothing else.
//!
//! They are made of the same commands that are run, so that they cannot differ from them.

use std::collections::{BTreeMap, BTreeSet};

use camino::{Utf8Path, Utf8PathBuf};
use portway_engine::{
    Action, CandidateError, Command, Engine, EngineFacts, RenderError, Rights, Supervisor, Test,
    TopLevel, nginx::Nginx, service_commands,
};
use portway_model::{EngineKind, Node, node::SshUser};
use portway_policy::NodeSettings;
use portway_transport::{Transport, TransportError};

use crate::{Prospect, StepError, service::usual_layout, step::argv, survey::own_test, tools};

/// Where the rules belong.
pub const SUDOERS: &str = "/etc/sudoers.d/portway";
/// Where the rules of one installation belong.
pub const INSTALL_SUDOERS: &str = "/etc/sudoers.d/portway-install";

/// Where the programs are that the rules name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SudoPlaces {
    /// `timeout`, which every command is run by.
    pub timeout: Utf8PathBuf,
    /// The engine.
    pub program: Utf8PathBuf,
    /// What looks after services.
    pub supervisor: Supervisor,
    /// Whether there is a sudo: Alpine has none at first.
    pub has_sudo: bool,
}

/// Rules of sudo for a login on a node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sudoers {
    /// The commands that are run as root, as sudo is given them.
    pub commands: Vec<String>,
    /// The file.
    pub text: String,
}

/// Why there are no rules.
#[derive(Debug, thiserror::Error)]
pub enum SudoersError {
    /// What the engine is told cannot be written down.
    #[error(transparent)]
    Render(#[from] RenderError),
    /// The same of its test.
    #[error(transparent)]
    Candidate(#[from] CandidateError),
    /// A command is none.
    #[error(transparent)]
    Step(#[from] StepError),
}

impl SudoPlaces {
    /// Looks where they are on a node. What is not there yet is taken to be where packages put it.
    pub async fn see<T: Transport>(transport: &T, node: &Node) -> Result<Self, TransportError> {
        let usual = Self::usual(node);
        let name = crate::survey::program_of(node.engine);
        Ok(Self {
            timeout: tools::program(transport, "timeout").await?.unwrap_or(usual.timeout),
            program: tools::program(transport, name).await?.unwrap_or(usual.program),
            supervisor: tools::supervisor(transport).await?,
            has_sudo: tools::program(transport, "sudo").await?.is_some(),
        })
    }

    /// Says what these rules need beside themselves.
    const fn note(&self) -> &'static str {
        if self.has_sudo {
            return "";
        }
        "# There is no sudo on the node; as root there, on Alpine: apk add sudo. doas is not used.\n"
    }

    /// Returns where they usually are, on a system with systemd.
    pub fn usual(node: &Node) -> Self {
        Self {
            timeout: "/usr/bin/timeout".into(),
            program: usual_layout(node).program,
            supervisor: Supervisor::Systemd("/usr/bin/systemctl".into()),
            has_sudo: true,
        }
    }
}

/// Returns the rules that a login needs on a node.
///
/// # Errors
/// When a path of the node cannot stand in a command.
pub fn sudoers(node: &Node, user: &SshUser, places: &SudoPlaces) -> Result<Sudoers, SudoersError> {
    let commands = privileged(node, places)?;
    let (commands, rules) = rules(&commands, places)?;
    let text = text(SUDOERS, node, user, &rules);
    Ok(Sudoers { commands, text: format!("{}{text}", places.note()) })
}

/// Returns the rules that a login needs for one installation, and for nothing after it.
///
/// # Errors
/// When a path cannot stand in a command.
pub fn install_sudoers(
    node: &Node,
    user: &SshUser,
    places: &SudoPlaces,
    prospect: &Prospect,
) -> Result<Sudoers, SudoersError> {
    let commands: Vec<Command> = prospect.privileged().into_iter().cloned().collect();
    let (commands, rules) = rules(&commands, places)?;
    let text = text(INSTALL_SUDOERS, node, user, &rules);
    let once = "# They are for one installation; remove this file after it.\n";
    Ok(Sudoers { commands, text: format!("{once}{}{text}", places.note()) })
}

/// Returns the commands as sudo is given them, and as `sudoers(5)` has them, each once.
fn rules(
    commands: &[Command],
    places: &SudoPlaces,
) -> Result<(Vec<String>, Vec<String>), SudoersError> {
    let mut seen = BTreeSet::new();
    let (mut told, mut rules) = (Vec::new(), Vec::new());
    for command in commands {
        let words = argv(command)?.bounded(command.deadline);
        if seen.insert(words.clone()) {
            told.push(words.join(" "));
            rules.push(rule(&places.timeout, &words));
        }
    }
    Ok((told, rules))
}

/// Returns the commands that are run with the rights of root.
fn privileged(node: &Node, places: &SudoPlaces) -> Result<Vec<Command>, SudoersError> {
    let mut layout = usual_layout(node);
    layout.program.clone_from(&places.program);
    let mut commands: Vec<Command> = own_test(node.engine, &layout).into_iter().collect();
    if node.engine == EngineKind::Nginx {
        commands.extend(deploying(&layout)?);
        commands.push(portway_engine::nginx::reopen(&layout));
    }
    for action in Action::ALL {
        // What cannot be done needs no rule.
        let of_action = service_commands(node.engine, action, &places.supervisor, &layout);
        commands.extend(of_action.into_iter().flatten());
    }
    commands.retain(|command| command.rights == Rights::Superuser);
    Ok(commands)
}

/// Returns the commands of a deployment to nginx; Caddy and Traefik are deployed to without root.
fn deploying(layout: &portway_engine::Layout) -> Result<Vec<Command>, SudoersError> {
    let facts = EngineFacts { layout: layout.clone(), ..portway_engine::nginx::usual_facts() };
    let (settings, none) = (NodeSettings::default(), BTreeMap::new());
    let release = Nginx.render_node(&[], &settings, &none, &facts)?;
    // The file that is tested is named after the engine's own, whatever stands in it.
    let text = format!("http {{\n include {};\n}}\n", layout.reached_by);
    let top_level = TopLevel { text, beside: Vec::new() };
    let candidate = Nginx.candidate(&top_level, &release, &facts)?;
    let steps = Nginx.steps(candidate, &release, &facts);
    let (Test::Command { command, .. } | Test::Instance { command, .. }) = steps.test;
    Ok(std::iter::once(command).chain(steps.reload).collect())
}

/// Returns a command as `sudoers(5)` has it: by its absolute path, with every argument.
fn rule(timeout: &Utf8Path, words: &[String]) -> String {
    let arguments = words.iter().skip(1).map(|word| escaped(word));
    let path = escaped(timeout.as_str());
    std::iter::once(path).chain(arguments).collect::<Vec<_>>().join(" ")
}

/// Takes every meaning from what has one in `sudoers(5)`.
fn escaped(word: &str) -> String {
    let is_plain = |c: char| c.is_ascii_alphanumeric() || "/._-+@".contains(c);
    let mut text = String::with_capacity(word.len());
    for c in word.chars() {
        if !is_plain(c) {
            text.push('\\');
        }
        text.push(c);
    }
    text
}

fn text(file: &str, node: &Node, user: &SshUser, rules: &[String]) -> String {
    let (name, engine) = (&node.name, node.engine);
    let head = format!(
        "# What Portway does as root on node {name} ({engine}), and nothing else.\n\
         # As root there: visudo -f {file}; mode 0440.\n"
    );
    if user.is_root() {
        return format!("{head}# It logs in as root, who needs no rules.\n");
    }
    if rules.is_empty() {
        return format!("{head}# There is nothing that it does as root.\n");
    }
    format!(
        "{head}{} ALL=(root) NOPASSWD: \\\n    {}\n",
        escaped(user.as_str()),
        rules.join(", \\\n    ")
    )
}

#[cfg(test)]
mod tests {
    use std::process::Command as Process;

    use portway_engine::{caddy, caddy::Caddy, traefik, traefik::Traefik};
    use portway_model::{Name, NodeSpec, node::check};

    use super::*;

    fn node(engine: EngineKind, config: Option<&str>) -> Node {
        let paths = config.map(|config| serde_json::json!({ "config": config }));
        let spec = serde_json::json!({
            "engine": engine, "ssh": "deploy@192.0.2.7", "paths": paths.unwrap_or_default(),
        });
        let spec: NodeSpec = serde_json::from_value(spec).unwrap();
        check(&"web-1".parse::<Name>().unwrap(), &spec).0.unwrap()
    }

    fn of(node: &Node, user: &str, supervisor: Supervisor) -> Sudoers {
        let places = SudoPlaces { supervisor, ..SudoPlaces::usual(node) };
        sudoers(node, &user.parse().unwrap(), &places).unwrap()
    }

    fn systemd() -> Supervisor {
        Supervisor::Systemd("/usr/bin/systemctl".into())
    }

    #[test]
    fn nginx_under_systemd() {
        let rules = of(&node(EngineKind::Nginx, None), "deploy", systemd());

        assert_eq!(
            rules.text,
            "# What Portway does as root on node web-1 (nginx), and nothing else.\n\
             # As root there: visudo -f /etc/sudoers.d/portway; mode 0440.\n\
             deploy ALL=(root) NOPASSWD: \\\n    \
             /usr/bin/timeout -k 5 30 /usr/sbin/nginx -t -q -c /etc/nginx/nginx.conf, \\\n    \
             /usr/bin/timeout -k 5 120 /usr/sbin/nginx -t -q -c /etc/nginx/portway-test.conf, \\\n    \
             /usr/bin/timeout -k 5 120 /usr/sbin/nginx -c /etc/nginx/nginx.conf -s reload, \\\n    \
             /usr/bin/timeout -k 5 120 /usr/sbin/nginx -c /etc/nginx/nginx.conf -s reopen, \\\n    \
             /usr/bin/timeout -k 5 90 /usr/bin/systemctl start nginx.service, \\\n    \
             /usr/bin/timeout -k 5 90 /usr/bin/systemctl stop nginx.service, \\\n    \
             /usr/bin/timeout -k 5 90 /usr/bin/systemctl reload nginx.service, \\\n    \
             /usr/bin/timeout -k 5 90 /usr/bin/systemctl restart nginx.service\n"
        );
    }

    #[test]
    fn visudo_takes_every_file() {
        let Ok(folder) = tempfile::tempdir() else { panic!("no folder") };
        let path = folder.path().join("portway");
        let openrc = || Supervisor::OpenRc("/sbin/rc-service".into());
        for engine in EngineKind::ALL {
            for supervisor in [systemd(), openrc(), Supervisor::Nobody] {
                for user in ["deploy", "root", "a.b-c_d@example.org", "+x"] {
                    let node = node(engine, Some("/opt/web-1/nginx+x.conf"));
                    let rules = of(&node, user, supervisor.clone());
                    std::fs::write(&path, &rules.text).unwrap();
                    let checked = Process::new("/usr/sbin/visudo").arg("-cf").arg(&path).output();
                    let Ok(checked) = checked else {
                        portway_testkit::skip::skip(
                            "portway-deploy sudoers::tests::visudo_takes_every_file",
                            "there is no visudo",
                        )
                        .unwrap();
                        return;
                    };
                    assert!(checked.status.success(), "{checked:?}\n{}", rules.text);
                }
            }
        }
    }

    #[test]
    fn caddy_and_traefik_are_deployed_to_without_root() {
        let empty = |engine: &dyn Engine, facts: &EngineFacts| {
            let release =
                engine.render_node(&[], &NodeSettings::default(), &BTreeMap::new(), facts);
            let release = release.unwrap();
            let candidate = portway_engine::Candidate { files: Vec::new() };
            let steps = engine.steps(candidate, &release, facts);
            let (Test::Command { command, .. } | Test::Instance { command, .. }) = steps.test;
            std::iter::once(command).chain(steps.reload).collect::<Vec<_>>()
        };
        let commands =
            [empty(&Caddy, &caddy::usual_facts()), empty(&Traefik, &traefik::usual_facts())];

        for command in commands.concat() {
            assert_eq!(command.rights, Rights::Login, "{command:?}");
        }
    }

    #[test]
    fn what_means_something_to_sudo_loses_its_meaning() {
        assert_eq!(escaped("a b,c:d=e\\f*g"), r"a\ b\,c\:d\=e\\f\*g");
    }
}
