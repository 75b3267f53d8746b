//! A host that is rolled out on: what its callers see, and what it keeps.

use std::sync::Arc;

use trommel::item::Item;
use trommel::pipeline::{CheckError, CheckOptions, RolloutStatus, StepError};
use trommel::policy::{Action, Policy};
use trommel::revision::RevisionId;
use trommel::rollout::guard::GuardSettings;
use trommel::rollout::journal::Event;
use trommel::rollout::{Effect, Lineup, Share, Verb};
use trommel::signal::DetectorId;
use trommel::{Host, HostBuilder, Judgement};
use trommel_tests::guests;
use trommel_tests::plugin::PluginFolder;

const IMPORTS: [&str; 3] = ["content", "log", "results"];

/// A plugin called `watched` that is made of the guest `guest`; another `note` makes
/// another revision.
pub(super) fn plugin(guest: &str, note: &str) -> PluginFolder {
    let folder = PluginFolder::of("watched", guests::component(guest), &IMPORTS);
    folder.edit("for tests", note);
    folder
}

pub(super) fn host(folder: &PluginFolder) -> HostBuilder {
    Host::builder().detector(folder.path())
}

pub(super) fn id() -> DetectorId {
    "watched".into()
}

fn share(fraction: f64) -> Share {
    Share::from_fraction(fraction).unwrap()
}

pub(super) fn item(id: usize, text: &str) -> Arc<Item> {
    Arc::new(Item::from_text(format!("item {id}"), text))
}

pub(super) async fn check(host: &Host, n: usize, text: &str) -> Judgement {
    host.check(&item(n, text)).await.unwrap()
}

pub(super) fn answering(judgement: &Judgement) -> RevisionId {
    judgement.lineup.0[&id()]
}

pub(super) async fn load(host: &Host, folder: &PluginFolder) -> RevisionId {
    let loaded = host.load(folder.path().to_owned()).await;
    loaded.unwrap_or_else(|error| panic!("{error}")).revision
}

pub(super) async fn step(host: &Host, verb: Verb) {
    let taken = host.step(verb).await;
    taken.unwrap_or_else(|error| panic!("{error}"));
}

pub(super) fn promote(revision: RevisionId) -> Verb {
    Verb::Promote {
        detector: id(),
        revision,
        control: Share::NONE,
    }
}

pub(super) fn canary(revision: RevisionId, fraction: f64) -> Verb {
    Verb::Canary {
        detector: id(),
        revision,
        share: share(fraction),
    }
}

fn shadow(revision: RevisionId) -> Verb {
    Verb::Shadow {
        detector: id(),
        revision,
    }
}

pub(super) fn is_out(status: &RolloutStatus, revision: RevisionId) -> bool {
    let revisions = status.detectors[0].revisions.iter();
    revisions
        .filter(|status| status.revision == revision)
        .any(|status| status.taken_out)
}

fn taken_out(host: &Host) -> Vec<(RevisionId, Effect, String)> {
    let entries = host.status().recent.into_iter();
    entries
        .filter_map(|entry| match entry.event {
            Event::TakenOut {
                revision,
                effect,
                breach,
                ..
            } => Some((revision, effect, breach.bound.name().to_owned())),
            _ => None,
        })
        .collect()
}

#[tokio::test]
async fn a_promoted_revision_answers_and_a_rolled_back_one_no_more() {
    let (old, new) = (plugin("noop", "old"), plugin("noop", "new"));
    let host = host(&old).build().unwrap();
    let first = check(&host, 1, "hello").await;
    assert_eq!(first.generation, 1);
    let new = load(&host, &new).await;
    assert_ne!(answering(&first), new);
    assert_eq!(
        answering(&check(&host, 1, "hello").await),
        answering(&first)
    );
    step(&host, promote(new)).await;
    let second = check(&host, 1, "hello").await;
    assert_eq!((answering(&second), second.generation), (new, 3));
    step(&host, Verb::Rollback { detector: id() }).await;
    let third = check(&host, 1, "hello").await;
    assert_eq!(
        (answering(&third), third.generation),
        (answering(&first), 4)
    );
}

#[tokio::test]
async fn a_canary_answers_for_its_share_of_keys_and_a_pin_for_whoever_names_it() {
    let (old, new) = (plugin("noop", "old"), plugin("noop", "new"));
    let host = host(&old).build().unwrap();
    let live = answering(&check(&host, 1, "hello").await);
    let new = load(&host, &new).await;
    step(&host, canary(new, 0.25)).await;
    let mut n_new = 0;
    for n in 0..400 {
        let revision = answering(&check(&host, n, "hello").await);
        assert_eq!(
            revision,
            answering(&check(&host, n, "again").await),
            "key {n} moves"
        );
        n_new += usize::from(revision == new);
    }
    assert!((60..=140).contains(&n_new), "{n_new} of 400 at a quarter");
    for pinned in [live, new] {
        let options = CheckOptions {
            pins: vec![(id(), pinned)],
            ..CheckOptions::default()
        };
        for n in 0..10 {
            let judgement = host.check_with(&item(n, "hello"), &options).await.unwrap();
            assert_eq!(answering(&judgement), pinned);
        }
    }
    let by_key = CheckOptions {
        key: Some("one user".to_owned()),
        ..CheckOptions::default()
    };
    let first = host.check_with(&item(0, "hello"), &by_key).await.unwrap();
    for n in 1..20 {
        let judgement = host.check_with(&item(n, "hello"), &by_key).await.unwrap();
        assert_eq!(answering(&judgement), answering(&first));
    }
    let unknown = CheckOptions {
        pins: vec![(id(), RevisionId::new([7; 32]))],
        ..CheckOptions::default()
    };
    let refused = host
        .check_with(&item(0, "hello"), &unknown)
        .await
        .unwrap_err();
    assert!(matches!(refused, CheckError::Pin { .. }), "{refused}");
}

#[tokio::test]
async fn a_canary_that_traps_is_aborted_and_no_caller_sees_it() {
    let (old, new) = (plugin("noop", "old"), plugin("traps", "new"));
    const NOTHING: &str = "[[rule]]\nname = \"never\"\nwhen = { attribute = \"never\", present = true }\n\
                           action = \"tag\"\nreason = \"never\"\n";
    let policy = Policy::parse("p.toml", NOTHING).unwrap();
    // Its verdicts and scores would give it away sooner.
    let settings = GuardSettings {
        score_psi: 100.0,
        ..GuardSettings::default()
    };
    let host = host(&old).policy(policy).guard(settings);
    let host = host.build().unwrap();
    let new = load(&host, &new).await;
    step(&host, canary(new, 0.5)).await;
    for n in 0..4_000 {
        let text = if n % 10 == 0 { "misbehave" } else { "hello" };
        let judgement = check(&host, n, text).await;
        assert!(judgement.degraded.is_empty(), "{judgement:?}");
        if n % 10 == 0 {
            assert_ne!(answering(&judgement), new);
        }
        if is_out(&host.status(), new) {
            break;
        }
    }
    assert_eq!(
        taken_out(&host),
        [(new, Effect::Aborted, "faults".to_owned())]
    );
    for n in 0..50 {
        assert_ne!(answering(&check(&host, n, "hello").await), new);
    }
    // It stays out until its own part of the lineup changes.
    step(&host, canary(new, 0.25)).await;
    assert!(!is_out(&host.status(), new));
}

#[tokio::test]
async fn a_fresh_live_revision_that_traps_is_rolled_back() {
    let (old, new) = (plugin("noop", "old"), plugin("traps", "new"));
    let host = host(&old).build().unwrap();
    for n in 0..200 {
        check(&host, n, "hello").await;
    }
    let live = answering(&check(&host, 0, "hello").await);
    let new = load(&host, &new).await;
    step(&host, promote(new)).await;
    for n in 0..2_000 {
        check(&host, n, if n % 5 == 0 { "misbehave" } else { "hello" }).await;
        if is_out(&host.status(), new) {
            break;
        }
    }
    assert_eq!(taken_out(&host)[0].1, Effect::RolledBack { to: live });
    assert_eq!(answering(&check(&host, 0, "misbehave").await), live);
}

#[tokio::test]
async fn a_revision_that_always_fails_is_left_alone_and_the_item_says_so() {
    let only = plugin("traps", "only");
    let host = host(&only).build().unwrap();
    let mut alone = None;
    for n in 0..40 {
        let judgement = check(&host, n, "misbehave").await;
        let reason = &judgement.degraded[0].reason;
        if reason.contains("left alone") {
            alone = Some(n);
            break;
        }
        assert!(reason.contains("trapped"), "{reason}");
    }
    assert!(alone.is_some_and(|n| n >= 10), "{alone:?}");
    let status = &host.status().detectors[0].revisions[0];
    assert!(status.left_alone);
}

#[tokio::test]
async fn a_shadow_is_compared_and_changes_no_answer() {
    const POLICY: &str = "[[rule]]\nname = \"spam\"\nwhen = { label = \"spam\", threshold = 0.7 }\n\
                          action = \"block\"\nreason = \"spam\"\n";
    let (old, new) = (plugin("noop", "old"), plugin("traps", "new"));
    let policy = Policy::parse("p.toml", POLICY).unwrap();
    let host = host(&old).policy(policy).build().unwrap();
    let new = load(&host, &new).await;
    step(&host, shadow(new)).await;
    for n in 0..20 {
        let text = if n == 7 { "misbehave" } else { "hello" };
        let judgement = check(&host, n, text).await;
        assert_eq!(judgement.verdict.action, Action::Allow);
        assert_ne!(answering(&judgement), new);
    }
    let status = shadowed(&host, 20).await;
    let shadow = status.detectors[0].revisions[1].shadow.clone().unwrap();
    // The guest scores 1, which the calibrator makes 0.73: a block for whom it answers.
    assert_eq!(
        (shadow.n_items, shadow.n_stricter, shadow.n_failed),
        (20, 19, 1)
    );
    assert_eq!(
        (shadow.flips[0].given, shadow.flips[0].shadow),
        (Action::Allow, Action::Block)
    );
    assert_eq!(shadow.flips[0].examples.len(), 3);
    assert_eq!(shadow.labels, [("spam".to_owned(), 19)]);
    assert!(shadow.last_failure.unwrap().contains("trapped"));
}

/// The status once shadows have judged, or shed, this many items.
async fn shadowed(host: &Host, n_items: u64) -> RolloutStatus {
    for _ in 0..1_000 {
        let status = host.status();
        if status.n_shadowed + status.n_shed == n_items {
            return status;
        }
        tokio::time::sleep(std::time::Duration::from_millis(10)).await;
    }
    panic!("shadows judge too slowly: {:?}", host.status());
}

#[tokio::test]
async fn a_policy_is_compared_in_the_shadow_of_the_other() {
    const STRICT: &str = "[[rule]]\nname = \"all\"\nwhen = { attribute = \"never\", present = false }\n\
                          action = \"limit\"\nreason = \"all\"\n";
    let host = host(&plugin("noop", "old")).build().unwrap();
    host.shadow_policy("strict.toml", Some(STRICT))
        .await
        .unwrap();
    for n in 0..10 {
        let judgement = check(&host, n, "hello").await;
        assert_eq!(judgement.verdict.action, Action::Allow);
    }
    let status = shadowed(&host, 10).await;
    assert_eq!(status.policy_shadow.unwrap().n_stricter, 10);
    host.shadow_policy("", None).await.unwrap();
    assert_eq!(host.status().policy_shadow, None);
}

#[tokio::test]
async fn a_lineup_that_is_given_is_taken_whole_or_refused() {
    let (old, new) = (plugin("noop", "old"), plugin("noop", "new"));
    let host = host(&old).build().unwrap();
    let new = load(&host, &new).await;
    let text = host.lineup().text();
    let parse = |text: &str| Lineup::parse("given", text).unwrap();
    let unknown = text
        .replace("generation = 2", "generation = 9")
        .replace(&new.to_string(), &RevisionId::new([7; 32]).to_string());
    let refused = host
        .give_lineup(parse(&unknown), "a test")
        .await
        .unwrap_err();
    assert!(matches!(refused, StepError::NotLoaded { .. }), "{refused}");
    let stale = host.give_lineup(parse(&text), "a test").await.unwrap_err();
    assert!(stale.to_string().contains("not newer"), "{stale}");
    let next = text
        .replace("generation = 2", "generation = 9")
        .replace("\"loaded\"", "\"canary\"\nshare = 0.5");
    host.give_lineup(parse(&next), "a test").await.unwrap();
    let mut n_new = 0;
    for n in 0..100 {
        let judgement = check(&host, n, "hello").await;
        assert_eq!(judgement.generation, 9);
        n_new += usize::from(answering(&judgement) == new);
    }
    assert!((25..=75).contains(&n_new), "{n_new}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn promotions_back_and_forth_lose_no_item_and_leave_nothing_behind() {
    let (old, new) = (plugin("noop", "old"), plugin("noop", "new"));
    let host = Arc::new(host(&old).build().unwrap());
    let first = answering(&check(&host, 0, "hello").await);
    let second = load(&host, &new).await;
    let bytes = || -> u64 {
        host.detectors()
            .iter()
            .map(|live| live.account().bytes())
            .sum()
    };
    let before = bytes();
    let caller = {
        let host = host.clone();
        tokio::spawn(async move {
            let mut revisions = Vec::new();
            for n in 0..500 {
                let judgement = check(&host, n, "hello").await;
                assert!(judgement.degraded.is_empty(), "{judgement:?}");
                revisions.push((judgement.generation, answering(&judgement)));
            }
            revisions
        })
    };
    for n in 0..60 {
        step(&host, promote(if n % 2 == 0 { second } else { first })).await;
    }
    for (generation, revision) in caller.await.unwrap() {
        let expected = if generation % 2 == 0 { first } else { second };
        assert_eq!(revision, expected, "generation {generation}");
    }
    assert_eq!(bytes(), before);
}

#[tokio::test]
async fn a_guard_that_cannot_be_meant_is_refused_at_once() {
    let settings = GuardSettings {
        fault_rate: 0.0,
        ..GuardSettings::default()
    };
    let refused = host(&plugin("noop", "old")).guard(settings).build();
    assert!(refused.unwrap_err().to_string().contains("fault_rate"));
}
