//! From decoded pixels to a model's input: cut, resize, colour, normalise, lay out.
//!
//! [`Preprocess`] says what is wanted and [`Preprocess::shape`] how large it
//! becomes, before a byte is taken. [`Preprocess::apply`] is the reference that a
//! device of another kind must agree with to 1e-4. Nothing here knows files or
//! codecs.

mod mapping;
mod resample;
mod taps;

use std::sync::Arc;
use std::time::Instant;

use tract_onnx::prelude::f16;

use crate::shape::n_bytes;
use crate::{Account, Charge, Dtype, TensorError};
pub(crate) use mapping::Mapping;
use resample::Resampler;
pub(crate) use taps::Taps;

/// Colours of a pixel as it is decoded.
const N_CHANNELS: usize = 3;

/// How much of red, green and blue gray is (ITU-R BT.601).
const GRAY: [f32; N_CHANNELS] = [0.299, 0.587, 0.114];

/// A decoded image, upright: 8-bit RGB, row after row from the top.
#[derive(Clone, PartialEq, Eq)]
pub struct Pixels {
    width: u32,
    height: u32,
    rgb: Vec<u8>,
}

impl Pixels {
    /// Takes `rgb`, three bytes for each pixel.
    ///
    /// `ShapeMismatch` when there is no pixel, or not three bytes for each.
    pub fn new(width: u32, height: u32, rgb: Vec<u8>) -> Result<Self, TensorError> {
        let n_wanted = n_bytes(Dtype::U8, &[height as usize, width as usize, N_CHANNELS])?;
        if n_wanted == 0 || rgb.len() != n_wanted {
            return Err(mismatch(format!(
                "an RGB image of {width}×{height} takes {n_wanted} bytes and at least one pixel, {} were given",
                rgb.len()
            )));
        }
        Ok(Self { width, height, rgb })
    }

    /// Pixels from left to right, at least 1.
    pub fn width(&self) -> u32 {
        self.width
    }

    /// Pixels from top to bottom, at least 1.
    pub fn height(&self) -> u32 {
        self.height
    }

    /// Row-major, three bytes a pixel.
    pub fn rgb(&self) -> &[u8] {
        &self.rgb
    }
}

impl std::fmt::Debug for Pixels {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Pixels({}×{})", self.width, self.height)
    }
}

/// How an image becomes a tensor.
///
/// In this order: the region is cut out, brought to size with the filter, made
/// gray or put in order, and each value `v` of `0..=255` becomes
/// `(v · scale − mean) / deviation` of its channel.
#[derive(Debug, Clone, PartialEq)]
pub struct Preprocess {
    /// Which part of the image is looked at.
    pub region: Region,
    /// How the region comes to its size.
    pub geometry: Geometry,
    /// How values between pixels are made.
    pub filter: Filter,
    /// Which channels come out, and in which order.
    pub colors: Colors,
    /// What each value is multiplied by.
    pub scale: f32,
    /// What is subtracted then, by channel of the output.
    pub mean: [f32; N_CHANNELS],
    /// What is divided by then, by channel of the output; never 0.
    pub deviation: [f32; N_CHANNELS],
    /// Where the channels stand.
    pub layout: Layout,
    /// `f32`, `f16`, or `u8` (rounded, and kept within `0..=255`).
    pub dtype: Dtype,
}

/// A rectangle in fractions of width and height, origin top left; within `0..=1`
/// and not empty.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Region {
    /// Left edge.
    pub x: f32,
    /// Top edge.
    pub y: f32,
    /// Width.
    pub width: f32,
    /// Height.
    pub height: f32,
}

impl Region {
    /// The whole image.
    pub const WHOLE: Self = Self {
        x: 0.0,
        y: 0.0,
        width: 1.0,
        height: 1.0,
    };
}

/// How a region comes to its size. Sizes are in pixels, width first, each from 1
/// to [`Geometry::MAX_SIDE`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Geometry {
    /// As large as it is.
    Natural,
    /// To exactly this size; the aspect changes.
    Stretch(u32, u32),
    /// Scaled until it covers this size, and cut evenly where it stands over.
    Crop(u32, u32),
    /// Scaled down until it fits into this size, never up; the output is as large as
    /// that makes it.
    Fit(u32, u32),
    /// Scaled until it fits into this size, in the middle of a ground of this RGB
    /// colour.
    Letterbox(u32, u32, [u8; N_CHANNELS]),
}

impl Geometry {
    /// Pixels of a side at most.
    pub const MAX_SIDE: u32 = 16_384;
}

/// How a value between pixels is made. All but `Nearest` look at every source
/// pixel when an image is made smaller, so that nothing aliases.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Filter {
    /// The pixel whose square holds the point.
    Nearest,
    /// Mean over a square.
    Box,
    /// Linear, as far as the next pixel. What others call bilinear.
    Triangle,
    /// Raised cosine, as far as the next pixel.
    Hamming,
    /// Cubic through the pixels (a = −½). What others call bicubic.
    CatmullRom,
    /// Cubic of Mitchell and Netravali (⅓, ⅓): smoother, less ringing.
    Mitchell,
    /// Windowed sinc of three lobes.
    Lanczos3,
}

/// Channels of the output.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Colors {
    /// Red, green, blue.
    Rgb,
    /// Blue, green, red.
    Bgr,
    /// One: 0.299 red + 0.587 green + 0.114 blue (ITU-R BT.601).
    Gray,
}

impl Colors {
    /// How many there are.
    pub fn n_channels(self) -> usize {
        self.mixes().len()
    }

    /// For each of them, how much of red, green and blue it is.
    pub(crate) fn mixes(self) -> &'static [[f32; N_CHANNELS]] {
        const RED: [f32; N_CHANNELS] = [1.0, 0.0, 0.0];
        const GREEN: [f32; N_CHANNELS] = [0.0, 1.0, 0.0];
        const BLUE: [f32; N_CHANNELS] = [0.0, 0.0, 1.0];
        match self {
            Self::Rgb => &[RED, GREEN, BLUE],
            Self::Bgr => &[BLUE, GREEN, RED],
            Self::Gray => &[GRAY],
        }
    }
}

/// Where the channels stand in the shape.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Layout {
    /// `[1, channels, height, width]`.
    Nchw,
    /// `[1, height, width, channels]`.
    Nhwc,
}

impl Default for Preprocess {
    /// The whole image at its own size, RGB, f32 within `0..=1`,
    /// `[1, 3, height, width]`.
    fn default() -> Self {
        Self {
            region: Region::WHOLE,
            geometry: Geometry::Natural,
            filter: Filter::Triangle,
            colors: Colors::Rgb,
            scale: 1.0 / 255.0,
            mean: [0.0; N_CHANNELS],
            deviation: [1.0; N_CHANNELS],
            layout: Layout::Nchw,
            dtype: Dtype::F32,
        }
    }
}

impl Preprocess {
    /// The dtypes that an image becomes.
    pub const DTYPES: [Dtype; 3] = [Dtype::F32, Dtype::F16, Dtype::U8];

    /// Shape of what an image of `width`×`height` becomes.
    pub fn shape(&self, width: u32, height: u32) -> [usize; 4] {
        let mapping = Mapping::new(self, width, height);
        let n_channels = self.colors.n_channels();
        match self.layout {
            Layout::Nchw => [1, n_channels, mapping.height, mapping.width],
            Layout::Nhwc => [1, mapping.height, mapping.width, n_channels],
        }
    }

    /// Bytes of what an image of `width`×`height` becomes. `ShapeMismatch` when
    /// that is more than can be counted, `UnsupportedDtype` for a dtype that no
    /// image becomes.
    pub fn n_bytes(&self, width: u32, height: u32) -> Result<usize, TensorError> {
        if !Self::DTYPES.contains(&self.dtype) {
            return Err(TensorError::UnsupportedDtype {
                device: "preprocess".to_owned(),
                dtype: self.dtype.name(),
            });
        }
        n_bytes(self.dtype, &self.shape(width, height))
    }

    /// Fills `bytes`, the tensor's elements of [`Preprocess::shape`], row-major,
    /// little-endian. `ShapeMismatch` when they are not as many as
    /// [`Preprocess::n_bytes`] says, and what that says itself.
    ///
    /// Takes one row of the source in f32 and the filters' weights beside them.
    pub fn apply(&self, pixels: &Pixels, bytes: &mut [u8]) -> Result<(), TensorError> {
        let n_wanted = self.n_bytes(pixels.width, pixels.height)?;
        if bytes.len() != n_wanted {
            let n_given = bytes.len();
            return Err(mismatch(format!(
                "{n_wanted} bytes are to be filled, {n_given} were given"
            )));
        }
        let mapping = Mapping::new(self, pixels.width, pixels.height);
        let mut write = Writer {
            preprocess: self,
            width: mapping.width,
            n_pixels: mapping.width * mapping.height,
            bytes,
        };
        if let Geometry::Letterbox(_, _, ground) = self.geometry {
            let ground = ground.map(f32::from);
            (0..mapping.width * mapping.height).for_each(|at| write.pixel(at, ground));
        }
        let mut resampler = Resampler::new(self.filter, &mapping, pixels);
        for y in 0..mapping.inner_height {
            let row = resampler.row(y);
            for (x, rgb) in row.as_chunks::<N_CHANNELS>().0.iter().enumerate() {
                let at = (mapping.top + y) * mapping.width + mapping.left + x;
                write.pixel(at, *rgb);
            }
        }
        Ok(())
    }
}

/// Puts resized pixels where the layout wants them, in the dtype.
struct Writer<'a> {
    preprocess: &'a Preprocess,
    width: usize,
    n_pixels: usize,
    bytes: &'a mut [u8],
}

impl Writer<'_> {
    /// Writes pixel `at`, counted in rows of the output; `rgb` is `0..=255`.
    fn pixel(&mut self, at: usize, [red, green, blue]: [f32; N_CHANNELS]) {
        debug_assert!(at < self.n_pixels, "row {} is outside", at / self.width);
        match self.preprocess.colors {
            Colors::Rgb => self.values(at, &[red, green, blue]),
            Colors::Bgr => self.values(at, &[blue, green, red]),
            Colors::Gray => {
                let [of_red, of_green, of_blue] = GRAY;
                self.values(at, &[of_red * red + of_green * green + of_blue * blue]);
            }
        }
    }

    fn values(&mut self, at: usize, values: &[f32]) {
        let preprocess = self.preprocess;
        for (channel, value) in values.iter().enumerate() {
            let value = (value * preprocess.scale - preprocess.mean[channel])
                / preprocess.deviation[channel];
            let index = match preprocess.layout {
                Layout::Nchw => channel * self.n_pixels + at,
                Layout::Nhwc => at * values.len() + channel,
            };
            match preprocess.dtype {
                Dtype::U8 => self.put(index, [rounded(value)]),
                Dtype::F16 => self.put(index, f16::from_f32(value).to_le_bytes()),
                _ => self.put(index, value.to_le_bytes()),
            }
        }
    }

    fn put<const N: usize>(&mut self, index: usize, element: [u8; N]) {
        self.bytes[index * N..(index + 1) * N].copy_from_slice(&element);
    }
}

#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "a cast from float to u8 keeps to 0..=255"
)]
fn rounded(value: f32) -> u8 {
    value.round() as u8
}

fn mismatch(what: String) -> TensorError {
    TensorError::ShapeMismatch {
        place: String::new(),
        what,
    }
}

/// One image on its way to a device's tensor.
#[derive(Debug)]
pub struct Preparation {
    /// The image.
    pub pixels: Arc<Pixels>,
    /// What becomes of it.
    pub preprocess: Preprocess,
    /// Work that has not begun by then is dropped.
    pub deadline: Option<Instant>,
    /// Who is charged for the tensor.
    pub account: Account,
}

impl Preparation {
    /// Shape of the tensor.
    pub fn shape(&self) -> [usize; 4] {
        self.preprocess.shape(self.pixels.width, self.pixels.height)
    }

    /// Charges the tensor to the account, for devices.
    pub fn charge(&self) -> Result<Charge, TensorError> {
        let n_bytes = self
            .preprocess
            .n_bytes(self.pixels.width, self.pixels.height)?;
        self.account.charge(n_bytes as u64, 1)
    }
}
