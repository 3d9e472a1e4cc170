//! What a message costs in the delivery layer: both sides, acknowledgement included, no encryption, no socket.

use std::time::{Duration, Instant};

use bytes::Bytes;
use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use fastwire_reliability::{ChannelLayout, Channels, ChannelsConfig, Outcome, Peer, Quota, RecoveryProfile};
use fastwire_wire::FragmentFlags;

fn pair() -> [Channels; 2] {
    [(); 2].map(|()| {
        let mut channels =
            Channels::new(ChannelLayout::default(), &ChannelsConfig::default(), RecoveryProfile::default());
        channels.set_peer(Peer::Own);
        channels
    })
}

/// Sends `count` messages one way, delivers and acknowledges them.
fn round(a: &mut Channels, b: &mut Channels, channel: u8, message: &Bytes, count: usize, now: Instant) {
    for _ in 0..count {
        a.push(channel, message, FragmentFlags::EMPTY, now).expect("room in the queue");
    }
    while let Some(out) = a.next_outgoing(now, Quota::UNLIMITED) {
        let (ack, field) = a.header_ack(channel);
        let _ = std::hint::black_box((ack, field));
        a.mark_sent(&out, out.payload.len() + 40, now);
        b.accept(out.channel, out.sequence, out.fragment, out.payload, now).expect("a good peer");
    }
    while let Some(delivery) = b.poll_delivery() {
        std::hint::black_box(delivery.data.len());
    }
    let mut outcome = Outcome::default();
    let later = now + Duration::from_millis(10);
    while let Some((channel, ack, field)) = b.next_owed_ack(later) {
        a.acknowledge(channel, ack, field, later, &mut outcome).expect("a good peer");
    }
}

fn channels(c: &mut Criterion) {
    let mut group = c.benchmark_group("channels");
    for (name, channel) in [("ordered", 0u8), ("unordered", 1), ("unreliable", 2), ("sequenced", 3)] {
        let (message, count) = (Bytes::from_static(&[7; 64]), 64);
        group.throughput(Throughput::Elements(count as u64));
        group.bench_function(BenchmarkId::new("64B", name), |bencher| {
            let ([mut a, mut b], mut now) = (pair(), Instant::now());
            bencher.iter(|| {
                now += Duration::from_millis(20);
                round(&mut a, &mut b, channel, &message, count, now);
            });
        });
    }
    let message = Bytes::from(vec![7; 64 << 10]);
    group.throughput(Throughput::Bytes(message.len() as u64));
    group.bench_function(BenchmarkId::new("64KiB", "ordered"), |bencher| {
        let ([mut a, mut b], mut now) = (pair(), Instant::now());
        bencher.iter(|| {
            now += Duration::from_millis(20);
            round(&mut a, &mut b, 0, &message, 1, now);
        });
    });
    group.finish();
}

criterion_group!(benches, channels);
criterion_main!(benches);
