//! `trommel devices` and `trommel plan`: what they show, and what they cannot.

use trommel_tests::onnx::{Builder, Dim, without_a_plan};

use super::trommel;

/// Whatever calls it brings one row.
fn of_one_row() -> Vec<u8> {
    Builder::default()
        .input("x", &[Dim::Size(1), Dim::Size(3)])
        .node("Relu", &["x"], "y")
        .output("y")
        .file()
}

#[test]
fn devices_are_listed_and_a_plan_is_shown_or_its_mistake_named() {
    let listed = trommel(&["devices"], "");
    assert_eq!(listed.code, 0, "{}", listed.err);
    assert!(listed.out.contains("cpu"), "{}", listed.out);
    for model in ["spam-text", "image-quality", "toxicity-text"] {
        let line = listed.out.lines().find(|line| line.starts_with(model));
        assert!(
            line.is_some_and(|line| line.contains(" yes: ") && line.contains(" steps, ")),
            "{}",
            listed.out
        );
    }
    let (_, batches) = listed
        .out
        .split_once("BATCHES")
        .expect("a table of its own");
    assert!(batches.contains("\nspam-text       yes: "), "{batches}");
    let model = concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/../guest-models/spam-text/model.onnx"
    );
    let folder = tempfile::tempdir().unwrap();
    let strange = folder.path().join("strange.onnx");
    std::fs::write(&strange, without_a_plan()).unwrap();
    let fixed = folder.path().join("fixed.onnx");
    std::fs::write(&fixed, of_one_row()).unwrap();
    let paths = [&strange, &fixed].map(|path| path.to_str().unwrap());
    let told = trommel(&["devices", "--json", model, paths[0], paths[1]], "");
    let told: serde_json::Value = serde_json::from_str(&told.out).expect("one object");
    assert_eq!(told["devices"][0]["device"], "cpu");
    assert_eq!(told["models"][0]["covered"], true);
    assert!(
        told["models"][0]["weight_bytes"].as_u64().unwrap() > 100_000,
        "{told}"
    );
    assert_eq!(told["models"][1]["covered"], false);
    assert!(
        told["models"][1]["why"]
            .as_str()
            .unwrap()
            .contains("nan-node"),
        "{told}"
    );
    let half = trommel(&["devices", "--json", "--precision", "f16", model], "");
    let half: serde_json::Value = serde_json::from_str(&half.out).expect("one object");
    assert_eq!(half["devices"][0]["stores_f16"], false, "the CPU");
    let bytes = |of: &serde_json::Value| of["models"][0]["weight_bytes"].as_u64().unwrap();
    assert!(2 * bytes(&half) <= bytes(&told) + 1024, "{half}");
    assert!(
        half["models"][0]["f16_values"].as_u64().unwrap() > 0,
        "{half}"
    );
    assert_eq!(told["models"][0]["f16_values"], 0);
    for gpu in half["devices"].as_array().unwrap().iter().skip(1) {
        let matrices = gpu["cooperative_matrices"].as_str().unwrap();
        let is_told = ["not offered: ", "failed their self-test: ", "used"]
            .iter()
            .any(|beginning| matrices.starts_with(beginning));
        assert!(is_told, "{gpu}");
    }
    let without = ["check", "--no-cooperative-matrices", "--text", "hello"];
    assert_eq!(trommel(&without, "").code, 0);
    let listed = trommel(&["devices", "--precision", "f16", model], "");
    let halves = listed.out.lines().find(|line| line.starts_with("f16: "));
    assert!(
        halves.is_some_and(|line| line.contains("in f32 on cpu")),
        "{}",
        listed.out
    );
    let plan = trommel(&["plan", model, "--precision", "f16"], "");
    assert!(plan.out.contains(", as f16 %"), "{}{}", plan.out, plan.err);
    assert_eq!(told["models"][0]["why_alone"], serde_json::Value::Null);
    let why = told["models"][2]["why_alone"].as_str().unwrap();
    assert!(
        why.contains("the first dimension of its inputs has no name"),
        "{why}"
    );
    let plan = trommel(&["plan", model, "--batch", "8"], "");
    assert!(
        plan.out.contains("input %0 = i64 [8, "),
        "{}{}",
        plan.out,
        plan.err
    );
    let wrong = trommel(&["plan", model, "--size", "rows=3"], "");
    assert_eq!(wrong.code, 2);
    assert!(
        wrong.err.contains("no dimension is called `rows`"),
        "{}",
        wrong.err
    );
}
