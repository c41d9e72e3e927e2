//! `token add|list|rm`

use portway_wire::{
    PageQuery,
    user::{NewToken, TokenView},
};
use uuid::Uuid;

use super::paging;
use crate::{
    exit::{Exit, Outcome},
    out::{Table, clean, list as join, or_dash, time},
    session::Session,
};

/// `portway token add`
pub(super) async fn add(
    session: &Session,
    name: String,
    user: Option<String>,
    scopes: Vec<String>,
    days: u32,
) -> Outcome {
    let client = session.client().await?;
    let new = NewToken { name, scopes, days: Some(days), user };
    let created = client.create_token(&new).await?;
    let owner = clean(&created.view.owner);
    session
        .out
        .note(&format!("A token of {owner}, shown this once; whoever has it can use it:"))?;
    session.out.show(&created, |_| created.token.clone())?;
    Ok(Exit::Ok)
}

/// `portway token list`
pub(super) async fn list(session: &Session) -> Outcome {
    let client = session.client().await?;
    let tokens = paging::all(None, |cursor, count| {
        let query = PageQuery { cursor, limit: Some(count) };
        let client = &client;
        async move { client.tokens(&query).await }
    })
    .await?;
    session.out.list(&tokens, table, "no tokens")?;
    Ok(Exit::Ok)
}

/// `portway token rm`
pub(super) async fn remove(session: &Session, id: Uuid) -> Outcome {
    session.client().await?.remove_token(id).await?;
    session.out.note("removed")?;
    Ok(Exit::Ok)
}

fn table(tokens: &[TokenView]) -> Table {
    let rows = tokens.iter().map(|token| {
        [
            token.id.to_string(),
            token.name.clone(),
            token.owner.clone(),
            format!("{}…", token.prefix),
            join(&token.scopes),
            or_dash(token.expires_at.map(time)),
            or_dash(token.last_used_at.map(time)),
        ]
    });
    Table::new(["id", "name", "owner", "begins", "scopes", "ends", "last used"]).rows(rows)
}
