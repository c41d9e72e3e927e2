//! `setup`: the first administrator, and the console under a name of its own.

use std::{collections::BTreeMap, net::SocketAddr};

use portway_model::{
    Bounds, Hostname, Role, SiteSpec,
    site::spec::{HeaderEditsSpec, HeadersSpec},
};
use portway_wire::{
    ProblemCode,
    auth::Setup as SetupRequest,
    client::{Client, IfMatch},
    site::{EditSite, NewSite},
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

/// The site that publishes the console.
const CONSOLE_SITE: &str = "portway-console";

/// `portway setup`
pub(super) async fn run(session: &Session, args: Setup) -> Outcome {
    let health = session.public_client().await?.health().await?;
    if !health.set_up {
        make_administrator(session, &args).await?;
    } else if args.console_host.is_none() {
        session.out.note("Portway is set up already; add users by `portway user add NAME`")?;
    }
    match &args.console_host {
        Some(host) => publish_console(session, host).await,
        None => Ok(Exit::Ok),
    }
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

async fn publish_console(session: &Session, host: &str) -> Outcome {
    if !session.is_local() {
        return Err(Failure::usage("the console is published on the manager's own machine")
            .help("run the command there, without --server"));
    }
    let paths = session.paths()?;
    // An option of `serve` counts for more than what stands in a file.
    let api = match super::serve::started_api(&paths)? {
        Some(api) => api,
        None => session.settings()?.api,
    };
    let host = host.parse::<Hostname>().map_err(|error| {
        Failure::usage(error.to_string()).help("write for example console.example.org")
    })?;
    let client = session.client().await?;
    let console = super::serve::publish_console(&paths, host.as_str())?;
    let spec = serde_json::to_value(console_site(&console.host, api, &console.key))
        .map_err(|error| Failure::failed("the site cannot be sent").because(&error))?;
    let message = Some(format!("publish the console as {host}"));
    let changed = put_console(&client, spec, message).await?;
    let sources = Sources::default();
    let exit = deployed::finish(session, &client, &changed, &sources, Waiting::yes()).await?;
    session.out.note(&format!("http://{api} stays as the way back on this machine"))?;
    Ok(exit)
}

/// The key proves to the API that a request came through the edge: a page that lets its own name
/// point to the loopback address does not know it.
fn console_site(host: &str, api: SocketAddr, key: &str) -> SiteSpec {
    let set = BTreeMap::from([("X-Portway-Edge".to_owned(), key.to_owned())]);
    let request = HeaderEditsSpec { set, ..HeaderEditsSpec::default() };
    SiteSpec {
        description: Some("API and console of Portway".to_owned()),
        headers: Some(HeadersSpec { request: Some(request), response: None }),
        ..SiteSpec::proxy(host, api.to_string())
    }
}

async fn put_console(
    client: &Client,
    spec: serde_json::Value,
    message: Option<String>,
) -> Result<portway_wire::site::Changed, Failure> {
    let edit = EditSite { spec: spec.clone(), message: message.clone() };
    match client.edit_site(CONSOLE_SITE, &edit, IfMatch::Any).await {
        Ok(changed) => Ok(changed),
        Err(error) if error.problem().is_some_and(|p| p.code == ProblemCode::NotFound) => {
            let site = NewSite { name: Some(CONSOLE_SITE.to_owned()), owner: None, spec, message };
            let view = client.create_site(&site, Uuid::now_v7()).await?;
            Ok(deployed::made(&view))
        }
        Err(error) => Err(error.into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_site_of_the_console_is_sound() {
        let spec = console_site("console.example", "127.0.0.1:8900".parse().unwrap(), "key");
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
