//! What a hostile client of the extended profile does.

use fastwire::wire::extended::{Data, Frame, Piece};

use super::arena::Deed;
use crate::scripted::{Scripted, encoded};

/// Of a message's credit beside its bytes.
const MESSAGE_CREDIT: u64 = 32;
const LEN: usize = 1000;
/// As long as a message of 255 pieces.
const LARGE: u32 = 255 * 1000;

/// Its `number`th packet; `credit` is what a reliable channel of the server takes.
pub(super) fn act(peer: &mut Scripted, deed: Deed, number: u64, credit: u64) {
    let n = number as u32;
    let each = LEN as u64 + MESSAGE_CREDIT;
    match deed {
        Deed::Bombs => {
            let size: u32 = [u32::MAX, 5 << 20, 4 << 20][n as usize % 3];
            let bomb = [&size.to_le_bytes()[..], &[0x1f, 0, 1, 0], &[255; 900]].concat();
            let channel = if n > 4000 { 0 } else { 2 + (n % 2) as u8 };
            data(peer, channel, n + 1, None, 1, &bomb);
        }
        // Every second message, as far as credit goes.
        Deed::Gaps if number / 2 * each + 4 * each < credit => {
            data(peer, (n % 2) as u8, 2 + n / 2 * 2, None, 0, &[7; LEN]);
        }
        Deed::Gaps => data(peer, 2 + (n % 2) as u8, n.wrapping_mul(0x1001), None, 0, &[7; LEN]),
        Deed::OneOf255 => {
            let piece = Some(Piece { offset: LEN as u32, total: LARGE });
            let reliable = number / 4 * (u64::from(LARGE) + MESSAGE_CREDIT) + 2 * u64::from(LARGE) < credit;
            let channel = if reliable { n % 4 } else { 2 + n % 2 };
            data(peer, channel as u8, 2 + n / 4, piece, 0, &[7; LEN]);
        }
        // Messages of nothing, as many as go into a packet, and padding.
        Deed::Empty => {
            let frames = (0..100).flat_map(|i| {
                let message = n * 100 + i + 1;
                encoded(&Frame::Data(Data { channel: 2, message, piece: None, content: 0, payload: b"" }))
            });
            let packet: Vec<u8> = frames.chain([0; 100]).collect();
            peer.send(&packet);
        }
        Deed::Credit => data(peer, (n % 2) as u8, 1 + n / 2, None, 0, &[7; LEN]),
        Deed::Deaf => {}
    }
}

fn data(peer: &mut Scripted, channel: u8, message: u32, piece: Option<Piece>, content: u8, payload: &[u8]) {
    peer.send_frame(&Frame::Data(Data { channel, message, piece, content, payload }));
}
