//! `tensors`: tensors and models behind handles.

use std::sync::Arc;

use tracing::Instrument as _;
use trommel_tensor as tensor;
use trommel_tensor::{Run, Tensor, TensorError};
use wasmtime::component::Resource;

use crate::excerpt::{NAME_CHARS, printable};
use crate::spans;

use super::super::bindings::trommel::detector::tensors::{
    Dimension, Dtype, Host, HostModel, HostTensor, Port,
};
use super::super::call::{CallState, until};
use super::super::findings::broken;
use super::super::shared_runs::Asker;
use super::super::{Blame, Failure, Fault, now};
use super::{Answer, ModelHandle};

impl Host for CallState {}

impl CallState {
    /// A tensor on the device, charged to the call, behind a handle.
    pub(super) fn upload(
        &mut self,
        dtype: tensor::Dtype,
        shape: &[usize],
        bytes: &[u8],
    ) -> Answer<Resource<Tensor>> {
        let tensor = Tensor::upload(self.device.as_ref(), &self.tensors, dtype, shape, bytes);
        match self.answer(tensor)? {
            Ok(tensor) => self.hand_out(tensor),
            Err(failure) => Ok(Err(failure)),
        }
    }

    fn tensor(&self, handle: &Resource<Tensor>) -> wasmtime::Result<&Tensor> {
        Ok(self
            .table
            .get(handle)
            .map_err(|error| broken(error.to_string()))?)
    }

    fn model(&self, handle: &Resource<ModelHandle>) -> wasmtime::Result<&ModelHandle> {
        Ok(self
            .table
            .get(handle)
            .map_err(|error| broken(error.to_string()))?)
    }
}

impl HostTensor for CallState {
    fn from_bytes(
        &mut self,
        dtype: Dtype,
        shape: Vec<u32>,
        bytes: Vec<u8>,
    ) -> Answer<Resource<Tensor>> {
        self.carry(bytes.len() + shape.len() * size_of::<u32>())?;
        let shape: Vec<usize> = shape.iter().map(|&size| size as usize).collect();
        self.upload(dtype_of(dtype), &shape, &bytes)
    }

    fn dtype(&mut self, handle: Resource<Tensor>) -> wasmtime::Result<Dtype> {
        Ok(dtype_in_wit(self.tensor(&handle)?.dtype()))
    }

    fn shape(&mut self, handle: Resource<Tensor>) -> wasmtime::Result<Vec<u32>> {
        let shape = self.tensor(&handle)?.shape();
        shape.iter().map(|&size| size_in_wit(size)).collect()
    }

    async fn read(&mut self, handle: Resource<Tensor>) -> Answer<Vec<u8>> {
        let tensor = self.tensor(&handle)?.clone();
        // The copy on its way into the sandbox is the host's for a moment.
        let n_bytes = tensor.n_bytes();
        if n_bytes > self.limits().memory_bytes {
            return Err(broken(format!(
                "reads a tensor of {n_bytes} bytes, more than its memory of {}",
                self.limits().memory_bytes
            ))
            .into());
        }
        let charged = self.tensors.charge(n_bytes as u64, 0);
        let _charge = match self.answer(charged)? {
            Ok(charge) => charge,
            Err(failure) => return Ok(Err(failure)),
        };
        let read = until(
            self.deadline(),
            tensor.read(),
            self.timed_out("a tensor to be read"),
        );
        let read = read.await?;
        self.answer(read)
    }

    fn drop(&mut self, handle: Resource<Tensor>) -> wasmtime::Result<()> {
        self.table
            .delete(handle)
            .map_err(|error| broken(error.to_string()))?;
        Ok(())
    }
}

impl HostModel for CallState {
    fn open(&mut self, name: String) -> Answer<Resource<ModelHandle>> {
        self.carry(name.len())?;
        if let Some(session) = self.detector.models.get(&name) {
            return self.hand_out(ModelHandle(session.clone()));
        }
        let known: Vec<&str> = self.detector.models.keys().map(String::as_str).collect();
        let failure = Failure {
            code: "unknown-model".to_owned(),
            what: format!("the manifest names no such model; it names {known:?}"),
            place: printable(&name, NAME_CHARS),
            hint: "name it under [models] in the manifest".to_owned(),
        };
        self.decline(failure, Blame::Guest)
    }

    fn inputs(&mut self, handle: Resource<ModelHandle>) -> wasmtime::Result<Vec<Port>> {
        self.model(&handle)?
            .0
            .graph()
            .inputs()
            .iter()
            .map(port)
            .collect()
    }

    fn outputs(&mut self, handle: Resource<ModelHandle>) -> wasmtime::Result<Vec<Port>> {
        self.model(&handle)?
            .0
            .graph()
            .outputs()
            .iter()
            .map(port)
            .collect()
    }

    async fn run(
        &mut self,
        handle: Resource<ModelHandle>,
        inputs: Vec<(String, Resource<Tensor>)>,
        outputs: Vec<String>,
    ) -> Answer<Vec<(String, Resource<Tensor>)>> {
        let names = inputs.iter().map(|(name, _)| name).chain(&outputs);
        self.carry(names.map(|name| name.len() + size_of::<String>()).sum())?;
        let session = self.model(&handle)?.0.clone();
        let inputs = inputs
            .into_iter()
            .map(|(name, handle)| Ok((name, self.tensor(&handle)?.clone())))
            .collect::<wasmtime::Result<Vec<_>>>()?;
        let place = session
            .graph()
            .n_operations(&inputs)
            .and_then(|n_operations| self.tensors.begin_run(n_operations, now()));
        // Who runs models in a loop used the quota up; else its callers did.
        if let (Err(TensorError::Throttled { .. }), late @ Fault::RanOn { .. }) =
            (&place, self.timed_out("a model to run"))
        {
            return Err(late.into());
        }
        let _place = match self.answer(place)? {
            Ok(place) => place,
            Err(failure) => return Ok(Err(failure)),
        };
        let n_rows = inputs.first().and_then(|(_, rows)| rows.shape().first());
        let span = spans::model_run(self.device.name(), n_rows.copied());
        let exhibit = self.exhibit.clone();
        let run = exhibit.runs.run(
            Asker(Arc::as_ptr(&self.detector).addr()),
            &session,
            Run {
                inputs,
                outputs: outputs.clone(),
                deadline: Some(self.deadline()),
                account: self.tensors.clone(),
            },
        );
        let late = self.timed_out("a model to run");
        let start = now();
        let running = run.instrument(span.clone());
        let ran = until(self.deadline(), running, late.clone()).await;
        self.modelling += start.elapsed();
        if !matches!(ran, Ok(Ok(_))) {
            spans::failed(&span);
        }
        drop(span);
        let ran = ran?;
        // The queue looks at the clock too, and may be first to.
        if matches!(
            (&ran, &late),
            (Err(TensorError::Expired { .. }), Fault::RanOn { .. })
        ) {
            return Err(late.into());
        }
        self.n_runs += 1;
        let tensors = match self.answer(ran)? {
            Ok(tensors) => tensors,
            Err(failure) => return Ok(Err(failure)),
        };
        let mut answers = Vec::with_capacity(tensors.len());
        for (name, tensor) in outputs.into_iter().zip(tensors) {
            match self.hand_out(tensor)? {
                Ok(handle) => answers.push((name, handle)),
                // What was handed out before goes with the call.
                Err(failure) => return Ok(Err(failure)),
            }
        }
        Ok(Ok(answers))
    }

    fn drop(&mut self, handle: Resource<ModelHandle>) -> wasmtime::Result<()> {
        self.table
            .delete(handle)
            .map_err(|error| broken(error.to_string()))?;
        Ok(())
    }
}

fn port(port: &tensor::Port) -> wasmtime::Result<Port> {
    let dimension = |dimension: &tensor::Dimension| match dimension {
        tensor::Dimension::Fixed(size) => Ok(Dimension::Fixed(size_in_wit(*size)?)),
        tensor::Dimension::Symbol(name) => Ok(Dimension::Symbol(name.clone())),
    };
    Ok(Port {
        name: port.name.clone(),
        dtype: dtype_in_wit(port.dtype),
        shape: port
            .shape
            .iter()
            .map(dimension)
            .collect::<wasmtime::Result<_>>()?,
    })
}

fn size_in_wit(size: usize) -> wasmtime::Result<u32> {
    u32::try_from(size).map_err(|_| {
        broken(format!(
            "a dimension of {size} is larger than the contract counts"
        ))
        .into()
    })
}

macro_rules! dtypes {
    ($($name:ident),* $(,)?) => {
        pub(super) fn dtype_of(dtype: Dtype) -> tensor::Dtype {
            match dtype { $(Dtype::$name => tensor::Dtype::$name),* }
        }

        fn dtype_in_wit(dtype: tensor::Dtype) -> Dtype {
            match dtype { $(tensor::Dtype::$name => Dtype::$name),* }
        }
    };
}

dtypes!(
    Bool, U8, I8, U16, I16, U32, I32, U64, I64, F16, Bf16, F32, F64
);
