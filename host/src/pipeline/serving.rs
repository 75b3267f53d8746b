//! What answers now: lineup, revisions and policy in one snapshot, swapped as one.
//!
//! An item keeps the snapshot that it began with. A revision that no snapshot holds any
//! more, and whose last call has ended, is freed with its code, its weights and its slots.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime};

use super::watch::Watch;
use crate::calibrator::Calibrator;
use crate::item::{Item, Part};
use crate::lists::Lists;
use crate::policy::{Policy, PolicyError};
use crate::registry::Loaded;
use crate::revision::RevisionId;
use crate::rollout::quarantine::{Quarantine, QuarantineSettings};
use crate::rollout::{Arm, Lineup, LocalAborts, Moment};
use crate::signal::{DetectorId, Label};

/// One snapshot of all that decides who answers, and what that comes to.
#[derive(Debug, Clone)]
pub(super) struct Serving {
    pub(super) lineup: Arc<Lineup>,
    pub(super) local: LocalAborts,
    /// In the order of their names.
    pub(super) detectors: Vec<Serves>,
    pub(super) policy: Arc<Policy>,
    /// Somebody wrote it, so what it names must be there; not so for the built-in one.
    pub(super) is_policy_given: bool,
    /// Decides beside the policy, and its verdicts go nowhere.
    pub(super) policy_shadow: Option<Arc<Policy>>,
}

/// A detector's revisions that are ready.
#[derive(Debug, Clone)]
pub(super) struct Serves {
    pub(super) id: DetectorId,
    pub(super) revisions: Vec<Arc<Revision>>,
    /// Outlives the snapshot, since it counts over many.
    pub(super) watch: Arc<Mutex<Watch>>,
}

/// A revision that is ready, and whether it may be called.
#[derive(Debug)]
pub(super) struct Revision {
    pub(super) loaded: Loaded,
    pub(super) quarantine: Mutex<Quarantine>,
}

/// Who is to be asked about one item.
#[derive(Debug)]
pub(super) struct Ask<'a> {
    pub(super) serves: &'a Serves,
    pub(super) revision: &'a Arc<Revision>,
    pub(super) arm: Arm,
    /// Who answers when a canary fails.
    pub(super) fallback: Option<&'a Arc<Revision>>,
}

impl Revision {
    pub(super) fn new(loaded: Loaded, quarantine: QuarantineSettings) -> Arc<Self> {
        let quarantine = Mutex::new(Quarantine::new(quarantine, moment()));
        Arc::new(Self { loaded, quarantine })
    }

    pub(super) fn id(&self) -> RevisionId {
        self.loaded.detector.revision()
    }

    /// Whether the item has anything that it reads.
    pub(super) fn reads(&self, item: &Item) -> bool {
        item.has_any(self.loaded.detector.reads())
    }
}

impl Serves {
    pub(super) fn revision(&self, revision: RevisionId) -> Option<&Arc<Revision>> {
        self.revisions.iter().find(|ready| ready.id() == revision)
    }
}

impl Serving {
    pub(super) fn serves(&self, detector: &DetectorId) -> Option<&Serves> {
        self.detectors.iter().find(|serves| serves.id == *detector)
    }

    /// Who answers for `key`, detector by detector; a detector where nobody is live is
    /// left out, as is a pin to a revision that is not ready.
    pub(super) fn assigned(
        &self,
        key: &str,
        pins: &[(DetectorId, RevisionId)],
    ) -> impl Iterator<Item = Ask<'_>> {
        self.detectors.iter().filter_map(move |serves| {
            let pin = pins.iter().find(|(detector, _)| *detector == serves.id);
            let assignment = match pin {
                Some((_, revision)) => self.lineup.pinned(&serves.id, *revision),
                None => self.lineup.assign(&serves.id, key, &self.local),
            }?;
            Some(Ask {
                serves,
                revision: serves.revision(assignment.revision)?,
                arm: assignment.arm,
                fallback: assignment
                    .fallback
                    .and_then(|fallback| serves.revision(fallback)),
            })
        })
    }

    /// Whether some revision stands in the shadow.
    pub(super) fn has_shadows(&self) -> bool {
        let mut ids = self.detectors.iter().map(|serves| &serves.id);
        ids.any(|id| self.lineup.shadows(id, &self.local).next().is_some())
    }

    /// Every revision that is ready.
    pub(super) fn revisions(&self) -> impl Iterator<Item = &Arc<Revision>> {
        self.detectors.iter().flat_map(|serves| &serves.revisions)
    }

    /// Who answers for every key that no canary answers for, of each detector.
    pub(super) fn live(&self) -> impl Iterator<Item = &Arc<Revision>> {
        let live = |serves: &Serves| self.local.live(&self.lineup, &serves.id);
        self.detectors
            .iter()
            .filter_map(move |serves| serves.revision(live(serves)?))
    }

    /// Whether some live revision reads the part.
    pub(super) fn reads(&self, part: &Part) -> bool {
        self.live()
            .any(|revision| revision.loaded.detector.reads().contains(&part.kind()))
    }

    /// `policy` with a cut for each target and each revision that is ready, when it names
    /// nothing but what live revisions declare, and lists that there are.
    pub(super) fn fit(&self, policy: Policy, lists: &Lists) -> Result<Policy, PolicyError> {
        policy.check_lists(&lists.names())?;
        self.check_names(&policy)?;
        policy.resolve(&self.calibrators())
    }

    /// Refuses a policy that names what no live revision declares.
    pub(super) fn check_names(&self, policy: &Policy) -> Result<(), PolicyError> {
        let labels: BTreeSet<Label> = self
            .live()
            .flat_map(|revision| revision.loaded.detector.labels().iter().cloned())
            .collect();
        let ids = self.detectors.iter().map(|serves| serves.id.clone());
        policy.check_names(&labels, &ids.collect())
    }

    /// The labels that some revision which is ready declares.
    pub(super) fn labels(&self) -> BTreeSet<Label> {
        let revisions = self.revisions();
        revisions
            .flat_map(|revision| revision.loaded.detector.labels().iter().cloned())
            .collect()
    }

    pub(super) fn calibrators(&self) -> Vec<(&DetectorId, &Calibrator)> {
        let loaded = self.revisions().map(|revision| &revision.loaded);
        loaded
            .map(|loaded| (loaded.detector.id(), &loaded.calibrator))
            .collect()
    }
}

/// The clock that rollouts, journals and records are timed by: it counts from the epoch.
#[expect(
    clippy::disallowed_methods,
    reason = "the journal and backoffs outlive the process, so they count from the epoch"
)]
pub fn moment() -> Moment {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
    let since = since.unwrap_or(Duration::ZERO).as_micros();
    Moment::from_micros(u64::try_from(since).unwrap_or(u64::MAX))
}

/// What is behind a lock of ours is whole whatever happened to who held it: each holder
/// leaves it as it would be between two calls.
pub(super) fn locked<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
