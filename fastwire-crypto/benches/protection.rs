//! Sealing, opening and key agreement. `cargo bench -p fastwire-crypto --bench protection`

use std::hint::black_box;

use criterion::{BatchSize, Criterion, Throughput, criterion_group, criterion_main};
#[cfg(feature = "ring")]
use fastwire_crypto::backend::Ring;
use fastwire_crypto::backend::{Backend, RustCrypto};
use fastwire_crypto::*;

fn packets(c: &mut Criterion) {
    packets_by::<RustCrypto>(c, "rustcrypto");
    #[cfg(feature = "ring")]
    packets_by::<Ring>(c, "ring");
    replay(c);
}

fn packets_by<B: Backend>(c: &mut Criterion, backend: &str) {
    let mut group = c.benchmark_group(backend);
    for suite in [CipherSuite::Aes128Gcm, CipherSuite::ChaCha20Poly1305] {
        let key = &[7; 32][..suite.key_len()];
        let cipher = || AeadBy::<B>::new(suite, key).expect("key of the right length");
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
}

fn replay(c: &mut Criterion) {
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
