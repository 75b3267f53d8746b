//! The street: item → plugin calls → signals → verdict.
//!
//! [`Host`] is the public door. It installs no logger, spawns no runtime and
//! never exits the process; its futures run on the caller's tokio runtime.
//! Which detectors answer is decided before an item comes, never by an item.

mod build;
mod device;
mod judgement;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use arc_swap::ArcSwap;
use futures_util::future::join_all;

pub use build::{BuildError, HostBuilder};
pub use device::{DeviceChoice, NoDevice};
pub use judgement::{Degraded, Judgement, Lineup, Timings, Unjudged};

use crate::calibrator::Calibrator;
use crate::engine::{Call, Engine, Exhibit, Findings, LogLine, RawSignal, now};
use crate::excerpt::printable;
use crate::item::{IntakeError, Item, ItemBounds, Part, PartKind};
use crate::policy::{DetectorState, Facts, Policy, PolicyError};
use crate::registry::Loaded;
use crate::signal::{DetectorId, Signal};

/// Loaded detectors, a policy, and the bounds that both are held to.
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
    engine: Engine,
    detectors: Vec<Loaded>,
    policy: ArcSwap<Policy>,
    bounds: ItemBounds,
    deadline: Duration,
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
        self.check_by(item, now() + self.deadline).await
    }

    /// Judges one item by `by`, or within the host's own deadline when that
    /// comes sooner. What has not answered by then is degraded.
    pub async fn check_by(&self, item: &Arc<Item>, by: Instant) -> Result<Judgement, IntakeError> {
        let start = now();
        item.check(&self.bounds)?;
        let by = by.min(start + self.deadline);
        let asked: Vec<&Loaded> = self
            .detectors
            .iter()
            .filter(|loaded| asks(loaded, item))
            .collect();
        let exhibit = Arc::new(self.exhibit(item, &asked, by).await?);
        let calls = join_all(
            asked
                .iter()
                .map(|loaded| self.engine.detect(&loaded.detector, &exhibit, by)),
        );
        let mut report = Report::default();
        for (loaded, call) in asked.iter().zip(calls.await) {
            report.add(loaded, call);
        }
        let states = self.states(&report);
        let policy = self.policy.load();
        let verdict = policy.decide(&Facts {
            attributes: &item.attributes,
            signals: &report.signals,
            detectors: &states,
        });
        let (decode, preprocess) = exhibit.spent_on_images();
        Ok(Judgement {
            id: item.id.clone(),
            verdict,
            policy: policy.digest(),
            signals: report.signals,
            degraded: report.degraded,
            unjudged: self.unjudged(item),
            lineup: Lineup(
                self.detectors
                    .iter()
                    .map(|loaded| (loaded.detector.id().clone(), loaded.detector.revision()))
                    .collect(),
            ),
            timings: Timings {
                detectors: report.took,
                decode,
                preprocess,
                model: report.modelling,
                total: start.elapsed(),
            },
        })
    }

    /// An item's images are opened when a detector that is asked reads images.
    async fn exhibit(
        &self,
        item: &Arc<Item>,
        asked: &[&Loaded],
        by: Instant,
    ) -> Result<Exhibit, IntakeError> {
        let reads_images = |loaded: &&Loaded| loaded.detector.reads().contains(&PartKind::Image);
        if asked.iter().any(reads_images) {
            self.engine.exhibit(item, by).await
        } else {
            Ok(self.engine.exhibit_unopened(item))
        }
    }

    /// Runs every detector's golden cases and names those that fail. A host
    /// that takes traffic should have seen this pass.
    pub async fn verify(&self) -> Result<(), Vec<String>> {
        let mut failed = Vec::new();
        for loaded in &self.detectors {
            for case in &loaded.golden {
                let golden = &case.golden;
                let outcome = self.golden_outcome(loaded, &case.item).await;
                let score = outcome.map(|findings| {
                    let of_label = |signal: &&RawSignal| signal.label.as_str() == golden.label;
                    findings
                        .signals
                        .iter()
                        .find(of_label)
                        .map(|signal| signal.score)
                });
                let wrong = match score {
                    Ok(Some(score)) if golden.at_least.is_some_and(|least| score < least) => {
                        format!("scores {score}, less than it must")
                    }
                    Ok(Some(score)) if golden.at_most.is_some_and(|most| score > most) => {
                        format!("scores {score}, more than it may")
                    }
                    Ok(Some(_)) => continue,
                    Ok(None) => "gets no score".to_owned(),
                    Err(wrong) => wrong,
                };
                failed.push(format!(
                    "golden case `{}` of detector `{}`, label `{}`: {wrong}",
                    golden.name,
                    loaded.detector.id(),
                    golden.label
                ));
            }
        }
        if failed.is_empty() {
            Ok(())
        } else {
            Err(failed)
        }
    }

    /// What a detector finds in a golden case, or why it finds nothing.
    async fn golden_outcome(&self, loaded: &Loaded, item: &Arc<Item>) -> Result<Findings, String> {
        let by = now() + self.deadline;
        let exhibit = self.exhibit(item, &[loaded], by).await;
        let exhibit = Arc::new(exhibit.map_err(|error| error.to_string())?);
        let call = self.engine.detect(&loaded.detector, &exhibit, by).await;
        call.outcome.map_err(|fault| fault.to_string())
    }

    /// What decides now.
    pub fn policy(&self) -> Arc<Policy> {
        self.policy.load_full()
    }

    /// Decides by `policy` from the next verdict on. When it names what no loaded detector
    /// declares, or a target that none reaches, it is refused and nothing changes.
    pub fn replace_policy(&self, policy: Policy) -> Result<(), PolicyError> {
        let labels = self.detectors().flat_map(crate::engine::Detector::labels);
        let ids = self.detectors().map(crate::engine::Detector::id);
        policy.check_names(&labels.cloned().collect(), &ids.cloned().collect())?;
        let policy = policy.resolve(&self.calibrators())?;
        self.policy.store(Arc::new(policy));
        Ok(())
    }

    fn calibrators(&self) -> Vec<(&DetectorId, &Calibrator)> {
        let detectors = self.detectors.iter();
        detectors
            .map(|loaded| (loaded.detector.id(), &loaded.calibrator))
            .collect()
    }

    /// The time that every item has at most, from item to verdict.
    pub fn deadline(&self) -> Duration {
        self.deadline
    }

    /// The loaded detectors, in the order they were given.
    pub fn detectors(&self) -> impl Iterator<Item = &crate::engine::Detector> {
        self.detectors.iter().map(|loaded| &loaded.detector)
    }

    /// Where models run: `cpu` or `gpu`.
    pub fn device(&self) -> &str {
        self.engine.device().name()
    }

    fn states(&self, report: &Report) -> Vec<(DetectorId, DetectorState)> {
        let state = |loaded: &Loaded| {
            let id = loaded.detector.id();
            let state = if report
                .degraded
                .iter()
                .any(|degraded| degraded.detector == *id)
            {
                DetectorState::Degraded
            } else if report.took.contains_key(id) {
                DetectorState::Answered
            } else {
                DetectorState::NotAsked
            };
            (id.clone(), state)
        };
        self.detectors.iter().map(state).collect()
    }

    /// The parts that no loaded detector reads.
    fn unjudged(&self, item: &Item) -> Vec<Unjudged> {
        let read = |part: &Part| {
            let reads = |loaded: &Loaded| loaded.detector.reads().contains(&part.kind());
            self.detectors.iter().any(reads)
        };
        let parts = (0..).zip(&item.parts).filter(|(_, part)| !read(part));
        parts.map(|(id, part)| Unjudged::new(id, part)).collect()
    }
}

fn asks(loaded: &Loaded, item: &Item) -> bool {
    item.has_any(loaded.detector.reads())
}

/// What the calls for one item gave.
#[derive(Default)]
struct Report {
    signals: Vec<Signal>,
    degraded: Vec<Degraded>,
    took: BTreeMap<DetectorId, Duration>,
    modelling: Duration,
}

impl Report {
    fn add(&mut self, loaded: &Loaded, call: Call) {
        let id = loaded.detector.id();
        log_lines(id, &call);
        self.took.insert(id.clone(), call.took);
        self.modelling += call.modelling;
        let findings = match call.outcome {
            Ok(findings) => findings,
            Err(fault) => {
                self.degraded.push(Degraded {
                    detector: id.clone(),
                    revision: loaded.detector.revision(),
                    blame: fault.blame(),
                    reason: fault.to_string(),
                });
                return;
            }
        };
        for raw in findings.signals {
            let calibrated = loaded.calibrator.probability(&raw.label, raw.score);
            let (probability, calibrator) =
                calibrated.expect("every declared label is calibrated, scores are finite");
            self.signals.push(Signal {
                detector: id.clone(),
                revision: loaded.detector.revision(),
                probability,
                calibrator,
                label: raw.label,
                score: raw.score,
                evidence: raw.evidence,
            });
        }
    }
}

/// Hands a detector's log lines to whatever subscriber the embedder installed.
fn log_lines(detector: &DetectorId, call: &Call) {
    for LogLine {
        level,
        message,
        fields,
    } in &call.log
    {
        // Else a newline in it would begin a line that looks like the host's own.
        let message = printable(message, message.len());
        // `tracing` wants each level spelled out.
        macro_rules! line {
            ($level:expr) => {
                tracing::event!(target: "trommel::guest", $level, %detector, ?fields, "{message}")
            };
        }
        match *level {
            tracing::Level::ERROR => line!(tracing::Level::ERROR),
            tracing::Level::WARN => line!(tracing::Level::WARN),
            tracing::Level::INFO => line!(tracing::Level::INFO),
            tracing::Level::DEBUG => line!(tracing::Level::DEBUG),
            _ => line!(tracing::Level::TRACE),
        }
    }
    if call.n_log_lines_dropped > 0 {
        let n_dropped = call.n_log_lines_dropped;
        tracing::warn!(target: "trommel::guest", %detector, n_dropped, "log lines past the call's bound were dropped");
    }
}
