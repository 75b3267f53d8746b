//! The reader of a calibrator file. Every number is the plugin author's: it is
//! checked here or by the table before it means anything.

use std::collections::BTreeMap;

use serde::Deserialize;
use toml::Spanned;
use trommel_calibration::{Table, TableError};

use super::{CalibratorError, Logistic, Map};
use crate::excerpt::{NAME_CHARS, printable};
use crate::signal::Label;
use crate::toml_text::{Lines, long_key};

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawFile {
    calibrator: Vec<Spanned<Raw>>,
}

/// The keys of all kinds: told apart by hand, for a tagged enum would lose the
/// lines of the keys.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Raw {
    label: Spanned<String>,
    kind: Spanned<String>,
    slope: Option<Spanned<f64>>,
    intercept: Option<Spanned<f64>>,
    prevalence: Option<Spanned<f64>>,
    scores: Option<Spanned<Vec<f64>>>,
    positives: Option<Spanned<Vec<i64>>>,
    negatives: Option<Spanned<Vec<i64>>>,
}

/// What is wrong, and the byte where.
type Mistake = (usize, String);

pub(super) fn maps(file: &str, text: &str) -> Result<BTreeMap<Label, Map>, CalibratorError> {
    let lines = Lines::new(text);
    let error = |(at, what): Mistake| CalibratorError {
        file: file.to_owned(),
        line: lines.line(at),
        what,
    };
    if let Some(at) = long_key(text) {
        let what = "this key is too long; write an inline table";
        return Err(error((at, what.to_owned())));
    }
    let raw: RawFile = toml::from_str(text).map_err(|problem| {
        let at = problem.span().map_or(0, |span| span.start);
        error((at, problem.message().to_owned()))
    })?;
    let mut maps = BTreeMap::new();
    for entry in raw.calibrator {
        let at = entry.span().start;
        let raw = entry.into_inner();
        let label = Label::from(raw.label.as_ref().as_str());
        let shown = printable(label.as_str(), NAME_CHARS);
        let in_label = |(at, what)| error((at, format!("calibrator of `{shown}`: {what}")));
        let map = map(raw, at).map_err(in_label)?;
        if maps.insert(label.clone(), map).is_some() {
            let what = format!("label `{shown}` has a second calibrator; remove one");
            return Err(error((at, what)));
        }
    }
    Ok(maps)
}

fn map(raw: Raw, at: usize) -> Result<Map, Mistake> {
    match raw.kind.as_ref().as_str() {
        "logistic" => logistic(raw, at).map(Map::Logistic),
        "table" => table(raw, at).map(Map::Table),
        other => Err((
            raw.kind.span().start,
            format!(
                "unknown kind `{}`; write `table` or `logistic`",
                printable(other, NAME_CHARS)
            ),
        )),
    }
}

fn logistic(raw: Raw, at: usize) -> Result<Logistic, Mistake> {
    stranger("prevalence", raw.prevalence.as_ref())?;
    stranger("scores", raw.scores.as_ref())?;
    stranger("positives", raw.positives.as_ref())?;
    stranger("negatives", raw.negatives.as_ref())?;
    let slope = needed("slope", raw.slope, at)?;
    let intercept = needed("intercept", raw.intercept, at)?;
    if !(slope.as_ref().is_finite() && *slope.as_ref() > 0.0) {
        let what = "`slope` is a positive finite number; fit it again";
        return Err((slope.span().start, what.to_owned()));
    }
    if !intercept.as_ref().is_finite() {
        let what = "`intercept` is a finite number; fit it again";
        return Err((intercept.span().start, what.to_owned()));
    }
    Ok(Logistic {
        slope: slope.into_inner(),
        // `+ 0.0` makes one zero of two, so that equal maps have equal bits.
        intercept: intercept.into_inner() + 0.0,
    })
}

fn table(raw: Raw, at: usize) -> Result<Table, Mistake> {
    stranger("slope", raw.slope.as_ref())?;
    stranger("intercept", raw.intercept.as_ref())?;
    let prevalence = needed("prevalence", raw.prevalence, at)?;
    let scores = needed("scores", raw.scores, at)?;
    let positives = needed("positives", raw.positives, at)?;
    let negatives = needed("negatives", raw.negatives, at)?;
    let table = Table::new(
        scores.as_ref(),
        counts("positives", &positives)?,
        counts("negatives", &negatives)?,
        *prevalence.as_ref(),
    );
    table.map_err(|error| {
        let at = match error {
            TableError::Edges { .. } | TableError::Edge { .. } | TableError::Order { .. } => {
                scores.span()
            }
            TableError::Length { class, .. }
            | TableError::Empty { class }
            | TableError::Rows { class } => match class {
                "positives" => positives.span(),
                _ => negatives.span(),
            },
            TableError::Prevalence { .. } => prevalence.span(),
        };
        (at.start, error.to_string())
    })
}

fn counts(class: &str, counts: &Spanned<Vec<i64>>) -> Result<Vec<u64>, Mistake> {
    let count = |&count: &i64| {
        u64::try_from(count).map_err(|_| {
            let what = format!("`{class}` has the count {count}; give whole numbers from 0");
            (counts.span().start, what)
        })
    };
    counts.as_ref().iter().map(count).collect()
}

fn needed<T>(key: &str, value: Option<Spanned<T>>, at: usize) -> Result<Spanned<T>, Mistake> {
    value.ok_or_else(|| (at, format!("`{key}` is missing; add it")))
}

fn stranger<T>(key: &str, value: Option<&Spanned<T>>) -> Result<(), Mistake> {
    match value {
        Some(value) => Err((
            value.span().start,
            format!("`{key}` belongs to the other kind; remove it"),
        )),
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LOGISTIC: &str =
        "[[calibrator]]\nlabel = \"spam\"\nkind = \"logistic\"\nslope = 2\nintercept = -1.0\n";
    const TABLE: &str = "[[calibrator]]\nlabel = \"blur\"\nkind = \"table\"\nprevalence = 0.25\nscores = [0, 1.0, 2.0]\npositives = [1, 9]\nnegatives = [6, 4]\n";

    fn check(file: &str, from: &str, to: &str, expected: &str) {
        let text = file.replacen(from, to, 1);
        assert_ne!(text, file, "`{from}` is not there");
        let error = maps("c.toml", &text).unwrap_err().to_string();
        assert!(error.starts_with(expected), "{error}");
    }

    #[test]
    fn a_curve_that_would_turn_scores_round_is_refused_with_its_line() {
        let wrong = "c.toml:4: calibrator of `spam`: `slope` is a positive finite number";
        check(LOGISTIC, "= 2", "= -2.0", wrong);
        check(LOGISTIC, "= 2", "= nan", wrong);
        check(LOGISTIC, "= 2", "= 0", wrong);
        let wrong = "c.toml:5: calibrator of `spam`: `intercept` is a finite number";
        check(LOGISTIC, "-1.0", "-inf", wrong);
    }

    #[test]
    fn an_entry_with_keys_that_are_not_its_own_is_refused() {
        check(LOGISTIC, "slope", "slop", "c.toml:4: unknown field `slop`");
        check(
            LOGISTIC,
            "\"logistic\"",
            "\"magic\"",
            "c.toml:3: calibrator of `spam`: unknown kind `magic`; write `table` or `logistic`",
        );
        check(
            LOGISTIC,
            "slope = 2\n",
            "",
            "c.toml:1: calibrator of `spam`: `slope` is missing; add it",
        );
        check(
            LOGISTIC,
            "slope = 2\n",
            "slope = 2\nprevalence = 0.5\n",
            "c.toml:5: calibrator of `spam`: `prevalence` belongs to the other kind; remove it",
        );
        check(
            TABLE,
            "kind",
            "slope = 2.0\nkind",
            "c.toml:3: calibrator of `blur`: `slope` belongs to the other kind; remove it",
        );
        check(
            TABLE,
            "scores = [0, 1.0, 2.0]\n",
            "",
            "c.toml:1: calibrator of `blur`: `scores` is missing; add it",
        );
    }

    #[test]
    fn counts_that_make_no_table_are_refused_with_their_line() {
        let wrong = |line, what| format!("c.toml:{line}: calibrator of `blur`: {what}");
        for (from, to, expected) in [
            (
                "0.25",
                "1.0",
                wrong(4, "`prevalence` is 1; give a number between"),
            ),
            (
                "[0, 1.0",
                "[0, 2.0",
                wrong(5, "`scores` has 2 after 2; give edges"),
            ),
            (
                "[0, 1.0",
                "[0, inf",
                wrong(5, "`scores` has the edge inf; give finite"),
            ),
            (
                "[1, 9]",
                "[1, 9, 4]",
                wrong(6, "`positives` has 3 counts for 2 bins"),
            ),
            (
                "[1, 9]",
                "[1, -9]",
                wrong(6, "`positives` has the count -9; give whole"),
            ),
            (
                "[6, 4]",
                "[6, 9007199254740992]",
                wrong(7, "`negatives` counts more than 9007199254740992 rows"),
            ),
            ("[6, 4]", "[0, 0]", wrong(7, "`negatives` counts no row")),
        ] {
            check(TABLE, from, to, &expected);
        }
        check(
            TABLE,
            "[6, 4]",
            "[6, 4.5]",
            "c.toml:7: invalid type: floating point `4.5`",
        );
    }

    #[test]
    fn a_second_calibrator_of_a_label_is_refused() {
        let error = maps("c.toml", &LOGISTIC.repeat(2)).unwrap_err();
        assert_eq!(
            error.to_string(),
            "c.toml:6: label `spam` has a second calibrator; remove one"
        );
    }
}
