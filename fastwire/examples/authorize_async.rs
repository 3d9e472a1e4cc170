//! An async server that looks clients up before it lets them in, each in a task of its own.

use std::error::Error;
use std::net::SocketAddr;
use std::time::Duration;

use fastwire::crypto::PublicKey;
use fastwire::{AsyncServer, Client, ConnectError, Identity, Refusal, Server, ServerConfig};

/// Stands for a question to a database.
async fn look_up(name: &[u8]) -> Result<(), Refusal> {
    tokio::time::sleep(Duration::from_millis(20)).await;
    match name {
        b"Ada" => Ok(()),
        b"Eve" => Err(Refusal::Banned),
        _ => Err(Refusal::NotAuthorised),
    }
}

/// Answers whoever asks. The next one does not wait for the database.
async fn answer_requests(server: &AsyncServer) {
    while let Some(request) = server.next_request().await {
        tokio::spawn(async move {
            match look_up(request.client_auth()).await {
                Ok(()) => request.accept(),
                Err(reason) => request.refuse_with(reason),
            }
        });
    }
}

/// Greets whoever was let in.
async fn serve(server: &AsyncServer) {
    while let Some(connection) = server.accept().await {
        tokio::spawn(async move {
            let name = connection.client_auth().cloned().unwrap_or_default();
            let _ = connection.send(format!("welcome, {}", String::from_utf8_lossy(&name)), 0).await;
            connection.closed().await;
        });
    }
}

async fn join(address: SocketAddr, pin: PublicKey, name: &'static str) -> Result<String, Box<dyn Error>> {
    let client = Client::builder().pin(pin).auth(name).connect(address)?.into_async();
    let mut connection = client.connection().await?;
    let (_, greeting) = connection.recv().await.ok_or("the server is gone")?;
    Ok(String::from_utf8_lossy(&greeting).into_owned())
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn Error>> {
    let mut config = ServerConfig::default();
    config.authorize = true;
    let identity = Identity::generate()?;
    let pin = identity.public_key();
    let server = Server::builder().config(config).identity(identity).bind("127.0.0.1:0")?.into_async();
    let address = server.local_addr().ok_or("no address")?;
    tokio::spawn(async move { tokio::join!(answer_requests(&server), serve(&server)) });

    println!("Ada: {}", join(address, pin, "Ada").await?);
    let refused = join(address, pin, "Eve").await.err().ok_or("nobody should get in so")?;
    println!("Eve: {refused}");
    match refused.downcast_ref() {
        Some(ConnectError::Banned) => Ok(()),
        _ => Err(refused),
    }
}
