//! Steps of a rollout: a package loaded off the request path, a verb taken, a lineup or a
//! policy given. Each decides purely, commits to disk, and then swaps one snapshot.

use std::path::PathBuf;
use std::sync::Arc;

use super::Host;
use super::serving::{Revision, Serves, Serving, locked};
use super::watch::Watch;
use crate::policy::{Policy, PolicyError};
use crate::registry::{Package, PackageError, StateError, load};
use crate::revision::RevisionId;
use crate::rollout::guard::{Breach, Watched};
use crate::rollout::journal::{Cause, Event};
use crate::rollout::{Effect, Lineup, PolicyDigest, Refusal, Transition, Verb};
use crate::signal::DetectorId;

/// Why a step of a rollout was not taken. What answers is what it was.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StepError {
    /// The package was refused.
    #[error("the package does not load: {0}")]
    Package(#[from] PackageError),
    /// It does not answer its golden cases as its manifest says.
    #[error("the revision does not answer as its manifest says: {}", .0.join("; "))]
    Golden(Vec<String>),
    /// The lineup does not allow the step.
    #[error(transparent)]
    Refused(#[from] Refusal),
    /// The policy and the lineup do not go together.
    #[error(transparent)]
    Policy(#[from] PolicyError),
    /// The lineup wants a revision that this host has not.
    #[error("revision {revision} of `{detector}` is not loaded here; load its package first")]
    NotLoaded {
        /// Whose.
        detector: DetectorId,
        /// Which.
        revision: RevisionId,
    },
    /// The lineup names a policy that is not the one that decides here.
    #[error(
        "the lineup names the policy {}, and {} decides here; give that policy first, or name the one that decides",
        named(wanted),
        named(current)
    )]
    OtherPolicy {
        /// Which it names.
        wanted: Option<PolicyDigest>,
        /// Which decides.
        current: Option<PolicyDigest>,
    },
    /// It cannot be kept.
    #[error(transparent)]
    State(#[from] StateError),
    /// Loading was ended from outside.
    #[error("the step was given up: {0}")]
    GivenUp(String),
}

/// A revision that was loaded.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct LoadedRevision {
    /// Whose.
    pub detector: DetectorId,
    /// Which.
    pub revision: RevisionId,
    /// The author's version of it.
    pub version: String,
    /// Golden cases that it passed.
    pub n_golden: usize,
    /// The lineup that it came into.
    pub generation: u64,
}

/// What a step changes beside the lineup.
#[derive(Default)]
struct Beside {
    revision: Option<Arc<Revision>>,
    policy: Option<Arc<Policy>>,
}

impl Host {
    /// Loads a package as a revision that is ready and asked by nobody yet: verifies and
    /// compiles it, starts it, runs its golden cases and finds a cut for every target of
    /// the policy. What fails there changes nothing.
    ///
    /// # Errors
    ///
    /// The first step that failed, and why.
    pub async fn load(&self, package: PathBuf) -> Result<LoadedRevision, StepError> {
        // One at a time: compiling takes as much as one may take.
        let _loading = self.loading.lock().await;
        let path = package.clone();
        let (engine, cache, trust) = (self.engine.clone(), self.cache.clone(), self.trust.clone());
        let lineup = self.lineup();
        let loaded = blocking(move || {
            let max = engine.max_limits().clone();
            let package = Package::open(&path, &max, engine.max_component_bytes(), &trust)?;
            // Before the costly part: a revision that is there is refused.
            let verb = Verb::Load {
                detector: package.manifest.id.clone(),
                revision: package.revision(&Default::default()),
            };
            verb.apply(&lineup)?;
            Ok::<_, StepError>(load(&engine, &cache, &package, &Default::default())?)
        })
        .await??;
        let failed = self.golden_failures(&loaded).await;
        if !failed.is_empty() {
            return Err(StepError::Golden(failed));
        }
        let (detector, revision) = (loaded.detector.id().clone(), loaded.detector.revision());
        let (version, n_golden) = (loaded.version.clone(), loaded.golden.len());
        let beside = Beside {
            revision: Some(Revision::new(loaded, self.quarantine)),
            policy: None,
        };
        let verb = Verb::Load {
            detector: detector.clone(),
            revision,
        };
        let _step = self.steps.lock().await;
        // After the lock: a step that ended meanwhile would have thrown it away.
        let keeper = self.keeper.clone();
        blocking(move || keeper.keep(&package, revision)).await??;
        let transition = self.take(verb, beside).await?;
        Ok(LoadedRevision {
            detector,
            revision,
            version,
            n_golden,
            generation: transition.generation,
        })
    }

    /// A file that is not there yet, where a package may be put that is then loaded; whoever
    /// puts it there removes it.
    pub fn incoming(&self) -> std::io::Result<PathBuf> {
        self.keeper.incoming()
    }

    /// Takes a step of a rollout. A revision comes by [`Host::load`] and not by
    /// [`Verb::Load`].
    ///
    /// # Errors
    ///
    /// Why it was refused; the lineup is what it was.
    pub async fn step(&self, verb: Verb) -> Result<Transition, StepError> {
        let _step = self.steps.lock().await;
        self.take(verb, Beside::default()).await
    }

    /// Brings a whole lineup into effect, of a generation newer than the one in effect and
    /// of revisions that are loaded here. What guards took out is forgotten. `origin` says
    /// in words where it comes from.
    ///
    /// # Errors
    ///
    /// What stands in its way; the lineup is what it was.
    pub async fn give_lineup(&self, lineup: Lineup, origin: &str) -> Result<(), StepError> {
        let _step = self.steps.lock().await;
        let serving = self.serving.load_full();
        let (wanted, current) = (lineup.policy(), serving.lineup.policy());
        if wanted != current {
            return Err(StepError::OtherPolicy { wanted, current });
        }
        let (given, current) = (lineup.generation(), serving.lineup.generation());
        if given <= current {
            return Err(StateError::NotNewer { current, given }.into());
        }
        let cause = Cause::Given {
            origin: crate::excerpt::printable(origin, crate::excerpt::NAME_CHARS),
        };
        self.adopt(&serving, lineup, cause, Beside::default()).await
    }

    /// Decides by the policy in `text` from the next verdict on, here and, where the host
    /// has a state folder, after a restart. `file` is the name that messages use.
    ///
    /// # Errors
    ///
    /// The mistake with its line, a name that no live revision declares, or a target that
    /// some revision cannot keep; nothing changes then.
    pub async fn give_policy(&self, file: &str, text: &str) -> Result<(), StepError> {
        let _step = self.steps.lock().await;
        let serving = self.serving.load_full();
        let lists = self.lists();
        let policy = serving.fit(Policy::parse(file, text)?, &lists)?;
        let digest = PolicyDigest::of_text(text);
        let keeper = self.keeper.clone();
        let text = text.to_owned();
        blocking(move || {
            let store = keeper.store();
            store.map_or(Ok(digest), |store| store.keep_policy(&text))
        })
        .await??;
        let next = serving.lineup.with_policy(Some(digest))?;
        let cause = Cause::Policy { policy: digest };
        let beside = Beside {
            revision: None,
            policy: Some(Arc::new(policy)),
        };
        self.adopt(&serving, next, cause, beside).await
    }

    /// Decides beside the policy from the next verdict on, by the policy in `text`, and
    /// compares; none ends that.
    ///
    /// # Errors
    ///
    /// As [`Host::give_policy`].
    pub async fn shadow_policy(&self, file: &str, text: Option<&str>) -> Result<(), StepError> {
        let _step = self.steps.lock().await;
        let serving = self.serving.load_full();
        let shadow = match text {
            Some(text) => {
                let lists = self.lists();
                Some(Arc::new(serving.fit(Policy::parse(file, text)?, &lists)?))
            }
            None => None,
        };
        locked(&self.policy_comparison).take();
        self.serving.rcu(|now| Serving {
            policy_shadow: shadow.clone(),
            ..Serving::clone(now)
        });
        Ok(())
    }

    /// The caller holds `steps`.
    async fn take(&self, verb: Verb, beside: Beside) -> Result<Transition, StepError> {
        let serving = self.serving.load_full();
        let (next, transition) = verb.apply(&serving.lineup)?;
        let cause = Cause::Verb {
            step: verb,
            transition: transition.clone(),
        };
        self.adopt(&serving, next, cause, beside).await?;
        Ok(transition)
    }

    /// Commits `next` and swaps to it. The caller holds `steps`, so nobody else does.
    async fn adopt(
        &self,
        before: &Arc<Serving>,
        next: Lineup,
        cause: Cause,
        beside: Beside,
    ) -> Result<(), StepError> {
        let is_given = matches!(cause, Cause::Given { .. });
        let next = Arc::new(next);
        let mut serving = self.standing(before, &next, beside.revision.as_ref())?;
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
        let (keeper, committed) = (self.keeper.clone(), next.clone());
        let what = format!("{cause:?}");
        blocking(move || keeper.commit(&committed, cause)).await??;
        // What a guard took out meanwhile counts too.
        self.serving.rcu(|now| {
            let mut local = now.local.clone();
            match is_given {
                true => local = Default::default(),
                false => local.carry(&before.lineup, &next),
            }
            Serving {
                local,
                ..serving.clone()
            }
        });
        let now = self.serving.load_full();
        for serves in &now.detectors {
            follow(&now, serves);
        }
        let generation = next.generation();
        tracing::info!(generation, cause = what, "a new lineup is in effect");
        let keeper = self.keeper.clone();
        blocking(move || keeper.tidy(&next)).await?;
        Ok(())
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
                    None => Arc::new(std::sync::Mutex::new(Watch::new(self.guard))),
                },
            });
        }
        Ok(Serving {
            lineup: next.clone(),
            detectors,
            ..before.clone()
        })
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
        let now = self.serving.load_full();
        if let Some(serves) = now.serves(detector)
            && effect != Effect::Stays
        {
            follow(&now, serves);
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
}

fn named(policy: &Option<PolicyDigest>) -> String {
    policy.map_or_else(
        || "that it was started with".to_owned(),
        |policy| policy.to_string(),
    )
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
    locked(&serves.watch).follow(stages, live, is_out, salt, watched);
}

/// Runs what blocks where nobody waits for it.
async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> T + Send + 'static,
) -> Result<T, StepError> {
    let done = tokio::task::spawn_blocking(work).await;
    done.map_err(|error| StepError::GivenUp(error.to_string()))
}
