//! Echo, in tasks on tokio.

use fastwire::{AsyncClient, AsyncServer};

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let server = AsyncServer::bind("127.0.0.1:0").await?;
    let address = server.local_addr().ok_or("no address")?;
    tokio::spawn(async move {
        while let Some(mut connection) = server.accept().await {
            tokio::spawn(async move {
                while let Some((channel, data)) = connection.recv().await {
                    // Waits while the client reads more slowly than it writes.
                    let _ = connection.send(data, channel).await;
                }
            });
        }
    });

    let mut connection = AsyncClient::connect(address).await?;
    for number in 1..=3 {
        connection.send(format!("hello {number}"), 0).await?;
    }
    for _ in 1..=3 {
        let (_, data) = connection.recv().await.ok_or("the server is gone")?;
        println!("echo: {}", String::from_utf8_lossy(&data));
    }
    connection.close();
    connection.closed().await;
    Ok(())
}
