//! The item parser: whatever bytes come, an item that keeps its promises, or an
//! error that says why.

#![no_main]

use libfuzzer_sys::fuzz_target;
use trommel::item::{IntakeError, Item, ItemBounds, PartKind};

fuzz_target!(|data: &[u8]| {
    look(Item::from_json(data));
    look(Ok(Item::from_image_bytes("id", data)));
    look(Item::from_text_bytes("id", data.to_vec()));
});

fn look(item: Result<Item, IntakeError>) {
    let item = match item {
        Ok(item) => item,
        Err(error) => return assert!(!error.to_string().is_empty()),
    };
    let kinds = [PartKind::Text, PartKind::Image, PartKind::Link];
    let n_parts: usize = kinds.iter().map(|kind| item.part_ids(*kind).count()).sum();
    assert_eq!(n_parts, item.parts.len(), "each part has one kind");
    assert!(n_parts > 0 && item.has_any(&kinds), "an item is not empty");
    for part in item.part_ids(PartKind::Text) {
        assert!(item.text(part).is_some());
    }
    let small = ItemBounds {
        text_bytes: 64,
        n_parts: 2,
        n_attributes: 1,
        n_embeddings: 1,
        n_embedding_numbers: 4,
        n_images: 1,
        image_bytes: 16,
    };
    if item.check(&small).is_ok() {
        assert!(item.parts.len() <= 2 && item.attributes.len() <= 1);
        assert!(item.embeddings.values().flatten().count() <= 4);
        assert!(
            item.check(&ItemBounds::default()).is_ok(),
            "a wider bound takes no less"
        );
    }
    if item.check(&ItemBounds::default()).is_ok() {
        let mut numbers = item.embeddings.values().flatten();
        assert!(numbers.all(|number| number.is_finite()));
    }
}
