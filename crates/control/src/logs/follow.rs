//! Following a log: lines as they are written, for as long as one may see them.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs::{self, File, Metadata},
    io::{Read as _, Seek as _, SeekFrom},
    os::unix::fs::MetadataExt as _,
    time::{Duration, SystemTime},
};

use portway_model::{Id, Site};
use portway_wire::logs::LogLine;
use tokio::{
    sync::mpsc,
    task::{JoinError, JoinSet},
    time::Instant,
};
use tracing::error;

use super::{LogFile, MAX_LINE, PIECE, Verdict, Wanted};
use crate::{Actor, Control, ControlError, rights::Sites};

/// How often a followed log is looked at.
const LOOK_EVERY: Duration = Duration::from_millis(250);
/// How often it is asked whether the reader may still read.
const ASK_EVERY: Duration = Duration::from_secs(2);

/// How far a followed file has been read.
#[derive(Default)]
struct Followed {
    offset: u64,
    partial: Vec<u8>,
}

/// What a file is, whatever its name: it gets another one when it is put aside. Inodes are used
/// again, so the time of birth is part of it.
type Identity = (u64, u64, Option<SystemTime>);

fn identity(about: &Metadata) -> Identity {
    (about.dev(), about.ino(), about.created().ok())
}

type Places = BTreeMap<Identity, Followed>;

/// Who follows, and what; a login can end, and a site change hands, long before a stream does.
pub(super) struct Right {
    control: Control,
    actor: Actor,
    site: Id<Site>,
}

impl Right {
    /// Returns the right to this site.
    pub(super) fn of(sites: &Sites<'_>, site: Id<Site>) -> Self {
        Self { control: sites.control.clone(), actor: sites.actor.clone(), site }
    }

    /// Tells whether it still holds. A database that does not answer takes nobody's right away, as
    /// it gives nobody one.
    async fn holds(&self) -> bool {
        match self.seen().await {
            Ok(()) => true,
            Err(ControlError::Unauthenticated(_) | ControlError::NotFound { .. }) => false,
            Err(error) => matches!(error, ControlError::Unavailable { .. }),
        }
    }

    async fn seen(&self) -> Result<(), ControlError> {
        let actor = self.control.renewed(&self.actor).await?;
        self.control.site_row(&actor, &self.site.to_string()).await.map(drop)
    }
}

/// Sends the newest lines and then each one that is written, until the receiver is gone or the
/// right has ended.
pub(super) async fn follow(
    wanted: Wanted,
    right: Right,
    newest: Vec<LogLine>,
    sender: mpsc::Sender<LogLine>,
    nodes: Vec<impl Future<Output = ()> + Send + 'static>,
) {
    let mut places = wanted.ends();
    let mut asked = Instant::now();
    if !send(&sender, newest).await {
        return;
    }
    // They are dropped with this.
    let mut others = JoinSet::new();
    for node in nodes {
        others.spawn(node);
    }
    loop {
        tokio::select! {
            () = sender.closed() => return,
            () = tokio::time::sleep(LOOK_EVERY) => {}
        }
        if asked.elapsed() >= ASK_EVERY {
            if !right.holds().await {
                return;
            }
            asked = Instant::now();
        }
        let lines = match look(wanted.clone(), places).await {
            Ok((lines, read)) => {
                places = read;
                lines
            }
            Err(error) => return error!("following a log broke off: {error}"),
        };
        if !send(&sender, lines).await {
            return;
        }
    }
}

/// Files are read where blocking is allowed.
async fn look(wanted: Wanted, mut places: Places) -> Result<(Vec<LogLine>, Places), JoinError> {
    let look = move || {
        let lines = wanted.grown(&mut places);
        (lines, places)
    };
    tokio::task::spawn_blocking(look).await
}

/// Returns whether somebody still listens.
async fn send(sender: &mpsc::Sender<LogLine>, lines: Vec<LogLine>) -> bool {
    for line in lines {
        if sender.send(line).await.is_err() {
            return false;
        }
    }
    true
}

impl Wanted {
    /// Begins at the present ends; what was written meanwhile comes with the next look.
    fn ends(&self) -> Places {
        let files = self.files().unwrap_or_default();
        let ends = files.iter().filter_map(|file| {
            let about = fs::metadata(&file.path).ok()?;
            let end = Followed { offset: about.len(), partial: Vec::new() };
            Some((identity(&about), end))
        });
        ends.collect()
    }

    /// Reads what was written since the last look: the rest of files that were put aside meanwhile,
    /// then the current ones. A file that cannot be read now is looked at again the next time.
    fn grown(&self, places: &mut Places) -> Vec<LogLine> {
        let mut lines = Vec::new();
        let mut behind = BTreeSet::new();
        let (files, complete) = self.in_order();
        let mut seen = BTreeSet::new();
        for (file, about, source) in files {
            let id = identity(&about);
            if !seen.insert(id) || behind.contains(&file.log) {
                continue;
            }
            let place = places.entry(id).or_default();
            if about.len() < place.offset {
                *place = Followed::default();
            }
            if self.read_on(&file, source, place, &mut lines) == PIECE {
                behind.insert(file.log);
            }
        }
        if complete {
            places.retain(|id, _| seen.contains(id));
        }
        lines
    }

    /// Opens all files, the oldest first, and tells whether that could be done with all. The current
    /// ones are opened before those put aside are listed: what is put aside in between is there
    /// twice, and nothing is missing.
    fn in_order(&self) -> (Vec<(LogFile, Metadata, File)>, bool) {
        let open = |file: LogFile| {
            let source = File::open(&file.path).ok()?;
            Some((file, source.metadata().ok()?, source))
        };
        let list = |aside: bool| {
            let files = self.files().unwrap_or_default().into_iter();
            files.filter(move |file| file.aside.is_some() == aside).collect::<Vec<_>>()
        };
        let current = list(false);
        let wanted = current.len();
        let current: Vec<_> = current.into_iter().filter_map(open).collect();
        let put_aside = list(true);
        let wanted = wanted + put_aside.len();
        let opened: Vec<_> = put_aside.into_iter().rev().filter_map(open).chain(current).collect();
        let complete = opened.len() == wanted;
        (opened, complete)
    }

    /// Reads a piece of a file, and returns its length.
    fn read_on(
        &self,
        file: &LogFile,
        mut source: File,
        place: &mut Followed,
        lines: &mut Vec<LogLine>,
    ) -> u64 {
        let mut fresh = Vec::new();
        let read = source
            .seek(SeekFrom::Start(place.offset))
            .and_then(|_| source.take(PIECE).read_to_end(&mut fresh));
        let Ok(read) = read else { return 0 };
        place.offset += read as u64;
        place.partial.append(&mut fresh);
        while let Some(at) = place.partial.iter().position(|byte| *byte == b'\n') {
            let line: Vec<u8> = place.partial.drain(..=at).collect();
            let text = String::from_utf8_lossy(&line);
            let text = text.trim_end();
            if matches!(self.judge(text), Verdict::Fits(_)) {
                lines.push(self.line(&file.log, text));
            }
        }
        if place.partial.len() > MAX_LINE {
            place.partial.clear();
        }
        read as u64
    }
}
