//! Does what the item's text says, one command per line, so that a test can
//! reach every limit with one guest. Commands and their outcomes stand in
//! `tests/cases/limits.toml`.

use trommel_sdk::log::{Level, write};
use trommel_sdk::{
    Code, Colors, Detector, Dtype, Encoding, Failure, Filter, Findings, Image, Item, Layout, Model,
    Preprocess, Tensor, Tokenizer, settings,
};

struct Scripted;

impl Detector for Scripted {
    fn detect(item: &Item, findings: &Findings) -> Result<(), Failure> {
        let mut held = Held::default();
        for part in item.texts() {
            for line in item.text(part)?.lines() {
                let words: Vec<&str> = line.split_whitespace().collect();
                obey(&words, item, findings, &mut held)?;
            }
        }
        Ok(())
    }
}

trommel_sdk::export!(Scripted);

/// Kept until the call ends.
#[derive(Default)]
struct Held {
    memory: Vec<Vec<u8>>,
    tensors: Vec<Tensor>,
    models: Vec<Model>,
    images: Vec<Image>,
    encodings: Vec<Encoding>,
}

impl Held {
    fn tensor(&self, index: usize) -> Option<&Tensor> {
        self.tensors.get(index.checked_rem(self.tensors.len())?)
    }
}

fn dtype(word: &str) -> Dtype {
    match word {
        "bool" => Dtype::Bool,
        "u8" => Dtype::U8,
        "i8" => Dtype::I8,
        "u16" => Dtype::U16,
        "i16" => Dtype::I16,
        "u32" => Dtype::U32,
        "i32" => Dtype::I32,
        "u64" => Dtype::U64,
        "i64" => Dtype::I64,
        "f16" => Dtype::F16,
        "bf16" => Dtype::Bf16,
        "f32" => Dtype::F32,
        "f64" => Dtype::F64,
        other => panic!("no such dtype: {other}"),
    }
}

fn obey(words: &[&str], item: &Item, findings: &Findings, held: &mut Held) -> Result<(), Failure> {
    let n = |index: usize| words[index].parse::<usize>().expect("a number");
    match words[0] {
        "memory" => held.memory.push(vec![1; n(1)]),
        "tensor" => {
            let n_elements = u32::try_from(n(1)).expect("fits");
            held.tensors
                .push(Tensor::new(&[n_elements], &vec![0_u8; n(1)])?);
        }
        "tensors" => {
            for _ in 0..n(1) {
                held.tensors.push(Tensor::new(&[1], &[0_u8])?);
            }
        }
        "models" => {
            for _ in 0..n(1) {
                held.models.push(Model::open("spam")?);
            }
        }
        "carry" => {
            // Refused for its shape where it is not refused for its size.
            let _ = Tensor::from_bytes(Dtype::U8, &[0], &vec![0; n(1)]);
        }
        "hollow" => {
            let size = u32::try_from(n(1)).expect("fits");
            Tensor::from_bytes(Dtype::U8, &[0, size, size, size], &[])?;
        }
        "signal" => {
            findings.signal(words[1], words[2].parse().expect("a score"));
        }
        "notes" => {
            let signal = findings.signal("spam", 0.0);
            for _ in 0..n(1) {
                findings.note(signal, &"n".repeat(n(2)));
            }
        }
        "span" => {
            let signal = findings.signal("spam", 0.0);
            findings.span(signal, words[1].parse().expect("a part"), n(2), n(3));
        }
        "region" => {
            let signal = findings.signal("spam", 0.0);
            let f = |index: usize| words[index].parse::<f32>().expect("a fraction");
            findings.region(
                signal,
                words[1].parse().expect("a part"),
                f(2),
                f(3),
                f(4),
                f(5),
            );
        }
        "embedding" => {
            let numbers: Vec<f32> = words[2..]
                .iter()
                .map(|word| word.parse().expect("a number"))
                .collect();
            let tensor = Tensor::new(&[u32::try_from(numbers.len()).expect("few")], &numbers)?;
            findings.embedding(words[1], &tensor);
        }
        "log" => {
            for _ in 0..n(1) {
                write(Level::Info, &"l".repeat(n(2)), &[("key", "value")]);
            }
        }
        "run" => {
            let model = Model::open("spam")?;
            let ids = Tensor::new(&[1, 2], &[words[1].parse::<i64>().expect("an id"), 2])?;
            let values = Tensor::new(&[1, 2], &[1.0_f32, 1.0])?;
            let [score] = model.run(&[("ids", &ids), ("values", &values)], ["score"])?;
            findings.signal("spam", score.read::<f32>()?[0]);
        }
        "open" => {
            Model::open(words[1])?;
        }
        "input" => {
            let model = Model::open("spam")?;
            let ids = Tensor::new(&[1, 1], &[1_i64])?;
            model.run(&[(words[1], &ids)], ["score"])?;
        }
        // Sequences that no limit needs, but a fuzzer: tensors by their index among
        // those held, so that a sequence that forgets some still means something.
        "make" => {
            let shape: Vec<u32> = words[3..]
                .iter()
                .map(|word| word.parse().expect("a size"))
                .collect();
            held.tensors
                .push(Tensor::from_bytes(dtype(words[1]), &shape, &vec![0; n(2)])?);
        }
        "read" => {
            if let Some(tensor) = held.tensor(n(1)) {
                std::hint::black_box((tensor.dtype(), tensor.shape(), tensor.read_bytes()?));
            }
        }
        "drop" => {
            if n(1) < held.tensors.len() {
                held.tensors.swap_remove(n(1));
            }
        }
        "emit" => {
            if let Some(tensor) = held.tensor(n(2)) {
                findings.embedding(words[1], tensor);
            }
        }
        "feed" => {
            let model = Model::open("spam")?;
            let inputs: Vec<(&str, &Tensor)> = words[2..]
                .chunks_exact(2)
                .filter_map(|pair| Some((pair[0], held.tensor(pair[1].parse().ok()?)?)))
                .collect();
            let [answer] = model.run(&inputs, [words[1]])?;
            held.tensors.push(answer);
        }
        "try" => {
            let _ = obey(&words[1..], item, findings, held);
        }
        "describe" => {
            let model = Model::open("spam")?;
            let signal = findings.signal("spam", 0.0);
            for port in model.inputs().iter().chain(&model.outputs()) {
                findings.note(signal, &format!("{port:?}"));
            }
        }
        "content" => {
            let signal = findings.signal("spam", 0.0);
            findings.note(signal, &format!("id {:?}", item.id()));
            findings.note(signal, &format!("received {:?}", item.received_at_ms()));
            for part in item.texts() {
                findings.note(
                    signal,
                    &format!(
                        "text {part} {:?} {:?}",
                        item.part_name(part)?,
                        item.language(part)
                    ),
                );
            }
            for part in item.links() {
                findings.note(signal, &format!("link {part} {:?}", item.link(part)?));
            }
            findings.note(signal, &format!("images {:?}", item.images()));
            for name in item.attributes() {
                let (text, integer) = (item.attribute_text(&name), item.attribute_integer(&name));
                let (number, flag) = (item.attribute_number(&name), item.attribute_flag(&name));
                findings.note(
                    signal,
                    &format!("{name} {text:?} {integer:?} {number:?} {flag:?}"),
                );
            }
            for name in item.embeddings() {
                let embedding = item.embedding(&name)?.read::<f32>()?;
                findings.note(signal, &format!("{name} {embedding:?}"));
            }
        }
        "image" => {
            let signal = findings.signal("spam", 0.0);
            for note in image(item, words)? {
                findings.note(signal, &note);
            }
        }
        "images" => {
            for _ in 0..n(2) {
                let part = words[1].parse().expect("a part");
                held.images.push(item.image(part)?);
            }
        }
        "again" => {
            for _ in 0..n(2) {
                let image = item.image(words[1].parse().expect("a part"))?;
                held.tensors
                    .push(image.to_tensor(&preprocess(&words[3..]))?);
            }
        }
        "encode" => {
            let signal = findings.signal("spam", 0.0);
            let text = words[2..].join(" ");
            for note in encode(words[1].parse().expect("a number"), &text)? {
                findings.note(signal, &note);
            }
        }
        "encodings" => {
            let (tokenizer, text) = (Tokenizer::open("words")?, "a ".repeat(n(2)));
            for _ in 0..n(1) {
                held.encodings.push(tokenizer.encode(&text, 512)?);
            }
        }
        "tokenize-forever" => {
            let (tokenizer, text) = (Tokenizer::open("words")?, "a, ".repeat(n(1)));
            loop {
                tokenizer.encode(&text, 512)?;
            }
        }
        "pad" => {
            let encoding = Tokenizer::open("words")?.encode("a b c", 16)?;
            encoding.pad_to(words[1].parse().expect("a number"));
            let mask = encoding.attention_mask()?.read::<i64>()?;
            let signal = findings.signal("spam", 0.0);
            findings.note(signal, &format!("{mask:?}"));
        }
        "tokenizer" => {
            Tokenizer::open(words[1])?;
        }
        "setting" => {
            let signal = findings.signal("spam", 0.0);
            findings.note(signal, &format!("{:?}", settings::text(words[1])));
        }
        "part" => {
            item.text(words[1].parse().expect("a part"))?;
        }
        "global" => {
            use std::sync::atomic::{AtomicU32, Ordering};
            static CALLS: AtomicU32 = AtomicU32::new(0);
            #[expect(clippy::cast_precision_loss, reason = "a handful of calls")]
            findings.signal("spam", CALLS.fetch_add(1, Ordering::Relaxed) as f32);
        }
        "decline" => {
            return Err(Failure::new(
                Code::from(words[1].to_owned()),
                "as the script says",
            ));
        }
        "recurse" => {
            std::hint::black_box(recurse(n(1)));
        }
        "spin" => loop {
            std::hint::black_box(());
        },
        other => panic!("no such command: {other}"),
    }
    Ok(())
}

/// All that an encoding says of itself.
fn encode(max_tokens: u32, text: &str) -> Result<[String; 5], Failure> {
    let encoding = Tokenizer::open("words")?.encode(text, max_tokens)?;
    let (ids, mask) = (encoding.ids()?, encoding.attention_mask()?);
    let spans: Vec<&str> = encoding
        .spans()
        .into_iter()
        .map(|span| &text[span])
        .collect();
    Ok([
        format!("{} of {}", encoding.n_tokens(), encoding.length()),
        format!(
            "{:?} {:?} {:?}",
            ids.dtype(),
            ids.shape(),
            ids.read::<i64>()?
        ),
        format!("{:?}", mask.read::<i64>()?),
        format!("{:?}", encoding.token_types()?.read::<i64>()?),
        format!(
            "{spans:?} to {}, cut: {}",
            encoding.end(),
            encoding.is_cut()
        ),
    ])
}

/// What an image says of itself, and what a tensor of it holds.
fn image(item: &Item, words: &[&str]) -> Result<[String; 3], Failure> {
    let image = item.image(words[1].parse().expect("a part"))?;
    let (width, height) = (image.width(), image.height());
    let tensor = image.to_tensor(&preprocess(&words[2..]))?;
    let (dtype, shape) = (tensor.dtype(), tensor.shape());
    Ok([
        format!("{:?} {width}x{height} {}", image.format(), image.n_bytes()),
        format!("{dtype:?} {shape:?}"),
        match dtype {
            Dtype::U8 => format!("{:?}", tensor.read::<u8>()?),
            Dtype::F32 => format!("{:?}", tensor.read::<f32>()?),
            _ => format!("{:?}", tensor.read_bytes()?),
        },
    ])
}

/// Settings written like `crop=2,3` and `filter=box`.
fn preprocess(settings: &[&str]) -> Preprocess {
    settings.iter().fold(Preprocess::new(), |how, setting| {
        let (key, value) = setting.split_once('=').expect("a key and a value");
        let f: Vec<f32> = match key {
            "filter" | "colors" | "layout" | "dtype" => Vec::new(),
            _ => value
                .split(',')
                .map(|number| number.parse().expect("a number"))
                .collect(),
        };
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "sizes"
        )]
        let n = |index: usize| f[index] as u32;
        match key {
            "stretch" => how.stretch(n(0), n(1)),
            "crop" => how.crop(n(0), n(1)),
            "fit" => how.fit(n(0), n(1)),
            "letterbox" => how.letterbox(n(0), n(1), [9, 8, 7]),
            "region" => how.region(f[0], f[1], f[2], f[3]),
            "scale" => how.scale(f[0]),
            "mean" => how.mean(&f),
            "deviation" => how.deviation(&f),
            "filter" => how.filter(match value {
                "nearest" => Filter::Nearest,
                "box" => Filter::Box,
                other => panic!("no such filter: {other}"),
            }),
            "colors" => how.colors(match value {
                "bgr" => Colors::Bgr,
                "gray" => Colors::Gray,
                other => panic!("no such colors: {other}"),
            }),
            "layout" => how.layout(match value {
                "nhwc" => Layout::Nhwc,
                other => panic!("no such layout: {other}"),
            }),
            "dtype" => how.dtype(match value {
                "u8" => Dtype::U8,
                "f16" => Dtype::F16,
                "i64" => Dtype::I64,
                other => panic!("no such dtype: {other}"),
            }),
            other => panic!("no such setting: {other}"),
        }
    })
}

#[expect(unconditional_recursion, reason = "it is there to recurse")]
fn recurse(n: usize) -> usize {
    std::hint::black_box([n; 16])[0].min(recurse(std::hint::black_box(n + 1)))
}
