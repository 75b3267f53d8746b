//! What `docs/rollout.md` shows is what the host reads.

use std::fs;

use trommel::rollout::guard::GuardSettings;
use trommel::rollout::{Arm, Lineup, LocalAborts};
use trommel_tests::workspace;

fn docs() -> String {
    fs::read_to_string(workspace().join("docs/rollout.md")).unwrap()
}

#[test]
fn the_lineup_in_the_docs_reads_and_answers() {
    let docs = docs();
    let (_, example) = docs.split_once("```toml\n").expect("an example");
    let (example, _) = example.split_once("```").expect("its end");
    let lineup = Lineup::parse("docs/rollout.md", example).unwrap();
    assert_eq!((lineup.generation(), lineup.detectors().count()), (7, 2));
    let spam = lineup.detector("spam-text").unwrap();
    assert!(spam.previous().is_some() && spam.canaries().count() == 2);
    let none = LocalAborts::default();
    let answers = lineup.assign(&"image-quality".into(), "item", &none);
    assert!(answers.is_some());
    let pinned = lineup.assign(&"spam-text".into(), "tenant-7", &none);
    assert_eq!(pinned.map(|pinned| pinned.arm), Some(Arm::Pinned));
}

#[test]
fn every_setting_of_the_guard_is_in_the_docs() {
    let docs = docs();
    let settings = serde_json::to_value(GuardSettings::default()).unwrap();
    for key in settings.as_object().unwrap().keys() {
        assert!(
            docs.contains(&format!("`{key}`")),
            "{key} is not in docs/rollout.md"
        );
    }
}
