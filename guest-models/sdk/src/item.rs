//! The item under judgement, as a detector reads it.

use crate::bindings::trommel::detector::content;
use crate::{Failure, Image, Tensor};

/// Names one part of an item; counted from 0 in the order given.
pub type PartId = u32;

/// One thing to judge. Content stays in the host until a method asks for it, so
/// ask once and keep the answer.
#[repr(transparent)]
pub struct Item(content::Item);

impl Item {
    #[expect(unsafe_code, reason = "a newtype over a reference has no safe cast")]
    pub(crate) fn new(raw: &content::Item) -> &Self {
        // SAFETY: `Item` is `repr(transparent)` over `content::Item`, so the two
        // references have the same layout, and the lifetime carries over.
        unsafe { &*std::ptr::from_ref(raw).cast::<Self>() }
    }

    /// The caller's name for the item, for logs; not unique, may be empty.
    pub fn id(&self) -> String {
        self.0.id()
    }

    /// When the item reached the gateway, in milliseconds since the Unix epoch.
    pub fn received_at_ms(&self) -> Option<u64> {
        self.0.received_at()
    }

    /// Ids of the text parts, in the order given.
    pub fn texts(&self) -> Vec<PartId> {
        self.0.texts()
    }

    /// Ids of the image parts, in the order given.
    pub fn images(&self) -> Vec<PartId> {
        self.0.images()
    }

    /// Ids of the link parts, in the order given.
    pub fn links(&self) -> Vec<PartId> {
        self.0.links()
    }

    /// The whole text of a text part; spans count bytes of exactly this string.
    pub fn text(&self, part: PartId) -> Result<String, Failure> {
        Ok(self.0.text(part)?)
    }

    /// The target of a link part, as given.
    pub fn link(&self, part: PartId) -> Result<String, Failure> {
        Ok(self.0.link(part)?)
    }

    /// An image part. The host decodes it when a tensor is asked for.
    pub fn image(&self, part: PartId) -> Result<Image, Failure> {
        Ok(Image(self.0.image(part)?))
    }

    /// What the caller calls a part: `title`, `body`, …; may be empty.
    pub fn part_name(&self, part: PartId) -> Result<String, Failure> {
        Ok(self.0.part_name(part)?)
    }

    /// BCP 47 language tag of a text part, where the caller knows it.
    pub fn language(&self, part: PartId) -> Option<String> {
        self.0.language(part)
    }

    /// Names of the attributes, sorted.
    pub fn attributes(&self) -> Vec<String> {
        self.0.attributes()
    }

    /// The attribute `name` when it is a text.
    pub fn attribute_text(&self, name: &str) -> Option<String> {
        self.0.attribute_text(name)
    }

    /// The attribute `name` when it is a whole number.
    pub fn attribute_integer(&self, name: &str) -> Option<i64> {
        self.0.attribute_integer(name)
    }

    /// The attribute `name` when it is a number, whole or not.
    pub fn attribute_number(&self, name: &str) -> Option<f64> {
        self.0.attribute_number(name)
    }

    /// The attribute `name` when it is true or false.
    pub fn attribute_flag(&self, name: &str) -> Option<bool> {
        self.0.attribute_flag(name)
    }

    /// Names of the embeddings that came with the item, sorted.
    pub fn embeddings(&self) -> Vec<String> {
        self.0.embeddings()
    }

    /// The embedding `name`, f32 `[dim]`.
    pub fn embedding(&self, name: &str) -> Result<Tensor, Failure> {
        Ok(Tensor(self.0.embedding(name)?))
    }
}
