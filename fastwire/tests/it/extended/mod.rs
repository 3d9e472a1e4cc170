//! The extended profile (PROTOCOL part B), in virtual time.

mod acknowledging;
mod busy;
mod clock;
mod fec;
mod handshakes;
mod ids;
mod losing;
mod moving;
mod packing;
mod receipts;
mod sleeping;
mod stamps;
mod steady;
mod veil;

use std::time::Duration;

use fastwire::sim::{LinkConfig, NodeId, World};
use fastwire::{ClientConfig, ConnectionId, Event, Profile, ServerConfig};

use crate::duo::configs;

pub(crate) const MS: fn(u64) -> Duration = Duration::from_millis;

/// A client connected to a server in the extended profile.
pub(crate) struct Pair {
    pub(crate) world: World,
    pub(crate) server: NodeId,
    pub(crate) client: NodeId,
    pub(crate) at_server: ConnectionId,
    pub(crate) at_client: ConnectionId,
}

impl Pair {
    pub(crate) fn connect(seed: u64, line: LinkConfig) -> Self {
        let (server, client) = configs(Profile::Extended);
        Self::with(seed, line, server, client)
    }

    pub(crate) fn with(seed: u64, line: LinkConfig, server: ServerConfig, client: ClientConfig) -> Self {
        let mut world = World::new(seed);
        let server = world.server(server).expect("server");
        let client = world.client(client).expect("client");
        world.line(client, server, line).expect("line");
        let at_client = world.connect(client, server).expect("connects");
        let (mut at_server, mut connected) = (None, false);
        let deadline = world.now() + Duration::from_secs(5);
        world.run_until(deadline, |_, node, event| {
            match event {
                Event::Connected { connection } if node == server => at_server = Some(connection),
                Event::Connected { .. } => connected = true,
                other => panic!("{other:?}"),
            }
            connected && at_server.is_some()
        });
        let mut pair = Self { world, server, client, at_server: at_server.expect("connected"), at_client };
        for (node, id) in [(pair.client, pair.at_client), (pair.server, pair.at_server)] {
            let profile = pair.world.endpoint(node).and_then(|endpoint| endpoint.profile(id));
            assert_eq!(profile, Some(Profile::Extended));
        }
        pair
    }

    /// Lets time pass in which nothing but messages may happen; gives those.
    pub(crate) fn run(&mut self, time: Duration) -> Vec<(NodeId, u8, Vec<u8>)> {
        let deadline = self.world.now() + time;
        let mut messages = Vec::new();
        while let Some((node, event)) = self.world.next_event(deadline) {
            match event {
                Event::Message { channel, data, .. } => messages.push((node, channel, data.to_vec())),
                other => panic!("{:?}: {other:?}", self.world.elapsed()),
            }
        }
        messages
    }
}
