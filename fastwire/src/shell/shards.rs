//! A server on several threads: sockets that share a port, endpoints that share nothing else.

use std::collections::VecDeque;
use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, OnceLock};
use std::task::Waker;

use bytes::BytesMut;

use super::Server;
use super::handle::ServerHandle;
use super::handler::Handler;
use super::thread::{HandlerPanicked, ServerThread};
use crate::compress::{BuiltinCompressor, Compressor};
use crate::congestion::{BuiltinController, CongestionController};
use crate::crypto::{Aead, Cipher};
use crate::sync::atomic::{AtomicBool, Ordering};
use crate::sync::{Mutex, PoisonError};
use crate::transport::{RecvMeta, UdpTransport};

/// Datagrams that wait for one shard; more are lost packets.
const MAX_WAITING: usize = 4096;

/// Several servers on one port, of a [`ShardsBuilder`](super::ShardsBuilder).
///
/// The system spreads clients over the sockets by address and port. Each socket has an endpoint of its own, with the whole
/// configuration for itself: limits, bans and budgets count for each shard, and a connection belongs to one shard for life. Where
/// a client's address changes, the system may give its datagrams to another shard: that hands them on, because the ids which
/// a server gives its clients say which shard they came from. That holds for the extended profile, and for the base profile
/// with [`connection_migration`](crate::ServerConfig::connection_migration).
///
/// ```
/// use fastwire::{Handler, Peer, Server};
///
/// struct Echo;
///
/// impl Handler for Echo {
///     fn on_message(&mut self, peer: &mut Peer<'_>, data: &[u8], channel: u8) {
///         let _ = peer.send(data, channel);
///     }
/// }
///
/// # #[cfg(target_os = "linux")]
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let server = Server::builder().shards(2).bind("127.0.0.1:0")?;
/// println!("listening on {}", server.local_addr()?);
/// let threads = server.spawn(|_shard| Echo)?;
/// threads.stop()?;
/// # Ok(())
/// # }
/// # #[cfg(not(target_os = "linux"))]
/// # fn main() {}
/// ```
pub struct Shards<C = Aead, Z = BuiltinCompressor, G = BuiltinController>
where
    C: Cipher,
    Z: Compressor,
    G: CongestionController,
{
    servers: Vec<Server<UdpTransport, C, Z, G>>,
}

impl<C: Cipher, Z: Compressor, G: CongestionController> Shards<C, Z, G> {
    /// One server a shard, each of which knows its number.
    pub(super) fn new(mut servers: Vec<Server<UdpTransport, C, Z, G>>) -> Self {
        let mailboxes: Arc<[Mailbox]> = servers.iter().map(|_| Mailbox::default()).collect();
        for (own, server) in servers.iter_mut().enumerate() {
            server.pump.siblings = Some(Siblings { own, mailboxes: Arc::clone(&mailboxes) });
        }
        Self { servers }
    }

    /// The address all of them listen on.
    ///
    /// # Errors
    /// What the system reports when asked.
    pub fn local_addr(&self) -> io::Result<SocketAddr> {
        self.servers.first().ok_or(io::ErrorKind::NotConnected)?.local_addr()
    }

    /// How many there are.
    #[allow(clippy::len_without_is_empty, reason = "there is at least one")]
    pub fn len(&self) -> usize {
        self.servers.len()
    }
}

impl<C, Z, G> Shards<C, Z, G>
where
    C: Cipher + 'static,
    Z: Compressor + 'static,
    G: CongestionController + 'static,
{
    /// Runs each shard in a thread of its own, with a handler that `handler` makes for it. What handlers have in common they
    /// share as any threads do.
    ///
    /// # Errors
    /// The system has no thread to give; those that had begun are stopped.
    pub fn spawn<H: Handler + 'static>(
        self,
        mut handler: impl FnMut(usize) -> H,
    ) -> io::Result<ShardThreads<H>> {
        let servers = self.servers.into_iter().enumerate();
        let threads =
            servers.map(|(shard, server)| server.spawn(handler(shard))).collect::<Result<_, _>>()?;
        Ok(ShardThreads { threads })
    }
}

impl<C: Cipher, Z: Compressor, G: CongestionController> fmt::Debug for Shards<C, Z, G> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(&self.servers).finish()
    }
}

/// Owns a server's shards, each in its thread. Dropping it, or [`stop`](Self::stop), closes every connection gracefully.
#[derive(Debug)]
pub struct ShardThreads<H> {
    threads: Vec<ServerThread<H>>,
}

impl<H> ShardThreads<H> {
    /// The address all of them listen on.
    pub fn local_addr(&self) -> Option<SocketAddr> {
        self.threads.first()?.local_addr()
    }

    /// A handle to each shard, for other threads.
    pub fn handles(&self) -> Vec<ServerHandle> {
        self.threads.iter().map(ServerThread::handle).collect()
    }

    /// Shuts all of them down at once, waits for their threads and gives the handlers back, in the order of the shards.
    ///
    /// # Errors
    /// [`HandlerPanicked`] if a callback ended a thread before; the first one's.
    pub fn stop(self) -> Result<Vec<H>, HandlerPanicked> {
        self.threads.iter().for_each(|thread| thread.shut_down());
        let stopped: Vec<_> = self.threads.into_iter().map(ServerThread::stop).collect();
        stopped.into_iter().collect()
    }
}

/// Datagrams for one shard that others received.
#[derive(Debug, Default)]
struct Mailbox {
    strays: Mutex<VecDeque<(RecvMeta, BytesMut)>>,
    /// There are some: the owner looks here before it takes the lock.
    any: AtomicBool,
    waker: OnceLock<Waker>,
}

/// How a shard reaches the others.
#[derive(Debug)]
pub(crate) struct Siblings {
    own: usize,
    mailboxes: Arc<[Mailbox]>,
}

impl Siblings {
    /// Who is woken when something comes.
    pub(crate) fn serve(&self, waker: Waker) {
        if let Some(own) = self.mailboxes.get(self.own) {
            let _ = own.waker.set(waker);
        }
    }

    /// Hands a datagram on to the shard it names.
    pub(crate) fn hand_on(&self, to: usize, meta: RecvMeta, datagram: BytesMut) {
        let Some(mailbox) = self.mailboxes.get(to) else { return };
        let mut strays = mailbox.strays.lock().unwrap_or_else(PoisonError::into_inner);
        if strays.len() >= MAX_WAITING {
            return;
        }
        strays.push_back((meta, datagram));
        drop(strays);
        if !mailbox.any.swap(true, Ordering::AcqRel)
            && let Some(waker) = mailbox.waker.get()
        {
            waker.wake_by_ref();
        }
    }

    /// What others received for this shard.
    pub(crate) fn take(&self) -> VecDeque<(RecvMeta, BytesMut)> {
        let own = self.mailboxes.get(self.own).filter(|own| own.any.load(Ordering::Acquire));
        own.map_or_else(VecDeque::new, |own| {
            own.any.store(false, Ordering::Release);
            std::mem::take(&mut *own.strays.lock().unwrap_or_else(PoisonError::into_inner))
        })
    }
}

#[cfg(all(test, fastwire_model))]
mod model {
    use shuttle::thread;

    use super::*;
    use crate::sync::model::{Bell, check};
    use crate::transport::SocketId;

    #[test]
    fn model_every_stray_reaches_a_shard_that_sleeps_until_it_is_woken() {
        check(|| {
            let mailboxes: Arc<[Mailbox]> = (0..3).map(|_| Mailbox::default()).collect();
            let sibling = |own| Siblings { own, mailboxes: Arc::clone(&mailboxes) };
            let (owner, bell) = (sibling(0), Arc::new(Bell::default()));
            owner.serve(Waker::from(Arc::clone(&bell)));
            let others: Vec<_> = (1..3)
                .map(|own| {
                    let other = sibling(own);
                    thread::spawn(move || {
                        let remote = SocketAddr::from(([127, 0, 0, 1], own as u16));
                        let meta = RecvMeta { socket: SocketId::PRIMARY, remote, local: None, ecn: None };
                        for number in 0..2u8 {
                            other.hand_on(0, meta.clone(), BytesMut::from(&[own as u8, number][..]));
                        }
                    })
                })
                .collect();
            let mut got = Vec::new();
            let mut turn = || {
                if bell.take() {
                    got.extend(owner.take().into_iter().map(|(_, datagram)| (datagram[0], datagram[1])));
                }
            };
            for _ in 0..3 {
                turn();
                thread::yield_now();
            }
            others.into_iter().for_each(|other| other.join().unwrap());
            turn();
            for own in 1..3 {
                let of: Vec<_> =
                    got.iter().filter(|(from, _)| *from == own).map(|(_, number)| *number).collect();
                assert_eq!(of, [0, 1], "each once, in order");
            }
        });
    }
}
