//! A server and a client in a world of their own, and the connection between them.

use std::time::{Duration, Instant};

use fastwire::sim::{Drive, LinkConfig, NodeId, Sighting, World};
use fastwire::{
    ClientConfig, ClientProfile, ConnectionId, ConnectionStats, Event, ServerConfig, ServerProfile,
};

use crate::check::Profile;

/// Longer than any connect timeout, so that it is the endpoints that give up.
pub(crate) const CONNECT_WITHIN: Duration = Duration::from_secs(130);

/// What to make a [`Duo`] of.
#[derive(Clone, Debug)]
pub(crate) struct Makings {
    pub(crate) server: ServerConfig,
    pub(crate) client: ClientConfig,
    pub(crate) server_drive: Drive,
    pub(crate) client_drive: Drive,
    pub(crate) line: LinkConfig,
}

impl Makings {
    /// Defaults on both sides, tied to `profile` and driven by events.
    pub(crate) fn new(profile: Profile, line: LinkConfig) -> Self {
        let (server, client) = configs(profile);
        Self { server, client, server_drive: Drive::Events, client_drive: Drive::Events, line }
    }
}

/// Defaults on both sides that speak `profile` and nothing else.
pub(crate) fn configs(profile: Profile) -> (ServerConfig, ClientConfig) {
    let (mut server, mut client) = (ServerConfig::default(), ClientConfig::default());
    (server.profile, client.profile) = match profile {
        Profile::Extended => (ServerProfile::ExtendedOnly, ClientProfile::Require),
        Profile::Base | Profile::Either => (ServerProfile::BaseOnly, ClientProfile::BaseOnly),
    };
    (server, client)
}

/// A server and a client, connected.
pub(crate) struct Duo {
    pub(crate) world: World,
    pub(crate) server: NodeId,
    pub(crate) client: NodeId,
    pub(crate) at_server: ConnectionId,
    pub(crate) at_client: ConnectionId,
    /// It speaks the extended profile.
    pub(crate) extended: bool,
    pub(crate) verbose: bool,
}

impl Duo {
    /// Makes both and connects them.
    pub(crate) fn connect(seed: u64, makings: &Makings, verbose: bool) -> Result<Self, String> {
        let (mut world, server, client) = Self::strangers(seed, makings)?;
        if verbose {
            world.watch(tell_beginnings());
        }
        let at_client = world.connect(client, server).map_err(|error| error.to_string())?;
        Self::await_connection(world, (server, client), at_client, verbose)
    }

    /// Makes both, not connected.
    pub(crate) fn strangers(seed: u64, makings: &Makings) -> Result<(World, NodeId, NodeId), String> {
        let mut world = World::new(seed);
        let server = world.server(makings.server.clone()).map_err(|error| error.to_string())?;
        let client = world.client(makings.client.clone()).map_err(|error| error.to_string())?;
        world.line(client, server, makings.line.clone()).map_err(|error| error.to_string())?;
        world.drive(server, makings.server_drive);
        world.drive(client, makings.client_drive);
        Ok((world, server, client))
    }

    /// Waits until both sides know the connection that the client began.
    pub(crate) fn await_connection(
        mut world: World,
        (server, client): (NodeId, NodeId),
        at_client: ConnectionId,
        verbose: bool,
    ) -> Result<Self, String> {
        let began = world.now();
        let deadline = began + CONNECT_WITHIN;
        let mut connected = None;
        // A client may have begun several connections at a server, from two ports: the keys tell which one it uses.
        let mut at_server = Vec::new();
        loop {
            if let Some(connected_after) = connected
                && let Some(key) = key(&mut world, client, at_client)
                && let Some(&at_server) =
                    at_server.iter().find(|id| self::key(&mut world, server, **id) == Some(key))
            {
                let profile = world.endpoint(client).and_then(|endpoint| endpoint.profile(at_client));
                let extended = profile == Some(fastwire::Profile::Extended);
                let duo = Self { world, server, client, at_server, at_client, extended, verbose };
                duo.say(format_args!("connected after {connected_after:?}"));
                return Ok(duo);
            }
            let Some((node, event)) = world.next_event(deadline) else {
                return Err(format!("not connected on both sides {CONNECT_WITHIN:?} after the start"));
            };
            match event {
                Event::Connected { connection } if node == server => at_server.push(connection),
                Event::Connected { .. } => connected = Some(world.now() - began),
                other if node == client => {
                    if verbose {
                        println!("    {:#?}", world.endpoint(server).map(|endpoint| endpoint.stats()));
                    }
                    return Err(format!("while connecting: {other:?}"));
                }
                _ => {}
            }
        }
    }

    /// The next event of the connection or of its client, at `deadline` at the latest. What a server says of
    /// attempts that lost is left out.
    pub(crate) fn next_event(&mut self, deadline: Instant) -> Option<(NodeId, Event)> {
        loop {
            let (node, event) = self.world.next_event(deadline)?;
            let of_a_loser = match &event {
                Event::Connected { connection }
                | Event::Disconnected { connection, .. }
                | Event::Error { connection, .. } => node == self.server && *connection != self.at_server,
                _ => false,
            };
            if !of_a_loser {
                return Some((node, event));
            }
        }
    }

    /// Figures of both ends, server first.
    pub(crate) fn stats(&mut self) -> Result<[ConnectionStats; 2], String> {
        let ends = [(self.server, self.at_server), (self.client, self.at_client)];
        let [server, client] = ends.map(|(node, id)| self.world.endpoint(node)?.connection_stats(id));
        server.zip(client).map(|(server, client)| [server, client]).ok_or("a connection is gone".to_owned())
    }

    /// Prints, when the run is to be followed from close.
    pub(crate) fn say(&self, what: std::fmt::Arguments<'_>) {
        if self.verbose {
            println!("    {:10.3} s  {what}", self.world.elapsed().as_secs_f64());
        }
    }
}

/// Prints the first datagrams.
fn tell_beginnings() -> impl FnMut(&Sighting<'_>) {
    let mut left = 200;
    move |sighting| {
        if left == 0 {
            return;
        }
        left -= 1;
        let Sighting { at, arrived, from, to, bytes, .. } = sighting;
        let what = match bytes {
            [2, 0, 0, 0, 0, 0, 0, 0, kind, ..] => format!("bare type {kind}"),
            _ => "sealed".to_owned(),
        };
        let verb = if *arrived { "arrives" } else { "is sent" };
        println!("    {:10.3} s  {what}, {} bytes, {verb}: {from} -> {to}", at.as_secs_f64(), bytes.len());
    }
}

/// Something only both ends of one connection know.
fn key(world: &mut World, node: NodeId, connection: ConnectionId) -> Option<[u8; 16]> {
    let mut key = [0; 16];
    world.endpoint(node)?.export_keying_material(connection, b"which one", &mut key).then_some(key)
}
