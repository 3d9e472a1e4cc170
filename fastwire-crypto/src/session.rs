//! The keys of a connection, one for each direction (PROTOCOL A4).

use std::fmt;

use zeroize::Zeroizing;

use crate::{CipherSuite, KeyAgreement, KeyError, Prk, PublicKey};

/// Derives the keys of a connection. Both sides get the same from their own pair, the other's public
/// key and the token of the CHALLENGE.
///
/// # Errors
///
/// [`KeyError::LowOrderPoint`] if the peer's key is one of the few that lead to a known secret.
pub fn derive_session_keys(
    own: &(impl KeyAgreement + ?Sized),
    peer: &PublicKey,
    challenge_token: &[u8; 32],
    suite: CipherSuite,
) -> Result<SessionKeys, KeyError> {
    let prk = Prk::extract(challenge_token, own.agree(peer)?.as_bytes());
    // A shorter key is the beginning of a longer one, so 32 bytes serve every suite (RFC 5869 §2.3).
    let (mut c2s, mut s2c) = (Zeroizing::new([0; MAX_KEY_LEN]), Zeroizing::new([0; MAX_KEY_LEN]));
    prk.expand(&[b"c2s"], &mut *c2s)?;
    prk.expand(&[b"s2c"], &mut *s2c)?;
    Ok(SessionKeys { suite, c2s, s2c, prk })
}

const MAX_KEY_LEN: usize = 32;

/// The keys of a connection; wiped on drop and never shown.
pub struct SessionKeys {
    suite: CipherSuite,
    c2s: Zeroizing<[u8; MAX_KEY_LEN]>,
    s2c: Zeroizing<[u8; MAX_KEY_LEN]>,
    prk: Prk,
}

impl SessionKeys {
    /// The suite the keys are for.
    pub const fn suite(&self) -> CipherSuite {
        self.suite
    }

    /// The key for what the client sends, [`CipherSuite::key_len`] bytes.
    pub fn c2s(&self) -> &[u8] {
        self.c2s.get(..self.suite.key_len()).unwrap_or(&*self.c2s)
    }

    /// The key for what the server sends, [`CipherSuite::key_len`] bytes.
    pub fn s2c(&self) -> &[u8] {
        self.s2c.get(..self.suite.key_len()).unwrap_or(&*self.s2c)
    }

    /// Fills `out` with key material for the application, named by `label`.
    ///
    /// Both sides get the same, and only they do: compared or signed at login, it reveals a man in the
    /// middle (PROTOCOL A5).
    ///
    /// # Errors
    ///
    /// [`KeyError::TooMuchKeyMaterial`] above 8160 bytes.
    pub fn export(&self, label: &[u8], out: &mut [u8]) -> Result<(), KeyError> {
        self.prk.expand(&[b"exp", label], out)
    }
}

impl fmt::Debug for SessionKeys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SessionKeys").field("suite", &self.suite).finish_non_exhaustive()
    }
}
