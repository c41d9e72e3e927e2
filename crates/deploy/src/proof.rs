//! What a deployment of sites is proven by, beside the engine's word: requests that the sites declare,
//! asked of the node's own ports before and after. Worse than before means back.

use std::time::Duration;

use futures_util::{StreamExt as _, stream};
use portway_model::{
    FieldPath, Finding, FindingCode, Findings, Id, Name, ResourceKind, Site, site::SiteProbe,
};
use portway_transport::{Target, Transport};
use tokio::time::{Instant, sleep, timeout_at};

use self::ask::ask;
pub use self::ask::{Visit, visit};
use crate::{Journal, step::Node};

mod ask;

/// How many requests are under way at once.
const AT_ONCE: usize = 8;
/// How long all requests of a deployment may take together, each time. A node is held for longer.
const ALL: Duration = Duration::from_secs(90);
/// The pause between tries.
const PAUSE: Duration = Duration::from_secs(1);

/// What a deployment must leave no worse than it was.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Proof {
    /// The site.
    pub site: Id<Site>,
    /// Its name.
    pub name: Name,
    /// Whether the node serves it for the first time: then there is no before.
    pub is_new: bool,
    /// What is asked.
    pub probes: Vec<SiteProbe>,
}

/// Where sites are served on a node, as the node itself reaches it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Doors {
    /// Plain HTTP.
    pub http: Target,
    /// HTTPS.
    pub https: Target,
}

/// How a probe went.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Asked {
    /// As it should.
    Good,
    /// Otherwise; how.
    Bad(String),
    /// It was not asked: there was nothing to be asked yet, or time was up.
    Unasked,
}

/// How the probes of some sites went, in their order.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Answers(Vec<Vec<Asked>>);

/// What is to be said of sites after a deployment.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Verdict {
    /// What is worse than it was: errors.
    pub worse: Vec<Finding>,
    /// What is as bad as it was, or could not be asked: warnings.
    pub told: Vec<Finding>,
}

/// Asks the probes of sites as they are before a deployment. Those that are new are not there yet.
pub async fn before<T: Transport>(transport: &T, doors: &Doors, proofs: &[Proof]) -> Answers {
    answers(transport, doors, proofs, |proof| !proof.is_new).await
}

/// Asks the probes of sites as they are after a deployment.
pub async fn after<T: Transport>(transport: &T, doors: &Doors, proofs: &[Proof]) -> Answers {
    answers(transport, doors, proofs, |_| true).await
}

async fn answers<T: Transport>(
    transport: &T,
    doors: &Doors,
    proofs: &[Proof],
    is_asked: impl Fn(&Proof) -> bool,
) -> Answers {
    let end = Instant::now() + ALL;
    let mut all: Vec<Vec<Asked>> =
        proofs.iter().map(|proof| vec![Asked::Unasked; proof.probes.len()]).collect();
    let mut questions = Vec::new();
    for (at, proof) in proofs.iter().enumerate().filter(|(_, proof)| is_asked(proof)) {
        for (index, probe) in proof.probes.iter().enumerate() {
            questions.push(async move { (at, index, tried(transport, doors, probe, end).await) });
        }
    }
    let mut asked = stream::iter(questions).buffer_unordered(AT_ONCE);
    while let Some((at, index, answer)) = asked.next().await {
        if let Some(place) = all.get_mut(at).and_then(|asked| asked.get_mut(index)) {
            *place = answer;
        }
    }
    Answers(all)
}

/// Asks until an answer is good, as often as the probe says.
async fn tried<T: Transport>(
    transport: &T,
    doors: &Doors,
    probe: &SiteProbe,
    end: Instant,
) -> Asked {
    let mut answer = Asked::Unasked;
    for turn in 0..probe.tries.max(1) {
        if turn > 0 {
            sleep(PAUSE).await;
        }
        match timeout_at(end, ask(transport, doors, probe)).await {
            Ok(Ok(())) => return Asked::Good,
            Ok(Err(problem)) => answer = Asked::Bad(problem),
            Err(_) => return answer,
        }
    }
    answer
}

impl Answers {
    /// Notes each answer as a step.
    pub(crate) fn note<T: Transport, J: Journal>(
        &self,
        node: &Node<'_, T, J>,
        proofs: &[Proof],
        began: std::time::Instant,
    ) {
        for (proof, answers) in proofs.iter().zip(&self.0) {
            for (probe, asked) in proof.probes.iter().zip(answers) {
                let (ok, said) = match asked {
                    Asked::Good => (true, String::new()),
                    Asked::Bad(problem) => (false, problem.clone()),
                    Asked::Unasked => continue,
                };
                node.note(format!("asked site {}: {probe}", proof.name), said, ok, began);
            }
        }
    }
}

/// Compares what sites answer after a deployment with what they answered before.
pub fn compare(proofs: &[Proof], before: &Answers, after: &Answers) -> Verdict {
    let mut verdict = Verdict::default();
    for (at, proof) in proofs.iter().enumerate() {
        let mut worse = Findings::about(ResourceKind::Site, proof.name.as_str());
        let mut told = Findings::about(ResourceKind::Site, proof.name.as_str());
        for (index, probe) in proof.probes.iter().enumerate() {
            let of = |answers: &Answers| {
                let asked = answers.0.get(at).and_then(|asked| asked.get(index));
                asked.cloned().unwrap_or(Asked::Unasked)
            };
            let path = FieldPath::root().key("probes").index(index);
            judge(probe, (&of(before), &of(after)), &path, &mut worse, &mut told);
        }
        verdict.worse.extend(worse.into_vec());
        verdict.told.extend(told.into_vec());
    }
    verdict
}

fn judge(
    probe: &SiteProbe,
    (before, after): (&Asked, &Asked),
    path: &FieldPath,
    worse: &mut Findings,
    told: &mut Findings,
) {
    const CODE: FindingCode = FindingCode::ProbeFailed;
    let now = match after {
        Asked::Good => return,
        Asked::Unasked => {
            told.warning(CODE, path, format!("there was no time to see whether {probe}"))
                .remedy("declare fewer probes, or shorter ones");
            return;
        }
        Asked::Bad(now) => now,
    };
    match before {
        Asked::Bad(then) => {
            let text = format!("{probe}: not so, before ({then}) and after ({now})");
            told.warning(CODE, path, text).remedy("see why it is not so, or change the probe");
        }
        Asked::Good => {
            let text = format!("{probe}: so it was before, and then {now}");
            worse.error(CODE, path, text).remedy("see what in the change does it");
        }
        Asked::Unasked => {
            let text = format!("{probe}: not so, {now}");
            worse.error(CODE, path, text).remedy("see why it is not so, or change the probe");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn proofs() -> Vec<Proof> {
        let spec = serde_json::json!({"hosts": ["a.example"], "to": "1", "probes": ["/health"]});
        let spec = serde_json::from_value(spec).unwrap();
        let name: Name = "app".parse().unwrap();
        let probes = portway_model::site::check(&name, &spec).0.unwrap().probes;
        vec![Proof { site: Id::from_uuid(uuid::Uuid::nil()), name, is_new: false, probes }]
    }

    fn one(asked: Asked) -> Answers {
        Answers(vec![vec![asked]])
    }

    #[test]
    fn only_what_is_worse_than_before_counts() {
        let (good, bad) = (Asked::Good, || Asked::Bad("it answers 502".to_owned()));
        for (before, after, worse, told) in [
            (good.clone(), good.clone(), 0, 0),
            (good.clone(), bad(), 1, 0),
            (bad(), bad(), 0, 1),
            (bad(), good.clone(), 0, 0),
            (Asked::Unasked, bad(), 1, 0),
            (Asked::Unasked, good.clone(), 0, 0),
            (good, Asked::Unasked, 0, 1),
        ] {
            let verdict = compare(&proofs(), &one(before.clone()), &one(after.clone()));
            let counts = (verdict.worse.len(), verdict.told.len());
            assert_eq!(counts, (worse, told), "{before:?} {after:?}: {verdict:?}");
            assert!(verdict.worse.iter().all(Finding::is_error));
            assert!(!verdict.told.iter().any(Finding::is_error));
        }
    }

    #[test]
    fn a_finding_names_the_probe_what_was_and_what_is() {
        let bad = Asked::Bad("it answers 502".to_owned());
        let verdict = compare(&proofs(), &one(Asked::Good), &one(bad));
        let text = &verdict.worse[0].text;
        assert_eq!(
            text,
            "https://a.example/health answers 200-399: so it was before, and then it answers 502"
        );
    }
}
