//! A package's own words: the manifest, and the calibrator that it names.
//!
//! The input is the manifest, and after lines `=== NAME` the other files of the
//! package. A component or model that is not among them is a few fixed bytes, so
//! that a seed can state the digest of its model.

#![no_main]

use std::borrow::Cow;
use std::collections::BTreeMap;

use libfuzzer_sys::fuzz_target;
use trommel::calibrator::Calibrator;
use trommel::engine::Limits;
use trommel::registry::{FileError, FileKind, Package};
use trommel::signal::Label;

const SCORES: [f32; 11] = [
    f32::MIN,
    -1e9,
    -10.0,
    -1.0,
    -f32::MIN_POSITIVE,
    0.0,
    0.5,
    1.0,
    10.0,
    1e9,
    f32::MAX,
];

fuzz_target!(|data: &[u8]| {
    let files = files(data);
    let read = |name: &str, _: FileKind| match files.get(name.as_bytes()) {
        Some(bytes) => Ok(Cow::Owned(bytes.to_vec())),
        None if name.ends_with(".toml") => Err(FileError {
            file: name.into(),
            what: "is not there".to_owned(),
        }),
        None => Ok(Cow::Borrowed(&b"trommel"[..])),
    };
    match Package::from_files("fuzzed", &Limits::MAX, read) {
        Ok(package) => {
            assert!(!package.manifest.labels.is_empty());
            let settings = &package.manifest.settings;
            assert_eq!(package.revision(settings), package.revision(settings));
        }
        Err(error) => assert!(!error.to_string().is_empty()),
    }
    // Also where the manifest is refused.
    for bytes in files.values() {
        if let Ok(text) = str::from_utf8(bytes) {
            calibrate(text);
        }
    }
});

/// The input cut at its separators; what stands before the first is the manifest.
fn files(data: &[u8]) -> BTreeMap<&[u8], &[u8]> {
    const SEPARATOR: &[u8] = b"\n=== ";
    let mut files = BTreeMap::new();
    let (mut name, mut rest) = (&b"plugin.toml"[..], data);
    while let Some(at) = rest
        .windows(SEPARATOR.len())
        .position(|bytes| bytes == SEPARATOR)
    {
        files.insert(name, &rest[..=at]);
        let next = &rest[at + SEPARATOR.len()..];
        let end = next
            .iter()
            .position(|byte| *byte == b'\n')
            .unwrap_or(next.len());
        (name, rest) = next.split_at(end);
    }
    files.insert(name, rest);
    files
}

/// A calibrator that loads gives each label a map into `0..=1` that never falls.
fn calibrate(text: &str) {
    let Ok(calibrator) = Calibrator::parse("calibrator.toml", text) else {
        return;
    };
    let labels: Vec<Label> = calibrator.labels().cloned().collect();
    for label in &labels {
        let mut scores = SCORES.to_vec();
        if let Some(table) = calibrator.table(label) {
            let near = |edge: &f32| [edge.next_down(), *edge, edge.next_up()];
            scores.extend(table.edges().iter().flat_map(near));
            scores.retain(|score| score.is_finite());
            scores.sort_by(f32::total_cmp);
        }
        let probabilities: Vec<f64> = scores
            .iter()
            .map(|score| {
                let said = calibrator.probability(label, *score);
                said.expect("a finite score of a known label").0.get()
            })
            .collect();
        assert!(probabilities.is_sorted(), "{scores:?}: {probabilities:?}");
    }
}
