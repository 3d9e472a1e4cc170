//! What all connections of a server hold together is bounded, and who holds most goes first.

use fastwire::{
    ClientConfig, ConnectionError, ConnectionId, DisconnectReason, Event, SendError, ServerConfig,
};

use crate::duo::{PROFILES, configs};
use crate::shell::support::{STEP, Table, messages};

const LIMIT: usize = 1 << 20;

/// A server that holds little and reads nothing yet, and clients that are connected to it. Gives whose connection is whose.
fn table((mut server, client): (ServerConfig, ClientConfig), clients: usize) -> (Table, Vec<ConnectionId>) {
    server.limits.memory = LIMIT;
    let mut table = Table::new(&server, &vec![client; clients]);
    table.until("connected", |table| {
        table.server_events.len() == clients && table.client_events.iter().all(|events| events.len() == 1)
    });
    let ports: Vec<_> = table.clients.iter().map(|client| client.local_addr().expect("bound")).collect();
    let ids: Vec<_> = table.server.connections().collect();
    let of = |port| *ids.iter().find(|id| table.server.remote_addr(**id) == Some(port)).expect("connected");
    let ids: Vec<_> = ports.into_iter().map(of).collect();
    table.server_events.clear();
    table.client_events.iter_mut().for_each(Vec::clear);
    for id in &ids {
        table.server.endpoint_mut().pause(*id, true);
    }
    (table, ids)
}

#[test]
fn who_holds_most_is_shed_first_and_told_and_the_others_lose_nothing() {
    for profile in PROFILES {
        let (mut table, ids) = table(configs(profile), 4);
        // 60, 120, 180 messages of 1000 bytes, and one client without measure.
        let mut left = [60, 120, 180, 4000];
        let mut shed = None;
        for _ in 0..2000 {
            for (client, left) in table.clients.iter_mut().zip(&mut left) {
                while *left > 0 && client.send([7; 1000], 1).is_ok() {
                    *left -= 1;
                    if *left % 8 == 0 {
                        break;
                    }
                }
            }
            table.step();
            let health = table.server.health();
            assert!(health.memory_held <= LIMIT as u64, "{profile:?}: {health:?}");
            shed = table.server_events.iter().find_map(|event| match event {
                Event::Error { connection, error: ConnectionError::ServerMemory { held } } => {
                    Some((*connection, *held))
                }
                _ => None,
            });
            if shed.is_some() && left[..3] == [0; 3] {
                break;
            }
        }
        let (offender, held) = shed.expect("one is too many");
        assert_eq!(offender, ids[3], "{profile:?}: the one that holds most");
        assert!(held > LIMIT as u64 / 2, "{profile:?}: {held}");
        let ended = Event::Disconnected { connection: offender, reason: DisconnectReason::Error };
        assert!(table.server_events.contains(&ended), "{:?}", table.server_events);
        assert_eq!(table.server.health().memory_shed, 1);
        table.until("told", |table| {
            table.client_events[3].iter().any(|event| matches!(event, Event::Disconnected { .. }))
        });
        table.server_events.clear();
        for id in &ids[..3] {
            table.server.endpoint_mut().pause(*id, false);
        }
        table.until("all is read", |table| messages(&table.server_events).len() == 360);
        assert_eq!(table.server.connection_count(), 3, "{profile:?}");
        // What was acknowledged and read is held no more.
        table.until("nothing is held", |table| table.server.health().memory_held == 0);
    }
}

#[test]
fn what_waits_for_peers_that_vanished_is_bounded_too() {
    for profile in PROFILES {
        let (mut table, ids) = table(configs(profile), 3);
        let mut refused = 0;
        for round in 0..400 {
            for id in &ids {
                for _ in 0..=round % 5 {
                    match table.server.send(*id, [1; 1000], 0) {
                        Ok(()) => {}
                        Err(SendError::ConnectionClosed) => refused += 1,
                        Err(other) => panic!("{profile:?}: {other}"),
                    }
                }
            }
            // Nobody answers: the clients are not turned any more.
            table.now += STEP;
            table.server.receive(table.now);
            while table.server.poll_event().is_some() {}
            table.server.flush(table.now);
            assert!(table.server.health().memory_held <= LIMIT as u64);
        }
        let shed = table.server.health().memory_shed;
        assert!(shed > 0 && refused > 0, "{profile:?}: {shed} shed, {refused} refused");
    }
}

#[test]
fn health_says_how_a_server_is_doing() {
    let (mut table, _) = Table::pair();
    let health = table.server.health();
    assert!(health.is_accepting, "{health:?}");
    assert_eq!((health.connections, health.max_connections), (1, 1024));
    assert_eq!(health.stats, table.server.stats());
    table.server.ban([192, 0, 2, 1].into());
    table.server.endpoint_mut().set_max_connections(1);
    let health = table.server.health();
    assert!(!health.is_accepting && health.bans == 1 && health.uptime > std::time::Duration::ZERO);
}
