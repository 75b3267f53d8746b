//! Golden cases: what a revision must answer before it takes traffic.

use std::sync::Arc;

use super::Host;
use super::serving::Revision;
use crate::engine::{Findings, RawSignal, now};
use crate::item::{Item, PartKind};
use crate::registry::{GoldenCase, Loaded};

impl Host {
    /// Runs the golden cases of every revision that is ready and names those that fail. A
    /// host that takes traffic should have seen this pass.
    pub async fn verify(&self) -> Result<(), Vec<String>> {
        let mut failed = Vec::new();
        let serving = self.serving.load_full();
        let revisions: Vec<&Arc<Revision>> = serving.revisions().collect();
        for revision in revisions {
            failed.extend(self.golden_failures(&revision.loaded).await);
        }
        if failed.is_empty() {
            Ok(())
        } else {
            Err(failed)
        }
    }

    /// The golden cases that a revision does not answer as its manifest says.
    pub(super) async fn golden_failures(&self, loaded: &Loaded) -> Vec<String> {
        let mut failed = Vec::new();
        for case in &loaded.golden {
            if let Err(wrong) = self.golden(loaded, case).await {
                failed.push(format!(
                    "golden case `{}` of detector `{}`, label `{}`: {wrong}",
                    case.golden.name,
                    loaded.detector.id(),
                    case.golden.label
                ));
            }
        }
        failed
    }

    async fn golden(&self, loaded: &Loaded, case: &GoldenCase) -> Result<(), String> {
        let golden = &case.golden;
        let findings = self.golden_outcome(loaded, &case.item).await?;
        let of_label = |signal: &&RawSignal| signal.label.as_str() == golden.label;
        let score = findings.signals.iter().find(of_label);
        let score = score.ok_or("gets no score")?.score;
        if golden.at_least.is_some_and(|least| score < least) {
            return Err(format!("scores {score}, less than it must"));
        }
        if golden.at_most.is_some_and(|most| score > most) {
            return Err(format!("scores {score}, more than it may"));
        }
        Ok(())
    }

    /// What a detector finds in a golden case, or why it finds nothing.
    async fn golden_outcome(&self, loaded: &Loaded, item: &Arc<Item>) -> Result<Findings, String> {
        let by = now() + self.deadline;
        let exhibit = match loaded.detector.reads().contains(&PartKind::Image) {
            true => self.engine.exhibit(item, by).await,
            false => Ok(self.engine.exhibit_unopened(item)),
        };
        let exhibit = Arc::new(exhibit.map_err(|error| error.to_string())?);
        let call = self.engine.detect(&loaded.detector, &exhibit, by).await;
        call.outcome.map_err(|fault| fault.to_string())
    }
}
