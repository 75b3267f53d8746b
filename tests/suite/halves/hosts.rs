//! A host holds models in f16 to f32 by their golden cases, where a revision is made ready.

use std::sync::Arc;

use trommel::Host;
use trommel::item::Item;
use trommel::pipeline::PrecisionStatus;
use trommel_tensor::{Device, Digest};
use trommel_tests::counting::CountingDevice;
use trommel_tests::devices::{cpu, gpu};
use trommel_tests::onnx::{Attribute, Dim, Writer};
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

/// A detector of the guest that runs its model on the id in an item's text. The model is
/// stored as f16 within `tolerance`; its golden case bears any score.
fn scripted(name: &str, tolerance: &str) -> PluginFolder {
    let folder = PluginFolder::of_guest("scripted", SCRIPTED);
    folder.edit("name = \"scripted\"", &format!("name = {name:?}"));
    folder.edit("deadline-ms = 200", "deadline-ms = 2000");
    let precision = format!("precision = \"f16\"\ntolerance = {tolerance}\n\n[limits]");
    folder.edit("\n[limits]", &precision);
    folder.edit(
        "file = \"calibrator.toml\"\n",
        "file = \"calibrator.toml\"\n\n[[golden]]\nname = \"any\"\ntext = \"run 5\"\nlabel = \"spam\"\nat-least = -1000\n",
    );
    folder
}

/// A model of the guest's signature whose score is the first id and 6 in f32, and in f16 the
/// first id and 2 or so: what is between is beyond it.
fn overflowing() -> Vec<u8> {
    let mut writer = Writer::new(17, 1);
    let shape = [Dim::Name("batch"), Dim::Name("n")];
    let ids = writer.integer_input("ids", &shape);
    let values = writer.input("values", &shape);
    let [first, second, axes] = [0, 1, 1].map(|at| writer.integers(&[at]));
    let id = writer.node("Slice", &[&ids, &first, &second, &axes], &[]);
    let id = writer.node("Cast", &[&id], &[Attribute::Integer("to", 1)]);
    let value = writer.node("Slice", &[&values, &first, &second, &axes], &[]);
    let wide = writer.floats(&[1, 3], &[2e5; 3]);
    let between = writer.node("MatMul", &[&value, &wide], &[]);
    let narrow = writer.floats(&[3, 1], &[1e-5; 3]);
    let sum = writer.node("MatMul", &[&between, &narrow], &[]);
    let sum = writer.node("Add", &[&sum, &id], &[]);
    let all = writer.integers(&[-1]);
    let score = writer.node("Reshape", &[&sum, &all], &[]);
    writer.renamed(&score, "score").file(&["score"])
}

/// The same detector with that model.
fn moving(name: &str, tolerance: &str) -> PluginFolder {
    let folder = scripted(name, tolerance);
    let digest = |of: &[u8]| Digest::of(of).to_string().replace("sha256:", "");
    let model = overflowing();
    folder.edit(&digest(&trommel_tests::spam_model()), &digest(&model));
    folder.write("model.onnx", &model);
    folder
}

fn host(device: Arc<dyn Device>, folders: &[&PluginFolder]) -> Host {
    let builder = Host::builder().device(device);
    let builder = folders
        .iter()
        .fold(builder, |builder, folder| builder.detector(folder.path()));
    builder.build().unwrap()
}

/// What each model that asks for f16 runs in, detector by detector, revision by revision.
fn told(host: &Host) -> Vec<PrecisionStatus> {
    let detectors = host.status().detectors.into_iter();
    let revisions = detectors.flat_map(|detector| detector.revisions);
    revisions.flat_map(|revision| revision.precision).collect()
}

async fn score(host: &Host, text: &str) -> f32 {
    let item = Arc::new(Item::from_text("asked", text));
    for _ in 0..5 {
        let judgement = host.check(&item).await.unwrap();
        if let Some(signal) = judgement.signals.first() {
            return signal.score;
        }
        // Software may need more than a call's time to make itself ready.
    }
    panic!("no score for {text}");
}

#[tokio::test]
async fn a_model_whose_scores_bear_it_runs_in_f16() {
    let Some(gpu) = gpu(false) else { return };
    let host = host(gpu, &[&scripted("steady", "0.05")]);
    let [model] = &told(&host)[..] else {
        panic!("one model: {:?}", told(&host));
    };
    assert_eq!(
        (&*model.model, &*model.stored, &model.why),
        ("spam", "f16", &None)
    );
    assert_eq!(host.verify().await, Ok(()));
    let json = serde_json::to_value(host.status()).unwrap();
    let revision = &json["detectors"][0]["revisions"][0];
    assert_eq!(revision["precision"][0]["stored"], "f16", "{json}");
}

#[tokio::test]
async fn a_model_whose_scores_move_too_far_runs_in_f32_and_says_why() {
    let Some(gpu) = gpu(false) else { return };
    let host = host(gpu.clone(), &[&moving("moving", "3.5")]);
    let [model] = &told(&host)[..] else {
        panic!("one model: {:?}", told(&host));
    };
    assert_eq!(model.stored, "f32");
    let why = model.why.as_ref().unwrap();
    for part in [
        "golden case `any`, label `spam`: scores 6.96",
        "in f16 and 1",
        "further apart than the tolerance of 3.5",
        "raise `tolerance`",
    ] {
        assert!(why.contains(part), "`{part}`: {why}");
    }
    assert!((score(&host, "run 7").await - 13.0).abs() < 1e-3);
    // As far as they move, and they may.
    let host = self::host(gpu, &[&moving("moving", "4.5")]);
    assert_eq!(told(&host)[0].stored, "f16");
    assert!((score(&host, "run 7").await - 8.96512).abs() < 0.01);
}

#[tokio::test]
async fn a_revision_that_is_loaded_later_is_held_to_f32_too() {
    let Some(gpu) = gpu(false) else { return };
    let first = moving("moving", "4.5");
    let host = host(gpu, &[&first]);
    let second = moving("moving", "3.5");
    host.load(second.path().to_owned()).await.unwrap();
    let stored: Vec<String> = told(&host).into_iter().map(|model| model.stored).collect();
    assert_eq!(stored, ["f16", "f32"]);
}

#[tokio::test]
async fn a_host_on_the_cpu_runs_it_in_f32_once_and_says_so() {
    let device = Arc::new(CountingDevice::over(cpu()));
    let folder = moving("moving", "0.001");
    let host = host(device.clone(), &[&folder]);
    assert_eq!(device.n_runs(), 0, "no golden case was run");
    let [model] = &told(&host)[..] else {
        panic!("one model: {:?}", told(&host));
    };
    assert_eq!(model.stored, "f32");
    assert!(model.why.as_ref().unwrap().contains("CPU"), "{model:?}");
    assert!((score(&host, "run 7").await - 13.0).abs() < 1e-3);
}

/// What one asks in f16 is no answer to who asks in f32.
#[tokio::test]
async fn detectors_that_run_one_file_in_two_precisions_share_no_run() {
    let Some(gpu) = gpu(false) else { return };
    let half = moving("half", "4.5");
    let whole = moving("whole", "4.5");
    whole.edit("precision = \"f16\"\ntolerance = 4.5\n", "");
    let host = host(gpu, &[&half, &whole]);
    let item = Arc::new(Item::from_text("asked", "run 7"));
    let mut scores = Vec::new();
    for _ in 0..5 {
        let judgement = host.check(&item).await.unwrap();
        scores = judgement.signals.iter().map(|it| it.score).collect();
        if scores.len() == 2 {
            break;
        }
    }
    assert!((scores[0] - 8.96512).abs() < 0.01, "{scores:?}");
    assert!((scores[1] - 13.0).abs() < 0.01, "{scores:?}");
}
