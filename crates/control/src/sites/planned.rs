//! A site of a file, as a plan of what comes to nodes wants it.

use portway_store::SiteRow;

use super::apply::{Put, Touched};
use crate::{
    ControlError,
    deploy::TO_COME,
    nodes::selectors_of,
    plan::{Declared, IN_FULL, Rows, TouchedSite},
};

/// Returns what a plan is told of a site that would be touched after `others`.
pub(super) fn touched_site(
    touched: &Touched<'_>,
    others: usize,
) -> Result<TouchedSite, ControlError> {
    let is_in_full = others < IN_FULL;
    match touched {
        Touched::Put(put) => Ok(TouchedSite {
            id: put.prepared.id,
            name: put.prepared.name.clone(),
            before: put.row.map(declared).transpose()?,
            after: Some(put.prepared.site.nodes.clone()),
            is_same: put.before.as_ref() == Some(&put.prepared.spec),
            rows: if is_in_full { Some(Box::new(rows(put)?)) } else { None },
        }),
        Touched::Gone { row } => Ok(TouchedSite {
            id: row.id,
            name: row.name.clone(),
            before: Some(declared(row)?),
            after: None,
            is_same: false,
            rows: is_in_full.then(|| {
                let before = Some((*row).clone());
                Box::new(Rows { before, after: None, to_come: std::collections::BTreeMap::new() })
            }),
        }),
    }
}

fn declared(row: &SiteRow) -> Result<Declared, ControlError> {
    Ok(Declared { revision: row.revision, nodes: selectors_of(row)? })
}

fn rows(put: &Put<'_>) -> Result<Rows, ControlError> {
    let Put { row, prepared, owner, .. } = put;
    let spec = serde_json::to_value(&prepared.spec)
        .map_err(|error| ControlError::internal("writing a site", error))?;
    let now = jiff::Timestamp::UNIX_EPOCH;
    let after = match row {
        Some(row) => SiteRow { spec, ..(*row).clone() },
        None => SiteRow {
            id: prepared.id,
            name: prepared.name.clone(),
            owner: owner.id,
            spec,
            origin: portway_model::Origin::Api,
            revision: portway_model::RevisionNumber(0),
            blocked: None,
            created_at: now,
            updated_at: now,
        },
    };
    let words = prepared.passwords.iter().map(|secret| {
        let reference = secret.reference.as_str().to_owned();
        (reference.clone(), format!("{TO_COME} {reference}"))
    });
    Ok(Rows { before: row.cloned(), after: Some(after), to_come: words.collect() })
}
