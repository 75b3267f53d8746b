//! Images behind handles, and how they become tensors.

pub use crate::bindings::trommel::detector::images::{Colors, Filter, Format, Layout};

use crate::bindings::trommel::detector::images;
use crate::{Dtype, Failure, Tensor};

/// An image part of the item. Its pixels stay in the host.
pub struct Image(pub(crate) images::Image);

impl Image {
    /// Pixels from left to right, as a person sees it: EXIF orientation is applied.
    pub fn width(&self) -> u32 {
        self.0.width()
    }

    /// Pixels from top to bottom, as a person sees it.
    pub fn height(&self) -> u32 {
        self.0.height()
    }

    /// Its codec, as its bytes tell.
    pub fn format(&self) -> Format {
        self.0.format()
    }

    /// Bytes of the file.
    pub fn n_bytes(&self) -> u64 {
        self.0.bytes()
    }

    /// The image as a tensor of one row. Waits for the codec and the device.
    ///
    /// `invalid-content` when the image is broken: give it back from `detect` with
    /// `?`, and the item is blamed, not the plugin.
    pub fn to_tensor(&self, how: &Preprocess) -> Result<Tensor, Failure> {
        Ok(Tensor(self.0.to_tensor(&how.0)?))
    }
}

/// How an image becomes a tensor; made with [`Preprocess::new`], then told what
/// differs. Each value `v` of `0..=255` becomes `(v * scale - mean) / deviation`.
///
/// An argument outside what a method says ends the call as the plugin's fault.
pub struct Preprocess(images::Preprocess);

impl Preprocess {
    /// The whole image at its own size, [`Filter::Triangle`], RGB, f32 within
    /// `0..=1`, `[1, 3, height, width]`.
    #[must_use]
    #[expect(clippy::new_without_default, reason = "it makes a handle in the host")]
    pub fn new() -> Self {
        Self(images::Preprocess::new())
    }

    /// Exactly this size, each side from 1 to 16,384 pixels; the aspect changes.
    #[must_use]
    pub fn stretch(self, width: u32, height: u32) -> Self {
        self.0.stretch(width, height);
        self
    }

    /// Scaled until it covers this size, and cut evenly where it stands over.
    #[must_use]
    pub fn crop(self, width: u32, height: u32) -> Self {
        self.0.crop(width, height);
        self
    }

    /// Scaled down until it fits into this size, never up; the tensor is as large
    /// as that makes it.
    #[must_use]
    pub fn fit(self, width: u32, height: u32) -> Self {
        self.0.fit(width, height);
        self
    }

    /// Scaled until it fits into this size, in the middle of a ground of this RGB
    /// colour.
    #[must_use]
    pub fn letterbox(self, width: u32, height: u32, [red, green, blue]: [u8; 3]) -> Self {
        self.0.letterbox(width, height, red, green, blue);
        self
    }

    /// Looks at this rectangle only, in fractions, origin top left.
    #[must_use]
    pub fn region(self, x: f32, y: f32, width: f32, height: f32) -> Self {
        self.0.region(x, y, width, height);
        self
    }

    /// How the size is reached.
    #[must_use]
    pub fn filter(self, filter: Filter) -> Self {
        self.0.filter(filter);
        self
    }

    /// Which channels.
    #[must_use]
    pub fn colors(self, colors: Colors) -> Self {
        self.0.colors(colors);
        self
    }

    /// What each value is multiplied by; 1/255 unless it is set.
    #[must_use]
    pub fn scale(self, scale: f32) -> Self {
        self.0.scale(scale);
        self
    }

    /// What is subtracted then: one number, or one for each of three channels.
    #[must_use]
    pub fn mean(self, mean: &[f32]) -> Self {
        self.0.mean(mean);
        self
    }

    /// What is divided by then, not 0: one number, or one for each of three channels.
    #[must_use]
    pub fn deviation(self, deviation: &[f32]) -> Self {
        self.0.deviation(deviation);
        self
    }

    /// Where the channels stand.
    #[must_use]
    pub fn layout(self, layout: Layout) -> Self {
        self.0.layout(layout);
        self
    }

    /// `F32`, `F16`, or `U8`: rounded, and kept within `0..=255`; set the scale too.
    #[must_use]
    pub fn dtype(self, dtype: Dtype) -> Self {
        self.0.dtype(dtype);
        self
    }
}
