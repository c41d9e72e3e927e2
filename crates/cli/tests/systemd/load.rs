//! Clients that ask without pause, over connections that they keep.

use std::process::{Child, Stdio};

use crate::bed::Bed;

/// How many clients ask at once, over each protocol.
const CLIENTS: usize = 2;
/// How many requests each makes over one connection before it opens the next.
const REQUESTS: u32 = 200;

/// A load that is under way.
pub(crate) struct Load<'a> {
    bed: &'a Bed,
    clients: Vec<Child>,
}

/// What came of it.
pub(crate) struct Outcome {
    /// How many requests were answered as they should be.
    pub(crate) answered: usize,
    /// What was said of all others.
    pub(crate) lost: Vec<String>,
}

impl<'a> Load<'a> {
    /// Begins to ask for a site, and returns when each client has its first answer.
    pub(crate) fn begin(bed: &'a Bed, host: &str) -> Self {
        bed.sh("rm -rf /run/load && mkdir /run/load");
        let client = |number: usize| {
            let protocol = if number.is_multiple_of(2) { "--http1.1" } else { "--http2" };
            let line = format!(
                "while [ ! -e /run/load/stop ]; do curl -ksS {protocol} -o /dev/null -w \
                 '%{{http_code}} %{{errormsg}}\\n' 'https://{host}/?[1-{REQUESTS}]' \
                 >>/run/load/{number} 2>&1; done"
            );
            bed.shell(&line).stdout(Stdio::null()).spawn().unwrap()
        };
        let load = Self { bed, clients: (0..CLIENTS * 2).map(client).collect() };
        load.go_on();
        load
    }

    /// Waits until every client has had further answers.
    pub(crate) fn go_on(&self) {
        let lines = "cat /run/load/* 2>/dev/null | wc -l";
        let seen: usize = self.bed.sh(lines).trim().parse().unwrap();
        let enough = seen + CLIENTS * 2 * 50;
        self.bed.eventually(&format!("[ $({lines}) -ge {enough} ]"));
    }

    /// Ends it.
    pub(crate) fn end(mut self) -> Outcome {
        self.bed.sh("touch /run/load/stop");
        for client in &mut self.clients {
            client.wait().unwrap();
        }
        let said = self.bed.sh("cat /run/load/[0-9]*");
        let (answered, lost): (Vec<&str>, Vec<&str>) =
            said.lines().partition(|line| line.trim() == "200");
        let lost = lost.into_iter().map(str::to_owned).collect();
        Outcome { answered: answered.len(), lost }
    }
}
