//! An item as it is shown to detectors: its content, and what was made of its
//! images, and what models computed, for all of them.
//!
//! Within one item an image is decoded, and made into a tensor with the same
//! preprocessing, once, whoever asks; and so is a model run on the same tensors.

use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use futures_util::future::{BoxFuture, FutureExt as _, Shared, WeakShared, join_all};
use trommel_tensor::{Account, Charge, Device, Preparation, Preprocess, Tensor};

use super::call::until;
use super::decoder::{Decoded, Decoder, ImageError, Spent};
use super::shared_runs::SharedRuns;
use super::{Engine, Fault, now};
use crate::decode::Header;
use crate::item::{Content, ImageSource, IntakeError, Item};

/// Bytes of tensors that are kept for the next who asks; what is beyond is made
/// anew each time.
const MAX_KEPT_BYTES: u64 = 64 << 20;

/// Tensors that are kept.
const MAX_KEPT: u64 = 64;

/// One item on show; made by [`Engine::exhibit`], shared by the calls for it.
pub struct Exhibit {
    item: Arc<Item>,
    images: Vec<Image>,
    /// When its judging must be done: work that is shared lasts as long as any who
    /// asks may wait.
    by: Instant,
    decoder: Arc<Decoder>,
    device: Arc<dyn Device>,
    kept: Account,
    making: Mutex<Vec<Making>>,
    decoding: Arc<Spent>,
    preparing: Arc<Spent>,
    pub(super) runs: SharedRuns,
}

type Decoding = BoxFuture<'static, Result<Arc<Decoded>, ImageError>>;
type Preparing = Shared<BoxFuture<'static, Result<Tensor, ImageError>>>;

/// An image as it was given.
type Coded = Arc<[u8]>;

/// An image part.
struct Image {
    part: u32,
    bytes: Coded,
    /// What it says of itself, or why the host could not look in time.
    header: Result<Header, Fault>,
    /// Shared by those who ask meanwhile: pixels are too large to be kept.
    decoding: Mutex<Option<WeakShared<Decoding>>>,
}

/// A tensor that was asked for.
struct Making {
    part: u32,
    how: Preprocess,
    tensor: Preparing,
    _kept: Charge,
}

impl Engine {
    /// Puts `item` on show: reads what its images say of themselves, by `by`.
    ///
    /// The first image that is none, is larger than it may be, or was given as a
    /// path. Nothing is waited for when there are no images.
    pub async fn exhibit(&self, item: &Arc<Item>, by: Instant) -> Result<Exhibit, IntakeError> {
        let opening = images_of(item)?
            .into_iter()
            .map(|(part, bytes)| self.open(part, bytes, by));
        let mut opened = Vec::new();
        // Items without images are many and must not pay for the machinery.
        if opening.len() > 0 {
            for image in join_all(opening).await {
                opened.push(image?);
            }
        }
        Ok(self.shown(item, opened, by))
    }

    /// Puts `item` on show without its images, for detectors that read none.
    pub fn exhibit_unopened(&self, item: &Arc<Item>) -> Exhibit {
        self.shown(item, Vec::new(), now())
    }

    fn shown(&self, item: &Arc<Item>, images: Vec<Image>, by: Instant) -> Exhibit {
        Exhibit {
            item: item.clone(),
            images,
            by,
            decoder: self.decoder.clone(),
            device: self.device.clone(),
            kept: Account::new("the item's images", MAX_KEPT_BYTES, MAX_KEPT),
            making: Mutex::default(),
            decoding: Arc::default(),
            preparing: Arc::default(),
            runs: SharedRuns::default(),
        }
    }

    async fn open(&self, part: u32, bytes: Coded, by: Instant) -> Result<Image, IntakeError> {
        let late = Fault::Overloaded("no image could be looked at in time".to_owned());
        let header = match until(by, self.decoder.header(bytes.clone()), late).await {
            Ok(Ok(header)) => Ok(header),
            Ok(Err(ImageError::Decode(error))) => return Err(IntakeError::Image { part, error }),
            Ok(Err(ImageError::Tensor(error))) => Err(Fault::Overloaded(error.to_string())),
            Err(fault) => Err(fault),
        };
        Ok(Image {
            part,
            bytes,
            header,
            decoding: Mutex::default(),
        })
    }
}

/// The bytes of an item's images with the ids of their parts, or that one is a path.
fn images_of(item: &Item) -> Result<Vec<(u32, Coded)>, IntakeError> {
    let mut images = Vec::new();
    for (id, part) in (0..).zip(&item.parts) {
        match &part.content {
            Content::Image {
                source: ImageSource::Bytes(bytes),
            } => images.push((id, bytes.clone())),
            Content::Image {
                source: ImageSource::Path(path),
            } => return Err(IntakeError::Unopened { path: path.clone() }),
            _ => {}
        }
    }
    Ok(images)
}

impl Exhibit {
    /// What is shown.
    pub fn item(&self) -> &Arc<Item> {
        &self.item
    }

    /// Time that codecs took, and that devices took to make tensors of images, for
    /// all detectors together.
    pub fn spent_on_images(&self) -> (Duration, Duration) {
        (self.decoding.total(), self.preparing.total())
    }

    fn image(&self, part: u32) -> Option<&Image> {
        self.images.iter().find(|image| image.part == part)
    }

    /// What image part `part` says of itself and its bytes' length; none when it is
    /// no image. The fault of a host that could not look in time.
    pub(super) fn header(&self, part: u32) -> Option<Result<(Header, usize), Fault>> {
        let image = self.image(part)?;
        let header = image.header.clone();
        Some(header.map(|header| (header, image.bytes.len())))
    }

    /// Image part `part` as a tensor, charged to `account`. `header` is the part's
    /// own, so there is one.
    pub(super) async fn tensor(
        &self,
        part: u32,
        header: Header,
        how: &Preprocess,
        account: &Account,
    ) -> Result<Tensor, ImageError> {
        let n_bytes = how.n_bytes(header.width, header.height)? as u64;
        // Each who asks pays for the whole: another may let go of it first.
        let charge = account.charge(n_bytes, 1)?;
        let made = self.making(part, header, how, n_bytes).await?;
        let storage = made.storage().clone();
        Ok(Tensor::from_storage(
            made.dtype(),
            made.shape(),
            storage,
            charge,
        ))
    }

    fn making(&self, part: u32, header: Header, how: &Preprocess, n_bytes: u64) -> Preparing {
        let mut making = locked(&self.making);
        let known = making
            .iter()
            .find(|making| making.part == part && making.how == *how);
        if let Some(known) = known {
            return known.tensor.clone();
        }
        let tensor = self.prepare(part, header, how).shared();
        if let Ok(kept) = self.kept.charge(n_bytes, 1) {
            making.push(Making {
                part,
                how: how.clone(),
                tensor: tensor.clone(),
                _kept: kept,
            });
        }
        tensor
    }

    fn prepare(
        &self,
        part: u32,
        header: Header,
        how: &Preprocess,
    ) -> BoxFuture<'static, Result<Tensor, ImageError>> {
        let image = self.image(part).expect("the header is this image's");
        let decoding = self.decoding(image, header);
        let (device, how, spent) = (self.device.clone(), how.clone(), self.preparing.clone());
        let by = self.by;
        async move {
            let decoded = decoding.await?;
            let start = now();
            let prepared = device.prepare(Preparation {
                pixels: decoded.pixels.clone(),
                preprocess: how,
                deadline: Some(by),
                // Whoever asked is charged, and what is kept is.
                account: Account::new("an image", u64::MAX, u64::MAX),
            });
            let tensor = prepared.await?;
            spent.add(start.elapsed());
            Ok(tensor)
        }
        .boxed()
    }

    fn decoding(&self, image: &Image, header: Header) -> Shared<Decoding> {
        let mut decoding = locked(&image.decoding);
        let running = decoding.as_ref().and_then(WeakShared::upgrade);
        running.unwrap_or_else(|| {
            let (decoder, bytes) = (self.decoder.clone(), image.bytes.clone());
            let spent = self.decoding.clone();
            let decode = async move {
                let decoded = decoder.pixels(bytes, header, spent).await?;
                Ok(Arc::new(decoded))
            };
            let shared = decode.boxed().shared();
            *decoding = shared.downgrade();
            shared
        })
    }
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl fmt::Debug for Exhibit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Exhibit")
            .field("item", &self.item.id)
            .field("n_images", &self.images.len())
            .finish_non_exhaustive()
    }
}
