//! Labels of domains in the letters that names are looked up by (RFC 3492): a list and a
//! link may each be written either way.

const BASE: u32 = 36;
const T_MIN: u32 = 1;
const T_MAX: u32 = 26;
const SKEW: u32 = 38;
const DAMP: u32 = 700;
const FIRST_BIAS: u32 = 72;
const FIRST_CODE: u32 = 0x80;

/// The label in ASCII, `xn--` before it; a label is short, so nothing overflows.
///
/// `label`: at most 63 characters, not all of them ASCII.
pub(super) fn encode(label: &str) -> String {
    let mut out: String = label.chars().filter(char::is_ascii).collect();
    let n_basic = count(&out);
    if n_basic > 0 {
        out.push('-');
    }
    let (mut code, mut delta, mut bias) = (FIRST_CODE, 0, FIRST_BIAS);
    let mut n_done = n_basic;
    let n_all = count(label);
    while n_done < n_all {
        let codes = label.chars().map(u32::from);
        let next = codes.filter(|other| *other >= code).min();
        let next = next.expect("a letter is left");
        delta += (next - code) * (n_done + 1);
        code = next;
        for letter in label.chars().map(u32::from) {
            if letter < code {
                delta += 1;
            } else if letter == code {
                number(&mut out, delta, bias);
                bias = adapted(delta, n_done + 1, n_done == n_basic);
                delta = 0;
                n_done += 1;
            }
        }
        delta += 1;
        code += 1;
    }
    format!("xn--{out}")
}

fn count(text: &str) -> u32 {
    u32::try_from(text.chars().count()).expect("a label is short")
}

/// A number in digits of varying weight ("generalized variable-length integers").
fn number(out: &mut String, mut left: u32, bias: u32) {
    let mut k = BASE;
    loop {
        let threshold = k.saturating_sub(bias).clamp(T_MIN, T_MAX);
        if left < threshold {
            break;
        }
        let weight = BASE - threshold;
        out.push(digit(threshold + (left - threshold) % weight));
        left = (left - threshold) / weight;
        k += BASE;
    }
    out.push(digit(left));
}

fn digit(value: u32) -> char {
    char::from_digit(value.wrapping_sub(26), 10)
        .or_else(|| char::from_u32(u32::from(b'a') + value))
        .expect("below 36")
}

/// How the weights change with the size of the last number.
fn adapted(delta: u32, n_done: u32, is_first: bool) -> u32 {
    let mut delta = delta / if is_first { DAMP } else { 2 };
    delta += delta / n_done;
    let mut k = 0;
    while delta > (BASE - T_MIN) * T_MAX / 2 {
        delta /= BASE - T_MIN;
        k += BASE;
    }
    k + (BASE - T_MIN + 1) * delta / (delta + SKEW)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// As Python's `idna` codec gives them.
    #[test]
    fn labels_are_encoded_as_elsewhere() {
        for (label, expected) in [
            ("bücher", "xn--bcher-kva"),
            ("münchen", "xn--mnchen-3ya"),
            ("пример", "xn--e1afmkfd"),
            ("例子", "xn--fsqu00a"),
            ("日本語", "xn--wgv71a119e"),
            ("中国", "xn--fiqs8s"),
            ("рф", "xn--p1ai"),
            ("a-é", "xn--a--cja"),
            ("παράδειγμα", "xn--hxajbheg2az3al"),
        ] {
            assert_eq!(encode(label), expected, "{label}");
        }
    }

    #[test]
    fn the_longest_label_does_not_overflow() {
        let label: String = ('\u{10ffc0}'..='\u{10fffe}').collect();
        assert_eq!(label.chars().count(), 63);
        assert!(encode(&label).starts_with("xn--"));
    }
}
