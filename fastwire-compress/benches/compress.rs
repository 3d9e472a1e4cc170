//! What compression costs a message, by size and method.
//!
//! `cargo bench -p fastwire-compress` prints the time a message; the sizes on the wire come first.

use std::time::Duration;

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use fastwire_compress::{
    Algorithm, BuiltinCompressor, Compressed, CompressionConfig, Compressor, Dictionary,
    MAX_DECOMPRESSED_SIZE, Method,
};

/// Game state as text: the same keys in every message, other numbers.
fn message(seed: u32, length: usize) -> Vec<u8> {
    let mut state = seed.wrapping_mul(2_654_435_761).wrapping_add(1);
    let mut number = |below: u32| {
        state ^= state << 13;
        state ^= state >> 17;
        state ^= state << 5;
        state % below
    };
    let mut text = String::new();
    while text.len() < length {
        let (id, x, y, z) = (number(64), number(1000), number(1000), number(100));
        let (vx, vy, hp) = (number(20), number(20), number(100));
        text +=
            &format!(r#"{{"id":{id},"pos":[{x},{y},{z}],"vel":[{vx},{vy}],"hp":{hp},"state":"running"}},"#);
    }
    text.truncate(length);
    text.into_bytes()
}

/// A dictionary of 8 KiB trained on other messages of the same game.
fn dictionary() -> Dictionary {
    let samples: Vec<Vec<u8>> = (1000..4000).map(|seed| message(seed, 200)).collect();
    let sizes: Vec<usize> = samples.iter().map(Vec::len).collect();
    let mut trained = Vec::with_capacity(8 * 1024);
    zstd_safe::train_from_buffer(&mut trained, &samples.concat(), &sizes).expect("3000 samples suffice");
    Dictionary::from_bytes(trained).expect("trained dictionaries have an id")
}

fn compress(criterion: &mut Criterion) {
    let mut config = CompressionConfig::new(Algorithm::Zstd);
    config.dictionary = Some(dictionary());
    let mut compressor = BuiltinCompressor::new(&config).expect("a sound configuration");
    let methods =
        [("lz4", Method::LZ4), ("zstd", Method::ZSTD), ("zstd+dictionary", Method::ZSTD_DICTIONARY)];
    for length in [150, 200, 1000, 16_384] {
        let messages: Vec<Vec<u8>> = (0..64).map(|seed| message(seed, length)).collect();
        let mut group = criterion.benchmark_group(format!("{length} bytes"));
        group.throughput(Throughput::Bytes(length as u64));
        group.warm_up_time(Duration::from_millis(200)).measurement_time(Duration::from_millis(600));
        group.sample_size(20);
        for (name, method) in methods {
            let mut wire = Vec::new();
            let Ok(Compressed::Smaller(encoding, on_wire)) =
                compressor.compress(method, &messages[0], &mut wire)
            else {
                println!("{length} bytes/{name}: not worth it");
                continue;
            };
            println!("{length} bytes/{name}: {on_wire} bytes on the wire");
            let mut turn = 0;
            let mut out = Vec::new();
            group.bench_function(format!("{name}/compress"), |bencher| {
                bencher.iter(|| {
                    turn = (turn + 1) % messages.len();
                    out.clear();
                    compressor.compress(method, &messages[turn], &mut out)
                });
            });
            group.bench_function(format!("{name}/expand"), |bencher| {
                bencher.iter(|| {
                    out.clear();
                    compressor.decompress(encoding, &wire, MAX_DECOMPRESSED_SIZE, &mut out)
                });
            });
        }
    }
}

criterion_group!(benches, compress);
criterion_main!(benches);
