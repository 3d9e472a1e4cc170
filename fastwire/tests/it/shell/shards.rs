//! A server whose sockets share a port, on several threads.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use fastwire::{Client, ConfigError, Event, Handler, Peer, Profile, Server, StartError};

use crate::duo::{PROFILES, configs};

/// Answers with its number and what came.
struct Shard(u8);

impl Handler for Shard {
    fn on_message(&mut self, peer: &mut Peer<'_>, data: &[u8], channel: u8) {
        let answer = [&[self.0], data].concat();
        peer.send(answer, channel).unwrap();
    }
}

/// A round trip; gives the number of the shard that answered.
fn ask(client: &mut Client, number: u8) -> u8 {
    client.send([number; 40], 0).unwrap();
    let give_up = Instant::now() + Duration::from_secs(20);
    loop {
        let now = Instant::now();
        assert!(now < give_up, "no answer: {:?}", client.state());
        client.receive(now);
        while let Some(event) = client.poll_event() {
            match event {
                Event::Message { data, .. } => {
                    assert_eq!(data[1..], [number; 40]);
                    return data[0];
                }
                Event::Connected { .. } => {}
                other => panic!("{other:?}"),
            }
        }
        client.flush(now);
        std::thread::sleep(Duration::from_millis(1));
    }
}

fn connect(profile: Profile, server: SocketAddr) -> Client {
    let (_, mut config) = configs(profile);
    config.connection_migration = true;
    Client::builder().config(config).connect(server).unwrap()
}

#[cfg(target_os = "linux")]
#[test]
fn whichever_socket_gets_a_clients_datagrams_its_own_shard_answers() {
    for profile in PROFILES {
        let (mut config, _) = configs(profile);
        config.connection_migration = true;
        let server = Server::builder().config(config).shards(4).bind("127.0.0.1:0").unwrap();
        assert_eq!(server.len(), 4);
        let threads = server.spawn(|shard| Shard(shard as u8)).unwrap();
        let address = threads.local_addr().unwrap();
        let strays = || threads.handles().iter().map(|handle| handle.health().stats.strays).sum::<u64>();
        let mut client = connect(profile, address);
        let own = ask(&mut client, 0);
        // Each new address has three chances of four to be another socket's.
        let mut moves = 0;
        while moves < 100 && (moves < 4 || strays() == 0) {
            moves += 1;
            client.rebind().unwrap();
            assert_eq!(ask(&mut client, moves), own, "{profile:?}");
        }
        assert!(strays() > 0, "{profile:?}: {moves} moves, and never the wrong socket");
        assert_eq!(threads.stop().unwrap().len(), 4);
    }
}

#[test]
fn a_number_of_shards_out_of_range_is_refused_and_one_is_a_server() {
    for count in [0, 256] {
        let error = Server::builder().shards(count).bind("127.0.0.1:0").unwrap_err();
        assert!(
            matches!(error, StartError::Config(ConfigError::OutOfRange { field: "shards", .. })),
            "{error}"
        );
    }
    let threads = Server::builder().shards(1).bind("127.0.0.1:0").unwrap().spawn(|_| Shard(7)).unwrap();
    let mut client = connect(Profile::Extended, threads.local_addr().unwrap());
    assert_eq!(ask(&mut client, 1), 7);
}
