//! What an application is told of the client, through the real program over HTTP/1.1 and HTTP/2:
//! claims of strangers are replaced, those of trusted proxies extended.

use portway_testkit::{
    manager::Manager,
    origin::{Origin, Speaks},
};

use crate::{
    support::{PROGRAM, apply},
    web::{VERSIONS, Web},
};

const HOST: &str = "app.localhost";
const PROXY: [u8; 4] = [127, 0, 0, 1];
const STRANGER: [u8; 4] = [127, 0, 0, 9];

#[tokio::test(flavor = "multi_thread")]
async fn claims_of_strangers_are_replaced_and_those_of_trusted_proxies_extended() {
    let manager = Manager::new(PROGRAM).unwrap();
    let mut manager = manager.with("--trusted-proxies=127.0.0.1");
    manager.serve().await.unwrap();
    let origin = Origin::tcp(Speaks::Http1).await.unwrap();
    let to = origin.address().unwrap();
    apply(&manager, &format!("sites:\n  app: {{hosts: [{HOST}], to: '{to}'}}\n")).await;
    let web = Web::of(&manager).await;
    let port = manager.https_port();
    let host = format!("{HOST}:{port}");
    let port = port.to_string();
    let own = format!("host=\"{host}\"");

    for version in VERSIONS {
        let ask = |source: [u8; 4], claims: &[(&str, &str)]| {
            let mut ask = web.get(HOST, "/").over(version).from(source);
            for (name, value) in claims {
                ask = ask.header(name, value);
            }
            async move { ask.send().await.json()["headers"].clone() }
        };
        let claims = [
            ("x-forwarded-for", "192.0.2.1"),
            ("x-forwarded-proto", "http"),
            ("x-forwarded-host", "other.example"),
            ("x-forwarded-port", "1"),
            ("x-forwarded-prefix", "/admin"),
            ("x-forwarded-user", "root"),
            ("x_forwarded_for", "192.0.2.2"),
            ("x-real-ip", "192.0.2.3"),
            ("x-request-id", "chosen"),
            ("forwarded", "for=192.0.2.4;proto=http"),
        ];

        let told = ask(STRANGER, &claims).await;
        let forwarded = format!("for=127.0.0.9;{own};proto=https");
        for (name, value) in [
            ("x-forwarded-for", "127.0.0.9"),
            ("x-forwarded-proto", "https"),
            ("x-forwarded-host", host.as_str()),
            ("x-forwarded-port", port.as_str()),
            ("x-real-ip", "127.0.0.9"),
            ("forwarded", forwarded.as_str()),
        ] {
            assert_eq!(told[name], value, "{name} of a stranger over {version:?}: {told}");
        }
        assert_ne!(told["x-request-id"], "chosen", "over {version:?}");
        let told = told.to_string();
        for claim in ["192.0.2.", "/admin", "root", "other.example"] {
            assert!(!told.contains(claim), "{claim} of a stranger over {version:?}: {told}");
        }

        let told = ask(
            PROXY,
            &[
                ("x-forwarded-for", "192.0.2.1, 198.51.100.7"),
                ("x-forwarded-host", "outer.example"),
            ],
        )
        .await;
        for (name, value) in [
            ("x-forwarded-for", "192.0.2.1, 198.51.100.7, 127.0.0.1"),
            ("x-real-ip", "198.51.100.7"),
            ("x-forwarded-host", "outer.example"),
        ] {
            assert_eq!(told[name], value, "{name} of a proxy over {version:?}: {told}");
        }

        let came = "for=192.0.2.1, for=198.51.100.7;proto=https";
        let told = ask(PROXY, &[("forwarded", came)]).await;
        let extended = format!("{came}, for=127.0.0.1;{own}");
        assert_eq!(told["forwarded"], extended, "of a proxy over {version:?}");
        assert_eq!(told["x-forwarded-for"], "192.0.2.1, 198.51.100.7, 127.0.0.1");
        assert_eq!(told["x-real-ip"], "198.51.100.7");

        let told = ask(PROXY, &[("x-forwarded-for", "192.0.2.1"), ("forwarded", "for=10.6.6.6")]);
        let rewritten = format!("for=192.0.2.1, for=127.0.0.1;{own}");
        assert_eq!(told.await["forwarded"], rewritten, "a contradiction over {version:?}");
    }
}
