//! The CPU as a device: tract's optimised plan, on threads of its own.

mod gather;
mod session;

use std::any::Any;
use std::collections::HashMap;
use std::num::NonZeroUsize;
use std::panic::catch_unwind;
use std::sync::{Arc, Mutex, PoisonError, Weak};

use futures_util::future::{BoxFuture, FutureExt as _, ready};
use tokio::sync::oneshot;
use tract_onnx::prelude as tract;

use crate::graph::{Digest, chain, panic_message};
use crate::{
    Device, Dtype, Graph, Preparation, QueueFull, Session, Storage, Tensor, TensorError, Workers,
};
use session::CpuSession;
pub(crate) use session::{check_deadline, now};

/// How large the CPU device is.
#[derive(Debug, Clone)]
pub struct CpuOptions {
    /// Threads that run models.
    pub n_threads: NonZeroUsize,
    /// Runs that may wait for a thread; one more is refused at once.
    pub max_waiting: usize,
}

impl Default for CpuOptions {
    /// A thread per core this process may use, and 1,024 waiting runs.
    fn default() -> Self {
        Self {
            n_threads: std::thread::available_parallelism().unwrap_or(NonZeroUsize::MIN),
            max_waiting: 1024,
        }
    }
}

/// The CPU device. Its threads end when the last session is dropped with it.
#[derive(Debug)]
pub struct CpuDevice {
    workers: Arc<Workers>,
    sessions: Mutex<HashMap<Digest, Weak<CpuSession>>>,
}

impl CpuDevice {
    /// Starts the threads. Fails when the system gives none.
    pub fn new(options: &CpuOptions) -> Result<Self, TensorError> {
        let workers = Workers::start("trommel-cpu", options.n_threads, options.max_waiting)
            .map_err(|error| internal(format!("cannot start a thread: {error}")))?;
        Ok(Self {
            workers: Arc::new(workers),
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
        let datum_type = datum_type_of(dtype).ok_or_else(|| TensorError::UnsupportedDtype {
            device: self.name().to_owned(),
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

    fn session(&self, graph: &Arc<Graph>) -> Result<Arc<dyn Session>, TensorError> {
        let digest = graph.digest();
        let mut sessions = self.sessions.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(session) = sessions.get(&digest).and_then(Weak::upgrade) {
            return Ok(session);
        }
        let session = Arc::new(CpuSession::new(graph.clone(), self.workers.clone())?);
        sessions.retain(|_, weak| weak.strong_count() > 0);
        sessions.insert(digest, Arc::downgrade(&session));
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
        self.workers.submit(prepare).map_err(overloaded)
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

fn overloaded(QueueFull { n_waiting }: QueueFull) -> TensorError {
    TensorError::Overloaded {
        device: "cpu".to_owned(),
        n_waiting,
    }
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
    pub(crate) fn bytes(storage: &Arc<dyn Storage>) -> Option<Vec<u8>> {
        Self::of(storage).map(|storage| storage.0.as_bytes().to_vec())
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
