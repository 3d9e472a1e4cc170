//! Trust on first use: a file that remembers which key each server showed.

use std::collections::BTreeMap;
use std::fs;
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};

use fastwire_crypto::PublicKey;
use thiserror::Error;

use crate::identity::{create_private, fingerprint, parse_hex, push_hex};

/// Server names and the keys they showed, one a line: name, space, 64 hex digits. Lines that begin with `#` are
/// comments, and stay only until the file is written again.
#[derive(Debug, Clone)]
pub struct KnownHosts {
    path: PathBuf,
    hosts: BTreeMap<String, PublicKey>,
}

/// How a server's key compares with what is remembered.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Trust {
    /// The key is the one remembered.
    Known,
    /// The server was not known; it is now.
    New,
}

/// Why a server is not trusted, or the file cannot be used.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum KnownHostsError {
    /// The server shows another key than before.
    #[error(
        "{host} shows another key than before: it was {known}, it is {shown}; \
         if its operator has changed it, forget the old one"
    )]
    Changed {
        /// The server.
        host: String,
        /// Fingerprint of the key remembered.
        known: String,
        /// Fingerprint of the key shown.
        shown: String,
    },
    /// The file could not be read or written.
    #[error("known hosts file {path}: {source}")]
    File {
        /// Which file.
        path: String,
        /// What the system said.
        source: io::Error,
    },
    /// A line of the file is no entry.
    #[error("known hosts file {path}, line {line}: expected a name, a space and 64 hex digits")]
    Malformed {
        /// Which file.
        path: String,
        /// Which line, from 1.
        line: usize,
    },
    /// A name that cannot stand in the file.
    #[error("{0:?} is no server name: it is empty, begins with # or has spaces")]
    Name(String),
}

impl KnownHosts {
    /// Reads the file; one that does not exist is empty.
    ///
    /// # Errors
    /// [`KnownHostsError::File`], [`KnownHostsError::Malformed`].
    pub fn open(path: impl Into<PathBuf>) -> Result<Self, KnownHostsError> {
        let path = path.into();
        let text = match fs::read_to_string(&path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => String::new(),
            other => other.map_err(|source| file_error(&path, source))?,
        };
        let mut hosts = BTreeMap::new();
        for (index, line) in text.lines().enumerate().filter(|(_, l)| !l.is_empty() && !l.starts_with('#')) {
            let malformed =
                || KnownHostsError::Malformed { path: path.display().to_string(), line: index + 1 };
            let (host, key) = line.trim_end().split_once(' ').ok_or_else(malformed)?;
            hosts.insert(host.to_owned(), PublicKey::from_bytes(*parse_hex(key).ok_or_else(malformed)?));
        }
        Ok(Self { path, hosts })
    }

    /// The key remembered of a server: to [pin](crate::ClientBuilder::pin) before connecting.
    pub fn key(&self, host: &str) -> Option<PublicKey> {
        self.hosts.get(host).copied()
    }

    /// Compares the key that a server showed; a server not known yet is remembered, in the file too.
    ///
    /// # Errors
    /// [`KnownHostsError::Changed`]: do not go on. [`KnownHostsError::File`], [`KnownHostsError::Name`].
    pub fn check(&mut self, host: &str, shown: &PublicKey) -> Result<Trust, KnownHostsError> {
        match self.hosts.get(host) {
            Some(known) if known == shown => Ok(Trust::Known),
            Some(known) => Err(KnownHostsError::Changed {
                host: host.to_owned(),
                known: fingerprint(known),
                shown: fingerprint(shown),
            }),
            None => {
                if host.is_empty() || host.starts_with('#') || host.contains(char::is_whitespace) {
                    return Err(KnownHostsError::Name(host.to_owned()));
                }
                self.hosts.insert(host.to_owned(), *shown);
                self.save().map(|()| Trust::New)
            }
        }
    }

    /// Forgets a server, in the file too. Gives the key that was remembered.
    ///
    /// # Errors
    /// [`KnownHostsError::File`].
    pub fn forget(&mut self, host: &str) -> Result<Option<PublicKey>, KnownHostsError> {
        let key = self.hosts.remove(host);
        self.save().map(|()| key)
    }

    /// Every server with its key, by name.
    pub fn iter(&self) -> impl Iterator<Item = (&str, PublicKey)> {
        self.hosts.iter().map(|(host, key)| (host.as_str(), *key))
    }

    fn save(&self) -> Result<(), KnownHostsError> {
        self.write().map_err(|source| file_error(&self.path, source))
    }

    fn write(&self) -> io::Result<()> {
        let mut name = self.path.as_os_str().to_owned();
        name.push(".new");
        let mut text = String::new();
        for (host, key) in &self.hosts {
            text.push_str(host);
            text.push(' ');
            push_hex(&mut text, key.as_bytes());
            text.push('\n');
        }
        let mut file = create_private(Path::new(&name))?;
        file.write_all(text.as_bytes())?;
        file.sync_all()?;
        fs::rename(&name, &self.path)
    }
}

fn file_error(path: &Path, source: io::Error) -> KnownHostsError {
    KnownHostsError::File { path: path.display().to_string(), source }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_server_is_known_from_the_first_time_on_and_a_change_is_an_error() {
        let directory = std::env::temp_dir().join(format!("fastwire-known-hosts-{}", std::process::id()));
        fs::create_dir_all(&directory).expect("a directory");
        let path = directory.join("known_hosts");
        let key = |byte| PublicKey::from_bytes([byte; 32]);
        let mut hosts = KnownHosts::open(&path).expect("none yet");
        assert_eq!(hosts.key("a:1"), None);
        assert_eq!(hosts.check("a:1", &key(1)).expect("new"), Trust::New);
        assert_eq!(hosts.check("b:2", &key(2)).expect("new"), Trust::New);
        // As another program finds it.
        let mut hosts = KnownHosts::open(&path).expect("reads");
        assert_eq!(hosts.check("a:1", &key(1)).expect("known"), Trust::Known);
        let error = hosts.check("a:1", &key(2)).expect_err("changed");
        assert!(matches!(&error, KnownHostsError::Changed { host, .. } if host == "a:1"), "{error}");
        assert!(error.to_string().contains(&fingerprint(&key(2))), "{error}");
        assert_eq!(hosts.key("a:1"), Some(key(1)), "a changed key is not taken");
        assert_eq!(hosts.forget("a:1").expect("written"), Some(key(1)));
        assert_eq!(KnownHosts::open(&path).expect("reads").iter().collect::<Vec<_>>(), [("b:2", key(2))]);
        for name in ["", "#x", "a b", "a\nb"] {
            assert!(matches!(hosts.check(name, &key(3)), Err(KnownHostsError::Name(_))), "{name:?}");
        }
        fs::write(&path, "# by hand\n\nc:3 nonsense\n").expect("written");
        assert!(matches!(KnownHosts::open(&path), Err(KnownHostsError::Malformed { line: 3, .. })));
        fs::remove_dir_all(directory).expect("removed");
    }
}
