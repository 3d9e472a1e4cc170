//! Keys of one direction by epoch, and short packets sealed with them (PROTOCOL B3, B4).

use fastwire::crypto::extended::HeaderMask;
use fastwire::crypto::{Aead, Cipher as _, CipherSuite, Prk};
use serde_json::{Value, json};

use crate::{first, hex};

/// Epochs change every so many packet numbers.
const EPOCH: u64 = 65_536;

/// Everything that follows from the secret of one direction.
#[derive(Clone)]
pub(crate) struct Direction {
    suite: CipherSuite,
    pub(crate) hp: [u8; 32],
    epoch: u64,
    secret: [u8; 32],
    pub(crate) key: Vec<u8>,
    pub(crate) iv: [u8; 12],
}

/// A sealed packet and how it came about.
pub(crate) struct Sealed {
    pub(crate) number: u64,
    pub(crate) sample: [u8; 16],
    pub(crate) mask: [u8; 4],
    pub(crate) bytes: Vec<u8>,
}

impl Direction {
    /// In epoch 0.
    pub(crate) fn new(suite: CipherSuite, secret: [u8; 32]) -> Self {
        let direction = Prk::from_bytes(secret);
        let (hp, secret) =
            (first(&expand(&direction, &[b"hp"], 32)), first(&expand(&direction, &[b"epoch"], 32)));
        Self { suite, hp, epoch: 0, secret, key: Vec::new(), iv: [0; 12] }.with_keys()
    }

    fn with_keys(mut self) -> Self {
        let secret = Prk::from_bytes(self.secret);
        self.key = expand(&secret, &[b"key"], self.suite.key_len());
        self.iv = first(&expand(&secret, &[b"iv"], 12));
        self
    }

    /// In the epoch of packet `number`; epochs only rise.
    pub(crate) fn at(mut self, number: u64) -> Self {
        while self.epoch < number / EPOCH {
            self.secret = first(&expand(&Prk::from_bytes(self.secret), &[b"next"], 32));
            self.epoch += 1;
        }
        self.with_keys()
    }

    pub(crate) fn epoch(&self) -> Value {
        json!({ "epoch": self.epoch, "secret": hex(&self.secret), "key": hex(&self.key), "iv": hex(&self.iv) })
    }

    /// Seals `plaintext` as packet `number` with the keys of the present epoch, whichever that is.
    pub(crate) fn seal(&self, id: &[u8], number: u64, plaintext: &[u8]) -> Sealed {
        let mut nonce = self.iv;
        for (byte, number) in nonce[4..].iter_mut().zip(number.to_le_bytes()) {
            *byte ^= number;
        }
        let low = (number as u32).to_le_bytes();
        let mut data = plaintext.to_vec();
        let cipher = Aead::new(self.suite, &self.key).expect("a key");
        let tag = cipher.seal(&nonce, &[id, &low].concat(), &mut data).expect("seals");
        data.extend_from_slice(&tag);
        let sample = first(&data);
        let mask = HeaderMask::new(self.suite, &self.hp).expect("a cipher").mask(&sample);
        let masked: Vec<u8> = low.iter().zip(mask).map(|(byte, mask)| byte ^ mask).collect();
        Sealed { number, sample, mask, bytes: [id, &masked, &data].concat() }
    }
}

pub(crate) fn expand(prk: &Prk, info: &[&[u8]], len: usize) -> Vec<u8> {
    let mut out = vec![0; len];
    prk.expand(info, &mut out).expect("no more than HKDF gives");
    out
}
