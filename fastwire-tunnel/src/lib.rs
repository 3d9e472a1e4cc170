//! Forwards TCP connections through UDP: `fastwire-tunnel server` next to the service, `fastwire-tunnel client` where its
//! users are.
//!
//! A [`tunnel`] asks its transport for two things only, to open a stream and to accept one ([`transport`]). There are two:
//! streams of [FastWire](fastwire), many on one connection, and sessions of [`kcp`]. In each stream travel [`frames`], which
//! say what KCP cannot: that a direction has ended, or broke off. What is in them may be [compressed](compress).

pub mod compress;
pub mod fastwire;
pub mod frames;
pub mod kcp;
pub mod options;
pub mod show;
pub mod transport;
pub mod tunnel;
