//! `site add|list|show|rm|block|unblock`.

use camino::Utf8Path;
use indexmap::IndexMap;
use portway_model::{
    Name, SiteSpec,
    site::spec::{
        AccessRulesSpec, AccessSpec, BasicAuthSpec, FilesSpec, HttpsSpec, PasswordSpec,
        PasswordValueSpec, RedirectSpec, SizeSpec, ToSpec,
    },
};
use portway_wire::{
    client::IfMatch,
    site::{BlockSite, NewSite, SiteQuery, SiteState, SiteSummary, SiteView},
};
use uuid::Uuid;

use super::paging;
use crate::{
    args::{SiteAdd, SiteList, Waiting},
    deployed,
    exit::{Exit, Failure, Outcome},
    findings::{self, Sources},
    input,
    out::{Paint, Table, clean, list as join, or_dash, time},
    session::Session,
    urls,
};

/// `portway site add`
pub(super) async fn add(session: &Session, args: SiteAdd) -> Outcome {
    let spec = spec(&args)?;
    let client = session.client().await?;
    let spec = serde_json::to_value(&spec)
        .map_err(|error| Failure::failed("the site cannot be sent").because(&error))?;
    let rollout = args.rollout.strategy();
    let site = NewSite { name: args.name, owner: args.owner, spec, message: args.message, rollout };
    let view = client.create_site(&site, Uuid::now_v7()).await?;
    if !args.to.is_empty() {
        session.out.note(&format!("requests go to {}", clean(&view.summary.target)))?;
    }
    deployed::finish_site(session, &client, &view, args.waiting).await
}

/// `portway site list`
pub(super) async fn list(session: &Session, args: SiteList) -> Outcome {
    let client = session.client().await?;
    let SiteList { search, tag, owner, limit } = args;
    let empty = if search.is_none() && tag.is_none() && owner.is_none() {
        "no sites; add one: portway site add HOST --to TARGET"
    } else {
        "no such sites"
    };
    let base = SiteQuery { search, tag, owner, ..SiteQuery::default() };
    let reading = paging::all(limit, |cursor, count| {
        let query = SiteQuery { cursor, limit: Some(count), ..base.clone() };
        let client = &client;
        async move { client.sites(&query).await }
    });
    let sites = session.out.progress("sites are being read").during(reading).await?;
    session.out.list(&sites, table, empty)?;
    Ok(Exit::Ok)
}

/// `portway site show`
pub(super) async fn show(session: &Session, site: &str) -> Outcome {
    let client = session.client().await?;
    let view = client.site(site).await?;
    let urls = urls::of(session, &view.effective).await;
    session.out.show(&view, |paint| describe(&view, &urls, paint))?;
    findings::show(&session.out, &view.findings, &Sources::default())?;
    Ok(Exit::Ok)
}

/// `portway site rm`
pub(super) async fn remove(session: &Session, site: &str, waiting: Waiting) -> Outcome {
    let client = session.client().await?;
    let changed = client.remove_site(site, IfMatch::Any).await?;
    deployed::finish(session, &client, &changed, &Sources::default(), waiting).await
}

/// `portway site block`
pub(super) async fn block(
    session: &Session,
    site: &str,
    reason: String,
    waiting: Waiting,
) -> Outcome {
    let client = session.client().await?;
    let changed = client.block_site(site, &BlockSite { reason }).await?;
    deployed::finish(session, &client, &changed, &Sources::default(), waiting).await
}

/// `portway site unblock`
pub(super) async fn unblock(session: &Session, site: &str, waiting: Waiting) -> Outcome {
    let client = session.client().await?;
    let changed = client.unblock_site(site).await?;
    deployed::finish(session, &client, &changed, &Sources::default(), waiting).await
}

/// Returns the site that the options describe. What is wrong with their values is found by the
/// manager, as for every site.
fn spec(args: &SiteAdd) -> Result<SiteSpec, Failure> {
    let to = match args.to.as_slice() {
        [] => None,
        [target] => Some(ToSpec::One(target.clone())),
        targets => Some(ToSpec::Many(targets.iter().cloned().map(Into::into).collect())),
    };
    let files = args.files.as_deref().map(folder).transpose()?;
    Ok(SiteSpec {
        hosts: args.hosts.clone(),
        to,
        files: files.map(FilesSpec::Root),
        redirect: args.redirect.clone().map(RedirectSpec::To),
        nodes: (!args.nodes.is_empty()).then(|| args.nodes.clone()),
        https: args.no_https.then_some(HttpsSpec::Enabled(false)),
        access: access(args)?,
        max_body: args.max_body.clone().map(SizeSpec::Text),
        description: args.description.clone(),
        tags: args.tags.clone(),
        ..SiteSpec::default()
    })
}

/// A folder is meant from where the command is typed.
fn folder(path: &Utf8Path) -> Result<String, Failure> {
    let absolute = camino::absolute_utf8(path);
    let absolute = absolute
        .map_err(|error| Failure::failed(format!("{path} cannot be found")).because(&error))?;
    Ok(absolute.into_string())
}

fn access(args: &SiteAdd) -> Result<Option<AccessSpec>, Failure> {
    if args.allow.is_empty() && args.deny.is_empty() && args.basic.is_empty() {
        return Ok(None);
    }
    let users: Result<IndexMap<_, _>, _> = args.basic.iter().map(|user| basic(user)).collect();
    let basic = BasicAuthSpec { users: users?, ..BasicAuthSpec::default() };
    Ok(Some(AccessSpec::Rules(AccessRulesSpec {
        allow: (!args.allow.is_empty()).then(|| args.allow.clone()),
        deny: args.deny.clone(),
        basic: (!args.basic.is_empty()).then_some(basic),
    })))
}

fn basic(user: &str) -> Result<(String, PasswordSpec), Failure> {
    if let Some((name, hash)) = user.split_once(':') {
        return Ok((name.to_owned(), PasswordSpec::Hash(hash.to_owned())));
    }
    if !input::is_interactive() {
        return Err(Failure::usage(format!("the password of {user} cannot be asked for here"))
            .help(format!("give its bcrypt hash: --basic '{user}:HASH'")));
    }
    let password = input::new_password(&format!("Password of {user}"), false)?;
    let value = PasswordValueSpec { password: Some(password), secret: None };
    Ok((user.to_owned(), PasswordSpec::Value(value)))
}

fn table(sites: &[SiteSummary]) -> Table {
    let rows = sites.iter().map(|site| {
        [
            site.name.clone(),
            join(&site.hosts),
            site.target.clone(),
            state(site.state).to_owned(),
            or_dash(site.owner.as_ref()),
            time(site.updated_at),
        ]
    });
    Table::new(["name", "hosts", "target", "state", "owner", "changed"]).rows(rows)
}

fn state(state: SiteState) -> &'static str {
    match state {
        SiteState::Live => "live",
        SiteState::Pending => "pending",
        SiteState::Held => "held",
        SiteState::Blocked => "blocked",
    }
}

fn describe(view: &SiteView, urls: &[String], paint: Paint) -> String {
    let summary = &view.summary;
    let mut lines = vec![
        ("name", summary.name.clone()),
        ("id", summary.id.to_string()),
        ("hosts", join(&summary.hosts)),
        ("target", summary.target.clone()),
        ("address", join(urls)),
        ("state", state(summary.state).to_owned()),
        ("owner", or_dash(summary.owner.as_ref())),
        ("tags", join(&summary.tags)),
        ("origin", view.origin.to_string()),
        ("revision", summary.revision.to_string()),
        ("made", time(view.created_at)),
        ("changed", time(summary.updated_at)),
    ];
    if let Some(reason) = &view.blocked_reason {
        lines.push(("blocked", reason.clone()));
    }
    let facts = lines
        .iter()
        .map(|(name, value)| format!("{} {}\n", paint.dim(&format!("{name:<9}")), clean(value)));
    let written = summary
        .name
        .parse::<Name>()
        .ok()
        .map(|name| portway_sitefile::export(&IndexMap::from([(name, view.spec.clone())])));
    let written = clean(&written.unwrap_or_default());
    format!("{}\n{}\n{written}", facts.collect::<String>(), paint.bold("As written:"))
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;
    use crate::args::{Cli, Command, SiteCommand};

    fn parse(line: &str) -> SiteAdd {
        let words = ["portway", "site", "add"].into_iter().chain(line.split_whitespace());
        let Command::Site(SiteCommand::Add(args)) = Cli::try_parse_from(words).unwrap().command
        else {
            panic!("another command")
        };
        *args
    }

    #[test]
    fn two_facts_make_a_site() {
        let spec = spec(&parse("app.localhost --to 127.0.0.1:5000")).unwrap();
        assert_eq!(spec, SiteSpec::proxy("app.localhost", "127.0.0.1:5000"));
    }

    #[test]
    fn several_targets_are_used_in_turn() {
        let spec = spec(&parse("a.example --to 10.0.0.1:80 --to 10.0.0.2:80")).unwrap();
        assert!(matches!(spec.to, Some(ToSpec::Many(targets)) if targets.len() == 2));
    }

    #[test]
    fn a_folder_is_meant_from_here() {
        let spec = spec(&parse("a.example --files public")).unwrap();
        let Some(FilesSpec::Root(root)) = spec.files else { panic!("no folder") };
        assert!(root.starts_with('/') && root.ends_with("/public"), "{root}");
    }

    #[test]
    fn who_may_use_it_is_said_in_words() {
        let spec =
            spec(&parse("a.example --to 80 --allow 10.0.0.0/8 --basic ann:$2y$05$x")).unwrap();
        let Some(AccessSpec::Rules(rules)) = spec.access else { panic!("no rules") };
        assert_eq!(rules.allow, Some(vec!["10.0.0.0/8".to_owned()]));
        let users = rules.basic.unwrap().users;
        assert_eq!(users.get("ann"), Some(&PasswordSpec::Hash("$2y$05$x".to_owned())));
    }
}
