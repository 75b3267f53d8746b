//! A plan made ready on one opened adapter: pipelines, weights, bind groups, launches.

use std::collections::HashMap;
use std::sync::Arc;

use futures_util::FutureExt as _;

use super::GpuOptions;
use super::live::Live;
use super::pipelines::Pipeline;
use crate::kernels::{self, Program};
use crate::plan::{Place, Plan, ValueId};

/// Groups of one launch at most, along its one dimension.
pub(super) const MAX_GROUPS: u64 = 65_535;

/// Launches of a run at most; each has words of its own in a uniform buffer.
pub(super) const MAX_LAUNCHES: u64 = 1 << 16;

/// A group's share of what a launch may do, at most: groups run side by side, so one alone
/// takes far longer for the same work. A sum over all of a large image is one group's.
const GROUP_SHARE: u64 = 8;

/// Why a plan is not made ready.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(super) enum Refusal {
    /// There is no memory for it now.
    #[error("the GPU has no memory for it")]
    Memory,
    /// These sizes have no plan, or one that is too much work.
    #[error("{0}")]
    Sizes(String),
    /// The driver does not take it.
    #[error("the driver refuses it: {0}")]
    Driver(String),
}

/// See the module. Bound to the adapter and the arena that it was made for.
pub(super) struct Prepared {
    pub(super) plan: Plan,
    pub(super) arena: Arc<wgpu::Buffer>,
    /// One word that kernels set when data is wrong; none where no kernel looks.
    pub(super) faults: Option<wgpu::Buffer>,
    steps: Vec<Launches>,
    // The bind groups hold them too; here they are counted.
    _weights: Vec<Arc<wgpu::Buffer>>,
}

/// One step: a kernel, what it is bound to, and the launches that make it up.
struct Launches {
    pipeline: Arc<Pipeline>,
    bound: wgpu::BindGroup,
    /// Offset of the launch's words, and its groups.
    launches: Vec<(u32, u32)>,
}

impl Prepared {
    /// Refused, this model runs on the CPU, and nobody else's is the worse for it.
    pub(super) fn new(live: &Live, plan: Plan, options: &GpuOptions) -> Result<Self, Refusal> {
        let steps = plan.steps.iter();
        let programs = steps.map(|step| (step.output, kernels::program(&plan, step, &live.tools)));
        let programs = programs.collect();
        Self::of_programs(live, plan, programs, options)
    }

    /// The same with kernels of the caller's, each with the value that it makes.
    pub(super) fn of_programs(
        live: &Live,
        plan: Plan,
        programs: Vec<(ValueId, Program)>,
        options: &GpuOptions,
    ) -> Result<Self, Refusal> {
        let scope = live.device.push_error_scope(wgpu::ErrorFilter::Validation);
        let made = Self::make(live, plan, programs, options);
        match scope.pop().now_or_never().flatten() {
            Some(error) => Err(Refusal::Driver(error.to_string())),
            None => made,
        }
    }

    fn make(
        live: &Live,
        mut plan: Plan,
        mut programs: Vec<(ValueId, Program)>,
        options: &GpuOptions,
    ) -> Result<Self, Refusal> {
        programs.retain(|(_, program)| program.n_groups > 0);
        check_work(&programs, options, live.max_run_operations(options))?;
        let arena = live.memory.arena(plan.arena_bytes);
        let arena = arena.ok_or(Refusal::Memory)?;
        let weights = plan
            .weights
            .iter()
            .map(|weight| live.memory.weight(&weight.bytes));
        let weights: Option<Vec<Arc<wgpu::Buffer>>> = weights.collect();
        let weights = weights.ok_or(Refusal::Memory)?;
        // They are up there now, and the graph holds them here.
        for weight in &mut plan.weights {
            weight.bytes = Arc::default();
        }
        let tells_faults = programs.iter().any(|(_, program)| program.tells_faults);
        let word = wgpu::BufferUsages::STORAGE
            | wgpu::BufferUsages::COPY_SRC
            | wgpu::BufferUsages::COPY_DST;
        let faults = match tells_faults {
            true => Some(
                live.memory
                    .buffer("faults", 4, word)
                    .ok_or(Refusal::Memory)?,
            ),
            false => None,
        };
        let mut firsts: HashMap<u64, u32> = HashMap::new();
        let mut words = Vec::new();
        let mut launches = Vec::with_capacity(programs.len());
        for (_, program) in &programs {
            launches.push(parts(program, options, |first| {
                *firsts.entry(first).or_insert_with(|| {
                    let offset = words.len() as u32;
                    words.resize(words.len() + live.launch_stride() as usize, 0_u8);
                    // Groups are counted in 32 bits: a value has at most 2^30 elements.
                    words[offset as usize..][..4].copy_from_slice(&(first as u32).to_le_bytes());
                    offset
                })
            }));
        }
        let uniform = wgpu::BufferUsages::UNIFORM | wgpu::BufferUsages::COPY_DST;
        let uniforms = live
            .memory
            .buffer("launches", words.len().max(16) as u64, uniform);
        let uniforms = uniforms.ok_or(Refusal::Memory)?;
        live.queue.write_buffer(&uniforms, 0, &words);
        let mut steps = Vec::with_capacity(programs.len());
        for ((output, program), launches) in programs.iter().zip(launches) {
            let pipeline = live.pipelines.of_program(&plan, program);
            let pipeline = pipeline.ok_or_else(|| Refusal::Driver("a kernel".to_owned()))?;
            let range = |value: &ValueId| {
                let value = plan.value(*value);
                let (buffer, offset) = match value.place {
                    Place::Arena(offset) => (&arena, offset),
                    Place::Weight(weight) => (&weights[weight], 0),
                };
                wgpu::BindingResource::Buffer(wgpu::BufferBinding {
                    buffer,
                    offset,
                    size: std::num::NonZero::new(value.n_bytes()),
                })
            };
            let part = wgpu::BindingResource::Buffer(wgpu::BufferBinding {
                buffer: &uniforms,
                offset: 0,
                size: std::num::NonZero::new(16),
            });
            let told = faults.as_ref().filter(|_| program.tells_faults);
            let resources = [part, range(output)]
                .into_iter()
                .chain(program.inputs.iter().map(range))
                .chain(told.map(wgpu::Buffer::as_entire_binding));
            let entries: Vec<_> = resources
                .zip(0..)
                .map(|(resource, binding)| wgpu::BindGroupEntry { binding, resource })
                .collect();
            let bound = live.device.create_bind_group(&wgpu::BindGroupDescriptor {
                label: None,
                layout: &pipeline.layout,
                entries: &entries,
            });
            steps.push(Launches {
                pipeline,
                bound,
                launches,
            });
        }
        live.pipelines.save();
        Ok(Self {
            plan,
            arena,
            faults,
            steps,
            _weights: weights,
        })
    }

    /// Whether it can run on `live` as it is now.
    pub(super) fn fits(&self, live: &Live) -> bool {
        live.memory.is_current(&self.arena)
    }

    /// Adds every launch to `commands`.
    pub(super) fn encode(&self, commands: &mut wgpu::CommandEncoder) {
        if let Some(faults) = &self.faults {
            commands.clear_buffer(faults, 0, None);
        }
        let mut pass = commands.begin_compute_pass(&wgpu::ComputePassDescriptor::default());
        for step in &self.steps {
            pass.set_pipeline(&step.pipeline.pipeline);
            for &(offset, n_groups) in &step.launches {
                pass.set_bind_group(0, &step.bound, &[offset]);
                pass.dispatch_workgroups(n_groups, 1, 1);
            }
        }
    }
}

/// Whether the adapter can be given so much at once: no more than a run may take, none of
/// it in one piece that cannot be divided.
fn check_work(
    programs: &[(ValueId, Program)],
    options: &GpuOptions,
    max_operations: u64,
) -> Result<(), Refusal> {
    let (mut n_operations, mut n_launches) = (0_u64, 0_u64);
    for (_, program) in programs {
        if program.group_operations > options.max_launch_operations / GROUP_SHARE {
            return Err(Refusal::Sizes(format!(
                "{} operations of a step cannot be divided; the bound of a launch allows {}",
                program.group_operations,
                options.max_launch_operations / GROUP_SHARE
            )));
        }
        let all = program.n_groups.saturating_mul(program.group_operations);
        n_operations = n_operations.saturating_add(all);
        n_launches = n_launches.saturating_add(n_parts(program, options));
    }
    if n_operations > max_operations {
        return Err(Refusal::Sizes(format!(
            "a run would take {n_operations} operations, more than the {max_operations} allowed"
        )));
    }
    if n_launches > MAX_LAUNCHES {
        return Err(Refusal::Sizes(format!(
            "a run would take {n_launches} launches, more than {MAX_LAUNCHES}"
        )));
    }
    Ok(())
}

/// Groups that one launch takes, so that none does too much.
fn at_once(program: &Program, options: &GpuOptions) -> u64 {
    let affordable = options.max_launch_operations / program.group_operations.max(1);
    affordable.clamp(1, MAX_GROUPS)
}

fn n_parts(program: &Program, options: &GpuOptions) -> u64 {
    program.n_groups.div_ceil(at_once(program, options))
}

/// A program's groups, launch by launch.
fn parts(
    program: &Program,
    options: &GpuOptions,
    mut offset_of: impl FnMut(u64) -> u32,
) -> Vec<(u32, u32)> {
    let at_once = at_once(program, options);
    let firsts = (0..program.n_groups).step_by(at_once as usize);
    let part = |first: u64| {
        let n_groups = at_once.min(program.n_groups - first);
        (offset_of(first), n_groups as u32)
    };
    firsts.map(part).collect()
}

impl std::fmt::Debug for Prepared {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Prepared({} steps)", self.steps.len())
    }
}
