//! A tensor behind a handle, on its device until it is read.

use std::fmt;
use std::sync::Arc;

use crate::device::cpu::CpuStorage;
use crate::shape::{n_bytes, shown};
use crate::{Account, Charge, Device, Dtype, Storage, TensorError};

/// Dimensions of a tensor at most: a shape costs memory too.
const MAX_RANK: usize = 16;

/// Bytes that are compared with another tensor's at most: whoever asks waits for it.
const MAX_COMPARED: usize = 256 << 10;

/// An array of numbers on a device. Never changes; a clone is the same tensor,
/// and its memory is free when the last clone is dropped.
#[derive(Clone)]
pub struct Tensor {
    dtype: Dtype,
    shape: Arc<[usize]>,
    storage: Arc<dyn Storage>,
    _charge: Arc<Charge>,
}

impl Tensor {
    /// Uploads row-major little-endian `bytes`.
    ///
    /// `ShapeMismatch` when they are not as long as `dtype` and `shape` say, the
    /// shape has more than 16 dimensions, or a `bool` byte is neither 0 nor 1; `QuotaExceeded` when `account` may not
    /// hold them.
    pub fn upload(
        device: &dyn Device,
        account: &Account,
        dtype: Dtype,
        shape: &[usize],
        bytes: &[u8],
    ) -> Result<Self, TensorError> {
        let mismatch = |what| TensorError::ShapeMismatch {
            place: String::new(),
            what,
        };
        if shape.len() > MAX_RANK {
            return Err(mismatch(format!(
                "a tensor has at most {MAX_RANK} dimensions, {} were given",
                shape.len()
            )));
        }
        let wanted = n_bytes(dtype, shape)?;
        // A zero anywhere makes no bytes, but whoever walks the other dimensions
        // must be able to count them, and pays for what they span.
        let non_zero: Vec<usize> = shape.iter().map(|&size| size.max(1)).collect();
        let span = n_bytes(dtype, &non_zero)?;
        if bytes.len() != wanted {
            return Err(mismatch(format!(
                "a {dtype} tensor of shape {} takes {wanted} bytes, {} were given",
                shown(shape),
                bytes.len()
            )));
        }
        if dtype == Dtype::Bool && bytes.iter().any(|&byte| byte > 1) {
            return Err(mismatch("a bool element is one byte, 0 or 1".to_owned()));
        }
        let charge = account.charge(span as u64, 1)?;
        let storage = device.upload(dtype, shape, bytes)?;
        Ok(Self::from_storage(dtype, shape, storage, charge))
    }

    /// A tensor over storage that a device made, for devices.
    pub fn from_storage(
        dtype: Dtype,
        shape: &[usize],
        storage: Arc<dyn Storage>,
        charge: Charge,
    ) -> Self {
        Self {
            dtype,
            shape: shape.into(),
            storage,
            _charge: Arc::new(charge),
        }
    }

    /// Element type.
    pub fn dtype(&self) -> Dtype {
        self.dtype
    }

    /// Sizes, outermost first; empty for a scalar.
    pub fn shape(&self) -> &[usize] {
        &self.shape
    }

    /// Bytes of all elements.
    pub fn n_bytes(&self) -> usize {
        n_bytes(self.dtype, &self.shape).expect("checked when the tensor was made")
    }

    /// The elements, row-major, little-endian. Waits for the device. `DeviceLost`
    /// when it went away.
    pub async fn read(&self) -> Result<Vec<u8>, TensorError> {
        self.storage.read().await
    }

    /// Whether both are known to be the same numbers: kept in one place, or of one dtype and
    /// shape and, where no more than 256 KiB of them lie in this process, bit-equal. A `false`
    /// may be the wish not to look.
    pub fn is_same(&self, other: &Self) -> bool {
        if (self.dtype, &self.shape) != (other.dtype, &other.shape) {
            return false;
        }
        if Arc::ptr_eq(&self.storage, &other.storage) {
            return true;
        }
        let own = CpuStorage::bytes(&self.storage);
        let is_small = self.n_bytes() <= MAX_COMPARED;
        is_small && own.is_some() && own == CpuStorage::bytes(&other.storage)
    }

    /// What the device keeps, for devices.
    pub fn storage(&self) -> &Arc<dyn Storage> {
        &self.storage
    }
}

impl fmt::Debug for Tensor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Tensor({} {})", self.dtype, shown(&self.shape))
    }
}
