//! The settings of upstreams.

use portway_model::{
    FieldPath,
    site::{
        Balance, Ejection, HashKey, Health, HostHeader, Pool, Probe, Queue, Retries, Target,
        Timeouts, Upstream, UpstreamProtocol, UpstreamTls, WeightedTarget,
    },
};

use super::{List, Value};
use crate::Setting;

impl<'a> List<'a> {
    pub(super) fn upstream(&mut self, upstream: &'a Upstream, at: &FieldPath) {
        let Upstream {
            targets,
            protocol,
            tls,
            client,
            host,
            timeouts,
            balance,
            sticky,
            health,
            eject,
            slow_start,
            retries,
            max_in_flight,
            max_in_flight_per_target,
            queue,
            buffer,
            pool,
            proxy_protocol,
        } = upstream;
        self.upstream = Some(upstream);
        let usual = Upstream::new(targets.clone(), *protocol);
        self.targets(targets, &at.key("targets"));
        match protocol {
            UpstreamProtocol::Http1 => {}
            UpstreamProtocol::H2c => self.add(Setting::UpstreamHttp2, &at.key("protocol")),
        }
        if let Some(tls) = tls {
            self.tls(tls, &at.key("tls"));
        }
        if client.is_some() {
            let at = at.key("tls").key("client_certificate");
            self.add(Setting::UpstreamClientCertificate, &at);
        }
        self.host_header(host, &at.key("host"));
        self.timeouts(*timeouts, &at.key("timeouts"));
        if targets.len() > 1 {
            self.balance(balance, &at.key("balance"));
        }
        if let Some(sticky) = sticky {
            self.text(Setting::Sticky, &at.key("sticky"), &sticky.cookie);
        }
        if let Some(health) = health {
            self.health(health, &at.key("health"));
        }
        if let Some(eject) = eject {
            self.ejection(eject, usual.eject.as_ref(), &at.key("eject"));
        }
        if slow_start.0 > 0 {
            self.number(Setting::SlowStart, &at.key("slow_start"), slow_start.0, 0);
        }
        self.retries(*retries, usual.retries, &at.key("retries"));
        for (setting, field, most) in [
            (Setting::MaxInFlight, "max_in_flight", max_in_flight),
            (Setting::MaxInFlightPerTarget, "max_in_flight_per_target", max_in_flight_per_target),
        ] {
            if let Some(most) = most {
                self.put(setting, &at.key(field), Value::Number((*most).into()), false);
            }
        }
        if let Some(queue @ Queue { length, timeout: _ }) = queue {
            let value = Value::Number((*length).into());
            self.put(Setting::Queue, &at.key("queue"), value, *queue == Queue::default());
        }
        self.number(Setting::Buffer, &at.key("buffer"), buffer.0, usual.buffer.0);
        self.pool(pool, &at.key("pool"));
        if proxy_protocol.is_some() {
            self.add(Setting::ProxyProtocol, &at.key("proxy_protocol"));
        }
        self.usual(Setting::ForwardedHeaders, at);
        self.usual(Setting::WebSocket, at);
        self.upstream = None;
    }

    fn targets(&mut self, targets: &'a [WeightedTarget], at: &FieldPath) {
        for (index, target) in targets.iter().enumerate() {
            let WeightedTarget { to, weight, backup } = target;
            let at = at.index(index);
            match to {
                Target::Tcp(address) => {
                    let value = Value::Text(&address.host);
                    self.put(Setting::TargetTcp, &at, value, true);
                    if address.ip().is_none() {
                        self.put(Setting::TargetNames, &at, value, false);
                    }
                }
                Target::Unix(path) => self.text(Setting::TargetUnix, &at, path.as_str()),
            }
            if *weight != 1 {
                let value = Value::Number(u64::from(*weight));
                self.put(Setting::TargetWeight, &at.key("weight"), value, false);
            }
            if *backup {
                self.add(Setting::TargetBackup, &at.key("backup"));
            }
        }
    }

    fn tls(&mut self, tls: &'a UpstreamTls, at: &FieldPath) {
        let UpstreamTls { verify, ca_pem, server_name } = tls;
        self.put(Setting::UpstreamTls, at, Value::Nothing, true);
        if !verify {
            self.add(Setting::UpstreamTlsUnverified, &at.key("verify"));
        }
        if ca_pem.is_some() {
            self.add(Setting::UpstreamTlsCa, &at.key("ca"));
        }
        if let Some(name) = server_name {
            self.text(Setting::UpstreamTlsName, &at.key("server_name"), name);
        }
    }

    fn host_header(&mut self, host: &'a HostHeader, at: &FieldPath) {
        match host {
            HostHeader::Preserve => self.usual(Setting::HostPreserve, at),
            HostHeader::Target => self.add(Setting::HostTarget, at),
            HostHeader::Set(host) => self.text(Setting::HostSet, at, host),
        }
    }

    fn timeouts(&mut self, timeouts: Timeouts, at: &FieldPath) {
        let Timeouts { connect, first_byte, silence, send } = timeouts;
        let usual = Timeouts::default();
        for (setting, field, value, usual) in [
            (Setting::TimeoutConnect, "connect", connect, usual.connect),
            (Setting::TimeoutFirstByte, "first_byte", first_byte, usual.first_byte),
            (Setting::TimeoutSilence, "silence", silence, usual.silence),
            (Setting::TimeoutSend, "send", send, usual.send),
        ] {
            self.number(setting, &at.key(field), value.0, usual.0);
        }
    }

    fn balance(&mut self, balance: &'a Balance, at: &FieldPath) {
        match balance {
            Balance::RoundRobin => self.usual(Setting::BalanceRoundRobin, at),
            Balance::LeastRequests => self.add(Setting::BalanceLeastRequests, at),
            Balance::TwoChoices => self.add(Setting::BalanceTwoChoices, at),
            Balance::Hash(HashKey::Client) => self.add(Setting::BalanceHashClient, at),
            Balance::Hash(HashKey::Header(name)) => {
                self.text(Setting::BalanceHashHeader, at, name);
            }
            Balance::Hash(HashKey::Cookie(name)) => {
                self.text(Setting::BalanceHashCookie, at, name);
            }
        }
    }

    fn health(&mut self, health: &'a Health, at: &FieldPath) {
        let Health { probe, interval: _, timeout: _, rise: _, fall: _, port: _ } = health;
        match probe {
            Probe::Http(http) => self.text(Setting::HealthHttp, &at.key("path"), &http.path),
            Probe::Tcp => self.add(Setting::HealthTcp, &at.key("tcp")),
            Probe::Tls => self.add(Setting::HealthTcp, &at.key("tls")),
        }
    }

    fn ejection(&mut self, eject: &'a Ejection, usual: Option<&Ejection>, at: &FieldPath) {
        let Ejection { failures, within: _, lasts: _, statuses } = eject;
        let value = Value::Number(u64::from(*failures));
        self.put(Setting::Ejection, at, value, Some(eject) == usual);
        if !statuses.is_empty() {
            self.add(Setting::EjectionStatuses, &at.key("statuses"));
        }
    }

    fn retries(&mut self, retries: Retries, usual: Retries, at: &FieldPath) {
        let Retries { attempts, budget } = retries;
        if attempts == 0 {
            return;
        }
        let is_usual = retries == usual;
        let value = Value::Number(u64::from(attempts));
        self.put(Setting::Retries, &at.key("attempts"), value, is_usual);
        self.put(Setting::RetryBudget, &at.key("budget"), Value::Number(budget.into()), is_usual);
    }

    fn pool(&mut self, pool: &'a Pool, at: &FieldPath) {
        let Pool { max_idle, idle_timeout, max_connections, max_requests } = pool;
        let usual = Pool::default();
        let is_usual = (*max_idle, *idle_timeout) == (usual.max_idle, usual.idle_timeout);
        let value = Value::Number(u64::from(*max_idle));
        self.put(Setting::PoolIdle, &at.key("max_idle"), value, is_usual);
        for (setting, field, most) in [
            (Setting::PoolMaxConnections, "max_connections", max_connections),
            (Setting::PoolMaxRequests, "max_requests", max_requests),
        ] {
            if let Some(most) = most {
                self.put(setting, &at.key(field), Value::Number(u64::from(*most)), false);
            }
        }
    }
}
