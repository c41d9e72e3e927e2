//! Login shells: those of the POSIX family carry every word, others are told apart. The server runs
//! what we send in each, as if the user had it.

use portway_testkit::sshd::SshdOptions;
use portway_transport::TransportError;

use crate::{
    conformance::{
        a_folder_is_listed_with_digests, files_have_any_usual_name, words_arrive_as_they_are,
    },
    far::Far,
};

#[tokio::test]
async fn shells_of_the_posix_family_carry_every_word() {
    for shell in ["dash", "bash", "busybox ash", "zsh"] {
        let far = with_shell(&format!("{shell} -c \"$SSH_ORIGINAL_COMMAND\""));

        words_arrive_as_they_are(&far).await;
        files_have_any_usual_name(&far).await;
        crate::conformance::what_each_of_several_prints_is_its_own(&far).await;
    }
}

#[tokio::test]
async fn a_node_with_busybox_alone_is_served() {
    let far = Far::run();
    let programs = far.sshd.folder().join("programs");
    let line = format!("mkdir {programs} && busybox --install -s {programs}");
    crate::conformance::sh(&far, &line).await;
    let ssh = far.ssh.clone().with_search_path(programs.as_str());
    let far = Far { ssh, ..far };

    for shown in ["sha256sum", "tar", "xargs", "timeout"] {
        let line = crate::conformance::sh(&far, &format!("readlink $(command -v {shown})")).await;
        assert!(line.contains("busybox"), "{shown}: {line}");
    }
    words_arrive_as_they_are(&far).await;
    files_have_any_usual_name(&far).await;
    crate::conformance::sh(&far, &format!("rm -rf {0} && mkdir {0}", dir(&far))).await;
    a_folder_is_listed_with_digests(&far).await;
    crate::conformance::sh(&far, &format!("rm -rf {0} && mkdir {0}", dir(&far))).await;
    crate::conformance::several_operations_are_done_in_order(&far).await;
    crate::conformance::sh(&far, &format!("rm -rf {0} && mkdir {0}", dir(&far))).await;
    crate::conformance::a_command_that_outlives_its_deadline_is_gone(&far).await;
    crate::conformance::a_missing_program_is_named(&far).await;
    crate::conformance::sh(&far, &format!("rm -rf {0} && mkdir {0}", dir(&far))).await;
    crate::conformance::a_link_to_a_folder_is_moved_too(&far).await;
    crate::conformance::sh(&far, &format!("rm -rf {0} && mkdir {0}", dir(&far))).await;
    crate::conformance::files_and_links_are_removed(&far).await;
    crate::conformance::sh(&far, &format!("rm -rf {0} && mkdir {0}", dir(&far))).await;
    crate::conformance::a_folder_is_no_place_for_a_file(&far).await;
    crate::conformance::a_missing_folder_is_named(&far).await;
    crate::conformance::files_are_written_with_their_modes(&far).await;
}

#[tokio::test]
async fn a_shell_that_reads_quotes_in_its_own_way_is_refused() {
    let reason = refusal("fish -c \"$SSH_ORIGINAL_COMMAND\"").await;

    assert!(reason.contains("reads quotes"), "{reason}");
}

#[tokio::test]
async fn a_shell_that_runs_nothing_is_refused_with_what_it_says() {
    let reason = refusal("echo 'This account is currently not available.'; exit 1").await;

    assert!(reason.contains("This account is currently not available."), "{reason}");
}

#[tokio::test]
async fn a_shell_that_speaks_first_is_refused() {
    let reason = refusal("echo Welcome; eval \"$SSH_ORIGINAL_COMMAND\"").await;

    assert!(reason.contains("text of its own") && reason.contains("Welcome"), "{reason}");
}

fn with_shell(command: &str) -> Far {
    Far::with(SshdOptions::default().with(format!("ForceCommand {command}")))
}

async fn refusal(command: &str) -> String {
    let far = with_shell(command);
    let refused = far.ssh.connect().await;
    let Err(TransportError::OddLoginShell { reason, .. }) = refused else { panic!("{refused:?}") };
    reason
}

fn dir(far: &Far) -> &camino::Utf8Path {
    crate::conformance::Place::dir(far)
}
