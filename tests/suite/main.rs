//! The suite: one behaviour per test, and cases as data.

#![expect(
    clippy::unwrap_used,
    reason = "a test that unwraps in vain has failed, as it should"
)]

mod attention;
mod bad_models;
mod batch;
mod cache;
mod generated;
mod gpu;
mod graphs;
mod halves;
mod hostile;
mod image_quality;
mod images;
mod limits;
mod lists;
mod loading;
mod models;
mod operators;
mod packages;
mod policy;
mod prepare;
mod preprocess_gpu;
mod record;
mod rollout;
mod server;
mod spam_text;
mod street;
mod targets;
mod tensors;
mod tidy;
mod tokenizers;
mod toxicity_text;
