//! `site edit`: a site in the user's editor, until it is sound or given up.

use std::{ffi::OsString, fs, io::Write, process::Stdio};

use camino::Utf8Path;
use indexmap::IndexMap;
use portway_model::{Finding, Name, SiteSpec};
use portway_sitefile::render;
use portway_wire::{
    ProblemCode,
    client::{Client, IfMatch},
    site::{Changed, EditSite, SiteView},
};

use crate::{
    args::Edit,
    deployed,
    exit::{Exit, Failure, Outcome},
    files,
    findings::Sources,
    input,
    out::clean,
    session::Session,
};

/// What comments of ours begin with; they are taken away when the text comes back.
const MARK: &str = "#: ";

/// `portway site edit`
pub(super) async fn edit(session: &Session, args: Edit) -> Outcome {
    if !input::is_interactive() {
        return Err(Failure::usage("there is no terminal to edit at")
            .help("use `portway export`, change the file, and `portway apply -f`"));
    }
    let editor = editor(|name| std::env::var_os(name))?;
    let client = session.client().await?;
    let view = client.site(&args.site).await?;
    let name: Name = view
        .summary
        .name
        .parse()
        .map_err(|error| Failure::failed("the site's name cannot be read").because(&error))?;
    let before = portway_sitefile::export(&IndexMap::from([(name.clone(), view.spec.clone())]));
    let mut text = with_notes(&before, &introduction(&view));
    loop {
        text = open(&editor, &name, &text).await?;
        let written = without_notes(&text);
        if written.trim().is_empty() || written == before {
            session.out.note("not changed")?;
            return Ok(Exit::Ok);
        }
        let (sources, findings) = match attempt(&client, &view, &name, &written, &args).await? {
            Attempt::Written(changed, sources) => {
                return deployed::finish(session, &client, &changed, &sources, args.waiting).await;
            }
            Attempt::Refused(sources, findings) => (sources, findings),
        };
        text = with_notes(&written, &notes(&findings, &sources));
        if !input::confirm("The site has errors. Edit it again?")? {
            crate::findings::show(&session.out, &findings, &sources)?;
            return Err(Failure::new(Exit::Findings, "given up; nothing was changed"));
        }
    }
}

/// What became of an edited text.
enum Attempt {
    /// It was written.
    Written(Changed, Sources),
    /// It has errors.
    Refused(Sources, Vec<Finding>),
}

async fn attempt(
    client: &Client,
    view: &SiteView,
    name: &Name,
    written: &str,
    args: &Edit,
) -> Result<Attempt, Failure> {
    let (sources, loaded) = files::load_text(&format!("{name}.yaml"), written);
    if loaded.has_errors() {
        return Ok(Attempt::Refused(sources, loaded.findings));
    }
    let spec = sole(loaded.sites.into_iter().map(|(name, site)| (name, site.spec)), name)?;
    let spec = serde_json::to_value(&spec)
        .map_err(|error| Failure::failed("the site cannot be sent").because(&error))?;
    let edit = EditSite { spec, message: args.message.clone(), rollout: args.rollout.strategy() };
    let expected = IfMatch::Revision(view.summary.revision);
    match client.edit_site(&view.summary.id.to_string(), &edit, expected).await {
        Ok(changed) => Ok(Attempt::Written(changed, sources)),
        Err(error) => match error.problem() {
            Some(problem) if problem.code == ProblemCode::Invalid => {
                let findings = sources.locate(&problem.findings);
                Ok(Attempt::Refused(sources, findings))
            }
            Some(problem) if problem.code == ProblemCode::Stale => Err(keep(name, written, error)),
            Some(_) | None => Err(keep(name, written, error)),
        },
    }
}

/// An edit names one site, the one that was opened.
fn sole(sites: impl Iterator<Item = (Name, SiteSpec)>, name: &Name) -> Result<SiteSpec, Failure> {
    let mut sites: Vec<(Name, SiteSpec)> = sites.collect();
    match (sites.pop(), sites.is_empty()) {
        (Some((found, spec)), true) if found == *name => Ok(spec),
        _ => {
            Err(Failure::new(Exit::Findings, format!("the text must hold {name} and nothing else"))
                .help("several sites, or another name, are for `portway apply -f`"))
        }
    }
}

/// What was typed is not lost when it cannot be sent.
fn keep(name: &Name, written: &str, error: portway_wire::client::ClientError) -> Failure {
    let failure = Failure::from(error);
    let kept = tempfile::Builder::new()
        .prefix(&format!("portway-{name}-"))
        .suffix(".yaml")
        .tempfile()
        .and_then(|mut file| {
            file.write_all(written.as_bytes())?;
            Ok(file.into_temp_path().keep()?)
        });
    match kept {
        Ok(path) => {
            let help = failure.help.clone().map(|help| format!("{help}; ")).unwrap_or_default();
            failure.help(format!("{help}your text is kept in {}", path.display()))
        }
        Err(_) => failure,
    }
}

/// Returns the words of the editor's command. They are split at blanks; no shell is involved.
fn editor(variable: impl Fn(&str) -> Option<OsString>) -> Result<Vec<String>, Failure> {
    let chosen = ["VISUAL", "EDITOR"].into_iter().filter_map(variable).find(|v| !v.is_empty());
    let command = chosen.unwrap_or_else(|| "vi".into());
    let command =
        command.into_string().map_err(|_| Failure::usage("$VISUAL or $EDITOR is not text"))?;
    let words: Vec<String> = command.split_whitespace().map(str::to_owned).collect();
    if words.is_empty() { Err(Failure::usage("$VISUAL or $EDITOR is blank")) } else { Ok(words) }
}

/// Opens the editor on a text and returns what comes back. The file is its user's alone.
async fn open(editor: &[String], name: &Name, text: &str) -> Result<String, Failure> {
    let mut file =
        tempfile::Builder::new().prefix(&format!("portway-{name}-")).suffix(".yaml").tempfile()?;
    file.write_all(text.as_bytes())?;
    file.flush()?;
    let path = Utf8Path::from_path(file.path())
        .ok_or_else(|| Failure::failed("the folder for temporary files has no readable name"))?;
    let Some((program, arguments)) = editor.split_first() else {
        return Err(Failure::usage("no editor is set"));
    };
    let status = tokio::process::Command::new(program)
        .args(arguments)
        .arg(path)
        .stdin(Stdio::inherit())
        .status()
        .await
        .map_err(|error| {
            Failure::failed(format!("cannot start the editor {program}"))
                .because(&error)
                .help("set $VISUAL or $EDITOR")
        })?;
    if !status.success() {
        return Err(Failure::failed(format!(
            "the editor ended with {status}; nothing was changed"
        )));
    }
    // By its name, for editors put a new file in its place.
    fs::read_to_string(path)
        .map_err(|error| Failure::failed(format!("cannot read {path}")).because(&error))
}

fn introduction(view: &SiteView) -> String {
    format!(
        "Site {} at revision {}. Save and leave to apply; leave unchanged to cancel.\n\
         Passwords are references; {{password: …}} sets a new one.",
        view.summary.name, view.summary.revision
    )
}

fn notes(findings: &[Finding], sources: &Sources) -> String {
    let texts = findings.iter().map(|finding| clean(&render(finding, sources.texts())));
    texts.collect::<Vec<_>>().join("\n")
}

fn with_notes(text: &str, notes: &str) -> String {
    let notes = notes.lines().map(|line| format!("{}\n", format!("{MARK}{line}").trim_end()));
    format!("{}{text}", notes.collect::<String>())
}

fn without_notes(text: &str) -> String {
    let mark = MARK.trim_end();
    let lines = text.split_inclusive('\n').filter(|line| !line.starts_with(mark));
    lines.collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn our_notes_come_and_go_and_the_users_stay() {
        let text = "# mine\nsites:\n  a: {}\n";
        let noted = with_notes(text, "error[x]: wrong\n\n --> a.yaml:1:1");
        assert!(
            noted.starts_with("#: error[x]: wrong\n#:\n#:  --> a.yaml:1:1\n# mine\n"),
            "{noted}"
        );
        assert_eq!(without_notes(&noted), text);
    }

    #[test]
    fn the_editor_is_a_command_of_words() {
        let words = |visual: &str, editor: &str| {
            let of = |name: &str| match name {
                "VISUAL" => Some(visual.into()),
                "EDITOR" => Some(editor.into()),
                _ => None,
            };
            super::editor(of).ok()
        };
        assert_eq!(words("code --wait", "vim").unwrap(), ["code", "--wait"]);
        assert_eq!(words("", "vim").unwrap(), ["vim"]);
        assert_eq!(words("", "").unwrap(), ["vi"]);
        assert!(words("  ", "").is_none());
    }

    #[test]
    fn an_edit_holds_the_site_that_was_opened_and_no_other() {
        let name: Name = "a".parse().unwrap();
        let site = |text: &str| (text.parse::<Name>().unwrap(), SiteSpec::default());
        assert!(sole([site("a")].into_iter(), &name).is_ok());
        assert!(sole([site("b")].into_iter(), &name).is_err());
        assert!(sole([site("b"), site("a")].into_iter(), &name).is_err());
        assert!(sole(std::iter::empty(), &name).is_err());
    }

    #[tokio::test]
    async fn what_the_editor_leaves_is_read_back() {
        let folder = tempfile::tempdir().unwrap();
        let script = folder.path().join("editor");
        fs::write(&script, "printf 'edited\\n' > \"$1\"\n").unwrap();
        let editor = ["sh".to_owned(), script.to_str().unwrap().to_owned()];
        let text = open(&editor, &"a".parse().unwrap(), "before").await.unwrap();
        assert_eq!(text, "edited\n");
        let failure = open(&["false".to_owned()], &"a".parse().unwrap(), "x").await.unwrap_err();
        assert!(failure.text.contains("nothing was changed"));
    }
}
