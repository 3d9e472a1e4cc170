//! Puts servers and clients together: each setter changes one thing, or one type parameter.

use std::fmt;
use std::io;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, ToSocketAddrs};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use bytes::Bytes;
use thiserror::Error;

use super::link::Hub;
use super::pump::Pump;
use super::resolve::resolve;
use super::turn::Cadence;
use super::{Client, Server, Shards};
use crate::compress::{BuiltinCompressor, CompressionConfig, Compressor};
use crate::congestion::{
    BuiltinController, BuiltinControllers, CongestionController, CongestionMode, ControllerFactory, PathInfo,
};
use crate::connection_ids::ConnectionIdGenerator;
use crate::crypto::{Aead, BuiltinSuites, Cipher, CipherSuites, PublicKey};
use crate::proto::{AcceptHook, Arriving, Endpoint, Parts, Shard, identity_from, seed_of_shard};
use crate::reliability::StreamOpener;
use crate::transport::{RecvBatch, Transport, UdpConfig, UdpTransport};
use crate::{
    ClientConfig, ClientProfile, ConfigError, ConnectError, ConnectToken, Identity, KeyLog, Observers,
    PreSharedKey, ServerConfig, ServerProfile, TokenKeys,
};

/// Receive buffers of a client: one peer, little at a time, but joined trains.
const CLIENT_SLOTS: usize = 8;

/// Why a server or client could not be started.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum StartError {
    /// A field of the configuration cannot work.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// A name gave no address.
    #[error("cannot look up {name}: {source}; give host:port")]
    Resolve {
        /// The name as it was given.
        name: String,
        /// What the system said.
        source: io::Error,
    },
    /// No socket could be opened.
    #[error("cannot open a UDP socket on {address}: {source}")]
    Socket {
        /// The address as it was given.
        address: String,
        /// What the system said.
        source: io::Error,
    },
    /// The system gave no randomness for keys.
    #[error("the system gives no random bytes: {0}")]
    Entropy(String),
    /// The client cannot connect as it stands.
    #[error(transparent)]
    Connect(#[from] ConnectError),
}

type MakeCompressor<Z> = Box<dyn FnMut(&CompressionConfig) -> Result<Z, ConfigError>>;
type MakeControllers<G> = Box<dyn FnMut(CongestionMode, u32) -> Box<dyn ControllerFactory<Controller = G>>>;

/// What servers and clients are built of alike.
struct Assembly<C, Z, G> {
    suites: Arc<dyn CipherSuites<Cipher = C>>,
    compressor: MakeCompressor<Z>,
    controllers: MakeControllers<G>,
    udp: UdpConfig,
    seed: Option<[u8; 32]>,
    accept: Option<AcceptHook>,
}

impl Default for Assembly<Aead, BuiltinCompressor, BuiltinController> {
    fn default() -> Self {
        Self {
            suites: Arc::new(BuiltinSuites),
            compressor: Box::new(|config| {
                BuiltinCompressor::new(config).map_err(|error| ConfigError::Compression(error.to_string()))
            }),
            controllers: Box::new(|mode, initial_window| {
                Box::new(BuiltinControllers { initial_window, ..BuiltinControllers::new(mode) })
            }),
            udp: UdpConfig::new(),
            seed: None,
            accept: None,
        }
    }
}

impl<C, Z, G> Assembly<C, Z, G> {
    fn suites<C2>(self, suites: Arc<dyn CipherSuites<Cipher = C2>>) -> Assembly<C2, Z, G> {
        let Self { compressor, controllers, udp, seed, accept, .. } = self;
        Assembly { suites, compressor, controllers, udp, seed, accept }
    }

    fn compressor<Z2>(self, compressor: MakeCompressor<Z2>) -> Assembly<C, Z2, G> {
        let Self { suites, controllers, udp, seed, accept, .. } = self;
        Assembly { suites, compressor, controllers, udp, seed, accept }
    }

    fn controllers<G2>(self, controllers: MakeControllers<G2>) -> Assembly<C, Z, G2> {
        let Self { suites, compressor, udp, seed, accept, .. } = self;
        Assembly { suites, compressor, controllers, udp, seed, accept }
    }

    fn parts(
        &mut self,
        compression: &CompressionConfig,
        mode: CongestionMode,
        initial_window: u32,
    ) -> Result<Parts<C, Z, G>, StartError> {
        Ok(Parts {
            suites: Arc::clone(&self.suites),
            compressor: (self.compressor)(compression)?,
            controllers: (self.controllers)(mode, initial_window),
        })
    }

    fn take_seed(&self) -> Result<[u8; 32], StartError> {
        if let Some(seed) = self.seed {
            return Ok(seed);
        }
        let mut seed = [0; 32];
        getrandom::fill(&mut seed).map_err(|error| StartError::Entropy(error.to_string()))?;
        Ok(seed)
    }
}

/// The setters that both builders have.
macro_rules! setters {
    ($builder:ident, $config:ty) => {
        impl<C, Z, G> $builder<C, Z, G> {
            /// Sets the configuration.
            #[must_use]
            pub fn config(self, config: $config) -> Self {
                Self { config, ..self }
            }

            /// Sets who makes ciphers: another backend for the same suites.
            #[must_use]
            pub fn cipher_suites<S>(self, suites: S) -> $builder<S::Cipher, Z, G>
            where
                S: CipherSuites + 'static,
            {
                $builder { config: self.config, assembly: self.assembly.suites(Arc::new(suites)) }
            }

            /// Sets the compressor.
            #[must_use]
            pub fn compressor<Z2: Compressor + 'static>(self, compressor: Z2) -> $builder<C, Z2, G> {
                let mut own = Some(compressor);
                let assembly = self.assembly.compressor(Box::new(move |_| {
                    own.take().ok_or(ConfigError::Contradiction {
                        field: "shards",
                        other: "compressor",
                        why: "one compressor of your own cannot serve several shards; configure a built-in one",
                    })
                }));
                $builder { config: self.config, assembly }
            }

            /// Sets who makes congestion controllers: a factory, or a closure from
            /// [`PathInfo`](crate::congestion::PathInfo) to a controller of one's own.
            #[must_use]
            pub fn controllers<F>(self, factory: F) -> $builder<C, Z, F::Controller>
            where
                F: ControllerFactory + 'static,
            {
                // Shards make connections on threads of their own.
                let factory = Arc::new(Mutex::new(factory));
                let assembly = self.assembly.controllers(Box::new(move |_, _| {
                    let factory = Arc::clone(&factory);
                    Box::new(move |path: &PathInfo| {
                        factory.lock().unwrap_or_else(PoisonError::into_inner).make(path)
                    })
                }));
                $builder { config: self.config, assembly }
            }

            /// Sets the options of UDP sockets: buffers, DSCP, dual stack, offload.
            #[must_use]
            pub fn udp(mut self, udp: UdpConfig) -> Self {
                self.assembly.udp = udp;
                self
            }

            /// Tells the secrets of every connection, for tools that decrypt captures. **Who has them reads everything.**
            #[must_use]
            pub fn key_log(mut self, log: KeyLog) -> Self {
                self.config.key_log = Some(log);
                self
            }

            /// Sets who hears what happens inside connections.
            #[must_use]
            pub fn observers(mut self, observers: Observers) -> Self {
                self.config.observers = Some(observers);
                self
            }

            /// Fixes all entropy, for tests that shall run alike each time. Whoever knows the seed knows every key.
            #[must_use]
            pub fn seed(mut self, seed: [u8; 32]) -> Self {
                self.assembly.seed = Some(seed);
                self
            }
        }

        impl<C, Z, G> fmt::Debug for $builder<C, Z, G> {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.debug_struct(stringify!($builder)).field("config", &self.config).finish_non_exhaustive()
            }
        }
    };
}

/// Builds a [`Server`]. From [`Server::builder`].
pub struct ServerBuilder<C = Aead, Z = BuiltinCompressor, G = BuiltinController> {
    config: ServerConfig,
    assembly: Assembly<C, Z, G>,
}

/// Builds a [`Client`]. From [`Client::builder`].
pub struct ClientBuilder<C = Aead, Z = BuiltinCompressor, G = BuiltinController> {
    config: ClientConfig,
    assembly: Assembly<C, Z, G>,
}

setters!(ServerBuilder, ServerConfig);
setters!(ClientBuilder, ClientConfig);

impl Default for ServerBuilder {
    fn default() -> Self {
        Self { config: ServerConfig::default(), assembly: Assembly::default() }
    }
}

impl Default for ClientBuilder {
    fn default() -> Self {
        Self { config: ClientConfig::default(), assembly: Assembly::default() }
    }
}

impl<C, Z, G> ServerBuilder<C, Z, G> {
    /// Lets handshakes and connection ids look like noise to whoever does not know the server's key. Needs an
    /// [identity](Self::identity); its clients need [`ClientBuilder::veil`].
    #[must_use]
    pub fn veil(mut self) -> Self {
        self.config.veil = true;
        self
    }

    /// Sets who the server is: the key pair whose public half clients may [pin](ClientBuilder::pin).
    #[must_use]
    pub fn identity(mut self, identity: Identity) -> Self {
        self.config.identity = Some(identity);
        self
    }

    /// Sets a secret that clients must share.
    #[must_use]
    pub fn psk(mut self, psk: impl Into<PreSharedKey>) -> Self {
        self.config.psk = Some(psk.into());
        self
    }

    /// Sets which connect tokens open, and lets nobody in without one.
    #[must_use]
    pub fn require_tokens(mut self, keys: TokenKeys) -> Self {
        self.config.token_keys = Some(keys);
        self.config.require_token = true;
        self
    }

    /// Sets which ids clients put before their packets, for a load balancer to read: [`RoutableIds`](crate::RoutableIds), or your own.
    #[must_use]
    pub fn connection_ids(mut self, ids: impl ConnectionIdGenerator + 'static) -> Self {
        self.config.connection_ids = Arc::new(ids);
        self
    }

    /// Sets who is asked before a client whose handshake is complete gets a connection: it sees address, profile, and what the
    /// client showed; `false` turns the client away. It is called in the packet path, so it must not wait for anything; what takes
    /// time is what [`authorize`](ServerConfig::authorize) is for.
    ///
    /// ```
    /// use fastwire::Server;
    ///
    /// # fn main() -> Result<(), fastwire::StartError> {
    /// let server = Server::builder()
    ///     .on_accept(|client| client.remote.ip().is_loopback() || client.claims.is_some())
    ///     .bind("127.0.0.1:0")?;
    /// # Ok(())
    /// # }
    /// ```
    #[must_use]
    pub fn on_accept(mut self, hook: impl FnMut(&Arriving<'_>) -> bool + Send + 'static) -> Self {
        self.assembly.accept = Some(Box::new(hook));
        self
    }

    /// Sets which profiles to speak.
    #[must_use]
    pub fn profile(mut self, profile: ServerProfile) -> Self {
        self.config.profile = profile;
        self
    }
}

impl<C, Z, G> ClientBuilder<C, Z, G> {
    /// Lets the handshake and connection ids look like noise to whoever does not know the server's key, which must be
    /// [pinned](Self::pin). For a server that does the same.
    #[must_use]
    pub fn veil(mut self) -> Self {
        self.config.veil = true;
        self
    }

    /// Accepts no server but the one with this key, and no profile but the extended one.
    ///
    /// ```
    /// use fastwire::{Client, Identity};
    ///
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let identity = Identity::generate()?; // on the server, kept in a file: Identity::load_or_generate
    /// let key = identity.public_key(); // what the client comes with
    /// let client = Client::builder().pin(key);
    /// # Ok(())
    /// # }
    /// ```
    #[must_use]
    pub fn pin(mut self, server: PublicKey) -> Self {
        self.config.pinned = Some(server);
        self
    }

    /// Sets a secret that the server shares.
    #[must_use]
    pub fn psk(mut self, psk: impl Into<PreSharedKey>) -> Self {
        self.config.psk = Some(psk.into());
        self
    }

    /// Sets what a backend gave this client to be let in.
    #[must_use]
    pub fn connect_token(mut self, token: ConnectToken) -> Self {
        self.config.connect_token = Some(token);
        self
    }

    /// Sets what the application tells the server to be let in: at most 512 bytes, sealed.
    #[must_use]
    pub fn auth(mut self, auth: impl Into<Bytes>) -> Self {
        self.config.auth = auth.into();
        self
    }

    /// Sets which profiles to speak.
    #[must_use]
    pub fn profile(mut self, profile: ClientProfile) -> Self {
        self.config.profile = profile;
        self
    }
}

impl<C: Cipher, Z: Compressor, G: CongestionController> ServerBuilder<C, Z, G> {
    /// Opens the server on a UDP address: `"0.0.0.0:7777"`, `"[::]:7777"` (IPv6 and IPv4), or a host name of
    /// this machine.
    ///
    /// # Errors
    /// [`StartError`].
    pub fn bind(
        self,
        address: impl ToSocketAddrs + fmt::Debug,
    ) -> Result<Server<UdpTransport, C, Z, G>, StartError> {
        let transport = open_udp(&resolve(address)?, &self.assembly.udp)?;
        self.build(transport)
    }

    /// Opens the server over any transport.
    ///
    /// # Errors
    /// [`StartError::Config`], [`StartError::Entropy`].
    pub fn build<T: Transport>(self, transport: T) -> Result<Server<T, C, Z, G>, StartError> {
        let seed = self.assembly.take_seed()?;
        let mut builder = self;
        builder.start(transport, seed)
    }

    /// Has the server run on several threads, 1 to 255: as many sockets share its port, each with an endpoint of its own.
    /// See [`Shards`]. Linux only, beyond one.
    #[must_use]
    pub fn shards(self, count: usize) -> ShardsBuilder<C, Z, G> {
        ShardsBuilder { builder: self, count }
    }

    fn start<T: Transport>(
        &mut self,
        transport: T,
        seed: [u8; 32],
    ) -> Result<Server<T, C, Z, G>, StartError> {
        let Self { config, assembly } = self;
        let parts = assembly.parts(&config.compression, config.congestion, config.initial_cwnd)?;
        let now = Instant::now();
        let mut endpoint = Endpoint::server(config, parts, seed, now)?;
        if let Some(hook) = assembly.accept.take() {
            endpoint.set_accept_hook(hook);
        }
        let hub = Hub::new(config.channel_layout.clone(), &config.limits, StreamOpener::Server);
        let pump = Pump::new(endpoint, transport, RecvBatch::SLOTS, hub, now);
        Ok(Server::new(pump, Cadence::new(config.tick_rate, config.linger, now)))
    }
}

/// Builds the [`Shards`] of one server. From [`ServerBuilder::shards`], after everything else is chosen.
pub struct ShardsBuilder<C = Aead, Z = BuiltinCompressor, G = BuiltinController> {
    builder: ServerBuilder<C, Z, G>,
    count: usize,
}

impl<C: Cipher, Z: Compressor, G: CongestionController> ShardsBuilder<C, Z, G> {
    /// Opens the sockets on one UDP address, as [`ServerBuilder::bind`] does.
    ///
    /// # Errors
    /// [`StartError`]; [`StartError::Config`] for a number of shards out of range, [`StartError::Socket`] for more than one
    /// where the system does not spread datagrams over them.
    pub fn bind(self, address: impl ToSocketAddrs + fmt::Debug) -> Result<Shards<C, Z, G>, StartError> {
        let Self { mut builder, count } = self;
        let shards: Vec<Shard> = (0..count).map_while(|index| Shard::new(index, count)).collect();
        if shards.len() != count || count == 0 {
            return Err(ConfigError::range("shards", count, "1 to 255").into());
        }
        let seed = builder.assembly.take_seed()?;
        // A client that pinned the server may meet any of them.
        builder.config.identity.get_or_insert_with(|| identity_from(&seed));
        let udp = builder.assembly.udp.clone();
        let udp = if count > 1 { udp.shared_port() } else { udp };
        let mut addresses = resolve(address)?;
        let mut servers = Vec::with_capacity(count);
        let hook = builder.assembly.accept.take().map(|hook| Arc::new(Mutex::new(hook)));
        for shard in shards {
            // One hook for all: asked once a handshake, so that a lock costs nothing that matters.
            builder.assembly.accept = hook.clone().map(|hook| -> AcceptHook {
                Box::new(move |arriving| hook.lock().unwrap_or_else(PoisonError::into_inner)(arriving))
            });
            let transport = open_udp(&addresses, &udp)?;
            // The first one may have chosen the port.
            addresses = transport.local_addr().map_or(addresses, |bound| vec![bound]);
            let mut server = builder.start(transport, seed_of_shard(&seed, shard.index()))?;
            server.pump.endpoint.set_shard(shard);
            servers.push(server);
        }
        Ok(Shards::new(servers))
    }
}

impl<C, Z, G> fmt::Debug for ShardsBuilder<C, Z, G> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ShardsBuilder").field("count", &self.count).finish_non_exhaustive()
    }
}

impl<C: Cipher, Z: Compressor, G: CongestionController> ClientBuilder<C, Z, G> {
    /// Opens a UDP socket and begins to connect to `server`, a `host:port` or address. A name is looked up
    /// first, which takes as long as the system's resolver; then nothing blocks: drive the client.
    ///
    /// # Errors
    /// [`StartError`].
    pub fn connect(
        self,
        server: impl ToSocketAddrs + fmt::Debug,
    ) -> Result<Client<UdpTransport, C, Z, G>, StartError> {
        let remotes = resolve(server)?;
        let v4 = remotes.first().is_none_or(SocketAddr::is_ipv4);
        let any = if v4 { (Ipv4Addr::UNSPECIFIED, 0).into() } else { (Ipv6Addr::UNSPECIFIED, 0).into() };
        let transport = open_udp(&[any], &self.assembly.udp)?;
        let mut client = self.build(transport)?;
        client.connect_to(&remotes[..])?;
        Ok(client)
    }

    /// A client over any transport, not connected: see [`Client::connect_to`].
    ///
    /// # Errors
    /// [`StartError::Config`], [`StartError::Entropy`].
    pub fn build<T: Transport>(self, transport: T) -> Result<Client<T, C, Z, G>, StartError> {
        let Self { config, mut assembly } = self;
        let seed = assembly.take_seed()?;
        let parts = assembly.parts(&config.compression, config.congestion, config.initial_cwnd)?;
        let now = Instant::now();
        let endpoint = Endpoint::client(&config, parts, seed, now)?;
        let hub = Hub::new(config.channel_layout.clone(), &config.limits, StreamOpener::Client);
        let pump = Pump::new(endpoint, transport, CLIENT_SLOTS, hub, now);
        Ok(Client::new(pump, Cadence::new(config.tick_rate, config.linger, now)))
    }
}

fn open_udp(addresses: &[SocketAddr], config: &UdpConfig) -> Result<UdpTransport, StartError> {
    UdpTransport::bind_with(addresses, config.clone())
        .map_err(|source| StartError::Socket { address: format!("{addresses:?}"), source })
}
