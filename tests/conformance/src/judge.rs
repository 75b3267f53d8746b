//! Whether an output is the one wanted.

use trommel_tensor::Dtype;

use crate::value::Value;

/// Of the wanted value.
const RELATIVE: f64 = 1e-3;
const ABSOLUTE: f64 = 1e-5;

/// What is wrong with `given`. Integers and bools are exact, floats within
/// `1e-5 + 1e-3 · |wanted|`; NaN is NaN.
pub(crate) fn differs(given: &Value, wanted: &Value) -> Option<String> {
    if given.dtype != wanted.dtype {
        return Some(format!("{} instead of {}", given.dtype, wanted.dtype));
    }
    if given.shape != wanted.shape {
        return Some(format!(
            "shape {:?} instead of {:?}",
            given.shape, wanted.shape
        ));
    }
    let (ours, theirs) = match given.dtype {
        Dtype::F16 | Dtype::F32 | Dtype::F64 => (floats(given), floats(wanted)),
        dtype => return differing_element(given, wanted, dtype.n_bytes()),
    };
    let wrong: Vec<usize> = (0..theirs.len())
        .filter(|&at| !is_close(ours[at], theirs[at]))
        .collect();
    let &first = wrong.first()?;
    Some(format!(
        "{} of {} elements are wrong, the first at {first}: {} instead of {}",
        wrong.len(),
        theirs.len(),
        ours[first],
        theirs[first]
    ))
}

fn is_close(given: f64, wanted: f64) -> bool {
    if given.is_nan() || wanted.is_nan() {
        return given.is_nan() && wanted.is_nan();
    }
    if given.is_infinite() || wanted.is_infinite() {
        return given == wanted;
    }
    (given - wanted).abs() <= ABSOLUTE + RELATIVE * wanted.abs()
}

fn differing_element(given: &Value, wanted: &Value, n_bytes: usize) -> Option<String> {
    let pairs = given
        .bytes
        .chunks(n_bytes)
        .zip(wanted.bytes.chunks(n_bytes));
    let n = wanted.bytes.len() / n_bytes;
    let wrong: Vec<_> = pairs.enumerate().filter(|(_, (a, b))| a != b).collect();
    let (first, (ours, theirs)) = wrong.first()?;
    let shown = |bytes: &[u8]| integer(bytes, given.dtype);
    Some(format!(
        "{} of {n} elements are wrong, the first at {first}: {} instead of {}",
        wrong.len(),
        shown(ours),
        shown(theirs)
    ))
}

fn integer(bytes: &[u8], dtype: Dtype) -> i128 {
    let is_signed = matches!(dtype, Dtype::I8 | Dtype::I16 | Dtype::I32 | Dtype::I64);
    let is_negative = is_signed && bytes.last().is_some_and(|byte| byte & 0x80 != 0);
    let mut whole = [if is_negative { 0xff } else { 0 }; 16];
    whole[..bytes.len()].copy_from_slice(bytes);
    i128::from_le_bytes(whole)
}

fn floats(value: &Value) -> Vec<f64> {
    let chunks = value.bytes.chunks(value.dtype.n_bytes());
    chunks
        .map(|bytes| match *bytes {
            [a, b] => half(u16::from_le_bytes([a, b])),
            [a, b, c, d] => f64::from(f32::from_le_bytes([a, b, c, d])),
            _ => f64::from_le_bytes(bytes.try_into().expect("f64 has eight bytes")),
        })
        .collect()
}

/// An IEEE 754 half: sign, five bits of exponent, ten of fraction.
fn half(bits: u16) -> f64 {
    let sign = if bits >> 15 == 1 { -1.0 } else { 1.0 };
    let exponent = i32::from(bits >> 10 & 0x1f);
    let fraction = f64::from(bits & 0x3ff) / 1024.0;
    sign * match exponent {
        0 => fraction * 2_f64.powi(-14),
        31 if fraction == 0.0 => f64::INFINITY,
        31 => f64::NAN,
        _ => (1.0 + fraction) * 2_f64.powi(exponent - 15),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn f32s(shape: &[usize], values: &[f32]) -> Value {
        Value {
            dtype: Dtype::F32,
            shape: shape.to_vec(),
            bytes: values.iter().flat_map(|it| it.to_le_bytes()).collect(),
        }
    }

    #[test]
    fn floats_are_wrong_beyond_the_tolerance_only() {
        let wanted = f32s(&[2], &[1000.0, 0.0]);
        assert_eq!(differs(&f32s(&[2], &[1000.9, 9e-6]), &wanted), None);
        let why = differs(&f32s(&[2], &[1002.0, 0.0]), &wanted).unwrap();
        assert!(why.contains("1 of 2"), "{why}");
        assert!(differs(&f32s(&[2], &[1000.0, 2e-5]), &wanted).is_some());
    }

    #[test]
    fn nan_is_nan_and_infinity_is_itself() {
        let wanted = f32s(&[2], &[f32::NAN, f32::INFINITY]);
        assert_eq!(differs(&wanted, &wanted), None);
        assert!(differs(&f32s(&[2], &[0.0, f32::INFINITY]), &wanted).is_some());
        assert!(differs(&f32s(&[2], &[f32::NAN, f32::MAX]), &wanted).is_some());
    }

    #[test]
    fn a_shape_or_a_dtype_that_differs_is_wrong() {
        let wanted = f32s(&[2, 1], &[1.0, 2.0]);
        assert!(differs(&f32s(&[2], &[1.0, 2.0]), &wanted).is_some());
        let integers = Value {
            dtype: Dtype::I32,
            ..wanted.clone()
        };
        assert!(differs(&integers, &wanted).is_some());
    }

    #[test]
    fn integers_are_exact() {
        let value = |bytes: &[u8]| Value {
            dtype: Dtype::I8,
            shape: vec![2],
            bytes: bytes.to_vec(),
        };
        assert_eq!(differs(&value(&[1, 0xff]), &value(&[1, 0xff])), None);
        let why = differs(&value(&[1, 0xff]), &value(&[1, 0xfe])).unwrap();
        assert!(why.contains("at 1: -1 instead of -2"), "{why}");
    }

    #[test]
    fn halves_are_read() {
        let read = [0x3c00, 0xc000, 0x0001, 0x7bff].map(half);
        assert_eq!(read, [1.0, -2.0, 2_f64.powi(-24), 65504.0]);
        assert!(half(0x7e00).is_nan() && half(0xfc00) == f64::NEG_INFINITY);
    }
}
