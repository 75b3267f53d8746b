//! How much a step computes, told from its sizes: what launches and batches are bounded by.

use super::steps::{AttendAxis, Axis, Body, Step};

impl Step {
    /// Operations, roughly; saturating.
    pub(crate) fn n_operations(&self) -> u64 {
        let product = |sizes: &mut dyn Iterator<Item = usize>| {
            sizes.fold(1_u64, |product, size| product.saturating_mul(size as u64))
        };
        let axes = |axes: &[Axis]| product(&mut axes.iter().map(|axis| axis.size));
        let shape = |shape: &[usize]| product(&mut shape.iter().copied());
        match &self.body {
            Body::Map(map) => shape(&map.shape).saturating_mul(map.nodes.len() as u64),
            Body::Contract(it) => [&it.batch, &it.rows, &it.columns, &it.inner]
                .into_iter()
                .fold(2, |product, it| product.saturating_mul(axes(it))),
            Body::Convolve(it) => {
                let outputs = it.spatial.iter().map(|spatial| spatial.output);
                let images = it.input.shape[0];
                shape(&it.kernel.shape)
                    .saturating_mul(2)
                    .saturating_mul(product(&mut outputs.chain([images])))
            }
            Body::Reduce(it) => shape(&it.input.shape),
            Body::Row(it) => shape(&it.input.shape).saturating_mul(4),
            Body::Pool(it) => {
                let windows = it
                    .spatial
                    .iter()
                    .map(|spatial| spatial.output.saturating_mul(spatial.kernel));
                product(&mut windows.chain(it.input.shape[..2].iter().copied()))
            }
            Body::Gather(it) => {
                let rows = shape(&it.data.shape) / (it.data.shape[it.axis].max(1) as u64);
                shape(&it.indices.shape).saturating_mul(rows)
            }
            Body::Concat(it) => shape(&it.shape),
            Body::Pad(it) => shape(&it.shape),
            Body::Resize(it) => shape(&it.shape).saturating_mul(it.along.window as u64),
            Body::Attend(it) => {
                let size = |axes: &[AttendAxis]| product(&mut axes.iter().map(|axis| axis.size));
                let each = size(&it.depth).saturating_add(size(&it.features));
                [&it.batch, &it.rows, &it.keys]
                    .into_iter()
                    .fold(2, |product: u64, it| product.saturating_mul(size(it)))
                    .saturating_mul(each)
            }
            Body::Deconvolve(it) => {
                let inputs = it.spatial.iter().map(|spatial| spatial.input);
                let images = it.input.shape[0];
                shape(&it.kernel.shape)
                    .saturating_mul(2)
                    .saturating_mul(product(&mut inputs.chain([images])))
            }
            Body::Pick(it) => shape(&it.shape),
            Body::Scatter(it) => shape(&it.data.shape).saturating_mul(shape(&it.candidates)),
            Body::Scan(it) => shape(&it.input.shape),
            Body::Top(it) => shape(&it.input.shape).saturating_mul(it.n as u64),
        }
    }
}
