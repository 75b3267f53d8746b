//! What a quarantine does, by example and by property.

use proptest::prelude::*;

use super::*;

const FAULT: Ended = Ended::Failed(Blame::Guest);

fn at(millis: u64) -> Moment {
    Moment::from_micros(millis * 1000)
}

fn call(quarantine: &mut Quarantine, ended: Ended, millis: u64) -> Option<QuarantineChange> {
    let admission = quarantine.admit(at(millis));
    quarantine.record(admission, ended, at(millis))
}

/// One that has just been left alone, and since when.
fn left_alone() -> Quarantine {
    let mut quarantine = Quarantine::new(QuarantineSettings::default(), at(0));
    for _ in 0..10 {
        assert_eq!(call(&mut quarantine, FAULT, 0), None);
    }
    let left = QuarantineChange::Left {
        until: at(1_000),
        backoff_ms: 1_000,
    };
    assert_eq!(call(&mut quarantine, FAULT, 0), Some(left));
    quarantine
}

#[test]
fn the_eleventh_fault_in_a_row_ends_service_for_a_second() {
    let mut quarantine = left_alone();
    assert!(!quarantine.is_serving());
    let refused = Admission::Refused { until: at(1_000) };
    assert_eq!(quarantine.admit(at(999)), refused);
    assert!(matches!(quarantine.admit(at(1_000)), Admission::Probe(_)));
}

#[test]
fn one_probe_decides_and_others_wait_for_it() {
    let mut quarantine = left_alone();
    let probe = quarantine.admit(at(1_000));
    assert_eq!(
        quarantine.admit(at(1_001)),
        Admission::Refused { until: at(1_001) }
    );
    // A call from before the faults ends late: it decides nothing.
    assert_eq!(
        quarantine.record(Admission::Call, Ended::Answered, at(1_002)),
        None
    );
    let returned = quarantine.record(probe, Ended::Answered, at(1_003));
    assert_eq!(returned, Some(QuarantineChange::Returned));
    assert_eq!(quarantine.admit(at(1_004)), Admission::Call);
}

#[test]
fn each_failed_probe_doubles_the_backoff_up_to_the_longest() {
    let mut quarantine = left_alone();
    let mut now = 1_000;
    let mut backoffs = Vec::new();
    for _ in 0..10 {
        let left = call(&mut quarantine, FAULT, now);
        let Some(QuarantineChange::Left { backoff_ms, .. }) = left else {
            panic!("{left:?}")
        };
        backoffs.push(backoff_ms / 1_000);
        now += backoff_ms;
    }
    assert_eq!(backoffs, [2, 4, 8, 16, 32, 64, 128, 256, 300, 300]);
}

#[test]
fn a_probe_that_is_never_heard_of_again_gives_way_to_another() {
    let mut quarantine = left_alone();
    let lost = quarantine.admit(at(1_000));
    let second = quarantine.admit(at(61_000));
    assert!(matches!(second, Admission::Probe(_)));
    assert_eq!(quarantine.record(lost, FAULT, at(61_001)), None);
    let returned = quarantine.record(second, Ended::Answered, at(61_002));
    assert_eq!(returned, Some(QuarantineChange::Returned));
}

#[test]
fn a_probe_that_the_host_failed_is_repeated_at_once() {
    let mut quarantine = left_alone();
    assert_eq!(
        call(&mut quarantine, Ended::Failed(Blame::Host), 1_000),
        None
    );
    assert!(!quarantine.is_serving());
    assert!(matches!(quarantine.admit(at(1_000)), Admission::Probe(_)));
}

#[test]
fn a_relapse_is_left_alone_for_longer_unless_it_served_well_for_long() {
    for (served, expected) in [(10_000, 2_000), (700_000, 1_000)] {
        let mut quarantine = left_alone();
        call(&mut quarantine, Ended::Answered, 1_000);
        let faults = (0..11).map(|_| call(&mut quarantine, FAULT, 1_000 + served));
        let Some(QuarantineChange::Left { backoff_ms, .. }) = faults.last().unwrap() else {
            panic!("it is left alone")
        };
        assert_eq!(backoff_ms, expected, "after {served} ms");
    }
}

#[test]
fn a_state_comes_back_from_json_as_it_was() {
    let mut quarantine = left_alone();
    let mut seen = vec![quarantine.clone()];
    quarantine.admit(at(1_000));
    seen.push(quarantine.clone());
    call(&mut quarantine, FAULT, 90_000);
    seen.push(Quarantine::new(QuarantineSettings::default(), at(7)));
    for quarantine in seen {
        let json = serde_json::to_string(&quarantine).unwrap();
        assert_eq!(
            serde_json::from_str::<Quarantine>(&json).unwrap(),
            quarantine
        );
    }
}

fn ended() -> impl Strategy<Value = Ended> {
    prop_oneof![
        Just(Ended::Answered),
        Just(Ended::Failed(Blame::Guest)),
        Just(Ended::Failed(Blame::Host)),
        Just(Ended::Failed(Blame::Caller)),
    ]
}

proptest! {
    #[test]
    fn failures_of_hosts_and_callers_never_end_service(
        endings in prop::collection::vec(ended(), 0..300),
    ) {
        let mut quarantine = Quarantine::new(QuarantineSettings::default(), at(0));
        for (millis, ended) in (0..).zip(endings) {
            if ended != FAULT {
                call(&mut quarantine, ended, millis);
            }
        }
        prop_assert!(quarantine.is_serving());
    }

    #[test]
    fn fewer_than_one_fault_in_ten_calls_never_ends_service(
        offset in 0_u64..10,
        n_calls in 0_u64..2_000,
    ) {
        let mut quarantine = Quarantine::new(QuarantineSettings::default(), at(0));
        for millis in 0..n_calls {
            let ended = if millis % 10 == offset { FAULT } else { Ended::Answered };
            call(&mut quarantine, ended, millis);
        }
        prop_assert!(quarantine.is_serving());
    }

    /// Calls overlap, end in any order or not at all, and the clock may stand still.
    #[test]
    fn whatever_comes_at_most_one_probe_is_under_way_and_no_state_is_for_ever(
        steps in prop::collection::vec((0_u64..5_000, ended(), any::<prop::sample::Index>(), any::<bool>()), 1..400),
    ) {
        let mut quarantine = Quarantine::new(QuarantineSettings::default(), at(0));
        let mut under_way: Vec<Admission> = Vec::new();
        let (mut now, mut probe_by) = (0, None);
        for (wait, ended, which, calls) in steps {
            now += wait;
            if calls {
                let admission = quarantine.admit(at(now));
                if matches!(admission, Admission::Probe(_)) {
                    prop_assert!(probe_by.is_none_or(|by| now >= by), "two probes");
                    probe_by = Some(now + 60_000);
                }
                under_way.push(admission);
            } else if !under_way.is_empty() {
                let admission = under_way.swap_remove(which.index(under_way.len()));
                if matches!(admission, Admission::Refused { .. }) {
                    continue;
                }
                let was_serving = quarantine.is_serving();
                let change = quarantine.record(admission, ended, at(now));
                if !matches!(quarantine.state, State::Probing(_)) {
                    probe_by = None;
                }
                let returned = change == Some(QuarantineChange::Returned);
                prop_assert_eq!(returned, !was_serving && quarantine.is_serving());
            }
        }
        // However it stands, somebody is let through after the longest wait there is.
        let late = now + 300_000 + 60_000;
        let admitted = !matches!(quarantine.admit(at(late)), Admission::Refused { .. });
        prop_assert!(admitted);
    }
}
