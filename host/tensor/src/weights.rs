//! Weights by content: two graphs that hold the same bytes hold them once.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError, Weak};

use sha2::Digest as _;
use tract_onnx::prelude::{Tensor, TypedModel};
use tract_onnx::tract_core::ops::konst::Const;

use crate::graph::Digest;

/// Below this, hashing costs more than sharing saves.
const MIN_SHARED_BYTES: usize = 4096;

/// The weights alive in this process, by the sha256 of their dtype, shape and
/// bytes. Holds none of them: the last graph or session that does frees them.
#[derive(Debug, Default)]
pub struct Weights {
    alive: Mutex<HashMap<Digest, Weak<Tensor>>>,
}

impl Weights {
    /// Distinct weights alive now.
    pub fn n_alive(&self) -> usize {
        let mut alive = self.alive.lock().unwrap_or_else(PoisonError::into_inner);
        alive.retain(|_, weak| weak.strong_count() > 0);
        alive.len()
    }

    /// Replaces every large constant of `model` by the one alive with the same
    /// content, where there is one.
    pub(crate) fn share(&self, model: &mut TypedModel) {
        for node in model.nodes_mut() {
            let Some(constant) = node.op_as::<Const>() else {
                continue;
            };
            let value = constant.val();
            if !value.is_plain_ram() || value.as_bytes().len() < MIN_SHARED_BYTES {
                continue;
            }
            let shared = self.shared(value);
            if let Ok(constant) = Const::new(shared.clone()) {
                node.op = Box::new(constant);
                node.outputs[0].fact.konst = Some(shared);
            }
        }
    }

    fn shared(&self, value: &Arc<Tensor>) -> Arc<Tensor> {
        let digest = content_digest(value);
        let mut alive = self.alive.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(known) = alive.get(&digest).and_then(Weak::upgrade) {
            return known;
        }
        alive.retain(|_, weak| weak.strong_count() > 0);
        alive.insert(digest, Arc::downgrade(value));
        value.clone()
    }
}

fn content_digest(value: &Tensor) -> Digest {
    let mut hasher = sha2::Sha256::new();
    hasher.update(format!("{:?} {:?};", value.datum_type(), value.shape()));
    hasher.update(value.as_bytes());
    Digest(hasher.finalize().into())
}
