//! The work of each stage.

use std::{collections::BTreeSet, time::Duration};

use camino::{Utf8Path, Utf8PathBuf};
use portway_engine::{
    Candidate, CandidateFile, Command, Layout, Object, Probe, Release, Rights, Steps, Test,
    TopLevel,
};
use portway_policy::Digest;
use portway_transport::{Content, Mode, Target, Transport, Upload};
use tracing::warn;

use crate::{
    ByOthers, Deployment, Journal, NodeState, StepError, access, fence,
    home::{self, Home},
    instance, look,
    probe::{self, Silent},
    proof::{self, Doors},
    run::{Fault, Progress},
    step::{Node, printed},
    switch::Switch,
    turn, workers,
};

/// How long folders may take to be made.
const FOLDERS: Duration = Duration::from_secs(10);
/// Makes Portway's folders, and tells the modes of those with objects and releases, which are the last
/// two. They are nobody else's before it is known whose they are.
const FOLDERS_SCRIPT: &str = r#"mkdir -p -m 0711 -- "$1" "$2" && mkdir -p -m 0700 -- "$3" "$4" &&
    exec stat -c %a -- "$3" "$4""#;

/// Sends what the node lacks. Nothing that runs is touched.
pub(crate) async fn send<T: Transport, J: Journal>(
    it: &Deployment<'_, T>,
    node: &Node<'_, T, J>,
    progress: &mut Progress,
) -> Result<(), Fault> {
    let layout = &it.facts.layout;
    let home = Home::of(layout);
    let steps = steps(it, Candidate { files: Vec::new() });
    make_folders(it, node, &home).await?;
    // In this order; see `fence`.
    turn::take(node, &home, it.owner).await?;
    clear_stale(it, node, &steps).await?;
    let mut found = look::read(node, layout, &steps.activate, &steps.probe).await?;
    turn::hold(node, &home, it.owner).await?;
    if it.by_others == ByOthers::Respect
        && let Some(what) = found.changed_by_others()
    {
        return Err(StepError::Changed { what }.into());
    }
    progress.before = proven(&found);
    if let Some(before) = progress.before {
        // What was proven is the way back, whatever an earlier deployment left linked.
        found.target = Some(entry_path(layout, before, it.release));
    }
    progress.switch = Some(
        Switch::plan(node, layout, &steps.activate, &found, it.engine.insists_on_entrance())
            .await?,
    );
    let files = missing(it, &found)?;
    node.put(&files).await?;
    progress.sent = files.len();
    progress.look = found;
    Ok(())
}

/// Has the engine try the release beside what runs.
pub(crate) async fn test<T: Transport, J: Journal>(
    it: &Deployment<'_, T>,
    node: &Node<'_, T, J>,
    _progress: &mut Progress,
) -> Result<(), Fault> {
    let steps = steps(it, candidate(it, node).await?);
    make_test_folders(it, node, steps.test.files()).await?;
    match &steps.test {
        Test::Command { files, command } => {
            node.put(&uploads(files)?).await?;
            let result = node.run(command).await;
            let is_refused = result.as_ref().is_ok_and(|output| !output.is_success());
            let intact = if is_refused { intact(node, files).await } else { Ok(()) };
            let cleared = node.remove(&paths(files)).await;
            let output = result?;
            cleared?;
            intact?;
            if is_refused { Err(refusal(it, printed(&output))) } else { Ok(()) }
        }
        Test::Instance { files, command, probe } => {
            node.put(&uploads(files)?).await?;
            let result = instance::attempt(node, files, command, probe).await;
            let cleared = node.remove(&paths(files)).await;
            let problem = result?;
            cleared?;
            problem.map_or(Ok(()), |output| Err(refusal(it, output)))
        }
    }
}

/// Switches the node to the release, and has the engine read it.
pub(crate) async fn activate<T: Transport, J: Journal>(
    it: &Deployment<'_, T>,
    node: &Node<'_, T, J>,
    progress: &mut Progress,
) -> Result<(), Fault> {
    let steps = steps(it, Candidate { files: Vec::new() });
    let Some(switch) = &progress.switch else { return Ok(()) };
    if !it.proofs.is_empty() {
        let began = std::time::Instant::now();
        progress.answers = proof::before(it.transport, &doors(it), it.proofs).await;
        progress.answers.note(node, it.proofs, began);
    }
    progress.switched = true;
    let home = Home::of(&it.facts.layout);
    let (workers, applied) =
        tokio::join!(workers::seen(node, &steps.probe), switch.apply(node, &home, it.owner));
    applied?;
    progress.workers = workers;
    Ok(node.reload(steps.reload.as_ref()).await?)
}

/// Asks the engine until it serves the release, and notes that it does.
pub(crate) async fn prove<T: Transport, J: Journal>(
    it: &Deployment<'_, T>,
    node: &Node<'_, T, J>,
    progress: &mut Progress,
) -> Result<(), Fault> {
    let steps = steps(it, Candidate { files: Vec::new() });
    asked(node, &steps.probe, it.release.digest, &progress.workers).await?;
    if !it.proofs.is_empty() {
        let began = std::time::Instant::now();
        let answers = proof::after(it.transport, &doors(it), it.proofs).await;
        answers.note(node, it.proofs, began);
        let verdict = proof::compare(it.proofs, &progress.answers, &answers);
        if !verdict.worse.is_empty() {
            return Err(StepError::Worse { findings: verdict.worse }.into());
        }
        progress.told = verdict.told;
    }
    let home = Home::of(&it.facts.layout);
    // Proven once more, a release is not its own predecessor.
    let before = match progress.before {
        Some(before) if before != it.release.digest => Some(before),
        _ => progress.look.state.as_ref().and_then(|state| state.before),
    };
    let state = NodeState {
        release: Some(it.release.digest),
        entry: Some(it.release.entry.digest()),
        before,
        ..turn::blank(it.owner)
    };
    turn::hold(node, &home, it.owner).await?;
    turn::note(node, &home, it.owner, state).await?;
    if let Err(error) = prune(it, node, &home, before, &progress.look).await {
        // The release is proven all the same, and the next deployment removes what this one left.
        warn!(%error, "what no release needs is left on the node");
    }
    Ok(())
}

/// Switches the node back to what it served, and proves that.
pub(crate) async fn roll_back<T: Transport, J: Journal>(
    it: &Deployment<'_, T>,
    node: &Node<'_, T, J>,
    progress: &mut Progress,
) -> Result<(), Fault> {
    let Some(switch) = progress.switch.as_ref().filter(|_| progress.switched) else {
        return Ok(());
    };
    let steps = steps(it, Candidate { files: Vec::new() });
    let home = Home::of(&it.facts.layout);
    let (workers, undone) =
        tokio::join!(workers::seen(node, &steps.probe), switch.undo(node, &home, it.owner));
    undone?;
    progress.workers = workers;
    node.reload(steps.reload.as_ref()).await?;
    if let Some(before) = progress.before {
        asked(node, &it.engine.probe(before, it.facts), before, &progress.workers).await?;
    }
    Ok(())
}

/// Returns where sites are served on the node.
fn doors<T>(it: &Deployment<'_, T>) -> Doors {
    let ports = &it.facts.ports;
    let host = match ports.addresses.first() {
        Some(address) if !address.is_unspecified() => address.to_string(),
        Some(_) | None => "127.0.0.1".to_owned(),
    };
    let door = |port| Target::Tcp { host: host.clone(), port };
    Doors { http: door(ports.http), https: door(ports.https) }
}

pub(crate) fn steps<T>(it: &Deployment<'_, T>, candidate: Candidate) -> Steps {
    it.engine.steps(candidate, it.release, it.facts)
}

/// Returns the release that was proven last, where it is whole on the node.
fn proven(found: &look::Look) -> Option<Digest> {
    let release = found.state.as_ref()?.release?;
    found.releases.keys().any(|name| home::named(name) == Some(release)).then_some(release)
}

fn entry_path(layout: &Layout, digest: Digest, like: &Release) -> Utf8PathBuf {
    let path = like.path(layout);
    let extension = path.extension().unwrap_or_default();
    layout.releases().join(format!("{digest}.{extension}"))
}

async fn make_folders<T: Transport, J: Journal>(
    it: &Deployment<'_, T>,
    node: &Node<'_, T, J>,
    home: &Home,
) -> Result<(), StepError> {
    let layout = &it.facts.layout;
    let own = [&layout.home, &home.turns, &home.objects, &home.releases];
    let words = ["sh", "-c", FOLDERS_SCRIPT, "portway"].into_iter();
    let argv = words.chain(own.into_iter().map(|path| path.as_str())).map(str::to_owned).collect();
    let made = Command { argv, rights: Rights::Login, deadline: FOLDERS };
    let made = node.must(&made).await?;
    if !access::is_settled(&access::modes_of(&made)) {
        let access = access::plan(node, &it.engine.name().to_lowercase(), layout).await?;
        access::close(node, layout, &access).await?;
    }
    let of_sites = it.release.folders.iter().map(ToString::to_string);
    make(node, &["mkdir", "-p", "--"], of_sites.collect()).await
}

/// Makes the folder of notes.
pub(crate) async fn make_turns<T: Transport, J: Journal>(
    node: &Node<'_, T, J>,
    home: &Home,
) -> Result<(), StepError> {
    make(node, &["mkdir", "-p", "-m", "0711", "--"], vec![home.turns.to_string()]).await
}

/// Makes the folders of a test that are Portway's own.
async fn make_test_folders<T: Transport, J: Journal>(
    it: &Deployment<'_, T>,
    node: &Node<'_, T, J>,
    files: &[CandidateFile],
) -> Result<(), StepError> {
    let home = &it.facts.layout.home;
    let own =
        files.iter().filter_map(|file| file.path.parent()).filter(|path| path.starts_with(home));
    let folders: BTreeSet<_> = own.map(ToString::to_string).collect();
    make(node, &["mkdir", "-p", "-m", "0700", "--"], folders.into_iter().collect()).await
}

async fn make<T: Transport, J: Journal>(
    node: &Node<'_, T, J>,
    with: &[&str],
    folders: Vec<String>,
) -> Result<(), StepError> {
    if folders.is_empty() {
        return Ok(());
    }
    let argv = with.iter().map(|word| (*word).to_owned()).chain(folders).collect();
    node.must(&Command { argv, rights: Rights::Login, deadline: FOLDERS }).await.map(drop)
}

/// Removes what earlier turns prepared and never put in its place.
pub(crate) async fn clear_stale<T: Transport, J: Journal>(
    it: &Deployment<'_, T>,
    node: &Node<'_, T, J>,
    steps: &Steps,
) -> Result<(), StepError> {
    let links = BTreeSet::from([&steps.activate.link, &it.facts.layout.reached_by]);
    let folders: BTreeSet<_> = links.into_iter().filter_map(|link| link.parent()).collect();
    let mut stale = Vec::new();
    for folder in folders {
        let names = node.list(folder).await?.into_iter().map(|entry| entry.name);
        let names = names.filter(|name| fence::is_stale(name, it.owner.fence));
        stale.extend(names.map(|name| folder.join(name)));
    }
    node.remove(&stale).await
}

/// Returns what the release needs and the node has not, or has in other bytes.
fn missing<T>(it: &Deployment<'_, T>, found: &look::Look) -> Result<Vec<Upload>, StepError> {
    let layout = &it.facts.layout;
    let mut files = Vec::new();
    for (name, object) in &it.release.objects {
        if !found.has_object(name, object.digest()) {
            files.push(upload_object(&object.path(layout), object)?);
        }
    }
    let entry = it.release.path(layout);
    let there = entry.file_name().and_then(|name| found.releases.get(name));
    if there != Some(&it.release.entry.digest()) {
        let names: Vec<_> = it.release.objects.keys().map(String::as_str).collect();
        let list = upload(&home::list_of(&entry), Mode::PRIVATE, names.join("\n").into_bytes())?;
        files.extend([list, upload_object(&entry, &it.release.entry)?]);
    }
    Ok(files)
}

/// Returns what the engine would read if the release was its own.
pub(crate) async fn candidate<T: Transport, J: Journal>(
    it: &Deployment<'_, T>,
    node: &Node<'_, T, J>,
) -> Result<Candidate, StepError> {
    let top_level = top_level(node, &it.facts.layout).await?;
    Ok(it.engine.candidate(&top_level, it.release, it.facts)?)
}

async fn top_level<T: Transport, J: Journal>(
    node: &Node<'_, T, J>,
    layout: &Layout,
) -> Result<TopLevel, StepError> {
    let text = node.get(&layout.top_level).await?.unwrap_or_default();
    let text = String::from_utf8(text).map_err(|_| StepError::InTheWay {
        path: layout.top_level.clone(),
        what: "it is no text in UTF-8".to_owned(),
    })?;
    let folder = layout.reached_by.parent().unwrap_or(Utf8Path::new("/"));
    let is_file =
        |content: &Content| matches!(content, Content::File { .. } | Content::Link { .. });
    let entries = node.list(folder).await?.into_iter().filter(|entry| is_file(&entry.content));
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

async fn asked<T: Transport, J: Journal>(
    node: &Node<'_, T, J>,
    probe: &Probe,
    wanted: Digest,
    before: &workers::Before,
) -> Result<(), StepError> {
    let began = std::time::Instant::now();
    let times = if probe.workers.is_some() { 1 } else { probe::IN_A_ROW };
    let mut result = probe::until_right(node.transport, probe, times).await;
    if let (Some(workers), Ok(process)) = (&probe.workers, &result) {
        let process = process.clone().unwrap_or_default();
        if workers::gone(node, workers, before, &process).await == workers::Leaving::Unknown {
            result = probe::until_right(node.transport, probe, probe::IN_A_ROW).await;
        }
    }
    let action = format!("asked for release {wanted} on port {}", probe.port);
    let output = result.as_ref().err().map(ToString::to_string).unwrap_or_default();
    node.note(action, output, result.is_ok(), began);
    result.map(drop).map_err(|silent| match silent {
        Silent::Away(error) => error.into(),
        Silent::Engine(got) => {
            StepError::NotServed { wanted, port: probe.port, deadline: probe.deadline, got }
        }
    })
}

/// Removes what neither this release nor the one before it names, and what somebody changed of the one
/// before: nobody can go back to that.
async fn prune<T: Transport, J: Journal>(
    it: &Deployment<'_, T>,
    node: &Node<'_, T, J>,
    home: &Home,
    before: Option<Digest>,
    found: &look::Look,
) -> Result<(), StepError> {
    let kept: BTreeSet<_> = before.into_iter().chain([it.release.digest]).collect();
    let mut needed: BTreeSet<String> = it.release.objects.keys().cloned().collect();
    if let Some(before) = before {
        let list = home::list_of(&entry_path(&it.facts.layout, before, it.release));
        let Some(names) = node.get(&list).await? else { return Ok(()) };
        needed.extend(String::from_utf8_lossy(&names).lines().map(str::to_owned));
    }
    for changed in found.changed_objects().filter(|name| !it.release.objects.contains_key(*name)) {
        needed.remove(changed);
    }
    let objects = node.list(&home.objects).await?.into_iter().map(|entry| entry.name);
    let objects = objects.filter(|name| home::named(name).is_some() && !needed.contains(name));
    let mut gone: Vec<_> = objects.map(|name| home.objects.join(name)).collect();
    let releases = node.list(&home.releases).await?.into_iter().map(|entry| entry.name);
    let is_old = |name: &String| home::named(name).is_some_and(|digest| !kept.contains(&digest));
    gone.extend(releases.filter(is_old).map(|name| home.releases.join(name)));
    turn::remove(node, home, it.owner, &gone).await
}

fn uploads(files: &[CandidateFile]) -> Result<Vec<Upload>, StepError> {
    let upload_file = |file: &CandidateFile| {
        upload(&file.path, mode(file.secrecy.mode()), file.text.clone().into_bytes())
    };
    files.iter().map(upload_file).collect()
}

fn paths(files: &[CandidateFile]) -> Vec<Utf8PathBuf> {
    files.iter().map(|file| file.path.clone()).collect()
}

fn upload_object(path: &Utf8Path, object: &Object) -> Result<Upload, StepError> {
    upload(path, mode(object.secrecy().mode()), object.bytes().to_vec())
}

fn upload(path: &Utf8Path, mode: Mode, bytes: Vec<u8>) -> Result<Upload, StepError> {
    Ok(Upload::new(path, mode, bytes)?)
}

fn mode(bits: u32) -> Mode {
    Mode::new(bits).unwrap_or(Mode::PRIVATE)
}
