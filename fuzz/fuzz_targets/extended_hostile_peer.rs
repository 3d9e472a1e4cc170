//! libFuzzer over `extended_hostile_peer`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| fastwire_fuzz::state::extended_hostile_peer(data));
