//! The generated side of the contract. Nothing outside this crate sees it.

#![allow(
    missing_docs,
    unsafe_code,
    unreachable_pub,
    clippy::undocumented_unsafe_blocks,
    clippy::allow_attributes_without_reason,
    clippy::all,
    reason = "written by wit-bindgen, not by us"
)]

wit_bindgen::generate!({
    path: "../../wit",
    world: "detector",
    pub_export_macro: true,
    export_macro_name: "export_detector",
});

/// What a detector exports beside, to be made ready once.
pub mod preparation {
    wit_bindgen::generate!({
        path: "../../wit",
        world: "preparation",
        pub_export_macro: true,
        export_macro_name: "export_preparation",
        with: {
            "trommel:detector/failures@0.1.0": crate::bindings::trommel::detector::failures,
        },
    });
}
