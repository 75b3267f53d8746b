//! The host's side of the contract, driven by a guest that does what it is told.
//!
//! Whatever the sequence of host calls, the host does not panic, the fault is the
//! guest's own, the next item is judged, and nothing stays charged.

#![no_main]

use std::fmt::{self, Write as _};
use std::panic;
use std::sync::{Arc, LazyLock};
use std::thread;
use std::time::Duration;

use arbitrary::{Arbitrary, Result, Unstructured};
use image::ImageFormat;
use libfuzzer_sys::fuzz_target;
use tokio::runtime::{Builder, Runtime};
use trommel::engine::{Blame, Call, EngineOptions, Fault, Limits};
use trommel::item::{Attribute, Content, ImageSource, Item, Part, PartKind};
use trommel_tests::guests::component;
use trommel_tests::pictures::{encoded, flag};
use trommel_tests::sandbox::{Sandbox, deadline};

/// Small enough that each limit is met by few commands.
const LIMITS: Limits = Limits {
    memory_bytes: 4 << 20,
    tensor_bytes: 1 << 20,
    tensors: 16,
    handles: 24,
    hostcall_bytes: 1 << 20,
    carried_bytes: 4 << 20,
    host_bytes: 2 << 20,
    findings: 16,
    findings_bytes: 8 << 10,
    deadline: Duration::from_millis(250),
    ..Limits::DEFAULT
};

static RUNTIME: LazyLock<Runtime> = LazyLock::new(|| {
    let mut builder = Builder::new_current_thread();
    builder.enable_time().build().expect("a runtime")
});

static SANDBOX: LazyLock<Sandbox> = LazyLock::new(|| {
    let options = EngineOptions {
        max_calls: 2,
        max_limits: LIMITS,
        ..EngineOptions::default()
    };
    Sandbox::with_options(component("scripted"), LIMITS, options).expect("the guest loads")
});

/// A kernel or a codec that panics is caught on its thread and is a failure of the
/// run; the fuzzer's own hook would end the process before that. Any other panic
/// does.
static HOOK: LazyLock<()> = LazyLock::new(|| {
    let ends = panic::take_hook();
    panic::set_hook(Box::new(move |panic| {
        let name = thread::current().name().map(str::to_owned);
        if !name.is_some_and(|name| name.starts_with("trommel-")) {
            ends(panic);
        }
    }));
});

/// What the detector holds between calls: its weights.
static IDLE_BYTES: LazyLock<u64> = LazyLock::new(|| SANDBOX.detector.account().bytes());

fuzz_target!(|input: Input| {
    LazyLock::force(&HOOK);
    LazyLock::force(&IDLE_BYTES);
    let item = Arc::new(input.item());
    let by = deadline(Duration::from_secs(10));
    let has_images = item.has_any(&[PartKind::Image]);
    if let Ok(exhibit) = RUNTIME.block_on(SANDBOX.engine.exhibit(&item, by)) {
        let exhibit = Arc::new(exhibit);
        let call = RUNTIME.block_on(SANDBOX.engine.detect(&SANDBOX.detector, &exhibit, by));
        look(&call, has_images);
    }
    assert_idle();
    let next = RUNTIME.block_on(SANDBOX.script("signal spam 1"));
    match next.outcome {
        Ok(findings) => assert_eq!(findings.signals[0].score, 1.0),
        Err(fault) => assert!(is_late(&fault) && next.took >= LIMITS.deadline, "{fault}"),
    }
    assert_idle();
});

fn look(call: &Call, has_images: bool) {
    match &call.outcome {
        Ok(findings) => {
            assert!(
                findings
                    .signals
                    .iter()
                    .all(|signal| signal.score.is_finite())
            );
            assert!(findings.signals.len() <= 1, "one label was declared");
        }
        // A loaded machine may starve any call, but only past its deadline.
        Err(fault) if is_late(fault) => assert!(call.took >= LIMITS.deadline, "{fault}"),
        // An image may look whole and break while it is decoded.
        Err(fault) if fault.blame() == Blame::Caller => assert!(has_images, "{fault}"),
        Err(fault) => assert_eq!(fault.blame(), Blame::Guest, "{fault}"),
    }
}

fn is_late(fault: &Fault) -> bool {
    matches!(
        fault,
        Fault::Starved { .. } | Fault::TimedOut { .. } | Fault::Spun { .. }
    )
}

fn assert_idle() {
    let account = SANDBOX.detector.account();
    assert_eq!((account.bytes(), account.tensors()), (*IDLE_BYTES, 0));
}

#[derive(Arbitrary, Debug)]
struct Input {
    language: Option<String>,
    links: Vec<String>,
    images: Vec<Picture>,
    attributes: Vec<(String, Value)>,
    embeddings: Vec<(String, Vec<i8>)>,
    received_at_ms: Option<u64>,
    script: Script,
}

/// One line for each command.
#[derive(Debug)]
struct Script(Vec<Command>);

/// What one call can do is reached by few commands.
const MAX_COMMANDS: usize = 48;

impl<'a> Arbitrary<'a> for Script {
    /// As many commands as there are bytes for: a list of the crate's own would end
    /// at every second element.
    fn arbitrary(bytes: &mut Unstructured<'a>) -> Result<Self> {
        let mut commands = Vec::new();
        while !bytes.is_empty() && commands.len() < MAX_COMMANDS {
            commands.push(bytes.arbitrary()?);
        }
        Ok(Self(commands))
    }
}

impl Input {
    fn item(self) -> Item {
        let mut text = String::new();
        for command in &self.script.0 {
            // Writing to a String does not fail.
            let _ = writeln!(text, "{command}");
        }
        let part = |name: &str, content| Part {
            name: name.to_owned(),
            content,
        };
        let language = self.language;
        let mut parts = vec![part("text", Content::Text { text, language })];
        let links = self.links.into_iter();
        parts.extend(links.map(|target| part("link", Content::Link { target })));
        let images = self.images.into_iter().take(4).map(Picture::source);
        parts.extend(images.map(|source| part("image", Content::Image { source })));
        let embedding = |numbers: Vec<i8>| numbers.into_iter().map(f32::from).collect();
        Item {
            id: "fuzzed".to_owned(),
            received_at_ms: self.received_at_ms,
            parts,
            attributes: self
                .attributes
                .into_iter()
                .map(|(name, value)| (name, value.into()))
                .collect(),
            embeddings: self
                .embeddings
                .into_iter()
                .map(|(name, numbers)| (name, embedding(numbers)))
                .collect(),
        }
    }
}

/// An image, with some of its bytes changed.
#[derive(Arbitrary, Debug)]
struct Picture {
    which: u8,
    changes: Vec<(u16, u8)>,
}

static PICTURES: LazyLock<[Vec<u8>; 5]> = LazyLock::new(|| {
    [
        ImageFormat::Bmp,
        ImageFormat::Png,
        ImageFormat::Jpeg,
        ImageFormat::Gif,
        ImageFormat::WebP,
    ]
    .map(|format| encoded(&flag(), format))
});

impl Picture {
    fn source(self) -> ImageSource {
        let mut bytes = PICTURES[usize::from(self.which) % PICTURES.len()].clone();
        for (at, byte) in self.changes.into_iter().take(8) {
            let at = usize::from(at) % bytes.len();
            bytes[at] = byte;
        }
        ImageSource::Bytes(bytes.into())
    }
}

#[derive(Arbitrary, Debug)]
enum Value {
    Flag(bool),
    Integer(i64),
    Number(f64),
    Text(String),
}

impl From<Value> for Attribute {
    fn from(value: Value) -> Self {
        match value {
            Value::Flag(flag) => Self::Flag(flag),
            Value::Integer(integer) => Self::Integer(integer),
            Value::Number(number) => Self::Number(number),
            Value::Text(text) => Self::Text(text),
        }
    }
}

/// A line for the `scripted` guest.
#[derive(Arbitrary, Debug)]
enum Command {
    Memory(u32),
    Tensor(Size),
    Tensors(u8),
    Models(u8),
    Carry(Size),
    Hollow(u32),
    Signal(Name, Score),
    Notes(u8, u8),
    Span(i8, Size, Size),
    Region(i8, [Score; 4]),
    Embedding(Name, Vec<i8>),
    Log(u16, u8),
    Run(i64),
    Open(Name),
    Input(Name),
    Describe,
    Content,
    Setting(Name),
    Part(u8),
    Global,
    Decline(Name),
    Recurse,
    Make(Dtype, Size, Vec<Size>),
    /// With as many bytes as its shape takes.
    Fit(Dtype, [u8; 2]),
    Read(u8),
    Drop(u8),
    Emit(Name, u8),
    Feed(Name, Vec<(Name, u8)>),
    /// Asks for an image part as a tensor, and reads it.
    Image(u8, Vec<Setting>),
    Images(u8, u8),
    Again(u8, u8, Vec<Setting>),
    Try(Box<Command>),
    /// Anything else; what is no command is a panic of the guest.
    Words(String),
}

impl fmt::Display for Command {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Memory(n) => write!(f, "memory {n}"),
            Self::Tensor(n) => write!(f, "tensor {n}"),
            Self::Tensors(n) => write!(f, "tensors {n}"),
            Self::Models(n) => write!(f, "models {n}"),
            Self::Carry(n) => write!(f, "carry {n}"),
            Self::Hollow(n) => write!(f, "hollow {n}"),
            Self::Signal(name, score) => write!(f, "signal {name} {score}"),
            Self::Notes(n, length) => write!(f, "notes {n} {length}"),
            Self::Span(part, start, end) => write!(f, "span {part} {start} {end}"),
            Self::Region(part, [x, y, width, height]) => {
                write!(f, "region {part} {x} {y} {width} {height}")
            }
            Self::Embedding(name, numbers) => {
                write!(f, "embedding {name}")?;
                numbers.iter().try_for_each(|number| write!(f, " {number}"))
            }
            Self::Log(n, length) => write!(f, "log {n} {length}"),
            Self::Run(id) => write!(f, "run {id}"),
            Self::Open(name) => write!(f, "open {name}"),
            Self::Input(name) => write!(f, "input {name}"),
            Self::Describe => f.write_str("describe"),
            Self::Content => f.write_str("content"),
            Self::Setting(name) => write!(f, "setting {name}"),
            Self::Part(part) => write!(f, "part {part}"),
            Self::Global => f.write_str("global"),
            Self::Decline(code) => write!(f, "decline {code}"),
            Self::Recurse => f.write_str("recurse 1"),
            Self::Make(dtype, n_bytes, shape) => {
                write!(f, "make {dtype} {n_bytes}")?;
                shape.iter().try_for_each(|size| write!(f, " {size}"))
            }
            Self::Fit(dtype, [rows, columns]) => {
                let n_bytes = usize::from(*rows) * usize::from(*columns) * dtype.n_bytes();
                write!(f, "make {dtype} {n_bytes} {rows} {columns}")
            }
            Self::Read(index) => write!(f, "read {index}"),
            Self::Drop(index) => write!(f, "drop {index}"),
            Self::Emit(name, index) => write!(f, "emit {name} {index}"),
            Self::Feed(output, inputs) => {
                write!(f, "feed {output}")?;
                inputs
                    .iter()
                    .try_for_each(|(name, index)| write!(f, " {name} {index}"))
            }
            Self::Image(part, settings) => {
                write!(f, "image {part}")?;
                settings
                    .iter()
                    .try_for_each(|setting| write!(f, " {setting}"))
            }
            Self::Images(part, n) => write!(f, "images {part} {n}"),
            Self::Again(part, n, settings) => {
                write!(f, "again {part} {n}")?;
                settings
                    .iter()
                    .try_for_each(|setting| write!(f, " {setting}"))
            }
            Self::Try(command) => write!(f, "try {command}"),
            Self::Words(words) => f.write_str(words),
        }
    }
}

/// What an image becomes.
#[derive(Arbitrary, Debug)]
enum Setting {
    Stretch(Size, Size),
    Crop(Size, Size),
    Fit(Size, Size),
    Letterbox(Size, Size),
    Region([Score; 4]),
    Scale(Score),
    Mean(Score),
    Means([Score; 3]),
    Deviation(Score),
    Nearest,
    Box,
    Bgr,
    Gray,
    Nhwc,
    U8,
    F16,
    I64,
}

impl fmt::Display for Setting {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Stretch(width, height) => write!(f, "stretch={width},{height}"),
            Self::Crop(width, height) => write!(f, "crop={width},{height}"),
            Self::Fit(width, height) => write!(f, "fit={width},{height}"),
            Self::Letterbox(width, height) => write!(f, "letterbox={width},{height}"),
            Self::Region([x, y, width, height]) => write!(f, "region={x},{y},{width},{height}"),
            Self::Scale(scale) => write!(f, "scale={scale}"),
            Self::Mean(mean) => write!(f, "mean={mean}"),
            Self::Means([red, green, blue]) => write!(f, "mean={red},{green},{blue}"),
            Self::Deviation(deviation) => write!(f, "deviation={deviation}"),
            Self::Nearest => f.write_str("filter=nearest"),
            Self::Box => f.write_str("filter=box"),
            Self::Bgr => f.write_str("colors=bgr"),
            Self::Gray => f.write_str("colors=gray"),
            Self::Nhwc => f.write_str("layout=nhwc"),
            Self::U8 => f.write_str("dtype=u8"),
            Self::F16 => f.write_str("dtype=f16"),
            Self::I64 => f.write_str("dtype=i64"),
        }
    }
}

/// A count of bytes or elements, small ones being likelier.
#[derive(Arbitrary, Debug)]
enum Size {
    Few(u8),
    Some(u16),
    Any(u32),
}

impl fmt::Display for Size {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Few(n) => write!(f, "{n}"),
            Self::Some(n) => write!(f, "{n}"),
            Self::Any(n) => write!(f, "{n}"),
        }
    }
}

#[derive(Arbitrary, Debug)]
enum Score {
    Tenths(i8),
    Any(f32),
}

impl fmt::Display for Score {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tenths(tenths) => write!(f, "{}", f32::from(*tenths) / 10.0),
            Self::Any(score) => write!(f, "{score:?}"),
        }
    }
}

/// A name that means something to the host, or any.
#[derive(Arbitrary, Debug)]
enum Name {
    Spam,
    Ids,
    Values,
    Score,
    Contributions,
    Greeting,
    Internal,
    QuotaExceeded,
    ShapeMismatch,
    DeviceLost,
    Any(String),
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Spam => "spam",
            Self::Ids => "ids",
            Self::Values => "values",
            Self::Score => "score",
            Self::Contributions => "contributions",
            Self::Greeting => "greeting",
            Self::Internal => "internal",
            Self::QuotaExceeded => "quota-exceeded",
            Self::ShapeMismatch => "shape-mismatch",
            Self::DeviceLost => "device-lost",
            Self::Any(name) => name,
        })
    }
}

#[derive(Arbitrary, Debug, Clone, Copy)]
enum Dtype {
    Bool,
    U8,
    I8,
    U16,
    I16,
    U32,
    I32,
    U64,
    I64,
    F16,
    Bf16,
    F32,
    F64,
}

impl Dtype {
    fn n_bytes(self) -> usize {
        match self {
            Self::Bool | Self::U8 | Self::I8 => 1,
            Self::U16 | Self::I16 | Self::F16 | Self::Bf16 => 2,
            Self::U32 | Self::I32 | Self::F32 => 4,
            Self::U64 | Self::I64 | Self::F64 => 8,
        }
    }
}

impl fmt::Display for Dtype {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&format!("{self:?}").to_lowercase())
    }
}
