//! A queue that is full, a disk that is, and what is left of an item in a record.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{ErrorKind, Write as _};
use std::sync::Mutex;

use super::super::{Records, Redaction};
use super::*;
use crate::blame::Blame;
use crate::item::Attribute;
use crate::lists::{Kind, List, Lists};
use crate::pipeline::{Called, Degraded, Lineup, Timings, Unjudged};
use crate::policy::{Action, FiredRule, PolicyDigest, Verdict};
use crate::revision::RevisionId;
use crate::rollout::Arm;
use crate::rollout::Moment;
use crate::signal::{CalibratorVersion, Probability, Signal};

const SECRET: &str = "s3cr3t";

/// An item all of whose words are secret, and a judgement that repeats them all.
fn secret(id: &str) -> (Arc<Item>, Judgement) {
    let mut item = Item::from_text(id, format!("text {SECRET}"));
    item.push_link(format!("http://{SECRET}.example"));
    item.push_image(SECRET.as_bytes().into());
    let text = Attribute::Text(format!("value {SECRET}"));
    item.attributes.insert("surface".to_owned(), text);
    item.embeddings.insert(SECRET.to_owned(), vec![1.0]);
    let revision = RevisionId::new([1; 32]);
    let rule = FiredRule {
        name: "spam".to_owned(),
        reason: "spam".to_owned(),
        action: Action::Block,
        text: None,
        labels: vec!["spam".into()],
    };
    let note = Evidence::Note {
        text: format!("note {SECRET}"),
    };
    let words = List::parse("l", Kind::Keywords, SECRET.as_bytes()).unwrap();
    let judgement = Judgement {
        id: id.to_owned(),
        verdict: Verdict::from_iter([rule]),
        policy: PolicyDigest::of_text("rules"),
        generation: 1,
        calls: vec![
            Called {
                detector: "d".into(),
                revision,
                arm: Arm::Live,
                stepped_in: false,
                took: Duration::from_micros(3),
                failed: None,
            },
            Called {
                detector: "e".into(),
                revision,
                arm: Arm::Canary,
                stepped_in: false,
                took: Duration::from_micros(4),
                failed: Some((Blame::Guest, format!("said: {SECRET}"))),
            },
        ],
        signals: vec![Signal {
            detector: "d".into(),
            revision,
            label: "spam".into(),
            score: 1.5,
            probability: Probability::new(0.75).unwrap(),
            calibrator: CalibratorVersion::of_digest([2; 32]),
            evidence: vec![note],
        }],
        killed: vec!["toxic".into()],
        lists: Lists::default()
            .with("words", words)
            .unwrap()
            .consult(&item),
        degraded: vec![Degraded {
            detector: "e".into(),
            revision,
            blame: Blame::Guest,
            reason: format!("trapped, after it said: {SECRET}"),
        }],
        unjudged: vec![Unjudged {
            part: 1,
            name: format!("http://{SECRET}.example"),
            reason: "no loaded detector reads links",
        }],
        lineup: Lineup(BTreeMap::from([
            ("d".into(), revision),
            ("e".into(), revision),
        ])),
        timings: Timings {
            total: Duration::from_micros(5),
            detectors: BTreeMap::from([
                ("d".into(), Duration::from_micros(3)),
                ("e".into(), Duration::from_micros(4)),
            ]),
            decode: Duration::ZERO,
            preprocess: Duration::ZERO,
            model: Duration::from_micros(2),
        },
    };
    (Arc::new(item), judgement)
}

fn origin() -> Origin {
    Origin {
        host: "0.0.0".to_owned(),
        device: "cpu".to_owned(),
    }
}

fn line(item: &Item, judgement: &Judgement, settings: &RecordSettings) -> String {
    let at = (Share::WHOLE, Moment::from_micros(7));
    encode(&Record::of(item, judgement, &origin(), settings, at))
}

#[test]
fn nothing_of_the_content_is_in_a_record_that_was_not_asked_for_it() {
    let (item, judgement) = secret("7");
    let line_with = |words, attributes| {
        let settings = RecordSettings {
            words,
            attributes,
            ..RecordSettings::default()
        };
        line(&item, &judgement, &settings)
    };
    let default = line(&item, &judgement, &RecordSettings::default());
    for line in [&default, &line_with(Redaction::Hash, Redaction::Hash)] {
        assert!(!line.contains(SECRET), "{line}");
        assert!(
            line.contains(r#""id":"7""#) && line.contains(r#""score":1.5"#),
            "{line}"
        );
    }
    assert!(!default.contains("surface"));
    assert!(default.contains(r#""killed":["toxic"],"lists":[{"list":"words","#));
    assert!(default.contains(r#","found":true}]"#), "{default}");
    let words = line_with(Redaction::Keep, Redaction::Omit);
    assert_eq!(words.matches(SECRET).count(), 2, "{words}");
    let attributes = line_with(Redaction::Omit, Redaction::Keep);
    assert!(
        attributes.contains(r#""surface":"value s3cr3t""#),
        "{attributes}"
    );
    let ids = |ids| {
        let settings = RecordSettings {
            ids,
            ..RecordSettings::default()
        };
        line(&secret(SECRET).0, &secret(SECRET).1, &settings)
    };
    assert!(ids(Redaction::Keep).contains(SECRET));
    assert!(!ids(Redaction::Hash).contains(SECRET));
    assert!(!ids(Redaction::Omit).contains(SECRET));
}

#[test]
fn a_record_reads_back_as_it_was_made() {
    let (item, judgement) = secret("7");
    let settings = RecordSettings {
        content: true,
        words: Redaction::Keep,
        attributes: Redaction::Hash,
        ..RecordSettings::default()
    };
    let at = (
        Share::from_millionths(50_000).unwrap(),
        Moment::from_micros(7),
    );
    let record = Record::of(&item, &judgement, &origin(), &settings, at);
    let line = encode(&record);
    let mut records = Records::new(line.as_bytes());
    assert_eq!(records.next().unwrap().unwrap(), record);
    assert!(records.next().is_none());
    let asked: Vec<_> = record.asked.iter().map(|asked| asked.took_us).collect();
    assert_eq!((asked, record.rules[0].labels.len()), (vec![3, 4], 1));
    let stored = record.content.unwrap().into_item("7".to_owned()).unwrap();
    assert_eq!(stored, *item);
}

#[test]
fn an_item_that_is_large_in_every_way_makes_a_short_record() {
    let long = "\u{1}".repeat(100_000);
    let (_, mut judgement) = secret("7");
    let mut item = Item::from_text(long.clone(), long.clone());
    for n in 0..10_000 {
        item.push_link(n.to_string());
        let value = Attribute::Text(long[..500].to_owned());
        item.attributes
            .insert(format!("{n} {}", &long[..400]), value);
    }
    item.attributes.insert(long.clone(), Attribute::Flag(true));
    let note = Evidence::Note { text: long.clone() };
    judgement.signals[0].evidence = vec![note; 10_000];
    judgement.degraded[0].reason = long;
    let settings = RecordSettings {
        words: Redaction::Keep,
        attributes: Redaction::Keep,
        content: true,
        max_content_bytes: 100,
        ..RecordSettings::default()
    };
    let line = line(&item, &judgement, &settings);
    assert!(line.len() < 600_000, "{} bytes", line.len());
    let record = Records::new(line.as_bytes()).next().unwrap().unwrap();
    assert!(record.content_left_out && record.content.is_none());
    assert_eq!(
        (record.item.parts.len(), record.item.n_parts_left_out),
        (256, 9745)
    );
    assert_eq!(
        record.item.attributes.len() + record.item.n_attributes_left_out,
        10_001
    );
    assert_eq!(record.signals[0].n_evidence_left_out, 10_000 - 32);
}

#[test]
fn a_disk_that_holds_up_the_writer_never_holds_up_an_offer() {
    let folder = tempfile::tempdir().unwrap();
    let gate = Arc::new(Mutex::new(()));
    let waits = gate.clone();
    let write = move |mut file: &File, line: &[u8]| {
        let _open = waits.lock();
        file.write(line)
    };
    let files = RecordFiles::open_on(Box::new(write), folder.path(), 1 << 20, 4);
    let settings = RecordSettings {
        max_queued: 3,
        ..RecordSettings::default()
    };
    let recorder = Recorder::start_on(files.unwrap().0, origin(), settings).unwrap();
    let (item, judgement) = secret("7");
    let closed = gate.lock().unwrap();
    for _ in 0..20 {
        recorder.offer(&item, &judgement);
    }
    let counts = recorder.counts();
    // Three wait, and the thread may have taken one.
    assert!((16..=17).contains(&counts.dropped), "{counts:?}");
    assert_eq!(counts.written, 0);
    drop(closed);
    let counters = recorder.counters.clone();
    drop(recorder);
    let written = counters.written.load(Ordering::Relaxed);
    assert_eq!(written + counts.dropped, 20);
    assert_eq!(counters.queued_bytes.load(Ordering::Relaxed), 0);
    let (files, n_cut) = RecordFiles::open(folder.path(), 1, 9).unwrap();
    assert_eq!(n_cut, 0);
    drop(files);
}

#[test]
fn items_that_wait_are_bounded_in_bytes_and_a_large_one_waits_alone() {
    let counters = Counters::default();
    assert!(counters.take(1_000, 100));
    assert!(!counters.take(1, 100));
    counters.give_back(1_000);
    assert!(counters.take(60, 100) && counters.take(40, 100));
    assert!(!counters.take(1, 100));
    let (mut item, mut judgement) = secret("7");
    let (before, words) = (item.held_bytes(), judgement_bytes(&judgement));
    let long = Attribute::Text("x".repeat(1_000));
    Arc::make_mut(&mut item)
        .attributes
        .insert("long".to_owned(), long);
    Arc::make_mut(&mut item).push_image([0; 2_000].as_slice().into());
    assert_eq!(item.held_bytes(), before + 3_004);
    let text = "x".repeat(5_000);
    judgement.signals[0].evidence.push(Evidence::Note { text });
    judgement.degraded[0].reason.push_str("more");
    assert!(judgement_bytes(&judgement) >= words + 5_004);
}

#[test]
fn after_a_failure_it_is_tried_again_later_and_less_and_less_often() {
    let folder = tempfile::tempdir().unwrap();
    let tries = Arc::new(AtomicUsize::new(0));
    let tried = tries.clone();
    let write = move |mut file: &File, line: &[u8]| match tried.fetch_add(1, Ordering::Relaxed) {
        0..5 => Err(ErrorKind::StorageFull.into()),
        _ => file.write(line),
    };
    let files = RecordFiles::open_on(Box::new(write), folder.path(), 1 << 20, 4);
    let mut writer = Writer {
        files: files.unwrap().0,
        origin: origin(),
        settings: Arc::default(),
        counters: Arc::default(),
        outage: None,
    };
    let (item, judgement) = secret("7");
    let offered = Offered {
        item,
        judgement,
        share: Share::WHOLE,
        bytes: 0,
    };
    let start = now();
    let mut tried_at = Vec::new();
    for second in 0..40 {
        writer.record(&offered, start + Duration::from_secs(second));
        if tries.load(Ordering::Relaxed) > tried_at.len() {
            tried_at.push(second);
        }
        if writer.outage.is_none() {
            break;
        }
    }
    assert_eq!(tried_at, [0, 1, 3, 7, 15, 31]);
    assert_eq!(writer.counters.failed.load(Ordering::Relaxed), 31);
    assert_eq!(writer.counters.written.load(Ordering::Relaxed), 1);
}
