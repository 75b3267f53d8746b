//! The suite: one behaviour per test, and cases as data.

mod cache;
mod limits;
mod loading;
mod misbehaving;
mod policy;
mod spam_text;
mod street;
mod tensors;
mod tidy;
