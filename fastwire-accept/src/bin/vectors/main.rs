//! The program behind `cargo xtask vectors`: what PROTOCOL part B puts on the wire, with fixed keys.
//!
//! It follows the text step by step and shares with the library only the ciphers, X25519, HKDF and, for handshakes, the
//! codec: not the handshake, the key schedule, the packets or the frames. So a mistake in either shows when the library reads
//! what this wrote.

mod frames;
mod handshakes;
mod packets;
mod protection;

use std::path::PathBuf;
use std::process::ExitCode;

use fastwire::crypto::extended::sha256;
use serde_json::Value;

const HELP: &str = "\
cargo xtask vectors [--check] [DIR]

Writes the extended profile's handshakes, short packets and frames with fixed keys to DIR (tests/vectors-extended).

  --check   write nothing; fail if what would be written is not what is there";

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    if arguments.iter().any(|argument| argument == "--help" || argument == "-h") {
        println!("{HELP}");
        return ExitCode::SUCCESS;
    }
    let check = arguments.iter().any(|argument| argument == "--check");
    let dir = arguments.iter().find(|argument| !argument.starts_with("--"));
    let dir = PathBuf::from(dir.map_or("tests/vectors-extended", String::as_str));
    let files = [("handshakes", handshakes::all()), ("packets", packets::all()), ("frames", frames::all())];
    let mut exit = ExitCode::SUCCESS;
    for (name, value) in files {
        let path = dir.join(name).with_extension("json");
        if let Err(why) = keep(&path, &value, check) {
            eprintln!("{}: {why}", path.display());
            exit = ExitCode::FAILURE;
        }
    }
    exit
}

/// Writes a file, or compares what is there.
fn keep(path: &std::path::Path, value: &Value, check: bool) -> Result<(), String> {
    let text = format!("{value:#}\n");
    if check {
        let there = std::fs::read_to_string(path).map_err(|error| error.to_string())?;
        return (there == text).then_some(()).ok_or_else(|| "is not what would be written".to_owned());
    }
    path.parent()
        .map_or(Ok(()), std::fs::create_dir_all)
        .and_then(|()| std::fs::write(path, text))
        .map_err(|error| error.to_string())
}

/// 32 bytes that look like a key: the hash of what they are for.
fn made_up(what: &str, n: u8) -> [u8; 32] {
    sha256(format!("{what} {n}").as_bytes())
}

fn first<const N: usize>(bytes: &[u8]) -> [u8; N] {
    *bytes.first_chunk().expect("as many bytes")
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
