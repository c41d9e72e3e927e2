//! Plans for systems as they describe themselves, beside each other in one file.

use std::fmt::Write as _;

use super::*;
use crate::{Family, OsRelease, Ports, Supervisor, caddy, traefik};

const SYSTEMS: [(&str, &str); 11] = [
    ("debian-12", "PRETTY_NAME=\"Debian GNU/Linux 12 (bookworm)\"\nVERSION_ID=\"12\"\nID=debian\n"),
    (
        "ubuntu-24.04",
        "PRETTY_NAME=\"Ubuntu 24.04.1 LTS\"\nVERSION_ID=\"24.04\"\nID=ubuntu\nID_LIKE=debian\n",
    ),
    (
        "rhel-9",
        "PRETTY_NAME=\"Red Hat Enterprise Linux 9.4 (Plow)\"\nVERSION_ID=\"9.4\"\nID=\"rhel\"\nID_LIKE=\"fedora\"\n",
    ),
    (
        "rocky-9",
        "PRETTY_NAME=\"Rocky Linux 9.4 (Blue Onyx)\"\nVERSION_ID=\"9.4\"\nID=\"rocky\"\nID_LIKE=\"rhel centos fedora\"\n",
    ),
    (
        "alma-8",
        "PRETTY_NAME=\"AlmaLinux 8.10 (Cerulean Leopard)\"\nVERSION_ID=\"8.10\"\nID=\"almalinux\"\nID_LIKE=\"rhel centos fedora\"\n",
    ),
    ("fedora-41", "PRETTY_NAME=\"Fedora Linux 41\"\nVERSION_ID=41\nID=fedora\n"),
    (
        "amazon-2023",
        "PRETTY_NAME=\"Amazon Linux 2023\"\nVERSION_ID=\"2023\"\nID=\"amzn\"\nID_LIKE=\"fedora\"\n",
    ),
    (
        "amazon-2",
        "PRETTY_NAME=\"Amazon Linux 2\"\nVERSION_ID=\"2\"\nID=\"amzn\"\nID_LIKE=\"centos rhel fedora\"\n",
    ),
    (
        "alpine-3.20",
        "NAME=\"Alpine Linux\"\nPRETTY_NAME=\"Alpine Linux v3.20\"\nVERSION_ID=3.20.3\nID=alpine\n",
    ),
    ("arch", "NAME=\"Arch Linux\"\nPRETTY_NAME=\"Arch Linux\"\nID=arch\n"),
    ("nixos", "NAME=NixOS\nID=nixos\nVERSION_ID=\"24.11\"\n"),
];

#[test]
fn packages_for_every_system() {
    let mut text = String::new();
    for (system, os_release) in SYSTEMS {
        let os = OsRelease::read(os_release).unwrap();
        for engine in [EngineKind::Nginx, EngineKind::Caddy, EngineKind::Traefik] {
            let layout = match engine {
                EngineKind::Caddy => caddy::usual_facts().layout,
                EngineKind::Nginx | EngineKind::Traefik | EngineKind::Edge => {
                    crate::nginx::usual_facts().layout
                }
            };
            for wanted in [Wanted::Installed, Wanted::Upgraded] {
                writeln!(text, "{system} {engine} {wanted:?}").unwrap();
                match package_plan(&os, engine, wanted, &layout, &Ports::default()) {
                    Ok(plan) => write(&mut text, &plan),
                    Err(none) => writeln!(text, "  {none}; {}", none.remedy("web-1")).unwrap(),
                }
            }
        }
    }
    insta::assert_snapshot!(text);
}

#[test]
fn programs_under_everything_that_looks_after_them() {
    let systemd = Supervisor::Systemd("/usr/bin/systemctl".into());
    let openrc = Supervisor::OpenRc("/sbin/rc-service".into());
    let mut text = String::new();
    for engine in [EngineKind::Traefik, EngineKind::Caddy] {
        for supervisor in [&systemd, &openrc, &Supervisor::Nobody] {
            for is_there in [false, true] {
                let facts = match engine {
                    EngineKind::Caddy => caddy::usual_facts(),
                    EngineKind::Traefik | EngineKind::Nginx | EngineKind::Edge => {
                        traefik::usual_facts()
                    }
                };
                let plan = program_plan(&ProgramPlace {
                    engine,
                    from: "/srv/program".into(),
                    digest: Digest::of(b"program"),
                    layout: &facts.layout,
                    ports: &Ports::default(),
                    user: "deploy",
                    supervisor,
                    is_there,
                    is_configured: is_there,
                    is_looked_after: is_there,
                });
                writeln!(text, "{engine}, {supervisor}, there already: {is_there}").unwrap();
                write(&mut text, &plan);
                for step in &plan.steps {
                    if let InstallStep::Stage { path, text: staged } = step {
                        writeln!(text, "--- {path}\n{staged}---").unwrap();
                    }
                }
            }
        }
    }
    insta::assert_snapshot!(text);
}

fn write(text: &mut String, plan: &InstallPlan) {
    writeln!(text, "  = {}; {}", plan.by, plan.interrupts).unwrap();
    let mut line = |mark: char, command: &Command| {
        let seconds = command.deadline.as_secs();
        writeln!(text, "  {mark} {} ({:?}, {seconds} s)", command.argv.join(" "), command.rights)
            .unwrap();
    };
    plan.refresh.iter().for_each(|command| line('<', command));
    plan.preview.iter().for_each(|command| line('?', command));
    for step in &plan.steps {
        match step {
            InstallStep::Run(command) => line('#', command),
            InstallStep::Stage { .. } | InstallStep::Prove { .. } => {
                let told = InstallStep::Run(Command {
                    argv: vec![step.told()],
                    rights: crate::Rights::Login,
                    deadline: std::time::Duration::ZERO,
                });
                if let InstallStep::Run(command) = told {
                    line('.', &command);
                }
            }
        }
    }
    plan.undo.iter().for_each(|command| line('-', command));
    plan.finish.iter().for_each(|command| line('+', command));
}

#[test]
fn what_a_package_manager_says_beforehand_names_the_version() {
    let debian = "NOTE: This is only a simulation!\nReading package lists...\nInst nginx-common (1.22.1-9 Debian:12.1/stable [all])\nInst nginx [1.22.0] (1.22.1-9+deb12u1 Debian:12.1/stable [amd64])\nConf nginx (1.22.1-9+deb12u1 Debian:12.1/stable [amd64])\n";
    let newest = "Reading package lists...\nnginx is already the newest version (1.22.1-9+deb12u1).\n0 upgraded";
    let redhat = "Installed Packages\nnginx.x86_64 1:1.20.1-14.el9 @appstream\nAvailable Packages\nnginx.x86_64    1:1.20.1-16.el9_4    appstream\n";
    let alpine =
        "nginx policy:\n  1.26.3-r0:\n    https://dl-cdn.alpinelinux.org/alpine/v3.20/main\n";
    for (family, said, version) in [
        (Family::Debian, debian, Some("1.22.1-9+deb12u1")),
        (Family::Debian, newest, Some("1.22.1-9+deb12u1")),
        (Family::Debian, "E: Unable to locate package nginx\n", None),
        (Family::RedHat, redhat, Some("1:1.20.1-16.el9_4")),
        (Family::RedHat, "Error: No matching Packages to list\n", None),
        (Family::Alpine, alpine, Some("1.26.3-r0")),
        (Family::Alpine, "", None),
    ] {
        assert_eq!(offered(family, "nginx", said).as_deref(), version, "{said}");
    }
}
