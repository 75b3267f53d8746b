//! Runs of a graph on each device, timed, and the lines that `gpu.sh` makes a table of.

use std::sync::Arc;
use std::time::Duration;

use criterion::measurement::WallTime;
use criterion::{BenchmarkGroup, SamplingMode, Throughput};
use tokio::runtime::Runtime;
use trommel_tensor::{Device, Graph, Precision, Session, Tensor, TensorError};
use trommel_tests::devices::{Array, SOFTWARE_GPU, devices, graph, run, upload};

use crate::{is_trial, median, per_iteration};

/// How much a device is asked to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Load {
    /// What a device is for.
    Full,
    /// What a software adapter, at a billion operations a second, does in a moment; and
    /// CI on any device.
    Small,
}

/// Each device with the load that it is to bear, as `TROMMEL_BENCH_DEVICES` names them
/// (`cpu,gpu`), else all.
pub fn loaded_devices() -> Vec<(&'static str, Arc<dyn Device>, Load)> {
    let wanted = std::env::var("TROMMEL_BENCH_DEVICES").ok();
    let is_wanted = |name: &str| {
        let wanted = wanted.as_ref();
        wanted.is_none_or(|list| list.split(',').any(|one| one == name))
    };
    let load = |name| {
        if is_trial() || name == SOFTWARE_GPU {
            Load::Small
        } else {
            Load::Full
        }
    };
    // Of a device that stands there twice the last counts: a GPU with the shaders that
    // are used, not those that check themselves.
    let mut all: Vec<(&str, Arc<dyn Device>)> = Vec::new();
    for (name, device) in devices() {
        all.retain(|(known, _)| *known != name);
        all.push((name, device));
    }
    all.into_iter()
        .filter(|(name, _)| is_wanted(name))
        .map(|(name, device)| (name, device, load(name)))
        .collect()
}

/// What one run does, for its rate.
#[derive(Debug, Clone, Copy)]
pub enum Work {
    /// Floating-point operations; a multiplication and an addition are two.
    Operations(u64),
    /// Rows of a batch.
    Rows(u64),
}

/// One graph on one device.
pub struct Subject<'a> {
    /// What is run, such as `1024×1024×1024`.
    pub name: &'a str,
    /// The ONNX file.
    pub file: &'a [u8],
    /// Its inputs, which are on the device before the time is taken.
    pub inputs: &'a [(String, Array)],
    /// What one run does.
    pub work: Work,
}

/// Times runs whose outputs are read back: a device may answer before it is done.
/// Prints `figure: BENCH | NAME | DEVICE | MEDIAN | RATE`. Whether it was measured: a filter
/// on the command line may leave it out.
///
/// # Panics
///
/// When the device cannot run the graph.
#[expect(clippy::print_stdout, reason = "a bench shows what it measured")]
pub fn measure(
    group: &mut BenchmarkGroup<'_, WallTime>,
    bench: &str,
    device: (&str, &dyn Device),
    subject: &Subject<'_>,
) -> bool {
    let (device_name, device) = device;
    let runtime = Runtime::new().expect("a runtime");
    let session = device
        .session(&graph(subject.file))
        .expect("the device makes it ready");
    let inputs = uploaded(device, subject);
    let run_once = || {
        runtime
            .block_on(run_and_read(session.as_ref(), &inputs))
            .expect("the device runs it");
    };
    let mut seconds = Vec::new();
    group.sample_size(10).sampling_mode(SamplingMode::Flat);
    group.measurement_time(Duration::from_secs(3));
    group.warm_up_time(Duration::from_millis(500));
    group.throughput(match subject.work {
        Work::Operations(n) | Work::Rows(n) => Throughput::Elements(n),
    });
    group.bench_function(format!("{}/{device_name}", subject.name), |bencher| {
        bencher.iter_custom(|n| {
            let n = u32::try_from(n).unwrap_or(u32::MAX);
            let each = per_iteration(n, |n| (0..n).for_each(|_| run_once()));
            seconds.push(each.as_secs_f64());
            each * n
        });
    });
    if seconds.is_empty() {
        return false;
    }
    let each = median(&mut seconds);
    println!(
        "figure: {bench} | {} | {device_name} | {:.3} ms | {}",
        subject.name,
        each * 1e3,
        rate(subject.work, each)
    );
    true
}

/// Times a graph stored as f16 beside the same in f32, round by round one after the other,
/// and prints the line of [`measure`] for a device called `DEVICE-f16`, with the share of
/// f32's time that it took. Prints nothing where the device stores no f16.
///
/// # Panics
///
/// When the device cannot run the graph.
#[expect(clippy::print_stdout, reason = "a bench shows what it measured")]
pub fn measure_halves(bench: &str, device: (&str, &dyn Device), subject: &Subject<'_>) {
    let (device_name, device) = device;
    let runtime = Runtime::new().expect("a runtime");
    let graph = graph(subject.file);
    let [whole, half] = [Precision::Single, Precision::Half].map(|precision| {
        let graph = Arc::new(Graph::clone(&graph).stored_as(precision));
        let session = device.session(&graph);
        session.expect("the device makes it ready")
    });
    if half.stores_halves().is_err() {
        return;
    }
    let inputs = uploaded(device, subject);
    let timed = |session: &dyn Session, n: u32| {
        let run = |n| {
            for _ in 0..n {
                let ran = runtime.block_on(run_and_read(session, &inputs));
                ran.expect("the device runs it");
            }
        };
        per_iteration(n, run).as_secs_f64()
    };
    // The first makes plans.
    let _ = timed(half.as_ref(), 1);
    let once = timed(whole.as_ref(), 2).max(1e-6);
    let (n, n_rounds) = match is_trial() {
        true => (1, 1),
        false => ((ROUND_SECONDS / once).clamp(1.0, 100.0) as u32, ROUNDS),
    };
    let (mut of_half, mut shares) = (Vec::new(), Vec::new());
    for _ in 0..n_rounds {
        let (whole, half) = (timed(whole.as_ref(), n), timed(half.as_ref(), n));
        of_half.push(half);
        shares.push(half / whole);
    }
    let each = median(&mut of_half);
    println!(
        "figure: {bench} | {} | {device_name}-f16 | {:.3} ms | {}, {:.2} of f32's time",
        subject.name,
        each * 1e3,
        rate(subject.work, each),
        median(&mut shares)
    );
}

/// Rounds that [`measure_halves`] takes the medians of, and how long each device has in one.
const ROUNDS: usize = 7;
const ROUND_SECONDS: f64 = 0.5;

fn uploaded(device: &dyn Device, subject: &Subject<'_>) -> Vec<(String, Tensor)> {
    let inputs = subject.inputs.iter().map(|(name, array)| {
        let tensor = upload(device, array).expect("the device holds it");
        (name.clone(), tensor)
    });
    inputs.collect()
}

/// What one run in so many seconds comes to.
fn rate(work: Work, each: f64) -> String {
    match work {
        Work::Operations(n) => format!("{:.1} GFLOP/s", n as f64 / each / 1e9),
        Work::Rows(n) => format!("{:.1} rows/s", n as f64 / each),
    }
}

async fn run_and_read(
    session: &dyn Session,
    inputs: &[(String, Tensor)],
) -> Result<(), TensorError> {
    for output in run(session, inputs).await? {
        output.read().await?;
    }
    Ok(())
}
