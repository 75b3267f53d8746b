//! A device that counts what it is asked for and leaves the work to another.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use futures_util::future::{BoxFuture, FutureExt as _, ready};
use trommel_tensor::{
    BatchCounts, Device, Dtype, Graph, Preparation, Run, Session, Storage, Tensor, TensorError,
};

/// Counts runs and images; see the module.
#[derive(Debug)]
pub struct CountingDevice {
    inner: Arc<dyn Device>,
    n_runs: Arc<AtomicUsize>,
    n_refused: usize,
    n_prepared: AtomicUsize,
}

impl CountingDevice {
    /// Counts on the way to `inner`.
    pub fn over(inner: Arc<dyn Device>) -> Self {
        Self {
            inner,
            n_runs: Arc::default(),
            n_refused: 0,
            n_prepared: AtomicUsize::new(0),
        }
    }

    /// Refuses the first `n_runs` runs, as a device that is asked too much does.
    pub fn refusing(mut self, n_runs: usize) -> Self {
        self.n_refused = n_runs;
        self
    }

    /// Runs asked for so far.
    pub fn n_runs(&self) -> usize {
        self.n_runs.load(Ordering::Relaxed)
    }

    /// Images made into tensors so far.
    pub fn n_prepared(&self) -> usize {
        self.n_prepared.load(Ordering::Relaxed)
    }
}

impl Device for CountingDevice {
    fn name(&self) -> &str {
        self.inner.name()
    }

    fn upload(
        &self,
        dtype: Dtype,
        shape: &[usize],
        bytes: &[u8],
    ) -> Result<Arc<dyn Storage>, TensorError> {
        self.inner.upload(dtype, shape, bytes)
    }

    fn session(&self, graph: &Arc<Graph>) -> Result<Arc<dyn Session>, TensorError> {
        Ok(Arc::new(CountingSession {
            inner: self.inner.session(graph)?,
            n_runs: self.n_runs.clone(),
            n_refused: self.n_refused,
        }))
    }

    fn prepare(&self, work: Preparation) -> BoxFuture<'static, Result<Tensor, TensorError>> {
        self.n_prepared.fetch_add(1, Ordering::Relaxed);
        self.inner.prepare(work)
    }
}

#[derive(Debug)]
struct CountingSession {
    inner: Arc<dyn Session>,
    n_runs: Arc<AtomicUsize>,
    n_refused: usize,
}

impl Session for CountingSession {
    fn graph(&self) -> &Arc<Graph> {
        self.inner.graph()
    }

    fn stores_halves(&self) -> Result<(), String> {
        self.inner.stores_halves()
    }

    fn run(&self, run: Run) -> BoxFuture<'static, Result<Vec<Tensor>, TensorError>> {
        if self.n_runs.fetch_add(1, Ordering::Relaxed) < self.n_refused {
            let error = TensorError::Overloaded {
                device: "counting".to_owned(),
                n_waiting: 0,
            };
            return ready(Err(error)).boxed();
        }
        self.inner.run(run)
    }

    fn settle(&self) -> Option<Result<usize, String>> {
        self.inner.settle()
    }

    fn counts(&self) -> BatchCounts {
        self.inner.counts()
    }
}
