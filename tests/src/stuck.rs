//! A device whose runs never end: what a hung GPU looks like to a caller.

use std::sync::Arc;

use futures_util::future::{BoxFuture, FutureExt as _, pending};
use trommel_tensor::{
    Device, Dtype, Graph, Preparation, Run, Session, Storage, Tensor, TensorError,
};

/// Stores on `inner` and never finishes a run or an image.
#[derive(Debug)]
pub struct StuckDevice {
    inner: Arc<dyn Device>,
}

impl StuckDevice {
    /// Stores on `inner`.
    pub fn over(inner: Arc<dyn Device>) -> Self {
        Self { inner }
    }
}

impl Device for StuckDevice {
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
        Ok(Arc::new(StuckSession(graph.clone())))
    }

    fn prepare(&self, _work: Preparation) -> BoxFuture<'static, Result<Tensor, TensorError>> {
        pending().boxed()
    }
}

#[derive(Debug)]
struct StuckSession(Arc<Graph>);

impl Session for StuckSession {
    fn graph(&self) -> &Arc<Graph> {
        &self.0
    }

    fn run(&self, _run: Run) -> BoxFuture<'static, Result<Vec<Tensor>, TensorError>> {
        pending().boxed()
    }
}
