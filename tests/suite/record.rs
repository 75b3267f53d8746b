//! Records under hosts that are killed, over HTTP, and judged again.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{BufRead as _, BufReader, Write as _};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use trommel::item::Item;
use trommel::pipeline::{Lineup, Timings};
use trommel::policy::{Action, Policy, PolicyDigest, Verdict};
use trommel::record::{
    ContentDigest, Fate, Origin, Record, RecordSettings, Recorder, Records, Replay, record_files,
};
use trommel::server::{Server, ServerOptions};
use trommel::{Host, Judgement};
use trommel_tests::random::Random;
use trommel_tests::workspace;

const FOLDER: &str = "TROMMEL_TEST_RECORD_FOLDER";

/// What every item of these tests says somewhere.
const SECRET: &str = "quetzalcoatl";

fn allowed(item: &Item) -> Judgement {
    Judgement {
        id: item.id.clone(),
        verdict: Verdict::from_iter([]),
        policy: PolicyDigest::of_text(""),
        generation: 1,
        calls: Vec::new(),
        signals: Vec::new(),
        killed: Vec::new(),
        lists: Vec::new(),
        degraded: Vec::new(),
        unjudged: Vec::new(),
        lineup: Lineup(BTreeMap::new()),
        timings: Timings {
            total: Duration::ZERO,
            detectors: BTreeMap::new(),
            decode: Duration::ZERO,
            preprocess: Duration::ZERO,
            model: Duration::ZERO,
        },
    }
}

fn recorder(folder: &Path, settings: RecordSettings) -> Recorder {
    let origin = Origin {
        host: "test".to_owned(),
        device: "cpu".to_owned(),
    };
    Recorder::start(folder, origin, settings).unwrap()
}

/// Every record of a folder; what is no record fails the test.
fn records(folder: &Path) -> Vec<Record> {
    let files = record_files(folder).unwrap();
    let records = files.iter().flat_map(|file| {
        let file = BufReader::new(File::open(file).unwrap());
        Records::new(file)
    });
    records
        .map(|record| record.unwrap_or_else(|bad| panic!("{bad}")))
        .collect()
}

/// The other side of the test below: records items 0, 1, 2, … for ever, and tells now and
/// then how many are written.
#[test]
#[ignore = "is started, and killed, by the test below"]
fn a_host_that_records_until_it_is_killed() {
    let folder = std::env::var_os(FOLDER).expect("its parent says where");
    let settings = RecordSettings {
        content: true,
        max_file_bytes: 64 << 10,
        n_files: 1_000,
        ..RecordSettings::default()
    };
    let recorder = recorder(Path::new(&folder), settings);
    let mut n_offered = 0_u64;
    loop {
        let counts = recorder.counts();
        if n_offered - counts.written - counts.dropped < 200 {
            // Some longer than a page, some than a pipe: a write of them may be cut short.
            let text = "x".repeat(1 << (n_offered % 18));
            let item = Item::from_text(n_offered.to_string(), text);
            recorder.offer(&Arc::new(item.clone()), &allowed(&item));
            n_offered += 1;
        } else {
            std::thread::yield_now();
        }
        assert_eq!((counts.dropped, counts.failed), (0, 0));
        if n_offered.is_multiple_of(16) {
            let mut out = std::io::stdout().lock();
            writeln!(out, "written {}", counts.written).unwrap();
            out.flush().unwrap();
        }
    }
}

fn host_that_records(folder: &Path) -> Child {
    let name = "record::a_host_that_records_until_it_is_killed";
    Command::new(std::env::current_exe().unwrap())
        .args([
            "--exact",
            name,
            "--ignored",
            "--nocapture",
            "--test-threads=1",
        ])
        .env(FOLDER, folder)
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap()
}

#[test]
fn a_host_that_is_killed_loses_no_record_that_was_written_and_the_next_goes_on() {
    let mut random = Random::new(7);
    for _ in 0..8 {
        let folder = tempfile::tempdir().unwrap();
        let mut child = host_that_records(folder.path());
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let mut said = lines.by_ref().map_while(Result::ok).filter_map(|line| {
            // The harness speaks too, and may have begun the line.
            line.rsplit_once("written ")?.1.parse::<u64>().ok()
        });
        let wanted = 40 + random.below(400) as u64;
        let mut last = said.find(|written| *written >= wanted).expect("it records");
        child.kill().unwrap();
        child.wait().unwrap();
        // What was on its way before the kill arrived.
        last = said.last().unwrap_or(last);

        drop(recorder(
            folder.path(),
            RecordSettings {
                n_files: 1_000,
                ..RecordSettings::default()
            },
        ));
        let records = records(folder.path());
        let ids = records
            .iter()
            .map(|record| record.item.id.as_ref().unwrap().shown().to_owned());
        let ids: Vec<String> = ids.collect();
        assert!(ids.len() as u64 >= last, "said {last}, found {}", ids.len());
        let expected = (0..ids.len()).map(|n| n.to_string());
        assert!(ids.iter().cloned().eq(expected), "{ids:?}");
    }
}

#[test]
fn a_folder_keeps_so_many_files_and_each_holds_whole_records() {
    let folder = tempfile::tempdir().unwrap();
    let settings = RecordSettings {
        max_file_bytes: 4_000,
        n_files: 3,
        max_queued: 10_000,
        ..RecordSettings::default()
    };
    let writer = recorder(folder.path(), settings);
    for n in 0..200 {
        let item = Arc::new(Item::from_text(n.to_string(), "text"));
        writer.offer(&item, &allowed(&item));
    }
    drop(writer);
    let files = record_files(folder.path()).unwrap();
    assert_eq!(files.len(), 3);
    for file in &files {
        assert!(fs::metadata(file).unwrap().len() <= 4_000);
    }
    let records = records(folder.path());
    let last = records.last().unwrap().item.id.as_ref().unwrap();
    assert_eq!(last.shown(), "199");
    assert!((12..60).contains(&records.len()), "{}", records.len());
}

async fn post(address: &str, body: &str) -> String {
    let request = format!(
        "POST /v1/check HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\
         content-type: application/json\r\ncontent-length: {}\r\n\r\n{body}",
        body.len()
    );
    send(address, &request).await
}

async fn send(address: &str, request: &str) -> String {
    let mut stream = TcpStream::connect(address).await.unwrap();
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    answer
}

#[tokio::test]
async fn a_server_records_what_it_answers_and_nothing_of_the_content() {
    let folder = tempfile::tempdir().unwrap();
    let host = Arc::new(Host::builder().bundled_detectors().build().unwrap());
    let origin = Origin::of(&host);
    let recorder = Recorder::start(folder.path(), origin, RecordSettings::default()).unwrap();
    let server = Server::recording(host.clone(), ServerOptions::default(), recorder);
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let serving = server.clone();
    let serving = tokio::spawn(async move { serving.serve(listener).await });
    let item = format!(
        r#"{{"id":"a","text":"WINNER! Claim your {SECRET} prize now, call 09061701461",
        "links":["http://{SECRET}.example"],"attributes":{{"surface":"{SECRET}"}}}}"#
    );
    let answer = post(&address, &item).await;
    let judgement = answer.split_once("\r\n\r\n").unwrap().1;
    let judgement: serde_json::Value = serde_json::from_str(judgement).unwrap();
    // Nothing in it can be judged, so there is no verdict to record.
    let unseen = post(&address, r#"{"id":"b","links":["http://a.example"]}"#).await;
    assert!(unseen.starts_with("HTTP/1.1 422"), "{unseen}");
    let written = async {
        loop {
            let request = "GET /metrics HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n";
            let metrics = send(&address, request).await;
            assert!(
                metrics.contains("trommel_records_failed_total 0"),
                "{metrics}"
            );
            assert!(
                metrics.contains("trommel_records_dropped_total 0"),
                "{metrics}"
            );
            if metrics.contains("trommel_records_written_total 1") {
                break;
            }
        }
    };
    let patience = Duration::from_secs(20);
    tokio::time::timeout(patience, written)
        .await
        .expect("it is written");
    server.drain();
    serving.await.unwrap().unwrap();
    drop(server);
    let files = record_files(folder.path()).unwrap();
    let text = fs::read_to_string(&files[0]).unwrap();
    assert!(!text.to_lowercase().contains(SECRET), "{text}");
    let records = records(folder.path());
    let [record] = &records[..] else {
        panic!("{text}")
    };
    let item = Item::from_json(item.as_bytes()).unwrap();
    assert_eq!(record.item.digest, ContentDigest::of_item(&item));
    assert_eq!(record.verdict, Action::Block);
    assert_eq!(record.policy, Policy::built_in().digest());
    assert_eq!(record.rules[0].labels, ["spam".into()]);
    assert_eq!(record.asked.len(), 2, "both that read text");
    for asked in &record.asked {
        assert_eq!(
            judgement["lineup"][asked.detector.as_str()],
            asked.revision.to_string()
        );
    }
    let signal = &record.signals[0];
    let score = judgement["signals"][0]["score"].as_f64().unwrap();
    assert_eq!(score as f32, signal.score);
    assert_eq!(judgement["signals"][0]["calibrator"], signal.calibrator);
    assert!(
        signal.evidence.len()
            == judgement["signals"][0]["evidence"]
                .as_array()
                .unwrap()
                .len()
    );
    assert_eq!(record.unjudged[0].part, 1);
}

/// Judges what the records hold on `host`; the replay, and what did not come to be judged.
async fn replayed(folder: &Path, host: &Host) -> Replay {
    let mut replay = Replay::new("salt");
    for mut record in records(folder) {
        let content = record.content.take().expect("it was asked for");
        let id = record.item.id.as_ref().unwrap().shown().to_owned();
        let digest = record.item.digest;
        let claim = replay.add(record).unwrap();
        let item = content.into_item(id).unwrap();
        assert_eq!(ContentDigest::of_item(&item), digest);
        let judgement = host.check(&Arc::new(item)).await.unwrap();
        replay.compare(&claim, &judgement);
    }
    replay
}

#[tokio::test]
async fn the_same_lineup_flips_nothing_and_another_policy_or_calibrator_does() {
    let folder = tempfile::tempdir().unwrap();
    let host = Host::builder().bundled_detectors().build().unwrap();
    let settings = RecordSettings {
        content: true,
        ..RecordSettings::default()
    };
    let writer = Recorder::start(folder.path(), Origin::of(&host), settings).unwrap();
    for (id, text) in [
        (
            "spam",
            "WINNER! Claim your free prize now, call 09061701461",
        ),
        ("ham", "see you at seven"),
        ("also ham", "the meeting is on tuesday, bring the slides"),
    ] {
        let item = Arc::new(Item::from_text(id, text));
        let judgement = host.check(&item).await.unwrap();
        writer.offer(&item, &judgement);
    }
    drop(writer);

    let same = replayed(folder.path(), &host).await;
    assert_eq!((same.n_records(), same.n_flips()), (3, 0));
    assert_eq!(same.comparison().labels().count(), 0);
    assert_eq!(same.with_fate(Fate::Compared).count(), 3);

    let milder = "[[rule]]\nname = 'spam'\nwhen = { label = 'spam', threshold = 0.5 }\naction = 'tag'\nreason = 'spam'\n";
    host.give_policy("milder.toml", milder).await.unwrap();
    let milder = replayed(folder.path(), &host).await;
    let all = milder.comparison().all();
    assert_eq!((milder.n_flips(), all.n_milder()), (1, 1));
    assert_eq!(all.count(Action::Block, Action::Tag), 1);
    let examples = milder.comparison().examples(Action::Block, Action::Tag);
    assert_eq!(examples.collect::<Vec<_>>(), ["spam"]);
    let labels: Vec<_> = milder
        .comparison()
        .labels()
        .map(|(label, _)| label.clone())
        .collect();
    assert_eq!(labels, ["spam".into()]);

    let plugin = alarmed_spam_text();
    let alarmed = Host::builder().detector(plugin.path()).build().unwrap();
    let alarmed = replayed(folder.path(), &alarmed).await;
    let all = alarmed.comparison().all();
    assert_eq!((alarmed.n_flips(), all.n_stricter()), (2, 2));
    assert_eq!(all.count(Action::Allow, Action::Block), 2);
}

/// The bundled `spam-text` with a calibrator for which everything is spam.
fn alarmed_spam_text() -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    let bundled = trommel::registry::bundled::DETECTORS.iter();
    let (_, files) = bundled
        .clone()
        .find(|(name, _)| *name == "spam-text")
        .unwrap();
    for (name, bytes) in *files {
        fs::write(folder.path().join(name), bytes).unwrap();
    }
    let calibrator =
        "[[calibrator]]\nlabel = \"spam\"\nkind = \"logistic\"\nslope = 0.001\nintercept = 9.0\n";
    fs::write(folder.path().join("calibrator.toml"), calibrator).unwrap();
    folder
}

#[test]
fn every_setting_of_the_record_is_in_the_docs() {
    let docs = fs::read_to_string(workspace().join("docs/record.md")).unwrap();
    let code = fs::read_to_string(workspace().join("host/src/cli/recording.rs")).unwrap();
    let section = code.split_once("struct RecordConfiguration {").unwrap().1;
    let section = section.split_once("\n}").unwrap().0;
    let fields = section
        .lines()
        .filter_map(|line| line.trim().split_once(": "));
    let fields = fields.map(|(field, _)| field.trim_start_matches("pub(super) "));
    let keys: Vec<String> = fields
        .filter(|field| !field.starts_with('/'))
        .map(|field| field.replace('_', "-"))
        .collect();
    assert!(keys.len() > 10, "{keys:?}");
    for key in keys {
        assert!(
            docs.contains(&format!("`{key}`")),
            "{key} is not in docs/record.md"
        );
    }
}
