//! One message for many: compressed once, whichever way the server is driven.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use fastwire::compress::{
    Algorithm, BuiltinCompressor, CompressError, Compressed, CompressionConfig, Compressor, DecompressError,
    Encoding, Method,
};
use fastwire::congestion::BuiltinController;
use fastwire::crypto::Aead;
use fastwire::transport::UdpTransport;
use fastwire::{Client, ClientConfig, ConnectionId, Event, Handler, SendError, Server, ServerConfig};

use crate::duo::{PROFILES, configs};

const CLIENTS: usize = 12;

/// Counts what it compresses.
struct Counting(BuiltinCompressor, Arc<AtomicU64>);

impl Compressor for Counting {
    fn compress(
        &mut self,
        method: Method,
        input: &[u8],
        out: &mut Vec<u8>,
    ) -> Result<Compressed, CompressError> {
        self.1.fetch_add(1, Ordering::Relaxed);
        self.0.compress(method, input, out)
    }

    fn decompress(
        &mut self,
        encoding: Encoding,
        input: &[u8],
        limit: usize,
        out: &mut Vec<u8>,
    ) -> Result<usize, DecompressError> {
        self.0.decompress(encoding, input, limit, out)
    }
}

type CountingServer = Server<UdpTransport, Aead, Counting, BuiltinController>;

/// A server that counts, and clients that are on their way to it.
fn party(
    mut server: ServerConfig,
    mut client: ClientConfig,
) -> (CountingServer, Vec<Client>, Arc<AtomicU64>) {
    let compression = CompressionConfig::new(Algorithm::Lz4);
    (server.compression, client.compression) = (compression.clone(), compression.clone());
    let count = Arc::new(AtomicU64::new(0));
    let compressor = Counting(BuiltinCompressor::new(&compression).unwrap(), Arc::clone(&count));
    let server = Server::builder().config(server).compressor(compressor).bind("127.0.0.1:0").unwrap();
    let address = server.local_addr().unwrap();
    let connect = |_| Client::builder().config(client.clone()).connect(address).unwrap();
    (server, (0..CLIENTS).map(connect).collect(), count)
}

/// Messages that compress well.
fn messages() -> [Vec<u8>; 2] {
    [b"all of you ".repeat(50), b"and once more ".repeat(400)]
}

/// Drives the clients, and whoever else, until each has heard both messages.
fn hear_all(clients: &mut [Client], mut drive: impl FnMut(Instant)) {
    let mut heard = vec![Vec::new(); clients.len()];
    let give_up = Instant::now() + Duration::from_secs(20);
    while heard.iter().any(|heard| heard.len() < 2) {
        let now = Instant::now();
        assert!(now < give_up, "not all heard all: {heard:?}");
        drive(now);
        for (client, heard) in clients.iter_mut().zip(&mut heard) {
            client.receive(now);
            while let Some(event) = client.poll_event() {
                if let Event::Message { data, .. } = event {
                    heard.push(data);
                }
            }
            client.flush(now);
        }
        std::thread::yield_now();
    }
    assert!(heard.iter().all(|heard| *heard == messages()), "whole and in order");
}

/// An id that names nobody.
fn gone() -> ConnectionId {
    let mut client = Client::connect("127.0.0.1:9").unwrap();
    let id = client.connection().unwrap();
    client.close_now();
    id
}

#[test]
fn in_ticks_each_message_is_compressed_once() {
    for profile in PROFILES {
        let (server, client) = configs(profile);
        let (mut server, mut clients, count) = party(server, client);
        let mut ids: Vec<ConnectionId> = Vec::new();
        let mut sent = false;
        hear_all(&mut clients, |now| {
            server.receive(now);
            while let Some(event) = server.poll_event() {
                if let Event::Connected { connection } = event {
                    ids.push(connection);
                }
            }
            if ids.len() == CLIENTS && !sent {
                sent = true;
                for message in messages() {
                    assert_eq!(server.broadcast(ids.iter().copied(), message, 0), []);
                }
                assert_eq!(count.load(Ordering::Relaxed), 2, "{profile:?}");
                server.close(ids[0]).unwrap();
                let refused = server.broadcast([ids[0]], "too late", 0);
                assert_eq!(refused, [(ids[0], SendError::ConnectionClosed)]);
            }
            server.flush(now);
        });
        assert_eq!(server.stats().compressions_shared, 2 * (CLIENTS as u64 - 1));
    }
}

/// Two messages were compressed about once each: whoever drives the server may wake in the middle of a broadcast, and takes
/// it in parts then.
fn few(count: &AtomicU64) {
    let count = count.load(Ordering::Relaxed);
    assert!((2..CLIENTS as u64).contains(&count), "{count} times for {CLIENTS} clients");
}

#[test]
fn on_a_thread_each_message_is_compressed_once() {
    struct Nothing;
    impl Handler for Nothing {}

    let (server, client) = configs(PROFILES[1]);
    let (server, mut clients, count) = party(server, client);
    let thread = server.spawn(Nothing).unwrap();
    let handle = thread.handle();
    let mut sent = false;
    hear_all(&mut clients, |_| {
        let ids = handle.connections();
        let connected = |id: &ConnectionId| {
            let link = handle.connection(*id);
            link.is_some_and(|link| link.state() == fastwire::ConnectionState::Connected)
        };
        if !sent && ids.iter().filter(|id| connected(id)).count() == CLIENTS {
            sent = true;
            for message in messages() {
                assert_eq!(handle.broadcast(ids.iter().copied(), message, 0), []);
            }
            assert_eq!(handle.broadcast([gone()], "nobody", 9).len(), 1);
        }
    });
    few(&count);
    thread.stop().unwrap();
}

#[cfg(feature = "tokio")]
#[tokio::test]
async fn in_tasks_each_message_is_compressed_once() {
    let (server, client) = configs(PROFILES[1]);
    let (server, mut clients, count) = party(server, client);
    let server = server.into_async();
    let handle = server.handle();
    let listening = tokio::spawn(async move {
        let mut connections = Vec::new();
        while connections.len() < CLIENTS {
            connections.push(server.accept().await.expect("a connection"));
        }
        let ids = connections.iter().map(|connection| connection.id());
        for message in messages() {
            assert_eq!(handle.broadcast(ids.clone(), message, 0), []);
        }
        // dropped, they would close
        (server, connections)
    });
    tokio::task::spawn_blocking(move || hear_all(&mut clients, |_| {})).await.unwrap();
    drop(listening.await.unwrap());
    few(&count);
}
