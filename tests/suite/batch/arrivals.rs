//! Callers that come as proptest draws it: models, plugins, rows, shapes and pauses.

use std::sync::Arc;
use std::time::Duration;

use proptest::prelude::*;
use proptest::test_runner::{RngSeed, TestRunner};
use trommel_tensor::{Account, Device, Session};
use trommel_tests::devices::{Array, graph};
use trommel_tests::onnx::{Attribute, Dim, Writer, linear};
use trommel_tests::random::Random;

use super::{agreeing, ask, perceptron, rows, two_threads};

/// Cases of the property where `PROPTEST_CASES` does not say.
const N_CASES: u32 = 6;

/// A caller to be.
#[derive(Debug, Clone)]
struct Arrival {
    model: usize,
    plugin: usize,
    n_rows: usize,
    /// Of a model that takes any length.
    length: usize,
    seed: u64,
    /// Pauses of 100 µs before it comes.
    pauses: u32,
}

fn arrivals() -> impl Strategy<Value = Vec<Arrival>> {
    let rows = prop_oneof![6 => Just(1_usize), 1 => 2_usize..6, 1 => Just(70)];
    let length = prop_oneof![3 => Just(8_usize), 1 => Just(3), 1 => Just(17)];
    let arrival = (
        0..N_MODELS,
        0..3_usize,
        rows,
        length,
        any::<u64>(),
        0..4_u32,
    );
    let arrival = arrival.prop_map(|(model, plugin, n_rows, length, seed, pauses)| Arrival {
        model,
        plugin,
        n_rows,
        length,
        seed,
        pauses,
    });
    proptest::collection::vec(arrival, 30..60)
}

const N_MODELS: usize = 5;

fn models() -> [Vec<u8>; N_MODELS] {
    [
        linear(5, 3, &[0.37; 15]),
        perceptron(5),
        texts(),
        image(),
        odd(),
    ]
}

/// Words of a table, summed and classified: `x` `[batch, length]` to `[batch, 2]`.
fn texts() -> Vec<u8> {
    let mut writer = Writer::new(17, 6);
    let x = writer.integer_input("x", &[Dim::Name("batch"), Dim::Name("length")]);
    let table = writer.drawn(&[40, 8], 0.0, 1.0);
    let words = writer.node("Gather", &[&table, &x], &[]);
    let axes = writer.integers(&[1]);
    let sum = writer.node(
        "ReduceSum",
        &[&words, &axes],
        &[Attribute::Integer("keepdims", 0)],
    );
    let weight = writer.drawn(&[8, 2], 0.0, 0.3);
    let y = writer.node("MatMul", &[&sum, &weight], &[]);
    writer.file(&[&y])
}

/// A convolution and the mean of each channel: `x` `[batch, 2, 5, 5]` to `[batch, 4]`.
fn image() -> Vec<u8> {
    let mut writer = Writer::new(17, 7);
    let x = writer.input(
        "x",
        &[Dim::Name("batch"), Dim::Size(2), Dim::Size(5), Dim::Size(5)],
    );
    let weight = writer.drawn(&[4, 2, 3, 3], 0.0, 0.3);
    let y = writer.node("Conv", &[&x, &weight], &[]);
    let y = writer.node("Relu", &[&y], &[]);
    let y = writer.node("GlobalAveragePool", &[&y], &[]);
    let y = writer.node("Flatten", &[&y], &[Attribute::Integer("axis", 1)]);
    writer.file(&[&y])
}

/// A softmax over 17, whose sums on the CPU begin elsewhere in each row.
fn odd() -> Vec<u8> {
    let mut writer = Writer::new(17, 8);
    let x = writer.input("x", &[Dim::Name("batch"), Dim::Size(17)]);
    let y = writer.node("Softmax", &[&x], &[Attribute::Integer("axis", -1)]);
    writer.file(&[&y])
}

impl Arrival {
    fn x(&self) -> Array {
        let n = self.n_rows;
        match self.model {
            0 => rows(n, 5, self.seed),
            1 => rows(n, 12, self.seed),
            2 => {
                let mut random = Random::new(self.seed);
                let ids: Vec<i64> = (0..n * self.length)
                    .map(|_| random.below(40) as i64)
                    .collect();
                Array::integers(&[n, self.length], &ids)
            }
            3 => {
                let flat = rows(n, 50, self.seed);
                Array {
                    shape: vec![n, 2, 5, 5],
                    ..flat
                }
            }
            _ => rows(n, 17, self.seed),
        }
    }
}

/// One device with a session of each model.
struct Place {
    name: &'static str,
    device: Arc<dyn Device>,
    sessions: Vec<Arc<dyn Session>>,
}

#[test]
fn every_caller_gets_its_own_rows_bit_for_bit_as_if_alone() {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_time()
        .build()
        .unwrap();
    let graphs: Vec<_> = models().iter().map(|file| graph(file)).collect();
    let places: Vec<Place> = agreeing()
        .into_iter()
        .map(|(name, device)| Place {
            name,
            sessions: graphs
                .iter()
                .map(|graph| device.session(graph).unwrap())
                .collect(),
            device,
        })
        .collect();
    let plugins: Vec<Account> = (0..3)
        .map(|n| Account::new(format!("plugin {n}"), u64::MAX, u64::MAX))
        .collect();
    let mut config = ProptestConfig::default();
    if std::env::var_os("PROPTEST_CASES").is_none() {
        config.cases = N_CASES;
        config.rng_seed = RngSeed::Fixed(2);
    }
    config.failure_persistence = None;
    // A failure here depends on time too: a smaller one may not fail.
    config.max_shrink_iters = 16;
    let holds = |arrivals: Vec<Arrival>| {
        for place in &places {
            runtime.block_on(check(place, &plugins, &arrivals))?;
        }
        Ok(())
    };
    TestRunner::new(config)
        .run(&arrivals(), holds)
        .unwrap_or_else(|error| panic!("{error}"));
    for place in &places {
        let joined = place.sessions.iter().map(|session| {
            let counts = session.counts();
            counts.n_runs - counts.n_batches
        });
        assert!(
            joined.sum::<u64>() > 0,
            "{}: nothing ran together",
            place.name
        );
    }
    for plugin in &plugins {
        assert_eq!((plugin.bytes(), plugin.tensors()), (0, 0));
    }
}

/// One row of it often comes out the same elsewhere too: a trial must not be satisfied by it.
#[test]
fn a_sum_that_begins_elsewhere_in_a_batch_is_found_out_by_the_first_trial() {
    let session = two_threads().session(&graph(&odd())).unwrap();
    let why = session.settle().expect("it has rows").unwrap_err();
    assert!(why.contains("of 2 differs from the row alone"), "{why}");
}

async fn check(
    place: &Place,
    plugins: &[Account],
    arrivals: &[Arrival],
) -> Result<(), TestCaseError> {
    let mut right = Vec::new();
    for arrival in arrivals {
        let session = &place.sessions[arrival.model];
        right.push(
            ask(
                place.device.as_ref(),
                session.as_ref(),
                &arrival.x(),
                &plugins[0],
            )
            .await,
        );
    }
    let asked: Vec<_> = arrivals
        .iter()
        .map(|arrival| {
            let (device, session) = (place.device.clone(), place.sessions[arrival.model].clone());
            let (account, x) = (plugins[arrival.plugin].clone(), arrival.x());
            let pause = arrival.pauses * Duration::from_micros(100);
            tokio::spawn(async move {
                if !pause.is_zero() {
                    tokio::time::sleep(pause).await;
                }
                ask(device.as_ref(), session.as_ref(), &x, &account).await
            })
        })
        .collect();
    for ((arrival, right), asked) in arrivals.iter().zip(right).zip(asked) {
        let answer = asked.await.unwrap();
        prop_assert!(answer.is_ok(), "{}: {answer:?}", place.name);
        prop_assert!(answer == right, "{}: {arrival:?}", place.name);
    }
    Ok(())
}
