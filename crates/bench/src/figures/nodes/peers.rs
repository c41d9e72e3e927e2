//! What people change many machines with who have no Portway: Ansible, and ssh in a loop of a shell.
//! Each does what it can to be fast: no facts are gathered, the interpreter is named, and what can be
//! done at once is.

use std::{
    fmt::Write as _,
    fs,
    path::{Path, PathBuf},
    process::Stdio,
    time::Duration,
};

use anyhow::Context as _;
use camino::Utf8PathBuf;
use tempfile::TempDir;
use tokio::{process::Command, time::Instant};

use crate::fleet::{At, Fleet, Page, last};

/// A way of changing many machines.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Way {
    /// ssh, each time anew.
    Ssh,
    /// ssh whose connections are kept.
    SshKept,
    /// Ansible as it comes.
    Ansible,
    /// Ansible with pipelining.
    AnsiblePipelined,
}

/// What a change took.
pub(super) struct Took {
    /// Until the last machine answered with the new page; of no change, until the tool had ended.
    pub(super) time: Duration,
    /// Of the tool on this side.
    pub(super) cpu: Duration,
}

/// The tools, ready for some machines.
pub(super) struct Peers<'a> {
    fleet: &'a Fleet,
    folder: TempDir,
    playbook: Option<PathBuf>,
}

/// Changes one machine: the file is written beside its place, tested, moved, and read by nginx.
const ONE: &str = r#"set -eu
. "$1"
exec ssh -F none -o BatchMode=yes -o StrictHostKeyChecking=no -o UserKnownHostsFile=/dev/null \
    -o LogLevel=ERROR -o ControlMaster="$MASTER" -o ControlPath="$FOLDER/cp-%C" \
    -o ControlPersist=60 -i "$key" -p "$port" "$user@127.0.0.1" \
    "tee $root/peer.new >/dev/null && mv $root/peer.new $root/conf.d/peer.conf && /usr/sbin/nginx -t -q -p $root -c $root/nginx.conf && /usr/sbin/nginx -s reload -p $root -c $root/nginx.conf" \
    < "$1.conf"
"#;

const PLAYBOOK: &str = r#"- hosts: all
  gather_facts: false
  tasks:
    - name: site
      ansible.builtin.copy:
        dest: "{{ root }}/conf.d/peer.conf"
        src: "{{ conf }}"
      register: site
    - name: test
      ansible.builtin.command: "/usr/sbin/nginx -t -q -p {{ root }} -c {{ root }}/nginx.conf"
      when: site.changed
    - name: reload
      ansible.builtin.command: "/usr/sbin/nginx -s reload -p {{ root }} -c {{ root }}/nginx.conf"
      when: site.changed
"#;

impl Way {
    pub(super) const ALL: [Self; 4] =
        [Self::Ssh, Self::SshKept, Self::Ansible, Self::AnsiblePipelined];

    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Ssh => "parallel ssh",
            Self::SshKept => "parallel ssh, ControlPersist",
            Self::Ansible => "Ansible",
            Self::AnsiblePipelined => "Ansible, pipelining",
        }
    }

    /// Tells whether it finds out by itself that there is nothing to do.
    pub(super) fn tells_what_changed(self) -> bool {
        match self {
            Self::Ssh | Self::SshKept => false,
            Self::Ansible | Self::AnsiblePipelined => true,
        }
    }
}

impl<'a> Peers<'a> {
    /// Writes what the tools are told.
    pub(super) fn new(fleet: &'a Fleet, ansible: Option<&Path>) -> anyhow::Result<Self> {
        let folder = tempfile::Builder::new().prefix("portway-bench-").tempdir()?;
        let peers =
            Self { fleet, folder, playbook: ansible.map(|folder| folder.join("ansible-playbook")) };
        fs::write(peers.path("one.sh")?, ONE)?;
        fs::write(peers.path("playbook.yml")?, PLAYBOOK)?;
        let mut inventory = String::new();
        for (number, machine) in fleet.machines.iter().enumerate() {
            let (key, root) = (machine.sshd.key(), machine.nginx.folder());
            let (user, port) = (machine.sshd.user(), machine.sshd.port());
            let conf = peers.path(&format!("node-{number}.conf"))?;
            writeln!(
                inventory,
                "node-{number} ansible_host=127.0.0.1 ansible_port={port} ansible_user={user} \
                 ansible_ssh_private_key_file={key} ansible_python_interpreter=/usr/bin/python3 \
                 root={root} conf={conf}"
            )?;
            let known = format!("key={key}\nroot={root}\nuser={user}\nport={port}\n");
            fs::write(peers.path(&format!("node-{number}"))?, known)?;
        }
        fs::write(peers.path("inventory")?, inventory)?;
        Ok(peers)
    }

    pub(super) fn has(&self, way: Way) -> bool {
        match way {
            Way::Ssh | Way::SshKept => true,
            Way::Ansible | Way::AnsiblePipelined => {
                self.playbook.as_ref().is_some_and(|playbook| playbook.is_file())
            }
        }
    }

    /// Changes the page of all machines, and waits until each answers with it.
    pub(super) async fn change(&self, way: Way, text: &str) -> anyhow::Result<Took> {
        self.write(text)?;
        let watching = self.fleet.watch(At::Peer, text);
        let began = Instant::now();
        let cpu = self.run(way).await?;
        let seen = last(watching).await?;
        Ok(Took { time: seen.duration_since(began.into_std()), cpu })
    }

    /// Runs the tool where nothing is to be done.
    pub(super) async fn same(&self, way: Way, text: &str) -> anyhow::Result<Took> {
        self.write(text)?;
        let began = Instant::now();
        let cpu = self.run(way).await?;
        Ok(Took { time: began.elapsed(), cpu })
    }

    fn write(&self, text: &str) -> anyhow::Result<()> {
        for (number, machine) in self.fleet.machines.iter().enumerate() {
            let (port, host) = (machine.port(At::Peer), Page::HOST);
            let conf = format!(
                "server {{ listen 127.0.0.1:{port}; server_name {host}; return 200 \"{text}\"; }}\n"
            );
            fs::write(self.path(&format!("node-{number}.conf"))?, conf)?;
        }
        Ok(())
    }

    /// Runs a tool. Returns what it cost on this side.
    async fn run(&self, way: Way) -> anyhow::Result<Duration> {
        let forks = if self.fleet.machines.len() > 10 { "50" } else { "10" };
        let last = self.fleet.machines.len() - 1;
        let loops =
            format!("seq 0 {last} | xargs -P {forks} -I N sh {0}/one.sh {0}/node-N", self.base()?);
        let mut command = Command::new("bash");
        // The shell tells what all that it waited for has spent.
        command.args(["-c", r#"TIMEFORMAT='cpu %U %S'; time "$@""#, "bash"]);
        match way {
            Way::Ssh => command.args(["sh", "-c", &loops]).env("MASTER", "no"),
            Way::SshKept => command.args(["sh", "-c", &loops]).env("MASTER", "auto"),
            Way::Ansible | Way::AnsiblePipelined => {
                let playbook = self.playbook.as_ref().context("there is no Ansible")?;
                let pipelined = if way == Way::AnsiblePipelined { "True" } else { "False" };
                command.arg(playbook).args(["-i", self.path("inventory")?.as_str(), "-f", forks]);
                command.arg(self.path("playbook.yml")?);
                command.env("ANSIBLE_PIPELINING", pipelined)
            }
        };
        command.env("FOLDER", self.base()?).env("HOME", self.folder.path());
        command.env("ANSIBLE_HOST_KEY_CHECKING", "False").env("ANSIBLE_NOCOLOR", "1");
        command.env("LC_ALL", "C.UTF-8").stdin(Stdio::null());
        let ended = command.output().await.context("bash cannot be started")?;
        let said = String::from_utf8_lossy(&ended.stderr).into_owned();
        let out = String::from_utf8_lossy(&ended.stdout);
        anyhow::ensure!(ended.status.success(), "{}: {said}{out}", way.name());
        cpu(&said).with_context(|| format!("no times in `{said}`"))
    }

    fn base(&self) -> anyhow::Result<Utf8PathBuf> {
        let path = self.folder.path().to_owned();
        Utf8PathBuf::from_path_buf(path).map_err(|path| anyhow::anyhow!("odd: {}", path.display()))
    }

    fn path(&self, name: &str) -> anyhow::Result<Utf8PathBuf> {
        Ok(self.base()?.join(name))
    }
}

impl Drop for Peers<'_> {
    fn drop(&mut self) {
        // Kept connections end with the servers, which are this program's.
        for machine in &self.fleet.machines {
            if let Err(error) = machine.sshd.kill_sessions() {
                crate::report::say(&format!("a session is left behind: {error:#}"));
            }
        }
    }
}

/// Reads `cpu 0.123 0.456`.
fn cpu(said: &str) -> Option<Duration> {
    let line = said.lines().rev().find_map(|line| line.strip_prefix("cpu "))?;
    let mut words = line.split(' ').map(|word| word.parse::<f64>().ok());
    let (user, system) = (words.next()??, words.next()??);
    Duration::try_from_secs_f64(user + system).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_shell_says_of_time_is_read() {
        assert_eq!(cpu("warning\ncpu 0.250 1.500\n"), Some(Duration::from_millis(1750)));
        assert_eq!(cpu("cpu x"), None);
    }
}
