//! State targets of the extended profile (PROTOCOL part B).

mod acknowledgement;
mod hostile;
mod peer;
mod reassembly;
mod strangers;
mod streams;

pub use acknowledgement::extended_acknowledgement;
pub use hostile::extended_hostile_peer;
pub use reassembly::extended_reassembly;
pub use strangers::{extended_client_before_auth, extended_server_before_auth};
pub use streams::extended_streams;
