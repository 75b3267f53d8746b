//! How long from a package folder on disk to the first verdict, with and without
//! the cache of compiled components? For each bundled detector by itself: the host
//! is built, its engine, device and pool with it, and one item is judged.

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use criterion::{Criterion, criterion_group};
use tokio::runtime::Runtime;
use trommel::Host;
use trommel::item::Item;
use trommel::registry::{CompileCache, bundled};
use trommel_benches::{is_trial, median, pictures};

/// Rounds that a figure is the median of.
const ROUNDS: usize = 7;

/// From folder to verdict: the host's building, and the first item.
#[expect(clippy::disallowed_methods, reason = "a bench measures time")]
fn start(runtime: &Runtime, folder: &Path, cache: CompileCache, item: &Arc<Item>) -> [Duration; 2] {
    let start = Instant::now();
    let host = Host::builder()
        .detector(folder)
        .compile_cache(cache)
        // A first verdict is waited for, however long a cold model takes.
        .deadline(Duration::from_secs(60))
        .build()
        .expect("a bundled detector loads");
    let built = start.elapsed();
    let judgement = runtime.block_on(host.check(item)).expect("an item");
    let judged = start.elapsed();
    assert!(judgement.degraded.is_empty(), "{:?}", judgement.degraded);
    [built, judged - built]
}

#[expect(clippy::print_stdout, reason = "a bench shows what it measured")]
fn cold_start(_: &mut Criterion) {
    let runtime = Runtime::new().expect("a runtime");
    let text = Item::from_text(
        "text",
        "WINNER! claim your free prize now, call 09061234567",
    );
    let picture = Item::from_image_bytes("image", pictures(1).remove(0));
    for (name, files) in bundled::DETECTORS.iter().copied() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        for (file, bytes) in files {
            std::fs::write(folder.path().join(file), bytes).expect("the folder is ours");
        }
        let item = Arc::new(
            if name.starts_with("image") {
                &picture
            } else {
                &text
            }
            .clone(),
        );
        let cached = tempfile::tempdir().expect("a temporary folder");
        let warm = || CompileCache::at(cached.path());
        // Fills the cache.
        start(&runtime, folder.path(), warm(), &item);
        let n_rounds = if is_trial() { 1 } else { ROUNDS };
        let mut rounds: [Vec<f64>; 4] = Default::default();
        for _ in 0..n_rounds {
            let [build, first] = start(&runtime, folder.path(), warm(), &item);
            let [cold_build, cold_first] =
                start(&runtime, folder.path(), CompileCache::none(), &item);
            for (times, time) in rounds
                .iter_mut()
                .zip([build, first, cold_build, cold_first])
            {
                times.push(time.as_secs_f64() * 1e3);
            }
        }
        let [build, first, cold_build, cold_first] = rounds.map(|mut times| median(&mut times));
        println!(
            "{name}: folder to first verdict {:.0} ms with the cache (load {build:.0}, first item {first:.0}), \
             {:.0} ms without (load {cold_build:.0}, first item {cold_first:.0}); medians of {n_rounds} rounds",
            build + first,
            cold_build + cold_first,
        );
    }
}

criterion_group!(benches, cold_start);

fn main() {
    benches();
}
