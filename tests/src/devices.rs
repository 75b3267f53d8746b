//! Every device there is, and what it takes to run a graph on one: a test written
//! against `devices()` holds each device that is added here to the CPU's answers.

use std::io::Write as _;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use trommel_tensor::{
    Account, AdapterChoice, AdapterKind, CpuDevice, CpuOptions, Device, Dtype, GpuDevice,
    GpuOptions, Graph, Run, Session, Tensor, TensorError, Weights,
};

/// What a GPU device is called here when its adapter is software, such as Mesa's
/// lavapipe: it counts as a GPU for tests, and benches give it less to do.
pub const SOFTWARE_GPU: &str = "gpu-software";

/// Every device that can be had on this machine, the CPU first: it is the reference. A
/// GPU stands here twice, with shaders that check themselves and with those that do not.
///
/// # Panics
///
/// When the system gives no threads, or no GPU though `TROMMEL_GPU_REQUIRED` is set.
pub fn devices() -> Vec<(&'static str, Arc<dyn Device>)> {
    let mut devices = vec![("cpu", cpu())];
    for checked_shaders in [true, false] {
        if let Some(gpu) = gpu(checked_shaders) {
            let is_software = gpu
                .adapter()
                .is_some_and(|adapter| adapter.kind == AdapterKind::Software);
            let name = if is_software { SOFTWARE_GPU } else { "gpu" };
            devices.push((name, gpu));
        }
    }
    devices
}

/// What [`gpu`] has opened.
static OPENED: [OnceLock<Option<Arc<GpuDevice>>>; 2] = [OnceLock::new(), OnceLock::new()];

/// The adapter at hand, software included; none, with the reason printed, where there is
/// none. Opened once for all tests of a process: a driver takes a while.
///
/// # Panics
///
/// When there is none though `TROMMEL_GPU_REQUIRED` is set, as it is in CI.
pub fn gpu(checked_shaders: bool) -> Option<Arc<GpuDevice>> {
    let opened = &OPENED[usize::from(checked_shaders)];
    opened.get_or_init(|| new_gpu(checked_shaders)).clone()
}

/// The same, of the caller's own: to be lost, for one.
///
/// # Panics
///
/// As [`gpu`].
pub fn new_gpu(checked_shaders: bool) -> Option<Arc<GpuDevice>> {
    gpu_of(GpuOptions {
        checked_shaders,
        // Software computes a large model in its own time.
        timeout: Duration::from_secs(120),
        ..GpuOptions::default()
    })
}

/// The same with options of the caller's, whichever adapter they name.
///
/// # Panics
///
/// As [`gpu`].
pub fn gpu_of(options: GpuOptions) -> Option<Arc<GpuDevice>> {
    let adapter = AdapterChoice::Any;
    match GpuDevice::new(GpuOptions { adapter, ..options }) {
        Ok(device) => Some(Arc::new(device)),
        Err(error) => {
            let required = std::env::var_os("TROMMEL_GPU_REQUIRED").is_some();
            assert!(!required, "TROMMEL_GPU_REQUIRED is set: {error}");
            writeln!(std::io::stderr(), "skipped: {error}").expect("standard error is open");
            None
        }
    }
}

/// The reference.
///
/// # Panics
///
/// When the system gives no threads.
pub fn cpu() -> Arc<dyn Device> {
    let device = CpuDevice::new(&CpuOptions::default()).expect("the system gives threads");
    Arc::new(device)
}

/// A tensor in this process's memory. Equal means bit-equal.
#[derive(Debug, Clone, PartialEq)]
pub struct Array {
    /// Element type.
    pub dtype: Dtype,
    /// Sizes, outermost first.
    pub shape: Vec<usize>,
    /// Elements, row-major, little-endian.
    pub bytes: Vec<u8>,
}

impl Array {
    /// Float32 elements.
    pub fn floats(shape: &[usize], values: &[f32]) -> Self {
        let bytes = values.iter().flat_map(|value| value.to_le_bytes());
        Self {
            dtype: Dtype::F32,
            shape: shape.to_vec(),
            bytes: bytes.collect(),
        }
    }

    /// Int64 elements.
    pub fn integers(shape: &[usize], values: &[i64]) -> Self {
        let bytes = values.iter().flat_map(|value| value.to_le_bytes());
        Self {
            dtype: Dtype::I64,
            shape: shape.to_vec(),
            bytes: bytes.collect(),
        }
    }

    /// The elements, which are float32.
    ///
    /// # Panics
    ///
    /// When they are not.
    pub fn to_floats(&self) -> Vec<f32> {
        assert_eq!(self.dtype, Dtype::F32);
        let (chunks, _) = self.bytes.as_chunks();
        chunks
            .iter()
            .map(|chunk| f32::from_le_bytes(*chunk))
            .collect()
    }

    /// The row `index` of the outermost dimension, as a batch of one.
    pub fn row(&self, index: usize) -> Self {
        let n_bytes = self.bytes.len() / self.shape[0];
        let mut shape = self.shape.clone();
        shape[0] = 1;
        Self {
            dtype: self.dtype,
            shape,
            bytes: self.bytes[index * n_bytes..][..n_bytes].to_vec(),
        }
    }
}

/// Reads a graph.
///
/// # Panics
///
/// When the file is no model that can be run.
pub fn graph(file: &[u8]) -> Arc<Graph> {
    let graph = Graph::from_onnx(file, &Weights::default());
    Arc::new(graph.unwrap_or_else(|error| panic!("a good model: {error}")))
}

/// Uploads to a device, with no limit.
pub fn upload(device: &dyn Device, array: &Array) -> Result<Tensor, TensorError> {
    let account = ample();
    Tensor::upload(device, &account, array.dtype, &array.shape, &array.bytes)
}

/// Runs a graph on tensors and answers its outputs in the file's order.
pub async fn run(
    session: &dyn Session,
    inputs: &[(String, Tensor)],
) -> Result<Vec<Tensor>, TensorError> {
    let outputs = session.graph().outputs().iter();
    session
        .run(Run {
            inputs: inputs.to_vec(),
            outputs: outputs.map(|port| port.name.clone()).collect(),
            deadline: None,
            account: ample(),
        })
        .await
}

/// Uploads, runs and reads back: the outputs in the file's order.
///
/// # Panics
///
/// When a kernel of a GPU did not compile: the CPU would be compared with itself.
pub async fn evaluate(
    device: &dyn Device,
    session: &dyn Session,
    inputs: &[(String, Array)],
) -> Result<Vec<Array>, TensorError> {
    let inputs = inputs
        .iter()
        .map(|(name, array)| Ok((name.clone(), upload(device, array)?)));
    let inputs: Vec<_> = inputs.collect::<Result<_, TensorError>>()?;
    let mut arrays = Vec::new();
    for tensor in run(session, &inputs).await? {
        arrays.push(Array {
            dtype: tensor.dtype(),
            shape: tensor.shape().to_vec(),
            bytes: tensor.read().await?,
        });
    }
    for gpu in OPENED.iter().filter_map(OnceLock::get).flatten() {
        assert_eq!(gpu.n_refused_kernels(), 0, "kernels that do not compile");
    }
    Ok(arrays)
}

/// How far apart two answers may be: 1e-4 of the reference's norm. Values around 1
/// that cancelled out leave rounding behind, so no norm counts as less than that of a
/// tenth per element.
const TOLERANCE: f64 = 1e-4;
const LEAST_DEVIATION: f64 = 0.1;

/// Compares an answer with the reference: dtype, shape, every bit of what is no float,
/// and the norm of the difference of what is. The error says how they differ.
pub fn agree(reference: &Array, answer: &Array) -> Result<(), String> {
    if (reference.dtype, &reference.shape) != (answer.dtype, &answer.shape) {
        return Err(format!(
            "{} {:?} was answered, {} {:?} is right",
            answer.dtype, answer.shape, reference.dtype, reference.shape
        ));
    }
    if reference.dtype != Dtype::F32 {
        let same = reference.bytes == answer.bytes;
        return same
            .then_some(())
            .ok_or_else(|| "integers differ".to_owned());
    }
    let (right, given) = (reference.to_floats(), answer.to_floats());
    let squares = |values: &mut dyn Iterator<Item = f64>| -> f64 {
        values.map(|value| value * value).sum::<f64>().sqrt()
    };
    let mut apart = right
        .iter()
        .zip(&given)
        .map(|(right, given)| f64::from(*right) - f64::from(*given));
    let distance = squares(&mut apart);
    let norm = squares(&mut right.iter().map(|value| f64::from(*value)));
    let least = LEAST_DEVIATION * (right.len() as f64).sqrt();
    // Not a number is never within.
    if distance <= TOLERANCE * norm.max(least) {
        Ok(())
    } else {
        Err(format!(
            "it is {distance:e} away from a reference of norm {norm:e}"
        ))
    }
}

fn ample() -> Account {
    Account::new("a test", u64::MAX, u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn one_off(error: f32) -> Result<(), String> {
        let right = Array::floats(&[2, 2], &[1.0, -2.0, 3.0, 0.5]);
        agree(
            &right,
            &Array::floats(&[2, 2], &[1.0, -2.0, 3.0 + error, 0.5]),
        )
    }

    #[test]
    fn answers_agree_to_a_ten_thousandth_of_the_norm() {
        assert_eq!(one_off(3e-4), Ok(()));
        assert!(one_off(5e-4).is_err());
        assert!(one_off(f32::NAN).is_err());
        assert!(one_off(f32::INFINITY).is_err());
    }

    #[test]
    fn another_shape_or_integer_does_not_agree() {
        let right = Array::integers(&[2], &[1, 2]);
        assert_eq!(agree(&right, &right), Ok(()));
        assert!(agree(&right, &Array::integers(&[2], &[1, 3])).is_err());
        assert!(agree(&right, &Array::integers(&[1, 2], &[1, 2])).is_err());
    }

    #[test]
    fn a_row_is_a_batch_of_one() {
        let rows = Array::integers(&[3, 2], &[1, 2, 3, 4, 5, 6]);
        assert_eq!(rows.row(1), Array::integers(&[1, 2], &[3, 4]));
    }
}
