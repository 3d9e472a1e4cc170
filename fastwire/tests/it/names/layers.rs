//! Rows of the layers: encoding, packets, encryption, channels, compression, congestion control.

use fastwire::congestion::CongestionMode;
use fastwire::crypto::CipherSuite;
use fastwire::reliability::{ChannelLayout, DeliveryMode};
use fastwire::{ClientConfig, ServerConfig, compress, congestion, crypto, wire};

use super::Row;

pub(super) fn rows() -> Vec<Row> {
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
        assert_eq!(CongestionMode::default(), CongestionMode::Auto)
    );
    row!(rows, "CongestionAggressive", "congestion::CongestionMode::Aggressive", CongestionMode::Aggressive);
    row!(
        rows,
        "DefaultInitialCwnd",
        "congestion::DEFAULT_INITIAL_WINDOW",
        assert_eq!(congestion::DEFAULT_INITIAL_WINDOW, 4)
    );
    rows
}
