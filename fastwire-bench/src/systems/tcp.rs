//! TCP: the reference among the streams, without encryption.

use tokio::net::{TcpListener, TcpStream};

use super::stream;
use crate::report::Report;
use crate::system::{Args, Outcome};

pub async fn serve(args: &Args) -> Outcome<()> {
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    println!("{}", listener.local_addr()?.port());
    let server = stream::Server::new(args);
    let accepting = server.clone();
    tokio::spawn(async move {
        while let Ok((connection, _)) = listener.accept().await {
            let _ = connection.set_nodelay(true);
            let (read, write) = connection.into_split();
            accepting.serve(read, write);
        }
    });
    server.until_stopped().await
}

async fn connect(args: Args) -> Outcome<stream::Ends> {
    let connection = TcpStream::connect(args.server()?).await?;
    connection.set_nodelay(true)?;
    let (read, write) = connection.into_split();
    Ok(stream::Ends::new(read, write))
}

pub async fn drive(args: &Args) -> Outcome<Report> {
    stream::drive(args, connect).await
}
