//! The recorded primitives and handshake packets of the base protocol, case by case. Where we read more
//! strictly than the recorded peer, the test names the rule.

use fastwire_testkit::vectors::{Value, cases, hex, load, number};
use fastwire_wire::*;

/// The error texts of the recorded peer.
fn recorded_text(error: DecodeError) -> &'static str {
    match error {
        DecodeError::BufferTooSmall { .. } => "buffer too small",
        DecodeError::VarIntOverflow => "VarInt overflow",
        DecodeError::VarLongOverflow => "VarLong overflow",
        DecodeError::NegativeStringLength { .. } => "negative string length",
        DecodeError::InvalidPacketHeader { .. } => "invalid packet header",
        DecodeError::InvalidBatchFrame { .. } => "invalid batch frame",
        DecodeError::InvalidHandshake { .. } => "invalid handshake packet",
        other => panic!("the recorded peer has no such error: {other}"),
    }
}

/// Compares a decoded value and its length, or the error, with the case.
#[track_caller]
fn check<T: PartialEq + std::fmt::Debug>(case: &Value, decoded: Result<(T, usize), DecodeError>, value: T) {
    match (decoded, case["error"].as_str()) {
        (Ok((got, consumed)), None) => {
            assert_eq!(got, value, "{case}");
            assert_eq!(consumed as u64, number(&case["consumed"]), "{case}");
        }
        (Err(error), Some(text)) => assert_eq!(recorded_text(error), text, "{case}"),
        (decoded, _) => panic!("{decoded:?} instead of {case}"),
    }
}

fn u32_of(value: &Value) -> u32 {
    number(value).try_into().unwrap()
}

fn u16_of(value: &Value) -> u16 {
    number(value).try_into().unwrap()
}

fn u8_of(value: &Value) -> u8 {
    number(value).try_into().unwrap()
}

fn array<const N: usize>(value: &Value) -> [u8; N] {
    hex(value).try_into().unwrap()
}

#[test]
fn vectors_constants() {
    let constants = &load("primitives")["constants"];
    assert_eq!(number(&constants["ProtocolVersion"]), u64::from(PROTOCOL_VERSION));
    for (name, ours) in [
        ("DefaultMTU", DEFAULT_MTU),
        ("FragmentHeaderSize", FRAGMENT_HEADER_SIZE),
        ("MaxFragmentPayload", MAX_FRAGMENT_PAYLOAD),
        ("MaxFragments", MAX_FRAGMENTS),
        ("MaxHeaderSize", MAX_HEADER_SIZE),
        ("WireOverhead", WIRE_OVERHEAD),
    ] {
        assert_eq!(number(&constants[name]), ours as u64, "{name}");
    }
}

#[test]
fn vectors_varint() {
    let file = load("primitives");
    for case in cases(&file["varint_encode"]) {
        let (mut out, value) = ([0; 5], u32_of(&case["value"]));
        let len = put_varint(&mut out, value).unwrap();
        assert_eq!(out[..len], hex(&case["hex"]), "{case}");
        assert_eq!(read_varint(&out[..len]), Ok((value, len)), "{case}");
    }
    for case in cases(&file["varint_decode"]) {
        let input = hex(&case["hex"]);
        if case["error"].is_null() && input.get(4).is_some_and(|&fifth| fifth > 0x0f) {
            // PROTOCOL A1: bits above the 32nd are an overflow; the recorded peer cuts them.
            assert_eq!(read_varint(&input), Err(DecodeError::VarIntOverflow), "{case}");
        } else {
            check(case, read_varint(&input), u32_of(&case["value"]));
        }
    }
}

#[test]
fn vectors_varlong() {
    let file = load("primitives");
    for case in cases(&file["varlong_encode"]) {
        let (mut out, value) = ([0; 10], number(&case["value"]));
        let len = put_varlong(&mut out, value).unwrap();
        assert_eq!(out[..len], hex(&case["hex"]), "{case}");
        assert_eq!(read_varlong(&out[..len]), Ok((value, len)), "{case}");
    }
    for case in cases(&file["varlong_decode"]) {
        let input = hex(&case["hex"]);
        if case["error"].is_null() && input.get(9).is_some_and(|&tenth| tenth > 0x01) {
            // PROTOCOL A1: bits above the 64th are an overflow; the recorded peer cuts them.
            assert_eq!(read_varlong(&input), Err(DecodeError::VarLongOverflow), "{case}");
        } else {
            check(case, read_varlong(&input), number(&case["value"]));
        }
    }
}

#[test]
fn vectors_string() {
    let file = load("primitives");
    for case in cases(&file["string_encode"]) {
        let (bytes, encoded) = (hex(&case["utf8_hex"]), hex(&case["hex"]));
        let Ok(text) = std::str::from_utf8(&bytes) else {
            // PROTOCOL A1: a string is UTF-8; the recorded peer carries any bytes.
            assert!(matches!(read_string(&encoded), Err(DecodeError::InvalidUtf8 { .. })), "{case}");
            continue;
        };
        let mut out = vec![0; encoded.len()];
        assert_eq!(put_string(&mut out, text), Ok(encoded.len()), "{case}");
        assert_eq!(out, encoded, "{case}");
    }
    for case in cases(&file["string_decode"]) {
        let (input, value) = (hex(&case["hex"]), hex(&case["value_hex"]));
        match std::str::from_utf8(&value) {
            Ok(text) => check(case, read_string(&input), text),
            // PROTOCOL A1: a string is UTF-8.
            Err(_) => assert!(matches!(read_string(&input), Err(DecodeError::InvalidUtf8 { .. })), "{case}"),
        }
    }
    let limits = &file["string_limits"];
    let (mut out, text) = (vec![0; 40_000], "x".repeat(32_768));
    assert_eq!(put_string(&mut out, &text[1..]).unwrap() as u64, number(&limits["len_32767_written"]));
    assert_eq!(out[..2], hex(&limits["len_32767_prefix"]));
    let error = put_string(&mut out, &text).unwrap_err();
    assert!(error.to_string().ends_with("exceeds 32767 bytes"), "{error}");
    assert!(limits["len_32768_error"].as_str().unwrap().ends_with("exceeds 32767 bytes"));
}

#[test]
fn vectors_uuid() {
    for case in cases(&load("primitives")["uuid"]) {
        let (wire, text) = (hex(&case["hex"]), case["text"].as_str().unwrap());
        let id = Uuid::from_ints(number(&case["msb"]), number(&case["lsb"]));
        let mut out = [0; 16];
        assert_eq!(put_uuid(&mut out, id), Ok(16));
        assert_eq!(out[..], wire, "{case}");
        assert_eq!(read_uuid(&wire), Ok((id, 16)), "{case}");
        assert_eq!((id.to_string().as_str(), text.parse()), (text, Ok(id)), "{case}");
        assert_eq!((id.msb(), id.lsb()), (number(&case["msb"]), number(&case["lsb"])), "{case}");
    }
}

fn header(case: &Value) -> PacketHeader {
    PacketHeader {
        flags: PacketFlags::from_bits(u8_of(&case["flags"])),
        channel: u8_of(&case["channel"]),
        sequence: u32_of(&case["sequence"]),
        ack: u32_of(&case["ack"]),
        ack_field: u32_of(&case["ack_field"]),
    }
}

#[test]
fn vectors_packet_header() {
    let file = load("primitives");
    for case in cases(&file["header_encode"]) {
        let mut out = [0; PacketHeader::MAX_LEN];
        let len = header(case).encode(&mut out).unwrap();
        assert_eq!(out[..len], hex(&case["hex"]), "{case}");
        assert_eq!(PacketHeader::decode(&out[..len]), Ok((header(case), len)), "{case}");
    }
    for case in cases(&file["header_decode"]) {
        check(case, PacketHeader::decode(&hex(&case["hex"])), header(case));
    }
}

#[test]
fn vectors_fragment_header() {
    let file = load("primitives");
    for case in cases(&file["fragment_header"]) {
        let header = FragmentHeader {
            id: u16_of(&case["id"]),
            index: u8_of(&case["index"]),
            count: u8_of(&case["count"]),
            flags: FragmentFlags::from_bits(u8_of(&case["flags"])),
        };
        let (wire, mut out) = (hex(&case["hex"]), [0; FragmentHeader::LEN]);
        if header.count == 0 {
            // PROTOCOL A7: count 0 is refused; the recorded peer refuses it one layer further up.
            assert!(FragmentHeader::decode(&wire).is_err() && header.encode(&mut out).is_err());
            continue;
        }
        assert_eq!(header.encode(&mut out), Ok(FragmentHeader::LEN), "{case}");
        assert_eq!(out[..], wire, "{case}");
        assert_eq!(FragmentHeader::decode(&wire), Ok((header, FragmentHeader::LEN)), "{case}");
    }
    for case in cases(&file["split"]) {
        let len = number(&case["len"]) as usize;
        let Some(count) = fragment_count(len, MAX_FRAGMENT_PAYLOAD) else {
            assert_eq!(case["error"], "message too large", "{case}");
            continue;
        };
        let last = len - (usize::from(count) - 1) * MAX_FRAGMENT_PAYLOAD;
        let first = len.min(MAX_FRAGMENT_PAYLOAD);
        assert_eq!(u64::from(count), number(&case["count"]), "{case}");
        assert_eq!((first + FragmentHeader::LEN) as u64, number(&case["first_len"]), "{case}");
        assert_eq!((last + FragmentHeader::LEN) as u64, number(&case["last_len"]), "{case}");
    }
}

#[test]
fn vectors_batch() {
    let file = load("primitives");
    for case in cases(&file["batch_encode"]) {
        let (wire, mut out) = (hex(&case["hex"]), [0; DEFAULT_MTU]);
        let mut writer = BatchWriter::new(&mut out);
        for packet in cases(&case["packets"]) {
            writer.push(&hex(packet)).unwrap();
        }
        let len = writer.finish();
        assert_eq!(out[..len], wire, "{case}");
    }
    for case in cases(&file["batch_decode"]) {
        let input = hex(&case["hex"]);
        match BatchReader::new(&input) {
            Ok(packets) => {
                let expected: Vec<Vec<u8>> = cases(&case["packets"]).iter().map(hex).collect();
                assert!(case["error"].is_null() && packets.eq(expected), "{case}");
            }
            Err(error) => assert_eq!(recorded_text(error), case["error"], "{case}"),
        }
    }
}

/// The control payload of a bare datagram, which must lead back to the same datagram.
#[track_caller]
fn bare(wire: &[u8]) -> Control {
    let (header, len) = PacketHeader::decode(wire).unwrap();
    assert_eq!(header, PacketHeader::control(0, 0, 0));
    let (prefix, payload) = wire.split_at(len);
    assert_eq!(prefix, CONTROL_PREFIX);
    let (control, consumed) = Control::decode(payload).unwrap();
    assert_eq!(consumed, payload.len());
    let mut out = [0; CONTROL_PREFIX.len() + Control::MAX_LEN];
    let len = control.encode_bare(&mut out).unwrap();
    assert_eq!(out[..len], *wire);
    control
}

#[test]
fn vectors_connect_and_challenge() {
    let file = load("handshake_codec");
    for case in cases(&file["connect"]) {
        let hash = &case["dict_hash"];
        let connect = Connect {
            version: u8_of(&case["protocol"]),
            application_version: u16_of(&case["app"]),
            public_key: array(&case["public"]),
            cipher: u8_of(&case["cipher"]),
            compression: u8_of(&case["compression"]),
            dictionary_hash: (hash != "").then(|| array(hash)),
            features: Features::from_bits(u8_of(&case["features"])),
        };
        assert_eq!(bare(&hex(&case["hex"])), connect.into(), "{case}");
    }
    for case in cases(&file["challenge"]) {
        let features = Features::from_bits(u8_of(&case["features"]));
        let migrates = features.contains(Features::CONNECTION_MIGRATION);
        let challenge = Challenge {
            version: u8_of(&case["protocol"]),
            application_version: u16_of(&case["app"]),
            public_key: array(&case["public"]),
            token: array(&case["challenge_token"]),
            cipher: u8_of(&case["cipher"]),
            compression_ack: u8_of(&case["compression_ack"]),
            features,
            migration_token: migrates.then(|| array(&case["migration_token"])),
        };
        assert_eq!(bare(&hex(&case["hex"])), challenge.into(), "{case}");
    }
}

#[test]
fn vectors_small_controls() {
    let file = load("handshake_codec");
    let response = &file["response_plaintext"];
    let token = array(&response["challenge_token"]);
    assert_eq!(bare(&hex(&response["hex"])), Control::Response { token });
    let mismatch = &file["version_mismatch"];
    let versions = VersionMismatch {
        version: u8_of(&mismatch["protocol"]),
        application_version: u16_of(&mismatch["app"]),
    };
    assert_eq!(bare(&hex(&mismatch["hex"])), versions.into());
    assert_eq!(bare(&hex(&file["reject_full"])), Reject { reason: RejectReason::SERVER_FULL }.into());
    assert_eq!(bare(&hex(&file["reject_banned"])), Reject { reason: RejectReason::BANNED }.into());
    assert_eq!(bare(&hex(&file["disconnect_plaintext"])), Control::Disconnect);

    let heartbeat = hex(&file["heartbeat_plaintext_ch2_ack5_field15"]);
    let (header, len) = PacketHeader::decode(&heartbeat).unwrap();
    assert_eq!(header, PacketHeader::control(2, 5, 15));
    assert_eq!(Control::decode(&heartbeat[len..]), Ok((Control::Heartbeat, 1)));
}

/// Which CONNECT variants a server can read at all, and the replies it gave.
#[test]
fn vectors_server_reactions() {
    for case in cases(&load("handshake_codec")["server_reactions"]) {
        let wire = hex(&case["connect"]);
        let (header, len) = PacketHeader::decode(&wire).unwrap();
        if !header.is_control() {
            assert_eq!(case["error"], "invalid handshake packet", "{case}");
            continue;
        }
        let decoded = Control::decode(&wire[len..]);
        match decoded {
            Ok((Control::Connect(connect), consumed)) => {
                assert_ne!(case["error"], "invalid handshake packet", "{case}");
                let reply = &case["reply"];
                if !reply.is_null() {
                    // The recorded server agrees to whatever it offers itself: features 01 and 02.
                    let offered = Features::SEND_BATCHING | Features::CONNECTION_MIGRATION;
                    let agreed = connect.features & offered;
                    assert_eq!(u64::from(agreed.bits()), number(&reply["features"]), "{case}");
                    assert_eq!(u64::from(connect.cipher), number(&reply["cipher"]), "{case}");
                }
                if case["name"] == "trailing bytes" {
                    assert_eq!(wire[len + consumed..], [1, 2, 3]);
                }
            }
            Err(error) => assert_eq!(recorded_text(error), case["error"], "{case}"),
            other => panic!("{other:?} instead of {case}"),
        }
        if case["reply_hex"].is_string() {
            assert!(matches!(bare(&hex(&case["reply_hex"])), Control::VersionMismatch(_)), "{case}");
        }
    }
}
