//! Connect tokens as bytes: what a backend seals for a client to show to a server (PROTOCOL B2).

use chacha20poly1305::XChaCha20Poly1305;
use chacha20poly1305::aead::{AeadInOut, KeyInit};
use zeroize::Zeroizing;

use crate::{CipherError, TAG_LEN};

/// Bytes of a token.
pub const TOKEN_LEN: usize = 160;
/// Bytes of what is sealed in it.
pub const TOKEN_PLAINTEXT: usize = 112;
/// Bytes of its nonce.
pub const TOKEN_NONCE: usize = 24;

const DATA_AT: usize = TOKEN_NONCE + 8;
const TAG_AT: usize = DATA_AT + TOKEN_PLAINTEXT;
const LABEL: &[u8; 16] = b"fastwire token 1";

/// Label and expiry: what is authenticated beside the sealed part.
fn associated(expiry: [u8; 8]) -> [u8; 24] {
    let mut data = [0; 24];
    data[..16].copy_from_slice(LABEL);
    data[16..].copy_from_slice(&expiry);
    data
}

/// Seals a token that ends at `expiry`, in Unix seconds. `nonce` must be random: 24 bytes never come twice by chance.
///
/// # Errors
///
/// None with the cipher there is.
pub fn seal_token(
    key: &[u8; 32],
    nonce: [u8; TOKEN_NONCE],
    expiry: u64,
    plaintext: &[u8; TOKEN_PLAINTEXT],
) -> Result<[u8; TOKEN_LEN], CipherError> {
    let expiry = expiry.to_le_bytes();
    let mut token = [0; TOKEN_LEN];
    token[..TOKEN_NONCE].copy_from_slice(&nonce);
    token[TOKEN_NONCE..DATA_AT].copy_from_slice(&expiry);
    token[DATA_AT..TAG_AT].copy_from_slice(plaintext);
    let tag = XChaCha20Poly1305::new(key.into())
        .encrypt_inout_detached(&nonce.into(), &associated(expiry), (&mut token[DATA_AT..TAG_AT]).into())
        .map_err(|_| CipherError)?;
    token[TAG_AT..].copy_from_slice(&tag);
    Ok(token)
}

/// When a token ends, in Unix seconds, as it says itself.
pub fn token_expiry(token: &[u8; TOKEN_LEN]) -> u64 {
    let mut expiry = [0; 8];
    expiry.copy_from_slice(&token[TOKEN_NONCE..DATA_AT]);
    u64::from_le_bytes(expiry)
}

/// Opens a token.
///
/// # Errors
///
/// [`CipherError`] if it was not sealed with this key, or was changed.
pub fn open_token(
    key: &[u8; 32],
    token: &[u8; TOKEN_LEN],
) -> Result<Zeroizing<[u8; TOKEN_PLAINTEXT]>, CipherError> {
    let mut nonce = [0; TOKEN_NONCE];
    nonce.copy_from_slice(&token[..TOKEN_NONCE]);
    let mut expiry = [0; 8];
    expiry.copy_from_slice(&token[TOKEN_NONCE..DATA_AT]);
    let mut tag = [0; TAG_LEN];
    tag.copy_from_slice(&token[TAG_AT..]);
    let mut plaintext = Zeroizing::new([0; TOKEN_PLAINTEXT]);
    plaintext.copy_from_slice(&token[DATA_AT..TAG_AT]);
    XChaCha20Poly1305::new(key.into())
        .decrypt_inout_detached(&nonce.into(), &associated(expiry), (&mut plaintext[..]).into(), &tag.into())
        .map_err(|_| CipherError)?;
    Ok(plaintext)
}
