//! Where links lead, and which domains a text names, in one spelling: lower case, ASCII,
//! addresses as four numbers. Programs that open links take many others.

// From `core`, which opens no connection.
use core::net::{Ipv4Addr, Ipv6Addr};
use std::ops::ControlFlow;

use unicode_normalization::UnicodeNormalization as _;

use super::punycode;
use super::words::{Met, is_accent, is_invisible, stands_alone};

/// Bytes of the longest name that is looked at; names that resolve have 253 at most.
const MAX_HOST_BYTES: usize = 1024;
/// Bytes of the longest name, and of the longest label of one (RFC 1035, 2.3.4).
const MAX_NAME_BYTES: usize = 253;
const MAX_LABEL_BYTES: usize = 63;

/// The labels of a host in the order in which lists look for them: the last first, so that
/// what is below a domain begins with the domain.
pub(super) fn labels(host: &str) -> impl Iterator<Item = &str> {
    // Of an address the last number says nothing of its network: it is one label.
    let is_address = host.parse::<Ipv4Addr>().is_ok() || host.contains(':');
    let labels = host.rsplit(if is_address { '\0' } else { '.' });
    labels.filter(|label| !label.is_empty())
}

/// Where a link leads; none when it names no host.
pub(super) fn host_of_link(target: &str) -> Option<String> {
    // Browsers leave out what cannot be seen there.
    let target: String = target
        .trim_matches(|letter: char| letter <= ' ')
        .chars()
        .filter(|letter| !matches!(letter, '\t' | '\n' | '\r'))
        .take(4 * MAX_HOST_BYTES)
        .collect();
    host(authority(&target))
}

/// Calls `each` with every host that a text names, with or without a URL around it, until
/// it breaks; and with how far the reading has come.
pub(super) fn each_host<T>(
    text: &str,
    mut each: impl FnMut(Met<'_>) -> ControlFlow<T>,
) -> ControlFlow<T> {
    const AFTER_SCHEME: &str = "://";
    let mut n_read = 0;
    for (at, _) in text.match_indices(AFTER_SCHEME) {
        each(Met::Read(at - n_read))?;
        n_read = at;
        // As far as the host goes; so no byte is looked at twice.
        let rest = text[at + AFTER_SCHEME.len()..].trim_start_matches(['/', '\\']);
        let end = rest.find(|letter: char| ends_authority(letter) || ends_url(letter));
        if let Some(host) = host(&rest[..end.unwrap_or(rest.len())]) {
            each(Met::Token(&host))?;
        }
    }
    for run in text.split(|letter| !may_be_of_name(letter)) {
        each(Met::Read(run.len() + 1))?;
        names_in(run, &mut each)?;
    }
    ControlFlow::Continue(())
}

/// A run of characters as names have them may be a name with its neighbours, for not all
/// scripts put a space between: the run, what is between characters of such scripts, and
/// what of that is ASCII are names each.
fn names_in<T>(run: &str, each: &mut impl FnMut(Met<'_>) -> ControlFlow<T>) -> ControlFlow<T> {
    let mut name = |text: &str| {
        each(Met::Read(text.len() + 1))?;
        match name_of(text) {
            Some(name) => each(Met::Token(&name)),
            None => ControlFlow::Continue(()),
        }
    };
    if run.is_ascii() {
        return name(run);
    }
    name(run)?;
    for part in run.split(stands_alone) {
        if part.len() < run.len() {
            name(part)?;
        }
        if !part.is_ascii() {
            for part in part.split(|letter: char| !letter.is_ascii()) {
                name(part)?;
            }
        }
    }
    ControlFlow::Continue(())
}

/// A name with a dot in it, as a text may hold it.
fn name_of(text: &str) -> Option<String> {
    let text = text.trim_matches(['.', '-', '_', '。', '．', '｡']);
    if !text.contains(['.', '。', '．', '｡']) {
        return None;
    }
    // Numbers with a point are no addresses, unless there are four.
    normal(text).filter(|name| name.contains('.'))
}

fn may_be_of_name(letter: char) -> bool {
    letter.is_alphanumeric()
        || matches!(letter, '-' | '_' | '.' | '。' | '．' | '｡')
        || is_invisible(letter)
        || is_accent(letter)
}

/// What ends the part of a URL that says whose it is.
fn ends_authority(letter: char) -> bool {
    matches!(letter, '/' | '\\' | '?' | '#')
}

/// What ends a URL in a text.
fn ends_url(letter: char) -> bool {
    letter.is_whitespace() || matches!(letter, '<' | '>' | '"' | '`')
}

/// The part of a link that says whose it is, with or without a scheme before it.
fn authority(target: &str) -> &str {
    let rest = match target.split_once(':') {
        Some((scheme, rest)) if is_scheme(scheme) && !is_port(rest) => rest,
        _ => target,
    };
    let rest = rest.trim_start_matches(['/', '\\']);
    let end = rest.find(ends_authority).unwrap_or(rest.len());
    &rest[..end]
}

fn is_scheme(word: &str) -> bool {
    let mut letters = word.bytes();
    letters
        .next()
        .is_some_and(|first| first.is_ascii_alphabetic())
        && letters.all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'+' | b'-' | b'.'))
}

fn is_port(rest: &str) -> bool {
    let digits = &rest[..rest.find(ends_authority).unwrap_or(rest.len())];
    !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit())
}

/// The host of `user:password@host:port`.
fn host(authority: &str) -> Option<String> {
    let host = match authority.rsplit_once('@') {
        Some((_, host)) => host,
        None => authority,
    };
    if let Some(address) = host.strip_prefix('[') {
        let (address, _) = address.split_once(']')?;
        return normal(address);
    }
    let host = match host.rsplit_once(':') {
        Some((host, port)) if port.bytes().all(|byte| byte.is_ascii_digit()) => host,
        _ => host,
    };
    let decoded = decoded(host)?;
    let name = normal(&decoded)?;
    Some(address(&name).map_or(name, |address| address.to_string()))
}

/// A name or an address in its one spelling; none for what is neither.
pub(super) fn normal(text: &str) -> Option<String> {
    if text.len() > MAX_HOST_BYTES {
        return None;
    }
    if let Ok(address) = text.parse::<Ipv6Addr>() {
        return Some(address.to_string());
    }
    let plain = if text.is_ascii() {
        text.to_ascii_lowercase()
    } else {
        let seen = text.chars().filter(|letter| !is_invisible(*letter));
        let joined = seen.nfkc().flat_map(char::to_lowercase);
        let dotted = joined.map(|letter| if letter == '。' { '.' } else { letter });
        // Lower case may have parted what had been joined.
        dotted.nfc().collect()
    };
    let mut name = String::with_capacity(plain.len());
    for label in plain.trim_end_matches('.').split('.') {
        if label.chars().count() > MAX_LABEL_BYTES {
            return None;
        }
        if !name.is_empty() {
            name.push('.');
        }
        if label.is_ascii() {
            name.push_str(label);
        } else {
            name.push_str(&punycode::encode(label));
        }
    }
    let is_label = |label: &str| {
        let is_of_name = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_');
        (1..=MAX_LABEL_BYTES).contains(&label.len()) && label.bytes().all(is_of_name)
    };
    (name.len() <= MAX_NAME_BYTES && name.split('.').all(is_label)).then_some(name)
}

/// `%65` in a host is `e`.
fn decoded(host: &str) -> Option<String> {
    if !host.contains('%') {
        return Some(host.to_owned());
    }
    let mut bytes = Vec::with_capacity(host.len());
    let mut rest = host.as_bytes();
    while let [first, after @ ..] = rest {
        let code = after.first_chunk::<2>().filter(|_| *first == b'%');
        let code = code.and_then(|digits| str::from_utf8(digits).ok());
        match code.and_then(|digits| u8::from_str_radix(digits, 16).ok()) {
            Some(byte) => {
                bytes.push(byte);
                rest = &after[2..];
            }
            None => {
                bytes.push(*first);
                rest = after;
            }
        }
    }
    String::from_utf8(bytes).ok()
}

/// The address that browsers read in one to four numbers, decimal, octal or hexadecimal,
/// the last of which fills what is left.
fn address(name: &str) -> Option<Ipv4Addr> {
    let numbers: Option<Vec<u32>> = name.split('.').map(number).collect();
    let numbers = numbers.filter(|numbers| numbers.len() <= 4)?;
    let (last, first) = numbers.split_last()?;
    let mut bits = *last;
    let n_bits_left = 8 * (4 - first.len() as u32);
    if n_bits_left < 32 && bits >> n_bits_left != 0 {
        return None;
    }
    for (number, place) in first.iter().zip([24, 16, 8]) {
        if *number > 255 {
            return None;
        }
        bits |= number << place;
    }
    Some(bits.into())
}

fn number(text: &str) -> Option<u32> {
    let is_digits = |text: &str| text.bytes().all(|byte| byte.is_ascii_hexdigit());
    if !is_digits(text.trim_start_matches("0x")) {
        return None;
    }
    match text.strip_prefix("0x") {
        Some("") => Some(0),
        Some(hex) => u32::from_str_radix(hex, 16).ok(),
        None if text.len() > 1 && text.starts_with('0') => u32::from_str_radix(text, 8).ok(),
        None => text.parse().ok(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hosts(text: &str) -> Vec<String> {
        let mut hosts = Vec::new();
        let _ = each_host::<()>(text, |met| {
            if let Met::Token(host) = met {
                hosts.push(host.to_owned());
            }
            ControlFlow::Continue(())
        });
        hosts.sort();
        hosts.dedup();
        hosts
    }

    #[test]
    fn a_link_leads_where_a_browser_would_go() {
        for (target, host) in [
            ("https://Example.COM/a?b#c", Some("example.com")),
            ("example.com", Some("example.com")),
            ("example.com:8080/a", Some("example.com")),
            ("//example.com", Some("example.com")),
            ("https:\\\\example.com\\a", Some("example.com")),
            ("https:example.com", Some("example.com")),
            (" ht\ntps://exam\tple.com./ ", Some("example.com")),
            ("https://good.com@example.com/", Some("example.com")),
            ("https://good.com:pass@example.com:443", Some("example.com")),
            ("https://example.com?@good.com", Some("example.com")),
            ("https://ex%61mple%2Ecom/", Some("example.com")),
            ("https://ｅｘａｍｐｌｅ。com", Some("example.com")),
            ("https://exam\u{ad}ple.com", Some("example.com")),
            ("https://bücher.example", Some("xn--bcher-kva.example")),
            (
                "https://BU\u{308}CHER.example",
                Some("xn--bcher-kva.example"),
            ),
            (
                "https://xn--bcher-kva.example",
                Some("xn--bcher-kva.example"),
            ),
            ("mailto:somebody@example.com", Some("example.com")),
            ("http://3221225985/", Some("192.0.2.1")),
            ("http://0xc0.0.0x2.01/", Some("192.0.2.1")),
            ("http://192.0.513", Some("192.0.2.1")),
            ("http://[2001:DB8:0::1]:80/", Some("2001:db8::1")),
            ("", None),
            ("https://", None),
            ("https://a b.com/", None),
            ("javascript:alert(1)", None),
            ("https://%ff.com", None),
        ] {
            assert_eq!(host_of_link(target).as_deref(), host, "{target}");
        }
        let long = format!("https://{}.example.com/", "a".repeat(64));
        assert_eq!(host_of_link(&long), None);
    }

    #[test]
    fn a_text_names_hosts_in_urls_and_without() {
        for (text, expected) in [
            ("see Example.com.", &["example.com"][..]),
            ("(https://a.example/x.html)", &["a.example", "x.html"]),
            ("mail to b@example.com, now", &["example.com"]),
            ("请看example.com吧", &["example.com"]),
            ("смотриexample.com", &["example.com"]),
            ("см. пример.рф!", &["xn--e1afmkfd.xn--p1ai"]),
            ("it costs 3.14", &["3.14"]),
            ("http://3221225985/", &["192.0.2.1"]),
            ("e.g. nothing... here", &["e.g"]),
            ("no name", &[]),
            ("https://u:p@example.com\"", &["example.com"]),
        ] {
            let found = hosts(text);
            if text.is_ascii() {
                assert_eq!(found, expected, "{text}");
            }
            // Where scripts meet, more than one run may be meant.
            let is_found = |host: &&str| found.iter().any(|found| found == host);
            assert!(expected.iter().all(is_found), "{text}: {found:?}");
        }
    }
}
