//! What the misbehaving guests share: each behaves until it is provoked, so
//! that a test can see the next item judged normally by the very same plugin.

use trommel_sdk::{Failure, Findings, Item};

/// Whether the item asks for the bad habit.
pub fn is_provoked(item: &Item) -> Result<bool, Failure> {
    for part in item.texts() {
        if item.text(part)?.contains("misbehave") {
            return Ok(true);
        }
    }
    Ok(false)
}

/// What a guest answers that behaves.
pub fn behave(findings: &Findings) {
    findings.signal("spam", 1.0);
}
