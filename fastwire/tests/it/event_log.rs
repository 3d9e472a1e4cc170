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

/// Both logs begin with the handshake: the server heard what the client sent, and answered what the client heard.
fn handshake_agrees(up: &[Value], down: &[Value], profile: Profile) {
    let kinds = |events: &[Value], name: &str| -> Vec<(String, u64)> {
        let shown = named(events, name).into_iter().map(|data| {
            let kind = data["header"]["packet_type"].as_str().expect("a type").to_owned();
            (kind, data["raw"]["length"].as_u64().expect("a length"))
        });
        shown.filter(|(kind, _)| ["connect", "challenge", "response"].contains(&&kind[..])).collect()
    };
    let count = |list: &[(String, u64)], of: &str| list.iter().filter(|(kind, _)| kind == of).count();
    let (asked, heard) = (kinds(up, "packet_sent"), kinds(down, "packet_received"));
    let (answered, told) = (kinds(down, "packet_sent"), kinds(up, "packet_received"));
    assert!(heard.iter().all(|one| asked.contains(one)), "{heard:?} of {asked:?}");
    assert!(told.iter().all(|one| answered.contains(one)), "{told:?} of {answered:?}");
    for (kind, sent, came) in [("connect", &asked, &heard), ("challenge", &answered, &told)] {
        assert!(
            count(came, kind) >= 1 && count(came, kind) <= count(sent, kind),
            "{kind}: {sent:?} {came:?}"
        );
    }
    // the base profile's answer to CHALLENGE is sealed
    assert_eq!(count(&heard, "response") >= 1, profile == Profile::Extended, "{heard:?}");
    let first = &down[1];
    assert_eq!(
        (first["time"].as_f64(), &first["data"]["header"]["packet_type"]),
        (Some(0.0), &"connect".into())
    );
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
    handshake_agrees(&up, &down, profile);
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

#[test]
fn strangers_who_only_knock_leave_no_log_and_do_not_hide_who_comes_in() {
    for profile in PROFILES {
        let made = Arc::new(Mutex::new(0));
        let log = Memory::default();
        let (memory, count) = (log.clone(), Arc::clone(&made));
        let (mut server, client) = configs(profile);
        server.observers = Some(Observers::new(move |subject| {
            *count.lock().expect("a number") += 1;
            Some(Box::new(EventLog::new(memory.clone(), subject)))
        }));
        let mut world = World::new(7);
        let node = world.server(server).expect("server");
        let line = LinkConfig::new().latency(Duration::from_millis(20));
        // those who knock never hear an answer
        for number in 0..80 {
            let stranger = world.client(client.clone()).expect("client");
            world.line(stranger, node, line.clone().loss(Loss::Bernoulli { rate: 0.0 })).expect("line");
            world.connect(stranger, node).expect("connects");
            world.poke(stranger);
            world.switch_off(stranger);
            let deadline = world.now() + Duration::from_millis(number % 7);
            while world.next_event(deadline).is_some() {}
        }
        let deadline = world.now() + Duration::from_millis(200);
        while world.next_event(deadline).is_some() {}
        assert_eq!((*made.lock().expect("a number"), log.0.lock().expect("bytes").len()), (0, 0));
        let welcome = world.client(client).expect("client");
        world.line(welcome, node, line).expect("line");
        world.connect(welcome, node).expect("connects");
        let deadline = world.now() + Duration::from_secs(1);
        while world.next_event(deadline).is_some() {}
        assert_eq!(*made.lock().expect("a number"), 1);
        let events = log.events();
        assert_eq!(named(&events, "packet_received")[0]["header"]["packet_type"], "connect");
        assert_eq!(named(&events, "packet_sent")[0]["header"]["packet_type"], "challenge");
        let endpoint = world.endpoint(node).expect("it runs");
        assert!(endpoint.stats().connects_received >= 81);
        assert_eq!(endpoint.stats().handshakes_unobserved, 0);
    }
}
