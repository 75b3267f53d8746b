//! Is made ready once, as the setting `greeting` says: builds a table of 30,000 words, or
//! does what `prepare` may not. It serves the tests of `prepare` and a bench.

use std::collections::HashMap;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU32, Ordering};

use trommel_sdk::log::{Level, write};
use trommel_sdk::{Code, Detector, Failure, Findings, Item, Model, Prepare, settings};

struct Prepares;

static TABLE: OnceLock<HashMap<String, u32>> = OnceLock::new();
static HELD: OnceLock<Vec<u8>> = OnceLock::new();
static COUNT: AtomicU32 = AtomicU32::new(0);

impl Prepare for Prepares {
    fn prepare() -> Result<(), Failure> {
        COUNT.fetch_add(7, Ordering::Relaxed);
        let greeting = settings::text("greeting").unwrap_or_default();
        let (habit, much) = greeting.split_once(' ').unwrap_or((&greeting, "0"));
        let much: usize = much.parse().expect("a number");
        match habit {
            "trap" => panic!("a mistake in prepare"),
            "spin" => loop {
                std::hint::black_box(());
            },
            "hoard" => loop {
                std::hint::black_box(vec![1_u8; 1 << 20].leak());
            },
            "fail" => return Err(Failure::new(Code::Other("not-today".into()), "no table")),
            "model" => drop(Model::open("spam")?),
            "hold" => drop(HELD.set(vec![1; much])),
            // One byte in each page of the memory.
            "scatter" => {
                let mut bytes = vec![0; much];
                bytes.iter_mut().step_by(4096).for_each(|byte| *byte = 1);
                drop(HELD.set(bytes));
            }
            "log" => write(Level::Info, "ready", &[]),
            _ => {
                let words = (0..30_000).map(|n| (format!("word-{n}"), n));
                TABLE.get_or_init(|| words.collect());
            }
        }
        Ok(())
    }
}

impl Detector for Prepares {
    fn detect(item: &Item, findings: &Findings) -> Result<(), Failure> {
        for part in item.texts() {
            let text = item.text(part)?;
            #[expect(clippy::cast_precision_loss, reason = "small numbers")]
            let score = match text.as_str() {
                "count" => COUNT.fetch_add(1, Ordering::Relaxed) as f32,
                "held" => HELD.get().map_or(0, Vec::len) as f32,
                word => match TABLE.get().and_then(|table| table.get(word)) {
                    Some(n) => *n as f32,
                    None => continue,
                },
            };
            findings.signal("spam", score);
        }
        Ok(())
    }
}

trommel_sdk::export!(Prepares, prepare);
