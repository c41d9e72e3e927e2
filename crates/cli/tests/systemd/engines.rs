//! Engines that come to a machine by `node install`: nginx by a real apt from packages that the test
//! makes, Traefik as a program. A manager on the same machine reaches it by SSH.

use crate::{
    bed::Bed,
    node::{PORTWAY, start_manager, start_ssh},
};

/// Makes packages of the nginx that this machine has, takes it away, and leaves apt nothing but a folder
/// of the test's own. Each package starts and renews nginx as Debian's does.
const REPOSITORY: &str = r#"
set -e
mkdir -p /srv/repo /srv/pack/DEBIAN
installed=$(dpkg-query -W -f '${db:Status-Abbrev} ${Package}\n' 'nginx*' 'libnginx-mod*' 2>/dev/null | sed -n 's/^ii *//p')
dpkg-query -L $installed | sed 's|^/lib/|/usr/lib/|; /^\/lib$/d; /^\/\.$/d' | sort -u | while read -r path; do
    if [ -e "$path" ]; then echo "$path"; fi
done >/srv/files
tar --no-recursion -cf - -T /srv/files 2>/dev/null | tar -xpf - -C /srv/pack
cat >/srv/pack/DEBIAN/postinst <<'END'
#!/bin/sh
set -e
systemctl daemon-reload
if [ -n "$2" ]; then systemctl restart nginx; exit 0; fi
mkdir -p /var/log/nginx /var/lib/nginx
ln -sf /etc/nginx/sites-available/default /etc/nginx/sites-enabled/default
systemctl enable --now nginx
END
chmod 755 /srv/pack/DEBIAN/postinst
find /srv/pack/etc -type f | sed 's|^/srv/pack||' >/srv/pack/DEBIAN/conffiles
dpkg --purge --force-all $installed >/dev/null 2>&1
rm -rf /etc/nginx /usr/sbin/nginx /etc/apt/sources.list /etc/apt/sources.list.d/* /var/lib/apt/lists/*
systemctl daemon-reload
echo 'deb [trusted=yes] file:/srv/repo ./' >/etc/apt/sources.list
: >/srv/repo/Packages
cat >/srv/release <<'END'
set -e
cat >/srv/pack/DEBIAN/control <<CONTROL
Package: nginx
Version: $1
Architecture: $(dpkg --print-architecture)
Maintainer: nobody <nobody@example.org>
Description: nginx of the test
CONTROL
dpkg-deb -Znone --build /srv/pack /srv/repo/nginx.deb >/dev/null
{ dpkg-deb -f /srv/repo/nginx.deb
  echo "Filename: ./nginx.deb"
  echo "Size: $(stat -c %s /srv/repo/nginx.deb)"
  echo "SHA256: $(sha256sum /srv/repo/nginx.deb | cut -d ' ' -f 1)"; } >/srv/repo/Packages
END
"#;

#[test]
fn nginx_comes_by_apt_serves_is_upgraded_and_tells_what_failed() {
    let test = "engines::nginx_comes_by_apt_serves_is_upgraded_and_tells_what_failed";
    let Some(bed) = Bed::boot(test) else { return };
    bed.sh(REPOSITORY);
    start_ssh(&bed);
    start_manager(&bed, "/opt/portway");
    add(&bed, "vm-1", "nginx", "root");

    let missing = bed.try_sh(&format!("{PORTWAY} node check vm-1"));
    assert_eq!(missing.code, 3, "{missing:?}");
    assert!(missing.err.contains("`portway node install vm-1`"), "{}", missing.err);
    let early = bed.try_sh(&format!("{PORTWAY} node install vm-1 --upgrade --dry-run"));
    assert!(early.code == 6 && early.err.contains("cannot be upgraded"), "{early:?}");

    // There is no such package: it is told, and nothing is done.
    let unknown = bed.try_sh(&format!("{PORTWAY} node install vm-1 --yes"));
    assert_eq!(unknown.code, 3, "{unknown:?}");
    assert!(unknown.out.contains("Unable to locate package nginx"), "{}", unknown.out);

    bed.sh("sh /srv/release 1.0-1");
    let plan = bed.sh(&format!("{PORTWAY} node install vm-1 --dry-run"));
    for part in ["apt-get update", "DPkg::Lock::Timeout=120 nginx", "at most 600 s", "by apt"] {
        assert!(plan.contains(part), "{part}: {plan}");
    }
    assert_eq!(bed.try_sh("test -e /usr/sbin/nginx").code, 1, "nothing was done");
    let unasked = bed.try_sh(&format!("{PORTWAY} node install vm-1 </dev/null"));
    assert!(unasked.code == 2 && unasked.err.contains("--yes"), "{unasked:?}");

    let done = bed.sh(&format!("{PORTWAY} node install vm-1 --yes"));
    assert!(done.contains("came") && done.contains("1.0-1"), "{done}");
    assert_eq!(bed.sh("dpkg-query -W -f '${Version}' nginx"), "1.0-1");
    bed.sh(&format!("{PORTWAY} node check vm-1"));
    bed.put("/srv/site.yaml", SITE);
    bed.sh(&format!("{PORTWAY} apply -f /srv/site.yaml"));
    assert_eq!(bed.sh("curl -ksS https://app.localhost/"), "hello");

    // What is there is not installed again; what is newer comes when it is asked for.
    let again = bed.try_sh(&format!("{PORTWAY} node install vm-1 --yes"));
    assert!(again.code == 6 && again.err.contains("--upgrade"), "{again:?}");
    bed.sh("sh /srv/release 1.0-2 && apt-get update -q");
    let plan = bed.sh(&format!("{PORTWAY} node install vm-1 --upgrade --dry-run"));
    assert!(plan.contains("1.0-2") && plan.contains("without closing its ports"), "{plan}");
    bed.sh(&format!("{PORTWAY} node install vm-1 --upgrade --yes"));
    assert_eq!(bed.sh("dpkg-query -W -f '${Version}' nginx"), "1.0-2");
    assert_eq!(bed.sh("curl -ksS https://app.localhost/"), "hello");

    // A package whose own script fails.
    bed.sh("printf '#!/bin/sh\\necho it breaks; exit 9\\n' >/srv/pack/DEBIAN/postinst");
    bed.sh("sh /srv/release 1.0-3");
    let failed = bed.try_sh(&format!("{PORTWAY} node install vm-1 --upgrade --yes"));
    assert_eq!(failed.code, 3, "{failed:?}");
    assert!(failed.out.contains("it breaks"), "what it printed is told: {}", failed.out);
    assert_eq!(bed.sh("curl -ksS https://app.localhost/"), "hello", "it serves on");
    let audit = bed.sh(&format!("{PORTWAY} audit --action node.install.end"));
    assert!(audit.contains("failed") && audit.contains("done"), "{audit}");

    // Who is not root is told the rules, and they are enough.
    add(&bed, "vm-2", "nginx", "deploy");
    let refused = bed.try_sh(&format!("{PORTWAY} node install vm-2 --upgrade --dry-run"));
    assert!(
        refused.code == 3 && refused.err.contains("node sudoers vm-2 --install"),
        "{refused:?}"
    );
    bed.sh(&format!(
        "{PORTWAY} node sudoers vm-2 --install --upgrade >/etc/sudoers.d/portway-install && \
         chmod 440 /etc/sudoers.d/portway-install && visudo -c -q"
    ));
    bed.sh(&format!("{PORTWAY} node install vm-2 --upgrade --dry-run"));
}

#[test]
fn traefik_comes_as_a_program_serves_and_is_put_back_where_another_fails() {
    let test = "engines::traefik_comes_as_a_program_serves_and_is_put_back_where_another_fails";
    let Some(program) = traefik(test) else { return };
    let Some(bed) = Bed::boot(test) else { return };
    bed.sh("rm -rf /etc/traefik /usr/local/bin/traefik");
    start_ssh(&bed);
    start_manager(&bed, "/opt/portway");
    bed.sh("mkdir /srv/www && echo hello >/srv/www/index.html");
    bed.sh(
        "systemd-run --quiet --unit origin python3 -m http.server -d /srv/www -b 127.0.0.1 9000",
    );
    add(&bed, "vm-1", "traefik", "root");

    let missing = bed.try_sh(&format!("{PORTWAY} node check vm-1"));
    assert!(missing.code == 3 && missing.err.contains("--program FILE"), "{missing:?}");
    let without = bed.try_sh(&format!("{PORTWAY} node install vm-1 --yes"));
    assert!(without.code == 6 && without.err.contains("--program FILE"), "{without:?}");
    let install = format!("{PORTWAY} node install vm-1 --program {program}");
    let zeros = "0".repeat(64);
    let other = bed.try_sh(&format!("{install} --sha256 {zeros} --yes"));
    assert!(other.code == 6 && other.err.contains("nothing was done"), "{other:?}");

    let done = bed.sh(&format!("{install} --yes"));
    assert!(done.contains("systemctl enable traefik.service"), "{done}");
    bed.sh(&format!("cmp {program} /usr/local/bin/traefik && systemctl is-active traefik"));
    bed.put("/srv/site.yaml", PROXIED);
    bed.sh(&format!("{PORTWAY} apply -f /srv/site.yaml"));
    assert_eq!(bed.sh("curl -ksS https://app.localhost/").trim(), "hello");

    // It tells its version, and does not run.
    bed.put(
        "/srv/broken",
        "#!/bin/sh\n[ \"$1\" = version ] && { echo 'Version:      9.9.9'; exit 0; }\nexit 1\n",
    );
    bed.sh("chmod 755 /srv/broken");
    let failed =
        bed.try_sh(&format!("{PORTWAY} node install vm-1 --upgrade --program /srv/broken --yes"));
    assert_eq!(failed.code, 3, "{failed:?}");
    assert!(failed.err.contains("traefik does not run"), "{}", failed.err);
    bed.sh(&format!("cmp {program} /usr/local/bin/traefik"));
    bed.eventually("[ \"$(curl -ksS https://app.localhost/)\" = hello ]");
}

const SITE: &str =
    "sites: { app: { hosts: [app.localhost], respond: { body: hello }, nodes: [vm-1] } }\n";
const PROXIED: &str =
    "sites: { app: { hosts: [app.localhost], to: \"127.0.0.1:9000\", nodes: [vm-1] } }\n";

/// Returns where Traefik is on this machine, whose files the bed has, too.
fn traefik(test: &str) -> Option<String> {
    let environment = std::env::var("PORTWAY_PYTHON_ENV")
        .unwrap_or_else(|_| concat!(env!("CARGO_MANIFEST_DIR"), "/../../.venv").to_owned());
    let program = format!("{environment}/bin/traefik");
    if !std::path::Path::new(&program).exists() {
        crate::bed::skip(test, &format!("there is no {program}; `make setup` gets it"));
        return None;
    }
    Some(std::fs::canonicalize(program).ok()?.to_str()?.to_owned())
}

fn add(bed: &Bed, name: &str, engine: &str, user: &str) {
    bed.sh(&format!("{PORTWAY} node key >/srv/ssh/keys"));
    let pin = bed.sh("ssh-keygen -lf /srv/ssh/host.pub | cut -d ' ' -f 2");
    bed.sh(&format!(
        "{PORTWAY} node add {name} --engine {engine} --ssh {user}@127.0.0.1:2222 --host-key {}",
        pin.trim()
    ));
}
