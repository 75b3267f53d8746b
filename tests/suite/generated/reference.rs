//! A few operators as their definition reads, in f64, and every device held to them:
//! the CPU too, which is the reference for all else.

use proptest::prelude::*;
use proptest::sample::select;
use trommel_tests::devices::{Array, agree};
use trommel_tests::onnx::{Attribute, Dim, Writer};
use trommel_tests::random::Random;

use super::chain::{Case, SIZES};
use super::windows::Window;
use super::{Runner, hold};

/// Elements of any rank, row-major.
struct Grid {
    shape: Vec<usize>,
    values: Vec<f64>,
}

impl Grid {
    fn drawn(shape: &[usize], seed: u64) -> Self {
        let mut random = Random::new(seed);
        let n = shape.iter().product();
        Self {
            shape: shape.to_vec(),
            values: (0..n).map(|_| f64::from(random.unit_variance())).collect(),
        }
    }

    /// Each element from its indices.
    fn of(shape: &[usize], element: impl Fn(&[usize]) -> f64) -> Self {
        let n = shape.iter().product();
        let values = (0..n).map(|at| element(&indices(at, shape))).collect();
        Self {
            shape: shape.to_vec(),
            values,
        }
    }

    /// The element at these indices; an axis of one repeats, and leading axes that
    /// this has not are passed over.
    fn at(&self, indices: &[usize]) -> f64 {
        let indices = &indices[indices.len() - self.shape.len()..];
        let place = indices.iter().zip(&self.shape);
        let at = place.fold(0, |at, (&index, &size)| {
            at * size + if size == 1 { 0 } else { index }
        });
        self.values[at]
    }

    /// The element at a place of an image, unless that lies outside.
    fn pixel(&self, row: usize, channel: usize, y: Option<usize>, x: Option<usize>) -> Option<f64> {
        let inside = |at: Option<usize>, axis: usize| at.filter(|&at| at < self.shape[axis]);
        Some(self.at(&[row, channel, inside(y, 2)?, inside(x, 3)?]))
    }

    fn array(&self) -> Array {
        Array::floats(&self.shape, &self.floats())
    }

    fn floats(&self) -> Vec<f32> {
        self.values.iter().map(|&value| value as f32).collect()
    }
}

fn indices(mut at: usize, shape: &[usize]) -> Vec<usize> {
    let mut indices = vec![0; shape.len()];
    for axis in (0..shape.len()).rev() {
        indices[axis] = at % shape[axis];
        at /= shape[axis];
    }
    indices
}

/// Holds every device to `right` for the graph that `write` makes of `x`, its first
/// axis symbolic.
fn check(
    runner: &Runner,
    x: &Grid,
    right: &Grid,
    write: impl FnOnce(&mut Writer) -> String,
) -> Result<(), TestCaseError> {
    let mut writer = Writer::new(20, 3);
    let sizes = x.shape[1..].iter().map(|&size| Dim::Size(size as i64));
    let dims: Vec<Dim> = [Dim::Name("batch")].into_iter().chain(sizes).collect();
    writer.input("x", &dims);
    let y = write(&mut writer);
    let case = Case {
        file: writer.file(&[&y]),
        inputs: vec![("x".to_owned(), x.array())],
        has_odd_sum: true,
        story: y,
    };
    let graph = runner.read(&case)?;
    for (name, device) in &runner.devices {
        let given = runner.run(device.as_ref(), &graph, &case.inputs)?;
        let agrees = agree(&right.array(), &given[0]);
        agrees.map_err(|error| TestCaseError::fail(format!("{name}: {error}")))?;
    }
    Ok(())
}

/// A window over two axes: kernel, stride, dilation, padding before and after, drawn
/// apart for each axis.
fn windows(may_dilate: bool) -> impl Strategy<Value = Window> {
    let axis = (1..=4_usize).prop_flat_map(move |kernel| {
        let most: usize = if may_dilate { 3 } else { 1 };
        (Just(kernel), 1..=3_usize, 1..=most, 0..kernel, 0..kernel)
    });
    proptest::collection::vec(axis, 2).prop_map(|axes| Window {
        kernel: axes.iter().map(|axis| axis.0).collect(),
        strides: axes.iter().map(|axis| axis.1).collect(),
        dilations: axes.iter().map(|axis| axis.2).collect(),
        before: axes.iter().map(|axis| axis.3).collect(),
        after: axes.iter().map(|axis| axis.4).collect(),
    })
}

impl Window {
    /// What the tap `tap` of the window at `place` looks at, counted from the image's
    /// edge; nothing before it.
    fn seen(&self, axis: usize, place: usize, tap: usize) -> Option<usize> {
        (place * self.strides[axis] + tap * self.dilations[axis]).checked_sub(self.before[axis])
    }

    /// Whether it fits an image of these sizes, dilation and all.
    fn fits(&self, sizes: &[usize]) -> bool {
        (0..2).all(|axis| (self.kernel[axis] - 1) * self.dilations[axis] < sizes[axis])
    }

    /// What the window at `[row, channel, y, x]` sees of `image`, all inside.
    fn pixels(&self, image: &Grid, place: &[usize]) -> Vec<f64> {
        let taps = (0..self.kernel[0]).flat_map(|v| (0..self.kernel[1]).map(move |u| (v, u)));
        let pixel = |(v, u)| {
            let (y, x) = (self.seen(0, place[2], v), self.seen(1, place[3], u));
            image.pixel(place[0], place[1], y, x)
        };
        taps.filter_map(pixel).collect()
    }
}

#[test]
fn conv_is_the_sum_over_its_window_and_group() {
    let runner = Runner::new();
    let size = || select(&SIZES[..]);
    // Groups, channels in and out of each, height, width.
    let sizes = (1..=4_usize, 1..=5_usize, 1..=3_usize, size(), size());
    let strategy = (sizes, windows(true), any::<u64>());
    hold(
        &strategy,
        |((groups, per_group, per_group_out, height, width), window, seed)| {
            prop_assume!(window.fits(&[height, width]));
            let x = Grid::drawn(&[2, groups * per_group, height, width], seed);
            let n_out = groups * per_group_out;
            let weight = Grid::drawn(
                &[n_out, per_group, window.kernel[0], window.kernel[1]],
                !seed,
            );
            let mut shape = vec![2, n_out];
            shape.extend(window.outputs(&[height, width]));
            let right = Grid::of(&shape, |place| {
                let first = place[1] / per_group_out * per_group;
                let mut sum = 0.0;
                for channel in 0..per_group {
                    for v in 0..window.kernel[0] {
                        for u in 0..window.kernel[1] {
                            let (y, x_at) =
                                (window.seen(0, place[2], v), window.seen(1, place[3], u));
                            let pixel = x.pixel(place[0], first + channel, y, x_at);
                            sum += pixel.unwrap_or(0.0) * weight.at(&[place[1], channel, v, u]);
                        }
                    }
                }
                sum
            });
            check(&runner, &x, &right, |writer| {
                let weight = writer.floats(&weight.shape, &weight.floats());
                window.said(true, |mut attributes| {
                    attributes.push(Attribute::Integer("group", groups as i64));
                    writer.node("Conv", &["x", &weight], &attributes)
                })
            })
        },
    );
}

#[test]
fn pools_take_the_largest_or_the_mean_of_what_they_see() {
    let runner = Runner::new();
    let size = || select(&SIZES[..]);
    let strategy = (size(), size(), size(), windows(false), any::<u64>());
    hold(&strategy, |(channels, height, width, window, seed)| {
        prop_assume!(window.fits(&[height, width]));
        let x = Grid::drawn(&[2, channels, height, width], seed);
        let mut shape = vec![2, channels];
        shape.extend(window.outputs(&[height, width]));
        let largest = Grid::of(&shape, |place| {
            let pixels = window.pixels(&x, place);
            pixels.into_iter().fold(f64::NEG_INFINITY, f64::max)
        });
        check(&runner, &x, &largest, |writer| {
            window.said(false, |said| writer.node("MaxPool", &["x"], &said))
        })?;
        for counts_padding in [false, true] {
            let mean = Grid::of(&shape, |place| {
                let pixels = window.pixels(&x, place);
                let n_taps = window.kernel[0] * window.kernel[1];
                let n = if counts_padding { n_taps } else { pixels.len() };
                pixels.iter().sum::<f64>() / n as f64
            });
            check(&runner, &x, &mean, |writer| {
                window.said(false, |mut said| {
                    said.push(Attribute::Integer(
                        "count_include_pad",
                        counts_padding.into(),
                    ));
                    writer.node("AveragePool", &["x"], &said)
                })
            })?;
        }
        Ok(())
    });
}

#[test]
fn softmax_is_each_power_of_e_over_their_sum() {
    let runner = Runner::new();
    let shapes = proptest::collection::vec(select(&SIZES[..]), 1..=3);
    let strategy = (shapes, any::<proptest::sample::Index>(), any::<u64>());
    hold(&strategy, |(sizes, axis, seed)| {
        let shape = [vec![3], sizes].concat();
        let axis = 1 + axis.index(shape.len() - 1);
        let x = Grid::drawn(&shape, seed);
        let right = Grid::of(&shape, |place| {
            let mut other = place.to_vec();
            let sum: f64 = (0..shape[axis])
                .map(|at| {
                    other[axis] = at;
                    x.at(&other).exp()
                })
                .sum();
            x.at(place).exp() / sum
        });
        check(&runner, &x, &right, |writer| {
            let axis = Attribute::Integer("axis", axis as i64);
            writer.node("Softmax", &["x"], &[axis])
        })
    });
}

#[test]
fn matmul_multiplies_each_matrix_with_the_one_that_broadcasts_to_it() {
    let runner = Runner::new();
    let size = || select(&SIZES[..]);
    // Rank of the weight, whether its stack is one matrix, stack, m, k, n.
    let strategy = (
        2..=4_usize,
        any::<bool>(),
        size(),
        size(),
        size(),
        size(),
        any::<u64>(),
    );
    hold(&strategy, |(rank, is_one, stack, m, k, n, seed)| {
        let x = Grid::drawn(&[3, stack, m, k], seed);
        let dims = [1, if is_one { 1 } else { stack }, k, n];
        let weight = Grid::drawn(&dims[4 - rank..], !seed);
        let right = Grid::of(&[3, stack, m, n], |place| {
            let &[row, matrix, i, j] = place else {
                unreachable!("four axes")
            };
            let product = |l| x.at(&[row, matrix, i, l]) * weight.at(&[row, matrix, l, j]);
            (0..k).map(product).sum()
        });
        check(&runner, &x, &right, |writer| {
            let weight = writer.floats(&weight.shape, &weight.floats());
            writer.node("MatMul", &["x", &weight], &[])
        })
    });
}
