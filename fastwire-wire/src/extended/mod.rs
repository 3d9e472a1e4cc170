//! The extended profile's bytes: handshake trailers, transport parameters, frames (PROTOCOL part B).
//!
//! Integers are little-endian here. As everywhere in this crate nothing is judged but form: whether a frame
//! is allowed at this moment, from this peer, is the connection's business.

mod frame;
mod params;
mod stamp;
mod trailer;

pub use frame::{Ack, AckNumbers, Data, Disconnect, Fec, Frame, Frames, MIN_PIECE, Piece};
pub use params::Params;
pub use stamp::Stamp;
pub use trailer::{
    ChallengeTrailer, ConnectTrailer, EXTENDED_VERSION, MIN_CONNECT_DATAGRAM, RefusalTrailer, Response,
};
