//! Where sessions run and tensors live.
//!
//! Three small traits are the whole seam: callers hold `dyn Device`, `dyn
//! Session` and [`crate::Tensor`], and never learn which device it is. What is
//! checked once for all devices (names, shapes, quotas) stands in `graph` and
//! `tensor`; a device only stores, prepares and launches.

pub mod cpu;
pub mod gpu;

use std::any::Any;
use std::fmt::Debug;
use std::sync::Arc;
use std::time::Instant;

use futures_util::future::BoxFuture;

use crate::{Account, BatchCounts, Dtype, Graph, Preparation, Tensor, TensorError};

/// Something that stores tensors and runs graphs.
pub trait Device: Debug + Send + Sync {
    /// `cpu` or `gpu`, as it is called everywhere.
    fn name(&self) -> &str;

    /// Stores row-major little-endian bytes, as many as `dtype` and `shape` say
    /// (checked by [`Tensor::upload`], the only caller).
    fn upload(
        &self,
        dtype: Dtype,
        shape: &[usize],
        bytes: &[u8],
    ) -> Result<Arc<dyn Storage>, TensorError>;

    /// Makes `graph` ready. Two sessions of one graph are the same session while
    /// either lives. Blocking: not on a caller's executor. `InvalidGraph` when
    /// the device cannot make it ready.
    fn session(&self, graph: &Arc<Graph>) -> Result<Arc<dyn Session>, TensorError>;

    /// Makes an image into a tensor. What it will hold is charged before anything
    /// waits; dropping the future gives it up. `QuotaExceeded` and
    /// `UnsupportedDtype` for what was asked; `Overloaded` or `Expired` when it was
    /// not begun; `DeviceLost`.
    fn prepare(&self, work: Preparation) -> BoxFuture<'static, Result<Tensor, TensorError>>;
}

/// A graph made ready on a device.
pub trait Session: Debug + Send + Sync {
    /// The graph it runs.
    fn graph(&self) -> &Arc<Graph>;

    /// Runs and answers the outputs asked for, in the order asked. Names, shapes
    /// and quotas are checked before anything waits; dropping the future gives
    /// the run up. `UnknownName`, `ShapeMismatch` and `QuotaExceeded` for what was
    /// asked; `Overloaded` or `Expired` when it was not begun; `RunFailed` when the
    /// model cannot compute on these values; `DeviceLost`.
    fn run(&self, run: Run) -> BoxFuture<'static, Result<Vec<Tensor>, TensorError>>;

    /// Whether its runs store values as f16, when the graph asks for it; else why they do
    /// not. Every device may store f32 instead.
    fn stores_halves(&self) -> Result<(), String> {
        Err("the CPU device computes in f32 throughout".to_owned())
    }

    /// Finds out how many rows of several callers score the same together as alone, for the
    /// shapes that most runs will have: so many, one where two are no faster, or why none are
    /// joined. None where the graph has no rows. Callers find out otherwise, at the cost of a run or two. Blocking and perhaps
    /// slow: not on a caller's executor.
    fn settle(&self) -> Option<Result<usize, String>> {
        None
    }

    /// What was run, for whom, and in how many batches.
    fn counts(&self) -> BatchCounts {
        BatchCounts::default()
    }
}

/// One run's inputs and what is wanted of it.
#[derive(Debug)]
pub struct Run {
    /// Every input of the graph, by name.
    pub inputs: Vec<(String, Tensor)>,
    /// Names of the outputs wanted.
    pub outputs: Vec<String>,
    /// A run that has not begun by then is dropped.
    pub deadline: Option<Instant>,
    /// Who is charged for the outputs, and for the values in between meanwhile.
    pub account: Account,
}

/// A tensor's elements as its device keeps them.
pub trait Storage: Any + Send + Sync {
    /// The elements, row-major, little-endian.
    fn read(&self) -> BoxFuture<'static, Result<Vec<u8>, TensorError>>;
}
