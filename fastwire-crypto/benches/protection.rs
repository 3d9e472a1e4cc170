//! Sealing, opening and key agreement. `cargo bench -p fastwire-crypto --bench protection`

use std::hint::black_box;

use criterion::{BatchSize, Criterion, Throughput, criterion_group, criterion_main};
use fastwire_crypto::*;

fn packets(c: &mut Criterion) {
    let mut group = c.benchmark_group("packet");
    for suite in [CipherSuite::Aes128Gcm, CipherSuite::ChaCha20Poly1305] {
        let key = &[7; 32][..suite.key_len()];
        let cipher = || Aead::new(suite, key).expect("key of the right length");
        for len in [64, 1200] {
            group.throughput(Throughput::Bytes(len as u64));
            let mut sealer = Sealer::new(cipher());
            let mut packet = vec![0; len];
            group.bench_function(format!("{suite} seal {len} B"), |b| {
                b.iter(|| sealer.seal(black_box(&mut packet)));
            });
            group.bench_function(format!("{suite} open {len} B"), |b| {
                b.iter_batched_ref(
                    || (Opener::new(cipher()), packet.clone()),
                    |(opener, packet)| opener.open(black_box(packet)),
                    BatchSize::SmallInput,
                );
            });
        }
    }
    group.finish();

    let mut window = ReplayWindow::<16>::new();
    let mut number = 0;
    c.bench_function("replay window: check and commit the next number", |b| {
        b.iter(|| {
            number += 1;
            let verdict = window.check(black_box(number));
            window.commit(number);
            verdict
        });
    });
}

fn keys(c: &mut Criterion) {
    let (own, peer) = (KeyPair::from_secret([1; 32]), KeyPair::from_secret([2; 32]).public());
    c.bench_function("key pair", |b| b.iter(|| KeyPair::from_secret(black_box([3; 32]))));
    c.bench_function("session keys", |b| {
        b.iter(|| derive_session_keys(&own, black_box(&peer), &[4; 32], CipherSuite::Aes128Gcm));
    });
}

criterion_group!(benches, packets, keys);
criterion_main!(benches);
