//! Every row of docs/names.md: its Rust name compiles, its default is what it says, and no name is missing.

use std::collections::BTreeSet;
use std::path::Path;
use std::time::{Duration, Instant};

use bytes::Bytes;
use fastwire::congestion::CongestionMode;
use fastwire::crypto::CipherSuite;
use fastwire::proto::Endpoint;
use fastwire::reliability::{ChannelLayout, DeliveryMode, LayoutError};
use fastwire::transport::{MemoryNetwork, UdpTransport};
use fastwire::{
    Client, ClientConfig, ConnectError, ConnectionError, ConnectionState, ConnectionStats, DisconnectReason,
    Handler, Peer, SendError, Server, ServerConfig, compress, congestion, crypto, transport, wire,
};

const SECOND: Duration = Duration::from_secs(1);

/// The names that the Go documentation uses, one a line.
const GO_NAMES: &str = include_str!("go_names.txt");

/// The rows of docs/names.md: Go name, Rust name as it is written there.
fn table() -> Vec<(String, String)> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/names.md");
    let text = std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    let row = |line: &str| {
        let mut cells = line.strip_prefix("| `")?.split(" | ");
        let go = cells.next()?.strip_suffix('`')?.to_owned();
        Some((go, cells.next()?.trim_matches('`').to_owned()))
    };
    let names = text.split("## What behaves differently").next().unwrap_or_default();
    names.lines().filter_map(row).collect()
}

/// Notes a row, and compiles (and runs) what uses its Rust name.
macro_rules! row {
    ($rows:ident, $go:literal, $rust:literal, $use:expr) => {
        $rows.push(($go.to_owned(), $rust.to_owned()));
        #[allow(clippy::let_unit_value, reason = "some uses are assertions")]
        let _ = $use;
    };
}

#[test]
fn every_name_of_the_go_documentation_is_in_the_table() {
    let table: Vec<String> = table().into_iter().map(|(go, _)| go).collect();
    let in_table: BTreeSet<&str> = table.iter().map(String::as_str).collect();
    let wanted: BTreeSet<&str> = GO_NAMES.lines().collect();
    assert_eq!(table.len(), in_table.len(), "a name stands twice");
    assert_eq!(in_table, wanted);
}

#[test]
fn every_row_of_the_table_is_true() {
    let mut rows = rows_without_a_connection();
    let mut used = UseRows::default();
    let network = MemoryNetwork::new();
    let address = "10.0.0.1:7777".parse().expect("an address");
    let mut server = Server::builder().build(network.bind(address).expect("free")).expect("a server");
    let mut client = Client::builder()
        .build(network.bind("10.0.0.2:0".parse().expect("an address")).expect("free"))
        .expect("a client");
    client.connect_to(address).expect("an address");
    let mut now = Instant::now();
    for _ in 0..100 {
        now += Duration::from_millis(10);
        server.tick(now, &mut used);
        client.tick(now, &mut ());
        if !used.rows.is_empty() {
            break;
        }
    }
    rows.append(&mut used.rows);
    let id = server.connections().next().expect("a connection");
    let token = Endpoint::migration_token(server.endpoint(), id);
    assert_eq!(token, None, "migration is off by default");
    rows.push(("Connection.MigrationToken".into(), "proto::Endpoint::migration_token".into()));

    let mut table = table();
    table.sort();
    rows.sort();
    for (row, line) in rows.iter().zip(&table) {
        assert_eq!(row, line, "the test's row, the table's row");
    }
    assert_eq!(rows.len(), table.len());
}

/// Uses the rows that need a connection when there is one.
#[derive(Default)]
struct UseRows {
    rows: Vec<(String, String)>,
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
            assert_eq!(stats.congestion_window, Some(4))
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

fn rows_without_a_connection() -> Vec<(String, String)> {
    let mut rows = Vec::new();
    let header =
        wire::PacketHeader { flags: wire::PacketFlags::EMPTY, channel: 0, sequence: 1, ack: 0, ack_field: 0 };
    let fragment = wire::FragmentHeader { id: 1, index: 0, count: 1, flags: wire::FragmentFlags::EMPTY };
    let compression = compress::CompressionConfig::default();
    row!(
        rows,
        "PutVarInt",
        "wire::put_varint",
        wire::put_varint(&mut [0; 5], 300).map(|len| assert_eq!(len, 2))
    );
    row!(rows, "ReadVarInt", "wire::read_varint", assert_eq!(wire::read_varint(&[0xac, 2]), Ok((300, 2))));
    row!(rows, "PutVarLong", "wire::put_varlong", wire::put_varlong(&mut [0; 10], 1_000_000_000_000));
    row!(rows, "ReadVarLong", "wire::read_varlong", assert_eq!(wire::read_varlong(&[1]), Ok((1, 1))));
    row!(rows, "PutString", "wire::put_string", assert_eq!(wire::put_string(&mut [0; 7], "hello"), Ok(7)));
    row!(rows, "ReadString", "wire::read_string", assert_eq!(wire::read_string(&[0, 1, b'a']), Ok(("a", 3))));
    row!(rows, "UUID", "wire::Uuid", wire::Uuid::from_ints(1, 2));
    row!(rows, "UUIDFromInts", "wire::Uuid::from_ints", wire::Uuid::from_ints(1, 2));
    row!(rows, "UUID.String", "wire::Uuid: Display", wire::Uuid::from_ints(1, 2).to_string());
    row!(rows, "UUID.MSB", "wire::Uuid::msb", assert_eq!(wire::Uuid::from_ints(1, 2).msb(), 1));
    row!(rows, "UUID.LSB", "wire::Uuid::lsb", assert_eq!(wire::Uuid::from_ints(1, 2).lsb(), 2));
    row!(rows, "PutUUID", "wire::put_uuid", wire::put_uuid(&mut [0; 16], wire::Uuid::from_ints(1, 2)));
    row!(rows, "ReadUUID", "wire::read_uuid", wire::read_uuid(&[0; 16]));
    row!(rows, "PacketHeader", "wire::PacketHeader", header);
    row!(rows, "PacketHeader.Flags", "wire::PacketHeader::flags", header.flags);
    row!(rows, "PacketHeader.Channel", "wire::PacketHeader::channel", header.channel);
    row!(rows, "PacketHeader.Sequence", "wire::PacketHeader::sequence", header.sequence);
    row!(rows, "PacketHeader.Ack", "wire::PacketHeader::ack", header.ack);
    row!(rows, "PacketHeader.AckField", "wire::PacketHeader::ack_field", header.ack_field);
    row!(rows, "MarshalHeader", "wire::PacketHeader::encode", assert_eq!(header.encode(&mut [0; 16]), Ok(8)));
    row!(rows, "UnmarshalHeader", "wire::PacketHeader::decode", wire::PacketHeader::decode(&[0; 8]));
    row!(
        rows,
        "FlagFragment",
        "wire::PacketFlags::FRAGMENT",
        assert_eq!(wire::PacketFlags::FRAGMENT.bits(), 1)
    );
    row!(rows, "FlagControl", "wire::PacketFlags::CONTROL", assert_eq!(wire::PacketFlags::CONTROL.bits(), 2));
    row!(
        rows,
        "ControlConnect",
        "wire::ControlType::Connect",
        assert_eq!(wire::ControlType::Connect.id(), 1)
    );
    row!(
        rows,
        "ControlChallenge",
        "wire::ControlType::Challenge",
        assert_eq!(wire::ControlType::Challenge.id(), 2)
    );
    row!(
        rows,
        "ControlResponse",
        "wire::ControlType::Response",
        assert_eq!(wire::ControlType::Response.id(), 3)
    );
    row!(
        rows,
        "ControlConnected",
        "wire::ControlType::Connected",
        assert_eq!(wire::ControlType::Connected.id(), 4)
    );
    row!(
        rows,
        "ControlDisconnect",
        "wire::ControlType::Disconnect",
        assert_eq!(wire::ControlType::Disconnect.id(), 5)
    );
    row!(
        rows,
        "ControlHeartbeat",
        "wire::ControlType::Heartbeat",
        assert_eq!(wire::ControlType::Heartbeat.id(), 6)
    );
    row!(
        rows,
        "ControlVersionMismatch",
        "wire::ControlType::VersionMismatch",
        assert_eq!(wire::ControlType::VersionMismatch.id(), 7)
    );
    row!(rows, "ControlReject", "wire::ControlType::Reject", assert_eq!(wire::ControlType::Reject.id(), 8));
    row!(rows, "FragmentHeader", "wire::FragmentHeader", fragment);
    row!(rows, "FragmentHeader.FragmentID", "wire::FragmentHeader::id", fragment.id);
    row!(rows, "FragmentHeader.FragmentIndex", "wire::FragmentHeader::index", fragment.index);
    row!(rows, "FragmentHeader.FragmentCount", "wire::FragmentHeader::count", fragment.count);
    row!(rows, "FragmentHeader.FragmentFlags", "wire::FragmentHeader::flags", fragment.flags);
    row!(rows, "FragmentHeaderSize", "wire::FRAGMENT_HEADER_SIZE", assert_eq!(wire::FRAGMENT_HEADER_SIZE, 5));
    row!(
        rows,
        "MarshalFragmentHeader",
        "wire::FragmentHeader::encode",
        assert_eq!(fragment.encode(&mut [0; 5]), Ok(5))
    );
    row!(
        rows,
        "UnmarshalFragmentHeader",
        "wire::FragmentHeader::decode",
        wire::FragmentHeader::decode(&[0, 1, 0, 1, 0])
    );
    row!(
        rows,
        "FragFlagCompressed",
        "wire::FragmentFlags::COMPRESSED",
        assert_eq!(wire::FragmentFlags::COMPRESSED.bits(), 1)
    );
    row!(rows, "FragFlagZstd", "wire::FragmentFlags::ZSTD", assert_eq!(wire::FragmentFlags::ZSTD.bits(), 2));
    row!(
        rows,
        "MaxFragmentPayload",
        "wire::MAX_FRAGMENT_PAYLOAD",
        assert_eq!(wire::MAX_FRAGMENT_PAYLOAD, 1155)
    );
    row!(rows, "MaxFragments", "wire::MAX_FRAGMENTS", assert_eq!(wire::MAX_FRAGMENTS, 255));
    row!(rows, "DefaultMTU", "wire::DEFAULT_MTU", assert_eq!(wire::DEFAULT_MTU, 1200));
    row!(rows, "WireOverhead", "wire::WIRE_OVERHEAD", assert_eq!(wire::WIRE_OVERHEAD, 24));
    row!(rows, "ProtocolVersion", "wire::PROTOCOL_VERSION", assert_eq!(wire::PROTOCOL_VERSION, 1));
    row!(
        rows,
        "ApplicationVersion",
        "ServerConfig::application_version",
        assert_eq!(
            (ServerConfig::default().application_version, ClientConfig::default().application_version),
            (0, 0)
        )
    );
    row!(rows, "CipherNone", "crypto::CipherSuite::None", assert_eq!(CipherSuite::None.id(), 0));
    row!(
        rows,
        "CipherAES128GCM",
        "crypto::CipherSuite::Aes128Gcm",
        assert_eq!((CipherSuite::Aes128Gcm.id(), CipherSuite::Aes128Gcm.key_len()), (1, 16))
    );
    row!(
        rows,
        "CipherChaCha20Poly1305",
        "crypto::CipherSuite::ChaCha20Poly1305",
        assert_eq!((CipherSuite::ChaCha20Poly1305.id(), CipherSuite::ChaCha20Poly1305.key_len()), (2, 32))
    );
    row!(rows, "KeyPair", "crypto::KeyPair", crypto::KeyPair::from_secret([1; 32]));
    row!(rows, "KeyPair.Private", "*impossible by type*", crypto::KeyPair::from_secret([1; 32]));
    row!(rows, "KeyPair.Public", "crypto::KeyPair::public", crypto::KeyPair::from_secret([1; 32]).public());
    row!(rows, "GenerateKeyPair", "crypto::KeyPair::from_secret", crypto::KeyPair::from_secret([1; 32]));
    row!(
        rows,
        "DeriveKeys",
        "crypto::derive_session_keys",
        crypto::derive_session_keys(
            &crypto::KeyPair::from_secret([1; 32]),
            &crypto::KeyPair::from_secret([2; 32]).public(),
            &[3; 32],
            CipherSuite::Aes128Gcm
        )
        .map(|keys| assert_eq!((keys.c2s().len(), keys.s2c().len()), (16, 16)))
    );
    row!(
        rows,
        "ReliableOrdered",
        "reliability::DeliveryMode::ReliableOrdered",
        assert_eq!(DeliveryMode::ReliableOrdered.id(), 0)
    );
    row!(
        rows,
        "ReliableUnordered",
        "reliability::DeliveryMode::ReliableUnordered",
        assert_eq!(DeliveryMode::ReliableUnordered.id(), 1)
    );
    row!(
        rows,
        "Unreliable",
        "reliability::DeliveryMode::Unreliable",
        assert_eq!(DeliveryMode::Unreliable.id(), 2)
    );
    row!(
        rows,
        "UnreliableSequenced",
        "reliability::DeliveryMode::UnreliableSequenced",
        assert_eq!(DeliveryMode::UnreliableSequenced.id(), 3)
    );
    row!(rows, "ChannelLayout", "reliability::ChannelLayout", ChannelLayout::default());
    row!(
        rows,
        "DefaultChannelLayout",
        "reliability::ChannelLayout::default",
        assert!(ChannelLayout::default().modes().eq(DeliveryMode::ALL))
    );
    row!(
        rows,
        "ChannelLayout.Len",
        "reliability::ChannelLayout::len",
        assert_eq!(ChannelLayout::default().len(), 4)
    );
    row!(rows, "ChannelLayoutBuilder", "reliability::ChannelLayoutBuilder", ChannelLayout::builder());
    row!(rows, "NewChannelLayoutBuilder", "reliability::ChannelLayout::builder", ChannelLayout::builder());
    row!(
        rows,
        "ChannelLayoutBuilder.AddChannel",
        "reliability::ChannelLayoutBuilder::channel",
        ChannelLayout::builder().channel(DeliveryMode::Unreliable, 0)
    );
    row!(
        rows,
        "streamIndex",
        "reliability::ChannelLayout::stream",
        assert_eq!(ChannelLayout::default().stream(0), Some(0))
    );
    row!(
        rows,
        "ChannelLayoutBuilder.Build",
        "reliability::ChannelLayoutBuilder::build",
        ChannelLayout::builder().channel(DeliveryMode::Unreliable, 0).build()
    );
    row!(
        rows,
        "CompressionNone",
        "compress::Algorithm::None",
        assert_eq!(compress::Algorithm::default(), compress::Algorithm::None)
    );
    row!(rows, "CompressionLZ4", "compress::Algorithm::Lz4", assert_eq!(compress::Algorithm::Lz4.id(), 1));
    row!(rows, "CompressionZstd", "compress::Algorithm::Zstd", assert_eq!(compress::Algorithm::Zstd.id(), 2));
    row!(rows, "CompressionConfig", "compress::CompressionConfig", compression.clone());
    row!(
        rows,
        "CompressionConfig.Algorithm",
        "compress::CompressionConfig::algorithm",
        compression.algorithm
    );
    row!(
        rows,
        "CompressionConfig.Hurdle",
        "compress::CompressionConfig::hurdle",
        assert_eq!(compression.hurdle, 128)
    );
    row!(
        rows,
        "CompressionConfig.ZstdLevel",
        "compress::CompressionConfig::zstd_level",
        assert_eq!(compression.zstd_level, 0)
    );
    row!(
        rows,
        "CompressionConfig.Dictionary",
        "compress::CompressionConfig::dictionary",
        assert!(compression.dictionary.is_none())
    );
    row!(
        rows,
        "DefaultCompressionHurdle",
        "compress::DEFAULT_HURDLE",
        assert_eq!(compress::DEFAULT_HURDLE, 128)
    );
    row!(
        rows,
        "MaxDecompressedSize",
        "compress::MAX_DECOMPRESSED_SIZE",
        assert_eq!(compress::MAX_DECOMPRESSED_SIZE, 4 << 20)
    );
    row!(rows, "DictionaryHash", "compress::dictionary_hash", compress::dictionary_hash(b"dictionary"));
    row!(
        rows,
        "CongestionConservative",
        "congestion::CongestionMode::Conservative",
        assert_eq!(CongestionMode::default(), CongestionMode::Conservative)
    );
    row!(rows, "CongestionAggressive", "congestion::CongestionMode::Aggressive", CongestionMode::Aggressive);
    row!(
        rows,
        "DefaultInitialCwnd",
        "congestion::DEFAULT_INITIAL_WINDOW",
        assert_eq!(congestion::DEFAULT_INITIAL_WINDOW, 4)
    );
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
        assert_eq!(ServerConfig::default().congestion, CongestionMode::Conservative)
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
        assert_eq!(ClientConfig::default().congestion, CongestionMode::Conservative)
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
    row!(
        rows,
        "ErrBufferTooSmall",
        "wire::DecodeError::BufferTooSmall",
        wire::DecodeError::BufferTooSmall { needed: 2, available: 1 }
    );
    row!(rows, "ErrVarIntOverflow", "wire::DecodeError::VarIntOverflow", wire::DecodeError::VarIntOverflow);
    row!(
        rows,
        "ErrVarLongOverflow",
        "wire::DecodeError::VarLongOverflow",
        wire::DecodeError::VarLongOverflow
    );
    row!(
        rows,
        "ErrStringTooLong",
        "wire::EncodeError::StringTooLong",
        wire::EncodeError::StringTooLong { length: 32_768 }
    );
    row!(
        rows,
        "ErrNegativeStringLength",
        "wire::DecodeError::NegativeStringLength",
        wire::DecodeError::NegativeStringLength { length: -1 }
    );
    row!(
        rows,
        "ErrInvalidUUID",
        "wire::DecodeError::InvalidUuid",
        wire::DecodeError::InvalidUuid { available: 15 }
    );
    row!(
        rows,
        "ErrInvalidPacketHeader",
        "wire::DecodeError::InvalidPacketHeader",
        wire::DecodeError::InvalidPacketHeader { available: 7 }
    );
    row!(
        rows,
        "ErrInvalidFragmentHeader",
        "wire::DecodeError::InvalidFragmentHeader",
        wire::DecodeError::InvalidFragmentHeader { index: 1, count: 1 }
    );
    row!(rows, "ErrReplayedPacket", "crypto::OpenError::Replayed", crypto::OpenError::Replayed { nonce: 1 });
    row!(rows, "ErrDecryptionFailed", "crypto::OpenError::Forged", crypto::OpenError::Forged);
    row!(
        rows,
        "ErrVersionMismatch",
        "ConnectError::VersionMismatch",
        ConnectError::VersionMismatch { protocol: 2, application: 0, our_protocol: 1, our_application: 0 }
    );
    row!(
        rows,
        "ErrInvalidHandshake",
        "wire::DecodeError::InvalidHandshake",
        wire::DecodeError::InvalidHandshake { control: wire::ControlType::Connect, available: 3 }
    );
    row!(rows, "ErrHandshakeTimeout", "ConnectError::Timeout", ConnectError::Timeout { after: SECOND });
    row!(rows, "ErrConnectionClosed", "SendError::ConnectionClosed", SendError::ConnectionClosed);
    row!(
        rows,
        "ErrInvalidChannelLayout",
        "reliability::LayoutError::ChannelCount",
        assert_eq!(ChannelLayout::builder().build(), Err(LayoutError::ChannelCount { channels: 0 }))
    );
    row!(
        rows,
        "ErrInvalidChannel",
        "SendError::InvalidChannel",
        SendError::InvalidChannel { channel: 4, last: 3 }
    );
    row!(rows, "ErrMaxRetransmits", "ConnectionError::MaxRetransmits", ConnectionError::MaxRetransmits(15));
    row!(
        rows,
        "ErrMessageTooLarge",
        "SendError::MessageTooLarge",
        SendError::MessageTooLarge { len: 300_000, max: 294_525 }
    );
    row!(rows, "ErrCompressionFailed", "compress::CompressError", compress::CompressError::NoDictionary);
    row!(
        rows,
        "ErrDecompressionFailed",
        "ConnectionError::Decompression",
        ConnectionError::Decompression(String::new())
    );
    row!(rows, "ErrServerClosed", "*impossible by type*", SendError::ConnectionClosed);
    row!(rows, "ErrServerNotStarted", "*impossible by type*", None::<Server>);
    row!(rows, "ErrClientNotConnected", "SendError::ConnectionClosed", SendError::ConnectionClosed);
    row!(rows, "ErrTickAutoMode", "*impossible by type*", Server::<UdpTransport>::spawn::<()>);
    row!(rows, "ErrAlreadyStarted", "*impossible by type*", None::<Server>);
    rows
}
