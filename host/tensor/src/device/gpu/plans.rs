//! The plans of one session: one for each set of input sizes that it has met lately, and
//! what is known of those that the GPU does not take.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use tract_onnx::prelude::SymbolValues;

use super::GpuOptions;
use super::live::{Ending, Live};
use super::prepared::{Prepared, Refusal};
use crate::Graph;
use crate::plan::Plan;

/// Plans that a session keeps ready; the one used longest ago makes room. Five lengths of
/// texts, each in every size of a batch, and some more.
const MAX_PLANS: usize = 48;

/// Sizes remembered as refused; the first remembered makes room.
const MAX_REFUSED: usize = 64;

/// A GPU without memory is asked again after this long.
const MEMORY_WAIT: Duration = Duration::from_secs(10);

/// After so many losses in a row, each while a run of one session was computed, that
/// session's runs go to the CPU for good.
const MAX_LOSSES: u32 = 3;

/// Shapes of all inputs: what a plan is made for.
pub(super) type Sizes = Vec<Vec<usize>>;

/// See the module.
#[derive(Debug, Default)]
pub(super) struct Plans {
    known: Mutex<Known>,
    /// Losses in a row that met a run of this session.
    n_losses: AtomicU32,
    given_up: AtomicBool,
}

#[derive(Debug, Default)]
struct Known {
    /// The opened adapter that the rest is about.
    owner: Option<Arc<Live>>,
    ready: VecDeque<(Sizes, Arc<Prepared>)>,
    refused: VecDeque<Refused>,
    has_told: bool,
}

#[derive(Debug)]
struct Refused {
    sizes: Sizes,
    /// Asked again then; never where the sizes are to blame.
    until: Option<Instant>,
}

impl Plans {
    /// The plan for these sizes, made ready; `None` when the GPU does not take them.
    pub(super) fn get(
        &self,
        graph: &Graph,
        options: &GpuOptions,
        live: &Arc<Live>,
        symbols: &SymbolValues,
        sizes: Sizes,
        now: Instant,
    ) -> Option<Arc<Prepared>> {
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        known.meet(live, now);
        if known.refused.iter().any(|refused| refused.sizes == sizes) {
            return None;
        }
        if let Some(prepared) = known.take(&sizes) {
            known.ready.push_back((sizes, prepared.clone()));
            return Some(prepared);
        }
        let made = Plan::new(graph, symbols, &live.bounds(options))
            .map_err(|why| Refusal::Sizes(why.to_string()))
            .and_then(|plan| Prepared::new(live, plan, options));
        match made {
            Ok(prepared) => {
                let prepared = Arc::new(prepared);
                if known.ready.len() == MAX_PLANS {
                    known.ready.pop_front();
                }
                known.ready.push_back((sizes, prepared.clone()));
                Some(prepared)
            }
            // A lost GPU refuses everything; the next that is opened may take it.
            Err(_) if live.is_found_lost() => None,
            Err(refusal) => {
                known.refuse(sizes, &refusal, graph, now);
                None
            }
        }
    }

    /// Sends every later run to the CPU: something of this model is worse than a plan that
    /// does not fit.
    pub(super) fn give_up(&self, graph: &Graph, why: &str) {
        if !self.given_up.swap(true, Ordering::AcqRel) {
            tracing::error!(model = %graph.digest(), why, "a model runs on the CPU from now on");
        }
        *self.known.lock().unwrap_or_else(PoisonError::into_inner) = Known::default();
    }

    pub(super) fn has_given_up(&self) -> bool {
        self.given_up.load(Ordering::Acquire)
    }

    /// Learns how a run ended, so that a model that takes the GPU from everybody does so a
    /// bounded number of times.
    pub(super) fn ended(&self, graph: &Graph, ending: Ending) {
        match ending {
            Ending::Done => self.n_losses.store(0, Ordering::Relaxed),
            Ending::NotBegun => {}
            Ending::TimedOut => self.give_up(graph, "a run of it took too long"),
            Ending::Lost => {
                if self.n_losses.fetch_add(1, Ordering::Relaxed) + 1 >= MAX_LOSSES {
                    self.give_up(graph, "the GPU was lost during its runs, time after time");
                }
            }
        }
    }
}

impl Known {
    /// Forgets what no longer holds: all when another adapter is open, plans that are bound
    /// to an arena before the current, refusals whose time is over.
    fn meet(&mut self, live: &Arc<Live>, now: Instant) {
        let owner = self.owner.as_ref();
        if !owner.is_some_and(|owner| Arc::ptr_eq(owner, live)) {
            self.ready.clear();
            self.refused.clear();
            self.owner = Some(live.clone());
        }
        self.ready.retain(|(_, prepared)| prepared.fits(live));
        self.refused
            .retain(|refused| refused.until.is_none_or(|until| now < until));
    }

    fn take(&mut self, sizes: &Sizes) -> Option<Arc<Prepared>> {
        let at = self.ready.iter().position(|(known, _)| known == sizes)?;
        self.ready.remove(at).map(|(_, prepared)| prepared)
    }

    fn refuse(&mut self, sizes: Sizes, refusal: &Refusal, graph: &Graph, now: Instant) {
        // Once per model: sizes come from plugins, and a log of them all is no help.
        if self.has_told {
            tracing::debug!(model = %graph.digest(), %refusal, ?sizes, "a run goes to the CPU");
        } else {
            tracing::warn!(
                model = %graph.digest(), %refusal, ?sizes,
                "runs of this size go to the CPU; of other sizes only the debug log tells"
            );
            self.has_told = true;
        }
        if self.refused.len() == MAX_REFUSED {
            self.refused.pop_front();
        }
        let until = match refusal {
            Refusal::Memory => now.checked_add(MEMORY_WAIT),
            Refusal::Sizes(_) | Refusal::Driver(_) => None,
        };
        self.refused.push_back(Refused { sizes, until });
    }
}
