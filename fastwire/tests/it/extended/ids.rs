//! Connection ids: a router that sees nothing else finds the server, and nobody links two random ones (PROTOCOL B4).

use std::collections::{BTreeSet, HashMap};
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use fastwire::sim::{LinkConfig, NodeId, World};
use fastwire::{
    ConnectionIdGenerator, Event, IdDestination, Profile, RandomIds, RawConnectionId, RoutableIds,
    ServerConfig, connection_id_of,
};

use super::MS;
use crate::duo::configs;

type Seen = Arc<Mutex<Vec<(SocketAddr, RawConnectionId)>>>;

fn server(ids: Arc<dyn ConnectionIdGenerator>) -> ServerConfig {
    let (mut server, _) = configs(Profile::Extended);
    server.connection_ids = ids;
    server
}

/// Lets a client of each server send a message, move on purpose, and so on. Gives the ids before their packets, with where they were sent.
fn walk(seed: u64, servers: &[Arc<dyn ConnectionIdGenerator>], moves: usize) -> (Vec<SocketAddr>, Seen) {
    let mut world = World::new(seed);
    let seen = Seen::default();
    let log = Arc::clone(&seen);
    world.watch(move |sighting| {
        if let Some(id) = connection_id_of(sighting.bytes).filter(|_| sighting.arrived) {
            log.lock().expect("one thread").push((sighting.to, id));
        }
    });
    let mut addresses = Vec::new();
    let mut clients = Vec::new();
    for ids in servers {
        let node = world.server(server(Arc::clone(ids))).expect("server");
        let client = world.client(configs(Profile::Extended).1).expect("client");
        world.line(client, node, LinkConfig::new().latency(MS(10))).expect("line");
        addresses.push(world.address(node));
        clients.push((client, world.connect(client, node).expect("connects")));
    }
    let mut received = 0;
    for _ in 0..=moves {
        received += run(&mut world, &clients, MS(1500));
        for &(client, id) in &clients {
            world.send(client, id, vec![1; 40], 0).expect("queued");
            world.poke(client);
        }
        received += run(&mut world, &clients, MS(500));
        for &(client, id) in &clients {
            let now = world.now();
            world.endpoint(client).expect("on").rebind(now, id).expect("connected");
            world.poke(client);
        }
    }
    assert_eq!(received, servers.len() * (moves + 1), "every message arrived, wherever its client was");
    let to_servers = |(to, _): &(SocketAddr, RawConnectionId)| addresses.contains(to);
    seen.lock().expect("one thread").retain(to_servers);
    (addresses, seen)
}

fn run(world: &mut World, clients: &[(NodeId, fastwire::ConnectionId)], time: Duration) -> usize {
    let deadline = world.now() + time;
    let mut messages = 0;
    while let Some((node, event)) = world.next_event(deadline) {
        match event {
            Event::Message { .. } => messages += 1,
            Event::Connected { .. } => {}
            other => panic!("{node:?} of {clients:?}: {other:?}"),
        }
    }
    messages
}

#[test]
fn a_router_that_sees_only_the_id_finds_the_server() {
    let destinations = [(1, 0), (1, 1), (0x0200, 0)].map(|(server, shard)| IdDestination { server, shard });
    let generators = destinations.map(|to| Arc::new(RoutableIds::new(to)) as Arc<dyn ConnectionIdGenerator>);
    let (addresses, seen) = walk(1, &generators, 4);
    let servers: HashMap<_, _> = destinations.into_iter().zip(addresses).collect();
    let mut ids = BTreeSet::new();
    for (to, id) in seen.lock().expect("one thread").iter() {
        assert_eq!(servers.get(&RoutableIds::read(id)), Some(to), "{id:?}");
        ids.insert(*id);
    }
    assert!(ids.len() >= 3 * 4, "every move takes another id: {ids:?}");
}

#[test]
fn random_ids_of_one_client_have_nothing_in_common() {
    let (_, seen) = walk(2, &[Arc::new(RandomIds)], 6);
    let ids: BTreeSet<_> =
        seen.lock().expect("one thread").iter().map(|(_, id)| u64::from_be_bytes(*id)).collect();
    assert!(ids.len() >= 6, "{ids:?}");
    for a in &ids {
        for b in ids.iter().filter(|b| *b > a) {
            // of 64 fair coins fewer than 12 or more than 52 come up equal once in ten million
            assert!((12..=52).contains(&(a ^ b).count_ones()), "{a:x} {b:x}");
        }
    }
}

/// Gives the same few ids again and again.
#[derive(Debug)]
struct Few;

impl ConnectionIdGenerator for Few {
    fn generate(&self, random: [u8; 8]) -> RawConnectionId {
        [0, 0, 0, 0, 0, 0, 0, random[0] % 6]
    }

    fn destination(&self, _: &RawConnectionId) -> Option<IdDestination> {
        None
    }
}

/// Two connections never share an id, so that a poor generator costs spare ids and nothing worse.
#[test]
fn an_id_in_use_is_not_given_out_again() {
    for seed in 0..8 {
        let mut world = World::new(seed);
        let node = world.server(server(Arc::new(Few))).expect("server");
        let mut clients = Vec::new();
        for _ in 0..2 {
            let client = world.client(configs(Profile::Extended).1).expect("client");
            world.line(client, node, LinkConfig::new().latency(MS(10))).expect("line");
            clients.push((client, world.connect(client, node).expect("connects")));
        }
        run(&mut world, &clients, MS(1000));
        for (n, &(client, id)) in clients.iter().enumerate() {
            world.send(client, id, vec![n as u8; 40], 0).expect("queued");
            world.poke(client);
            assert_eq!(run(&mut world, &clients, MS(200)), 1, "seed {seed}");
        }
    }
}
