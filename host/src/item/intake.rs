//! What an item may hold, and why something is none.

use super::{Attribute, Content, ImageSource, Item, Part, PartKind};
use crate::decode::DecodeError;
use crate::excerpt::{NAME_CHARS, printable};

/// The most that one item may hold. Larger ones are refused, never cut.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ItemBounds {
    /// Bytes of all text, links and names together.
    pub text_bytes: usize,
    /// Parts of all kinds.
    pub n_parts: usize,
    /// Attributes.
    pub n_attributes: usize,
    /// Embeddings.
    pub n_embeddings: usize,
    /// Numbers in all embeddings together.
    pub n_embedding_numbers: usize,
    /// Images. What each of them may hold is said where images are decoded.
    pub n_images: usize,
    /// Bytes of all images together, still coded.
    pub image_bytes: usize,
}

impl Default for ItemBounds {
    /// 4 MiB of text, 256 parts, 256 attributes, 64 embeddings of 64 Ki
    /// numbers together, 16 images of 64 MiB together.
    fn default() -> Self {
        Self {
            n_images: 16,
            image_bytes: 64 << 20,
            text_bytes: 4 << 20,
            n_parts: 256,
            n_attributes: 256,
            n_embeddings: 64,
            n_embedding_numbers: 64 << 10,
        }
    }
}

/// Why something is no item. The caller is to blame.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum IntakeError {
    /// Not JSON, or not of an item's form.
    #[error("not an item: {0}")]
    Json(String),
    /// Nothing in it to judge.
    #[error("the item is empty; give it at least one of `text`, `title`, `links`, `images`")]
    Empty,
    /// Not UTF-8.
    #[error("text is not UTF-8 at byte {at}; convert it to UTF-8 first")]
    NotUtf8 {
        /// First byte that is wrong.
        at: usize,
    },
    /// Larger than it may be.
    #[error("the item holds {given} {what}, at most {most} are taken; split it or raise the bound")]
    TooLarge {
        /// What there is too much of.
        what: &'static str,
        /// How much there is.
        given: usize,
        /// How much there may be.
        most: usize,
    },
    /// A `data:` URI that holds no image.
    #[error("image {index} of `images` is no usable data URI: {what}")]
    DataUri {
        /// Which of the item's images, counted from 0.
        index: usize,
        /// What is wrong with it and how to mend it.
        what: String,
    },
    /// An image was given as a path, and nobody has opened it.
    #[error(
        "image `{}` is a path, and no files are opened here; give the image as a data URI",
        printable(path, NAME_CHARS)
    )]
    Unopened {
        /// The path.
        path: String,
    },
    /// An image part is no image, or larger than it may be.
    #[error("part {part} is no image that can be judged: {error}")]
    Image {
        /// The part's id.
        part: u32,
        /// What is wrong with it.
        error: DecodeError,
    },
    /// An embedding holds a number that is not finite.
    #[error(
        "embedding `{name}` holds a number that is not finite at index {at}; leave it out or mend it"
    )]
    Embedding {
        /// Which embedding.
        name: String,
        /// Index of the number.
        at: usize,
    },
}
impl Item {
    /// Checks the item against `bounds`: whoever sent it chose its sizes.
    pub fn check(&self, bounds: &ItemBounds) -> Result<(), IntakeError> {
        let within = |what, given, most| match given <= most {
            true => Ok(()),
            false => Err(IntakeError::TooLarge { what, given, most }),
        };
        let attribute_bytes = |(name, value): (&String, &Attribute)| match value {
            Attribute::Text(text) => name.len() + text.len(),
            _ => name.len(),
        };
        let text_bytes = self.id.len()
            + self.parts.iter().map(Part::n_bytes).sum::<usize>()
            + self.attributes.iter().map(attribute_bytes).sum::<usize>()
            + self.embeddings.keys().map(String::len).sum::<usize>();
        let numbers = self.embeddings.values().map(Vec::len).sum();
        let image_bytes = self.parts.iter().map(|part| match &part.content {
            Content::Image {
                source: ImageSource::Bytes(bytes),
            } => bytes.len(),
            _ => 0,
        });
        let n_images = self.part_ids(PartKind::Image).count();
        within("parts", self.parts.len(), bounds.n_parts)?;
        within("images", n_images, bounds.n_images)?;
        within("bytes of images", image_bytes.sum(), bounds.image_bytes)?;
        within("attributes", self.attributes.len(), bounds.n_attributes)?;
        within("bytes of text", text_bytes, bounds.text_bytes)?;
        within("embeddings", self.embeddings.len(), bounds.n_embeddings)?;
        within("embedding numbers", numbers, bounds.n_embedding_numbers)?;
        for (name, numbers) in &self.embeddings {
            if let Some(at) = numbers.iter().position(|number| !number.is_finite()) {
                let name = name.clone();
                return Err(IntakeError::Embedding { name, at });
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_item_past_a_bound_is_refused_with_both_numbers() {
        let bounds = ItemBounds {
            text_bytes: 10,
            ..ItemBounds::default()
        };
        let error = Item::from_text("", "12345678").check(&bounds).unwrap_err();
        assert!(
            error.to_string().contains("12 bytes of text, at most 10"),
            "{error}"
        );
        Item::from_text("", "123456").check(&bounds).unwrap();
    }

    #[test]
    fn images_have_bounds_of_their_own() {
        let bounds = ItemBounds {
            n_images: 1,
            image_bytes: 2,
            ..ItemBounds::default()
        };
        let mut item = Item::from_image_bytes("", [1, 2].as_slice());
        item.check(&bounds).unwrap();
        item.push_image([].into());
        let error = item.check(&bounds).unwrap_err().to_string();
        assert!(error.contains("2 images, at most 1"), "{error}");
        let item = Item::from_image_bytes("", [1, 2, 3].as_slice());
        let error = item.check(&bounds).unwrap_err().to_string();
        assert!(error.contains("3 bytes of images, at most 2"), "{error}");
    }

    #[test]
    fn text_that_is_not_utf8_is_named_with_its_byte() {
        let error = Item::from_text_bytes("f", b"ab\xffcd".to_vec()).unwrap_err();
        assert_eq!(error, IntakeError::NotUtf8 { at: 2 });
    }
}
