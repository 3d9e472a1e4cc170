//! Who is let in: the application's word before a connection takes a place.

use std::fmt;
use std::net::SocketAddr;

use crate::{Profile, TokenClaims};

/// A client whose handshake is complete but for the server's consent. It has no connection yet.
#[derive(Debug, Clone, Copy)]
#[non_exhaustive]
pub struct Arriving<'a> {
    /// Where it is; proved, since it answered from there.
    pub remote: SocketAddr,
    /// Which profile it speaks.
    pub profile: Profile,
    /// What its application sent to be let in (extended profile), at most 512 bytes.
    pub auth: &'a [u8],
    /// What its connect token says, if it has one.
    pub claims: Option<&'a TokenClaims>,
    /// Connections there are already, those on their way in or out included.
    pub connections: usize,
}

/// Says whether a client gets in. Called in the packet path: it must not wait for anything.
pub(crate) type AcceptHook = Box<dyn FnMut(&Arriving<'_>) -> bool + Send>;

/// The application's word, if it wants one.
#[derive(Default)]
pub(crate) struct Admission(pub(crate) Option<AcceptHook>);

impl Admission {
    pub(crate) fn lets_in(&mut self, arriving: &Arriving<'_>) -> bool {
        self.0.as_mut().is_none_or(|hook| hook(arriving))
    }
}

impl fmt::Debug for Admission {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.0.is_some() { "Admission(hook)" } else { "Admission" })
    }
}
