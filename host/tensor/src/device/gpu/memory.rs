//! What one opened adapter keeps in its memory: the arena, weights, and buffers to read
//! from. Every buffer of this device is made here.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

use futures_util::FutureExt as _;

use crate::graph::Digest;

/// Buffers to read from that are kept for the next run.
const MAX_KEPT: usize = 4;

/// Bytes of one that is kept at most: scores are small, and who reads an image back once
/// must not hold that much for ever.
const MAX_KEPT_BYTES: u64 = 4 << 20;

/// The least that an arena takes, so that a first small model does not make a next one
/// grow it.
const MIN_ARENA: u64 = 1 << 20;

/// See the module.
#[derive(Debug)]
pub(super) struct Memory {
    device: wgpu::Device,
    queue: wgpu::Queue,
    max_buffer: u64,
    weights: Mutex<HashMap<Digest, Weak<wgpu::Buffer>>>,
    arena: Mutex<Option<Arc<wgpu::Buffer>>>,
    staging: Mutex<Vec<wgpu::Buffer>>,
}

impl Memory {
    pub(super) fn new(device: wgpu::Device, queue: wgpu::Queue, max_buffer: u64) -> Self {
        Self {
            device,
            queue,
            max_buffer,
            weights: Mutex::default(),
            arena: Mutex::default(),
            staging: Mutex::default(),
        }
    }

    /// A buffer, or `None` when there is no memory for it or none may be as large.
    pub(super) fn buffer(
        &self,
        label: &str,
        size: u64,
        usage: wgpu::BufferUsages,
    ) -> Option<wgpu::Buffer> {
        // Copies and clears go by words, and an empty value is bound as one element.
        let size = size.checked_next_multiple_of(4)?.max(8);
        if size > self.max_buffer {
            return None;
        }
        let scope = self.device.push_error_scope(wgpu::ErrorFilter::OutOfMemory);
        let buffer = self.device.create_buffer(&wgpu::BufferDescriptor {
            label: Some(label),
            size,
            usage,
            mapped_at_creation: false,
        });
        let failed = scope.pop().now_or_never().flatten().is_some();
        (!failed).then_some(buffer)
    }

    /// The arena that every run uses, one after another, as large as the largest needed.
    /// Who bound the one before keeps it alive, so it grows to powers of two: all that came
    /// before together are no larger than the last.
    pub(super) fn arena(&self, size: u64) -> Option<Arc<wgpu::Buffer>> {
        let mut arena = lock(&self.arena);
        if let Some(arena) = arena.as_ref().filter(|arena| arena.size() >= size) {
            return Some(arena.clone());
        }
        let usage = wgpu::BufferUsages::STORAGE
            | wgpu::BufferUsages::COPY_SRC
            | wgpu::BufferUsages::COPY_DST;
        let rounded = size.checked_next_power_of_two()?.max(MIN_ARENA);
        let made = self
            .buffer("arena", rounded.min(self.max_buffer), usage)
            .or_else(|| self.buffer("arena", size, usage))?;
        let made = Arc::new(made);
        *arena = Some(made.clone());
        Some(made)
    }

    /// Whether `arena` is the one that runs use now.
    pub(super) fn is_current(&self, arena: &Arc<wgpu::Buffer>) -> bool {
        let current = lock(&self.arena);
        current
            .as_ref()
            .is_some_and(|current| Arc::ptr_eq(current, arena))
    }

    /// A weight's buffer, shared by every plan that holds the same bytes.
    pub(super) fn weight(&self, bytes: &[u8]) -> Option<Arc<wgpu::Buffer>> {
        let digest = Digest::of(bytes);
        let mut weights = lock(&self.weights);
        if let Some(buffer) = weights.get(&digest).and_then(Weak::upgrade) {
            return Some(buffer);
        }
        let usage = wgpu::BufferUsages::STORAGE | wgpu::BufferUsages::COPY_DST;
        let buffer = Arc::new(self.buffer("weight", bytes.len() as u64, usage)?);
        self.queue.write_buffer(&buffer, 0, bytes);
        weights.retain(|_, weak| weak.strong_count() > 0);
        weights.insert(digest, Arc::downgrade(&buffer));
        Some(buffer)
    }

    /// A buffer that can be mapped, from those that were given back.
    pub(super) fn staging(&self, size: u64) -> Option<wgpu::Buffer> {
        let mut kept = lock(&self.staging);
        if let Some(at) = kept.iter().position(|buffer| buffer.size() >= size) {
            return Some(kept.swap_remove(at));
        }
        drop(kept);
        let usage = wgpu::BufferUsages::MAP_READ | wgpu::BufferUsages::COPY_DST;
        // Rounded where it may be kept, so that the next run of about this size fits.
        let size = match size.checked_next_power_of_two() {
            Some(rounded) if rounded <= MAX_KEPT_BYTES => rounded.max(4096),
            _ => size,
        };
        self.buffer("staging", size, usage)
    }

    /// Takes an unmapped buffer of [`Self::staging`] back.
    pub(super) fn give_back(&self, buffer: wgpu::Buffer) {
        let mut kept = lock(&self.staging);
        if kept.len() < MAX_KEPT && buffer.size() <= MAX_KEPT_BYTES {
            kept.push(buffer);
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
