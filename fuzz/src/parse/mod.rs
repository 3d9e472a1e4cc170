//! Parser targets: what was read can be written again and read the same.

mod kcp;
mod sealed;
mod short;
mod wire;

pub use kcp::{kcp_fec, kcp_segments, reed_solomon};
pub use sealed::sealed;
pub use short::short_packets;
pub use wire::{batch, control, frames, header, primitives, trailers};
