//! `setup`: the first administrator, and the console under a name of its own.

use std::net::SocketAddr;

use portway_control::CONSOLE_SITE;
use portway_model::{Bounds, Hostname, Role, SiteSpec};
use portway_wire::{
    ProblemCode,
    auth::Setup as SetupRequest,
    client::{Client, IfMatch},
    site::{Changed, EditSite, NewSite},
    user::NewUser,
};
use uuid::Uuid;

use crate::{
    args::{Setup, Waiting},
    deployed,
    exit::{Exit, Failure, Outcome},
    findings::Sources,
    input,
    login::Login as SavedLogin,
    out::clean,
    session::Session,
};

/// `portway setup`
pub(super) async fn run(session: &Session, args: Setup) -> Outcome {
    let host = args.console_host.as_deref().map(console_host).transpose()?;
    let health = session.public_client().await?.health().await?;
    if !health.set_up {
        make_administrator(session, &args).await?;
    } else if args.console_host.is_none() {
        session.out.note("Portway is set up already; add users by `portway user add NAME`")?;
    }
    match host {
        Some(host) => publish_console(session, &host).await,
        None => Ok(Exit::Ok),
    }
}

/// Reads the name before anything is done.
fn console_host(text: &str) -> Result<Hostname, Failure> {
    text.parse().map_err(|error: portway_model::HostError| {
        Failure::usage(error.to_string()).help("write for example console.example.org")
    })
}

async fn make_administrator(session: &Session, args: &Setup) -> Result<(), Failure> {
    let name = match (&args.name, args.password_stdin) {
        (Some(name), _) => name.clone(),
        (None, true) => "admin".to_owned(),
        (None, false) => input::line("Name of the administrator", Some("admin"))?,
    };
    let password = input::new_password("Password (at least 12 characters)", args.password_stdin)?;
    let email = args.email.clone();
    match &args.link {
        Some(link) => by_link(session, token(link)?, name.clone(), email, password).await?,
        None if session.is_local() => by_socket(session, name.clone(), email, password).await?,
        None => {
            return Err(Failure::usage("the set-up link is missing").help(
                "give the link that `portway serve` printed by --link, or run `portway setup` on \
                 the manager's own machine",
            ));
        }
    }
    session.out.note(&format!("{} is the administrator", clean(&name)))?;
    session.out.note("next: portway site add app.localhost --to 127.0.0.1:5000")
}

async fn by_link(
    session: &Session,
    token: String,
    name: String,
    email: Option<String>,
    password: String,
) -> Result<(), Failure> {
    let client = session.public_client().await?;
    let tokens = client.set_up(&SetupRequest { token, name, email, password }).await?;
    if !session.is_local() {
        let login = SavedLogin::new(&client.endpoint(), &tokens, session.now());
        session.logins()?.save(&login)?;
    }
    Ok(())
}

/// On the machine itself the local socket knows its caller; no link is needed.
async fn by_socket(
    session: &Session,
    name: String,
    email: Option<String>,
    password: String,
) -> Result<(), Failure> {
    let user = NewUser {
        name,
        email,
        role: Role::Admin,
        bounds: Bounds::default(),
        password: Some(password),
    };
    session.client().await?.create_user(&user).await?;
    Ok(())
}

/// Returns the token of a set-up link.
fn token(link: &str) -> Result<String, Failure> {
    let token = match link.split_once("token=") {
        Some((_, rest)) => rest.split(['&', '#']).next().unwrap_or_default(),
        None if link.contains("://") => link.rsplit(['/', '#']).next().unwrap_or_default(),
        None => link,
    };
    if token.is_empty() {
        return Err(Failure::usage(format!("`{link}` has no token")));
    }
    Ok(token.to_owned())
}

async fn publish_console(session: &Session, host: &Hostname) -> Outcome {
    if !session.is_local() {
        return Err(Failure::usage("the console is published on the manager's own machine")
            .help("run the command there, without --server"));
    }
    let paths = session.paths()?;
    let api = session.manager()?.api;
    let client = session.client().await?;
    let console = super::serve::publish_console(&paths, host.as_str())?;
    let message = format!("publish the console as {host}");
    let changed = put_console(&client, &console.host, api, message).await?;
    let sources = Sources::default();
    let exit = deployed::finish(session, &client, &changed, &sources, Waiting::yes()).await?;
    session.out.note(&format!("http://{api} stays as the way back on this machine"))?;
    Ok(exit)
}

/// Returns the site of the console. What proves to the API that a request came through the edge is
/// added by the manager when it compiles the site, and is not declared.
fn console_site(host: &str, api: SocketAddr) -> SiteSpec {
    SiteSpec {
        description: Some("API and console of Portway".to_owned()),
        ..SiteSpec::proxy(host, api.to_string())
    }
}

/// Makes the console's site, or gives the one that is there another name. Whatever else was
/// declared for it, for example who may use it, stays.
async fn put_console(
    client: &Client,
    host: &str,
    api: SocketAddr,
    message: String,
) -> Result<Changed, Failure> {
    let fresh = console_site(host, api);
    let there = match client.site(CONSOLE_SITE).await {
        Ok(view) => view,
        Err(error) if error.problem().is_some_and(|p| p.code == ProblemCode::NotFound) => {
            let (name, message) = (Some(CONSOLE_SITE.to_owned()), Some(message));
            let site = NewSite { name, owner: None, spec: json(&fresh)?, message, rollout: None };
            let view = client.create_site(&site, Uuid::now_v7()).await?;
            return Ok(deployed::made(&view));
        }
        Err(error) => return Err(error.into()),
    };
    let spec = SiteSpec { hosts: fresh.hosts, to: fresh.to, ..there.spec };
    let edit = EditSite { spec: json(&spec)?, message: Some(message), rollout: None };
    Ok(client.edit_site(CONSOLE_SITE, &edit, IfMatch::Revision(there.summary.revision)).await?)
}

fn json(spec: &SiteSpec) -> Result<serde_json::Value, Failure> {
    serde_json::to_value(spec)
        .map_err(|error| Failure::failed("the site cannot be sent").because(&error))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_site_of_the_console_is_sound() {
        let spec = console_site("console.example", "127.0.0.1:8900".parse().unwrap());
        let (site, findings) = portway_model::site::check(&"console".parse().unwrap(), &spec);
        assert!(site.is_some(), "{findings:?}");
    }

    #[test]
    fn a_link_is_as_good_as_its_token() {
        let read = |link: &str| token(link).ok();
        assert_eq!(read("http://localhost:8900/setup?token=abc&x=1").as_deref(), Some("abc"));
        assert_eq!(read("http://localhost:8900/setup#token=abc").as_deref(), Some("abc"));
        assert_eq!(read("http://localhost:8900/setup#abc").as_deref(), Some("abc"));
        assert_eq!(read("abc").as_deref(), Some("abc"));
        assert_eq!(read("http://localhost:8900/setup?token="), None);
    }
}
