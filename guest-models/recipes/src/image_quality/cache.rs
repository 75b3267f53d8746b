//! Runs the feature graph, and remembers what it answered.
//!
//! An answer is kept under the digests of the graph and of the pixels, so
//! nothing stale is ever read.

use std::{
    fs,
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
};

use anyhow::{Context, Result, anyhow};
use sha2::{Digest, Sha256};
use tract_onnx::prelude::*;

use super::features::SIDE;
use crate::data::hex;

/// A graph made ready, and the folder of its answers.
pub(crate) struct Measurer {
    plan: Arc<TypedRunnableModel>,
    folder: PathBuf,
    n_features: usize,
}

impl Measurer {
    /// `encoded`: an ONNX graph whose first output is `[1, n_features]`.
    pub(crate) fn new(encoded: &[u8], n_features: usize, cache: &Path) -> Result<Self> {
        let plan = tract_onnx::onnx()
            .model_for_read(&mut &*encoded)?
            .into_optimized()?
            .into_runnable()?;
        let folder = cache.join(&hex(&Sha256::digest(encoded))[..16]);
        fs::create_dir_all(&folder).with_context(|| format!("cannot make {}", folder.display()))?;
        Ok(Self {
            plan,
            folder,
            n_features,
        })
    }

    /// Features of `pixels`, f32 `[3, SIDE, SIDE]`.
    pub(crate) fn features(&self, pixels: &[f32]) -> Result<Vec<f32>> {
        let bytes: Vec<u8> = pixels.iter().flat_map(|x| x.to_le_bytes()).collect();
        let file = self.folder.join(hex(&Sha256::digest(&bytes)));
        if let Some(known) = fs::read(&file).ok().and_then(|bytes| self.parse(&bytes)) {
            return Ok(known);
        }
        let features = self.compute(pixels)?;
        let bytes: Vec<u8> = features.iter().flat_map(|x| x.to_le_bytes()).collect();
        // Renamed into place: an interrupted run leaves no half answer.
        let part = file.with_extension("part");
        fs::write(&part, bytes)
            .and_then(|()| fs::rename(&part, &file))
            .with_context(|| format!("cannot write {}", file.display()))?;
        Ok(features)
    }

    fn parse(&self, bytes: &[u8]) -> Option<Vec<f32>> {
        let (numbers, rest) = bytes.as_chunks::<4>();
        let whole = rest.is_empty() && numbers.len() == self.n_features;
        whole.then(|| numbers.iter().map(|x| f32::from_le_bytes(*x)).collect())
    }

    /// The same without the memory.
    pub(crate) fn compute(&self, pixels: &[f32]) -> Result<Vec<f32>> {
        let pixels = Tensor::from_shape(&[1, 3, SIDE, SIDE], pixels)?;
        let answers = self.plan.run(tvec!(pixels.into()))?;
        let view = answers[0].to_plain_array_view::<f32>()?;
        Ok(view.iter().copied().collect())
    }
}

/// Calls `each` for every index below `n` on all cores; results in order.
pub(crate) fn on_all_cores<T: Send>(
    n: usize,
    each: impl Fn(usize) -> Result<T> + Sync,
) -> Result<Vec<T>> {
    let next = AtomicUsize::new(0);
    let n_threads = std::thread::available_parallelism().map_or(1, usize::from);
    let work = || {
        let mut done = Vec::new();
        loop {
            let at = next.fetch_add(1, Ordering::Relaxed);
            if at >= n {
                return Ok(done);
            }
            done.push((at, each(at)?));
        }
    };
    let mut all = std::thread::scope(|scope| {
        let threads: Vec<_> = (0..n_threads).map(|_| scope.spawn(work)).collect();
        let mut all = Vec::with_capacity(n);
        for thread in threads {
            let part: Result<Vec<(usize, T)>> = thread
                .join()
                .map_err(|_| anyhow!("a worker of the recipe panicked"))?;
            all.extend(part?);
        }
        Ok::<_, anyhow::Error>(all)
    })?;
    all.sort_by_key(|(at, _)| *at);
    Ok(all.into_iter().map(|(_, result)| result).collect())
}
