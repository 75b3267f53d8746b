//! Images through the contract: what a detector sees of them, who is to blame when
//! they are broken, and what they may cost.

use std::sync::Arc;
use std::time::Duration;

use image::{DynamicImage, ImageFormat, Rgba, RgbaImage};
use trommel::Host;
use trommel::engine::{Blame, Call, DecoderOptions, EngineOptions, Fault, Limits};
use trommel::item::{IntakeError, Item};
use trommel::signal::Evidence;
use trommel_tensor::{CpuDevice, CpuOptions, Device};
use trommel_tests::counting::CountingDevice;
use trommel_tests::devices::devices;
use trommel_tests::guests::component;
use trommel_tests::pictures::{drawn, encoded, flag, png_header, turned};
use trommel_tests::plugin::PluginFolder;
use trommel_tests::sandbox::Sandbox;
use trommel_tests::stuck::StuckDevice;

fn scripted() -> Sandbox {
    Sandbox::new(component("scripted"), Limits::DEFAULT).expect("the guest loads")
}

/// An item of a script, part 0, and images, from part 1 on.
fn item(script: &str, images: &[Vec<u8>]) -> Item {
    let mut item = Item::from_text("scripted", script);
    for image in images {
        let image = Item::from_image_bytes("", image.as_slice());
        item.parts.extend(image.parts);
    }
    item
}

async fn call(script: &str, image: Vec<u8>) -> Call {
    scripted().detect(item(script, &[image])).await
}

async fn notes(script: &str, image: Vec<u8>) -> Vec<String> {
    let findings = call(script, image).await.outcome;
    let note = |evidence: &Evidence| match evidence {
        Evidence::Note { text } => text.clone(),
        other => panic!("no note: {other:?}"),
    };
    let findings = findings.unwrap_or_else(|fault| panic!("{script}: {fault}"));
    findings.signals[0].evidence.iter().map(note).collect()
}

fn png(image: &DynamicImage) -> Vec<u8> {
    encoded(image, ImageFormat::Png)
}

#[tokio::test]
async fn an_image_of_every_codec_becomes_the_same_tensor() {
    let bytes = "[255, 0, 0, 0, 255, 0, 0, 0, 255, 0, 0, 0, 128, 128, 128, 255, 255, 255]";
    for (format, name) in [
        (ImageFormat::Png, "Format::Png"),
        (ImageFormat::Gif, "Format::Gif"),
        (ImageFormat::WebP, "Format::Webp"),
        (ImageFormat::Bmp, "Format::Bmp"),
    ] {
        let file = encoded(&flag(), format);
        let n_bytes = file.len();
        let seen = notes("image 1 scale=1 dtype=u8 layout=nhwc", file).await;
        assert_eq!(seen[0], format!("{name} 3x2 {n_bytes}"));
        assert_eq!(seen[1], "Dtype::U8 [1, 2, 3, 3]");
        assert_eq!(seen[2], bytes, "{name}");
    }
    // JPEG loses a little; a flat gray survives it.
    let gray = drawn(16, 16, |_, _| [128; 3]);
    let seen = notes("image 1 stretch=1,1", encoded(&gray, ImageFormat::Jpeg)).await;
    assert!(seen[0].starts_with("Format::Jpeg 16x16"), "{seen:?}");
    assert_eq!(seen[1], "Dtype::F32 [1, 3, 1, 1]");
    let value = 128.0_f32 / 255.0;
    assert_eq!(seen[2], format!("[{value}, {value}, {value}]"));
}

#[tokio::test]
async fn channels_scale_mean_and_deviation_are_the_detectors_choice() {
    let half_red = drawn(1, 1, |_, _| [100, 50, 0]);
    for (how, shape, values) in [
        ("scale=1", "[1, 3, 1, 1]", "[100.0, 50.0, 0.0]"),
        ("scale=1 colors=bgr", "[1, 3, 1, 1]", "[0.0, 50.0, 100.0]"),
        (
            "scale=0.1 mean=1 deviation=2",
            "[1, 3, 1, 1]",
            "[4.5, 2.0, -0.5]",
        ),
        (
            "scale=1 mean=1,2,3 deviation=1,2,3",
            "[1, 3, 1, 1]",
            "[99.0, 24.0, -1.0]",
        ),
        ("scale=1 colors=gray", "[1, 1, 1, 1]", "[59.25]"),
        ("scale=1 layout=nhwc", "[1, 1, 1, 3]", "[100.0, 50.0, 0.0]"),
    ] {
        let seen = notes(&format!("image 1 {how}"), png(&half_red)).await;
        assert_eq!(seen[1], format!("Dtype::F32 {shape}"), "{how}");
        assert_eq!(seen[2], values, "{how}");
    }
    let seen = notes("image 1 scale=1 dtype=f16", png(&half_red)).await;
    // 100, 50 and 0 as halves, little-endian.
    assert_eq!(
        seen[1..],
        ["Dtype::F16 [1, 3, 1, 1]", "[64, 86, 64, 82, 0, 0]"]
    );
}

#[tokio::test]
async fn sizes_regions_and_grounds_come_out_as_asked() {
    let left_white = drawn(4, 2, |x, _| if x < 2 { [255; 3] } else { [0; 3] });
    for (how, shape, values) in [
        ("fit=2,2 colors=gray", "[1, 1, 1, 2]", "[255, 0]"),
        ("crop=1,1 colors=gray", "[1, 1, 1, 1]", "[128]"),
        (
            "region=0,0,0.5,1 stretch=1,1 colors=gray",
            "[1, 1, 1, 1]",
            "[255]",
        ),
        (
            "letterbox=2,2 filter=box layout=nhwc",
            "[1, 2, 2, 3]",
            "[255, 255, 255, 0, 0, 0, 9, 8, 7, 9, 8, 7]",
        ),
    ] {
        let script = format!("image 1 {how} filter=box scale=1 dtype=u8");
        let seen = notes(&script, png(&left_white)).await;
        assert_eq!(seen[1], format!("Dtype::U8 {shape}"), "{how}");
        assert_eq!(seen[2], values, "{how}");
    }
}

#[tokio::test]
async fn a_photo_stands_upright_as_its_exif_says() {
    // Red to the left, blue to the right, 32 by 16.
    let lying = drawn(
        32,
        16,
        |x, _| if x < 16 { [250, 10, 10] } else { [10, 10, 250] },
    );
    for (orientation, size, is_red_first) in [
        (1, "32x16", true),
        (3, "32x16", false),
        (6, "16x32", true),
        (8, "16x32", false),
    ] {
        let seen = notes(
            "image 1 region=0,0,0.25,0.25 stretch=1,1 scale=1 dtype=u8",
            turned(&lying, orientation),
        )
        .await;
        assert!(seen[0].contains(size), "{orientation}: {seen:?}");
        let rgb: Vec<u8> = serde_json::from_str(&seen[2]).unwrap();
        assert_eq!(rgb[0] > rgb[2], is_red_first, "{orientation}: {rgb:?}");
    }
}

#[tokio::test]
async fn what_is_transparent_lies_on_white() {
    let ghost: DynamicImage = RgbaImage::from_pixel(1, 1, Rgba([200, 0, 100, 0])).into();
    let half: DynamicImage = RgbaImage::from_pixel(1, 1, Rgba([200, 0, 100, 128])).into();
    for (image, expected) in [(ghost, "[255, 255, 255]"), (half, "[227, 127, 177]")] {
        let seen = notes("image 1 scale=1 dtype=u8", png(&image)).await;
        assert_eq!(seen[2], expected);
    }
}

#[tokio::test]
async fn an_image_that_breaks_off_is_the_callers_and_the_next_is_judged() {
    let noise = drawn(64, 64, |x, y| {
        [(x * 37 + y * 101) as u8, (x * y) as u8, (y * 7) as u8]
    });
    let sandbox = scripted();
    for format in [
        ImageFormat::Jpeg,
        ImageFormat::Png,
        ImageFormat::Gif,
        ImageFormat::WebP,
        ImageFormat::Bmp,
    ] {
        let whole = encoded(&noise, format);
        let script = "image 1 stretch=2,2";
        let cut = whole[..whole.len() * 2 / 3].to_vec();
        let fault = sandbox
            .detect(item(script, &[cut]))
            .await
            .outcome
            .unwrap_err();
        assert!(
            matches!(fault, Fault::DeclinedItem(_)),
            "{format:?}: {fault:?}"
        );
        assert_eq!(fault.blame(), Blame::Caller, "{format:?}");
        let said = fault.to_string();
        assert!(
            said.contains("invalid-content") && said.contains("is broken"),
            "{said}"
        );
        sandbox
            .detect(item(script, &[whole]))
            .await
            .outcome
            .unwrap();
    }
}

#[tokio::test]
async fn what_an_image_says_of_its_size_is_believed_and_refused_at_the_door() {
    let folder = PluginFolder::of_guest("scripted", SCRIPTED).reading("[\"text\", \"image\"]");
    let host = Host::builder().detector(folder.path()).build().unwrap();
    for (file, expected) in [
        (
            png_header(40_000, 40_000),
            "1600000000 pixels, at most 64000000",
        ),
        (
            png_header(70_000, 1),
            "70000 pixels on a side, at most 65535",
        ),
        (
            b"<html>not an image</html>".to_vec(),
            "give JPEG, PNG, GIF, WebP or BMP",
        ),
        (vec![0xff, 0xd8, 0xff, 0xe0], "the jpeg image is broken"),
        (Vec::new(), "give JPEG, PNG, GIF, WebP or BMP"),
        (vec![0; (32 << 20) + 1], "bytes, at most 33554432"),
    ] {
        let error = host
            .check(&Arc::new(item("noop", &[file])))
            .await
            .unwrap_err();
        assert!(
            matches!(error, IntakeError::Image { part: 1, .. }),
            "{error:?}"
        );
        assert!(error.to_string().contains(expected), "{error}");
    }
}

#[tokio::test]
async fn a_path_is_opened_by_nobody() {
    let folder = PluginFolder::of_guest("scripted", SCRIPTED).reading("[\"image\"]");
    let host = Host::builder().detector(folder.path()).build().unwrap();
    let item = Item::from_json(br#"{"id":"i","images":["/etc/passwd"]}"#).unwrap();
    let error = host.check(&Arc::new(item)).await.unwrap_err();
    assert!(
        error.to_string().contains("no files are opened here"),
        "{error}"
    );
}

/// What the scripted guest imports.
const SCRIPTED: &[&str] = &[
    "content",
    "images",
    "log",
    "results",
    "settings",
    "tensors",
    "tokenizers",
];

#[tokio::test]
async fn within_an_item_an_image_is_made_once_whoever_asks() {
    let device = CpuDevice::new(&CpuOptions::default()).unwrap();
    let device = Arc::new(CountingDevice::over(Arc::new(device)));
    let (one, two) = (
        PluginFolder::of_guest("scripted", SCRIPTED),
        PluginFolder::of_guest("scripted", SCRIPTED),
    );
    two.edit("name = \"scripted\"", "name = \"scripted-too\"");
    let host = Host::builder()
        .device(device.clone())
        .detector(one.path())
        .detector(two.path())
        .build()
        .unwrap();
    // The text makes both detectors be asked; neither says that it reads images.
    let script = "again 1 3 fit=8,8\nagain 1 2 fit=4,4";
    let shown = item(script, &[png(&flag())]);
    let judgement = host.check(&Arc::new(shown.clone())).await.unwrap();
    assert_eq!(
        judgement.degraded.len(),
        2,
        "no image is opened for detectors of text"
    );

    let (one, two) = (
        one.reading("[\"text\", \"image\"]"),
        two.reading("[\"text\", \"image\"]"),
    );
    let host = Host::builder()
        .device(device.clone())
        .detector(one.path())
        .detector(two.path())
        .build()
        .unwrap();
    let judgement = host.check(&Arc::new(shown.clone())).await.unwrap();
    assert!(judgement.degraded.is_empty(), "{judgement:?}");
    assert_eq!(device.n_prepared(), 2, "one for each preprocessing");
    host.check(&Arc::new(shown)).await.unwrap();
    assert_eq!(device.n_prepared(), 4, "nothing is kept for the next item");
}

#[tokio::test]
async fn a_detector_sees_the_same_image_whatever_made_the_tensor() {
    let folder = PluginFolder::of_guest("scripted", SCRIPTED).reading("[\"text\", \"image\"]");
    // At its own size every value is a whole number, so that each device writes it alike.
    let shown = Arc::new(item("image 1 scale=1 colors=bgr", &[png(&flag())]));
    let mut seen = Vec::new();
    for (name, device) in devices() {
        let builder = Host::builder().device(device).detector(folder.path());
        let judgement = builder.build().unwrap().check(&shown).await.unwrap();
        assert!(judgement.degraded.is_empty(), "{name}: {judgement:?}");
        seen.push((name, format!("{:?}", judgement.signals[0].evidence)));
    }
    for (name, evidence) in &seen {
        assert!(evidence.contains("[0.0, 0.0, 255.0, "), "{evidence}");
        assert_eq!(*evidence, seen[0].1, "{name}");
    }
}

#[tokio::test]
async fn what_a_detector_may_not_ask_of_an_image_ends_its_call() {
    for (script, expected) in [
        ("image 1 stretch=0,5", "asks for an image of 0×5"),
        ("image 1 crop=5,16385", "each side is from 1 to 16384"),
        ("image 1 region=0.5,0,0.6,1", "not within the image"),
        ("image 1 region=0,0,0,1", "which is empty"),
        ("image 1 region=NaN,0,1,1", "not within the image"),
        ("image 1 scale=NaN", "sets the scale of an image to NaN"),
        ("image 1 mean=1,2", "gives 2 numbers as the mean"),
        ("image 1 deviation=0", "sets the deviation of an image to 0"),
        ("image 1 dtype=i64", "wants an image as i64"),
    ] {
        let fault = call(script, png(&flag())).await.outcome.unwrap_err();
        assert!(fault.to_string().contains(expected), "{script}: {fault}");
        assert_eq!(fault.blame(), Blame::Guest, "{script}");
    }
}

#[tokio::test]
async fn an_image_part_is_known_by_its_id() {
    for script in ["image 0", "image 7"] {
        let fault = call(script, png(&flag())).await.outcome.unwrap_err();
        assert!(fault.to_string().contains("unknown-name"), "{fault}");
        assert_eq!(fault.blame(), Blame::Guest);
    }
}

#[tokio::test]
async fn handles_and_tensors_of_images_count_against_the_call() {
    let limits = Limits {
        handles: 10,
        tensor_bytes: 1000,
        ..Limits::DEFAULT
    };
    let sandbox = Sandbox::new(component("scripted"), limits).unwrap();
    for (script, is_within) in [
        ("images 1 10", true),
        ("images 1 11", false),
        // 3 channels of f32, 9 by 9 and 10 by 10.
        ("again 1 1 stretch=9,9", true),
        ("again 1 1 stretch=10,10", false),
        // Refused before a byte of it is taken.
        ("again 1 1 stretch=16384,16384", false),
        // Each holder pays, though it is made once.
        ("again 1 2 stretch=9,9", false),
    ] {
        let outcome = sandbox.detect(item(script, &[png(&flag())])).await.outcome;
        match outcome {
            Ok(_) => assert!(is_within, "{script}"),
            Err(fault) => {
                assert!(!is_within, "{script}: {fault}");
                assert!(
                    fault.to_string().contains("quota-exceeded"),
                    "{script}: {fault}"
                );
                assert_eq!(fault.blame(), Blame::Guest);
            }
        }
    }
    let before = Sandbox::new(component("scripted"), Limits::DEFAULT).unwrap();
    let (held, unused) = (sandbox.detector.account(), before.detector.account());
    assert_eq!(held.bytes(), unused.bytes(), "only the weights are held");
}

#[tokio::test]
async fn an_image_that_never_becomes_a_tensor_is_the_hosts() {
    let device: Arc<dyn Device> = Arc::new(CpuDevice::new(&CpuOptions::default()).unwrap());
    let folder = PluginFolder::of_guest("scripted", SCRIPTED).reading("[\"text\", \"image\"]");
    let host = Host::builder()
        .device(Arc::new(StuckDevice::over(device)))
        .detector(folder.path())
        .build()
        .unwrap();
    let item = item("image 1", &[png(&flag())]);
    let judgement = host.check(&Arc::new(item)).await.unwrap();
    let [degraded] = &judgement.degraded[..] else {
        panic!("{judgement:?}")
    };
    assert_eq!(degraded.blame, Blame::Host);
    assert!(
        degraded.reason.contains("an image to be decoded"),
        "{degraded:?}"
    );
}

#[tokio::test]
async fn images_that_do_not_fit_together_are_decoded_one_after_the_other() {
    let options = EngineOptions {
        decoder: DecoderOptions {
            // Room for one and a half of the images below.
            room_bytes: 900 << 10,
            ..DecoderOptions::default()
        },
        ..EngineOptions::default()
    };
    let sandbox = Sandbox::with_options(component("scripted"), Limits::DEFAULT, options).unwrap();
    let large = png(&drawn(320, 320, |x, y| [x as u8, y as u8, 0]));
    let all = item(
        "again 1 1 stretch=2,2\nagain 2 1 stretch=2,2\nagain 3 1 stretch=2,2",
        &[large.clone(), large.clone(), large],
    );
    let calls = futures_util::future::join_all((0..4).map(|_| sandbox.detect(all.clone())));
    for call in tokio::time::timeout(Duration::from_secs(20), calls)
        .await
        .unwrap()
    {
        call.outcome.unwrap();
    }
}
