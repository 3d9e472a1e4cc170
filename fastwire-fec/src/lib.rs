#![doc = include_str!("../README.md")]
#![forbid(unsafe_code)]
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

mod code;
mod gf256;
mod kernel;
mod rows;

pub use code::{CodeError, Encoder, MAX_SHARDS, RecoverError, Recovered, ReedSolomon};
