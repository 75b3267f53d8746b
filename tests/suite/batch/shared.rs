//! Within one item a model runs once on the same tensors, whichever detectors ask for it.

use std::sync::Arc;

use trommel::Host;
use trommel::engine::Blame;
use trommel::item::Item;
use trommel_tensor::{CpuDevice, CpuOptions, Device};
use trommel_tests::counting::CountingDevice;
use trommel_tests::plugin::PluginFolder;

/// What the scripted guest imports.
const SCRIPTED: &[&str] = &[
    "content",
    "images",
    "log",
    "results",
    "settings",
    "tensors",
    "tokenizers",
];

/// Detectors with the scripted guest and one model, and the device that counts its runs.
fn detectors(names: &[&str]) -> (Host, Arc<CountingDevice>) {
    detectors_of(names, |_, _| {})
}

/// The same, each folder as `edit` leaves it.
fn detectors_of(names: &[&str], edit: impl Fn(&str, &PluginFolder)) -> (Host, Arc<CountingDevice>) {
    let device: Arc<dyn Device> = Arc::new(CpuDevice::new(&CpuOptions::default()).unwrap());
    let device = Arc::new(CountingDevice::over(device));
    let mut builder = Host::builder().device(device.clone());
    let folders: Vec<PluginFolder> = names
        .iter()
        .map(|name| {
            let folder = PluginFolder::of_guest("scripted", SCRIPTED);
            folder.edit("name = \"scripted\"", &format!("name = {name:?}"));
            edit(name, &folder);
            folder
        })
        .collect();
    for folder in &folders {
        builder = builder.detector(folder.path());
    }
    (builder.build().unwrap(), device)
}

fn scripted(script: &str) -> Arc<Item> {
    Arc::new(Item::from_text("scripted", script))
}

#[tokio::test]
async fn a_model_runs_once_for_all_detectors_of_an_item() {
    let (host, device) = detectors(&["one", "two", "three"]);
    let n_before = device.n_runs();
    let judgement = host.check(&scripted("run 5")).await.unwrap();
    assert!(judgement.degraded.is_empty(), "{judgement:?}");
    let scores: Vec<f32> = judgement
        .signals
        .iter()
        .map(|signal| signal.score)
        .collect();
    assert_eq!(scores.len(), 3);
    assert!(scores.iter().all(|score| *score == scores[0]), "{scores:?}");
    assert_eq!(device.n_runs() - n_before, 1);
    host.check(&scripted("run 5")).await.unwrap();
    assert_eq!(
        device.n_runs() - n_before,
        2,
        "nothing is kept for the next item"
    );
}

/// A run on `n` features that are kept, and what it reads; told again, the same once more.
fn fed(n: usize, n_times: usize) -> String {
    let inputs = format!("make i64 {} 1 {n}\nmake f32 {} 1 {n}", 8 * n, 4 * n);
    inputs + &"\nfeed score ids 0 values 1".repeat(n_times)
}

#[tokio::test]
async fn a_detector_that_asks_again_runs_again() {
    for (names, n_runs) in [(&["one"][..], 3), (&["one", "two"], 5)] {
        let (host, device) = detectors(names);
        let n_before = device.n_runs();
        let judgement = host.check(&scripted(&fed(2, 3))).await.unwrap();
        assert!(judgement.degraded.is_empty(), "{judgement:?}");
        // The first run is everybody's, each further one its asker's.
        assert_eq!(device.n_runs() - n_before, n_runs, "{names:?}");
    }
}

/// Features for which a run with its inputs holds more than a MiB, and those alone do not.
const MANY_FEATURES: usize = 60_000;

#[tokio::test]
async fn whoever_may_not_hold_a_run_is_refused_though_another_computed_it() {
    for names in [["poor", "rich"], ["rich", "poor"]] {
        let (host, device) = detectors_of(&names, |name, folder| {
            if name == "poor" {
                folder.edit("memory-mib = 8", "memory-mib = 8\ntensor-mib = 1");
            }
        });
        let n_before = device.n_runs();
        let judgement = host.check(&scripted(&fed(MANY_FEATURES, 1))).await;
        let judgement = judgement.unwrap();
        let [degraded] = &judgement.degraded[..] else {
            panic!("{names:?}: {judgement:?}");
        };
        assert_eq!(degraded.detector.to_string(), "poor", "{degraded:?}");
        assert!(degraded.reason.contains("quota-exceeded"), "{degraded:?}");
        assert_eq!(degraded.blame, Blame::Guest);
        assert!((1..=2).contains(&(device.n_runs() - n_before)));
    }
}

#[tokio::test]
async fn a_run_that_fails_fails_each_who_asks_by_itself() {
    let (host, device) = detectors(&["one", "two"]);
    let n_before = device.n_runs();
    // An index that its table does not have.
    let judgement = host.check(&scripted("run 99999999")).await.unwrap();
    assert_eq!(judgement.degraded.len(), 2, "{judgement:?}");
    for degraded in &judgement.degraded {
        assert!(degraded.reason.contains("run-failed"), "{degraded:?}");
        assert_eq!(degraded.blame, Blame::Guest);
    }
    assert_eq!(device.n_runs() - n_before, 2);
}
