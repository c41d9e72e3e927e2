//! The work of each stage.

pub(crate) mod trial;

use std::collections::BTreeSet;

use camino::{Utf8Path, Utf8PathBuf};
use portway_engine::{Candidate, Layout, Link, Object, Probe, Release, Steps, TopLevel};
use portway_policy::Digest;
use portway_transport::{Done, Entry, Mode, Target, Transport, Upload};
use tracing::warn;

use crate::{
    ByOthers, Deployment, Journal, NodeState, StepError, access, fence,
    home::{self, Home},
    look::{self, Folders, folder_of},
    probe::{self, Silent},
    proof::{self, Doors},
    run::{Fault, Progress},
    step::{Act, Node},
    switch::Switch,
    turn::{self, Notes},
    workers,
};

/// The modes of Portway's own folders: the engine passes through the first to the objects it knows of, and
/// nobody can list it. What lies in the second is for the login alone, until it is known whose it is.
const PASSED: &str = "0711";
const CLOSED: &str = "0700";

/// Sends what the node lacks. Nothing that runs is touched.
pub(crate) async fn send<T: Transport, J: Journal>(
    it: &Deployment<'_, T>,
    node: &Node<'_, T, J>,
    progress: &mut Progress,
) -> Result<(), Fault> {
    let layout = &it.facts.layout;
    let home = Home::of(layout);
    let link = steps(it, Candidate { files: Vec::new() }).activate;
    let notes = make_folders(it, node, &home).await?;
    // In this order; see `fence`.
    let mut begin = notes.begin(&home, it.owner)?;
    let state = notes.state(&home)?;
    let (found, before_list) = loop {
        let read = read_in_turn(it, node, begin, state.as_ref()).await?;
        let Some(clear) = Act::remove(stale(it, &read.0, &link)) else { break read };
        begin = vec![clear];
    };
    let mut look = found.look(layout, &link, state)?;
    if it.by_others == ByOthers::Respect
        && let Some(what) = look.changed_by_others()
    {
        turn::hold(node, &home, it.owner).await?;
        return Err(StepError::Changed { what }.into());
    }
    progress.before = proven(&look);
    progress.before_list = before_list;
    if let Some(before) = progress.before {
        // What was proven is the way back, whatever an earlier deployment left linked.
        look.target = Some(entry_path(layout, before, it.release));
    }
    let insists = it.engine.insists_on_entrance();
    progress.switch = Some(Switch::plan(layout, &link, &look, &found, insists)?);
    let files = missing(it, &look)?;
    progress.sent = files.len();
    progress.look = look;
    let beside = found.entries(folder_of(&layout.reached_by)).to_vec();
    progress.top_level = Some(put_and_read(it, node, &files, beside).await?);
    Ok(())
}

/// Begins the turn, and reads what the node has: what stands in its folders, and the list of objects of
/// the release before.
async fn read_in_turn<T: Transport, J: Journal>(
    it: &Deployment<'_, T>,
    node: &Node<'_, T, J>,
    begin: Vec<Act>,
    state: Option<&NodeState>,
) -> Result<(Folders, Option<(Digest, Vec<u8>)>), StepError> {
    let layout = &it.facts.layout;
    let link = steps(it, Candidate { files: Vec::new() }).activate;
    let mut acts = begin;
    let before = state.and_then(|state| predecessor(it, state.release, Some(state)));
    acts.extend(
        before.map(|before| Act::get(&home::list_of(&entry_path(layout, before, it.release)))),
    );
    acts.push(Folders::act(layout, &link));
    let mut done = node.all(&acts).await?;
    let listed = done.pop();
    let list = match done.pop() {
        Some(Done::Got(list)) => list,
        Some(Done::Ran(_) | Done::Done(_) | Done::Listed(_)) | None => None,
    };
    Ok((Folders::of(layout, &link, listed), before.zip(list)))
}

/// Writes files, still in this turn, and reads the engine's own configuration for the test.
async fn put_and_read<T: Transport, J: Journal>(
    it: &Deployment<'_, T>,
    node: &Node<'_, T, J>,
    files: &[Upload],
    beside: Vec<Entry>,
) -> Result<TopLevel, StepError> {
    let layout = &it.facts.layout;
    let home = Home::of(layout);
    let mut acts = vec![turn::held(&home, it.owner)?];
    acts.extend(Act::put(files));
    acts.push(Act::get(&layout.top_level));
    let done = turn::in_turn(node, &home, it.owner, &acts).await?;
    trial::top_level_of(
        layout,
        done.into_iter().chain([Done::Listed(vec![Some(beside)])]).collect(),
    )
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
    let home = Home::of(&it.facts.layout);
    let acts = switch.acts(&home, it.owner)?;
    progress.switched = true;
    progress.workers = switch_and_reload(it, node, &steps, acts).await?;
    Ok(())
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
    let before = predecessor(it, progress.before, progress.look.state.as_ref());
    let state = NodeState {
        release: Some(it.release.digest),
        entry: Some(it.release.entry.digest()),
        before,
        ..turn::blank(it.owner)
    };
    let mut acts = vec![turn::held(&home, it.owner)?];
    acts.push(turn::note(&home, it.owner, &state)?);
    let noted = acts.len();
    acts.extend(turn::removal(&home, it.owner, &unneeded(it, &home, before, progress))?);
    let mut done = turn::in_turn_so_far(node, &home, it.owner, &acts).await;
    match done.pop() {
        // The release is proven all the same, and the next deployment removes what this one left.
        Some(Err(error)) if done.len() >= noted => {
            warn!(%error, "what no release needs is left on the node");
        }
        Some(Err(error)) => return Err(error.into()),
        Some(Ok(_)) | None => {}
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
    let acts = switch.acts_back(&Home::of(&it.facts.layout), it.owner)?;
    progress.workers = switch_and_reload(it, node, &steps, acts).await?;
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

/// Switches, and has the engine read it. Returns the workers that were there before.
async fn switch_and_reload<T: Transport, J: Journal>(
    it: &Deployment<'_, T>,
    node: &Node<'_, T, J>,
    steps: &Steps,
    switch: Vec<Act>,
) -> Result<workers::Before, StepError> {
    let look = workers::look(&steps.probe)?;
    let looks = look.is_some();
    let mut acts: Vec<_> = look.into_iter().chain(switch).collect();
    let reload = acts.len();
    acts.extend(steps.reload.as_ref().map(Act::run).transpose()?);
    let home = Home::of(&it.facts.layout);
    let mut done = turn::in_turn_so_far(node, &home, it.owner, &acts).await;
    let failed = done.pop_if(|last| last.is_err()).and_then(Result::err);
    match failed {
        None => {}
        // It was told to read what is linked, and would not.
        Some(StepError::Command { command, status, output }) if done.len() == reload => {
            return Err(StepError::NotRead { command, status, output });
        }
        Some(error) => return Err(error),
    }
    Ok(match done.first() {
        Some(Ok(Done::Ran(output))) if looks => workers::Before::of(output),
        Some(_) | None => workers::Before::default(),
    })
}

/// Returns the release that stays beside this one. Proven once more, a release is not its own
/// predecessor.
fn predecessor<T>(
    it: &Deployment<'_, T>,
    proven: Option<Digest>,
    state: Option<&NodeState>,
) -> Option<Digest> {
    match proven {
        Some(before) if before != it.release.digest => Some(before),
        _ => state.and_then(|state| state.before),
    }
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

/// Makes the folders of a deployment, closed to all who need not read there, and reads the notes.
async fn make_folders<T: Transport, J: Journal>(
    it: &Deployment<'_, T>,
    node: &Node<'_, T, J>,
    home: &Home,
) -> Result<Notes, StepError> {
    let layout = &it.facts.layout;
    let (made, notes) = turn::notes_after(node, home, folders(it, home)?).await?;
    let modes = match made.first() {
        Some(Done::Ran(made)) => access::modes_of(made),
        Some(Done::Done(_) | Done::Got(_) | Done::Listed(_)) | None => Vec::new(),
    };
    if !access::is_settled(&modes) {
        let access = access::plan(node, &it.engine.name().to_lowercase(), layout).await?;
        access::close(node, layout, &access).await?;
    }
    Ok(notes)
}

/// Returns what makes the folders of a deployment, the first of which tells who passes into them.
fn folders<T>(it: &Deployment<'_, T>, home: &Home) -> Result<Vec<Act>, StepError> {
    let layout = &it.facts.layout;
    let own = [&layout.home, &home.turns, &home.objects, &home.releases].map(|path| path.as_str());
    let told = format!("mkdir -p -- {}", own.join(" "));
    let of_sites = it.release.folders.iter().map(ToString::to_string);
    let of_sites = make("", &of_sites.collect::<Vec<_>>())?;
    Ok([Act::script(told, fence::OWN_FOLDERS, &own)?].into_iter().chain(of_sites).collect())
}

/// Makes the folder of notes.
pub(crate) async fn make_turns<T: Transport, J: Journal>(
    node: &Node<'_, T, J>,
    home: &Home,
) -> Result<(), StepError> {
    let made: Vec<_> = make(PASSED, &[home.turns.to_string()])?.into_iter().collect();
    node.all(&made).await.map(drop)
}

fn make(mode: &str, folders: &[String]) -> Result<Option<Act>, StepError> {
    if folders.is_empty() {
        return Ok(None);
    }
    let words: Vec<_> = [mode].into_iter().chain(folders.iter().map(String::as_str)).collect();
    let told = format!("mkdir -p -- {}", folders.join(" "));
    Act::script(told, fence::FOLDERS, &words).map(Some)
}

/// Removes what earlier turns prepared and never put in its place.
pub(crate) async fn clear_stale<T: Transport, J: Journal>(
    it: &Deployment<'_, T>,
    node: &Node<'_, T, J>,
    link: &Link,
) -> Result<(), StepError> {
    let layout = &it.facts.layout;
    let listed = node.all(&[Folders::act(layout, link)]).await?.pop();
    node.remove(&stale(it, &Folders::of(layout, link, listed), link)).await
}

/// Returns what earlier turns prepared and never put in its place.
fn stale<T>(it: &Deployment<'_, T>, found: &Folders, link: &Link) -> Vec<Utf8PathBuf> {
    let links = [&link.link, &it.facts.layout.reached_by];
    let folders = BTreeSet::from(links.map(|link| folder_of(link)));
    let stale_in = |folder: &Utf8Path| {
        let names = found.entries(folder).iter().map(|entry| &entry.name);
        let names = names.filter(|name| fence::is_stale(name, it.owner.fence));
        names.map(|name| folder.join(name)).collect::<Vec<_>>()
    };
    folders.into_iter().flat_map(stale_in).collect()
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

/// Returns what neither this release nor the one before it names, and what somebody changed of the one
/// before: nobody can go back to that.
fn unneeded<T>(
    it: &Deployment<'_, T>,
    home: &Home,
    before: Option<Digest>,
    progress: &Progress,
) -> Vec<Utf8PathBuf> {
    let kept: BTreeSet<_> = before.into_iter().chain([it.release.digest]).collect();
    let mut needed: BTreeSet<&str> = it.release.objects.keys().map(String::as_str).collect();
    let list = match &progress.before_list {
        Some((known, list)) if before == Some(*known) => String::from_utf8_lossy(list),
        // What the release before needs is not known.
        Some(_) | None if before.is_some() => return Vec::new(),
        Some(_) | None => std::borrow::Cow::default(),
    };
    needed.extend(list.lines());
    let found = &progress.look;
    for changed in found.changed_objects().filter(|name| !it.release.objects.contains_key(*name)) {
        needed.remove(changed);
    }
    let is_unneeded =
        |name: &&String| home::named(name).is_some() && !needed.contains(name.as_str());
    let objects = found.objects.keys().filter(is_unneeded).map(|name| home.objects.join(name));
    let is_old = |name: &&String| home::named(name).is_some_and(|digest| !kept.contains(&digest));
    let releases = found.releases.keys().filter(is_old).map(|name| home.releases.join(name));
    objects.chain(releases).collect()
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
