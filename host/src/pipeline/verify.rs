//! Golden cases: what a revision must answer before it takes traffic.

use std::sync::Arc;
use std::time::{Duration, Instant};

use super::Host;
use super::serving::Revision;
use crate::engine::{Blame, Detector, Engine, Findings, RawSignal, now};
use crate::item::{Item, PartKind};
use crate::registry::{Golden, GoldenCase, Loaded};

impl Host {
    /// Runs the golden cases of every revision that is ready and names those that fail. A
    /// host that takes traffic should have seen this pass.
    pub async fn verify(&self) -> Result<(), Vec<String>> {
        let mut failed = Vec::new();
        let serving = self.serving.load_full();
        let revisions: Vec<&Arc<Revision>> = serving.revisions().collect();
        for revision in revisions {
            failed.extend(self.golden_failures(&revision.loaded).await);
        }
        if failed.is_empty() {
            Ok(())
        } else {
            Err(failed)
        }
    }

    /// The golden cases that a revision does not answer as its manifest says.
    pub(super) async fn golden_failures(&self, loaded: &Loaded) -> Vec<String> {
        let (mut failed, mut n_spare) = (Vec::new(), SPARE_ATTEMPTS);
        for case in &loaded.golden {
            if let Err(wrong) = self.golden(loaded, case, &mut n_spare).await {
                failed.push(format!(
                    "golden case `{}` of detector `{}`, label `{}`: {wrong}",
                    case.golden.name,
                    loaded.detector.id(),
                    case.golden.label
                ));
            }
        }
        failed
    }

    async fn golden(
        &self,
        loaded: &Loaded,
        case: &GoldenCase,
        n_spare: &mut usize,
    ) -> Result<(), String> {
        let (detector, time) = (&loaded.detector, self.deadline);
        let found = in_the_end(&self.engine, detector, &case.item, time, n_spare).await;
        let signals = found.map_err(|fault| fault.why)?.signals;
        judged(&case.golden, &signals)
    }
}

/// Why there is nothing to judge a golden case by.
pub(super) struct NoOutcome {
    pub(super) why: String,
    /// Whether another time may go better.
    is_hosts: bool,
}

/// How often golden cases of a revision are shown again, all of them together, where the host
/// let one not pass: a device may first have to make itself ready for its sizes, which takes
/// longer than a call has. A plugin that is always late does not hold up a load for longer.
pub(super) const SPARE_ATTEMPTS: usize = 16;

/// What a detector finds in a golden case, each time within `time`: the first outcome that is
/// not the host's failure, or the last that is, when none of `n_spare` is left.
pub(super) async fn in_the_end(
    engine: &Engine,
    detector: &Detector,
    item: &Arc<Item>,
    time: Duration,
    n_spare: &mut usize,
) -> Result<Findings, NoOutcome> {
    loop {
        match outcome(engine, detector, item, now() + time).await {
            Err(NoOutcome { is_hosts: true, .. }) if *n_spare > 0 => *n_spare -= 1,
            outcome => return outcome,
        }
    }
}

async fn outcome(
    engine: &Engine,
    detector: &Detector,
    item: &Arc<Item>,
    by: Instant,
) -> Result<Findings, NoOutcome> {
    let exhibit = match detector.reads().contains(&PartKind::Image) {
        true => engine.exhibit(item, by).await,
        false => Ok(engine.exhibit_unopened(item)),
    };
    let exhibit = exhibit.map_err(|error| NoOutcome {
        why: error.to_string(),
        is_hosts: false,
    })?;
    let call = engine.detect(detector, &Arc::new(exhibit), by).await;
    call.outcome.map_err(|fault| NoOutcome {
        why: fault.to_string(),
        is_hosts: fault.blame() == Blame::Host,
    })
}

/// Whether the label of a golden case scores as it must.
pub(super) fn judged(golden: &Golden, signals: &[RawSignal]) -> Result<(), String> {
    let of_label = |signal: &&RawSignal| signal.label.as_str() == golden.label;
    let score = signals.iter().find(of_label);
    let score = score.ok_or("gets no score")?.score;
    if golden.at_least.is_some_and(|least| score < least) {
        return Err(format!("scores {score}, less than it must"));
    }
    if golden.at_most.is_some_and(|most| score > most) {
        return Err(format!("scores {score}, more than it may"));
    }
    Ok(())
}
