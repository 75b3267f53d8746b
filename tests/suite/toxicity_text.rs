//! The bundled `toxicity-text`: what it finds, what it shows, whom it treats alike, what it
//! withstands.

use std::sync::Arc;
use std::time::Duration;

use toxicity_text::{EVIDENCE_FROM, LABELS};
use trommel::engine::Blame;
use trommel::item::{Item, ItemBounds};
use trommel::policy::Action;
use trommel::registry::bundled;
use trommel::signal::{Evidence, Signal};
use trommel::{Host, Judgement};
use trommel_tensor::Device;
use trommel_tests::devices::devices;
use trommel_tests::{plugin, workspace};

const INSULT: &str = "What an idiot you are. Shut up, you stupid loser, nobody asked you.";
const CONTEMPT: &str = "All immigrants are vermin and should be wiped out.";
const PLAIN: &str = "Could you send me the notes of yesterday's meeting, please?";

fn host() -> Host {
    Host::builder().bundled_detectors().build().unwrap()
}

async fn judged(host: &Host, text: &str) -> Judgement {
    let item = Arc::new(Item::from_text("i", text));
    host.check(&item).await.expect("a text is an item")
}

/// What is said of one label.
fn signal<'a>(judgement: &'a Judgement, label: &str) -> &'a Signal {
    let mut signals = judgement.signals.iter();
    signals
        .find(|signal| signal.label.as_str() == label)
        .unwrap_or_else(|| panic!("no signal of `{label}`: {judgement:?}"))
}

fn scores(judgement: &Judgement) -> [f32; 3] {
    LABELS.map(|label| signal(judgement, label).score)
}

/// The stretches of `text`, its only part, that are shown of a label.
fn shown<'a>(judgement: &Judgement, label: &str, text: &'a str) -> Vec<&'a str> {
    let evidence = signal(judgement, label).evidence.iter();
    let stretch = |evidence: &Evidence| match *evidence {
        Evidence::Span {
            part: 0,
            start,
            end,
        } => &text[start as usize..end as usize],
        ref other => panic!("{other:?}"),
    };
    evidence.map(stretch).collect()
}

#[tokio::test]
async fn an_insult_goes_to_a_person_and_a_question_to_nobody() {
    let host = host();
    let (insult, plain) = (judged(&host, INSULT).await, judged(&host, PLAIN).await);
    assert_eq!(insult.verdict.action, Action::Review, "{insult:?}");
    assert_eq!(plain.verdict.action, Action::Allow, "{plain:?}");
    for label in LABELS {
        assert_eq!(signal(&plain, label).evidence, [], "{label}");
    }
}

#[tokio::test]
async fn contempt_for_a_group_goes_to_a_person_as_hate() {
    let judgement = judged(&host(), CONTEMPT).await;
    assert_eq!(judgement.verdict.action, Action::Review, "{judgement:?}");
    let mut rules = judgement.verdict.rules.iter();
    assert!(rules.any(|rule| rule.reason == "hate-suspected"));
}

#[tokio::test]
async fn tone_goes_to_a_person_and_blocks_nothing() {
    let host = host();
    for text in [INSULT, CONTEMPT, "fuck this shit"] {
        let action = judged(&host, text).await.verdict.action;
        assert_eq!(action, Action::Review, "{text}");
    }
}

/// What people write to one another all day; no set that anything was learnt from.
const ORDINARY: [&str; 40] = [
    "see you at seven",
    "be good",
    "ok",
    "hello",
    "on my way",
    "where are you now?",
    "I miss you",
    "I love you so much",
    "call me when you get home",
    "are you coming to the match on saturday",
    "I left the keys with the neighbour",
    "mum says dinner is at seven",
    "the bus was late again so start without me",
    "can you send me the notes from today",
    "happy birthday, see you tonight",
    "did the parcel arrive yet?",
    "I'll call you when the meeting is over",
    "that film was better than I thought",
    "remember to water the plants",
    "thanks for the lift home yesterday",
    "what do you want for lunch?",
    "sorry, I fell asleep",
    "good morning! how did you sleep?",
    "I don't think I can make it tonight",
    "you were great on stage yesterday",
    "stop it, you make me laugh",
    "my train leaves in five minutes",
    "I am so tired of this weather",
    "no idea, ask your sister",
    "he never answers his phone",
    "the exam was awful, I hate maths",
    "you forgot your umbrella",
    "kill the lights when you leave, please",
    "that goal was insane!",
    "this song is so good it hurts",
    "I could eat a horse",
    "my old laptop died again",
    "we lost, but what a game",
    "Great video, thanks for sharing!",
    "Could somebody review my pull request?",
];

#[tokio::test]
async fn ordinary_messages_go_to_nobody() {
    let host = host();
    for text in ORDINARY {
        let judgement = judged(&host, text).await;
        let action = judgement.verdict.action;
        assert_eq!(action, Action::Allow, "{text}: {judgement:?}");
    }
}

#[tokio::test]
async fn the_evidence_points_at_the_words_that_insult() {
    let host = host();
    let text = "We met at noon on Monday, and shut up, you stupid fucking idiot.";
    let judgement = judged(&host, text).await;
    let shown = shown(&judgement, "toxic", text);
    assert!((1..=5).contains(&shown.len()), "{judgement:?}");
    assert!(shown[0].contains("fucking"), "{shown:?}");
    for words in &shown {
        assert_eq!(*words, words.trim());
    }
    let n_shown: usize = shown.iter().map(|words| words.len()).sum();
    assert!(n_shown < text.len() / 2, "{shown:?}");
}

#[tokio::test]
async fn a_disguised_insult_scores_as_the_plain_one() {
    let host = host();
    let plain = judged(&host, "you are an idiot").await;
    assert!(
        signal(&plain, "toxic").score >= EVIDENCE_FROM[0],
        "{plain:?}"
    );
    for disguised in [
        "y0u 4re an 1d1ot",
        "you are an i d i o t",
        "you are an i.d.i.o.t",
        "you are an іdiоt",
        "you are an 𝓲𝓭𝓲𝓸𝓽",
        "you are an id\u{200b}iot",
    ] {
        let judgement = judged(&host, disguised).await;
        assert_eq!(scores(&judgement), scores(&plain), "{disguised}");
        let shown = shown(&judgement, "toxic", disguised);
        assert!(!shown.is_empty(), "{disguised}");
        assert_eq!(judgement.verdict.action, plain.verdict.action);
    }
}

const GROUPS: [&str; 8] = [
    "women",
    "Muslims",
    "Jews",
    "lesbians",
    "blacks",
    "refugees",
    "Christians",
    "pensioners",
];

#[tokio::test]
async fn a_text_scores_the_same_whichever_group_it_names() {
    let host = host();
    for text in [
        "Two GROUP live next door.",
        "I am so sick of GROUP, they ruin everything.",
    ] {
        let first = scores(&judged(&host, &text.replace("GROUP", GROUPS[0])).await);
        for group in GROUPS {
            let judgement = judged(&host, &text.replace("GROUP", group)).await;
            assert_eq!(
                scores(&judgement).map(f32::to_bits),
                first.map(f32::to_bits),
                "{group}: {text}"
            );
        }
    }
}

#[tokio::test]
async fn to_name_a_group_is_no_offence() {
    let host = host();
    for text in [
        "Two GROUP live next door.",
        "My neighbours are GROUP and work as nurses.",
        "The museum has a room about the GROUP of the town.",
        "We met some GROUP at the market on Saturday.",
    ] {
        for group in GROUPS {
            let judgement = judged(&host, &text.replace("GROUP", group)).await;
            let action = judgement.verdict.action;
            assert_eq!(action, Action::Allow, "{group}: {text}: {judgement:?}");
        }
    }
}

#[tokio::test]
async fn an_item_scores_the_same_alone_and_among_others() {
    let host = Arc::new(host());
    let alone = scores(&judged(&host, INSULT).await);
    let among = futures_util::future::join_all((0..20).map(|n| {
        let text = if n % 2 == 0 {
            INSULT.to_owned()
        } else {
            format!("{PLAIN} {n}")
        };
        let host = host.clone();
        async move { scores(&in_the_end(&host, &text).await) }
    }))
    .await;
    for scores in among.iter().step_by(2) {
        assert_eq!(scores.map(f32::to_bits), alone.map(f32::to_bits));
    }
}

#[tokio::test]
async fn texts_without_words_give_no_signal_and_fail_nowhere() {
    let host = host();
    for text in ["", " ", " \n\t\u{a0} ", "\u{200b}\u{301}", "\u{0}"] {
        let judgement = judged(&host, text).await;
        assert_eq!(judgement.degraded, [], "{text:?}");
        assert_eq!(judgement.verdict.action, Action::Allow, "{text:?}");
        let of_it = judgement.signals.iter();
        let of_it = of_it.filter(|signal| signal.detector.as_str() == "toxicity-text");
        assert_eq!(of_it.count(), 0, "{text:?}");
    }
}

#[tokio::test]
async fn strange_and_long_texts_are_judged_like_any_other() {
    let host = host();
    for text in [
        "é",
        "@",
        "1",
        &"bitch⁉".repeat(12),
        &"½℀⁉ idiot ".repeat(50),
        &"İ".repeat(32 << 10),
        &"a.b!c?".repeat(11_000),
        &"idiot ".repeat(11_000),
    ] {
        let judgement = judged(&host, text).await;
        let beginning: String = text.chars().take(20).collect();
        assert_eq!(judgement.degraded, [], "{beginning}");
        scores(&judgement);
    }
}

/// An insult of `n_chars` characters that makes as many pieces as are looked at.
fn long_insult(n_chars: usize) -> String {
    let phrase = "Shut up, you stupid fucking idiot #4 & get lost! ";
    phrase.chars().cycle().take(n_chars).collect()
}

/// The judgement, asked for again while the host had no time for it: on a busy machine, and
/// on a GPU, which makes kernels ready when it meets a shape for the first time and goes on
/// when nobody waits any more. A failure of the detector's own is none to wait for.
async fn in_the_end(host: &Host, text: &str) -> Judgement {
    let mut judgement = judged(host, text).await;
    for _ in 0..20 {
        if judgement
            .degraded
            .iter()
            .all(|one| one.blame != Blame::Host)
        {
            break;
        }
        judgement = judged(host, text).await;
    }
    let n_chars = text.chars().count();
    assert_eq!(judgement.degraded, [], "{n_chars} characters");
    judgement
}

#[tokio::test]
async fn the_largest_items_are_judged_within_what_the_manifest_asks_for() {
    let host = host();
    let bounds = ItemBounds::default();
    // As much as is read, as much as 64 KiB hold, and as much as an item may hold.
    for n_chars in [1_500, 64 << 10, bounds.text_bytes - 1_000] {
        let text = long_insult(n_chars);
        let judgement = in_the_end(&host, &text).await;
        assert_eq!(judgement.verdict.action, Action::Review, "{n_chars}");
        let shown = shown(&judgement, "toxic", &text);
        assert!((1..=5).contains(&shown.len()), "{shown:?}");
        let n_shown: usize = shown.iter().map(|words| words.len()).sum();
        assert!(n_shown * 10 <= n_chars * 3, "{n_chars}: {n_shown}");
    }
}

/// The detector on `device`, with all the time that software takes which computes like a GPU.
fn patient_host(device: Arc<dyn Device>) -> Host {
    let folder = tempfile::tempdir().unwrap();
    let mut detectors = bundled::DETECTORS.iter();
    let (_, files) = detectors
        .find(|(name, _)| *name == "toxicity-text")
        .expect("it is bundled");
    for (name, bytes) in *files {
        std::fs::write(folder.path().join(name), bytes).unwrap();
    }
    let manifest = folder.path().join("plugin.toml");
    let text = std::fs::read_to_string(&manifest).unwrap();
    let longer = text.replace("deadline-ms = 1000", "deadline-ms = 10000");
    assert_ne!(longer, text);
    std::fs::write(&manifest, longer).unwrap();
    Host::builder()
        .device(device)
        .detector(folder.path())
        .deadline(Duration::from_secs(10))
        .build()
        .unwrap()
}

#[tokio::test]
async fn every_device_gives_the_same_verdicts_and_passes_the_golden_cases() {
    let mut first: Option<Vec<Judgement>> = None;
    for (name, device) in devices() {
        let host = patient_host(device);
        let long = long_insult(1_500);
        let mut judgements = Vec::new();
        for text in [INSULT, PLAIN, CONTEMPT, "see you", &long] {
            judgements.push(in_the_end(&host, text).await);
        }
        let evidence = &signal(&judgements[4], "toxic").evidence;
        assert!((1..=5).contains(&evidence.len()), "{name}: {evidence:?}");
        let first = first.get_or_insert_with(|| judgements.clone());
        for (one, other) in first.iter().zip(&judgements) {
            assert_eq!(one.verdict, other.verdict, "{name}");
            for (a, b) in scores(one).into_iter().zip(scores(other)) {
                assert!((a - b).abs() < 1e-3, "{name}: {a} and {b}");
            }
        }
        assert_eq!(host.verify().await, Ok(()), "{name}");
    }
}

#[test]
fn there_are_golden_cases_for_and_against() {
    let manifest = workspace().join("guest-models/toxicity-text/plugin.toml");
    let manifest: toml::Table =
        toml::from_str(&std::fs::read_to_string(manifest).unwrap()).unwrap();
    let golden = manifest["golden"].as_array().expect("a list of cases");
    for label in ["toxic", "hate"] {
        for bound in ["at-least", "at-most"] {
            let mut of_label = golden
                .iter()
                .filter(|case| case["label"].as_str() == Some(label));
            assert!(
                of_label.any(|case| case.get(bound).is_some()),
                "{label} {bound}"
            );
        }
    }
}

#[test]
fn the_component_is_small_and_holds_no_weights() {
    let n_bytes = plugin::bundled("toxicity-text").component().len();
    assert!(n_bytes <= 500_000, "{n_bytes} bytes");
}

fn figures() -> serde_json::Value {
    let file = workspace().join("guest-models/toxicity-text/figures.json");
    serde_json::from_str(&std::fs::read_to_string(file).unwrap()).unwrap()
}

#[test]
fn evidence_is_shown_from_the_models_own_cuts() {
    for (label, from) in LABELS.into_iter().zip(EVIDENCE_FROM) {
        let cut = figures()["cuts"][label]
            .as_f64()
            .expect("the recipe wrote it");
        assert_eq!(from, cut as f32, "{label}");
    }
}

#[test]
fn the_figures_keep_what_the_card_promises() {
    let figures = figures();
    let number = |pointer: &str| {
        let number = figures.pointer(pointer).and_then(|n| n.as_f64());
        number.unwrap_or_else(|| panic!("figures.json has no {pointer}"))
    };
    assert!(number("/tweets/macro_f1") >= 0.745);
    assert!(number("/talk/auc") >= 0.92);
    assert!(number("/hatecheck/accuracy") >= 0.70);
    assert!(number("/fairness/false_positive_spread") <= 0.10);
    assert!(number("/evidence/share_true") >= 0.9);
    assert!(number("/evidence/largest_share_shown") <= 0.3);
}

#[test]
fn the_weights_are_small_and_the_card_names_data_and_limits() {
    let plugin = workspace().join("guest-models/toxicity-text");
    let model = std::fs::metadata(plugin.join("model.onnx")).unwrap();
    assert!(model.len() <= 8 << 20, "{} bytes", model.len());
    let card = std::fs::read_to_string(plugin.join("MODEL_CARD.md")).unwrap();
    for named in [
        "Davidson",
        "Wikipedia",
        "CC BY-SA",
        "HateCheck",
        "dialect",
        "cargo xtask train toxicity-text",
    ] {
        assert!(card.contains(named), "the card does not say `{named}`");
    }
}
