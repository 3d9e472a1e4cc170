//! Echo, with threads of their own for server and client: callbacks there, handles here.

use std::sync::mpsc;

use fastwire::{Client, Handler, Peer, Server};

struct Echo;

impl Handler for Echo {
    fn on_message(&mut self, peer: &mut Peer<'_>, data: &[u8], channel: u8) {
        // A full queue means a client that writes and does not read: its loss.
        let _ = peer.send(data, channel);
    }
}

struct Forward(mpsc::Sender<String>);

impl Handler for Forward {
    fn on_message(&mut self, _: &mut Peer<'_>, data: &[u8], _: u8) {
        let _ = self.0.send(String::from_utf8_lossy(data).into_owned());
    }
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let server = Server::bind("127.0.0.1:0")?.spawn(Echo)?;
    let (echoes, heard) = mpsc::channel();
    let client = Client::connect(server.local_addr().ok_or("no address")?)?.spawn(Forward(echoes))?;
    for number in 1..=3 {
        client.send(format!("hello {number}"), 0)?;
    }
    for echo in heard.iter().take(3) {
        println!("echo: {echo}");
    }
    client.stop()?;
    server.stop()?;
    Ok(())
}
