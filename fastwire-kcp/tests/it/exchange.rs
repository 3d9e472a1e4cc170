//! The same bytes both ways at once, over any two ends of a stream.

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};

/// Bytes that tell their place.
pub(crate) fn pattern(len: usize) -> Vec<u8> {
    (0..len as u32).map(|i| (i.wrapping_mul(2_654_435_761) >> 13) as u8).collect()
}

/// Sends `len` bytes each way at once and compares.
pub(crate) async fn exchange<A, B>(a: A, b: B, len: usize)
where
    A: AsyncRead + AsyncWrite,
    B: AsyncRead + AsyncWrite,
{
    let expected = pattern(len);
    // Both streams live until both sides are done: what one still resends, the other may still need.
    drop(tokio::join!(side(a, &expected), side(b, &expected)));
}

/// Writes of a size that every implementation takes.
const WRITE: usize = 16 << 10;

async fn side<S: AsyncRead + AsyncWrite>(stream: S, expected: &[u8]) -> impl Sized {
    let (mut read, mut write) = tokio::io::split(stream);
    let send = async {
        for bytes in expected.chunks(WRITE) {
            write.write_all(bytes).await.unwrap();
        }
        write.flush().await.unwrap();
    };
    let receive = async {
        let mut received = vec![0; expected.len()];
        read.read_exact(&mut received).await.unwrap();
        assert!(received == expected, "other bytes than were sent");
    };
    tokio::join!(send, receive);
    (read, write)
}
