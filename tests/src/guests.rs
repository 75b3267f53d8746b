//! The components under `guest-models/misbehaving/guests`, and some that no
//! compiler would make.

/// Every guest's component by its name.
pub const ALL: &[(&str, &[u8])] = include!(concat!(env!("OUT_DIR"), "/guests.rs"));

/// The component of the guest `name`.
///
/// # Panics
///
/// When there is no such guest.
pub fn component(name: &str) -> &'static [u8] {
    let guest = ALL.iter().find(|(known, _)| *known == name);
    guest
        .unwrap_or_else(|| panic!("no guest is called `{name}`"))
        .1
}

/// A component from its text.
///
/// # Panics
///
/// When the text is no WebAssembly.
pub fn from_text(text: &str) -> Vec<u8> {
    wat::parse_str(text).unwrap_or_else(|error| panic!("{error}"))
}

/// A detector written by hand: `module` is the text of core fields, such as a
/// start function or a table, and `body` runs on each call. It keeps to the
/// contract otherwise and finds nothing.
pub fn by_hand(module: &str, body: &str) -> Vec<u8> {
    from_text(&by_hand_text(module, body))
}

/// The same, made ready once: `module` holds a function that is exported as `prepare` and
/// answers where its answer lies.
pub fn prepared_by_hand(module: &str, body: &str) -> Vec<u8> {
    from_text(&prepared_by_hand_text(module, body))
}

/// The text of [`prepared_by_hand`], for tests that change more of it.
pub fn prepared_by_hand_text(module: &str, body: &str) -> String {
    let text = by_hand_text(module, body);
    let detection = r#"(export "trommel:detector/detection@0.1.0""#;
    text.replace(detection, &format!("{PREPARED}{detection}"))
}

const PREPARED: &str = r#"
            (func $prepare (result (result (error $failure)))
                (canon lift (core func $i "prepare") (memory (core memory $i "memory")) (realloc (core func $i "realloc"))))
            (component $ready
                (type $f (record (field "code" string) (field "what" string) (field "where" string) (field "hint" string)))
                (import "failure" (type $failure (eq $f)))
                (import "prepare" (func $prepare (result (result (error $failure)))))
                (export $failure' "failure" (type $failure))
                (export "prepare" (func $prepare) (func (result (result (error $failure'))))))
            (instance $preparation (instantiate $ready
                (with "failure" (type $failure)) (with "prepare" (func $prepare))))
            (export "trommel:detector/prepare@0.1.0" (instance $preparation))
            "#;

/// The text of [`by_hand`], for tests that change more of it.
pub fn by_hand_text(module: &str, body: &str) -> String {
    format!(
        r#"(component
            (import "trommel:detector/content@0.1.0" (instance $content
                (export "item" (type (sub resource)))))
            (import "trommel:detector/results@0.1.0" (instance $results
                (export "findings" (type (sub resource)))))
            (type $failure' (record (field "code" string) (field "what" string) (field "where" string) (field "hint" string)))
            (import "trommel:detector/failures@0.1.0" (instance $failures
                (type $f (record (field "code" string) (field "what" string) (field "where" string) (field "hint" string)))
                (export "failure" (type (eq $f)))))
            (alias export $content "item" (type $item))
            (alias export $results "findings" (type $findings))
            (alias export $failures "failure" (type $failure))
            (core func $drop-item (canon resource.drop $item))
            (core func $drop-findings (canon resource.drop $findings))
            (core module $m
                (import "drop" "item" (func $drop-item (param i32)))
                (import "drop" "findings" (func $drop-findings (param i32)))
                {module}
                (memory (export "memory") 1)
                (func (export "realloc") (param i32 i32 i32 i32) (result i32) unreachable)
                (func (export "detect") (param i32 i32) (result i32)
                    {body}
                    (call $drop-item (local.get 0))
                    (call $drop-findings (local.get 1))
                    (i32.store8 (i32.const 64) (i32.const 0))
                    (i32.const 64)))
            (core instance $drop (export "item" (func $drop-item)) (export "findings" (func $drop-findings)))
            (core instance $i (instantiate $m (with "drop" (instance $drop))))
            (func $detect (param "item" (borrow $item)) (param "out" (borrow $findings))
                (result (result (error $failure)))
                (canon lift (core func $i "detect") (memory (core memory $i "memory")) (realloc (core func $i "realloc"))))
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
            (export "trommel:detector/detection@0.1.0" (instance $detection)))"#
    )
}
