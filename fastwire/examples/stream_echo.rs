//! Streams of bytes: a program that knows nothing of FastWire, over one connection for each stream and over one for many.

use std::io;

use fastwire::asynchronous::{FastwireListener, FastwireStream};
use fastwire::reliability::ChannelLayout;
use fastwire::{Client, ClientConfig, Server, ServerConfig};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};

/// Sends back what comes. A TCP stream would do as well.
async fn echo(stream: impl AsyncRead + AsyncWrite) -> io::Result<()> {
    let (mut reader, mut writer) = tokio::io::split(stream);
    tokio::io::copy(&mut reader, &mut writer).await?;
    writer.shutdown().await
}

/// Says something and gives what came back. So would one here.
async fn ask(mut stream: impl AsyncRead + AsyncWrite + Unpin, text: &str) -> io::Result<String> {
    stream.write_all(text.as_bytes()).await?;
    stream.shutdown().await?;
    let mut back = String::new();
    stream.read_to_string(&mut back).await?;
    Ok(back)
}

/// As with TCP: a connection for each stream.
async fn one_by_one() -> io::Result<()> {
    let listener = FastwireListener::bind("127.0.0.1:0").await?;
    let address = listener.local_addr()?;
    tokio::spawn(async move {
        while let Ok((stream, _peer)) = listener.accept().await {
            tokio::spawn(echo(stream));
        }
    });
    for number in 1..=3 {
        let stream = FastwireStream::connect(address).await?;
        println!("echo: {}", ask(stream, &format!("connection {number}")).await?);
    }
    Ok(())
}

/// Many streams beside each other over one connection. Both sides have the same layout: so many streams of the client's at
/// once, none of the server's.
async fn beside_each_other() -> Result<(), Box<dyn std::error::Error>> {
    let layout = ChannelLayout::with_streams(64, 0)?;
    let (mut server, mut client) = (ServerConfig::default(), ClientConfig::default());
    server.channel_layout = layout.clone();
    client.channel_layout = layout;
    let server = Server::builder().config(server).bind("127.0.0.1:0")?.into_async();
    let address = server.local_addr().ok_or("no address")?;
    tokio::spawn(async move {
        while let Some(connection) = server.accept().await {
            tokio::spawn(async move {
                while let Ok(stream) = connection.accept_stream().await {
                    tokio::spawn(echo(stream));
                }
            });
        }
    });

    let client = Client::builder().config(client).connect(address)?.into_async();
    let connection = client.connection().await?;
    let mut asked = Vec::new();
    for number in 1..=200 {
        // waits while 64 are open
        let stream = connection.open_stream().await?;
        asked.push(tokio::spawn(async move { ask(stream, &format!("stream {number}")).await }));
    }
    for answer in asked {
        println!("echo: {}", answer.await??);
    }
    Ok(())
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    one_by_one().await?;
    beside_each_other().await
}
