//! Threads that decode images, and the room that decoded ones may take together.

use std::num::NonZeroUsize;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use trommel_tensor::{Pixels, TensorError, Workers};

use super::{LoadError, now};
use crate::decode::{DecodeError, Header, ImageBounds};

/// What the room for decoded images is counted in: finer than any image that
/// matters, and coarse enough for the count to fit.
const UNIT: u64 = 4 << 10;

/// How large the decoder is.
#[derive(Debug, Clone)]
pub struct DecoderOptions {
    /// Threads that decode, and as many that tokenize long texts.
    pub n_threads: NonZeroUsize,
    /// Images that may wait for a thread, and as many texts; one more is an overload of
    /// the host.
    pub max_waiting: usize,
    /// Bytes that decoded images take together, the codecs' own copies included;
    /// who needs more waits. One image alone may always be decoded.
    pub room_bytes: u64,
    /// What a single image may hold.
    pub bounds: ImageBounds,
}

impl Default for DecoderOptions {
    /// A thread per core this process may use, 1,024 waiting images, 512 MiB.
    fn default() -> Self {
        Self {
            n_threads: std::thread::available_parallelism().unwrap_or(NonZeroUsize::MIN),
            max_waiting: 1024,
            room_bytes: 512 << 20,
            bounds: ImageBounds::default(),
        }
    }
}

/// The engine's one decoder.
#[derive(Debug)]
pub(super) struct Decoder {
    workers: Workers,
    room: Arc<Semaphore>,
    n_units: u32,
    bounds: Arc<ImageBounds>,
}

/// Why an image did not become what was asked.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub(super) enum ImageError {
    /// It is none. The caller is to blame.
    #[error(transparent)]
    Decode(#[from] DecodeError),
    /// The decoder or the device failed, or it was asked for too much.
    #[error(transparent)]
    Tensor(#[from] TensorError),
}

/// A decoded image, and the room it takes.
#[derive(Debug)]
pub(super) struct Decoded {
    pub(super) pixels: Arc<Pixels>,
    _room: OwnedSemaphorePermit,
}

impl Decoder {
    pub(super) fn start(options: &DecoderOptions) -> Result<Self, LoadError> {
        let workers = Workers::start("trommel-decode", options.n_threads, options.max_waiting)
            .map_err(|error| LoadError::Engine(format!("cannot start a thread: {error}")))?;
        let n_units = units(options.room_bytes).max(1);
        Ok(Self {
            workers,
            room: Arc::new(Semaphore::new(n_units as usize)),
            n_units,
            bounds: Arc::new(options.bounds.clone()),
        })
    }

    /// What an image says of itself.
    pub(super) async fn header(&self, bytes: Arc<[u8]>) -> Result<Header, ImageError> {
        let bounds = self.bounds.clone();
        let read = self.workers.submit(move || Header::read(&bytes, &bounds));
        Ok(answer(read.map_err(full)?.await)??)
    }

    /// The image itself. The time that it took, without waiting, is added to
    /// `spent`.
    pub(super) async fn pixels(
        &self,
        bytes: Arc<[u8]>,
        header: Header,
        spent: Arc<Spent>,
    ) -> Result<Decoded, ImageError> {
        let n_units = units(header.working_bytes).min(self.n_units);
        let room = self.room.clone().acquire_many_owned(n_units).await;
        let room = room.map_err(|_| lost())?;
        let decoded = self.workers.submit(move || {
            let start = now();
            let pixels = header.decode(&bytes);
            spent.add(start.elapsed());
            pixels
        });
        let pixels = answer(decoded.map_err(full)?.await)??;
        Ok(Decoded {
            pixels: Arc::new(pixels),
            _room: room,
        })
    }
}

/// Time added up by several threads.
#[derive(Debug, Default)]
pub(super) struct Spent(AtomicU64);

impl Spent {
    pub(super) fn add(&self, time: Duration) {
        let micros = u64::try_from(time.as_micros()).unwrap_or(u64::MAX);
        self.0.fetch_add(micros, Ordering::Relaxed);
    }

    pub(super) fn total(&self) -> Duration {
        Duration::from_micros(self.0.load(Ordering::Relaxed))
    }
}

fn units(bytes: u64) -> u32 {
    u32::try_from(bytes.div_ceil(UNIT)).unwrap_or(u32::MAX)
}

fn full(full: trommel_tensor::QueueFull) -> ImageError {
    ImageError::Tensor(TensorError::Overloaded {
        device: "decoder".to_owned(),
        n_waiting: full.n_waiting,
    })
}

fn answer<T>(answered: Result<T, tokio::sync::oneshot::error::RecvError>) -> Result<T, ImageError> {
    answered.map_err(|_| lost())
}

fn lost() -> ImageError {
    ImageError::Tensor(TensorError::Internal {
        device: "decoder".to_owned(),
        what: "its threads have ended".to_owned(),
    })
}
