//! A lineup comes into effect: decided, on disk, swapped in, and told to the watches.
//!
//! All of it blocks, and none of it needs the host itself: it runs on a thread that gives
//! way to whoever answers, and to its end even when nobody waits for it any more. What is
//! on disk and what answers would part otherwise.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex};

use arc_swap::ArcSwap;

use super::keeper::Keeper;
use super::serving::{Revision, Serves, Serving, locked};
use super::steps::StepError;
use super::transitions::Transitions;
use super::watch::Watch;
use crate::policy::Policy;
use crate::revision::RevisionId;
use crate::rollout::guard::{Breach, GuardSettings, Watched};
use crate::rollout::journal::{Cause, Event};
use crate::rollout::{Effect, Lineup, Transition, Verb};
use crate::signal::DetectorId;

/// What a step works on. Whoever calls [`Swap::take`] or [`Swap::adopt`] sees to it that
/// nobody else does meanwhile.
#[derive(Debug, Clone)]
pub(super) struct Swap {
    pub(super) serving: Arc<ArcSwap<Serving>>,
    pub(super) keeper: Arc<Keeper>,
    pub(super) guard: GuardSettings,
    pub(super) transitions: Arc<Mutex<Transitions>>,
    /// Held while watches are told, so that the newest snapshot is told last.
    pub(super) following: Arc<Mutex<()>>,
}

/// What a step changes beside the lineup.
#[derive(Debug, Default)]
pub(super) struct Beside {
    pub(super) revision: Option<Arc<Revision>>,
    pub(super) policy: Option<Arc<Policy>>,
}

impl Swap {
    /// Takes a verb's step.
    pub(super) fn take(&self, verb: Verb, beside: Beside) -> Result<Transition, StepError> {
        let (next, transition) = verb.apply(&self.serving.load().lineup)?;
        let cause = Cause::Verb {
            step: verb,
            transition: transition.clone(),
        };
        self.adopt(next, cause, beside)?;
        Ok(transition)
    }

    /// Commits `next` and swaps to it.
    pub(super) fn adopt(
        &self,
        next: Lineup,
        cause: Cause,
        beside: Beside,
    ) -> Result<(), StepError> {
        let before = self.serving.load_full();
        let is_whole = cause.is_whole();
        let (verb, by) = Transitions::of(&cause);
        let next = Arc::new(next);
        let mut serving = self.standing(&before, &next, beside.revision.as_ref())?;
        if let Some(policy) = beside.policy {
            serving.policy = policy;
            serving.is_policy_given = true;
        } else {
            if serving.is_policy_given {
                serving.check_names(&serving.policy)?;
            }
            let policy = Policy::clone(&serving.policy);
            serving.policy = Arc::new(policy.resolve(&serving.calibrators())?);
        }
        if let Some(shadow) = &serving.policy_shadow {
            let shadow = Policy::clone(shadow);
            serving.policy_shadow = Some(Arc::new(shadow.resolve(&serving.calibrators())?));
        }
        let what = format!("{cause:?}");
        self.keeper.commit(&next, cause)?;
        // What a guard took out meanwhile counts too.
        self.serving.rcu(|now| {
            let mut local = now.local.clone();
            match is_whole {
                true => local = Default::default(),
                false => local.carry(&before.lineup, &next),
            }
            Serving {
                local,
                ..serving.clone()
            }
        });
        self.tell_watches();
        locked(&self.transitions).add(verb, by);
        let generation = next.generation();
        tracing::info!(generation, cause = what, "a new lineup is in effect");
        if kept(&before.lineup) != kept(&next) {
            self.keeper.tidy(&next);
        }
        Ok(())
    }

    /// Takes a revision out that has passed a bound, here and now.
    pub(super) fn take_out(&self, detector: &DetectorId, revision: RevisionId, breach: &Breach) {
        let mut effect = Effect::Stays;
        self.serving.rcu(|now| {
            let mut local = now.local.clone();
            effect = local.take_out(&now.lineup, detector, revision);
            Serving {
                local,
                ..Serving::clone(now)
            }
        });
        if effect != Effect::Stays {
            self.tell_watches();
        }
        let now = self.serving.load_full();
        if let Some(verb) = Transitions::of_guard(effect) {
            locked(&self.transitions).add(verb, Transitions::GUARD);
        }
        tracing::warn!(%detector, revision = revision.short(), ?effect, "{breach}");
        self.keeper.note(Event::TakenOut {
            generation: now.lineup.generation(),
            detector: detector.clone(),
            revision,
            effect,
            breach: breach.clone(),
        });
    }

    /// Tells every watch whom the snapshot in effect has it watch. A step and a guard may
    /// come at once: whichever is told last has read the newer snapshot.
    fn tell_watches(&self) {
        let _one = locked(&self.following);
        let now = self.serving.load_full();
        for serves in &now.detectors {
            follow(&now, serves);
        }
    }

    /// The snapshot of `next`, its policy not yet looked at.
    fn standing(
        &self,
        before: &Serving,
        next: &Arc<Lineup>,
        new: Option<&Arc<Revision>>,
    ) -> Result<Serving, StepError> {
        let mut detectors = Vec::new();
        for (id, stages) in next.detectors() {
            let known = before.serves(id);
            let mut revisions = Vec::new();
            for revision in stages.ready() {
                let there = known.and_then(|serves| serves.revision(revision));
                let is_new =
                    |new: &&Arc<Revision>| new.id() == revision && new.loaded.detector.id() == id;
                let ready = there.or(new.filter(is_new)).cloned();
                revisions.push(ready.ok_or_else(|| StepError::NotLoaded {
                    detector: id.clone(),
                    revision,
                })?);
            }
            detectors.push(Serves {
                id: id.clone(),
                revisions,
                watch: match known {
                    Some(known) => known.watch.clone(),
                    None => Arc::new(Mutex::new(Watch::new(self.guard))),
                },
            });
        }
        Ok(Serving {
            lineup: next.clone(),
            detectors,
            ..before.clone()
        })
    }
}

/// What of the state folder a lineup has a use for.
fn kept(lineup: &Lineup) -> (BTreeSet<RevisionId>, Option<crate::rollout::PolicyDigest>) {
    let ready = lineup.detectors().flat_map(|(_, stages)| stages.ready());
    (ready.collect(), lineup.policy())
}

/// Tells a detector's watch who is new.
pub(super) fn follow(serving: &Serving, serves: &Serves) {
    let Some(stages) = serving.lineup.detector(serves.id.as_str()) else {
        return;
    };
    let live = serving.local.live(&serving.lineup, &serves.id);
    let watched = |revision| {
        let revision = serves.revision(revision);
        revision.map_or_else(Vec::new, |revision| {
            Watched::all(&revision.loaded.calibrator)
        })
    };
    let is_out = |revision| serving.local.is_out(&serving.lineup, &serves.id, revision);
    let salt = serving.lineup.salt();
    Watch::follow(&serves.watch, stages, live, is_out, salt, watched);
}
