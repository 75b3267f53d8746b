//! `TfIdfVectorizer` of integers: how often each n-gram of a list occurs.
//!
//! The one operator here that no basic ones make; a device that is not the CPU
//! does not cover it.

use std::collections::BTreeMap;

use tract_onnx::model::ParsingContext;
use tract_onnx::pb::NodeProto;
use tract_onnx::tract_hir::internal::*;

use super::{Parsed, Wiring};

/// Numbers of an output row at most.
const MAX_COLUMNS: i64 = 1 << 24;

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct TermFrequency {
    /// Of what is counted, by the n-gram.
    columns: BTreeMap<Vec<i64>, Column>,
    n_columns: usize,
    lengths: (usize, usize),
    max_skips: usize,
    mode: Mode,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
struct Column {
    at: usize,
    weight_bits: u32,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Mode {
    Count,
    Weight,
    WeightedCount,
}

pub(super) fn term_frequency(_: &ParsingContext, node: &NodeProto) -> Parsed {
    let mode = match node.get_attr::<&str>("mode")? {
        "TF" => Mode::Count,
        "IDF" => Mode::Weight,
        "TFIDF" => Mode::WeightedCount,
        other => bail!("TfIdfVectorizer knows no mode `{other}`"),
    };
    let pool = node.get_attr_opt_vec::<i64>("pool_int64s")?;
    let pool = pool.context("TfIdfVectorizer of strings is not supported")?;
    let starts: Vec<i64> = node.get_attr_vec("ngram_counts")?;
    let columns: Vec<i64> = node.get_attr_vec("ngram_indexes")?;
    let weights: Vec<f32> = node.get_attr_opt_vec("weights")?.unwrap_or_default();
    let within = |name: &str, low: i64| -> TractResult<usize> {
        let value = node.get_attr::<i64>(name)?;
        ensure!(value >= low, "{name} is {value}");
        Ok(usize::try_from(value)?)
    };
    let lengths = (within("min_gram_length", 1)?, within("max_gram_length", 1)?);
    let last = columns.iter().copied().max().unwrap_or(0);
    ensure!(
        columns.iter().all(|&at| at >= 0) && last < MAX_COLUMNS,
        "ngram_indexes are 0 to {MAX_COLUMNS}"
    );
    let grams = grams(&pool, &starts)?;
    ensure!(
        grams.len() == columns.len() && (weights.is_empty() || weights.len() == grams.len()),
        "{} n-grams with {} indexes and {} weights",
        grams.len(),
        columns.len(),
        weights.len()
    );
    let column = |(index, gram): (usize, &[i64])| {
        let column = Column {
            at: columns[index] as usize,
            weight_bits: weights.get(index).copied().unwrap_or(1.0).to_bits(),
        };
        (gram.to_vec(), column)
    };
    let operator = TermFrequency {
        columns: grams.into_iter().enumerate().map(column).collect(),
        n_columns: usize::try_from(last)? + 1,
        lengths,
        max_skips: within("max_skip_count", 0)?,
        mode,
    };
    Ok((expand(operator), vec![]))
}

/// The pool holds all 1-grams, then all 2-grams, and so on; `starts` says where
/// those of each length begin.
fn grams<'a>(pool: &'a [i64], starts: &[i64]) -> TractResult<Vec<&'a [i64]>> {
    let mut grams = Vec::new();
    for (at, &start) in starts.iter().enumerate() {
        let end = starts
            .get(at + 1)
            .map_or(Ok(pool.len()), |&end| usize::try_from(end));
        let of_length = pool.get(usize::try_from(start)?..end?);
        let of_length = of_length.context("ngram_counts do not lie within the pool")?;
        let chunks = of_length.chunks_exact(at + 1);
        ensure!(
            chunks.remainder().is_empty(),
            "half an n-gram of {}",
            at + 1
        );
        grams.extend(chunks);
    }
    Ok(grams)
}

impl Expansion for TermFrequency {
    fn name(&self) -> StaticName {
        "TfIdfVectorizer".into()
    }

    fn rules<'r, 'p: 'r, 's: 'r>(
        &'s self,
        s: &mut Solver<'r>,
        inputs: &'p [TensorProxy],
        outputs: &'p [TensorProxy],
    ) -> InferenceResult {
        check_input_arity(inputs, 1)?;
        check_output_arity(outputs, 1)?;
        s.equals(&outputs[0].datum_type, f32::datum_type())?;
        s.equals(&inputs[0].rank, &outputs[0].rank)?;
        s.given(&inputs[0].shape, move |s, shape| {
            s.equals(&outputs[0].shape, self.output_shape(&shape)?)
        })
    }

    fn wire(
        &self,
        prefix: &str,
        model: &mut TypedModel,
        inputs: &[OutletId],
    ) -> TractResult<TVec<OutletId>> {
        let mut w = Wiring::new(prefix, model);
        let terms = w.cast("terms", inputs[0], i64::datum_type())?;
        Ok(tvec![w.node("frequencies", self.clone(), &[terms])?])
    }
}

impl TermFrequency {
    fn output_shape(&self, shape: &[TDim]) -> TractResult<TVec<TDim>> {
        let columns = self.n_columns.to_dim();
        match shape {
            [_] => Ok(tvec![columns]),
            [rows, _] => Ok(tvec![rows.clone(), columns]),
            other => bail!("TfIdfVectorizer of a tensor of rank {}", other.len()),
        }
    }

    fn count(&self, terms: &[i64], row: &mut [f32]) {
        let (shortest, longest) = self.lengths;
        let mut gram = Vec::new();
        for length in shortest..=longest.min(terms.len()) {
            // What skips nothing between its terms is counted once.
            let most = if length == 1 { 0 } else { self.max_skips };
            for step in 1..=most.min(terms.len()) + 1 {
                let span = (length - 1).saturating_mul(step);
                for first in 0..terms.len().saturating_sub(span) {
                    gram.clear();
                    gram.extend((0..length).map(|at| terms[first + at * step]));
                    if let Some(column) = self.columns.get(&gram) {
                        row[column.at] += 1.0;
                    }
                }
            }
        }
        for column in self.columns.values() {
            let weight = f32::from_bits(column.weight_bits);
            let value = &mut row[column.at];
            *value = match self.mode {
                Mode::Count => *value,
                Mode::Weight if *value > 0.0 => weight,
                Mode::Weight => 0.0,
                Mode::WeightedCount => *value * weight,
            };
        }
    }
}

impl Op for TermFrequency {
    fn name(&self) -> StaticName {
        "TfIdfVectorizer".into()
    }

    op_as_typed_op!();
}

impl EvalOp for TermFrequency {
    op_out_of_plan!();

    fn eval(&self, _: &EvalContext, inputs: TVec<TValue>) -> TractResult<TVec<TValue>> {
        let input = args_1!(inputs);
        let shape: Vec<TDim> = input.shape().iter().map(|size| size.to_dim()).collect();
        let shape = self.output_shape(&shape)?;
        let shape: Vec<usize> = shape.iter().map(TDim::to_usize).collect::<Result<_, _>>()?;
        let mut output = Tensor::zero::<f32>(&shape)?;
        let terms = input.try_as_plain_ram()?.as_slice::<i64>()?;
        let n_terms = input.shape().last().copied().unwrap_or(0);
        {
            let mut plain = output.try_as_plain_ram_mut()?;
            let rows = plain.as_slice_mut::<f32>()?.chunks_mut(self.n_columns);
            for (at, row) in rows.enumerate() {
                self.count(&terms[at * n_terms..][..n_terms], row);
            }
        }
        Ok(tvec![output.into_tvalue()])
    }
}

impl TypedOp for TermFrequency {
    as_op!();

    fn output_facts(&self, inputs: &[&TypedFact]) -> TractResult<TVec<TypedFact>> {
        let shape = self.output_shape(&inputs[0].shape)?;
        Ok(tvec![f32::fact(shape)])
    }
}
