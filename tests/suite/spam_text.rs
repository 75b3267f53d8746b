//! The bundled detector: what it finds, what it shows, what it costs.

use std::sync::Arc;

use trommel::Host;
use trommel::item::Item;
use trommel::policy::Action;
use trommel::signal::Evidence;
use trommel_tensor::{CpuDevice, CpuOptions};
use trommel_tests::counting::CountingDevice;
use trommel_tests::plugin::bundled;
use trommel_tests::workspace;

const SPAM: &str =
    "WINNER!! Your number was drawn for a £900 prize. Call 09061701461 now to claim.";
const HAM: &str = "Running ten minutes late, could you order me a coffee?";

async fn judged(host: &Host, text: &str) -> trommel::Judgement {
    host.check(&Arc::new(Item::from_text("i", text)))
        .await
        .expect("a text is an item")
}

#[tokio::test]
async fn spam_is_blocked_and_a_word_between_friends_is_not() {
    let host = Host::builder().bundled_detectors().build().unwrap();
    assert_eq!(judged(&host, SPAM).await.verdict.action, Action::Block);
    assert_eq!(judged(&host, HAM).await.verdict.action, Action::Allow);
}

#[tokio::test]
async fn the_golden_cases_of_every_bundled_detector_pass() {
    let host = Host::builder().bundled_detectors().build().unwrap();
    assert_eq!(host.verify().await, Ok(()));
}

#[tokio::test]
async fn every_item_is_run_through_the_tensor_interface() {
    let cpu = Arc::new(CpuDevice::new(&CpuOptions::default()).unwrap());
    let counting = Arc::new(CountingDevice::over(cpu));
    let host = Host::builder()
        .device(counting.clone())
        .bundled_detectors()
        .build()
        .unwrap();
    for (n, text) in [SPAM, HAM, "ok"].into_iter().enumerate() {
        judged(&host, text).await;
        assert!(
            counting.n_runs() > n,
            "item {n} was judged without the model"
        );
    }
}

#[tokio::test]
async fn the_evidence_points_at_words_of_the_text() {
    let host = Host::builder().bundled_detectors().build().unwrap();
    let judgement = judged(&host, SPAM).await;
    let evidence = &judgement.signals[0].evidence;
    assert!((1..=5).contains(&evidence.len()), "{evidence:?}");
    for span in evidence {
        let Evidence::Span {
            part: 0,
            start,
            end,
        } = *span
        else {
            panic!("{span:?}")
        };
        let words = &SPAM[start as usize..end as usize];
        assert_eq!(words, words.trim());
    }
    assert_eq!(judged(&host, HAM).await.signals[0].evidence, []);
}

#[tokio::test]
async fn an_item_scores_the_same_alone_and_among_others() {
    // By itself: among others it has less of the machine, and its time is short.
    let host = Host::builder().package(bundled("spam-text")).build();
    let host = Arc::new(host.unwrap());
    let alone = judged(&host, SPAM).await.signals[0].score;
    let among = futures_util::future::join_all((0..50).map(|n| {
        let text = if n % 2 == 0 {
            SPAM.to_owned()
        } else {
            format!("{HAM} {n}")
        };
        let host = host.clone();
        async move { judged(&host, &text).await.signals[0].score }
    }))
    .await;
    for score in among.iter().step_by(2) {
        assert_eq!(score.to_bits(), alone.to_bits());
    }
}

#[tokio::test]
async fn strange_texts_are_judged_like_any_other() {
    let host = Host::builder().bundled_detectors().build().unwrap();
    for text in [
        "",
        " ",
        "\u{0}",
        "İİİİ ﷽ 👩‍👩‍👧‍👦 e\u{301}",
        &"a".repeat(100_000),
        &"é ".repeat(50_000),
    ] {
        let judgement = judged(&host, text).await;
        assert_eq!(judgement.degraded, [], "{:?}", &text[..text.len().min(20)]);
    }
}

#[test]
fn the_component_is_small_and_holds_no_weights() {
    let n_bytes = bundled("spam-text").component().len();
    assert!(n_bytes <= 500_000, "{n_bytes} bytes");
}

#[test]
fn the_weights_are_small_and_the_card_names_their_data() {
    let plugin = workspace().join("guest-models/spam-text");
    let model = std::fs::metadata(plugin.join("model.onnx")).unwrap();
    assert!(model.len() <= 8 << 20, "{} bytes", model.len());
    let card = std::fs::read_to_string(plugin.join("MODEL_CARD.md")).unwrap();
    for named in [
        "SMS Spam Collection",
        "YouTube Spam Collection",
        "SpamAssassin",
        "CC BY 4.0",
        "CC0 1.0",
        "cargo xtask train spam-text",
    ] {
        assert!(card.contains(named), "the card does not say `{named}`");
    }
}

#[test]
fn the_figures_reach_the_baseline() {
    let file = workspace().join("guest-models/spam-text/figures.json");
    let figures: serde_json::Value =
        serde_json::from_str(&std::fs::read_to_string(file).unwrap()).unwrap();
    let sets = figures["sets"].as_array().expect("the recipe wrote it");
    for (name, least) in [
        ("sms-spam", 0.95),
        ("youtube-spam", 0.945),
        ("spamassassin", 0.955),
    ] {
        let set = sets.iter().find(|set| set["name"] == name).expect(name);
        let f1 = set["f1"].as_f64().expect("the recipe wrote it");
        assert!(f1 >= least, "{name}: F1 {f1}");
    }
}

#[test]
fn the_evidence_is_true_and_shows_no_more_than_three_tenths() {
    let file = workspace().join("guest-models/spam-text/figures.json");
    let figures: serde_json::Value =
        serde_json::from_str(&std::fs::read_to_string(file).unwrap()).unwrap();
    let evidence = |key: &str| {
        figures["evidence"][key]
            .as_f64()
            .expect("the recipe wrote it")
    };
    assert!(evidence("share_true") >= 0.9);
    assert!(evidence("largest_share_shown") <= 0.3);
}
