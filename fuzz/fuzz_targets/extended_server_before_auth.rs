//! libFuzzer over `extended_server_before_auth`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| fastwire_fuzz::state::extended_server_before_auth(data));
