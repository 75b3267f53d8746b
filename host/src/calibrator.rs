//! From a plugin's raw scores to probabilities. Pure.

use std::collections::BTreeMap;

use serde::Deserialize;
use toml::Spanned;

use crate::signal::{Label, Probability};
use crate::toml_text::{Lines, long_key};

/// The calibrated map of every label of a revision.
#[derive(Debug, Clone, PartialEq)]
pub struct Calibrator(BTreeMap<Label, Logistic>);

/// `probability = 1 / (1 + exp(-(slope · score + intercept)))`, Platt's map.
#[derive(Debug, Clone, Copy, PartialEq)]
struct Logistic {
    slope: f64,
    intercept: f64,
}

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

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawFile {
    calibrator: Vec<Spanned<Raw>>,
}

#[derive(Deserialize)]
#[serde(tag = "kind", rename_all = "kebab-case", deny_unknown_fields)]
enum Raw {
    Logistic {
        label: String,
        slope: f64,
        intercept: f64,
    },
}

impl Calibrator {
    /// Reads the text of a calibrator file; `file` is only the name that
    /// messages use. One `[[calibrator]]` per label: `label`, `kind =
    /// "logistic"`, `slope` (positive, so that a higher score is never less
    /// likely), `intercept`.
    pub fn parse(file: &str, text: &str) -> Result<Self, CalibratorError> {
        let lines = Lines::new(text);
        let error = |at, what: String| CalibratorError {
            file: file.to_owned(),
            line: lines.line(at),
            what,
        };
        if let Some(at) = long_key(text) {
            return Err(error(
                at,
                "this key is too long; write an inline table".to_owned(),
            ));
        }
        let raw: RawFile = toml::from_str(text).map_err(|problem| {
            let at = problem.span().map_or(0, |span| span.start);
            error(at, problem.message().to_owned())
        })?;
        let mut maps = BTreeMap::new();
        for entry in raw.calibrator {
            let at = entry.span().start;
            let Raw::Logistic {
                label,
                slope,
                intercept,
            } = entry.into_inner();
            if !(slope.is_finite() && slope > 0.0 && intercept.is_finite()) {
                return Err(error(
                    at,
                    format!(
                        "calibrator of `{label}`: slope is a positive and intercept a finite number; fit it again"
                    ),
                ));
            }
            let map = Logistic { slope, intercept };
            if maps.insert(Label::from(label.as_str()), map).is_some() {
                return Err(error(
                    at,
                    format!("label `{label}` has a second calibrator; remove one"),
                ));
            }
        }
        Ok(Self(maps))
    }

    /// The labels that it maps.
    pub fn labels(&self) -> impl Iterator<Item = &Label> {
        self.0.keys()
    }

    /// How likely `label` is, given a finite score; none for a label that it
    /// does not map.
    pub fn probability(&self, label: &Label, score: f32) -> Option<Probability> {
        let map = self.0.get(label)?;
        let logit = map.slope * f64::from(score) + map.intercept;
        Probability::new(1.0 / (1.0 + (-logit).exp())).ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const FILE: &str =
        "[[calibrator]]\nlabel = \"spam\"\nkind = \"logistic\"\nslope = 2.0\nintercept = -1.0\n";

    #[test]
    fn a_score_becomes_the_probability_its_logit_says() {
        let calibrator = Calibrator::parse("c.toml", FILE).unwrap();
        let probability = calibrator.probability(&"spam".into(), 0.5).unwrap();
        assert_eq!(probability.get(), 0.5);
        assert_eq!(calibrator.probability(&"ham".into(), 0.5), None);
    }

    #[test]
    fn the_largest_scores_stay_probabilities() {
        let calibrator = Calibrator::parse("c.toml", FILE).unwrap();
        let of = |score| {
            calibrator
                .probability(&"spam".into(), score)
                .map(Probability::get)
        };
        assert_eq!((of(f32::MAX), of(f32::MIN)), (Some(1.0), Some(0.0)));
    }

    #[test]
    fn a_calibrator_that_would_turn_scores_round_is_refused_with_its_line() {
        for (from, to, expected) in [
            (
                "slope = 2.0",
                "slope = -2.0",
                "c.toml:1: calibrator of `spam`: slope is a positive",
            ),
            (
                "slope = 2.0",
                "slope = nan",
                "c.toml:1: calibrator of `spam`: slope is a positive",
            ),
            ("slope = 2.0", "slop = 2.0", "unknown field `slop`"),
            ("\"logistic\"", "\"magic\"", "unknown variant `magic`"),
        ] {
            let error = Calibrator::parse("c.toml", &FILE.replace(from, to)).unwrap_err();
            assert!(error.to_string().contains(expected), "{error}");
        }
        let error = Calibrator::parse("c.toml", &FILE.repeat(2)).unwrap_err();
        assert_eq!(
            error.to_string(),
            "c.toml:6: label `spam` has a second calibrator; remove one"
        );
    }
}
