//! `user add|list|show|edit|rm|invite|reset`

use portway_model::{Bounds, Role};
use portway_wire::{
    PageQuery,
    auth::LinkView,
    user::{EditUser, NewUser, UserView},
};

use super::paging;
use crate::{
    args::{BoundsArgs, UserAdd, UserEdit},
    exit::{Exit, Failure, Outcome},
    input,
    out::{Paint, Table, clean, list as join, or_dash, time},
    session::Session,
};

/// How many sites a client may have where nobody says otherwise.
const USUAL_SITES: u32 = 10;

/// `portway user add`
pub(super) async fn add(session: &Session, args: UserAdd) -> Outcome {
    let client = session.client().await?;
    let usual = Bounds {
        max_sites: if args.role == Role::Client { USUAL_SITES } else { 0 },
        ..Bounds::default()
    };
    let bounds = bounds(&args.bounds, usual)?;
    let password = args.password_stdin.then(|| input::password("Password", true)).transpose()?;
    let user = NewUser { name: args.name, email: args.email, role: args.role, bounds, password };
    let created = client.create_user(&user).await?;
    let name = clean(&created.user.name);
    session.out.note(&format!("added {name} as {}", created.user.role))?;
    match &created.invitation {
        Some(link) if !session.out.is_json() => show_link(session, &name, "invitation", link)?,
        Some(_) | None => session.out.show(&created, |_| String::new())?,
    }
    Ok(Exit::Ok)
}

/// `portway user list`
pub(super) async fn list(session: &Session) -> Outcome {
    let client = session.client().await?;
    let users = paging::all(None, |cursor, count| {
        let query = PageQuery { cursor, limit: Some(count) };
        let client = &client;
        async move { client.users(&query).await }
    })
    .await?;
    session.out.list(&users, table, "no users; make the first: portway setup")?;
    Ok(Exit::Ok)
}

/// `portway user show`
pub(super) async fn show(session: &Session, user: &str) -> Outcome {
    let user = session.client().await?.user(user).await?;
    session.out.show(&user, |paint| describe(&user, paint))?;
    Ok(Exit::Ok)
}

/// `portway user edit`
pub(super) async fn edit(session: &Session, args: UserEdit) -> Outcome {
    let client = session.client().await?;
    let bounds = if args.bounds.is_empty() {
        None
    } else {
        let before = client.user(&args.user).await?.bounds;
        Some(bounds(&args.bounds, before)?)
    };
    let active = match (args.activate, args.deactivate) {
        (true, _) => Some(true),
        (false, true) => Some(false),
        (false, false) => None,
    };
    let edit = EditUser { email: args.email, role: args.role, bounds, active };
    if edit == EditUser::default() {
        return Err(Failure::usage("nothing to change was given")
            .help("`portway help user edit` lists what can be changed"));
    }
    let user = client.edit_user(&args.user, &edit).await?;
    session.out.show(&user, |paint| describe(&user, paint))?;
    Ok(Exit::Ok)
}

/// `portway user rm`
pub(super) async fn remove(session: &Session, user: &str) -> Outcome {
    session.client().await?.remove_user(user).await?;
    session.out.note("removed")?;
    Ok(Exit::Ok)
}

/// `portway user invite` and `portway user reset`
pub(super) async fn link(session: &Session, user: &str, what: &str) -> Outcome {
    let link = session.client().await?.reset_user(user).await?;
    show_link(session, user, what, &link)?;
    Ok(Exit::Ok)
}

fn show_link(session: &Session, user: &str, what: &str, link: &LinkView) -> Result<(), Failure> {
    let ends = time(link.expires_at);
    session.out.note(&format!("The {what} of {user}, good once and until {ends}:"))?;
    session.out.show(link, |_| clean(&link.url))
}

impl BoundsArgs {
    fn is_empty(&self) -> bool {
        self.hosts.is_empty()
            && self.networks.is_empty()
            && self.files.is_none()
            && self.nodes.is_empty()
            && self.max_sites.is_none()
    }
}

/// Lays what was given over `before`.
fn bounds(args: &BoundsArgs, before: Bounds) -> Result<Bounds, Failure> {
    let mut bounds = serde_json::to_value(before)
        .map_err(|error| Failure::failed("the bounds cannot be read").because(&error))?;
    let mut set = |name: &str, value: serde_json::Value| {
        if let Some(fields) = bounds.as_object_mut() {
            fields.insert(name.to_owned(), value);
        }
    };
    if !args.hosts.is_empty() {
        set("hosts", args.hosts.iter().map(ToString::to_string).collect());
    }
    if !args.networks.is_empty() {
        set("networks", args.networks.clone().into());
    }
    if let Some(files) = &args.files {
        set("files", files.as_str().into());
    }
    if !args.nodes.is_empty() {
        set("nodes", args.nodes.iter().map(ToString::to_string).collect());
    }
    if let Some(max_sites) = args.max_sites {
        set("max_sites", max_sites.into());
    }
    serde_json::from_value(bounds).map_err(|error| {
        Failure::usage("--network is not a network")
            .because(&error)
            .help("write an address with its length, for example 10.0.0.0/8")
    })
}

fn table(users: &[UserView]) -> Table {
    let rows = users.iter().map(|user| {
        [
            user.name.clone(),
            user.role.to_string(),
            if user.active { "yes" } else { "no" }.to_owned(),
            or_dash(user.email.as_ref()),
            join(&user.bounds.hosts),
            time(user.created_at),
        ]
    });
    Table::new(["name", "role", "active", "mail", "hosts", "made"]).rows(rows)
}

fn describe(user: &UserView, paint: Paint) -> String {
    let bounds = &user.bounds;
    let mut lines = vec![
        ("name", user.name.clone()),
        ("id", user.id.to_string()),
        ("role", user.role.to_string()),
        ("active", if user.active { "yes" } else { "no" }.to_owned()),
        ("mail", or_dash(user.email.as_ref())),
        ("made", time(user.created_at)),
    ];
    if user.role == Role::Client {
        lines.extend([
            ("hosts", join(&bounds.hosts)),
            ("networks", join(&bounds.networks)),
            ("files", or_dash(bounds.files.as_ref())),
            ("nodes", join(&bounds.nodes)),
            ("sites", bounds.max_sites.to_string()),
        ]);
    }
    let lines = lines
        .iter()
        .map(|(name, value)| format!("{} {}\n", paint.dim(&format!("{name:<9}")), clean(value)));
    lines.collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn args() -> BoundsArgs {
        BoundsArgs {
            hosts: Vec::new(),
            networks: Vec::new(),
            files: None,
            nodes: Vec::new(),
            max_sites: None,
        }
    }

    #[test]
    fn what_is_given_replaces_and_the_rest_stays() {
        let before =
            Bounds { hosts: vec!["a.example".parse().unwrap()], max_sites: 3, ..Bounds::default() };
        let given = BoundsArgs { networks: vec!["10.0.0.0/8".to_owned()], ..args() };
        let bounds = bounds(&given, before.clone()).unwrap();
        assert_eq!(bounds.hosts, before.hosts);
        assert_eq!(bounds.max_sites, 3);
        assert_eq!(bounds.networks, ["10.0.0.0/8".parse().unwrap()]);
    }

    #[test]
    fn what_is_no_network_is_refused() {
        let given = BoundsArgs { networks: vec!["10.0.0/8".to_owned()], ..args() };
        assert_eq!(bounds(&given, Bounds::default()).unwrap_err().exit, Exit::Usage);
    }
}
