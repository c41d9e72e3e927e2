//! The commands, one function each: they ask the manager and print its answer.

mod apply;
mod audit;
mod ca;
mod cache;
mod completions;
mod edge;
mod edit;
mod engine;
mod explain;
mod generate;
mod history;
mod import;
mod key;
mod login;
mod logs;
mod node;
mod paging;
mod plan;
mod rollout;
mod serve;
mod setup;
mod site;
mod status;
mod token;
mod user;

use crate::{
    args::{
        CaCommand, CertCommand, Command, JoinTokenCommand, KeyCommand, NodeCommand, RolloutCommand,
        SiteCommand, TokenCommand, UserCommand,
    },
    exit::{self, Exit, Outcome},
    session::Session,
};

/// Carries out a command. Serving ends by itself when it is told to stop; everything else is ended
/// by Ctrl-C, wherever it stands.
pub(crate) async fn run(session: &Session, command: Command) -> Outcome {
    let ends_itself = matches!(command, Command::Serve(_) | Command::Edge(_));
    let work = Box::pin(dispatch(session, command));
    if ends_itself {
        return work.await;
    }
    // Dropping the work is safe: the manager finishes what it has taken.
    tokio::select! {
        outcome = work => outcome,
        signal = tokio::signal::ctrl_c() => {
            signal?;
            Ok(Exit::Interrupted)
        }
    }
}

async fn dispatch(session: &Session, command: Command) -> Outcome {
    match command {
        Command::Serve(args) => serve::run(session, *args).await,
        Command::Edge(args) => edge::run(session, args).await,
        Command::Setup(args) => setup::run(session, args).await,
        Command::Login(args) => login::login(session, args).await,
        Command::Logout(args) => login::logout(session, args).await,
        Command::Whoami => login::whoami(session).await,
        Command::Site(command) => Box::pin(site(session, command)).await,
        Command::Node(command) => Box::pin(node(session, command)).await,
        Command::Engine(command) => engine::run(session, command).await,
        Command::Plan(args) => plan::plan(session, &args).await,
        Command::Apply(args) if args.dry_run => {
            let wish = plan::Wish::of(&args.rollout);
            plan::of_files(session, &args.files, &args.source, wish).await
        }
        Command::Apply(args) => apply::apply(session, args).await,
        Command::Check(args) => apply::check(session, &args.files),
        Command::Export(args) => apply::export(session, &args).await,
        Command::Import(command) => Box::pin(import::run(session, command)).await,
        Command::Diff(args) => history::diff(session, args).await,
        Command::History(args) => history::history(session, &args).await,
        Command::Revert(args) => history::revert(session, args).await,
        Command::Rollout(command) => rollout(session, command).await,
        Command::User(command) => user(session, command).await,
        Command::Token(command) => token(session, command).await,
        Command::Audit(args) => audit::audit(session, args).await,
        Command::Status => status::status(session).await,
        Command::Tasks => status::tasks(session).await,
        Command::Logs(args) => logs::logs(session, args).await,
        Command::Cache(command) => cache::run(session, command).await,
        Command::Explain(args) => explain::explain(session, args).await,
        Command::Cert(CertCommand::List) => status::certificates(session).await,
        Command::Ca(CaCommand::Show) => ca::show(session).await,
        Command::Ca(CaCommand::List) => ca::list(session).await,
        Command::Ca(CaCommand::Renew { activate: false }) => {
            ca::renew(session, ca::RenewStep::Prepare).await
        }
        Command::Ca(CaCommand::Renew { activate: true }) => {
            ca::renew(session, ca::RenewStep::Activate).await
        }
        Command::Ca(CaCommand::Trust { dry_run }) => ca::trust(session, dry_run).await,
        Command::Ca(CaCommand::Untrust { dry_run }) => ca::untrust(session, dry_run).await,
        Command::Key(command) => key(session, command).await,
        Command::Completions { shell } => completions::run(&session.out, shell),
        Command::ExitCodes => session.out.text(&exit::help()).map(|()| Exit::Ok),
        Command::Generate(args) => generate::run(session, &args),
    }
}

async fn site(session: &Session, command: SiteCommand) -> Outcome {
    match command {
        SiteCommand::Add(args) => Box::pin(site::add(session, *args)).await,
        SiteCommand::List(args) => site::list(session, args).await,
        SiteCommand::Show { site } => site::show(session, &site).await,
        SiteCommand::Edit(args) => Box::pin(edit::edit(session, args)).await,
        SiteCommand::Rm { site, waiting } => site::remove(session, &site, waiting).await,
        SiteCommand::Block { site, reason, waiting } => {
            site::block(session, &site, reason, waiting).await
        }
        SiteCommand::Unblock { site, waiting } => site::unblock(session, &site, waiting).await,
        SiteCommand::Revert { site, to, message, waiting } => {
            history::revert_site(session, &site, to, message, waiting).await
        }
    }
}

async fn node(session: &Session, command: NodeCommand) -> Outcome {
    match command {
        NodeCommand::Add(args) => node::add(session, *args).await,
        NodeCommand::List(args) => node::list(session, args).await,
        NodeCommand::Show { node } => node::show(session, &node).await,
        NodeCommand::Set(args) => node::set(session, *args).await,
        NodeCommand::Remove(args) => node::remove(session, args).await,
        NodeCommand::Activate { node } => node::activate(session, &node).await,
        NodeCommand::Drift { node } => node::drift(session, &node).await,
        NodeCommand::Adopt(args) => node::adopt(session, args).await,
        NodeCommand::Deploy { node } => node::deploy(session, &node).await,
        NodeCommand::Stats(args) => node::stats(session, args).await,
        NodeCommand::Pin { node, revision, message } => {
            node::pin(session, &node, revision, message).await
        }
        NodeCommand::Release { node } => node::release(session, &node).await,
        NodeCommand::Rollback { node } => node::roll_back(session, &node).await,
        NodeCommand::Check { node } => node::check(session, &node).await,
        NodeCommand::Scan { node, options } => import::scan(session, &node, &options).await,
        NodeCommand::Install(args) => node::install(session, args).await,
        NodeCommand::Drain { node } => node::drain(session, &node).await,
        NodeCommand::Undrain { node } => node::undrain(session, &node).await,
        NodeCommand::Deactivate { node } => node::deactivate(session, &node).await,
        NodeCommand::Confirm { node, host_key, jump, keep } => {
            node::confirm(session, &node, host_key, jump, keep).await
        }
        NodeCommand::Exec(args) => node::exec(session, args).await,
        NodeCommand::Start { node } => node::service(session, &node, "start").await,
        NodeCommand::Stop { node, yes } => node::stop(session, &node, yes).await,
        NodeCommand::Reload { node } => node::service(session, &node, "reload").await,
        NodeCommand::Restart { node } => node::service(session, &node, "restart").await,
        NodeCommand::Sudoers(args) => node::sudoers(session, args).await,
        NodeCommand::Token(command) => join_token(session, command).await,
        NodeCommand::CloudInit(args) => node::cloud_init(session, *args).await,
        NodeCommand::Key => node::key(session).await,
        NodeCommand::Discover => node::discover(session).await,
        NodeCommand::Import { file, source, overwrite } => {
            node::import(session, &file, source, overwrite).await
        }
        NodeCommand::Export { file } => node::export(session, file.as_deref()).await,
    }
}

async fn rollout(session: &Session, command: RolloutCommand) -> Outcome {
    match command {
        RolloutCommand::List { limit } => rollout::list(session, limit).await,
        RolloutCommand::Show { revision } => rollout::show(session, revision).await,
        RolloutCommand::Pause { revision } => rollout::pause(session, revision).await,
        RolloutCommand::Resume { revision, wait } => rollout::resume(session, revision, wait).await,
        RolloutCommand::Abort { revision, back, wait } => {
            rollout::abort(session, revision, back, wait).await
        }
        RolloutCommand::Watch { revision } => rollout::watch(session, revision).await,
    }
}

async fn join_token(session: &Session, command: JoinTokenCommand) -> Outcome {
    match command {
        JoinTokenCommand::Create(options) => node::create_token(session, options).await,
        JoinTokenCommand::List => node::list_tokens(session).await,
        JoinTokenCommand::Revoke { id } => node::revoke_token(session, id).await,
    }
}

async fn user(session: &Session, command: UserCommand) -> Outcome {
    match command {
        UserCommand::Add(args) => user::add(session, args).await,
        UserCommand::List => user::list(session).await,
        UserCommand::Show { user } => user::show(session, &user).await,
        UserCommand::Edit(args) => user::edit(session, args).await,
        UserCommand::Rm { user } => user::remove(session, &user).await,
        UserCommand::Invite { user } => user::link(session, &user, "invitation").await,
        UserCommand::Reset { user } => user::link(session, &user, "link for a new password").await,
    }
}

async fn token(session: &Session, command: TokenCommand) -> Outcome {
    match command {
        TokenCommand::Add { name, user, scopes, days } => {
            token::add(session, name, user, scopes, days).await
        }
        TokenCommand::List => token::list(session).await,
        TokenCommand::Rm { id } => token::remove(session, id).await,
    }
}

async fn key(session: &Session, command: KeyCommand) -> Outcome {
    match command {
        KeyCommand::Export { file, passphrase_stdin } => {
            key::export(session, file.as_deref(), passphrase_stdin).await
        }
        KeyCommand::Import { file, passphrase_stdin } => {
            key::import(session, &file, passphrase_stdin).await
        }
        KeyCommand::Rotate { database, yes } => key::rotate(session, database, yes).await,
    }
}
