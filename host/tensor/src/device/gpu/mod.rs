//! A GPU as a device, through wgpu: static plans, on one thread that submits and one
//! that waits.
//!
//! Whatever happens to the GPU, callers are answered: a graph without a plan, a GPU that
//! is out of memory and one that does not come back run on the CPU device behind this
//! one, which is said once. A lost GPU fails the runs it had begun with `DeviceLost` and
//! is opened anew for the next.

mod adapter;
mod live;
mod prepared;
mod session;
mod storage;

use std::collections::HashMap;
use std::num::NonZeroUsize;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::Duration;

use futures_util::future::BoxFuture;

use crate::graph::Digest;
use crate::{
    CpuDevice, CpuOptions, Device, Dtype, Graph, Preparation, Session, Storage, Tensor,
    TensorError, Workers,
};
pub use adapter::{AdapterChoice, AdapterKind, AdapterSummary, adapters};
use live::Live;
use session::GpuSession;

/// Which GPU, and how it is used.
#[derive(Debug, Clone)]
pub struct GpuOptions {
    /// Which adapter.
    pub adapter: AdapterChoice,
    /// Whether shaders check their own indices too. The host has validated every shape,
    /// and kernels clamp what data says, so it costs speed and finds nothing; tests run
    /// both ways.
    pub checked_shaders: bool,
    /// How long a run may take on the GPU before the GPU is given up as lost; on a software
    /// adapter twelve times as long.
    pub timeout: Duration,
    /// Operations of one launch at most, roughly: running work cannot be interrupted, and
    /// a display or another process waits for it.
    pub max_launch_operations: u64,
    /// Bytes that all values of one run may take.
    pub max_arena_bytes: u64,
    /// Runs that may wait; one more is refused at once.
    pub max_waiting: usize,
    /// A folder for compiled pipelines; none keeps them in memory.
    pub pipeline_cache: Option<PathBuf>,
    /// The CPU device behind it.
    pub cpu: CpuOptions,
}

impl Default for GpuOptions {
    /// The best hardware adapter, unchecked shaders, ten seconds, two thousand million
    /// operations a launch, 2 GiB, 1,024 waiting runs, no folder.
    fn default() -> Self {
        Self {
            adapter: AdapterChoice::Hardware,
            checked_shaders: false,
            timeout: Duration::from_secs(10),
            max_launch_operations: 2_000_000_000,
            max_arena_bytes: 2 << 30,
            max_waiting: 1024,
            pipeline_cache: None,
            cpu: CpuOptions::default(),
        }
    }
}

/// See the module.
#[derive(Debug)]
pub struct GpuDevice {
    shared: Arc<Shared>,
    sessions: Mutex<HashMap<Digest, Weak<GpuSession>>>,
}

/// What sessions share with their device.
#[derive(Debug)]
struct Shared {
    options: GpuOptions,
    /// One thread: plans, encodes, submits.
    scheduler: Workers,
    cpu: CpuDevice,
    state: Mutex<State>,
}

/// The GPU as it is now.
#[derive(Debug)]
enum State {
    Open(Arc<Live>),
    /// It could not be opened again.
    Gone,
}

impl GpuDevice {
    /// Opens an adapter and starts the threads. Blocking. `NoAdapter` when there is none
    /// of the kind asked for.
    pub fn new(options: GpuOptions) -> Result<Self, TensorError> {
        let live = Live::open(&options)?;
        let scheduler = Workers::start("trommel-gpu", NonZeroUsize::MIN, options.max_waiting);
        let scheduler =
            scheduler.map_err(|error| internal(format!("cannot start a thread: {error}")))?;
        let shared = Shared {
            scheduler,
            cpu: CpuDevice::new(&options.cpu)?,
            state: Mutex::new(State::Open(Arc::new(live))),
            options,
        };
        Ok(Self {
            shared: Arc::new(shared),
            sessions: Mutex::default(),
        })
    }

    /// What it runs on; none when the GPU is gone and the CPU answers.
    pub fn adapter(&self) -> Option<AdapterSummary> {
        self.shared.peek().map(|live| live.summary.clone())
    }

    /// Why a graph runs on the CPU; none when the GPU runs it.
    pub fn uncovered(&self, graph: &Graph) -> Option<String> {
        let live = self.shared.peek()?;
        let plan = crate::plan::Plan::probe(graph, &live.bounds(&self.shared.options));
        plan.err().map(|why| why.to_string())
    }

    /// Loses the GPU on purpose, as a driver would: for tests.
    pub fn lose(&self) {
        if let Some(live) = self.shared.peek() {
            live.destroy();
        }
    }
}

impl Drop for GpuDevice {
    /// Waits for the threads: a driver that is unloaded while one of them is in it, as at
    /// the end of a process, takes the process down.
    fn drop(&mut self) {
        self.shared.scheduler.join();
        let mut state = self
            .shared
            .state
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        let state = std::mem::replace(&mut *state, State::Gone);
        if let State::Open(live) = state {
            live.close();
        }
    }
}

impl Shared {
    fn peek(&self) -> Option<Arc<Live>> {
        match &*self.state.lock().unwrap_or_else(PoisonError::into_inner) {
            State::Open(live) => Some(live.clone()),
            State::Gone => None,
        }
    }

    /// The GPU, opened anew when it was lost; none when it does not come back. On the
    /// scheduler's thread: it may take a second.
    fn live(&self) -> Option<Arc<Live>> {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let State::Open(live) = &*state else {
            return None;
        };
        if !live.is_lost() {
            return Some(live.clone());
        }
        match Live::open(&self.options) {
            Ok(live) => {
                let live = Arc::new(live);
                tracing::warn!(adapter = %live.summary.name, "the GPU was lost and is open again");
                *state = State::Open(live.clone());
                Some(live)
            }
            Err(error) => {
                tracing::error!(%error, "the GPU was lost and does not come back; the CPU goes on");
                *state = State::Gone;
                None
            }
        }
    }
}

impl Device for GpuDevice {
    fn name(&self) -> &'static str {
        "gpu"
    }

    /// Keeps the bytes on this side: they go up with the run that reads them.
    fn upload(
        &self,
        dtype: Dtype,
        shape: &[usize],
        bytes: &[u8],
    ) -> Result<Arc<dyn Storage>, TensorError> {
        self.shared.cpu.upload(dtype, shape, bytes)
    }

    fn session(&self, graph: &Arc<Graph>) -> Result<Arc<dyn Session>, TensorError> {
        let digest = graph.digest();
        let mut sessions = self.sessions.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(session) = sessions.get(&digest).and_then(Weak::upgrade) {
            return Ok(session);
        }
        let uncovered = self.uncovered(graph);
        if let Some(why) = &uncovered {
            tracing::warn!(model = %digest, why, "a model runs on the CPU");
        }
        let cpu = self.shared.cpu.session(graph)?;
        let session = GpuSession::new(graph.clone(), self.shared.clone(), cpu, uncovered.is_none());
        let session = Arc::new(session);
        // A graph of one size is made ready now, so that no item waits for it.
        session.make_ready();
        sessions.retain(|_, weak| weak.strong_count() > 0);
        sessions.insert(digest, Arc::downgrade(&session));
        Ok(session)
    }

    fn prepare(&self, work: Preparation) -> BoxFuture<'static, Result<Tensor, TensorError>> {
        self.shared.cpu.prepare(work)
    }
}

fn internal(what: impl Into<String>) -> TensorError {
    TensorError::Internal {
        device: "gpu".to_owned(),
        what: what.into(),
    }
}

fn lost() -> TensorError {
    TensorError::DeviceLost {
        device: "gpu".to_owned(),
    }
}
