//! The hostile suite: what a plugin, a package or a component may try. Each test
//! says what comes of it, who is to blame, and that the next item is judged
//! normally; of what is refused at load, that other detectors still load.
//!
//! `docs/security.md` lists them all.

mod by_hand;
mod guests;
mod manifest;
mod prepare;
mod refused;
mod slow;
mod slow_tokenizers;
mod tokenizers;

use std::collections::BTreeSet;
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

/// What a guest imports that makes tensors or runs models.
const TENSORS: [&str; 4] = ["content", "log", "results", "tensors"];

fn host(guest: &str, imports: &[&str]) -> Host {
    host_of(&PluginFolder::of_guest(guest, imports))
}

fn host_of(folder: &PluginFolder) -> Host {
    let builder = Host::builder().detector(folder.path());
    builder.build().expect("the guest loads")
}

async fn check(host: &Host, text: &str) -> Judgement {
    check_item(host, Item::from_text("item", text)).await
}

async fn check_item(host: &Host, item: Item) -> Judgement {
    host.check(&Arc::new(item)).await.expect("a small item")
}

/// Asserts that the only detector failed by its own fault and said `reason`, that
/// nothing of its call was kept, and that the item got its verdict.
fn assert_degraded(judgement: &Judgement, reason: &str) {
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
    assert!(degraded.reason.len() < 2000, "no guest fills a verdict");
}

/// Asserts that an item was judged as if nothing had been.
fn assert_judged_normally(judgement: &Judgement) {
    assert_eq!(judgement.degraded, []);
    assert_eq!(judgement.signals.len(), 1);
    assert_eq!(judgement.signals[0].score, 1.0);
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
    let suite = workspace().join("tests/suite");
    let files = [
        "../hostile_items.rs",
        "hostile/mod.rs",
        "hostile/guests.rs",
        "hostile/by_hand.rs",
        "hostile/prepare.rs",
        "hostile/refused.rs",
        "hostile/slow_tokenizers.rs",
        "hostile/tokenizers.rs",
        "limits.rs",
        "loading.rs",
    ];
    let read = |file: &str| std::fs::read_to_string(suite.join(file)).expect("the suite is there");
    let tests: String = files.map(read).concat();
    for folder in ["guests", "by_hand"] {
        let folder = workspace().join("guest-models/misbehaving").join(folder);
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
}

/// The names of the tests in a source file.
pub(crate) fn tests_in(file: &str) -> BTreeSet<String> {
    let text = std::fs::read_to_string(workspace().join(file)).expect("a source");
    let after = |marker: &str| {
        let functions = text.split(marker).skip(1);
        let names = functions.filter_map(|rest| {
            let (_, name) = rest.split_once("fn ")?;
            Some(name.split('(').next()?.to_owned())
        });
        names.collect::<Vec<_>>()
    };
    let tests = [after("#[test]\n"), after("#[tokio::test]\n")];
    tests.into_iter().flatten().collect()
}

#[test]
fn the_security_page_lists_the_tests_that_there_are() {
    let page = workspace().join("docs/security.md");
    let page = std::fs::read_to_string(page).expect("the security page");
    let (_, table) = page
        .split_once("| a plugin | what happens | blame | test |\n|---|---|---|---|\n")
        .expect("the page has the table");
    let rows = table.lines().take_while(|line| line.starts_with('|'));
    let listed: BTreeSet<String> = rows
        .map(|row| {
            row.rsplit('|')
                .nth(1)
                .expect("a column")
                .trim()
                .replace('`', "")
        })
        .collect();
    let hostile = |module: &str| tests_in(&format!("tests/suite/hostile/{module}.rs"));
    let mut tests = tests_in("tests/compiling.rs");
    for module in [
        "mod",
        "guests",
        "by_hand",
        "refused",
        "manifest",
        "slow",
        "slow_tokenizers",
        "tokenizers",
        "prepare",
    ] {
        tests.extend(hostile(module));
    }
    tests.retain(|test| {
        !test.starts_with("every_misbehaving_guest") && !test.starts_with("the_security_page")
    });
    let missing: Vec<_> = tests.difference(&listed).collect();
    let gone: Vec<_> = listed.difference(&tests).collect();
    assert!(
        missing.is_empty() && gone.is_empty(),
        "docs/security.md lacks {missing:?}, and lists {gone:?}, which are no tests"
    );
}
