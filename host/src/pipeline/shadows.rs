//! Shadows: revisions and policies that judge after the answer is decided, in spare
//! capacity only.
//!
//! One thread of the lowest priority takes items off a short queue. Under load it gets no
//! processor, the queue stays full, and what does not fit is shed: no answer waits for a
//! shadow, and none changes.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, TryRecvError, sync_channel};
use std::sync::{Arc, Mutex, OnceLock};
use std::thread;
use std::time::Duration;

use tokio::runtime::Handle;

use super::ask::{Answer, Asked, call};
use super::hot::{Hot, listed};
use super::judgement::Report;
use super::priority;
use super::serving::{Revision, Serves, Serving, locked};
use crate::engine::{Blame, Engine, now};
use crate::item::{Item, PartKind};
use crate::lists::Consulted;
use crate::policy::{DetectorState, Facts, Policy, Verdict};
use crate::rollout::Arm;
use crate::rollout::shadow::{Compared, Comparison};
use crate::signal::{DetectorId, Label, Signal};

/// Items that wait for their shadows.
const MAX_WAITING: usize = 64;

/// Bytes of items that wait: they would else be freed once they are answered.
const MAX_WAITING_BYTES: usize = 64 << 20;

/// Between two looks at the queue: less than it takes to fill at 30,000 items a second.
const NAP: Duration = Duration::from_millis(2);

/// Looks in vain after which the thread waits to be woken.
const N_NAPS: u32 = 250;

/// The queue and its thread, which starts with the first item.
#[derive(Debug, Default)]
pub(super) struct Shadows {
    sender: OnceLock<SyncSender<(Job, Handle)>>,
    counts: Arc<Counts>,
}

#[derive(Debug, Default)]
struct Counts {
    n_bytes: AtomicUsize,
    n_judged: AtomicU64,
    n_shed: AtomicU64,
}

/// One item that was answered.
#[derive(Debug)]
pub(super) struct Job {
    pub(super) engine: Arc<Engine>,
    pub(super) serving: Arc<Serving>,
    pub(super) hot: Arc<Hot>,
    pub(super) lists: Vec<Consulted>,
    pub(super) policy_comparison: Arc<Mutex<Option<Comparison>>>,
    pub(super) item: Arc<Item>,
    pub(super) verdict: Verdict,
    pub(super) signals: Vec<Signal>,
    pub(super) states: Vec<(DetectorId, DetectorState)>,
    pub(super) slice: Option<String>,
    pub(super) deadline: Duration,
}

impl Shadows {
    /// Takes the job, or sheds it. Never waits.
    pub(super) fn offer(&self, job: Job) {
        let counts = &self.counts;
        let n_bytes = job.item.held_bytes();
        // Whoever cannot be called now would only take a place from somebody.
        let is_room = job.engine.is_spare()
            && counts.n_bytes.load(Ordering::Relaxed) + n_bytes <= MAX_WAITING_BYTES;
        let runtime = Handle::try_current();
        if let (true, Ok(runtime)) = (is_room, runtime) {
            counts.n_bytes.fetch_add(n_bytes, Ordering::Relaxed);
            if self.sender().try_send((job, runtime)).is_ok() {
                return;
            }
            counts.n_bytes.fetch_sub(n_bytes, Ordering::Relaxed);
        }
        counts.n_shed.fetch_add(1, Ordering::Relaxed);
    }

    /// Items that shadows judged, and items that they did not get.
    pub(super) fn counts(&self) -> (u64, u64) {
        let count = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        (count(&self.counts.n_judged), count(&self.counts.n_shed))
    }

    fn sender(&self) -> &SyncSender<(Job, Handle)> {
        self.sender.get_or_init(|| {
            let (sender, receiver) = sync_channel(MAX_WAITING);
            let counts = self.counts.clone();
            let work = move || judge_all(&receiver, &counts);
            let started = thread::Builder::new()
                .name("trommel-shadow".to_owned())
                .spawn(work);
            if let Err(error) = started {
                // The receiver is gone, so everything is shed.
                tracing::error!(%error, "no thread for shadows; they are not asked");
            }
            sender
        })
    }
}

/// Ends when the host is gone.
fn judge_all(jobs: &Receiver<(Job, Handle)>, counts: &Counts) {
    if let Err(error) = priority::spare_time_only() {
        tracing::warn!(%error, "shadows run at the priority of answers");
    }
    while let Some((job, runtime)) = next(jobs) {
        let n_bytes = job.item.held_bytes();
        // The runtime may end while its last items are judged, and says so by a panic.
        let judged = catch_unwind(AssertUnwindSafe(|| runtime.block_on(judge(&job))));
        let done = match judged {
            Ok(()) => &counts.n_judged,
            Err(_) => &counts.n_shed,
        };
        done.fetch_add(1, Ordering::Relaxed);
        counts.n_bytes.fetch_sub(n_bytes, Ordering::Relaxed);
    }
}

/// The next job; none when the host is gone.
///
/// While jobs come it looks for them now and then and is not woken for each: waking costs
/// whoever answers a system call, and the processor two switches.
#[expect(
    clippy::disallowed_methods,
    reason = "a thread of its own, which nobody waits for"
)]
fn next(jobs: &Receiver<(Job, Handle)>) -> Option<(Job, Handle)> {
    for _ in 0..N_NAPS {
        match jobs.try_recv() {
            Ok(job) => return Some(job),
            Err(TryRecvError::Disconnected) => return None,
            Err(TryRecvError::Empty) => thread::sleep(NAP),
        }
    }
    jobs.recv().ok()
}

async fn judge(job: &Job) {
    for serves in &job.serving.detectors {
        let shadows = job
            .serving
            .lineup
            .shadows(&serves.id, &job.serving.local)
            .filter_map(|shadow| serves.revision(shadow));
        for shadow in shadows.filter(|shadow| shadow.reads(&job.item)) {
            judge_by(job, serves, shadow).await;
        }
    }
    if let Some(policy) = &job.serving.policy_shadow {
        let verdict = decide(job, policy, &job.signals, &job.states);
        let mut comparison = locked(&job.policy_comparison);
        let salt = job.serving.lineup.salt();
        let comparison = comparison.get_or_insert_with(|| Comparison::new(salt));
        add(comparison, job, &verdict);
    }
}

/// What the verdict would have been had `shadow` answered for its detector.
async fn judge_by(job: &Job, serves: &Serves, shadow: &Arc<Revision>) {
    let by = now() + job.deadline;
    let exhibit = match shadow.loaded.detector.reads().contains(&PartKind::Image) {
        true => job.engine.exhibit(&job.item, by).await,
        false => Ok(job.engine.exhibit_unopened(&job.item)),
    };
    let Ok(exhibit) = exhibit.map(Arc::new) else {
        return;
    };
    let asked = vec![call(&job.engine, shadow, Arm::Pinned, &exhibit, by).await];
    let failure = match outcome(&asked[0]) {
        Outcome::Told(failure) => failure,
        Outcome::Nothing => return,
    };
    let mut report = Report::default();
    report.add(&asked);
    let others = job.signals.iter();
    let mut signals: Vec<Signal> = others
        .filter(|signal| signal.detector != serves.id)
        .cloned()
        .collect();
    signals.append(&mut report.signals);
    let state = match failure {
        Some(_) => DetectorState::Degraded,
        None => DetectorState::Answered,
    };
    let mut states = job.states.clone();
    for (id, its_state) in &mut states {
        if *id == serves.id {
            *its_state = state;
        }
    }
    let policy = &job.serving.policy;
    let verdict = decide(job, policy, &signals, &states);
    // It may be none any more.
    let Some(shadowed) = locked(&serves.watch).shadow(shadow.id()) else {
        return;
    };
    let mut shadowed = locked(&shadowed);
    if failure.is_some() {
        shadowed.n_failed += 1;
        shadowed.last_failure = failure;
    }
    add(&mut shadowed.comparison, job, &verdict);
}

/// What a shadow's call tells of it.
enum Outcome {
    /// Why it failed by its own fault, or that it answered.
    Told(Option<String>),
    /// Nothing: the host failed it, or the caller, or it was not called.
    Nothing,
}

fn outcome(asked: &Asked) -> Outcome {
    match &asked.answer {
        Answer::Called(call) => match &call.outcome {
            Ok(_) => Outcome::Told(None),
            Err(fault) if fault.blame() == Blame::Guest => Outcome::Told(Some(fault.to_string())),
            Err(_) => Outcome::Nothing,
        },
        Answer::LeftAlone(_) => Outcome::Nothing,
    }
}

fn decide(
    job: &Job,
    policy: &Policy,
    signals: &[Signal],
    states: &[(DetectorId, DetectorState)],
) -> Verdict {
    policy.decide(&Facts {
        attributes: &job.item.attributes,
        signals: &job.hot.heard(signals),
        detectors: states,
        listed: &listed(&job.lists),
    })
}

/// Counts one item; the labels are those of the rules that fired for one alone.
fn add(comparison: &mut Comparison, job: &Job, verdict: &Verdict) {
    let given = &job.verdict;
    let only_in = |one: &Verdict, other: &Verdict| -> Vec<Label> {
        let in_other = |name: &String| other.rules.iter().any(|rule| rule.name == *name);
        let rules = one.rules.iter().filter(|rule| !in_other(&rule.name));
        rules.flat_map(|rule| rule.labels.iter().cloned()).collect()
    };
    let mut labels = only_in(given, verdict);
    labels.append(&mut only_in(verdict, given));
    labels.sort();
    labels.dedup();
    comparison.add(&Compared {
        item: &job.item.id,
        given: given.action,
        shadow: verdict.action,
        labels: &labels,
        slice: job.slice.as_deref(),
    });
}
