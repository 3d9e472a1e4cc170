//! The fuzz targets: each is a function over bytes that panics when a law is broken.
//!
//! They are ordinary functions, so that stable Rust replays their corpus (`cargo xtask fuzz`) and a coverage-guided
//! fuzzer drives the very same code (`cargo xtask fuzz TARGET --for SECONDS`). [`TARGETS`] lists them; what a target
//! checks beyond "no panic" stands on its function.

pub mod parse;
mod script;
pub mod state;

pub use script::Script;

/// Whether a target reads bytes once or drives something that remembers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Bytes to values and back.
    Parser,
    /// A state machine, with its limits watched.
    State,
}

/// One target.
#[derive(Debug, Clone, Copy)]
pub struct Target {
    /// The name of its file in `fuzz_targets/` and of its directory in `corpus/`.
    pub name: &'static str,
    /// What it drives.
    pub kind: Kind,
    /// The target itself.
    pub run: fn(&[u8]),
}

macro_rules! targets {
    ($($name:ident: $kind:ident $path:path;)*) => {
        /// Every target.
        pub const TARGETS: &[Target] =
            &[$(Target { name: stringify!($name), kind: Kind::$kind, run: $path }),*];
    };
}

targets! {
    primitives: Parser parse::primitives;
    header: Parser parse::header;
    control: Parser parse::control;
    batch: Parser parse::batch;
    frames: Parser parse::frames;
    trailers: Parser parse::trailers;
    sealed: Parser parse::sealed;
    short_packets: Parser parse::short_packets;
    kcp_segments: Parser parse::kcp_segments;
    kcp_fec: Parser parse::kcp_fec;
    reed_solomon: Parser parse::reed_solomon;
    server_before_auth: State state::server_before_auth;
    client_before_auth: State state::client_before_auth;
    hostile_peer: State state::hostile_peer;
    pair: State state::pair;
    reassembly: State state::reassembly;
    acknowledgement: State state::acknowledgement;
    replay: State state::replay;
    decompress: State state::decompress;
    extended_server_before_auth: State state::extended_server_before_auth;
    extended_client_before_auth: State state::extended_client_before_auth;
    extended_hostile_peer: State state::extended_hostile_peer;
    extended_pair: State state::extended_pair;
    extended_reassembly: State state::extended_reassembly;
    extended_acknowledgement: State state::extended_acknowledgement;
    extended_streams: State state::extended_streams;
    kcp_core: State state::kcp_core;
    kcp_session: State state::kcp_session;
}
