//! From a plugin's raw scores to probabilities. Pure.
//!
//! Reads nothing by itself: `registry` gives it the text. The arithmetic of tables
//! is `trommel-calibration`'s, which the recipes that write them share.

mod read;

use std::collections::BTreeMap;

use sha2::{Digest as _, Sha256};
pub use trommel_calibration::{Bin, Cut, OutOfReach, Table, Target, greatest_rate};

use crate::signal::{CalibratorVersion, Label, Probability};

/// The calibrated map of every label of a revision.
#[derive(Debug, Clone, PartialEq)]
pub struct Calibrator(BTreeMap<Label, Entry>);

/// Why a calibrator file was refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{file}:{line}: {what}")]
pub struct CalibratorError {
    /// The name that the file was read under.
    pub file: String,
    /// The line, counted from 1.
    pub line: usize,
    /// What is wrong there and how to mend it.
    pub what: String,
}

#[derive(Debug, Clone, PartialEq)]
struct Entry {
    map: Map,
    version: CalibratorVersion,
}

#[derive(Debug, Clone, PartialEq)]
enum Map {
    Logistic(Logistic),
    Table(Table),
}

/// `probability = 1 / (1 + exp(-(slope · score + intercept)))`, Platt's map.
#[derive(Debug, Clone, Copy, PartialEq)]
struct Logistic {
    slope: f64,
    intercept: f64,
}

impl Calibrator {
    /// Reads the text of a calibrator file; `file` is only the name that
    /// messages use. One `[[calibrator]]` per label; `docs/manifest.md` lists the
    /// keys of both kinds.
    ///
    /// # Errors
    ///
    /// The first mistake, with its line.
    pub fn parse(file: &str, text: &str) -> Result<Self, CalibratorError> {
        let maps = read::maps(file, text)?;
        let entry = |(label, map): (Label, Map)| {
            let version = version(&label, &map);
            (label, Entry { map, version })
        };
        Ok(Self(maps.into_iter().map(entry).collect()))
    }

    /// The labels that it maps.
    pub fn labels(&self) -> impl Iterator<Item = &Label> {
        self.0.keys()
    }

    /// How likely `label` is, given a finite score, and which map says so; none
    /// for a label that it does not map.
    #[must_use]
    pub fn probability(
        &self,
        label: &Label,
        score: f32,
    ) -> Option<(Probability, CalibratorVersion)> {
        let entry = self.0.get(label)?;
        let probability = match &entry.map {
            Map::Logistic(map) => {
                let logit = map.slope * f64::from(score) + map.intercept;
                1.0 / (1.0 + (-logit).exp())
            }
            Map::Table(table) => table.probability(score),
        };
        Some((Probability::new(probability).ok()?, entry.version))
    }

    /// The counts behind `label`'s probabilities; none for a label that has no
    /// table, be it unknown or mapped by a curve that nobody counted.
    #[must_use]
    pub fn table(&self, label: &Label) -> Option<&Table> {
        match &self.0.get(label)?.map {
            Map::Table(table) => Some(table),
            Map::Logistic(_) => None,
        }
    }

    /// Names the map of `label` by its content; none for a label without one.
    #[must_use]
    pub fn version(&self, label: &Label) -> Option<CalibratorVersion> {
        Some(self.0.get(label)?.version)
    }
}

/// The digest of what decides the map, each part with its length: how a file
/// spells its numbers, what else it holds and in which order does not matter.
fn version(label: &Label, map: &Map) -> CalibratorVersion {
    let mut hasher = Sha256::new();
    let mut part = |name: &str, bytes: &[u8]| {
        hasher.update(format!("{name} {}\n", bytes.len()));
        hasher.update(bytes);
    };
    part("label", label.as_str().as_bytes());
    match map {
        Map::Logistic(map) => {
            part("slope", &map.slope.to_le_bytes());
            part("intercept", &map.intercept.to_le_bytes());
        }
        Map::Table(table) => {
            let counts = |class: fn(Bin) -> u64| -> Vec<u8> {
                table.bins().map(class).flat_map(u64::to_le_bytes).collect()
            };
            let edges = table.edges().iter();
            let edges: Vec<u8> = edges.flat_map(|edge| edge.to_le_bytes()).collect();
            part("prevalence", &table.prevalence().to_le_bytes());
            part("scores", &edges);
            part("positives", &counts(|bin| bin.positives));
            part("negatives", &counts(|bin| bin.negatives));
        }
    }
    CalibratorVersion::of_digest(hasher.finalize().into())
}

#[cfg(test)]
mod tests {
    use super::*;

    const LOGISTIC: &str =
        "[[calibrator]]\nlabel = \"spam\"\nkind = \"logistic\"\nslope = 2.0\nintercept = -1.0\n";
    const TABLE: &str = "[[calibrator]]\nlabel = \"low/blur\"\nkind = \"table\"\nprevalence = 0.25\nscores = [0, 1.0, 2.0]\npositives = [1, 9]\nnegatives = [6, 4]\n";

    fn version_of(text: &str, label: &str) -> CalibratorVersion {
        let calibrator = Calibrator::parse("c.toml", text).unwrap();
        calibrator.version(&label.into()).unwrap()
    }

    #[test]
    fn a_score_becomes_the_probability_its_logit_says() {
        let calibrator = Calibrator::parse("c.toml", LOGISTIC).unwrap();
        let (probability, _) = calibrator.probability(&"spam".into(), 0.5).unwrap();
        assert_eq!(probability.get(), 0.5);
        assert_eq!(calibrator.probability(&"ham".into(), 0.5), None);
        assert_eq!(calibrator.table(&"spam".into()), None);
    }

    #[test]
    fn the_largest_scores_stay_probabilities() {
        let calibrator = Calibrator::parse("c.toml", LOGISTIC).unwrap();
        let of = |score| {
            let found = calibrator.probability(&"spam".into(), score);
            found.map(|(probability, _)| probability.get())
        };
        assert_eq!((of(f32::MAX), of(f32::MIN)), (Some(1.0), Some(0.0)));
    }

    #[test]
    fn one_file_holds_a_map_per_label_of_either_kind() {
        let calibrator = Calibrator::parse("c.toml", &format!("{LOGISTIC}{TABLE}")).unwrap();
        assert_eq!(calibrator.labels().count(), 2);
        let label = Label::from("low/blur");
        let (probability, version) = calibrator.probability(&label, 1.5).unwrap();
        // (9 + ½) / (10 + 1) of the positives, (4 + ½) / (10 + 1) of the negatives.
        let expected = 0.25 * 9.5 / (0.25 * 9.5 + 0.75 * 4.5);
        assert!(
            (probability.get() - expected).abs() < 1e-12,
            "{probability}"
        );
        assert_eq!(Some(version), calibrator.version(&label));
        let table = calibrator.table(&label).unwrap();
        assert_eq!((table.n_positives(), table.n_negatives()), (10, 10));
    }

    #[test]
    fn a_version_is_the_content_and_not_its_spelling() {
        let version = version_of(TABLE, "low/blur");
        let respelled = TABLE
            .replace("[0, 1.0, 2.0]", "[\n  -0.0, 1, 2e0,\n]")
            .replace("prevalence = 0.25", "# said again\nprevalence = 25e-2");
        assert_eq!(version_of(&respelled, "low/blur"), version);
        assert_eq!(
            version_of(&format!("{LOGISTIC}{TABLE}"), "low/blur"),
            version
        );
        for (from, to) in [
            ("0.25", "0.26"),
            ("[0, ", "[0.5, "),
            ("[1, 9]", "[2, 8]"),
            ("[6, 4]", "[6, 5]"),
        ] {
            assert_ne!(
                version_of(&TABLE.replace(from, to), "low/blur"),
                version,
                "{to}"
            );
        }
        let other = TABLE.replace("low/blur", "spam");
        assert_ne!(version_of(&other, "spam"), version);
        assert_ne!(
            version_of(LOGISTIC, "spam"),
            version_of(&LOGISTIC.replace("2.0", "2.5"), "spam")
        );
    }
}
