//! Following a log: lines as they are written, for as long as one may see them.

use std::{
    collections::BTreeMap,
    fs::File,
    io::{Read as _, Seek as _, SeekFrom},
    os::unix::fs::MetadataExt as _,
    time::Duration,
};

use camino::Utf8PathBuf;
use portway_model::{Id, Site};
use portway_wire::logs::LogLine;
use tokio::{sync::mpsc, task::JoinError, time::Instant};
use tracing::error;

use super::{MAX_LINE, PIECE, Verdict, Wanted};
use crate::{Actor, Control, ControlError, rights::Sites};

/// How often a followed log is looked at.
const LOOK_EVERY: Duration = Duration::from_millis(250);
/// How often it is asked whether the reader may still read.
const ASK_EVERY: Duration = Duration::from_secs(2);

/// How far a followed file has been read.
struct Followed {
    inode: u64,
    offset: u64,
    partial: Vec<u8>,
}

type Places = BTreeMap<Utf8PathBuf, Followed>;

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
) {
    let mut places = wanted.ends();
    let mut asked = Instant::now();
    if !send(&sender, newest).await {
        return;
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
        let mut places = Places::new();
        for file in self.files().unwrap_or_default().iter().filter(|file| file.aside.is_none()) {
            if let Ok(meta) = std::fs::metadata(&file.path) {
                let place = Followed { inode: meta.ino(), offset: meta.len(), partial: Vec::new() };
                places.insert(file.path.clone(), place);
            }
        }
        places
    }

    /// Reads what was written since the last look. A file that cannot be read now is looked at
    /// again the next time.
    fn grown(&self, places: &mut Places) -> Vec<LogLine> {
        let mut lines = Vec::new();
        for file in self.files().unwrap_or_default().iter().filter(|file| file.aside.is_none()) {
            let Ok(mut source) = File::open(&file.path) else { continue };
            let Ok(meta) = source.metadata() else { continue };
            let place = places.entry(file.path.clone()).or_insert_with(|| Followed {
                inode: meta.ino(),
                offset: 0,
                partial: Vec::new(),
            });
            if place.inode != meta.ino() || meta.len() < place.offset {
                *place = Followed { inode: meta.ino(), offset: 0, partial: Vec::new() };
            }
            let mut fresh = Vec::new();
            let read = source
                .seek(SeekFrom::Start(place.offset))
                .and_then(|_| source.take(PIECE).read_to_end(&mut fresh));
            let Ok(read) = read else { continue };
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
        }
        lines
    }
}
