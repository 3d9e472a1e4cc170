//! Writes first inputs into `corpus/`, from the recorded conversations and from valid encodings. A fuzzer finds the rest.

use std::path::Path;
use std::{fs, io};

use fastwire::compress::{Algorithm, BuiltinCompressor, Compressed, CompressionConfig, Compressor, Method};
use fastwire::wire::extended::{
    Ack, ChallengeTrailer, ConnectTrailer, Data, Disconnect, Fec, Frame, Params, Piece, Response,
};
use fastwire_fuzz::TARGETS;
use fastwire_testkit::vectors;

fn main() -> io::Result<()> {
    let corpus = Path::new(env!("CARGO_MANIFEST_DIR")).join("corpus");
    for target in TARGETS {
        let directory = corpus.join(target.name);
        fs::create_dir_all(&directory)?;
        for (index, seed) in seeds(target.name).into_iter().enumerate() {
            fs::write(directory.join(format!("seed-{index:03}")), seed)?;
        }
    }
    Ok(())
}

fn seeds(target: &str) -> Vec<Vec<u8>> {
    match target {
        "primitives" => {
            hex_of("primitives").into_iter().map(|hex| script(&[&[0, 1, 2, 3, 5, 6, 7]], &hex)).collect()
        }
        "header" => hex_of("primitives"),
        "control" => {
            hex_of("handshake_codec").into_iter().filter_map(|hex| hex.get(8..).map(<[u8]>::to_vec)).collect()
        }
        "batch" => hex_of("primitives"),
        "frames" => frames(),
        "trailers" => trailers(),
        "decompress" => compressed(),
        "server_before_auth" | "client_before_auth" => {
            let datagrams = hex_of("handshake_codec");
            datagrams.into_iter().map(|datagram| [&[0, 4][..], &block(&datagram)].concat()).collect()
        }
        "kcp_fec" => {
            hex_of_kcp("fec").into_iter().map(|hex| [&[9, 2, 0, 0, 0][..], &block(&hex)].concat()).collect()
        }
        "kcp_segments" => hex_of_kcp("listener"),
        // One genuine packet after the other, in and out of order.
        "short_packets" => {
            (0..4).map(|choice| genuine(choice, |number| number)).chain([genuine(7, |n| n ^ 5)]).collect()
        }
        _ => mixed(),
    }
}

/// Scripts of every length and shape: what no recording has.
fn mixed() -> Vec<Vec<u8>> {
    (0u8..24)
        .map(|seed| {
            let mut state = u32::from(seed) + 1;
            let len = 16 << (seed % 6);
            let mut byte = || {
                state ^= state << 13;
                state ^= state >> 17;
                state ^= state << 5;
                (state >> 8) as u8
            };
            let mut bytes: Vec<u8> = (0..len).map(|_| byte()).collect();
            bytes[0] = seed * 11;
            bytes
        })
        .collect()
}

fn genuine(choice: u8, order: impl Fn(u8) -> u8) -> Vec<u8> {
    std::iter::once(choice).chain((0..40).flat_map(|number| [order(number) % 40, 1])).collect()
}

fn block(bytes: &[u8]) -> Vec<u8> {
    [&(bytes.len() as u16).to_le_bytes()[..], bytes].concat()
}

fn script(blocks: &[&[u8]], rest: &[u8]) -> Vec<u8> {
    let mut bytes: Vec<u8> = blocks.iter().flat_map(|bytes| block(bytes)).collect();
    bytes.extend_from_slice(rest);
    bytes
}

fn hex_of(file: &str) -> Vec<Vec<u8>> {
    let mut all = Vec::new();
    collect(&vectors::load(file), &mut all);
    all
}

fn hex_of_kcp(file: &str) -> Vec<Vec<u8>> {
    let mut all = Vec::new();
    collect(&vectors::kcp_load(file), &mut all);
    all
}

/// Up to 40 different strings of hexadecimal digits, wherever they stand.
fn collect(value: &vectors::Value, all: &mut Vec<Vec<u8>>) {
    use vectors::Value;
    match value {
        Value::String(text) if text.len() % 2 == 0 && (4..2600).contains(&text.len()) && all.len() < 40 => {
            let bytes: Option<Vec<u8>> = (0..text.len())
                .step_by(2)
                .map(|at| u8::from_str_radix(text.get(at..at + 2)?, 16).ok())
                .collect();
            all.extend(bytes.filter(|bytes| !all.contains(bytes)));
        }
        Value::Array(values) => values.iter().for_each(|value| collect(value, all)),
        Value::Object(values) => values.values().for_each(|value| collect(value, all)),
        _ => {}
    }
}

fn frames() -> Vec<Vec<u8>> {
    let params = Params {
        max_datagram: 1200,
        receive_budget_kib: 8192,
        max_message_kib: 4096,
        max_ack_delay_ms: 10,
        idle_timeout_s: 10,
        fec_max_data: 32,
        fec_max_parity: 8,
        flags: 0,
    };
    let data = Data { channel: 1, message: 300, piece: None, content: 0, payload: b"hello" };
    let piece = Data { piece: Some(Piece { offset: 64, total: 69 }), content: 3, ..data };
    let all = [
        Frame::Pad,
        Frame::Ping,
        Frame::Connected { params, cid: [7; 8] },
        Frame::Disconnect(Disconnect { reason: 5, code: 9, message: "why" }),
        Frame::Ack(Ack { largest: 77, delay: 3, recovered: 1, bitmap: &[0xa5; 8] }),
        Frame::PathChallenge([1; 8]),
        Frame::PathResponse([2; 8]),
        Frame::Fec(Fec { base: 5, data: 4, index: 0, parity: 2, bytes: &[9; 30] }),
        Frame::Credit { channel: 0, limit: 1 << 40 },
        Frame::NewCid { sequence: 3, cid: [8; 8] },
        Frame::Fin { channel: 0, message: 12 },
        Frame::Reset { channel: 1, message: 12, consumed: 4096, code: 3 },
        Frame::Data(data),
        Frame::Data(piece),
    ];
    let encode = |frame: &Frame<'_>, last| {
        let mut out = vec![0; frame.encoded_len(last)];
        frame.encode(&mut out, last).expect("sound");
        out
    };
    let mut seeds: Vec<Vec<u8>> = all.iter().map(|frame| encode(frame, true)).collect();
    seeds.push(all.iter().flat_map(|frame| encode(frame, false)).collect());
    seeds
}

fn trailers() -> Vec<Vec<u8>> {
    let mut out = vec![0; 900];
    let mut seeds = Vec::new();
    let connect = ConnectTrailer {
        version: 1,
        suites: 6,
        client_nonce: [1; 8],
        server_key_id: [2; 8],
        layout_hash: [3; 8],
    };
    let len = connect.encode(&mut out).expect("room");
    seeds.push(out[..len].to_vec());
    let challenge = ChallengeTrailer {
        version: 1,
        token_required: true,
        client_nonce: [1; 8],
        server_key: Some([4; 32]),
    };
    let len = challenge.encode(&mut out).expect("room");
    seeds.push(out[..len].to_vec());
    for token in [&[][..], &[5; 160]] {
        let response = Response { connect: &[6; 70], cookie: [7; 32], token, sealed: &[8; 44] };
        let (len, _) = response.encode(&mut out).expect("room");
        seeds.push(out[..len].to_vec());
    }
    seeds
}

fn compressed() -> Vec<Vec<u8>> {
    let plain: Vec<u8> = (0..600u32).flat_map(|i| format!("{{\"id\":{i}}}").into_bytes()).take(900).collect();
    let mut seeds = Vec::new();
    for (choice, method) in [(0x80u8, Method::LZ4), (0x83, Method::ZSTD)] {
        let mut compressor = BuiltinCompressor::new(&CompressionConfig::new(Algorithm::Zstd)).expect("valid");
        let mut packed = Vec::new();
        let told = compressor.compress(method, &plain, &mut packed).expect("built");
        assert!(matches!(told, Compressed::Smaller(..)));
        seeds.push([&[choice, 0, 0][..], &block(&packed), &plain].concat());
    }
    for hex in hex_of("compress") {
        seeds.extend([0x80, 0x81].map(|choice| [&[choice, 0, 0][..], &block(&hex)].concat()));
    }
    seeds
}
