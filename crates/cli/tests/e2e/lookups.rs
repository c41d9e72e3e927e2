//! Names of targets, looked up by the real program with a name server that changes its mind.

use std::net::{Ipv4Addr, SocketAddr};

use portway_testkit::{
    manager::Manager,
    names::{NameServer, Says},
    origin::{Origin, Speaks},
};
use tokio::time::Instant;

use crate::{
    support::{PROGRAM, apply},
    web::{VERSIONS, Web},
};

const ONE: Ipv4Addr = Ipv4Addr::LOCALHOST;
const TWO: Ipv4Addr = Ipv4Addr::new(127, 0, 0, 2);

#[tokio::test(flavor = "multi_thread")]
async fn a_name_is_looked_up_again_and_its_last_good_answer_is_kept() {
    let names = NameServer::start(Says::Addresses(vec![ONE])).await.unwrap();
    let option = format!("--name-server={}", names.address());
    let mut manager = Manager::new(PROGRAM).unwrap().with(option);
    manager.serve().await.unwrap();
    let one = Origin::tcp(Speaks::Http1).await.unwrap();
    let port = one.address().unwrap().port();
    let two = Origin::at(SocketAddr::from((TWO, port)), Speaks::Http1).await.unwrap();
    let text = format!(
        "sites:\n  kept:\n    hosts: [kept.localhost]\n    to: app.test:{port}\n  fresh:\n    hosts: \
         [fresh.localhost]\n    to: {{targets: [app.test:{port}], pool: {{max_idle: 0}}}}\n"
    );
    apply(&manager, &text).await;
    let web = Web::of(&manager).await;
    // Asks for both sites over both versions until a condition holds; no request may fail.
    let ask_until = async |what: &str, condition: &dyn Fn() -> bool| {
        let begun = Instant::now();
        loop {
            for version in VERSIONS {
                for host in ["kept.localhost", "fresh.localhost"] {
                    let answer = web.get(host, "/").over(version).send().await;
                    assert_eq!(answer.status, 200, "{host} over {version:?} until {what}");
                }
            }
            if condition() {
                return;
            }
            assert!(begun.elapsed().as_secs() < 60, "waited in vain until {what}");
        }
    };

    ask_until("the name is known", &|| one.seen().len() >= 4).await;
    assert_eq!(two.seen().len(), 0);

    names.say(Says::Addresses(vec![TWO]));
    ask_until("the new address is used", &|| two.seen().len() >= 4).await;
    ask_until("kept connections have moved too", &|| one.open_connections() == 0).await;
    let moved = one.seen().len();

    names.say(Says::Failure);
    let asked = names.asked();
    ask_until("its failure is noticed", &|| names.asked() >= asked + 2).await;
    assert_eq!(one.seen().len(), moved, "the last good answer is the new address");
}
