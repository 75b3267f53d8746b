//! What is refused at load, and with which words.

use std::sync::Arc;

use trommel::Host;
use trommel::engine::{EngineOptions, Limits};
use trommel::item::Item;
use trommel::policy::Policy;
use trommel_tests::guests::{by_hand, component, from_text};
use trommel_tests::plugin::{PluginFolder, Work};
use trommel_tests::sandbox::Sandbox;

const IMPORTS: [&str; 3] = ["content", "log", "results"];

/// What loading a component says.
fn refused(component: &[u8]) -> String {
    let sandbox = Sandbox::new(component, Limits::DEFAULT);
    sandbox.expect_err("must be refused").to_string()
}

/// What building a host from a plugin folder says.
fn refused_folder(folder: &PluginFolder) -> String {
    let built = Host::builder().detector(folder.path()).build();
    let error = built.expect_err("must be refused").to_string();
    error.replace(&folder.path().display().to_string(), "PLUGIN")
}

#[test]
fn a_component_of_another_contract_version_is_refused_with_what_to_rebuild() {
    let error = refused(&from_text(
        r#"(component (import "trommel:detector/content@0.2.0" (instance (export "item" (type (sub resource))))))"#,
    ));
    assert_eq!(
        error,
        "the component speaks contract 0.2.0 (`trommel:detector/content@0.2.0`), this host speaks 0.1.0; rebuild it with sdk 0.1.0"
    );
}

#[test]
fn a_truncated_component_is_refused_with_what_to_do() {
    let whole = component("noop");
    for length in [whole.len() / 2, whole.len() - 1, 9] {
        let error = refused(&whole[..length]);
        assert!(
            error.starts_with("the component does not compile: "),
            "{error}"
        );
        assert!(
            error.ends_with("is the file whole, and within this host's limits? build it again"),
            "{error}"
        );
    }
}

#[test]
fn a_component_that_imports_wasi_is_refused_with_the_target_to_build_for() {
    let error = refused(&from_text(
        r#"(component (import "wasi:cli/environment@0.2.6" (instance (export "get-arguments" (func (result (list string)))))))"#,
    ));
    assert_eq!(
        error,
        "the component imports `wasi:cli/environment@0.2.6`: a detector gets no WASI; build it for wasm32-unknown-unknown, not wasm32-wasip1 or -wasip2"
    );
}

#[test]
fn an_import_that_the_contract_lacks_is_refused_with_what_it_offers() {
    let import = |name: &str| {
        refused(&from_text(&format!(
            r#"(component (import "{name}" (instance)))"#
        )))
    };
    for name in [
        "trommel:detector/clocks@0.1.0",
        "acme:secrets/vault@1.0.0",
        "env",
    ] {
        let error = import(name);
        assert!(
            error.contains(&format!(
                "imports `{name}`, which the contract 0.1.0 does not offer"
            )),
            "{error}"
        );
    }
}

#[test]
fn a_core_module_and_a_component_without_detection_are_told_apart() {
    let error = refused(&from_text("(module)"));
    assert!(
        error.starts_with("this is a core module, not a component"),
        "{error}"
    );
    let error = refused(&from_text("(component)"));
    assert!(
        error.starts_with("the component does not export `trommel:detector/detection@0.1.0`"),
        "{error}"
    );
}

#[test]
fn a_component_whose_types_do_not_match_is_refused() {
    let error = refused(&from_text(
        r#"(component
            (core module $m (func (export "detect")))
            (core instance $i (instantiate $m))
            (func $detect (canon lift (core func $i "detect")))
            (instance $detection (export "detect" (func $detect)))
            (export "trommel:detector/detection@0.1.0" (instance $detection)))"#,
    ));
    assert!(
        error.starts_with("the component does not fit contract 0.1.0"),
        "{error}"
    );
}

#[test]
fn a_component_larger_than_the_bound_is_refused_before_it_is_compiled() {
    let options = EngineOptions {
        max_component_bytes: 1000,
        ..EngineOptions::default()
    };
    let error = Sandbox::with_options(component("noop"), Limits::DEFAULT, options).unwrap_err();
    assert!(
        error
            .to_string()
            .ends_with("at most 1000 are taken; leave weights and tables to models"),
        "{error}"
    );
}

#[test]
fn a_patch_of_the_contract_is_spoken() {
    let sandbox = Sandbox::new(&by_hand("", ""), Limits::DEFAULT);
    sandbox.expect("a component by hand loads");
    let wat_for = |version: &str| {
        from_text(&format!(
            r#"(component (import "trommel:detector/log@{version}" (instance)))"#
        ))
    };
    // Past the import, so it is the export that is missing.
    let error = refused(&wat_for("0.1.7"));
    assert!(error.contains("does not export"), "{error}");
}

#[test]
fn a_manifest_that_hides_an_import_is_refused_with_its_line() {
    let folder = PluginFolder::of_guest("noop", &["content"]);
    assert_eq!(
        refused_folder(&folder),
        r#"PLUGIN/plugin.toml:7: the component imports ["content", "log", "results"], the manifest says ["content"]; make them agree"#
    );
}

#[test]
fn a_model_that_is_not_the_one_named_is_refused_with_its_digest() {
    let folder = PluginFolder::of_guest("noop", &IMPORTS);
    folder.write("model.onnx", b"something else");
    let error = refused_folder(&folder);
    assert!(
        error.contains("plugin.toml:12: model.onnx has sha256 "),
        "{error}"
    );
}

#[test]
fn models_that_together_pass_the_weights_limit_are_refused_before_they_are_read_on() {
    let folder = PluginFolder::of_guest("noop", &IMPORTS);
    let large = vec![0; 18 << 20];
    let digest = |bytes: &[u8]| {
        trommel_tensor::Digest::of(bytes)
            .to_string()
            .replace("sha256:", "")
    };
    folder.edit(&digest(&trommel_tests::spam_model()), &digest(&large));
    folder.edit("[limits]", "[limits]\nweights-mib = 1");
    folder.write("model.onnx", &large);
    let error = refused_folder(&folder);
    assert!(
        error.contains(
            "plugin.toml:12: the models and tokenizers so far have 18874368 bytes, the weights' limit is 1048576"
        ),
        "{error}"
    );
}

#[test]
fn a_golden_case_that_could_never_fail_is_refused() {
    for bounds in [
        "at-least = nan",
        "at-least = inf",
        "at-least = 2.0\nat-most = 1.0",
        "",
    ] {
        let folder = PluginFolder::of_guest("noop", &IMPORTS);
        let case = format!(
            "[[golden]]\nname = \"g\"\ntext = \"t\"\nlabel = \"spam\"\n{bounds}\n\n[calibrator]"
        );
        folder.edit("[calibrator]", &case);
        let error = refused_folder(&folder);
        assert!(
            error.contains("plugin.toml:25: golden case `g`"),
            "{bounds}: {error}"
        );
    }
}

#[test]
fn a_label_without_calibrator_is_refused() {
    let folder = PluginFolder::of_guest("noop", &IMPORTS);
    folder.write("calibrator.toml", b"calibrator = []");
    let error = refused_folder(&folder);
    assert_eq!(
        error,
        "PLUGIN/calibrator.toml: label `spam` has no calibrator; fit one and add it"
    );
}

#[test]
fn a_folder_that_is_none_and_a_detector_given_twice_are_refused() {
    let error = Host::builder()
        .detector("/no/such/folder")
        .build()
        .unwrap_err()
        .to_string();
    assert_eq!(
        error,
        "/no/such/folder: no package; give a plugin folder, an OCI image layout, or a tar file of one (`trommel plugin pack` makes it)"
    );
    let error = Host::builder().build().unwrap_err().to_string();
    assert_eq!(error, "no detector; add the bundled ones or a package");
    let folder = PluginFolder::of_guest("noop", &IMPORTS);
    let twice = Host::builder()
        .detector(folder.path())
        .detector(folder.path());
    assert!(
        twice
            .build()
            .unwrap_err()
            .to_string()
            .contains("`noop` is loaded twice")
    );
}

#[test]
fn a_policy_about_a_label_that_no_detector_declares_is_refused() {
    let policy = Policy::parse(
        "p.toml",
        "[[rule]]\nname = \"a\"\nwhen = { label = \"spaam\", threshold = 0.5 }\naction = \"tag\"\nreason = \"a\"\n",
    );
    let built = Host::builder()
        .bundled_detectors()
        .policy(policy.unwrap())
        .build();
    let error = built.unwrap_err().to_string();
    assert_eq!(
        error,
        "p.toml:3: no loaded detector declares the label `spaam`; did you mean `spam`?"
    );
}

/// What `works` of such settings makes of a hundred texts: scores, or none where it traps.
async fn worked(work: &Work) -> Vec<Option<f64>> {
    let folder = PluginFolder::working("works", work);
    let host = Host::builder().detector(folder.path()).build().unwrap();
    let mut scores = Vec::new();
    for n in 0..100 {
        let item = Arc::new(Item::from_text("item", format!("text {n}")));
        let judgement = host.check(&item).await.unwrap();
        scores.push(judgement.signals.first().map(|signal| signal.score.into()));
    }
    scores
}

#[tokio::test]
async fn one_component_does_what_the_settings_of_each_revision_say() {
    let steady = Work {
        rounds: 10,
        trap_percent: 0,
        lift: 0.0,
        description: "steady",
    };
    let plain = worked(&steady).await;
    assert!(plain.iter().all(Option::is_some));
    let traps = worked(&Work {
        trap_percent: 5,
        ..steady
    })
    .await;
    let n_trapped = traps.iter().filter(|score| score.is_none()).count();
    assert!((1..=12).contains(&n_trapped), "{n_trapped} of 100");
    // The rest is what it was, and so are those that trap, each time.
    for (plain, traps) in plain.iter().zip(&traps) {
        assert!(traps.is_none() || traps == plain);
    }
    let lifted = worked(&Work {
        lift: 2.0,
        rounds: 20,
        ..steady
    })
    .await;
    for (plain, lifted) in plain.iter().zip(&lifted) {
        let lift = lifted.unwrap() - plain.unwrap();
        assert!((lift - 2.0).abs() < 1e-5, "{lift}");
    }
}
