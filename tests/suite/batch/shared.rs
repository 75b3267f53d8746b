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
    let device: Arc<dyn Device> = Arc::new(CpuDevice::new(&CpuOptions::default()).unwrap());
    let device = Arc::new(CountingDevice::over(device));
    let mut builder = Host::builder().device(device.clone());
    let folders: Vec<PluginFolder> = names
        .iter()
        .map(|name| {
            let folder = PluginFolder::of_guest("scripted", SCRIPTED);
            folder.edit("name = \"scripted\"", &format!("name = {name:?}"));
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
