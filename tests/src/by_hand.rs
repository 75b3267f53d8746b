//! Guests that no compiler would make: `guest-models/misbehaving/by_hand/*.wat`.
//!
//! Each file holds fields of a core module. Around them stands what every one
//! needs: imports, a `detect` that calls the file's `$provoked` when the item has a
//! time of receipt and else behaves, and the component. To the files it offers
//!
//! - `$tensor`, which makes a tensor of one byte and answers its handle;
//! - `$drop-tensor`, `$tensor-dtype`, `$model-inputs` and `$signal`, as the contract
//!   lowers them;
//! - the globals `$findings` (its handle), `$keeps` (1: give no handle back) and
//!   `$answer` (the first byte of what `detect` answers);
//! - the memory from 512 on.

use std::fs;

use crate::guests::from_text;
use crate::workspace;

/// What each of them imports.
pub const IMPORTS: [&str; 3] = ["content", "results", "tensors"];

/// The component of the guest in `NAME.wat`, `NAME` spelled with `_` for `-`.
///
/// # Panics
///
/// When there is no such file, or it is no WebAssembly.
pub fn component(name: &str) -> Vec<u8> {
    let folder = workspace().join("guest-models/misbehaving/by_hand");
    let file = folder.join(format!("{}.wat", name.replace('-', "_")));
    let fields =
        fs::read_to_string(&file).unwrap_or_else(|error| panic!("{}: {error}", file.display()));
    let provoked = match fields.contains("(func $provoked") {
        true => "",
        false => "(func $provoked)",
    };
    from_text(&AROUND.replace("FIELDS", &format!("{fields}\n{provoked}")))
}

const AROUND: &str = r#"(component
    (import "trommel:detector/failures@0.1.0" (instance $failures
        (type $f (record (field "code" string) (field "what" string) (field "where" string) (field "hint" string)))
        (export "failure" (type (eq $f)))))
    (alias export $failures "failure" (type $failure))
    (import "trommel:detector/content@0.1.0" (instance $content
        (export "item" (type $item (sub resource)))
        (export "[method]item.received-at" (func (param "self" (borrow $item)) (result (option u64))))))
    (import "trommel:detector/results@0.1.0" (instance $results
        (export "findings" (type $findings (sub resource)))
        (export "[method]findings.signal" (func (param "self" (borrow $findings)) (param "label" string) (param "score" f32) (result u32)))))
    (import "trommel:detector/tensors@0.1.0" (instance $tensors
        (alias outer 1 $failure (type $f))
        (export "failure" (type $failure' (eq $f)))
        (type $d (enum "bool" "u8" "i8" "u16" "i16" "u32" "i32" "u64" "i64" "f16" "bf16" "f32" "f64"))
        (export "dtype" (type $dtype (eq $d)))
        (type $s (variant (case "fixed" u32) (case "symbol" string)))
        (export "dimension" (type $dimension (eq $s)))
        (type $p (record (field "name" string) (field "dtype" $dtype) (field "shape" (list $dimension))))
        (export "port" (type $port (eq $p)))
        (export "tensor" (type $tensor (sub resource)))
        (export "model" (type $model (sub resource)))
        (export "[static]tensor.from-bytes" (func (param "dtype" $dtype) (param "shape" (list u32)) (param "bytes" (list u8)) (result (result (own $tensor) (error $failure')))))
        (export "[method]tensor.dtype" (func (param "self" (borrow $tensor)) (result $dtype)))
        (export "[method]model.inputs" (func (param "self" (borrow $model)) (result (list $port))))))
    (alias export $content "item" (type $item))
    (alias export $results "findings" (type $findings))
    (alias export $tensors "tensor" (type $tensor))
    (core module $memory
        (memory (export "memory") 16)
        (global $end (mut i32) (i32.const 65536))
        (func (export "realloc") (param i32 i32 i32 i32) (result i32)
            (local $at i32)
            (local.set $at (i32.and (i32.add (global.get $end) (i32.const 15)) (i32.const -16)))
            (global.set $end (i32.add (local.get $at) (local.get 3)))
            (local.get $at)))
    (core instance $memory (instantiate $memory))
    (alias core export $memory "memory" (core memory $m))
    (alias core export $memory "realloc" (core func $realloc))
    (core func $drop-item (canon resource.drop $item))
    (core func $drop-findings (canon resource.drop $findings))
    (core func $drop-tensor (canon resource.drop $tensor))
    (core func $received-at (canon lower (func $content "[method]item.received-at") (memory $m)))
    (core func $signal (canon lower (func $results "[method]findings.signal") (memory $m)))
    (core func $from-bytes (canon lower (func $tensors "[static]tensor.from-bytes") (memory $m) (realloc $realloc)))
    (core func $tensor-dtype (canon lower (func $tensors "[method]tensor.dtype")))
    (core func $model-inputs (canon lower (func $tensors "[method]model.inputs") (memory $m) (realloc $realloc)))
    (core module $guest
        (import "host" "memory" (memory 16))
        (import "host" "drop-item" (func $drop-item (param i32)))
        (import "host" "drop-findings" (func $drop-findings (param i32)))
        (import "host" "drop-tensor" (func $drop-tensor (param i32)))
        (import "host" "received-at" (func $received-at (param i32 i32)))
        (import "host" "signal" (func $signal (param i32 i32 i32 f32) (result i32)))
        (import "host" "from-bytes" (func $from-bytes (param i32 i32 i32 i32 i32 i32)))
        (import "host" "tensor-dtype" (func $tensor-dtype (param i32) (result i32)))
        (import "host" "model-inputs" (func $model-inputs (param i32 i32)))
        (global $findings (mut i32) (i32.const 0))
        (global $keeps (mut i32) (i32.const 0))
        (global $answer (mut i32) (i32.const 0))
        (data (i32.const 16) "spam")
        (func $tensor (result i32)
            (i32.store (i32.const 256) (i32.const 1))
            (call $from-bytes (i32.const 1) (i32.const 256) (i32.const 1) (i32.const 260) (i32.const 1) (i32.const 320))
            (i32.load (i32.const 324)))
        (func (export "detect") (param $item i32) (param i32) (result i32)
            (global.set $findings (local.get 1))
            (call $received-at (local.get $item) (i32.const 384))
            (if (i32.load8_u (i32.const 384))
                (then (call $provoked))
                (else (drop (call $signal (global.get $findings) (i32.const 16) (i32.const 4) (f32.const 1)))))
            (if (i32.eqz (global.get $keeps)) (then
                (call $drop-item (local.get $item))
                (call $drop-findings (global.get $findings))))
            (i32.store8 (i32.const 64) (global.get $answer))
            (i32.const 64))
        FIELDS)
    (core instance $host
        (export "memory" (memory $m))
        (export "drop-item" (func $drop-item))
        (export "drop-findings" (func $drop-findings))
        (export "drop-tensor" (func $drop-tensor))
        (export "received-at" (func $received-at))
        (export "signal" (func $signal))
        (export "from-bytes" (func $from-bytes))
        (export "tensor-dtype" (func $tensor-dtype))
        (export "model-inputs" (func $model-inputs)))
    (core instance $i (instantiate $guest (with "host" (instance $host))))
    (func $detect (param "item" (borrow $item)) (param "out" (borrow $findings))
        (result (result (error $failure)))
        (canon lift (core func $i "detect") (memory $m) (realloc $realloc)))
    (component $shim
        (import "item" (type $item (sub resource)))
        (import "findings" (type $findings (sub resource)))
        (type $f (record (field "code" string) (field "what" string) (field "where" string) (field "hint" string)))
        (import "failure" (type $failure (eq $f)))
        (import "detect" (func $detect (param "item" (borrow $item)) (param "out" (borrow $findings)) (result (result (error $failure)))))
        (export $item' "item" (type $item))
        (export $findings' "findings" (type $findings))
        (export $failure' "failure" (type $failure))
        (export "detect" (func $detect) (func (param "item" (borrow $item')) (param "out" (borrow $findings')) (result (result (error $failure'))))))
    (instance $detection (instantiate $shim
        (with "item" (type $item)) (with "findings" (type $findings)) (with "failure" (type $failure)) (with "detect" (func $detect))))
    (export "trommel:detector/detection@0.1.0" (instance $detection)))"#;
