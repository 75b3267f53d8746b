//! The CPU as a device: tract's optimised plan, on threads of its own.

mod gather;
mod session;
mod single;

use std::any::Any;
use std::collections::HashMap;
use std::num::NonZeroUsize;
use std::panic::catch_unwind;
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::Duration;

use futures_util::future::{BoxFuture, FutureExt as _, ready};
use tokio::sync::oneshot;
use tract_onnx::prelude as tract;

use crate::batch::{Batching, Style, Threads};
use crate::graph::{Digest, chain, panic_message};
use crate::{Device, Dtype, Graph, Preparation, Session, Storage, Tensor, TensorError};
use session::CpuSession;
pub(crate) use session::{check_deadline, now};

/// Operations of a batch at most: some tens of milliseconds of a core, for which the next
/// must wait.
const BATCH_OPERATIONS: u64 = 1_000_000_000;

/// Bytes that a batch holds at most, its inputs as well.
const BATCH_BYTES: u64 = 256 << 20;

/// Operations of a trial at most, all of its runs: a fraction of a second, for which the next
/// must wait as for four batches. What computes more for one row gains little from being run
/// with others here.
const TRIAL_OPERATIONS: u64 = 4 * BATCH_OPERATIONS;

/// Operations of a light run at most: well under a millisecond of a core.
const LIGHT_OPERATIONS: u64 = 1_000_000;

/// How large the CPU device is.
#[derive(Debug, Clone)]
pub struct CpuOptions {
    /// Threads that run models, and as many that only run what takes well under a
    /// millisecond: the system gives these a core beside long runs.
    pub n_threads: NonZeroUsize,
    /// Runs of one model on inputs of one shape that may wait for a thread, and four times as
    /// many in all, of long and of light runs each; one more is refused at once.
    pub max_waiting: usize,
    /// When rows of several callers run as one batch.
    pub batching: Batching,
}

impl Default for CpuOptions {
    /// A thread per core this process may use, 1,024 waiting runs, batching.
    fn default() -> Self {
        Self {
            n_threads: std::thread::available_parallelism().unwrap_or(NonZeroUsize::MIN),
            max_waiting: 1024,
            batching: Batching::default(),
        }
    }
}

/// The CPU device. Its threads end when the last session is dropped with it.
#[derive(Debug)]
pub struct CpuDevice {
    threads: Arc<Threads>,
    /// By the graph, and by whether its rows are exact.
    sessions: Mutex<HashMap<(Digest, bool), Weak<CpuSession>>>,
}

impl CpuDevice {
    /// Starts the threads. Fails when the system gives none.
    pub fn new(options: &CpuOptions) -> Result<Self, TensorError> {
        let style = Style {
            batching: options.batching,
            // A plan for any number of rows: none need be filled up.
            pads: false,
            answers_at_once: true,
            n_threads: options.n_threads.get(),
            batch_operations: BATCH_OPERATIONS,
            batch_bytes: BATCH_BYTES,
            trial_operations: TRIAL_OPERATIONS,
            light_operations: LIGHT_OPERATIONS,
            // A thread that waits is a core that does nothing.
            patience: Duration::ZERO,
            max_waiting: options.max_waiting,
        };
        let threads = Threads::start("cpu", style, || {}, None)
            .map_err(|error| internal(format!("cannot start a thread: {error}")))?;
        Ok(Self {
            threads: Arc::new(threads),
            sessions: Mutex::default(),
        })
    }
}

impl Device for CpuDevice {
    fn name(&self) -> &'static str {
        "cpu"
    }

    fn upload(
        &self,
        dtype: Dtype,
        shape: &[usize],
        bytes: &[u8],
    ) -> Result<Arc<dyn Storage>, TensorError> {
        stored(dtype, shape, bytes)
    }

    fn session(&self, graph: &Arc<Graph>) -> Result<Arc<dyn Session>, TensorError> {
        let key = (graph.digest(), graph.rows_are_exact());
        let mut sessions = self.sessions.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(session) = sessions.get(&key).and_then(Weak::upgrade) {
            return Ok(session);
        }
        let session = Arc::new(CpuSession::new(graph.clone(), self.threads.clone())?);
        sessions.retain(|_, weak| weak.strong_count() > 0);
        sessions.insert(key, Arc::downgrade(&session));
        Ok(session)
    }

    fn prepare(&self, work: Preparation) -> BoxFuture<'static, Result<Tensor, TensorError>> {
        match self.enqueue(work) {
            Err(error) => ready(Err(error)).boxed(),
            Ok(answered) => answer_of(answered).boxed(),
        }
    }
}

impl CpuDevice {
    fn enqueue(
        &self,
        work: Preparation,
    ) -> Result<oneshot::Receiver<Result<Tensor, TensorError>>, TensorError> {
        let charge = work.charge()?;
        let prepare = move || {
            check_deadline(work.deadline)?;
            let (dtype, shape) = (work.preprocess.dtype, work.shape());
            let elements = tract::Tensor::zero_dt(
                datum_type_of(dtype).expect("no image becomes a bf16 tensor"),
                &shape,
            );
            let mut elements = elements.map_err(|error| internal(chain(&error)))?;
            work.preprocess
                .apply(&work.pixels, elements.as_bytes_mut())?;
            let storage = Arc::new(CpuStorage(Arc::new(elements)));
            Ok(Tensor::from_storage(dtype, &shape, storage, charge))
        };
        self.threads.submit(prepare)
    }
}

/// What a thread answers; it has gone when it answers nothing.
async fn answer_of<T>(
    answered: oneshot::Receiver<Result<T, TensorError>>,
) -> Result<T, TensorError> {
    answered.await.unwrap_or_else(|_| {
        Err(TensorError::DeviceLost {
            device: "cpu".to_owned(),
        })
    })
}

/// Row-major little-endian bytes in this process's memory, as many as `dtype` and `shape`
/// say. `UnsupportedDtype` for elements that no memory here holds.
pub(crate) fn stored(
    dtype: Dtype,
    shape: &[usize],
    bytes: &[u8],
) -> Result<Arc<dyn Storage>, TensorError> {
    let datum_type = datum_type_of(dtype).ok_or_else(|| TensorError::UnsupportedDtype {
        device: "cpu".to_owned(),
        dtype: dtype.name(),
    })?;
    // Shapes come from plugins: tract's own arithmetic on them may panic.
    let made = catch_unwind(|| {
        let mut tensor = tract::Tensor::zero_dt(datum_type, shape)?;
        tensor.as_bytes_mut().copy_from_slice(bytes);
        Ok(tensor)
    });
    let tensor = made
        .map_err(|panic| internal(panic_message(panic.as_ref())))?
        .map_err(|error: tract::TractError| internal(chain(&error)))?;
    Ok(Arc::new(CpuStorage(Arc::new(tensor))))
}

/// Elements in this process's memory.
pub(crate) struct CpuStorage(Arc<tract::Tensor>);

impl Storage for CpuStorage {
    fn read(&self) -> BoxFuture<'static, Result<Vec<u8>, TensorError>> {
        // Nothing to wait for: the copy is bounded by the account that holds it.
        ready(Ok(self.0.as_bytes().to_vec())).boxed()
    }
}

impl CpuStorage {
    /// The elements, when they lie here.
    pub(crate) fn bytes(storage: &Arc<dyn Storage>) -> Option<&[u8]> {
        Self::of(storage).map(|storage| storage.0.as_bytes())
    }

    fn of(storage: &Arc<dyn Storage>) -> Option<&Self> {
        let storage: &dyn Any = storage.as_ref();
        storage.downcast_ref()
    }
}

fn datum_type_of(dtype: Dtype) -> Option<tract::DatumType> {
    use tract::DatumType;
    Some(match dtype {
        Dtype::Bool => DatumType::Bool,
        Dtype::U8 => DatumType::U8,
        Dtype::I8 => DatumType::I8,
        Dtype::U16 => DatumType::U16,
        Dtype::I16 => DatumType::I16,
        Dtype::U32 => DatumType::U32,
        Dtype::I32 => DatumType::I32,
        Dtype::U64 => DatumType::U64,
        Dtype::I64 => DatumType::I64,
        Dtype::F16 => DatumType::F16,
        Dtype::F32 => DatumType::F32,
        Dtype::F64 => DatumType::F64,
        Dtype::Bf16 => return None,
    })
}

fn internal(what: String) -> TensorError {
    TensorError::Internal {
        device: "cpu".to_owned(),
        what,
    }
}
