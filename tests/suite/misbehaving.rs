//! One guest per bad habit: each is a `Guest` fault, and the next item is
//! judged normally by the same plugin.

use std::sync::Arc;
use std::time::Duration;

use trommel::engine::Blame;
use trommel::item::Item;
use trommel::policy::Action;
use trommel::{Host, Judgement};
use trommel_tests::plugin::PluginFolder;
use trommel_tests::workspace;

/// What every guest imports that only writes a signal and may panic.
const IMPORTS: [&str; 3] = ["content", "log", "results"];

fn host(guest: &str, imports: &[&str]) -> Host {
    let folder = PluginFolder::of_guest(guest, imports);
    Host::builder()
        .detector(folder.path())
        .build()
        .expect("the guest loads")
}

async fn check(host: &Host, text: &str) -> Judgement {
    let item = Arc::new(Item::from_text("item", text));
    host.check(&item).await.expect("a small text is an item")
}

/// Provokes the guest, asserts whose fault it was and that the item still got
/// its verdict, and then that the next item is judged as if nothing had been.
async fn assert_guest_fault(guest: &str, imports: &[&str], reason: &str) {
    let host = host(guest, imports);
    let judgement = check(&host, "please misbehave").await;
    assert_eq!(judgement.signals, [], "nothing of a failed call is kept");
    assert_eq!(
        judgement.verdict.action,
        Action::Review,
        "the built-in policy sends silence to a person"
    );
    let [degraded] = &judgement.degraded[..] else {
        panic!("not degraded: {judgement:?}");
    };
    assert_eq!(degraded.blame, Blame::Guest, "{}", degraded.reason);
    assert!(degraded.reason.contains(reason), "{}", degraded.reason);

    let next = check(&host, "be good").await;
    assert_eq!(next.degraded, []);
    assert_eq!(next.signals.len(), 1);
    assert_eq!(next.signals[0].score, 1.0);
}

#[tokio::test]
async fn a_guest_that_spins_is_stopped_at_its_deadline() {
    assert_guest_fault(
        "spins",
        &IMPORTS,
        "was still computing when its 200ms were up",
    )
    .await;
}

#[tokio::test]
async fn a_guest_that_traps_loses_its_findings_and_its_last_words_are_told() {
    assert_guest_fault("traps", &IMPORTS, "a detector's own mistake").await;
}

#[tokio::test]
async fn a_guest_that_hoards_memory_is_stopped_at_its_limit() {
    assert_guest_fault("hoards", &IMPORTS, "its limit is 8388608").await;
}

#[tokio::test]
async fn a_guest_that_says_nan_is_stopped() {
    assert_guest_fault("says-nan", &IMPORTS, "wrote score NaN for label `spam`").await;
}

#[tokio::test]
async fn a_guest_that_invents_labels_is_stopped() {
    assert_guest_fault(
        "invents-labels",
        &IMPORTS,
        "wrote label `treason`, which its manifest does not declare",
    )
    .await;
}

#[tokio::test]
async fn a_guest_that_lies_about_shapes_is_told_and_its_failure_is_its_own() {
    let imports = ["content", "log", "results", "tensors"];
    let reason = "input `ids` takes i64 [batch, features], i64 [1, 3, 1] was given";
    assert_guest_fault("lies-about-shapes", &imports, reason).await;
}

#[test]
fn on_one_thread_a_good_item_finishes_while_another_guest_spins() {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .build()
        .expect("a runtime");
    runtime.block_on(async {
        let folder = PluginFolder::of_guest("spins", &IMPORTS);
        folder.edit("deadline-ms = 200", "deadline-ms = 3000");
        let builder = Host::builder()
            .detector(folder.path())
            .deadline(Duration::from_secs(5));
        let host = Arc::new(builder.build().expect("the guest loads"));
        let spinner = tokio::spawn({
            let host = host.clone();
            async move { check(&host, "please misbehave").await }
        });
        // Let the spinner be polled first: it now spins on the only thread.
        tokio::task::yield_now().await;
        let good = check(&host, "be good").await;
        assert_eq!(good.signals.len(), 1);
        assert!(
            !spinner.is_finished(),
            "the good item waited for the spinner's deadline"
        );
        let bad = spinner.await.expect("the spinner is judged too");
        assert_eq!(bad.degraded[0].blame, Blame::Guest);
    });
}

#[test]
fn every_misbehaving_guest_has_a_test() {
    let folder = workspace().join("guest-models/misbehaving/guests");
    let suite = workspace().join("tests/suite");
    let read = |file: &str| std::fs::read_to_string(suite.join(file)).expect("the suite is there");
    let tests = read("misbehaving.rs") + &read("limits.rs") + &read("loading.rs");
    for file in std::fs::read_dir(folder).expect("the guests are there") {
        let name = file
            .expect("a file")
            .path()
            .file_stem()
            .expect("a name")
            .to_string_lossy()
            .replace('_', "-");
        assert!(
            tests.contains(&format!("\"{name}\"")),
            "guest `{name}` has no test; add one that says whose fault it is"
        );
    }
}
