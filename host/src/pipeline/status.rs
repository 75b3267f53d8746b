//! What stands where in the rollout: for whoever is on call.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use trommel_tensor::BatchCounts;

use super::Host;
use super::keeper::MAX_RECENT;
use super::serving::{Revision, Serves, Serving, locked, moment};
use super::transitions::TransitionCount;
use super::watch::{Guarded, Shadowed, Watch};
use crate::engine::{Detector, Precision};
use crate::policy::Action;
use crate::registry::spelled;
use crate::revision::RevisionId;
use crate::rollout::guard::{Breach, Reading, Standing};
use crate::rollout::journal::Entry;
use crate::rollout::shadow::Comparison;
use crate::rollout::{End, Lineup, LineupDigest, PolicyDigest, Share, Stage, Staged};
use crate::signal::DetectorId;

/// Examples of each pair of actions that a status shows.
const N_EXAMPLES: usize = 3;

/// The rollout as it stands.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct RolloutStatus {
    /// The generation of the lineup in effect.
    pub generation: u64,
    /// Its content.
    pub lineup: LineupDigest,
    /// What splits are drawn by.
    pub salt: String,
    /// The policy that was given to this host; none for the one that it was started with.
    pub policy: Option<PolicyDigest>,
    /// Where state is kept; none for a host that forgets it when it ends.
    pub state: Option<String>,
    /// Every detector, by name.
    pub detectors: Vec<DetectorStatus>,
    /// The policy that stands in the shadow; none when there is none.
    pub policy_shadow: Option<ShadowStatus>,
    /// Items that shadows judged.
    pub n_shadowed: u64,
    /// Items that shadows did not get, for want of time or room.
    pub n_shed: u64,
    /// What was done since the host began, and by whom; nobody counts what is done on a
    /// folder that no host holds.
    #[serde(default)]
    pub transitions: Vec<TransitionCount>,
    /// The lineup file that a server watches; none where it watches none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lineup_file: Option<LineupFileStatus>,
    /// What happened last, oldest first.
    pub recent: Vec<Entry>,
}

/// A lineup file that is watched.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LineupFileStatus {
    /// Where it lies.
    pub file: String,
    /// The generation that it says, where that is in effect; revisions that were loaded and
    /// policies that were given since may have led to later ones.
    pub generation: Option<u64>,
    /// Why what it says is not in effect, and how to mend that; none before it was read.
    pub problem: Option<String>,
}

/// A detector's revisions.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct DetectorStatus {
    /// Which.
    pub detector: DetectorId,
    /// Who answers for every key that no canary answers for, on this host.
    pub live: Option<RevisionId>,
    /// Who would answer after a rollback.
    pub previous: Option<RevisionId>,
    /// Calls since `live` is live.
    pub n_live_calls: u64,
    /// Oldest first, the retired ones last.
    pub revisions: Vec<RevisionStatus>,
}

/// One revision.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct RevisionStatus {
    /// Which.
    pub revision: RevisionId,
    /// The author's version of it; none for one that is retired.
    pub version: Option<String>,
    /// What it was rolled out with in the place of its manifest's defaults, as the contract
    /// spells it.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub settings: BTreeMap<String, String>,
    /// How far it has come in the lineup.
    #[serde(flatten)]
    pub stage: StageStatus,
    /// Whether this host took it out by itself.
    pub taken_out: bool,
    /// Whether it is left alone because it keeps failing.
    pub left_alone: bool,
    /// Bytes that it holds on the device.
    pub device_bytes: u64,
    /// Its models that ask for f16, and what they run in here.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub precision: Vec<PrecisionStatus>,
    /// The guards over it.
    pub guards: Vec<GuardStatus>,
    /// What it did in the shadow.
    pub shadow: Option<ShadowStatus>,
}

/// What a model that asks for f16 runs in.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PrecisionStatus {
    /// As the manifest calls it.
    pub model: String,
    /// How values are stored: `f16` or `f32`.
    pub stored: String,
    /// Why they are not f16; none where they are.
    pub why: Option<String>,
}

/// A stage with its share.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct StageStatus {
    /// The word for it.
    pub stage: String,
    /// A canary's share of keys.
    pub share: Option<Share>,
    /// From which end of all positions they are taken.
    pub end: Option<End>,
}

/// Where a guard stands.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct GuardStatus {
    /// Whom the revision is compared with; none is what was counted before it was live.
    pub beside: Option<RevisionId>,
    /// `watched`, `settled` or `breached`.
    pub standing: String,
    /// Calls of the revision that count.
    pub n_calls: u64,
    /// Calls of the other side.
    pub n_other_calls: u64,
    /// Calls that the host or the caller failed.
    pub n_of_others: u64,
    /// Every bound with what is seen of it.
    pub bounds: Vec<Reading>,
    /// The bound that was passed.
    pub breach: Option<Breach>,
}

/// What a shadow would have done.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ShadowStatus {
    /// Items that both judged.
    pub n_items: u64,
    /// Items that would have got a stricter verdict.
    pub n_stricter: u64,
    /// Items that would have got a milder one.
    pub n_milder: u64,
    /// Items that the shadow failed on by its own fault.
    pub n_failed: u64,
    /// Why, the last time.
    pub last_failure: Option<String>,
    /// Every pair of verdicts that differ.
    pub flips: Vec<FlipStatus>,
    /// Flips by the labels whose rules fired for one alone.
    pub labels: Vec<(String, u64)>,
    /// Flips by slice.
    pub slices: Vec<(String, u64)>,
}

/// Items that got one verdict and would have got another.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct FlipStatus {
    /// What was answered.
    pub given: Action,
    /// What would have been.
    pub shadow: Action,
    /// How many.
    pub n_items: u64,
    /// Ids of some.
    pub examples: Vec<String>,
}

impl Host {
    /// Where the rollout stands.
    pub fn status(&self) -> RolloutStatus {
        let serving = self.serving.load_full();
        let policy_shadow = serving.policy_shadow.as_ref().map(|_| {
            let comparison = locked(&self.policy_comparison);
            let comparison = comparison.clone();
            let salt = serving.lineup.salt();
            shadow(&Shadowed {
                comparison: comparison.unwrap_or_else(|| Comparison::new(salt)),
                n_failed: 0,
                last_failure: None,
            })
        });
        let (n_shadowed, n_shed) = self.shadows.counts();
        RolloutStatus {
            generation: serving.lineup.generation(),
            lineup: serving.lineup.digest(),
            salt: serving.lineup.salt().to_owned(),
            policy: serving.lineup.policy(),
            state: self
                .keeper
                .folder()
                .map(|folder| folder.display().to_string()),
            detectors: serving
                .detectors
                .iter()
                .map(|serves| detector(&serving, serves))
                .collect(),
            policy_shadow,
            n_shadowed,
            n_shed,
            transitions: locked(&self.transitions).counts(),
            lineup_file: None,
            recent: self.keeper.recent(),
        }
    }
}

/// What a model of a revision has run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ModelRuns {
    /// Whose it is.
    pub detector: DetectorId,
    /// Of which build.
    pub revision: RevisionId,
    /// As the manifest calls it.
    pub model: String,
    /// Counted once for all who bring the same file.
    pub counts: BatchCounts,
}

impl Host {
    /// What the models of all loaded revisions have run.
    pub fn model_runs(&self) -> Vec<ModelRuns> {
        let serving = self.serving.load_full();
        let mut runs = Vec::new();
        for serves in &serving.detectors {
            let stages = serving.lineup.detector(serves.id.as_str());
            let staged = stages.map(|stages| stages.revisions()).unwrap_or_default();
            let ready = staged.iter();
            for ready in ready.filter_map(|staged| serves.revision(staged.revision)) {
                let detector = &ready.loaded.detector;
                runs.extend(detector.models().map(|(model, counts)| ModelRuns {
                    detector: detector.id().clone(),
                    revision: detector.revision(),
                    model: model.to_owned(),
                    counts,
                }));
            }
        }
        runs
    }
}

impl RolloutStatus {
    /// What a state folder tells that no host holds: nobody is called.
    pub fn kept(lineup: &Lineup, state: String, mut entries: Vec<Entry>) -> Self {
        let detectors = lineup.detectors().map(|(id, stages)| DetectorStatus {
            detector: id.clone(),
            live: stages.live(),
            previous: stages.previous(),
            n_live_calls: 0,
            revisions: stages
                .revisions()
                .iter()
                .map(RevisionStatus::kept)
                .collect(),
        });
        Self {
            generation: lineup.generation(),
            lineup: lineup.digest(),
            salt: lineup.salt().to_owned(),
            policy: lineup.policy(),
            state: Some(state),
            detectors: detectors.collect(),
            policy_shadow: None,
            n_shadowed: 0,
            n_shed: 0,
            transitions: Vec::new(),
            lineup_file: None,
            recent: entries.split_off(entries.len().saturating_sub(MAX_RECENT)),
        }
    }
}

impl RevisionStatus {
    fn kept(staged: &Staged) -> Self {
        Self {
            revision: staged.revision,
            version: None,
            settings: BTreeMap::new(),
            stage: StageStatus::of(staged.stage),
            taken_out: false,
            left_alone: false,
            device_bytes: 0,
            precision: Vec::new(),
            guards: Vec::new(),
            shadow: None,
        }
    }
}

impl StageStatus {
    fn of(stage: Stage) -> Self {
        let (share, end) = match stage {
            Stage::Canary { share, end } => (Some(share), Some(end)),
            _ => (None, None),
        };
        Self {
            stage: stage.as_str().to_owned(),
            share,
            end,
        }
    }
}

fn detector(serving: &Serving, serves: &Serves) -> DetectorStatus {
    let watch = locked(&serves.watch);
    let stages = serving.lineup.detector(serves.id.as_str());
    let staged = stages.map(|stages| stages.revisions()).unwrap_or_default();
    let of = |staged: &Staged| revision(serving, serves, &watch, *staged);
    let mut revisions: Vec<RevisionStatus> = staged.iter().map(of).collect();
    let shadows = staged.iter().map(|staged| watch.shadow(staged.revision));
    let shadows: Vec<_> = shadows.collect();
    let n_live_calls = watch.n_baseline_calls();
    // Whoever answers waits for the watch, and must not for a shadow's thread.
    drop(watch);
    for (revision, shadowed) in revisions.iter_mut().zip(shadows) {
        revision.shadow = shadowed.map(|shadowed| shadow(&locked(&shadowed)));
    }
    DetectorStatus {
        detector: serves.id.clone(),
        live: serving.local.live(&serving.lineup, &serves.id),
        previous: stages.and_then(|stages| stages.previous()),
        n_live_calls,
        revisions,
    }
}

/// All but what it did as a shadow.
fn revision(serving: &Serving, serves: &Serves, watch: &Watch, staged: Staged) -> RevisionStatus {
    let id = staged.revision;
    let ready = serves.revision(id);
    let is_left_alone = |ready: &Revision| !locked(&ready.quarantine).is_serving();
    RevisionStatus {
        revision: id,
        version: ready.map(|ready| ready.loaded.version.clone()),
        settings: ready.map_or_else(BTreeMap::new, |ready| spelled(&ready.loaded.settings)),
        stage: StageStatus::of(staged.stage),
        taken_out: serving.local.is_out(&serving.lineup, &serves.id, id),
        left_alone: ready.is_some_and(|ready| is_left_alone(ready)),
        device_bytes: ready.map_or(0, |ready| ready.loaded.detector.account().bytes()),
        precision: ready.map_or_else(Vec::new, |ready| precision(&ready.loaded.detector)),
        guards: watch
            .guards()
            .filter(|guarded| guarded.guard.candidate() == id)
            .map(guard)
            .collect(),
        shadow: None,
    }
}

fn precision(detector: &Detector) -> Vec<PrecisionStatus> {
    let halves = detector.halves().map(|(model, stored)| PrecisionStatus {
        model: model.to_owned(),
        stored: match &stored {
            Ok(()) => Precision::Half,
            Err(_) => Precision::Single,
        }
        .name()
        .to_owned(),
        why: stored.err(),
    });
    halves.collect()
}

fn guard(guarded: &Guarded) -> GuardStatus {
    let guard = &guarded.guard;
    let (n_calls, n_other_calls, n_of_others) = guard.n_calls();
    GuardStatus {
        beside: guarded.other,
        standing: match guard.standing(moment()) {
            Standing::Watched => "watched",
            Standing::Settled => "settled",
            Standing::Breached => "breached",
        }
        .to_owned(),
        n_calls,
        n_other_calls,
        n_of_others,
        bounds: guard.readings(),
        breach: guard.breach().cloned(),
    }
}

fn shadow(shadowed: &Shadowed) -> ShadowStatus {
    let comparison = &shadowed.comparison;
    let all = comparison.all();
    let pairs = Action::ALL
        .into_iter()
        .flat_map(|given| Action::ALL.map(|shadow| (given, shadow)));
    let flips = pairs
        .filter(|(given, shadow)| given != shadow && all.count(*given, *shadow) > 0)
        .map(|(given, shadow)| FlipStatus {
            given,
            shadow,
            n_items: all.count(given, shadow),
            examples: comparison
                .examples(given, shadow)
                .take(N_EXAMPLES)
                .map(str::to_owned)
                .collect(),
        });
    ShadowStatus {
        n_items: all.n_items(),
        n_stricter: all.n_stricter(),
        n_milder: all.n_milder(),
        n_failed: shadowed.n_failed,
        last_failure: shadowed.last_failure.clone(),
        flips: flips.collect(),
        labels: comparison
            .labels()
            .map(|(label, flips)| (label.to_string(), flips.n_stricter() + flips.n_milder()))
            .collect(),
        slices: comparison
            .slices()
            .map(|(slice, flips)| (slice.to_owned(), flips.n_stricter() + flips.n_milder()))
            .collect(),
    }
}
