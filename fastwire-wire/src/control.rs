//! Control payloads: what peers say to each other to begin, keep and end a connection (PROTOCOL A5).
//!
//! This layer does not judge. Cipher, compression and version are the bytes that were sent; whether
//! they are known, wanted or allowed is decided by who has a policy.

use core::fmt;

use crate::{DecodeError, EncodeError, Features, MIGRATION_TOKEN_SIZE, Reader, Writer};

/// The packet header before a control payload that travels unsealed: `CONTROL` and zeros.
pub const CONTROL_PREFIX: [u8; 8] = [0x02, 0, 0, 0, 0, 0, 0, 0];

/// First byte of a control payload.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[repr(u8)]
#[non_exhaustive]
pub enum ControlType {
    /// A client asks for a connection.
    Connect = 0x01,
    /// The server answers with its key and a token.
    Challenge = 0x02,
    /// The client proves that it has the keys.
    Response = 0x03,
    /// The connection stands.
    Connected = 0x04,
    /// The connection ends.
    Disconnect = 0x05,
    /// Nothing to say but the acknowledgements in the packet header.
    Heartbeat = 0x06,
    /// The server speaks another protocol version.
    VersionMismatch = 0x07,
    /// The server does not want the client.
    Reject = 0x08,
}

impl ControlType {
    /// The type with the given byte, if there is one.
    pub const fn from_id(id: u8) -> Option<Self> {
        Some(match id {
            0x01 => Self::Connect,
            0x02 => Self::Challenge,
            0x03 => Self::Response,
            0x04 => Self::Connected,
            0x05 => Self::Disconnect,
            0x06 => Self::Heartbeat,
            0x07 => Self::VersionMismatch,
            0x08 => Self::Reject,
            _ => return None,
        })
    }

    /// The byte on the wire.
    pub const fn id(self) -> u8 {
        self as u8
    }
}

/// CONNECT: a client introduces itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Connect {
    /// Protocol version the client speaks.
    pub version: u8,
    /// Version of the application above.
    pub application_version: u16,
    /// The client's X25519 public key.
    pub public_key: [u8; 32],
    /// Cipher suite the client asks for.
    pub cipher: u8,
    /// Compression the client asks for.
    pub compression: u8,
    /// SHA-256 of the client's compression dictionary, if it has one.
    pub dictionary_hash: Option<[u8; 32]>,
    /// Features the client offers.
    pub features: Features,
}

/// CHALLENGE: the server's answer to CONNECT.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Challenge {
    /// Protocol version the server speaks.
    pub version: u8,
    /// Version of the application above.
    pub application_version: u16,
    /// The server's X25519 public key.
    pub public_key: [u8; 32],
    /// Random bytes that go into the keys and that RESPONSE repeats.
    pub token: [u8; 32],
    /// Cipher suite the server selected.
    pub cipher: u8,
    /// 0: compression as asked for; 1: mismatch.
    pub compression_ack: u8,
    /// Features both sides have.
    pub features: Features,
    /// The token that finds the connection after a change of address; there exactly when
    /// [`Features::CONNECTION_MIGRATION`] is set.
    pub migration_token: Option<[u8; MIGRATION_TOKEN_SIZE]>,
}

/// VERSION_MISMATCH: the versions the server speaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct VersionMismatch {
    /// Protocol version the server speaks.
    pub version: u8,
    /// Version of the application above.
    pub application_version: u16,
}

/// REJECT: why the server does not want the client.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Reject {
    /// The reason given.
    pub reason: RejectReason,
}

/// The reason in a REJECT; codes without a name are kept.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct RejectReason(u8);

impl RejectReason {
    /// All connection slots are taken.
    pub const SERVER_FULL: Self = Self(0);
    /// The server refuses this client.
    pub const BANNED: Self = Self(1);
    /// The channel layouts differ (extended profile).
    pub const LAYOUT_DIFFERS: Self = Self(2);
    /// The client is not authorised (extended profile).
    pub const NOT_AUTHORISED: Self = Self(3);
    /// The server's policy allows none of the offered suites (extended profile).
    pub const SUITE_REFUSED: Self = Self(4);
    /// The server is busy (extended profile).
    pub const TRY_LATER: Self = Self(5);
    /// The client pinned a key that is not the server's (extended profile).
    pub const UNKNOWN_SERVER_KEY: Self = Self(6);

    /// Takes the code as it is on the wire.
    pub const fn from_code(code: u8) -> Self {
        Self(code)
    }

    /// The code on the wire.
    pub const fn code(self) -> u8 {
        self.0
    }
}

impl fmt::Display for RejectReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match *self {
            Self::SERVER_FULL => "server full",
            Self::BANNED => "banned",
            Self::LAYOUT_DIFFERS => "channel layout differs",
            Self::NOT_AUTHORISED => "not authorised",
            Self::SUITE_REFUSED => "cipher suite refused",
            Self::TRY_LATER => "try again later",
            Self::UNKNOWN_SERVER_KEY => "unknown server key",
            Self(code) => return write!(f, "unknown reason {code}"),
        })
    }
}

impl fmt::Debug for RejectReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "RejectReason({} = {self})", self.0)
    }
}

/// A control payload with its fields.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Control {
    /// A client asks for a connection.
    Connect(Connect),
    /// The server answers with its key and a token.
    Challenge(Challenge),
    /// The client proves that it has the keys.
    Response {
        /// The token of the CHALLENGE it answers.
        token: [u8; 32],
    },
    /// The connection stands.
    Connected,
    /// The connection ends.
    Disconnect,
    /// Nothing to say but the acknowledgements in the packet header.
    Heartbeat,
    /// The server speaks another protocol version.
    VersionMismatch(VersionMismatch),
    /// The server does not want the client.
    Reject(Reject),
}

impl Control {
    /// Most bytes of an encoded payload.
    pub const MAX_LEN: usize = 79;

    /// The type, as the payload's first byte gives it.
    pub const fn control_type(&self) -> ControlType {
        match self {
            Self::Connect(_) => ControlType::Connect,
            Self::Challenge(_) => ControlType::Challenge,
            Self::Response { .. } => ControlType::Response,
            Self::Connected => ControlType::Connected,
            Self::Disconnect => ControlType::Disconnect,
            Self::Heartbeat => ControlType::Heartbeat,
            Self::VersionMismatch(_) => ControlType::VersionMismatch,
            Self::Reject(_) => ControlType::Reject,
        }
    }

    /// Bytes that [`encode`](Self::encode) writes, type byte included: 1 to [`Self::MAX_LEN`].
    pub const fn encoded_len(&self) -> usize {
        match self {
            Self::Connect(connect) if connect.dictionary_hash.is_some() => 72,
            Self::Connect(_) => 40,
            Self::Challenge(challenge) if challenge.migration_token.is_some() => 79,
            Self::Challenge(_) => 71,
            Self::Response { .. } => 33,
            Self::Connected | Self::Disconnect | Self::Heartbeat => 1,
            Self::VersionMismatch(_) => 4,
            Self::Reject(_) => 2,
        }
    }

    /// Writes the payload, type byte first, at the start of `out` and returns the bytes written.
    ///
    /// # Errors
    ///
    /// [`EncodeError::BufferTooSmall`], [`EncodeError::MigrationTokenMismatch`]; `out` is untouched
    /// then.
    pub fn encode(&self, out: &mut [u8]) -> Result<usize, EncodeError> {
        if let Self::Challenge(challenge) = self {
            challenge.check()?;
        }
        let (needed, available) = (self.encoded_len(), out.len());
        if available < needed {
            return Err(EncodeError::BufferTooSmall { needed, available });
        }
        let mut writer = Writer::new(out);
        writer.put_u8(self.control_type().id())?;
        match self {
            Self::Connect(connect) => connect.write(&mut writer)?,
            Self::Challenge(challenge) => challenge.write(&mut writer)?,
            Self::Response { token } => writer.put_array(token)?,
            Self::Connected | Self::Disconnect | Self::Heartbeat => {}
            Self::VersionMismatch(versions) => {
                writer.put_u8(versions.version)?;
                writer.put_u16_be(versions.application_version)?;
            }
            Self::Reject(reject) => writer.put_u8(reject.reason.code())?,
        }
        Ok(writer.written())
    }

    /// Writes [`CONTROL_PREFIX`] and the payload: the datagram of a message that travels unsealed.
    ///
    /// # Errors
    ///
    /// As [`encode`](Self::encode).
    pub fn encode_bare(&self, out: &mut [u8]) -> Result<usize, EncodeError> {
        let available = out.len();
        let Some((prefix, payload)) = out.split_first_chunk_mut() else {
            let needed = CONTROL_PREFIX.len().saturating_add(self.encoded_len());
            return Err(EncodeError::BufferTooSmall { needed, available });
        };
        let len = self.encode(payload)?;
        *prefix = CONTROL_PREFIX;
        Ok(CONTROL_PREFIX.len().saturating_add(len))
    }

    /// Reads a payload, type byte first; returns it with the bytes it took.
    ///
    /// Bytes after the last field are no error; `&payload[taken..]` has them.
    ///
    /// # Errors
    ///
    /// [`DecodeError::BufferTooSmall`] if there is no type byte,
    /// [`DecodeError::UnknownControlType`], [`DecodeError::InvalidHandshake`] if a field is missing.
    pub fn decode(payload: &[u8]) -> Result<(Self, usize), DecodeError> {
        let mut reader = Reader::new(payload);
        let value = reader.u8()?;
        let control = ControlType::from_id(value).ok_or(DecodeError::UnknownControlType { value })?;
        let message = Self::read(control, &mut reader)
            .map_err(|_| DecodeError::InvalidHandshake { control, available: payload.len() })?;
        Ok((message, reader.position()))
    }

    fn read(control: ControlType, reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        Ok(match control {
            ControlType::Connect => Self::Connect(Connect::read(reader)?),
            ControlType::Challenge => Self::Challenge(Challenge::read(reader)?),
            ControlType::Response => Self::Response { token: reader.array()? },
            ControlType::Connected => Self::Connected,
            ControlType::Disconnect => Self::Disconnect,
            ControlType::Heartbeat => Self::Heartbeat,
            ControlType::VersionMismatch => Self::VersionMismatch(VersionMismatch {
                version: reader.u8()?,
                application_version: reader.u16_be()?,
            }),
            ControlType::Reject => Self::Reject(Reject { reason: RejectReason::from_code(reader.u8()?) }),
        })
    }
}

impl Connect {
    fn write(&self, writer: &mut Writer<'_>) -> Result<(), EncodeError> {
        writer.put_u8(self.version)?;
        writer.put_u16_be(self.application_version)?;
        writer.put_array(&self.public_key)?;
        writer.put_u8(self.cipher)?;
        writer.put_u8(self.compression)?;
        writer.put_u8(u8::from(self.dictionary_hash.is_some()))?;
        if let Some(hash) = &self.dictionary_hash {
            writer.put_array(hash)?;
        }
        writer.put_u8(self.features.bits())
    }

    fn read(reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        Ok(Self {
            version: reader.u8()?,
            application_version: reader.u16_be()?,
            public_key: reader.array()?,
            cipher: reader.u8()?,
            compression: reader.u8()?,
            // Base peers read every flag but 1 as "no hash follows".
            dictionary_hash: if reader.u8()? == 1 { Some(reader.array()?) } else { None },
            features: Features::from_bits(reader.u8()?),
        })
    }
}

impl Challenge {
    fn check(&self) -> Result<(), EncodeError> {
        let has_token = self.migration_token.is_some();
        if self.features.contains(Features::CONNECTION_MIGRATION) != has_token {
            return Err(EncodeError::MigrationTokenMismatch { features: self.features.bits(), has_token });
        }
        Ok(())
    }

    fn write(&self, writer: &mut Writer<'_>) -> Result<(), EncodeError> {
        writer.put_u8(self.version)?;
        writer.put_u16_be(self.application_version)?;
        writer.put_array(&self.public_key)?;
        writer.put_array(&self.token)?;
        writer.put_u8(self.cipher)?;
        writer.put_u8(self.compression_ack)?;
        writer.put_u8(self.features.bits())?;
        match &self.migration_token {
            Some(token) => writer.put_array(token),
            None => Ok(()),
        }
    }

    fn read(reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        let mut challenge = Self {
            version: reader.u8()?,
            application_version: reader.u16_be()?,
            public_key: reader.array()?,
            token: reader.array()?,
            cipher: reader.u8()?,
            compression_ack: reader.u8()?,
            features: Features::from_bits(reader.u8()?),
            migration_token: None,
        };
        if challenge.features.contains(Features::CONNECTION_MIGRATION) {
            challenge.migration_token = Some(reader.array()?);
        }
        Ok(challenge)
    }
}

macro_rules! messages {
    ($($message:ident),*) => {
        $(
            impl From<$message> for Control {
                fn from(message: $message) -> Self {
                    Self::$message(message)
                }
            }

            impl $message {
                /// Writes the payload, type byte first; see [`Control::encode`].
                ///
                /// # Errors
                ///
                /// As [`Control::encode`].
                pub fn encode(&self, out: &mut [u8]) -> Result<usize, EncodeError> {
                    Control::from(*self).encode(out)
                }
            }
        )*
    };
}

messages!(Connect, Challenge, VersionMismatch, Reject);
