//! KCP as a transport: a session for each stream.

use crate::transport::{Accept, Open};
use fastwire_kcp::net::{KcpConfig, KcpListener, KcpStream};
use std::io;
use std::net::SocketAddr;

/// Opens sessions with one server.
#[derive(Debug)]
pub struct KcpOpener {
    /// Host and port; a name is looked up again for each session.
    pub server: String,
    /// The same packet protection as the server's.
    pub config: KcpConfig,
}

impl Open for KcpOpener {
    type Stream = KcpStream;

    async fn open(&self) -> io::Result<KcpStream> {
        KcpStream::connect(&self.server, self.config.clone()).await
    }
}

impl Accept for KcpListener {
    type Stream = KcpStream;

    async fn accept(&self) -> io::Result<(KcpStream, SocketAddr)> {
        KcpListener::accept(self).await
    }
}
