//! What a request for a file means: the file itself, a compressed form of it, the index of a folder
//! or its listing, or the index of an application that answers for paths of its own.

use std::sync::Arc;

use http::{HeaderValue, Method, header, request::Parts};
use portway_model::site::FileRoot;

use super::{
    find::{Entry, Halt, Hit, Look},
    known::Known,
    media,
};
use crate::{
    coding::{Accepted, Coding},
    pages::accept::{self, View},
};

/// What a request wants of a root.
#[derive(Clone)]
pub(super) struct Wanted {
    root: Arc<FileRoot>,
    path: String,
    as_folder: bool,
    accepted: Accepted,
    /// Whether a page would be welcome.
    view: View,
    /// Whether bytes are to be sent.
    content: bool,
}

/// What it gets.
pub(super) enum Found {
    /// Nothing.
    Nothing,
    /// A folder, asked for without its slash.
    Folder,
    /// A folder without an index, that may be listed.
    Listing,
    /// A file.
    File(Box<Choice>),
}

/// A file that was chosen.
pub(super) struct Choice {
    /// The bytes to send.
    pub(super) hit: Hit,
    /// The type of the file, whatever its coding.
    pub(super) media: HeaderValue,
    /// How it is coded.
    pub(super) coding: Option<Coding>,
    /// Whether another client might have got another coding.
    pub(super) negotiated: bool,
    /// What it stands for.
    pub(super) role: Role,
}

/// What a file stands for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Role {
    /// Itself.
    File,
    /// The page of an application.
    Page,
    /// The page of an application, for a path without a file.
    Fallback,
}

impl Wanted {
    /// Reads it from a request. `path` is below the root, without slashes at its ends.
    pub(super) fn of(root: &Arc<FileRoot>, path: &str, public_path: &str, parts: &Parts) -> Self {
        let accept_encoding = parts.headers.get(header::ACCEPT_ENCODING);
        Self {
            root: Arc::clone(root),
            path: path.to_owned(),
            as_folder: public_path.ends_with('/'),
            accepted: Accepted::of(accept_encoding),
            view: accept::view(parts.headers.get(header::ACCEPT)),
            content: parts.method == Method::GET,
        }
    }

    /// Returns the root.
    pub(super) fn root(&self) -> &FileRoot {
        &self.root
    }

    /// Returns the path below the root.
    pub(super) fn path(&self) -> &str {
        &self.path
    }

    /// Returns the form in which a listing is wanted.
    pub(super) fn view(&self) -> View {
        self.view
    }

    /// Finds it.
    pub(super) fn find(&self, look: &mut impl Look) -> Result<Found, Halt> {
        let found = if self.as_folder { self.folder(look)? } else { self.file(look)? };
        if !matches!(found, Found::Nothing) || !self.falls_back() {
            return Ok(found);
        }
        match self.index(look, ".")? {
            Some((path, hit)) => self.choose(look, &path, hit, Role::Fallback),
            None => Ok(Found::Nothing),
        }
    }

    fn file(&self, look: &mut impl Look) -> Result<Found, Halt> {
        match look.look(&self.path)? {
            Entry::File(hit) => self.choose(look, &self.path, hit, self.role(&self.path)),
            Entry::Folder if self.root.listing => Ok(Found::Folder),
            Entry::Folder => {
                let index = self.index(look, &self.path)?;
                Ok(index.map_or(Found::Nothing, |_| Found::Folder))
            }
            Entry::Other | Entry::Nothing => Ok(Found::Nothing),
        }
    }

    /// The index is looked for first: where there is one, there is the folder.
    fn folder(&self, look: &mut impl Look) -> Result<Found, Halt> {
        if let Some((path, hit)) = self.index(look, &self.path)? {
            return self.choose(look, &path, hit, self.role(&path));
        }
        match look.look(&self.path)? {
            Entry::Folder if self.root.listing => Ok(Found::Listing),
            Entry::Folder | Entry::File(_) | Entry::Other | Entry::Nothing => Ok(Found::Nothing),
        }
    }

    fn index(&self, look: &mut impl Look, folder: &str) -> Result<Option<(String, Hit)>, Halt> {
        for index in &self.root.index {
            let path = if folder == "." { index.clone() } else { format!("{folder}/{index}") };
            if let Entry::File(hit) = look.look(&path)? {
                return Ok(Some((path, hit)));
            }
        }
        Ok(None)
    }

    /// A path of an application looks like no file, and whoever asks for it wants a page: an asset
    /// that is missing, or a call of an API that went astray, must not be answered with one.
    fn falls_back(&self) -> bool {
        let last = self.path.rsplit('/').next().unwrap_or(&self.path);
        let is_file = self.path != "." && last.contains('.');
        self.root.spa && !is_file && self.view == View::Page
    }

    fn role(&self, path: &str) -> Role {
        let is_page = self.root.spa && self.root.index.iter().any(|index| index == path);
        if is_page { Role::Page } else { Role::File }
    }

    /// Chooses among a file and its compressed forms.
    fn choose(
        &self,
        look: &mut impl Look,
        path: &str,
        original: Hit,
        role: Role,
    ) -> Result<Found, Halt> {
        let media = original.known.media.clone();
        let negotiated = self.root.precompressed && !media::is_packed(&media);
        let form = if negotiated { self.form(look, path, &original.known)? } else { None };
        let (path, hit, coding) = match form {
            Some((form, hit, coding)) => (form, hit, Some(coding)),
            None => (path.to_owned(), original, None),
        };
        let Some(hit) = self.with_content(look, &path, hit)? else { return Ok(Found::Nothing) };
        Ok(Found::File(Box::new(Choice { hit, media, coding, negotiated, role })))
    }

    /// Returns the best compressed form that the client takes and that is not older than the file.
    fn form(
        &self,
        look: &mut impl Look,
        path: &str,
        original: &Known,
    ) -> Result<Option<(String, Hit, Coding)>, Halt> {
        for coding in self.accepted.ranked() {
            let form = format!("{path}{}", coding.suffix());
            if let Entry::File(hit) = look.look(&form)?
                && hit.known.stamp.is_as_new_as(&original.stamp)
            {
                return Ok(Some((form, hit, coding)));
            }
        }
        Ok(None)
    }

    /// Opens a large file of which only the state was known; nothing when it went away meanwhile.
    fn with_content(
        &self,
        look: &mut impl Look,
        path: &str,
        hit: Hit,
    ) -> Result<Option<Hit>, Halt> {
        if !self.content || hit.file.is_some() || hit.known.content.is_some() {
            return Ok(Some(hit));
        }
        Ok(match look.open(path)? {
            Entry::File(hit) => Some(hit),
            Entry::Folder | Entry::Other | Entry::Nothing => None,
        })
    }
}
