//! A collector of traces, as small as one can be: it takes what is sent by OTLP over HTTP,
//! or behaves badly.

use std::collections::BTreeMap;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Condvar, Mutex};
use std::time::{Duration, Instant};

/// What a test waits at most.
const LONG: Duration = Duration::from_secs(30);

/// What it does with what it is sent.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Manner {
    Takes,
    Refuses,
    /// It reads, and never answers.
    Hangs,
}

/// One span that it took.
#[derive(Debug, Clone)]
pub(super) struct Span {
    pub(super) trace: String,
    pub(super) id: String,
    /// Empty for the first of a trace that has no caller.
    pub(super) parent: String,
    pub(super) name: String,
    pub(super) kind: u64,
    pub(super) n_events: usize,
    pub(super) attributes: BTreeMap<String, String>,
    /// Attributes of whoever sent it.
    pub(super) resource: BTreeMap<String, String>,
    pub(super) is_error: bool,
}

#[derive(Debug)]
struct Taken {
    manner: Manner,
    spans: Vec<Span>,
    bytes: Vec<u8>,
    n_requests: usize,
}

#[derive(Debug)]
pub(super) struct Collector {
    pub(super) url: String,
    state: Arc<(Mutex<Taken>, Condvar)>,
}

impl Collector {
    pub(super) fn start(manner: Manner) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let taken = Taken {
            manner,
            spans: Vec::new(),
            bytes: Vec::new(),
            n_requests: 0,
        };
        let state = Arc::new((Mutex::new(taken), Condvar::new()));
        let of_connections = state.clone();
        std::thread::spawn(move || {
            for stream in listener.incoming().map_while(Result::ok) {
                let state = of_connections.clone();
                std::thread::spawn(move || connection(&stream, &state));
            }
        });
        Self { url, state }
    }

    pub(super) fn behave(&self, manner: Manner) {
        self.state.0.lock().unwrap().manner = manner;
    }

    /// Waits until it has taken what `enough` says of its spans.
    pub(super) fn spans(&self, enough: impl Fn(&[Span]) -> bool) -> Vec<Span> {
        self.until(|taken| enough(&taken.spans));
        self.state.0.lock().unwrap().spans.clone()
    }

    /// Waits until it was sent so many requests.
    pub(super) fn requests(&self, n_requests: usize) {
        self.until(|taken| taken.n_requests >= n_requests);
    }

    /// Everything that it was sent.
    pub(super) fn bytes(&self) -> Vec<u8> {
        self.state.0.lock().unwrap().bytes.clone()
    }

    fn until(&self, enough: impl Fn(&Taken) -> bool) {
        let (taken, changed) = &*self.state;
        let waited =
            changed.wait_timeout_while(taken.lock().unwrap(), LONG, |taken| !enough(taken));
        let (taken, timed_out) = waited.unwrap();
        assert!(!timed_out.timed_out(), "{taken:?}");
    }
}

fn connection(stream: &TcpStream, (taken, changed): &(Mutex<Taken>, Condvar)) {
    let mut reader = BufReader::new(stream);
    while let Some(body) = request(&mut reader) {
        let mut taken = taken.lock().unwrap();
        taken.n_requests += 1;
        let status = match taken.manner {
            Manner::Takes => {
                taken.spans.extend(spans(&body));
                taken.bytes.extend(body);
                "200 OK"
            }
            Manner::Refuses => "503 Service Unavailable",
            Manner::Hangs => {
                changed.notify_all();
                drop(taken);
                // Until the other side gives up.
                let _ = reader.read_to_end(&mut Vec::new());
                return;
            }
        };
        changed.notify_all();
        drop(taken);
        let mut stream = *reader.get_ref();
        let answer = format!("HTTP/1.1 {status}\r\ncontent-length: 0\r\n\r\n");
        if stream.write_all(answer.as_bytes()).is_err() {
            return;
        }
    }
}

/// The body of one request; none when the connection ends.
fn request(reader: &mut BufReader<&TcpStream>) -> Option<Vec<u8>> {
    let mut length = 0;
    let mut first = String::new();
    loop {
        let mut line = String::new();
        if reader.read_line(&mut line).ok()? == 0 {
            return None;
        }
        if first.is_empty() {
            first.clone_from(&line);
        }
        let line = line.trim_end().to_ascii_lowercase();
        if line.is_empty() {
            break;
        }
        if let Some(given) = line.strip_prefix("content-length:") {
            length = given.trim().parse().unwrap();
        }
        if let Some(given) = line.strip_prefix("content-type:") {
            assert_eq!(given.trim(), "application/x-protobuf");
        }
    }
    assert!(first.starts_with("POST /v1/traces HTTP/1.1"), "{first}");
    let mut body = vec![0; length];
    reader.read_exact(&mut body).ok()?;
    Some(body)
}

/// A field's content as protobuf has it on the wire.
enum Wire<'a> {
    Number(u64),
    Bytes(&'a [u8]),
}

impl<'a> Wire<'a> {
    fn bytes(&self) -> &'a [u8] {
        match self {
            Self::Bytes(bytes) => bytes,
            Self::Number(number) => panic!("{number} is no message"),
        }
    }

    fn text(&self) -> String {
        String::from_utf8(self.bytes().to_vec()).unwrap()
    }

    fn hex(&self) -> String {
        let digits = self.bytes().iter().map(|byte| format!("{byte:02x}"));
        digits.collect()
    }

    fn number(&self) -> u64 {
        match self {
            Self::Number(number) => *number,
            Self::Bytes(bytes) => panic!("{bytes:?} is no number"),
        }
    }
}

/// The fields of a message, by number, in their order.
fn fields(mut message: &[u8]) -> Vec<(u64, Wire<'_>)> {
    let mut fields = Vec::new();
    while !message.is_empty() {
        let key = varint(&mut message);
        let wire = match key & 7 {
            0 => Wire::Number(varint(&mut message)),
            1 => {
                let (number, rest) = message.split_first_chunk().unwrap();
                message = rest;
                Wire::Number(u64::from_le_bytes(*number))
            }
            2 => {
                let length = usize::try_from(varint(&mut message)).unwrap();
                let (bytes, rest) = message.split_at(length);
                message = rest;
                Wire::Bytes(bytes)
            }
            5 => {
                let (number, rest) = message.split_first_chunk().unwrap();
                message = rest;
                Wire::Number(u32::from_le_bytes(*number).into())
            }
            other => panic!("wire type {other}"),
        };
        fields.push((key >> 3, wire));
    }
    fields
}

fn varint(bytes: &mut &[u8]) -> u64 {
    let mut number = 0;
    for shift in (0..).step_by(7) {
        let (byte, rest) = bytes.split_first().unwrap();
        *bytes = rest;
        number |= u64::from(byte & 0x7f) << shift;
        if byte & 0x80 == 0 {
            break;
        }
    }
    number
}

fn all<'a>(message: &'a [u8], number: u64) -> impl Iterator<Item = Wire<'a>> {
    let fields = fields(message).into_iter();
    fields.filter_map(move |(given, wire)| (given == number).then_some(wire))
}

/// By the numbers of `opentelemetry/proto/trace/v1/trace.proto`.
fn spans(request: &[u8]) -> Vec<Span> {
    let mut spans = Vec::new();
    for of_resource in all(request, 1) {
        let resource = all(of_resource.bytes(), 1).flat_map(|resource| {
            let attributes: Vec<_> = attributes(resource.bytes(), 1).into_iter().collect();
            attributes
        });
        let resource: BTreeMap<String, String> = resource.collect();
        for of_scope in all(of_resource.bytes(), 2) {
            for span in all(of_scope.bytes(), 2) {
                spans.push(self::span(span.bytes(), &resource));
            }
        }
    }
    spans
}

fn span(message: &[u8], resource: &BTreeMap<String, String>) -> Span {
    let first = |number| all(message, number).next();
    let is_error = first(15).is_some_and(|status| {
        let code = all(status.bytes(), 3).next();
        code.is_some_and(|code| code.number() == 2)
    });
    Span {
        trace: first(1).unwrap().hex(),
        id: first(2).unwrap().hex(),
        parent: first(4).map(|parent| parent.hex()).unwrap_or_default(),
        name: first(5).unwrap().text(),
        kind: first(6).map_or(0, |kind| kind.number()),
        n_events: all(message, 11).count(),
        attributes: attributes(message, 9),
        resource: resource.clone(),
        is_error,
    }
}

fn attributes(message: &[u8], number: u64) -> BTreeMap<String, String> {
    let attribute = |attribute: Wire<'_>| {
        let attribute = attribute.bytes();
        let key = all(attribute, 1).next().unwrap().text();
        let value = all(attribute, 2).next().unwrap();
        let value = match fields(value.bytes()).first() {
            Some((1, text)) => text.text(),
            Some((2, flag)) => (flag.number() != 0).to_string(),
            Some((_, number)) => number.number().to_string(),
            None => String::new(),
        };
        (key, value)
    };
    all(message, number).map(attribute).collect()
}

/// What a test does again until it succeeds.
pub(super) fn wait_until(what: &str, mut is_so: impl FnMut() -> bool) {
    #[expect(clippy::disallowed_methods, reason = "a test gives up at some time")]
    let now = Instant::now;
    let by = now() + LONG;
    while !is_so() {
        assert!(now() < by, "{what}");
        std::thread::yield_now();
    }
}
