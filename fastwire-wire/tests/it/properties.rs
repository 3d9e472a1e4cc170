//! Laws of the codec: what is written is read back, no input panics, a failure changes nothing.

use fastwire_wire::*;
use proptest::prelude::*;

/// One value of every primitive.
#[derive(Debug, Clone)]
enum Value {
    U8(u8),
    U16Be(u16),
    U16Le(u16),
    U32Be(u32),
    U32Le(u32),
    U64Be(u64),
    U64Le(u64),
    Varint(u32),
    Varlong(u64),
    Text(String),
    Id(Uuid),
    Bytes(Vec<u8>),
    Array([u8; 7]),
}

impl Value {
    fn put(&self, writer: &mut Writer<'_>) -> Result<(), EncodeError> {
        match self {
            Self::U8(value) => writer.put_u8(*value),
            Self::U16Be(value) => writer.put_u16_be(*value),
            Self::U16Le(value) => writer.put_u16_le(*value),
            Self::U32Be(value) => writer.put_u32_be(*value),
            Self::U32Le(value) => writer.put_u32_le(*value),
            Self::U64Be(value) => writer.put_u64_be(*value),
            Self::U64Le(value) => writer.put_u64_le(*value),
            Self::Varint(value) => writer.put_varint(*value),
            Self::Varlong(value) => writer.put_varlong(*value),
            Self::Text(text) => writer.put_string(text),
            Self::Id(id) => writer.put_uuid(*id),
            Self::Bytes(bytes) => writer.put_bytes(bytes),
            Self::Array(bytes) => writer.put_array(bytes),
        }
    }

    /// Whether the reader gives this value next.
    fn is_next(&self, reader: &mut Reader<'_>) -> Result<bool, DecodeError> {
        Ok(match self {
            Self::U8(value) => reader.u8()? == *value,
            Self::U16Be(value) => reader.u16_be()? == *value,
            Self::U16Le(value) => reader.u16_le()? == *value,
            Self::U32Be(value) => reader.u32_be()? == *value,
            Self::U32Le(value) => reader.u32_le()? == *value,
            Self::U64Be(value) => reader.u64_be()? == *value,
            Self::U64Le(value) => reader.u64_le()? == *value,
            Self::Varint(value) => reader.varint()? == *value,
            Self::Varlong(value) => reader.varlong()? == *value,
            Self::Text(text) => reader.string()? == text,
            Self::Id(id) => reader.uuid()? == *id,
            Self::Bytes(bytes) => reader.bytes(bytes.len())? == bytes,
            Self::Array(bytes) => reader.array()? == *bytes,
        })
    }
}

/// Numbers of every length, not only of nearly full ones.
fn any_length() -> impl Strategy<Value = u64> {
    (any::<u64>(), 0..64u32).prop_map(|(number, shift)| number >> shift)
}

fn value() -> impl Strategy<Value = Value> {
    prop_oneof![
        any::<u8>().prop_map(Value::U8),
        any::<u16>().prop_map(Value::U16Be),
        any::<u16>().prop_map(Value::U16Le),
        any::<u32>().prop_map(Value::U32Be),
        any::<u32>().prop_map(Value::U32Le),
        any::<u64>().prop_map(Value::U64Be),
        any::<u64>().prop_map(Value::U64Le),
        any_length().prop_map(|number| Value::Varint(number as u32)),
        any_length().prop_map(Value::Varlong),
        ".{0,20}".prop_map(Value::Text),
        any::<[u64; 2]>().prop_map(|[msb, lsb]| Value::Id(Uuid::from_ints(msb, lsb))),
        prop::collection::vec(any::<u8>(), 0..20).prop_map(Value::Bytes),
        any::<[u8; 7]>().prop_map(Value::Array),
    ]
}

prop_compose! {
    fn packet_header()(flags: u8, channel: u8, sequence in any_length(), ack in any_length(), ack_field: u32)
        -> PacketHeader
    {
        let flags = PacketFlags::from_bits(flags);
        PacketHeader { flags, channel, sequence: sequence as u32, ack: ack as u32, ack_field }
    }
}

prop_compose! {
    fn connect()(version: u8, application_version: u16, public_key: [u8; 32], cipher: u8, compression: u8,
        dictionary_hash: Option<[u8; 32]>, features: u8) -> Control
    {
        let features = Features::from_bits(features);
        Connect { version, application_version, public_key, cipher, compression, dictionary_hash, features }.into()
    }
}

prop_compose! {
    fn challenge()(version: u8, application_version: u16, public_key: [u8; 32], token: [u8; 32], cipher: u8,
        compression_ack: u8, features: u8, migration_token: [u8; 8]) -> Control
    {
        let features = Features::from_bits(features);
        let migrates = features.contains(Features::CONNECTION_MIGRATION);
        let migration_token = migrates.then_some(migration_token);
        Challenge { version, application_version, public_key, token, cipher, compression_ack, features, migration_token }
            .into()
    }
}

fn control() -> impl Strategy<Value = Control> {
    prop_oneof![
        connect(),
        challenge(),
        any::<[u8; 32]>().prop_map(|token| Control::Response { token }),
        Just(Control::Connected),
        Just(Control::Disconnect),
        Just(Control::Heartbeat),
        any::<(u8, u16)>().prop_map(|(version, application_version)| {
            VersionMismatch { version, application_version }.into()
        }),
        any::<u8>().prop_map(|code| Reject { reason: RejectReason::from_code(code) }.into()),
    ]
}

/// Any bytes, but such that they often begin like something known.
fn input() -> impl Strategy<Value = Vec<u8>> {
    let small = prop_oneof![0..10u8, any::<u8>(), Just(0x80), Just(0xff)];
    prop::collection::vec(small, 0..100)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1024))]

    /// A writer writes what fits and nothing else; a reader gives it back.
    #[test]
    fn values_are_read_back(values in prop::collection::vec(value(), 0..12), room in 0..150usize) {
        let mut everything = vec![0; 1000];
        let mut out = vec![0xaa; room];
        let mut writer = Writer::new(&mut out);
        let (mut expected, mut kept) = (Vec::new(), Vec::new());
        for value in &values {
            let mut alone = Writer::new(&mut everything);
            value.put(&mut alone).unwrap();
            let bytes = alone.into_written();
            if expected.len() + bytes.len() <= room {
                prop_assert_eq!(value.put(&mut writer), Ok(()));
                expected.extend_from_slice(bytes);
                kept.push(value);
            } else {
                let failed = EncodeError::BufferTooSmall { needed: bytes.len(), available: room - expected.len() };
                prop_assert_eq!(value.put(&mut writer), Err(failed));
            }
            prop_assert_eq!(writer.written(), expected.len());
            prop_assert_eq!(writer.remaining(), room - expected.len());
        }
        prop_assert_eq!(&out[..expected.len()], &expected[..]);
        prop_assert!(out[expected.len()..].iter().all(|&byte| byte == 0xaa), "nothing behind what was written");

        let mut reader = Reader::new(&expected);
        for value in kept {
            prop_assert!(value.is_next(&mut reader).unwrap());
        }
        prop_assert!(reader.is_empty());
    }

    /// A read that fails takes nothing; one that succeeds stays inside the input.
    #[test]
    fn no_input_confuses_a_reader(input in input(), probes in prop::collection::vec(value(), 0..20)) {
        let mut reader = Reader::new(&input);
        for probe in probes {
            let before = reader.position();
            if probe.is_next(&mut reader).is_err() {
                prop_assert_eq!(reader.position(), before);
            }
            prop_assert_eq!(reader.position() + reader.remaining(), input.len());
            prop_assert_eq!(reader.rest(), &input[reader.position()..]);
        }
    }

    #[test]
    fn packet_headers_are_read_back(header in packet_header(), tail in input()) {
        let mut out = vec![0; header.encoded_len()];
        prop_assert_eq!(header.encode(&mut out), Ok(out.len()));
        prop_assert!((PacketHeader::MIN_LEN..=PacketHeader::MAX_LEN).contains(&out.len()));
        for end in 0..out.len() {
            prop_assert!(PacketHeader::decode(&out[..end]).is_err(), "cut after {}", end);
            prop_assert!(header.encode(&mut vec![0; end]).is_err());
        }
        let len = out.len();
        out.extend(tail);
        prop_assert_eq!(PacketHeader::decode(&out), Ok((header, len)));
    }

    /// What is read has one shortest form, and the input is that form unless it is longer.
    #[test]
    fn no_input_confuses_a_packet_header(input in input()) {
        if let Ok((header, consumed)) = PacketHeader::decode(&input) {
            prop_assert!(header.encoded_len() <= consumed && consumed <= PacketHeader::MAX_LEN);
            if header.encoded_len() == consumed {
                let mut out = vec![0; consumed];
                header.encode(&mut out).unwrap();
                prop_assert_eq!(&out[..], &input[..consumed]);
            }
        }
    }

    /// Five bytes are a fragment header exactly if the index is below the count, whoever looks.
    #[test]
    fn fragment_headers_are_read_back(id: u16, index: u8, count: u8, flags: u8, tail in input()) {
        let header = FragmentHeader { id, index, count, flags: FragmentFlags::from_bits(flags) };
        let mut out = vec![(id >> 8) as u8, id as u8, index, count, flags];
        if index < count {
            let mut encoded = [0; FragmentHeader::LEN];
            prop_assert_eq!(header.encode(&mut encoded), Ok(FragmentHeader::LEN));
            prop_assert_eq!(&encoded[..], &out[..]);
            out.extend(tail);
            prop_assert_eq!(FragmentHeader::decode(&out), Ok((header, FragmentHeader::LEN)));
        } else {
            prop_assert_eq!(header.encode(&mut [0; 8]), Err(EncodeError::InvalidFragmentHeader { index, count }));
            prop_assert_eq!(FragmentHeader::decode(&out), Err(DecodeError::InvalidFragmentHeader { index, count }));
        }
    }

    #[test]
    fn fragment_count_is_the_least_that_holds_the_message(len in 0..400_000usize, piece in 1..2000usize) {
        match fragment_count(len, piece).map(usize::from) {
            Some(count) => prop_assert!(count * piece >= len && (count == 1 || (count - 1) * piece < len)),
            None => prop_assert!(MAX_FRAGMENTS * piece < len),
        }
    }

    #[test]
    fn controls_are_read_back(control in control(), tail in input()) {
        let mut out = vec![0; control.encoded_len()];
        prop_assert_eq!(control.encode(&mut out), Ok(out.len()));
        prop_assert!(out.len() <= Control::MAX_LEN);
        prop_assert_eq!(out[0], control.control_type().id());
        for end in 0..out.len() {
            prop_assert!(Control::decode(&out[..end]).is_err(), "cut after {}", end);
            prop_assert!(control.encode(&mut vec![0; end]).is_err());
        }
        let len = out.len();
        out.extend(tail);
        prop_assert_eq!(Control::decode(&out), Ok((control, len)));
    }

    /// What is read is written back as it was, but for a dictionary flag other than 0 or 1.
    #[test]
    fn no_input_confuses_a_control(input in input()) {
        if let Ok((control, consumed)) = Control::decode(&input) {
            let mut out = vec![0; consumed];
            prop_assert_eq!(control.encode(&mut out), Ok(consumed));
            let mut canonical = input[..consumed].to_vec();
            if let Control::Connect(Connect { dictionary_hash: None, .. }) = control {
                canonical[38] = 0;
            }
            prop_assert_eq!(out, canonical);
        }
    }

    /// A challenge whose token and feature bit disagree would be read differently by its receiver.
    #[test]
    fn a_challenge_with_a_contradiction_is_not_written(challenge in challenge(), out_len in 0..100usize) {
        let Control::Challenge(mut challenge) = challenge else { unreachable!() };
        challenge.migration_token = match challenge.migration_token {
            Some(_) => None,
            None => Some([7; 8]),
        };
        let mut out = vec![0xaa; out_len];
        let refused = matches!(challenge.encode(&mut out), Err(EncodeError::MigrationTokenMismatch { .. }));
        prop_assert!(refused && out.iter().all(|&byte| byte == 0xaa));
    }

    #[test]
    fn batches_are_read_back(packets in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..80), 0..30)) {
        let mut out = [0; DEFAULT_MTU];
        let mut writer = BatchWriter::new(&mut out);
        let mut kept = Vec::new();
        for packet in &packets {
            let fits = packet.len() <= writer.remaining() && writer.remaining() > 0;
            let pushed = match packet.len() % 2 {
                0 => writer.push(packet),
                _ if fits => {
                    writer.room()[..packet.len()].copy_from_slice(packet);
                    writer.commit(packet.len())
                }
                _ => writer.commit(packet.len()),
            };
            if fits {
                prop_assert_eq!(pushed, Ok(()));
            }
            if pushed.is_ok() {
                kept.push(packet);
            }
        }
        prop_assert_eq!(usize::from(writer.count()), kept.len());
        let len = writer.finish();
        if kept.is_empty() {
            prop_assert_eq!(len, 0);
        } else {
            prop_assert!(BatchReader::new(&out[..len]).unwrap().eq(kept));
            prop_assert!(BatchReader::new(&out[..len - 1]).is_err());
        }
    }

    /// A frame is good exactly if a naive parser gets through it, and then both find the same packets.
    #[test]
    fn no_input_confuses_a_batch(input in input()) {
        let naive = || -> Option<Vec<&[u8]>> {
            let (&count, mut rest) = input.split_first()?;
            let mut packets = Vec::new();
            for _ in 0..count {
                let len = usize::from(*rest.first()?) + 256 * usize::from(*rest.get(1)?);
                packets.push(rest.get(2..2 + len)?);
                rest = &rest[2 + len..];
            }
            (count > 0).then_some(packets)
        };
        match (BatchReader::new(&input), naive()) {
            (Ok(batch), Some(packets)) => {
                prop_assert_eq!(batch.len(), packets.len());
                prop_assert!(batch.eq(packets));
            }
            (Err(DecodeError::InvalidBatchFrame { count, complete, .. }), None) => {
                prop_assert!(complete < count || count == 0);
            }
            (ours, naive) => prop_assert!(false, "{:?} but {:?}", ours, naive),
        }
    }
}
