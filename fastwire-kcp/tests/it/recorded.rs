//! What the names in recorded files mean here.

use fastwire_kcp::crypt::{Crypt, CryptKind};
use fastwire_testkit::vectors::{Value, hex};

/// Whether the project's own copy is read. Another directory may hold as few files as it likes: what there is must hold, and how
/// much that is, is its own business.
pub(crate) fn is_own_copy() -> bool {
    std::env::var_os("FASTWIRE_KCP_VECTORS").is_none_or(|directory| directory.is_empty())
}

/// The cipher of a recorded name; kcp-go's names leave the key size open.
pub(crate) fn kind(name: &str, key_len: usize) -> CryptKind {
    let name = match (name, key_len) {
        ("aes", 16) => "aes-128",
        ("aes", 24) => "aes-192",
        ("aes-gcm", 16) => "aes-128-gcm",
        ("aes-gcm", 24) => "aes-192-gcm",
        ("aes-gcm", _) => "aes-256-gcm",
        (name, _) => name,
    };
    name.parse().expect("a known name")
}

/// The packet protection of a recorded session.
pub(crate) fn session_crypt(session: &Value) -> Crypt {
    let key = hex(&session["key"]);
    let kind = kind(session["crypt"].as_str().expect("a name"), key.len());
    Crypt::new(kind, &key).expect("a recorded key")
}
