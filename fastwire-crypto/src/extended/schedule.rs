//! Which key follows from what (PROTOCOL B3).

use std::fmt;

use sha2::{Digest, Sha256};
use zeroize::Zeroizing;

use crate::{CipherSuite, KeyError, NONCE_LEN, Prk, SharedSecret};

/// The part of a handshake that both sides have seen before RESPONSE.
#[derive(Debug, Clone, Copy)]
pub struct Transcript<'a> {
    /// The server's identity key S.
    pub server_key: &'a [u8; 32],
    /// CONNECT's control payload with its trailer.
    pub connect: &'a [u8],
    /// CHALLENGE's control payload with its trailer.
    pub challenge: &'a [u8],
}

/// Keys of the handshake itself; to be dropped once [`finish`](Self::finish) has made the connection's.
pub struct HandshakeKeys {
    suite: CipherSuite,
    prk: Prk,
    th1: [u8; 32],
}

impl HandshakeKeys {
    /// From the two key agreements, the pre-shared key if there is one, and what was said. `ephemeral` is of
    /// the client's key with the server's epoch key, `identity` of the client's with the server's identity.
    pub fn new(
        suite: CipherSuite,
        cookie: &[u8; 32],
        ephemeral: &SharedSecret,
        identity: &SharedSecret,
        psk: Option<&[u8; 32]>,
        transcript: &Transcript<'_>,
    ) -> Self {
        let mut input = Zeroizing::new([[0; 32]; 3]);
        let [ephemeral_part, identity_part, psk_part] = &mut *input;
        ephemeral_part.copy_from_slice(ephemeral.as_bytes());
        identity_part.copy_from_slice(identity.as_bytes());
        if let Some(psk) = psk {
            psk_part.copy_from_slice(psk);
        }
        let prk = Prk::extract(cookie, input.as_flattened());
        let mut hash = Sha256::new();
        hash.update(b"fastwire extended 1");
        hash.update(transcript.server_key);
        for part in [transcript.connect, transcript.challenge] {
            // Control payloads are far below 64 KiB: they came in one datagram.
            hash.update((part.len() as u16).to_le_bytes());
            hash.update(part);
        }
        Self { suite, prk, th1: hash.finalize().into() }
    }

    /// Key and nonce of RESPONSE; it is sealed once.
    ///
    /// # Errors
    ///
    /// None with the suites there are.
    pub fn response(&self) -> Result<(Zeroizing<Vec<u8>>, [u8; NONCE_LEN]), KeyError> {
        let len = self.suite.key_len();
        let mut bytes = Zeroizing::new(vec![0; len.saturating_add(NONCE_LEN)]);
        self.prk.expand(&[b"resp", &self.th1], &mut bytes)?;
        let nonce = bytes.last_chunk().copied().unwrap_or_default();
        bytes.truncate(len);
        Ok((bytes, nonce))
    }

    /// The connection's keys, once RESPONSE was accepted.
    ///
    /// # Errors
    ///
    /// None with the suites there are.
    pub fn finish(
        &self,
        response_datagram: &[u8],
        server_random: &[u8; 16],
    ) -> Result<ExtendedKeys, KeyError> {
        let mut hash = Sha256::new();
        hash.update(self.th1);
        hash.update(Sha256::digest(response_datagram));
        hash.update(server_random);
        let th2: [u8; 32] = hash.finalize().into();
        let direction = |label: &[u8]| {
            let secret = expand(&self.prk, &[label, &th2])?;
            DirectionSecret::new(self.suite, &Prk::from_bytes(*secret))
        };
        Ok(ExtendedKeys {
            c2s: direction(b"c2s")?,
            s2c: direction(b"s2c")?,
            exporter: Prk::from_bytes(*expand(&self.prk, &[b"exp", &th2])?),
        })
    }
}

/// What a finished handshake leaves behind.
#[derive(Debug)]
pub struct ExtendedKeys {
    /// For what the client sends.
    pub c2s: DirectionSecret,
    /// For what the server sends.
    pub s2c: DirectionSecret,
    exporter: Prk,
}

impl ExtendedKeys {
    /// Fills `out` with key material for the application, named by `label`.
    ///
    /// # Errors
    ///
    /// [`KeyError::TooMuchKeyMaterial`] above [`Prk::MAX_EXPAND`] bytes.
    pub fn export(&self, label: &[u8], out: &mut [u8]) -> Result<(), KeyError> {
        self.exporter.expand(&[label], out)
    }
}

/// The secret of one direction in one epoch: gives the epoch's key, and the next epoch's secret.
#[derive(Clone)]
pub struct DirectionSecret {
    suite: CipherSuite,
    hp: Zeroizing<[u8; 32]>,
    epoch: u64,
    secret: Zeroizing<[u8; 32]>,
}

impl ExtendedKeys {
    /// The secrets of both directions, client's first, and what makes key material for the application.
    pub fn split(self) -> (DirectionSecret, DirectionSecret, Exporter) {
        (self.c2s, self.s2c, Exporter(self.exporter))
    }
}

/// Makes key material for the application (PROTOCOL B3).
#[derive(Debug)]
pub struct Exporter(Prk);

impl Exporter {
    /// Fills `out` with key material for the application, named by `label`.
    ///
    /// # Errors
    ///
    /// [`KeyError::TooMuchKeyMaterial`] above [`Prk::MAX_EXPAND`] bytes.
    pub fn export(&self, label: &[u8], out: &mut [u8]) -> Result<(), KeyError> {
        self.0.expand(&[label], out)
    }
}

impl DirectionSecret {
    /// Epoch 0 of the direction whose secret (c2s or s2c) is `direction`; [`HandshakeKeys::finish`] makes both.
    ///
    /// # Errors
    ///
    /// None with the suites there are.
    pub fn new(suite: CipherSuite, direction: &Prk) -> Result<Self, KeyError> {
        let (hp, secret) = (expand(direction, &[b"hp"])?, expand(direction, &[b"epoch"])?);
        Ok(Self { suite, hp, epoch: 0, secret })
    }

    /// The suite.
    pub const fn suite(&self) -> CipherSuite {
        self.suite
    }

    /// The key of the packet number mask; one for all epochs.
    pub fn mask_key(&self) -> &[u8; 32] {
        &self.hp
    }

    /// The epoch's secret, for a key log: who has it reads this epoch and all later ones.
    pub fn epoch_secret(&self) -> &[u8; 32] {
        &self.secret
    }

    /// Which epoch this is.
    pub const fn epoch(&self) -> u64 {
        self.epoch
    }

    /// The epoch's key and the vector its nonces are made from.
    ///
    /// # Errors
    ///
    /// None with the suites there are.
    pub fn key(&self) -> Result<(Zeroizing<Vec<u8>>, [u8; NONCE_LEN]), KeyError> {
        let secret = Prk::from_bytes(*self.secret);
        let mut key = Zeroizing::new(vec![0; self.suite.key_len()]);
        let mut iv = [0; NONCE_LEN];
        secret.expand(&[b"key"], &mut key)?;
        secret.expand(&[b"iv"], &mut iv)?;
        Ok((key, iv))
    }

    /// Goes on to the next epoch; the old secret is wiped.
    ///
    /// # Errors
    ///
    /// None with the suites there are.
    pub fn advance(&mut self) -> Result<(), KeyError> {
        self.secret = expand(&Prk::from_bytes(*self.secret), &[b"next"])?;
        self.epoch = self.epoch.saturating_add(1);
        Ok(())
    }
}

impl fmt::Debug for DirectionSecret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "DirectionSecret({}, epoch {})", self.suite, self.epoch)
    }
}

impl fmt::Debug for HandshakeKeys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "HandshakeKeys({})", self.suite)
    }
}

fn expand(prk: &Prk, info: &[&[u8]]) -> Result<Zeroizing<[u8; 32]>, KeyError> {
    let mut out = Zeroizing::new([0; 32]);
    prk.expand(info, &mut *out)?;
    Ok(out)
}
