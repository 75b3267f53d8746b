//! Judgements made by hand, for the tests of those who use records.

use super::*;
use crate::pipeline::{Lineup, Timings};
use crate::policy::Verdict;

/// A judgement whose one rule, and its label, are called after the action.
pub(in crate::record) fn judged(item: &Item, action: Action) -> Judgement {
    let rule = FiredRule {
        name: action.to_string(),
        reason: action.to_string(),
        action,
        text: None,
        labels: vec![action.as_str().into()],
    };
    let rules = (action != Action::Allow).then_some(rule);
    Judgement {
        id: item.id.clone(),
        verdict: Verdict::from_iter(rules),
        policy: PolicyDigest::of_text("rules"),
        generation: 1,
        calls: Vec::new(),
        signals: Vec::new(),
        killed: Vec::new(),
        lists: Vec::new(),
        degraded: Vec::new(),
        unjudged: Vec::new(),
        lineup: Lineup(BTreeMap::new()),
        timings: Timings {
            total: Duration::ZERO,
            detectors: BTreeMap::new(),
            decode: Duration::ZERO,
            preprocess: Duration::ZERO,
            model: Duration::ZERO,
        },
    }
}

/// The record of it.
pub(in crate::record) fn recorded(
    item: &Item,
    action: Action,
    settings: &RecordSettings,
) -> Record {
    let origin = Origin {
        host: "0.0.0".to_owned(),
        device: "cpu".to_owned(),
    };
    let at = (Share::WHOLE, Moment::default());
    Record::of(item, &judged(item, action), &origin, settings, at)
}
