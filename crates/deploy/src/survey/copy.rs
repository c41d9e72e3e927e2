//! Where the copy of an engine's own configuration can be put that its test reads.
//!
//! It has to lie beside the original, so that relative names in it lead to the same files. Whoever logs in
//! need not own that folder: a link there that leads into Portway's folder does as well.

use camino::Utf8PathBuf;
use portway_engine::{Layout, caddy, nginx};
use portway_model::EngineKind;
use portway_transport::{Content, Transport};

use super::{Eye, Seen};

/// Where the copy goes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CopyPlace {
    /// It is put beside the original, or none is needed.
    Beside,
    /// A link beside the original leads to this place in Portway's folder.
    Through(Utf8PathBuf),
    /// There is no such link, and the folder cannot be written to.
    Closed,
}

/// Returns the path by which an engine's test reads its copy; nothing where it reads none.
pub fn copy_of(engine: EngineKind, layout: &Layout) -> Option<Utf8PathBuf> {
    match engine {
        EngineKind::Nginx => Some(nginx::copy_of(&layout.top_level)),
        EngineKind::Caddy => Some(caddy::copy_of(&layout.top_level)),
        EngineKind::Traefik | EngineKind::Edge => None,
    }
}

pub(super) async fn see<T: Transport>(
    eye: &Eye<'_, T>,
    engine: EngineKind,
    layout: &Layout,
) -> Seen<CopyPlace> {
    let Some(copy) = copy_of(engine, layout) else { return Ok(CopyPlace::Beside) };
    let (Some(folder), Some(name)) = (copy.parent(), copy.file_name()) else {
        return Ok(CopyPlace::Beside);
    };
    let listed = eye.steps.transport.list(folder).await.map_err(|error| error.to_string())?;
    let entry = listed.unwrap_or_default().into_iter().find(|entry| entry.name == name);
    match entry.map(|entry| entry.content) {
        Some(Content::Link { target }) if target.starts_with(&layout.home) => {
            Ok(CopyPlace::Through(target))
        }
        _ if eye.is_writable(folder).await? => Ok(CopyPlace::Beside),
        _ => Ok(CopyPlace::Closed),
    }
}
