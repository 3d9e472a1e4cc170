//! KCP streams over UDP, compatible with the C KCP and kcp-go.

pub mod core;
pub mod crypt;
pub mod fec;
#[cfg(feature = "tokio")]
pub mod net;
pub mod session;
