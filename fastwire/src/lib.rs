//! Encrypted, reliable-when-you-want-it messages over UDP.

pub mod sim;
pub mod transport;
