//! From an image's bytes to pixels: what it says of itself, and then what it holds.
//!
//! Pure, and as slow as the image asks: run it on threads that may be held up.
//! What an image says of its size is checked against bounds before its pixels take
//! memory. An image that cannot be shown whole and upright is an error, never
//! mended.

use std::fmt;
use std::io::Cursor;
use std::panic::{AssertUnwindSafe, catch_unwind};

use ::image::metadata::Orientation;
use ::image::{DynamicImage, ImageDecoder, ImageError, ImageReader, Limits};
use trommel_tensor::Pixels;

use crate::excerpt::printable;

/// The codecs that are spoken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ImageFormat {
    /// Baseline and progressive JPEG.
    Jpeg,
    /// PNG; of an animated one, the default image.
    Png,
    /// GIF; of an animated one, the first frame.
    Gif,
    /// WebP, lossy and lossless; of an animated one, the first frame.
    Webp,
    /// Windows bitmap.
    Bmp,
}

impl ImageFormat {
    const ALL: [Self; 5] = [Self::Jpeg, Self::Png, Self::Gif, Self::Webp, Self::Bmp];

    /// Its name in the contract and in messages, such as `jpeg`.
    pub fn name(self) -> &'static str {
        match self {
            Self::Jpeg => "jpeg",
            Self::Png => "png",
            Self::Gif => "gif",
            Self::Webp => "webp",
            Self::Bmp => "bmp",
        }
    }

    fn codec(self) -> ::image::ImageFormat {
        match self {
            Self::Jpeg => ::image::ImageFormat::Jpeg,
            Self::Png => ::image::ImageFormat::Png,
            Self::Gif => ::image::ImageFormat::Gif,
            Self::Webp => ::image::ImageFormat::WebP,
            Self::Bmp => ::image::ImageFormat::Bmp,
        }
    }

    /// Told by the first bytes; what a file is called says nothing.
    fn of(bytes: &[u8]) -> Option<Self> {
        let guessed = ::image::guess_format(bytes).ok()?;
        Self::ALL
            .into_iter()
            .find(|format| format.codec() == guessed)
    }
}

impl fmt::Display for ImageFormat {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// The most that one image may hold. Larger ones are refused.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ImageBounds {
    /// Bytes as given.
    pub bytes: usize,
    /// Pixels of a side.
    pub side: u32,
    /// Pixels in all.
    pub pixels: u64,
    /// Bytes as the codec decodes them: up to 8 for each pixel.
    pub decoded_bytes: u64,
}

impl Default for ImageBounds {
    /// 32 MiB, 65,535 pixels of a side, 64 megapixels, 256 MiB decoded.
    fn default() -> Self {
        Self {
            bytes: 32 << 20,
            side: 65_535,
            pixels: 64_000_000,
            decoded_bytes: 256 << 20,
        }
    }
}

/// Bytes that a codec may take beside the pixels.
const MAX_HEADER_BYTES: u64 = 16 << 20;

/// What an image says of itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Header {
    /// Its codec.
    pub format: ImageFormat,
    /// Pixels from left to right, upright.
    pub width: u32,
    /// Pixels from top to bottom, upright.
    pub height: u32,
    /// Bytes that decoding takes at its peak, as far as they grow with the image:
    /// what the codec works on and decodes into, and the RGB that is made of it.
    pub working_bytes: u64,
    /// What EXIF says was done to it.
    orientation: Orientation,
}

/// Why something is no image that can be judged. Whoever sent it is to blame.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum DecodeError {
    /// None of the codecs.
    #[error("not an image that can be judged; give JPEG, PNG, GIF, WebP or BMP")]
    UnknownFormat,
    /// Larger than it may be.
    #[error("the image has {given} {what}, at most {most} are taken; make it smaller")]
    TooLarge {
        /// What there is too much of.
        what: &'static str,
        /// How much there is.
        given: u64,
        /// How much there may be.
        most: u64,
    },
    /// The codec cannot read it.
    #[error("the {format} image is broken: {what}; save it anew")]
    Broken {
        /// Its codec.
        format: ImageFormat,
        /// What the codec says.
        what: String,
    },
}

impl Header {
    /// Reads what `bytes` say of themselves, and checks it against `bounds`.
    pub fn read(bytes: &[u8], bounds: &ImageBounds) -> Result<Self, DecodeError> {
        within("bytes", bytes.len() as u64, bounds.bytes as u64)?;
        let format = ImageFormat::of(bytes).ok_or(DecodeError::UnknownFormat)?;
        guarded(format, || {
            let mut decoder = decoder(format, bytes, 0)?;
            let (width, height) = decoder.dimensions();
            let decoded_bytes = decoder.total_bytes();
            if width == 0 || height == 0 {
                let what = "it has no pixels".to_owned();
                return Err(DecodeError::Broken { format, what });
            }
            for side in [width, height] {
                within("pixels on a side", side.into(), bounds.side.into())?;
            }
            within(
                "pixels",
                u64::from(width) * u64::from(height),
                bounds.pixels,
            )?;
            within("decoded bytes", decoded_bytes, bounds.decoded_bytes)?;
            let n_pixels = u64::from(width) * u64::from(height);
            // Coefficients of all scans: a 16-bit number for each of three channels.
            let coefficients = match format == ImageFormat::Jpeg && is_progressive(bytes) {
                true => n_pixels * 6,
                false => 0,
            };
            // Broken EXIF turns nothing: the picture is there all the same.
            let orientation = decoder.orientation().unwrap_or(Orientation::NoTransforms);
            let (width, height) = match is_lying(orientation) {
                true => (height, width),
                false => (width, height),
            };
            Ok(Self {
                format,
                width,
                height,
                working_bytes: decoded_bytes + coefficients + n_pixels * 3,
                orientation,
            })
        })
    }

    /// Decodes the image that this is the header of: upright, and what shows
    /// through it on white.
    pub fn decode(&self, bytes: &[u8]) -> Result<Pixels, DecodeError> {
        let format = self.format;
        guarded(format, || {
            if format == ImageFormat::Jpeg && !ends_as_jpeg(bytes) {
                let what = "it ends before its end marker".to_owned();
                return Err(DecodeError::Broken { format, what });
            }
            let decoded = DynamicImage::from_decoder(decoder(format, bytes, self.working_bytes)?);
            let mut image = decoded.map_err(|error| broken(format, &error))?;
            image.apply_orientation(self.orientation);
            let (width, height) = (image.width(), image.height());
            Pixels::new(width, height, on_white(image)).map_err(|error| DecodeError::Broken {
                format,
                what: error.to_string(),
            })
        })
    }
}

fn within(what: &'static str, given: u64, most: u64) -> Result<(), DecodeError> {
    match given <= most {
        true => Ok(()),
        false => Err(DecodeError::TooLarge { what, given, most }),
    }
}

/// A codec that may take `pixel_bytes`, and what it needs besides.
fn decoder<'a>(
    format: ImageFormat,
    bytes: &'a [u8],
    pixel_bytes: u64,
) -> Result<impl ImageDecoder + 'a, DecodeError> {
    let mut reader = ImageReader::with_format(Cursor::new(bytes), format.codec());
    let mut limits = Limits::default();
    // The sides are checked by us, who say so in our words. Beside the pixels a codec
    // keeps tables, a few rows, and what comes before them, such as a colour profile,
    // which may inflate to anything.
    limits.max_alloc = Some(pixel_bytes + MAX_HEADER_BYTES);
    reader.limits(limits);
    reader
        .into_decoder()
        .map_err(|error| broken(format, &error))
}

/// A panic in a codec is the image's fault too, and ends nothing but its reading.
fn guarded<T>(
    format: ImageFormat,
    read: impl FnOnce() -> Result<T, DecodeError>,
) -> Result<T, DecodeError> {
    catch_unwind(AssertUnwindSafe(read)).unwrap_or_else(|_| {
        let what = "the codec gave up on it".to_owned();
        Err(DecodeError::Broken { format, what })
    })
}

fn broken(format: ImageFormat, error: &ImageError) -> DecodeError {
    let mut what = error.to_string();
    // The codec's own words end in a full stop now and then.
    what.truncate(what.trim_end_matches(['.', '\n']).len());
    DecodeError::Broken {
        format,
        what: printable(&what, 200),
    }
}

/// Whether upright means that width and height change places.
fn is_lying(orientation: Orientation) -> bool {
    matches!(
        orientation,
        Orientation::Rotate90
            | Orientation::Rotate270
            | Orientation::Rotate90FlipH
            | Orientation::Rotate270FlipH
    )
}

/// Ends a JPEG.
const END_OF_IMAGE: u8 = 0xd9;

/// Begins coded data.
const START_OF_SCAN: u8 = 0xda;

/// Begins a frame that comes in several scans over the whole image.
const PROGRESSIVE_FRAME: u8 = 0xc2;

/// The markers of a JPEG in their order, segment by segment: cameras put pictures
/// into headers and write things of their own after the end.
fn jpeg_markers(bytes: &[u8]) -> impl Iterator<Item = u8> {
    // The marker of the beginning has no length.
    let mut at = 2;
    std::iter::from_fn(move || {
        loop {
            let (first, second) = (*bytes.get(at)?, *bytes.get(at + 1)?);
            let (step, is_marker) = match (first, second) {
                // Restart markers and the like, or a byte of coded data.
                (0xff, 0x00 | 0x01 | 0xd0..=0xd7) => (2, false),
                (0xff, 0xff) | (0..=0xfe, _) => (1, false),
                (0xff, END_OF_IMAGE) => (2, true),
                (0xff, _) => {
                    let length = bytes.get(at + 2..at + 4)?;
                    let length = u16::from_be_bytes([length[0], length[1]]);
                    (2 + usize::from(length), true)
                }
            };
            at += step;
            if is_marker {
                return Some(second);
            }
        }
    })
}

/// Whether a JPEG is whole: the codec fills what is missing with gray.
fn ends_as_jpeg(bytes: &[u8]) -> bool {
    jpeg_markers(bytes).any(|marker| marker == END_OF_IMAGE)
}

fn is_progressive(bytes: &[u8]) -> bool {
    jpeg_markers(bytes)
        .take_while(|&marker| marker != START_OF_SCAN)
        .any(|marker| marker == PROGRESSIVE_FRAME)
}

/// Three bytes a pixel; what is not opaque is laid on white.
fn on_white(image: DynamicImage) -> Vec<u8> {
    if !image.color().has_alpha() {
        return image.into_rgb8().into_raw();
    }
    let rgba = image.into_rgba8();
    let mut rgb = Vec::with_capacity(rgba.len() / 4 * 3);
    for [red, green, blue, alpha] in rgba.as_chunks::<4>().0 {
        let over = |value: u8| {
            let (value, alpha) = (u32::from(value), u32::from(*alpha));
            let laid = value * alpha + 255 * (255 - alpha);
            u8::try_from((laid + 127) / 255).expect("a mean of two bytes")
        };
        rgb.extend([over(*red), over(*green), over(*blue)]);
    }
    rgb
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A JPEG's skeleton: a picture in its header, the real frame, and its data.
    fn skeleton(frame: u8, tail: &[u8]) -> Vec<u8> {
        let thumbnail = [0xff, 0xd8, 0xff, 0xda, 0, 2, 9, 9, 0xff, 0xd9];
        let mut bytes = vec![0xff, 0xd8, 0xff, 0xe1, 0, 12];
        bytes.extend(thumbnail);
        bytes.extend([0xff, frame, 0, 4, 7, 7]);
        bytes.extend([0xff, 0xda, 0, 3, 5, 1, 2, 0xff, 0, 3, 0xff, 0xd0, 4]);
        bytes.extend(tail);
        bytes
    }

    #[test]
    fn the_end_of_a_picture_in_the_header_is_not_the_end() {
        assert!(!ends_as_jpeg(&skeleton(0xc0, &[])));
        assert!(ends_as_jpeg(&skeleton(0xc0, &[0xff, 0xd9])));
        assert!(ends_as_jpeg(&skeleton(
            0xc0,
            &[0xff, 0xff, 0xd9, 0xff, 0xda, 1]
        )));
    }

    #[test]
    fn a_jpeg_that_breaks_off_in_a_segment_does_not_end() {
        assert!(!ends_as_jpeg(&[
            0xff, 0xd8, 0xff, 0xe1, 0xff, 0xff, 0xff, 0xd9
        ]));
        assert!(!ends_as_jpeg(&[0xff, 0xd8, 0xff, 0xe1]));
        assert!(!ends_as_jpeg(&[]));
    }

    #[test]
    fn a_progressive_frame_is_seen_in_the_image_and_not_in_its_header() {
        assert!(is_progressive(&skeleton(0xc2, &[])));
        assert!(!is_progressive(&skeleton(0xc0, &[0xff, 0xc2, 0, 2])));
    }
}
