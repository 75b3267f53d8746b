//! Small images made by code, in every codec that is judged.

use std::io::Cursor;

use image::{DynamicImage, ImageFormat, Rgb, RgbImage};

/// An image whose pixel at `x`, `y` is `color(x, y)`.
pub fn drawn(width: u32, height: u32, color: impl Fn(u32, u32) -> [u8; 3]) -> DynamicImage {
    RgbImage::from_fn(width, height, |x, y| Rgb(color(x, y))).into()
}

/// Three by two pixels: red, green, blue above black, gray, white.
pub fn flag() -> DynamicImage {
    const COLORS: [[[u8; 3]; 3]; 2] = [
        [[255, 0, 0], [0, 255, 0], [0, 0, 255]],
        [[0, 0, 0], [128, 128, 128], [255, 255, 255]],
    ];
    drawn(3, 2, |x, y| COLORS[y as usize][x as usize])
}

/// The file of an image.
///
/// # Panics
///
/// When the codec cannot hold it.
pub fn encoded(image: &DynamicImage, format: ImageFormat) -> Vec<u8> {
    let mut file = Cursor::new(Vec::new());
    image
        .write_to(&mut file, format)
        .expect("the codec holds RGB");
    file.into_inner()
}

/// A JPEG whose EXIF says that it must be turned to stand upright: `orientation` is
/// 1 to 8.
pub fn turned(image: &DynamicImage, orientation: u16) -> Vec<u8> {
    // TIFF in little-endian, one directory of one entry: tag 0x0112, a short.
    let mut exif = b"Exif\0\0II*\0\x08\0\0\0\x01\0\x12\x01\x03\0\x01\0\0\0".to_vec();
    exif.extend(orientation.to_le_bytes());
    exif.extend([0; 6]);
    with_segment(&encoded(image, ImageFormat::Jpeg), 0xe1, &exif)
}

/// A JPEG with one more segment right after its beginning.
///
/// # Panics
///
/// When the segment is longer than a segment can be.
pub fn with_segment(jpeg: &[u8], marker: u8, segment: &[u8]) -> Vec<u8> {
    let length = u16::try_from(segment.len() + 2).expect("a segment's length");
    let mut file = jpeg[..2].to_vec();
    file.extend([0xff, marker]);
    file.extend(length.to_be_bytes());
    file.extend(segment);
    file.extend(&jpeg[2..]);
    file
}

/// A PNG that says it is of this size, and holds no pixel.
pub fn png_header(width: u32, height: u32) -> Vec<u8> {
    let mut header = [width.to_be_bytes(), height.to_be_bytes()].concat();
    header.extend([8, 2, 0, 0, 0]);
    let mut file = b"\x89PNG\r\n\x1a\n".to_vec();
    file.extend(png_chunk(b"IHDR", &header));
    // The codec reads on to the first chunk of pixels.
    file.extend(png_chunk(b"IDAT", &[]));
    file
}

/// A chunk of a PNG: length, name, content, checksum.
///
/// # Panics
///
/// When the content is longer than a chunk can be.
pub fn png_chunk(name: &[u8; 4], content: &[u8]) -> Vec<u8> {
    let length = u32::try_from(content.len()).expect("a chunk's length");
    let named = [name, content].concat();
    let checksum = crc(&named);
    [&length.to_be_bytes(), &named[..], &checksum.to_be_bytes()].concat()
}

/// CRC-32 as PNG has it (ISO 3309).
fn crc(bytes: &[u8]) -> u32 {
    !bytes.iter().fold(!0, |sum, byte| {
        (0..8).fold(sum ^ u32::from(*byte), |sum, _| {
            (sum >> 1) ^ (0xedb8_8320 & (sum & 1).wrapping_neg())
        })
    })
}
