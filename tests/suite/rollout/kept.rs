//! What a host keeps of a rollout in its state folder, and what comes back.

use std::path::Path;

use trommel::Host;
use trommel::pipeline::StepError;
use trommel::policy::Action;
use trommel::registry::{SettingValue, Settings};
use trommel::revision::RevisionId;
use trommel::rollout::Verb;
use trommel::signal::DetectorId;
use trommel_tests::plugin::{PluginFolder, Work};

use super::host::{answering, canary, check, host, id, is_out, load, plugin, promote, step};

#[tokio::test]
async fn what_does_not_load_changes_nothing_and_leaves_nothing() {
    let state = tempfile::tempdir().unwrap();
    let old = plugin("noop", "old");
    let host = host(&old).state(state.path()).build().unwrap();
    let before = host.lineup();
    let broken = plugin("noop", "broken");
    broken.write("watched.wasm", b"no component");
    let wrong = plugin("noop", "wrong");
    let manifest = std::fs::read_to_string(wrong.path().join("plugin.toml")).unwrap();
    let golden =
        "\n[[golden]]\nname = \"never\"\ntext = \"hello\"\nlabel = \"spam\"\nat-least = 0.5\n";
    wrong.write("plugin.toml", (manifest + golden).as_bytes());
    for (folder, why) in [
        (broken.path().to_owned(), "component"),
        (wrong.path().to_owned(), "golden case `never`"),
        (old.path().to_owned(), "is live already"),
        (Path::new("/nowhere").to_owned(), "nowhere"),
    ] {
        let refused = host.load(folder).await.unwrap_err().to_string();
        assert!(refused.contains(why), "{why}: {refused}");
        assert_eq!(host.lineup(), before);
    }
    let kept = std::fs::read_dir(state.path().join("packages")).unwrap();
    assert_eq!(kept.count(), 1);
}

#[tokio::test]
async fn a_rollout_goes_on_after_a_restart() {
    let state = tempfile::tempdir().unwrap();
    let (old, new, third) = (
        plugin("noop", "old"),
        plugin("traps", "new"),
        plugin("noop", "third"),
    );
    let begin = || host(&old).state(state.path()).build();
    let host = begin().unwrap();
    let live = answering(&check(&host, 0, "hello").await);
    let new = load(&host, &new).await;
    let third = load(&host, &third).await;
    step(&host, canary(new, 0.5)).await;
    for n in 0..4_000 {
        check(&host, n, if n % 4 == 0 { "misbehave" } else { "hello" }).await;
        if is_out(&host.status(), new) {
            break;
        }
    }
    assert!(is_out(&host.status(), new));
    let transitions = host.status().transitions;
    let count = |verb: &str, by: &str| {
        let mut counts = transitions.iter();
        let count = counts.find(|count| (count.verb.as_str(), count.by.as_str()) == (verb, by));
        count.map_or(0, |count| count.n)
    };
    let all = [
        count("load", "operator"),
        count("canary", "operator"),
        count("abort", "guard"),
        count("promote", "operator"),
    ];
    assert_eq!(all, [2, 1, 1, 0], "{transitions:?}");
    // A pin says nothing of the canary, neither now nor after a restart.
    let pin = Verb::Pin {
        detector: id(),
        revision: third,
        key: "tenant-7".to_owned(),
    };
    step(&host, pin).await;
    assert!(is_out(&host.status(), new));
    let lineup = host.lineup();
    drop(host);
    let held = wait_for(begin).await;
    assert_eq!(held.lineup(), lineup);
    assert!(
        is_out(&held.status(), new),
        "the guard's abort is remembered"
    );
    for n in 0..40 {
        assert_eq!(answering(&check(&held, n, "hello").await), live);
    }
    step(&held, promote(third)).await;
    step(
        &held,
        Verb::Abort {
            detector: id(),
            revision: new,
        },
    )
    .await;
    drop(held);
    let last = wait_for(begin).await;
    assert_eq!(answering(&check(&last, 0, "hello").await), third);
    let refused = begin().unwrap_err().to_string();
    assert!(refused.contains("another host uses"), "{refused}");
    // Who is retired is not kept.
    let kept = std::fs::read_dir(state.path().join("packages")).unwrap();
    assert_eq!(kept.count(), 2);
}

/// A host on a folder that another one may still be letting go.
async fn wait_for<E: std::fmt::Display>(begin: impl Fn() -> Result<Host, E>) -> Host {
    for _ in 0..100 {
        match begin() {
            Ok(host) => return host,
            Err(error) if error.to_string().contains("another host uses") => {}
            Err(error) => panic!("{error}"),
        }
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
    }
    panic!("the folder stays held");
}

#[tokio::test]
async fn a_package_that_was_changed_where_it_is_kept_is_refused() {
    let state = tempfile::tempdir().unwrap();
    let (old, new, other) = (
        plugin("noop", "old"),
        plugin("noop", "new"),
        plugin("noop", "other"),
    );
    let begin = || host(&old).state(state.path()).build();
    let host = begin().unwrap();
    let new = load(&host, &new).await;
    let other = load(&host, &other).await;
    step(&host, promote(new)).await;
    drop(host);
    drop(wait_for(begin).await);
    let file = |revision: RevisionId| {
        let name = revision.to_string().replace("sha256:", "");
        state.path().join("packages").join(format!("{name}.tar"))
    };
    std::fs::copy(file(other), file(new)).unwrap();
    let refused = begin().unwrap_err().to_string();
    assert!(refused.contains("what is kept under its name"), "{refused}");
    std::fs::remove_file(file(new)).unwrap();
    let refused = begin().unwrap_err().to_string();
    assert!(
        refused.contains("give a package of that revision"),
        "{refused}"
    );
}

#[tokio::test]
async fn a_policy_that_was_given_is_kept_and_a_wrong_one_changes_nothing() {
    const POLICY: &str = "[[rule]]\nname = \"all\"\nwhen = { attribute = \"never\", present = false }\n\
                          action = \"tag\"\nreason = \"all\"\n";
    let state = tempfile::tempdir().unwrap();
    let old = plugin("noop", "old");
    let begin = || host(&old).state(state.path()).build();
    let host = begin().unwrap();
    host.give_policy("policy", POLICY).await.unwrap();
    let before = host.lineup();
    let wrong = POLICY.replace(
        "attribute = \"never\", present = false",
        "label = \"spams\", threshold = 0.5",
    );
    let refused = host.give_policy("policy", &wrong).await.unwrap_err();
    assert!(refused.to_string().contains("policy:3"), "{refused}");
    assert_eq!(host.lineup(), before);
    drop(host);
    let host = wait_for(begin).await;
    assert_eq!(check(&host, 0, "hello").await.verdict.action, Action::Tag);
}

fn lift(by: &str) -> Settings {
    Settings::from([("lift".to_owned(), SettingValue::Text(by.to_owned()))])
}

#[tokio::test]
async fn a_revision_is_kept_with_the_settings_that_it_was_rolled_out_with() {
    let work = Work {
        rounds: 1,
        trap_percent: 0,
        lift: 0.0,
        description: "for tests",
    };
    let folder = PluginFolder::working("watched", &work);
    let state = tempfile::tempdir().unwrap();
    let begin = || host(&folder).state(state.path()).build();
    let host = begin().unwrap();
    let score = async |host: &Host| check(host, 0, "hello").await.signals[0].score;
    let plain = score(&host).await;
    let refused = async |settings: Settings| {
        let loading = host.load_with(folder.path().to_owned(), settings);
        let error = loading.await.unwrap_err();
        assert!(matches!(error, StepError::Package(_)), "{error}");
        error.to_string()
    };
    let why = refused(lift("high")).await;
    assert!(
        why.contains("setting `lift` is `high`; give a number"),
        "{why}"
    );
    let misspelt = Settings::from([("lifts".to_owned(), SettingValue::Integer(1))]);
    let why = refused(misspelt).await;
    assert!(
        why.contains("setting `lifts` is not declared; write one of"),
        "{why}"
    );
    // The default is no setting: it is the revision that is there.
    let same = host.load_with(folder.path().to_owned(), lift("0")).await;
    let same = same.unwrap_err().to_string();
    assert!(same.contains("is live already"), "{same}");

    let loading = host.load_with(folder.path().to_owned(), lift("2.5"));
    let loaded = loading.await.unwrap();
    assert_eq!(loaded.settings["lift"], "2.5");
    step(&host, promote(loaded.revision)).await;
    assert_eq!(score(&host).await, plain + 2.5);
    drop(host);
    let host = wait_for(begin).await;
    assert_eq!(score(&host).await, plain + 2.5);
    let status = host.status();
    let of = |revision| {
        let mut revisions = status.detectors[0].revisions.iter();
        let status = revisions.find(|status| status.revision == revision);
        status.unwrap().settings.clone()
    };
    assert_eq!(of(loaded.revision)["lift"], "2.5");
    let previous = status.detectors[0].previous.unwrap();
    assert!(of(previous).is_empty());
    drop(host);
    // What it was rolled out with is part of its name.
    let name = loaded.revision.to_string().replace("sha256:", "");
    let file = state.path().join("settings").join(format!("{name}.json"));
    std::fs::write(&file, r#"{"lift":"2.0"}"#).unwrap();
    let changed = wait_for_error(begin).await;
    assert!(changed.contains("what is kept under its name"), "{changed}");
    std::fs::remove_file(&file).unwrap();
    let gone = wait_for_error(begin).await;
    assert!(gone.contains("what is kept under its name"), "{gone}");
    std::fs::write(&file, r#"{"lift":"2.5"}"#).unwrap();
    let host = wait_for(begin).await;
    assert_eq!(score(&host).await, plain + 2.5);
    // Who is retired needs none any more.
    let id: DetectorId = id();
    step(&host, Verb::Rollback { detector: id }).await;
    assert_eq!(score(&host).await, plain);
    assert!(!file.exists());
}

/// Why a host does not begin on a folder that another one may still be letting go.
async fn wait_for_error<E: std::fmt::Display>(begin: impl Fn() -> Result<Host, E>) -> String {
    for _ in 0..100 {
        match begin() {
            Ok(_) => panic!("it begins"),
            Err(error) if error.to_string().contains("another host uses") => {}
            Err(error) => return error.to_string(),
        }
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
    }
    panic!("the folder stays held");
}
