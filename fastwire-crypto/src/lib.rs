//! FastWire's packet protection: AEAD suites, replay window, key agreement and derivation.
