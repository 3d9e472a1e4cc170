//! `fastwire-tunnel`: see `--help`.

use fastwire_kcp::net::KcpListener;
use fastwire_tunnel::fastwire::{FastwireAcceptor, FastwireOpener};
use fastwire_tunnel::kcp::KcpOpener;
use fastwire_tunnel::options::{HELP, Options, Role, Side, parse, readable};
use fastwire_tunnel::show::{Line, show};
use fastwire_tunnel::tunnel::{Traffic, forward, serve};
use std::io;
use std::process::ExitCode;
use std::sync::Arc;
use tokio::net::TcpListener;

#[tokio::main]
async fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let options = match parse(&arguments, |name| std::env::var(name).ok()) {
        Ok(Some(options)) => options,
        Ok(None) => {
            println!("{HELP}");
            return ExitCode::SUCCESS;
        }
        Err(complaint) => {
            eprintln!("fastwire-tunnel: {complaint}; --help says more");
            return ExitCode::from(2);
        }
    };
    match run(options).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("fastwire-tunnel: {error}");
            ExitCode::FAILURE
        }
    }
}

async fn run(Options { listen, to, side, level, quiet }: Options) -> io::Result<()> {
    let traffic = Arc::new(Traffic::default());
    let at = |error: io::Error| io::Error::new(error.kind(), format!("cannot listen at {listen}: {error}"));
    let show = |line: Line| {
        if !quiet {
            tokio::spawn(show(traffic.clone(), line));
        }
    };
    match side {
        Side::FastwireServer(settings) => {
            let open_to_all = settings.psk.is_none();
            let repairs = Arc::default();
            let acceptor =
                FastwireAcceptor::bind(&listen, settings, Arc::clone(&repairs)).await.map_err(at)?;
            println!("FastWire at {} to TCP at {to}", acceptor.local_addr());
            println!("pin {}", readable(&acceptor.key()));
            if open_to_all {
                println!("no passphrase: whoever reaches this port reaches {to}");
            }
            show(Line::Fastwire(repairs));
            serve(acceptor, to, level, traffic).await
        }
        Side::FastwireClient(settings) => {
            let listener = TcpListener::bind(&listen).await.map_err(at)?;
            println!("TCP at {} through FastWire to {to}", listener.local_addr()?);
            let repairs = Arc::default();
            let opener = FastwireOpener::new(to, settings, Arc::clone(&repairs));
            show(Line::Fastwire(repairs));
            forward(listener, opener, level, traffic).await;
            Ok(())
        }
        Side::Kcp(Role::Server, config) => {
            let listener = KcpListener::bind(&listen, config).await.map_err(at)?;
            println!("KCP at {} to TCP at {to}", listener.local_addr()?);
            show(Line::Kcp);
            serve(listener, to, level, traffic).await
        }
        Side::Kcp(Role::Client, config) => {
            let listener = TcpListener::bind(&listen).await.map_err(at)?;
            println!("TCP at {} through KCP to {to}", listener.local_addr()?);
            show(Line::Kcp);
            forward(listener, KcpOpener { server: to, config }, level, traffic).await;
            Ok(())
        }
    }
}
