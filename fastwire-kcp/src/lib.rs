#![doc = include_str!("../README.md")]
#![forbid(unsafe_code)]

pub mod core;
pub mod crypt;
pub mod fec;
#[cfg(feature = "tokio")]
pub mod net;
pub mod session;
