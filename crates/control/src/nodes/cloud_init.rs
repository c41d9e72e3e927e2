//! User-data for cloud-init that makes a new machine a node: the login with the manager's key, its
//! rules of sudo, the engine from the distribution, and the one request by which it joins.

use portway_model::{
    EngineKind,
    node::{HOME, SshUser},
};
use portway_secrets::JoinToken;
use serde_json::json;

/// Where the machine keeps what it joins with, until it has.
const FOLDER: &str = "/etc/portway-join";
/// The script that joins.
const SCRIPT: &str = "/usr/local/sbin/portway-join";

/// What user-data is made of.
pub(super) struct CloudInit<'a> {
    pub(super) engine: EngineKind,
    pub(super) user: &'a SshUser,
    /// The manager's, as a line of `authorized_keys`.
    pub(super) public_key: &'a str,
    pub(super) sudoers: &'a str,
    /// Where the manager is reached.
    pub(super) url: &'a str,
    /// The authorities by which it is known; nothing where machines know them anyway.
    pub(super) roots: Option<&'a str>,
    pub(super) token: &'a JoinToken,
    /// The name of the node, where it is not the machine's.
    pub(super) name: Option<&'a str>,
}

impl CloudInit<'_> {
    /// Returns the text, or why there is none. What stands between quotes is JSON, which YAML reads as
    /// it is.
    pub(super) fn write(&self) -> Result<String, String> {
        self.judge()?;
        let mut lines = vec![
            "#cloud-config".to_owned(),
            "# Makes a new machine a node of Portway.".to_owned(),
            "# It holds a token: whoever reads it can join once.".to_owned(),
            "package_update: true".to_owned(),
            format!("packages: {}", json!(["curl", "sudo", self.engine.as_str()])),
            "users:".to_owned(),
            "  - default".to_owned(),
            format!("  - name: {}", json!(self.user.as_str())),
            "    shell: /bin/sh".to_owned(),
            "    lock_passwd: true".to_owned(),
            format!("    ssh_authorized_keys: {}", json!([self.public_key])),
            "write_files:".to_owned(),
        ];
        for (path, mode, content) in self.files() {
            lines.push(format!("  - path: {path}"));
            lines.push(format!("    permissions: {}", json!(mode)));
            lines.push(format!("    content: {}", json!(content)));
        }
        lines.push("runcmd:".to_owned());
        lines.extend(self.commands().iter().map(|command| format!("  - {}", json!(command))));
        Ok(lines.join("\n") + "\n")
    }

    fn judge(&self) -> Result<(), String> {
        match self.engine {
            EngineKind::Nginx | EngineKind::Caddy => {}
            EngineKind::Traefik | EngineKind::Edge => {
                return Err(format!(
                    "distributions have no package of {}; make a token alone, and have an image that holds it join",
                    self.engine
                ));
            }
        }
        if self.user.is_root() {
            return Err("the login that is made is not root; give another `user`".to_owned());
        }
        let is_plain = |c: char| c.is_ascii_alphanumeric() || ":/.-_[]".contains(c);
        if !self.url.chars().all(is_plain) {
            return Err(format!("`{}` is no address of a manager", self.url));
        }
        let is_here = ["http://127.0.0.1", "http://localhost", "http://[::1]"].iter().any(|here| {
            self.url.strip_prefix(here).is_some_and(|rest| rest.is_empty() || rest.starts_with(':'))
        });
        if self.url.starts_with("https://") || is_here {
            return Ok(());
        }
        Err(format!("a token is sent over HTTPS only, and `{}` is none", self.url))
    }

    fn files(&self) -> Vec<(String, &'static str, String)> {
        let mut files = vec![
            (portway_deploy::SUDOERS.to_owned(), "0440", self.sudoers.to_owned()),
            (format!("{FOLDER}/token"), "0600", self.token.expose().to_owned()),
            (SCRIPT.to_owned(), "0700", self.script()),
        ];
        if let Some(roots) = self.roots {
            files.push((format!("{FOLDER}/roots.pem"), "0644", roots.to_owned()));
        }
        files
    }

    /// What the login must be able to write, and the ways from the engine's folder to Portway's: links, so
    /// that the login owns nothing there.
    fn commands(&self) -> Vec<Vec<String>> {
        let user = self.user.as_str();
        let words =
            |words: &[&str]| words.iter().map(|word| (*word).to_owned()).collect::<Vec<_>>();
        let link = |name: &str, path: &str| words(&["ln", "-sfn", &format!("{HOME}/{name}"), path]);
        // The engine refuses its configuration where a name in it leads nowhere.
        let empty = |name: &str| {
            let path = format!("{HOME}/{name}");
            words(&["install", "-m", "0644", "-o", user, "/dev/null", &path])
        };
        let mut commands = vec![
            words(&["install", "-d", "-m", "0711", "-o", user, HOME]),
            words(&["install", "-d", "-m", "0755", "-o", user, "/var/log/portway"]),
            words(&["sh", "-c", &self.closed_folders()]),
        ];
        match self.engine {
            EngineKind::Nginx => commands.extend([
                // The page that the package brings would have the port to itself.
                words(&["rm", "-f", "/etc/nginx/sites-enabled/default"]),
                words(&["install", "-d", "/etc/nginx/conf.d"]),
                empty("current.conf"),
                link("current.conf", "/etc/nginx/conf.d/portway.conf"),
                link("portway-test.conf", "/etc/nginx/portway-test.conf"),
            ]),
            EngineKind::Caddy => {
                let import =
                    format!("printf 'import {HOME}/current.caddy\\n' >/etc/caddy/Caddyfile");
                commands.extend([
                    empty("current.caddy"),
                    words(&["sh", "-c", &import]),
                    link("portway-test.caddyfile", "/etc/caddy/portway-test.caddyfile"),
                ]);
            }
            EngineKind::Traefik | EngineKind::Edge => {}
        }
        commands.push(vec![SCRIPT.to_owned()]);
        commands
    }

    /// The folders in which keys lie are the login's, and open to the group in which the engine reads.
    fn closed_folders(&self) -> String {
        let groups = match self.engine {
            // Where both are there, as on Alpine, its package uses the first.
            EngineKind::Nginx => "nginx www-data",
            EngineKind::Caddy | EngineKind::Traefik | EngineKind::Edge => self.engine.as_str(),
        };
        format!(
            "install -d -m 0710 -o {user} -g \"$(getent group {groups} | head -n 1 | cut -d : -f 1)\" {home}/objects {home}/releases",
            user = self.user.as_str(),
            home = HOME,
        )
    }

    /// The words of a shell are the machine's own; what it sends is made of letters that need no quotes.
    fn script(&self) -> String {
        let name = self.name.unwrap_or("$(hostname -s | tr A-Z a-z | tr -cd a-z0-9-)");
        let trust = if self.roots.is_some() { "--cacert $dir/roots.pem" } else { "" };
        format!(
            "#!/bin/sh\n\
             # Makes this machine a node of Portway, once.\n\
             set -eu\n\
             dir=${{PORTWAY_JOIN_DIR:-{FOLDER}}}\n\
             keys=${{PORTWAY_HOST_KEYS:-/etc/ssh}}\n\
             name={name}\n\
             pins=\n\
             for key in \"$keys\"/ssh_host_*_key.pub; do\n\
             \x20   pins=\"$pins${{pins:+,}}\\\"$(ssh-keygen -lf \"$key\" | cut -d ' ' -f 2)\\\"\"\n\
             done\n\
             printf '{{\"token\":\"%s\",\"name\":\"%s\",\"host_keys\":[%s]}}' \"$(cat \"$dir/token\")\" \"$name\" \"$pins\" |\n\
             \x20   curl --fail --silent --show-error --max-time 60 --retry 10 --retry-delay 5 {trust} \\\n\
             \x20       --header 'content-type: application/json' --data-binary @- {url}/api/v1/join\n\
             rm -f \"$dir/token\"\n",
            url = self.url.trim_end_matches('/'),
        )
    }
}

#[cfg(test)]
mod tests {
    use saphyr::{LoadableYamlNode as _, Yaml};

    use super::*;

    /// Writes user-data, and judges what came of it.
    fn judged<T>(
        engine: EngineKind,
        url: &str,
        user: &str,
        judge: impl FnOnce(Result<String, String>) -> T,
    ) -> T {
        let cloud_init = CloudInit {
            engine,
            user: &user.parse().unwrap(),
            public_key: "ssh-ed25519 AAAA portway",
            sudoers: "deploy ALL=(root) NOPASSWD: \\\n    /usr/bin/timeout -k 5 30 x\n",
            url,
            roots: Some("-----BEGIN CERTIFICATE-----\nx\n"),
            token: &JoinToken::generate().unwrap(),
            name: None,
        };
        judge(cloud_init.write())
    }

    fn is_written(engine: EngineKind, url: &str, user: &str) -> bool {
        judged(engine, url, user, |text| text.is_ok())
    }

    #[test]
    fn yaml_reads_back_what_was_meant() {
        let url = "https://manager.example:8443/";
        let text = judged(EngineKind::Nginx, url, "portway", Result::unwrap);

        let yaml = Yaml::load_from_str(&text).unwrap();
        let root = &yaml[0];
        let word = |yaml: &Yaml<'_>| yaml.as_str().unwrap().to_owned();
        assert!(text.starts_with("#cloud-config\n"));
        assert_eq!(word(&root["packages"][2]), "nginx");
        assert_eq!(word(&root["users"][1]["ssh_authorized_keys"][0]), "ssh-ed25519 AAAA portway");
        let files = root["write_files"].as_sequence().unwrap();
        assert_eq!(word(&files[0]["path"]), "/etc/sudoers.d/portway");
        assert_eq!(word(&files[0]["permissions"]), "0440");
        assert!(word(&files[0]["content"]).ends_with("/usr/bin/timeout -k 5 30 x\n"));
        let script = word(&files[2]["content"]);
        assert!(script.contains("@- https://manager.example:8443/api/v1/join\n"), "{script}");
        let last = root["runcmd"].as_sequence().unwrap().last().unwrap();
        assert_eq!(word(&last[0]), "/usr/local/sbin/portway-join");
    }

    #[test]
    fn caddy_has_what_it_imports_before_it_is_told_to() {
        let url = "https://manager.example";
        let text = judged(EngineKind::Caddy, url, "portway", Result::unwrap);

        let yaml = Yaml::load_from_str(&text).unwrap();
        let commands = yaml[0]["runcmd"].as_sequence().unwrap().iter();
        let commands: Vec<String> = commands
            .map(|command| {
                let words = command.as_sequence().unwrap().iter();
                words.map(|word| word.as_str().unwrap()).collect::<Vec<_>>().join(" ")
            })
            .collect();
        let at = |part: &str| commands.iter().position(|command| command.contains(part)).unwrap();
        let file = at("install -m 0644 -o portway /dev/null /var/lib/portway/current.caddy");
        assert!(at("install -d -m 0711") < file, "{commands:?}");
        assert!(file < at("import /var/lib/portway/current.caddy"), "{commands:?}");
    }

    #[test]
    fn the_token_goes_over_https_or_stays() {
        for url in
            ["http://manager.example", "http://localhost.evil.example", "ftp://x", "https://x y"]
        {
            assert!(!is_written(EngineKind::Nginx, url, "portway"), "{url}");
        }
        for url in ["https://manager.example", "http://127.0.0.1:8900", "http://[::1]:8900"] {
            assert!(is_written(EngineKind::Caddy, url, "portway"), "{url}");
        }
    }

    #[test]
    fn what_cannot_be_set_up_so_is_told() {
        for (engine, user) in [(EngineKind::Traefik, "portway"), (EngineKind::Nginx, "root")] {
            assert!(!is_written(engine, "https://manager.example", user));
        }
    }
}
