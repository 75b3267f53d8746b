//! How many items a second does spam-text judge through the whole host, on as
//! many cores as this process may use? `taskset -c 0` makes it one;
//! `benches/items.sh` compares.

use std::sync::Arc;

use criterion::{Criterion, Throughput, criterion_group};
use futures_util::{StreamExt as _, stream};
use tokio::runtime::Runtime;
use trommel::Host;
use trommel::item::Item;
use trommel_benches::{is_trial, messages, per_iteration};

/// Items judged at once by one task, and tasks at once for each core; what
/// `trommel check` does.
const PER_TASK: usize = 16;
const TASKS_PER_CORE: usize = 4;

async fn judge(host: &Arc<Host>, items: &[Arc<Item>], n_cores: usize) {
    let tasks = stream::iter(items.chunks(PER_TASK)).map(|some| {
        let (host, some) = (host.clone(), some.to_vec());
        tokio::spawn(async move {
            let judging = stream::iter(some).map(|item| {
                let host = host.clone();
                async move { host.check(&item).await }
            });
            let judged: Vec<_> = judging.buffered(PER_TASK).collect().await;
            for judgement in judged {
                let judgement = judgement.expect("a short text is an item");
                assert!(judgement.degraded.is_empty(), "{:?}", judgement.degraded);
            }
        })
    });
    tasks
        .buffered(TASKS_PER_CORE * n_cores)
        .for_each(|task| async { task.expect("no task panics") })
        .await;
}

#[expect(clippy::print_stdout, reason = "a bench shows what it measured")]
fn items(criterion: &mut Criterion) {
    let n_cores = std::thread::available_parallelism().map_or(1, usize::from);
    let runtime = Runtime::new().expect("a runtime");
    let host = Arc::new(
        Host::builder()
            .bundled_detectors()
            .build()
            .expect("the bundled detectors load"),
    );
    let n_items = if is_trial() { 32 } else { 20_000 };
    let items: Vec<_> = messages(n_items)
        .into_iter()
        .map(|text| Arc::new(Item::from_text("", text)))
        .collect();
    let mut group = criterion.benchmark_group("items");
    group
        .sample_size(10)
        .throughput(Throughput::Elements(n_items as u64));
    group.bench_function(format!("spam_text_{n_cores}_cores"), |bencher| {
        bencher.iter(|| runtime.block_on(judge(&host, &items, n_cores)));
    });
    group.finish();
    let mut seconds: Vec<f64> = (0..if is_trial() { 1 } else { 5 })
        .map(|_| {
            per_iteration(1, |_| runtime.block_on(judge(&host, &items, n_cores))).as_secs_f64()
        })
        .collect();
    seconds.sort_by(f64::total_cmp);
    let per_second = n_items as f64 / seconds[seconds.len() / 2];
    println!(
        "spam-text on {n_cores} cores: {per_second:.0} items per second (median of {} rounds of {n_items})",
        seconds.len()
    );
}

criterion_group!(benches, items);

fn main() {
    benches();
    Criterion::default().configure_from_args().final_summary();
}
