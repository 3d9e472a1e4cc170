//! A server and clients on a network in memory, turned in lockstep by a clock of the test's.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use fastwire::transport::{MemoryNetwork, MemoryTransport};
use fastwire::{Client, ClientConfig, ConnectionId, DisconnectReason, Event, Profile, Server, ServerConfig};

pub(crate) const SERVER: &str = "10.0.0.1:7777";

/// What a client sees that was kicked: the base profile cannot tell it.
pub(crate) fn kicked_as_seen(profile: Profile) -> DisconnectReason {
    match profile {
        Profile::Base => DisconnectReason::Graceful,
        Profile::Extended => DisconnectReason::Kicked,
    }
}

/// One turn of everybody.
pub(crate) const STEP: Duration = Duration::from_millis(5);

pub(crate) struct Table {
    pub(crate) network: MemoryNetwork,
    pub(crate) now: Instant,
    pub(crate) server: Server<MemoryTransport>,
    pub(crate) clients: Vec<Client<MemoryTransport>>,
    /// Everything the server, and each client, was told and nobody has taken yet.
    pub(crate) server_events: Vec<Event>,
    pub(crate) client_events: Vec<Vec<Event>>,
}

pub(crate) fn server_on(network: &MemoryNetwork, config: &ServerConfig) -> Server<MemoryTransport> {
    let transport = network.bind(SERVER.parse().unwrap()).unwrap();
    Server::builder().config(config.clone()).seed([7; 32]).build(transport).unwrap()
}

pub(crate) fn client_on(
    network: &MemoryNetwork,
    config: &ClientConfig,
    number: u8,
) -> Client<MemoryTransport> {
    let transport = network.bind(SocketAddr::from(([10, 0, 1, number], 0))).unwrap();
    let mut client =
        Client::builder().config(config.clone()).seed([100 + number; 32]).build(transport).unwrap();
    client.connect_to(SERVER).unwrap();
    client
}

impl Table {
    pub(crate) fn new(server: &ServerConfig, clients: &[ClientConfig]) -> Self {
        let network = MemoryNetwork::new();
        let server = server_on(&network, server);
        let clients: Vec<_> =
            clients.iter().enumerate().map(|(i, config)| client_on(&network, config, i as u8)).collect();
        Self {
            network,
            now: Instant::now(),
            server,
            client_events: clients.iter().map(|_| Vec::new()).collect(),
            clients,
            server_events: Vec::new(),
        }
    }

    /// A server and one client, connected, defaults everywhere.
    pub(crate) fn pair() -> (Self, ConnectionId) {
        Self::connected(&ServerConfig::default(), &ClientConfig::default())
    }

    pub(crate) fn connected(server: &ServerConfig, client: &ClientConfig) -> (Self, ConnectionId) {
        let mut table = Self::new(server, std::slice::from_ref(client));
        table.until("connected", |table| table.server_events.len() == 1 && table.client_events[0].len() == 1);
        let Event::Connected { connection } = table.server_events.remove(0) else { panic!("not connected") };
        assert!(matches!(table.client_events[0].remove(0), Event::Connected { .. }));
        (table, connection)
    }

    pub(crate) fn step(&mut self) {
        self.now += STEP;
        for (client, events) in self.clients.iter_mut().zip(&mut self.client_events) {
            client.receive(self.now);
            events.extend(std::iter::from_fn(|| client.poll_event()));
            client.flush(self.now);
        }
        self.server.receive(self.now);
        self.server_events.extend(std::iter::from_fn(|| self.server.poll_event()));
        self.server.flush(self.now);
    }

    /// Turns until `done`, for at most a minute of the table's time.
    #[track_caller]
    pub(crate) fn until(&mut self, what: &str, mut done: impl FnMut(&mut Self) -> bool) {
        let end = self.now + Duration::from_secs(60);
        while !done(self) {
            assert!(
                self.now < end,
                "never {what}: server {:?}, clients {:?}",
                self.server_events,
                self.client_events
            );
            self.step();
        }
    }
}

pub(crate) fn messages(events: &[Event]) -> Vec<(u8, Vec<u8>)> {
    let message = |event: &Event| match event {
        Event::Message { channel, data, .. } => Some((*channel, data.to_vec())),
        _ => None,
    };
    events.iter().filter_map(message).collect()
}
