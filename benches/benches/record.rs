//! What does recording cost an answer, and how many records a second does the thread
//! behind it write? Beside it, what judging the same text costs.

use std::sync::Arc;

use criterion::{Criterion, criterion_group};
use tokio::runtime::Runtime;
use trommel::item::Item;
use trommel::record::{Origin, RecordSettings, Recorder};
use trommel::{Host, Judgement};
use trommel_benches::{is_trial, median, messages, per_iteration};

/// Rounds that a figure is the median of.
const ROUNDS: usize = 7;

/// Judgements that are offered in a round; all of them fit into the queue.
const N: u32 = 20_000;

/// Microseconds of an offer, and of a record from the first offer until all are written.
fn round(origin: &Origin, judged: &[(Arc<Item>, Judgement)], n: u32) -> [f64; 2] {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let settings = RecordSettings {
        max_queued: N as usize,
        ..RecordSettings::default()
    };
    let recorder = Recorder::start(folder.path(), origin.clone(), settings);
    let recorder = recorder.expect("the folder is ours");
    let mut offering = 0.0;
    let written = per_iteration(1, |_| {
        let offered = per_iteration(n, |n| {
            for (item, judgement) in judged.iter().cycle().take(n as usize) {
                recorder.offer(item, judgement);
            }
        });
        offering = offered.as_secs_f64() * 1e6;
        while recorder.counts().written < u64::from(n) {
            assert_eq!(recorder.counts().dropped + recorder.counts().failed, 0);
            std::thread::yield_now();
        }
    });
    [offering, written.as_secs_f64() * 1e6 / f64::from(n)]
}

#[expect(clippy::print_stdout, reason = "a bench shows what it measured")]
fn record(_: &mut Criterion) {
    let runtime = Runtime::new().expect("a runtime");
    let host = Host::builder().bundled_detectors().build();
    let host = host.expect("the bundled detectors load");
    let judged: Vec<_> = messages(if is_trial() { 4 } else { 500 })
        .into_iter()
        .enumerate()
        .map(|(n, text)| {
            let item = Arc::new(Item::from_text(n.to_string(), text));
            let judgement = runtime.block_on(host.check(&item)).expect("a short text");
            (item, judgement)
        })
        .collect();
    let judging = per_iteration(judged.len() as u32, |_| {
        for (item, _) in &judged {
            runtime.block_on(host.check(item)).expect("a short text");
        }
    });
    let origin = Origin::of(&host);
    let (n_rounds, n) = if is_trial() { (1, 4) } else { (ROUNDS, N) };
    let rounds: Vec<_> = (0..n_rounds).map(|_| round(&origin, &judged, n)).collect();
    let of =
        |which: usize| median(&mut rounds.iter().map(|round| round[which]).collect::<Vec<_>>());
    println!(
        "an offer takes {:.2} µs of an answer, judging one at a time {:.0} µs; \
         {:.0} records a second are written (medians of {n_rounds} rounds of {n})",
        of(0),
        judging.as_secs_f64() * 1e6,
        1e6 / of(1),
    );
}

criterion_group!(benches, record);

fn main() {
    benches();
}
