//! Tensors and models behind handles.

pub use crate::bindings::trommel::detector::tensors::{Dimension, Dtype, Port};

use crate::Failure;
use crate::bindings::trommel::detector::tensors;

/// A Rust number that a tensor can hold.
pub trait Element: Copy + sealed::Sealed {
    /// The dtype of a tensor of these.
    const DTYPE: Dtype;

    #[doc(hidden)]
    fn write(self, bytes: &mut Vec<u8>);

    #[doc(hidden)]
    fn read(bytes: &[u8]) -> Self;
}

mod sealed {
    pub trait Sealed {}
}

macro_rules! elements {
    ($($rust:ty => $dtype:ident),* $(,)?) => {$(
        impl sealed::Sealed for $rust {}
        impl Element for $rust {
            const DTYPE: Dtype = Dtype::$dtype;

            fn write(self, bytes: &mut Vec<u8>) {
                bytes.extend_from_slice(&self.to_le_bytes());
            }

            fn read(bytes: &[u8]) -> Self {
                let bytes = bytes.try_into().expect("chunks are cut to the element's size");
                Self::from_le_bytes(bytes)
            }
        }
    )*};
}

elements!(
    u8 => U8, i8 => I8, u16 => U16, i16 => I16, u32 => U32, i32 => I32,
    u64 => U64, i64 => I64, f32 => F32, f64 => F64,
);

/// An array of numbers on the host's device. Never changes once made.
pub struct Tensor(pub(crate) tensors::Tensor);

impl Tensor {
    /// A tensor of `shape`, outermost dimension first, from row-major elements.
    ///
    /// `shape-mismatch` when the number of elements is not the shape's product,
    /// `quota-exceeded` when a limit of the call would be passed.
    pub fn new<T: Element>(shape: &[u32], elements: &[T]) -> Result<Self, Failure> {
        let mut bytes = Vec::with_capacity(size_of_val(elements));
        for element in elements {
            element.write(&mut bytes);
        }
        Self::from_bytes(T::DTYPE, shape, &bytes)
    }

    /// A tensor from row-major little-endian bytes, for dtypes that Rust has no
    /// type for.
    pub fn from_bytes(dtype: Dtype, shape: &[u32], bytes: &[u8]) -> Result<Self, Failure> {
        Ok(Self(tensors::Tensor::from_bytes(dtype, shape, bytes)?))
    }

    /// The element type.
    pub fn dtype(&self) -> Dtype {
        self.0.dtype()
    }

    /// Sizes of the dimensions, outermost first.
    pub fn shape(&self) -> Vec<u32> {
        self.0.shape()
    }

    /// The elements, row-major. Waits for the device.
    ///
    /// # Panics
    ///
    /// When the tensor's dtype is not `T`'s: a mistake in the plugin.
    pub fn read<T: Element>(&self) -> Result<Vec<T>, Failure> {
        assert_eq!(self.dtype(), T::DTYPE, "read a tensor as its own dtype");
        let bytes = self.0.read()?;
        Ok(bytes.chunks_exact(size_of::<T>()).map(T::read).collect())
    }

    /// The elements as row-major little-endian bytes. Waits for the device.
    pub fn read_bytes(&self) -> Result<Vec<u8>, Failure> {
        Ok(self.0.read()?)
    }
}

/// A model of the plugin's package, ready on the host's device.
pub struct Model(tensors::Model);

impl Model {
    /// The model that the manifest calls `name`; `unknown-model` when there is none.
    pub fn open(name: &str) -> Result<Self, Failure> {
        Ok(Self(tensors::Model::open(name)?))
    }

    /// Name, dtype and shape of every input.
    pub fn inputs(&self) -> Vec<Port> {
        self.0.inputs()
    }

    /// Name, dtype and shape of every output.
    pub fn outputs(&self) -> Vec<Port> {
        self.0.outputs()
    }

    /// Runs the model on every input by name and answers the outputs asked for,
    /// in the order asked. Waits for the device.
    pub fn run<const N: usize>(
        &self,
        inputs: &[(&str, &Tensor)],
        outputs: [&str; N],
    ) -> Result<[Tensor; N], Failure> {
        let inputs: Vec<_> = inputs
            .iter()
            .map(|(name, tensor)| ((*name).to_owned(), &tensor.0))
            .collect();
        let outputs = outputs.map(str::to_owned);
        let answers = self.0.run(&inputs, &outputs)?;
        let answers: Vec<Tensor> = answers.into_iter().map(|(_, t)| Tensor(t)).collect();
        let Ok(answers) = answers.try_into() else {
            panic!("the host answers every output asked for, or fails");
        };
        Ok(answers)
    }
}
