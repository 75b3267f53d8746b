//! What is kept of a detector's calls: guards over its new revisions, what the live one
//! was like, and how its shadows compare.

use std::collections::BTreeMap;

use crate::revision::RevisionId;
use crate::rollout::guard::{
    Baseline, Breach, Guard, GuardSettings, Observation, Standing, Watched,
};
use crate::rollout::shadow::Comparison;
use crate::rollout::{Arm, DetectorLineup, Moment, Share, Stage};

/// The watch over one detector.
#[derive(Debug)]
pub(super) struct Watch {
    settings: GuardSettings,
    live: Option<RevisionId>,
    /// What `live` was like since it is.
    baseline: Baseline,
    guards: Vec<Guarded>,
    shadows: BTreeMap<RevisionId, Shadowed>,
}

/// One guard, and whom it compares with; none is the baseline.
#[derive(Debug)]
pub(super) struct Guarded {
    pub(super) guard: Guard,
    pub(super) other: Option<RevisionId>,
    share: Share,
}

/// What a shadow did.
#[derive(Debug, Clone)]
pub(super) struct Shadowed {
    pub(super) comparison: Comparison,
    /// Items that it failed on by its own fault.
    pub(super) n_failed: u64,
    /// Why, the last time.
    pub(super) last_failure: Option<String>,
}

impl Shadowed {
    pub(super) fn new(salt: &str) -> Self {
        Self {
            comparison: Comparison::new(salt),
            n_failed: 0,
            last_failure: None,
        }
    }
}

impl Watch {
    /// Of a detector that nobody has called yet; `settings` must be checked.
    pub(super) fn new(settings: GuardSettings) -> Self {
        Self {
            settings,
            live: None,
            baseline: Baseline::new(Vec::new()),
            guards: Vec::new(),
            shadows: BTreeMap::new(),
        }
    }

    /// Takes one call of a drawn revision. Whoever passes a bound by it is given back,
    /// once.
    pub(super) fn observe(
        &mut self,
        observation: &Observation<'_>,
        now: Moment,
    ) -> Vec<(RevisionId, Breach)> {
        if observation.arm == Arm::Live && Some(observation.revision) == self.live {
            self.baseline.record(&observation.outcome);
        }
        let mut breaches = Vec::new();
        for guarded in &mut self.guards {
            if let Some(breach) = guarded.guard.observe(observation, now) {
                breaches.push((guarded.guard.candidate(), breach));
            }
        }
        // Traffic moves in weeks, so a baseline must not be held to for ever.
        self.guards.retain(|guarded| {
            guarded.other.is_some() || guarded.guard.standing(now) != Standing::Settled
        });
        breaches
    }

    /// Begins and ends guards and comparisons as the detector's part of a new lineup has
    /// it. `live` is who answers as the live revision on this host, and `is_out` whom it
    /// took out.
    pub(super) fn follow(
        &mut self,
        stages: &DetectorLineup,
        live: Option<RevisionId>,
        is_out: impl Fn(RevisionId) -> bool,
        salt: &str,
        watched: impl Fn(RevisionId) -> Vec<Watched>,
    ) {
        let before = self.live;
        let mut old = std::mem::take(&mut self.guards);
        let mut wanted: Vec<(RevisionId, RevisionId, Share)> = Vec::new();
        for (canary, share, _) in stages
            .canaries()
            .filter(|(canary, ..)| Some(*canary) != live)
        {
            let Some(live) = live else { continue };
            // One that was live before stands beside the new one as its control.
            let is_control = stages.previous() == Some(canary);
            wanted.push(match is_control {
                true => (live, canary, share),
                false => (canary, live, share),
            });
        }
        for (candidate, other, share) in wanted {
            let same = |guarded: &Guarded| {
                guarded.guard.candidate() == candidate
                    && guarded.other == Some(other)
                    // Who was taken out is not tried again, and its breach is still told.
                    && (guarded.guard.breach().is_none() || is_out(candidate))
            };
            let kept = old.iter().position(same).map(|at| old.swap_remove(at));
            let guarded = match kept {
                Some(mut guarded) => {
                    if guarded.share != share {
                        guarded.guard.share_changed();
                        guarded.share = share;
                    }
                    Some(guarded)
                }
                None => Guard::beside(self.settings, candidate, other, watched(other))
                    .ok()
                    .map(|guard| Guarded {
                        guard,
                        other: Some(other),
                        share,
                    }),
            };
            self.guards.extend(guarded);
        }
        if live == before {
            let of_baseline = |guarded: &Guarded| guarded.other.is_none();
            self.guards.extend(old.into_iter().filter(of_baseline));
        } else {
            let fresh = Baseline::new(live.map(&watched).unwrap_or_default());
            let baseline = std::mem::replace(&mut self.baseline, fresh);
            self.live = live;
            // Who came back was watched when it was new.
            let is_fresh = before.is_some() && stages.previous() == before;
            if let Some(live) = live.filter(|_| is_fresh)
                && let Ok(guard) = Guard::after(self.settings, live, baseline)
            {
                self.guards.push(Guarded {
                    guard,
                    other: None,
                    share: Share::WHOLE,
                });
            }
        }
        self.shadows
            .retain(|shadow, _| stages.stage(*shadow) == Some(Stage::Shadow));
        for shadow in stages.shadows() {
            self.shadows
                .entry(shadow)
                .or_insert_with(|| Shadowed::new(salt));
        }
    }

    pub(super) fn guards(&self) -> impl Iterator<Item = &Guarded> {
        self.guards.iter()
    }

    /// A shadow's counts, while it is one.
    pub(super) fn shadow(&mut self, shadow: RevisionId) -> Option<&mut Shadowed> {
        self.shadows.get_mut(&shadow)
    }

    pub(super) fn n_baseline_calls(&self) -> u64 {
        self.baseline.n_calls()
    }
}
