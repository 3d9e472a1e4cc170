//! tokio_kcp in its fastest configuration, without encryption: it has none.

use tokio_kcp::{KcpConfig, KcpListener, KcpNoDelayConfig, KcpStream};

use super::stream;
use crate::report::Report;
use crate::system::{Args, MTU, Outcome, small_udp, udp};

fn config() -> KcpConfig {
    KcpConfig {
        mtu: MTU,
        nodelay: KcpNoDelayConfig::fastest(),
        wnd_size: (1024, 1024),
        flush_write: true,
        flush_acks_input: true,
        stream: true,
        ..KcpConfig::default()
    }
}

pub async fn serve(args: &Args) -> Outcome<()> {
    let mut listener = KcpListener::from_socket(config(), tokio::net::UdpSocket::from_std(udp()?)?).await?;
    println!("{}", listener.local_addr()?.port());
    let server = stream::Server::new(args);
    let accepting = server.clone();
    tokio::spawn(async move {
        while let Ok((connection, _)) = listener.accept().await {
            let (read, write) = tokio::io::split(connection);
            accepting.serve(read, write);
        }
    });
    server.until_stopped().await
}

async fn connect(args: Args) -> Outcome<stream::Ends> {
    let crowd = args.text("work") == "crowd";
    let socket = tokio::net::UdpSocket::from_std(if crowd { small_udp()? } else { udp()? })?;
    let connection = KcpStream::connect_with_socket(&config(), socket, args.server()?).await?;
    let (read, write) = tokio::io::split(connection);
    Ok(stream::Ends::new(read, write))
}

pub async fn drive(args: &Args) -> Outcome<Report> {
    stream::drive(args, connect).await
}
