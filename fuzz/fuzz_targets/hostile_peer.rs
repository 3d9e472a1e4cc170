//! libFuzzer over `hostile_peer`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| fastwire_fuzz::state::hostile_peer(data));
