//! `node stats`: what is measured on nodes.

use jiff::Timestamp;
use portway_model::node::{Measured, Measures, Quantity};
use portway_wire::node::{NodeQuery, NodeStatistics};

use crate::{
    args::NodeStats,
    cmd::paging,
    exit::{Exit, Outcome},
    out::{Paint, Table, clean, clean_line, or_dash, time},
    session::Session,
};

/// `portway node stats`
pub(crate) async fn stats(session: &Session, args: NodeStats) -> Outcome {
    let client = session.client().await?;
    if let Some(node) = &args.node {
        let statistics = client.node_statistics(node).await?;
        session.out.show(&statistics, |paint| describe(&statistics, paint))?;
        return Ok(Exit::Ok);
    }
    let all = paging::all(None, |cursor, count| {
        let query = NodeQuery { cursor, limit: Some(count), ..NodeQuery::default() };
        let client = &client;
        async move { client.statistics(&query).await }
    })
    .await?;
    session.out.list(&all, table, "no nodes")?;
    Ok(Exit::Ok)
}

fn table(all: &[NodeStatistics]) -> Table {
    let rows = all.iter().map(|node| {
        let values = &node.values;
        let word = |quantity| value_of(values, quantity).map(|value| word(quantity, value));
        let free = [Quantity::HomeFree, Quantity::LogsFree, Quantity::RootFree];
        let least = free.into_iter().filter_map(|free| value_of(values, free)).reduce(f64::min);
        [
            node.node.clone(),
            or_dash(word(Quantity::CpuPercent)),
            or_dash(word(Quantity::Load1)),
            or_dash(used_memory(values)),
            or_dash(least.map(bytes)),
            or_dash(word(Quantity::Connections)),
            or_dash(word(Quantity::RequestsRate)),
            or_dash(word(Quantity::ServiceUp)),
            or_dash(word(Quantity::CertificateLeft)),
            or_dash(node.read_at.map(time)),
        ]
    });
    let columns = [
        "name",
        "cpu",
        "load",
        "memory",
        "disk free",
        "connections",
        "requests/s",
        "service",
        "certificate",
        "read",
    ];
    let numbers = ["cpu", "load", "memory", "disk free", "connections", "requests/s"];
    numbers.into_iter().fold(Table::new(columns), Table::right).rows(rows)
}

fn value_of(values: &Measures, quantity: Quantity) -> Option<f64> {
    values.get(&quantity).and_then(Measured::value)
}

fn used_memory(values: &Measures) -> Option<String> {
    let total = value_of(values, Quantity::MemoryTotal).filter(|total| *total > 0.0)?;
    let available = value_of(values, Quantity::MemoryAvailable)?;
    Some(format!("{:.0} %", (total - available) / total * 100.0))
}

fn describe(node: &NodeStatistics, paint: Paint) -> String {
    let line = |name: &str, value: &str, beside: &str| {
        let name = paint.dim(&format!("{name:<22}"));
        format!("{name} {} {}\n", clean_line(value), paint.dim(&clean(beside)))
    };
    let by = node.manager.as_ref().map(|manager| format!("by {manager}"));
    let mut text = line("name", &node.node, "");
    text += &line("engine", &node.engine, "");
    text += &line("read", &or_dash(node.read_at.map(time)), &by.unwrap_or_default());
    if let Some(service) = &node.service {
        let since = service.since.map(|at: Timestamp| format!("since {}", time(at)));
        text += &line("service", &service.state, &since.unwrap_or_default());
    }
    for (quantity, measured) in &node.values {
        text += &match measured {
            Measured::Known { value, .. } => {
                line(&quantity.to_string(), &word(*quantity, *value), "")
            }
            Measured::Unknown { unknown, since } => line(
                &quantity.to_string(),
                "unknown",
                &format!("{unknown} (since {})", time(*since)),
            ),
        };
    }
    text
}

/// Returns a value with its unit, as people read it.
fn word(quantity: Quantity, value: f64) -> String {
    use Quantity as Q;
    match quantity {
        Q::CpuPercent => format!("{value:.0} %"),
        Q::Load1 | Q::Load5 | Q::Load15 => format!("{value:.2}"),
        Q::MemoryTotal
        | Q::MemoryAvailable
        | Q::HomeTotal
        | Q::HomeFree
        | Q::LogsTotal
        | Q::LogsFree
        | Q::RootTotal
        | Q::RootFree
        | Q::NetworkReceived
        | Q::NetworkSent => bytes(value),
        Q::NetworkReceivedRate | Q::NetworkSentRate => format!("{}/s", bytes(value)),
        Q::Uptime | Q::ServiceTime | Q::CertificateLeft => duration(value),
        Q::ClockAhead => format!("{value:+.1} s"),
        Q::ServiceUp => if value > 0.0 { "up" } else { "down" }.to_owned(),
        Q::Connections | Q::Requests => format!("{value:.0}"),
        Q::RequestsRate => format!("{value:.1}"),
    }
}

fn bytes(value: f64) -> String {
    let units = ["B", "KiB", "MiB", "GiB", "TiB"];
    let mut value = value;
    for unit in units {
        if value < 1024.0 {
            return if unit == "B" {
                format!("{value:.0} B")
            } else {
                format!("{value:.1} {unit}")
            };
        }
        value /= 1024.0;
    }
    format!("{value:.1} PiB")
}

fn duration(seconds: f64) -> String {
    if seconds < 0.0 {
        return format!("-{}", duration(-seconds));
    }
    match seconds {
        s if s < 120.0 => format!("{s:.0} s"),
        s if s < 2.0 * 3600.0 => format!("{:.0} min", s / 60.0),
        s if s < 2.0 * 86_400.0 => format!("{:.0} h", s / 3600.0),
        s => format!("{:.0} d", s / 86_400.0),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_written_with_their_units() {
        for (quantity, value, wanted) in [
            (Quantity::CpuPercent, 12.4, "12 %"),
            (Quantity::MemoryTotal, 24_684_100.0 * 1024.0, "23.5 GiB"),
            (Quantity::NetworkSentRate, 500.0, "500 B/s"),
            (Quantity::Uptime, 90.0, "90 s"),
            (Quantity::CertificateLeft, 30.0 * 86_400.0, "30 d"),
            (Quantity::CertificateLeft, -7200.0, "-2 h"),
            (Quantity::ServiceUp, 0.0, "down"),
            (Quantity::ClockAhead, -9.25, "-9.2 s"),
        ] {
            assert_eq!(word(quantity, value), wanted);
        }
    }
}
