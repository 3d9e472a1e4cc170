//! What travels in a stream, in either direction: a first byte that says how the rest is packed, then frames of a two-byte
//! length (little-endian) and as many bytes. Length 0 is the end of the direction, 65535 says that it broke off; after the
//! end, that the sender takes nothing more.

use crate::compress::{Packer, Unpacker};
use std::future::Future;
use std::io;
use std::sync::atomic::{AtomicU64, Ordering};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};

/// Most bytes of TCP in a frame.
const FRAME: usize = 16 << 10;
/// The direction has ended.
const END: u16 = 0;
/// The TCP connection broke.
const BROKEN: u16 = u16::MAX;
/// Bytes as they are.
const PLAIN: u8 = 0;
/// zstd.
const ZSTD: u8 = 1;

/// Bytes of `from` into frames on `to`, until the end or until `stop`. `to` stays open, so that what breaks later can be
/// told. `level` is that of the compression, if any. What was read is added to `counter`.
///
/// # Errors
/// When either side fails; that `from` failed, or `stop`, is told to the peer. Kind `ConnectionAborted` after `stop`.
pub async fn wrap(
    from: &mut (impl AsyncRead + Unpin),
    to: &mut (impl AsyncWrite + Unpin),
    level: Option<i32>,
    stop: impl Future<Output = ()>,
    counter: &AtomicU64,
) -> io::Result<()> {
    let mut packer = level.map(Packer::new).transpose()?;
    to.write_all(&[if packer.is_some() { ZSTD } else { PLAIN }]).await?;
    let mut stop = std::pin::pin!(stop);
    let mut bytes = vec![0; FRAME];
    let mut frame = Vec::new();
    loop {
        let read = tokio::select! {
            read = from.read(&mut bytes) => read,
            () = &mut stop => Err(io::ErrorKind::ConnectionAborted.into()),
        };
        let count = match read {
            Ok(0) => {
                to.write_all(&END.to_le_bytes()).await?;
                return to.flush().await;
            }
            Ok(count) => count,
            Err(error) => {
                break_off_late(to).await?;
                return Err(error);
            }
        };
        frame.clear();
        frame.extend_from_slice(&[0; 2]);
        match &mut packer {
            Some(packer) => packer.pack(&bytes[..count], &mut frame)?,
            None => frame.extend_from_slice(&bytes[..count]),
        }
        let len = (frame.len() - 2) as u16;
        frame[..2].copy_from_slice(&len.to_le_bytes());
        to.write_all(&frame).await?;
        to.flush().await?;
        counter.fetch_add(count as u64, Ordering::Relaxed);
    }
}

/// Frames of `from` back into bytes on `to`, until the end. What was written is added to `counter`.
///
/// # Errors
/// When either side fails; kind `ConnectionReset` when the direction broke off at the peer.
pub async fn unwrap(
    from: &mut (impl AsyncRead + Unpin),
    to: &mut (impl AsyncWrite + Unpin),
    counter: &AtomicU64,
) -> io::Result<()> {
    let mut unpacker = match from.read_u8().await? {
        PLAIN => None,
        ZSTD => Some(Unpacker::new()?),
        other => {
            return Err(invalid(format!(
                "packing {other} is not known: is the other end of the same version?"
            )));
        }
    };
    let mut frame = Vec::new();
    loop {
        match from.read_u16_le().await? {
            END => return to.shutdown().await,
            BROKEN => return Err(io::ErrorKind::ConnectionReset.into()),
            len => frame.resize(len.into(), 0),
        }
        from.read_exact(&mut frame).await?;
        let Some(unpacker) = &mut unpacker else {
            to.write_all(&frame).await?;
            counter.fetch_add(frame.len() as u64, Ordering::Relaxed);
            continue;
        };
        let mut rest = &frame[..];
        loop {
            let piece = unpacker.unpack(&mut rest)?;
            if piece.is_empty() && rest.is_empty() {
                break;
            }
            to.write_all(piece).await?;
            counter.fetch_add(piece.len() as u64, Ordering::Relaxed);
        }
    }
}

/// Waits until a peer whose direction has ended says that it takes nothing more either.
pub async fn broken_off(from: &mut (impl AsyncRead + Unpin)) -> io::Error {
    match from.read_u16_le().await {
        Ok(BROKEN) => io::ErrorKind::ConnectionReset.into(),
        Ok(other) => invalid(format!("frame of {other} bytes after the end")),
        // Both directions are complete at the peer.
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => std::future::pending().await,
        Err(error) => error,
    }
}

/// Tells the peer that nothing will come.
///
/// # Errors
/// When the stream fails.
pub async fn break_off(to: &mut (impl AsyncWrite + Unpin)) -> io::Result<()> {
    to.write_all(&[PLAIN]).await?;
    break_off_late(to).await
}

/// Tells the peer, after frames or after their end, that this side is gone.
///
/// # Errors
/// When the stream fails.
pub async fn break_off_late(to: &mut (impl AsyncWrite + Unpin)) -> io::Result<()> {
    to.write_all(&BROKEN.to_le_bytes()).await?;
    to.flush().await
}

fn invalid(text: String) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, text)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::future::{pending, ready};

    fn run<T>(future: impl Future<Output = T>) -> T {
        tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(future)
    }

    proptest! {
        #[test]
        fn what_goes_in_comes_out(bytes in prop::collection::vec(0..4u8, 0..100_000), compressed: bool) {
            let (mut framed, mut out) = (Vec::new(), Vec::new());
            let (sent, received) = (AtomicU64::new(0), AtomicU64::new(0));
            let level = compressed.then_some(3);
            run(wrap(&mut &bytes[..], &mut framed, level, pending(), &sent)).unwrap();
            if compressed && bytes.len() > 1000 {
                prop_assert!(framed.len() < bytes.len() / 2);
            }
            run(unwrap(&mut &framed[..], &mut out, &received)).unwrap();
            prop_assert!(out == bytes);
            prop_assert_eq!(sent.into_inner(), received.into_inner());
        }

        /// Cut anywhere, a stream is an error and never a clean end.
        #[test]
        fn a_cut_stream_is_an_error(len in 0..40_000usize, at in any::<prop::sample::Index>()) {
            let mut framed = Vec::new();
            run(wrap(&mut &vec![7; len][..], &mut framed, None, pending(), &AtomicU64::new(0))).unwrap();
            framed.truncate(at.index(framed.len()));
            prop_assert!(run(unwrap(&mut &framed[..], &mut Vec::new(), &AtomicU64::new(0))).is_err());
        }

        #[test]
        fn any_bytes_are_an_error_or_an_end(bytes: Vec<u8>) {
            let _ = run(unwrap(&mut &bytes[..], &mut Vec::new(), &AtomicU64::new(0)));
        }
    }

    /// After the end of its direction a peer can still say that it is gone; that its stream ends too says nothing.
    #[test]
    fn a_peer_gone_after_its_end_is_noticed() {
        let mut framed = Vec::new();
        run(wrap(&mut &[7; 10][..], &mut framed, None, pending(), &AtomicU64::new(0))).unwrap();
        let ended = framed.len();
        run(break_off_late(&mut framed)).unwrap();
        let mut rest = &framed[..];
        run(unwrap(&mut rest, &mut Vec::new(), &AtomicU64::new(0))).unwrap();
        assert_eq!(run(broken_off(&mut rest)).kind(), io::ErrorKind::ConnectionReset);
        run(async {
            let mut end = &framed[ended..ended];
            tokio::select! {
                biased;
                error = broken_off(&mut end) => panic!("{error}"),
                () = ready(()) => {}
            }
        });
        assert_eq!(run(broken_off(&mut &[1, 0][..])).kind(), io::ErrorKind::InvalidData);
    }

    #[test]
    fn a_direction_that_breaks_off_is_told() {
        let (mut silent, _other) = tokio::io::duplex(1);
        for broken in [
            run(async {
                let mut framed = Vec::new();
                let error =
                    wrap(&mut silent, &mut framed, Some(1), ready(()), &AtomicU64::new(0)).await.unwrap_err();
                assert_eq!(error.kind(), io::ErrorKind::ConnectionAborted);
                framed
            }),
            run(async {
                let mut framed = Vec::new();
                break_off(&mut framed).await.unwrap();
                framed
            }),
        ] {
            let error = run(unwrap(&mut &broken[..], &mut Vec::new(), &AtomicU64::new(0))).unwrap_err();
            assert_eq!(error.kind(), io::ErrorKind::ConnectionReset);
        }
    }
}
