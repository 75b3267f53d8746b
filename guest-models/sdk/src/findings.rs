//! What a detector writes while it judges.

use crate::bindings::trommel::detector::results;
use crate::{PartId, Tensor};

/// A signal of this call, for the evidence that belongs to it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SignalRef(u32);

/// The writer that [`crate::Detector::detect`] fills. A broken promise (see each
/// method) ends the call at once as the plugin's fault, and nothing of it is
/// kept.
#[repr(transparent)]
pub struct Findings(results::Findings);

impl Findings {
    #[expect(unsafe_code, reason = "a newtype over a reference has no safe cast")]
    pub(crate) fn new(raw: &results::Findings) -> &Self {
        // SAFETY: `Findings` is `repr(transparent)` over `results::Findings`, so
        // the two references have the same layout, and the lifetime carries over.
        unsafe { &*std::ptr::from_ref(raw).cast::<Self>() }
    }

    /// Says that the item shows `label`, declared in the manifest, with a finite
    /// `score`; higher means more. At most once per label.
    pub fn signal(&self, label: &str, score: f32) -> SignalRef {
        SignalRef(self.0.signal(label, score))
    }

    /// Evidence: bytes `start..end` of the text part `part`, on character
    /// boundaries, not empty.
    pub fn span(&self, signal: SignalRef, part: PartId, start: usize, end: usize) {
        // A length that does not fit is outside every part, so the host refuses it.
        let clamp = |n: usize| u32::try_from(n).unwrap_or(u32::MAX);
        self.0.span(signal.0, part, clamp(start), clamp(end));
    }

    /// Evidence: a rectangle of the image part `part` in fractions of its width
    /// and height, origin top left.
    pub fn region(&self, signal: SignalRef, part: PartId, x: f32, y: f32, width: f32, height: f32) {
        self.0.region(signal.0, part, x, y, width, height);
    }

    /// Evidence in words, for a person to read.
    pub fn note(&self, signal: SignalRef, text: &str) {
        self.0.note(signal.0, text);
    }

    /// An embedding of the item, f32 `[dim]`, all finite. At most once per name.
    pub fn embedding(&self, name: &str, value: &Tensor) {
        self.0.embedding(name, &value.0);
    }
}
