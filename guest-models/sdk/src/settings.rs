//! The plugin's settings for this call.

use std::str::FromStr;

use crate::bindings::trommel::detector::settings;

/// The setting `key` as text; none when the manifest declares no such setting.
pub fn text(key: &str) -> Option<String> {
    settings::get(key)
}

/// The setting `key` as a number or flag (`i64`, `f64`, `bool`); none when the
/// manifest declares no such setting.
///
/// # Panics
///
/// When the manifest declares another type for it: a mistake in the plugin.
pub fn parsed<T: FromStr>(key: &str) -> Option<T> {
    let value = text(key)?;
    let Ok(value) = value.parse() else {
        panic!("setting `{key}` is `{value}`: read it as the type the manifest declares");
    };
    Some(value)
}
