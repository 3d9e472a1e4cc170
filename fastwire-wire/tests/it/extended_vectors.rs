//! Frames of the extended profile, byte for byte.

use fastwire_testkit::vectors::{Value, cases, extended_load, hex, number};
use fastwire_wire::extended::*;

/// The fields of one case, with the bytes that a frame borrows.
struct Fields<'a> {
    case: &'a Value,
    bitmap: Vec<u8>,
    payload: Vec<u8>,
}

impl<'a> Fields<'a> {
    fn of(case: &'a Value) -> Self {
        let bytes = |field: &str| if case[field].is_null() { Vec::new() } else { hex(&case[field]) };
        Self { case, bitmap: bytes("bitmap"), payload: bytes("payload") }
    }

    fn get<T: TryFrom<u64>>(&self, field: &str) -> T {
        T::try_from(number(&self.case[field])).ok().unwrap_or_else(|| panic!("{field} of {}", self.case))
    }

    fn eight(&self, field: &str) -> [u8; 8] {
        hex(&self.case[field]).try_into().expect("8 bytes")
    }

    fn frame(&self) -> Frame<'_> {
        match self.case["frame"].as_str().expect("a name") {
            "PAD" => Frame::Pad,
            "PING" => Frame::Ping,
            "CONNECTED" => Frame::Connected {
                params: Params {
                    max_datagram: self.get("max_datagram"),
                    receive_budget_kib: self.get("receive_budget_kib"),
                    max_message_kib: self.get("max_message_kib"),
                    max_ack_delay_ms: self.get("max_ack_delay_ms"),
                    idle_timeout_s: self.get("idle_timeout_s"),
                    fec_max_data: self.get("fec_max_data"),
                    fec_max_parity: self.get("fec_max_parity"),
                    flags: self.get("flags"),
                },
                cid: self.eight("cid"),
            },
            "DISCONNECT" => Frame::Disconnect(Disconnect {
                reason: self.get("reason"),
                code: self.get("code"),
                message: self.case["message"].as_str().expect("a text"),
            }),
            "ACK" => Frame::Ack(Ack {
                largest: self.get("largest"),
                delay: self.get("delay"),
                recovered: self.get("recovered"),
                bitmap: &self.bitmap,
            }),
            "PATH_CHALLENGE" => Frame::PathChallenge(self.eight("data")),
            "PATH_RESPONSE" => Frame::PathResponse(self.eight("data")),
            "FEC" => Frame::Fec(Fec {
                base: self.get("base"),
                data: self.get("data"),
                index: self.get("index"),
                parity: self.get("parity"),
                bytes: &self.payload,
            }),
            "CREDIT" => Frame::Credit { channel: self.get("channel"), limit: self.get("limit") },
            "NEW_CID" => Frame::NewCid { sequence: self.get("sequence"), cid: self.eight("cid") },
            "FIN" => Frame::Fin { channel: self.get("channel"), message: self.get("message") },
            "RESET" => Frame::Reset {
                channel: self.get("channel"),
                message: self.get("message"),
                consumed: self.get("consumed"),
                code: self.get("code"),
            },
            "TIME_ASK" => Frame::TimeAsk { mark: self.get("mark") },
            "TIME" => Frame::Time { mark: self.get("mark"), time: self.get("time") },
            "DATA" => {
                let offset = self.case.get("offset").map(|_| self.get("offset"));
                Frame::Data(Data {
                    channel: self.get("channel"),
                    message: self.get("message"),
                    piece: offset.map(|offset| Piece { offset, total: self.get("total") }),
                    content: self.get("content"),
                    payload: &self.payload,
                })
            }
            other => panic!("no frame {other}"),
        }
    }
}

fn written(frame: &Frame<'_>, last: bool) -> Vec<u8> {
    let mut out = vec![0; frame.encoded_len(last)];
    assert_eq!(frame.encode(&mut out, last), Ok(out.len()));
    out
}

fn read(bytes: &[u8]) -> Result<Vec<Frame<'_>>, fastwire_wire::DecodeError> {
    Frames::new(bytes)?.collect()
}

/// What PROTOCOL B5 calls it.
fn name_of(frame: &Frame<'_>) -> &'static str {
    match frame {
        Frame::Pad => "PAD",
        Frame::Connected { .. } => "CONNECTED",
        Frame::Disconnect(_) => "DISCONNECT",
        Frame::Ping => "PING",
        Frame::Ack(_) => "ACK",
        Frame::PathChallenge(_) => "PATH_CHALLENGE",
        Frame::PathResponse(_) => "PATH_RESPONSE",
        Frame::Fec(_) => "FEC",
        Frame::Credit { .. } => "CREDIT",
        Frame::NewCid { .. } => "NEW_CID",
        Frame::Fin { .. } => "FIN",
        Frame::Reset { .. } => "RESET",
        Frame::TimeAsk { .. } => "TIME_ASK",
        Frame::Time { .. } => "TIME",
        Frame::Data(_) => "DATA",
        other => panic!("{other:?} is not in the vectors"),
    }
}

#[test]
fn vectors_of_frames_are_read_and_written_byte_for_byte() {
    let file = extended_load("frames");
    let mut names = std::collections::BTreeSet::new();
    for case in cases(&file["frames"]) {
        let fields = Fields::of(case);
        let frame = fields.frame();
        names.insert(name_of(&frame));
        let forms = [("bytes", false), ("bytes_last", true)];
        for (field, last) in forms.into_iter().filter(|(field, _)| case.get(field).is_some()) {
            let bytes = hex(&case[field]);
            assert_eq!(written(&frame, last), bytes, "{case}");
            assert_eq!(read(&bytes), Ok(vec![frame]), "{case}");
        }
        if case.get("sent").is_some() {
            let (time, error) = (fields.get("sent"), fields.get("sent_error"));
            let (stamp, rest) = Stamp::split(&fields.payload).expect("a stamp");
            assert_eq!([&Stamp::new(time, error).to_bytes()[..], rest].concat(), fields.payload, "{case}");
            assert_eq!((stamp.time(time), stamp.error()), (time, fields.get("sent_error_told")), "{case}");
        }
        if let (Frame::Ack(ack), Some(numbers)) = (&frame, case["acknowledged"].as_array()) {
            let named: Vec<u32> = ack.numbers().map(|back| ack.largest - back).collect();
            assert_eq!(named.len(), numbers.len(), "{case}");
            assert!(named.iter().zip(numbers).all(|(a, b)| u64::from(*a) == number(b)), "{case}");
        }
    }
    assert_eq!(names.len(), 15, "every frame there is: {names:?}");
}

#[test]
fn vectors_of_packets_hold_their_frames_in_order() {
    let file = extended_load("frames");
    for case in cases(&file["packets"]) {
        let bytes = hex(&case["bytes"]);
        let frames = read(&bytes).expect("frames");
        let names: Vec<_> = frames.iter().map(name_of).collect();
        let expected: Vec<_> =
            cases(&case["frames"]).iter().map(|name| name.as_str().expect("a name")).collect();
        assert_eq!(names, expected);
        let last = frames.len() - 1;
        let again: Vec<u8> =
            frames.iter().enumerate().flat_map(|(index, frame)| written(frame, index == last)).collect();
        assert_eq!(again, bytes);
    }
}

#[test]
fn vectors_of_malformed_frames_are_refused() {
    let file = extended_load("frames");
    for case in cases(&file["refused"]) {
        let bytes = hex(&case["bytes"]);
        let frames = read(&bytes);
        assert!(frames.is_err(), "{}: {frames:?}", case["why"]);
    }
}
