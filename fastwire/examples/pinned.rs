//! A server with an identity kept in a file, and a client that learns its key, pins it, and turns an impostor away.

use std::error::Error;
use std::net::SocketAddr;
use std::path::Path;

use fastwire::{
    Client, ClientProfile, ConnectError, Handler, Identity, KnownHosts, Peer, Server, ServerThread,
};

/// The name that the client knows the server by, whatever its address.
const HOST: &str = "game.example.org";

struct Greeter;

impl Handler for Greeter {
    fn on_connect(&mut self, peer: &mut Peer<'_>) {
        println!("server: {} is in", peer.id());
    }
}

fn serve(address: &str, identity: Identity) -> Result<(ServerThread<Greeter>, SocketAddr), Box<dyn Error>> {
    let thread = Server::builder().identity(identity).bind(address)?.spawn(Greeter)?;
    let address = thread.local_addr().ok_or("no address")?;
    Ok((thread, address))
}

/// Connects, and compares or remembers the key that the server shows.
fn join(address: SocketAddr, known: &mut KnownHosts) -> Result<(), Box<dyn Error>> {
    let builder = match known.key(HOST) {
        Some(key) => Client::builder().pin(key),
        // The base profile shows no key, so there would be nothing to learn.
        None => Client::builder().profile(ClientProfile::Require),
    };
    let mut client = builder.connect(address)?;
    client.wait_connected()?;
    let shown = client.server().and_then(|server| server.server_key()).ok_or("no key was shown")?;
    println!("client: {:?} server {}", known.check(HOST, &shown)?, fastwire::fingerprint(&shown));
    Ok(())
}

fn play(folder: &Path) -> Result<(), Box<dyn Error>> {
    let (identity_file, hosts_file) = (folder.join("server.identity"), folder.join("known_servers"));
    let mut known = KnownHosts::open(&hosts_file)?;

    let (server, address) = serve("127.0.0.1:0", Identity::load_or_generate(&identity_file)?)?;
    join(address, &mut known)?; // learns the key
    server.stop()?;

    // The server is started again and is who it was; the client knows it, in another run too.
    let (server, address) = serve("127.0.0.1:0", Identity::load(&identity_file)?)?;
    join(address, &mut KnownHosts::open(&hosts_file)?)?;
    server.stop()?;

    // Somebody else answers at its address.
    let (impostor, address) = serve("127.0.0.1:0", Identity::generate()?)?;
    let refused = join(address, &mut known).err().ok_or("the client talked to an impostor")?;
    println!("client: {refused}");
    impostor.stop()?;
    match refused.downcast_ref() {
        Some(ConnectError::UnknownServerKey) => Ok(()),
        _ => Err(refused),
    }
}

fn main() -> Result<(), Box<dyn Error>> {
    let folder = std::env::temp_dir().join(format!("fastwire-pinned-{}", std::process::id()));
    std::fs::create_dir_all(&folder)?;
    let played = play(&folder);
    std::fs::remove_dir_all(&folder)?;
    played
}
