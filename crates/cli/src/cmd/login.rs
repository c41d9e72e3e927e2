//! `login`, `logout` and `whoami`.

use portway_wire::auth::Login as LoginRequest;

use crate::{
    args::{Login, Logout},
    exit::{Exit, Failure, Outcome},
    input,
    login::Login as SavedLogin,
    out::clean,
    session::Session,
};

/// `portway login`
pub(super) async fn login(session: &Session, args: Login) -> Outcome {
    let client = session.anonymous(&url(session, args.url, "login")?)?;
    let server = client.endpoint();
    let usual = std::env::var("USER").ok();
    let name = match args.user {
        Some(name) => name,
        None => input::line("Name", usual.as_deref())?,
    };
    let password = input::password("Password", args.password_stdin)?;
    let request = LoginRequest { name, password };
    let tokens = client.log_in(&request).await.map_err(|error| match Failure::from(error) {
        // The usual help, to log in, would not help.
        failure if failure.exit == Exit::NotAllowed => Failure { help: None, ..failure },
        failure => failure,
    })?;
    session.logins()?.save(&SavedLogin::new(&server, &tokens, session.now()))?;
    let name = clean(&tokens.user.name);
    session.out.note(&format!("logged in with {server} as {name} ({})", tokens.user.role))?;
    session.out.note(&format!("use it: portway --server {server} …   (or set PORTWAY_SERVER)"))?;
    Ok(Exit::Ok)
}

/// `portway logout`
pub(super) async fn logout(session: &Session, args: Logout) -> Outcome {
    let anonymous = session.anonymous(&url(session, args.url, "logout")?)?;
    let server = anonymous.endpoint();
    let logins = session.logins()?;
    // What is kept here goes in any case, also when the manager cannot be told.
    let told = match logins.token(&server, &anonymous, session.now()).await {
        Ok(None) => {
            return Err(Failure::new(Exit::NotFound, format!("there is no login with {server}")));
        }
        Ok(Some(token)) => anonymous.with_token(&token)?.log_out().await.map_err(Failure::from),
        Err(failure) => Err(failure),
    };
    logins.forget(&server)?;
    match told {
        Ok(()) => session.out.note(&format!("logged out of {server}"))?,
        Err(failure) if failure.exit == Exit::NotAllowed => {
            session.out.note(&format!("the login with {server} had ended already"))?;
        }
        Err(failure) => {
            return Err(Failure { help: None, ..failure }
                .help("the login was forgotten here, but may live on at the manager"));
        }
    }
    Ok(Exit::Ok)
}

/// `portway whoami`
pub(super) async fn whoami(session: &Session) -> Outcome {
    let client = session.client().await?;
    let me = client.whoami().await?;
    session.out.show(&me, |_| {
        format!("{} ({}) at {}, by {}", clean(&me.name), me.role, client.endpoint(), clean(&me.via))
    })?;
    Ok(Exit::Ok)
}

fn url(session: &Session, given: Option<String>, verb: &str) -> Result<String, Failure> {
    given.or_else(|| session.server().map(str::to_owned)).ok_or_else(|| {
        Failure::usage("the manager's address is missing").help(format!(
            "write for example `portway {verb} https://portway.example.org`; on the manager's own \
             machine no login is needed"
        ))
    })
}
