//! Numbers for a trial: rows that any model can compute on, the same every time, and no two
//! alike.
//!
//! Floats are drawn from -2 to 2. A whole number may be an index into a table whose length
//! is not known here, or a flag of a mask: it is drawn below a range that starts at 64, and
//! when the model cannot compute on that, below 2, and at last is 0 (`ladder::RANGES`).

use crate::device::cpu::stored;
use crate::graph::Binding;
use crate::shape::n_bytes;
use crate::{Account, Dtype, Graph, Tensor};

/// Steele, Lea and Flood's SplitMix64 (2014): a few operations, and any seed will do.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// From -2 to 2, in steps of 2^-22, which an f32 has exactly.
    fn float(&mut self) -> f32 {
        (self.next() >> 40) as f32 / (1 << 22) as f32 - 2.0
    }

    /// Below `range`, which is not 0.
    fn below(&mut self, range: u64) -> u64 {
        self.next() % range
    }
}

/// Bytes that all rows of a trial and their answers hold at once, at most: sizes are the
/// model's, and nobody is charged for them.
pub(crate) const MAX_BYTES: u64 = 1 << 30;

/// What drawn rows and their answers are charged to.
pub(crate) fn account() -> Account {
    Account::new("a trial", MAX_BYTES, u64::MAX)
}

/// Row `index` as a run of its own that asks for every output, in inputs of `shapes`; none
/// when the graph does not take it, or this process holds no such elements.
pub(crate) fn row(
    graph: &Graph,
    shapes: &[Vec<usize>],
    index: usize,
    range: u64,
    account: &Account,
) -> Option<Binding> {
    let mut random = Random(index as u64 + 1);
    let mut inputs = Vec::with_capacity(shapes.len());
    for (port, shape) in graph.inputs().iter().zip(shapes) {
        let bytes = n_bytes(port.dtype, shape).ok()?;
        let charge = account.charge(bytes as u64, 1).ok()?;
        let bytes = drawn(&mut random, port.dtype, bytes / port.dtype.n_bytes(), range);
        let storage = stored(port.dtype, shape, &bytes).ok()?;
        let tensor = Tensor::from_storage(port.dtype, shape, storage, charge);
        inputs.push((port.name.clone(), tensor));
    }
    let outputs = graph.outputs().iter();
    let outputs: Vec<String> = outputs.map(|port| port.name.clone()).collect();
    graph.bind(inputs, &outputs).ok()
}

fn drawn(random: &mut Random, dtype: Dtype, n: usize, range: u64) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(n * dtype.n_bytes());
    for _ in 0..n {
        match dtype {
            Dtype::F32 => bytes.extend(random.float().to_le_bytes()),
            Dtype::F64 => bytes.extend(f64::from(random.float()).to_le_bytes()),
            // Sign, an exponent from 2^-3 to 2^0, and ten bits of any kind.
            Dtype::F16 => {
                let bits = random.next() as u16;
                bytes.extend(((bits & 0x8fff) | 0x3000).to_le_bytes());
            }
            Dtype::Bf16 => {
                let [_, _, low, high] = random.float().to_le_bytes();
                bytes.extend([low, high]);
            }
            Dtype::Bool => bytes.push((random.next() & 1) as u8),
            Dtype::U8 | Dtype::I8 => bytes.push(random.below(range) as u8),
            Dtype::U16 | Dtype::I16 => bytes.extend((random.below(range) as u16).to_le_bytes()),
            Dtype::U32 | Dtype::I32 => bytes.extend((random.below(range) as u32).to_le_bytes()),
            Dtype::U64 | Dtype::I64 => bytes.extend(random.below(range).to_le_bytes()),
        }
    }
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_drawn_fits_its_dtype_and_no_two_rows_are_alike() {
        for dtype in [Dtype::F32, Dtype::F16, Dtype::I64, Dtype::Bool, Dtype::U8] {
            let row = |index: u64| drawn(&mut Random(index + 1), dtype, 100, 64);
            assert_eq!(row(0).len(), 100 * dtype.n_bytes());
            assert_eq!(row(3), row(3));
            assert_ne!(row(0), row(1));
        }
        let floats = drawn(&mut Random(1), Dtype::F32, 1000, 1);
        let (floats, _) = floats.as_chunks();
        let floats: Vec<f32> = floats
            .iter()
            .map(|word| f32::from_le_bytes(*word))
            .collect();
        assert!(floats.iter().all(|float| (-2.0..2.0).contains(float)));
        assert!(floats.iter().any(|float| *float < -1.0) && floats.iter().any(|it| *it > 1.0));
        let halves = drawn(&mut Random(1), Dtype::F16, 100, 1);
        let (halves, _) = halves.as_chunks();
        // Neither infinite nor not a number.
        assert!(
            halves
                .iter()
                .all(|half| u16::from_le_bytes(*half) & 0x7c00 != 0x7c00)
        );
    }

    #[test]
    fn whole_numbers_stay_below_their_range() {
        for range in [1, 2, 64] {
            let drawn = drawn(&mut Random(9), Dtype::I64, 500, range);
            let (words, _) = drawn.as_chunks();
            let numbers = words.iter().map(|word| u64::from_le_bytes(*word));
            assert_eq!(numbers.max(), Some(range - 1));
        }
    }
}
