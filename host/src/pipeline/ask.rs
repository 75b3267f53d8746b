//! Asking detectors about one item: quarantine before each call, and the live revision
//! after a canary that failed.

use std::sync::Arc;
use std::time::{Duration, Instant};

use tracing::Instrument as _;

use super::serving::{Ask, Revision, locked, moment};
use crate::engine::{Blame, Call, Engine, Exhibit, Fault, now};
use crate::rollout::Arm;
use crate::rollout::quarantine::{Admission, Ended, QuarantineChange};
use crate::spans;

/// One call, or why there was none.
#[derive(Debug)]
pub(super) struct Asked {
    pub(super) revision: Arc<Revision>,
    pub(super) arm: Arm,
    /// Whether it stepped in for a canary.
    pub(super) stepped_in: bool,
    pub(super) answer: Answer,
    /// A change that the call made to its revision's quarantine.
    pub(super) change: Option<QuarantineChange>,
}

#[derive(Debug)]
pub(super) enum Answer {
    Called(Box<Call>),
    /// Not called: the revision is left alone for so long.
    LeftAlone(Duration),
}

impl Asked {
    /// How it ended, in a word.
    fn outcome(&self) -> &'static str {
        match &self.answer {
            Answer::Called(call) => match &call.outcome {
                Ok(_) => "answered",
                Err(fault) => fault.blame().as_str(),
            },
            Answer::LeftAlone(_) => "left alone",
        }
    }

    /// Whether another revision could do better: the caller's mistakes stay what they are.
    fn may_fall_back(&self) -> bool {
        match &self.answer {
            Answer::Called(call) => match &call.outcome {
                Ok(_) => false,
                Err(fault) => fault.blame() != Blame::Caller,
            },
            Answer::LeftAlone(_) => true,
        }
    }
}

/// Asks one detector. What answers, or failed last, comes last.
pub(super) async fn ask(
    engine: &Engine,
    ask: &Ask<'_>,
    exhibit: &Arc<Exhibit>,
    by: Instant,
) -> Vec<Asked> {
    let Some(fallback) = ask.fallback else {
        return vec![traced(engine, ask.revision, (ask.arm, false), exhibit, by).await];
    };
    // Half of the time is kept for the live revision: whatever the canary does, there is
    // an answer.
    let start = now();
    let half = start + by.saturating_duration_since(start) / 2;
    let canary = traced(engine, ask.revision, (ask.arm, false), exhibit, half).await;
    if !canary.may_fall_back() {
        return vec![canary];
    }
    let stepped_in = traced(engine, fallback, (Arm::Live, true), exhibit, by).await;
    vec![canary, stepped_in]
}

/// One call for an item that is answered, in a span of its own.
async fn traced(
    engine: &Engine,
    revision: &Arc<Revision>,
    (arm, stepped_in): (Arm, bool),
    exhibit: &Arc<Exhibit>,
    by: Instant,
) -> Asked {
    let detector = &revision.loaded.detector;
    let span = spans::detect(detector.id(), detector.revision(), arm.as_str(), stepped_in);
    let calling = call(engine, revision, arm, exhibit, by);
    let asked = calling.instrument(span.clone()).await;
    spans::detected(&span, asked.outcome());
    Asked {
        stepped_in,
        ..asked
    }
}

/// One call of a revision, unless it is left alone.
pub(super) async fn call(
    engine: &Engine,
    revision: &Arc<Revision>,
    arm: Arm,
    exhibit: &Arc<Exhibit>,
    by: Instant,
) -> Asked {
    let before = moment();
    let admission = locked(&revision.quarantine).admit(before);
    let asked = |answer, change| Asked {
        revision: revision.clone(),
        arm,
        stepped_in: false,
        answer,
        change,
    };
    if let Admission::Refused { until } = admission {
        return asked(Answer::LeftAlone(until.since(before)), None);
    }
    let call = engine.detect(&revision.loaded.detector, exhibit, by).await;
    let ended = match &call.outcome {
        Ok(_) => Ended::Answered,
        Err(fault) => Ended::Failed(fault.blame()),
    };
    let change = locked(&revision.quarantine).record(admission, ended, moment());
    asked(Answer::Called(Box::new(call)), change)
}

/// Whether the guest was still at it when its time was up.
pub(super) fn missed_deadline(fault: &Fault) -> bool {
    matches!(fault, Fault::Spun { .. } | Fault::RanOn { .. })
}
