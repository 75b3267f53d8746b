//! The bundled `image-quality`, from files to probabilities, on the samples.

use std::sync::Arc;

use trommel::Host;
use trommel::item::Item;
use trommel::policy::Action;
use trommel_tests::workspace;

fn sample(name: &str) -> Vec<u8> {
    std::fs::read(workspace().join("samples").join(name)).unwrap()
}

#[tokio::test]
async fn a_photo_its_blur_and_a_blank_are_told_apart() {
    let host = Host::builder().bundled_detectors().build().unwrap();
    for (file, reason, action) in [
        ("hills.jpg", None, Action::Allow),
        ("hills-blurred.jpg", Some("blur"), Action::Limit),
        ("blank.png", Some("blank"), Action::Allow),
    ] {
        let item = Arc::new(Item::from_image_bytes(file, sample(file)));
        let judgement = host.check(&item).await.unwrap();
        assert!(judgement.degraded.is_empty(), "{judgement:?}");
        assert_eq!(judgement.verdict.action, action, "{file}");
        let likely = judgement.signals.iter().filter(|signal| {
            signal.probability.get() >= 0.5 && signal.label.as_str() != "low-quality"
        });
        let likely: Vec<&str> = likely.map(|signal| signal.label.as_str()).collect();
        match reason {
            Some(reason) => assert!(likely.contains(&reason), "{file}: {likely:?}"),
            None => assert!(likely.is_empty(), "{file}: {likely:?}"),
        }
    }
}

#[tokio::test]
async fn an_item_of_text_and_image_is_judged_by_all_detectors() {
    let host = Host::builder().bundled_detectors().build().unwrap();
    let mut item = Item::from_text("mixed", "see you at seven");
    let image = Item::from_image_bytes("", sample("hills-blurred.jpg"));
    item.parts.extend(image.parts);
    let judgement = host.check(&Arc::new(item)).await.unwrap();
    assert!(judgement.degraded.is_empty() && judgement.unjudged.is_empty());
    assert_eq!(judgement.timings.detectors.len(), 3);
    assert_eq!(judgement.verdict.action, Action::Limit);
}
