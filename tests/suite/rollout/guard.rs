//! What guards do over many rollouts: how often they abort a revision that is as good as
//! the live one, and how soon they find one that is worse. `docs/rollout.md` repeats the
//! figures that these tests print.

#![expect(
    clippy::print_stdout,
    reason = "figures for the docs; seen with --nocapture"
)]

use trommel::policy::Action;
use trommel::rollout::Arm;
use trommel::rollout::guard::{Baseline, Bound, Breach, Guard, GuardSettings, Standing};

use super::traffic::{GOOD, Habit, LIVE, NEW, Traffic, Weather, watched};

/// A canary that gets `share` of `n_items`, and is looked at after each.
fn canary(
    seed: u64,
    weather: Weather,
    settings: GuardSettings,
    share: f64,
    habit: &Habit,
    n_items: u64,
) -> Option<Breach> {
    let mut traffic = Traffic::new(seed, weather);
    let mut guard = Guard::beside(settings, NEW, LIVE, watched()).unwrap();
    (0..n_items).find_map(|_| {
        let is_canary = traffic.chance(share);
        let (revision, arm, habit) = if is_canary {
            (NEW, Arm::Canary, habit)
        } else {
            (LIVE, Arm::Live, &GOOD)
        };
        let ended = traffic.call(habit);
        ended.tell(&mut guard, revision, arm, traffic.now())
    })
}

/// A fresh live revision after one that was counted for `n_before` calls.
fn fresh_live(
    seed: u64,
    weather: Weather,
    n_before: u64,
    habit: &Habit,
    n_items: u64,
) -> Option<Breach> {
    let mut traffic = Traffic::new(seed, weather);
    let mut baseline = Baseline::new(watched());
    for _ in 0..n_before {
        baseline.record(&traffic.call(&GOOD).outcome());
    }
    let mut guard = Guard::after(GuardSettings::default(), NEW, baseline).unwrap();
    (0..n_items).find_map(|_| {
        let ended = traffic.call(habit);
        ended.tell(&mut guard, NEW, Arm::Live, traffic.now())
    })
}

/// Items of one rollout that goes well.
const N_ITEMS: u64 = 2_000;

const SHARES: [f64; 5] = [0.02, 0.1, 0.3, 0.5, 0.9];

/// How many of 1,000 canaries that are the live revision again are aborted.
fn false_aborts(seed: u64, weather: Weather, settings: GuardSettings) -> Vec<Breach> {
    let canaries = 0..1_000_u64;
    let aborted = canaries.filter_map(|nth| {
        let share = SHARES[nth as usize % SHARES.len()];
        canary(seed * 1_000 + nth, weather, settings, share, &GOOD, N_ITEMS)
    });
    aborted.collect()
}

#[test]
fn of_1000_canaries_that_are_no_worse_at_most_10_are_aborted() {
    for (seed, weather) in [
        (1, Weather::Calm),
        (2, Weather::Stormy),
        (3, Weather::Stormy),
    ] {
        let aborted = false_aborts(seed, weather, GuardSettings::default());
        println!(
            "{weather:?}, seed {seed}: {} of 1,000 aborted",
            aborted.len()
        );
        assert!(aborted.len() <= 10, "{aborted:?}");
    }
}

/// Nothing is borne beyond what the live revision does.
fn nothing_borne() -> GuardSettings {
    GuardSettings {
        fault_rate: 0.001,
        deadline_rate: 0.0005,
        failure_odds: 1.0,
        slowdown: 1.0,
        verdict_odds: 1.0,
        score_psi: 1e-9,
        ..GuardSettings::default()
    }
}

/// Nothing is borne beyond what the live revision does, so that no slack hides a test that
/// looks too often.
#[test]
fn the_chance_of_a_false_abort_holds_where_nothing_is_borne_either() {
    for (seed, weather) in [(4, Weather::Calm), (5, Weather::Stormy)] {
        let aborted = false_aborts(seed, weather, nothing_borne());
        println!(
            "nothing borne, {weather:?}: {} of 1,000 aborted",
            aborted.len()
        );
        assert!(aborted.len() <= 10, "{aborted:?}");
    }
}

/// The same rollouts, had the guard been told that every second one may be aborted: they
/// can be aborted at all.
#[test]
fn a_guard_that_may_abort_every_second_rollout_aborts_some() {
    let settings = GuardSettings {
        false_abort: 0.5,
        ..nothing_borne()
    };
    let aborted = false_aborts(4, Weather::Calm, settings);
    println!(
        "nothing borne, half may be aborted: {} of 1,000 aborted",
        aborted.len()
    );
    assert!((20..=500).contains(&aborted.len()), "{}", aborted.len());
}

#[test]
fn a_canary_that_fails_as_often_as_the_live_revision_is_borne() {
    let failing = Habit {
        traps: 0.03,
        misses: 0.02,
        ..GOOD
    };
    let aborted: Vec<Breach> = (0..300)
        .filter_map(|seed| {
            let mut traffic = Traffic::new(8_000_000 + seed, Weather::Stormy);
            let mut guard = Guard::beside(GuardSettings::default(), NEW, LIVE, watched()).unwrap();
            (0..N_ITEMS).find_map(|_| {
                let is_canary = traffic.chance(SHARES[seed as usize % SHARES.len()]);
                let (revision, arm) = if is_canary {
                    (NEW, Arm::Canary)
                } else {
                    (LIVE, Arm::Live)
                };
                traffic
                    .call(&failing)
                    .tell(&mut guard, revision, arm, traffic.now())
            })
        })
        .collect();
    println!("both arms fail alike: {} of 300 aborted", aborted.len());
    assert!(aborted.len() <= 3, "{aborted:?}");
}

#[test]
fn of_1000_fresh_live_revisions_that_are_no_worse_at_most_10_are_rolled_back() {
    for (seed, weather, n_before) in [
        (6_000_000_u64, Weather::Calm, 300),
        (7_000_000, Weather::Stormy, 2_000),
    ] {
        let fresh = |nth| fresh_live(seed + nth, weather, n_before, &GOOD, N_ITEMS);
        let rolled_back: Vec<Breach> = (0..1_000).filter_map(fresh).collect();
        println!(
            "{weather:?}, after {n_before} calls: {} of 1,000 rolled back",
            rolled_back.len()
        );
        assert!(rolled_back.len() <= 10, "{rolled_back:?}");
    }
}

/// The calls of the revision until a bound was passed, in rising order; everyone is found,
/// and by the bound that is meant.
fn delays(name: &str, bound: &str, within: u64, mut rollout: impl FnMut(u64) -> Option<Breach>) {
    let found = |seed| {
        let breach = rollout(seed).unwrap_or_else(|| panic!("{name}, seed {seed}: not found"));
        assert_eq!(breach.bound.name(), bound, "{name}, seed {seed}: {breach}");
        breach.n_candidate
    };
    let mut delays: Vec<u64> = (0..100).map(found).collect();
    delays.sort_unstable();
    println!(
        "{name}: median {}, 95 of 100 within {}, all within {}",
        delays[50], delays[94], delays[99]
    );
    assert!(delays[99] <= within, "{name}: {delays:?}");
}

const TRAPS: Habit = Habit {
    traps: 0.05,
    ..GOOD
};
const SLOW: Habit = Habit {
    slower: 10.0,
    ..GOOD
};
const BLOCKS: Habit = Habit {
    always: Some(Action::Block),
    ..GOOD
};
const ALLOWS: Habit = Habit {
    always: Some(Action::Allow),
    ..GOOD
};
const HANGS: Habit = Habit { hangs: 0.3, ..GOOD };
const SPINS: Habit = Habit {
    misses: 0.05,
    ..GOOD
};
const DRIFTS: Habit = Habit { shift: 1.5, ..GOOD };

#[test]
fn a_canary_that_is_worse_is_found_soon() {
    let canary_of = |habit: Habit, share| {
        move |seed| {
            canary(
                seed,
                Weather::Stormy,
                GuardSettings::default(),
                share,
                &habit,
                200_000,
            )
        }
    };
    for share in [0.05, 0.5] {
        let delays = |name: &str, bound, within: [u64; 2], habit| {
            let within = within[usize::from(share > 0.1)];
            let name = format!("{name}, share {share}");
            delays(&name, bound, within, canary_of(habit, share));
        };
        delays("traps on 5 % of items", "faults", [500, 1_200], TRAPS);
        delays(
            "spins on 5 % of items",
            "deadline-misses",
            [500, 1_200],
            SPINS,
        );
        delays("ten times slower", "latency", [20, 60], SLOW);
        delays("30 % ten times slower", "latency", [300, 600], HANGS);
        delays("blocks everything", "verdicts", [20, 60], BLOCKS);
        delays("allows everything", "verdicts", [1_000, 2_000], ALLOWS);
    }
}

#[test]
fn a_fresh_live_revision_that_is_worse_is_found_soon() {
    // What load does to the baseline and to the revision, hours apart, is not told from
    // what the revision does: slowness hides in it, or shows at once.
    for (weather, slow) in [(Weather::Calm, 60), (Weather::Stormy, 8_000)] {
        let fresh = |habit: Habit| move |seed| fresh_live(seed, weather, 5_000, &habit, 20_000);
        let delays = |name: &str, bound, within, habit| {
            let name = format!("fresh, {weather:?}, {name}");
            delays(&name, bound, within, fresh(habit));
        };
        delays("traps on 5 % of items", "faults", 900, TRAPS);
        delays("ten times slower", "latency", slow, SLOW);
        delays("blocks everything", "verdicts", 100, BLOCKS);
    }
}

#[test]
fn a_fresh_live_revision_that_is_worse_than_its_control_is_found() {
    let beside = |habit: Habit| {
        move |seed| {
            canary(
                seed,
                Weather::Stormy,
                GuardSettings::default(),
                0.95,
                &habit,
                200_000,
            )
        }
    };
    delays(
        "control of 5 %, traps on 5 % of items",
        "faults",
        9_000,
        beside(TRAPS),
    );
    delays(
        "control of 5 %, ten times slower",
        "latency",
        500,
        beside(SLOW),
    );
    delays(
        "control of 5 %, blocks everything",
        "verdicts",
        500,
        beside(BLOCKS),
    );
}

#[test]
fn probabilities_that_are_spread_otherwise_are_found_though_verdicts_are_not() {
    // Verdicts are borne whatever they are.
    let settings = GuardSettings {
        verdict_odds: 100.0,
        ..GuardSettings::default()
    };
    let found = |seed| canary(seed, Weather::Stormy, settings, 0.1, &DRIFTS, 100_000);
    delays("log-odds shifted by 1.5", "score-drift", 3_000, found);
}

#[test]
fn nobody_but_the_guest_is_blamed() {
    // Host and caller fail every second call of the canary and none of the live one.
    use trommel::blame::Blame;
    use trommel::rollout::guard::{Observation, Outcome};
    let mut traffic = Traffic::new(1, Weather::Calm);
    let mut guard = Guard::beside(GuardSettings::default(), NEW, LIVE, watched()).unwrap();
    for nth in 0..20_000_u64 {
        let blame = if nth % 4 == 0 {
            Blame::Host
        } else {
            Blame::Caller
        };
        let failed = Outcome::Failed {
            blame,
            missed_deadline: nth % 3 == 0,
        };
        let failed = Observation {
            revision: NEW,
            arm: Arm::Canary,
            outcome: failed,
        };
        if nth % 2 == 0 {
            assert_eq!(guard.observe(&failed, traffic.now()), None);
        } else {
            let (revision, arm) = if traffic.chance(0.5) {
                (NEW, Arm::Canary)
            } else {
                (LIVE, Arm::Live)
            };
            assert_eq!(
                traffic
                    .call(&GOOD)
                    .tell(&mut guard, revision, arm, traffic.now()),
                None
            );
        }
    }
    let (own, other, of_others) = guard.n_calls();
    assert!(own > 4_000 && other > 4_000 && of_others >= 10_000);
}

#[test]
fn a_breach_is_told_once_with_its_numbers() {
    let mut traffic = Traffic::new(9, Weather::Calm);
    let mut guard = Guard::beside(GuardSettings::default(), NEW, LIVE, watched()).unwrap();
    let mut breaches = Vec::new();
    for _ in 0..20_000 {
        let is_canary = traffic.chance(0.2);
        let (revision, arm, habit) = if is_canary {
            (NEW, Arm::Canary, &TRAPS)
        } else {
            (LIVE, Arm::Live, &GOOD)
        };
        breaches.extend(
            traffic
                .call(habit)
                .tell(&mut guard, revision, arm, traffic.now()),
        );
    }
    let [breach] = &breaches[..] else {
        panic!("{breaches:?}")
    };
    let Bound::Faults(rates) = &breach.bound else {
        panic!("{breach}")
    };
    assert!(
        rates.candidate > 0.02 && rates.other.unwrap() < 0.01,
        "{breach}"
    );
    assert!(breach.n_other > breach.n_candidate && !breach.after.is_zero());
    let said = breach.to_string();
    assert!(
        said.starts_with("faults: ") && said.contains("; 0.50 % is borne; seen after"),
        "{said}"
    );
    assert_eq!(guard.breach(), Some(breach));
    assert_eq!(guard.standing(traffic.now()), Standing::Breached);
}

#[test]
fn pinned_calls_and_other_revisions_are_passed_over() {
    let mut traffic = Traffic::new(9, Weather::Calm);
    let mut guard = Guard::beside(GuardSettings::default(), NEW, LIVE, watched()).unwrap();
    let third = trommel::revision::RevisionId::new([3; 32]);
    for _ in 0..500 {
        let now = traffic.now();
        traffic.call(&TRAPS).tell(&mut guard, NEW, Arm::Pinned, now);
        traffic
            .call(&TRAPS)
            .tell(&mut guard, third, Arm::Canary, now);
    }
    assert_eq!(guard.n_calls(), (0, 0, 0));
}

#[test]
fn a_fresh_live_revision_is_settled_after_calls_and_time() {
    let settings = GuardSettings {
        bake_calls: 100,
        bake_ms: 10_000,
        ..GuardSettings::default()
    };
    let mut traffic = Traffic::new(3, Weather::Calm);
    let baseline = Baseline::new(watched());
    let mut guard = Guard::after(settings, NEW, baseline).unwrap();
    let mut settled_at = None;
    for nth in 1..=1_000 {
        traffic
            .call(&GOOD)
            .tell(&mut guard, NEW, Arm::Live, traffic.now());
        if guard.standing(traffic.now()) == Standing::Settled {
            settled_at.get_or_insert(nth);
        }
    }
    // Ten seconds are 500 calls of this traffic, after the first.
    let settled_at = settled_at.expect("it settles");
    assert!((490..=530).contains(&settled_at), "{settled_at}");
}

#[test]
fn a_guard_that_was_kept_goes_on_as_if_it_had_not_been() {
    let settings = GuardSettings::default();
    let mut traffic = Traffic::new(5, Weather::Stormy);
    let mut guard = Guard::beside(settings, NEW, LIVE, watched()).unwrap();
    let mut kept = guard.clone();
    for nth in 0..4_000 {
        let is_canary = traffic.chance(0.3);
        let (revision, arm) = if is_canary {
            (NEW, Arm::Canary)
        } else {
            (LIVE, Arm::Live)
        };
        let ended = traffic.call(if is_canary { &SLOW } else { &GOOD });
        let breach = ended.tell(&mut guard, revision, arm, traffic.now());
        if nth % 37 == 0 {
            kept = Guard::from_json(&serde_json::to_string(&kept).unwrap()).unwrap();
        }
        let kept_breach = ended.tell(&mut kept, revision, arm, traffic.now());
        assert_eq!(breach.is_some(), kept_breach.is_some(), "after {nth} calls");
        if breach.is_some() {
            let json = serde_json::to_string(&guard).unwrap();
            assert!(json.len() < 64 << 10, "{} bytes of state", json.len());
            return;
        }
    }
    panic!("a slow canary is found");
}

#[test]
fn a_guards_state_that_contradicts_itself_is_refused() {
    let guard = Guard::beside(GuardSettings::default(), NEW, LIVE, watched()).unwrap();
    let json = serde_json::to_string(&guard).unwrap();
    Guard::from_json(&json).unwrap();
    for (from, to) in [
        ("\"slowdown\":1.5", "\"slowdown\":-1.5"),
        ("\"actions\":[0,0,0,0,0]", "\"actions\":[0,0,0,0,-1]"),
        ("\"n_faults\":0", "\"n_faults\":9"),
        ("\"edges\":[100000000,", "\"edges\":["),
        ("\"latencies\":[0,", "\"latencies\":["),
    ] {
        let wrong = json.replacen(from, to, 1);
        assert_ne!(wrong, json, "{from} is not there");
        let error = Guard::from_json(&wrong).unwrap_err().to_string();
        assert!(error.ends_with("begin with a new guard"), "{error}");
    }
}

#[test]
fn a_setting_that_cannot_be_meant_makes_no_guard() {
    let settings = GuardSettings {
        slowdown: 0.0,
        ..GuardSettings::default()
    };
    let error = Guard::beside(settings, NEW, LIVE, watched())
        .unwrap_err()
        .to_string();
    assert_eq!(error, "guard setting `slowdown` is 0; give from 1 to 100");
}
