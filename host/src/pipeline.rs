//! The street: item → plugin calls → signals → verdict.
//!
//! [`Host`] is the public door. It installs no logger, spawns no runtime and
//! never exits the process; its futures run on the caller's tokio runtime.
//! Which detectors answer is decided before an item comes, never by an item.

mod ask;
mod build;
mod device;
mod halves;
mod hot;
mod judgement;
mod keeper;
mod priority;
mod serving;
mod shadows;
mod status;
mod steps;
mod swap;
mod transitions;
mod verify;
mod watch;

use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use arc_swap::ArcSwap;
use futures_util::future::{join, join_all};
use tracing::Instrument as _;

pub use build::{BuildError, HostBuilder};
pub use device::{DeviceChoice, NoDevice};
pub use hot::HotError;
pub use judgement::{Called, Degraded, Judgement, Lineup, Timings, Unjudged};
pub use serving::moment;
pub use status::{
    DetectorStatus, GuardStatus, LineupFileStatus, ModelRuns, PrecisionStatus, RevisionStatus,
    RolloutStatus, ShadowStatus, StageStatus,
};
pub use steps::{LoadedRevision, StepError};
pub use transitions::TransitionCount;

use crate::engine::{Detector, Engine, Exhibit, PoolUse, now};
use crate::item::{IntakeError, Item, ItemBounds, Part, PartKind};
use crate::policy::{DetectorState, Facts, Policy, Verdict};
use crate::registry::{CompileCache, Trust};
use crate::revision::RevisionId;
use crate::rollout::guard::{Answer, GuardSettings, Observation, Outcome};
use crate::rollout::journal::Event;
use crate::rollout::quarantine::QuarantineSettings;
use crate::rollout::shadow::Comparison;
use crate::signal::DetectorId;
use crate::spans;
use ask::{Asked, ask};
use hot::{Hot, listed};
use judgement::Report;
use keeper::Keeper;
use serving::{Ask, Revision, Serving, locked};
use shadows::{Job, Shadows};
use transitions::Transitions;

/// Loaded detectors, a policy, the lineup that says who answers, and the bounds that all
/// are held to.
///
/// ```no_run
/// # async fn example() -> Result<(), Box<dyn std::error::Error>> {
/// use std::sync::Arc;
///
/// let host = trommel::Host::builder().bundled_detectors().build()?;
/// let item = Arc::new(trommel::item::Item::from_text("1", "You have won! Call now"));
/// let judgement = host.check(&item).await?;
/// println!("{}: {}", judgement.id, judgement.verdict.action);
/// # Ok(())
/// # }
/// ```
#[derive(Debug)]
pub struct Host {
    engine: Arc<Engine>,
    cache: CompileCache,
    trust: Trust,
    serving: Arc<ArcSwap<Serving>>,
    hot: ArcSwap<Hot>,
    /// Held by whoever takes a step, so that steps come one after another.
    steps: Arc<tokio::sync::Mutex<()>>,
    loading: tokio::sync::Mutex<()>,
    keeper: Arc<Keeper>,
    transitions: Arc<Mutex<Transitions>>,
    /// See [`Swap`].
    following: Arc<Mutex<()>>,
    shadows: Shadows,
    policy_comparison: Arc<Mutex<Option<Comparison>>>,
    guard: GuardSettings,
    quarantine: QuarantineSettings,
    slice: Option<String>,
    bounds: ItemBounds,
    deadline: Duration,
}

/// What a caller says of one check beside the item.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct CheckOptions {
    /// When the verdict must be there; at the latest by the host's own deadline.
    pub by: Option<Instant>,
    /// What revisions are drawn by in the item's stead: one key has one revision. The
    /// item's id without it.
    pub key: Option<String>,
    /// Revisions that answer whatever the lineup says, if they are ready.
    pub pins: Vec<(DetectorId, RevisionId)>,
}

/// Why an item was not judged. The caller is to blame.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum CheckError {
    /// It is no item that can be judged.
    #[error(transparent)]
    Item(#[from] IntakeError),
    /// A pin to what is not ready.
    #[error("revision {revision} of `{}` is not ready here; pin one that is, or none", crate::excerpt::printable(detector.as_str(), crate::excerpt::NAME_CHARS))]
    Pin {
        /// Whose.
        detector: DetectorId,
        /// Which.
        revision: RevisionId,
    },
}

impl Host {
    /// A host to be set up.
    pub fn builder() -> HostBuilder {
        HostBuilder::default()
    }

    /// Judges one item within the host's own deadline.
    ///
    /// Every item within bounds gets a verdict in time: a detector that fails
    /// gives no signal, stands in [`Judgement::degraded`], and the policy says
    /// what that means. Needs a tokio runtime with time enabled.
    pub async fn check(&self, item: &Arc<Item>) -> Result<Judgement, IntakeError> {
        let options = CheckOptions::default();
        self.judge(item, &options, self.decides()).await
    }

    /// Judges one item by `by`, or within the host's own deadline when that
    /// comes sooner. What has not answered by then is degraded.
    pub async fn check_by(&self, item: &Arc<Item>, by: Instant) -> Result<Judgement, IntakeError> {
        let options = CheckOptions {
            by: Some(by),
            ..CheckOptions::default()
        };
        self.judge(item, &options, self.decides()).await
    }

    /// Judges one item as its caller wants it.
    ///
    /// # Errors
    ///
    /// What is wrong with the item, and a pin to a revision that is not ready.
    pub async fn check_with(
        &self,
        item: &Arc<Item>,
        options: &CheckOptions,
    ) -> Result<Judgement, CheckError> {
        let decides = self.decides();
        for (detector, revision) in &options.pins {
            let serves = decides.0.serves(detector);
            if serves.is_none_or(|serves| serves.revision(*revision).is_none()) {
                return Err(CheckError::Pin {
                    detector: detector.clone(),
                    revision: *revision,
                });
            }
        }
        Ok(self.judge(item, options, decides).await?)
    }

    async fn judge(
        &self,
        item: &Arc<Item>,
        options: &CheckOptions,
        decides: (Arc<Serving>, Arc<Hot>),
    ) -> Result<Judgement, IntakeError> {
        let span = spans::check(item.parts.len());
        let judging = self.judge_by(item, options, decides);
        let judgement = judging.instrument(span.clone()).await;
        match &judgement {
            Ok(judgement) => {
                let verdict = judgement.verdict.action.as_str();
                let n_degraded = judgement.degraded.len();
                spans::decided(&span, verdict, judgement.generation, n_degraded);
            }
            Err(_) => spans::failed(&span),
        }
        judgement
    }

    async fn judge_by(
        &self,
        item: &Arc<Item>,
        options: &CheckOptions,
        (serving, hot): (Arc<Serving>, Arc<Hot>),
    ) -> Result<Judgement, IntakeError> {
        let start = now();
        let intake = spans::intake();
        intake.in_scope(|| item.check(&self.bounds))?;
        let end = start + self.deadline;
        let by = options.by.map_or(end, |by| by.min(end));
        let key = options.key.as_deref().unwrap_or(&item.id);
        let assigned: Vec<Ask<'_>> = serving.assigned(key, &options.pins).collect();
        let asks: Vec<&Ask<'_>> = assigned
            .iter()
            .filter(|ask| ask.revision.reads(item))
            .collect();
        let exhibit = self.exhibit(item, &asks, by).instrument(intake).await;
        let exhibit = Arc::new(exhibit?);
        let calls = asks
            .iter()
            .map(|each| ask(&self.engine, each, &exhibit, by));
        let (lists, answers) = join(hot.consult(item, by), join_all(calls)).await;
        let mut report = Report::default();
        for asked in &answers {
            report.add(asked);
        }
        let states = states(&serving, &report);
        let facts = Facts {
            attributes: &item.attributes,
            signals: &hot.heard(&report.signals),
            detectors: &states,
            listed: &listed(&lists),
        };
        let verdict = spans::policy().in_scope(|| serving.policy.decide(&facts));
        for (ask, asked) in asks.iter().zip(&answers) {
            self.watched(ask, asked, &report, &verdict);
        }
        let lineup = assigned.iter().map(|ask| {
            let id = &ask.serves.id;
            let answered = report.answered.get(id);
            (
                id.clone(),
                answered.copied().unwrap_or_else(|| ask.revision.id()),
            )
        });
        let (decode, preprocess) = exhibit.spent_on_images();
        let judgement = Judgement {
            id: item.id.clone(),
            lineup: Lineup(lineup.collect()),
            generation: serving.lineup.generation(),
            verdict,
            policy: serving.policy.digest(),
            signals: report.signals,
            killed: hot.killed.iter().cloned().collect(),
            lists,
            degraded: report.degraded,
            unjudged: unjudged(&serving, item),
            calls: report.calls,
            timings: Timings {
                detectors: report.took,
                decode,
                preprocess,
                model: report.modelling,
                total: start.elapsed(),
            },
        };
        self.shadow(&serving, &hot, item, &judgement, states);
        Ok(judgement)
    }

    /// An item's images are opened when a detector that is asked reads images.
    async fn exhibit(
        &self,
        item: &Arc<Item>,
        asks: &[&Ask<'_>],
        by: Instant,
    ) -> Result<Exhibit, IntakeError> {
        let reads_images = |revision: &Arc<Revision>| {
            let reads = revision.loaded.detector.reads();
            reads.contains(&PartKind::Image)
        };
        let may_be_asked =
            |ask: &&Ask<'_>| reads_images(ask.revision) || ask.fallback.is_some_and(reads_images);
        if asks.iter().any(may_be_asked) {
            self.engine.exhibit(item, by).await
        } else {
            Ok(self.engine.exhibit_unopened(item))
        }
    }

    /// Tells the watch of the call that was drawn, and takes out who passes a bound.
    fn watched(&self, ask: &Ask<'_>, asked: &[Asked], report: &Report, verdict: &Verdict) {
        let id = &ask.serves.id;
        for each in asked {
            if let Some(change) = each.change {
                let revision = each.revision.id();
                tracing::warn!(detector = %id, revision = revision.short(), ?change, "quarantine");
                self.keeper.note(Event::Quarantine {
                    detector: id.clone(),
                    revision,
                    change,
                });
            }
        }
        // Who steps in for a canary was not drawn.
        let Some(ask::Answer::Called(call)) = asked.first().map(|asked| &asked.answer) else {
            return;
        };
        let probabilities: Vec<_> = match &call.outcome {
            Ok(_) => report
                .signals
                .iter()
                .filter(|signal| signal.detector == *id)
                .map(|signal| (signal.label.clone(), signal.probability))
                .collect(),
            Err(_) => Vec::new(),
        };
        let outcome = match &call.outcome {
            Ok(_) => Outcome::Answered(Answer {
                took: call.took,
                action: Some(verdict.action),
                probabilities: &probabilities,
            }),
            Err(fault) => Outcome::Failed {
                blame: fault.blame(),
                missed_deadline: ask::missed_deadline(fault),
            },
        };
        let observation = Observation {
            revision: ask.revision.id(),
            arm: ask.arm,
            outcome,
        };
        let breaches = locked(&ask.serves.watch).observe(&observation, moment());
        for (revision, breach) in breaches {
            self.take_out(id, revision, &breach);
        }
    }

    /// Offers the item to whoever stands in the shadow.
    fn shadow(
        &self,
        serving: &Arc<Serving>,
        hot: &Arc<Hot>,
        item: &Arc<Item>,
        judgement: &Judgement,
        states: Vec<(DetectorId, DetectorState)>,
    ) {
        if serving.policy_shadow.is_none() && !serving.has_shadows() {
            return;
        }
        let slice = self.slice.as_ref();
        let slice = slice.and_then(|name| item.attributes.get(name));
        self.shadows.offer(Job {
            engine: self.engine.clone(),
            serving: serving.clone(),
            hot: hot.clone(),
            lists: judgement.lists.clone(),
            policy_comparison: self.policy_comparison.clone(),
            item: item.clone(),
            verdict: judgement.verdict.clone(),
            signals: judgement.signals.clone(),
            states,
            slice: slice.map(ToString::to_string),
            deadline: self.deadline,
        });
    }

    /// What decides now.
    pub fn policy(&self) -> Arc<Policy> {
        self.serving.load().policy.clone()
    }

    /// What answers and decides, with the lists and switches that stood beside it at one
    /// moment, so that each list that its policy names is there.
    fn decides(&self) -> (Arc<Serving>, Arc<Hot>) {
        loop {
            let hot = self.hot.load_full();
            let serving = self.serving.load_full();
            // It was in effect before and after, so it was in between too.
            if Arc::ptr_eq(&hot, &self.hot.load()) {
                return (serving, hot);
            }
        }
    }

    /// The lineup in effect.
    pub fn lineup(&self) -> Arc<crate::rollout::Lineup> {
        self.serving.load().lineup.clone()
    }

    /// What of the sandbox's pool is taken now.
    pub fn pool_use(&self) -> PoolUse {
        self.engine.pool_use()
    }

    /// The time that every item has at most, from item to verdict.
    pub fn deadline(&self) -> Duration {
        self.deadline
    }

    /// Who answers as the live revision, in the order of the detectors' names.
    pub fn detectors(&self) -> Vec<Detector> {
        let serving = self.serving.load();
        let live = serving.live();
        live.map(|revision| revision.loaded.detector.clone())
            .collect()
    }

    /// Where models run: `cpu` or `gpu`.
    pub fn device(&self) -> &str {
        self.engine.device().name()
    }
}

fn states(serving: &Serving, report: &Report) -> Vec<(DetectorId, DetectorState)> {
    let state = |id: &DetectorId| {
        let is_degraded = |degraded: &Degraded| degraded.detector == *id;
        if report.degraded.iter().any(is_degraded) {
            DetectorState::Degraded
        } else if report.answered.contains_key(id) {
            DetectorState::Answered
        } else {
            DetectorState::NotAsked
        }
    };
    let ids = serving.detectors.iter().map(|serves| &serves.id);
    ids.map(|id| (id.clone(), state(id))).collect()
}

/// The parts that no live revision reads.
fn unjudged(serving: &Serving, item: &Item) -> Vec<Unjudged> {
    let parts = (0..).zip(&item.parts);
    let parts = parts.filter(|(_, part): &(u32, &Part)| !serving.reads(part));
    parts.map(|(id, part)| Unjudged::new(id, part)).collect()
}
