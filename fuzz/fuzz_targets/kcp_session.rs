//! libFuzzer over `kcp_session`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| fastwire_fuzz::state::kcp_session(data));
