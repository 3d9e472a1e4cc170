//! What the extended profile appends to the handshake payloads of the base profile, and its own RESPONSE
//! (PROTOCOL B2).

use crate::{CONTROL_PREFIX, ControlType, DecodeError, EncodeError, Reader, Writer};

/// The extended profile's version, in CONNECT and CHALLENGE.
pub const EXTENDED_VERSION: u8 = 1;

/// A CONNECT datagram is padded to at least this, so that no answer is larger.
pub const MIN_CONNECT_DATAGRAM: usize = 1200;

/// After CONNECT's payload: what the client offers beyond the base profile.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct ConnectTrailer {
    /// [`EXTENDED_VERSION`].
    pub version: u8,
    /// Suites offered: bit 1 AES-128-GCM, bit 2 ChaCha20-Poly1305.
    pub suites: u8,
    /// Names this attempt; whoever answers repeats it.
    pub client_nonce: [u8; 8],
    /// First 8 bytes of the pinned server key's SHA-256; zeros when none is pinned.
    pub server_key_id: [u8; 8],
    /// First 8 bytes of the SHA-256 over the channels' modes, a byte each.
    pub layout_hash: [u8; 8],
}

/// After CHALLENGE's payload.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct ChallengeTrailer {
    /// [`EXTENDED_VERSION`].
    pub version: u8,
    /// Whether the server wants a connect token (flag bit 0).
    pub token_required: bool,
    /// The client's, as it came.
    pub client_nonce: [u8; 8],
    /// The server's identity key, where the client pinned none.
    pub server_key: Option<[u8; 32]>,
}

/// After REJECT's and VERSION_MISMATCH's payload: proof that the refuser saw CONNECT.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct RefusalTrailer {
    /// The client's, as it came.
    pub client_nonce: [u8; 8],
}

impl ConnectTrailer {
    /// Length in bytes.
    pub const LEN: usize = 26;

    /// Writes the trailer.
    ///
    /// # Errors
    ///
    /// [`EncodeError::BufferTooSmall`].
    pub fn encode(&self, out: &mut [u8]) -> Result<usize, EncodeError> {
        let mut writer = Writer::new(out);
        writer.put_u8(self.version)?;
        writer.put_u8(self.suites)?;
        writer.put_array(&self.client_nonce)?;
        writer.put_array(&self.server_key_id)?;
        writer.put_array(&self.layout_hash)?;
        Ok(writer.written())
    }

    /// Reads the trailer; gives it with the bytes it took.
    ///
    /// # Errors
    ///
    /// [`DecodeError::BufferTooSmall`].
    pub fn decode(input: &[u8]) -> Result<(Self, usize), DecodeError> {
        let mut reader = Reader::new(input);
        let trailer = Self {
            version: reader.u8()?,
            suites: reader.u8()?,
            client_nonce: reader.array()?,
            server_key_id: reader.array()?,
            layout_hash: reader.array()?,
        };
        Ok((trailer, reader.position()))
    }
}

impl ChallengeTrailer {
    /// Writes the trailer.
    ///
    /// # Errors
    ///
    /// [`EncodeError::BufferTooSmall`].
    pub fn encode(&self, out: &mut [u8]) -> Result<usize, EncodeError> {
        let mut writer = Writer::new(out);
        writer.put_u8(self.version)?;
        writer.put_u8(u8::from(self.token_required))?;
        writer.put_array(&self.client_nonce)?;
        if let Some(key) = &self.server_key {
            writer.put_array(key)?;
        }
        Ok(writer.written())
    }

    /// Reads the trailer; `key_follows` says whether this client pinned no key. Gives it with the bytes it took.
    ///
    /// # Errors
    ///
    /// [`DecodeError::BufferTooSmall`].
    pub fn decode(input: &[u8], key_follows: bool) -> Result<(Self, usize), DecodeError> {
        let mut reader = Reader::new(input);
        let trailer = Self {
            version: reader.u8()?,
            token_required: reader.u8()? & 1 == 1,
            client_nonce: reader.array()?,
            server_key: if key_follows { Some(reader.array()?) } else { None },
        };
        Ok((trailer, reader.position()))
    }
}

impl RefusalTrailer {
    /// Writes the trailer.
    ///
    /// # Errors
    ///
    /// [`EncodeError::BufferTooSmall`].
    pub fn encode(&self, out: &mut [u8]) -> Result<usize, EncodeError> {
        let mut writer = Writer::new(out);
        writer.put_array(&self.client_nonce)?;
        Ok(writer.written())
    }

    /// Reads the trailer; gives it with the bytes it took.
    ///
    /// # Errors
    ///
    /// [`DecodeError::BufferTooSmall`].
    pub fn decode(input: &[u8]) -> Result<(Self, usize), DecodeError> {
        let mut reader = Reader::new(input);
        Ok((Self { client_nonce: reader.array()? }, reader.position()))
    }
}

/// RESPONSE of the extended profile, as a datagram: everything before `sealed` is its associated data.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Response<'a> {
    /// CONNECT's control payload with its trailer, as the client sent it.
    pub connect: &'a [u8],
    /// The cookie of CHALLENGE.
    pub cookie: [u8; 32],
    /// The connect token; empty without one.
    pub token: &'a [u8],
    /// Transport parameters and application authentication, sealed, tag last.
    pub sealed: &'a [u8],
}

impl<'a> Response<'a> {
    /// Largest datagram.
    pub const MAX_LEN: usize = 850;

    /// Writes the datagram; gives its length and how much of it, from the start, is associated data.
    ///
    /// # Errors
    ///
    /// [`EncodeError::BufferTooSmall`]; [`EncodeError::ResponseTooLong`] above [`MAX_LEN`](Self::MAX_LEN).
    pub fn encode(&self, out: &mut [u8]) -> Result<(usize, usize), EncodeError> {
        let parts = [&CONTROL_PREFIX, self.connect, &self.cookie, self.token, self.sealed];
        // The type and the two lengths.
        let length = parts.iter().fold(1 + 2 + 2, |sum: usize, part| sum.saturating_add(part.len()));
        if length > Self::MAX_LEN {
            return Err(EncodeError::ResponseTooLong { length });
        }
        let mut writer = Writer::new(out);
        writer.put_array(&CONTROL_PREFIX)?;
        writer.put_u8(ControlType::Response.id())?;
        // Both lengths are below MAX_LEN.
        writer.put_u16_le(self.connect.len() as u16)?;
        writer.put_bytes(self.connect)?;
        writer.put_array(&self.cookie)?;
        writer.put_u16_le(self.token.len() as u16)?;
        writer.put_bytes(self.token)?;
        let associated = writer.written();
        writer.put_bytes(self.sealed)?;
        Ok((writer.written(), associated))
    }

    /// Reads the datagram; gives it with the length of its associated data.
    ///
    /// # Errors
    ///
    /// [`DecodeError::InvalidResponse`].
    pub fn decode(datagram: &'a [u8]) -> Result<(Self, usize), DecodeError> {
        let invalid = DecodeError::InvalidResponse { available: datagram.len() };
        if datagram.len() > Self::MAX_LEN || !datagram.starts_with(&CONTROL_PREFIX) {
            return Err(invalid);
        }
        Self::read(datagram).map_err(|_| invalid)
    }

    fn read(datagram: &'a [u8]) -> Result<(Self, usize), DecodeError> {
        let mut reader = Reader::new(datagram);
        reader.array::<8>()?;
        let value = reader.u8()?;
        if value != ControlType::Response.id() {
            return Err(DecodeError::UnknownControlType { value });
        }
        let connect = reader.u16_le()?;
        let connect = reader.bytes(connect.into())?;
        let cookie = reader.array()?;
        let token = reader.u16_le()?;
        let token = reader.bytes(token.into())?;
        let associated = reader.position();
        Ok((Self { connect, cookie, token, sealed: reader.rest() }, associated))
    }
}
