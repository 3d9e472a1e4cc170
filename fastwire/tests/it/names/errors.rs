//! Rows of the errors.

use std::time::Duration;

use fastwire::reliability::{ChannelLayout, LayoutError};
use fastwire::transport::UdpTransport;
use fastwire::{ConnectError, ConnectionError, SendError, Server, compress, crypto, wire};

use super::Row;

const SECOND: Duration = Duration::from_secs(1);

pub(super) fn rows() -> Vec<Row> {
    let mut rows = Vec::new();
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
