//! What a host keeps of a rollout in its state folder, and what comes back.

use std::path::Path;

use trommel::Host;
use trommel::policy::Action;
use trommel::revision::RevisionId;
use trommel::rollout::Verb;

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
