#![doc = include_str!("../README.md")]
//!
//! ## Where to find what
//!
//! | item | what it does | PROTOCOL |
//! |---|---|---|
//! | [`KeyPair`], [`derive_session_keys`] | from two key pairs and a token to two directional keys | A4 |
//! | [`CipherSuite`], [`CipherSuites`] | what can be negotiated, and how a keyed cipher is made of it | A3 |
//! | [`Cipher`], [`Aead`] | sealing and opening bytes in place; one's own backend goes here | A3 |
//! | [`Sealer`], [`Opener`] | whole packets: nonce counter, tag, replay window, usage limits | A3 |
//! | [`ReplayWindow`] | which numbers have been seen | A3 |
//! | [`Prk`] | HKDF-SHA256 | A4 |
#![cfg_attr(
    not(test),
    deny(
        clippy::arithmetic_side_effects,
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

mod aead;
mod agreement;
pub mod backend;
mod cipher;
pub mod extended;
mod hkdf;
mod open;
mod prefetch;
mod replay;
mod seal;
mod session;
mod suite;

pub use aead::{Aead, AeadBy};
pub use agreement::{KeyAgreement, KeyPair, PublicKey, SharedSecret};
pub use cipher::{AeadLimits, Cipher, CipherError, KeyError, NONCE_LEN, TAG_LEN};
pub use extended::{HandshakeKeys, Transcript};
pub use hkdf::Prk;
pub use open::{OpenError, Opened, Opener};
pub use prefetch::prefetch;
pub use replay::{Freshness, ReplayWindow};
pub use seal::{PREFIX_LEN, SUFFIX_LEN, SealError, Sealer};
pub use session::{SessionKeys, derive_session_keys};
pub use suite::{BuiltinSuites, CipherSuite, CipherSuites};
