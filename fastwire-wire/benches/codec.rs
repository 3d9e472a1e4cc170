//! Headers, control payloads and batch frames. `cargo bench -p fastwire-wire --bench codec`

use std::hint::black_box;

use criterion::{Criterion, criterion_group, criterion_main};
use fastwire_wire::*;

fn codec(c: &mut Criterion) {
    let header = PacketHeader {
        flags: PacketFlags::EMPTY,
        channel: 1,
        sequence: 70_000,
        ack: 300,
        ack_field: 0xffff_ffff,
    };
    let mut out = [0; DEFAULT_MTU];
    c.bench_function("header encode", |b| b.iter(|| black_box(&header).encode(black_box(&mut out))));
    header.encode(&mut out).expect("room");
    c.bench_function("header decode", |b| b.iter(|| PacketHeader::decode(black_box(&out))));

    let connect = Control::from(Connect {
        version: PROTOCOL_VERSION,
        application_version: 7,
        public_key: [1; 32],
        cipher: 1,
        compression: 2,
        dictionary_hash: Some([2; 32]),
        features: Features::SEND_BATCHING,
    });
    c.bench_function("connect encode", |b| b.iter(|| black_box(&connect).encode(black_box(&mut out))));
    connect.encode(&mut out).expect("room");
    c.bench_function("connect decode", |b| b.iter(|| Control::decode(black_box(&out))));

    let mut writer = BatchWriter::new(&mut out);
    while writer.push(&[3; 64]).is_ok() {}
    let len = writer.finish();
    c.bench_function("batch of 18 packets: read", |b| {
        b.iter(|| {
            BatchReader::new(black_box(&out[..len])).map(|batch| batch.map(<[u8]>::len).sum::<usize>())
        });
    });
}

criterion_group!(benches, codec);
criterion_main!(benches);
