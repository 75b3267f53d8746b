//! The generated side of the contract. Nothing outside `engine` sees it.

#![allow(
    missing_docs,
    unsafe_code,
    unreachable_pub,
    clippy::undocumented_unsafe_blocks,
    clippy::allow_attributes_without_reason,
    clippy::all,
    reason = "written by wasmtime, not by us"
)]

wasmtime::component::bindgen!({
    path: "../wit",
    world: "detector",
    imports: {
        // Only what waits is async; the rest are plain calls, which cost less.
        "trommel:detector/tensors.[method]model.run": async | trappable,
        "trommel:detector/tensors.[method]tensor.read": async | trappable,
        "trommel:detector/images.[method]image.to-tensor": async | trappable,
        "trommel:detector/tokenizers.[method]tokenizer.encode": async | trappable,
        default: trappable,
    },
    exports: { default: async },
    with: {
        "trommel:detector/content.item": super::host::ItemHandle,
        "trommel:detector/results.findings": super::host::FindingsHandle,
        "trommel:detector/tensors.tensor": trommel_tensor::Tensor,
        "trommel:detector/tensors.model": super::host::ModelHandle,
        "trommel:detector/images.image": super::host::ImageHandle,
        "trommel:detector/images.preprocess": super::host::PreprocessHandle,
        "trommel:detector/tokenizers.tokenizer": super::host::TokenizerHandle,
        "trommel:detector/tokenizers.encoding": super::host::EncodingHandle,
    },
});
