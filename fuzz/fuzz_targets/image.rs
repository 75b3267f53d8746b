//! The image path: what a file says of itself, its pixels, and the tensor that is
//! made of them.
//!
//! The input is the file; its last bytes are read as the settings too, so that a
//! seed is an image that anything can show.

#![no_main]

use std::panic;
use std::sync::LazyLock;

use arbitrary::{Result, Unstructured};
use libfuzzer_sys::fuzz_target;
use trommel::decode::{Header, ImageBounds};
use trommel::tensor::preprocess::{Colors, Filter, Geometry, Layout, Region};
use trommel::tensor::{Dtype, Preprocess};

/// Bytes that choose the settings.
const N_CHOOSING: usize = 24;

/// Most bytes of a tensor that is made: larger ones only take time.
const MAX_TENSOR_BYTES: usize = 1 << 20;

/// Small, so that a run is short.
const BOUNDS: ImageBounds = ImageBounds {
    bytes: 1 << 16,
    side: 4096,
    pixels: 1 << 16,
    decoded_bytes: 1 << 20,
};

/// A codec that panics is caught; the fuzzer's own hook would end the process
/// before that. Our own panics still do.
static HOOK: LazyLock<()> = LazyLock::new(|| {
    let ends = panic::take_hook();
    panic::set_hook(Box::new(move |panic| {
        let file = panic.location().map_or("", |location| location.file());
        if !file.contains("/registry/src/") {
            ends(panic);
        }
    }));
});

fuzz_target!(|data: &[u8]| {
    LazyLock::force(&HOOK);
    let header = match Header::read(data, &BOUNDS) {
        Ok(header) => header,
        Err(error) => return assert!(!error.to_string().is_empty()),
    };
    let (width, height) = (header.width, header.height);
    assert!(width > 0 && height > 0);
    assert!(u64::from(width) * u64::from(height) <= BOUNDS.pixels);
    assert!(header.working_bytes <= BOUNDS.decoded_bytes + 9 * BOUNDS.pixels);
    let pixels = match header.decode(data) {
        Ok(pixels) => pixels,
        Err(error) => return assert!(!error.to_string().is_empty()),
    };
    assert_eq!((pixels.width(), pixels.height()), (width, height));
    let choosing = &data[data.len().saturating_sub(N_CHOOSING)..];
    let how = preprocess(&mut Unstructured::new(choosing)).expect("any bytes choose");
    let n_bytes = how.n_bytes(width, height).expect("a dtype of images");
    let n_elements: usize = how.shape(width, height).iter().product();
    assert_eq!(n_bytes, n_elements * how.dtype.n_bytes());
    if n_bytes <= MAX_TENSOR_BYTES {
        let mut bytes = vec![0; n_bytes];
        how.apply(&pixels, &mut bytes)
            .expect("as many bytes as it takes");
        if how.dtype == Dtype::F32 && how.deviation[0] == 1.0 {
            let (numbers, _) = bytes.as_chunks::<4>();
            let mut numbers = numbers.iter().map(|bytes| f32::from_le_bytes(*bytes));
            assert!(numbers.all(f32::is_finite), "{how:?}");
        }
    }
});

/// What a plugin may ask for, as the contract checks it.
fn preprocess(bytes: &mut Unstructured<'_>) -> Result<Preprocess> {
    let side = |bytes: &mut Unstructured<'_>| -> Result<u32> {
        match bytes.arbitrary()? {
            true => bytes.int_in_range(1..=64),
            false => bytes.int_in_range(1..=Geometry::MAX_SIDE),
        }
    };
    let geometry = match bytes.int_in_range(0..=4_u8)? {
        0 => Geometry::Natural,
        1 => Geometry::Stretch(side(bytes)?, side(bytes)?),
        2 => Geometry::Crop(side(bytes)?, side(bytes)?),
        3 => Geometry::Fit(side(bytes)?, side(bytes)?),
        _ => Geometry::Letterbox(side(bytes)?, side(bytes)?, bytes.arbitrary()?),
    };
    let start = |bytes: &mut Unstructured<'_>| -> Result<f32> {
        Ok(f32::from(bytes.arbitrary::<u8>()?) / 256.0)
    };
    let region = match bytes.arbitrary()? {
        true => Region::WHOLE,
        false => {
            let (x, y) = (start(bytes)?, start(bytes)?);
            let share = |bytes: &mut Unstructured<'_>| Ok((1.0 - start(bytes)?).max(1e-6));
            let (width, height) = (share(bytes)? * (1.0 - x), share(bytes)? * (1.0 - y));
            Region {
                x,
                y,
                width,
                height,
            }
        }
    };
    let filters = [
        Filter::Nearest,
        Filter::Box,
        Filter::Triangle,
        Filter::Hamming,
        Filter::CatmullRom,
        Filter::Mitchell,
        Filter::Lanczos3,
    ];
    let deviation: f32 = bytes.arbitrary()?;
    Ok(Preprocess {
        region,
        geometry,
        filter: *bytes.choose(&filters)?,
        colors: *bytes.choose(&[Colors::Rgb, Colors::Bgr, Colors::Gray])?,
        layout: *bytes.choose(&[Layout::Nchw, Layout::Nhwc])?,
        dtype: *bytes.choose(&Preprocess::DTYPES)?,
        deviation: [if deviation.is_normal() {
            deviation
        } else {
            1.0
        }; 3],
        ..Preprocess::default()
    })
}
