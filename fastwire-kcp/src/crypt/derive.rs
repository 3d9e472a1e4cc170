//! Keys from passphrases, as kcptun and kcp-go's examples make them.

use sha1::Sha1;
use zeroize::Zeroizing;

/// Salt of kcptun's keys.
pub const KCPTUN_SALT: &[u8] = b"kcp-go";

/// PBKDF2 iterations of kcptun's keys.
pub const KCPTUN_ITERATIONS: u32 = 4096;

/// PBKDF2-HMAC-SHA1 (RFC 8018 §5.2), 32 bytes. Wiped from memory when dropped.
///
/// The salt is the same for all and SHA-1 is cheap to compute, so a short passphrase can be guessed from one recorded
/// datagram: make it long and random. `iterations` is at least 1; 0 counts as 1.
pub fn derive_key(passphrase: &[u8], salt: &[u8], iterations: u32) -> Zeroizing<[u8; 32]> {
    let mut key = Zeroizing::new([0; 32]);
    pbkdf2::pbkdf2_hmac::<Sha1>(passphrase, salt, iterations.max(1), &mut *key);
    key
}

#[cfg(test)]
mod tests {
    use super::*;

    /// RFC 6070 §2, first 20 bytes of the key (its `dkLen` is 20, which prefixes every longer key).
    #[test]
    fn gives_the_keys_of_rfc_6070() {
        let cases = [
            (1, "0c60c80f961f0e71f3a9b524af6012062fe037a6"),
            (2, "ea6c014dc72d6f8ccd1ed92ace1d41f0d8de8957"),
            (4096, "4b007901b765489abead49d926f721d065a429c1"),
        ];
        for (iterations, expected) in cases {
            let key = derive_key(b"password", b"salt", iterations);
            assert_eq!(hex(&key[..20]), expected, "{iterations}");
        }
        assert_eq!(derive_key(b"password", b"salt", 0), derive_key(b"password", b"salt", 1));
    }

    fn hex(bytes: &[u8]) -> String {
        bytes.iter().map(|byte| format!("{byte:02x}")).collect()
    }
}
