//! Targets of a policy: cuts that each calibrator's counts make, and that outlive a model.

use std::fmt::Write as _;

use proptest::prelude::*;
use trommel::calibrator::Calibrator;
use trommel::item::Attributes;
use trommel::policy::{Action, Facts, Policy, PolicyError};
use trommel::revision::RevisionId;
use trommel::signal::{CalibratorVersion, DetectorId, Label, Probability, Signal};

const FPR: &str = "target = \"fpr <= 0.01\"";

/// Blocks spam by this condition, on line 3.
fn policy(condition: &str) -> Policy {
    let text = format!(
        "[[rule]]\nname = \"spam\"\nwhen = {{ label = \"spam\", {condition} }}\naction = \"block\"\nreason = \"spam\"\n"
    );
    Policy::parse("p.toml", &text).unwrap()
}

/// Ten bins of scores, `scale` wide each; what lies in a bin does not depend on the scale.
fn calibrator(scale: f64, negatives: [u64; 10], positives: [u64; 10]) -> Calibrator {
    let edges: Vec<f64> = (0..=10).map(|edge| f64::from(edge) * scale).collect();
    let mut text =
        "[[calibrator]]\nlabel = \"spam\"\nkind = \"table\"\nprevalence = 0.1\n".to_owned();
    write!(
        text,
        "scores = {edges:?}\npositives = {positives:?}\nnegatives = {negatives:?}\n"
    )
    .unwrap();
    Calibrator::parse("c.toml", &text).unwrap()
}

const NEGATIVES: [u64; 10] = [5_000, 2_500, 1_250, 625, 312, 156, 87, 40, 20, 10];
const POSITIVES: [u64; 10] = [5, 10, 20, 40, 60, 90, 125, 150, 200, 300];

fn usual() -> Calibrator {
    calibrator(1.0, NEGATIVES, POSITIVES)
}

fn resolved(policy: Policy, calibrators: &[&Calibrator]) -> Result<Policy, PolicyError> {
    let id = DetectorId::from("spam-text");
    let with_id: Vec<_> = calibrators
        .iter()
        .map(|calibrator| (&id, *calibrator))
        .collect();
    policy.resolve(&with_id)
}

fn signal(probability: Probability, calibrator: CalibratorVersion) -> Signal {
    Signal {
        detector: "spam-text".into(),
        revision: RevisionId::new([0; 32]),
        label: "spam".into(),
        score: 0.0,
        probability,
        calibrator,
        evidence: Vec::new(),
    }
}

fn action(policy: &Policy, signals: &[Signal]) -> Action {
    let facts = Facts {
        attributes: &Attributes::new(),
        signals,
        ..Facts::default()
    };
    policy.decide(&facts).action
}

/// What becomes of an item that a calibrator's model gives this score.
fn judged(policy: &Policy, calibrator: &Calibrator, score: f32) -> Action {
    let (probability, version) = calibrator.probability(&Label::from("spam"), score).unwrap();
    action(policy, &[signal(probability, version)])
}

/// From score 7 on there are 70 of 10,000 negatives, from 6 on 157.
#[test]
fn a_target_blocks_from_the_mildest_cut_that_keeps_it() {
    let calibrator = usual();
    let policy = resolved(policy(FPR), &[&calibrator]).unwrap();
    for (score, expected) in [
        (7.0_f32.next_down(), Action::Allow),
        (7.0, Action::Block),
        (100.0, Action::Block),
        (-100.0, Action::Allow),
    ] {
        assert_eq!(judged(&policy, &calibrator, score), expected, "{score}");
    }
}

#[test]
fn a_target_means_the_same_for_another_model_that_answers_beside() {
    let (old, new) = (usual(), calibrator(250.0, NEGATIVES, POSITIVES));
    // Loaded one after the other, as a rollout does; the first one's cut stays.
    let policy = resolved(policy(FPR), &[&old]).unwrap();
    let policy = resolved(policy, &[&new]).unwrap();
    for (calibrator, edge) in [(&old, 7.0_f32), (&new, 1_750.0)] {
        assert_eq!(judged(&policy, calibrator, edge), Action::Block);
        assert_eq!(judged(&policy, calibrator, edge.next_down()), Action::Allow);
    }
}

#[test]
fn a_target_that_the_counts_cannot_bear_out_is_refused_with_the_best_that_they_can() {
    let few = calibrator(1.0, [50, 25, 12, 6, 3, 2, 1, 1, 0, 0], POSITIVES);
    let error = resolved(policy(FPR), &[&few]).unwrap_err().to_string();
    // None of 100: at worst 1 - 0.05^(1/100).
    assert_eq!(
        error,
        "p.toml:3: `spam` of detector `spam-text`: no cut keeps it: with 95 % confidence the best is fpr <= 0.0295, from 1000 positives and 100 negatives; ask for less, or calibrate with more rows"
    );
    let precision = "target = \"precision >= 0.9\", prevalence = 0.001";
    let error = resolved(policy(precision), &[&usual()])
        .unwrap_err()
        .to_string();
    assert!(error.starts_with("p.toml:3: `spam` of detector `spam-text`: no cut keeps it"));
    assert!(error.contains("the best is precision >= 0."), "{error}");
    resolved(
        policy("target = \"precision >= 0.9\", prevalence = 0.5"),
        &[&usual()],
    )
    .unwrap();
}

#[test]
fn a_label_without_counts_cannot_have_a_target() {
    let text = "[[calibrator]]\nlabel = \"spam\"\nkind = \"logistic\"\nslope = 1\nintercept = 0\n";
    let logistic = Calibrator::parse("c.toml", text).unwrap();
    let error = resolved(policy(FPR), &[&logistic]).unwrap_err().to_string();
    assert_eq!(
        error,
        "p.toml:3: `spam` of detector `spam-text` has no table of counts, which a target needs; write a `threshold`, or calibrate it with a table"
    );
    // A threshold asks for none.
    resolved(policy("threshold = 0.5"), &[&logistic]).unwrap();
}

#[test]
fn a_signal_that_no_cut_was_made_for_is_not_let_through() {
    let policy = resolved(policy(FPR), &[&usual()]).unwrap();
    let stranger = CalibratorVersion::of_digest([9; 32]);
    let nothing = Probability::new(0.0).unwrap();
    assert_eq!(action(&policy, &[signal(nothing, stranger)]), Action::Block);
    assert_eq!(action(&policy, &[]), Action::Allow);
}

#[test]
fn the_bundled_detectors_can_keep_a_target() {
    let text = "[[rule]]\nname = \"spam\"\nwhen = { label = \"spam\", target = \"fpr <= 0.05\" }\naction = \"block\"\nreason = \"spam\"\n";
    let build = |text: &str| {
        let policy = Policy::parse("p.toml", text).unwrap();
        trommel::Host::builder()
            .bundled_detectors()
            .policy(policy)
            .build()
    };
    build(text).unwrap();
    let error = build(&text.replace("0.05", "0.0000001"))
        .unwrap_err()
        .to_string();
    assert!(
        error.contains("p.toml:3: `spam` of detector `spam-text`: no cut keeps it"),
        "{error}"
    );
}

proptest! {
    #[test]
    fn raising_a_probability_never_softens_a_target(
        negatives in prop::array::uniform10(0_u64..5_000),
        positives in prop::array::uniform10(0_u64..5_000),
        percent in 1_u32..100,
        precision in any::<bool>(),
        probabilities in (0.0..=1.0_f64, 0.0..=1.0_f64),
    ) {
        prop_assume!(negatives.iter().any(|n| *n > 0) && positives.iter().any(|n| *n > 0));
        let calibrator = calibrator(1.0, negatives, positives);
        let rate = f64::from(percent) / 100.0;
        let target = match precision {
            true => format!("target = \"precision >= {rate}\", prevalence = 0.3"),
            false => format!("target = \"fpr <= {rate}\""),
        };
        if let Ok(policy) = resolved(policy(&target), &[&calibrator]) {
            let version = calibrator.version(&Label::from("spam")).unwrap();
            let judged = |probability| {
                action(&policy, &[signal(Probability::new(probability).unwrap(), version)])
            };
            let (low, high) = (probabilities.0.min(probabilities.1), probabilities.0.max(probabilities.1));
            prop_assert!(judged(high) >= judged(low));
            // What was counted keeps the target: bins lie on one side of the cut each.
            let blocked = |bin: usize| judged_score(&policy, &calibrator, bin) == Action::Block;
            let above = |counts: [u64; 10]| (0..10).filter(|bin| blocked(*bin)).map(|bin| counts[bin]).sum::<u64>() as f64;
            let fpr = above(negatives) / negatives.iter().sum::<u64>() as f64;
            let found = above(positives) / positives.iter().sum::<u64>() as f64;
            if precision {
                prop_assert!(0.3 * found / (0.3 * found + 0.7 * fpr) >= rate);
            } else {
                prop_assert!(fpr <= rate);
            }
        }
    }
}

/// What becomes of the lowest score of a bin.
fn judged_score(policy: &Policy, calibrator: &Calibrator, bin: usize) -> Action {
    judged(policy, calibrator, bin as f32)
}
