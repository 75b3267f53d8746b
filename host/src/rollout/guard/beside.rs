//! Two revisions side by side: both answer at once, and chance alone decides which.
//!
//! Calls of both arms are taken in blocks, as they end. Within a block it was left to the
//! hash of the key who was asked; so, if the two are alike, any call of the block could as
//! well have been the candidate's. Everything is compared block by block, and no rate, load or
//! kind of item need hold still from one block to the next.

use serde::{Deserialize, Serialize};

use super::evidence::{OddsTest, Table, ln_mean_exp};
use super::score::Watched;
use super::tally::{Kind, N_ACTIONS, Seen};
use super::{Failing, GuardSettings};

/// Calls of a block. More would compare with more neighbours, and be looked at less often.
pub(super) const BLOCK: usize = 20;
/// Calls of a block that are its slowest: one in ten.
const SLOWEST: usize = BLOCK / 10;
/// Tests of one action, or of one edge: more in the candidate's arm, and fewer.
type Both = [OddsTest; 2];

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(super) struct Beside {
    slowdown: f64,
    faults: OddsTest,
    missed: OddsTest,
    /// Its calls are in the slower half, or among the slowest tenth.
    latency: Both,
    /// By action from `tag`: as strict or stricter, and milder.
    verdicts: Vec<Both>,
    /// By label, by inner edge: above it, and below it.
    scores: Vec<Vec<Both>>,
    calls: Vec<(bool, Kind)>,
    answers: Vec<(bool, Seen)>,
}

impl Beside {
    pub(super) fn new(settings: &GuardSettings, watched: &[Watched]) -> Self {
        let both = |tolerated| [OddsTest::new(tolerated), OddsTest::new(tolerated)];
        // Whether two spreads are one is asked without tolerance: the index says how much
        // they differ, and has a bound of its own.
        let edges = |watched: &Watched| vec![both(1.0); watched.bins.n_bins() - 1];
        Self {
            slowdown: settings.slowdown,
            faults: OddsTest::new(settings.failure_odds),
            missed: OddsTest::new(settings.failure_odds),
            // The candidate's time is divided by what is borne instead.
            latency: both(1.0),
            verdicts: vec![both(settings.verdict_odds); N_ACTIONS - 1],
            scores: watched.iter().map(edges).collect(),
            calls: Vec::new(),
            answers: Vec::new(),
        }
    }

    /// Takes a call that counts. Whether a block has become full, and all is to be looked
    /// at.
    pub(super) fn add(&mut self, of_candidate: bool, kind: Kind, seen: Option<Seen>) -> bool {
        self.calls.push((of_candidate, kind));
        self.answers.extend(seen.map(|seen| (of_candidate, seen)));
        let calls = self.calls.len() >= BLOCK;
        if calls {
            let block = std::mem::take(&mut self.calls);
            let table = |wanted| table(block.iter().map(|(own, kind)| (*own, *kind == wanted)));
            self.faults.add(table(Kind::Fault));
            self.missed.add(table(Kind::Missed));
        }
        let answers = self.answers.len() >= BLOCK;
        if answers {
            let block = std::mem::take(&mut self.answers);
            self.compare_latency(&block);
            self.compare_verdicts(&block);
            self.compare_scores(&block);
        }
        calls || answers
    }

    /// Forgets the calls of unfinished blocks: their arms were drawn by another share.
    pub(super) fn begin_anew(&mut self) {
        self.calls.clear();
        self.answers.clear();
    }

    fn compare_latency(&mut self, block: &[(bool, Seen)]) {
        let slowdown = self.slowdown;
        let time = |(own, seen): &(bool, Seen)| {
            let took = seen.took_us as f64;
            if *own { took / slowdown } else { took }
        };
        let mut by_time: Vec<_> = block.iter().map(|call| (time(call), call.0)).collect();
        // Stable, so that who came first decides between equals, and not whose it is.
        by_time.sort_by(|one, other| other.0.total_cmp(&one.0));
        for (test, n_slow) in self.latency.iter_mut().zip([BLOCK / 2, SLOWEST]) {
            let slow = by_time
                .iter()
                .enumerate()
                .map(|(rank, (_, own))| (*own, rank < n_slow));
            test.add(table(slow));
        }
    }

    fn compare_verdicts(&mut self, block: &[(bool, Seen)]) {
        for (below, [stricter, milder]) in self.verdicts.iter_mut().enumerate() {
            let decided = block
                .iter()
                .filter_map(|(own, seen)| Some((*own, seen.action?)));
            let table = table(decided.map(|(own, action)| (own, usize::from(action) > below)));
            stricter.add(table);
            milder.add(table.inverted());
        }
    }

    fn compare_scores(&mut self, block: &[(bool, Seen)]) {
        for (label, edges) in self.scores.iter_mut().enumerate() {
            for (below, [above, under]) in edges.iter_mut().enumerate() {
                let scored = block
                    .iter()
                    .filter_map(|(own, seen)| Some((*own, seen.bins[label]?)));
                let table = table(scored.map(|(own, bin)| (own, usize::from(bin) > below)));
                above.add(table);
                under.add(table.inverted());
            }
        }
    }

    pub(super) fn failing(&self, failing: Failing) -> f64 {
        match failing {
            Failing::Faults => self.faults.evidence(),
            Failing::DeadlineMisses => self.missed.evidence(),
        }
    }

    pub(super) fn latency(&self) -> f64 {
        mean(self.latency.iter())
    }

    /// And the action, by its place, that tells most.
    pub(super) fn verdicts(&self) -> (f64, usize) {
        let evidence = mean(self.verdicts.iter().flatten());
        (
            evidence,
            1 + greatest(self.verdicts.iter().map(|both| mean(both.iter()))),
        )
    }

    pub(super) fn scores(&self, label: usize) -> f64 {
        let edges = &self.scores[label];
        if edges.is_empty() {
            return 0.0;
        }
        mean(edges.iter().flatten())
    }

    /// Whether the state fits what is watched.
    pub(super) fn fits(&self, watched: &[Watched]) -> bool {
        let n_edges = watched.iter().map(|watched| watched.bins.n_bins() - 1);
        self.verdicts.len() == N_ACTIONS - 1
            && self.scores.iter().map(Vec::len).eq(n_edges)
            && self.calls.len() < BLOCK
            && self.answers.len() < BLOCK
            && self.answers.iter().all(|(_, seen)| seen.fits(watched))
    }
}

fn table(calls: impl Iterator<Item = (bool, bool)>) -> Table {
    let mut table = Table {
        n_calls: 0,
        n_candidate: 0,
        n_hits: 0,
        n_candidate_hits: 0,
    };
    for (of_candidate, hit) in calls {
        table.n_calls += 1;
        table.n_candidate += u32::from(of_candidate);
        table.n_hits += u32::from(hit);
        table.n_candidate_hits += u32::from(of_candidate && hit);
    }
    table
}

/// The evidence of several tests that share one bet evenly.
fn mean<'a>(tests: impl Iterator<Item = &'a OddsTest> + Clone) -> f64 {
    ln_mean_exp(tests.flat_map(OddsTest::bets))
}

pub(super) fn greatest(evidence: impl Iterator<Item = f64>) -> usize {
    let greatest = evidence
        .enumerate()
        .max_by(|one, other| one.1.total_cmp(&other.1));
    greatest.map_or(0, |(at, _)| at)
}
