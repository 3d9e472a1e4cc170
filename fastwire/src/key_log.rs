//! Keys of connections as lines of text, for tools that decrypt a capture. Opt-in: who has the lines reads everything.

use std::fmt;
use std::fs::File;
use std::io::{self, Write as _};
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};

use fastwire_crypto::SessionKeys;
use fastwire_crypto::extended::ExtendedKeys;
use zeroize::Zeroizing;

use crate::identity::{open_private, push_hex};

/// Where the secrets of connections go, one line each: `LABEL HANDSHAKE SECRET`, both in hex, as in the key log of NSS.
///
/// **Who reads these lines can decrypt the connections they speak of, from a capture made at any time, and can forge their
/// packets.** They are for debugging. Nothing turns them on but this setting.
///
/// `HANDSHAKE` is the 32 bytes that CHALLENGE carries bare: the challenge token of the base profile, the cookie of the
/// extended one. So a tool that saw the handshake knows which connection a line is for.
///
/// | label | secret |
/// |---|---|
/// | `FASTWIRE_BASE_CLIENT_KEY`, `FASTWIRE_BASE_SERVER_KEY` | key of what the client, the server sends (PROTOCOL A4) |
/// | `FASTWIRE_CLIENT_MASK`, `FASTWIRE_SERVER_MASK` | `hp`, the key of the packet number mask (PROTOCOL B3) |
/// | `FASTWIRE_CLIENT_SECRET_0`, `FASTWIRE_SERVER_SECRET_0` | `secret_0`, from which every epoch's keys follow (PROTOCOL B3) |
/// | `FASTWIRE_VEIL` | the server's public key, from which the veil follows (PROTOCOL B7); only where it is on |
///
/// A line comes when the handshake has given the keys. Suite 0 has none. What an extended client shows in RESPONSE (`auth`) is
/// under a key of its own, which is not told.
///
/// ```
/// use fastwire::{KeyLog, Server};
///
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let path = std::env::temp_dir().join(format!("fastwire-keys-{}", std::process::id()));
/// let builder = Server::builder().key_log(KeyLog::append_to(&path)?);
/// # drop(builder);
/// # std::fs::remove_file(path)?;
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
pub struct KeyLog(Arc<dyn Fn(&str) + Send + Sync>);

impl KeyLog {
    /// Hands each line, without its line end, to `sink`. It is called inside the handshake, so it should be quick.
    pub fn new(sink: impl Fn(&str) + Send + Sync + 'static) -> Self {
        Self(Arc::new(sink))
    }

    /// Appends the lines to a file; one that is not there is made, for its owner alone (mode 0600 where the system has modes).
    /// A line that cannot be written is a warning in the log.
    ///
    /// # Errors
    /// The file cannot be opened.
    pub fn append_to(path: impl AsRef<Path>) -> io::Result<Self> {
        let path = path.as_ref();
        let file = Mutex::new(open_private(path)?);
        tracing::warn!(path = %path.display(), "keys of connections are written to a file: who reads it can decrypt them");
        Ok(Self::new(move |line| {
            let mut file = file.lock().unwrap_or_else(PoisonError::into_inner);
            if let Err(error) = append(&mut file, line) {
                tracing::warn!(%error, "a line of the key log was not written");
            }
        }))
    }

    pub(crate) fn base(&self, token: &[u8; 32], keys: &SessionKeys) {
        self.line("FASTWIRE_BASE_CLIENT_KEY", token, keys.c2s());
        self.line("FASTWIRE_BASE_SERVER_KEY", token, keys.s2c());
    }

    pub(crate) fn extended(&self, cookie: &[u8; 32], keys: &ExtendedKeys) {
        self.line("FASTWIRE_CLIENT_MASK", cookie, keys.c2s.mask_key());
        self.line("FASTWIRE_CLIENT_SECRET_0", cookie, keys.c2s.epoch_secret());
        self.line("FASTWIRE_SERVER_MASK", cookie, keys.s2c.mask_key());
        self.line("FASTWIRE_SERVER_SECRET_0", cookie, keys.s2c.epoch_secret());
    }

    pub(crate) fn veil(&self, cookie: &[u8; 32], server_key: &[u8; 32]) {
        self.line("FASTWIRE_VEIL", cookie, server_key);
    }

    fn line(&self, label: &str, handshake: &[u8; 32], secret: &[u8]) {
        let mut line = Zeroizing::new(String::with_capacity(label.len() + 130));
        line.push_str(label);
        for bytes in [&handshake[..], secret] {
            line.push(' ');
            push_hex(&mut line, bytes);
        }
        (self.0)(&line);
    }
}

/// One write a line, so that several processes may share a file.
fn append(file: &mut File, line: &str) -> io::Result<()> {
    let mut text = Zeroizing::new(String::with_capacity(line.len() + 1));
    text.push_str(line);
    text.push('\n');
    file.write_all(text.as_bytes())
}

impl fmt::Debug for KeyLog {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("KeyLog(..)")
    }
}
