//! Connect tokens: a backend vouches for a client, and the server lets nobody else in (PROTOCOL B2).
//!
//! The backend needs no FastWire server: [`ConnectTokenKey::issue`] is a function of its arguments.

use std::fmt;

use fastwire_crypto::extended::{
    TOKEN_LEN, TOKEN_NONCE, TOKEN_PLAINTEXT, open_token, seal_token, token_expiry,
};
use thiserror::Error;
use zeroize::Zeroizing;

use crate::profile::PreSharedKey;

/// Bytes of user data in a token.
pub const TOKEN_USER_DATA: usize = 64;

/// The key that backend and servers share; wiped on drop and never shown.
#[derive(Clone, PartialEq, Eq)]
pub struct ConnectTokenKey(Zeroizing<[u8; 32]>);

/// What a token says.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct TokenClaims {
    /// The application's name for the client.
    pub client_id: u64,
    /// The server it is for; 0: any that has the key.
    pub server_id: u64,
    /// When it ends, in Unix seconds.
    pub expiry: u64,
    /// Whatever the backend tells the server about the client.
    pub user_data: [u8; TOKEN_USER_DATA],
}

/// A token and the secret that goes with it: what the backend hands to the client over its own secure channel.
#[derive(Clone, PartialEq, Eq)]
pub struct ConnectToken {
    bytes: [u8; TOKEN_LEN],
    psk: PreSharedKey,
}

/// Why a token was not issued.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum TokenError {
    /// The system gave no randomness.
    #[error("the system gives no random bytes: {0}")]
    Entropy(String),
    /// The cipher refused.
    #[error("the token could not be sealed")]
    Cipher,
    /// Text or bytes that are no token.
    #[error("{0} bytes are no connect token: it has {LEN} bytes", LEN = ConnectToken::LEN)]
    Length(usize),
}

impl ConnectTokenKey {
    /// Takes 32 secret bytes, which must come from a source fit for keys.
    pub fn new(key: [u8; 32]) -> Self {
        Self(Zeroizing::new(key))
    }

    /// A key from the operating system's random source.
    ///
    /// # Errors
    /// [`TokenError::Entropy`].
    pub fn generate() -> Result<Self, TokenError> {
        Ok(Self(random()?))
    }

    /// The 32 secret bytes, to keep where backend and servers find them.
    pub fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }

    /// Issues a token. It names no addresses and may be used until it ends; without its secret it is worthless.
    ///
    /// # Errors
    /// [`TokenError::Entropy`].
    pub fn issue(&self, claims: &TokenClaims) -> Result<ConnectToken, TokenError> {
        let nonce: Zeroizing<[u8; TOKEN_NONCE]> = random()?;
        let psk: Zeroizing<[u8; 32]> = random()?;
        self.issue_with(claims, *nonce, PreSharedKey::new(*psk))
    }

    /// As [`issue`](Self::issue), with randomness from elsewhere. A nonce must never come twice.
    ///
    /// # Errors
    /// None with the cipher there is.
    pub fn issue_with(
        &self,
        claims: &TokenClaims,
        nonce: [u8; TOKEN_NONCE],
        psk: PreSharedKey,
    ) -> Result<ConnectToken, TokenError> {
        let mut plaintext = Zeroizing::new([0; TOKEN_PLAINTEXT]);
        let (client_id, server_id) = (claims.client_id.to_le_bytes(), claims.server_id.to_le_bytes());
        let parts = client_id.iter().chain(psk.as_bytes()).chain(&server_id).chain(&claims.user_data);
        plaintext.iter_mut().zip(parts).for_each(|(to, from)| *to = *from);
        let bytes = seal_token(&self.0, nonce, claims.expiry, &plaintext).map_err(|_| TokenError::Cipher)?;
        Ok(ConnectToken { bytes, psk })
    }

    /// What a token says and its secret, if it was sealed with this key. Expiry and server are not looked at.
    pub fn open(&self, token: &[u8]) -> Option<(TokenClaims, PreSharedKey)> {
        let token: &[u8; TOKEN_LEN] = token.try_into().ok()?;
        let plaintext = open_token(&self.0, token).ok()?;
        let (client_id, rest) = plaintext.split_first_chunk::<8>()?;
        let (psk, rest) = rest.split_first_chunk::<32>()?;
        let (server_id, rest) = rest.split_first_chunk::<8>()?;
        let claims = TokenClaims {
            client_id: u64::from_le_bytes(*client_id),
            server_id: u64::from_le_bytes(*server_id),
            expiry: token_expiry(token),
            user_data: *rest.first_chunk()?,
        };
        Some((claims, PreSharedKey::new(*psk)))
    }
}

impl ConnectToken {
    /// Bytes of token and secret together.
    pub const LEN: usize = TOKEN_LEN + 32;

    /// What the client shows to the server.
    pub fn token(&self) -> &[u8; TOKEN_LEN] {
        &self.bytes
    }

    /// What goes into the connection's keys; never sent.
    pub fn psk(&self) -> &PreSharedKey {
        &self.psk
    }

    /// When it ends, in Unix seconds, as it says itself.
    pub fn expiry(&self) -> u64 {
        token_expiry(&self.bytes)
    }

    /// Token and secret as bytes, for the backend's secure channel.
    pub fn to_bytes(&self) -> Zeroizing<[u8; Self::LEN]> {
        let mut bytes = Zeroizing::new([0; Self::LEN]);
        bytes.iter_mut().zip(self.bytes.iter().chain(self.psk.as_bytes())).for_each(|(to, from)| *to = *from);
        bytes
    }

    /// Takes what [`to_bytes`](Self::to_bytes) gave.
    ///
    /// # Errors
    /// [`TokenError::Length`].
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, TokenError> {
        let (token, psk) = bytes.split_first_chunk().ok_or(TokenError::Length(bytes.len()))?;
        let psk: [u8; 32] = psk.try_into().map_err(|_| TokenError::Length(bytes.len()))?;
        Ok(Self { bytes: *token, psk: PreSharedKey::new(psk) })
    }
}

/// Which tokens a server takes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TokenKeys {
    /// The key in use.
    pub current: ConnectTokenKey,
    /// The one before: its tokens are good until they end.
    pub previous: Option<ConnectTokenKey>,
    /// This server's id; tokens for another are refused.
    pub server_id: u64,
}

impl TokenKeys {
    /// Tokens of one key, for this server or for any.
    pub fn new(current: ConnectTokenKey, server_id: u64) -> Self {
        Self { current, previous: None, server_id }
    }

    /// Claims and secret of a token that lets its holder in at this time, in Unix seconds.
    pub fn verify(&self, token: &[u8], unix_seconds: u64) -> Option<(TokenClaims, PreSharedKey)> {
        let keys = [Some(&self.current), self.previous.as_ref()];
        let (claims, psk) = keys.into_iter().flatten().find_map(|key| key.open(token))?;
        let is_ours = claims.server_id == 0 || claims.server_id == self.server_id;
        (is_ours && unix_seconds < claims.expiry).then_some((claims, psk))
    }
}

fn random<const N: usize>() -> Result<Zeroizing<[u8; N]>, TokenError> {
    let mut bytes = Zeroizing::new([0; N]);
    getrandom::fill(&mut bytes[..]).map_err(|error| TokenError::Entropy(error.to_string()))?;
    Ok(bytes)
}

impl fmt::Debug for ConnectTokenKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ConnectTokenKey(..)")
    }
}

impl fmt::Debug for ConnectToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ConnectToken(ends at {})", self.expiry())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn a_token_opens_under_its_key_until_it_ends(
            client_id: u64,
            server_id: u64,
            expiry: u64,
            now: u64,
            user_data: [u8; 32],
            (key, nonce, psk) in any::<([u8; 32], [u8; 24], [u8; 32])>(),
            here: u64,
            bit in 0..ConnectToken::LEN * 8,
        ) {
            let mut claims = TokenClaims { client_id, server_id, expiry, user_data: [0; TOKEN_USER_DATA] };
            claims.user_data[..32].copy_from_slice(&user_data);
            let key = ConnectTokenKey::new(key);
            let token = key.issue_with(&claims, nonce, psk.into()).expect("seals");
            prop_assert_eq!(token.expiry(), expiry);
            let sent = ConnectToken::from_bytes(&*token.to_bytes());
            prop_assert_eq!(sent, Ok(token.clone()));
            let good = Some((claims, PreSharedKey::new(psk)));
            let keys = TokenKeys::new(key.clone(), server_id);
            prop_assert_eq!(keys.verify(token.token(), now), good.clone().filter(|_| now < expiry));
            let rotated = TokenKeys {
                previous: Some(key.clone()),
                ..TokenKeys::new(ConnectTokenKey::new([0xa5; 32]), server_id)
            };
            let before = expiry.saturating_sub(1);
            let in_time = before < expiry;
            prop_assert_eq!(rotated.verify(token.token(), before), good.filter(|_| in_time));
            let elsewhere = TokenKeys::new(key.clone(), here).verify(token.token(), before);
            prop_assert_eq!(elsewhere.is_some(), in_time && (server_id == 0 || server_id == here));
            prop_assert!(ConnectTokenKey::new([0xa5; 32]).open(token.token()).is_none());
            // What is not the token's own secret is authenticated, expiry and nonce too.
            let mut changed = *token.token();
            if let Some(byte) = changed.get_mut(bit / 8) {
                *byte ^= 1 << (bit % 8);
                prop_assert!(key.open(&changed).is_none());
            }
        }

        #[test]
        fn no_other_bytes_are_a_token(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
            prop_assert!(ConnectTokenKey::new([1; 32]).open(&bytes).is_none());
            let read = ConnectToken::from_bytes(&bytes);
            prop_assert_eq!(read.is_ok(), bytes.len() == ConnectToken::LEN);
        }
    }

    #[test]
    fn no_two_tokens_are_alike_and_none_shows_its_secret() {
        let key = ConnectTokenKey::generate().expect("randomness");
        let claims = TokenClaims { client_id: 1, server_id: 0, expiry: 2, user_data: [0; TOKEN_USER_DATA] };
        let (a, b) = (key.issue(&claims).expect("a token"), key.issue(&claims).expect("a token"));
        assert_ne!(a.token(), b.token());
        assert_ne!(a.psk(), b.psk());
        let shown = format!("{key:?} {a:?} {:?}", a.psk());
        assert_eq!(shown, "ConnectTokenKey(..) ConnectToken(ends at 2) PreSharedKey(..)");
    }
}
