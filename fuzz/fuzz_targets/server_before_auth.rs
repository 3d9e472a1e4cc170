//! libFuzzer over `server_before_auth`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| fastwire_fuzz::state::server_before_auth(data));
