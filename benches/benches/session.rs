//! How many rows a second does each device score with whole models, alone and in
//! batches, and what does storing values as f16 gain? The models have the published shapes
//! and random weights; inputs are on the device, scores are read back.

use criterion::{Criterion, criterion_group};
use trommel_benches::devices::{Load, Subject, Work, loaded_devices, measure, measure_halves};
use trommel_tests::models::{Architecture, Size};

fn session(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("session");
    for (name, device, load) in loaded_devices() {
        let (size, batches, note) = match load {
            Load::Full => (Size::FULL, &[1, 8, 64][..], ""),
            Load::Small => (Size::SMALL, &[1, 8][..], " small"),
        };
        for architecture in Architecture::PUBLISHED {
            let file = architecture.file(&size);
            for &batch in batches {
                let subject = Subject {
                    name: &format!("{}{note}, batch {batch}", architecture.name()),
                    file: &file,
                    inputs: &architecture.inputs(&size, batch),
                    work: Work::Rows(batch as u64),
                };
                let device = (name, device.as_ref());
                let is_asked = measure(&mut group, "session", device, &subject);
                if is_asked && architecture != Architecture::ResNet18 {
                    measure_halves("session", device, &subject);
                }
            }
        }
    }
    group.finish();
}

criterion_group!(benches, session);

fn main() {
    benches();
    Criterion::default().configure_from_args().final_summary();
}
