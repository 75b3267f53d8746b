//! From item to verdict: what a detector sees, and what its failure means.

use std::sync::Arc;
use std::time::Duration;

use trommel::Host;
use trommel::engine::Limits;
use trommel::item::{Attribute, Item, ItemBounds};
use trommel::policy::{Action, Policy};
use trommel::signal::Evidence;
use trommel_tensor::{CpuDevice, CpuOptions};
use trommel_tests::counting::CountingDevice;
use trommel_tests::guests::component;
use trommel_tests::plugin::{PluginFolder, bundled};
use trommel_tests::sandbox::{Sandbox, deadline};
use trommel_tests::stuck::StuckDevice;

/// `spam`, and the three of `toxicity-text`.
const N_LABELS_OF_TEXT: usize = 4;

fn scripted() -> Sandbox {
    Sandbox::new(component("scripted"), Limits::DEFAULT).expect("the guest loads")
}

async fn notes(sandbox: &Sandbox, item: Item) -> Vec<String> {
    let findings = sandbox
        .detect(item)
        .await
        .outcome
        .expect("the script is obeyed");
    let note = |evidence: &Evidence| match evidence {
        Evidence::Note { text } => text.clone(),
        other => panic!("no note: {other:?}"),
    };
    findings.signals[0].evidence.iter().map(note).collect()
}

#[tokio::test]
async fn a_detector_sees_the_item_as_it_was_given() {
    let json = br#"{"id":"i","title":"content","language":"en","links":["http://a.example"],"images":["a.png"],
        "attributes":{"age":3,"share":0.5,"surface":"comment","verified":true},
        "embeddings":{"e":[1.5,-2]},"received_at_ms":1700000000000}"#;
    let item = Item::from_json(json).unwrap();
    assert_eq!(
        notes(&scripted(), item).await,
        [
            "id \"i\"",
            "received Some(1700000000000)",
            "text 0 \"title\" Some(\"en\")",
            "link 1 \"http://a.example\"",
            "images [2]",
            "age None Some(3) Some(3.0) None",
            "share None None Some(0.5) None",
            "surface Some(\"comment\") None None None",
            "verified None None None Some(true)",
            "e [1.5, -2.0]",
        ]
    );
}

#[tokio::test]
async fn a_model_describes_its_inputs_and_outputs() {
    let described = notes(&scripted(), Item::from_text("i", "describe")).await;
    assert_eq!(described.len(), 4, "{described:?}");
    assert!(
        described[0].contains("ids") && described[0].contains("batch"),
        "{described:?}"
    );
}

#[tokio::test]
async fn a_setting_reads_as_its_default_and_an_undeclared_one_as_none() {
    let sandbox = scripted();
    assert_eq!(
        notes(&sandbox, Item::from_text("i", "setting greeting")).await,
        ["Some(\"hello\")"]
    );
    assert_eq!(
        notes(&sandbox, Item::from_text("i", "setting other")).await,
        ["None"]
    );
}

#[tokio::test]
async fn nothing_of_one_call_is_seen_by_the_next() {
    let sandbox = scripted();
    for _ in 0..3 {
        let findings = sandbox.script("global").await.outcome.unwrap();
        assert_eq!(
            findings.signals[0].score, 0.0,
            "a static of an earlier call was seen"
        );
    }
}

#[tokio::test]
async fn an_embedding_comes_out_as_it_was_written() {
    let findings = scripted()
        .script("embedding e 1 2 3")
        .await
        .outcome
        .unwrap();
    let [(name, tensor)] = &findings.embeddings[..] else {
        panic!("{findings:?}")
    };
    assert_eq!((name.as_str(), tensor.shape()), ("e", &[3][..]));
    let bytes: Vec<u8> = [1.0_f32, 2.0, 3.0]
        .iter()
        .flat_map(|n| n.to_le_bytes())
        .collect();
    assert_eq!(tensor.read().await, Ok(bytes));
}

#[tokio::test]
async fn a_region_lies_within_an_image_part() {
    let item = |script: &str| {
        let json = format!(r#"{{"id":"i","text":"{script}","images":["a.png"]}}"#);
        Item::from_json(json.as_bytes()).unwrap()
    };
    let sandbox = scripted();
    let within = sandbox
        .detect(item("region 1 0.25 0 0.5 1"))
        .await
        .outcome
        .unwrap();
    assert_eq!(within.signals[0].evidence.len(), 1);
    for beyond in [
        "region 1 0.75 0 0.5 1",
        "region 1 NaN 0 0.5 1",
        "region 1 0 0 0 1",
        "region 1 -0.5 0 0.5 1",
    ] {
        let fault = sandbox.detect(item(beyond)).await.outcome.unwrap_err();
        assert!(fault.to_string().contains("in fractions 0..=1"), "{fault}");
    }
}

#[tokio::test]
async fn a_part_that_nobody_reads_is_named() {
    let host = Host::builder().bundled_detectors().build().unwrap();
    let item =
        Item::from_json(br#"{"id":"i","text":"hello","links":["http://a.example"]}"#).unwrap();
    let judgement = host.check(&Arc::new(item)).await.unwrap();
    assert_eq!(judgement.signals.len(), N_LABELS_OF_TEXT);
    let [unjudged] = &judgement.unjudged[..] else {
        panic!("{judgement:?}")
    };
    assert_eq!(
        (unjudged.part, unjudged.name.as_str(), unjudged.reason),
        (1, "http://a.example", "no loaded detector reads links")
    );

    let item = Item::from_json(br#"{"id":"i","links":["http://a.example"]}"#).unwrap();
    let judgement = host.check(&Arc::new(item)).await.unwrap();
    assert!(
        judgement.is_unseen() && judgement.degraded.is_empty(),
        "{judgement:?}"
    );
}

#[tokio::test]
async fn one_detectors_failure_leaves_the_others_answers() {
    let folder = PluginFolder::of_guest("traps", &["content", "log", "results"]);
    let host = Host::builder()
        .bundled_detectors()
        .detector(folder.path())
        .build()
        .unwrap();
    let item = Arc::new(Item::from_text(
        "i",
        "misbehave and WIN a free prize! Call 09061701461 now to claim",
    ));
    let judgement = host.check(&item).await.unwrap();
    assert_eq!(judgement.degraded.len(), 1);
    assert_eq!(judgement.signals.len(), N_LABELS_OF_TEXT);
    assert_eq!(judgement.verdict.action, Action::Block, "{judgement:?}");
    assert_eq!(judgement.lineup.0.len(), 4);
}

#[tokio::test]
async fn what_silence_means_is_a_written_rule() {
    let folder = PluginFolder::of_guest("traps", &["content", "log", "results"]);
    let item = Arc::new(Item::from_text("i", "misbehave"));
    for (rule, action) in [
        (
            "[[rule]]\nname = \"closed\"\nwhen = { detector = \"traps\", state = \"degraded\" }\naction = \"block\"\nreason = \"silence\"\n",
            Action::Block,
        ),
        ("rule = []", Action::Allow),
    ] {
        let policy = Policy::parse("p.toml", rule).unwrap();
        let host = Host::builder()
            .detector(folder.path())
            .policy(policy)
            .build()
            .unwrap();
        assert_eq!(host.check(&item).await.unwrap().verdict.action, action);
    }
}

#[tokio::test]
async fn an_item_past_its_bounds_is_the_callers() {
    let bounds = ItemBounds {
        text_bytes: 100,
        ..ItemBounds::default()
    };
    let host = Host::builder()
        .bundled_detectors()
        .item_bounds(bounds)
        .build()
        .unwrap();
    let error = host
        .check(&Arc::new(Item::from_text("i", "x".repeat(200))))
        .await
        .unwrap_err();
    assert!(
        error.to_string().contains("205 bytes of text, at most 100"),
        "{error}"
    );
}

#[tokio::test]
async fn an_item_whose_deadline_has_passed_still_gets_its_verdict() {
    let host = Host::builder().bundled_detectors().build().unwrap();
    let item = Arc::new(Item::from_text("i", "a text long enough to need some time"));
    let judgement = host
        .check_by(&item, deadline(Duration::ZERO))
        .await
        .unwrap();
    assert_eq!(judgement.signals, []);
    assert_eq!(judgement.degraded.len(), 2, "both that read text");
    assert_eq!(judgement.verdict.action, Action::Review);
    for degraded in &judgement.degraded {
        assert_eq!(degraded.blame, trommel::engine::Blame::Host, "{degraded:?}");
    }
}

#[tokio::test]
async fn attributes_reach_the_policy() {
    let policy = "[[rule]]\nname = \"new\"\nwhen = { attribute = \"age\", at_most = 3 }\naction = \"limit\"\nreason = \"new\"\n";
    let policy = Policy::parse("p.toml", policy).unwrap();
    let host = Host::builder()
        .bundled_detectors()
        .policy(policy)
        .build()
        .unwrap();
    let mut item = Item::from_text("i", "hello");
    item.attributes
        .insert("age".to_owned(), Attribute::Integer(2));
    let judgement = host.check(&Arc::new(item)).await.unwrap();
    assert_eq!(judgement.verdict.action, Action::Limit);
}

#[tokio::test]
async fn a_golden_case_is_shown_again_where_the_host_was_too_busy_for_it() {
    // What is spared for all cases of a revision together.
    for (n_refused, n_failed) in [(1, 0), (16, 0), (17, 1)] {
        let cpu = Arc::new(CpuDevice::new(&CpuOptions::default()).unwrap());
        let device = Arc::new(CountingDevice::over(cpu).refusing(n_refused));
        let host = Host::builder().device(device.clone());
        let host = host.package(bundled("spam-text"));
        let failed = host
            .build()
            .unwrap()
            .verify()
            .await
            .err()
            .unwrap_or_default();
        assert_eq!(failed.len(), n_failed, "{n_refused}: {failed:?}");
        assert_eq!(device.n_runs(), n_refused + 2 - n_failed);
        for why in failed {
            assert!(why.contains("runs waiting"), "{why}");
        }
    }
}

#[tokio::test]
async fn golden_cases_that_fail_are_named() {
    let folder = PluginFolder::of_guest("spins", &["content", "log", "results"]);
    folder.edit("[calibrator]", "[[golden]]\nname = \"first\"\ntext = \"hi\"\nlabel = \"spam\"\nat-least = 2.0\n\n[calibrator]");
    let host = Host::builder().detector(folder.path()).build().unwrap();
    let failed = host.verify().await.unwrap_err();
    assert_eq!(
        failed,
        ["golden case `first` of detector `spins`, label `spam`: scores 1, less than it must"]
    );
}

#[tokio::test]
async fn a_run_that_never_ends_is_the_hosts_and_the_item_gets_its_verdict() {
    let cpu = Arc::new(CpuDevice::new(&CpuOptions::default()).unwrap());
    let host = Host::builder()
        .device(Arc::new(StuckDevice::over(cpu)))
        .bundled_detectors()
        .deadline(Duration::from_millis(50))
        .build()
        .unwrap();
    let judgement = host
        .check(&Arc::new(Item::from_text("i", "see you at seven")))
        .await
        .unwrap();
    assert_eq!(judgement.degraded.len(), 2, "both that read text");
    for degraded in &judgement.degraded {
        assert_eq!(degraded.blame, trommel::engine::Blame::Host);
        assert!(
            degraded
                .reason
                .contains("while it waited for a model to run"),
            "{}",
            degraded.reason
        );
    }
    assert_eq!(judgement.verdict.action, Action::Review);
}

#[test]
fn weights_are_charged_to_the_detector_that_holds_them_and_bounded() {
    let held = scripted().detector.account().bytes();
    assert!(held >= 2 << 20, "{held} bytes");
    let limits = Limits {
        weight_bytes: 1 << 20,
        ..Limits::DEFAULT
    };
    let error = Sandbox::new(component("scripted"), limits)
        .unwrap_err()
        .to_string();
    assert!(
        error.contains("model `spam`: its weights would hold"),
        "{error}"
    );
}

#[tokio::test]
async fn a_detector_that_is_asked_more_than_its_share_is_an_overload_of_the_host() {
    let limits = Limits {
        operations_per_second: 1,
        ..Limits::DEFAULT
    };
    let sandbox = Sandbox::new(component("scripted"), limits).unwrap();
    sandbox.script("run 1").await.outcome.unwrap();
    let fault = sandbox.script("run 1").await.outcome.unwrap_err();
    assert_eq!(fault.blame(), trommel::engine::Blame::Host);
    assert!(fault.to_string().contains("operations a second"), "{fault}");
    // Only runs are refused.
    sandbox.script("models 1").await.outcome.unwrap();
}
