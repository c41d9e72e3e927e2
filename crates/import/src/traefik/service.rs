//! Services: who answers.

use portway_model::site::spec::{
    DurationSpec, HealthSettingsSpec, HealthSpec, MirrorSettingsSpec, MirrorSpec, RouteSpec,
    SideSpec, SizeSpec, SplitSettingsSpec, SplitSpec, StickySettingsSpec, StickySpec,
    TargetSettingsSpec, TargetSpec, ToSpec, UpstreamSpec, UpstreamTlsSpec,
};

use super::{Cx, table::Table};
use crate::upstream::short;

const DEEPEST: usize = 8;

/// Sets who answers; says why where that cannot be told.
pub(super) fn answer(
    name: &str,
    route: &mut RouteSpec,
    cx: &mut Cx<'_>,
    depth: usize,
) -> Result<(), String> {
    let bare = name.split('@').next().unwrap_or(name);
    if name.ends_with("@internal") {
        return Err(format!("`{name}` is a part of Traefik itself"));
    }
    let Some(table) = cx.services.get(bare).cloned().filter(|_| depth < DEEPEST) else {
        return Err(format!("there is no service `{bare}` in these files"));
    };
    let mut answered = None;
    for (kind, inner) in table.entries() {
        cx.ledger.converted(table.id);
        cx.ledger.converted(inner.id);
        answered = Some(match kind.as_str() {
            "loadBalancer" => {
                route.to = Some(short(balanced(inner, cx)?));
                Ok(())
            }
            "weighted" => weighted(inner, route, cx, depth),
            "mirroring" => mirrored(inner, route, cx, depth),
            other => {
                inner.lost("this kind of service cannot be said", &mut cx.ledger);
                Err(format!("`{other}` cannot be said"))
            }
        });
    }
    answered.unwrap_or_else(|| Err(format!("service `{bare}` says nothing")))
}

fn upstream_of(name: &str, cx: &mut Cx<'_>, depth: usize) -> Result<ToSpec, String> {
    let mut route = RouteSpec::default();
    answer(name, &mut route, cx, depth + 1)?;
    route.to.ok_or_else(|| format!("`{name}` is no plain service"))
}

fn balanced(table: &Table, cx: &mut Cx<'_>) -> Result<UpstreamSpec, String> {
    let mut upstream = UpstreamSpec::default();
    let mut is_tls = false;
    for (key, inner) in table.entries() {
        match key.to_ascii_lowercase().as_str() {
            "servers" => {
                inner.converted(&mut cx.ledger);
                for server in inner.items() {
                    let url = server.get("url").map_or("", Table::text);
                    let target =
                        target(url).ok_or_else(|| format!("`{url}` is no address alone"))?;
                    is_tls |= target.starts_with("https://");
                    let weight = server.get("weight").and_then(|weight| weight.text().parse().ok());
                    upstream.targets.push(match weight {
                        Some(weight) if weight != 1 => TargetSpec::Settings(TargetSettingsSpec {
                            to: target,
                            weight: Some(weight),
                            backup: None,
                        }),
                        _ => TargetSpec::To(target),
                    });
                }
            }
            "passhostheader" => {
                upstream.host = (inner.text() == "false").then(|| "target".to_owned());
                inner.converted(&mut cx.ledger);
            }
            "sticky" => {
                let cookie = inner.get("cookie").and_then(|cookie| cookie.get("name"));
                let settings = StickySettingsSpec {
                    cookie: cookie.map(|name| name.text().to_owned()),
                    ..StickySettingsSpec::default()
                };
                upstream.sticky = Some(StickySpec::Settings(settings));
                inner.nearly(
                    "the cookie is signed and has Portway's own attributes",
                    &mut cx.ledger,
                );
            }
            "healthcheck" => upstream.health = Some(health(inner, cx)),
            "serverstransport" => {
                let name = inner.text().split('@').next().unwrap_or_default();
                inner.converted(&mut cx.ledger);
                let Some(transport) = cx.transports.get(name).cloned() else { continue };
                for (key, setting) in transport.entries() {
                    match key.to_ascii_lowercase().as_str() {
                        "insecureskipverify" => {
                            setting.converted(&mut cx.ledger);
                            let verify = (setting.text() == "true").then_some(false);
                            upstream.tls.get_or_insert_with(UpstreamTlsSpec::default).verify =
                                verify;
                        }
                        "servername" => {
                            setting.converted(&mut cx.ledger);
                            upstream.tls.get_or_insert_with(UpstreamTlsSpec::default).server_name =
                                Some(setting.text().to_owned());
                        }
                        _ => setting.lost("it is said in the site's `to`", &mut cx.ledger),
                    }
                }
                cx.ledger.converted(transport.id);
            }
            "responseforwarding" | "strategy" => {
                inner.nearly("Portway passes on what comes at once", &mut cx.ledger);
            }
            _ => inner.lost("it is not known here", &mut cx.ledger),
        }
    }
    if !is_tls {
        upstream.tls = None;
    }
    if upstream.targets.is_empty() {
        return Err("the service has no server".to_owned());
    }
    Ok(upstream)
}

/// Returns a target for an address without a path.
fn target(url: &str) -> Option<String> {
    let (scheme, rest) = url.split_once("://")?;
    let rest = rest.strip_suffix('/').unwrap_or(rest);
    if rest.contains(['/', '@', '?']) || rest.is_empty() {
        return None;
    }
    let has_port = rest.rsplit_once(':').is_some_and(|(_, port)| port.parse::<u16>().is_ok());
    let port = match scheme {
        "http" | "h2c" => 80,
        "https" => 443,
        _ => return None,
    };
    let rest = if has_port { rest.to_owned() } else { format!("{rest}:{port}") };
    Some(if scheme == "http" { rest } else { format!("{scheme}://{rest}") })
}

fn health(table: &Table, cx: &mut Cx<'_>) -> HealthSpec {
    let mut settings = HealthSettingsSpec::default();
    cx.ledger.converted(table.id);
    for (key, inner) in table.entries() {
        let time = || Some(DurationSpec::Text(inner.text().to_owned()));
        match key.to_ascii_lowercase().as_str() {
            "path" => settings.path = Some(inner.text().to_owned()),
            "interval" => settings.interval = time(),
            "timeout" => settings.timeout = time(),
            "hostname" => settings.host = Some(inner.text().to_owned()),
            "port" => settings.port = inner.text().parse().ok(),
            "scheme" => settings.scheme = Some(inner.text().to_owned()),
            _ => {
                inner.lost("checks have settings of their own: see `health`", &mut cx.ledger);
                continue;
            }
        }
        inner.converted(&mut cx.ledger);
    }
    HealthSpec::Settings(settings)
}

fn weighted(
    table: &Table,
    route: &mut RouteSpec,
    cx: &mut Cx<'_>,
    depth: usize,
) -> Result<(), String> {
    let mut sides = Vec::new();
    let sticky = table.get("sticky").map(|sticky| {
        sticky.nearly("the cookie is signed and has Portway's own attributes", &mut cx.ledger);
        StickySpec::Enabled(true)
    });
    let services = table.get("services").cloned().ok_or("it names no services")?;
    services.converted(&mut cx.ledger);
    for side in services.items() {
        let name = side.get("name").map_or("", Table::text);
        let weight = side.get("weight").and_then(|weight| weight.text().parse().ok());
        let to = Some(upstream_of(name, cx, depth)?);
        sides.push(SideSpec { weight, to, ..SideSpec::default() });
    }
    match (sides.len(), sides.first_mut()) {
        (1, Some(only)) => route.to = only.to.take(),
        _ => route.split = Some(SplitSpec::Settings(SplitSettingsSpec { sides, sticky })),
    }
    Ok(())
}

fn mirrored(
    table: &Table,
    route: &mut RouteSpec,
    cx: &mut Cx<'_>,
    depth: usize,
) -> Result<(), String> {
    table.converted(&mut cx.ledger);
    let name = table.get("service").map_or("", Table::text);
    route.to = Some(upstream_of(name, cx, depth)?);
    let mirrors = table.get("mirrors").map(Table::items).unwrap_or_default();
    if let Some(first) = mirrors.first() {
        let name = first.get("name").map_or("", Table::text);
        let size = table.get("maxBodySize").and_then(|size| size.text().parse().ok());
        let settings = MirrorSettingsSpec {
            to: Some(upstream_of(name, cx, depth)?),
            percent: first.get("percent").and_then(|percent| percent.text().parse().ok()),
            max_body: size.map(SizeSpec::Bytes),
        };
        route.mirror = Some(MirrorSpec::Settings(Box::new(settings)));
    }
    for other in mirrors.iter().skip(1) {
        other.lost("copies go to one place only", &mut cx.ledger);
    }
    Ok(())
}
