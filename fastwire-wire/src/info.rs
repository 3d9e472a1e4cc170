//! What a server tells whoever asks without a connection, for server browsers (PROTOCOL C1).
//!
//! A question and an answer, both bare. The question is padded, so that no answer is larger than what was asked.

use crate::{CONTROL_PREFIX, DecodeError, EncodeError, Reader, Writer};

/// Fewest bytes of a question. No answer has more.
pub const MIN_INFO_REQUEST: usize = 400;
/// Most bytes of a server's name.
pub const MAX_INFO_NAME: usize = 64;
/// Most bytes of what an application adds.
pub const MAX_INFO_DETAILS: usize = 256;

const REQUEST: u8 = 0x09;
const ANSWER: u8 = 0x0a;
const VERSION: u8 = 1;
/// Set where a client needs more than an address to be let in.
const NEEDS_SECRET: u8 = 1;

/// The question.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct InfoRequest {
    /// Comes back in the answer, so that nobody who did not see the question can answer it.
    pub nonce: [u8; 8],
}

impl InfoRequest {
    /// Writes the whole datagram, [`MIN_INFO_REQUEST`] bytes; gives its length.
    ///
    /// # Errors
    ///
    /// [`EncodeError::BufferTooSmall`].
    pub fn encode(&self, out: &mut [u8]) -> Result<usize, EncodeError> {
        let mut writer = Writer::new(out);
        writer.put_array(&CONTROL_PREFIX)?;
        writer.put_array(&[REQUEST, VERSION])?;
        writer.put_array(&self.nonce)?;
        writer.put_bytes(&[0; MIN_INFO_REQUEST - 18])?;
        Ok(writer.written())
    }

    /// Reads a whole datagram. `None`: it is no such question, or too short to be answered.
    pub fn decode(datagram: &[u8]) -> Option<Self> {
        if datagram.len() < MIN_INFO_REQUEST {
            return None;
        }
        let mut reader = Reader::new(datagram.strip_prefix(&CONTROL_PREFIX)?);
        let [kind, version] = reader.array().ok()?;
        let nonce = reader.array().ok()?;
        (kind == REQUEST && version == VERSION).then_some(Self { nonce })
    }
}

/// The answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct InfoAnswer<'a> {
    /// The question's.
    pub nonce: [u8; 8],
    /// Version of the application.
    pub application_version: u16,
    /// Connections there are,
    pub players: u32,
    /// and may be.
    pub max_players: u32,
    /// A client needs a secret or a token to be let in.
    pub needs_secret: bool,
    /// The server's name, at most [`MAX_INFO_NAME`] bytes.
    pub name: &'a str,
    /// Whatever else the application says, at most [`MAX_INFO_DETAILS`] bytes.
    pub details: &'a [u8],
}

impl<'a> InfoAnswer<'a> {
    /// Writes the whole datagram; gives its length, at most [`MIN_INFO_REQUEST`].
    ///
    /// # Errors
    ///
    /// [`EncodeError::BufferTooSmall`], [`EncodeError::StringTooLong`] for a name or details over their limits.
    pub fn encode(&self, out: &mut [u8]) -> Result<usize, EncodeError> {
        for (length, most) in [(self.name.len(), MAX_INFO_NAME), (self.details.len(), MAX_INFO_DETAILS)] {
            if length > most {
                return Err(EncodeError::StringTooLong { length });
            }
        }
        let mut writer = Writer::new(out);
        writer.put_array(&CONTROL_PREFIX)?;
        writer.put_array(&[ANSWER, VERSION])?;
        writer.put_array(&self.nonce)?;
        writer.put_array(&self.application_version.to_be_bytes())?;
        writer.put_array(&self.players.to_be_bytes())?;
        writer.put_array(&self.max_players.to_be_bytes())?;
        writer.put_array(&[if self.needs_secret { NEEDS_SECRET } else { 0 }])?;
        writer.put_string(self.name)?;
        writer.put_array(&(self.details.len() as u16).to_be_bytes())?;
        writer.put_bytes(self.details)?;
        Ok(writer.written())
    }

    /// Reads a whole datagram. `None`: it is no such answer.
    pub fn decode(datagram: &'a [u8]) -> Option<Self> {
        let mut reader = Reader::new(datagram.strip_prefix(&CONTROL_PREFIX)?);
        let [kind, version] = reader.array().ok()?;
        if kind != ANSWER || version != VERSION {
            return None;
        }
        Self::body(&mut reader)
            .ok()
            .filter(|answer| answer.name.len() <= MAX_INFO_NAME && answer.details.len() <= MAX_INFO_DETAILS)
    }

    fn body(reader: &mut Reader<'a>) -> Result<Self, DecodeError> {
        let nonce = reader.array()?;
        let application_version = u16::from_be_bytes(reader.array()?);
        let players = u32::from_be_bytes(reader.array()?);
        let max_players = u32::from_be_bytes(reader.array()?);
        let [flags] = reader.array()?;
        let name = reader.string()?;
        let length = u16::from_be_bytes(reader.array()?);
        let details = reader.bytes(length.into())?;
        let needs_secret = flags & NEEDS_SECRET != 0;
        Ok(Self { nonce, application_version, players, max_players, needs_secret, name, details })
    }
}

#[cfg(test)]
mod tests {
    use std::string::String;
    use std::vec::Vec;

    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn answers_survive_the_trip_and_are_never_larger_than_a_question(
            nonce: [u8; 8], application_version: u16, players: u32, max_players: u32, needs_secret: bool,
            name in "[a-zäß ]{0,32}", details in prop::collection::vec(any::<u8>(), 0..=MAX_INFO_DETAILS),
        ) {
            let answer = InfoAnswer {
                nonce, application_version, players, max_players, needs_secret, name: &name, details: &details,
            };
            let mut out = [0; MIN_INFO_REQUEST];
            let length = answer.encode(&mut out).expect("room");
            prop_assert_eq!(InfoAnswer::decode(&out[..length]), Some(answer));
            for cut in 0..length {
                prop_assert_eq!(InfoAnswer::decode(&out[..cut]), None);
            }
            prop_assert_eq!(InfoRequest::decode(&out[..length]), None);
        }

        #[test]
        fn any_bytes_are_read_without_harm(bytes in prop::collection::vec(any::<u8>(), 0..600)) {
            let bare = [&CONTROL_PREFIX[..], &bytes].concat();
            for datagram in [&bytes, &bare] {
                let _ = (InfoRequest::decode(datagram), InfoAnswer::decode(datagram));
            }
        }
    }

    #[test]
    fn a_question_that_is_too_short_is_none() {
        let mut out = [0; MIN_INFO_REQUEST + 1];
        let request = InfoRequest { nonce: *b"12345678" };
        let length = request.encode(&mut out).expect("room");
        assert_eq!(length, MIN_INFO_REQUEST);
        assert_eq!(InfoRequest::decode(&out[..length]), Some(request));
        assert_eq!(InfoRequest::decode(&out), Some(request));
        assert_eq!(InfoRequest::decode(&out[..length - 1]), None);
    }

    #[test]
    fn the_largest_answer_fits_and_one_more_byte_is_refused() {
        let (name, details): (String, Vec<u8>) = ("n".repeat(MAX_INFO_NAME), std::vec![7; MAX_INFO_DETAILS]);
        let answer = InfoAnswer {
            nonce: [1; 8],
            application_version: u16::MAX,
            players: u32::MAX,
            max_players: u32::MAX,
            needs_secret: true,
            name: &name,
            details: &details,
        };
        let mut out = [0; MIN_INFO_REQUEST];
        assert!(answer.encode(&mut out).is_ok());
        let (long, more) = (name.clone() + "n", [&details[..], b"x"].concat());
        assert!(InfoAnswer { name: &long, ..answer }.encode(&mut out).is_err());
        assert!(InfoAnswer { details: &more, ..answer }.encode(&mut out).is_err());
    }
}
