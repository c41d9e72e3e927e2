//! `node token create|list|revoke`, `node cloud-init`.

use portway_wire::{
    PageQuery,
    join::{CloudInitOptions, JoinTokenView, NewJoinToken},
};
use uuid::Uuid;

use crate::{
    args::{CloudInitArgs, JoinOptions},
    cmd::paging,
    exit::{Exit, Failure, Outcome},
    out::{Table, clean, or_dash, time},
    session::Session,
};

/// `portway node token create`
pub(crate) async fn create_token(session: &Session, options: JoinOptions) -> Outcome {
    let made = session.client().await?.create_join_token(&of(options)).await?;
    session.out.note("The token, which is shown only once:")?;
    session.out.show(&made, |_| clean(&made.token))?;
    Ok(Exit::Ok)
}

/// `portway node token list`
pub(crate) async fn list_tokens(session: &Session) -> Outcome {
    let client = session.client().await?;
    let tokens = paging::all(None, |cursor, count| {
        let query = PageQuery { cursor, limit: Some(count) };
        let client = &client;
        async move { client.join_tokens(&query).await }
    })
    .await?;
    session.out.list(&tokens, table, "no join tokens")?;
    Ok(Exit::Ok)
}

/// `portway node token revoke`
pub(crate) async fn revoke_token(session: &Session, id: Uuid) -> Outcome {
    session.client().await?.revoke_join_token(id).await?;
    session.out.note("it opens nothing any more")?;
    Ok(Exit::Ok)
}

/// `portway node cloud-init`
pub(crate) async fn cloud_init(session: &Session, args: CloudInitArgs) -> Outcome {
    let options = CloudInitOptions { url: args.url, public_ca: args.public_ca };
    let new = NewJoinToken { cloud_init: Some(options), ..of(args.join) };
    let made = session.client().await?.create_join_token(&new).await?;
    let text = made.cloud_init.clone().ok_or_else(|| {
        Failure::failed("the manager returned no user-data; it is of an earlier version")
    })?;
    session.out.show(&made, |_| text)?;
    Ok(Exit::Ok)
}

fn of(options: JoinOptions) -> NewJoinToken {
    NewJoinToken {
        engine: options.engine.to_string(),
        name: options.name.map(|name| name.to_string()),
        user: options.user,
        port: options.ssh_port,
        labels: options.labels.into_iter().collect(),
        zone: options.zone.map(|zone| zone.to_string()),
        groups: options.groups.iter().map(ToString::to_string).collect(),
        active: options.active,
        allow_local: options.allow_local,
        minutes: Some(options.expires),
        cloud_init: None,
    }
}

fn table(tokens: &[JoinTokenView]) -> Table {
    let rows = tokens.iter().map(|token| {
        let state = match token {
            _ if token.usable => "waits",
            JoinTokenView { used_at: Some(_), .. } => "used",
            JoinTokenView { revoked_at: Some(_), .. } => "revoked",
            JoinTokenView { .. } => "ended",
        };
        [
            token.id.to_string(),
            format!("{}…", token.prefix),
            token.template.engine.clone(),
            state.to_owned(),
            time(token.expires_at),
            or_dash(token.node.clone()),
            token.made_by.clone(),
        ]
    });
    Table::new(["id", "begins", "engine", "state", "ends", "node", "made by"]).rows(rows)
}
