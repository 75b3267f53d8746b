//! Images made into tensors on a GPU: the same as on the CPU, whatever their size and
//! whatever is asked, and an answer whatever the GPU does. On whatever adapter there is;
//! in CI that is software.

use std::any::Any;
use std::sync::Arc;
use std::time::Duration;

use proptest::prelude::*;
use proptest::sample::select;
use proptest::test_runner::{RngSeed, TestCaseError, TestRunner};
use tokio::runtime::Runtime;
use trommel_tensor::preprocess::{Colors, Filter, Geometry, Layout, Region};
use trommel_tensor::{
    Account, AdapterChoice, Device, Dtype, GpuDevice, GpuOptions, Pixels, Preparation, Preprocess,
    Storage, Tensor, TensorError,
};
use trommel_tests::devices::{Array, cpu, evaluate, gpu, graph, new_gpu, run};
use trommel_tests::onnx::{Builder, Dim};
use trommel_tests::sandbox::deadline;

/// How far two answers may be apart, of the output's range.
const TOLERANCE: f64 = 1e-4;
/// Cases of a property where `PROPTEST_CASES` does not say.
const N_CASES: u32 = 96;

const FILTERS: [Filter; 7] = [
    Filter::Nearest,
    Filter::Box,
    Filter::Triangle,
    Filter::Hamming,
    Filter::CatmullRom,
    Filter::Mitchell,
    Filter::Lanczos3,
];
const COLORS: [Colors; 3] = [Colors::Rgb, Colors::Bgr, Colors::Gray];
const LAYOUTS: [Layout; 2] = [Layout::Nchw, Layout::Nhwc];

/// An image of noise: each byte another, as hard edges as there can be.
fn noise(width: u32, height: u32) -> Arc<Pixels> {
    let n_bytes = 3 * width as usize * height as usize;
    let mut state = 0x9e37_79b9_u32 ^ width.rotate_left(16) ^ height;
    let next = || {
        state ^= state << 13;
        state ^= state >> 17;
        state ^= state << 5;
        (state >> 24) as u8
    };
    let rgb = std::iter::repeat_with(next).take(n_bytes).collect();
    Arc::new(Pixels::new(width, height, rgb).unwrap())
}

fn preparation(pixels: &Arc<Pixels>, preprocess: &Preprocess) -> Preparation {
    Preparation {
        pixels: pixels.clone(),
        preprocess: preprocess.clone(),
        deadline: None,
        account: Account::new("a test", u64::MAX, u64::MAX),
    }
}

async fn prepared(
    device: &dyn Device,
    pixels: &Arc<Pixels>,
    preprocess: &Preprocess,
) -> Result<Array, TensorError> {
    let tensor = device.prepare(preparation(pixels, preprocess)).await?;
    read(&tensor).await
}

async fn read(tensor: &Tensor) -> Result<Array, TensorError> {
    Ok(Array {
        dtype: tensor.dtype(),
        shape: tensor.shape().to_vec(),
        bytes: tensor.read().await?,
    })
}

/// Whether a tensor's elements are kept where `upload` leaves them: not on a GPU.
fn lies_on_cpu(device: &dyn Device, tensor: &Tensor) -> bool {
    let uploaded = device.upload(Dtype::F32, &[0], &[]).unwrap();
    let kind = |storage: &Arc<dyn Storage>| {
        let storage: &dyn Any = storage.as_ref();
        storage.type_id()
    };
    kind(tensor.storage()) == kind(&uploaded)
}

/// What a pixel may become at most, from the least to the most.
fn range(preprocess: &Preprocess) -> f64 {
    let spans = preprocess.deviation.iter();
    let spans = spans.map(|deviation| f64::from(255.0 * preprocess.scale / deviation).abs());
    spans.fold(0.0, f64::max)
}

/// Every element within the tolerance, and every bit of what is no float.
fn agree(preprocess: &Preprocess, right: &Array, given: &Array) -> Result<(), String> {
    if (right.dtype, &right.shape) != (given.dtype, &given.shape) {
        return Err(format!(
            "{:?} is right, {:?} was given",
            right.shape, given.shape
        ));
    }
    if right.dtype != Dtype::F32 {
        let same = right.bytes == given.bytes;
        return same.then_some(()).ok_or_else(|| "bytes differ".to_owned());
    }
    let most = TOLERANCE * range(preprocess);
    // Not a number is never within.
    let is_within =
        |(right, given): &(f32, f32)| (f64::from(*right) - f64::from(*given)).abs() <= most;
    let mut pairs = right
        .to_floats()
        .into_iter()
        .zip(given.to_floats())
        .enumerate();
    match pairs.find(|(_, pair)| !is_within(pair)) {
        None => Ok(()),
        Some((at, (right, given))) => Err(format!("element {at} is {given}, {right} is right")),
    }
}

/// Both GPUs, held to the CPU.
struct Beside {
    runtime: Runtime,
    cpu: Arc<dyn Device>,
    gpus: Vec<Arc<GpuDevice>>,
}

impl Beside {
    fn new() -> Self {
        Self {
            runtime: tokio::runtime::Builder::new_current_thread()
                .build()
                .unwrap(),
            cpu: cpu(),
            gpus: [true, false].into_iter().filter_map(gpu).collect(),
        }
    }

    fn check(&self, pixels: &Arc<Pixels>, preprocess: &Preprocess) -> Result<(), String> {
        self.runtime.block_on(async {
            let right = prepared(self.cpu.as_ref(), pixels, preprocess).await;
            let right = right.map_err(|error| error.to_string())?;
            for device in &self.gpus {
                let told = |why: String| format!("{pixels:?}, {preprocess:?}: {why}");
                let tensor = device.prepare(preparation(pixels, preprocess)).await;
                let tensor = tensor.map_err(|error| told(error.to_string()))?;
                if lies_on_cpu(device.as_ref(), &tensor) != (preprocess.dtype != Dtype::F32) {
                    return Err(told("it was made on the other device".to_owned()));
                }
                let given = read(&tensor)
                    .await
                    .map_err(|error| told(error.to_string()))?;
                agree(preprocess, &right, &given).map_err(told)?;
                let again = prepared(device.as_ref(), pixels, preprocess).await;
                if again.as_ref() != Ok(&given) {
                    return Err(told("not the same bits again".to_owned()));
                }
            }
            Ok(())
        })
    }
}

/// Sizes that are small, odd, long and flat, and whose rows end at no word.
const SIZES: [(u32, u32); 10] = [
    (1, 1),
    (1, 17),
    (17, 1),
    (2, 3),
    (31, 37),
    (127, 61),
    (256, 64),
    (3_000, 2),
    (2, 3_000),
    (9_001, 3),
];

fn geometries() -> impl Strategy<Value = Geometry> {
    let size = || select(vec![1_u32, 2, 7, 16, 31, 97, 224]);
    let ground = any::<[u8; 3]>();
    prop_oneof![
        1 => Just(Geometry::Natural),
        2 => (size(), size()).prop_map(|(width, height)| Geometry::Stretch(width, height)),
        2 => (size(), size()).prop_map(|(width, height)| Geometry::Crop(width, height)),
        2 => (size(), size()).prop_map(|(width, height)| Geometry::Fit(width, height)),
        2 => (size(), size(), ground)
            .prop_map(|(width, height, ground)| Geometry::Letterbox(width, height, ground)),
    ]
}

fn regions() -> impl Strategy<Value = Region> {
    let part = (0.0_f32..0.9, 0.0_f32..0.9, 0.001_f32..=1.0, 0.001_f32..=1.0);
    let part = part.prop_map(|(x, y, width, height)| Region {
        x,
        y,
        width: width.min(1.0 - x),
        height: height.min(1.0 - y),
    });
    prop_oneof![1 => Just(Region::WHOLE), 1 => part]
}

fn preprocesses() -> impl Strategy<Value = Preprocess> {
    let scale = select(vec![1.0 / 255.0, 1.0, -0.5, 3.0]);
    let mean = select(vec![[0.0; 3], [0.485, 0.456, 0.406], [127.5, 0.0, -3.0]]);
    let deviation = select(vec![[1.0; 3], [0.229, 0.224, 0.225], [-2.0, 100.0, 0.5]]);
    let dtype = select(vec![
        Dtype::F32,
        Dtype::F32,
        Dtype::F32,
        Dtype::F16,
        Dtype::U8,
    ]);
    let choices = (
        select(FILTERS.to_vec()),
        select(COLORS.to_vec()),
        select(LAYOUTS.to_vec()),
    );
    (
        geometries(),
        regions(),
        choices,
        scale,
        mean,
        deviation,
        dtype,
    )
        .prop_map(
            |(geometry, region, (filter, colors, layout), scale, mean, deviation, dtype)| {
                Preprocess {
                    region,
                    geometry,
                    filter,
                    colors,
                    scale,
                    mean,
                    deviation,
                    layout,
                    dtype,
                }
            },
        )
}

#[test]
fn any_image_becomes_what_the_cpu_makes_of_it() {
    let beside = Beside::new();
    let sizes = prop_oneof![
        2 => select(SIZES.to_vec()),
        1 => (1_u32..200, 1_u32..200),
    ];
    let mut config = ProptestConfig::default();
    if std::env::var_os("PROPTEST_CASES").is_none() {
        config.cases = N_CASES;
        config.rng_seed = RngSeed::Fixed(1);
    }
    config.failure_persistence = None;
    TestRunner::new(config)
        .run(&(sizes, preprocesses()), |((width, height), how)| {
            let checked = beside.check(&noise(width, height), &how);
            checked.map_err(TestCaseError::fail)
        })
        .unwrap_or_else(|error| panic!("{error}"));
}

#[test]
fn every_filter_and_layout_agrees_on_every_odd_size() {
    let beside = Beside::new();
    for (width, height) in SIZES {
        let pixels = noise(width, height);
        for (at, filter) in FILTERS.into_iter().enumerate() {
            for geometry in [
                Geometry::Stretch(23, 5),
                Geometry::Letterbox(40, 40, [9, 200, 77]),
            ] {
                let how = Preprocess {
                    geometry,
                    filter,
                    colors: COLORS[at % 3],
                    layout: LAYOUTS[at % 2],
                    ..Preprocess::default()
                };
                beside
                    .check(&pixels, &how)
                    .unwrap_or_else(|why| panic!("{why}"));
            }
        }
    }
}

/// 18 MB of source: it goes up in two sheets, and a row of the output may need both.
#[test]
fn an_image_of_several_sheets_agrees_in_one_turn_and_in_many() {
    let beside = Beside::new();
    let pixels = noise(3_000, 2_003);
    for geometry in [
        Geometry::Stretch(64, 1),
        Geometry::Letterbox(1_000, 700, [1, 2, 3]),
        Geometry::Natural,
    ] {
        let how = Preprocess {
            geometry,
            filter: Filter::CatmullRom,
            colors: Colors::Gray,
            ..Preprocess::default()
        };
        beside
            .check(&pixels, &how)
            .unwrap_or_else(|why| panic!("{why}"));
    }
}

fn with(options: GpuOptions) -> Option<GpuDevice> {
    // The device at hand says whether there is one, and skips or fails as it should.
    gpu(true)?;
    let adapter = AdapterChoice::Any;
    Some(GpuDevice::new(GpuOptions { adapter, ..options }).unwrap())
}

#[tokio::test]
async fn small_launches_make_the_same_bits() {
    let Some(whole) = gpu(false) else { return };
    let options = GpuOptions {
        max_launch_operations: 100_000,
        ..GpuOptions::default()
    };
    let Some(pieces) = with(options) else { return };
    let pixels = noise(301, 211);
    let how = Preprocess {
        geometry: Geometry::Letterbox(97, 89, [1, 2, 3]),
        filter: Filter::Lanczos3,
        ..Preprocess::default()
    };
    let once = prepared(whole.as_ref(), &pixels, &how).await.unwrap();
    assert_eq!(prepared(&pieces, &pixels, &how).await.unwrap(), once);
}

#[tokio::test]
async fn an_image_too_large_for_the_gpu_is_the_cpus() {
    let options = GpuOptions {
        max_arena_bytes: 1 << 20,
        ..GpuOptions::default()
    };
    let Some(device) = with(options) else { return };
    let how = Preprocess::default();
    let (small, large) = (noise(10, 10), noise(700, 700));
    let on_gpu = device.prepare(preparation(&small, &how)).await.unwrap();
    let on_cpu = device.prepare(preparation(&large, &how)).await.unwrap();
    let reference = prepared(cpu().as_ref(), &large, &how).await.unwrap();
    assert_eq!(on_cpu.read().await.unwrap(), reference.bytes);
    assert!(!lies_on_cpu(&device, &on_gpu) && lies_on_cpu(&device, &on_cpu));
}

#[tokio::test]
async fn halves_and_bytes_are_the_cpus() {
    let Some(device) = gpu(true) else { return };
    let pixels = noise(10, 10);
    for dtype in [Dtype::F16, Dtype::U8] {
        let how = Preprocess {
            dtype,
            ..Preprocess::default()
        };
        let tensor = device.prepare(preparation(&pixels, &how)).await.unwrap();
        assert!(lies_on_cpu(device.as_ref(), &tensor));
    }
    let how = Preprocess {
        dtype: Dtype::I64,
        ..Preprocess::default()
    };
    let error = device
        .prepare(preparation(&pixels, &how))
        .await
        .unwrap_err();
    assert!(
        matches!(error, TensorError::UnsupportedDtype { .. }),
        "{error}"
    );
}

#[tokio::test]
async fn a_tensor_of_an_image_feeds_a_model_on_the_gpu_and_one_on_the_cpu() {
    let sum = |nodes: fn(Builder) -> Builder| {
        let input = [1, 3, 5, 7].map(Dim::Size);
        let builder = Builder::default().input("x", &input);
        graph(&nodes(builder).output("y").file())
    };
    let covered = sum(|builder| builder.node("Add", &["x", "x"], "y"));
    let uncovered = sum(|builder| {
        let builder = builder.node("IsNaN", &["x"], "nan");
        builder.node("Where", &["nan", "x", "x"], "y")
    });
    let how = Preprocess {
        geometry: Geometry::Stretch(7, 5),
        ..Preprocess::default()
    };
    let pixels = noise(50, 40);
    for checked in [true, false] {
        let Some(device) = gpu(checked) else { return };
        assert_eq!(device.uncovered(&covered), None);
        assert!(device.uncovered(&uncovered).is_some());
        for graph in [&covered, &uncovered] {
            let tensor = device.prepare(preparation(&pixels, &how)).await.unwrap();
            let x = prepared(device.as_ref(), &pixels, &how).await.unwrap();
            let session = device.session(graph).unwrap();
            let outputs = run(session.as_ref(), &[("x".to_owned(), tensor)]).await;
            let given = outputs.unwrap()[0].read().await.unwrap();
            let right = evaluate(device.as_ref(), session.as_ref(), &[("x".to_owned(), x)]).await;
            assert_eq!(given, right.unwrap()[0].bytes);
        }
    }
}

#[tokio::test]
async fn a_lost_gpu_loses_its_images_and_the_next_is_made() {
    for checked in [false, true] {
        let Some(device) = new_gpu(checked) else {
            return;
        };
        let (pixels, how) = (noise(20, 20), Preprocess::default());
        let right = prepared(cpu().as_ref(), &pixels, &how).await.unwrap();
        // Before its first image, and after it.
        for _ in 0..2 {
            device.lose();
            // Begun, or handed to the CPU; never a wrong answer, never none.
            match prepared(device.as_ref(), &pixels, &how).await {
                Ok(given) => assert_eq!(agree(&how, &right, &given), Ok(())),
                Err(error) => assert!(matches!(error, TensorError::DeviceLost { .. }), "{error}"),
            }
            let next = device.prepare(preparation(&pixels, &how)).await.unwrap();
            assert!(!lies_on_cpu(device.as_ref(), &next), "open again");
            assert_eq!(agree(&how, &right, &read(&next).await.unwrap()), Ok(()));
            device.lose();
            let error = next.read().await.unwrap_err();
            assert!(matches!(error, TensorError::DeviceLost { .. }), "{error}");
        }
    }
}

#[tokio::test]
async fn an_image_is_charged_before_it_waits_and_given_back_with_its_tensor() {
    let Some(device) = gpu(true) else { return };
    let (pixels, how) = (noise(20, 20), Preprocess::default());
    let account = Account::new("small", 4_800, 1);
    let work = || Preparation {
        account: account.clone(),
        ..preparation(&pixels, &how)
    };
    let tensor = device.prepare(work()).await.unwrap();
    assert_eq!((account.bytes(), account.tensors()), (4_800, 1));
    let error = device.prepare(work()).await.unwrap_err();
    assert!(
        matches!(error, TensorError::QuotaExceeded { .. }),
        "{error}"
    );
    drop(tensor);
    assert_eq!((account.bytes(), account.tensors()), (0, 0));
    // Charged while it waits, and given back when it is given up.
    let waiting = device.prepare(work());
    assert_eq!(account.bytes(), 4_800);
    drop(waiting);
    while account.bytes() > 0 {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
}

#[tokio::test]
async fn an_image_whose_deadline_has_passed_is_not_begun() {
    let Some(device) = gpu(false) else { return };
    let work = Preparation {
        deadline: Some(deadline(Duration::ZERO)),
        ..preparation(&noise(20, 20), &Preprocess::default())
    };
    let error = device.prepare(work).await.unwrap_err();
    assert!(matches!(error, TensorError::Expired { .. }), "{error}");
}

#[tokio::test]
async fn more_images_than_may_wait_are_refused_at_once() {
    let options = GpuOptions {
        max_waiting: 1,
        ..GpuOptions::default()
    };
    let Some(device) = with(options) else { return };
    let pixels = noise(1_500, 1_500);
    let how = Preprocess::default();
    let works = (0..16).map(|_| device.prepare(preparation(&pixels, &how)));
    let answers = futures_util::future::join_all(works).await;
    let refused = answers.iter().filter_map(|answer| answer.as_ref().err());
    let refused: Vec<_> = refused.collect();
    assert!(!refused.is_empty(), "sixteen found a place");
    assert!(refused.len() < 16, "none found a place");
    for error in refused {
        assert!(matches!(error, TensorError::Overloaded { .. }), "{error}");
    }
}
