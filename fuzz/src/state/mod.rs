//! State targets: a script drives a state machine, and its limits and laws are looked at after each step.

mod channels;
mod compress;
mod endpoint;
mod glass;
mod hostile;
mod kcp;
mod pair;
mod strangers;
mod window;

pub use channels::{acknowledgement, reassembly};
pub use compress::decompress;
pub use hostile::hostile_peer;
pub use kcp::{kcp_core, kcp_session};
pub use pair::pair;
pub use strangers::{client_before_auth, server_before_auth};
pub use window::replay;
