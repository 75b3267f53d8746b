//! Judges whether text is toxic, hateful or offensive: pieces of words and hashed features
//! in here, an encoder and a linear model in the host, and the words that tell as evidence.
//!
//! The street: `trommel-reading` reads the text as a person would, [`words`] makes words of
//! it and one word of all groups of people, [`vocabulary`] and [`features`] make numbers,
//! the model scores them, [`evidence`] points into the original.
//!
//! Holds no weights: `model.onnx` lies beside the component. The recipe uses the same
//! modules, so the model cannot meet numbers that it was not trained on.

pub mod evidence;
pub mod features;
pub mod terms;
pub mod vocabulary;
pub mod words;

use trommel_reading::normalise::Normalised;
use trommel_sdk::{Detector, Failure, Findings, Item, Model, Tensor};

use crate::{features::Features, words::Words};

/// What is judged, in the order of the model's scores.
pub const LABELS: [&str; 3] = ["toxic", "hate", "offensive"];

/// The scores from which reasons are shown: the model's own cuts (see its card).
pub const EVIDENCE_FROM: [f32; 3] = [-0.6, -0.9, 0.1];

/// Rows of one run at most.
// Attention over 8 texts of 256 pieces holds 8 MiB; over all windows at once it would hold
// 32 MiB of each of its steps, more than a call should ask for.
pub const MOST_ROWS: usize = 8;

/// The detector.
struct ToxicityText;

impl Detector for ToxicityText {
    fn detect(item: &Item, findings: &Findings) -> Result<(), Failure> {
        let parts = item.texts();
        let texts = parts
            .iter()
            .map(|part| item.text(*part))
            .collect::<Result<Vec<_>, _>>()?;
        let texts: Vec<&str> = texts.iter().map(String::as_str).collect();
        let words = Words::of(&Normalised::of(&texts));
        if words.is_empty() {
            return Ok(());
        }
        let model = Model::open("toxicity")?;
        let scores = run(&model, &[Row::of(&words)])?[0];
        let signals = [0, 1, 2].map(|label| findings.signal(LABELS[label], scores[label]));
        let flagged = |label: &usize| scores[*label] >= EVIDENCE_FROM[*label];
        if (0..LABELS.len()).any(|label| flagged(&label)) {
            let windows = evidence::windows(&words);
            let mut without = Vec::with_capacity(windows.len());
            for windows in windows.chunks(MOST_ROWS) {
                let shortened = windows.iter().map(|window| words.without(window.clone()));
                let rows: Vec<Row> = shortened.map(|words| Row::of(&words)).collect();
                without.extend(run(&model, &rows)?);
            }
            for label in (0..LABELS.len()).filter(flagged) {
                let losses: Vec<f32> = without
                    .iter()
                    .map(|row| scores[label] - row[label])
                    .collect();
                for span in evidence::spans(&texts, &words, &windows, &losses) {
                    findings.span(signals[label], parts[span.part], span.start, span.end);
                }
            }
        }
        Ok(())
    }
}

trommel_sdk::export!(ToxicityText);

/// One row of the model's inputs.
struct Row {
    pieces: Vec<u32>,
    features: Features,
}

impl Row {
    fn of(words: &Words) -> Self {
        Self {
            pieces: vocabulary::SHIPPED.encode(words),
            features: features::extract(words),
        }
    }
}

/// Pieces and features that rows are padded to, both of them together and rows to a power of
/// two, so that a device which prepares itself for each shape meets few. A piece comes with
/// some 15 features; what has more of them than the last is padded to a power of two.
const LENGTHS: [(usize, usize); 5] = [
    (16, 384),
    (32, 768),
    (64, 1_536),
    (128, 3_072),
    (vocabulary::HEAD + vocabulary::TAIL, 8_192),
];

/// What rows of at most `n_pieces` and `n_features` are padded to.
fn padded(n_pieces: usize, n_features: usize) -> (usize, usize) {
    let holds = |&(pieces, features): &(usize, usize)| n_pieces <= pieces && n_features <= features;
    let longest = || (LENGTHS[4].0.max(n_pieces), n_features.next_power_of_two());
    LENGTHS.into_iter().find(holds).unwrap_or_else(longest)
}

/// The scores of each of at most [`MOST_ROWS`] rows.
fn run(model: &Model, rows: &[Row]) -> Result<Vec<[f32; 3]>, Failure> {
    let n_rows = rows.len().next_power_of_two();
    let longest = |length: fn(&Row) -> usize| rows.iter().map(length).max().unwrap_or(0);
    let (n_pieces, n_features) = padded(
        longest(|row| row.pieces.len()),
        longest(|row| row.features.ids.len()),
    );
    let mut pieces = vec![i64::from(vocabulary::PADDING); n_rows * n_pieces];
    let mut mask = vec![0.0_f32; n_rows * n_pieces];
    let mut ids = vec![0_i64; n_rows * n_features];
    let mut values = vec![0.0_f32; n_rows * n_features];
    for (at, row) in rows.iter().enumerate() {
        for (slot, &piece) in row.pieces.iter().enumerate() {
            pieces[at * n_pieces + slot] = piece.into();
            mask[at * n_pieces + slot] = 1.0;
        }
        let from = at * n_features;
        for (slot, &id) in ids[from..].iter_mut().zip(&row.features.ids) {
            *slot = id.into();
        }
        values[from..from + row.features.values.len()].copy_from_slice(&row.features.values);
    }
    // A row with nothing in it, of an item whose only word was left out or that stands behind
    // the last one, has one piece that is padding: a mean over nothing is no number.
    for at in 0..n_rows {
        mask[at * n_pieces] = 1.0;
    }
    let size = |n: usize| u32::try_from(n).expect("what is read of an item is bounded");
    let of_pieces = [size(n_rows), size(n_pieces)];
    let of_features = [size(n_rows), size(n_features)];
    let pieces = Tensor::new(&of_pieces, &pieces)?;
    let mask = Tensor::new(&of_pieces, &mask)?;
    let ids = Tensor::new(&of_features, &ids)?;
    let values = Tensor::new(&of_features, &values)?;
    let [scores] = model.run(
        &[
            ("pieces", &pieces),
            ("mask", &mask),
            ("ids", &ids),
            ("values", &values),
        ],
        ["scores"],
    )?;
    let scores: Vec<f32> = scores.read()?;
    Ok(scores
        .chunks_exact(3)
        .map(|row| [row[0], row[1], row[2]])
        .take(rows.len())
        .collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use trommel_reading::normalise::Normalised;

    #[test]
    fn pieces_and_features_are_padded_together() {
        for (given, to) in [
            ((0, 0), (16, 384)),
            ((16, 384), (16, 384)),
            ((17, 20), (32, 768)),
            ((3, 3_000), (128, 3_072)),
            ((256, 8_192), (256, 8_192)),
            ((3, 8_193), (256, 16_384)),
        ] {
            assert_eq!(padded(given.0, given.1), to, "{given:?}");
        }
    }

    #[test]
    fn ordinary_texts_of_any_length_meet_five_shapes() {
        let sentence = "They said the ferry would be late, so we had soup & waited. ";
        for n_chars in 1..3_000 {
            let text: String = sentence.chars().cycle().take(n_chars).collect();
            let row = Row::of(&Words::of(&Normalised::of(&[&text])));
            let to = padded(row.pieces.len(), row.features.ids.len());
            assert!(LENGTHS.contains(&to), "{n_chars}: {to:?}");
        }
    }
}
