//! Operators that look through windows: convolution, pools, resizing.

use trommel_tests::onnx::Attribute;

use super::chain::{Chain, SIZES, Value};

/// How a window goes over one or two axes.
#[derive(Debug, Clone)]
pub(super) struct Window {
    pub(super) kernel: Vec<usize>,
    pub(super) strides: Vec<usize>,
    pub(super) dilations: Vec<usize>,
    pub(super) before: Vec<usize>,
    pub(super) after: Vec<usize>,
}

impl Window {
    /// One that fits `sizes`, padding included. Padding stays below the kernel, else
    /// a pool would look at nothing.
    fn drawn(chain: &mut Chain, sizes: &[usize], may_dilate: bool) -> Self {
        let mut window = Self {
            kernel: vec![],
            strides: vec![],
            dilations: vec![],
            before: vec![],
            after: vec![],
        };
        for &size in sizes {
            let kernel = 1 + chain.random.below(size.min(3));
            let dilation = if may_dilate {
                1 + chain.random.below(2)
            } else {
                1
            };
            // A dilated kernel may be larger than the image; then it is not dilated.
            let fits = (kernel - 1) * dilation < size;
            window.kernel.push(kernel);
            window.dilations.push(if fits { dilation } else { 1 });
            window.strides.push(1 + chain.random.below(3));
            window.before.push(chain.random.below(kernel));
            window.after.push(chain.random.below(kernel));
        }
        window
    }

    /// Sizes of what comes out.
    pub(super) fn outputs(&self, sizes: &[usize]) -> Vec<usize> {
        let output = |(axis, &size): (usize, &usize)| {
            let span = (self.kernel[axis] - 1) * self.dilations[axis] + 1;
            (size + self.before[axis] + self.after[axis] - span) / self.strides[axis] + 1
        };
        sizes.iter().enumerate().map(output).collect()
    }

    /// Calls `write` with the attributes that say this.
    pub(super) fn said<T>(
        &self,
        says_dilations: bool,
        write: impl FnOnce(Vec<Attribute<'_>>) -> T,
    ) -> T {
        let signed = |list: &[usize]| -> Vec<i64> { list.iter().map(|&n| n as i64).collect() };
        let (kernel, strides) = (signed(&self.kernel), signed(&self.strides));
        let (dilations, mut pads) = (signed(&self.dilations), signed(&self.before));
        pads.extend(signed(&self.after));
        let mut attributes = vec![
            Attribute::Integers("kernel_shape", &kernel),
            Attribute::Integers("strides", &strides),
            Attribute::Integers("pads", &pads),
        ];
        if says_dilations {
            attributes.push(Attribute::Integers("dilations", &dilations));
        }
        write(attributes)
    }
}

/// Channels, and one or two axes to look along.
fn image(chain: &Chain) -> Option<(usize, Vec<usize>)> {
    match &chain.x.shape[..] {
        [channels, sizes @ ..] if matches!(sizes.len(), 1 | 2) => Some((*channels, sizes.to_vec())),
        _ => None,
    }
}

/// In groups, depthwise, or neither.
pub(super) fn conv(chain: &mut Chain) -> Option<Value> {
    let x = chain.floats()?;
    let (channels, sizes) = image(chain)?;
    let divisors: Vec<usize> = (1..=channels).filter(|n| channels % n == 0).collect();
    let groups = chain.choose(&divisors);
    let per_group = channels / groups;
    let channels_out = if per_group == 1 && groups > 1 {
        // Depthwise, with as many outputs or twice as many.
        groups * (1 + chain.random.below(2))
    } else if groups == 1 {
        chain.choose(&SIZES)
    } else {
        groups * (1 + chain.random.below(3))
    };
    let window = Window::drawn(chain, &sizes, true);
    let mut dims = vec![channels_out, per_group];
    dims.extend(&window.kernel);
    let fan_in: usize = dims[1..].iter().product();
    let weight = chain
        .writer
        .drawn(&dims, 0.0, (fan_in as f32).sqrt().recip());
    let mut inputs = vec![x, weight];
    if chain.once_in(2) {
        inputs.push(chain.writer.drawn(&[channels_out], 0.0, 1.0));
    }
    let inputs: Vec<&str> = inputs.iter().map(String::as_str).collect();
    let name = window.said(true, |mut attributes| {
        attributes.push(Attribute::Integer("group", groups as i64));
        chain.writer.node("Conv", &inputs, &attributes)
    });
    let mut shape = vec![channels_out];
    shape.extend(window.outputs(&sizes));
    Some(chain.made(name, shape, 2.0 * chain.x.scale + 2.0))
}

pub(super) fn max_pool(chain: &mut Chain) -> Option<Value> {
    let x = chain.floats()?;
    let (channels, sizes) = image(chain)?;
    let window = Window::drawn(chain, &sizes, true);
    let name = window.said(true, |attributes| {
        chain.writer.node("MaxPool", &[&x], &attributes)
    });
    let mut shape = vec![channels];
    shape.extend(window.outputs(&sizes));
    Some(chain.moved(name, shape))
}

/// Counting what was padded, or not.
pub(super) fn average_pool(chain: &mut Chain) -> Option<Value> {
    let x = chain.floats()?;
    let (channels, sizes) = image(chain)?;
    let window = Window::drawn(chain, &sizes, false);
    let counts = i64::from(chain.once_in(2));
    let name = window.said(false, |mut attributes| {
        attributes.push(Attribute::Integer("count_include_pad", counts));
        chain.writer.node("AveragePool", &[&x], &attributes)
    });
    let mut shape = vec![channels];
    shape.extend(window.outputs(&sizes));
    Some(chain.made(name, shape, chain.x.scale))
}

pub(super) fn global_average_pool(chain: &mut Chain) -> Option<Value> {
    let x = chain.floats()?;
    let (channels, sizes) = image(chain)?;
    let name = chain.writer.node("GlobalAveragePool", &[&x], &[]);
    chain.has_odd_sum = true;
    let mut shape = vec![channels];
    shape.extend(sizes.iter().map(|_| 1));
    Some(chain.made(name, shape, chain.x.scale))
}

/// To twice, three times or half the size, by the nearest pixel or between two, on
/// each grid that files ask for.
pub(super) fn resize(chain: &mut Chain) -> Option<Value> {
    let x = chain.floats()?;
    let (channels, sizes) = image(chain)?;
    let is_nearest = chain.once_in(2);
    let grid = if is_nearest {
        chain.choose(&["asymmetric", "half_pixel"])
    } else {
        chain.choose(&[
            "asymmetric",
            "half_pixel",
            "align_corners",
            "pytorch_half_pixel",
        ])
    };
    let (mut scales, mut shape) = (vec![1.0, 1.0], vec![channels]);
    for size in sizes {
        let halves = size % 2 == 0 && chain.once_in(3);
        let scale = if halves {
            0.5
        } else {
            chain.choose(&[1.0, 2.0, 3.0])
        };
        scales.push(scale);
        shape.push((size as f32 * scale) as usize);
    }
    let n = scales.len();
    let scales = chain.writer.floats(&[n], &scales);
    let mode = if is_nearest { "nearest" } else { "linear" };
    let mut attributes = vec![
        Attribute::Text("mode", mode),
        Attribute::Text("coordinate_transformation_mode", grid),
    ];
    if is_nearest {
        let rounding = if grid == "asymmetric" {
            "floor"
        } else {
            "round_prefer_floor"
        };
        attributes.push(Attribute::Text("nearest_mode", rounding));
    }
    let name = chain.writer.node("Resize", &[&x, "", &scales], &attributes);
    if is_nearest {
        return Some(chain.moved(name, shape));
    }
    Some(chain.made(name, shape, chain.x.scale))
}
