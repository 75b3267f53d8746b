//! `trommel devices` and `trommel plan`: where models run, and how.

use std::io::{Write as _, stdout};
use std::path::PathBuf;

use anyhow::{Context as _, bail};
use clap::Args;
use trommel::registry::bundled;
use trommel_tensor::{AdapterKind, Graph, Weights, adapters, plan_text};

use super::Exit;

/// Lists the CPU, every adapter, and which bundled models a GPU would run.
pub(super) fn devices() -> anyhow::Result<Exit> {
    let mut out = stdout();
    writeln!(out, "DEVICE  KIND        NAME")?;
    writeln!(out, "cpu     cpu         this machine's processor")?;
    for (number, adapter) in adapters().iter().enumerate() {
        let kind = match adapter.kind {
            AdapterKind::Discrete => "discrete",
            AdapterKind::Integrated => "integrated",
            AdapterKind::Software => "software",
        };
        writeln!(
            out,
            "{:<7} {kind:<11} {} ({}, {})",
            format!("gpu:{number}"),
            adapter.name,
            adapter.backend,
            adapter.driver
        )?;
    }
    writeln!(out, "\nMODEL           ON A GPU")?;
    let models = bundled::DETECTORS.iter().flat_map(|(name, files)| {
        let models = files.iter().filter(|(file, _)| file.ends_with(".onnx"));
        models.map(move |(_, bytes)| (name, bytes))
    });
    for (name, file) in models {
        let graph = Graph::from_onnx(file, &Weights::default())
            .with_context(|| format!("the bundled model {name}"))?;
        let answer = match plan_text(&graph, &[]) {
            Ok(_) => "yes".to_owned(),
            Err(error) => format!("no, on the CPU: {error}"),
        };
        writeln!(out, "{name:<15} {answer}")?;
    }
    Ok(Exit::Done)
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
}

/// Prints how a GPU would run a model.
pub(super) fn plan(arguments: &PlanArguments) -> anyhow::Result<Exit> {
    let shown = arguments.model.display();
    let file =
        std::fs::read(&arguments.model).with_context(|| format!("{shown} cannot be read"))?;
    let graph = Graph::from_onnx(&file, &Weights::default()).with_context(|| shown.to_string())?;
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
