//! Which elements of a value a step reads, in which order.

use std::borrow::Borrow;

use super::{Element, ValueId};

/// A value seen with a shape and a stride for each dimension, both outermost first.
/// Transposing, slicing, reversing and broadcasting change the view and move nothing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct View {
    pub(crate) value: ValueId,
    pub(crate) element: Element,
    pub(crate) shape: Vec<usize>,
    /// In elements.
    pub(crate) strides: Vec<i64>,
    /// Of the first element, in elements.
    pub(crate) offset: i64,
}

impl View {
    /// All of a value, as it lies.
    pub(crate) fn whole(value: ValueId, element: Element, shape: &[usize]) -> Self {
        Self {
            value,
            element,
            shape: shape.to_vec(),
            strides: row_major(shape),
            offset: 0,
        }
    }

    pub(crate) fn n_elements(&self) -> usize {
        count(&self.shape)
    }

    /// Whether its elements lie one after another from the value's first.
    pub(crate) fn is_plain(&self) -> bool {
        let steps = self.shape.iter().zip(&self.strides);
        let whole = steps.zip(row_major(&self.shape));
        self.offset == 0 && whole.into_iter().all(|((&n, &s), w)| n == 1 || s == w)
    }

    /// With a dimension of 1 before `axis`.
    pub(crate) fn with_axis(mut self, axis: usize) -> Self {
        self.shape.insert(axis, 1);
        self.strides.insert(axis, 0);
        self
    }

    /// Without `axis`, whose size is 1.
    pub(crate) fn without_axis(mut self, axis: usize) -> Self {
        self.shape.remove(axis);
        self.strides.remove(axis);
        self
    }

    /// With one dimension moved.
    pub(crate) fn moved(mut self, from: usize, to: usize) -> Self {
        let (size, stride) = (self.shape.remove(from), self.strides.remove(from));
        self.shape.insert(to, size);
        self.strides.insert(to, stride);
        self
    }

    /// The elements `start..start + size` of one dimension.
    pub(crate) fn sliced(mut self, axis: usize, start: usize, size: usize) -> Self {
        self.offset += self.strides[axis] * start as i64;
        self.shape[axis] = size;
        self
    }

    /// Every `step`th of one dimension from `start` on; `step` may be negative.
    pub(crate) fn strided(mut self, axis: usize, start: usize, step: i64, size: usize) -> Self {
        self.offset += self.strides[axis] * start as i64;
        // A model may ask for one element in steps of any length.
        self.strides[axis] = if size > 1 {
            self.strides[axis] * step
        } else {
            0
        };
        self.shape[axis] = size;
        self
    }

    /// Repeated along dimensions of size 1, and along those that it lacks in front, until
    /// it has `shape`.
    pub(crate) fn broadcast(mut self, shape: &[usize]) -> Self {
        while self.shape.len() < shape.len() {
            self = self.with_axis(0);
        }
        for (axis, &size) in shape.iter().enumerate() {
            if self.shape[axis] != size {
                self.strides[axis] = 0;
                self.shape[axis] = size;
            }
        }
        self
    }

    /// With another shape of as many elements; none where elements would have to move.
    pub(crate) fn reshaped(&self, shape: &[usize]) -> Option<Self> {
        if self.is_plain() {
            return Some(Self::whole(self.value, self.element, shape));
        }
        None
    }
}

/// Elements of so many along each dimension; `usize::MAX` where that is beyond counting, so
/// that a model which chooses the sizes overflows nothing.
pub(crate) fn count(sizes: impl IntoIterator<Item = impl Borrow<usize>>) -> usize {
    let sizes = sizes.into_iter();
    // A size of 0 makes all nothing, wherever it stands.
    let (mut n, mut is_empty) = (1_usize, false);
    for size in sizes {
        is_empty |= *size.borrow() == 0;
        n = n.saturating_mul(*size.borrow());
    }
    if is_empty { 0 } else { n }
}

/// Strides of a shape whose elements lie one after another.
pub(crate) fn row_major(shape: &[usize]) -> Vec<i64> {
    let mut strides = vec![0; shape.len()];
    let mut stride = 1_i64;
    for (at, &size) in shape.iter().enumerate().rev() {
        strides[at] = stride;
        stride = stride.saturating_mul(i64::try_from(size.max(1)).unwrap_or(i64::MAX));
    }
    strides
}
