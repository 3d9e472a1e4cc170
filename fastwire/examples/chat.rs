//! Chat. `chat` alone plays a short conversation; `chat server ADDRESS` serves, `chat client ADDRESS NAME` joins.

use std::error::Error;
use std::io;
use std::sync::mpsc;
use std::time::Duration;

use fastwire::{Client, ClientThread, DisconnectReason, Handler, Peer, Server};

const LINES: u8 = 0;

/// The server's side: the first message of a client is its name, every other one a line for all.
struct Room;

impl Handler for Room {
    fn on_message(&mut self, peer: &mut Peer<'_>, data: &[u8], _: u8) {
        let text = String::from_utf8_lossy(data).into_owned();
        let line = match peer.user_data::<String>() {
            Some(name) => format!("{name}: {text}"),
            None => {
                let line = format!("* {text} has come");
                peer.set_user_data(text);
                line
            }
        };
        peer.peers().broadcast(line, LINES);
    }

    fn on_disconnect(&mut self, peer: &mut Peer<'_>, reason: DisconnectReason) {
        if let Some(name) = peer.user_data::<String>() {
            let line = format!("* {name} has gone ({reason})");
            peer.peers().broadcast(line, LINES);
        }
    }
}

/// The client's side: prints, and tells the main thread that something was printed.
struct Screen(&'static str, mpsc::Sender<()>);

impl Handler for Screen {
    fn on_message(&mut self, _: &mut Peer<'_>, data: &[u8], _: u8) {
        println!("{}{}", self.0, String::from_utf8_lossy(data));
        let _ = self.1.send(());
    }
}

type Joined = (ClientThread<Screen>, mpsc::Receiver<()>);

fn join(server: &str, name: &str, margin: &'static str) -> Result<Joined, Box<dyn Error>> {
    let (printed, seen) = mpsc::channel();
    let mut client = Client::connect(server)?;
    client.wait_connected()?;
    client.send(name, LINES)?;
    Ok((client.spawn(Screen(margin, printed))?, seen))
}

fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    match arguments.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        ["server", address] => {
            let _server = Server::bind(address)?.spawn(Room)?;
            io::stdin().lines().for_each(drop);
        }
        ["client", address, name] => {
            let (client, _seen) = join(address, name, "")?;
            for line in io::stdin().lines() {
                client.send_now(line?, LINES)?;
            }
        }
        _ => {
            let server = Server::bind("127.0.0.1:0")?.spawn(Room)?;
            let address = server.local_addr().ok_or("no address")?.to_string();
            let (ada, ada_sees) = join(&address, "Ada", "")?;
            ada_sees.recv()?;
            let (bob, bob_sees) = join(&address, "Bob", "                    | ")?;
            bob_sees.recv()?;
            ada.send_now("Hello, Bob!", LINES)?;
            bob_sees.recv()?;
            bob.send_now("Hello, Ada!", LINES)?;
            bob.stop()?;
            // Bob came, both spoke, Bob went.
            for _ in 0..4 {
                ada_sees.recv_timeout(Duration::from_secs(5))?;
            }
        }
    }
    Ok(())
}
