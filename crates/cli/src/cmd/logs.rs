//! `logs`

use jiff::{
    Timestamp,
    civil::{Date, DateTime},
    tz::TimeZone,
};
use portway_model::Seconds;
use portway_wire::{
    client::LogStream,
    logs::{EngineLogQuery, LogLine, LogLines, LogQuery},
};

use crate::{
    args::Logs,
    exit::{Exit, Failure, Outcome},
    out::{Out, clean},
    session::Session,
};

/// `portway logs`
pub(super) async fn logs(session: &Session, args: Logs) -> Outcome {
    let query = query(&args, session.now())?;
    let client = session.client().await?;
    let own = args.node.as_deref().filter(|_| args.engine);
    let of_engine = EngineLogQuery { lines: Some(args.lines), follow: args.follow };
    if !args.follow {
        let found = match own {
            Some(node) => client.engine_log(node, &of_engine).await?,
            None => client.logs(args.site(), &query).await?,
        };
        return show(&session.out, &found);
    }
    let stream = match own {
        Some(node) => client.follow_engine_log(node, &of_engine).await?,
        None => client.follow_logs(args.site(), &query).await?,
    };
    follow(&session.out, stream).await
}

fn show(out: &Out, found: &LogLines) -> Outcome {
    for problem in &found.problems {
        out.note(&format!("{}: {}", clean(&problem.node), clean(&problem.problem)))?;
    }
    if out.is_json() {
        out.json(&found.lines)?;
    } else if found.lines.is_empty() {
        out.note("no such lines")?;
    } else {
        for line in &found.lines {
            print(out, line)?;
        }
    }
    Ok(if found.problems.is_empty() { Exit::Ok } else { Exit::Unreachable })
}

async fn follow(out: &Out, mut stream: LogStream) -> Outcome {
    while let Some(line) = stream.next().await? {
        match (&line.problem, &line.node) {
            (Some(problem), node) if !out.is_json() => {
                let node = node.as_deref().unwrap_or_default();
                out.note(&format!("{}: {}", clean(node), clean(problem)))?;
            }
            (Some(_) | None, _) if out.is_json() => out.json_line(&line)?,
            (Some(_) | None, _) => print(out, &line)?,
        }
    }
    Err(Failure::new(Exit::Unreachable, "the manager ended the stream")
        .help("it may have been restarted; `portway status` shows how it is"))
}

/// A line holds what strangers sent; it must not command the terminal.
fn print(out: &Out, line: &LogLine) -> Result<(), Failure> {
    out.text(&clean(&line.line))
}

fn query(args: &Logs, now: Timestamp) -> Result<LogQuery, Failure> {
    let moment = |text: &Option<String>| {
        text.as_deref().map(|text| moment(text, now).map(|at| at.to_string())).transpose()
    };
    Ok(LogQuery {
        log: args.log.clone(),
        errors: args.errors,
        lines: Some(args.lines),
        since: moment(&args.since)?,
        until: moment(&args.until)?,
        status: args.status.clone(),
        request_id: args.request_id.clone(),
        node: args.node.clone(),
        follow: args.follow,
    })
}

/// Reads a moment: so long ago, a day, or a time; in UTC where it does not say otherwise.
fn moment(text: &str, now: Timestamp) -> Result<Timestamp, Failure> {
    let wrong = || {
        Failure::usage(format!("`{text}` is not a time"))
            .help("write for example 30m, 1h, 7d, 2026-01-31 or 2026-01-31T12:00Z")
    };
    if let Ok(ago) = text.parse::<Seconds>() {
        return now.checked_sub(ago.duration()).map_err(|_| wrong());
    }
    if let Ok(at) = text.parse::<Timestamp>() {
        return Ok(at);
    }
    // A date-time parses as a date too, so it is tried first.
    let civil = match text.parse::<DateTime>() {
        Ok(time) => time,
        Err(_) => text.parse::<Date>().map_err(|_| wrong())?.at(0, 0, 0, 0),
    };
    Ok(civil.to_zoned(TimeZone::UTC).map_err(|_| wrong())?.timestamp())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Option<String> {
        let now = "2026-02-01T12:00:00Z".parse().unwrap();
        moment(text, now).ok().map(|at| at.to_string())
    }

    #[test]
    fn a_moment_is_so_long_ago_or_a_date() {
        assert_eq!(read("1h").as_deref(), Some("2026-02-01T11:00:00Z"));
        assert_eq!(read("1h30m").as_deref(), Some("2026-02-01T10:30:00Z"));
        assert_eq!(read("7d").as_deref(), Some("2026-01-25T12:00:00Z"));
        assert_eq!(read("2026-01-31").as_deref(), Some("2026-01-31T00:00:00Z"));
        assert_eq!(read("2026-01-31T08:30").as_deref(), Some("2026-01-31T08:30:00Z"));
        assert_eq!(read("2026-01-31 08:30:01").as_deref(), Some("2026-01-31T08:30:01Z"));
        assert_eq!(read("2026-01-31T08:30+02:00").as_deref(), Some("2026-01-31T06:30:00Z"));
        for text in ["", "yesterday", "1x", "2026-13-01", "-1h"] {
            assert_eq!(read(text), None, "{text}");
        }
    }
}
