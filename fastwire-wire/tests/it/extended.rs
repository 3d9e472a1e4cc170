//! The extended profile's bytes: what is written is read back, and no bytes make trouble.

use fastwire_wire::extended::*;
use fastwire_wire::{DecodeError, EncodeError};
use proptest::collection::vec;
use proptest::prelude::*;

/// A frame that owns its bytes, to borrow frames from.
#[derive(Debug, Clone)]
struct Seed {
    kind: u8,
    bytes: Vec<u8>,
    text: String,
    words: usize,
    numbers: (u32, u32, u64),
    eight: [u8; 8],
    small: (u8, u8, u8, u16),
    piece: Option<(u32, u32)>,
    params: [u8; 12],
}

fn seeds() -> impl Strategy<Value = Seed> {
    (
        (0..15_u8, vec(any::<u8>(), 0..300), "[a-zé]{0,40}", 1..=Ack::MAX_WORDS),
        (any::<(u32, u32, u64)>(), any::<[u8; 8]>(), any::<(u8, u8, u8, u16)>()),
        (proptest::option::of((0..10_000_u32, 0..10_000_u32)), any::<[u8; 12]>()),
    )
        .prop_map(|((kind, bytes, text, words), (numbers, eight, small), (piece, params))| Seed {
            kind,
            bytes,
            text,
            words,
            numbers,
            eight,
            small,
            piece,
            params,
        })
}

fn frame<'a>(seed: &'a Seed, bitmap: &'a mut Vec<u8>) -> Frame<'a> {
    let (a, b, long) = seed.numbers;
    let (x, y, z, code) = seed.small;
    match seed.kind {
        0 => Frame::Pad,
        1 => Frame::Connected { params: Params::decode(&seed.params).expect("12 bytes").0, cid: seed.eight },
        2 => Frame::Disconnect(Disconnect { reason: x, code, message: &seed.text }),
        3 => Frame::Ping,
        4 => {
            *bitmap = seed
                .bytes
                .iter()
                .copied()
                .cycle()
                .take(if seed.bytes.is_empty() { 0 } else { seed.words * 4 })
                .collect();
            bitmap.resize(seed.words * 4, 0);
            Frame::Ack(Ack { largest: a, delay: x, recovered: y, bitmap })
        }
        5 => Frame::PathChallenge(seed.eight),
        6 => Frame::PathResponse(seed.eight),
        7 => Frame::Fec(Fec { base: a, data: x, index: y, parity: z, bytes: &seed.bytes }),
        8 => Frame::Credit { channel: x, limit: long },
        9 => Frame::NewCid { sequence: a, cid: seed.eight },
        10 => Frame::Fin { channel: x, message: a },
        11 => Frame::Reset { channel: x, message: b, consumed: long, code },
        12 => Frame::TimeAsk { mark: a },
        13 => Frame::Time { mark: b, time: long },
        _ => {
            let piece = seed.piece.map(|(offset, beyond)| {
                // Either it reaches the end, or it is large enough.
                let beyond = if seed.bytes.len() < MIN_PIECE { 0 } else { beyond };
                Piece { offset, total: offset + seed.bytes.len() as u32 + beyond }
            });
            Frame::Data(Data { channel: x, message: a, piece, content: z, payload: &seed.bytes })
        }
    }
}

proptest! {
    #[test]
    fn frames_are_read_as_they_were_written(seeds in vec(seeds(), 1..12)) {
        let mut bitmaps = vec![Vec::new(); seeds.len()];
        let frames: Vec<Frame<'_>> = seeds.iter().zip(&mut bitmaps).map(|(seed, bitmap)| frame(seed, bitmap)).collect();
        let mut packet = Vec::new();
        for (index, frame) in frames.iter().enumerate() {
            let last = index + 1 == frames.len();
            let mut out = vec![0; frame.encoded_len(last)];
            prop_assert_eq!(frame.encode(&mut out, last), Ok(out.len()));
            if let Some(short) = out.len().checked_sub(1) {
                let too_small = matches!(frame.encode(&mut vec![0; short], last), Err(EncodeError::BufferTooSmall { .. }));
                prop_assert!(too_small, "one byte less is refused");
            }
            packet.extend_from_slice(&out);
        }
        let read: Result<Vec<_>, _> = Frames::new(&packet).expect("not empty").collect();
        prop_assert_eq!(&read, &Ok(frames.clone()));
        // Whoever passes over padding misses nothing else.
        let (mut reader, mut rest) = (Frames::new(&packet).expect("not empty"), Vec::new());
        while let Some(frame) = reader.next() {
            reader.skip_padding();
            rest.push(frame.expect("written"));
        }
        // Whoever asks for DATA first reads the same.
        let (mut reader, mut all) = (Frames::new(&packet).expect("not empty"), Vec::new());
        while let Some(frame) = reader.next_data().map(|data| data.map(Frame::Data)).or_else(|| reader.next()) {
            all.push(frame.expect("written"));
        }
        prop_assert_eq!(&all, &frames);
        let mut sparse = frames;
        let mut first = true;
        sparse.retain(|frame| std::mem::take(&mut first) || *frame != Frame::Pad);
        prop_assert_eq!(rest, sparse);
    }

    #[test]
    fn any_bytes_are_frames_or_an_error(bytes in vec(any::<u8>(), 0..200)) {
        let Ok(frames) = Frames::new(&bytes) else { return Ok(()) };
        let (mut reader, mut all) = (frames.clone(), Vec::new());
        while let Some(frame) = reader.next_data().map(|data| data.map(Frame::Data)).or_else(|| reader.next()) {
            all.push(frame);
        }
        prop_assert_eq!(all, frames.clone().collect::<Vec<_>>());
        let mut at = 0;
        for frame in frames {
            let Ok(frame) = frame else { break };
            // What was read can be written, and is no longer than what it was read from.
            let mut out = vec![0; 256];
            let len = frame.encode(&mut out, false).expect("read, so it can be written");
            at += len.min(1);
            prop_assert!(at <= bytes.len());
        }
    }

    #[test]
    fn acknowledged_numbers_are_the_bits_set(bitmap in vec(any::<u8>(), 4..=128)) {
        let bitmap = &bitmap[..bitmap.len() / 4 * 4];
        let ack = Ack { largest: 9, delay: 0, recovered: 0, bitmap };
        let mut expected = vec![0];
        for (w, word) in bitmap.chunks_exact(4).enumerate() {
            let word = u32::from_le_bytes(word.try_into().expect("4 bytes"));
            expected.extend((0..32_u32).filter(|i| word >> i & 1 == 1).map(|i| 1 + 32 * w as u32 + i));
        }
        prop_assert_eq!(ack.numbers().collect::<Vec<_>>(), expected.clone());
        // Logs show the same.
        prop_assert_eq!(format!("{ack:?}"), format!("Ack(9 and below: {expected:?}, delay 0, recovered 0)"));
    }

    /// PROTOCOL B4: everything but ACK, PAD and DISCONNECT.
    #[test]
    fn all_but_three_kinds_of_frame_ask_for_an_acknowledgement(seed in seeds()) {
        let mut bitmap = Vec::new();
        prop_assert_eq!(frame(&seed, &mut bitmap).is_ack_eliciting(), ![0, 2, 4].contains(&seed.kind));
    }

    #[test]
    fn trailers_and_params_survive_the_wire(suites: u8, nonce: [u8; 8], id: [u8; 8], layout: [u8; 8], key: Option<[u8; 32]>, token: bool, params: [u8; 12]) {
        let mut out = [0; 64];
        let connect = ConnectTrailer { version: EXTENDED_VERSION, suites, client_nonce: nonce, server_key_id: id, layout_hash: layout };
        let len = connect.encode(&mut out).expect("fits");
        prop_assert_eq!(len, ConnectTrailer::LEN);
        prop_assert_eq!(ConnectTrailer::decode(&out), Ok((connect, len)));
        prop_assert!(ConnectTrailer::decode(&out[..len - 1]).is_err());

        let challenge = ChallengeTrailer { version: EXTENDED_VERSION, token_required: token, client_nonce: nonce, server_key: key };
        let len = challenge.encode(&mut out).expect("fits");
        prop_assert_eq!(ChallengeTrailer::decode(&out, key.is_some()), Ok((challenge, len)));

        let refusal = RefusalTrailer { client_nonce: nonce };
        let len = refusal.encode(&mut out).expect("fits");
        prop_assert_eq!(RefusalTrailer::decode(&out), Ok((refusal, len)));

        let (read, _) = Params::decode(&params).expect("12 bytes");
        read.encode(&mut out).expect("fits");
        prop_assert_eq!(&out[..Params::LEN], &params);
    }

    #[test]
    fn responses_survive_the_wire(connect in vec(any::<u8>(), 0..300), cookie: [u8; 32], token in vec(any::<u8>(), 0..300), sealed in vec(any::<u8>(), 0..500), noise in vec(any::<u8>(), 0..900)) {
        let response = Response { connect: &connect, cookie, token: &token, sealed: &sealed };
        let mut out = vec![0; 1200];
        let length = 45 + connect.len() + token.len() + sealed.len();
        if length > Response::MAX_LEN {
            prop_assert_eq!(response.encode(&mut out), Err(EncodeError::ResponseTooLong { length }));
        } else {
            let (len, associated) = response.encode(&mut out).expect("fits");
            prop_assert_eq!(len, length);
            prop_assert_eq!(Response::decode(&out[..len]), Ok((response, associated)));
            prop_assert_eq!(associated + sealed.len(), len);
        }
        let _ = Response::decode(&noise);
    }
}

#[test]
fn a_response_may_be_as_long_as_it_is_said_and_no_longer() {
    let sealed = [7; Response::MAX_LEN];
    let room = Response::MAX_LEN - 45;
    let response = |sealed| Response { connect: &[], cookie: [1; 32], token: &[], sealed };
    let mut out = [0; 2 * Response::MAX_LEN];
    assert_eq!(response(&sealed[..room]).encode(&mut out).map(|(length, _)| length), Ok(Response::MAX_LEN));
    let longer = EncodeError::ResponseTooLong { length: Response::MAX_LEN + 1 };
    assert_eq!(response(&sealed[..room + 1]).encode(&mut out), Err(longer));
    assert!(Response::decode(&out[..Response::MAX_LEN]).is_ok());
    assert!(Response::decode(&out[..Response::MAX_LEN + 1]).is_err());
}

#[test]
fn a_lone_data_frame_adds_at_most_seven_bytes() {
    let data = Data { channel: 255, message: u32::MAX, piece: None, content: 0, payload: b"shot" };
    assert_eq!(data.overhead(true), 7);
}

#[test]
fn small_pieces_and_pieces_outside_their_message_are_refused() {
    let payload = [7; 100];
    let encode = |offset, total, len: usize| {
        let piece = Some(Piece { offset, total });
        Frame::Data(Data { channel: 0, message: 1, piece, content: 0, payload: &payload[..len] })
            .encode(&mut [0; 200], true)
    };
    assert!(encode(0, 1000, 64).is_ok());
    assert!(encode(999, 1000, 1).is_ok());
    for (offset, total, len) in [(0, 1000, 63), (999, 1000, 2), (1001, 1000, 64), (u32::MAX, 3, 64)] {
        assert_eq!(
            encode(offset, total, len),
            Err(EncodeError::InvalidFrame { kind: 0x23 }),
            "{offset} {total} {len}"
        );
    }
    // The same, read: type, channel, message 1, offset 0, total 1000, then 63 bytes.
    let mut bytes = vec![0x23, 0, 1, 0, 0xe8, 0x07];
    bytes.extend_from_slice(&[7; 63]);
    let read: Result<Vec<_>, _> = Frames::new(&bytes).expect("not empty").collect();
    assert_eq!(read, Err(DecodeError::InvalidFrame { kind: 0x23 }));
    assert_eq!(Frames::new(&[]).err(), Some(DecodeError::BufferTooSmall { needed: 1, available: 0 }));
    let unknown: Result<Vec<_>, _> = Frames::new(&[0x77]).expect("not empty").collect();
    assert_eq!(unknown, Err(DecodeError::UnknownFrame { kind: 0x77 }));
}

#[test]
fn transport_parameters_are_valid_within_their_ranges() {
    let least = Params {
        max_datagram: 1200,
        receive_budget_kib: 0,
        max_message_kib: 1,
        max_ack_delay_ms: 0,
        idle_timeout_s: 3,
        fec_max_data: 0,
        fec_max_parity: 0,
        flags: 0,
    };
    let most = Params {
        max_datagram: u16::MAX,
        receive_budget_kib: u16::MAX,
        max_message_kib: u16::MAX,
        max_ack_delay_ms: 120,
        idle_timeout_s: u8::MAX,
        fec_max_data: u8::MAX,
        fec_max_parity: u8::MAX,
        flags: u16::MAX,
    };
    for params in [least, most] {
        assert!(params.is_valid(), "{params:?}");
        for wrong in [
            Params { max_datagram: 1199, ..params },
            Params { max_message_kib: 0, ..params },
            Params { max_ack_delay_ms: 121, ..params },
            Params { idle_timeout_s: 2, ..params },
        ] {
            assert!(!wrong.is_valid(), "{wrong:?}");
        }
    }
}
