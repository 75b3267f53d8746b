//! Manifests with every field wrong in turn.

use serde::Deserialize;
use trommel::Host;
use trommel_tests::plugin::PluginFolder;
use trommel_tests::workspace;

use super::IMPORTS;

#[derive(Deserialize)]
struct Cases {
    case: Vec<Case>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Case {
    from: String,
    to: String,
    says: String,
}

#[test]
fn every_mistake_in_a_manifest_is_named_with_its_line() {
    let file = workspace().join("tests/cases/manifest.toml");
    let text = std::fs::read_to_string(file).expect("the cases are there");
    let cases: Cases = toml::from_str(&text).expect("the cases are cases");
    let mut wrong = Vec::new();
    for Case { from, to, says } in cases.case {
        let folder = PluginFolder::of_guest("noop", &IMPORTS);
        folder.edit(&from, &to);
        match Host::builder().detector(folder.path()).build() {
            Ok(_) => wrong.push(format!("{from:?} → {to:?}: loads")),
            Err(error) if error.to_string().contains(&says) => {}
            Err(error) => wrong.push(format!("{from:?} → {to:?}: {error}")),
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    let whole = PluginFolder::of_guest("noop", &IMPORTS);
    let host = Host::builder().detector(whole.path()).build();
    host.expect("the manifest that they were made from loads");
}
