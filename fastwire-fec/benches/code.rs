//! Throughput of encoding and recovery, per byte of data.

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use fastwire_fec::{Encoder, Recovered, ReedSolomon};
use std::hint::black_box;

fn code(c: &mut Criterion) {
    let mut group = c.benchmark_group("code");
    for (data, parity) in [(10, 3), (3, 1), (64, 16)] {
        let code = ReedSolomon::new(data, parity).expect("figures in range");
        let shards: Vec<Vec<u8>> = (0..data).map(|i| vec![i as u8 ^ 0x5a; 1400]).collect();
        group.throughput(Throughput::Bytes((data * 1400) as u64));
        let mut encoder = Encoder::new(code.clone());
        group.bench_function(format!("encode/{data}+{parity}"), |b| {
            b.iter(|| shards.iter().filter(|shard| encoder.add(black_box(shard))).count());
        });
        let lost = parity.min(data);
        let arrived: Vec<Option<&[u8]>> = vec![None; lost]
            .into_iter()
            .chain(shards[lost..].iter().map(|shard| Some(&shard[..])))
            .chain(encoder.parity().map(Some))
            .collect();
        let mut recovered = Recovered::new();
        group.bench_function(format!("recover/{data}+{parity}"), |b| {
            b.iter(|| code.recover(black_box(&arrived), &mut recovered));
        });
    }
}

criterion_group!(benches, code);
criterion_main!(benches);
