//! Tries a release beside what runs, by the engine's own means.

use std::collections::BTreeSet;

use camino::Utf8PathBuf;
use portway_engine::{Candidate, CandidateFile, Layout, Test, TopLevel};
use portway_transport::{Content, Done, Transport, Upload};
use tracing::warn;

use crate::{
    Deployment, Journal, StepError, instance,
    look::folder_of,
    run::{Fault, Progress},
    stage,
    step::{Act, Node, printed},
};

/// Has the engine try the release beside what runs.
pub(crate) async fn attempt<T: Transport, J: Journal>(
    it: &Deployment<'_, T>,
    node: &Node<'_, T, J>,
    progress: &mut Progress,
) -> Result<(), Fault> {
    let Some(top_level) = progress.top_level.take() else { return Ok(()) };
    let candidate = it.engine.candidate(&top_level, it.release, it.facts);
    let steps = stage::steps(it, candidate.map_err(StepError::from)?);
    let files = steps.test.files();
    let mut acts: Vec<_> = test_folders(it, files)?.into_iter().collect();
    acts.extend(Act::put(&uploads(files)?));
    match &steps.test {
        Test::Command { files, command } => {
            let put = acts.len();
            acts.push(Act::run(command)?);
            acts.extend(Act::remove(paths(files)));
            let results = node.several(&acts).await;
            let refused = match results.get(put) {
                Some(Ok(Done::Ran(output))) if !output.is_success() => Some(printed(output)),
                _ => None,
            };
            if let Some(output) = refused {
                let intact = intact(node, files).await;
                node.remove(&paths(files)).await?;
                intact?;
                return Err(refusal(it, output));
            }
            let mut failed = None;
            for (act, result) in acts.iter().zip(results) {
                let done = result.and_then(|done| act.succeeded(done));
                failed = failed.or(done.err());
            }
            let Some(error) = failed else { return Ok(()) };
            // The first error is why; what cannot be cleared now, the next test replaces.
            if let Err(error) = node.remove(&paths(files)).await {
                warn!(%error, "what was to be tested is left on the node");
            }
            Err(error.into())
        }
        Test::Instance { files, command, probe } => {
            node.all(&acts).await?;
            let result = instance::attempt(node, files, command, probe).await;
            let cleared = node.remove(&paths(files)).await;
            let problem = result?;
            cleared?;
            problem.map_or(Ok(()), |output| Err(refusal(it, output)))
        }
    }
}

/// Returns what the engine would read if the release was its own.
pub(crate) async fn candidate<T: Transport, J: Journal>(
    it: &Deployment<'_, T>,
    node: &Node<'_, T, J>,
) -> Result<Candidate, StepError> {
    let layout = &it.facts.layout;
    let acts =
        [Act::get(&layout.top_level), Act::list(vec![folder_of(&layout.reached_by).to_owned()])];
    let top_level = top_level_of(layout, node.all(&acts).await?)?;
    Ok(it.engine.candidate(&top_level, it.release, it.facts)?)
}

/// Reads the engine's own configuration, and what stands beside the file that it reads of Portway's.
pub(super) fn top_level_of(layout: &Layout, done: Vec<Done>) -> Result<TopLevel, StepError> {
    let (mut text, mut entries) = (Vec::new(), Vec::new());
    for one in done {
        match one {
            Done::Got(got) => text = got.unwrap_or_default(),
            Done::Listed(listed) => entries = listed.into_iter().flatten().flatten().collect(),
            Done::Ran(_) | Done::Done(_) => {}
        }
    }
    let text = String::from_utf8(text).map_err(|_| StepError::InTheWay {
        path: layout.top_level.clone(),
        what: "it is no text in UTF-8".to_owned(),
    })?;
    let folder = folder_of(&layout.reached_by);
    let is_file =
        |content: &Content| matches!(content, Content::File { .. } | Content::Link { .. });
    let entries = entries.into_iter().filter(|entry| is_file(&entry.content));
    let mut beside: Vec<_> = entries.map(|entry| folder.join(entry.name)).collect();
    beside.sort();
    Ok(TopLevel { text, beside })
}

/// Makes sure that what the engine judged is what it was given: a manager that woke up late may have
/// put its own candidate in the same place, and nobody is to be blamed for that one.
async fn intact<T: Transport, J: Journal>(
    node: &Node<'_, T, J>,
    files: &[CandidateFile],
) -> Result<(), StepError> {
    for file in files {
        if node.get(&file.path).await?.as_deref() != Some(file.text.as_bytes()) {
            return Err(StepError::CandidateChanged { path: file.path.clone() });
        }
    }
    Ok(())
}

fn refusal<T>(it: &Deployment<'_, T>, output: String) -> Fault {
    Fault::Refused { findings: it.engine.read_test_output(&output, it.release), output }
}

/// Returns what makes the folders of a test that are Portway's own.
fn test_folders<T>(
    it: &Deployment<'_, T>,
    files: &[CandidateFile],
) -> Result<Option<Act>, StepError> {
    let home = &it.facts.layout.home;
    let own =
        files.iter().filter_map(|file| file.path.parent()).filter(|path| path.starts_with(home));
    let folders: BTreeSet<_> = own.map(ToString::to_string).collect();
    stage::make(stage::CLOSED, &folders.into_iter().collect::<Vec<_>>())
}

fn uploads(files: &[CandidateFile]) -> Result<Vec<Upload>, StepError> {
    let upload_file = |file: &CandidateFile| {
        stage::upload(&file.path, stage::mode(file.secrecy.mode()), file.text.clone().into_bytes())
    };
    files.iter().map(upload_file).collect()
}

fn paths(files: &[CandidateFile]) -> Vec<Utf8PathBuf> {
    files.iter().map(|file| file.path.clone()).collect()
}
