//! One call: a fresh store, every limit in force, and a verdict on whose fault
//! it was when it gives no answer.

use std::pin::pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant};

use tokio::time::timeout_at;
use trommel_tensor::{Account, Charge, TensorError};
use wasmtime::component::{Resource, ResourceTable};
use wasmtime::{PoolConcurrencyLimitError, ResourceLimiter, Store, Trap, UpdateDeadline};

use super::bindings::Detector as Bindings;
use super::detector::Ready;
use super::fault::Failure;
use super::findings::{Log, Writer, broken, on_one_line};
use super::ticker::TICK;
use super::tokenizing::Tokenizing;
use super::{Blame, Detector, Engine, Exhibit, Fault, Findings, Limits, LoadError, LogLine, now};
use crate::item::Item;

/// A guest that ran less than this is never blamed for the time: a good one
/// needs far less than these milliseconds, so it has hardly been let run.
const MIN_TICKS_TO_BLAME: u32 = 10;

/// A guest that had run models this often by its deadline is to blame for the time,
/// also when it was waiting for the next run: no load of the host's makes a good one
/// run so many.
const MIN_RUNS_TO_BLAME: u32 = 32;

/// Handles that one host function is lent at once, at least; only `model.run` may take
/// more.
const MAX_LENT: usize = 16;

/// What one call gave.
#[derive(Debug)]
pub struct Call {
    /// The findings, or why there are none.
    pub outcome: Result<Findings, Fault>,
    /// What the detector logged, up to its bound.
    pub log: Vec<LogLine>,
    /// Lines past the bound.
    pub n_log_lines_dropped: usize,
    /// From the call's start to its end, waiting for a place left out.
    pub took: Duration,
    /// What of it models took, waiting for the device included.
    pub modelling: Duration,
}

impl Call {
    /// A call that failed before its guest could log.
    fn failed(fault: Fault, took: Duration) -> Self {
        Self {
            outcome: Err(fault),
            log: Vec::new(),
            n_log_lines_dropped: 0,
            took,
            modelling: Duration::ZERO,
        }
    }
}

impl Engine {
    /// Shows an item to `detector` in a fresh sandbox.
    ///
    /// Ends by `by` or by the detector's own deadline, whichever comes first.
    /// Needs a tokio runtime with time enabled. Dropping the future ends the
    /// call and frees what it holds.
    pub async fn detect(&self, detector: &Detector, exhibit: &Arc<Exhibit>, by: Instant) -> Call {
        let place = match self.places.try_acquire() {
            Ok(place) => Ok(place),
            // Overload is the rare case; only then is a timer worth its cost.
            Err(_) => until(
                by,
                self.places.acquire(),
                Fault::Overloaded("no place for the call was free in time".to_owned()),
            )
            .await
            .and_then(|place| place.map_err(|_| Fault::Host("the engine is closed".to_owned()))),
        };
        let start = now();
        let _place = match place {
            Ok(place) => place,
            Err(fault) => {
                return Call::failed(fault, Duration::ZERO);
            }
        };
        let mut store = match self.store(&detector.0, exhibit, start, by) {
            Ok(store) => store,
            Err(fault) => {
                return Call::failed(fault, start.elapsed());
            }
        };
        let outcome = run(&mut store, &detector.0).await;
        let state = store.into_data();
        Call {
            outcome,
            log: state.log.lines,
            n_log_lines_dropped: state.log.n_dropped,
            took: start.elapsed(),
            modelling: state.modelling,
        }
    }

    fn store(
        &self,
        detector: &Arc<Ready>,
        exhibit: &Arc<Exhibit>,
        start: Instant,
        by: Instant,
    ) -> Result<Store<CallState>, Fault> {
        let limits = &detector.limits;
        let at = by.min(start + limits.deadline);
        let call = detector
            .account
            .child("the call", limits.host_bytes, u64::MAX);
        let tensors = call.child("the call", limits.tensor_bytes, limits.tensors);
        let held = call
            .charge(0, 0)
            .map_err(|error| Fault::Host(error.to_string()))?;
        let mut table = ResourceTable::new();
        table.set_max_capacity(limits.handles);
        let state = CallState {
            detector: detector.clone(),
            device: self.device.clone(),
            exhibit: exhibit.clone(),
            tokenizing: self.tokenizing.clone(),
            table,
            writer: Writer::default(),
            log: Log::default(),
            tensors,
            account: call,
            held,
            deadline: Deadline {
                at,
                budget: at.saturating_duration_since(start),
            },
            n_ticks: 0,
            n_runs: 0,
            n_carried: 0,
            modelling: Duration::ZERO,
            told: Vec::new(),
        };
        let mut store = Store::new(&self.wasmtime, state);
        store.set_hostcall_fuel(limits.hostcall_bytes);
        // The handles of our own table, the two that every call is given, and those that
        // are lent to a host function: it is our table that says when there are too many.
        store.set_max_component_handles(limits.handles + 2 + MAX_LENT);
        store.limiter(|state| state);
        // Before instantiation, which runs guest code.
        store.set_epoch_deadline(1);
        store.epoch_deadline_callback(|mut context| {
            context.data_mut().tick().map_err(wasmtime::Error::new)?;
            Ok(UpdateDeadline::Yield(1))
        });
        Ok(store)
    }
}

impl Engine {
    /// Starts a detector once and calls nothing, so that what fails before every
    /// call is refused at load. Blocking, within the detector's own deadline.
    pub(super) fn try_start(&self, detector: &Arc<Ready>) -> Result<(), LoadError> {
        let start = now();
        let by = start + detector.limits.deadline;
        let nothing = Arc::new(self.exhibit_unopened(&Arc::default()));
        let mut store = self
            .store(detector, &nothing, start, by)
            .map_err(LoadError::Start)?;
        let starting = detector.pre.instance_pre().instantiate_async(&mut store);
        let started = block_on(starting);
        let instance = started
            .map_err(|error| LoadError::Start(fault_of(error, || store.data().log.last_words())))?;
        let bindings = Bindings::new(&mut store, &instance);
        bindings.map(|_| ()).map_err(|error| LoadError::Mismatch {
            reason: format!("{error:#}"),
        })
    }
}

/// Drives a future that waits for nothing but its own yields.
pub(super) fn block_on<F: Future>(future: F) -> F::Output {
    let mut future = pin!(future);
    let mut context = Context::from_waker(Waker::noop());
    loop {
        match future.as_mut().poll(&mut context) {
            Poll::Ready(output) => return output,
            Poll::Pending => std::thread::yield_now(),
        }
    }
}

/// Waits for `future` until `by`. Outside a tokio runtime, where there is no
/// timer to wait by, it is the host's fault rather than a panic.
pub(super) async fn until<F: Future>(
    by: Instant,
    future: F,
    late: Fault,
) -> Result<F::Output, Fault> {
    if tokio::runtime::Handle::try_current().is_err() {
        return Err(Fault::Host(
            "nothing can be waited for outside a tokio runtime".to_owned(),
        ));
    }
    timeout_at(by.into(), future).await.map_err(|_| late)
}

/// Instantiates, calls, and checks what can only be checked at the end.
async fn run(store: &mut Store<CallState>, detector: &Ready) -> Result<Findings, Fault> {
    let instance = detector.pre.instantiate_async(&mut *store).await;
    let instance: Bindings =
        instance.map_err(|error| fault_of(error, || store.data().log.last_words()))?;
    let (item, findings) = (Resource::new_borrow(0), Resource::new_borrow(0));
    let detection = instance.trommel_detector_detection();
    let answer = detection.call_detect(&mut *store, item, findings).await;
    match answer.map_err(|error| fault_of(error, || store.data().log.last_words()))? {
        Ok(()) => store.data_mut().finish().await,
        Err(failure) => Err(store.data().blamed(failure.into())),
    }
}

/// What a failed call was: our own fault where a host function raised one,
/// else what the sandbox says. Anything else that stops a guest is an invalid
/// value or handle that it passed, so it is the guest's.
pub(super) fn fault_of(
    error: wasmtime::Error,
    last_words: impl FnOnce() -> Option<String>,
) -> Fault {
    let error = match error.downcast::<Fault>() {
        Ok(fault) => return fault,
        Err(error) => error,
    };
    if let Some(limit) = error.downcast_ref::<PoolConcurrencyLimitError>() {
        return Fault::Overloaded(format!("the sandbox pool is exhausted ({limit})"));
    }
    let reason = match error.downcast_ref::<Trap>() {
        Some(trap) => trap.to_string(),
        None => on_one_line(&format!("{error:#}")),
    };
    Fault::Trapped {
        reason,
        last_words: last_words(),
    }
}

/// When the call must have ended, and how long it had.
#[derive(Debug, Clone, Copy)]
struct Deadline {
    at: Instant,
    budget: Duration,
}

/// What the host keeps for one call. Dropped with the store, and all that the
/// guest held with it.
pub(crate) struct CallState {
    pub(super) detector: Arc<Ready>,
    pub(super) device: Arc<dyn trommel_tensor::Device>,
    pub(super) exhibit: Arc<Exhibit>,
    pub(super) tokenizing: Arc<Tokenizing>,
    pub(super) table: ResourceTable,
    pub(super) writer: Writer,
    pub(super) log: Log,
    /// What the guest's tensors are charged to.
    pub(super) tensors: Account,
    /// What the host holds for the call in all, the tensors among it.
    pub(super) account: Account,
    /// Findings and log lines, charged beside the tensors.
    held: Charge,
    deadline: Deadline,
    /// Times that the guest was interrupted: each stands for a tick of running.
    n_ticks: u32,
    /// Runs of models that were answered.
    pub(super) n_runs: u32,
    /// Bytes that host calls carried out of the sandbox.
    n_carried: usize,
    /// Time that the guest waited for models.
    pub(super) modelling: Duration,
    /// Failures that host functions answered, with who is to blame for each.
    told: Vec<(String, Blame)>,
}

impl CallState {
    pub(super) fn item(&self) -> &Item {
        self.exhibit.item()
    }

    pub(super) fn limits(&self) -> &Limits {
        &self.detector.limits
    }

    /// When the call must have ended.
    pub(super) fn deadline(&self) -> Instant {
        self.deadline.at
    }

    fn tick(&mut self) -> Result<(), Fault> {
        self.n_ticks += 1;
        if now() < self.deadline.at {
            return Ok(());
        }
        Err(self.out_of_time())
    }

    /// Whose fault it is that the guest has not finished. One that was given a
    /// core for a tenth of its time is a spinner among spinners. One that was
    /// given less, or had too little time to begin with, may be the victim of an
    /// overloaded host or a hasty caller.
    pub(super) fn out_of_time(&self) -> Fault {
        out_of_time(self.n_ticks, self.deadline.budget)
    }

    /// Counts time that a host call computed for the guest as time that it ran: how
    /// much there is to compute is its own choice.
    pub(super) fn ran(&mut self, time: Duration) {
        let n_ticks = time.as_micros() / TICK.as_micros();
        let n_ticks = u32::try_from(n_ticks).unwrap_or(u32::MAX);
        self.n_ticks = self.n_ticks.saturating_add(n_ticks);
    }

    /// Counts bytes that a host call carried out of the sandbox. Epochs do not
    /// interrupt host calls, so what they may cost in all is bounded here, and a
    /// guest that does nothing else is still stopped at its deadline.
    pub(super) fn carry(&mut self, bytes: usize) -> Result<(), Fault> {
        self.n_carried = self.n_carried.saturating_add(bytes);
        let most = self.limits().carried_bytes;
        if self.n_carried > most {
            return Err(broken(format!(
                "carried {} bytes into the host, its limit is {most}; carry less",
                self.n_carried
            )));
        }
        if now() < self.deadline.at {
            return Ok(());
        }
        Err(self.out_of_time())
    }

    /// The fault of a call that was still waiting at its deadline.
    pub(super) fn timed_out(&self, waited_for: &'static str) -> Fault {
        let budget = self.deadline.budget;
        match self.n_runs {
            n_runs if n_runs >= MIN_RUNS_TO_BLAME => Fault::RanOn { n_runs, budget },
            _ => Fault::TimedOut { waited_for, budget },
        }
    }

    /// Counts bytes that the host keeps for the guest.
    pub(super) fn hold(&mut self, bytes: usize) -> Result<(), Fault> {
        let held = self.held.grow(bytes as u64);
        held.map_err(|error| broken(format!("fills the host: {error}")))
    }

    /// Remembers who is to blame for a failure before it is told to the guest.
    pub(super) fn tell(&mut self, failure: &Failure, blame: Blame) {
        if !self.told.iter().any(|(code, _)| *code == failure.code) {
            self.told.push((failure.code.clone(), blame));
        }
    }

    /// A failure that the guest merely passes on keeps the blame of the one it
    /// came from; its own is its own.
    fn blamed(&self, failure: Failure) -> Fault {
        let origin = self.told.iter().find(|(code, _)| *code == failure.code);
        match origin.map(|(_, blame)| *blame) {
            Some(Blame::Host) => Fault::PassedOn(failure),
            Some(Blame::Caller) => Fault::DeclinedItem(failure),
            // Its own, also where it borrows a code: else a plugin that never
            // answers would be blamed on the items.
            Some(Blame::Guest) | None => Fault::Declined(failure),
        }
    }

    /// Checks the embeddings' numbers, which lie on the device until now.
    async fn finish(&mut self) -> Result<Findings, Fault> {
        let findings = std::mem::take(&mut self.writer.findings);
        for (name, tensor) in &findings.embeddings {
            let read = until(
                self.deadline.at,
                tensor.read(),
                self.timed_out("an embedding to be read"),
            );
            let bytes = read
                .await?
                .map_err(|error| Fault::Host(error.to_string()))?;
            let (numbers, _) = bytes.as_chunks::<4>();
            if numbers
                .iter()
                .any(|number| !f32::from_le_bytes(*number).is_finite())
            {
                return Err(broken(format!(
                    "wrote embedding `{name}` with a number that is not finite"
                )));
            }
        }
        Ok(findings)
    }
}

impl ResourceLimiter for CallState {
    fn memory_growing(
        &mut self,
        _current: usize,
        desired: usize,
        _maximum: Option<usize>,
    ) -> wasmtime::Result<bool> {
        grown(desired, self.limits().memory_bytes, "bytes of memory")
    }

    fn table_growing(
        &mut self,
        _current: usize,
        desired: usize,
        _maximum: Option<usize>,
    ) -> wasmtime::Result<bool> {
        grown(desired, self.limits().table_elements, "table elements")
    }

    fn instances(&self) -> usize {
        self.limits().instances as usize
    }

    fn memories(&self) -> usize {
        self.limits().memories as usize
    }

    fn tables(&self) -> usize {
        self.limits().tables as usize
    }
}

/// Whose fault it is that a guest of so many ticks has not finished.
pub(super) fn out_of_time(n_ticks: u32, budget: Duration) -> Fault {
    let ran = TICK * n_ticks;
    if ran * 10 >= budget && n_ticks >= MIN_TICKS_TO_BLAME {
        Fault::Spun { budget }
    } else {
        Fault::Starved { ran, budget }
    }
}

/// Ends the guest rather than answering -1: most allocators abort then anyway,
/// and the fault names the limit.
pub(super) fn grown(wanted: usize, limit: usize, unit: &'static str) -> wasmtime::Result<bool> {
    if wanted <= limit {
        return Ok(true);
    }
    Err(wasmtime::Error::new(Fault::Grew {
        wanted,
        limit,
        unit,
    }))
}

/// What a tensor failure is: an answer for the guest with who is to blame, or
/// the end of the call.
pub(super) fn told_or_fatal(error: &TensorError) -> Result<(Failure, Blame), Fault> {
    let (code, place, blame) = match error {
        TensorError::ShapeMismatch { place, .. } => ("shape-mismatch", place.clone(), Blame::Guest),
        TensorError::UnknownName { name, .. } => ("unknown-name", name.clone(), Blame::Guest),
        TensorError::UnsupportedOperator { node, .. } => {
            ("unsupported-operator", node.clone(), Blame::Guest)
        }
        TensorError::UnsupportedDtype { .. } | TensorError::InvalidGraph { .. } => {
            ("unsupported-operator", String::new(), Blame::Guest)
        }
        TensorError::QuotaExceeded { account, .. } => {
            ("quota-exceeded", account.clone(), Blame::Guest)
        }
        TensorError::RunFailed { .. } => ("run-failed", String::new(), Blame::Guest),
        TensorError::DeviceLost { device } => ("device-lost", device.clone(), Blame::Host),
        // How much a detector is asked is not its own choice.
        TensorError::Overloaded { .. }
        | TensorError::Expired { .. }
        | TensorError::Throttled { .. } => {
            return Err(Fault::Overloaded(error.to_string()));
        }
        _ => ("internal", String::new(), Blame::Host),
    };
    let failure = Failure {
        code: code.to_owned(),
        what: error.to_string(),
        place,
        hint: String::new(),
    };
    Ok((failure, blame))
}
