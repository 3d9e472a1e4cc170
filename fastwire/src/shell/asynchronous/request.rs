//! A client that asks an async server to be let in.

use std::fmt;
use std::net::SocketAddr;
use std::sync::Arc;

use bytes::Bytes;

use crate::compress::Compressor;
use crate::congestion::CongestionController;
use crate::crypto::Cipher;
use crate::proto::Endpoint;
use crate::shell::link::{Command, Hub};
use crate::{ConnectionId, Refusal, TokenClaims};

/// A client that asks to be let in, from [`AsyncServer::next_request`](super::AsyncServer::next_request). Answer it within
/// [`handshake_timeout`](crate::ServerConfig::handshake_timeout) (five seconds), here or in another task; later the client has
/// given up, and the answer means nothing. Dropping it refuses the client.
pub struct ConnectRequest {
    hub: Arc<Hub>,
    id: ConnectionId,
    remote: SocketAddr,
    auth: Bytes,
    claims: Option<TokenClaims>,
    answered: bool,
}

impl ConnectRequest {
    pub(super) fn new<C: Cipher, Z: Compressor, G: CongestionController>(
        id: ConnectionId,
        hub: &Arc<Hub>,
        endpoint: &Endpoint<C, Z, G>,
    ) -> Option<Self> {
        Some(Self {
            hub: Arc::clone(hub),
            id,
            remote: endpoint.remote_addr(id)?,
            auth: endpoint.client_auth(id)?.clone(),
            claims: endpoint.token_claims(id).cloned(),
            answered: false,
        })
    }

    /// The name that the connection will have.
    pub fn id(&self) -> ConnectionId {
        self.id
    }

    /// Where the client is; proved, since it answered from there.
    pub fn remote_addr(&self) -> SocketAddr {
        self.remote
    }

    /// What the client's application sent to be let in: at most 512 bytes, empty if it sent nothing.
    pub fn client_auth(&self) -> &Bytes {
        &self.auth
    }

    /// What the client's connect token says; `None` if it had none.
    pub fn token_claims(&self) -> Option<&TokenClaims> {
        self.claims.as_ref()
    }

    /// Lets the client in. [`AsyncServer::accept`](super::AsyncServer::accept) gives the connection once the client was heard
    /// under its keys. Gives false if the server has stopped or too much waits for it.
    pub fn accept(mut self) -> bool {
        self.answer(Ok(()))
    }

    /// Turns the client away: it sees [`ConnectError::NotAuthorised`](crate::ConnectError::NotAuthorised). Gives false as
    /// [`accept`](Self::accept) does.
    pub fn refuse(self) -> bool {
        self.refuse_with(Refusal::default())
    }

    /// As [`refuse`](Self::refuse), for another reason.
    pub fn refuse_with(mut self, reason: Refusal) -> bool {
        self.answer(Err(reason))
    }

    fn answer(&mut self, verdict: Result<(), Refusal>) -> bool {
        self.answered = true;
        self.hub.command(Command::Authorize(self.id, verdict))
    }
}

impl Drop for ConnectRequest {
    fn drop(&mut self) {
        if !self.answered {
            self.answer(Err(Refusal::default()));
        }
    }
}

impl fmt::Debug for ConnectRequest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ConnectRequest")
            .field("id", &self.id)
            .field("remote", &self.remote)
            .finish_non_exhaustive()
    }
}
