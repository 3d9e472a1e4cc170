//! Rows of server, client, connection, statistics and handler.

use std::time::Duration;

use bytes::Bytes;
use fastwire::congestion::CongestionMode;
use fastwire::crypto::CipherSuite;
use fastwire::reliability::ChannelLayout;
use fastwire::transport::UdpTransport;
use fastwire::{
    Client, ClientConfig, ConnectError, ConnectionError, ConnectionState, ConnectionStats, DisconnectReason,
    Handler, Peer, Server, ServerConfig, compress, transport,
};

use super::Row;

const SECOND: Duration = Duration::from_secs(1);

/// Uses the rows that need a connection when there is one.
#[derive(Default)]
pub(super) struct UseRows {
    pub(super) rows: Vec<Row>,
}

impl Handler for UseRows {
    fn on_connect(&mut self, peer: &mut Peer<'_>) {
        let mut rows = Vec::new();
        let stats: ConnectionStats = peer.stats();
        let mut handler: Box<dyn Handler> = Box::new(());
        row!(
            rows,
            "Server.ForEachConnection",
            "Peers::for_each",
            peer.peers().for_each(|other| assert_eq!(other.state(), ConnectionState::Connected))
        );
        row!(rows, "Connection", "Peer", &peer);
        row!(rows, "Connection.Send", "Peer::send", peer.send(b"queued", 0));
        row!(rows, "Connection.SendImmediate", "Peer::send_now", peer.send_now(b"now", 0));
        row!(rows, "Connection.Close", "Peer::close", peer.close());
        row!(rows, "Connection.State", "Peer::state", peer.state());
        row!(rows, "Connection.RemoteAddr", "Peer::remote_addr", peer.remote_addr());
        row!(rows, "Connection.RTT", "Peer::rtt", peer.rtt());
        row!(rows, "Connection.Stats", "Peer::stats", peer.stats());
        row!(rows, "ConnState", "ConnectionState", peer.state());
        row!(rows, "ConnectionStats", "ConnectionStats", stats.clone());
        row!(rows, "ConnectionStats.RTT", "ConnectionStats::rtt", stats.rtt);
        row!(rows, "ConnectionStats.RTTVariance", "ConnectionStats::rtt_variance", stats.rtt_variance);
        row!(
            rows,
            "ConnectionStats.PacketLoss",
            "ConnectionStats::packet_loss",
            assert_eq!(stats.packet_loss, 0.0)
        );
        row!(rows, "ConnectionStats.BytesSent", "ConnectionStats::bytes_sent", stats.bytes_sent);
        row!(rows, "ConnectionStats.BytesReceived", "ConnectionStats::bytes_received", stats.bytes_received);
        row!(
            rows,
            "ConnectionStats.CongestionWindow",
            "ConnectionStats::congestion_window",
            assert!(stats.congestion_window.is_some_and(|packets| packets >= 4))
        );
        row!(rows, "ConnectionStats.Uptime", "ConnectionStats::uptime", stats.uptime);
        row!(rows, "ConnectionStats.SendBandwidth", "ConnectionStats::send_bandwidth", stats.send_bandwidth);
        row!(rows, "ConnectionStats.RecvBandwidth", "ConnectionStats::recv_bandwidth", stats.recv_bandwidth);
        row!(rows, "Handler", "Handler", handler);
        row!(rows, "Handler.OnConnect", "Handler::on_connect", handler.on_connect(peer));
        row!(
            rows,
            "Handler.OnDisconnect",
            "Handler::on_disconnect",
            handler.on_disconnect(peer, DisconnectReason::Graceful)
        );
        row!(rows, "Handler.OnMessage", "Handler::on_message", handler.on_message(peer, b"", 0));
        row!(
            rows,
            "Handler.OnError",
            "Handler::on_error",
            handler.on_error(peer, &ConnectionError::MaxRetransmits(15))
        );
        row!(
            rows,
            "ErrAlreadyConnected",
            "ConnectError::AlreadyConnected",
            ConnectError::AlreadyConnected(peer.id())
        );
        self.rows = rows;
    }
}

pub(super) fn rows() -> Vec<Row> {
    let mut rows = Vec::new();
    row!(rows, "ServerConfig", "ServerConfig", ServerConfig::default());
    row!(rows, "DefaultServerConfig", "ServerConfig::default", ServerConfig::default().validate());
    row!(rows, "ServerConfig.MTU", "ServerConfig::mtu", assert_eq!(ServerConfig::default().mtu, 1200));
    row!(
        rows,
        "ServerConfig.MaxConnections",
        "ServerConfig::max_connections",
        assert_eq!(ServerConfig::default().max_connections, 1024)
    );
    row!(
        rows,
        "ServerConfig.TickRate",
        "ServerConfig::tick_rate",
        assert_eq!(ServerConfig::default().tick_rate, 100)
    );
    row!(rows, "ServerConfig.TickMode", "*impossible by type*", ServerConfig::default());
    row!(
        rows,
        "ServerConfig.HeartbeatInterval",
        "ServerConfig::heartbeat_interval",
        assert_eq!(ServerConfig::default().heartbeat_interval, SECOND)
    );
    row!(
        rows,
        "ServerConfig.ConnTimeout",
        "ServerConfig::connection_timeout",
        assert_eq!(ServerConfig::default().connection_timeout, 10 * SECOND)
    );
    row!(
        rows,
        "ServerConfig.HandshakeTimeout",
        "ServerConfig::handshake_timeout",
        assert_eq!(ServerConfig::default().handshake_timeout, 5 * SECOND)
    );
    row!(
        rows,
        "ServerConfig.ChannelLayout",
        "ServerConfig::channel_layout",
        assert_eq!(ServerConfig::default().channel_layout, ChannelLayout::default())
    );
    row!(
        rows,
        "ServerConfig.Compression",
        "ServerConfig::compression",
        assert_eq!(ServerConfig::default().compression.algorithm, compress::Algorithm::None)
    );
    row!(
        rows,
        "ServerConfig.Congestion",
        "ServerConfig::congestion",
        assert_eq!(ServerConfig::default().congestion, CongestionMode::Auto)
    );
    row!(
        rows,
        "ServerConfig.CipherPreference",
        "ServerConfig::cipher_preference",
        assert_eq!(
            ServerConfig::default().cipher_preference,
            [CipherSuite::Aes128Gcm, CipherSuite::ChaCha20Poly1305]
        )
    );
    row!(
        rows,
        "ServerConfig.MaxRetransmits",
        "ServerConfig::max_retransmits",
        assert_eq!(ServerConfig::default().max_retransmits, 15)
    );
    row!(
        rows,
        "ServerConfig.FragmentTimeout",
        "ServerConfig::fragment_timeout",
        assert_eq!(ServerConfig::default().fragment_timeout, 5 * SECOND)
    );
    row!(
        rows,
        "ServerConfig.InitialCwnd",
        "ServerConfig::initial_cwnd",
        assert_eq!(ServerConfig::default().initial_cwnd, 4)
    );
    row!(
        rows,
        "ServerConfig.SendBatching",
        "ServerConfig::send_batching",
        assert!(!ServerConfig::default().send_batching)
    );
    row!(
        rows,
        "ServerConfig.ConnectionMigration",
        "ServerConfig::connection_migration",
        assert!(!ServerConfig::default().connection_migration)
    );
    row!(
        rows,
        "ServerConfig.CoalesceIO",
        "transport::UdpConfig::offload",
        transport::UdpConfig::new().offload(true)
    );
    row!(rows, "ServerConfig.CoalesceReaders", "*impossible by type*", ServerConfig::default());
    row!(
        rows,
        "DefaultFragmentTimeout",
        "ServerConfig::fragment_timeout",
        assert_eq!(ServerConfig::default().fragment_timeout, 5 * SECOND)
    );
    row!(rows, "ClientConfig", "ClientConfig", ClientConfig::default());
    row!(rows, "DefaultClientConfig", "ClientConfig::default", ClientConfig::default().validate());
    row!(rows, "ClientConfig.MTU", "ClientConfig::mtu", assert_eq!(ClientConfig::default().mtu, 1200));
    row!(
        rows,
        "ClientConfig.TickRate",
        "ClientConfig::tick_rate",
        assert_eq!(ClientConfig::default().tick_rate, 100)
    );
    row!(rows, "ClientConfig.TickMode", "*impossible by type*", ClientConfig::default());
    row!(
        rows,
        "ClientConfig.HeartbeatInterval",
        "ClientConfig::heartbeat_interval",
        assert_eq!(ClientConfig::default().heartbeat_interval, SECOND)
    );
    row!(
        rows,
        "ClientConfig.ConnTimeout",
        "ClientConfig::connection_timeout",
        assert_eq!(ClientConfig::default().connection_timeout, 10 * SECOND)
    );
    row!(
        rows,
        "ClientConfig.ConnectTimeout",
        "ClientConfig::connect_timeout",
        assert_eq!(ClientConfig::default().connect_timeout, 5 * SECOND)
    );
    row!(
        rows,
        "ClientConfig.ChannelLayout",
        "ClientConfig::channel_layout",
        assert_eq!(ClientConfig::default().channel_layout, ChannelLayout::default())
    );
    row!(
        rows,
        "ClientConfig.Compression",
        "ClientConfig::compression",
        assert_eq!(ClientConfig::default().compression.algorithm, compress::Algorithm::None)
    );
    row!(
        rows,
        "ClientConfig.Congestion",
        "ClientConfig::congestion",
        assert_eq!(ClientConfig::default().congestion, CongestionMode::Auto)
    );
    row!(
        rows,
        "ClientConfig.CipherPreference",
        "ClientConfig::cipher_preference",
        assert_eq!(
            ClientConfig::default().cipher_preference,
            [CipherSuite::Aes128Gcm, CipherSuite::ChaCha20Poly1305]
        )
    );
    row!(
        rows,
        "ClientConfig.MaxRetransmits",
        "ClientConfig::max_retransmits",
        assert_eq!(ClientConfig::default().max_retransmits, 15)
    );
    row!(
        rows,
        "ClientConfig.FragmentTimeout",
        "ClientConfig::fragment_timeout",
        assert_eq!(ClientConfig::default().fragment_timeout, 5 * SECOND)
    );
    row!(
        rows,
        "ClientConfig.InitialCwnd",
        "ClientConfig::initial_cwnd",
        assert_eq!(ClientConfig::default().initial_cwnd, 4)
    );
    row!(
        rows,
        "ClientConfig.SendBatching",
        "ClientConfig::send_batching",
        assert!(!ClientConfig::default().send_batching)
    );
    row!(
        rows,
        "ClientConfig.ConnectionMigration",
        "ClientConfig::connection_migration",
        assert!(!ClientConfig::default().connection_migration)
    );
    row!(rows, "TickAuto", "Server::spawn", Server::<UdpTransport>::spawn::<()>);
    row!(rows, "TickDriven", "Server::tick", Server::<UdpTransport>::tick::<()>);
    row!(rows, "Server", "Server", None::<Server>);
    row!(rows, "NewServer", "Server::bind", Server::bind("127.0.0.1:0"));
    row!(rows, "Server.Start", "*impossible by type*", None::<Server>);
    row!(rows, "Server.Stop", "Server::stop", Server::<UdpTransport>::stop::<()>);
    row!(rows, "Server.Tick", "Server::tick", Server::<UdpTransport>::tick::<()>);
    row!(
        rows,
        "Server.ConnectionCount",
        "Server::connection_count",
        Server::<UdpTransport>::connection_count
    );
    row!(rows, "Server.Addr", "Server::local_addr", Server::<UdpTransport>::local_addr);
    row!(rows, "Client", "Client", None::<Client>);
    row!(rows, "NewClient", "Client::builder", Client::builder());
    row!(rows, "Client.Connect", "Client::connect", Client::connect("127.0.0.1:9"));
    row!(rows, "Client.Close", "Client::close", Client::<UdpTransport>::close);
    row!(rows, "Client.Tick", "Client::tick", Client::<UdpTransport>::tick::<()>);
    row!(rows, "Client.Connection", "Client::server", Client::<UdpTransport>::server);
    row!(rows, "StateDisconnected", "ConnectionState::Disconnected", ConnectionState::Disconnected);
    row!(rows, "StateConnecting", "ConnectionState::Connecting", ConnectionState::Connecting);
    row!(rows, "StateConnected", "ConnectionState::Connected", ConnectionState::Connected);
    row!(rows, "StateDisconnecting", "ConnectionState::Disconnecting", ConnectionState::Disconnecting);
    row!(rows, "DisconnectReason", "DisconnectReason", DisconnectReason::Replaced);
    row!(rows, "DisconnectGraceful", "DisconnectReason::Graceful", DisconnectReason::Graceful);
    row!(rows, "DisconnectTimeout", "DisconnectReason::Timeout", DisconnectReason::Timeout);
    row!(rows, "DisconnectError", "DisconnectReason::Error", DisconnectReason::Error);
    row!(rows, "DisconnectRejected", "DisconnectReason::Rejected", DisconnectReason::Rejected);
    row!(rows, "DisconnectKicked", "DisconnectReason::Kicked", DisconnectReason::Kicked);
    row!(rows, "BaseHandler", "Handler", ());
    row!(rows, "GetBuffer", "transport::ChunkPool::copy", transport::ChunkPool::new().copy(b"bytes"));
    row!(rows, "PutBuffer", "*impossible by type*", Bytes::new());
    rows
}
