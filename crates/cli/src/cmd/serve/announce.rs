//! What `serve` says when it is up.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use portway_control::Control;
use portway_wire::auth::LinkView;
use serde::Serialize;

use crate::{
    config::Settings,
    exit::Failure,
    out::{Out, Paint, list, time},
    paths::Paths,
};

#[derive(Serialize)]
struct Announcement {
    version: &'static str,
    api: String,
    http: Vec<SocketAddr>,
    https: Vec<SocketAddr>,
    data: String,
    first_site: Option<String>,
    setup: Option<LinkView>,
}

/// Says where everything is and, on a fresh installation, how to go on.
pub(super) async fn announce(
    out: &Out,
    settings: &Settings,
    paths: &Paths,
    control: &Control,
    https_port: u16,
) -> Result<(), Failure> {
    let setup = control
        .setup_link()
        .await
        .map_err(|error| Failure::failed("the set-up link cannot be made").because(&error))?;
    let first_site = control
        .welcome()
        .await
        .map_err(|error| Failure::failed("the first site cannot be made").because(&error))?;
    let announcement = Announcement {
        version: env!("CARGO_PKG_VERSION"),
        api: local_url(settings.api),
        http: settings.listeners.http.clone(),
        https: settings.listeners.https.clone(),
        data: paths.data.to_string(),
        first_site: first_site.map(|host| format!("{}/", public_url(host, https_port))),
        setup,
    };
    out.show(&announcement, |paint| describe(&announcement, paint))
}

/// Returns the address of the API on this machine.
pub(super) fn local_url(api: SocketAddr) -> String {
    if api.ip() == IpAddr::V4(Ipv4Addr::LOCALHOST) {
        format!("http://localhost:{}", api.port())
    } else {
        format!("http://{api}")
    }
}

/// Returns the address of the console under its name.
pub(super) fn public_url(host: &str, https_port: u16) -> String {
    if https_port == 443 {
        format!("https://{host}")
    } else {
        format!("https://{host}:{https_port}")
    }
}

fn describe(announcement: &Announcement, paint: Paint) -> String {
    let api = &announcement.api;
    let mut parts = vec![format!(
        "{} {}\n  API and docs   {api}/api/docs\n  sites          HTTP {}   HTTPS {}\n  \
         data           {}\n",
        paint.bold("Portway"),
        announcement.version,
        list(&announcement.http),
        list(&announcement.https),
        announcement.data,
    )];
    let first = announcement.first_site.iter();
    parts.extend(first.map(|url| format!("  first site     {url}\n")));
    parts.extend(announcement.setup.iter().map(|link| {
        let port = api.rsplit(':').next().unwrap_or_default();
        format!(
            "\n{}\n  {}\n  good once, until {}; or type: portway setup\n  from another machine, \
             first: ssh -L {port}:localhost:{port} THIS-MACHINE\n",
            paint.good("Make the first administrator:"),
            paint.bold(&link.url),
            time(link.expires_at),
        )
    }));
    parts.concat()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fresh_installation_says_how_to_go_on() {
        let link = LinkView {
            url: "http://localhost:8900/setup?token=abc".to_owned(),
            expires_at: "2026-01-01T00:30:00Z".parse().unwrap(),
        };
        let announcement = Announcement {
            version: "1.0.0",
            api: local_url("127.0.0.1:8900".parse().unwrap()),
            http: vec!["0.0.0.0:8080".parse().unwrap()],
            https: vec!["0.0.0.0:8443".parse().unwrap()],
            data: "/data".to_owned(),
            first_site: Some("https://hello.localhost:8443/".to_owned()),
            setup: Some(link),
        };
        let text = describe(&announcement, Paint::new(false));
        assert!(text.contains("http://localhost:8900/setup?token=abc"), "{text}");
        assert!(text.contains("2026-01-01 00:30:00Z"), "{text}");
        assert!(text.contains("https://hello.localhost:8443/"), "{text}");
        assert!(text.contains("ssh -L 8900:localhost:8900"), "{text}");
    }

    #[test]
    fn the_usual_port_is_not_written() {
        assert_eq!(public_url("console.example", 443), "https://console.example");
        assert_eq!(public_url("console.example", 8443), "https://console.example:8443");
        assert_eq!(local_url("127.0.0.2:1".parse().unwrap()), "http://127.0.0.2:1");
    }
}
