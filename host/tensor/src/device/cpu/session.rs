//! A graph as tract's optimised plan.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::Instant;

use futures_util::future::{BoxFuture, FutureExt as _, ready};
use tokio::sync::oneshot;
use tract_onnx::prelude as tract;
use tract_onnx::prelude::IntoTValue as _;
use tract_onnx::tract_core::internal::IntoArcTensor as _;

use super::CpuStorage;
use super::queue::Workers;
use crate::graph::{Binding, dtype_of, panic_message};
use crate::{Account, Charge, Graph, Run, Session, Tensor, TensorError};

type Plan = Arc<tract::TypedRunnableModel>;

/// See [`crate::device`]; shares its threads with the device's other sessions.
pub(super) struct CpuSession {
    graph: Arc<Graph>,
    plan: Plan,
    workers: Arc<Workers>,
}

impl std::fmt::Debug for CpuSession {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "CpuSession({})", self.graph.digest())
    }
}

impl CpuSession {
    pub(super) fn new(graph: Arc<Graph>, workers: Arc<Workers>) -> Result<Self, TensorError> {
        let model = graph.model().clone();
        let plan = catch_unwind(AssertUnwindSafe(|| {
            model
                .into_optimized()
                .and_then(tract::IntoRunnable::into_runnable)
        }));
        let plan = plan
            .map_err(|panic| TensorError::invalid(panic_message(panic.as_ref())))?
            .map_err(|error| TensorError::invalid(crate::graph::chain(&error)))?;
        Ok(Self {
            graph,
            plan,
            workers,
        })
    }

    fn enqueue(
        &self,
        run: Run,
    ) -> Result<oneshot::Receiver<Result<Vec<Tensor>, TensorError>>, TensorError> {
        let binding = self.graph.bind(run.inputs, &run.outputs)?;
        let working = run.account.charge(self.graph.peak_bytes(&binding)?, 0)?;
        let (answer, answered) = oneshot::channel();
        let job = Job {
            plan: self.plan.clone(),
            binding,
            deadline: run.deadline,
            account: run.account,
            working,
        };
        self.workers.push(Box::new(move || {
            // Nobody waits any more: the caller gave the run up.
            if !answer.is_closed() {
                let _ = answer.send(job.run());
            }
        }))?;
        Ok(answered)
    }
}

impl Session for CpuSession {
    fn graph(&self) -> &Arc<Graph> {
        &self.graph
    }

    fn run(&self, run: Run) -> BoxFuture<'static, Result<Vec<Tensor>, TensorError>> {
        match self.enqueue(run) {
            Err(error) => ready(Err(error)).boxed(),
            Ok(answered) => async {
                answered.await.unwrap_or_else(|_| {
                    Err(TensorError::DeviceLost {
                        device: "cpu".to_owned(),
                    })
                })
            }
            .boxed(),
        }
    }
}

/// One run on its way to a thread.
struct Job {
    plan: Plan,
    binding: Binding,
    deadline: Option<Instant>,
    account: Account,
    working: Charge,
}

impl Job {
    fn run(self) -> Result<Vec<Tensor>, TensorError> {
        check_deadline(self.deadline)?;
        let inputs = self.binding.inputs.iter().map(tract_value);
        let inputs = inputs.collect::<Result<_, _>>()?;
        let plan = self.plan;
        let ran = catch_unwind(AssertUnwindSafe(|| plan.run(inputs)));
        let values = ran
            .map_err(|panic| run_failed(panic_message(panic.as_ref())))?
            .map_err(|error| run_failed(crate::graph::chain(&error)))?;
        drop(self.working);
        let output = |&index: &usize| held(&values[index], &self.account);
        self.binding.outputs.iter().map(output).collect()
    }
}

fn run_failed(what: String) -> TensorError {
    TensorError::RunFailed { what }
}

fn check_deadline(deadline: Option<Instant>) -> Result<(), TensorError> {
    let Some(deadline) = deadline else {
        return Ok(());
    };
    #[expect(
        clippy::disallowed_methods,
        reason = "a queue must know what has expired"
    )]
    let late = Instant::now().checked_duration_since(deadline);
    match late {
        Some(late) => Err(TensorError::Expired { late }),
        None => Ok(()),
    }
}

fn tract_value(tensor: &Tensor) -> Result<tract::TValue, TensorError> {
    let storage = CpuStorage::of(tensor.storage()).ok_or_else(|| TensorError::Internal {
        device: "cpu".to_owned(),
        what: "a tensor of another device was given".to_owned(),
    })?;
    Ok(storage.0.clone().into_tvalue())
}

fn held(value: &tract::TValue, account: &Account) -> Result<Tensor, TensorError> {
    let value = value.clone().into_arc_tensor();
    let dtype = dtype_of(value.datum_type()).ok_or_else(|| TensorError::Internal {
        device: "cpu".to_owned(),
        what: format!(
            "a run answered {:?}, which is no tensor dtype",
            value.datum_type()
        ),
    })?;
    let charge = account.charge(value.as_bytes().len() as u64, 1)?;
    let shape = value.shape().to_vec();
    let storage = Arc::new(CpuStorage(value));
    Ok(Tensor::from_storage(dtype, &shape, storage, charge))
}
