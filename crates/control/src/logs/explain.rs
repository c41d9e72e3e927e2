//! Why a request was answered as it was: its lines, told as a story.

mod on_node;
mod on_nodes;
mod story;
mod trial;

use camino::Utf8PathBuf;
use jiff::{SignedDuration, Timestamp};
use portway_policy::log_folder;
use portway_store::{PageRequest, SiteFilter, Visible};
use portway_wire::explain::{ExplainQuery, Explanation};

use self::on_nodes::OnNodes;
use super::find::{Folder, Missed, Search, time_of};
use crate::{ControlError, rights::Sites};

/// The folder of what belongs to no site.
const EDGE_FOLDER: &str = "_edge";
/// An id may be ahead of our clock by this much.
const AHEAD: SignedDuration = SignedDuration::from_mins(1);

impl Sites<'_> {
    /// Tells the way of a request, from the logs of what the actor may see.
    pub async fn explain(
        &self,
        id: &str,
        query: ExplainQuery,
    ) -> Result<Explanation, ControlError> {
        let id = checked(id)?.to_owned();
        let folders = self.folders(query.site.as_deref()).await?;
        let search = Search::new(&id);
        let found = tokio::task::spawn_blocking(move || search.run(&folders))
            .await
            .map_err(|error| ControlError::internal("reading the logs", error))?;
        let found = found.map_err(|source| {
            let remedy = "see that the manager may read the folder of the logs";
            ControlError::unavailable("the logs cannot be read", remedy, 30, source)
        })?;
        let missed = match found {
            Ok(found) => return Ok(story::tell(&id, found)),
            Err(missed) => missed,
        };
        let mut causes = causes(time_of(&id), Timestamp::now(), &missed);
        match query.site {
            Some(site) => match self.found_on_nodes(&site, &id).await? {
                Ok(OnNodes { found, node }) => {
                    return Ok(Explanation { node, ..story::tell(&id, found) });
                }
                Err(unread) => causes.extend(unread),
            },
            None if self.has_nodes().await? => causes.push(
                "if a node answered it, name the site, as in `--site app`: the logs on its nodes are \
                 looked through then"
                    .to_owned(),
            ),
            None => {}
        }
        Err(ControlError::NotLogged { id, causes })
    }

    /// Returns the folders in which the actor may look.
    async fn folders(&self, site: Option<&str>) -> Result<Vec<Folder>, ControlError> {
        if let Some(site) = site {
            let row = self.control.site_row(self.actor, site).await?;
            let path = self.log_dir().join(log_folder(&row.name, row.id));
            return Ok(vec![Folder { site: Some(row.name.to_string()), path }]);
        }
        match self.actor.visible() {
            Visible::All => self.all_folders(),
            visible @ Visible::Owner(_) => self.folders_of(visible).await,
        }
    }

    async fn folders_of(&self, visible: Visible) -> Result<Vec<Folder>, ControlError> {
        let sites = self.control.inner.store.sites();
        let mut folders = Vec::new();
        let mut request = Some(PageRequest::first(portway_store::MAX_LIMIT));
        while let Some(page) = request {
            let found = sites.list(visible, &SiteFilter::default(), &page).await?;
            folders.extend(found.items.iter().map(|row| Folder {
                site: Some(row.name.to_string()),
                path: self.log_dir().join(log_folder(&row.name, row.id)),
            }));
            request = page.next(&found);
        }
        Ok(folders)
    }

    /// Who sees everything also sees what is left of sites that are gone.
    fn all_folders(&self) -> Result<Vec<Folder>, ControlError> {
        let failed = |source| {
            let remedy = "see that the manager may read it";
            ControlError::unavailable("the folder of the logs cannot be read", remedy, 30, source)
        };
        let entries = match self.log_dir().read_dir_utf8() {
            Ok(entries) => entries,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
            Err(error) => return Err(failed(error)),
        };
        let mut folders = Vec::new();
        for entry in entries {
            let entry = entry.map_err(failed)?;
            let name = entry.file_name();
            // The end of the id tells sites of the same name apart; see `log_folder`.
            let site = name.rsplit_once('-').filter(|_| name != EDGE_FOLDER);
            let site = site.map(|(site, _)| site.to_owned());
            folders.push(Folder { site, path: entry.path().to_owned() });
        }
        Ok(folders)
    }

    fn log_dir(&self) -> &Utf8PathBuf {
        &self.control.inner.config.log_dir
    }
}

/// Checks what is put between quotes and looked for.
fn checked(id: &str) -> Result<&str, ControlError> {
    let id = id.trim();
    let may_stand = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.');
    if (8..=128).contains(&id.len()) && id.bytes().all(may_stand) {
        return Ok(id);
    }
    Err(ControlError::BadRequest(format!(
        "`{id}` is no id of a request; it stands in the header X-Request-Id of the answer, on error \
         pages and in the logs, for example 0190c2c4d1f27c3e8a5b6d7e8f901234"
    )))
}

/// Says why a request may not be found, from what belongs to the actor alone: whether the id is
/// another's does not show.
fn causes(made: Option<Timestamp>, now: Timestamp, missed: &Missed) -> Vec<String> {
    let mut causes = Vec::new();
    match (made, missed.oldest) {
        (None, _) => causes.push(
            "Portway does not make such ids, so a proxy before it did, or it is mistyped"
                .to_owned(),
        ),
        (Some(made), _) if made.duration_since(now) > AHEAD => {
            causes.push("it was made in the future, so it is mistyped".to_owned());
        }
        (Some(made), Some(oldest)) if made < oldest => causes.push(format!(
            "it is of {made:.0} and the oldest line of {oldest:.0}, so it was removed with old \
             files: more are kept with `log: {{keep: …, max_size: …}}`"
        )),
        (Some(_), None) => causes.push("there are no lines at all".to_owned()),
        (Some(_), Some(_)) => {}
    }
    if !missed.combined.is_empty() {
        let sites = missed.combined.join(", ");
        causes.push(format!(
            "logs in the combined format hold no ids (sites: {sites}); `log: {{format: json}}` does"
        ));
    }
    if missed.is_cut {
        causes.push(
            "there is more in the logs than is read at once: name the site, as in `--site app`"
                .to_owned(),
        );
    }
    causes.push(
        "a request stands there once it has ended, unless its site has `log: {access: false}`"
            .to_owned(),
    );
    causes
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_is_checked_before_it_is_looked_for() {
        for id in ["short", "has a blank in it", "quote\"quote", "../../../etc/passwd"] {
            assert!(checked(id).is_err(), "{id}");
        }
        assert_eq!(checked(" outer-request.1 ").unwrap(), "outer-request.1");
    }

    #[test]
    fn every_cause_is_said_with_what_helps() {
        let time = |text: &str| text.parse::<Timestamp>().unwrap();
        let (made, now) = (time("2026-01-01T00:00:00Z"), time("2026-01-31T00:00:00Z"));
        let all = |made, missed: Missed| causes(made, now, &missed).join("\n");
        let removed = Missed { oldest: Some(time("2026-01-30T00:00:00Z")), ..Missed::default() };
        assert!(all(Some(made), removed).contains("keep"));
        let combined = Missed { combined: vec!["app".to_owned()], ..Missed::default() };
        assert!(all(Some(made), combined).contains("sites: app"));
        assert!(all(None, Missed::default()).contains("mistyped"));
        let ahead = time("2026-02-01T00:00:00Z");
        assert!(all(Some(ahead), Missed::default()).contains("future"));
        assert!(all(Some(made), Missed::default()).contains("access: false"));
    }
}
