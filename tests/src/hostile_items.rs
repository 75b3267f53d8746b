//! Items that mean harm, made by code: bombs, liars, and files that break off. What
//! becomes of each stands beside it.

use std::io::Write as _;

use flate2::Compression;
use flate2::write::ZlibEncoder;
use image::{DynamicImage, GrayImage, ImageFormat};

use crate::pictures::{drawn, encoded, flag, png_chunk, png_header, turned, with_segment};

/// What `trommel check` makes of a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// A verdict.
    Judged,
    /// An error that holds these words, and no verdict.
    Refused(&'static str),
}

use Outcome::{Judged, Refused};

/// A file that means harm.
#[derive(Debug)]
pub struct HostileItem {
    /// Its name.
    pub name: &'static str,
    /// Its content.
    pub bytes: Vec<u8>,
    /// What becomes of it.
    pub outcome: Outcome,
}

/// All of them, one after the other, so that only one is held at a time.
pub fn all() -> impl Iterator<Item = HostileItem> {
    type Make = fn() -> Vec<u8>;
    const TOO_MANY_PIXELS: Outcome = Refused("pixels, at most 64000000");
    let items: [(&str, Make, Outcome); 37] = [
        (
            "header-40000.png",
            || png_header(40_000, 40_000),
            TOO_MANY_PIXELS,
        ),
        (
            "header-wide.png",
            || png_header(1 << 31, 1),
            Refused("the png image is broken: Memory limit exceeded"),
        ),
        (
            "bomb-64-megapixels.png",
            || png(&DynamicImage::ImageLuma8(GrayImage::new(8000, 8000))),
            Judged,
        ),
        (
            "bomb-16-bit.png",
            deep_png,
            Refused("decoded bytes, at most 268435456"),
        ),
        (
            "bomb-pixels-beyond-the-end.png",
            || inflating_png(b"IDAT"),
            Judged,
        ),
        ("bomb-in-a-text.png", || inflating_png(b"zTXt"), Judged),
        ("bomb-in-a-profile.png", || inflating_png(b"iCCP"), Judged),
        ("bomb-64-megapixels.gif", || gif(8000, 8000, 1), Judged),
        (
            "header-65535.gif",
            || gif(65_535, 65_535, 1),
            TOO_MANY_PIXELS,
        ),
        ("frames-100000.gif", || gif(1, 1, 100_000), Judged),
        (
            "bomb-49-megapixels.webp",
            || {
                encoded(
                    &DynamicImage::ImageLuma8(GrayImage::new(7000, 7000)),
                    ImageFormat::WebP,
                )
            },
            Judged,
        ),
        ("header-16383.webp", lying_webp, TOO_MANY_PIXELS),
        ("header-30000.bmp", lying_bmp, TOO_MANY_PIXELS),
        (
            "cut.png",
            || cut(ImageFormat::Png),
            Refused("the png image is broken"),
        ),
        (
            "cut.jpg",
            || cut(ImageFormat::Jpeg),
            Refused("the jpeg image is broken: it ends before its end marker"),
        ),
        (
            "cut.gif",
            || cut(ImageFormat::Gif),
            Refused("the gif image is broken"),
        ),
        (
            "cut.webp",
            || cut(ImageFormat::WebP),
            Refused("the webp image is broken"),
        ),
        (
            "cut.bmp",
            || cut(ImageFormat::Bmp),
            Refused("the bmp image is broken"),
        ),
        ("a-png.jpg", || png(&photo()), Judged),
        (
            "a-text.png",
            || b"hello".to_vec(),
            Refused("give JPEG, PNG, GIF, WebP or BMP"),
        ),
        (
            "a-png.txt",
            || png(&flag()),
            Refused("text is not UTF-8 at byte 0"),
        ),
        (
            "nothing.png",
            Vec::new,
            Refused("give JPEG, PNG, GIF, WebP or BMP"),
        ),
        (
            "exif-cycle.jpg",
            || exif(b"II*\0\x08\0\0\0\x01\0\x00\x01\x04\0\x01\0\0\0\0\0\0\0\x08\0\0\0"),
            Judged,
        ),
        (
            "exif-count.jpg",
            || exif(b"II*\0\x08\0\0\0\xff\xff\x12\x01\x03\0\xff\xff\xff\xff\x06\0\0\0"),
            Judged,
        ),
        (
            "exif-far-away.jpg",
            || exif(b"MM\0*\xff\xff\xff\xf0"),
            Judged,
        ),
        ("exif-orientation-9.jpg", || turned(&photo(), 9), Judged),
        (
            "not-utf8.txt",
            || b"ok \xc3\x28".to_vec(),
            Refused("text is not UTF-8 at byte 3"),
        ),
        (
            "50-megabytes.txt",
            || vec![b'a'; 50 << 20],
            Refused("has more than 16777216 bytes"),
        ),
        (
            "5-megabytes.txt",
            || vec![b'a'; 5 << 20],
            Refused("bytes of text, at most 4194304"),
        ),
        (
            "parts-10000.json",
            || json("parts-10000.json", "links", &vec!["a"; 10_000]),
            Refused("a list of more than 4096"),
        ),
        (
            "parts-1000.json",
            || json("parts-1000.json", "links", &vec!["a"; 1000]),
            Refused("1000 parts, at most 256"),
        ),
        ("nested-10000.json", || nested("x"), Judged),
        (
            "nested-text-10000.json",
            || nested("text"),
            Refused("invalid type: sequence, expected a string"),
        ),
        (
            "uri-of-html.json",
            || {
                json(
                    "uri-of-html.json",
                    "images",
                    &["data:text/html;base64,AAAA"],
                )
            },
            Refused("its type is `text/html`"),
        ),
        (
            "uri-of-text.json",
            || {
                json(
                    "uri-of-text.json",
                    "images",
                    &["data:image/png;base64,aGVsbG8="],
                )
            },
            Refused("give JPEG, PNG, GIF, WebP or BMP"),
        ),
        (
            "uri-not-base64.json",
            || json("uri-not-base64.json", "images", &["data:image/png,hello"]),
            Refused("it is not base64"),
        ),
        (
            "paths.json",
            || json("paths.json", "images", &["/dev/zero"; 4]),
            Refused("is no file"),
        ),
    ];
    items.into_iter().map(|(name, make, outcome)| HostileItem {
        name,
        bytes: make(),
        outcome,
    })
}

fn png(image: &DynamicImage) -> Vec<u8> {
    encoded(image, ImageFormat::Png)
}

/// Large enough that every codec cuts it in its pixels.
fn photo() -> DynamicImage {
    // Casts keep the low bits: noise is wanted.
    drawn(96, 96, |x, y| {
        let hash = (x * 96 + y).wrapping_mul(2_654_435_761);
        [(hash >> 8) as u8, (hash >> 16) as u8, (hash >> 24) as u8]
    })
}

fn cut(format: ImageFormat) -> Vec<u8> {
    let mut file = encoded(&photo(), format);
    file.truncate(file.len() / 2);
    file
}

/// 49 megapixels of 16-bit RGBA: as many bytes decoded as 131 megapixels of RGB.
fn deep_png() -> Vec<u8> {
    let mut file = png_header(7000, 7000);
    // Depth and colour type of the header chunk, whose checksum no codec that limits
    // itself gets to; it is made right all the same.
    file.truncate(8);
    let mut header = [7000_u32.to_be_bytes(), 7000_u32.to_be_bytes()].concat();
    header.extend([16, 6, 0, 0, 0]);
    file.extend(png_chunk(b"IHDR", &header));
    file.extend(png_chunk(b"IDAT", &[]));
    file
}

/// A small PNG with a chunk that inflates to 256 MiB.
fn inflating_png(chunk: &[u8; 4]) -> Vec<u8> {
    let mut bomb = ZlibEncoder::new(Vec::new(), Compression::best());
    let zeros = vec![0; 1 << 20];
    for _ in 0..256 {
        bomb.write_all(&zeros).expect("a vector takes it");
    }
    let bomb = bomb.finish().expect("a vector takes it");
    let whole = png(&flag());
    if chunk == b"IDAT" {
        // In place of the real pixels: three bytes of zeros would do.
        let mut file = png_header(3, 2);
        file.truncate(8 + 25);
        file.extend(png_chunk(chunk, &bomb));
        file.extend(png_chunk(b"IEND", &[]));
        return file;
    }
    let mut named = b"name\0\0".to_vec();
    named.extend(bomb);
    // After the signature and the header chunk.
    let (head, tail) = whole.split_at(8 + 25);
    [head, &png_chunk(chunk, &named), tail].concat()
}

/// A black GIF of `n_frames` frames, each of its full size.
fn gif(width: u16, height: u16, n_frames: usize) -> Vec<u8> {
    let size = [width.to_le_bytes(), height.to_le_bytes()].concat();
    let mut file = b"GIF89a".to_vec();
    file.extend(&size);
    // A palette of two colours.
    file.extend([0x80, 0, 0, 0, 0, 0, 255, 255, 255]);
    let frame = {
        let mut frame = vec![0x2c, 0, 0, 0, 0];
        frame.extend(&size);
        frame.extend([0, 2]);
        let pixels = u64::from(width) * u64::from(height);
        for block in lzw_of_zeros(pixels).chunks(255) {
            frame.push(u8::try_from(block.len()).expect("a block's length"));
            frame.extend(block);
        }
        frame.push(0);
        frame
    };
    for _ in 0..n_frames {
        file.extend(&frame);
    }
    file.push(0x3b);
    file
}

/// `n` zeros in LZW of two bits: each code stands for one zero more than the one
/// before, until the table is full and begun anew.
fn lzw_of_zeros(n: u64) -> Vec<u8> {
    const CLEAR: u32 = 4;
    const END: u32 = 5;
    const LAST: u32 = 4095;
    let mut bits = Bits::default();
    bits.put(CLEAR, 3);
    let mut left = n;
    while left > 0 {
        bits.put(0, 3);
        left -= 1;
        for code in 6..=LAST {
            let width = u32::BITS - code.leading_zeros();
            let stands_for = u64::from(code) - 4;
            if left < stands_for {
                // The table is begun anew for the rest.
                bits.put(CLEAR, width);
                break;
            }
            bits.put(code, width);
            left -= stands_for;
            if code == LAST {
                bits.put(CLEAR, width);
            }
        }
    }
    bits.put(END, 3);
    bits.bytes()
}

/// Bits from the lowest on.
#[derive(Default)]
struct Bits {
    bytes: Vec<u8>,
    pending: u64,
    n_pending: u32,
}

impl Bits {
    fn put(&mut self, code: u32, width: u32) {
        self.pending |= u64::from(code) << self.n_pending;
        self.n_pending += width;
        while self.n_pending >= 8 {
            self.bytes.push((self.pending & 0xff) as u8);
            self.pending >>= 8;
            self.n_pending -= 8;
        }
    }

    fn bytes(mut self) -> Vec<u8> {
        if self.n_pending > 0 {
            self.bytes.push((self.pending & 0xff) as u8);
        }
        self.bytes
    }
}

/// A small WebP whose header says 16,383 by 16,383.
fn lying_webp() -> Vec<u8> {
    let mut file = encoded(&flag(), ImageFormat::WebP);
    let signature = file
        .windows(5)
        .position(|some| some == b"VP8L\0" || some.starts_with(b"VP8L"));
    // Chunk name, its length, a signature byte, then two sides less one, 14 bits each.
    let at = signature.expect("the codec writes lossless") + 9;
    let sides = 16_382_u32 | 16_382 << 14;
    let rest = u32::from_le_bytes(file[at..at + 4].try_into().expect("four bytes")) >> 28 << 28;
    file[at..at + 4].copy_from_slice(&(sides | rest).to_le_bytes());
    file
}

/// A small bitmap whose header says 30,000 by 30,000.
fn lying_bmp() -> Vec<u8> {
    let mut file = encoded(&flag(), ImageFormat::Bmp);
    for at in [18, 22] {
        file[at..at + 4].copy_from_slice(&30_000_u32.to_le_bytes());
    }
    file
}

fn exif(tiff: &[u8]) -> Vec<u8> {
    let segment = [b"Exif\0\0", tiff].concat();
    with_segment(&encoded(&photo(), ImageFormat::Jpeg), 0xe1, &segment)
}

/// An item with lists in lists under `key`.
fn nested(key: &str) -> Vec<u8> {
    let (open, close) = ("[".repeat(10_000), "]".repeat(10_000));
    format!(r#"{{"id":"nested-10000.json","{key}":{open}{close},"title":"hello"}}"#).into_bytes()
}

fn json(id: &str, key: &str, list: &[&str]) -> Vec<u8> {
    let list: Vec<String> = list.iter().map(|element| format!("{element:?}")).collect();
    format!(r#"{{"id":"{id}","{key}":[{}]}}"#, list.join(",")).into_bytes()
}
