//! Who a server is: a key pair that clients can pin, kept in a file (PROTOCOL B1).

use std::fmt;
use std::fs;
use std::io::{self, Write as _};
use std::path::Path;
use std::sync::Arc;

use fastwire_crypto::extended::sha256;
use fastwire_crypto::{KeyPair, PublicKey};
use thiserror::Error;
use zeroize::Zeroizing;

/// First line of an identity's file.
const HEADER: &str = "fastwire identity 1";

/// A server's long-lived key pair. Cheap to clone; the secret is wiped with the last clone and never shown.
#[derive(Clone)]
pub struct Identity(Arc<Inner>);

struct Inner {
    secret: Zeroizing<[u8; 32]>,
    keys: KeyPair,
}

/// Why an identity could not be made, read or kept.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum IdentityError {
    /// The system gave no randomness.
    #[error("the system gives no random bytes: {0}")]
    Entropy(String),
    /// The file could not be read or written.
    #[error("identity file {path}: {source}")]
    File {
        /// Which file.
        path: String,
        /// What the system said.
        source: io::Error,
    },
    /// The file holds something else.
    #[error("{0} holds no identity: it should begin with \"{HEADER}\" and 64 hex digits")]
    Malformed(String),
}

impl Identity {
    /// A new identity from the operating system's random source.
    ///
    /// # Errors
    /// [`IdentityError::Entropy`].
    pub fn generate() -> Result<Self, IdentityError> {
        let mut secret = Zeroizing::new([0; 32]);
        getrandom::fill(&mut secret[..]).map_err(|error| IdentityError::Entropy(error.to_string()))?;
        Ok(Self::from_secret(*secret))
    }

    /// The identity with these 32 secret bytes, which must come from a source fit for keys.
    pub fn from_secret(secret: [u8; 32]) -> Self {
        Self(Arc::new(Inner { secret: Zeroizing::new(secret), keys: KeyPair::from_secret(secret) }))
    }

    /// Reads the identity that [`save`](Self::save) wrote.
    ///
    /// # Errors
    /// [`IdentityError::File`], [`IdentityError::Malformed`].
    pub fn load(path: impl AsRef<Path>) -> Result<Self, IdentityError> {
        let path = path.as_ref();
        let text = Zeroizing::new(fs::read_to_string(path).map_err(|source| file_error(path, source))?);
        warn_if_readable(path);
        let malformed = || IdentityError::Malformed(path.display().to_string());
        let (header, rest) = text.split_once('\n').ok_or_else(malformed)?;
        let secret =
            parse_hex(rest.trim_end()).filter(|_| header.trim_end() == HEADER).ok_or_else(malformed)?;
        Ok(Self::from_secret(*secret))
    }

    /// Writes the identity to a file that its owner alone may read (mode 0600 where the system has modes). An existing
    /// file is replaced as a whole.
    ///
    /// # Errors
    /// [`IdentityError::File`].
    pub fn save(&self, path: impl AsRef<Path>) -> Result<(), IdentityError> {
        let path = path.as_ref();
        self.write(path).map_err(|source| file_error(path, source))
    }

    /// Reads the identity from a file; makes and keeps a new one where there is no such file.
    ///
    /// # Errors
    /// [`IdentityError`].
    pub fn load_or_generate(path: impl AsRef<Path>) -> Result<Self, IdentityError> {
        let path = path.as_ref();
        match Self::load(path) {
            Err(IdentityError::File { source, .. }) if source.kind() == io::ErrorKind::NotFound => {
                let identity = Self::generate()?;
                identity.save(path)?;
                Ok(identity)
            }
            other => other,
        }
    }

    /// What clients pin.
    pub fn public_key(&self) -> PublicKey {
        self.0.keys.public()
    }

    /// The public key's SHA-256 as text, for people to compare.
    pub fn fingerprint(&self) -> String {
        fingerprint(&self.public_key())
    }

    pub(crate) fn keys(&self) -> &KeyPair {
        &self.0.keys
    }

    fn write(&self, path: &Path) -> io::Result<()> {
        let mut name = path.as_os_str().to_owned();
        name.push(".new");
        let (new, mut text) = (Path::new(&name), Zeroizing::new(format!("{HEADER}\n")));
        push_hex(&mut text, &*self.0.secret);
        text.push('\n');
        let mut file = create_private(new)?;
        file.write_all(text.as_bytes())?;
        file.sync_all()?;
        fs::rename(new, path)
    }
}

/// A key's SHA-256 as text: 16 groups of 4 hex digits.
pub fn fingerprint(key: &PublicKey) -> String {
    let mut hex = String::with_capacity(80);
    for (index, pair) in sha256(key.as_bytes()).chunks(2).enumerate() {
        if index > 0 {
            hex.push('-');
        }
        push_hex(&mut hex, pair);
    }
    hex
}

pub(crate) fn push_hex(text: &mut String, bytes: &[u8]) {
    for byte in bytes {
        for digit in [byte >> 4, byte & 15] {
            text.push(char::from_digit(digit.into(), 16).unwrap_or_default());
        }
    }
}

/// 32 bytes from 64 hex digits.
pub(crate) fn parse_hex(text: &str) -> Option<Zeroizing<[u8; 32]>> {
    let mut bytes = Zeroizing::new([0; 32]);
    if text.len() != 64 {
        return None;
    }
    for (byte, pair) in bytes.iter_mut().zip(text.as_bytes().chunks_exact(2)) {
        for digit in pair {
            *byte = *byte << 4 | char::from(*digit).to_digit(16)? as u8;
        }
    }
    Some(bytes)
}

fn file_error(path: &Path, source: io::Error) -> IdentityError {
    IdentityError::File { path: path.display().to_string(), source }
}

/// A new file that nobody else can open, whatever the process's umask. A leftover of an earlier attempt goes first.
pub(crate) fn create_private(path: &Path) -> io::Result<fs::File> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let mut options = fs::OpenOptions::new();
    options.write(true).create_new(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    options.open(path)
}

/// A file to append to. A new one nobody else can open, whatever the process's umask.
pub(crate) fn open_private(path: &Path) -> io::Result<fs::File> {
    let mut options = fs::OpenOptions::new();
    options.append(true).create(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    options.open(path)
}

#[cfg(unix)]
fn warn_if_readable(path: &Path) {
    use std::os::unix::fs::PermissionsExt as _;
    let mode = fs::metadata(path).map_or(0, |metadata| metadata.permissions().mode());
    if mode & 0o077 != 0 {
        tracing::warn!(path = %path.display(), "others may read this identity: chmod 600 it");
    }
}

#[cfg(not(unix))]
fn warn_if_readable(_: &Path) {}

impl fmt::Debug for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Identity({})", self.public_key())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn directory(name: &str) -> std::path::PathBuf {
        let directory = std::env::temp_dir().join(format!("fastwire-{name}-{}", std::process::id()));
        fs::create_dir_all(&directory).expect("a directory");
        directory
    }

    #[test]
    fn an_identity_survives_its_file_which_is_its_owners_alone() {
        let directory = directory("identity");
        let path = directory.join("server.identity");
        let made = Identity::load_or_generate(&path).expect("made");
        for loaded in [Identity::load(&path), Identity::load_or_generate(&path)] {
            assert_eq!(loaded.expect("loads").public_key(), made.public_key());
        }
        let other = Identity::generate().expect("randomness");
        assert_ne!(other.public_key(), made.public_key());
        other.save(&path).expect("replaces");
        assert_eq!(Identity::load(&path).expect("loads").public_key(), other.public_key());
        #[cfg(unix)]
        {
            use std::os::unix::fs::PermissionsExt as _;
            let mode = fs::metadata(&path).expect("a file").permissions().mode();
            assert_eq!(mode & 0o777, 0o600);
        }
        assert_eq!(fs::read_dir(&directory).expect("a directory").count(), 1, "nothing is left beside it");
        fs::remove_dir_all(directory).expect("removed");
    }

    #[test]
    fn what_is_no_identity_is_refused_by_name() {
        let directory = directory("no-identity");
        let path = directory.join("file");
        let good = format!("{HEADER}\n{}\n", "0f".repeat(32));
        for bad in [
            "".to_owned(),
            good.replace(" 1", " 2"),
            good.replacen("0f", "0g", 1),
            good.replacen("0f", "0", 1),
            good.replace('\n', ""),
            format!("{good}{good}"),
        ] {
            fs::write(&path, &bad).expect("written");
            let error = Identity::load(&path).expect_err(&bad).to_string();
            assert!(error.contains(&path.display().to_string()), "{error}");
        }
        fs::write(&path, &good).expect("written");
        assert!(Identity::load(&path).is_ok());
        let missing = Identity::load(directory.join("none")).expect_err("missing").to_string();
        assert!(missing.contains("none"), "{missing}");
        fs::remove_dir_all(directory).expect("removed");
    }

    #[test]
    fn the_secret_is_never_shown_and_the_fingerprint_is_the_keys_hash() {
        let identity = Identity::from_secret([7; 32]);
        assert_eq!(format!("{identity:?}"), format!("Identity({})", identity.public_key()));
        let fingerprint = identity.fingerprint();
        assert_eq!(fingerprint.len(), 79);
        let mut hash = String::new();
        push_hex(&mut hash, &sha256(identity.public_key().as_bytes()));
        assert_eq!(fingerprint.replace('-', ""), hash);
    }
}
