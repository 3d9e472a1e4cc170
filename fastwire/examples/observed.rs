//! A conversation to look at: the key log, which lets Wireshark decrypt what tcpdump captured, and what an observer hears.
//!
//! `FASTWIRE_KEY_LOG=keys.txt cargo run --example observed` appends the secrets of its connection to `keys.txt`. The library
//! reads no environment variable: this program does.

use std::env;
use std::sync::mpsc;
use std::time::Instant;

use fastwire::{Client, Handler, KeyLog, Observed, Observer, Observers, Peer, Server};

/// Prints what becomes of packets; the feature `qlog` has one that writes files.
struct Narrator;

impl Observer for Narrator {
    fn observe(&mut self, _: Instant, what: &Observed<'_>) {
        match what {
            Observed::PacketSent { bytes, .. } => println!("client: {bytes} bytes leave"),
            Observed::PacketReceived { bytes, .. } => println!("client: {bytes} bytes came"),
            Observed::Lost { packets, .. } => println!("client: {packets} packets lost"),
            _ => {}
        }
    }
}

struct Echo;

impl Handler for Echo {
    fn on_message(&mut self, peer: &mut Peer<'_>, data: &[u8], channel: u8) {
        let _ = peer.send(data, channel);
    }
}

struct Forward(mpsc::Sender<String>);

impl Handler for Forward {
    fn on_message(&mut self, _: &mut Peer<'_>, data: &[u8], channel: u8) {
        let _ = self.0.send(format!("{} on channel {channel}", String::from_utf8_lossy(data)));
    }
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut client = Client::builder();
    match env::var_os("FASTWIRE_KEY_LOG") {
        Some(path) => client = client.key_log(KeyLog::append_to(path)?),
        // Never in a program that others use: who reads these lines can decrypt the conversation.
        None => client = client.key_log(KeyLog::new(|line| println!("key log: {line}"))),
    }
    client = client.observers(Observers::new(|_| Some(Box::new(Narrator))));
    let server = Server::bind("127.0.0.1:0")?.spawn(Echo)?;
    let (echoes, heard) = mpsc::channel();
    let client = client.connect(server.local_addr().ok_or("no address")?)?.spawn(Forward(echoes))?;
    for channel in 0..4 {
        client.send("hello", channel)?;
    }
    for echo in heard.iter().take(4) {
        println!("echo: {echo}");
    }
    client.stop()?;
    server.stop()?;
    Ok(())
}
