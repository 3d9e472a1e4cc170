//! What a packet of the extended profile costs its sender (filled, acknowledged) and its receiver (frames read,
//! delivered), without encryption and socket.

use std::time::{Duration, Instant};

use bytes::Bytes;
use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use fastwire_reliability::extended::{ExtendedChannels, PeerLimits};
use fastwire_reliability::{ChannelLayout, ChannelsConfig, FragmentFlags, Outcome, Quota, RecoveryProfile};
use fastwire_wire::extended::{Frame, Frames};

/// Packets between two acknowledgements: one batch of a receiver.
const BATCH: usize = 64;
/// Bytes of a packet's frames.
const ROOM: usize = 1170;

fn channels() -> ExtendedChannels {
    let mut config = ChannelsConfig::default();
    config.max_queued_messages = 1 << 20;
    let mut channels = ExtendedChannels::new(ChannelLayout::default(), &config, RecoveryProfile::default());
    let limits = channels.limits();
    channels.set_peer(PeerLimits { receive_budget: u64::MAX, ..limits });
    channels
}

struct Sender {
    channels: ExtendedChannels,
    number: u64,
    now: Instant,
    outcome: Outcome,
}

impl Sender {
    fn new() -> Self {
        Self { channels: channels(), number: 0, now: Instant::now(), outcome: Outcome::default() }
    }

    /// Fills a batch of packets; `each` sees their frames.
    fn batch(&mut self, channel: u8, message: &Bytes, mut each: impl FnMut(&[u8])) {
        let mut room = [0; ROOM];
        for _ in 0..BATCH {
            while self.channels.queued_bytes() < ROOM {
                self.channels
                    .push(channel, message, FragmentFlags::EMPTY, self.now)
                    .expect("room in the queue");
            }
            self.channels.begin_packet();
            let written = self.channels.write_frames(&mut room, Quota::UNLIMITED, self.now);
            each(room.get(..written.len).unwrap_or_default());
            self.channels.packet_sent(self.number, written.len + 30, self.now);
            self.number += 1;
        }
    }

    /// The peer has opened all of it.
    fn acknowledge(&mut self) {
        self.now += Duration::from_millis(1);
        self.outcome.clear();
        let (largest, delay, bitmap) = (self.number - 1, Duration::ZERO, [0xff; BATCH / 8]);
        self.channels.acknowledge(largest, delay, &bitmap, self.now, &mut self.outcome).expect("sent");
    }
}

fn extended(c: &mut Criterion) {
    let mut group = c.benchmark_group("extended");
    group.throughput(Throughput::Elements(BATCH as u64));
    let bulk = Bytes::from(vec![7; 64 << 10]);
    let small = Bytes::from(vec![7; 64]);
    let cases = [("bulk", 0u8, &bulk), ("64B-ordered", 0, &small), ("64B-unreliable", 2, &small)];
    for (name, channel, message) in cases {
        group.bench_function(BenchmarkId::new("send", name), |bencher| {
            let mut sender = Sender::new();
            bencher.iter(|| {
                sender.batch(channel, message, |frames| {
                    std::hint::black_box(frames.len());
                });
                sender.acknowledge();
            });
        });
        group.bench_function(BenchmarkId::new("receive", name), |bencher| {
            let (mut sender, mut receiver) = (Sender::new(), channels());
            bencher.iter_custom(|rounds| {
                let mut spent = Duration::ZERO;
                for _ in 0..rounds {
                    let mut packets = Vec::with_capacity(BATCH);
                    sender.batch(channel, message, |frames| packets.push(Bytes::copy_from_slice(frames)));
                    sender.acknowledge();
                    let begun = Instant::now();
                    for packet in &packets {
                        for frame in Frames::new(packet).expect("not empty") {
                            let Ok(Frame::Data(data)) = frame else { continue };
                            let keep = &mut Bytes::copy_from_slice;
                            receiver.accept(&data, sender.now, keep).expect("a good peer");
                        }
                        while let Some(incoming) = receiver.poll_delivery() {
                            std::hint::black_box(&incoming);
                        }
                    }
                    // the credit it gives
                    let mut room = [0; 64];
                    receiver.begin_packet();
                    let written = receiver.write_frames(&mut room, Quota::UNLIMITED, sender.now);
                    std::hint::black_box(written.len);
                    spent += begun.elapsed();
                }
                spent
            });
        });
    }
    group.finish();
}

criterion_group!(benches, extended);
criterion_main!(benches);
