//! What `config.yaml` says of nodes: how changes come to them of which nothing is said, and from where
//! on something about a node deserves attention.

use portway_model::{
    NodeSelector, Seconds,
    node::{check_thresholds, spec::ThresholdsSpec},
    rollout::{MAX_PATIENCE, MAX_WAVES, OnFailure, PATIENCE, PauseAfter, Strategy, WaveSize},
    site::spec::DurationSpec,
};
use serde::Deserialize;

/// How changes come to their nodes of which nothing is said.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case", default)]
pub(super) struct RolloutsFile {
    canary: Vec<NodeSelector>,
    waves: Vec<Wave>,
    on_failure: Failing,
    pause_after: PauseAfter,
    patience: Option<DurationSpec>,
    soak: Option<DurationSpec>,
}

/// A number of nodes, or a share of them.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(untagged)]
enum Wave {
    Count(u32),
    Text(String),
}

/// What becomes of a rollout when a node cannot take the change, in the words of the command line.
#[derive(Clone, Copy, Debug, Default, PartialEq, Deserialize)]
#[serde(rename_all = "kebab-case")]
enum Failing {
    #[default]
    Pause,
    AllOrNothing,
    BestEffort,
}

impl RolloutsFile {
    /// Returns what it means, or what is wrong with it.
    pub(super) fn strategy(&self) -> Result<Strategy, String> {
        let Self { canary, waves, on_failure, pause_after, patience, soak } = self;
        let waves: Vec<WaveSize> = waves.iter().map(size).collect::<Result<_, _>>()?;
        if waves.len() > MAX_WAVES {
            return Err(format!(
                "`rollouts.waves`: at most {MAX_WAVES} are possible, not {}",
                waves.len()
            ));
        }
        Ok(Strategy {
            canary: canary.clone(),
            waves,
            on_failure: match on_failure {
                Failing::Pause => OnFailure::Pause,
                Failing::AllOrNothing => OnFailure::AllOrNothing,
                Failing::BestEffort => OnFailure::BestEffort,
            },
            pause_after: *pause_after,
            patience: seconds("patience", patience.as_ref(), PATIENCE, 1)?,
            soak: seconds("soak", soak.as_ref(), 0, 0)?,
        })
    }
}

/// Returns thresholds that are sound, or what is wrong with them.
pub(super) fn thresholds(written: &ThresholdsSpec) -> Result<ThresholdsSpec, String> {
    check_thresholds(written).map_err(|findings| {
        let texts: Vec<String> = findings.into_iter().map(|finding| finding.text).collect();
        format!("`health`: {}", texts.join("; "))
    })?;
    Ok(written.clone())
}

fn size(wave: &Wave) -> Result<WaveSize, String> {
    let text = match wave {
        Wave::Count(count) => count.to_string(),
        Wave::Text(text) => text.clone(),
    };
    text.parse().map_err(|error| format!("`rollouts.waves`: {error}"))
}

fn seconds(what: &str, time: Option<&DurationSpec>, usual: u32, least: u32) -> Result<u32, String> {
    let seconds = match time {
        None => return Ok(usual),
        Some(DurationSpec::Seconds(seconds)) => *seconds,
        Some(DurationSpec::Text(text)) => {
            let read = text.parse::<Seconds>();
            read.map_err(|error| format!("`rollouts.{what}`: {error}"))?.0
        }
    };
    let sound = u32::try_from(seconds).ok();
    let sound = sound.filter(|seconds| (least..=MAX_PATIENCE).contains(seconds));
    sound.ok_or_else(|| format!("`rollouts.{what}`: it is {least}s to 1d, not {seconds} s"))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn strategy(written: serde_json::Value) -> Result<Strategy, String> {
        let file: Result<RolloutsFile, _> = serde_json::from_value(written);
        file.map_err(|error| error.to_string())?.strategy()
    }

    #[test]
    fn what_is_not_said_is_as_usual() {
        assert_eq!(strategy(json!({})).unwrap(), Strategy::default());
        let said = strategy(json!({
            "canary": ["label:tier=test"], "waves": [1, "50%"], "on-failure": "all-or-nothing",
            "pause-after": "canary", "patience": 90, "soak": "2m",
        }));
        let said = said.unwrap();
        let sizes: Vec<String> = said.waves.iter().map(ToString::to_string).collect();
        assert_eq!((sizes, said.soak), (vec!["1".to_owned(), "50%".to_owned()], 120));
        assert_eq!((said.on_failure, said.patience), (OnFailure::AllOrNothing, 90));
        assert_eq!(said.pause_after, PauseAfter::Canary);
    }

    #[test]
    fn what_is_wrong_is_named() {
        for (written, why) in [
            (json!({"waves": ["0%"]}), "`rollouts.waves`: `0%` is no wave"),
            (json!({"waves": vec![1; 21]}), "`rollouts.waves`: at most 20"),
            (json!({"soak": "2d"}), "`rollouts.soak`: it is 0s to 1d"),
            (json!({"patience": 0}), "`rollouts.patience`: it is 1s to 1d"),
            (json!({"patience": "soon"}), "`rollouts.patience`: `soon` is not a duration"),
            (json!({"on-failure": "panic"}), "unknown variant `panic`"),
            (json!({"on_failure": "pause"}), "unknown field `on_failure`"),
        ] {
            let refused = strategy(written).unwrap_err();
            assert!(refused.contains(why), "{refused}");
        }
        let refused = thresholds(&ThresholdsSpec { disk: Some(100), ..ThresholdsSpec::default() });
        assert!(refused.unwrap_err().contains("`health`: 100 % is always too little"));
    }
}
