//! What is kept of a detector's calls: guards over its new revisions, what the live one
//! was like, and how its shadows compare.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use super::serving::locked;
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
    shadows: BTreeMap<RevisionId, Arc<Mutex<Shadowed>>>,
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

/// A revision that is watched beside another.
#[derive(Debug, Clone, Copy)]
struct Pair {
    candidate: RevisionId,
    other: RevisionId,
    share: Share,
}

/// Whom to watch beside whom while `stages` hold.
fn pairs(stages: &DetectorLineup, live: Option<RevisionId>) -> Vec<Pair> {
    let Some(live) = live else { return Vec::new() };
    let pair = |(canary, share, _)| {
        // One that was live before stands beside the new one as its control.
        let is_control = stages.previous() == Some(canary);
        let (candidate, other) = match is_control {
            true => (live, canary),
            false => (canary, live),
        };
        Pair {
            candidate,
            other,
            share,
        }
    };
    let canaries = stages.canaries().filter(|(canary, ..)| *canary != live);
    canaries.map(pair).collect()
}

impl Guarded {
    fn beside(settings: GuardSettings, pair: Pair, watched: Vec<Watched>) -> Option<Self> {
        let guard = Guard::beside(settings, pair.candidate, pair.other, watched).ok()?;
        Some(Self {
            guard,
            other: Some(pair.other),
            share: pair.share,
        })
    }

    fn after(settings: GuardSettings, live: RevisionId, baseline: Baseline) -> Option<Self> {
        let guard = Guard::after(settings, live, baseline).ok()?;
        Some(Self {
            guard,
            other: None,
            share: Share::WHOLE,
        })
    }

    /// Whether it can go on watching the pair.
    fn is(&self, pair: &Pair, is_out: impl Fn(RevisionId) -> bool) -> bool {
        self.guard.candidate() == pair.candidate
            && self.other == Some(pair.other)
            // Who was taken out is not tried again, and its breach is still told.
            && (self.guard.breach().is_none() || is_out(pair.candidate))
    }

    /// The same at another share.
    fn at(mut self, share: Share) -> Self {
        if self.share != share {
            self.guard.share_changed();
            self.share = share;
        }
        self
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
    ///
    /// Whoever answers waits for the lock, so what takes long is made before it is taken,
    /// and freed after.
    pub(super) fn follow(
        this: &Mutex<Self>,
        stages: &DetectorLineup,
        live: Option<RevisionId>,
        is_out: impl Fn(RevisionId) -> bool,
        salt: &str,
        watched: impl Fn(RevisionId) -> Vec<Watched>,
    ) {
        let pairs = pairs(stages, live);
        let watch = locked(this);
        let (settings, before) = (watch.settings, watch.live);
        let missing: Vec<Pair> = pairs
            .iter()
            .filter(|pair| !watch.guards.iter().any(|guarded| guarded.is(pair, &is_out)))
            .copied()
            .collect();
        let baseline = (live != before).then(|| watch.baseline.clone());
        drop(watch);

        let make = |pair: &Pair| Guarded::beside(settings, *pair, watched(pair.other));
        let made: Vec<Guarded> = missing.iter().filter_map(make).collect();
        // Who came back was watched when it was new.
        let is_fresh = before.is_some() && stages.previous() == before;
        let fresh = live.filter(|_| is_fresh).zip(baseline);
        let after = fresh.and_then(|(live, baseline)| Guarded::after(settings, live, baseline));
        let baseline = Baseline::new(live.map(&watched).unwrap_or_default());

        let mut watch = locked(this);
        let mut old = std::mem::take(&mut watch.guards);
        old.extend(made);
        for pair in &pairs {
            let kept = old.iter().position(|guarded| guarded.is(pair, &is_out));
            let guarded = match kept.map(|at| old.swap_remove(at)) {
                Some(guarded) => Some(guarded.at(pair.share)),
                // Out of the guards since: a call took its candidate out meanwhile.
                None => make(pair),
            };
            watch.guards.extend(guarded);
        }
        let mut gone = None;
        if live == watch.live {
            let of_baseline: Vec<Guarded> = old
                .extract_if(.., |guarded| guarded.other.is_none())
                .collect();
            watch.guards.extend(of_baseline);
        } else {
            gone = Some(std::mem::replace(&mut watch.baseline, baseline));
            watch.live = live;
            watch.guards.extend(after);
        }
        watch
            .shadows
            .retain(|shadow, _| stages.stage(*shadow) == Some(Stage::Shadow));
        for shadow in stages.shadows() {
            let new = || Arc::new(Mutex::new(Shadowed::new(salt)));
            watch.shadows.entry(shadow).or_insert_with(new);
        }
        drop(watch);
        drop((old, gone));
    }

    pub(super) fn guards(&self) -> impl Iterator<Item = &Guarded> {
        self.guards.iter()
    }

    /// A shadow's counts, while it is one. Behind a lock of their own: whoever answers waits
    /// for the watch, and need not for a thread that has no time.
    pub(super) fn shadow(&self, shadow: RevisionId) -> Option<Arc<Mutex<Shadowed>>> {
        self.shadows.get(&shadow).cloned()
    }

    pub(super) fn n_baseline_calls(&self) -> u64 {
        self.baseline.n_calls()
    }
}
