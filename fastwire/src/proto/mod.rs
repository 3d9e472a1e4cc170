//! The core: a state machine without clock, socket or operating system below it.
//!
//! An [`Endpoint`] is driven from outside, by one of this crate's shells or by one of your own:
//!
//! - *Inputs.* [`Endpoint::handle_datagram`] for each datagram received (or [`Endpoint::handle_train`] for what arrived
//!   together), [`Endpoint::handle_timeout`]
//!   when [`Endpoint::poll_timeout`] has passed. Any number of either may follow each other. `now` is a
//!   monotonic time; what jumps anyway does no harm (a gap counts at most one second, backward counts
//!   nothing).
//! - *Commands.* [`Endpoint::connect`], [`Endpoint::send`], [`Endpoint::close`] and so on.
//! - *Outputs*, to be drained after inputs and commands: [`Endpoint::poll_event`] until `None`,
//!   [`Endpoint::poll_transmit`] until `None`, [`Endpoint::poll_socket`] until `None`, then
//!   [`Endpoint::poll_timeout`] says when to come back at the latest.
//!
//! Entropy comes in once, as a 32-byte seed: the same seed and the same inputs give the same outputs,
//! byte for byte. The seed must be unpredictable and never used twice, or the keys are known.
#![cfg_attr(
    not(test),
    deny(
        clippy::expect_used,
        clippy::indexing_slicing,
        clippy::panic,
        clippy::string_slice,
        clippy::todo,
        clippy::unimplemented,
        clippy::unreachable,
        clippy::unwrap_used
    )
)]

mod admission;
mod arrivals;
mod client;
mod clock;
mod commands;
mod connection;
mod deadlines;
mod delivery;
mod ended;
mod endpoint;
mod entropy;
mod handshake;
mod id_map;
mod memory;
mod prelude;
mod residents;
mod router;
mod routing;
mod sending;
mod session;
mod shard;
mod shared;
mod slab;
mod stamps;
mod streams;
mod transmit;
mod veil;

pub(crate) use self::admission::AcceptHook;
pub use self::admission::Arriving;
pub use self::commands::RebindError;
pub use self::connection::ServerTime;
pub(crate) use self::delivery::Told;
pub use self::endpoint::{Endpoint, Parts};
pub(crate) use self::endpoint::{identity_from, seed_of_shard};
pub use self::handshake::client::SocketRequest;
pub use self::shard::Shard;
pub use self::stamps::MessageTime;
pub use self::transmit::TransmitBuf;
pub(crate) use self::transmit::{Aside, Route};

/// Which end of a connection this is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Side {
    Client,
    Server,
}
