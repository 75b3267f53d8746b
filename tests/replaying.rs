//! `trommel replay` as a user drives it: verdicts that a server recorded, judged again.

#![expect(
    clippy::unwrap_used,
    reason = "a test that unwraps in vain has failed, as it should"
)]

use std::collections::BTreeMap;
use std::fs;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::sync::{Arc, LazyLock};

use trommel::item::Item;
use trommel::record::{Origin, RecordSettings, Recorder};
use trommel::registry::{CompileCache, Package, bundled};
use trommel::{Host, engine::Limits};
use trommel_tests::workspace;

use super::serving::Served;
use super::{Ran, cache, trommel};

const ITEMS: [(&str, &str); 4] = [
    (
        "spam",
        "WINNER! Claim your free prize now, call 09061701461",
    ),
    ("ham", "see you at seven"),
    ("changed", "the meeting is on tuesday"),
    ("gone", "bring the slides"),
];

/// Judges what is recorded: one for all tests, since others run beside them that must be
/// in time.
static HOST: LazyLock<Host> = LazyLock::new(|| {
    let host = Host::builder().package(bundled("spam-text"));
    let components = CompileCache::at(&cache().join("trommel/components"));
    host.compile_cache(components).build().unwrap()
});

/// Records of the bundled `spam-text`, and the files of a replay.
struct Scene {
    folder: tempfile::TempDir,
}

impl Scene {
    fn new(settings: RecordSettings) -> Self {
        let scene = Self {
            folder: tempfile::tempdir().unwrap(),
        };
        scene.record(settings);
        let lines = ITEMS.map(|(id, text)| line(id, text));
        scene.write("items.jsonl", &lines.concat());
        scene.lineup("lineup.toml", &revision_of(&bundled("spam-text")));
        scene
    }

    fn record(&self, settings: RecordSettings) {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_time()
            .build();
        let folder = self.folder.path().join("records");
        let recorder = Recorder::start(&folder, Origin::of(&HOST), settings).unwrap();
        runtime.unwrap().block_on(async {
            for (id, text) in ITEMS {
                let item = Arc::new(Item::from_json(line(id, text).as_bytes()).unwrap());
                recorder.offer(&item, &HOST.check(&item).await.unwrap());
            }
        });
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn write(&self, name: &str, text: &str) {
        fs::write(self.path(name), text).unwrap();
    }

    fn lineup(&self, name: &str, revision: &str) {
        let text = format!(
            "generation = 3\nsalt = \"s\"\n\n[[detector]]\nid = \"spam-text\"\n\n\
             [[detector.revision]]\nrevision = \"{revision}\"\nstage = \"live\"\n"
        );
        self.write(name, &text);
    }

    /// The command with names of files of the scene put into place.
    fn replay(&self, arguments: &str) -> Ran {
        let path = |word: &str| match word.strip_prefix('@') {
            Some(name) => self.path(name).display().to_string(),
            None => word.to_owned(),
        };
        let words: Vec<String> = arguments.split_whitespace().map(path).collect();
        let words: Vec<&str> = words.iter().map(String::as_str).collect();
        let common = ["replay", "--device", "cpu"];
        trommel(&[&common[..], &words].concat(), "")
    }
}

fn line(id: &str, text: &str) -> String {
    format!("{{\"id\":\"{id}\",\"text\":\"{text}\",\"attributes\":{{\"age\":0.1}}}}\n")
}

fn bundled(name: &str) -> Package {
    let packages = bundled::packages(&Limits::MAX).unwrap();
    let mut packages = packages.into_iter();
    packages
        .find(|package| package.manifest.id.as_str() == name)
        .unwrap()
}

fn revision_of(package: &Package) -> String {
    package.revision(&BTreeMap::new()).to_string()
}

/// The bundled `spam-text` with a calibrator for which everything is spam.
fn alarmed(folder: &Path) -> String {
    let (_, files) = bundled::DETECTORS[0];
    fs::create_dir(folder).unwrap();
    for (name, bytes) in files {
        fs::write(folder.join(name), bytes).unwrap();
    }
    let calibrator =
        "[[calibrator]]\nlabel = \"spam\"\nkind = \"logistic\"\nslope = 0.001\nintercept = 9.0\n";
    fs::write(folder.join("calibrator.toml"), calibrator).unwrap();
    let package = Package::read(folder, &Limits::MAX, 32 << 20).unwrap();
    revision_of(&package)
}

/// The numbers behind these words; they are there.
fn counts<const N: usize>(ran: &Ran, words: [&str; N]) -> [u64; N] {
    words.map(|words| {
        let mut numbers = ran.out.lines().filter_map(|line| line.strip_prefix(words));
        let number = numbers.find_map(|number| number.trim().parse().ok());
        number.unwrap_or_else(|| panic!("no count of `{words}`: {}", ran.out))
    })
}

#[test]
fn a_replay_on_the_same_lineup_changes_nothing() {
    let scene = Scene::new(RecordSettings::default());
    let ran = scene.replay("@records --items @items.jsonl --lineup @lineup.toml --fail-on-flip");
    assert_eq!(ran.code, 0, "{}", ran.err);
    assert_eq!(
        counts(&ran, ["records", "judged again", "verdicts that change"]),
        [4, 4, 0]
    );
    assert_eq!(ran.err, "");
}

#[test]
fn another_policy_or_revision_shows_its_flips_with_examples_and_labels() {
    let scene = Scene::new(RecordSettings {
        content: true,
        ..RecordSettings::default()
    });
    scene.write(
        "policy.toml",
        "[[rule]]\nname = 'spam'\nwhen = { label = 'spam', threshold = 0.5 }\naction = 'tag'\nreason = 'spam'\n",
    );
    let arguments = "@records --stored --lineup @lineup.toml --policy @policy.toml --fail-on-flip";
    let ran = scene.replay(arguments);
    assert_eq!(ran.code, 1, "{}", ran.err);
    for expected in [
        "\n  to a milder one             1\n",
        "block    tag              1  spam\n",
        "spam                                  1          0          1",
    ] {
        assert!(ran.out.contains(expected), "{expected}\n{}", ran.out);
    }

    let revision = alarmed(&scene.path("alarmed"));
    scene.lineup("next.toml", &revision);
    let missing = scene.replay("@records --stored --lineup @next.toml");
    assert_eq!(missing.code, 2, "{}", missing.out);
    let named = format!("`spam-text` is live as {revision}, and no package is that revision");
    assert!(missing.err.contains(&named), "{}", missing.err);
    let arguments = "@records --stored --lineup @next.toml --detector @alarmed";
    let table = scene.replay(arguments);
    let docs = fs::read_to_string(workspace().join("docs/record.md")).unwrap();
    assert!(
        docs.contains(&table.out),
        "docs/record.md shows: {}",
        table.out
    );
    let ran = scene.replay(&format!("{arguments} --format jsonl"));
    assert_eq!(ran.code, 0, "{}", ran.err);
    let objects = ran.objects();
    let flips = &objects[..objects.len() - 1];
    let ids: Vec<_> = flips
        .iter()
        .map(|flip| flip["id"].as_str().unwrap())
        .collect();
    assert_eq!(ids, ["ham", "changed", "gone"]);
    assert_eq!(
        (&flips[0]["given"], &flips[0]["now"]),
        (&"allow".into(), &"block".into())
    );
    let summary = &objects.last().unwrap()["summary"];
    assert_eq!(
        (&summary["compared"], &summary["stricter"]),
        (&4.into(), &3.into())
    );
}

#[test]
fn what_cannot_be_judged_again_is_counted_and_named() {
    let scene = Scene::new(RecordSettings::default());
    let [spam, ham, ..] = ITEMS.map(|(id, text)| line(id, text));
    let items = [
        &spam,
        &ham,
        &line("changed", "not what it was"),
        "no item\n",
        &line("new", "a"),
    ];
    scene.write("items.txt", &items.map(String::from).concat());
    // What a crash leaves, and a line of somebody else's.
    let file = scene.path("records/records-00000001.jsonl");
    let whole = fs::read(&file).unwrap();
    let mut records = fs::File::options().append(true).open(&file).unwrap();
    records.write_all(b"theirs\n").unwrap();
    records.write_all(&whole[..100]).unwrap();
    let ran = scene.replay("@records --items @items.txt --lineup @lineup.toml");
    assert_eq!(ran.code, 3, "{}", ran.err);
    let words = [
        "judged again",
        "missing",
        "with other content",
        "lines of no record",
    ];
    assert_eq!(counts(&ran, words), [2, 1, 1, 2]);
    for named in [
        "records-00000001.jsonl:5: is damaged, or is no record",
        "records-00000001.jsonl:6: is cut short",
        "items.txt:4: not an item",
        "missing: gone\n",
        "with other content: changed\n",
    ] {
        assert!(ran.err.contains(named), "{named}\n{}", ran.err);
    }
    let stored = scene.replay("@records --stored --lineup @lineup.toml");
    assert_eq!(stored.code, 3);
    assert_eq!(counts(&stored, ["judged again", "without content"]), [0, 4]);
}

#[test]
fn a_replay_that_cannot_begin_says_why() {
    let scene = Scene::new(RecordSettings::default());
    fs::create_dir(scene.path("empty")).unwrap();
    scene.write("theirs.jsonl", "theirs\n");
    scene.write("nobody.toml", "generation = 1\nsalt = \"s\"\n");
    let lineup = fs::read_to_string(scene.path("lineup.toml")).unwrap();
    let policy = format!("policy = \"sha256:{}\"\n\n[[", "ab".repeat(32));
    scene.write("policed.toml", &lineup.replacen("[[", &policy, 1));
    for (arguments, why) in [
        ("@records --lineup @lineup.toml", "--items <FILE>"),
        (
            "@records --stored --items @items.jsonl --lineup @lineup.toml",
            "cannot be used with",
        ),
        ("@empty --stored --lineup @lineup.toml", "holds no records"),
        ("@nowhere --stored --lineup @lineup.toml", "No such file"),
        (
            "@records --items @nowhere --lineup @lineup.toml",
            "cannot be opened",
        ),
        (
            "@theirs.jsonl --stored --lineup @lineup.toml",
            "nothing to replay",
        ),
        (
            "@records --stored --lineup @nobody.toml",
            "no detector is live",
        ),
        (
            "@records --stored --lineup @policed.toml",
            "give its file with --policy",
        ),
    ] {
        let ran = scene.replay(arguments);
        assert_eq!(ran.code, 2, "{arguments}: {}", ran.out);
        assert!(ran.err.contains(why), "{why}: {}", ran.err);
    }
}

#[cfg(unix)]
#[test]
fn a_server_that_is_told_to_record_leaves_what_a_replay_reads() {
    let scene = Scene::new(RecordSettings::default());
    let config = "[record]\nfolder = \"served\"\ncontent = true\nids = \"hash\"\nsample = 1\n";
    scene.write("config.toml", config);
    let config = scene.path("config.toml");
    let served = Served::start(&["--config", config.to_str().unwrap()]);
    let (id, text) = ITEMS[0];
    let answer = served.check(&line(id, text));
    assert!(answer.contains(r#""verdict":"block""#), "{answer}");
    assert!(served.end());
    for source in ["--stored", "--items @items.jsonl"] {
        let ran = scene.replay(&format!("@served {source} --lineup @lineup.toml"));
        assert_eq!(ran.code, 0, "{}", ran.err);
        assert_eq!(
            counts(&ran, ["records", "judged again", "verdicts that change"]),
            [1, 1, 0]
        );
        assert!(!ran.out.contains("spam\n"), "{}", ran.out);
    }
}
