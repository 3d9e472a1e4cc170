#![doc = include_str!("../README.md")]
#![forbid(unsafe_code)]

mod code;
mod gf256;
mod kernel;
mod rows;

pub use code::{CodeError, Encoder, MAX_SHARDS, RecoverError, Recovered, ReedSolomon};
