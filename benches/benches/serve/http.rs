//! As much of HTTP/1.1 as the benches speak: requests with a length, answers with one.

/// What a server answered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Answer<'a> {
    pub(crate) status: u16,
    pub(crate) body: &'a [u8],
    /// It says when to come again.
    pub(crate) has_retry_after: bool,
    /// The server closes the connection after it.
    pub(crate) closes: bool,
    /// Bytes of it in all.
    pub(crate) n_bytes: usize,
}

/// Bytes came that are no answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct NoAnswer;

/// A request with its whole body.
pub(crate) fn request(method: &str, path: &str, head: &[&str], body: &[u8]) -> Vec<u8> {
    let mut text = format!(
        "{method} {path} HTTP/1.1\r\nhost: bench\r\ncontent-length: {}\r\n",
        body.len()
    );
    for line in head {
        text.push_str(line);
        text.push_str("\r\n");
    }
    text.push_str("\r\n");
    [text.as_bytes(), body].concat()
}

/// The request that has `json` judged.
pub(crate) fn check(json: &str) -> Vec<u8> {
    let head = ["content-type: application/json"];
    request("POST", "/v1/check", &head, json.as_bytes())
}

/// The answer that `bytes` begin with, once it is there whole.
pub(crate) fn answer(bytes: &[u8]) -> Result<Option<Answer<'_>>, NoAnswer> {
    let Some(end) = find(bytes, b"\r\n\r\n") else {
        return Ok(None);
    };
    let head = std::str::from_utf8(&bytes[..end]).map_err(|_| NoAnswer)?;
    let mut lines = head.split("\r\n");
    let status = lines.next().and_then(|line| line.split(' ').nth(1));
    let status = status.and_then(|status| status.parse().ok());
    let status = status.ok_or(NoAnswer)?;
    let (mut length, mut has_retry_after, mut closes) = (0, false, false);
    for line in lines {
        let (name, value) = line.split_once(':').ok_or(NoAnswer)?;
        if name.eq_ignore_ascii_case("content-length") {
            length = value.trim().parse().map_err(|_| NoAnswer)?;
        }
        has_retry_after |= name.eq_ignore_ascii_case("retry-after");
        closes |= name.eq_ignore_ascii_case("connection") && value.trim() == "close";
    }
    let from = end + 4;
    let body = bytes.get(from..from + length);
    Ok(body.map(|body| Answer {
        status,
        body,
        has_retry_after,
        closes,
        n_bytes: from + length,
    }))
}

/// Where `what` stands first.
pub(crate) fn find(bytes: &[u8], what: &[u8]) -> Option<usize> {
    bytes.windows(what.len()).position(|window| window == what)
}
