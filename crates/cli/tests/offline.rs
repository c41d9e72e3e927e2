//! What the command does without a manager.
#![expect(clippy::unwrap_used, reason = "a failed assumption fails the test")]

use std::{
    fs,
    process::{Command, Output},
};

const SOUND: &str = "sites:\n  app:\n    hosts: [app.localhost]\n    to: 127.0.0.1:5000\n";
const WRONG: &str = "sites:\n  app:\n    host: [app.localhost]\n    to: 127.0.0.1:0\n";

#[test]
fn a_sound_file_is_sound() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("portway.yaml");
    fs::write(&file, SOUND).unwrap();
    let output = portway(&folder, &["check", "-f", file.to_str().unwrap()]);
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    assert_eq!(text(&output.stdout), "");
    assert!(text(&output.stderr).contains("sound: 1 site"), "{output:?}");
}

#[test]
fn a_wrong_file_is_told_with_every_place_and_remedy() {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("portway.yaml"), WRONG).unwrap();
    let output = portway(&folder, &["check", "-f", "portway.yaml"]);
    assert_eq!(output.status.code(), Some(3), "{output:?}");
    let said = text(&output.stderr);
    assert!(said.contains("portway.yaml:3:5"), "{said}");
    assert!(said.contains("portway.yaml:4:"), "{said}");
    assert!(said.contains("did you mean `hosts`"), "{said}");
    assert!(!said.contains('\u{1b}'), "no colours where no terminal is: {said}");
}

#[test]
fn programs_read_findings_as_json() {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("portway.yaml"), WRONG).unwrap();
    let output = portway(&folder, &["check", "-f", "portway.yaml", "--output", "json"]);
    assert_eq!(output.status.code(), Some(3), "{output:?}");
    let value: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    let findings = value.get("findings").and_then(|findings| findings.as_array()).unwrap();
    assert!(findings.len() >= 2, "{value:#}");
}

#[test]
fn a_file_is_read_from_standard_input_with_parameters() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("input.yaml");
    fs::write(&file, format!("parameters:\n  port: 1\n{}", SOUND.replace("5000", "${port}")))
        .unwrap();
    let output = command(&folder)
        .args(["check", "-f", "-", "--set", "port=5001"])
        .stdin(fs::File::open(&file).unwrap())
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(0), "{output:?}");
}

#[test]
fn a_file_that_is_not_there_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let output = portway(&folder, &["check", "-f", "none.yaml"]);
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    assert!(text(&output.stderr).contains("cannot read none.yaml"), "{output:?}");
}

#[test]
fn without_a_manager_it_says_how_to_start_one() {
    let folder = tempfile::tempdir().unwrap();
    let output = portway(&folder, &["site", "list"]);
    assert_eq!(output.status.code(), Some(7), "{output:?}");
    let said = text(&output.stderr);
    assert!(said.contains("portway serve"), "{said}");
    assert!(said.contains("--server"), "{said}");
}

#[test]
fn errors_are_json_for_programs() {
    let folder = tempfile::tempdir().unwrap();
    let output = portway(&folder, &["--output=json", "status"]);
    assert_eq!(output.status.code(), Some(7), "{output:?}");
    let value: serde_json::Value = serde_json::from_slice(&output.stderr).unwrap();
    let exit = value.pointer("/error/exit").and_then(|exit| exit.as_str());
    assert_eq!(exit, Some("unreachable"));
}

#[test]
fn another_machine_is_spoken_to_only_after_a_login() {
    let folder = tempfile::tempdir().unwrap();
    let output = portway(&folder, &["--server", "https://portway.example", "site", "list"]);
    assert_eq!(output.status.code(), Some(5), "{output:?}");
    assert!(text(&output.stderr).contains("portway login https://portway.example"), "{output:?}");
}

#[test]
fn a_password_never_goes_out_in_clear_text() {
    let folder = tempfile::tempdir().unwrap();
    let output = portway(&folder, &["login", "http://portway.example"]);
    assert_eq!(output.status.code(), Some(2), "{output:?}");
    assert!(text(&output.stderr).contains("not encrypted"), "{output:?}");
}

#[test]
fn completions_are_written_for_every_shell() {
    let folder = tempfile::tempdir().unwrap();
    for shell in ["bash", "zsh", "fish", "elvish", "powershell"] {
        let output = portway(&folder, &["completions", shell]);
        assert_eq!(output.status.code(), Some(0), "{shell}");
        assert!(text(&output.stdout).contains("whoami"), "{shell}");
    }
}

#[test]
fn what_is_typed_wrongly_ends_with_2_and_help_with_0() {
    let folder = tempfile::tempdir().unwrap();
    assert_eq!(portway(&folder, &["site", "add"]).status.code(), Some(2));
    assert_eq!(portway(&folder, &["nonsense"]).status.code(), Some(2));
    assert_eq!(portway(&folder, &["help", "site", "add"]).status.code(), Some(0));
    assert_eq!(portway(&folder, &["--version"]).status.code(), Some(0));
}

#[test]
fn the_exit_codes_are_a_help_topic() {
    let folder = tempfile::tempdir().unwrap();
    let output = portway(&folder, &["help", "exit-codes"]);
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    let said = text(&output.stdout);
    assert!(said.contains("130") && said.contains("keeps serving the version before"), "{said}");
}

#[test]
fn an_installation_can_be_looked_at_before() {
    let folder = tempfile::tempdir().unwrap();
    let elsewhere = portway(&folder, &["serve", "--install", "--dry-run"]);
    assert_eq!(elsewhere.status.code(), Some(2), "the services have a folder: {elsewhere:?}");
    let mut command = command(&folder);
    command.args(["serve", "--install", "--dry-run"]).env_remove("PORTWAY_DATA");
    let output = command.output().unwrap();
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    let said = text(&output.stdout);
    assert!(said.contains("/etc/systemd/system/portway-edge.service"), "{said}");
    assert!(said.contains("systemctl enable --now"), "{said}");
}

#[test]
fn a_reader_that_leaves_early_is_no_fault() {
    use std::{io::Read, process::Stdio};
    let folder = tempfile::tempdir().unwrap();
    let mut child = command(&folder)
        .args(["completions", "zsh"])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    // Reads one byte of many and leaves.
    child.stdout.take().unwrap().read_exact(&mut [0]).unwrap();
    let output = child.wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    assert_eq!(text(&output.stderr), "");
}

fn portway(folder: &tempfile::TempDir, words: &[&str]) -> Output {
    command(folder).args(words).output().unwrap()
}

/// The command with nothing of this machine but a folder of its own.
fn command(folder: &tempfile::TempDir) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_portway"));
    command
        .current_dir(folder.path())
        .env_clear()
        .env("HOME", folder.path())
        .env("PORTWAY_DATA", folder.path().join("data"));
    command
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).unwrap()
}
