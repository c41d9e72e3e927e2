//! `ca trust`: the system's own programs believe the sites afterwards, and no longer once it is
//! taken back.

use crate::bed::Bed;

/// What curl says of a certificate that it does not trust.
const UNTRUSTED: i32 = 60;

#[test]
fn programs_and_browsers_trust_the_sites_until_it_is_taken_back() {
    let test = "trust::programs_and_browsers_trust_the_sites_until_it_is_taken_back";
    let Some(bed) = Bed::with_portway(test) else { return };
    bed.publish("app.localhost", "hello");
    bed.sh("cd ~ && mkdir -p .pki/nssdb && certutil -N -d sql:.pki/nssdb --empty-password");
    let ask = "curl -sS https://app.localhost/";
    let browser = "cd ~ && certutil -L -d sql:.pki/nssdb | grep -c 'Portway local authority'";
    let bundle = "/etc/ssl/certs/ca-certificates.crt";
    let before = bed.sh(&format!("sha256sum {bundle}"));
    assert_eq!(bed.try_sh(ask).code, UNTRUSTED);

    let planned = bed.sh("portway ca trust --dry-run");
    assert!(planned.contains("run update-ca-certificates"), "{planned}");
    assert_eq!(bed.try_sh(ask).code, UNTRUSTED, "a rehearsal changes nothing");
    for time in ["first", "second"] {
        bed.sh("portway ca trust");
        assert_eq!(bed.sh(ask), "hello", "after the {time} time");
        assert_eq!(bed.sh(browser).trim(), "1", "after the {time} time");
        assert_eq!(bed.sh("ls /usr/local/share/ca-certificates/portway-* | wc -l").trim(), "1");
    }
    assert_eq!(bed.try_sh("ls /tmp | grep portway-ca").out, "", "no copy of the root is left");
    let openssl = "openssl s_client -connect localhost:443 -servername app.localhost \
                   -verify_return_error -verify_hostname app.localhost </dev/null";
    bed.sh(openssl);

    for time in ["first", "second"] {
        bed.sh("portway ca untrust");
        assert_eq!(bed.try_sh(ask).code, UNTRUSTED, "after the {time} time");
        assert_eq!(bed.try_sh(browser).out.trim(), "0", "after the {time} time");
    }
    assert_eq!(bed.sh(&format!("sha256sum {bundle}")), before, "everything is as it was");
    assert_eq!(bed.try_sh("ls /etc/ssl/certs | grep -i portway").out, "");
}

#[test]
fn who_is_not_root_is_told_how_to_trust() {
    let test = "trust::who_is_not_root_is_told_how_to_trust";
    let Some(bed) = Bed::with_portway(test) else { return };
    bed.sh("useradd --create-home --groups portway ann");

    let refused = bed.try_sh_as("ann", "portway ca trust");

    assert_ne!(refused.code, 0);
    assert!(refused.err.contains("sudo portway ca trust"), "{}", refused.err);
    assert_eq!(bed.try_sh("ls /usr/local/share/ca-certificates | grep portway").out, "");
}
