//! The ciphers that kcp-go speaks besides its AEADs, for peers that cannot do better.
//!
//! **Insecure, all of them.** None authenticates: the CRC-32 is no secret and lies under a cipher whose bits an attacker
//! can flip, so whoever can send datagrams can forge them. The vector of the CFB ciphers is fixed, and secrecy hangs on
//! the random nonce in front alone. [`Tea`], [`Cfb`] over DES, CAST5 or Blowfish with their 8-byte blocks, and above all
//! [`Xor`] (one table over every datagram) do not even keep the contents secret from someone who records enough.
//! [`Plain`] and [`Null`] encrypt nothing. Use an AEAD wherever the peer can.

mod cfb;
mod checksum;
mod kind;
mod stream;
mod tea;
mod twofish;

pub use self::{
    cfb::Cfb,
    checksum::{Checksummed, DatagramCipher},
    kind::Kind,
    stream::{Plain, Salsa20, Xor},
    tea::{Tea, Xtea},
};

use std::ops::Range;

use super::{NONCE_LEN, OpenError, PacketCrypt, SealError};

/// No header, no checksum, no cipher: the bare datagrams of the C KCP, kcp-go's nil crypt, kcptun's `null`. Insecure.
#[derive(Debug, Clone, Copy, Default)]
pub struct Null;

impl PacketCrypt for Null {
    fn header_len(&self) -> usize {
        0
    }

    fn tag_len(&self) -> usize {
        0
    }

    fn seal(&self, _: &mut [u8], _: &[u8; NONCE_LEN]) -> Result<(), SealError> {
        Ok(())
    }

    fn open(&self, datagram: &mut [u8]) -> Result<Range<usize>, OpenError> {
        Ok(0..datagram.len())
    }
}
