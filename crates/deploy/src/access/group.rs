//! The group in which an engine reads what Portway puts on a node, from what only root can write there.

use camino::Utf8Path;
use portway_engine::{Layout, Supervisor, nginx::worker_group};
use portway_transport::Transport;

use super::command;
use crate::{
    Journal, StepError,
    step::{Node, printed},
    tools,
};

/// So many letters of its name the kernel keeps of a program.
const KEPT: usize = 15;
/// Prints user and group of each process whose program has one of some names.
const PROCESSES: &str = r#"for folder in /proc/[0-9]*; do
    name=
    { read -r name < "$folder/comm"; } 2>/dev/null || continue
    [ "$name" = "$1" ] || [ "$name" = "$2" ] || continue
    user= group=
    { while read -r key _ effective _; do
        case $key in Uid:) user=$effective ;; Gid:) group=$effective ;; esac
    done < "$folder/status"; } 2>/dev/null || continue
    echo "$user $group"
done"#;

/// Whose a process of the engine is.
pub(super) struct Process {
    pub(super) user: u32,
    pub(super) group: u32,
}

/// Returns the group in which an engine reads; nothing where it reads as root.
pub(super) async fn of<T: Transport, J: Journal>(
    node: &Node<'_, T, J>,
    engine: &str,
    layout: &Layout,
) -> Result<Option<String>, StepError> {
    let found = match engine {
        "nginx" => Some(of_nginx(node, layout).await?),
        service => of_service(node, service).await?,
    };
    Ok(found.filter(|group| group != "root"))
}

/// Returns the group of nginx's workers: that of its configuration, or that which it was built with.
async fn of_nginx<T: Transport, J: Journal>(
    node: &Node<'_, T, J>,
    layout: &Layout,
) -> Result<String, StepError> {
    let text = node.get(&layout.top_level).await?.unwrap_or_default();
    if let Some(group) = worker_group(&String::from_utf8_lossy(&text)) {
        return Ok(group);
    }
    let said = node.run(&command([layout.program.as_str(), "-V"])).await?;
    if let Some(group) = built_with(&printed(&said)) {
        return Ok(group);
    }
    // As its `configure` chooses.
    let is_there = number(node, "nogroup").await?.is_some();
    Ok(if is_there { "nogroup" } else { "nobody" }.to_owned())
}

/// Returns the group of a service.
async fn of_service<T: Transport, J: Journal>(
    node: &Node<'_, T, J>,
    name: &str,
) -> Result<Option<String>, StepError> {
    let told = match tools::supervisor(node.transport).await? {
        Supervisor::Systemd(systemctl) => {
            let unit = format!("{name}.service");
            let words = [
                systemctl.as_str(),
                "show",
                "--property=LoadState",
                "--property=User",
                "--property=Group",
                unit.as_str(),
            ];
            of_unit(&printed(&node.run(&command(words)).await?))
        }
        Supervisor::OpenRc(_) => {
            let mut text = String::new();
            for folder in ["/etc/init.d", "/etc/conf.d"] {
                let bytes = node.get(&Utf8Path::new(folder).join(name)).await?;
                text.push_str(&String::from_utf8_lossy(&bytes.unwrap_or_default()));
                text.push('\n');
            }
            of_script(&text)
        }
        Supervisor::Nobody => Told::Nothing,
    };
    match told {
        Told::Group(group) => Ok(Some(group)),
        Told::User(user) => primary(node, &user).await,
        Told::Root => Ok(None),
        // The user that packages make.
        Told::Nothing => primary(node, name).await,
    }
}

/// Returns the first group of a user; nothing where there is no such user.
async fn primary<T: Transport, J: Journal>(
    node: &Node<'_, T, J>,
    user: &str,
) -> Result<Option<String>, StepError> {
    let output = node.run(&command(["id", "-gn", "--", user])).await?;
    let group = String::from_utf8_lossy(&output.stdout).trim().to_owned();
    Ok((output.is_success() && !group.is_empty()).then_some(group))
}

/// Returns the number of a group; nothing where the machine's own file does not have it.
pub(super) async fn number<T: Transport, J: Journal>(
    node: &Node<'_, T, J>,
    group: &str,
) -> Result<Option<u32>, StepError> {
    let text = node.get(Utf8Path::new("/etc/group")).await?.unwrap_or_default();
    let text = String::from_utf8_lossy(&text);
    let mut found = text.lines().filter_map(|line| {
        let (name, rest) = line.split_once(':')?;
        let number = rest.split(':').nth(1)?;
        (name == group).then(|| number.parse().ok())?
    });
    Ok(found.next())
}

/// Returns whose the processes are whose program has the engine's name.
pub(super) async fn processes<T: Transport, J: Journal>(
    node: &Node<'_, T, J>,
    engine: &str,
    layout: &Layout,
) -> Result<Vec<Process>, StepError> {
    let program = layout.program.file_name().unwrap_or(engine);
    let program = program.get(..KEPT).unwrap_or(program);
    let words = ["sh", "-c", PROCESSES, "portway", engine, program];
    let output = node.run(&command(words)).await?;
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    let process = |line: &str| {
        let (user, group) = line.split_once(' ')?;
        Some(Process { user: user.parse().ok()?, group: group.parse().ok()? })
    };
    Ok(said.lines().filter_map(process).collect())
}

/// What a service says of its user.
#[derive(Debug, PartialEq, Eq)]
enum Told {
    Group(String),
    User(String),
    Root,
    Nothing,
}

/// Reads the words that nginx was built with (`nginx -V`).
fn built_with(said: &str) -> Option<String> {
    let value = |option: &str| {
        let word = said.split_whitespace().find_map(|word| word.strip_prefix(option))?;
        Some(word.trim_matches(['\'', '"']).to_owned())
    };
    value("--group=").or_else(|| value("--user="))
}

/// Reads what systemd shows of a unit.
fn of_unit(said: &str) -> Told {
    let value = |key: &str| {
        let line = said.lines().find_map(|line| line.strip_prefix(key));
        line.and_then(|rest| rest.strip_prefix('=')).map(str::trim).filter(|text| !text.is_empty())
    };
    match (value("LoadState"), value("Group"), value("User")) {
        (Some("loaded"), Some(group), _) => Told::Group(group.to_owned()),
        (Some("loaded"), None, Some(user)) => Told::User(user.to_owned()),
        (Some("loaded"), None, None) => Told::Root,
        (Some(_) | None, _, _) => Told::Nothing,
    }
}

/// Reads `command_user` of a script of `OpenRC`, or of its settings, which come last.
fn of_script(text: &str) -> Told {
    let mut lines = text.lines().filter_map(|line| line.trim().strip_prefix("command_user="));
    let Some(value) = lines.next_back() else { return Told::Nothing };
    let value = value.trim().trim_matches(['"', '\'']);
    // A default of the script: `${command_user:-caddy:caddy}`.
    let value = value.split_once(":-").map_or(value, |(_, default)| default).trim_end_matches('}');
    if value.is_empty() || value.contains('$') {
        return Told::Nothing;
    }
    match value.split_once(':') {
        Some((_, group)) if !group.is_empty() => Told::Group(group.to_owned()),
        Some((user, _)) => Told::User(user.to_owned()),
        None => Told::User(value.to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_nginx_was_built_with_names_the_group() {
        let both = "configure arguments: --prefix=/x --user=nginx --group='web' --with-threads";
        assert_eq!(built_with(both).as_deref(), Some("web"));
        assert_eq!(built_with("--user=www").as_deref(), Some("www"));
        assert_eq!(built_with("--with-http_v2_module"), None);
    }

    #[test]
    fn a_unit_says_as_whom_it_runs() {
        let unit = |text: &str| of_unit(text);
        assert_eq!(
            unit("LoadState=loaded\nUser=caddy\nGroup=caddy\n"),
            Told::Group("caddy".to_owned())
        );
        assert_eq!(unit("LoadState=loaded\nUser=www\nGroup=\n"), Told::User("www".to_owned()));
        assert_eq!(unit("LoadState=loaded\nUser=\nGroup=\n"), Told::Root);
        assert_eq!(unit("LoadState=not-found\nUser=\nGroup=\n"), Told::Nothing);
        assert_eq!(unit("Failed to connect to bus"), Told::Nothing);
    }

    #[test]
    fn a_script_of_openrc_says_as_whom_it_runs() {
        for (text, told) in [
            ("command_user=\"caddy:caddy\"\n", Told::Group("caddy".to_owned())),
            (": x\ncommand_user=traefik\n", Told::User("traefik".to_owned())),
            ("command_user=\"${user:-caddy:web}\"\n", Told::Group("web".to_owned())),
            ("command_user=caddy:caddy\ncommand_user=\"www:\"\n", Told::User("www".to_owned())),
            ("command_user=$RC_USER\n", Told::Nothing),
            ("command=/usr/sbin/caddy\n", Told::Nothing),
        ] {
            assert_eq!(of_script(text), told, "{text}");
        }
    }
}
