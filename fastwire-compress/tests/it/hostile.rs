//! Bombs and garbage: no panic, no memory past the limit, no trace in the output.

use std::cell::RefCell;

use fastwire_compress::{
    BuiltinCompressor, Compressor, DecompressError, Encoding, MAX_DECOMPRESSED_SIZE, Method,
};
use proptest::prelude::*;

const BLOCK: usize = 128 * 1024;

thread_local! {
    static COMPRESSOR: RefCell<BuiltinCompressor> = RefCell::new(crate::compressor(true));
}

/// A frame of zeros in blocks that repeat one byte; `header` is what follows the magic number.
fn zstd_zeros(header: &[u8], mut content: usize) -> Vec<u8> {
    let mut frame = [&[0x28, 0xb5, 0x2f, 0xfd], header].concat();
    loop {
        let size = content.min(BLOCK);
        content -= size;
        let block = (size as u32) << 3 | 1 << 1 | u32::from(content == 0); // RFC 8878 §3.1.1.2: size, type RLE, last
        frame.extend_from_slice(&block.to_le_bytes()[..3]);
        frame.push(0);
        if content == 0 {
            return frame;
        }
    }
}

/// Frame header with a content size of 8 bytes and no window, RFC 8878 §3.1.1.1.
fn sized(content: u64) -> Vec<u8> {
    [&[0b1110_0000][..], &content.to_le_bytes()].concat()
}

/// Frame header without a content size; `log` is that of the window it asks for.
fn unsized_with_window(log: u8) -> Vec<u8> {
    vec![0, (log - 10) << 3]
}

/// What it answers, and the memory it took for the output.
fn expand(encoding: Encoding, input: &[u8], limit: usize) -> (Result<usize, DecompressError>, usize) {
    let mut out = Vec::new();
    let result = crate::compressor(true).decompress(encoding, input, limit, &mut out);
    assert_eq!(out.len(), *result.as_ref().unwrap_or(&0));
    (result, out.capacity())
}

#[test]
fn lz4_claims_take_no_memory_they_cannot_fill() {
    let too_large = Err(DecompressError::TooLarge { limit: MAX_DECOMPRESSED_SIZE });
    for claim in [u32::MAX, 1 << 31, MAX_DECOMPRESSED_SIZE as u32 + 1] {
        let input = [&claim.to_le_bytes()[..], &[0x1f, 0, 1, 0, 255]].concat();
        assert_eq!(expand(Encoding::Lz4, &input, usize::MAX), (too_large, 0), "a claim of {claim}");
    }
    let input = [&(MAX_DECOMPRESSED_SIZE as u32).to_le_bytes()[..], &[0x10, b'a']].concat();
    let (result, capacity) = expand(Encoding::Lz4, &input, MAX_DECOMPRESSED_SIZE);
    assert_eq!(result, Ok(1));
    assert!(capacity <= 2 * 255, "{capacity} bytes for a block of 2");
}

#[test]
fn lz4_expands_no_further_than_it_claims() {
    // One literal, then a match of 19 + 255 * 1000 bytes; the claim is one short of what comes out.
    let block = [&[0x1f, 0, 1, 0][..], &[255; 1000], &[0, 0x10, 0]].concat();
    let whole = 1 + 19 + 255 * 1000 + 1;
    let with_claim = |claim: u32| [&claim.to_le_bytes()[..], &block].concat();
    assert_eq!(expand(Encoding::Lz4, &with_claim(whole), MAX_DECOMPRESSED_SIZE).0, Ok(whole as usize));
    let (result, capacity) = expand(Encoding::Lz4, &with_claim(whole - 1), MAX_DECOMPRESSED_SIZE);
    assert!(matches!(result, Err(DecompressError::Malformed { encoding: Encoding::Lz4, .. })), "{result:?}");
    assert!(capacity < whole as usize);
}

#[test]
fn zstd_claims_take_no_memory_they_cannot_fill() {
    for content in [u64::MAX - 2, 1 << 62, u64::from(u32::MAX), MAX_DECOMPRESSED_SIZE as u64 + 1] {
        let input = zstd_zeros(&sized(content), 1);
        let (result, capacity) = expand(Encoding::Zstd, &input, usize::MAX);
        assert_eq!(result, Err(DecompressError::TooLarge { limit: MAX_DECOMPRESSED_SIZE }));
        assert_eq!(capacity, 0);
    }
    // Within the limit, but two blocks' worth of bytes cannot hold it.
    let (result, capacity) = expand(Encoding::Zstd, &zstd_zeros(&sized(4 << 20), 1), MAX_DECOMPRESSED_SIZE);
    assert!(matches!(result, Err(DecompressError::Malformed { encoding: Encoding::Zstd, .. })), "{result:?}");
    assert_eq!(capacity, 0);
}

#[test]
fn zstd_bombs_without_a_size_stop_at_the_limit() {
    for limit in [0, 1, BLOCK - 1, BLOCK, 1_000_000, MAX_DECOMPRESSED_SIZE] {
        for window_log in [10, 23, 31] {
            let window = unsized_with_window(window_log);
            let bomb = zstd_zeros(&window, 64 << 20);
            assert!(bomb.len() < 3000);
            let (result, capacity) = expand(Encoding::Zstd, &bomb, limit);
            if window_log >= 17 {
                assert_eq!(
                    result,
                    Err(DecompressError::TooLarge { limit }),
                    "limit {limit}, window 2^{window_log}"
                );
            } else {
                assert!(result.is_err(), "blocks larger than their window");
            }
            assert!(capacity <= limit, "{capacity} bytes with limit {limit}");
        }
        let window = unsized_with_window(23);
        let (result, capacity) = expand(Encoding::Zstd, &zstd_zeros(&window, limit), limit);
        assert_eq!(result, Ok(limit));
        assert!(capacity <= limit);
    }
    // A window no decoder has is refused by zstd itself.
    let beyond = zstd_zeros(&unsized_with_window(41), 1);
    assert!(expand(Encoding::Zstd, &beyond, MAX_DECOMPRESSED_SIZE).0.is_err());
}

#[test]
fn a_bomb_is_bounded_in_a_buffer_with_room_too() {
    let bomb = zstd_zeros(&unsized_with_window(23), 1 << 20);
    let mut out = Vec::with_capacity(2 << 20);
    out.extend_from_slice(b"before");
    let result = crate::compressor(false).decompress(Encoding::Zstd, &bomb, 1000, &mut out);
    assert_eq!(result, Err(DecompressError::TooLarge { limit: 1000 }));
    assert_eq!(out, b"before");
}

#[test]
fn a_zstd_payload_is_one_frame() {
    let frame = zstd_zeros(&unsized_with_window(20), 10);
    assert_eq!(expand(Encoding::Zstd, &frame, 100).0, Ok(10));
    let skippable = [0x50, 0x2a, 0x4d, 0x18, 0, 0, 0, 0];
    for refused in
        [&frame.repeat(2)[..], &[&frame[..], &skippable].concat(), &skippable, &frame[..frame.len() - 1]]
    {
        let (result, capacity) = expand(Encoding::Zstd, refused, 100);
        assert!(matches!(result, Err(DecompressError::Malformed { .. })), "{result:?}");
        assert_eq!(capacity, 0);
    }
}

#[test]
fn a_flipped_bit_never_yields_other_content_under_the_checksum() {
    let payload = crate::dictionary().as_bytes()[1000..3000].to_vec();
    COMPRESSOR.with_borrow_mut(|compressor| {
        let mut frame = Vec::new();
        compressor.compress(Method::ZSTD, &payload, &mut frame).expect("zstd is built");
        for bit in 0..frame.len() * 8 {
            frame[bit / 8] ^= 1 << (bit % 8);
            let mut out = Vec::new();
            if compressor.decompress(Encoding::Zstd, &frame, MAX_DECOMPRESSED_SIZE, &mut out).is_ok() {
                // Only the flag of the checksum itself, or bits that carry nothing, may be flipped unnoticed.
                assert!(out == payload, "bit {bit} changed the content unnoticed");
            }
            frame[bit / 8] ^= 1 << (bit % 8);
        }
    });
}

fn encodings() -> impl Strategy<Value = Encoding> {
    prop::sample::select(vec![Encoding::Lz4, Encoding::Zstd])
}

/// Garbage, and garbage behind the first bytes of a sound payload.
fn garbage() -> impl Strategy<Value = Vec<u8>> {
    let heads = [&[][..], &[0, 16, 0, 0], &[0x28, 0xb5, 0x2f, 0xfd], &[0x28, 0xb5, 0x2f, 0xfd, 0, 0x58]];
    (prop::sample::select(heads.to_vec()), prop::collection::vec(any::<u8>(), 0..300))
        .prop_map(|(head, tail)| [head, &tail].concat())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2048, ..ProptestConfig::default() })]

    #[test]
    fn garbage_is_bounded(encoding in encodings(), input in garbage(), limit in 0..100_000_usize) {
        bounded(encoding, &input, limit)?;
    }

    #[test]
    fn damaged_payloads_are_bounded(
        method in prop::sample::select(vec![Method::LZ4, Method::ZSTD, Method::ZSTD_DICTIONARY]),
        at in any::<prop::sample::Index>(), damage in prop::collection::vec(any::<u8>(), 1..6), limit in 0..5000_usize,
    ) {
        let payload = crate::dictionary().as_bytes()[..3000].to_vec();
        let mut wire = Vec::new();
        COMPRESSOR.with_borrow_mut(|compressor| compressor.compress(method, &payload, &mut wire)).expect("it is built");
        let at = at.index(wire.len());
        for (byte, damage) in wire[at..].iter_mut().zip(damage) {
            *byte = damage;
        }
        bounded(if method == Method::LZ4 { Encoding::Lz4 } else { Encoding::Zstd }, &wire, limit)?;
    }
}

fn bounded(encoding: Encoding, input: &[u8], limit: usize) -> Result<(), TestCaseError> {
    let mut out = b"before".to_vec();
    let result =
        COMPRESSOR.with_borrow_mut(|compressor| compressor.decompress(encoding, input, limit, &mut out));
    prop_assert!(out.starts_with(b"before"));
    prop_assert_eq!(out.len(), 6 + *result.as_ref().unwrap_or(&0));
    prop_assert!(out.len() <= 6 + limit);
    prop_assert!(out.capacity() <= 8 + limit, "{} bytes with limit {}", out.capacity(), limit);
    Ok(())
}
