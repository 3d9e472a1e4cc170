//! Every frame of PROTOCOL B5, written out byte by byte as its table says, beside the fields it stands for.

use serde_json::{Value, json};

use crate::{first, hex, made_up};

pub(crate) fn all() -> Value {
    json!({ "frames": frames(), "packets": packets(), "refused": refused() })
}

/// LEB128, as PROTOCOL A1 has it.
fn leb(mut value: u64) -> Vec<u8> {
    let mut out = Vec::new();
    while value >= 128 {
        out.push(value as u8 | 128);
        value >>= 7;
    }
    out.push(value as u8);
    out
}

fn eight(what: &str) -> [u8; 8] {
    first(&made_up(what, 0))
}

fn frames() -> Vec<Value> {
    let params = [0xb0, 0x04, 0x00, 0x10, 0x00, 0x04, 25, 30, 10, 3, 0x02, 0x01];
    let cid = eight("cid");
    let mut out = vec![
        json!({ "frame": "PAD", "bytes": "00" }),
        json!({
            "frame": "CONNECTED", "max_datagram": 1200, "receive_budget_kib": 4096, "max_message_kib": 1024,
            "max_ack_delay_ms": 25, "idle_timeout_s": 30, "fec_max_data": 10, "fec_max_parity": 3, "flags": 0x0102,
            "cid": hex(&cid), "bytes": hex(&[&[4][..], &params, &cid].concat()),
        }),
        json!({ "frame": "PING", "bytes": "06" }),
    ];
    for (reason, code, message) in [(0, 0, ""), (4, 7, "off with you"), (2, 0xfffe, "zu viel für mich")] {
        let bytes =
            [&[5, reason][..], &(code as u16).to_le_bytes(), &[message.len() as u8], message.as_bytes()]
                .concat();
        out.push(json!({
            "frame": "DISCONNECT", "reason": reason, "code": code, "message": message, "bytes": hex(&bytes),
        }));
    }
    let long: Vec<u8> = (0..4).flat_map(|n| made_up("bitmap", n)).collect();
    let two_words = [1, 2, 0, 0x80, 2, 0, 0, 0];
    // bits 0, 9 and 31 of the first word, bit 1 of the second
    let named: &[u32] = &[70_000, 69_999, 69_990, 69_968, 69_966];
    let acks = [
        (0, 0, 0, &[0; 4][..], &[0][..]),
        (70_000, 12, 3, &two_words, named),
        (u32::MAX, 255, 255, &long, &[]),
    ];
    for (largest, delay, recovered, bitmap, numbers) in acks {
        let words = (bitmap.len() / 4) as u8;
        let bytes = [&[9][..], &largest.to_le_bytes(), &[delay, recovered, words], bitmap].concat();
        let mut frame = json!({
            "frame": "ACK", "largest": largest, "delay": delay, "recovered": recovered, "bitmap": hex(bitmap),
            "bytes": hex(&bytes),
        });
        if !numbers.is_empty() {
            frame["acknowledged"] = json!(numbers);
        }
        out.push(frame);
    }
    for (frame, kind) in [("PATH_CHALLENGE", 10), ("PATH_RESPONSE", 11)] {
        let data = eight(frame);
        out.push(json!({ "frame": frame, "data": hex(&data), "bytes": hex(&[&[kind][..], &data].concat()) }));
    }
    let parity = made_up("parity", 0);
    let fec = [&[12][..], &70_000_u32.to_le_bytes(), &[10, 2, 3, 32, 0], &parity].concat();
    out.push(json!({
        "frame": "FEC", "base": 70_000, "data": 10, "index": 2, "parity": 3, "payload": hex(&parity),
        "bytes": hex(&fec),
    }));
    for (channel, limit) in [(0, 0), (255, 1 << 20), (1, u64::MAX)] {
        let bytes = [&[13, channel][..], &leb(limit)].concat();
        out.push(json!({ "frame": "CREDIT", "channel": channel, "limit": limit, "bytes": hex(&bytes) }));
    }
    for sequence in [1, 300, u32::MAX] {
        let bytes = [&[14][..], &leb(sequence.into()), &cid].concat();
        out.push(json!({ "frame": "NEW_CID", "sequence": sequence, "cid": hex(&cid), "bytes": hex(&bytes) }));
    }
    for (channel, message) in [(0, 1), (7, 128), (255, u32::MAX)] {
        let bytes = [&[15, channel][..], &leb(message.into())].concat();
        out.push(json!({ "frame": "FIN", "channel": channel, "message": message, "bytes": hex(&bytes) }));
        let (consumed, code) = (u64::from(message) * 1000, 0x0201_u16);
        let bytes = [&[16, channel][..], &leb(message.into()), &leb(consumed), &code.to_le_bytes()].concat();
        out.push(json!({
            "frame": "RESET", "channel": channel, "message": message, "consumed": consumed, "code": code,
            "bytes": hex(&bytes),
        }));
    }
    for mark in [1, u32::MAX] {
        let time = 3_600_000_000_u64 + u64::from(mark);
        let asked = mark.to_le_bytes();
        out.push(json!({ "frame": "TIME_ASK", "mark": mark, "bytes": hex(&[&[17][..], &asked].concat()) }));
        let bytes = [&[18][..], &asked, &time.to_le_bytes()].concat();
        out.push(json!({ "frame": "TIME", "mark": mark, "time": time, "bytes": hex(&bytes) }));
    }
    out.extend(data_frames());
    out.extend(stamped_frames());
    out
}

/// DATA whose message has a stamp: its time, and its error as three bits and how far they are shifted.
fn stamped_frames() -> Vec<Value> {
    let payload = made_up("stamped", 0);
    let cases: [(u64, u64, u8, u8, u64); 5] = [
        (0, 0, 0, 0, 0),
        (1_000_000, 7, 7, 0, 7),
        // 9 of 2, 8 of 4: a digit more than there is room for
        (3_600_000_000, 17, 5, 2, 20),
        (1 << 39, 31, 4, 3, 32),
        // the time beyond 40 bits is left out
        ((1 << 41) + 5, u32::MAX.into(), 4, 30, 1 << 32),
    ];
    let mut out = Vec::new();
    for (message, (time, error, digits, shift, told)) in (1u8..).zip(cases) {
        let stamp = [&time.to_le_bytes()[..5], &[shift << 3 | digits]].concat();
        let payload = [&stamp[..], &payload].concat();
        let bytes = [&[0x26, 1, message, 4][..], &payload].concat();
        out.push(json!({
            "frame": "DATA", "channel": 1, "message": message, "content": 4, "payload": hex(&payload),
            "bytes_last": hex(&bytes), "sent": time, "sent_error": error, "sent_error_told": told,
        }));
    }
    out
}

/// DATA in its eight forms: a piece or not, last or not, with content flags or without.
fn data_frames() -> Vec<Value> {
    let payload: Vec<u8> = (0..5).flat_map(|n| made_up("payload", n)).collect();
    let mut out = Vec::new();
    // whole; the first, a middle and the last piece of a message of 1000 bytes; an empty message
    let cases = [
        (1, None, 0, 5),
        (128, None, 1, 160),
        (u32::MAX, None, 3, 130),
        (2, None, 0, 0),
        (16_384, Some((0u32, 1000u32)), 0, 64),
        (16_384, Some((64, 1000)), 0, 150),
        (16_384, Some((999, 1000)), 0, 1),
        (5, Some((200_000, 4_000_000)), 3, 100),
    ];
    for (channel, (message, piece, content, len)) in (0u8..).zip(cases) {
        let payload = &payload[..len];
        let form = |last: bool| {
            let kind = 0x20 | u8::from(piece.is_some()) | u8::from(last) << 1 | u8::from(content != 0) << 2;
            let mut bytes = vec![kind, channel];
            bytes.extend(leb(message.into()));
            if let Some((offset, total)) = piece {
                bytes.extend([leb(offset.into()), leb(total.into())].concat());
            }
            if content != 0 {
                bytes.push(content);
            }
            if !last {
                bytes.extend(leb(len as u64));
            }
            hex(&[&bytes[..], payload].concat())
        };
        let mut frame = json!({
            "frame": "DATA", "channel": channel, "message": message, "content": content, "payload": hex(payload),
            "bytes": form(false), "bytes_last": form(true),
        });
        if let Some((offset, total)) = piece {
            frame["offset"] = json!(offset);
            frame["total"] = json!(total);
        }
        out.push(frame);
    }
    out
}

/// Plaintexts of more than one frame, with the types they hold in order.
fn packets() -> Vec<Value> {
    let ack = [9, 9, 0, 0, 0, 4, 0, 1, 0xff, 1, 0, 0];
    let whole = [0x20, 1, 3, 2, 0xaa, 0xbb];
    let last = [0x22, 0, 4, 0xcc];
    let challenge = [&[10][..], &eight("PATH_CHALLENGE")].concat();
    json!([
        { "frames": ["ACK", "DATA", "DATA"], "bytes": hex(&[&ack[..], &whole, &last].concat()) },
        { "frames": ["PATH_CHALLENGE", "PAD", "PAD"], "bytes": hex(&[&challenge[..], &[0, 0]].concat()) },
        { "frames": ["PING", "DATA"], "bytes": hex(&[&[6][..], &last].concat()) },
    ])
    .as_array()
    .cloned()
    .unwrap_or_default()
}

/// Plaintexts whose receiver closes with `protocol error`.
fn refused() -> Vec<Value> {
    let piece = |offset: u32, total: u32, len: usize| {
        [&[0x23, 0, 1][..], &leb(offset.into()), &leb(total.into()), &vec![7; len]].concat()
    };
    let cases: Vec<(&str, Vec<u8>)> = vec![
        ("no frame at all", vec![]),
        ("an unknown type", vec![0x11]),
        ("a type beyond DATA", vec![0x28, 0, 1, 0]),
        ("a type of part A", vec![3]),
        ("an unknown type after a good frame", vec![6, 0x77]),
        ("CONNECTED ends early", vec![4; 20]),
        ("DISCONNECT whose text is longer than the packet", vec![5, 0, 0, 0, 2, b'a']),
        ("DISCONNECT whose text is not UTF-8", vec![5, 0, 0, 0, 1, 0xff]),
        ("ACK of no words", vec![9, 0, 0, 0, 0, 0, 0, 0]),
        ("ACK of 33 words", [&[9, 0, 0, 0, 0, 0, 0, 33][..], &[0; 132]].concat()),
        ("ACK ends early", vec![9, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0]),
        ("PATH_CHALLENGE ends early", vec![10; 8]),
        ("PATH_RESPONSE ends early", vec![11; 8]),
        ("FEC ends early", vec![12, 0, 0, 0, 0, 1, 0, 1, 2, 0, 0]),
        ("CREDIT whose limit ends early", vec![13, 0, 0x80]),
        ("CREDIT whose limit exceeds 64 bits", [&[13, 0][..], &[0xff; 9], &[2]].concat()),
        ("NEW_CID ends early", vec![14, 1, 0, 0, 0, 0, 0, 0, 0]),
        ("NEW_CID whose number exceeds 32 bits", [&[14][..], &[0xff; 4], &[0x10], &[0; 8]].concat()),
        ("FIN without a number", vec![15, 0]),
        ("RESET without a code", vec![16, 0, 1, 1]),
        ("DATA longer than the packet", vec![0x20, 0, 1, 3, 1, 2]),
        ("a piece of 63 bytes before the end of its message", piece(0, 1000, 63)),
        ("a piece that goes beyond its message", piece(990, 1000, 64)),
        ("a piece that begins after its message", piece(1001, 1000, 64)),
    ];
    cases.into_iter().map(|(why, bytes)| json!({ "why": why, "bytes": hex(&bytes) })).collect()
}
