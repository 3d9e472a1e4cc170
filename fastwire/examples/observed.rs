//! A conversation to look at from outside: the key log, which lets Wireshark decrypt what tcpdump captured.
//!
//! `FASTWIRE_KEY_LOG=keys.txt cargo run --example observed` appends the secrets of its connection to `keys.txt`. The library
//! reads no environment variable: this program does.

use std::env;
use std::sync::mpsc;

use fastwire::{Client, Handler, KeyLog, Peer, Server};

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
