//! State targets: a script drives a state machine, and its limits and laws are looked at after each step.

mod channels;
mod compress;
mod endpoint;
mod extended;
mod glass;
mod hostile;
mod kcp;
mod pair;
mod strangers;
mod window;

pub use channels::{acknowledgement, reassembly};
pub use compress::decompress;
pub use extended::{
    extended_acknowledgement, extended_client_before_auth, extended_hostile_peer, extended_reassembly,
    extended_server_before_auth, extended_streams,
};
pub use hostile::hostile_peer;
pub use kcp::{kcp_core, kcp_session};
pub use pair::{extended_pair, pair};
pub use strangers::{client_before_auth, server_before_auth};
pub use window::replay;
