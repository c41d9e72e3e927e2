//! Every state, against everything that can be seen and wanted.

use super::*;

const WAVES: u32 = 3;

fn strategies() -> Vec<Strategy> {
    let mut all = Vec::new();
    for on_failure in [OnFailure::Pause, OnFailure::AllOrNothing, OnFailure::BestEffort] {
        for pause_after in [PauseAfter::Nothing, PauseAfter::Canary, PauseAfter::Wave] {
            for canary in [Vec::new(), vec!["web-1".parse().unwrap()]] {
                all.push(Strategy { canary, on_failure, pause_after, ..Strategy::default() });
            }
        }
    }
    all
}

fn states() -> Vec<RolloutState> {
    let mut all = vec![RolloutState::Queued, RolloutState::Done, RolloutState::Partial];
    for why in [WhyBack::Failure, WhyBack::Asked] {
        all.push(RolloutState::GoingBack { why });
        all.push(RolloutState::Undone { why });
    }
    for wave in 0..WAVES {
        all.push(RolloutState::Aborted { wave: Some(wave) });
        all.push(RolloutState::Superseded { wave: Some(wave) });
        for forgiven in 0..2 {
            all.push(RolloutState::Running { wave, forgiven });
            for why in [WhyPaused::Asked, WhyPaused::WaveDone, WhyPaused::Failure] {
                all.push(RolloutState::Paused { wave, forgiven, why });
            }
        }
    }
    all.extend([RolloutState::Aborted { wave: None }, RolloutState::Superseded { wave: None }]);
    all
}

fn sights() -> Vec<Seen> {
    let mut all = Vec::new();
    for pending in 0..2 {
        for failed in 0..3 {
            for behind in 0..2 {
                for superseded in [false, true] {
                    all.push(Seen { waves: WAVES, pending, failed, behind, superseded });
                }
            }
        }
    }
    all
}

/// Asks until the answer stays the same, with the same sight.
fn settled(state: RolloutState, strategy: &Strategy, seen: Seen) -> RolloutState {
    let mut now = state;
    for _ in 0..20 {
        let next = now.next(strategy, seen);
        if next == now {
            return now;
        }
        now = next;
    }
    panic!("{state:?} never settles with {seen:?} under {strategy:?}");
}

#[test]
fn it_settles_whatever_is_seen_and_an_end_is_an_end() {
    for strategy in strategies() {
        for state in states() {
            for seen in sights() {
                let settled = settled(state, &strategy, seen);
                if state.is_end() {
                    assert_eq!(settled, state, "an end is left with {seen:?}");
                }
            }
        }
    }
}

#[test]
fn a_node_that_was_let_in_is_shut_out_only_by_going_back() {
    for strategy in strategies() {
        for state in states().into_iter().filter(|state| !state.is_end()) {
            for seen in sights() {
                let next = state.next(&strategy, seen);
                for wave in 0..WAVES {
                    if state.gate(Some(wave)) == Gate::Open {
                        let after = next.gate(Some(wave));
                        assert!(matches!(after, Gate::Open | Gate::Back), "{state:?} {next:?}");
                    }
                }
            }
        }
    }
}

#[test]
fn a_wave_is_let_in_only_when_the_one_before_has_ended() {
    for strategy in strategies() {
        for forgiven in 0..2 {
            for wave in 0..WAVES {
                for seen in sights().into_iter().filter(|seen| !seen.superseded) {
                    let state = RolloutState::Running { wave, forgiven };
                    let next = state.next(&strategy, seen);
                    let goes_on = next.gate(Some(wave + 1)) == Gate::Open;
                    if seen.pending > 0 {
                        assert!(!goes_on, "{next:?} with {seen:?}");
                    }
                    if seen.failed > forgiven && strategy.on_failure != OnFailure::BestEffort {
                        assert!(!goes_on, "{next:?} with {seen:?} under {strategy:?}");
                    }
                    if seen.failed > forgiven && wave == 0 && strategy.has_canary() {
                        assert!(!goes_on, "a canary that fails is heeded: {next:?}");
                    }
                }
            }
        }
    }
}

#[test]
fn the_first_failure_does_what_the_policy_says() {
    let failed = Seen { waves: WAVES, pending: 1, failed: 1, ..Seen::default() };
    let after = |on_failure| {
        let strategy = Strategy { on_failure, ..Strategy::default() };
        RolloutState::Running { wave: 1, forgiven: 0 }.next(&strategy, failed)
    };
    assert_eq!(
        after(OnFailure::Pause),
        RolloutState::Paused { wave: 1, forgiven: 0, why: WhyPaused::Failure }
    );
    assert_eq!(after(OnFailure::AllOrNothing), RolloutState::GoingBack { why: WhyBack::Failure });
    assert_eq!(after(OnFailure::BestEffort), RolloutState::Running { wave: 1, forgiven: 0 });
}

#[test]
fn it_ends_as_it_went() {
    let strategy = Strategy { on_failure: OnFailure::BestEffort, ..Strategy::default() };
    let last = RolloutState::Running { wave: WAVES - 1, forgiven: 0 };
    let seen = Seen { waves: WAVES, ..Seen::default() };
    assert_eq!(last.next(&strategy, seen), RolloutState::Done);
    assert_eq!(last.next(&strategy, Seen { failed: 1, ..seen }), RolloutState::Partial);
    let back = RolloutState::GoingBack { why: WhyBack::Failure };
    assert_eq!(back.next(&strategy, Seen { behind: 1, ..seen }), back);
    assert_eq!(back.next(&strategy, seen), RolloutState::Undone { why: WhyBack::Failure });
}

#[test]
fn who_resumes_has_seen_the_failures_and_goes_past_them() {
    let strategy = Strategy::default();
    let paused = RolloutState::Paused { wave: 0, forgiven: 0, why: WhyPaused::Failure };
    let resumed = paused.command(Command::Resume, 1).unwrap();
    let seen = Seen { waves: WAVES, failed: 1, ..Seen::default() };
    assert_eq!(settled(resumed, &strategy, seen), RolloutState::Partial);
    let worse = Seen { failed: 2, ..seen };
    assert!(matches!(
        settled(resumed, &strategy, worse),
        RolloutState::Paused { why: WhyPaused::Failure, .. }
    ));
}

#[test]
fn a_pause_after_each_wave_is_left_once_for_each() {
    let strategy = Strategy { pause_after: PauseAfter::Wave, ..Strategy::default() };
    let seen = Seen { waves: WAVES, ..Seen::default() };
    let mut state = settled(RolloutState::Queued, &strategy, seen);
    let mut pauses = 0;
    while let RolloutState::Paused { wave, why: WhyPaused::WaveDone, .. } = state {
        assert_eq!(wave, pauses);
        pauses += 1;
        state = settled(state.command(Command::Resume, 0).unwrap(), &strategy, seen);
    }
    assert_eq!((pauses, state), (WAVES - 1, RolloutState::Done));
}

#[test]
fn commands_lead_nowhere_but_where_they_say() {
    for state in states() {
        for command in [Command::Pause, Command::Resume, Command::Abort, Command::GoBack] {
            let Ok(next) = state.command(command, 0) else { continue };
            let leads = match command {
                Command::Pause => {
                    matches!(next, RolloutState::Paused { why: WhyPaused::Asked, .. })
                }
                Command::Resume => matches!(next, RolloutState::Running { .. }),
                Command::Abort => matches!(next, RolloutState::Aborted { .. }),
                Command::GoBack => matches!(next, RolloutState::GoingBack { why: WhyBack::Asked }),
            };
            assert!(leads, "{state:?} {command:?} {next:?}");
            if state.is_end() {
                assert_eq!(command, Command::GoBack, "{state:?} is an end");
            }
        }
    }
}

#[test]
fn a_node_that_came_later_waits_and_goes_back_with_the_others() {
    for state in states() {
        let gate = state.gate(None);
        let expected = match state {
            RolloutState::Done | RolloutState::Partial => Gate::Open,
            RolloutState::GoingBack { .. } | RolloutState::Undone { .. } => Gate::Back,
            RolloutState::Aborted { .. } => Gate::Stay,
            RolloutState::Queued
            | RolloutState::Running { .. }
            | RolloutState::Paused { .. }
            | RolloutState::Superseded { .. } => Gate::Wait,
        };
        assert_eq!(gate, expected, "{state:?}");
    }
}

#[test]
fn what_is_kept_is_read_back() {
    for state in states() {
        let text = serde_json::to_string(&state).unwrap();
        assert!(text.contains(&format!("\"state\":\"{}\"", state.word())), "{text}");
        assert_eq!(serde_json::from_str::<RolloutState>(&text).unwrap(), state);
    }
}
