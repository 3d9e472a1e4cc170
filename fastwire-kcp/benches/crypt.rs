//! What sealing and opening a 1400-byte datagram costs, for every cipher.

use criterion::{BatchSize, Criterion, Throughput, criterion_group, criterion_main};
use fastwire_kcp::crypt::{Crypt, CryptKind, NONCE_LEN, PacketCrypt};

const DATAGRAM: usize = 1400;

fn every_cipher(c: &mut Criterion) {
    for (name, seal) in [("seal", true), ("open", false)] {
        let mut group = c.benchmark_group(name);
        group.throughput(Throughput::Bytes(DATAGRAM as u64));
        for kind in CryptKind::all() {
            let crypt = Crypt::from_passphrase(kind, "a long shared secret");
            let nonce = [7; NONCE_LEN];
            let mut sealed = vec![1; DATAGRAM];
            crypt.seal(&mut sealed, &nonce).expect("room");
            group.bench_function(kind.name(), |b| {
                b.iter_batched_ref(
                    || sealed.clone(),
                    |datagram| match seal {
                        true => crypt.seal(datagram, &nonce).expect("room"),
                        false => drop(crypt.open(datagram).expect("just sealed")),
                    },
                    BatchSize::SmallInput,
                );
            });
        }
        group.finish();
    }
}

criterion_group!(benches, every_cipher);
criterion_main!(benches);
