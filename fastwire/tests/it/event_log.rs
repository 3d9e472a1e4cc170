//! An event log of a simulated connection parses, and agrees with the figures of the connection and with the log of the other end.

use std::collections::BTreeSet;
use std::io::{self, Write};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use fastwire::qlog::EventLog;
use fastwire::sim::{LinkConfig, Loss, World};
use fastwire::{ClientConfig, ConnectionStats, Event, Observers, Profile, ServerConfig};
use serde_json::Value;

use crate::duo::{PROFILES, configs};

/// A file in memory.
#[derive(Clone, Default)]
struct Memory(Arc<Mutex<Vec<u8>>>);

impl Write for Memory {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().expect("bytes").write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Memory {
    fn observers(&self) -> Observers {
        let memory = self.clone();
        Observers::new(move |subject| Some(Box::new(EventLog::new(memory.clone(), subject))))
    }

    /// The events, without the header.
    fn events(&self) -> Vec<Value> {
        let text = String::from_utf8(self.0.lock().expect("bytes").clone()).expect("UTF-8");
        let mut records: Vec<Value> = text
            .split('\u{1e}')
            .skip(1)
            .map(|record| {
                assert!(record.ends_with('\n'), "{record:?}");
                serde_json::from_str(record).expect("JSON")
            })
            .collect();
        let header = records.remove(0);
        assert_eq!(header["file_schema"], "urn:ietf:params:qlog:file:sequential");
        records
    }
}

fn named<'a>(events: &'a [Value], name: &str) -> Vec<&'a Value> {
    let name = format!("fastwire:{name}");
    events.iter().filter(|event| event["name"] == name.as_str()).map(|event| &event["data"]).collect()
}

/// Packets of the connection itself, without its handshake.
fn sealed<'a>(events: &'a [Value], name: &str) -> Vec<&'a Value> {
    let mut packets = named(events, name);
    packets.retain(|data| matches!(data["header"]["packet_type"].as_str(), Some("short" | "sealed")));
    packets
}

fn numbers(packets: &[&Value]) -> BTreeSet<u64> {
    packets.iter().map(|data| data["header"]["packet_number"].as_u64().expect("a number")).collect()
}

fn agrees(events: &[Value], stats: &ConnectionStats, is_client: bool) {
    let times: Vec<f64> = events.iter().map(|event| event["time"].as_f64().expect("a time")).collect();
    assert!(times.is_sorted(), "time runs forward");
    let (sent, received) = (sealed(events, "packet_sent"), sealed(events, "packet_received"));
    assert_eq!(sent.len() as u64, stats.packets_sent);
    assert_eq!(received.len() as u64, stats.packets_received);
    let moved = named(events, "stream_data_moved");
    let from = |from: &str| moved.iter().filter(|data| data["from"] == from).count() as u64;
    assert_eq!(from("application"), stats.messages_sent);
    assert_eq!(from("transport"), stats.messages_received);
    assert_eq!(named(events, "migration_state_updated").len() as u64, stats.migrations);
    if is_client {
        let sizes = named(events, "packet_sent").into_iter().map(|data| data["raw"]["length"].as_u64());
        assert_eq!(sizes.map(|size| size.expect("a length")).sum::<u64>(), stats.bytes_sent);
    }
    let metrics = named(events, "recovery_metrics_updated");
    let last = metrics.last().expect("something was acknowledged");
    let near = |field: &str, duration: Duration| {
        let logged = last[field].as_f64().expect("milliseconds");
        assert!((logged - duration.as_secs_f64() * 1e3).abs() < 1e-6, "{field}: {logged} and {duration:?}");
    };
    near("smoothed_rtt", stats.rtt);
    near("rtt_variance", stats.rtt_variance);
    near("latest_rtt", stats.latest_rtt);
    near("min_rtt", stats.min_rtt);
    for data in sent.iter().chain(&received) {
        let frames = data["frames"].as_array().expect("frames");
        assert!(!frames.is_empty() && frames.iter().all(|frame| frame["frame_type"] != "unknown"), "{data}");
    }
}

fn logged(profile: Profile, seed: u64) {
    let (server_log, client_log) = (Memory::default(), Memory::default());
    let (mut server, mut client): (ServerConfig, ClientConfig) = configs(profile);
    server.observers = Some(server_log.observers());
    client.observers = Some(client_log.observers());
    (server.connection_migration, client.connection_migration) = (true, true);
    let mut world = World::new(seed);
    let server = world.server(server).expect("server");
    let client = world.client(client).expect("client");
    let line = LinkConfig::new().latency(Duration::from_millis(20)).loss(Loss::Bernoulli { rate: 0.05 });
    world.line(client, server, line).expect("line");
    let at_client = world.connect(client, server).expect("connects");
    let mut at_server = None;
    for round in 0..60u32 {
        let deadline = world.now() + Duration::from_millis(50);
        while let Some((node, event)) = world.next_event(deadline) {
            if let (true, Event::Connected { connection }) = (node == server, event) {
                at_server = Some(connection);
            }
        }
        for channel in 0..4 {
            world
                .send(client, at_client, vec![round as u8; 100 + 37 * round as usize], channel)
                .expect("queued");
            if let Some(at_server) = at_server {
                world.send(server, at_server, vec![round as u8; 900], channel).expect("queued");
            }
        }
    }
    let deadline = world.now() + Duration::from_secs(5);
    while world.next_event(deadline).is_some() {}
    let at_server = at_server.expect("connected");
    let (up, down) = (client_log.events(), server_log.events());
    for (node, id, events) in [(client, at_client, &up), (server, at_server, &down)] {
        let stats =
            world.endpoint(node).and_then(|endpoint| endpoint.connection_stats(id)).expect("it stands");
        agrees(events, &stats, node == client);
        let lost = named(events, "packet_lost");
        assert!(!lost.is_empty(), "a line that loses every twentieth packet lost none");
        assert_eq!(named(events, "connection_state_updated").len(), 1);
    }
    for (from, to) in [(&up, &down), (&down, &up)] {
        let sent = numbers(&sealed(from, "packet_sent"));
        assert!(numbers(&sealed(to, "packet_received")).is_subset(&sent), "what came was sent");
        if profile == Profile::Extended {
            let lost = named(from, "packet_lost");
            assert_eq!(numbers(&lost).len(), lost.len(), "no packet is lost twice");
            assert!(numbers(&lost).is_subset(&sent), "what was lost was sent");
            let acks = sealed(to, "packet_sent");
            let acks = acks.iter().flat_map(|data| data["frames"].as_array().expect("frames"));
            for range in acks.filter_map(|frame| frame["acked_ranges"].as_array()).flatten() {
                for number in range[0].as_u64().expect("low")..=range[1].as_u64().expect("high") {
                    assert!(sent.contains(&number), "packet {number} was acknowledged and never sent");
                }
            }
        }
    }
    let now = world.now();
    world.endpoint(client).expect("client").abort(now, at_client);
    assert_eq!(named(&client_log.events(), "connection_closed").len(), 1);
}

#[test]
fn a_log_parses_and_agrees_with_the_figures_and_with_the_other_end() {
    for profile in PROFILES {
        for seed in 0..4 {
            logged(profile, seed);
        }
    }
}
