//! Real UDP sockets on the loopback interface, both ends ticked in turn: `cargo bench -p fastwire --bench loopback`

use std::time::{Duration, Instant};

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use fastwire::{Client, ConnectionId, Handler, Peer, Server};

struct Echo;

impl Handler for Echo {
    fn on_message(&mut self, peer: &mut Peer<'_>, data: &[u8], channel: u8) {
        peer.send(data, channel).expect("queued");
    }
}

#[derive(Default)]
struct Count {
    connected: bool,
    messages: u64,
}

impl Handler for Count {
    fn on_connect(&mut self, _: &mut Peer<'_>) {
        self.connected = true;
    }

    fn on_message(&mut self, _: &mut Peer<'_>, _: &[u8], _: u8) {
        self.messages += 1;
    }

    fn on_connect_failed(&mut self, connection: ConnectionId, error: &fastwire::ConnectError) {
        panic!("{connection}: {error}");
    }
}

fn loopback(c: &mut Criterion) {
    let mut server = Server::bind("127.0.0.1:0").expect("a server");
    let mut client = Client::connect(server.local_addr().expect("an address")).expect("a client");
    let mut count = Count::default();
    let mut turn = |client: &mut Client, count: &mut Count| {
        client.tick(Instant::now(), count);
        server.tick(Instant::now(), &mut Echo);
    };
    while !count.connected {
        turn(&mut client, &mut count);
    }
    let mut group = c.benchmark_group("loopback");
    group.measurement_time(Duration::from_secs(2));
    for (name, channel) in [("reliable", 1), ("unreliable", 2)] {
        group.throughput(Throughput::Elements(1));
        group.bench_function(format!("{name}, 64 B there and back"), |b| {
            b.iter(|| {
                let (want, until) = (count.messages + 1, Instant::now() + Duration::from_secs(1));
                client.send([7; 64], channel).expect("queued");
                // A datagram the system dropped must not stop the bench.
                while count.messages < want && Instant::now() < until {
                    turn(&mut client, &mut count);
                }
            });
        });
    }
    group.finish();
}

criterion_group!(benches, loopback);
criterion_main!(benches);
