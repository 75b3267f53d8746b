//! How many items a second does each bundled detector judge through the whole host, and
//! how many texts do all that read them, on as many cores as this process may use, and where does the time go? `taskset
//! -c 0` makes it one core; `benches/items.sh` compares.

use std::sync::Arc;
use std::time::Duration;

use criterion::{Criterion, Throughput, criterion_group};
use futures_util::{StreamExt as _, stream};
use tokio::runtime::Runtime;
use trommel::item::Item;
use trommel::{Host, HostBuilder};
use trommel_benches::{is_trial, median, messages, per_iteration, pictures};
use trommel_tests::plugin::bundled;

/// How many items are judged at once.
#[derive(Clone, Copy)]
struct Load {
    /// By one task.
    per_task: usize,
    /// Tasks at once, for each core.
    tasks_per_core: usize,
}

/// What `trommel check` does with texts and with images.
const TEXTS: Load = Load {
    per_task: 16,
    tasks_per_core: 4,
};
const IMAGES: Load = Load {
    per_task: 1,
    tasks_per_core: 2,
};

async fn judge(host: &Arc<Host>, items: &[Arc<Item>], load: Load, n_cores: usize) {
    let tasks = stream::iter(items.chunks(load.per_task)).map(|some| {
        let (host, some) = (host.clone(), some.to_vec());
        tokio::spawn(async move {
            let judging = stream::iter(some).map(|item| {
                let host = host.clone();
                async move { host.check(&item).await }
            });
            let judged: Vec<_> = judging.buffered(load.per_task).collect().await;
            for judgement in judged {
                let judgement = judgement.expect("a short text is an item");
                assert!(judgement.degraded.is_empty(), "{:?}", judgement.degraded);
            }
        })
    });
    tasks
        .buffered(load.tasks_per_core * n_cores)
        .for_each(|task| async { task.expect("no task panics") })
        .await;
}

/// Texts of a message's length, and photos.
fn items(criterion: &mut Criterion) {
    let texts = messages(if is_trial() { 32 } else { 20_000 });
    let texts: Vec<_> = texts
        .into_iter()
        .map(|text| Arc::new(Item::from_text("", text)))
        .collect();
    let only = |name: &str| Host::builder().package(bundled(name));
    throughput(criterion, "spam-text", only("spam-text"), &texts, TEXTS);
    let toxicity = only("toxicity-text");
    throughput(criterion, "toxicity-text", toxicity, &texts, TEXTS);
    let all = Host::builder().bundled_detectors();
    throughput(criterion, "all-text", all, &texts, TEXTS);
    let photos = pictures(if is_trial() { 1 } else { 16 });
    let photos: Vec<_> = photos
        .into_iter()
        .map(|photo| Arc::new(Item::from_image_bytes("", photo)))
        .collect();
    let quality = only("image-quality");
    throughput(criterion, "image-quality", quality, &photos, IMAGES);
}

#[expect(clippy::print_stdout, reason = "a bench shows what it measured")]
fn throughput(
    criterion: &mut Criterion,
    name: &str,
    host: HostBuilder,
    items: &[Arc<Item>],
    load: Load,
) {
    let n_cores = std::thread::available_parallelism().map_or(1, usize::from);
    let runtime = Runtime::new().expect("a runtime");
    let host = Arc::new(host.build().expect("the bundled detectors load"));
    let mut group = criterion.benchmark_group("items");
    group
        .sample_size(10)
        .throughput(Throughput::Elements(items.len() as u64));
    group.bench_function(format!("{name}_{n_cores}_cores"), |bencher| {
        bencher.iter(|| runtime.block_on(judge(&host, items, load, n_cores)));
    });
    group.finish();
    let mut seconds: Vec<f64> = (0..if is_trial() { 1 } else { 5 })
        .map(|_| {
            per_iteration(1, |_| runtime.block_on(judge(&host, items, load, n_cores))).as_secs_f64()
        })
        .collect();
    let per_second = items.len() as f64 / median(&mut seconds);
    println!(
        "{name} on {n_cores} cores: {per_second:.1} items per second (median of {} rounds of {})",
        seconds.len(),
        items.len()
    );
    shares(name, &runtime, &host, &items[..items.len().min(1000)]);
}

/// Where the time of one item goes, one item at a time.
#[expect(clippy::print_stdout, reason = "a bench shows what it measured")]
fn shares(name: &str, runtime: &Runtime, host: &Host, items: &[Arc<Item>]) {
    let mut parts: [Vec<f64>; 5] = Default::default();
    for item in items {
        let judgement = runtime.block_on(host.check(item)).expect("an item");
        assert!(judgement.degraded.is_empty(), "{:?}", judgement.degraded);
        let timings = &judgement.timings;
        let call: Duration = timings.detectors.values().sum();
        let (decode, preprocess, model) = (timings.decode, timings.preprocess, timings.model);
        let sandbox = call.saturating_sub(decode + preprocess + model);
        let times = [timings.total, decode, preprocess, model, sandbox];
        for (part, time) in parts.iter_mut().zip(times) {
            part.push(time.as_secs_f64() * 1e6);
        }
    }
    let [total, decode, preprocess, model, sandbox] = parts.map(|mut part| median(&mut part));
    println!(
        "{name}, one item at a time: {total:.0} µs; decode {decode:.0}, preprocess {preprocess:.0}, \
         model {model:.0}, sandbox and hand-overs {sandbox:.0} ({:.1} %) (medians of {})",
        100.0 * sandbox / total,
        items.len()
    );
}

criterion_group!(benches, items);

fn main() {
    benches();
    Criterion::default().configure_from_args().final_summary();
}
