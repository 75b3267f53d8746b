//! One image on the GPU: its bytes go up once, two kernels make the tensor, and there it
//! stays. Who runs a model on it copies it within the GPU; who reads it waits for it.
//!
//! What an image takes meanwhile is bounded: by [`Room`] for one, and for all by how many
//! submissions are in flight.

use std::sync::Arc;

use futures_util::future::{BoxFuture, FutureExt as _, ready};
use tokio::sync::oneshot;

use super::live::{Ending, Live};
use super::pipelines::Pipeline;
use super::prepared::{MAX_GROUPS, MAX_LAUNCHES};
use super::storage::GpuStorage;
use super::{Shared, lost};
use crate::device::cpu::{check_deadline, now};
use crate::kernels::preprocess::{COLUMNS, ImageProgram, LAUNCH_BYTES, ROWS, Room};
use crate::plan::Element;
use crate::{Charge, Device as _, Dtype, Pixels, Preparation, Preprocess, Tensor, TensorError};

/// Which storage of both kernels they only read: not the first, which they make.
const IS_READ_ONLY: [bool; 3] = [false, true, true];

/// Both kernels, compiled.
#[derive(Debug)]
pub(super) struct ImageKernels {
    columns: Arc<Pipeline>,
    rows: Arc<Pipeline>,
}

impl ImageKernels {
    fn new(live: &Live) -> Option<Self> {
        let columns = live.pipelines.get(COLUMNS, &IS_READ_ONLY)?;
        let rows = live.pipelines.get(ROWS, &IS_READ_ONLY)?;
        live.pipelines.save();
        Some(Self { columns, rows })
    }
}

type Answer = oneshot::Sender<Result<Option<Tensor>, TensorError>>;

/// See [`crate::Device::prepare`].
pub(super) fn prepare(
    shared: &Arc<Shared>,
    work: Preparation,
) -> BoxFuture<'static, Result<Tensor, TensorError>> {
    // No plan reads halves or bytes, so nothing would be won.
    if work.preprocess.dtype != Dtype::F32 {
        return shared.cpu.prepare(work);
    }
    let (answer, answered) = oneshot::channel();
    let queued = work.charge().and_then(|charge| {
        let owner = shared.clone();
        let (pixels, preprocess) = (work.pixels.clone(), work.preprocess.clone());
        let deadline = work.deadline;
        let job = move || match check_deadline(deadline) {
            Ok(()) => begin(&owner, &pixels, &preprocess, charge, answer),
            Err(error) => tell(answer, charge, Err(error)),
        };
        shared.scheduler.submit(job)
    });
    let queued = match queued {
        Ok(queued) => queued,
        Err(error) => return ready(Err(error)).boxed(),
    };
    let shared = shared.clone();
    async move {
        // Dropped with the future, so that an image given up is not begun.
        let queued = queued;
        let answered = answered.await;
        drop(queued);
        match answered {
            Ok(Ok(Some(tensor))) => Ok(tensor),
            Ok(Ok(None)) => shared.cpu.prepare(work).await,
            Ok(Err(error)) => Err(error),
            Err(_) => Err(lost()),
        }
    }
    .boxed()
}

/// Answers without a tensor, once its charge is given back: the caller may charge again.
fn tell(answer: Answer, charge: Charge, answered: Result<Option<Tensor>, TensorError>) {
    drop(charge);
    // Whoever asked may have gone.
    drop(answer.send(answered));
}

/// Encodes and submits; nothing where the CPU is to take it.
fn begin(
    shared: &Arc<Shared>,
    pixels: &Pixels,
    preprocess: &Preprocess,
    charge: Charge,
    answer: Answer,
) {
    // Of a GPU that is gone it was told when it went.
    let Some(live) = shared.live(now()) else {
        return tell(answer, charge, Ok(None));
    };
    match encode(shared, &live, pixels, preprocess) {
        Ok((commands, out)) => {
            let shape = preprocess.shape(pixels.width(), pixels.height());
            submit(&live, commands, out, shape, charge, answer);
        }
        Err(why) => {
            // A lost GPU refuses everything; found out now, the next image opens it anew.
            let _ = live.is_found_lost();
            let (width, height) = (pixels.width(), pixels.height());
            shared.told_of_images.call_once(|| {
                tracing::warn!(
                    width,
                    height,
                    why,
                    "an image goes to the CPU; others may too"
                );
            });
            tracing::debug!(width, height, why, "an image goes to the CPU");
            tell(answer, charge, Ok(None));
        }
    }
}

fn submit(
    live: &Arc<Live>,
    commands: wgpu::CommandBuffer,
    buffer: wgpu::Buffer,
    shape: [usize; 4],
    charge: Charge,
    answer: Answer,
) {
    let (owner, flight) = (live.clone(), live.flight());
    let done = move |ending: Ending| {
        // The GPU is free for the next while this is answered.
        drop(flight);
        if ending != Ending::Done {
            return tell(answer, charge, Err(lost()));
        }
        let storage = GpuStorage {
            live: owner,
            buffer,
            element: Element::F32,
            n_elements: shape.iter().product(),
        };
        let tensor = Tensor::from_storage(Dtype::F32, &shape, Arc::new(storage), charge);
        // Whoever asked may have gone.
        drop(answer.send(Ok(Some(tensor))));
    };
    live.submit(commands, Box::new(done));
}

/// The commands that make the tensor, and its buffer. The error says why the GPU does not
/// take this image.
fn encode(
    shared: &Shared,
    live: &Arc<Live>,
    pixels: &Pixels,
    preprocess: &Preprocess,
) -> Result<(wgpu::CommandBuffer, wgpu::Buffer), String> {
    let bounds = live.bounds(&shared.options);
    let room = Room {
        buffer_bytes: bounds.value_bytes.min(bounds.arena_bytes),
        image_bytes: bounds.arena_bytes,
        launch_operations: shared.options.max_launch_operations,
        launch_groups: MAX_GROUPS,
        launches: MAX_LAUNCHES,
    };
    let program = ImageProgram::new(preprocess, pixels.width(), pixels.height(), &room)?;
    let kernels = live.image_kernels.get_or_init(|| ImageKernels::new(live));
    let Some(kernels) = kernels else {
        return Err("the driver does not take the kernels".to_owned());
    };
    let validation = live.device.push_error_scope(wgpu::ErrorFilter::Validation);
    let memory = live.device.push_error_scope(wgpu::ErrorFilter::OutOfMemory);
    let encoder = Encoder {
        live,
        kernels,
        program,
    };
    let encoded = encoder.encode(pixels);
    let no_memory = memory.pop().now_or_never().flatten();
    let refused = validation.pop().now_or_never().flatten();
    match no_memory.or(refused) {
        Some(error) => Err(error.to_string()),
        None => encoded.ok_or_else(|| "the GPU has no memory for it".to_owned()),
    }
}

/// Makes an image's buffers and commands. `None` where there is no memory.
struct Encoder<'a> {
    live: &'a Live,
    kernels: &'a ImageKernels,
    program: ImageProgram,
}

impl Encoder<'_> {
    fn encode(&self, pixels: &Pixels) -> Option<(wgpu::CommandBuffer, wgpu::Buffer)> {
        let Self {
            live,
            kernels,
            program,
        } = self;
        let storage = wgpu::BufferUsages::STORAGE;
        let out = live.memory.buffer(
            "image tensor",
            program.out_bytes,
            storage | wgpu::BufferUsages::COPY_SRC,
        )?;
        let sums = live
            .memory
            .buffer("image sums", program.sums_bytes, storage)?;
        let taps = program.taps.iter().flat_map(|word| word.to_le_bytes());
        let taps = self.filled("image taps", storage, &taps.collect::<Vec<_>>())?;
        let (offsets, words) = self.words();
        let words = self.filled("image launches", wgpu::BufferUsages::UNIFORM, &words)?;
        let mut sheets = Vec::with_capacity(program.sheets.len());
        for rows in &program.sheets {
            let sheet = self.sheet(pixels, rows.clone())?;
            sheets.push(self.bound(&kernels.columns, &words, [&sums, &sheet, &taps]));
        }
        let along_rows = self.bound(&kernels.rows, &words, [&out, &sums, &taps]);

        let mut commands = live
            .device
            .create_command_encoder(&wgpu::CommandEncoderDescriptor::default());
        let mut pass = commands.begin_compute_pass(&wgpu::ComputePassDescriptor::default());
        for (launch, offset) in program.launches.iter().zip(offsets) {
            let (pipeline, bound) = match launch.sheet {
                Some(sheet) => (&kernels.columns, &sheets[sheet]),
                None => (&kernels.rows, &along_rows),
            };
            pass.set_pipeline(&pipeline.pipeline);
            pass.set_bind_group(0, bound, &[offset]);
            pass.dispatch_workgroups(launch.n_groups, 1, 1);
        }
        drop(pass);
        Some((commands.finish(), out))
    }

    /// What every launch is told, and where it stands.
    fn words(&self) -> (Vec<u32>, Vec<u8>) {
        let alignment = self.live.launch_stride() as usize;
        let stride = LAUNCH_BYTES.next_multiple_of(alignment);
        let launches = &self.program.launches;
        let mut words = vec![0; stride * launches.len()];
        for (launch, into) in launches.iter().zip(words.chunks_exact_mut(stride)) {
            for (word, into) in launch.words.iter().zip(into.as_chunks_mut().0) {
                *into = word.to_le_bytes();
            }
        }
        // Launches are bounded so that their words take some megabytes at most.
        let offsets = (0..launches.len()).map(|index| (index * stride) as u32);
        (offsets.collect(), words)
    }

    fn filled(&self, label: &str, usage: wgpu::BufferUsages, bytes: &[u8]) -> Option<wgpu::Buffer> {
        let usage = usage | wgpu::BufferUsages::COPY_DST;
        let buffer = self.live.memory.buffer(label, bytes.len() as u64, usage)?;
        self.live.queue.write_buffer(&buffer, 0, bytes);
        Some(buffer)
    }

    /// Rows of the source, on the GPU.
    fn sheet(&self, pixels: &Pixels, rows: std::ops::Range<usize>) -> Option<wgpu::Buffer> {
        let size = self.program.sheet_bytes(&rows);
        let usage = wgpu::BufferUsages::STORAGE | wgpu::BufferUsages::COPY_DST;
        let buffer = self.live.memory.buffer("image sheet", size, usage)?;
        let size = std::num::NonZero::new(size)?;
        // Rows are written where the driver takes them from, without a copy between.
        let mut view = self.live.queue.write_buffer_with(&buffer, 0, size)?;
        let (given, taken) = (3 * pixels.width() as usize, 4 * self.program.row_words);
        let columns = 3 * self.program.columns.start..3 * self.program.columns.end;
        for (at, row) in rows.enumerate() {
            let row = &pixels.rgb()[row * given..][columns.clone()];
            let (begin, middle, end) = (at * taken, at * taken + row.len(), (at + 1) * taken);
            view.slice(begin..middle).copy_from_slice(row);
            view.slice(middle..end).fill(0);
        }
        Some(buffer)
    }

    /// Binds a kernel to a launch's words and its storage.
    fn bound(
        &self,
        pipeline: &Pipeline,
        words: &wgpu::Buffer,
        storage: [&wgpu::Buffer; 3],
    ) -> wgpu::BindGroup {
        let launch = wgpu::BindingResource::Buffer(wgpu::BufferBinding {
            buffer: words,
            offset: 0,
            size: std::num::NonZero::new(LAUNCH_BYTES as u64),
        });
        let storage = storage.map(wgpu::Buffer::as_entire_binding);
        let resources = [launch].into_iter().chain(storage);
        let entries: Vec<_> = resources
            .zip(0..)
            .map(|(resource, binding)| wgpu::BindGroupEntry { binding, resource })
            .collect();
        self.live
            .device
            .create_bind_group(&wgpu::BindGroupDescriptor {
                label: None,
                layout: &pipeline.layout,
                entries: &entries,
            })
    }
}
