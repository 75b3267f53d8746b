//! Steps of a rollout: a package loaded off the request path, a verb taken, a lineup or a
//! policy given. Each decides purely, commits to disk, and then swaps one snapshot.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread;

use tokio::sync::oneshot;

use super::Host;
use super::halves;
use super::priority;
use super::serving::{Revision, Serving, locked};
use super::swap::{Beside, Swap};
use crate::excerpt::{NAME_CHARS, printable};
use crate::policy::{Policy, PolicyError};
use crate::registry::{Package, PackageError, Settings, StateError, load, spelled};
use crate::revision::RevisionId;
use crate::rollout::guard::Breach;
use crate::rollout::journal::Cause;
use crate::rollout::{Lineup, PolicyDigest, Refusal, Transition, Verb};
use crate::signal::DetectorId;

/// Characters of a file's path in the journal.
const MAX_PATH_CHARS: usize = 400;

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
    /// The settings that differ from the defaults, as the contract spells them.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub settings: BTreeMap<String, String>,
    /// The lineup that it came into.
    pub generation: u64,
}

/// Held by whoever takes a step.
type Step = tokio::sync::OwnedMutexGuard<()>;

impl Host {
    /// Loads a package as a revision that is ready and asked by nobody yet: verifies and
    /// compiles it, starts it, holds models in f16 to f32, runs its golden cases and finds a
    /// cut for every target of the policy. What fails there changes nothing.
    ///
    /// # Errors
    ///
    /// The first step that failed, and why.
    pub async fn load(&self, package: PathBuf) -> Result<LoadedRevision, StepError> {
        self.load_with(package, Settings::new()).await
    }

    /// The same, with settings in the place of the manifest's defaults. They make another
    /// revision, which is kept with them.
    ///
    /// # Errors
    ///
    /// Also a setting that the manifest does not declare, or declares of another type.
    pub async fn load_with(
        &self,
        package: PathBuf,
        settings: Settings,
    ) -> Result<LoadedRevision, StepError> {
        // One at a time: compiling takes as much as one may take.
        let _loading = self.loading.lock().await;
        let path = package.clone();
        let (engine, cache, trust) = (self.engine.clone(), self.cache.clone(), self.trust.clone());
        let lineup = self.lineup();
        let loaded = blocking(move || {
            let max = engine.max_limits().clone();
            let package = Package::open(&path, &max, engine.max_component_bytes(), &trust)?;
            // Before the costly part: a revision that is there is refused.
            let settings = package.settle(&settings)?;
            let verb = Verb::Load {
                detector: package.manifest.id.clone(),
                revision: package.revision(&settings),
            };
            verb.apply(&lineup)?;
            Ok::<_, StepError>(load(&engine, &cache, &package, &settings)?)
        })
        .await??;
        let origin = package.display().to_string();
        let loaded = halves::held(&self.engine, loaded, &origin).await?;
        let failed = self.golden_failures(&loaded).await;
        if !failed.is_empty() {
            return Err(StepError::Golden(failed));
        }
        let (detector, revision) = (loaded.detector.id().clone(), loaded.detector.revision());
        let (version, n_golden) = (loaded.version.clone(), loaded.golden.len());
        let settings = loaded.settings.clone();
        let shown = spelled(&settings);
        let beside = Beside {
            revision: Some(Revision::new(loaded, self.quarantine)),
            policy: None,
        };
        let verb = Verb::Load {
            detector: detector.clone(),
            revision,
        };
        let step = self.steps.clone().lock_owned().await;
        // After the lock: a step that ended meanwhile would have thrown it away.
        let keeper = self.keeper.clone();
        blocking(move || keeper.keep(&package, revision, &settings)).await??;
        let transition = self.take(verb, beside, step).await?;
        Ok(LoadedRevision {
            detector,
            revision,
            version,
            n_golden,
            settings: shown,
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
        let step = self.steps.clone().lock_owned().await;
        self.take(verb, Beside::default(), step).await
    }

    /// Brings a whole lineup into effect, of a generation newer than the one in effect and
    /// of revisions that are loaded here. What guards took out is forgotten. `origin` says
    /// in words where it comes from.
    ///
    /// # Errors
    ///
    /// What stands in its way; the lineup is what it was.
    pub async fn give_lineup(&self, lineup: Lineup, origin: &str) -> Result<(), StepError> {
        let origin = printable(origin, NAME_CHARS);
        self.give(lineup, Cause::Given { origin }).await
    }

    /// The same for a lineup that a watched file says.
    ///
    /// # Errors
    ///
    /// As [`Host::give_lineup`].
    pub async fn follow_lineup(&self, lineup: Lineup, file: &Path) -> Result<(), StepError> {
        let file = printable(&file.display().to_string(), MAX_PATH_CHARS);
        self.give(lineup, Cause::File { file }).await
    }

    /// Whether the lineup in effect is `lineup`, or differs from it only by revisions that
    /// were loaded and policies that were given since.
    pub fn stands_on(&self, lineup: &Lineup) -> bool {
        *self.lineup() == *lineup || self.keeper.stands_on(lineup.digest())
    }

    async fn give(&self, lineup: Lineup, cause: Cause) -> Result<(), StepError> {
        let step = self.steps.clone().lock_owned().await;
        let serving = self.serving.load_full();
        let (wanted, current) = (lineup.policy(), serving.lineup.policy());
        if wanted != current {
            return Err(StepError::OtherPolicy { wanted, current });
        }
        let (given, current) = (lineup.generation(), serving.lineup.generation());
        if given <= current {
            return Err(StateError::NotNewer { current, given }.into());
        }
        self.adopt(lineup, cause, Beside::default(), step).await
    }

    /// Decides by the policy in `text` from the next verdict on, here and, where the host
    /// has a state folder, after a restart. `file` is the name that messages use.
    ///
    /// # Errors
    ///
    /// The mistake with its line, a name that no live revision declares, or a target that
    /// some revision cannot keep; nothing changes then.
    pub async fn give_policy(&self, file: &str, text: &str) -> Result<(), StepError> {
        let step = self.steps.clone().lock_owned().await;
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
        self.adopt(next, cause, beside, step).await
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

    /// Takes `verb` on a thread that gives way to whoever answers. Given up by its caller,
    /// it goes on to its end.
    async fn take(&self, verb: Verb, beside: Beside, step: Step) -> Result<Transition, StepError> {
        let swap = self.swap();
        aside(move || {
            let taken = swap.take(verb, beside);
            drop(step);
            taken
        })
        .await?
    }

    /// The same with a lineup that is there already.
    async fn adopt(
        &self,
        next: Lineup,
        cause: Cause,
        beside: Beside,
        step: Step,
    ) -> Result<(), StepError> {
        let swap = self.swap();
        aside(move || {
            let adopted = swap.adopt(next, cause, beside);
            drop(step);
            adopted
        })
        .await?
    }

    fn swap(&self) -> Swap {
        Swap {
            serving: self.serving.clone(),
            keeper: self.keeper.clone(),
            guard: self.guard,
            transitions: self.transitions.clone(),
            following: self.following.clone(),
        }
    }

    /// Takes a revision out that has passed a bound, here and now.
    pub(super) fn take_out(&self, detector: &DetectorId, revision: RevisionId, breach: &Breach) {
        self.swap().take_out(detector, revision, breach);
    }
}

fn named(policy: &Option<PolicyDigest>) -> String {
    policy.map_or_else(
        || "that it was started with".to_owned(),
        |policy| policy.to_string(),
    )
}

/// Runs what blocks where nobody waits for it.
async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> T + Send + 'static,
) -> Result<T, StepError> {
    let done = tokio::task::spawn_blocking(work).await;
    done.map_err(|error| StepError::GivenUp(error.to_string()))
}

/// Runs a step on a thread that gives way to whoever answers. Once begun it is not given up.
async fn aside<T: Send + 'static>(
    work: impl FnOnce() -> T + Send + 'static,
) -> Result<T, StepError> {
    let (done, told) = oneshot::channel();
    let work = move || {
        if let Err(error) = priority::give_way() {
            tracing::debug!(%error, "a step is taken at the priority of answers");
        }
        // Whoever wanted it may have gone.
        let _ = done.send(work());
    };
    let thread = thread::Builder::new().name("trommel-step".to_owned());
    let given_up = |why: String| StepError::GivenUp(why);
    thread
        .spawn(work)
        .map_err(|error| given_up(format!("no thread for it: {error}")))?;
    told.await
        .map_err(|_| given_up("it ended in a panic".to_owned()))
}
