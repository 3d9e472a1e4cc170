//! Parsers of `fastwire_wire`.

use fastwire::wire::extended::{
    ChallengeTrailer, ConnectTrailer, Frame, Frames, Params, RefusalTrailer, Response,
};
use fastwire::wire::{
    BatchCursor, BatchReader, BatchWriter, Control, DecodeError, FragmentHeader, PacketHeader, Reader, Uuid,
    Writer, fragment_count, varint_len, varlong_len,
};

use crate::Script;

/// Values read from one input. Each choice is a byte of it, so longer lists leave nothing to read.
const CHOICES: usize = 256;

/// Every primitive, in an order the input chooses. A reader stays where it was after an error, a value takes at least
/// its shortest form, and what was read is written and read again the same.
pub fn primitives(data: &[u8]) {
    let mut script = Script::new(data);
    let choices = script.block();
    let input = script.rest();
    let mut reader = Reader::new(input);
    // Room for whatever can be read: nothing grows by being written again.
    let mut out = vec![0; input.len() + 16];
    for choice in choices.iter().take(CHOICES) {
        let before = reader.position();
        let failed = primitive(&mut reader, &mut out, *choice).is_err();
        assert!(!failed || reader.position() == before, "an error takes nothing");
        assert_eq!(reader.position() + reader.remaining(), input.len());
    }
    if let Ok(text) = std::str::from_utf8(input)
        && let Ok(id) = text.parse::<Uuid>()
    {
        assert_eq!(id.to_string().parse::<Uuid>(), Ok(id));
    }
}

fn primitive(reader: &mut Reader<'_>, out: &mut [u8], choice: u8) -> Result<(), DecodeError> {
    let before = reader.position();
    let mut writer = Writer::new(out);
    match choice % 12 {
        0 => {
            let value = reader.varint()?;
            assert!(reader.position() - before >= varint_len(value));
            writer.put_varint(value).expect("room");
            assert_eq!(writer.written(), varint_len(value));
            assert_eq!(Reader::new(out).varint(), Ok(value));
        }
        1 => {
            let value = reader.varlong()?;
            assert!(reader.position() - before >= varlong_len(value));
            writer.put_varlong(value).expect("room");
            assert_eq!(writer.written(), varlong_len(value));
            assert_eq!(Reader::new(out).varlong(), Ok(value));
        }
        2 => {
            let text = reader.string()?;
            writer.put_string(text).expect("what was read is short enough");
            assert_eq!(writer.written(), reader.position() - before);
            assert_eq!(Reader::new(out).string(), Ok(text));
        }
        3 => {
            let id = reader.uuid()?;
            writer.put_uuid(id).expect("room");
            assert_eq!(Reader::new(out).uuid(), Ok(id));
        }
        4 => drop(reader.u8()?),
        5 => assert_eq!(reader.clone().u16_be()?.swap_bytes(), reader.u16_le()?),
        6 => assert_eq!(reader.clone().u32_be()?.swap_bytes(), reader.u32_le()?),
        7 => assert_eq!(reader.clone().u64_be()?.swap_bytes(), reader.u64_le()?),
        8 => drop(reader.array::<32>()?),
        9 => drop(reader.bytes(usize::MAX)?),
        _ => assert_eq!(reader.bytes(usize::from(choice))?.len(), usize::from(choice)),
    }
    Ok(())
}

/// The packet header and the fragment header behind it.
pub fn header(data: &[u8]) {
    let Ok((header, taken)) = PacketHeader::decode(data) else { return };
    assert!((PacketHeader::MIN_LEN..=PacketHeader::MAX_LEN).contains(&taken));
    let mut out = [0; PacketHeader::MAX_LEN];
    let written = header.encode(&mut out).expect("room");
    assert!(written == header.encoded_len() && written <= taken);
    assert_eq!(PacketHeader::decode(&out[..written]), Ok((header, written)));
    if header.is_fragment()
        && let Ok((fragment, taken)) = FragmentHeader::decode(&data[taken..])
    {
        assert!(fragment.index < fragment.count && taken == FragmentHeader::LEN);
        let mut out = [0; FragmentHeader::LEN];
        fragment.encode(&mut out).expect("what was read is sound");
        assert_eq!(FragmentHeader::decode(&out), Ok((fragment, taken)));
        let piece = usize::from(fragment.id);
        if let Some(count) = fragment_count(data.len(), piece) {
            assert!(usize::from(count) * piece >= data.len());
            assert!(count == 1 || (usize::from(count) - 1) * piece < data.len());
        }
    }
}

/// Control payloads.
pub fn control(data: &[u8]) {
    let Ok((control, taken)) = Control::decode(data) else { return };
    assert!(taken <= data.len());
    let mut out = [0; Control::MAX_LEN + 8];
    let written = control.encode(&mut out).expect("room");
    assert_eq!(written, control.encoded_len());
    assert_eq!(Control::decode(&out[..written]), Ok((control, written)));
    let bare = control.encode_bare(&mut out).expect("room");
    let (header, behind) = PacketHeader::decode(&out[..bare]).expect("a bare control packet has a header");
    assert!(header.is_control() && behind + written == bare);
    assert_eq!(Control::decode(&out[behind..bare]), Ok((control, written)));
}

/// Batch frames: the reader gives what a naive reader gives, and a frame of the same packets reads the same.
pub fn batch(data: &[u8]) {
    let naive = naive_batch(data);
    let Ok(reader) = BatchReader::new(data) else {
        return assert_eq!(naive, None);
    };
    let packets: Vec<&[u8]> = reader.collect();
    assert_eq!(Some(&packets), naive.as_ref());
    let mut cursor = BatchCursor::new(data).expect("as the reader");
    for packet in &packets {
        assert_eq!(cursor.next(data).map(|range| &data[range]), Some(*packet));
    }
    assert_eq!(cursor.next(data), None);
    // On another frame a cursor is of no use and does no harm.
    let (half, mut lost) = (&data[..data.len() / 2], BatchCursor::new(data).expect("as the reader"));
    while let Some(range) = lost.next(half) {
        assert!(range.end <= half.len());
    }
    let mut out = vec![0; data.len()];
    let mut writer = BatchWriter::new(&mut out);
    for packet in &packets {
        writer.push(packet).expect("they fitted before");
    }
    let written = writer.finish();
    assert_eq!(out[..written], data[..written]);
}

fn naive_batch(data: &[u8]) -> Option<Vec<&[u8]>> {
    let (count, mut rest) = data.split_first()?;
    let mut packets = Vec::new();
    for _ in 0..*count {
        let (length, behind) = rest.split_first_chunk::<2>()?;
        let (packet, behind) = behind.split_at_checked(u16::from_le_bytes(*length).into())?;
        packets.push(packet);
        rest = behind;
    }
    (!packets.is_empty()).then_some(packets)
}

/// Frames of the extended profile: each reads the same after it was written, the list ends with its first error, and
/// an ACK names numbers in falling order, none twice.
pub fn frames(data: &[u8]) {
    let Ok(frames) = Frames::new(data) else {
        return assert!(data.is_empty());
    };
    let mut failed = false;
    for frame in frames {
        assert!(!failed, "a frame after an error");
        let Ok(frame) = frame else {
            failed = true;
            continue;
        };
        if let Frame::Ack(ack) = &frame {
            let numbers: Vec<u32> = ack.numbers().collect();
            assert!(numbers.first() == Some(&0) && numbers.is_sorted_by(|a, b| a < b));
            assert!(numbers.len() <= 1 + 32 * 32);
        }
        for last in [true, false] {
            let mut out = vec![0; data.len() + 16];
            let written = frame.encode(&mut out, last).expect("what was read is sound");
            assert_eq!(written, frame.encoded_len(last));
            let again: Vec<_> = Frames::new(&out[..written]).expect("not empty").collect();
            assert_eq!(again, [Ok(frame)]);
        }
    }
}

/// Trailers, parameters and RESPONSE of the extended profile.
pub fn trailers(data: &[u8]) {
    let mut out = [0; 1024];
    if let Ok((trailer, taken)) = ConnectTrailer::decode(data) {
        assert_eq!(trailer.encode(&mut out), Ok(taken));
        assert_eq!(out[..taken], data[..taken]);
    }
    for key_follows in [false, true] {
        if let Ok((trailer, taken)) = ChallengeTrailer::decode(data, key_follows) {
            assert_eq!(trailer.encode(&mut out), Ok(taken));
            assert_eq!(ChallengeTrailer::decode(&out[..taken], key_follows), Ok((trailer, taken)));
        }
    }
    if let Ok((trailer, taken)) = RefusalTrailer::decode(data) {
        assert_eq!(trailer.encode(&mut out), Ok(taken));
    }
    if let Ok((params, taken)) = Params::decode(data) {
        assert_eq!(params.encode(&mut out), Ok(taken));
        assert_eq!(out[..taken], data[..taken]);
        assert!(!params.is_valid() || (params.max_datagram >= 1200 && params.idle_timeout_s >= 3));
    }
    if let Ok((response, associated)) = Response::decode(data) {
        assert!(data.len() <= Response::MAX_LEN && associated + response.sealed.len() == data.len());
        assert_eq!(response.encode(&mut out), Ok((data.len(), associated)));
        assert_eq!(out[..data.len()], *data);
    }
}
