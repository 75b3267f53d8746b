//! A graph as tract's optimised plan.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::Instant;

use futures_util::future::{BoxFuture, FutureExt as _, ready};
use tokio::sync::oneshot;
use tract_onnx::prelude as tract;
use tract_onnx::prelude::IntoTValue as _;
use tract_onnx::tract_core::internal::IntoArcTensor as _;

use super::gather::check_indices;
use super::{CpuStorage, answer_of, overloaded};
use crate::graph::{Binding, declutter, dtype_of, lower_for_cpu, panic_message};
use crate::patience::{self, Deadline, within};
use crate::{Account, Charge, Graph, Run, Session, Tensor, TensorError, Workers};

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
        let mut model = graph.model().clone();
        let plan = within(patience::LIMIT, "making the model ready", move || {
            let deadline = Deadline::after(patience::LIMIT);
            declutter(&mut model, deadline)?;
            lower_for_cpu(&mut model, deadline)?;
            check_indices(&mut model);
            tract::IntoRunnable::into_runnable(model)
        })?
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
        let (plan, account) = (self.plan.clone(), run.account);
        let compute = move || {
            check_deadline(run.deadline)?;
            compute(&plan, binding, working, &account)
        };
        self.workers.submit(compute).map_err(overloaded)
    }
}

impl Session for CpuSession {
    fn graph(&self) -> &Arc<Graph> {
        &self.graph
    }

    fn run(&self, run: Run) -> BoxFuture<'static, Result<Vec<Tensor>, TensorError>> {
        match self.enqueue(run) {
            Err(error) => ready(Err(error)).boxed(),
            Ok(answered) => answer_of(answered).boxed(),
        }
    }
}

/// Takes what it needs by value: all but the outputs is given back before the
/// caller is answered.
fn compute(
    plan: &Plan,
    binding: Binding,
    working: Charge,
    account: &Account,
) -> Result<Vec<Tensor>, TensorError> {
    let inputs = binding
        .inputs
        .into_iter()
        .map(|tensor| tract_value(&tensor));
    let inputs = inputs.collect::<Result<_, _>>()?;
    let ran = catch_unwind(AssertUnwindSafe(|| plan.run(inputs)));
    let values = ran
        .map_err(|panic| run_failed(panic_message(panic.as_ref())))?
        .map_err(|error| run_failed(crate::graph::chain(&error)))?;
    drop(working);
    let output = |&index: &usize| held(&values[index], account);
    binding.outputs.iter().map(output).collect()
}

fn run_failed(what: String) -> TensorError {
    TensorError::RunFailed { what }
}

pub(crate) fn check_deadline(deadline: Option<Instant>) -> Result<(), TensorError> {
    let Some(deadline) = deadline else {
        return Ok(());
    };
    match now().checked_duration_since(deadline) {
        Some(late) => Err(TensorError::Expired { late }),
        None => Ok(()),
    }
}

/// The clock of devices.
pub(crate) fn now() -> Instant {
    #[expect(
        clippy::disallowed_methods,
        reason = "a queue must know what has expired, and a lost GPU when it was tried last"
    )]
    Instant::now()
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
