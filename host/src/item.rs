//! The item: what is judged.
//!
//! First noun of the street. It holds what the gateway sent, checked against
//! bounds, and never what a detector or a rule made of it. No I/O.

mod intake;
mod json;

use std::collections::BTreeMap;
use std::fmt;
use std::ops::RangeInclusive;
use std::sync::Arc;

pub use intake::{IntakeError, ItemBounds};
use serde::Deserialize;

/// What the gateway knows about an item, by name: account age, surface,
/// language.
pub type Attributes = BTreeMap<String, Attribute>;

/// One value that came with an item.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(
    untagged,
    expecting = "an attribute is a text, a number, true or false"
)]
pub enum Attribute {
    /// Yes or no, such as whether the account is verified.
    Flag(bool),
    /// A whole number, such as a count of followers.
    Integer(i64),
    /// Any other number, such as a share.
    Number(f64),
    /// Words, such as a surface or a country code.
    Text(String),
}

impl fmt::Display for Attribute {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Flag(flag) => flag.fmt(f),
            Self::Integer(integer) => integer.fmt(f),
            Self::Number(number) => number.fmt(f),
            Self::Text(text) => text.fmt(f),
        }
    }
}

/// One thing to judge: a post, a Pin, an ad, a message, an image alone.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Item {
    /// The caller's name for it; not unique.
    pub id: String,
    /// When the gateway received it, in milliseconds since the Unix epoch.
    pub received_at_ms: Option<u64>,
    /// What it is made of; a part's id is its index.
    pub parts: Vec<Part>,
    /// What the gateway knows about it.
    pub attributes: Attributes,
    /// Embeddings that came with it, by name; f32 `[dim]`, all finite.
    pub embeddings: BTreeMap<String, Vec<f32>>,
}

/// One part of an item.
#[derive(Debug, Clone, PartialEq)]
pub struct Part {
    /// What the caller calls it: `title`, `text`, …
    pub name: String,
    /// What it holds.
    pub content: Content,
}

/// What a part holds.
#[derive(Debug, Clone, PartialEq)]
pub enum Content {
    /// UTF-8 text, with a BCP 47 language tag where the caller knows it.
    Text {
        /// The text.
        text: String,
        /// Its language.
        language: Option<String>,
    },
    /// An image, still coded.
    Image {
        /// Its bytes, or where they are.
        source: ImageSource,
    },
    /// A link, as given.
    Link {
        /// Where it leads.
        target: String,
    },
}

/// Where an image comes from.
#[derive(Clone, PartialEq, Eq)]
pub enum ImageSource {
    /// The bytes of a file, whatever they are: what they hold is looked at when
    /// the item is judged.
    Bytes(Arc<[u8]>),
    /// A path, which nobody has opened. A host refuses it: whoever reads items for
    /// people who may name files opens them, with [`Item::open_images`].
    Path(String),
}

impl fmt::Debug for ImageSource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Bytes(bytes) => write!(f, "Bytes({} bytes)", bytes.len()),
            Self::Path(path) => write!(f, "Path({path:?})"),
        }
    }
}

/// Which kind a part is: what a detector's manifest says it reads.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum PartKind {
    /// Text parts.
    Text,
    /// Image parts.
    Image,
    /// Link parts.
    Link,
}

impl Part {
    /// Which kind it is.
    pub fn kind(&self) -> PartKind {
        match self.content {
            Content::Text { .. } => PartKind::Text,
            Content::Image { .. } => PartKind::Image,
            Content::Link { .. } => PartKind::Link,
        }
    }

    /// Bytes of its content: of a text, of an image's file or path, of a link's target.
    pub fn content_bytes(&self) -> usize {
        match &self.content {
            Content::Text { text, .. } => text.len(),
            Content::Image {
                source: ImageSource::Bytes(bytes),
            } => bytes.len(),
            Content::Image {
                source: ImageSource::Path(path),
            } => path.len(),
            Content::Link { target } => target.len(),
        }
    }

    fn n_bytes(&self) -> usize {
        let content = match &self.content {
            Content::Text { text, language } => {
                text.len() + language.as_ref().map_or(0, String::len)
            }
            // Bytes of images have a bound of their own.
            Content::Image {
                source: ImageSource::Path(path),
            } => path.len(),
            Content::Image { .. } => 0,
            Content::Link { target } => target.len(),
        };
        self.name.len() + content
    }
}

impl Item {
    /// Bytes of memory that it holds, roughly, and never none: what a queue that keeps
    /// items is bounded by.
    pub fn held_bytes(&self) -> usize {
        let attributes = self.attributes.iter().map(|(name, value)| {
            let value = match value {
                Attribute::Text(text) => text.len(),
                _ => size_of::<Attribute>(),
            };
            name.len() + value
        });
        let embeddings = self.embeddings.values();
        let embeddings = embeddings.map(|numbers| size_of_val(numbers.as_slice()));
        let parts = self.parts.iter().map(Part::content_bytes);
        let all = parts.chain(attributes).chain(embeddings).sum::<usize>();
        all + self.id.len() + size_of::<Self>()
    }

    /// An item that is one text, named `text`.
    pub fn from_text(id: impl Into<String>, text: impl Into<String>) -> Self {
        let mut item = Self {
            id: id.into(),
            ..Self::default()
        };
        item.push_text("text", text.into(), None);
        item
    }

    /// An item that is one text, from the bytes of a file.
    pub fn from_text_bytes(id: impl Into<String>, bytes: Vec<u8>) -> Result<Self, IntakeError> {
        let text = String::from_utf8(bytes).map_err(|error| IntakeError::NotUtf8 {
            at: error.utf8_error().valid_up_to(),
        })?;
        Ok(Self::from_text(id, text))
    }

    /// An item that is one image, from the bytes of a file.
    pub fn from_image_bytes(id: impl Into<String>, bytes: impl Into<Arc<[u8]>>) -> Self {
        let mut item = Self {
            id: id.into(),
            ..Self::default()
        };
        item.push_image(bytes.into());
        item
    }

    /// Puts the bytes that `open` gives in place of each image's path. The first
    /// error that it gives.
    pub fn open_images<E>(
        &mut self,
        mut open: impl FnMut(&str) -> Result<Vec<u8>, E>,
    ) -> Result<(), E> {
        for part in &mut self.parts {
            if let Content::Image { source } = &mut part.content
                && let ImageSource::Path(path) = source
            {
                *source = ImageSource::Bytes(open(path)?.into());
            }
        }
        Ok(())
    }

    /// Whether an image is given as a path that nobody has opened.
    pub fn has_unopened_images(&self) -> bool {
        self.parts.iter().any(|part| {
            matches!(
                part.content,
                Content::Image {
                    source: ImageSource::Path(_)
                }
            )
        })
    }

    /// Adds an image part, named `image`.
    pub(crate) fn push_image(&mut self, bytes: Arc<[u8]>) {
        let source = ImageSource::Bytes(bytes);
        self.push("image", Content::Image { source });
    }

    pub(crate) fn push_text(&mut self, name: &str, text: String, language: Option<String>) {
        self.push(name, Content::Text { text, language });
    }

    pub(crate) fn push_link(&mut self, target: String) {
        self.push("link", Content::Link { target });
    }

    fn push(&mut self, name: &str, content: Content) {
        let name = name.to_owned();
        self.parts.push(Part { name, content });
    }

    /// Whether the item has a part of one of these kinds.
    pub fn has_any(&self, kinds: &[PartKind]) -> bool {
        self.parts.iter().any(|part| kinds.contains(&part.kind()))
    }

    /// The text of part `part`, when it is a text.
    pub fn text(&self, part: u32) -> Option<&str> {
        match &self.part(part)?.content {
            Content::Text { text, .. } => Some(text),
            _ => None,
        }
    }

    /// The part with this id.
    pub fn part(&self, part: u32) -> Option<&Part> {
        self.parts.get(usize::try_from(part).ok()?)
    }

    /// Ids of the parts of one kind, in order.
    pub fn part_ids(&self, kind: PartKind) -> impl Iterator<Item = u32> {
        let ids: RangeInclusive<u32> = 0..=u32::MAX;
        let of_kind = move |(id, part): (u32, &Part)| (part.kind() == kind).then_some(id);
        ids.zip(&self.parts).filter_map(of_kind)
    }
}
