//! `trommel devices` and `trommel plan`: where models run, and how.

use std::io::{Write, stdout};
use std::path::PathBuf;

use anyhow::{Context as _, bail};
use clap::{Args, ValueEnum};
use serde_json::{Value, json};
use trommel::registry::bundled;
use trommel_tensor::{
    AdapterChoice, AdapterKind, AdapterSummary, Cooperation, GpuDevice, GpuOptions, Graph,
    PlanSummary, Precision, TensorError, Weights, adapters, plan_summary, plan_text,
};

use super::Exit;
use super::output::shown;

/// Arguments of `trommel devices`.
#[derive(Debug, Args)]
pub(super) struct DevicesArguments {
    /// ONNX files to look at, instead of the bundled models.
    #[arg(value_name = "MODEL")]
    models: Vec<PathBuf>,
    /// How values are to be stored: f16 where a device can.
    #[arg(long, value_enum, default_value = "f32")]
    precision: PrecisionArgument,
    /// One JSON object.
    #[arg(long)]
    json: bool,
}

/// As a manifest's `precision`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum PrecisionArgument {
    /// Whole.
    F32,
    /// Half.
    F16,
}

impl PrecisionArgument {
    fn precision(self) -> Precision {
        match self {
            Self::F32 => Precision::Single,
            Self::F16 => Precision::Half,
        }
    }
}

/// A model, and how a GPU would run it.
struct Covered {
    name: String,
    plan: Result<PlanSummary, TensorError>,
    /// Why rows of several callers never share a batch, on any device.
    why_alone: Option<String>,
}

/// Lists the CPU, every adapter, and which models a GPU would run.
pub(super) fn devices(arguments: &DevicesArguments) -> anyhow::Result<Exit> {
    let precision = arguments.precision.precision();
    let adapters: Vec<AdapterSummary> = adapters().into_iter().enumerate().map(tried).collect();
    let models = models(&arguments.models, precision)?;
    match arguments.json {
        true => writeln!(stdout(), "{}", as_json(&adapters, &models))?,
        false => write_table(&mut stdout(), &adapters, &models, precision)?,
    }
    Ok(Exit::Done)
}

/// An adapter that says that it has cooperative matrices, with what came of their self-test.
fn tried((number, adapter): (usize, AdapterSummary)) -> AdapterSummary {
    if adapter.cooperation != Cooperation::Offered {
        return adapter;
    }
    let opened = GpuDevice::new(GpuOptions {
        adapter: AdapterChoice::Number(number),
        ..GpuOptions::default()
    });
    let cooperation = match opened.map(|device| device.adapter()) {
        Ok(Some(opened)) => opened.cooperation,
        Ok(None) => Cooperation::Failed("the GPU was lost".to_owned()),
        Err(error) => Cooperation::Failed(error.to_string()),
    };
    AdapterSummary {
        cooperation,
        ..adapter
    }
}

/// The files given, or else the bundled models, each planned for sizes of 2.
fn models(files: &[PathBuf], precision: Precision) -> anyhow::Result<Vec<Covered>> {
    let covered = |name: &str, file: &[u8]| {
        let graph = Graph::from_onnx(file, &Weights::default());
        let graph = graph.with_context(|| format!("the model {name}"))?;
        let graph = graph.stored_as(precision);
        Ok(Covered {
            name: name.to_owned(),
            plan: plan_summary(&graph, &[]),
            why_alone: graph.why_alone().map(str::to_owned),
        })
    };
    if files.is_empty() {
        let bundled = bundled::DETECTORS.iter().flat_map(|(name, files)| {
            let models = files.iter().filter(|(file, _)| file.ends_with(".onnx"));
            models.map(move |(_, bytes)| (name, bytes))
        });
        return bundled.map(|(name, file)| covered(name, file)).collect();
    }
    let read = |path: &PathBuf| {
        let shown = path.display().to_string();
        let file = std::fs::read(path).with_context(|| format!("{shown} cannot be read"))?;
        covered(&shown, &file)
    };
    files.iter().map(read).collect()
}

fn kind(adapter: &AdapterSummary) -> &'static str {
    match adapter.kind {
        AdapterKind::Discrete => "discrete",
        AdapterKind::Integrated => "integrated",
        AdapterKind::Software => "software",
    }
}

fn write_table(
    out: &mut impl Write,
    adapters: &[AdapterSummary],
    models: &[Covered],
    precision: Precision,
) -> anyhow::Result<()> {
    writeln!(out, "DEVICE  KIND        NAME")?;
    writeln!(out, "cpu     cpu         this machine's processor")?;
    for (number, adapter) in adapters.iter().enumerate() {
        let (device, limits) = (format!("gpu:{number}"), &adapter.limits);
        writeln!(
            out,
            "{device:<7} {:<11} {} ({}, {})",
            kind(adapter),
            shown(&adapter.name),
            adapter.backend,
            shown(&adapter.driver)
        )?;
        writeln!(
            out,
            "        a buffer of {} MiB, a value of {} MiB, {} values a step, {} KiB shared; uses {}",
            limits.buffer_bytes >> 20,
            limits.binding_bytes >> 20,
            limits.storage_buffers,
            limits.workgroup_bytes >> 10,
            match adapter.features.is_empty() {
                true => "no features".to_owned(),
                false => adapter.features.join(", "),
            }
        )?;
        let cooperation = adapter.cooperation.to_string();
        writeln!(out, "        cooperative matrices {}", shown(&cooperation))?;
    }
    if precision == Precision::Half {
        writeln!(out, "\n{}", who_halves(adapters))?;
    }
    writeln!(out, "\nMODEL           ON A GPU")?;
    for Covered { name, plan, .. } in models {
        let answer = match plan {
            Ok(plan) => {
                let halves = match plan.n_halves {
                    0 => String::new(),
                    n => format!(", {n} of both in f16"),
                };
                format!(
                    "yes: {} steps, {} KiB of values, {} KiB of weights{halves}",
                    plan.n_steps,
                    plan.arena_bytes >> 10,
                    plan.weight_bytes >> 10
                )
            }
            Err(error) => format!("no, on the CPU: {error}"),
        };
        writeln!(out, "{:<15} {}", shown(name), shown(&answer))?;
    }
    writeln!(out, "\nMODEL           BATCHES")?;
    for Covered {
        name, why_alone, ..
    } in models
    {
        let answer = match why_alone {
            None => "yes: rows of several callers share one, where they score alike".to_owned(),
            Some(why) => format!("no, each row runs alone: {why}"),
        };
        writeln!(out, "{:<15} {}", shown(name), shown(&answer))?;
    }
    Ok(())
}

/// Which devices store f16; the others run such models in f32.
fn who_halves(adapters: &[AdapterSummary]) -> String {
    let numbered = adapters.iter().enumerate();
    let (half, whole): (Vec<_>, Vec<_>) = numbered.partition(|(_, it)| it.stores_halves());
    let names = |of: &[(usize, &AdapterSummary)]| -> Vec<String> {
        of.iter()
            .map(|(number, _)| format!("gpu:{number}"))
            .collect()
    };
    let whole = [vec!["cpu".to_owned()], names(&whole)].concat().join(", ");
    match half.is_empty() {
        true => format!("f16: stored nowhere; in f32 on {whole}"),
        false => format!(
            "f16: stored on {}; in f32 on {whole}",
            names(&half).join(", ")
        ),
    }
}

fn as_json(adapters: &[AdapterSummary], models: &[Covered]) -> Value {
    let device = |(number, adapter): (usize, &AdapterSummary)| {
        json!({
            "device": format!("gpu:{number}"),
            "kind": kind(adapter),
            "name": adapter.name,
            "driver": adapter.driver,
            "backend": adapter.backend,
            "buffer_bytes": adapter.limits.buffer_bytes,
            "binding_bytes": adapter.limits.binding_bytes,
            "storage_buffers": adapter.limits.storage_buffers,
            "workgroup_bytes": adapter.limits.workgroup_bytes,
            "features": adapter.features,
            "stores_f16": adapter.stores_halves(),
            "cooperative_matrices": adapter.cooperation.to_string(),
        })
    };
    let model = |Covered {
                     name,
                     plan,
                     why_alone,
                 }: &Covered| match plan {
        Ok(plan) => json!({
            "model": name,
            "why_alone": why_alone,
            "covered": true,
            "steps": plan.n_steps,
            "operations": plan.n_operations,
            "arena_bytes": plan.arena_bytes,
            "weight_bytes": plan.weight_bytes,
            "f16_values": plan.n_halves,
        }),
        Err(error) => json!({
            "model": name,
            "why_alone": why_alone,
            "covered": false,
            "operator": match error {
                TensorError::NoPlan { operator, .. } => Some(operator),
                _ => None,
            },
            "why": error.to_string(),
        }),
    };
    let cpu = json!({ "device": "cpu", "kind": "cpu", "stores_f16": false });
    let devices = [cpu].into_iter();
    json!({
        "devices": devices.chain(adapters.iter().enumerate().map(device)).collect::<Vec<_>>(),
        "models": models.iter().map(model).collect::<Vec<_>>(),
    })
}

/// Arguments of `trommel plan`.
#[derive(Debug, Args)]
pub(super) struct PlanArguments {
    /// An ONNX file.
    #[arg(value_name = "MODEL")]
    model: PathBuf,
    /// The size of each input's first dimension where it has a name.
    #[arg(long, value_name = "N", default_value = "1")]
    batch: usize,
    /// The size of another named dimension; may be given more than once.
    #[arg(long, value_name = "NAME=N")]
    size: Vec<String>,
    /// How values are to be stored.
    #[arg(long, value_enum, default_value = "f32")]
    precision: PrecisionArgument,
}

/// Prints how a GPU would run a model.
pub(super) fn plan(arguments: &PlanArguments) -> anyhow::Result<Exit> {
    let shown = arguments.model.display();
    let file =
        std::fs::read(&arguments.model).with_context(|| format!("{shown} cannot be read"))?;
    let graph = Graph::from_onnx(&file, &Weights::default()).with_context(|| shown.to_string())?;
    let graph = graph.stored_as(arguments.precision.precision());
    let mut sizes = Vec::new();
    for port in graph.inputs() {
        if let Some(trommel_tensor::Dimension::Symbol(name)) = port.shape.first() {
            sizes.push((name.clone(), arguments.batch));
        }
    }
    for size in &arguments.size {
        let parsed = size
            .split_once('=')
            .and_then(|(name, size)| Some((name.to_owned(), size.parse().ok()?)));
        let Some(size) = parsed else {
            bail!("--size {size}: write NAME=N, such as sequence=128");
        };
        sizes.push(size);
    }
    let text = plan_text(&graph, &sizes).with_context(|| shown.to_string())?;
    stdout().write_all(text.as_bytes())?;
    Ok(Exit::Done)
}
