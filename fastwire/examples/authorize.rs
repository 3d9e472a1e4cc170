//! A backend that issues connect tokens, and a server that looks at token and password before it lets anybody in.

use std::error::Error;
use std::net::SocketAddr;
use std::time::{SystemTime, UNIX_EPOCH};

use fastwire::{
    Client, ConnectError, ConnectToken, ConnectTokenKey, Handler, Peer, Server, ServerConfig, TokenClaims,
    TokenKeys,
};

/// This server's id: tokens for another one open nothing here.
const SERVER: u64 = 7;

/// What a backend does when a player has logged in over TLS. It needs no endpoint and no socket, only the key that it
/// shares with the servers.
fn backend(key: &ConnectTokenKey, player: u64, name: &str) -> Result<Vec<u8>, Box<dyn Error>> {
    let now = SystemTime::now().duration_since(UNIX_EPOCH)?.as_secs();
    let mut user_data = [0; 64];
    user_data.get_mut(..name.len()).ok_or("a name of at most 64 bytes")?.copy_from_slice(name.as_bytes());
    let claims = TokenClaims { client_id: player, server_id: SERVER, expiry: now + 60, user_data };
    Ok(key.issue(&claims)?.to_bytes().to_vec())
}

struct Game;

impl Handler for Game {
    /// The token has opened, else nobody would ask here. What it is worth is the game's business.
    fn on_authorize(&mut self, peer: &mut Peer<'_>) {
        let Some(claims) = peer.token_claims() else { return peer.refuse() };
        let invited = peer.client_auth().is_some_and(|shown| shown == "swordfish");
        if !invited {
            println!("server: player {} does not know the password", claims.client_id);
            return peer.refuse();
        }
        let name = String::from_utf8_lossy(&claims.user_data).trim_end_matches('\0').to_owned();
        peer.set_user_data(name);
        peer.accept();
    }

    fn on_connect(&mut self, peer: &mut Peer<'_>) {
        let name = peer.user_data::<String>().cloned().unwrap_or_default();
        println!("server: {name} is in");
        let _ = peer.send(format!("welcome, {name}"), 0);
    }
}

fn join(address: SocketAddr, token: &[u8], password: &'static str) -> Result<(), Box<dyn Error>> {
    let token = ConnectToken::from_bytes(token)?;
    let mut client = Client::builder().connect_token(token).auth(password).connect(address)?;
    client.wait_connected()?;
    println!("client: connected");
    Ok(())
}

fn main() -> Result<(), Box<dyn Error>> {
    let key = ConnectTokenKey::generate()?;
    let mut config = ServerConfig::default();
    config.authorize = true;
    let builder = Server::builder().config(config).require_tokens(TokenKeys::new(key.clone(), SERVER));
    let server = builder.bind("127.0.0.1:0")?.spawn(Game)?;
    let address = server.local_addr().ok_or("no address")?;

    join(address, &backend(&key, 42, "Ada")?, "swordfish")?;

    let refused =
        join(address, &backend(&key, 43, "Bob")?, "guess").err().ok_or("nobody should get in so")?;
    println!("client: {refused}");
    if !matches!(refused.downcast_ref(), Some(ConnectError::NotAuthorised)) {
        return Err(refused);
    }

    // A token that another backend made up.
    let stranger = ConnectTokenKey::generate()?;
    let refused = join(address, &backend(&stranger, 44, "Eve")?, "swordfish").err().ok_or("nor so")?;
    println!("client: {refused}");
    server.stop()?;
    Ok(())
}
