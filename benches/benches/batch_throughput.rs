//! What do 64 callers at once gain from running as batches, and does anybody lose? Each
//! asks for one row, waits for its answer, and asks again. The same callers on the same kind
//! of device that joins no rows, round by round in turn. How long does the slowest of a
//! hundred wait, in times of the batch that it shares? And what does a caller that waits cost
//! in memory, when 10,000 do?

use std::num::NonZeroUsize;
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures_util::future::join_all;
use tokio::runtime::Runtime;
use trommel_benches::{is_trial, median};
use trommel_tensor::{
    Account, Batching, CpuDevice, CpuOptions, Device, GpuOptions, Run, Session, Tensor, TensorError,
};
use trommel_tests::devices::{Array, SOFTWARE_GPU, gpu_of, graph, upload};
use trommel_tests::models::{Architecture, Size};
use trommel_tests::onnx::linear;
use trommel_tests::random::Random;
use trommel_tests::spam_model;

const N_CALLERS: usize = 64;

/// Rounds that a figure is the median of.
const N_ROUNDS: usize = 5;

/// How long a round takes, about.
const ROUND: Duration = Duration::from_millis(700);

/// Features of a text for `spam-text`, to which it pads.
const N_FEATURES: usize = 64;

/// Callers that wait, for the memory that they take.
const N_WAITING: usize = 10_000;

/// A model with a row for each caller.
struct Model {
    name: &'static str,
    file: Vec<u8>,
    rows: Vec<Vec<(String, Array)>>,
}

fn models() -> Vec<Model> {
    let of = |name, architecture: Architecture| {
        let all = architecture.inputs(&Size::SMALL, N_CALLERS);
        let row = |index: usize| {
            let row = |(name, array): &(String, Array)| (name.clone(), array.row(index));
            all.iter().map(row).collect()
        };
        Model {
            name,
            file: architecture.file(&Size::SMALL),
            rows: (0..N_CALLERS).map(row).collect(),
        }
    };
    vec![
        Model {
            name: "spam-text, 64 features",
            file: spam_model(),
            rows: (0..N_CALLERS).map(features).collect(),
        },
        of("minilm at a quarter, 16 tokens", Architecture::MiniLm),
        of(
            "mobilenet-v2 at a quarter, 32 pixels",
            Architecture::MobileNetV2,
        ),
    ]
}

fn features(caller: usize) -> Vec<(String, Array)> {
    let mut random = Random::new(caller as u64);
    let ids: Vec<i64> = (0..N_FEATURES).map(|_| random.below(1000) as i64).collect();
    let values: Vec<f32> = (0..N_FEATURES).map(|_| random.within(0.0, 1.0)).collect();
    let shape = [1, N_FEATURES];
    vec![
        ("ids".to_owned(), Array::integers(&shape, &ids)),
        ("values".to_owned(), Array::floats(&shape, &values)),
    ]
}

/// A device that joins no rows beside one of the same kind that does.
#[derive(Clone, Copy)]
struct Place<'a> {
    name: &'a str,
    devices: [&'a dyn Device; 2],
    /// Batches that it computes at once.
    n_at_once: usize,
}

/// A model on a device, with each caller's inputs and account.
struct Subject {
    session: Arc<dyn Session>,
    callers: Vec<(Vec<(String, Tensor)>, Account)>,
}

impl Subject {
    fn new(device: &dyn Device, model: &Model) -> Self {
        let session = device.session(&graph(&model.file)).expect("it runs here");
        // As a host does when it loads a model.
        session.settle();
        let callers = model.rows.iter().map(|row| {
            let row = row.iter().map(|(name, array)| {
                let tensor = upload(device, array).expect("the device holds it");
                (name.clone(), tensor)
            });
            (row.collect(), Account::new("a plugin", u64::MAX, u64::MAX))
        });
        Self {
            callers: callers.collect(),
            session,
        }
    }

    /// Has every caller ask `n` times; how long each answer took.
    fn ask(&self, runtime: &Runtime, n: usize) -> Vec<f64> {
        let asked = self.callers.iter().map(|(inputs, account)| {
            let (session, inputs, account) =
                (self.session.clone(), inputs.clone(), account.clone());
            runtime.spawn(async move {
                let mut times = Vec::with_capacity(n);
                for _ in 0..n {
                    let start = now();
                    run(session.as_ref(), &inputs, &account)
                        .await
                        .expect("the device runs it");
                    times.push(start.elapsed().as_secs_f64());
                }
                times
            })
        });
        let asked: Vec<_> = asked.collect();
        let times = runtime.block_on(join_all(asked));
        times
            .into_iter()
            .flat_map(|times| times.expect("it does not panic"))
            .collect()
    }
}

fn run(
    session: &dyn Session,
    inputs: &[(String, Tensor)],
    account: &Account,
) -> impl Future<Output = Result<Vec<Tensor>, TensorError>> + use<> {
    let outputs = session.graph().outputs().iter().take(1);
    session.run(Run {
        inputs: inputs.to_vec(),
        outputs: outputs.map(|port| port.name.clone()).collect(),
        deadline: None,
        account: account.clone(),
    })
}

#[expect(clippy::disallowed_methods, reason = "a bench measures time")]
fn now() -> Instant {
    Instant::now()
}

#[expect(clippy::print_stdout, reason = "a bench shows what it measured")]
fn compare(place: &Place<'_>, model: &Model, runtime: &Runtime) {
    let Place {
        name,
        devices,
        n_at_once,
    } = *place;
    let [single, batched] = devices.map(|device| Subject::new(device, model));
    // Warm, and so many times that a round takes its time.
    batched.ask(runtime, 2);
    let start = now();
    single.ask(runtime, 1);
    let n = (ROUND.as_secs_f64() / start.elapsed().as_secs_f64()).clamp(1.0, 20_000.0) as usize;
    let (n, n_rounds) = if is_trial() { (1, 1) } else { (n, N_ROUNDS) };
    let (mut rates, mut tails) = ([vec![], vec![]], [vec![], vec![]]);
    let (mut ratios, before) = (Vec::new(), batched.session.counts());
    let mut spent = Duration::ZERO;
    for _ in 0..n_rounds {
        let mut round = [0.0; 2];
        for (which, subject) in [&single, &batched].into_iter().enumerate() {
            let start = now();
            let mut times = subject.ask(runtime, n);
            let took = start.elapsed();
            if which == 1 {
                spent += took;
            }
            times.sort_by(f64::total_cmp);
            round[which] = (n * N_CALLERS) as f64 / took.as_secs_f64();
            rates[which].push(round[which]);
            tails[which].push(times[times.len() * 99 / 100]);
        }
        ratios.push(round[1] / round[0]);
    }
    let counts = batched.session.counts();
    let n_batches = (counts.n_batches - before.n_batches).max(1);
    let rows = (counts.n_rows - before.n_rows) as f64 / n_batches as f64;
    // Callers wait all the time, so the device is never without a batch.
    let a_batch = spent.as_secs_f64() * n_at_once as f64 / n_batches as f64;
    let [alone, together] = rates.each_mut().map(|rates| median(rates));
    let [tail, batched_tail] = tails.each_mut().map(|tails| median(tails));
    println!(
        "figure: batch_throughput | {} | {name} | {alone:.0} rows/s alone, {together:.0} batched, ratio {:.2} | 99th percentile {:.2} ms alone, {:.2} ms batched, {:.1} times a batch of {:.2} ms | {rows:.1} rows a batch",
        model.name,
        median(&mut ratios),
        tail * 1e3,
        batched_tail * 1e3,
        batched_tail / a_batch,
        a_batch * 1e3,
    );
}

/// What a caller that waits takes of this process, everything that it brings included.
#[expect(clippy::print_stdout, reason = "a bench shows what it measured")]
fn memory(runtime: &Runtime) {
    let options = CpuOptions {
        n_threads: NonZeroUsize::MIN,
        max_waiting: N_WAITING,
        ..CpuOptions::default()
    };
    let device = CpuDevice::new(&options).expect("a thread");
    let wide = 2048;
    let busy = linear(wide, wide, &vec![0.01; (wide * wide) as usize]);
    let busy = device.session(&graph(&busy)).expect("it runs");
    // Too long for a light run, which would not wait for the others.
    let subject = linear(64, 1 << 14, &vec![0.01; 64 << 14]);
    let subject = device.session(&graph(&subject)).expect("it runs");
    let account = Account::new("a plugin", u64::MAX, u64::MAX);
    // Long enough for all to come meanwhile.
    let n_long = if is_trial() { 64 } else { 4096 };
    let long = Array::floats(&[n_long, 2048], &vec![0.5; n_long * 2048]);
    let long = [("x".to_owned(), upload(&device, &long).expect("it fits"))];
    let n_waiting = if is_trial() { 100 } else { N_WAITING };
    let rows: Vec<_> = (0..n_waiting)
        .map(|n| {
            let row = Array::floats(&[1, 64], &[n as f32; 64]);
            [("x".to_owned(), upload(&device, &row).expect("it fits"))]
        })
        .collect();
    let running: Vec<_> = (0..4)
        .map(|_| run(busy.as_ref(), &long, &account))
        .collect();
    let before = resident();
    let waiting: Vec<_> = rows
        .iter()
        .map(|row| {
            let waiting = run(subject.as_ref(), row, &account);
            // Without what it was answered, which is as large for all as the model is.
            async { waiting.await.is_ok() }
        })
        .collect();
    let after = resident();
    let n_begun = subject.counts().n_runs;
    let answered = runtime.block_on(join_all(waiting));
    let n_answered = answered.into_iter().filter(|answered| *answered).count();
    runtime.block_on(join_all(running));
    println!(
        "figure: batch_throughput | memory | cpu | {} bytes a caller, {n_waiting} waiting, {n_begun} begun meanwhile, {n_answered} answered",
        after.saturating_sub(before) / n_waiting,
    );
}

/// Bytes of this process in memory, where Linux tells.
fn resident() -> usize {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let kib = line.and_then(|line| line.trim().trim_end_matches("kB").trim().parse().ok());
    kib.unwrap_or(0_usize) << 10
}

fn main() {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .build()
        .expect("a runtime");
    let only = std::env::var("TROMMEL_BENCH_DEVICES").ok();
    let is_wanted = |name: &str| {
        let only = only.as_ref();
        only.is_none_or(|list| list.split(',').any(|one| one == name))
    };
    if is_wanted("cpu") {
        let device = |batching| {
            let options = CpuOptions {
                batching,
                ..CpuOptions::default()
            };
            CpuDevice::new(&options).expect("threads")
        };
        let (single, batched) = (device(Batching::Off), device(Batching::default()));
        let place = Place {
            name: "cpu",
            devices: [&single, &batched],
            n_at_once: CpuOptions::default().n_threads.get(),
        };
        for model in models() {
            compare(&place, &model, &runtime);
        }
        memory(&runtime);
    }
    let device = |batching| {
        gpu_of(GpuOptions {
            batching,
            timeout: Duration::from_secs(120),
            ..GpuOptions::default()
        })
    };
    if !is_wanted("gpu") && !is_wanted(SOFTWARE_GPU) {
        return;
    }
    let (Some(single), Some(batched)) = (device(Batching::Off), device(Batching::default())) else {
        return;
    };
    let name = batched
        .adapter()
        .map_or_else(String::new, |adapter| adapter.name);
    let place = Place {
        name: &name,
        devices: [single.as_ref(), batched.as_ref()],
        n_at_once: 1,
    };
    for model in models() {
        compare(&place, &model, &runtime);
    }
}
