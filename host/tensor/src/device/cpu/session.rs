//! A graph as tract's optimised plan.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, OnceLock};
use std::time::Instant;

use futures_util::future::{BoxFuture, FutureExt as _, ready};
use tract_onnx::prelude as tract;
use tract_onnx::prelude::IntoTValue as _;
use tract_onnx::tract_core::internal::IntoArcTensor as _;

use super::gather::check_indices;
use super::{CpuStorage, answer_of, single};
use crate::batch::lane::Lane;
use crate::batch::{BatchCounts, Caller, Counts, Lanes, Runner, Threads};
use crate::graph::{Binding, declutter, dtype_of, lower_for_cpu, panic_message};
use crate::patience::{self, Deadline, within};
use crate::{Account, Charge, Graph, Run, Session, Tensor, TensorError};

pub(super) type Plan = Arc<tract::TypedRunnableModel>;

/// See [`crate::device`]; shares its threads with the device's other sessions.
#[derive(Debug)]
pub(super) struct CpuSession {
    core: Arc<Core>,
    lanes: Lanes,
    threads: Arc<Threads>,
}

/// What computes.
struct Core {
    graph: Arc<Graph>,
    plan: Plan,
    /// For one row, where that is worth it; found out when the model is loaded.
    single: OnceLock<Option<Plan>>,
    counts: Counts,
}

impl std::fmt::Debug for Core {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "CpuSession({})", self.graph.digest())
    }
}

impl CpuSession {
    pub(super) fn new(graph: Arc<Graph>, threads: Arc<Threads>) -> Result<Self, TensorError> {
        let core = Arc::new(Core {
            plan: planned(graph.model().clone())?,
            graph,
            single: OnceLock::new(),
            counts: Counts::default(),
        });
        Ok(Self {
            lanes: Lanes::new(core.clone(), threads.style().pads),
            core,
            threads,
        })
    }
}

/// A model as tract runs it. `InvalidGraph` when it cannot be made so, or not in time.
pub(super) fn planned(mut model: tract::TypedModel) -> Result<Plan, TensorError> {
    within(patience::LIMIT, "making the model ready", move || {
        let deadline = Deadline::after(patience::LIMIT);
        declutter(&mut model, deadline)?;
        lower_for_cpu(&mut model, deadline)?;
        check_indices(&mut model);
        tract::IntoRunnable::into_runnable(model)
    })?
    .map_err(|error| TensorError::invalid(crate::graph::chain(&error)))
}

impl Session for CpuSession {
    fn graph(&self) -> &Arc<Graph> {
        &self.core.graph
    }

    fn run(&self, run: Run) -> BoxFuture<'static, Result<Vec<Tensor>, TensorError>> {
        match self.threads.run(&self.lanes, run) {
            Err(error) => ready(Err(error)).boxed(),
            Ok(answered) => async {
                let tensors = answer_of(answered).await?;
                Ok(tensors.expect("the CPU takes every run"))
            }
            .boxed(),
        }
    }

    fn settle(&self) -> Option<Result<usize, String>> {
        let usual = self.threads.usual(&self.lanes)?;
        self.core
            .single
            .get_or_init(|| single::find(&self.core.graph, &self.core.plan, &usual));
        Some(self.threads.settle(&usual))
    }

    fn counts(&self) -> BatchCounts {
        self.core.counts.read()
    }
}

impl Runner for Core {
    fn graph(&self) -> &Arc<Graph> {
        &self.graph
    }

    fn counts(&self) -> &Counts {
        &self.counts
    }

    /// No thread waits for more callers here, so a lane need not know when a batch ended.
    fn execute(self: Arc<Self>, _lane: &Arc<Lane>, callers: Vec<Caller>) {
        match callers.len() {
            1 => callers.into_iter().for_each(|caller| self.alone(caller)),
            _ => self.together(callers),
        }
    }
}

impl Core {
    fn alone(&self, caller: Caller) {
        let Caller {
            binding,
            n_rows,
            account,
            working,
            answer,
        } = caller;
        let single = self.single.get().and_then(Option::as_ref);
        let plan = match single.filter(|_| n_rows == 1) {
            Some(single) => single,
            None => &self.plan,
        };
        answer.give(compute(plan, binding, working, &account).map(Some));
    }

    /// Callers of one row each.
    fn together(&self, callers: Vec<Caller>) {
        let values = match joined(&callers).and_then(|inputs| run(&self.plan, inputs)) {
            Ok(values) => values,
            // Whose row it is nobody says; alone, each hears of its own.
            Err(_) => return callers.into_iter().for_each(|caller| self.alone(caller)),
        };
        for (row, caller) in callers.into_iter().enumerate() {
            let Caller {
                binding,
                account,
                working,
                answer,
                ..
            } = caller;
            drop((binding.inputs, working));
            let output = |&index: &usize| {
                let value = values[index].slice(0, row, row + 1);
                let value = value.map_err(|error| run_failed(crate::graph::chain(&error)))?;
                held(Arc::new(value), &account)
            };
            let outputs: Result<Vec<_>, _> = binding.outputs.iter().map(output).collect();
            answer.give(outputs.map(Some));
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
    let inputs = binding.inputs.into_iter();
    let inputs = inputs.map(|tensor| stored_value(&tensor).map(tract::IntoTValue::into_tvalue));
    let values = run(plan, inputs.collect::<Result<_, _>>()?)?;
    drop(working);
    let outputs = binding.outputs.iter();
    let output = |&index: &usize| held(values[index].clone().into_arc_tensor(), account);
    outputs.map(output).collect()
}

type Values = tract::TVec<tract::TValue>;

/// Runs a plan; its panic is an error.
pub(super) fn run(plan: &Plan, inputs: Values) -> Result<Values, TensorError> {
    let ran = catch_unwind(AssertUnwindSafe(|| plan.run(inputs)));
    ran.map_err(|panic| run_failed(panic_message(panic.as_ref())))?
        .map_err(|error| run_failed(crate::graph::chain(&error)))
}

/// Each input with the rows of all callers, one after another.
fn joined(callers: &[Caller]) -> Result<tract::TVec<tract::TValue>, TensorError> {
    let n_inputs = callers[0].binding.inputs.len();
    let input = |index: usize| {
        let rows = callers
            .iter()
            .map(|caller| stored_value(&caller.binding.inputs[index]));
        let rows: Vec<Arc<tract::Tensor>> = rows.collect::<Result<_, _>>()?;
        let rows: Vec<&tract::Tensor> = rows.iter().map(AsRef::as_ref).collect();
        let joined = tract::Tensor::stack_tensors(0, &rows);
        let joined = joined.map_err(|error| run_failed(crate::graph::chain(&error)))?;
        Ok(joined.into_tvalue())
    };
    (0..n_inputs).map(input).collect()
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

/// A tensor's elements, which lie in this process.
pub(super) fn stored_value(tensor: &Tensor) -> Result<Arc<tract::Tensor>, TensorError> {
    let storage = CpuStorage::of(tensor.storage()).ok_or_else(|| TensorError::Internal {
        device: "cpu".to_owned(),
        what: "a tensor of another device was given".to_owned(),
    })?;
    Ok(storage.0.clone())
}

fn held(value: Arc<tract::Tensor>, account: &Account) -> Result<Tensor, TensorError> {
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

#[cfg(test)]
mod tests {
    use std::sync::mpsc;

    use super::super::{CpuDevice, CpuOptions, single};
    use super::*;
    use crate::Dtype;

    /// Asks for `n_rows` rows, one of five numbers for each.
    fn asked(
        device: &CpuDevice,
        session: &CpuSession,
        n_rows: usize,
    ) -> tokio::sync::oneshot::Receiver<crate::batch::Answered> {
        let account = Account::new("a test", u64::MAX, u64::MAX);
        let x = vec![0; n_rows * 8];
        let x = Tensor::upload(device, &account, Dtype::I64, &[n_rows], &x);
        let run = Run {
            inputs: vec![("x".to_owned(), x.expect("it has room"))],
            outputs: vec!["y".to_owned()],
            account,
            deadline: None,
        };
        let asked = session.threads.run(&session.lanes, run);
        asked.expect("it has room")
    }

    #[test]
    fn a_light_run_is_answered_while_long_ones_hold_every_thread() {
        let options = CpuOptions {
            n_threads: std::num::NonZeroUsize::MIN,
            ..CpuOptions::default()
        };
        let device = CpuDevice::new(&options).expect("the system gives threads");
        let session = CpuSession::new(Arc::new(single::tests::looked_up()), device.threads.clone());
        let session = session.expect("it runs");
        let (end, ends) = mpsc::channel::<()>();
        let held = device.threads.submit(move || ends.recv().is_ok());
        let mut long = asked(&device, &session, 2_000_000);
        let light = asked(&device, &session, 1).blocking_recv();
        assert!(light.is_ok_and(|answered| answered.is_ok()));
        assert!(long.try_recv().is_err(), "its thread is held");
        end.send(()).expect("somebody waits");
        assert_eq!(held.expect("it has room").blocking_recv(), Ok(true));
        assert!(long.blocking_recv().is_ok_and(|answered| answered.is_ok()));
    }
}
