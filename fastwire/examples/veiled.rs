//! A server and a client whose handshake looks like noise on the wire: the client knows the server's key beforehand.

use std::error::Error;
use std::sync::mpsc;

use fastwire::{Client, Handler, Identity, Peer, Server};

struct Echo;

impl Handler for Echo {
    fn on_message(&mut self, peer: &mut Peer<'_>, data: &[u8], channel: u8) {
        let _ = peer.send(data, channel);
    }
}

struct Forward(mpsc::Sender<String>);

impl Handler for Forward {
    fn on_message(&mut self, _: &mut Peer<'_>, data: &[u8], _: u8) {
        let _ = self.0.send(String::from_utf8_lossy(data).into_owned());
    }
}

fn main() -> Result<(), Box<dyn Error>> {
    // In earnest from a file: Identity::load_or_generate. The public key comes with the client.
    let identity = Identity::generate()?;
    let key = identity.public_key();
    let server = Server::builder().identity(identity).veil().bind("127.0.0.1:0")?.spawn(Echo)?;
    let address = server.local_addr().ok_or("no address")?;

    let (echoes, heard) = mpsc::channel();
    let client = Client::builder().pin(key).veil().connect(address)?.spawn(Forward(echoes))?;
    client.send("behind the veil", 0)?;
    println!("echo: {}", heard.recv()?);

    // Who asks without the veil hears nothing: as far as it can tell nobody is there.
    let mut stranger = Client::builder().pin(key).connect(address)?;
    match stranger.wait_connected() {
        Ok(_) => return Err("the server answered a stranger".into()),
        Err(error) => println!("stranger: {error}"),
    }
    client.stop()?;
    server.stop()?;
    Ok(())
}
