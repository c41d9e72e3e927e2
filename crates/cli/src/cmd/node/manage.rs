//! `node exec|start|stop|reload|restart|sudoers`.

use std::io::{self, IsTerminal as _, Write as _};

use portway_wire::manage::{ExecNode, NodeExecuted, NodeServiced, ServiceNode, SudoersQuery};

use crate::{
    args::{NodeExec, NodeSudoersArgs},
    exit::{Exit, Failure, Outcome},
    input,
    out::{Paint, clean},
    session::Session,
};

/// What shells return for a command that a signal ended, and `timeout` for one whose time was over.
const SIGNALLED: u8 = 137;
const TIMED_OUT: u8 = 124;

/// `portway node exec`
pub(crate) async fn exec(session: &Session, args: NodeExec) -> Outcome {
    let exec = ExecNode { argv: args.argv, deadline_seconds: Some(args.deadline) };
    let ran = session.client().await?.exec_node(&args.node, &exec).await?;
    if session.out.is_json() {
        session.out.json(&ran)?;
    } else {
        pass_on(session, &ran, args.deadline)?;
    }
    Ok(exit(&ran))
}

/// Writes what the command printed: to programs as it came, to a terminal without what moves it.
fn pass_on(session: &Session, ran: &NodeExecuted, deadline: u32) -> Result<(), Failure> {
    let text = |text: &str, terminal| if terminal { clean(text) } else { text.to_owned() };
    let (stdout, stderr) = (io::stdout(), io::stderr());
    let (printed, said) =
        (text(&ran.stdout, stdout.is_terminal()), text(&ran.stderr, stderr.is_terminal()));
    stdout.lock().write_all(printed.as_bytes())?;
    stderr.lock().write_all(said.as_bytes())?;
    let cut = [("printed", ran.stdout_cut), ("said", ran.stderr_cut)];
    for (how, bytes) in cut.into_iter().filter(|(_, bytes)| *bytes > 0) {
        session.out.error(&format!("portway: {bytes} more bytes that it {how} are left out"))?;
    }
    if ran.timed_out {
        let text = format!("portway: the node ended it after {deadline} s; --deadline gives more");
        session.out.error(&text)?;
    } else if let Some(signal) = &ran.signal {
        session.out.error(&format!("portway: signal {} ended it", clean(signal)))?;
    }
    Ok(())
}

fn exit(ran: &NodeExecuted) -> Exit {
    let code = match ran.exit_code {
        _ if ran.timed_out => TIMED_OUT,
        Some(code) => u8::try_from(code).unwrap_or(u8::MAX),
        None => SIGNALLED,
    };
    if code == 0 { Exit::Ok } else { Exit::Passed(code) }
}

/// `portway node start|reload|restart`
pub(crate) async fn service(session: &Session, node: &str, action: &str) -> Outcome {
    let service = ServiceNode { action: action.to_owned() };
    let told = session.client().await?.service_node(node, &service).await?;
    session.out.show(&told, |paint| describe(&told, paint))?;
    Ok(if told.done { Exit::Ok } else { Exit::Failed })
}

/// `portway node stop`
pub(crate) async fn stop(session: &Session, node: &str, yes: bool) -> Outcome {
    if !yes {
        if !input::is_interactive() {
            return Err(Failure::usage("there is no terminal to ask at")
                .help("--yes stops it without asking"));
        }
        let question =
            format!("Stop the engine of {}? Its sites are gone until it is started", clean(node));
        if !input::confirm(&question)? {
            return Err(Failure::new(Exit::Interrupted, "not stopped"));
        }
    }
    service(session, node, "stop").await
}

/// `portway node sudoers`
pub(crate) async fn sudoers(session: &Session, args: NodeSudoersArgs) -> Outcome {
    let NodeSudoersArgs { node, install, upgrade, program } = args;
    let query = SudoersQuery { install, upgrade, program };
    let rules = session.client().await?.node_sudoers(&node, &query).await?;
    session.out.show(&rules, |_| rules.text.clone())?;
    Ok(Exit::Ok)
}

fn describe(told: &NodeServiced, paint: Paint) -> String {
    let mut lines: Vec<String> = told
        .commands
        .iter()
        .map(|ran| {
            let line = format!("{}: {}", clean(&ran.command), clean(&ran.status));
            if ran.output.is_empty() { line } else { format!("{line}\n{}", clean(&ran.output)) }
        })
        .collect();
    let after = clean(&told.after.words);
    let after = if told.done { paint.good(&after) } else { paint.bad(&after) };
    lines.push(format!(
        "{}: {} → {after} ({})",
        clean(&told.node),
        clean(&told.before.words),
        clean(&told.by)
    ));
    lines.join("\n")
}
