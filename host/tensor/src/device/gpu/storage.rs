//! Elements that stayed on the GPU.

use std::any::Any;
use std::borrow::Cow;
use std::sync::Arc;

use futures_util::future::{BoxFuture, FutureExt as _, ready};
use tokio::sync::oneshot;

use super::live::{Ending, Live};
use super::{internal, lost};
use crate::plan::Element;
use crate::{Storage, TensorError};

/// A run's output, too large to be read back before anybody asks.
pub(super) struct GpuStorage {
    pub(super) live: Arc<Live>,
    pub(super) buffer: wgpu::Buffer,
    pub(super) element: Element,
    pub(super) n_elements: usize,
}

impl GpuStorage {
    pub(super) fn of(storage: &Arc<dyn Storage>) -> Option<&Self> {
        let storage: &dyn Any = storage.as_ref();
        storage.downcast_ref()
    }

    /// Bytes on the GPU.
    pub(super) fn size(&self) -> u64 {
        self.n_elements as u64 * self.element.n_bytes()
    }
}

impl Storage for GpuStorage {
    fn read(&self) -> BoxFuture<'static, Result<Vec<u8>, TensorError>> {
        if self.live.is_lost() {
            return ready(Err(lost())).boxed();
        }
        let live = self.live.clone();
        let Some(staging) = live.memory.staging(self.size()) else {
            return ready(Err(internal(format!(
                "the GPU has no memory to read {} bytes back; run less at once",
                self.size()
            ))))
            .boxed();
        };
        let mut commands = live
            .device
            .create_command_encoder(&wgpu::CommandEncoderDescriptor::default());
        commands.copy_buffer_to_buffer(&self.buffer, 0, &staging, 0, self.size());
        let (element, size) = (self.element, self.size() as usize);
        let (answer, answered) = oneshot::channel();
        let owner = live.clone();
        // A submission waits for a free place; so it is not made on a caller's executor.
        let submitted = std::thread::Builder::new()
            .name("trommel-gpu-read".to_owned())
            .spawn(move || {
                let commands = commands.finish();
                let mapped = staging.clone();
                commands.map_buffer_on_submit(&mapped, wgpu::MapMode::Read, 0..size as u64, |_| {});
                live.submit(
                    commands,
                    Box::new(move |ending| {
                        let is_done = ending == Ending::Done;
                        let bytes = is_done.then(|| read_mapped(&staging, size)).flatten();
                        staging.unmap();
                        if bytes.is_some() {
                            owner.memory.give_back(staging);
                        }
                        let bytes = bytes.ok_or_else(lost);
                        // Whoever asked may have gone.
                        let _ = answer.send(bytes.map(|bytes| tensor_bytes(element, bytes)));
                    }),
                );
            });
        if let Err(error) = submitted {
            return ready(Err(internal(format!("cannot start a thread: {error}")))).boxed();
        }
        async move { answered.await.unwrap_or_else(|_| Err(lost())) }.boxed()
    }
}

/// What was mapped; `None` when mapping failed.
pub(super) fn read_mapped(staging: &wgpu::Buffer, size: usize) -> Option<Vec<u8>> {
    let view = staging.get_mapped_range(0..size as u64).ok()?;
    Some(view.to_vec())
}

/// A tensor's bytes of what the GPU keeps.
pub(super) fn tensor_bytes(element: Element, bytes: Vec<u8>) -> Vec<u8> {
    match element {
        Element::Bool => bytes
            .chunks_exact(4)
            .map(|word| u8::from(word != [0; 4]))
            .collect(),
        _ => bytes,
    }
}

/// What the GPU keeps of a tensor's bytes.
pub(super) fn device_bytes(element: Element, bytes: &[u8]) -> Cow<'_, [u8]> {
    match element {
        Element::Bool => {
            let words = bytes.iter().flat_map(|byte| u32::from(*byte).to_le_bytes());
            Cow::Owned(words.collect())
        }
        _ => Cow::Borrowed(bytes),
    }
}
