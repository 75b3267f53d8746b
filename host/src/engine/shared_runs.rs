//! Runs of models that detectors of one item ask for alike, computed once.
//!
//! Two runs are the same when the model is (by the digest of its file and of the inputs that
//! were fixed in it, by whether its rows must be exact, and by how its values are stored), when they ask for the same
//! outputs in the same order, and when each input is: the same tensor, as an image prepared
//! in one way is for all who ask, or one of the same dtype, shape and bytes
//! ([`Tensor::is_same`]). Whoever asks second is charged as if it had run: the host's saving
//! is nobody's quota, and who asked first must not decide who may.
//!
//! Only what was computed is shared. A run that failed, or whose asker gave it up, says
//! nothing of another's. And it is shared between detectors: one that asks again for what it
//! was given runs it again, since a loop of runs must take a loop's time, and be blamed for it.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use futures_util::future::{BoxFuture, FutureExt as _, Shared, WeakShared};
use trommel_tensor::{Account, Charge, Digest, Precision, Run, Session, Tensor, TensorError};

/// Bytes of inputs and outputs that are kept for the next who asks; what is beyond is
/// computed for each.
const MAX_KEPT_BYTES: u64 = 16 << 20;

/// Tensors that are kept.
const MAX_KEPT_TENSORS: u64 = 128;

/// Runs that are kept; each that is asked for is compared with them.
const MAX_KEPT: usize = 16;

type Running = BoxFuture<'static, Result<Vec<Tensor>, TensorError>>;

/// The runs of one item.
#[derive(Debug)]
pub(super) struct SharedRuns {
    kept: Account,
    runs: Mutex<Vec<Arc<SharedRun>>>,
}

/// What makes two models one.
type Model = (Digest, bool, Precision);

#[derive(Debug)]
struct SharedRun {
    model: Model,
    inputs: Vec<(String, Tensor)>,
    outputs: Vec<String>,
    state: Mutex<State>,
    /// Who was given it already.
    given_to: Mutex<Vec<Asker>>,
}

/// A detector, told from the others that are asked about the item.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Asker(pub(super) usize);

#[derive(Debug)]
enum State {
    /// As long as whoever began it waits, or another does.
    Running(WeakShared<Running>),
    /// Kept, and charged to what is kept.
    Done(Vec<Tensor>),
}

impl Default for SharedRuns {
    fn default() -> Self {
        Self {
            kept: Account::new("the item's runs", MAX_KEPT_BYTES, MAX_KEPT_TENSORS),
            runs: Mutex::default(),
        }
    }
}

impl SharedRuns {
    /// As [`Session::run`], unless another has asked for the same.
    pub(super) async fn run(
        &self,
        asker: Asker,
        session: &Arc<dyn Session>,
        run: Run,
    ) -> Result<Vec<Tensor>, TensorError> {
        match self.find(asker, session, &run) {
            Found::Done(tensors) => charged(session, &run, &tensors),
            Found::Running(running) => {
                // Charged while it waits, as if it were computed for it.
                let working = run
                    .account
                    .charge(session.graph().n_bytes(&run.inputs)?, 0)?;
                let ran = running.await;
                drop(working);
                match ran {
                    Ok(tensors) => outputs_charged(&run, &tensors),
                    Err(_) => session.run(run).await,
                }
            }
            Found::Given => session.run(run).await,
            Found::Nothing => self.begin(asker, session, run).await,
        }
    }

    fn find(&self, asker: Asker, session: &Arc<dyn Session>, run: &Run) -> Found {
        let mut runs = locked(&self.runs);
        let Some(at) = runs.iter().position(|known| known.is(session, run)) else {
            return Found::Nothing;
        };
        let found = match &*locked(&runs[at].state) {
            State::Done(tensors) => Found::Done(tensors.clone()),
            State::Running(running) => running.upgrade().map_or(Found::Nothing, Found::Running),
        };
        // Given up: whoever asks now begins it anew.
        if matches!(found, Found::Nothing) {
            runs.swap_remove(at);
            return found;
        }
        let mut given_to = locked(&runs[at].given_to);
        if given_to.contains(&asker) {
            return Found::Given;
        }
        given_to.push(asker);
        found
    }

    async fn begin(
        &self,
        asker: Asker,
        session: &Arc<dyn Session>,
        run: Run,
    ) -> Result<Vec<Tensor>, TensorError> {
        let kept = self.kept(run.inputs.iter().map(|(_, tensor)| tensor));
        let has_room = locked(&self.runs).len() < MAX_KEPT;
        let (Some(tensors), true) = (kept, has_room) else {
            return session.run(run).await;
        };
        let names = run.inputs.iter().map(|(name, _)| name.clone());
        let (inputs, outputs) = (names.zip(tensors).collect(), run.outputs.clone());
        let running = session.run(run).shared();
        let entry = Arc::new(SharedRun {
            model: model_of(session),
            inputs,
            outputs,
            state: Mutex::new(State::Running(
                running.downgrade().expect("it was not polled yet"),
            )),
            given_to: Mutex::new(vec![asker]),
        });
        locked(&self.runs).push(entry.clone());
        let ran = running.await;
        let kept = ran.as_ref().ok().and_then(|tensors| self.kept(tensors));
        match kept {
            Some(tensors) => *locked(&entry.state) = State::Done(tensors),
            None => locked(&self.runs).retain(|known| !Arc::ptr_eq(known, &entry)),
        }
        ran
    }

    /// The tensors, held by the item as well; none where it holds too much already.
    fn kept<'a>(&self, tensors: impl IntoIterator<Item = &'a Tensor>) -> Option<Vec<Tensor>> {
        let kept = |tensor: &Tensor| {
            let charge = self.kept.charge(tensor.n_bytes() as u64, 1).ok()?;
            Some(with_charge(tensor, charge))
        };
        tensors.into_iter().map(kept).collect()
    }
}

enum Found {
    Done(Vec<Tensor>),
    Running(Shared<Running>),
    /// The same was given to whoever asks before.
    Given,
    Nothing,
}

impl SharedRun {
    fn is(&self, session: &Arc<dyn Session>, run: &Run) -> bool {
        let is_same = |((name, tensor), (other, given)): (&(String, Tensor), &(String, Tensor))| {
            name == other && tensor.is_same(given)
        };
        self.model == model_of(session)
            && self.outputs == run.outputs
            && self.inputs.len() == run.inputs.len()
            && self.inputs.iter().zip(&run.inputs).all(is_same)
    }
}

fn model_of(session: &Arc<dyn Session>) -> Model {
    let graph = session.graph();
    (graph.digest(), graph.rows_are_exact(), graph.precision())
}

/// What another's run gave, charged to this one as if it had been computed for it: first for
/// all that it would have held, and then for the outputs.
fn charged(
    session: &Arc<dyn Session>,
    run: &Run,
    tensors: &[Tensor],
) -> Result<Vec<Tensor>, TensorError> {
    drop(
        run.account
            .charge(session.graph().n_bytes(&run.inputs)?, 0)?,
    );
    outputs_charged(run, tensors)
}

/// The outputs of another's run, held by this one as well.
fn outputs_charged(run: &Run, tensors: &[Tensor]) -> Result<Vec<Tensor>, TensorError> {
    let charged = tensors.iter().map(|tensor| {
        let charge = run.account.charge(tensor.n_bytes() as u64, 1)?;
        Ok(with_charge(tensor, charge))
    });
    charged.collect()
}

fn with_charge(tensor: &Tensor, charge: Charge) -> Tensor {
    let storage = tensor.storage().clone();
    Tensor::from_storage(tensor.dtype(), tensor.shape(), storage, charge)
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
